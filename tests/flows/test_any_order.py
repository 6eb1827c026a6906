"""Whatever happens to a small account, in any order, the same things stay true.

Hypothesis draws the order; always the same ones, so that a failure is there again. `make soak
MINUTES=30` draws more of them.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ended_runs import EndedRun, Row, write_csv
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prefect import Flow
from prefect.exceptions import FailedRun
from small_accounts import booking, change, false_claims, made_by_a_person, new_case, there_twice
from stopped_runs import Forks, Stop, quiet, run_with
from test_export_cases import expected, export, published

from flows.bulk_update_cases import bulk_update_cases
from flows.export_cases import export_cases
from flows.import_cases import import_cases
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases
from protocols.account import lock, turns
from protocols.exports import read_export
from sandbox.faults import Applied, Drop, Fault, Late, Partial
from sandbox.server import Sandbox

MINUTES = float(os.environ.get("MINUTES", "2"))
EXAMPLES = max(3, round(2 * MINUTES))
STEPS = 10

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300 + 60 * EXAMPLES)]

WRITING = {
    flow.name: flow for flow in (import_cases, bulk_update_cases, update_cases, sync_appointments)
}
OUTPUT = Path("exports")
NUMBERS = st.sets(st.integers(0, 4), min_size=1, max_size=4)
NUMBER = st.integers(0, 4)
FLOW = st.sampled_from([*WRITING])
LOST = st.sampled_from([Applied(Drop()), Drop(), Late(0.2, Drop()), Partial()])


@dataclass
class StopAtAny(Stop):
    """Every request counts."""

    def counts(self, _method: str, _path: str) -> bool:
        return True


class Life(RuleBasedStateMachine):
    """An account, people who work in it, and runs on two machines."""

    def __init__(
        self, begin: Callable[[], Sandbox], go_to: Callable[[str], None], forks: Forks | None
    ):
        super().__init__()
        self.sandbox = begin()
        self.go_to, self.forks = go_to, forks
        self.machines = ["first", "second"]
        self.tokens = iter(range(1000))
        self.gone: set[str] = set()
        """What was deleted since the last full export, or may have been in it."""

    # -- people ----------------------------------------------------------------------------------

    @rule(number=NUMBER)
    def somebody_makes_a_case(self, number: int) -> None:
        self.sandbox.store.put(made_by_a_person(number))

    @rule(number=NUMBER)
    def somebody_changes_a_case(self, number: int) -> None:
        self.sandbox.store.change(self._id(number), notes=f"Somebody's {next(self.tokens)}")

    @precondition(lambda self: len(self.sandbox.store) > 1)
    @rule(number=NUMBER)
    def somebody_deletes_a_case(self, number: int) -> None:
        self.gone.add(case_id := self._id(number))
        self.sandbox.store.delete(case_id)

    # -- runs ------------------------------------------------------------------------------------

    @rule()  # the only one without arguments: the example of its repetition, which comes first
    def the_next_run_is_on_the_other_machine(self) -> None:
        self.machines.reverse()
        self.go_to(self.machines[0])

    @rule(action=LOST, skip=st.integers(0, 3))
    def an_answer_will_be_lost(self, action: Any, skip: int) -> None:
        self.sandbox.faults = [Fault(action, "/cases*", method, skip=skip) for method in ("P*",)]

    @rule(flow=FLOW, numbers=NUMBERS)
    def a_file_is_carried_out(self, flow: str, numbers: set[int]) -> None:
        rows = self._rows(flow, numbers)
        self._carry_out(WRITING[flow], rows, self._written(rows))

    @rule(flow=FLOW, numbers=NUMBERS, at=st.integers(1, 14))
    def a_run_is_killed_and_its_file_carried_out_again(
        self, flow: str, numbers: set[int], at: int
    ) -> None:
        rows = self._rows(flow, numbers)
        source = self._written(rows)
        stop = StopAtAny(signal.SIGKILL, at)
        run_with(self.forks, self.sandbox, stop, of=WRITING[flow], source=source, output="runs")
        self._carry_out(WRITING[flow], rows, source)

    @rule(flow=FLOW, numbers=NUMBERS, meanwhile=st.lists(NUMBER, max_size=2))
    def a_plan_is_carried_out_after_somebody_was_at_work(
        self, flow: str, numbers: set[int], meanwhile: list[int]
    ) -> None:
        rows = self._rows(flow, numbers)
        source, writes, was = self._written(rows), self._writes(), self._notes(rows)
        planned = EndedRun.of(WRITING[flow], source, dry_run=True)
        assert self._writes() == writes, "a plan sends nothing"
        if not isinstance(planned.result, dict):
            return
        for number in meanwhile:
            self.somebody_changes_a_case(number)
        is_now, plan = self._notes(rows), str(planned.summary["plan_file"])
        ended = self._carry_out(WRITING[flow], rows, source, plan=plan)
        if has_rows(ended):
            sent = {row["key"] for row in ended.rows if row["attempts"]}
            wanted = {row["key"] for row in planned.rows if row["outcome"] == "planned"}
            assert sent <= wanted, "nothing is sent that wasn't planned"
            moved = {case_id for case_id in was if was[case_id] != is_now[case_id]}
            assert not sent & moved, "what has changed since is left alone"

    @rule(mode=st.sampled_from(["full", "incremental"]))
    def an_export_is_made(self, mode: str) -> None:
        with suppress(FailedRun):
            self._compare(export(OUTPUT, mode=mode))

    @rule(mode=st.sampled_from(["full", "incremental"]), at=st.integers(1, 8))
    def an_export_is_killed(self, mode: str, at: int) -> None:
        stop = StopAtAny(signal.SIGKILL, at)
        run_with(self.forks, self.sandbox, stop, of=export_cases, output=str(OUTPUT), mode=mode)

    # -- what stays true -------------------------------------------------------------------------

    @invariant()
    def nothing_is_there_twice(self) -> None:
        assert [*there_twice(self.sandbox)] == []

    @invariant()
    def what_is_published_can_be_read(self) -> None:
        if (OUTPUT / "latest.json").exists():
            for table in ("cases", "customers", "case_meta", "changes"):
                read_export(table, str(OUTPUT), check=True)  # type: ignore[arg-type]

    def teardown(self) -> None:
        self.sandbox.faults = []
        summary = export(OUTPUT)
        assert summary["mode"] == "full"
        self._compare(summary)

    def _carry_out(
        self, flow: Flow[..., Any], rows: list[Row], source: str, **parameters: Any
    ) -> EndedRun:
        ended = EndedRun.of(flow, source, **parameters)
        quiet(self.sandbox)
        if has_rows(ended):
            assert [*false_claims(flow.name, self.sandbox, rows, ended)] == []
        return ended

    def _compare(self, summary: dict[str, Any]) -> None:
        """A full export is the account; another has all of it, and what was deleted since."""
        has, account = published(OUTPUT), expected(self.sandbox.store)
        if summary["mode"] == "full":
            assert has == account
            self.gone.clear()
        for table, rows in account.items():
            assert [row for row in rows if row not in has[table]] == []
        there = {row["id"] for row in has["cases"]}
        assert there <= {*self.sandbox.store.ids, *self.gone}

    def _rows(self, flow: str, numbers: set[int]) -> list[Row]:
        if flow == "import-cases":
            return [new_case(number) for number in sorted(numbers)]
        if flow == "sync-appointments":
            minute = 10 * (next(self.tokens) % 3)
            return [
                booking(n, self._id(n), minute, is_gone=n == 4 and minute == 0)
                for n in sorted(numbers)
            ]
        person = 9 if flow == "update-cases" else None
        ids = sorted({self._id(number) for number in numbers})
        return [change(case_id, f"Ours {next(self.tokens)}", person) for case_id in ids]

    def _notes(self, rows: list[Row]) -> dict[str, Any]:
        """Of the cases whose notes these rows change."""
        cases = [self.sandbox.store.case(row["id"]) for row in rows if "id" in row]
        return {case["id"]: case["notes"] for case in cases if case is not None}

    def _id(self, number: int) -> str:
        ids = self.sandbox.store.ids
        return ids[number % len(ids)]

    def _written(self, rows: list[Row]) -> str:
        return str(write_csv(f"rows-{next(self.tokens)}.csv", rows))

    def _writes(self) -> int:
        return sum(
            seen.method != "GET" and seen.path != "/oauth/token" for seen in self.sandbox.requests
        )


def has_rows(ended: EndedRun) -> bool:
    """Whether the run could begin."""
    return isinstance(ended.result, dict) or hasattr(ended.result, "summary")


@pytest.fixture(scope="module")
def forks(prefect_server: None) -> Iterator[Forks]:
    forks = Forks(export_cases, *WRITING.values())
    yield forks
    forks.close()


@pytest.fixture
def begin(
    start_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Life]:
    """Begins another account, in a folder of its own."""
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(turns, "SILENCE_SECONDS", 1.0)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    folders = (tmp_path / str(number) for number in range(1000))

    def go_to(machine: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(Path.cwd() / machine))

    def account() -> Sandbox:
        (folder := next(folders)).mkdir()
        monkeypatch.chdir(folder)
        go_to("first")
        return start_sandbox(cases=3, unique_refs=False, order="newest", job_seconds=0.05)

    return lambda forks=None: Life(account, go_to, forks)


@pytest.mark.parametrize("flow", WRITING)
def test_a_plan_is_carried_out_after_somebody_was_at_work(
    prefect_server: None, begin: Callable[..., Life], flow: str
) -> None:
    """The step that says most, in each flow whatever is drawn below."""
    begin().a_plan_is_carried_out_after_somebody_was_at_work(flow, {0, 1}, [0])


def test_in_any_order_nothing_is_twice_and_what_is_said_is_so(
    begin: Callable[..., Life], forks: Forks
) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: begin(forks),
        settings=settings(
            derandomize=True, database=None, deadline=None, max_examples=EXAMPLES,
            stateful_step_count=STEPS, suppress_health_check=[*HealthCheck],
            phases=[Phase.generate],  # made simpler, a failure of minutes would take hours
        ),
    )  # fmt: skip
