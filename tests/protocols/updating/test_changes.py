"""What is left to be changed in a case, and what an entry tells of it; without any request."""

import json
import string
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_changes import PLAN, SOURCE, STORAGE, TOM, ZOE, case, customer, ends, entry, row
from rich.pretty import pretty_repr

from protocols.reading.found import Found, FoundCase
from protocols.rows.ledger import Ledger
from protocols.updating.changes import (
    SENTENCES,
    Answered,
    ChangeEntry,
    change_entry,
    changed_columns,
    end_unchanged,
)
from protocols.updating.differences import Difference, difference
from sandbox.writes import changed_fields, cleaned
from schemas.issues import Issue
from schemas.outcomes import CHANGE_OUTCOMES, ChangeOutcome, Outcome, outcome_table
from schemas.texts import clean
from schemas.update_file import WantedChange

# -- what is left to be changed ------------------------------------------------------------------


def test_a_row_that_wants_nothing_differs_in_nothing():
    has_much = case(notes="x", meta={SOURCE: "Website"}, customers=[customer()])
    assert not difference(row(), has_much)
    assert difference(row(), has_much).fields({SOURCE: "Website"}) == {}
    assert not difference(row(), case(ref=None))


@pytest.mark.parametrize(
    ("wanted", "has", "left"),
    [("a", "a", None), ("a", " a\r\n", None), ("a\nb", "a\r\nb", None), ("a", None, "a"),
     ("a", "", "a"), ("a", "A", "a"), ("a\nb", "a b", "a\nb"), (None, "a", None),
     (None, None, None)],
    ids=ascii,
)  # fmt: skip
def test_notes_differ_unless_the_server_would_store_them_alike(wanted, has, left):
    found = difference(row(notes=wanted), case(notes=has))
    assert (found.notes, found.meta, found.ref, bool(found)) == (left, {}, None, left is not None)


@pytest.mark.parametrize(
    ("has", "left"),
    [({STORAGE: "0417"}, {}), ({STORAGE: " 0417 ", SOURCE: "x"}, {}), ({}, {STORAGE: "0417"}),
     ({STORAGE: None}, {STORAGE: "0417"}), ({STORAGE: ""}, {STORAGE: "0417"}),
     ({STORAGE: "417"}, {STORAGE: "0417"}), ({SOURCE: "0417"}, {STORAGE: "0417"})],
    ids=str,
)  # fmt: skip
def test_of_crm_values_only_those_that_the_case_has_not_got_differ(has, left):
    wanted = row(meta={STORAGE: "0417"})
    assert difference(wanted, case(meta=has)).meta == left
    two = row(meta={STORAGE: "0417", PLAN: "YES"})
    assert difference(two, case(meta=has)).meta == {**left, PLAN: "YES"}


@pytest.mark.parametrize(
    ("has", "is_left"),
    [("2026-03-09", False), ("09/03/2026", False), ("2026-03-09T00:00:00.000000Z", False),
     ("2026-03-10", True), ("03/09/2026", True), ("soon", True), (None, True)],
)  # fmt: skip
def test_a_crm_date_differs_unless_the_case_has_that_day_in_whichever_form(has, is_left):
    wanted = row(meta={STORAGE: "2026-03-09"})
    assert bool(difference(wanted, case(meta={STORAGE: has})).meta) is is_left


@pytest.mark.parametrize(
    ("new_ref", "ref", "left"),
    [("N", "R", "N"), ("N", "N", None), ("N", "n", "N"), ("N", None, "N"), (None, "R", None)],
)
def test_a_reference_differs_in_the_very_letters(new_ref, ref, left):
    assert difference(row(new_ref=new_ref), case(ref=ref)).ref == left


def test_people_differ_who_are_not_in_the_case():
    wanted = row(customers=[ZOE, TOM])
    assert difference(wanted, case()).customers == [ZOE, TOM]
    assert difference(wanted, case(customers=[customer()])).customers == [TOM]
    assert not difference(wanted, case(customers=[customer(TOM), customer(ZOE, "p-2")]))


