"""Whatever ends an update, running it again adds each customer once and loses none."""

import asyncio
import csv
import json
import os
import random
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

from flows.update_cases import update_cases
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
from sandbox.people import case_of
from sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parents[2]
StartSandbox = Callable[..., Sandbox]

# Starting Python and Prefect takes longer than a run, so one process does it and then forks each
# run. A line of JSON starts one, a number waits for the process with that id.
FORKS = """
import asyncio, json, os, signal, sys
from flows.update_cases import update_cases

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
log = os.open("update.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)


async def run():
    # SIGUSR1 stands for a SIGTERM in the middle of a callback, where asyncio loses what is raised
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, os.kill, os.getpid(), signal.SIGTERM)
    await update_cases(source="changes.csv", output="runs")


asyncio.run(run())
"""

SEED = int(os.environ.get("UPDATE_CRASH_SEED", "1"))
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
CASES = "/cases/*"
PEOPLE = ("Amara Okafor", "Wei Ng")
"""Who is added to each case."""


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


class Forks:
    """Runs with `changes.csv` in the current folder, each in a process of its own."""

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
    """A signal to a run when the sandbox gets its n-th request of a kind."""

    how: signal.Signals
    at: int
    method: str = "PATCH"
    after: int = 0
    """Requests count once so many changes have arrived."""
    then: Action | None = None
    """What becomes of that request; None leaves it to the other faults."""
    seconds: float = 0.0
    """How long after the request."""
    said: str = ""
    """What the run has to have said in its log before."""
    process_id: int = 0
    action: Action = field(init=False, repr=False)

    def matches(self, method: str, _path: str, _page: str | None) -> bool:
        self.after -= method == "PATCH"
        if self.after > 0 or self.method not in ("*", method):
            return False
        self.at -= 1
        if self.at != 0:
            return False
        if self.how is signal.SIGKILL:
            time.sleep(self.seconds)
            os.kill(self.process_id, self.how)
            time.sleep(0.05)  # dead before there can be an answer
        else:
            threading.Thread(target=self._signal).start()
        if self.then is not None:
            self.action = self.then
        return self.then is not None

    def _signal(self) -> None:
        time.sleep(self.seconds)
        while self.said not in Path("update.log").read_text():
            time.sleep(0.02)
        os.kill(self.process_id, self.how)


def stopped_run(forks: Forks, sandbox: Sandbox, stop: Stop) -> int:
    """Start a run that `stop` stops; returns its exit code."""
    sandbox.faults.insert(0, stop)  # type: ignore[arg-type]
    stop.process_id = forks.start()
    code = forks.wait(stop.process_id)
    assert stop.at <= 0, "it came to that request"
    sandbox.faults.remove(stop)  # type: ignore[arg-type]
    return code


def finish() -> RunSummary:
    try:
        return asyncio.run(update_cases(source="changes.csv", output="runs"))
    except IncompleteRunError as error:
        return error.summary


