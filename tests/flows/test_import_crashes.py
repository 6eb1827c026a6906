"""Whatever ends an import, running it again makes each case once and loses none.

Against a server that doesn't enforce unique references, so that every mistake shows.
"""

import asyncio
import csv
import os
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

from flows.import_cases import import_cases
from flows.writing import IncompleteRunError, RunSummary
from sandbox.faults import Applied, Drip, Drop, Fault, Late, RandomFaults
from sandbox.server import Sandbox
from sandbox.store import Store
from willsuite import load_settings

pytestmark = pytest.mark.soak

StartSandbox = Callable[..., Sandbox]

SEED = int(os.environ.get("IMPORT_CRASH_SEED", "1"))


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


forks = forks_of(import_cases, source="cases.csv", output="runs")


@dataclass
class StopAt(Stop):
    """The requests for a path."""

    path: str = "/cases/create"

    def counts(self, _method: str, path: str) -> bool:
        return path == self.path


def finish() -> RunSummary:
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


def test_an_import_killed_again_and_again_amid_faults_makes_each_case_once(
    forks: Forks, start_sandbox: StartSandbox
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    sandbox.faults = [RandomFaults(0.25, seed=SEED, actions=FAULTS)]
    write_rows(60)
    # the request that kills: applied, not applied, applied when the process is long gone, any
    for at, then in [(7, Applied(Drop())), (9, Drop()), (5, Late(0.3, Drop())), (6, None)]:
        stop = StopAt(signal.SIGKILL, at, then=then)
        assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    assert not list(Path("runs").glob("*/outcomes.parquet"))
    assert len(ref_counts(sandbox.store)) > 10

    first = finish()
    assert first["outcomes"].get("existing", 0) + first["outcomes"].get("partial", 0) > 10
    sandbox.faults = []
    last = finish()
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
    assert finish()["outcomes"] == {"created": 1}  # which the victim takes for settled
    write_rows(4)
    stop = StopAt(signal.SIGKILL, 1, then=Late(1.5, Drop()))
    assert stopped_run(forks, sandbox, stop) == -signal.SIGKILL
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "1.6")
    assert finish()["outcomes"] == {"created": 2, "existing": 2}
    assert ref_counts(sandbox.store) == each_once(4)


LOOK = 6
"""Requests for one look at which cases there are: two about the filter by ref, a page and an
empty one, recent changes, and the count."""
TERM = signal.SIGTERM
UNSETTLED = "It isn't known that the last run here ended cleanly; waiting"
LOST = "may or may not be created; waiting"
HELD = {"action": Drip(100.0), "skip": 12, "times": None}
UNTOUCHED = {("not_attempted", "stopped"): 60}
MOMENTS = [
    ("looking for references", StopAt(TERM, 3, "/cases"), None, UNTOUCHED),
    ("waiting for the last run", StopAt(TERM, LOOK, "/cases", said=UNSETTLED), None, UNTOUCHED),
    (
        "under way",
        StopAt(signal.SIGUSR1, 20, seconds=0.2),
        HELD,
        {("created", None): 12, ("unknown", "interrupted"): 8, ("not_attempted", "stopped"): 40},
    ),
    (
        "under way",
        StopAt(signal.SIGINT, 20, seconds=0.2),
        HELD,
        {("created", None): 12, ("unknown", "interrupted"): 8, ("not_attempted", "stopped"): 40},
    ),
    (
        "waiting for lost answers",
        StopAt(TERM, 60, said=LOST),
        {"action": Applied(Drop()), "skip": 20},
        {("created", None): 59, ("unknown", "answer_lost"): 1},
    ),
    ("reading back", StopAt(TERM, 2 * LOOK + 2, "/cases"), None, {("created", None): 60}),
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
    stop: StopAt,
    fault: dict[str, Any] | None,
    expected: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    forget_in_prefect(load_settings().account_name)  # as on a first run, there are two looks
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    if when == "waiting for lost answers":
        write_rows(1)
        finish()
        sandbox.store.delete(sandbox.store.listing(ref="IMP-000")[0])
    if when.startswith("waiting"):
        monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "60")
    sandbox.faults = [Fault(path="/cases/create", **fault)] if fault else []
    write_rows(60)
    before = set(Path("runs").glob("import-*"))
    assert stopped_run(forks, sandbox, stop) != 0
    assert "Stopped; the outcomes so far are in" in LOG.read_text()
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
    summary = finish()  # nothing is locked
    assert summary["outcomes"].get("existing", 0) == len(there)
    assert summary["outcomes"].get("created", 0) == 60 - len(there)
    assert ref_counts(sandbox.store) == each_once(60)
