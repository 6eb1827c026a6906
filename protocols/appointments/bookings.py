"""What is to be done about each booking of a file, by what the journal knows of it.

Belongs here: the step that a row asks for, and what the journal says before and after it. Does not:
entries and their sentences (`appointments/entries.py`), what a person says about an uncertain one
(`appointments/resolve.py`), sending (`appointments/sync.py`), the journal's file
(`account/journal.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from protocols.account.journal import PENDING, Booking, BookingState, Journal
from protocols.appointments.entries import (
    MESSAGE_SETTLED,
    NOT_CREATED,
    BookingEntry,
    Step,
    digests,
    flags_of,
    numbered,
)
from protocols.reading.found import Found
from protocols.reading.lookup import current_cases
from schemas.appointment_file import WantedAppointment
from schemas.identifiers import whole_form
from schemas.outcomes import Outcome
from schemas.texts import canonical
from tasks.progress import Progress

FIXED_FIELDS = {"adviser_email": "the adviser", "zoom_meeting": "the Zoom meeting"}
"""What the vendor's update doesn't take."""
CASE_REF = "case_ref"
"""Kept beside the fields: a row that still has it needn't be looked up again."""


async def find_cases_of(
    entries: Sequence[BookingEntry], journal: Journal | None, workspace: Path, progress: Progress
) -> list[BookingEntry]:
    """Find the cases of rows that give only a reference which the journal doesn't know.

    Returns:
        The entries that can be planned; the others have their outcome.

    Raises:
        WillSuiteError, RunError: the account can't be read.
    """
    asking = [entry for entry in entries if _needs_case(entry, journal)]
    refs = [entry.wanted.case_ref or "" for entry in asking]
    found = await current_cases((), refs, workspace, progress) if refs else Found()
    for entry in asking:
        cases = found.with_ref(entry.wanted.case_ref or "")
        if len(cases) == 1:
            entry.wanted_case = cases[0].id
        elif cases:
            entry.end(Outcome.CONFLICT, "case_ref_twice", ids=", ".join(case.id for case in cases))
        else:
            entry.end(Outcome.REJECTED, "no_case")
    ended = {id(entry) for entry in asking if entry.wanted_case is None}
    return [entry for entry in entries if id(entry) not in ended]


def _needs_case(entry: BookingEntry, journal: Journal | None) -> bool:
    wanted = entry.wanted
    if wanted.case_id is not None or wanted.case_ref is None:
        return False
    booking = journal.booking(entry.key) if journal else None
    if booking is None or booking.state is BookingState.DELETED:
        return wanted.action == "upsert" or wanted.appointment_id is not None
    if booking.state is BookingState.CREATING:
        return False
    return wanted.action == "upsert" and not _has_ref(booking, wanted, journal)


def _has_ref(booking: Booking, wanted: WantedAppointment, journal: Journal | None) -> bool:
    ref = canonical(wanted.case_ref or "")
    return journal is not None and booking.fields.get(CASE_REF) == journal.digest(CASE_REF, ref)


# -- what a row asks for ----------------------------------------------------------------------


def plan(entry: BookingEntry, journal: Journal | None, *, recreate: bool) -> None:
    """Give the entry its next step, or, where nothing is to be sent, its outcome.

    Args:
        entry: of the row.
        journal: what was done before; None where there is none yet.
        recreate: whether what can't be changed is deleted and made anew.
    """
    entry.step, entry.values, entry.is_open = None, {}, False
    booking = journal.booking(entry.key) if journal else None
    given_id = entry.wanted.appointment_id
    entry.case_id = entry.appointment_id = None
    if booking is not None:
        entry.case_id, entry.appointment_id = booking.case_id, booking.appointment_id
        if entry.wanted_case is None and _has_ref(booking, entry.wanted, journal):
            entry.wanted_case = booking.case_id
    if booking is not None and booking.state is BookingState.CREATING:
        entry.end(
            Outcome.UNKNOWN,
            "creation_unsure",
            key=entry.key,
            word=numbered(NOT_CREATED, booking.creations),
        )
    elif journal and booking is None and journal.is_ambiguous(entry.key):
        entry.end(Outcome.CONFLICT, "key_ambiguous")
    elif journal and booking is None and _has_whole_form(entry.key, journal):
        entry.end(Outcome.REJECTED, "key_decimal")
    elif journal and given_id and journal.is_anothers(entry.key, given_id):
        entry.end(Outcome.CONFLICT, "other_key")
    elif entry.wanted.action == "delete":
        _plan_deletion(entry, booking)
    elif booking is None or booking.state is BookingState.DELETED:
        _plan_new(entry, booking if recreate else None)
    else:
        assert journal is not None
        _plan_existing(entry, booking, journal, recreate)
    if entry.wanted.is_past and (flags := flags_of(entry.values)):
        # of what was sent while it was still to come there is nothing to be said
        entry.step, entry.action, entry.values = None, "none", {}
        entry.end(Outcome.REJECTED, "in_the_past", flags=", ".join(flags))


