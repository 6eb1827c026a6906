"""Whatever ends an import, running it again makes each case once and loses none.

Against a server that doesn't enforce unique references, so that every mistake shows.
"""

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.settings import PREFECT_API_URL

from flows.import_cases import import_cases
from flows.writing import IncompleteRunError, RunSummary
from sandbox.faults import (
    Action,
    Applied,
    Drip,
    Drop,
    Fault,
    Html,
    Late,
    Partial,
    RandomFaults,
    Status,
    Truncate,
)
from sandbox.server import Sandbox
from sandbox.store import Store

ROOT = Path(__file__).resolve().parents[2]
StartSandbox = Callable[..., Sandbox]

# Starting Python and Prefect takes longer than an import, so one process does it and then forks
# each import. A line of JSON starts one, a number waits for the process with that id.
FORKS = """
import asyncio, json, os, signal, sys
from flows.import_cases import import_cases

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
log = os.open("import.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)


async def run():
    # SIGUSR1 stands for a SIGTERM in the middle of a callback, where asyncio loses what is raised
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, os.kill, os.getpid(), signal.SIGTERM)
    await import_cases(source="cases.csv", output="runs")


asyncio.run(run())
"""

SEED = int(os.environ.get("IMPORT_CRASH_SEED", "1"))
FAULTS: tuple[Action, ...] = (
    Status(500),
    Status(503, body="<h1>503 Service Unavailable</h1>"),
    Drop(),
    Html(),
    Applied(Status(500)),
    Applied(Status(502, body="<h1>502 Bad Gateway</h1>")),
    Applied(Drop()),
    Applied(Html()),
    Truncate(),
    Truncate(announced=False),
    Late(0.2),
    Late(0.2, Drop()),
    Partial(),
)
"""One of every kind, none later than the time that the tests settle."""


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


class Forks:
    """Imports of `cases.csv` in the current folder, each in a process of its own."""

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

    def start(self) -> int:
        """Start one; returns its process id."""
        ours = ("WILLSUITE_", "XDG_STATE_HOME")
        environment = {name: text for name, text in os.environ.items() if name.startswith(ours)}
        return self._ask({"environment": environment, "folder": str(Path.cwd())})

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
    """A signal to an import when the sandbox gets its n-th request for a path."""

    how: signal.Signals
    at: int
    path: str = "/cases/create"
    then: Action | None = None
    """What becomes of that request; None leaves it to the other faults."""
    seconds: float = 0.0
    """How long after the request."""
    process_id: int = 0
    action: Action = field(init=False, repr=False)

    def matches(self, _method: str, path: str, _page: str | None) -> bool:
        if path != self.path:
            return False
        self.at -= 1
        if self.at != 0:
            return False
        if self.how is signal.SIGKILL:
            os.kill(self.process_id, self.how)
            time.sleep(0.05)  # dead before there can be an answer
        else:
            threading.Timer(self.seconds, os.kill, (self.process_id, self.how)).start()
        if self.then is not None:
            self.action = self.then
        return self.then is not None


def stopped_import(forks: Forks, sandbox: Sandbox, stop: Stop) -> int:
    """Start an import that `stop` stops; returns its exit code."""
    sandbox.faults.insert(0, stop)  # type: ignore[arg-type]
    stop.process_id = forks.start()
    code = forks.wait(stop.process_id)
    assert stop.at <= 0, "it came to that request"
    sandbox.faults.remove(stop)  # type: ignore[arg-type]
    return code


def finish_import() -> RunSummary:
    try:
        return asyncio.run(import_cases(source="cases.csv", output="runs"))
    except IncompleteRunError as error:
        return error.summary