def test_who_was_there_before_is_nobody_who_was_added():
    another_zoe = customer(date_of_birth="1990-01-01")
    wanted, now = row(customers=[ZOE]), case(customers=[another_zoe])
    assert difference(wanted, now).customers == [ZOE]
    assert difference(wanted, now, frozenset()).customers == []
    assert difference(wanted, now, {"p-1"}).customers == [ZOE]


def test_people_are_no_fields_of_a_case():
    found = difference(row(customers=[ZOE]), case())
    assert (found.has_fields, bool(found)) == (False, True)
    assert found.fields({}) == {}


@pytest.mark.parametrize("values", [{"notes": "x"}, {"meta": {PLAN: "NO"}}, {"new_ref": "N"}])
def test_anything_a_case_has_once_is_a_field(values):
    found = difference(row(**values), case())
    assert (found.has_fields, bool(found), found.customers) == (True, True, [])


# -- what is sent of it --------------------------------------------------------------------------


def test_what_is_sent_is_what_differs_with_the_crm_values_that_are_to_stay():
    has = case(notes="same", meta={SOURCE: "Website", PLAN: None, STORAGE: "old", "x": ""})
    wanted = row(notes="same", meta={STORAGE: "new"}, new_ref="N", customers=[ZOE])
    change = change_entry(wanted, {}, {SOURCE, STORAGE})
    change.see(has)
    # of a field that isn't there any more the server wants to hear nothing
    has_removed = case(notes="same", meta={**has.meta, "removed": "x"})
    for seen in (has, has_removed):
        change.see(seen)
        assert change.other_values == {SOURCE: "Website"}
    assert change.to_do.fields({}) == {"ref": "N", "meta": {STORAGE: "new"}}
    assert change.to_do.fields(change.other_values) == {
        "ref": "N", "meta": {SOURCE: "Website", STORAGE: "new"},
    }  # fmt: skip
    other = difference(row(notes="other", meta={STORAGE: "old"}), has)
    assert other.fields(change.other_values) == {"notes": "other"}


texts = st.text(st.sampled_from("aA é\r\n\t"), max_size=3)
values = st.dictionaries(st.sampled_from([SOURCE, PLAN, STORAGE]), texts | st.none(), max_size=3)
given_texts = texts.map(clean).filter(bool)


@given(
    texts | st.none(),
    values,
    given_texts | st.none(),
    st.dictionaries(st.sampled_from([SOURCE, PLAN, STORAGE]), given_texts),
    given_texts | st.none(),
    st.sampled_from(["merge", "replace"]),
)
def test_what_is_sent_makes_the_case_what_was_wanted_and_loses_nothing_it_had(
    notes: str | None,
    meta: dict[str, str | None],
    new_notes: str | None,
    new_meta: dict[str, str],
    new_ref: str | None,
    meta_update: Literal["merge", "replace"],
):
    wanted = row(notes=new_notes, meta=new_meta, new_ref=new_ref)
    before: dict[str, Any] = {"ref": "R-1", "notes": notes, "meta": meta}
    change = change_entry(wanted, {})
    change.see(case(**before))
    sent = change.to_do.fields(change.other_values)
    after = before | changed_fields(before, cleaned(sent), meta_update)
    assert not difference(wanted, case(**after))
    if not sent:
        assert after == before
    for key, value in meta.items():
        if key not in new_meta and (value or "").strip():
            assert (after["meta"][key] or "").strip() == value.strip()
    if new_notes is None:
        assert after["notes"] == notes


# -- an entry ------------------------------------------------------------------------------------


def test_an_entry_nothing_was_done_about_says_so():
    fresh = entry(7, id="c-1", notes="x")
    assert list(fresh.row_outcomes()) == [
        ChangeOutcome(
            7, "c-1", "none", Outcome.NOT_ATTEMPTED, None, "stopped", SENTENCES["stopped"]
        )
    ]


