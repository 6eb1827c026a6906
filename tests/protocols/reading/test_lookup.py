"""Which cases an account holds, and with how many requests that is found out."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from made_changes import ZOE, asked, case, in_a_run, left_in

from protocols.reading.found import Found, FoundCase, found_case
from protocols.reading.lookup import (
    changed_cases,
    current_cases,
    find_cases,
    ids_changed_since,
    with_people,
)
from sandbox.faults import Action, Change, Drop, Fault, Html, Status
from sandbox.people import case_of, new_id
from sandbox.server import Sandbox
from sandbox.store import Store
from tasks.policy import RunError
from tasks.progress import Progress
from willsuite import Case, Customer, WillSuiteClient, load_settings
from willsuite.errors import RejectedError, ServerError

pytestmark = pytest.mark.usefixtures("prefect_server", "impatient")

StartSandbox = Callable[..., Sandbox]
Call = Callable[[Path, Progress], Awaitable[Any]]

# -- an answer -----------------------------------------------------------------------------------


def answer(*cases: FoundCase, has_ref: bool = True, has_id: bool = True) -> Found:
    found = Found()
    for each in cases:
        found.add(each, has_ref=has_ref, has_id=has_id)
    return found


def test_a_case_is_found_by_that_alone_which_was_asked_for():
    by_id, by_ref = answer(case(), has_ref=False), answer(case(), has_id=False)
    assert (by_id.with_id("c-1"), by_id.with_ref("R-1")) == (case(), ())
    assert (by_ref.with_id("c-1"), by_ref.with_ref("R-1")) == (None, [case()])


def test_an_id_is_found_in_other_letters_unless_two_cases_have_it_then():
    found = answer(case("abc"), case("ABC"), case("d-1"))
    assert [found.with_id(text) for text in ("abc", "ABC", "Abc", "D-1", "d-2")] == [
        case("abc"), case("ABC"), None, case("d-1"), None,
    ]  # fmt: skip


def test_all_cases_of_a_reference_are_found_however_it_is_written():
    found = answer(case("a", "Ref 1"), case("b", "REF  1 "), case("c", "Ref 2"), case("d", None))
    assert [each.id for each in found.with_ref(" ref\xa01")] == ["a", "b"]
    assert found.with_ref("Ref 3") == ()


def test_of_two_answers_about_one_case_the_later_one_counts():
    old, new = case(notes="old"), case(notes="new")
    both = answer(old, case("c-2", "R-2")) | answer(new, case("c-3", "R-3"))
    assert both.with_id("c-1") == both.with_ref("r-1")[0] == new
    assert [each.id for ref in ("R-2", "R-3") for each in both.with_ref(ref)] == ["c-2", "c-3"]
    assert both.with_id("C-2") == case("c-2", "R-2")


def test_an_answer_without_some_cases_has_the_others():
    found = answer(case("a"), case("b"), case("c", "R-2")).without({"a", "c"})
    assert [found.with_id(each) for each in "abc"] == [None, case("b"), None]
    assert (found.with_ref("R-1"), list(found.with_ref("R-2"))) == ([case("b")], [])


def test_a_case_that_came_by_itself_is_compared_as_one_of_a_list():
    assert found_case(Case("c-1", "R-1", meta=[])) == FoundCase.of("c-1", [], {}, None, "R-1")
    zoe = Customer("p-1", first_names="Zoë", last_name="Núñez")
    whole = found_case(Case("c-1", "R-1", notes="n", meta={"f": "x"}, customers=[zoe]))
    assert (whole.meta, whole.notes) == ({"f": "x"}, "n")
    assert [(each["id"], each["last_name"]) for each in whole.customers] == [("p-1", "Núñez")]


# -- asking an account ---------------------------------------------------------------------------


def look(sandbox: Sandbox, tmp_path: Path, *calls: Call) -> list[tuple[Any, list[str]]]:
    """What each call gives or raises, and what was asked for it."""

    async def work(progress: Progress) -> list[tuple[Any, list[str]]]:
        seen: list[tuple[Any, list[str]]] = []
        for call in calls:
            sandbox.requests.clear()
            try:
                result = await call(tmp_path / "work", progress)
            except Exception as error:  # noqa: BLE001 - whatever it is, a test looks at it
                result = error
            seen.append((result, asked(sandbox)))
            assert left_in(tmp_path / "work") == []
        return seen

    return in_a_run(work)


def current(ids: Collection[str] = (), refs: Collection[str] = ()) -> Call:
    return lambda folder, progress: current_cases(ids, refs, folder, progress)


def looked_up(requests: Sequence[str]) -> list[str]:
    """The ids that were asked for one by one."""
    return sorted(each.split("/")[2] for each in requests if each.startswith("/cases/"))


def filtered(requests: Sequence[str]) -> list[str]:
    """The references that were asked for one by one, but for the one that proves the filter."""
    refs = [each.split("ref=")[1] for each in requests if "ref=" in each]
    return sorted(refs[1:])


def is_sweep(requests: Sequence[str]) -> bool:
    return "/cases 2" in requests


def refs_of(store: Store, ids: Sequence[str]) -> list[str]:
    return [(store.case(case_id) or {})["ref"] for case_id in ids]


def shows(found: FoundCase | None, store: Store) -> bool:
    """Whether a found case is what the account has."""
    has = store.case(found.id) if found else None
    return (
        found is not None
        and has is not None
        and (
            (found.ref, found.notes, dict(found.meta)) == (has["ref"], has["notes"], has["meta"])
            and [
                (each["id"], each["first_names"], each["last_name"], each["date_of_birth"])
                for each in found.customers
            ]
            == [
                (each["id"], each["first_names"], each["last_name"], each["date_of_birth"])
                for each in has["customers"]
            ]
        )
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr("tasks.cases.get_cases.retry_delay_seconds", 0)
    monkeypatch.setattr(
        "protocols.reading.listing.MAX_SWEEPS", 2
    )  # an unsteady list takes them all


def test_cases_are_looked_up_one_by_one_until_a_sweep_takes_fewer_requests(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=250)).store
    ids, refs = store.ids[:20], refs_of(store, store.ids[100:120])
    # of 250 cases a sweep takes 3 requests and 4 more
    expected = {
        (0, 0): "nothing", (4, 0): "ids", (5, 0): "count ids", (6, 0): "count ids",
        (7, 0): "count sweep", (20, 0): "count sweep", (5, 1): "count refs ids",
        (5, 2): "count sweep", (0, 6): "refs", (0, 7): "sweep", (4, 6): "refs ids",
        (4, 7): "sweep ids",
    }  # fmt: skip
    seen = look(sandbox, tmp_path, *(current(ids[:i], refs[:r]) for i, r in expected))
    for (id_count, ref_count), (found, requests) in zip(expected, seen, strict=True):
        way = expected[id_count, ref_count].split()
        assert looked_up(requests) == (ids[:id_count] if "ids" in way else [])
        assert filtered(requests) == (sorted(refs[:ref_count]) if "refs" in way else [])
        assert is_sweep(requests) is ("sweep" in way)
        assert ("count" in requests[:1]) is ("count" in way)
        assert all(shows(found.with_id(case_id), store) for case_id in ids[:id_count])
        assert all(shows(found.with_ref(ref)[0], store) for ref in refs[:ref_count])
    assert seen[0][1] == []
    assert len(seen[4][1]) == 7  # with the count before it, and the filter not tried
    assert len(seen[2][1]) == 6


def test_ids_are_looked_up_where_nobody_says_how_many_cases_there_are(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=9)
    sandbox.faults.append(Fault(Status(200, body='{"data": []}'), path="/cases", times=None))
    ids = sandbox.store.ids
    [(found, requests)] = look(sandbox, tmp_path, current(ids))
    assert looked_up(requests) == ids
    assert all(shows(found.with_id(case_id), sandbox.store) for case_id in ids)


def test_what_no_case_has_is_not_found_whichever_way_it_was_looked_for(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=250)).store
    few, many = store.ids[:1], store.ids[:9]
    calls = [current([*ids, "nobody"], ["nowhere"]) for ids in (few, many)]
    for (found, requests), ids in zip(look(sandbox, tmp_path, *calls), (few, many), strict=True):
        assert is_sweep(requests) is (ids is many)
        assert (found.with_id("nobody"), found.with_ref("nowhere")) == (None, ())
        assert "nobody" in looked_up(requests)  # a list may hide it
        # and what wasn't asked for isn't in the answer
        assert found.with_ref(refs_of(store, ids)[0]) == ()
        assert found.with_id(store.ids[50]) is None
        assert [each.id for each in map(found.with_id, ids) if each] == ids


def test_ids_and_references_in_other_letters_are_found_either_way(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=250)).store
    few, many = store.ids[:2], store.ids[:9]
    refs = [ref.swapcase() for ref in refs_of(store, store.ids[20:22])]
    calls = [current([each.upper() for each in ids], refs) for ids in (few, many)]
    for (found, requests), ids in zip(look(sandbox, tmp_path, *calls), (few, many), strict=True):
        assert is_sweep(requests) is (ids is many)
        for case_id in ids:
            assert (found.with_id(case_id.upper()) or case("none")).id == case_id
        for ref, case_id in zip(refs, store.ids[20:22], strict=True):
            assert [each.id for each in found.with_ref(ref)] == [case_id]


ODD = ["", ".", "..", "a/b", "../oauth/clients", "a b", "%2e%2e", "a?b", "é", "x" * 65, "a\n"]


def test_what_no_id_can_look_like_is_never_asked_for(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=9)
    ids = sandbox.store.ids
    seen = look(sandbox, tmp_path, current(ODD[:4]), current(ODD), current([*ids, *ODD]))
    assert seen[0][1] == []
    for found, requests in seen:
        assert set(looked_up(requests)) <= set(ids)
        assert all(found.with_id(odd) is None for odd in ODD)
    assert all(seen[2][0].with_id(case_id) for case_id in ids)


def test_ids_that_the_server_refuses_are_no_cases_and_the_others_are_read(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=9)
    refused = {"0": 400, "1": 404, "2": 422}
    for case_id, status in refused.items():
        sandbox.faults.append(Fault(Status(status), path=f"/cases/{case_id}", times=None))
    [(found, _)] = look(sandbox, tmp_path, current([sandbox.store.ids[0], *refused]))
    assert [found.with_id(case_id) for case_id in refused] == [None] * 3
    assert shows(found.with_id(sandbox.store.ids[0]), sandbox.store)


def test_a_look_up_that_is_forbidden_ends_the_asking(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=9)
    ids = sandbox.store.ids
    sandbox.faults.append(Fault(Status(403), path=f"/cases/{ids[0]}", times=None))
    [(error, _)] = look(sandbox, tmp_path, current(ids[:2]))
    assert type(error) is RejectedError


@pytest.mark.parametrize("action", [Status(500), Drop(), Html(), Status(200, body="[]")])
def test_a_case_over_which_the_server_stumbles_is_not_taken_for_absent_and_the_others_are_read(
    start_sandbox: StartSandbox, tmp_path: Path, action: Action
) -> None:
    sandbox = start_sandbox(cases=30)
    broken, *ids = sandbox.store.ids[:4]
    for spelling in (broken, broken.upper()):
        sandbox.faults.append(Fault(action, path=f"/cases/{spelling}", times=None))
    [(found, _)] = look(sandbox, tmp_path, current([broken.upper(), *ids]))
    assert found.is_broken(broken.upper())
    assert found.with_id(broken) is None
    assert all(shows(found.with_id(each), sandbox.store) for each in ids)
    assert not any(found.is_broken(each) for each in [*ids, "nobody"])
    [(found, _)] = look(sandbox, tmp_path, changed([broken, *ids], BEFORE))
    assert found.is_broken(broken)


def test_a_case_that_a_sweep_shows_is_not_broken_and_one_that_it_hides_may_be(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=9)).store
    shown, hidden = store.ids[0], store.ids[-1]
    listed(sandbox, as_sent(store, store.ids[:-1]))
    sandbox.faults.append(Fault(Status(500), path="/cases/*", times=None))
    [(found, requests)] = look(sandbox, tmp_path, current(store.ids))
    assert is_sweep(requests)
    assert [found.is_broken(each) for each in (shown, hidden)] == [False, True]


def test_where_many_cases_cannot_be_read_it_is_the_servers_fault(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=2000)
    sandbox.faults.append(Fault(Status(500), path="/cases/*", times=None))
    few, many = look(
        sandbox, tmp_path, current(sandbox.store.ids[:10]), current(sandbox.store.ids[:11])
    )
    assert len(few[0].broken) == 10
    assert type(many[0]) is ServerError


def test_questions_that_were_cut_short_at_any_moment_hold_up_no_later_ones(
    start_sandbox: StartSandbox,
) -> None:
    ids = start_sandbox(cases=9).store.ids[:3]

    async def ask_again_after(moment: int) -> None:
        async with WillSuiteClient(load_settings()) as client:
            await client.get_case(ids[0])
            asking = [asyncio.create_task(client.get_case(case_id)) for case_id in ids]
            for _ in range(moment):
                await asyncio.sleep(0)
            for each in asking:  # as the failure of one of them does with the others
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            async with asyncio.timeout(20):  # and not the 75 s and more of a pool that is stuck
                await asyncio.gather(*(client.get_case(case_id) for case_id in ids))

    for moment in range(40):
        asyncio.run(ask_again_after(moment))


# -- lists that don't show everything ------------------------------------------------------------


def listed(sandbox: Sandbox, cases: Sequence[dict[str, Any]], total: int | None = None) -> None:
    """From now on every list is this one page."""
    around = {"per_page": 100, "last_page": 1, "total": len(cases) if total is None else total}
    for page, shown in ((1, cases), (2, [])):
        body = json.dumps({"data": list(shown)} | around)
        sandbox.faults.append(Fault(Status(200, body=body), path="/cases", page=page, times=None))


def as_sent(store: Store, ids: Sequence[str], *hidden: str) -> list[dict[str, Any]]:
    """Cases in the form of a list, without what is hidden in it."""
    cases = [json.loads(store.rendered(case_id)) for case_id in ids]
    return [{key: value for key, value in each.items() if key not in hidden} for each in cases]


def test_an_id_that_a_sweep_does_not_show_is_asked_for(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=9)).store
    listed(sandbox, as_sent(store, store.ids[:-1]))
    [(found, requests)] = look(sandbox, tmp_path, current(store.ids))
    assert is_sweep(requests)
    assert looked_up(requests) == store.ids[-1:]
    assert all(shows(found.with_id(case_id), store) for case_id in store.ids)


def test_a_list_that_cannot_be_trusted_is_no_proof_that_an_id_or_a_reference_is_absent(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=9)).store
    listed(sandbox, as_sent(store, store.ids[:-1]), total=12)
    refs = refs_of(store, store.ids)
    by_id, shown, hidden = look(
        sandbox,
        tmp_path,
        current([*store.ids, "nobody"]),
        current((), refs[:-1]),
        current((), refs),
    )
    assert looked_up(by_id[1]) == [store.ids[-1], "nobody"]
    assert all(shows(by_id[0].with_id(case_id), store) for case_id in store.ids)
    assert all(shows(shown[0].with_ref(ref)[0], store) for ref in refs[:-1])
    # nor can the filter tell, whose answers count more than they show
    assert isinstance(hidden[0], RunError)
    assert "nothing more was sent" in str(hidden[0])
    assert refs[-1] not in str(hidden[0])


def newcomer(store: Store) -> None:
    """Somebody adds a case, with each page that is asked for."""
    case_id = new_id(random.Random(len(store)))
    store.put(case_of(case_id, ref="", notes=None, meta={}, is_active=1, customers=[]))


@pytest.mark.parametrize("is_filter_usable", [True, False])
def test_where_too_much_moves_absent_references_are_looked_up_if_the_filter_is_proven(
    is_filter_usable: bool, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=9)).store
    if not is_filter_usable:  # no known reference tells whether it minds a letter's case
        for number, case_id in enumerate(store.ids):
            store.change(case_id, ref=f"00{number}")
    refs = refs_of(store, store.ids)
    sandbox.faults.append(Fault(Change(newcomer), path="/cases", times=None))
    [(result, requests)] = look(sandbox, tmp_path, current((), [*refs, "nowhere"]))
    assert is_sweep(requests)
    if is_filter_usable:
        assert filtered(requests) == ["nowhere"]
        assert result.with_ref("nowhere") == ()
        assert all(shows(result.with_ref(ref)[0], store) for ref in refs)
    else:
        assert isinstance(result, RunError)


def test_cases_that_a_list_shows_without_people_are_asked_for_where_people_matter(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=9)).store
    ids = store.ids
    listed(sandbox, as_sent(store, ids, "customers"))

    async def whole(folder: Path, progress: Progress) -> dict[str, FoundCase]:
        found = await current_cases(ids, (), folder, progress)
        store.delete(ids[1])
        cases = [each for each in map(found.with_id, ids[:3]) if each]
        assert [list(each.customers) for each in cases] == [[], [], []]
        somebody = FoundCase.of(ids[3], [ZOE], {}, None)
        return await with_people([*cases, somebody], folder)

    async def of_nobody(folder: Path, progress: Progress) -> dict[str, FoundCase]:
        return await with_people([], folder)

    (cases, requests), nothing = look(sandbox, tmp_path, whole, of_nobody)
    assert list(cases) == ids[:4]
    assert looked_up(requests) == ids[:3]
    assert [shows(cases[case_id], store) for case_id in ids[:3]] == [True, False, True]
    # one that is gone stays as it was known, and one that has people isn't asked for
    assert (list(cases[ids[1]].customers), cases[ids[3]].customers) == ([], [ZOE])
    assert nothing == ({}, [])


# -- cases of which only the reference is known --------------------------------------------------


def find(refs: Collection[str], people_of: Collection[str] = ()) -> Call:
    return lambda folder, progress: find_cases(refs, people_of, folder, progress)


def test_references_are_looked_up_or_swept_for_whichever_takes_fewer_requests(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=250)).store
    refs = refs_of(store, store.ids[:7])
    nothing, few, many, odd = look(
        sandbox, tmp_path, find([]), find([*refs[:5], "nowhere"]), find(refs), find(["WS-1  x"])
    )
    assert nothing == (Found(), [])
    assert filtered(few[1]) == sorted([*refs[:5], "nowhere"])
    assert not is_sweep(few[1])
    assert sorted(few[0].by_ref) == sorted(ref.casefold() for ref in refs[:5])
    assert (filtered(many[1]), is_sweep(many[1]), len(many[0].by_ref)) == ([], True, 7)
    for found, _ in (few, many):
        assert all(shows(each, store) for cases in found.by_ref.values() for each in cases)
    # of double spaces a filter may think otherwise than we do
    assert (filtered(odd[1]), is_sweep(odd[1]), odd[0]) == ([], True, Found())


def test_an_empty_account_is_asked_once(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox = start_sandbox(cases=0)
    assert look(sandbox, tmp_path, find(["a", "b"])) == [(Found(), ["/cases 1"])]


def test_people_are_asked_for_only_where_they_matter(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=9)).store
    listed(sandbox, as_sent(store, store.ids, "customers"))
    refs = refs_of(store, store.ids)
    [(found, requests)] = look(sandbox, tmp_path, find(refs, [refs[2].lower(), "nowhere"]))
    assert looked_up(requests) == [store.ids[2]]
    assert [shows(found.with_ref(ref)[0], store) for ref in refs[1:4]] == [False, True, False]


# -- after a change of many ----------------------------------------------------------------------

BEFORE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def changed(ids: Collection[str], since: datetime) -> Call:
    return lambda folder, progress: changed_cases(ids, since, folder, progress)


def test_changed_cases_are_listed_where_that_takes_fewer_requests_than_a_look_up_of_each(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=250)).store
    ids, since = store.ids, datetime.now(UTC) - timedelta(hours=1)
    changed_ids = ids[:150]
    for case_id in changed_ids:
        store.change(case_id, notes="changed")
    # 150 of them are listed with 2 requests and 4 more
    four, six, seven, all_of_them = look(
        sandbox, tmp_path, *(changed(ids[:count], since) for count in (4, 6, 7, 250))
    )
    assert (four[1][:1], len(four[1])) == ([f"/cases/{ids[0]}"], 4)
    assert (looked_up(six[1]), six[1][0].split()[0]) == (ids[:6], "count")
    for _, requests in (seven, all_of_them):
        assert looked_up(requests) == []
        assert len(requests) == 4  # the count, two pages, and the empty one
        assert all("updatedAfter=" in each for each in requests)
    for found, count in ((four[0], 4), (six[0], 6), (seven[0], 7), (all_of_them[0], 150)):
        assert all(shows(found.with_id(case_id), store) for case_id in ids[:count])
    # not in the list, so it isn't known whether it was changed; nor asked for
    assert [all_of_them[0].with_id(case_id) for case_id in ids[150:]] == [None] * 100


def test_where_nothing_was_changed_that_is_soon_known(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=250)
    since = datetime.now(UTC) - timedelta(hours=1)
    [(found, requests)] = look(sandbox, tmp_path, changed(sandbox.store.ids, since))
    assert len(requests) == 2
    assert found == Found()


def test_the_time_since_is_written_in_utc_as_the_vendor_wants_it(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=9)
    [(_, requests)] = look(sandbox, tmp_path, changed(sandbox.store.ids, BEFORE))
    assert requests[0] == "count updatedAfter=2026-01-02 03:04:05"
    assert {each.split("=")[-1] for each in requests if "=" in each} == {"2026-01-02 03:04:05"}


def test_changed_cases_are_looked_up_where_nobody_says_how_many_there_are(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=9)
    sandbox.faults.append(Fault(Status(200, body='{"data": []}'), path="/cases", times=None))
    ids = sandbox.store.ids
    # some servers mind the case of an id's letters
    sandbox.faults.append(Fault(Status(404), path=f"/cases/{ids[0].upper()}", times=None))
    [(found, requests)] = look(sandbox, tmp_path, changed([*ids[1:], ids[0].upper()], BEFORE))
    assert set(looked_up(requests)) == {*ids, ids[0].upper()}
    assert all(found.with_id(case_id) for case_id in ids)


def test_the_ids_of_all_changed_cases_are_told_unless_too_much_moves(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    store = (sandbox := start_sandbox(cases=150)).store
    since = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d %H:%M:%S}"
    changed_ids = store.ids[:120]
    for case_id in changed_ids:
        store.change(case_id, notes="changed")

    def ids_since(when: str) -> Call:
        return lambda folder, progress: ids_changed_since(when, folder, progress)

    async def while_much_moves(folder: Path, progress: Progress) -> Any:
        sandbox.faults.append(Fault(Change(newcomer), path="/cases", times=None))
        return await ids_changed_since(since, folder, progress)

    all_of_them, none, unclear = look(
        sandbox, tmp_path, ids_since(since), ids_since("2999-01-01 00:00:00"), while_much_moves
    )
    assert all_of_them[0] == frozenset(changed_ids)
    assert (none[0], unclear[0]) == (frozenset(), None)
    assert all("updatedAfter=" in each for _, requests in (all_of_them, none) for each in requests)