def write_rows(count: int) -> None:
    with Path("cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = ("title", "first_names", "last_name")
        writer.writerow(["ref", *(f"customer_1_{name}" for name in names)])
        writer.writerows([f"IMP-{n:03d}", "Ms", "Amara", f"Okafor {n}"] for n in range(count))


def ref_counts(store: Store) -> Counter[str]:
    refs = [store.case(case_id)["ref"] for case_id in store.ids]  # type: ignore[index]
    return Counter(ref for ref in refs if ref.startswith("IMP-"))


def each_once(count: int) -> dict[str, int]:
    return {f"IMP-{n:03d}": 1 for n in range(count)}


def quiet(sandbox: Sandbox) -> None:
    """Wait until the server has done with all that it was sent."""
    while sandbox.pending_late:
        time.sleep(0.02)


def test_an_import_killed_again_and_again_amid_faults_makes_each_case_once(
    forks: Forks, start_sandbox: StartSandbox
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    sandbox.faults = [RandomFaults(0.25, seed=SEED, actions=FAULTS)]
    write_rows(60)
    # the request that kills: applied, not applied, applied when the process is long gone, any
    for at, then in [(7, Applied(Drop())), (9, Drop()), (5, Late(0.3, Drop())), (6, None)]:
        stop = Stop(signal.SIGKILL, at, then=then)
        assert stopped_import(forks, sandbox, stop) == -signal.SIGKILL
    assert not list(Path("runs").glob("*/outcomes.parquet"))
    assert len(ref_counts(sandbox.store)) > 10

    first = finish_import()
    assert first["outcomes"].get("existing", 0) + first["outcomes"].get("partial", 0) > 10
    sandbox.faults = []
    last = finish_import()
    for summary in (first, last):
        assert sum(summary["outcomes"].values()) == summary["rows"] == 60
    assert set(last["outcomes"]) <= {"created", "existing", "partial"}
    quiet(sandbox)
    assert ref_counts(sandbox.store) == each_once(60)


def test_a_case_that_comes_after_the_run_was_killed_is_waited_for_by_the_next_run(
    forks: Forks, start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    write_rows(1)
    assert finish_import()["outcomes"] == {"created": 1}  # which the victim takes for settled
    write_rows(4)
    stop = Stop(signal.SIGKILL, 1, then=Late(1.5, Drop()))
    assert stopped_import(forks, sandbox, stop) == -signal.SIGKILL
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "1.6")
    assert finish_import()["outcomes"] == {"created": 2, "existing": 2}
    assert ref_counts(sandbox.store) == each_once(4)


LOOK = 6
"""Requests for one look at which cases there are: two about the filter by ref, a page and an
empty one, recent changes, and the count."""
TERM = signal.SIGTERM
HELD = {"action": Drip(100.0), "skip": 12, "times": None}
UNTOUCHED = {("not_attempted", "stopped"): 60}
MOMENTS = [
    ("looking for references", Stop(TERM, 3, "/cases"), None, UNTOUCHED),
    ("waiting for the last run", Stop(TERM, LOOK, "/cases", seconds=0.3), None, UNTOUCHED),
    (
        "under way",
        Stop(signal.SIGUSR1, 20, seconds=0.2),
        HELD,
        {("created", None): 12, ("unknown", "interrupted"): 8, ("not_attempted", "stopped"): 40},
    ),
    (
        "under way",
        Stop(signal.SIGINT, 20, seconds=0.2),
        HELD,
        {("created", None): 12, ("unknown", "interrupted"): 8, ("not_attempted", "stopped"): 40},
    ),
    (
        "waiting for lost answers",
        Stop(TERM, 60, seconds=0.5),
        {"action": Applied(Drop()), "skip": 20},
        {("created", None): 59, ("unknown", "answer_lost"): 1},
    ),
    ("reading back", Stop(TERM, 2 * LOOK + 2, "/cases"), None, {("created", None): 60}),
]


@pytest.mark.parametrize(
    ("when", "stop", "fault", "expected"),
    MOMENTS,
    ids=[f"{moment[1].how.name} {moment[0]}" for moment in MOMENTS],
)
def test_an_import_that_is_stopped_writes_down_what_it_knows_of_every_row(
    forks: Forks,
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    stop: Stop,
    fault: dict[str, Any] | None,
    expected: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    if when == "waiting for lost answers":
        write_rows(1)
        finish_import()
        sandbox.store.delete(sandbox.store.listing(ref="IMP-000")[0])
    if when.startswith("waiting"):
        monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "60")
    sandbox.faults = [Fault(path="/cases/create", **fault)] if fault else []
    write_rows(60)
    before = set(Path("runs").glob("import-*"))
    began = time.monotonic()
    assert stopped_import(forks, sandbox, stop) != 0
    assert time.monotonic() - began < 30
    assert "Stopped; the outcomes so far are in" in Path("import.log").read_text()
    [folder] = set(Path("runs").glob("import-*")) - before
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    assert [row["row"] for row in rows] == list(range(2, 62))
    assert Counter((row["outcome"], row["code"]) for row in rows) == expected
    there = ref_counts(sandbox.store)
    assert {row["key"] for row in rows if row["outcome"] == "created"} <= set(there)
    assert set(there) == {row["key"] for row in rows if row["attempts"]}
    assert not list(Path("runs").glob(".run-*"))

    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    sandbox.faults = []
    summary = finish_import()  # nothing is locked
    assert summary["outcomes"].get("existing", 0) == len(there)
    assert summary["outcomes"].get("created", 0) == 60 - len(there)
    assert ref_counts(sandbox.store) == each_once(60)
