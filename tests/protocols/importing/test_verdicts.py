"""What a case that was found does to the row that wants it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from protocols.importing.entries import NewCaseEntry, Refusal, new_case_entry
from protocols.importing.verdicts import (
    compare_existing,
    confirm,
    confirm_refusal,
    refuse_decimal,
)
from protocols.reading.found import Found, FoundCase
from schemas.import_plan import PlannedCase
from schemas.outcomes import Outcome
from schemas.texts import canonical, collision_key

ZOE = {
    "title": "Ms",
    "first_names": "Zoë",
    "last_name": "Núñez",
    "date_of_birth": "18/10/1963",
    "postcode": "QX1 1ZZ",
}
TOM = {"title": "Mr", "first_names": "Tom", "last_name": "O'Brien", "date_of_birth": "02/01/1981"}
OLD_ZOE = ZOE | {"date_of_birth": "1931-04-05"}
ANN = {"title": "Ms", "first_names": "Ann", "last_name": "Hill", "date_of_birth": "1990-01-01"}


def entry_of(*people: Mapping[str, Any], **fields: Any) -> NewCaseEntry:
    body = {"ref": "A-1"} | ({"customers": list(people)} if people else {}) | fields
    columns = tuple(f"customer_{number}_" for number, _ in enumerate(people, start=1))
    return new_case_entry(PlannedCase("A-1", (2,), body, columns), {})


def case_of(*people: Mapping[str, Any], case_id: str = "c-1", ref: str = "A-1") -> FoundCase:
    there = [{"id": f"p-{number}"} | person for number, person in enumerate(people)]
    return FoundCase.of(case_id, there, {}, None, ref)


def found_of(cases: Sequence[FoundCase], *, is_other_spelling: bool = False) -> Found:
    if is_other_spelling:
        return Found(by_key={collision_key("A-1"): list(cases)})
    return Found(by_ref={canonical("A-1"): list(cases)})


def end_of(entry: NewCaseEntry) -> tuple[str, str | None, str | None]:
    return entry.outcome.value, entry.code, entry.case_id


@pytest.mark.parametrize(
    ("wanted", "there", "outcome", "code"),
    [
        ([ZOE], [ZOE], "existing", None),
        ([ZOE, TOM], [TOM, ZOE, ANN], "existing", None),
        ([], [], "existing", None),
        ([], [ANN], "existing", None),
        ([ZOE], [], "partial", "customers_missing"),
        ([ZOE, TOM], [ZOE], "partial", "customers_missing"),
        ([ZOE, TOM], [TOM, OLD_ZOE], "partial", "customers_unsure"),
        ([ZOE], [OLD_ZOE], "conflict", "customers_unsure"),
        ([ZOE, TOM], [OLD_ZOE], "conflict", "customers_unsure"),
        ([ZOE], [ANN], "conflict", "other_people"),
        ([ZOE, TOM], [ANN], "conflict", "other_people"),
    ],
)
def test_what_a_case_with_the_rows_reference_is_to_it_is_told_by_who_is_in_it(
    wanted: list[dict[str, Any]], there: list[dict[str, Any]], outcome: str, code: str | None
) -> None:
    entry = entry_of(*wanted)
    compare_existing(entry, found_of([case_of(*there)]))
    assert end_of(entry) == (outcome, code, "c-1")
    assert entry.action == "none"
    if code is not None:
        assert f"{len(wanted)} customer(s)" in str(entry.message)
        is_unsure = OLD_ZOE in there
        assert ("1 may be under another birth date" in str(entry.message)) is is_unsure


@pytest.mark.parametrize(
    ("wanted", "there", "outcome", "code"),
    [
        ([ZOE], [ZOE], "existing", None),
        ([ZOE], [], "conflict", "ref_spelled_otherwise"),
        ([ZOE, TOM], [ZOE], "conflict", "ref_spelled_otherwise"),
        ([], [ZOE], "conflict", "ref_spelled_otherwise"),
    ],
)
def test_a_case_whose_reference_is_spelled_otherwise_must_have_all_of_the_rows_people(
    wanted: list[dict[str, Any]], there: list[dict[str, Any]], outcome: str, code: str | None
) -> None:
    entry = entry_of(*wanted)
    compare_existing(entry, found_of([case_of(*there, ref="Ä-1")], is_other_spelling=True))
    assert end_of(entry) == (outcome, code, "c-1")


def test_of_two_cases_with_the_rows_reference_none_is_taken() -> None:
    both = [case_of(ZOE), case_of(ZOE, case_id="c-2")]
    before, after = entry_of(ZOE), entry_of(ZOE)
    compare_existing(before, found_of(both))
    confirm(after, both, None)
    assert (before.outcome, before.code) == (Outcome.CONFLICT, "ref_twice")
    assert (after.outcome, after.code) == (Outcome.CONFLICT, "duplicate_case")
    assert all("c-1, c-2" in str(entry.message) for entry in (before, after))


@pytest.mark.parametrize(
    ("sent", "made", "end", "is_created"),
    [
        ([ZOE], [ZOE], ("created", "found_later"), True),
        ([], [], ("created", "found_later"), True),
        ([], [ANN], ("created", "found_later"), True),
        ([ZOE], [], ("partial", "lacking"), True),
        ([ZOE], [ZOE | {"title": None}], ("partial", "lacking"), True),
        ([ZOE, TOM], [ZOE, ANN], ("partial", "lacking"), True),
        ([ZOE], [ANN], ("conflict", "other_people"), False),
        ([ZOE, TOM], [ANN], ("conflict", "other_people"), False),
    ],
)
def test_a_case_that_was_found_after_it_was_sent_is_ours_if_somebody_of_ours_is_in_it(
    sent: list[dict[str, Any]],
    made: list[dict[str, Any]],
    end: tuple[str, str],
    is_created: bool,
) -> None:
    entry = entry_of(*sent)
    confirm(entry, [case_of(*made)], "found_later")
    assert end_of(entry) == (*end, "c-1")
    assert entry.is_created is is_created


def test_of_fields_that_the_server_shows_of_nobody_nothing_is_said() -> None:
    entry = entry_of(ZOE)
    confirm(entry, [case_of(ZOE | {"title": None})], None, frozenset({"title"}))
    assert end_of(entry) == ("created", None, "c-1")


@pytest.mark.parametrize(
    ("is_ref_taken", "outcome", "code"),
    [(True, Outcome.CONFLICT, "ref_taken"), (False, Outcome.REJECTED, "status_422")],
)
def test_a_refusal_of_a_case_that_is_not_there_is_told_in_its_words(
    is_ref_taken: bool, outcome: Outcome, code: str
) -> None:
    entry = entry_of(ZOE)
    entry.refusal = Refusal("status_422", "The ref is odd.", is_ref_taken)
    confirm_refusal(entry)
    assert (entry.outcome, entry.code) == (outcome, code)
    assert ("The ref is odd." in str(entry.message)) is not is_ref_taken


@pytest.mark.parametrize(
    ("ref", "there", "is_refused"),
    [
        ("9001.0", "9001", True),
        ("9001.00", "9001", True),
        ("-9001.0", "-9001", True),
        ("9001.0", "90010", False),
        ("9001.5", "9001", False),
        ("9001", "9001.0", False),
        ("A9001.0", "A9001", False),
    ],
)
def test_a_reference_to_which_a_program_added_a_decimal_is_no_new_case(
    ref: str, there: str, is_refused: bool
) -> None:
    entry = new_case_entry(PlannedCase(ref, (2,), {"ref": ref}), {})
    found = Found()
    found.add(FoundCase.of("c-1", (), {}, None, there), has_ref=True, has_id=False)
    assert refuse_decimal(entry, found) is is_refused
    assert (entry.outcome is Outcome.REJECTED, entry.code == "ref_decimal") == (is_refused,) * 2
    assert ("c-1" in str(entry.message)) is is_refused