def _has_whole_form(key: str, journal: Journal) -> bool:
    whole = whole_form(key)
    return whole is not None and journal.booking(whole) is not None


def _begin(entry: BookingEntry, step: Step, values: Mapping[str, str | bool] | None = None) -> None:
    entry.step, entry.action, entry.values = step, step.value, values or {}


def _plan_deletion(entry: BookingEntry, booking: Booking | None) -> None:
    if booking is not None and booking.state is not BookingState.DELETED:
        if entry.wanted.appointment_id in (None, booking.appointment_id):
            _begin(entry, Step.DELETE)
        else:
            entry.end(Outcome.CONFLICT, "other_appointment", appointment_id=booking.appointment_id)
    elif entry.wanted.appointment_id in (None, entry.appointment_id):
        entry.end(Outcome.UNCHANGED, None if booking else "never_made")
    elif entry.wanted_case is None:
        entry.end(Outcome.REJECTED, "case_of_deletion")
    else:
        entry.case_id, entry.appointment_id = entry.wanted_case, entry.wanted.appointment_id
        _begin(entry, Step.DELETE)


def _plan_new(entry: BookingEntry, gone: Booking | None) -> None:
    """The journal has no appointment for the key, but perhaps one that is `gone`."""
    entry.case_id, entry.appointment_id = entry.wanted_case, entry.wanted.appointment_id
    if entry.appointment_id is None or (gone and entry.appointment_id == gone.appointment_id):
        entry.appointment_id = None
        _begin(entry, Step.CREATE, entry.wanted.given)
    else:  # made outside this tool: of its values nothing is known
        _begin(entry, Step.UPDATE, _changeable(entry.wanted.given))


def _changeable(values: Mapping[str, str | bool]) -> dict[str, str | bool]:
    return {name: value for name, value in values.items() if name not in FIXED_FIELDS}


def _plan_existing(entry: BookingEntry, booking: Booking, journal: Journal, recreate: bool) -> None:
    wanted = entry.wanted
    if wanted.appointment_id not in (None, booking.appointment_id):
        entry.end(Outcome.CONFLICT, "other_appointment", appointment_id=booking.appointment_id)
        return
    case_id = entry.wanted_case
    if case_id:
        is_same_case = case_id.casefold() == booking.case_id.casefold()
    else:
        is_same_case = _has_ref(booking, wanted, journal)
    changed = _differing(wanted.given, booking, journal)
    fixed = [what for name, what in FIXED_FIELDS.items() if name in changed]
    fixed += [] if is_same_case else ["the case"]
    if booking.state is BookingState.DELETING or (fixed and recreate):
        entry.case_id = case_id or booking.case_id
        _begin(entry, Step.RECREATE, wanted.given)
    elif fixed:
        what = " and ".join(fixed)
        entry.end(Outcome.CONFLICT, "fixed", what=what[0].upper() + what[1:])
    elif changed:
        _begin(entry, Step.UPDATE, changed)
    else:
        end_in_step(entry, booking, Outcome.UNCHANGED)


def _differing(
    given: Mapping[str, str | bool], booking: Booking, journal: Journal
) -> dict[str, str | bool]:
    """The values that the appointment hasn't got, as far as is known."""
    wanted = digests(given, journal)
    return {
        name: value
        for name, value in given.items()
        # a flag that was never sent is off
        if booking.fields.get(name, wanted[name] if value is False else None) != wanted[name]
    }


