"""Runs on two machines that share a Prefect server, against the worst WillSuite: one that takes a
second case with the same reference.

A machine is a state folder of its own. The run of the first one is a process that is really
killed; the second's is this process.
"""

import csv
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from accounts import forget_in_prefect
from ended_runs import EndedRun, write_csv
from prefect import Flow
from stopped_runs import Forks, Stop, quiet, stopped_run

from flows.bulk_update_cases import bulk_update_cases
from flows.import_cases import import_cases
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases
from protocols.account import lock, turns
from sandbox.faults import Drop, Fault, JobFault, Late
from sandbox.server import Sandbox
from willsuite import load_settings

pytestmark = pytest.mark.soak

StartSandbox = Callable[..., Sandbox]


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.1")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(turns, "SILENCE_SECONDS", 1.0)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Go to a machine."""

    def go(machine: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))

    return go


@pytest.fixture(scope="module")
def killed_runs(prefect_server: None) -> Iterator[Callable[[Flow[..., Any]], Forks]]:
    """Runs of a flow that can be killed."""
    made: dict[str, Forks] = {}

    def of(flow: Flow[..., Any]) -> Forks:
        if flow.name not in made:
            made[flow.name] = Forks(flow, source="rows.csv", output="runs")
        return made[flow.name]

    yield of
    for forks in made.values():
        forks.close()


@dataclass
class StopAt(Stop):
    """The requests for a path."""

    path: str = "/cases/create"

    def counts(self, _method: str, path: str) -> bool:
        return path == self.path


def run(flow: Flow[..., Any], source: Path | str = "rows.csv", **parameters: Any) -> EndedRun:
    return EndedRun.of(flow, source, **parameters)


def write_new_cases(count: int, path: str = "rows.csv") -> Path:
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["ref", *(f"customer_1_{name}" for name in ("title", "first_names", "last_name"))]
        )
        writer.writerows([f"IMP-{n:03d}", "Ms", "Amara", f"Okafor {n}"] for n in range(count))
    return Path(path)


def ref_counts(sandbox: Sandbox) -> Counter[str]:
    cases = (sandbox.store.case(case_id) for case_id in sandbox.store.ids)
    refs = [str(case["ref"]) for case in cases if case]
    return Counter(ref for ref in refs if ref.startswith("IMP-"))


def each_once(count: int) -> dict[str, int]:
    return {f"IMP-{n:03d}": 1 for n in range(count)}


def notes_of(sandbox: Sandbox, ids: list[str]) -> set[Any]:
    cases = (sandbox.store.case(case_id) for case_id in ids)
    return {case["notes"] for case in cases if case}


def test_what_a_run_killed_on_one_machine_sent_is_waited_for_on_another(
    killed_runs: Callable[[Flow[..., Any]], Forks],
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    on: Callable[[str], None],
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    on("second")
    write_new_cases(1)
    assert run(import_cases).summary["outcomes"] == {"created": 1}  # there all is well
    on("first")
    write_new_cases(4)
    stop = StopAt(signal.SIGKILL, 1, then=Late(3.0, Drop()))
    assert stopped_run(killed_runs(import_cases), sandbox, stop) == -signal.SIGKILL
    on("second")
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "3.5")
    assert run(import_cases).state.is_completed()
    quiet(sandbox)
    assert ref_counts(sandbox) == each_once(4)


def test_a_machine_without_marks_and_with_a_new_engine_waits_for_what_it_cannot_know(
    killed_runs: Callable[[Flow[..., Any]], Forks],
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    on: Callable[[str], None],
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    on("container")
    write_new_cases(20)
    sandbox.faults = [Fault(Late(3.0, Drop()), path="/cases/create", skip=4, times=3)]
    stop = StopAt(signal.SIGKILL, 8)
    assert stopped_run(killed_runs(import_cases), sandbox, stop) == -signal.SIGKILL
    sandbox.faults = []
    on("its replacement")
    forget_in_prefect(load_settings().account_name)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "3.5")
    assert run(import_cases).state.is_completed()
    quiet(sandbox)
    assert ref_counts(sandbox) == each_once(20)


def test_a_job_that_a_run_killed_on_one_machine_left_undoes_nothing_of_another(
    killed_runs: Callable[[Flow[..., Any]], Forks],
    start_sandbox: StartSandbox,
    on: Callable[[str], None],
) -> None:
    sandbox = start_sandbox(cases=30, job_seconds=4.0)
    ids = sandbox.store.ids[:3]
    on("first")
    write_csv("rows.csv", [{"id": case_id, "notes": "Older"} for case_id in ids])
    stop = StopAt(signal.SIGKILL, 1, path="/api-jobs/*")
    stop.counts = lambda _method, path: path.startswith("/api-jobs")  # type: ignore[method-assign]
    assert stopped_run(killed_runs(bulk_update_cases), sandbox, stop) == -signal.SIGKILL
    assert sandbox.pending_jobs == 1
    on("second")
    write_csv("rows.csv", [{"id": case_id, "notes": "Newer"} for case_id in ids])
    assert run(update_cases).summary["outcomes"] == {"updated": 3}
    quiet(sandbox)
    assert notes_of(sandbox, ids) == {"Newer"}


def test_runs_of_all_flows_at_once_end_well_one_after_the_other_and_plans_do_not_wait(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a file of each kind: what is at stake is who writes when
    sandbox = start_sandbox(cases=30, unique_refs=False, job_seconds=0.3)
    sandbox.job_faults = [JobFault()]
    monkeypatch.setattr(turns, "SILENCE_SECONDS", 60.0)
    ids = sandbox.store.ids
    write_new_cases(12, "new.csv")
    write_csv("bulk.csv", [{"id": case_id, "notes": "Bulk"} for case_id in ids[:5]])
    write_csv("single.csv", [{"id": case_id, "notes": "Single"} for case_id in ids[5:10]])
    booking = {
        "key": "B-1", "case_id": ids[0], "adviser_email": "adviser@example.org",
        "start_time": "2027-03-01 09:00", "end_time": "2027-03-01 10:00",
    }  # fmt: skip
    write_csv("diary.csv", [booking])
    files = [
        (import_cases, "new.csv"), (bulk_update_cases, "bulk.csv"), (update_cases, "single.csv"),
        (sync_appointments, "diary.csv"), (import_cases, "new.csv"),
    ]  # fmt: skip

    with ThreadPoolExecutor(max_workers=8) as pool:
        runs = [
            pool.submit(copy_context().run, run, flow, source, wait_seconds=120)
            for flow, source in files
        ]
        plan = pool.submit(
            copy_context().run, lambda: run(import_cases, "new.csv", dry_run=True, wait_seconds=0)
        )
        assert plan.result().state.is_completed()
        ended = [each.result() for each in runs]
    assert [each.state.type.value for each in ended] == ["COMPLETED"] * 5
    assert ref_counts(sandbox) == each_once(12)
    assert len(sandbox.appointments) == 1
    assert notes_of(sandbox, ids[:5]) == {"Bulk"}
    assert notes_of(sandbox, ids[5:10]) == {"Single"}