def id_of(number: int) -> str:
    return f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def prepare(sandbox: Sandbox, count: int, people: int = 2, **fields: str) -> None:
    """Cases, and a file that adds people to each of them; `fields` has the other columns."""
    for number in range(count):
        case_id = id_of(number)
        case = case_of(
            case_id, ref=f"UPD-{number:03d}", notes=None, meta={}, is_active=1, customers=[]
        )
        sandbox.store.put(case)
    columns = ("title", "first_names", "last_name", "date_of_birth", "postcode")
    # one is known again by the birth date, the other by the postcode
    cells = [["Ms", "Amara", "Okafor", "23/11/1931", ""], ["Mr", "Wei", "Ng", "", "QX1 1ZZ"]]
    with Path("changes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        header = [f"customer_{n}_{name}" for n in range(1, people + 1) for name in columns]
        writer.writerow(["ref", *fields, *header])
        for number in range(count):
            own = [cell for person in cells[:people] for cell in person]
            values = [text.format(number) for text in fields.values()]
            writer.writerow([f"UPD-{number:03d}", *values, *own])


def people_in(sandbox: Sandbox, count: int) -> list[tuple[str, ...]]:
    """The names of the customers of each case, sorted."""
    cases = [sandbox.store.case(id_of(number)) for number in range(count)]
    return [
        tuple(sorted(f"{each['first_names']} {each['last_name']}" for each in case["customers"]))
        for case in cases
        if case is not None
    ]


def changes(sandbox: Sandbox) -> int:
    return sum(seen.method == "PATCH" for seen in sandbox.requests)


def quiet(sandbox: Sandbox) -> None:
    """Wait until the server has done with all that it was sent."""
    while sandbox.pending_late:
        time.sleep(0.02)


def test_runs_killed_again_and_again_amid_faults_add_each_customer_once(
    forks: Forks, start_sandbox: StartSandbox
) -> None:
    count = 20
    sandbox = start_sandbox(cases=30, unique_refs=False)
    prepare(sandbox, count, new_ref="NEW-{:03d}", notes="Note {}")
    sandbox.faults = [RandomFaults(0.2, seed=SEED, actions=FAULTS, method="PATCH", path=CASES)]
    rng = random.Random(SEED)
    # the request that kills: applied, not applied, applied when the process is long gone, any
    for stop in (
        Stop(signal.SIGKILL, 5, then=Applied(Drop())),
        Stop(signal.SIGKILL, 7, then=Drop()),
        Stop(signal.SIGKILL, 6, then=Late(0.3, Drop())),
        Stop(signal.SIGKILL, rng.randrange(10, 60), "*", seconds=rng.uniform(0, 0.02)),
    ):
        assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    assert not list(Path("runs").glob("*/outcomes.parquet"))
    there = people_in(sandbox, count)
    assert 10 < sum(map(len, there)) < 2 * count

    first = finish()
    sandbox.faults = []
    last = finish()
    for summary in (first, last):
        assert sum(summary["outcomes"].values()) == summary["rows"] == count
    assert set(last["outcomes"]) <= {"updated", "unchanged"}
    quiet(sandbox)
    sandbox.requests.clear()
    assert finish()["outcomes"] == {"unchanged": count}
    assert changes(sandbox) == 0
    assert people_in(sandbox, count) == [PEOPLE] * count
    for number in range(count):
        case = sandbox.store.case(id_of(number))
        assert case is not None
        assert (case["ref"], case["notes"]) == (f"NEW-{number:03d}", f"Note {number}")


def test_a_customer_who_comes_after_the_run_was_killed_is_waited_for_by_the_next_run(
    forks: Forks, start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    prepare(sandbox, 1)
    assert finish()["outcomes"] == {"updated": 1}  # which the victim takes for settled
    prepare(sandbox, 4)
    stop = Stop(signal.SIGKILL, 3, then=Late(1.2, Drop()))
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "1.3")
    assert finish()["outcomes"] == {"updated": 3, "unchanged": 1}
    assert people_in(sandbox, 4) == [PEOPLE] * 4


ROWS = 30
TERM = signal.SIGTERM
LOST = "Some changes may or may not have been carried out; waiting"
UNSETTLED = "It isn't known that the last run here ended cleanly; waiting"
UNTOUCHED = {("not_attempted", "stopped"): ROWS}
MOMENTS: list[tuple[str, Stop, dict[str, Any] | None, dict[tuple[str, str | None], int]]] = [
    ("looking at the cases", Stop(TERM, 3, "GET"), None, UNTOUCHED),
    ("waiting for the last run", Stop(TERM, 3, "GET", said=UNSETTLED), None, UNTOUCHED),
    (
        "under way",
        Stop(signal.SIGUSR1, 20, seconds=0.2),
        {"action": Drip(100.0), "skip": 12, "times": None},
        {
            ("unknown", "unread"): 12,
            ("unknown", "interrupted"): 8,
            ("not_attempted", "stopped"): ROWS - 20,
        },
    ),
    (
        "waiting for lost answers",
        Stop(TERM, ROWS, said=LOST),
        {"action": Applied(Drop()), "skip": 20},
        {("unknown", "unread"): ROWS},
    ),
    ("reading back", Stop(TERM, 3, "GET", after=ROWS), None, {("unknown", "unread"): ROWS}),
]


@pytest.mark.parametrize(
    ("when", "stop", "fault", "expected"), MOMENTS, ids=[moment[0] for moment in MOMENTS]
)
def test_a_run_that_is_stopped_writes_down_what_it_knows_of_every_row(
    forks: Forks,
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    stop: Stop,
    fault: dict[str, Any] | None,
    expected: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    if when == "waiting for lost answers":
        prepare(sandbox, 1, people=1)
        finish()  # so that only these are waited for
    if when.startswith("waiting"):
        monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "60")
    prepare(sandbox, ROWS, people=1)
    sandbox.faults = [Fault(method="PATCH", path=CASES, **fault)] if fault else []
    before = set(Path("runs").glob("update-*"))
    assert stopped_run(forks, sandbox, stop) != 0
    assert "Stopped; the outcomes so far are in" in Path("update.log").read_text()
    [folder] = set(Path("runs").glob("update-*")) - before
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    assert [row["row"] for row in rows] == list(range(2, 2 + ROWS))
    assert Counter((row["outcome"], row["code"]) for row in rows) == expected
    there = people_in(sandbox, ROWS)
    assert [len(people) for people in there] == [row["attempts"] for row in rows]
    assert not list(Path("runs").glob(".run-*"))

    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    sandbox.faults = []
    summary = finish()  # nothing is locked
    done = sum(map(len, there))
    assert summary["outcomes"].get("unchanged", 0) == done
    assert summary["outcomes"].get("updated", 0) == ROWS - done
    assert people_in(sandbox, ROWS) == [PEOPLE[:1]] * ROWS