def end_in_step(entry: BookingEntry, booking: Booking, outcome: Outcome) -> None:
    """The appointment is as the row wants it; a message of it may be in doubt, though."""
    entry.appointment_id = booking.appointment_id
    if booking.has_message_in_doubt:
        flags = ", ".join(flags_of(entry.wanted.given)) or "e-mail or SMS"
        entry.end(
            Outcome.UNKNOWN, "message_unsure", key=entry.key, flags=flags,
            word=numbered(MESSAGE_SETTLED, booking.doubts),
        )  # fmt: skip
    else:
        entry.end(outcome)


def report_doubts(entries: Sequence[BookingEntry], journal: Journal) -> str | None:
    """Say `unknown` of every row of which something is uncertain, whatever else became of it.

    Returns:
        A sentence about uncertain bookings that aren't in the file, or whose rows can't be read.
    """
    for entry in entries:
        booking = journal.booking(entry.key)
        if booking is None or not booking.has_message_in_doubt:
            continue
        if entry.outcome is not Outcome.UNKNOWN:
            said = f"{entry.message} " if entry.message else ""
            end_in_step(entry, booking, Outcome.UNKNOWN)
            entry.message = f"{said}{entry.message}"
    others = journal.uncertain_besides(
        entry.key for entry in entries if entry.outcome is Outcome.UNKNOWN
    )
    if not others:
        return None
    return (
        f"The journal has {others:,} more uncertain booking(s), which no row of this file stands "
        "for; settle them with resolve, or run the file that has them."
    )


# -- what the journal says while a request is under way ------------------------------------------


def creating(entry: BookingEntry, before: Booking | None, journal: Journal) -> Booking:
    """An appointment is about to be sent; without an answer nobody knows whether it exists."""
    assert entry.case_id is not None
    booking = before or Booking(BookingState.CREATING, entry.case_id)
    former = (booking.appointment_id,) if booking.appointment_id else ()
    return replace(
        booking,
        state=BookingState.CREATING,
        case_id=entry.case_id,
        appointment_id=None,
        former_ids=(*booking.former_ids, *former),
        fields=digests(entry.values, journal) | _case_ref(entry, journal),
        creations=booking.creations + 1,
    )


def existing(entry: BookingEntry, before: Booking | None, journal: Journal) -> Booking:
    """The appointment that is to be changed or deleted.

    Of one that was made outside this tool only what can't be changed is taken to be as the row
    has it.
    """
    is_known = before is not None and before.state is not BookingState.DELETED
    if before is not None and is_known and before.appointment_id == entry.appointment_id:
        return before
    assert entry.case_id is not None
    fixed = {name: value for name, value in entry.wanted.given.items() if name in FIXED_FIELDS}
    return replace(
        before or Booking(BookingState.EXISTS, entry.case_id),
        state=BookingState.EXISTS,
        case_id=entry.case_id,
        appointment_id=entry.appointment_id,
        fields=digests(fixed, journal) | _case_ref(entry, journal),
    )


def changing(booking: Booking, values: Mapping[str, str | bool], journal: Journal) -> Booking:
    """These values are about to be sent: until there is an answer the fields are unknown.

    Flags count as sent, so that nobody is written to twice, and their messages are in doubt.
    """
    flags = flags_of(values)
    fields = dict.fromkeys(values, PENDING) | digests(dict.fromkeys(flags, True), journal)
    return replace(
        booking,
        fields={**booking.fields, **fields},
        doubts=booking.doubts + bool(flags),
        has_message_in_doubt=booking.has_message_in_doubt or bool(flags),
    )


def changed(booking: Booking, values: Mapping[str, str | bool], journal: Journal) -> Booking:
    """These values were accepted."""
    return replace(booking, fields={**booking.fields, **digests(values, journal)})


def _case_ref(entry: BookingEntry, journal: Journal) -> dict[str, str]:
    ref = entry.wanted.case_ref
    return {} if ref is None else {CASE_REF: journal.digest(CASE_REF, canonical(ref))}


def sent_values(entries: Sequence[BookingEntry]) -> dict[str, int]:
    """How many rows send each value, or would."""
    counts: dict[str, int] = {}
    for entry in entries:
        for name in entry.values:
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