def test_an_entry_that_sees_its_case_knows_what_is_left():
    seen = entry(notes="x", new_ref="N")
    seen.see(case("c-9", notes="x"))
    assert (seen.case_id, seen.to_do.ref, seen.to_do.notes) == ("c-9", "N", None)
    seen.see(case("c-9", "N", notes=None))
    assert (seen.to_do.ref, seen.to_do.notes) == (None, "x")
    seen.see(case("c-9", "N", notes="x"))
    assert not seen.to_do


def planned(has: FoundCase, **values: Any) -> ChangeEntry:
    made = entry(**values)
    made.see(has)
    made.plan()
    return made


def shown(made: ChangeEntry) -> list[dict[str, Any]]:
    """Before and after, as the outcome file has them."""
    [outcome] = made.row_outcomes()
    assert isinstance(outcome, ChangeOutcome)
    return [json.loads(text or "null") for text in (outcome.before, outcome.after)]


def test_a_planned_entry_shows_each_column_that_differs_before_and_after():
    has = case(notes="old", meta={SOURCE: "Website", STORAGE: "1"}, customers=[customer(TOM)])
    wanted = {
        "notes": 'é "new"\n',
        "meta": {SOURCE: "Website", STORAGE: "2", PLAN: "YES"},
        "new_ref": "N",
        "customers": [TOM, ZOE],
    }
    assert shown(planned(has, **wanted)) == [
        {
            "ref": "R-1", "notes": "old", "Meta: Storage reference": "1", PLAN: None,
            "customers": ["Tom O'Brien"],
        },
        {
            "ref": "N", "notes": 'é "new"\n', "Meta: Storage reference": "2", PLAN: "YES",
            "customers": ["Tom O'Brien", "Zoë Núñez"],
        },
    ]  # fmt: skip
    assert "é" in (planned(has, **wanted).after or "")


def test_what_does_not_differ_is_not_shown():
    assert shown(planned(case(notes="x"), notes="x", new_ref="N")) == [{"ref": "R-1"}, {"ref": "N"}]
    assert shown(planned(case(notes=None), notes="x")) == [{"notes": None}, {"notes": "x"}]


