"""Whatever ends a bulk update, running it again leaves every case with its values.

No case is ever in two jobs at once: a late first job would overwrite what a second one has written.
"""

import asyncio
import csv
import fnmatch
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from accounts import forget_in_prefect
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow_async
from prefect.states import AwaitingRetry
from stopped_runs import LOG, Forks, Stop, forks_of, quiet, stopped_run

from flows.bulk_update_cases import BulkUpdateSummary, bulk_update_cases
from flows.writing import IncompleteRunError
from sandbox.faults import (
    Action,
    Applied,
    Change,
    Drip,
    Drop,
    Fault,
    Html,
    JobFault,
    Late,
    RandomFaults,
    Status,
    Truncate,
)
from sandbox.server import Sandbox
from sandbox.store import Store
from willsuite import load_settings

pytestmark = pytest.mark.soak

StartSandbox = Callable[..., Sandbox]
BULK = "/cases-bulk-update"
POLL = "/api-jobs/*"

SEED = int(os.environ.get("BULK_CRASH_SEED", "1"))


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr("tasks.cases.get_cases.retry_delay_seconds", 0)


forks = forks_of(bulk_update_cases, source="changes.csv", output="runs")


@dataclass
class StopAt(Stop):
    """The requests for a path."""

    path: str = BULK
    """A shell pattern."""
    handed_in: int = 0
    """Counted when so many batches have been handed in."""

    def counts(self, _method: str, path: str) -> bool:
        if self.handed_in:
            self.handed_in -= path == BULK
            return False
        return fnmatch.fnmatch(path, self.path)


def finish(**parameters: Any) -> BulkUpdateSummary:
    try:
        summary = asyncio.run(bulk_update_cases(source="changes.csv", output="runs", **parameters))
    except IncompleteRunError as error:
        summary = error.summary
    rows = pq.read_table(summary["outcomes_file"])["outcome"].to_pylist()
    assert summary["outcomes"] == Counter(rows)
    assert len(rows) == summary["rows"]
    return summary


