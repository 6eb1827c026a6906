"""Whatever ends a bulk update, running it again leaves every case with its values.

No case is ever in two jobs at once: a late first job would overwrite what a second one has written.
"""

import asyncio
import csv
import fnmatch
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow_async
from prefect.settings import PREFECT_API_URL
from prefect.states import AwaitingRetry

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

ROOT = Path(__file__).resolve().parents[2]
StartSandbox = Callable[..., Sandbox]
BULK = "/cases-bulk-update"
POLL = "/api-jobs/*"

# Starting Python and Prefect takes longer than an update, so one process does it and then forks
# each run. A line of JSON starts one, a number waits for the process with that id.
FORKS = """
import asyncio, json, os, signal, sys
from flows.bulk_update_cases import bulk_update_cases

for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        print(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]), flush=True)
    elif child := os.fork():
        print(child, flush=True)
    else:
        break
else:
    sys.exit()
os.environ.update(order["environment"])
os.chdir(order["folder"])
log = os.open("run.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)


async def run():
    # SIGUSR1 stands for a SIGTERM in the middle of a callback, where asyncio loses what is raised
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, os.kill, os.getpid(), signal.SIGTERM)
    await bulk_update_cases(source="changes.csv", output="runs", **order["parameters"])


asyncio.run(run())
"""

SEED = int(os.environ.get("BULK_CRASH_SEED", "1"))


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr("tasks.cases.get_cases.retry_delay_seconds", 0)


class Forks:
    """Bulk updates by `changes.csv` in the current folder, each in a process of its own."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PREFECT_API_URL": PREFECT_API_URL.value(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **parameters: Any) -> int:
        """Start one; returns its process id."""
        ours = ("WILLSUITE_", "XDG_STATE_HOME")
        environment = {name: text for name, text in os.environ.items() if name.startswith(ours)}
        order = {"environment": environment, "folder": str(Path.cwd()), "parameters": parameters}
        return self._ask(order)

    def wait(self, process_id: int) -> int:
        """Its exit code, negative for the signal that ended it."""
        return self._ask(process_id)

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, order: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def forks(prefect_server: None) -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@dataclass
class Stop:
    """A signal to a run when the sandbox gets its n-th request for a path."""

    how: signal.Signals
    at: int
    path: str = BULK
    """A shell pattern."""
    handed_in: int = 0
    """Counted when so many batches have been handed in."""
    then: Action | None = None
    """What becomes of that request; None leaves it to the other faults."""
    seconds: float = 0.0
    """How long after the request."""
    said: str = ""
    """What the run has to have said in its log before."""
    process_id: int = 0
    action: Action = field(init=False, repr=False)

    def matches(self, _method: str, path: str, _page: str | None) -> bool:
        if self.handed_in:
            self.handed_in -= path == BULK
            return False
        if not fnmatch.fnmatch(path, self.path):
            return False
        self.at -= 1
        if self.at != 0:
            return False
        if self.how is signal.SIGKILL:
            os.kill(self.process_id, self.how)
            time.sleep(0.05)  # dead before there can be an answer
        else:
            threading.Timer(self.seconds, self._signal).start()
        if self.then is not None:
            self.action = self.then
        return self.then is not None

    def _signal(self) -> None:
        while self.said not in Path("run.log").read_text():
            time.sleep(0.01)
        os.kill(self.process_id, self.how)


def stopped_run(forks: Forks, sandbox: Sandbox, stop: Stop, **parameters: Any) -> int:
    """Start a run that `stop` stops; returns its exit code."""
    sandbox.faults.insert(0, stop)  # type: ignore[arg-type]
    stop.process_id = forks.start(**parameters)
    code = forks.wait(stop.process_id)
    assert stop.at <= 0, "it came to that request"
    sandbox.faults.remove(stop)  # type: ignore[arg-type]
    return code


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


def quiet(sandbox: Sandbox) -> None:
    """Wait until the server has done with all that it was sent."""
    while sandbox.pending_late or sandbox.pending_jobs:
        time.sleep(0.01)


def test_six_thousand_rows_come_through_a_failing_job_a_lost_answer_and_a_kill(
    forks: Forks, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=6000, job_seconds=0.2)
    ids = sandbox.store.ids
    write_changes(ids)
    sandbox.job_faults = [JobFault(ends="failed", applies=0.5), None, STUCK]
    sandbox.faults = [Fault(Applied(Drop()), path=BULK, skip=1)]
    stop = Stop(signal.SIGKILL, 4, POLL, handed_in=3)
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
    stop = Stop(signal.SIGKILL, 4, then=Late(0.4, Drop()))
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
    stop = Stop(signal.SIGKILL, 2, POLL)
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
    stop = Stop(signal.SIGKILL, 2, POLL)
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-machine"))
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
        Stop(signal.SIGKILL, 3, POLL),
        Stop(signal.SIGKILL, 2, then=Applied(Drop())),
        Stop(signal.SIGKILL, 1, then=Late(0.3, Drop())),
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
    ("reading the cases", Stop(TERM, 2, "/cases"), UNTOUCHED),
    ("waiting for another run's job", Stop(TERM, 2, POLL), UNTOUCHED),
    (
        "lost answers",
        Stop(TERM, 3, said="change(s) don't show yet"),
        {("updated", None): 4, ("unknown", "unread"): 2},
    ),
    ("handing in", Stop(signal.SIGUSR1, 3, then=Drip(50.0), seconds=0.05), INTERRUPTED),
    ("reading back", Stop(TERM, 1, "/cases", handed_in=3), {("unknown", "unread"): 6}),
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
    stop: Stop,
    expected: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    if when.startswith(("waiting", "handing")):
        sandbox.job_faults = [STUCK, STUCK]
    if when == "waiting for another run's job":
        write_changes(ids[:2], "Older")
        kill = Stop(signal.SIGKILL, 2, POLL)
        assert stopped_run(forks, sandbox, kill) == -signal.SIGKILL
    if when == "lost answers":
        write_changes(sandbox.store.ids[-1:])
        finish()
        assert list((tmp_path / "state").rglob("*.settled"))
        monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "60")
        sandbox.faults = [Fault(Applied(Drop()), path=BULK, times=2), Fault(Drop(), path=BULK)]
    write_changes(ids)
    before = set(Path("runs").glob("bulk-*"))
    assert stopped_run(forks, sandbox, stop, batch_size=2) != 0
    assert "Stopped; the outcomes so far are in" in Path("run.log").read_text()
    [folder] = set(Path("runs").glob("bulk-*")) - before
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    assert [row["row"] for row in rows] == list(range(2, 8))
    assert Counter((row["outcome"], row["code"]) for row in rows) == expected
    for row in rows:
        jobs_of_row = [job.id for job in sandbox.jobs.values() if row["key"] in job.ids]
        assert row["code"] != "under_way" or jobs_of_row[0] in row["message"]
    if when in ("lost answers", "handing in", "reading back"):
        assert not list((tmp_path / "state").rglob("*.settled"))
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
        Fault(Status(401), path="/cases/*", method="GET", skip=4, times=None),
    ],
    ids=["while a job is under way", "while reading back"],
)
def test_a_flow_run_that_is_retried_waits_for_the_jobs_of_its_first_attempt(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    # so that the first attempt looks at the cases once
    monkeypatch.setattr(
        "tasks.account_lock._is_a_doubtful_run_known", AsyncMock(return_value=False)
    )
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