def test_somebody_without_a_name_is_shown_too():
    nobody = customer(first_names=None, last_name=None)
    assert shown(planned(case(customers=[nobody]), customers=[TOM])) == [
        {"customers": [""]}, {"customers": ["", "Tom O'Brien"]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("now", "may_go", "end"),
    [
        ({"notes": "old", "meta": {STORAGE: "1"}}, True, None),
        ({"notes": "old", "meta": {STORAGE: "1", SOURCE: "Website"}}, True, None),
        ({"notes": "new", "meta": {STORAGE: "1"}}, True, None),
        ({"notes": "new", "meta": {STORAGE: "2"}}, False, ("unchanged", None)),
        ({"notes": "somebody's", "meta": {STORAGE: "1"}}, False, ("conflict", "changed_meanwhile")),
        ({"notes": None, "meta": {STORAGE: "1"}}, False, ("conflict", "changed_meanwhile")),
        ({"notes": "old", "meta": {STORAGE: "3"}}, False, ("conflict", "changed_meanwhile")),
        ({"notes": "old", "meta": {}}, False, ("conflict", "changed_meanwhile")),
        ({"notes": "new", "meta": {STORAGE: "3"}}, False, ("conflict", "changed_meanwhile")),
    ],
    ids=str,
)
def test_right_before_it_is_sent_a_change_gives_way_to_what_somebody_changed_meanwhile(
    now, may_go, end
):
    has = case(notes="old", meta={STORAGE: "1"})
    made = planned(has, notes="new", meta={STORAGE: "2"})
    seen = case(**now)
    assert made.catch_up(seen) is may_go
    if may_go:
        assert made.outcome is Outcome.NOT_ATTEMPTED
        assert made.case is made.first_seen is seen
        assert made.planned == made.to_do == difference(made.wanted, seen)
    else:
        assert ends(made) == [end]
        assert ("Meta: Storage reference" in str(made.message)) is (
            end[0] == "conflict" and now["meta"] != {STORAGE: "1"}
        )


def test_of_a_case_that_was_not_read_again_what_was_seen_before_counts():
    made = planned(case(notes="old"), notes="new")
    before = made.to_do
    assert made.catch_up(None)
    assert made.to_do is before


def test_a_change_that_was_asked_for_before_and_is_there_is_updated_and_its_plan_stays():
    asked = planned(case(notes="old", meta={}), notes="new", meta={STORAGE: "2"})
    asked.attempts = 1
    assert asked.catch_up(case(notes="new", meta={}))
    assert asked.planned.notes == "new"
    assert not asked.catch_up(case(notes="new", meta={STORAGE: "2"}))
    assert ends(asked) == [("updated", None)]


def test_other_values_that_a_request_has_taken_are_put_back_with_what_is_left():
    made = planned(case(meta={SOURCE: "Website", PLAN: "YES"}), meta={STORAGE: "2"})
    assert made.lost_values == {}
    made.at_risk = {SOURCE: "Website", PLAN: "YES"}
    made.see(case(meta={STORAGE: "2", PLAN: "NO"}))
    assert made.lost_values == made.to_do.meta == {SOURCE: "Website"}
    made.see(case(meta={SOURCE: "", PLAN: "YES"}))
    assert made.to_do.meta == {SOURCE: "Website", STORAGE: "2"}
    made.see(case(meta={SOURCE: "Website", STORAGE: "2", PLAN: "YES"}))
    assert not made.to_do


@pytest.mark.parametrize(
    ("now", "is_otherwise"),
    [("old", False), ("new", False), (" old ", False), ("new, cut", True), (None, True)],
)
def test_a_case_that_has_neither_what_it_had_nor_what_was_wanted_was_changed_otherwise(
    now, is_otherwise
):
    made = planned(case(notes="old"), notes="new")
    made.see(case(notes=now))
    assert made.is_changed_otherwise is is_otherwise
    if is_otherwise:
        made.end_changed_otherwise()
        assert ends(made) == [("partial", "not_as_asked")]
        assert shown(made) == [{"notes": "old"}, {"notes": now}]
    assert not entry(notes="new").is_changed_otherwise


@pytest.mark.parametrize(
    ("answered", "is_open"),
    [(Answered.NOT_YET, False), (Answered.ACCEPTED, False), (Answered.SETTLED, False),
     (Answered.UNREACHED, True), (Answered.OPEN, True)],
)  # fmt: skip
def test_what_no_answer_has_settled_may_be_sent_again(answered, is_open):
    made = entry(notes="new")
    made.answered = answered
    assert made.is_open is is_open


def test_what_customers_lack_of_what_the_row_has_is_told_but_for_names_and_unshown_birth_dates():
    made = entry(customers=[ZOE | {"tel_1": "07700 900123"}])
    made.see(case(customers=[customer(ZOE, tel_1=None, date_of_birth=None)]))
    assert made.lost_of_people(shows_births=True) == ["date_of_birth", "tel_1"]
    assert made.lost_of_people(shows_births=False) == ["tel_1"]


def test_what_was_planned_stays_shown_whatever_the_case_becomes():
    made = planned(case(), notes="x")
    before = shown(made)
    made.see(case(notes="x"))
    assert shown(made) == before == [{"notes": None}, {"notes": "x"}]
    assert made.action == "update"


def test_a_plan_knows_who_was_in_the_case_so_that_a_new_namesake_is_the_one_added():
    stranger = customer(ZOE, "p-0", date_of_birth="1990-01-01")
    made = planned(case(customers=[stranger]), customers=[ZOE])
    assert made.known_people == {"p-0"}
    made.see(case(customers=[stranger, customer(ZOE, "p-2", date_of_birth="1959-01-01")]))
    assert not made.to_do


def test_a_reopened_entry_is_as_if_nothing_had_been_asked():
    made = planned(case("c-9"), notes="x")
    made.end(Outcome.CONFLICT, "ref_taken", ids="c-2")
    made.reopen()
    assert (made.case, made.case_id, made.to_do) == (None, None, Difference())
    assert list(made.row_outcomes()) == list(entry(notes="x").row_outcomes())


def test_an_end_has_the_sentence_of_its_code_filled_in():
    made = entry()
    made.end(Outcome.CONFLICT, "ref_twice", ids="c-1, c-2")
    assert made.message == "More than one case has this reference: c-1, c-2. Give the id instead."
    made.end(Outcome.REJECTED, "status_422", "{They} said.", case_id="c-3")
    assert (made.code, made.message, made.case_id) == ("status_422", "{They} said.", "c-3")
    made.end(Outcome.REJECTED, "refused_after", said="the {ref} is taken")
    assert "the {ref} is taken" in made.message
    made.end(Outcome.UPDATED)
    assert (made.code, made.message, made.case_id) == (None, None, "c-3")
    made.end(Outcome.FAILED, "a code without a sentence")
    assert (made.code, made.message) == ("a code without a sentence", None)


@pytest.mark.parametrize("code", SENTENCES)
def test_each_sentence_can_be_filled_and_ends_as_one(code):
    names = {name for _, name, _, _ in string.Formatter().parse(SENTENCES[code]) if name}
    made = entry()
    made.end(Outcome.FAILED, code, **dict.fromkeys(names, "Z9."))
    assert made.message is not None
    assert made.message.count("Z9.") == len(names)
    assert made.message.rstrip().endswith((".", "Z9."))
    assert "{" not in made.message


# -- who has nothing to do -----------------------------------------------------------------------


def seen(has: FoundCase, **values: Any) -> ChangeEntry:
    made = entry(**values)
    made.see(has)
    return made


def test_rows_whose_cases_have_everything_are_unchanged_and_the_others_planned():
    done = seen(case(notes="x"), notes="x")
    to_do = seen(case(), notes="x")
    assert end_unchanged([done, to_do]) == [to_do]
    assert ends(done, to_do) == [("unchanged", None), ("not_attempted", "stopped")]
    assert [done.action, to_do.action] == ["none", "update"]
    assert [done.before, done.after] == [None, None]


def test_a_namesake_at_the_same_address_is_for_a_person_to_look_at_whatever_else_is_to_do():
    son = customer(ZOE, date_of_birth="1990-01-01", postcode="QX1 1ZZ")
    zoe = ZOE | {"postcode": "QX1 1ZZ"}
    clashes = [
        seen(case(customers=[son]), customers=[zoe]),
        seen(case(customers=[son]), customers=[zoe, TOM], notes="x", new_ref="N"),
    ]
    assert end_unchanged(clashes) == []
    assert ends(*clashes) == [("conflict", "perhaps_there")] * 2


def test_a_row_with_both_namesakes_of_an_address_means_two_people():
    father = ZOE | {"postcode": "QX1 1ZZ"}
    son = father | {"date_of_birth": "05/06/1990"}
    has = case(customers=[customer(father)])
    both, alone = seen(has, customers=[father, son]), seen(has, customers=[son])
    assert end_unchanged([both, alone]) == [both]
    assert both.to_do.customers == [son]
    assert (both.remark, ends(alone)) == (None, [("conflict", "perhaps_there")])


def test_somebody_who_is_certainly_there_needs_no_word():
    done = seen(case(customers=[customer(ZOE, date_of_birth="1960-02-01")]), customers=[ZOE])
    assert end_unchanged([done]) == []
    assert ends(done) == [("unchanged", None)]


def test_a_namesake_of_whom_nothing_is_known_is_taken_to_be_the_person_and_said_so():
    done = seen(case(customers=[customer(TOM)]), customers=[TOM])
    assert end_unchanged([done]) == []
    assert ends(done) == [("unchanged", "same_names")]
    assert "add the person in WillSuite" in (done.message or "")


@pytest.mark.parametrize("more", [{"notes": "x"}, {"new_ref": "N"}, {"customers": [TOM, ZOE]}])
def test_a_namesake_is_remarked_on_even_where_something_else_is_to_do(more):
    made = seen(case(customers=[customer(TOM)]), **({"customers": [TOM]} | more))
    assert end_unchanged([made]) == [made]
    assert made.remark == "same_names"
    sure = seen(case(), **({"customers": [TOM]} | more))
    assert end_unchanged([sure]) == [sure]
    assert sure.remark is None


def test_columns_are_counted_by_the_rows_that_differ_in_them():
    differing = [
        planned(case(), notes="x", new_ref="N"),
        planned(case(), notes="y", meta={STORAGE: "1"}),
        planned(case(), notes="z", customers=[ZOE, TOM]),
        entry(notes="not looked at"),
    ]
    assert list(changed_columns(differing).items()) == [
        ("notes", 3), ("ref", 1), ("Meta: Storage reference", 1), ("customers", 1),
    ]  # fmt: skip
    assert changed_columns([]) == {}


# -- all rows of a file --------------------------------------------------------------------------


def test_a_ledger_has_each_row_once_in_the_order_of_the_file_at_any_moment():
    issues = {
        4: [Issue(4, "Notes", "damaged_text", "Type it anew.")],
        2: [
            Issue(2, None, "key_missing", "No key."),
            Issue(2, "meta:x", "meta_option", "meta:x must be one of: a."),
        ],
    }
    entries = [entry(5, ref="E"), entry(3, id="c-3", notes="x")]
    ledger = Ledger(entries, issues, {4: "D", 3: "c-3", 5: "E"})
    outcomes = ledger.outcomes()
    assert [outcome.row for outcome in outcomes] == [2, 3, 4, 5]
    table = outcome_table(outcomes, [2, 3, 4, 5], CHANGE_OUTCOMES).to_pylist()
    assert [tuple(each.values())[:8] for each in table] == [
        (2, None, "none", "rejected", None, "key_missing", "No key. meta:x must be one of: a.", 0),
        (3, "c-3", "none", "not_attempted", None, "stopped", SENTENCES["stopped"], 0),
        (4, "D", "none", "rejected", None, "damaged_text", "Notes: Type it anew.", 0),
        (5, "E", "none", "not_attempted", None, "stopped", SENTENCES["stopped"], 0),
    ]
    entries[1].see(case("c-3"))
    entries[1].plan()
    entries[1].attempts += 1
    entries[1].end(Outcome.UPDATED)
    table = outcome_table(ledger.outcomes(), [2, 3, 4, 5], CHANGE_OUTCOMES).to_pylist()
    assert list(table[1].values()) == [
        3, "c-3", "update", "updated", "c-3", None, None, 1, '{"notes": null}', '{"notes": "x"}',
    ]  # fmt: skip


# -- privacy -------------------------------------------------------------------------------------

CANARY = "Zq7canary"


def test_neither_an_entry_nor_what_it_holds_shows_a_value_in_a_traceback():
    person = ZOE | {"first_names": CANARY, "last_name": CANARY}
    has = case(
        notes=CANARY, meta={SOURCE: CANARY}, customers=[customer(person | {"title": CANARY})]
    )
    wanted = WantedChange(2, "c-1", "R-1", CANARY * 2, {STORAGE: CANARY}, CANARY, (person | TOM,))
    made = change_entry(wanted, {STORAGE: f"meta:{CANARY}"})
    made.see(has)
    made.plan()
    made.end(Outcome.REJECTED, "status_422", CANARY)
    found = Found()
    found.add(has, has_ref=True, has_id=True)
    for each in (made, made.to_do, wanted, has, found, [made]):
        for text in (repr(each), str(each), pretty_repr(each)):
            assert CANARY not in text
    assert "c-1" in repr(made)


def test_what_was_cleaned_is_said_beside_what_became_of_the_row():
    done, failed = entry(2, id="c-2"), entry(3, id="c-3")
    done.end(Outcome.UNCHANGED)
    failed.end(Outcome.FAILED, "x", "No.")
    outcomes = Ledger([done, failed], {}, {}, {2: "Cleaned.", 3: "Cleaned."}).outcomes()
    assert [(each.code, each.message) for each in outcomes] == [
        ("cleaned", "Cleaned."), ("x", "No. Cleaned."),
    ]  # fmt: skip