def write_changes(ids: Iterable[str], notes: str = "New") -> None:
    with Path("changes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "notes"), *((each, f"{notes} {each}") for each in ids)])


def all_changed(sandbox: Sandbox, ids: Iterable[str], notes: str = "New") -> bool:
    return all(sandbox.store.case(each)["notes"] == f"{notes} {each}" for each in ids)  # type: ignore[index]


def sent_ids(sandbox: Sandbox) -> list[str]:
    bodies = [json.loads(seen.body) for seen in sandbox.requests if seen.path == BULK]
    return [row["id"] for body in bodies for row in body]


def overlapping(sandbox: Sandbox) -> list[set[str]]:
    """Cases that were in two jobs at once."""
    pairs = combinations(sandbox.jobs.values(), 2)
    shared = [{*one.ids} & {*other.ids} for one, other in pairs if one.beside(other)]
    return [ids for ids in shared if ids]


def open_jobs(tmp_path: Path) -> list[str | None]:
    """The jobs on record, None for a batch of which no job is known."""
    found = (tmp_path / "state").rglob("*.jobs/*.json")
    return [json.loads(path.read_bytes())["job_id"] for path in found]


def is_settled(tmp_path: Path) -> bool:
    """Whether the account's record on this machine says that nothing is under way."""
    [record] = (tmp_path / "state" / "willsuite-flows").glob("*.json")
    return json.loads(record.read_bytes())["is_settled"]


STUCK = JobFault(ends="processing")
"""Until a test lets it go on."""


def go_on(sandbox: Sandbox) -> Change:
    """The jobs that were stuck end well."""

    def end(store: Store) -> None:
        for job in sandbox.jobs.values():
            if job.finished is None:
                for row in job.batch:
                    store.change(row["id"], notes=row["notes"])
                job.move("completed")
                job.finished = max(
                    each.finished or each.submitted for each in sandbox.jobs.values()
                )

    return Change(end)


def test_six_thousand_rows_come_through_a_failing_job_a_lost_answer_and_a_kill(
    forks: Forks, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=6000, job_seconds=0.2)
    ids = sandbox.store.ids
    write_changes(ids)
    sandbox.job_faults = [JobFault(ends="failed", applies=0.5), None, STUCK]
    sandbox.faults = [Fault(Applied(Drop()), path=BULK, skip=1)]
    stop = StopAt(signal.SIGKILL, 4, POLL, handed_in=3)
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    failed, _, slow = sandbox.jobs.values()
    assert [len(job.ids) for job in sandbox.jobs.values()] == [2500, 2500, 1000]
    assert sorted(open_jobs(tmp_path), key=str) == sorted([failed.id, slow.id, None], key=str)
    assert not list(Path("runs").glob("*/outcomes.parquet"))

    sandbox.requests.clear()
    sandbox.faults = [Fault(go_on(sandbox), path=POLL, skip=8)]
    summary = finish()
    left = failed.ids[len(failed.ids) // 2 :]
    assert sorted(sent_ids(sandbox)) == sorted(left)
    assert summary["outcomes"] == {"updated": len(left), "unchanged": 6000 - len(left)}
    assert all_changed(sandbox, ids)
    assert overlapping(sandbox) == []
    assert open_jobs(tmp_path) == []


def test_what_a_killed_run_has_handed_in_is_waited_for_even_if_it_comes_late(
    forks: Forks, start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.8")
    sandbox = start_sandbox(cases=30, job_seconds=0.1)
    ids = sandbox.store.ids[:10]
    write_changes(ids)
    sandbox.faults = [
        Fault(action, path=BULK) for action in (Applied(Drop()), Late(0.5, Drop()), Drop())
    ]
    stop = StopAt(signal.SIGKILL, 4, then=Late(0.4, Drop()))
    assert stopped_run(forks, sandbox, stop, batch_size=2) == -signal.SIGKILL
    assert open_jobs(tmp_path) == [None] * 4
    sandbox.requests.clear()
    summary = finish(batch_size=2)
    # of the third batch nothing has arrived, and the fifth was never sent
    assert sorted(sent_ids(sandbox)) == sorted([*ids[4:6], *ids[8:]])
    assert summary["outcomes"] == {"updated": 4, "unchanged": 6}
    quiet(sandbox)
    assert all_changed(sandbox, ids)
    assert overlapping(sandbox) == []
    assert open_jobs(tmp_path) == []


def test_newer_values_are_sent_when_the_job_of_a_killed_run_can_no_longer_overwrite_them(
    forks: Forks, start_sandbox: StartSandbox
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:4]
    write_changes(ids)
    sandbox.job_faults = [STUCK]
    stop = StopAt(signal.SIGKILL, 2, POLL)
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    write_changes(ids, "Newer")
    sandbox.faults = [Fault(go_on(sandbox), path=POLL, skip=3)]
    assert finish()["outcomes"] == {"updated": 4}
    assert all_changed(sandbox, ids, "Newer")
    assert overlapping(sandbox) == []


def test_on_a_machine_that_knows_nothing_of_the_killed_run_the_values_are_right_all_the_same(
    forks: Forks, start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:4]
    write_changes(ids)
    sandbox.job_faults = [STUCK]
    stop = StopAt(signal.SIGKILL, 2, POLL)
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-machine"))
    forget_in_prefect(load_settings().account_name)
    # the job ends when every case has been looked at
    sandbox.faults = [Fault(go_on(sandbox), path="/cases/*", skip=4)]
    assert finish()["outcomes"] == {"unchanged": 4}
    assert all_changed(sandbox, ids)
    assert len(sandbox.jobs) == 1


FAULTS: tuple[Action, ...] = (
    Status(500),
    Status(503, body="<h1>503 Service Unavailable</h1>"),
    Drop(),
    Html(),
    Applied(Status(500)),
    Applied(Drop()),
    Truncate(),
    Late(0.2),
    Late(0.2, Drop()),
)
"""None later than the time that the tests settle."""


def test_a_run_killed_again_and_again_amid_faults_leaves_every_case_with_its_values(
    forks: Forks, start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "2")
    sandbox = start_sandbox(cases=60, job_seconds=0.1)
    ids = sandbox.store.ids[:36]
    write_changes(ids)
    sandbox.faults = [RandomFaults(0.5, SEED, FAULTS, "PATCH", BULK)]
    sandbox.job_faults = [None, JobFault(ends="failed", applies=0.5), None, JobFault(skips=[1])]
    stops = [
        StopAt(signal.SIGKILL, 3, POLL),
        StopAt(signal.SIGKILL, 2, then=Applied(Drop())),
        StopAt(signal.SIGKILL, 1, then=Late(0.3, Drop())),
    ]
    for stop in stops:
        assert stopped_run(forks, sandbox, stop, batch_size=6) == -signal.SIGKILL
        assert open_jobs(tmp_path)
    first = finish(batch_size=6)
    assert first["rows"] == 36
    sandbox.faults = []
    last = finish(batch_size=6)
    assert set(last["outcomes"]) <= {"updated", "unchanged"}
    quiet(sandbox)
    assert all_changed(sandbox, ids)
    assert overlapping(sandbox) == []
    assert open_jobs(tmp_path) == []


TERM = signal.SIGTERM
UNTOUCHED = {("not_attempted", "stopped"): 6}
INTERRUPTED = {("unknown", "under_way"): 4, ("unknown", "interrupted"): 2}
MOMENTS = [
    ("reading the cases", StopAt(TERM, 2, "/cases"), UNTOUCHED),
    ("waiting for another run's job", StopAt(TERM, 2, POLL), UNTOUCHED),
    (
        "lost answers",
        StopAt(TERM, 3, said="change(s) don't show yet"),
        {("updated", None): 4, ("unknown", "unread"): 2},
    ),
    ("handing in", StopAt(signal.SIGUSR1, 3, then=Drip(50.0), seconds=0.05), INTERRUPTED),
    ("reading back", StopAt(TERM, 1, "/cases", handed_in=3), {("unknown", "unread"): 6}),
]


@pytest.mark.parametrize(
    ("when", "stop", "expected"),
    MOMENTS,
    ids=[f"{moment[1].how.name} {moment[0]}" for moment in MOMENTS],
)
def test_a_run_that_is_stopped_writes_down_what_it_knows_and_the_next_one_goes_on_from_there(
    forks: Forks,
    start_sandbox: StartSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    stop: StopAt,
    expected: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    if when.startswith(("waiting", "handing")):
        sandbox.job_faults = [STUCK, STUCK]
    if when == "waiting for another run's job":
        write_changes(ids[:2], "Older")
        kill = StopAt(signal.SIGKILL, 2, POLL)
        assert stopped_run(forks, sandbox, kill) == -signal.SIGKILL
    if when == "lost answers":
        write_changes(sandbox.store.ids[-1:])
        finish()
        assert is_settled(tmp_path)
        monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "60")
        sandbox.faults = [Fault(Applied(Drop()), path=BULK, times=2), Fault(Drop(), path=BULK)]
    write_changes(ids)
    before = set(Path("runs").glob("bulk-*"))
    assert stopped_run(forks, sandbox, stop, batch_size=2) != 0
    assert "Stopped; the outcomes so far are in" in LOG.read_text()
    [folder] = set(Path("runs").glob("bulk-*")) - before
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    assert [row["row"] for row in rows] == list(range(2, 8))
    assert Counter((row["outcome"], row["code"]) for row in rows) == expected
    for row in rows:
        jobs_of_row = [job.id for job in sandbox.jobs.values() if row["key"] in job.ids]
        assert row["code"] != "under_way" or jobs_of_row[0] in row["message"]
    if when in ("lost answers", "handing in", "reading back"):
        assert not is_settled(tmp_path)
    assert bool(open_jobs(tmp_path)) is (when != "reading the cases")
    assert not list(Path("runs").glob(".run-*"))

    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    if when.startswith(("waiting", "handing")):
        sandbox.faults = [Fault(go_on(sandbox), path=POLL, skip=3)]
    sandbox.job_faults = []
    sandbox.requests.clear()
    summary = finish()  # nothing is locked
    left = {
        "lost answers": [row["key"] for row in rows if row["outcome"] == "unknown"],
    }.get(when, [row["key"] for row in rows if row["outcome"] == "not_attempted"])
    assert sorted(sent_ids(sandbox)) == left
    assert summary["outcomes"].get("updated", 0) == len(left)
    assert summary["outcomes"].get("unchanged", 0) == 6 - len(left)
    assert all_changed(sandbox, ids)
    assert overlapping(sandbox) == []
    assert open_jobs(tmp_path) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Status(401), path=POLL, times=None),
        Fault(Status(401), path="/cases/*", method="GET", skip=8, times=None),  # two looks before
    ],
    ids=["while a job is under way", "while reading back"],
)
def test_a_flow_run_that_is_retried_waits_for_the_jobs_of_its_first_attempt(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    sandbox = start_sandbox(cases=30, job_seconds=0.4)
    ids = sandbox.store.ids[:4]
    write_changes(ids)
    sandbox.faults = [fault]

    async def run_and_retry() -> State[Any]:
        first = await bulk_update_cases(source="changes.csv", output="runs", return_state=True)
        assert first.is_failed()
        fault.times = fault.played
        flow_run_id = first.state_details.flow_run_id
        async with get_client() as client:  # as the button in the UI and a worker do
            await client.set_flow_run_state(flow_run_id, AwaitingRetry(), force=True)
            flow_run = await client.read_flow_run(flow_run_id)
        state: State[Any] = await run_flow_async(
            bulk_update_cases, flow_run, flow_run.parameters, return_type="state"
        )
        return state

    state = asyncio.run(run_and_retry())
    assert state.is_completed()
    assert all_changed(sandbox, ids)
    assert len(sandbox.jobs) == 1
    assert open_jobs(tmp_path) == []
    tables = map(pq.read_table, Path("runs").rglob("*.parquet"))
    outcomes = [set(table["outcome"].to_pylist()) for table in tables]
    assert sorted(outcomes, key=str) == [{"unchanged"}, {"unknown"}]
