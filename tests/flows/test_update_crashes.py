"""Whatever ends an update, running it again adds each customer once and loses none."""

import asyncio
import csv
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from accounts import forget_in_prefect
from stopped_runs import FAULTS, LOG, Forks, Stop, forks_of, quiet, stopped_run

from flows.update_cases import update_cases
from flows.writing import IncompleteRunError, RunSummary
from sandbox.faults import Applied, Drip, Drop, Fault, Late, RandomFaults
from sandbox.people import case_of
from sandbox.server import Sandbox
from willsuite import load_settings

pytestmark = pytest.mark.soak

StartSandbox = Callable[..., Sandbox]

SEED = int(os.environ.get("UPDATE_CRASH_SEED", "1"))
CASES = "/cases/*"
PEOPLE = ("Amara Okafor", "Wei Ng")
"""Who is added to each case."""


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


forks = forks_of(update_cases, source="changes.csv", output="runs")


@dataclass
class StopAt(Stop):
    """The requests of a kind."""

    method: str = "PATCH"
    after: int = 0
    """They count once so many changes have arrived."""

    def counts(self, method: str, _path: str) -> bool:
        self.after -= method == "PATCH"
        return self.after <= 0 and self.method in ("*", method)


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
        StopAt(signal.SIGKILL, 5, then=Applied(Drop())),
        StopAt(signal.SIGKILL, 7, then=Drop()),
        StopAt(signal.SIGKILL, 6, then=Late(0.3, Drop())),
        StopAt(signal.SIGKILL, rng.randrange(10, 60), "*", seconds=rng.uniform(0, 0.02)),
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
    stop = StopAt(signal.SIGKILL, 3, then=Late(1.2, Drop()))
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "1.3")
    assert finish()["outcomes"] == {"updated": 3, "unchanged": 1}
    assert people_in(sandbox, 4) == [PEOPLE] * 4


ROWS = 30
TERM = signal.SIGTERM
LOST = "Some changes may or may not have been carried out; waiting"
UNSETTLED = "It isn't known that the last run here ended cleanly; waiting"
UNTOUCHED = {("not_attempted", "stopped"): ROWS}
MOMENTS: list[tuple[str, StopAt, dict[str, Any] | None, dict[tuple[str, str | None], int]]] = [
    ("looking at the cases", StopAt(TERM, 3, "GET"), None, UNTOUCHED),
    ("waiting for the last run", StopAt(TERM, 3, "GET", said=UNSETTLED), None, UNTOUCHED),
    (
        "under way",
        StopAt(signal.SIGUSR1, 20, seconds=0.2),
        {"action": Drip(100.0), "skip": 12, "times": None},
        {
            ("unknown", "unread"): 12,
            ("unknown", "interrupted"): 8,
            ("not_attempted", "stopped"): ROWS - 20,
        },
    ),
    (
        "waiting for lost answers",
        StopAt(TERM, ROWS, said=LOST),
        {"action": Applied(Drop()), "skip": 20},
        {("unknown", "unread"): ROWS},
    ),
    ("reading back", StopAt(TERM, 3, "GET", after=ROWS), None, {("unknown", "unread"): ROWS}),
]


@pytest.mark.parametrize(
    ("when", "stop", "fault", "expected"), MOMENTS, ids=[moment[0] for moment in MOMENTS]
)
def test_a_run_that_is_stopped_writes_down_what_it_knows_of_every_row(
    forks: Forks,
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    stop: StopAt,
    fault: dict[str, Any] | None,
    expected: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30)
    forget_in_prefect(load_settings().account_name)  # as on a first run, there are two looks
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
    assert "Stopped; the outcomes so far are in" in LOG.read_text()
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
