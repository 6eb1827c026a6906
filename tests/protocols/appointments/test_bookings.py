"""What is to be done about a row, by what the journal knows; without a server."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.account.journal import PENDING, Booking, BookingState, Journal, open_journal
from protocols.appointments.bookings import (
    changed,
    changing,
    creating,
    end_in_step,
    existing,
    find_cases_of,
    plan,
    report_doubts,
    sent_values,
)
from protocols.appointments.entries import (
    SENTENCES,
    BookingEntry,
    Step,
    booking_entry,
    flags_of,
    numbered,
)
from protocols.appointments.resolve import settle
from schemas.appointment_file import FLAGS, RECIPIENTS, VALUE_FIELDS, WantedAppointment
from schemas.outcomes import Outcome
from tasks.policy import RunError

Values = Mapping[str, str | bool]

GIVEN: dict[str, str | bool] = {
    "adviser_email": "adviser@example.org",
    "start_time": "2026-07-20 09:00:00",
    "end_time": "2026-07-20 10:00:00",
    "notes": "Old",
}
SMS: dict[str, str | bool] = {"sms_recipient": "07700900123", "sms_confirmation": True}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "journal.sqlite3", writing=True) as journal:
        yield journal


def entry_of(
    given: Values | None = None,
    *,
    key: str = "B-1",
    action: Any = "upsert",
    case_id: str | None = "case-1",
    case_ref: str | None = None,
    appointment_id: str | None = None,
    is_past: bool = False,
) -> BookingEntry:
    values = {} if action == "delete" else GIVEN if given is None else given
    return booking_entry(
        WantedAppointment(2, key, action, case_id, case_ref, appointment_id, values, is_past)
    )


def planned(
    journal: Journal | None, entry: BookingEntry, *, recreate: bool = False
) -> BookingEntry:
    plan(entry, journal, recreate=recreate)
    return entry


def make(journal: Journal, entry: BookingEntry, appointment_id: str = "a-1") -> Booking:
    """What the journal has after an entry was planned and its creation answered."""
    planned(journal, entry, recreate=True)
    during = creating(entry, journal.booking(entry.key), journal)
    made = replace(during, state=BookingState.EXISTS, appointment_id=appointment_id)
    journal.put(entry.key, made)
    return made


def lose(journal: Journal, entry: BookingEntry) -> Booking:
    """What it has where the answer to a creation was lost."""
    planned(journal, entry)
    during = creating(entry, journal.booking(entry.key), journal)
    journal.put(entry.key, during)
    return during


def remove(journal: Journal, key: str = "B-1") -> None:
    booking = journal.booking(key)
    assert booking is not None
    journal.put(key, replace(booking, state=BookingState.DELETED, fields={}))


def what(entry: BookingEntry) -> tuple[Any, ...]:
    """Its step and what is sent, or its outcome and code."""
    if entry.step is not None:
        assert entry.action == entry.step.value
        return entry.step, dict(entry.values)
    return entry.outcome, entry.code


# -- what has begun already --------------------------------------------------------------------


def test_no_message_is_sent_about_what_has_begun_already(journal: Journal) -> None:
    refused = (Outcome.REJECTED, "in_the_past")
    new = planned(journal, entry_of(GIVEN | SMS, is_past=True))
    assert what(new) == refused
    assert new.action == "none"
    assert "sms_confirmation" in str(new.message)
    make(journal, entry_of(GIVEN))
    assert what(planned(journal, entry_of(GIVEN | SMS, is_past=True))) == refused


def test_what_has_begun_already_may_be_made_changed_and_deleted_without_a_message(
    journal: Journal,
) -> None:
    silent = GIVEN | SMS | {"sms_confirmation": False}
    assert planned(journal, entry_of(silent, is_past=True)).step is Step.CREATE
    make(journal, entry_of(GIVEN | SMS))  # when it was still to come
    again = entry_of(GIVEN | SMS, is_past=True)
    assert what(planned(journal, again)) == (Outcome.UNCHANGED, None)
    moved = entry_of(GIVEN | SMS | {"notes": "New"}, is_past=True)
    assert what(planned(journal, moved)) == (Step.UPDATE, {"notes": "New"})
    assert planned(journal, entry_of(action="delete")).step is Step.DELETE


# -- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["no journal", "nothing", "deleted"])
def test_an_unknown_key_is_made_with_all_that_the_row_gives(journal: Journal, known: str) -> None:
    if known == "deleted":
        make(journal, entry_of())
        remove(journal)
    there = None if known == "no journal" else journal
    entry = planned(there, entry_of(GIVEN | SMS))
    assert what(entry) == (Step.CREATE, GIVEN | SMS)
    assert (entry.case_id, entry.appointment_id) == ("case-1", None)
    gone = planned(there, entry_of(action="delete"))
    assert what(gone) == (Outcome.UNCHANGED, None if known == "deleted" else "never_made")


CHANGES: list[tuple[str, Values, tuple[Any, ...]]] = [
    ("the same", GIVEN | SMS, (Outcome.UNCHANGED, None)),
    ("less is given", {"adviser_email": GIVEN["adviser_email"]}, (Outcome.UNCHANGED, None)),
    ("another case of an address", GIVEN | {"adviser_email": "ADVISER@Example.org"},
     (Outcome.UNCHANGED, None)),
    ("another case of a text", GIVEN | {"notes": "OLD"}, (Step.UPDATE, {"notes": "OLD"})),
    ("a new value", GIVEN | {"location": "Here"}, (Step.UPDATE, {"location": "Here"})),
    ("several", GIVEN | SMS | {"start_time": "2026-07-20 09:30:00", "notes": "New"},
     (Step.UPDATE, {"start_time": "2026-07-20 09:30:00", "notes": "New"})),
    ("a flag on", GIVEN | {"sms_notification": True}, (Step.UPDATE, {"sms_notification": True})),
    ("a flag off", GIVEN | {"sms_confirmation": False},
     (Step.UPDATE, {"sms_confirmation": False})),
    ("a flag that was never on", GIVEN | {"email_confirmation": False, "zoom_meeting": False},
     (Outcome.UNCHANGED, None)),
    ("another adviser", GIVEN | {"adviser_email": "b@example.org"}, (Outcome.CONFLICT, "fixed")),
    ("a Zoom meeting", GIVEN | {"zoom_meeting": True}, (Outcome.CONFLICT, "fixed")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES]
)
def test_of_a_known_appointment_only_what_differs_is_sent(
    journal: Journal, given: Values, expected: tuple[Any, ...]
) -> None:
    make(journal, entry_of(GIVEN | SMS))
    entry = planned(journal, entry_of(given))
    assert what(entry) == expected
    assert entry.appointment_id == "a-1"
    anew = planned(journal, entry_of(given), recreate=True)
    assert what(anew) == ((Step.RECREATE, given) if expected[1] == "fixed" else expected)


def test_the_case_is_the_same_one_by_its_id_or_by_the_reference_that_the_journal_knows(
    journal: Journal,
) -> None:
    make(journal, entry_of(case_ref="Ref 1"))
    same = [
        entry_of(),
        entry_of(case_id="CASE-1"),
        entry_of(case_id=None, case_ref=" ref  1"),
        entry_of(case_id="case-1", case_ref="Another"),
    ]
    assert {what(planned(journal, entry)) for entry in same} == {(Outcome.UNCHANGED, None)}
    others = [entry_of(case_id="case-2"), entry_of(case_id="case-2", case_ref="Ref 1")]
    for entry in others:
        assert what(planned(journal, entry)) == (Outcome.CONFLICT, "fixed")
        assert str(entry.message).startswith("The case of an appointment can't be changed")
    anew = planned(journal, others[0], recreate=True)
    assert (anew.step, anew.case_id) == (Step.RECREATE, "case-2")


def test_an_appointment_made_outside_gets_all_that_can_be_changed_and_is_then_known(
    journal: Journal,
) -> None:
    given = GIVEN | SMS | {"zoom_meeting": True}
    entry = planned(journal, entry_of(given, appointment_id="x-1"))
    sent = {"start_time", "end_time", "notes", *SMS}
    assert what(entry) == (Step.UPDATE, {name: given[name] for name in given if name in sent})
    booking = existing(entry, None, journal)
    assert (booking.state, booking.case_id, booking.appointment_id) == (
        BookingState.EXISTS, "case-1", "x-1",
    )  # fmt: skip
    journal.put("B-1", changed(booking, entry.values, journal))
    for later in (entry_of(given, appointment_id="x-1"), entry_of(given)):
        assert what(planned(journal, later)) == (Outcome.UNCHANGED, None)
    other = planned(journal, entry_of(given, appointment_id="x-2"))
    assert what(other) == (Outcome.CONFLICT, "other_appointment")
    assert "(x-1)" in str(other.message)


DELETIONS: list[tuple[BookingState | None, str | None, str | None, tuple[Any, ...]]] = [
    # what is known, the row's appointment_id, the row's case
    (BookingState.EXISTS, None, None, (Step.DELETE, {})),
    (BookingState.EXISTS, "a-1", None, (Step.DELETE, {})),
    (BookingState.EXISTS, "a-2", "case-1", (Outcome.CONFLICT, "other_appointment")),
    (BookingState.DELETING, None, None, (Step.DELETE, {})),
    (BookingState.DELETED, None, None, (Outcome.UNCHANGED, None)),
    (BookingState.DELETED, "a-1", "case-1", (Outcome.UNCHANGED, None)),
    (BookingState.DELETED, "a-2", "case-1", (Step.DELETE, {})),
    (BookingState.DELETED, "a-2", None, (Outcome.REJECTED, "case_of_deletion")),
    (BookingState.CREATING, None, None, (Outcome.UNKNOWN, "creation_unsure")),
    (None, None, None, (Outcome.UNCHANGED, "never_made")),
    (None, "a-2", "case-1", (Step.DELETE, {})),
    (None, "a-2", None, (Outcome.REJECTED, "case_of_deletion")),
]


@pytest.mark.parametrize(("state", "appointment_id", "case_id", "expected"), DELETIONS)
def test_a_deletion_is_sent_for_what_may_be_there_and_for_nothing_else(
    journal: Journal,
    state: BookingState | None,
    appointment_id: str | None,
    case_id: str | None,
    expected: tuple[Any, ...],
) -> None:
    if state is not None:
        made = make(journal, entry_of())
        journal.put("B-1", replace(made, state=state))
    entry = entry_of(action="delete", case_id=case_id, appointment_id=appointment_id)
    assert what(planned(journal, entry)) == expected
    if entry.step is Step.DELETE:
        own = appointment_id or "a-1"
        assert (entry.case_id, entry.appointment_id) == ("case-1", own)


@pytest.mark.parametrize("action", ["upsert", "delete"])
def test_a_key_to_which_a_program_added_a_decimal_is_no_other_booking(
    journal: Journal, action: str
) -> None:
    make(journal, entry_of(key="5001"))
    spoilt = planned(journal, entry_of(key="5001.0", action=action))
    assert (spoilt.outcome, spoilt.code, spoilt.step) == (Outcome.REJECTED, "key_decimal", None)
    assert planned(journal, entry_of(key="5002.0")).step is Step.CREATE
    assert planned(journal, entry_of(key="5002.0")).code == "stopped"
    make(journal, entry_of(key="5003.0"))
    make(journal, entry_of(key="5003"))
    assert planned(journal, entry_of(key="5003.0")).outcome is Outcome.UNCHANGED


def test_what_is_being_deleted_is_made_anew_where_it_is_wanted(journal: Journal) -> None:
    made = make(journal, entry_of())
    journal.put("B-1", replace(made, state=BookingState.DELETING))
    assert what(planned(journal, entry_of())) == (Step.RECREATE, GIVEN)


@pytest.mark.parametrize("recreate", [False, True])
@pytest.mark.parametrize(
    "entry",
    [
        entry_of(),
        entry_of({**GIVEN, "notes": "New"}),
        entry_of({**GIVEN, "adviser_email": "b@example.org"}),
        entry_of(action="delete"),
        entry_of(appointment_id="a-1"),
        entry_of(case_id="case-2"),
    ],
)
def test_an_uncertain_creation_is_unknown_whatever_the_row_wants(
    journal: Journal, entry: BookingEntry, recreate: bool
) -> None:
    lose(journal, entry_of())
    assert what(planned(journal, entry, recreate=recreate)) == (Outcome.UNKNOWN, "creation_unsure")
    assert entry.appointment_id is None
    assert 'resolve={"B-1": "not created"}' in str(entry.message)


# -- which rows need a look-up -----------------------------------------------------------------


def test_no_case_is_looked_up_where_the_journal_or_the_row_knows_it(
    journal: Journal, tmp_path: Path
) -> None:
    make(journal, entry_of(case_ref="Ref 1"))
    lose(journal, entry_of(key="lost", case_ref="Ref 1"))
    make(journal, entry_of(key="gone", case_ref="Ref 1"))
    remove(journal, "gone")
    known = [
        entry_of(case_id=None, case_ref="REF 1"),
        entry_of(key="new"),
        entry_of(key="new", case_ref="Anything"),
        entry_of(key="lost", case_id=None, case_ref="Another"),
        entry_of(action="delete", case_id=None, case_ref="Another"),
        entry_of(key="gone", action="delete", case_id=None, case_ref="Another"),
        entry_of(key="new", action="delete", case_id=None),
    ]
    # no connection is open: a look-up would be an error
    assert asyncio.run(find_cases_of(known, journal, tmp_path, None)) == known  # type: ignore[arg-type]


# -- while a request is under way --------------------------------------------------------------


def test_a_change_under_way_leaves_its_values_to_be_sent_again_but_no_message(
    journal: Journal,
) -> None:
    before = make(journal, entry_of())
    values: Values = {"notes": "New", "email_notification": False} | SMS
    during = changing(before, values, journal)
    journal.put("B-1", during)
    assert (during.has_message_in_doubt, during.doubts) == (True, 1)
    assert during.fields["notes"] == during.fields["email_notification"] == PENDING
    again = planned(journal, entry_of(GIVEN | values))
    assert what(again) == (
        Step.UPDATE,
        {"notes": "New", "email_notification": False, "sms_recipient": "07700900123"},
    )
    journal.put("B-1", changed(during, again.values, journal))
    unsure = planned(journal, entry_of(GIVEN | values))
    assert what(unsure) == (Outcome.UNKNOWN, "message_unsure")
    assert "(sms_confirmation)" in str(unsure.message)
    second = changing(changed(during, again.values, journal), {"email_confirmation": True}, journal)
    assert (second.has_message_in_doubt, second.doubts) == (True, 2)


def test_a_change_without_a_flag_that_is_on_puts_no_message_in_doubt(journal: Journal) -> None:
    before = make(journal, entry_of())
    values: Values = {"notes": "New", "sms_confirmation": False, "sms_recipient": "07700900123"}
    during = changing(before, values, journal)
    assert (during.has_message_in_doubt, during.doubts) == (False, 0)
    journal.put("B-1", changed(during, values, journal))
    assert what(planned(journal, entry_of(GIVEN | values))) == (Outcome.UNCHANGED, None)


def test_each_creation_of_a_key_counts_and_knows_those_before_it(journal: Journal) -> None:
    for number, appointment_id in enumerate(["a-1", "a-2", "a-3"], start=1):
        made = make(journal, entry_of(), appointment_id)
        assert made.creations == number
        remove(journal)
    lost = lose(journal, entry_of())
    assert (lost.creations, lost.appointment_id) == (4, None)
    assert set(lost.former_ids) == {"a-1", "a-2", "a-3"}


def test_what_is_sent_is_counted_by_column_the_most_frequent_first() -> None:
    entries = [entry_of(), entry_of(), entry_of()]
    for entry, names in zip(entries, (["notes"], ["notes", "location"], []), strict=True):
        entry.values = dict.fromkeys(names, "x")
    assert list(sent_values(entries).items()) == [("notes", 2), ("location", 1)]


def test_the_flags_that_have_messages_sent_are_those_that_are_on() -> None:
    assert flags_of(dict.fromkeys(FLAGS, True)) == list(RECIPIENTS)
    assert flags_of(dict.fromkeys(FLAGS, False)) == flags_of({}) == []


# -- what a person says ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    ["not created", "Not  Created", "not_created", "NOT-CREATED", "notcreated", " not created"],
)
def test_not_created_is_understood_however_it_is_written(journal: Journal, said: str) -> None:
    lose(journal, entry_of())
    assert settle(journal, {" B-1 ": said}) == 0
    assert what(planned(journal, entry_of())) == (Step.CREATE, GIVEN)


def test_the_id_of_an_uncertain_appointment_makes_it_known_as_it_was_sent(
    journal: Journal,
) -> None:
    lose(journal, entry_of(GIVEN | SMS))
    assert settle(journal, {"B-1": "3f2a-1"}) == 0
    entry = planned(journal, entry_of(GIVEN | SMS))
    assert (*what(entry), entry.appointment_id) == (Outcome.UNCHANGED, None, "3f2a-1")
    assert what(planned(journal, entry_of(GIVEN | SMS | {"notes": "New"})))[0] is Step.UPDATE


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        ("not created", False),
        ("not created 1", False),
        ("not created 2", False),
        ("not created 3", True),
        ("not-created_3", True),
        ("not created 4", False),
        ("message settled", False),
        ("a-1", False),
        ("a-2", False),
        ("a-3", True),
    ],
)
def test_only_what_is_said_of_this_attempt_settles_it(
    journal: Journal, said: str, fits: bool
) -> None:
    for appointment_id in ("a-1", "a-2"):
        make(journal, entry_of(), appointment_id)
        remove(journal)
    lost = lose(journal, entry_of())
    message = str(planned(journal, entry_of()).message)
    assert 'resolve={"B-1": "not created 3"}' in message
    assert settle(journal, {"B-1": said}) == (0 if fits else 1)
    assert (journal.booking("B-1") == lost) is not fits


def test_a_doubt_about_a_message_is_settled_by_its_own_word_and_number_alone(
    journal: Journal,
) -> None:
    made = make(journal, entry_of())
    first = changing(made, {"sms_confirmation": True}, journal)
    journal.put("B-1", first)
    for said in ("not created", "a-1", "a-2", "message settled 2"):
        assert settle(journal, {"B-1": said}) == 1
    assert settle(journal, {"B-1": "Message_Settled"}) == 0
    settled = journal.booking("B-1")
    assert settled == replace(first, has_message_in_doubt=False)
    assert settle(journal, {"B-1": "message settled"}) == 1
    journal.put("B-1", changing(settled, {"email_confirmation": True}, journal))
    assert settle(journal, {"B-1": "message settled"}) == 1
    assert settle(journal, {"B-1": "message settled 2"}) == 0


@pytest.mark.parametrize(
    "said",
    ["", "no", "missing", "created", "deleted", "not there", "https://x.io/1", "a/b1", "x1" * 40],
)
def test_a_word_that_means_nothing_is_refused_and_settles_nothing(
    journal: Journal, said: str
) -> None:
    lost = lose(journal, entry_of())
    with pytest.raises(RunError, match='"not created" or "message settled"'):
        settle(journal, {"B-1": said})
    assert journal.booking("B-1") == lost


def test_a_key_that_is_not_in_the_journal_is_refused_without_being_shown(journal: Journal) -> None:
    lose(journal, entry_of())
    with pytest.raises(RunError, match="a key that the journal doesn't know") as raised:
        settle(journal, {"Canary": "not created"})
    assert "Canary" not in str(raised.value)


def test_what_is_certain_stays_as_it_is_whatever_is_said(journal: Journal) -> None:
    made = make(journal, entry_of())
    for state in (BookingState.EXISTS, BookingState.DELETING, BookingState.DELETED):
        journal.put("B-1", replace(made, state=state))
        for said in ("not created", "a-1", "a-2", "message settled"):
            assert settle(journal, {"B-1": said}) == 1
        assert journal.booking("B-1") == replace(made, state=state)


def test_the_first_time_a_word_stands_alone() -> None:
    assert [numbered("word", n) for n in (0, 1, 2, 3)] == ["word", "word", "word 2", "word 3"]


# -- what is said at the end -------------------------------------------------------------------


def test_a_message_in_doubt_makes_any_row_unknown_and_its_own_message_stays(
    journal: Journal,
) -> None:
    entries = [entry_of(key=f"B-{n}") for n in range(1, 5)]
    for entry in entries[:3]:
        made = make(journal, entry)
        journal.put(entry.key, changing(made, {"sms_confirmation": True}, journal))
    entries[0].end(Outcome.REJECTED, "status_422", "Wrong.")
    end_in_step(entries[1], journal.booking("B-2"), Outcome.UPDATED)  # type: ignore[arg-type]
    entries[2].end(Outcome.DELETED)
    entries[3].end(Outcome.CREATED)
    said = entries[1].message
    assert report_doubts(entries, journal) is None
    assert [(entry.outcome, entry.code) for entry in entries] == [
        *[(Outcome.UNKNOWN, "message_unsure")] * 3, (Outcome.CREATED, None),
    ]  # fmt: skip
    assert str(entries[0].message).startswith("Wrong. It isn't known whether a message")
    assert entries[1].message == said
    assert str(entries[2].message).startswith("It isn't known whether a message")


def test_what_is_uncertain_and_not_in_the_file_is_counted(journal: Journal) -> None:
    for key in ("B-1", "B-2", "B-3"):
        lose(journal, entry_of(key=key))
    entry = planned(journal, entry_of(key="B-2"))
    assert str(report_doubts([entry], journal)).startswith("The journal has 2 more uncertain")
    assert str(report_doubts([], journal)).startswith("The journal has 3 more uncertain")


def test_every_sentence_is_one_and_has_no_gap_left() -> None:
    details = {"key": "B-1", "word": "w", "flags": "f", "appointment_id": "a", "ids": "i",
               "what": "It", "attempts": 2}  # fmt: skip
    for code in SENTENCES:
        entry = entry_of()
        entry.end(Outcome.UNKNOWN, code, **details)
        assert re.fullmatch(r"[A-Z][^{}\n]+\.(?: [A-Z][^{}\n]+\.)*", str(entry.message).replace(
            '{"B-1": ', "(").replace('"}', ")")), code  # fmt: skip


# -- in general --------------------------------------------------------------------------------

TEXTS = ["a@example.org", "A@example.org", "b@example.org", "2026-07-20 09:00:00", "x"]
VALUES = st.fixed_dictionaries(
    {"adviser_email": st.sampled_from(TEXTS[:3])},
    optional={
        name: st.booleans() if name in FLAGS else st.sampled_from(TEXTS)
        for name in VALUE_FIELDS
        if name != "adviser_email"
    },
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=VALUES, rows=st.lists(st.tuples(VALUES, st.booleans()), max_size=4), data=st.data())
def test_after_any_changes_the_same_row_asks_for_nothing_and_no_flag_is_sent_twice(
    journal: Journal, first: Values, rows: list[tuple[Values, bool]], data: st.DataObject
) -> None:
    key = f"B-{data.draw(st.integers(0, 10**12))}"
    make(journal, entry_of(first, key=key))
    has = dict(first)
    for values, is_lost in rows:
        entry = planned(journal, entry_of(values, key=key))
        if entry.step is None:
            continue
        sent = dict(entry.values)
        assert all(has.get(name, False) != value for name, value in sent.items())
        booking = journal.booking(key)
        assert booking is not None
        if is_lost:
            booking = changing(booking, sent, journal)
            journal.put(key, booking)
            again = planned(journal, entry_of(values, key=key))
            assert flags_of(again.values) == []
            assert {*again.values, *flags_of(sent)} == set(sent)
            sent = dict(again.values)
        journal.put(key, changed(booking, sent, journal))
        has |= dict(entry.values)
        same = planned(journal, entry_of(values, key=key))
        assert same.step is None
        assert same.outcome in (Outcome.UNCHANGED, Outcome.UNKNOWN)
