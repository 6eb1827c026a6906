"""Which case each row means: first without any request, then from an account."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from made_changes import (
    PLAN,
    STORAGE,
    TOM,
    ZOE,
    asked,
    case,
    customer,
    ends,
    entry,
    in_a_run,
    left_in,
)

from protocols.reading.found import Found, FoundCase
from protocols.updating.changes import ChangeEntry, change_entry
from protocols.updating.matching import end_unchanged_by, look_at, match
from sandbox.faults import Fault, Status
from sandbox.people import case_of
from sandbox.server import Sandbox
from tasks.progress import Progress
from willsuite.errors import RejectedError

StartSandbox = Callable[..., Sandbox]


def found(*cases: FoundCase) -> Found:
    """An answer about all of these, by reference and by id."""
    answer = Found()
    for each in cases:
        answer.add(each, has_ref=True, has_id=True)
    return answer


# -- the case of a row ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [{"id": "c-1"}, {"id": "C-1"}, {"ref": "R-1"}, {"ref": "r-1"}, {"ref": " Ｒ-1 "},  # noqa: RUF001
     {"id": "c-1", "ref": "r-1"}],
    ids=ascii,
)  # fmt: skip
def test_a_row_finds_its_case_by_id_or_reference_however_written(names):
    one = entry(notes="x", **names)
    assert match([one], found(case(), case("c-2", "R-2"))) == [one]
    assert (one.case_id, one.to_do.notes) == ("c-1", "x")
    assert ends(one) == [("not_attempted", "stopped")]


@pytest.mark.parametrize(
    "names",
    [{"id": "c-9"}, {"ref": "R-9"}, {"id": "R-1"}, {"ref": "c-1"}, {"id": "c-9", "ref": "R-1"}],
)
def test_a_row_whose_case_is_not_there_is_rejected(names):
    one = entry(notes="x", **names)
    assert match([one], found(case())) == []
    assert ends(one) == [("rejected", "not_found")]
    assert one.case_id is None


def test_a_reference_to_which_a_program_added_a_decimal_is_said_to_be_such_unless_a_case_has_it():
    one, there = entry(ref="9001.0", notes="x"), entry(ref="9002.0", notes="x")
    cases = [case("c-1", "9001"), case("c-2", "9002"), case("c-3", "9002.0")]
    assert match([one, there], found(*cases)) == [there]
    assert ends(one) == [("rejected", "ref_decimal")]
    assert there.case_id == "c-3"


def test_ids_that_differ_by_their_letters_case_only_are_told_apart_if_they_can_be():
    both = found(case("abc", "R-1"), case("ABC", "R-2"))
    exact, unclear = entry(id="ABC", notes="x"), entry(id="Abc", notes="x")
    assert match([exact, unclear], both) == [exact]
    assert exact.case_id == "ABC"
    assert ends(unclear) == [("rejected", "not_found")]


def test_a_reference_that_several_cases_have_names_none_and_the_person_is_told_which():
    one = entry(ref="R-1", notes="x")
    assert match([one], found(case("c-1"), case("c-2", "r-1"))) == []
    assert ends(one) == [("conflict", "ref_twice")]
    assert "c-1, c-2" in (one.message or "")


def test_a_row_with_the_id_of_one_case_and_the_reference_of_another_is_in_conflict():
    one, other = entry(id="c-1", ref="R-2", notes="x"), entry(3, id="c-2", ref="R-1", notes="x")
    assert match([one, other], found(case(), case("c-2", None))) == []
    assert ends(one, other) == [("conflict", "id_and_ref_differ")] * 2
    assert [one.case_id, other.case_id] == ["c-1", "c-2"]


def test_a_row_that_has_changed_its_reference_already_still_knows_its_case_by_the_id():
    done = entry(id="c-1", ref="R-1", new_ref="N-1")
    other = entry(3, id="c-2", ref="R-2", new_ref="N-2")
    assert match([done, other], found(case("c-1", "n-1"), case("c-2", "X"))) == [done]
    assert done.to_do.ref == "N-1"  # in its own letters
    assert ends(other) == [("conflict", "id_and_ref_differ")]


def test_a_case_that_two_rows_name_in_different_ways_is_for_neither():
    by_id, by_ref = entry(2, id="c-1", notes="x"), entry(3, ref="r-1", notes="y")
    third, alone = entry(9, id="C-1", notes="x"), entry(4, ref="R-2", notes="z")
    rest = match([by_id, by_ref, alone], found(case(), case("c-2", "R-2")))
    assert rest == [alone]
    assert ends(by_id, by_ref) == [("rejected", "case_repeated")] * 2
    assert ["Row 3 " in (by_id.message or ""), "Row 2 " in (by_ref.message or "")] == [True] * 2
    for each in (by_id, by_ref):
        each.reopen()
    assert match([by_id, by_ref, third], found(case())) == []
    assert ends(by_id, by_ref, third) == [("rejected", "case_repeated")] * 3


def test_a_new_reference_that_another_case_has_is_a_conflict_and_names_that_case():
    one = entry(id="c-1", new_ref="R-2", notes="x")
    assert match([one], found(case(), case("c-2", "r-2"), case("c-3", "R-2"))) == []
    assert ends(one) == [("conflict", "ref_taken")]
    assert "c-2, c-3" in (one.message or "")
    assert one.case_id == "c-1"


def test_a_new_reference_that_only_the_case_itself_has_is_free():
    respelt, same = entry(2, id="c-1", new_ref="r-1"), entry(3, id="c-2", new_ref="R-2")
    assert match([respelt, same], found(case(), case("c-2", "R-2"))) == [respelt, same]
    assert (respelt.to_do.ref, same.to_do.ref) == ("r-1", None)


def test_a_row_whose_reference_was_changed_by_an_earlier_run_is_unchanged():
    one = entry(ref="R-1", new_ref="N-1", notes="x")
    assert match([one], found(case("c-1", "N-1", notes="x"))) == []
    assert ends(one) == [("unchanged", "renamed_already")]
    assert one.case_id == "c-1"


def test_a_case_under_the_new_reference_that_differs_may_be_another():
    one = entry(ref="R-1", new_ref="N-1", notes="x")
    assert match([one], found(case("c-1", "N-1", notes="y"))) == []
    assert ends(one) == [("conflict", "ref_unclear")]
    assert one.case_id == "c-1"


def test_neither_reference_or_the_new_one_twice_is_no_case():
    one, other = entry(2, ref="R-1", new_ref="N-1"), entry(3, ref="R-2", new_ref="N-2")
    assert match([one, other], found(case("c-1", "N-2"), case("c-2", "n-2"))) == []
    assert ends(one, other) == [("rejected", "not_found")] * 2


def test_a_row_without_a_new_reference_is_not_looked_for_under_none():
    one = entry(ref="R-1", notes="x")
    assert match([one], found(case("c-1", None, notes="x"), case("c-2", "", notes="x"))) == []
    assert ends(one) == [("rejected", "not_found")]


def test_an_id_that_is_not_there_is_not_replaced_by_what_has_the_new_reference():
    one = entry(id="c-9", new_ref="N-1")
    assert match([one], found(case("c-1", "N-1"))) == []
    assert ends(one) == [("rejected", "not_found")]


# -- what an export knows ------------------------------------------------------------------------


def fresh(entries: Iterable[ChangeEntry]) -> list[ChangeEntry]:
    return [change_entry(each.wanted, each.meta_headers) for each in entries]


def test_rows_whose_cases_had_everything_when_exported_are_unchanged_and_the_rest_is_open():
    done = entry(2, ref="R-1", notes="x")
    rest = [
        entry(3, ref="R-2", notes="y"),  # differs
        entry(4, ref="R-9", notes="x"),  # not in it
        entry(5, id="c-1", ref="R-2", notes="x"),  # in conflict
        entry(6, ref="R-4", notes="x"),  # twice in it
        entry(7, id="c-5", notes="x"),  # two rows of a case
        entry(8, ref="R-5", notes="x"),
    ]
    export = found(
        case(notes="x"), case("c-2", "R-2", notes="x"), case("c-3", "R-4", notes="x"),
        case("c-4", "R-4", notes="x"), case("c-5", "R-5", notes="x"),
    )  # fmt: skip
    entries = [rest[0], done, *rest[1:]]
    assert end_unchanged_by(export, entries) == rest
    assert ends(done) == [("unchanged", None)]
    assert done.case_id == "c-1"
    assert rest == fresh(rest)


def test_an_export_shows_no_people_so_nobody_is_taken_to_be_there():
    one = entry(ref="R-1", customers=[ZOE])
    assert end_unchanged_by(found(case()), [one]) == [one]
    assert [one] == fresh([one])


# -- looking into an account ---------------------------------------------------------------------


def look(
    entries: Sequence[ChangeEntry], tmp_path: Path, *between: Callable[[], None]
) -> list[ChangeEntry]:
    """What is to be done after a look, and one more after each of `between`."""

    async def work(progress: Progress) -> list[ChangeEntry]:
        to_do = await look_at(entries, tmp_path / "work", progress)
        for happens in between:
            happens()
            to_do = await look_at(to_do, tmp_path / "work", progress)
        return to_do

    to_do = in_a_run(work)
    assert left_in(tmp_path / "work") == []
    return to_do


@pytest.mark.usefixtures("prefect_server")
class TestLookAt:
    def test_an_account_is_not_asked_for_nothing(
        self, start_sandbox: StartSandbox, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(cases=5)
        assert look([], tmp_path) == []
        assert asked(sandbox) == []

    def test_each_row_gets_its_outcome_or_its_case_with_what_is_to_be_done(
        self, start_sandbox: StartSandbox, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(cases=9)
        first, second, third, fourth, fifth = sandbox.store.ids[:5]
        sandbox.store.change(fifth, ref="9001")
        for case_id in (first, second, third):
            sandbox.store.change(case_id, notes="there", ref=f"R {case_id[:4]}", meta={PLAN: "NO"})
        sandbox.store.change(second, customers=[person(ZOE, "p-1"), person(TOM, "p-2")])
        entries = [
            entry(2, id=first, notes="there", meta={PLAN: "NO"}),
            entry(3, ref=f"r {second[:4]}", customers=[TOM, ZOE], notes="new"),
            entry(4, ref=f"R {third[:4]}", new_ref=f"r {first[:4]}"),
            entry(5, id="nobody", notes="x"),
            entry(6, ref="nobody", new_ref="nowhere", notes="x"),
            entry(7, id=fourth, customers=[ZOE], meta={STORAGE: "1"}),
            entry(8, ref="9001.0", notes="x"),
        ]
        planned = [entries[1], entries[5]]
        assert look(entries, tmp_path) == planned
        assert ends(*entries) == [
            ("unchanged", None), ("not_attempted", "stopped"), ("conflict", "ref_taken"),
            ("rejected", "not_found"), ("rejected", "not_found"), ("not_attempted", "stopped"),
            ("rejected", "ref_decimal"),
        ]  # fmt: skip
        assert [each.to_do.fields(each.other_values) for each in planned] == [
            {"notes": "new"},
            {"meta": (sandbox.store.case(fourth) or {})["meta"] | {STORAGE: "1"}},
        ]
        assert [each.to_do.customers for each in planned] == [[], [ZOE]]
        assert planned[0].known_people == {"p-1", "p-2"}
        assert planned[0].remark == "same_names"
        assert json.loads(planned[0].after or "") == {"notes": "new"}

    def test_of_a_list_that_hides_people_those_of_the_cases_are_asked_for(
        self, start_sandbox: StartSandbox, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(cases=1)
        case_id = sandbox.store.ids[0]
        zoe = person(ZOE, "p-1") | {"date_of_birth": "1960-02-01"}
        sandbox.store.change(case_id, ref="R-1", customers=[zoe])
        hide_people(sandbox)
        there, new = entry(ref="R-1", customers=[ZOE]), entry(ref="R-1", customers=[ZOE, TOM])
        assert look([there], tmp_path) == []
        assert ends(there) == [("unchanged", None)]
        assert look([new], tmp_path) == [new]
        assert (new.to_do.customers, new.known_people) == ([TOM], {"p-1"})
        assert asked(sandbox).count(f"/cases/{case_id}") == 2
        # nobody is asked for where nobody is to be added
        assert look([entry(ref="R-1", notes="x")], tmp_path)
        assert asked(sandbox).count(f"/cases/{case_id}") == 2

    @pytest.mark.parametrize("shown", [0, 1])
    def test_a_row_that_an_earlier_run_finished_is_unchanged_whoever_a_list_hides(
        self, shown: int, start_sandbox: StartSandbox, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(cases=1)
        case_id = sandbox.store.ids[0]
        both = [person(ZOE, "p-1") | {"date_of_birth": "1960-02-01"}, person(TOM, "p-2")]
        sandbox.store.change(case_id, ref="N-1", customers=both)
        hide_people(sandbox, shown)
        done = entry(ref="R-1", new_ref="N-1", customers=[TOM, ZOE])
        other = entry(ref="R-1", new_ref="N-1", customers=[TOM | {"last_name": "Ng"}])
        assert look([done], tmp_path) == look([other], tmp_path) == []
        assert ends(done, other) == [("unchanged", "renamed_already"), ("conflict", "ref_unclear")]
        assert [done.case_id, other.case_id] == [case_id] * 2

    def test_what_a_second_look_finds_done_shows_no_difference(
        self, start_sandbox: StartSandbox, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(cases=9)
        done, taken, rest = sandbox.store.ids[:3]

        def move_on() -> None:
            sandbox.store.change(done, notes="late")
            sandbox.store.put(new_case("c-77", "N-2"))

        entries = [
            entry(2, id=done, notes="late"),
            entry(3, id=taken, new_ref="N-2"),
            entry(4, id=rest, notes="late"),
        ]
        assert look(entries, tmp_path, move_on) == [entries[2]]
        assert ends(*entries) == [
            ("unchanged", None), ("conflict", "ref_taken"), ("not_attempted", "stopped"),
        ]  # fmt: skip
        assert [each.action for each in entries] == ["none", "none", "update"]
        assert [each.after for each in entries] == [None, None, '{"notes": "late"}']
        assert [each.before is None for each in entries] == [True, True, False]

    def test_a_look_that_fails_leaves_every_row_not_attempted(
        self, start_sandbox: StartSandbox, tmp_path: Path
    ) -> None:
        sandbox = start_sandbox(cases=5)
        sandbox.faults.append(Fault(Status(403), path="/cases/*", times=None))
        entries = [entry(id=case_id, notes="x") for case_id in sandbox.store.ids[:2]]
        with pytest.raises(RejectedError):
            look(entries, tmp_path)
        assert ends(*entries) == [("not_attempted", "stopped")] * 2


def person(values: dict[str, str], person_id: str) -> dict[str, object]:
    return customer(values, person_id, date_of_birth=None)


def new_case(case_id: str, ref: str) -> dict[str, object]:
    return case_of(case_id, ref=ref, notes=None, meta={}, is_active=1, customers=[])


def hide_people(sandbox: Sandbox, shown: int = 0) -> None:
    """From now on the list is what it is now, and shows only so many customers of a case."""
    cases = [json.loads(sandbox.store.rendered(case_id)) for case_id in sandbox.store.ids]
    for each in cases:
        each["customers"] = each["customers"][:shown] or None
    body = json.dumps({"data": cases, "per_page": 100, "last_page": 1, "total": len(cases)})
    sandbox.faults.append(Fault(Status(200, body=body), path="/cases", method="GET", times=None))
