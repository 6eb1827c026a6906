"""Random runs of all flows amid random faults and kills, for as long as there is time.

`make soak MINUTES=30` goes on for longer; `SEED=` plays one campaign again: the same account,
files, faults and kills, though not the same race between them.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from ended_runs import EndedRun, Row, write_csv
from prefect import Flow
from prefect.exceptions import FailedRun
from small_accounts import (
    booking,
    change,
    false_claims,
    made_by_a_person,
    new_case,
    there_twice,
)
from stopped_runs import FAULTS, Forks, Stop, quiet, run_with
from test_export_cases import end_of, expected, export, published

from flows.bulk_update_cases import bulk_update_cases
from flows.export_cases import export_cases
from flows.import_cases import import_cases
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases
from protocols.exports import read_export
from sandbox.faults import (
    Applied,
    Change,
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
from sandbox.views import Views
from schemas.outcomes import FAILING

MINUTES = float(os.environ.get("MINUTES", "2"))
SEED = os.environ.get("SEED")

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 300)]

StartSandbox = Callable[..., Sandbox]

OUTPUT = Path("exports")
SETTLED = 1.2
"""Seconds; longer than anything comes late here."""
WRITES = {
    import_cases: [("POST", "/cases/create")],
    update_cases: [("PATCH", "/cases/*")],
    bulk_update_cases: [("PATCH", "/cases-bulk-update")],
    sync_appointments: [
        (method, "/cases/*/appointments*") for method in ("POST", "PATCH", "DELETE")
    ],
}
LATE = 0.7
WRITING = (*(each for each in FAULTS if not isinstance(each, Late)), Late(LATE), Late(LATE, Drop()))
READING = (Status(500), Status(503, body="<h1>down</h1>"), Drop(), Html(), Truncate(),
           Truncate(announced=False))  # fmt: skip
JOBS = (
    None, None, JobFault(ends="failed"), JobFault(ends="failed", applies=0.5), JobFault(skips=[0]),
    JobFault(hidden_polls=1), JobFault(skips=0.5, message="Some were left out."),
)  # fmt: skip
DEATHS = {
    export_cases: ["tasks.snapshots:LocalOutput.publish", "tasks.snapshots:LocalOutput.point"],
    sync_appointments: ["protocols.account.journal:Journal.put"],
}
"""Where a process dies beside a call of its own; others only at requests."""
WRITING_DEATHS = [
    "protocols.account.known:write_atomically",
    "protocols.rows.run_files:write_atomically",
]


@pytest.fixture(scope="module")
def forks(prefect_server: None) -> Iterator[Forks]:
    forks = Forks(export_cases, *WRITES)
    yield forks
    forks.close()


@dataclass
class StopAtAny(Stop):
    """Every request counts."""

    def counts(self, _method: str, _path: str) -> bool:
        return True


@dataclass
class Campaign:
    """One account, some runs, and what was found to be wrong."""

    seed: int
    start_sandbox: StartSandbox
    forks: Forks
    story: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    @cached_property
    def sandbox(self) -> Sandbox:
        draw = self.chance.choice
        options = {
            "cases": self.chance.randrange(1, 40),
            "seed": self.seed,
            "order": draw(["id", "newest", "oldest"]),
            "unique_refs": draw([True, False, False]),
            "validation_status": draw([400, 422]),
            "words_as_flags": draw([True, False]),
            "max_per_page": draw([7, 100]),
            "meta_update": draw(["merge", "replace"]),
            "job_seconds": draw([0.0, 0.2]),
            "token_seconds": draw([2, 3600]),
            # "first": whom an update has added, only the case itself tells
            "views": Views(listed_people=draw(["all", "none"])),
        }
        self.story.append(f"account: {options}")
        return self.start_sandbox(**options)

    def run(self) -> None:
        if self.chance.random() < 0.4:
            self._export("full")
        for _ in range(2):
            if self.chance.random() < 0.25:
                self._export(self.chance.choice(["full", "incremental"]))
            else:
                self._write(self.chance.choice(list(WRITES)))
            self._people_at_work()
        self.sandbox.faults = []
        self._check_export(export(OUTPUT), "full")

    def _write(self, flow: Flow[..., Any]) -> None:
        rows = self._rows(flow)
        source = str(write_csv("rows.csv", rows))
        self._faults(WRITES[flow], WRITING)
        if flow is bulk_update_cases:
            self.sandbox.job_faults = self.chance.choices(JOBS, k=3)
        self.story.append(f"{flow.name}: {len(rows)} rows; jobs {self.sandbox.job_faults}")
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            self._killed(flow, source=source, output="runs")
        self._finished(flow, rows, source)
        self.sandbox.faults, self.sandbox.job_faults = [], []
        last = self._finished(flow, rows, source)
        failing = set(last.summary["outcomes"]) & set(FAILING)
        if flow is sync_appointments:
            failing -= {"unknown"}  # until a person says what became of them
        self.wrong += [f"{flow.name} amid no faults left rows {word}" for word in sorted(failing)]

    def _finished(self, flow: Flow[..., Any], rows: Sequence[Row], source: str) -> EndedRun:
        ended = EndedRun.of(flow, source)
        quiet(self.sandbox)
        if isinstance(ended.result, Exception) and not hasattr(ended.result, "summary"):
            self.story.append(f"{flow.name} could not begin: {type(ended.result).__name__}")
            return ended
        self.story.append(f"{flow.name} ended: {ended.summary['outcomes']}")
        self.wrong += [*false_claims(flow.name, self.sandbox, rows, ended)]
        self.wrong += [*there_twice(self.sandbox)]
        return ended

    def _export(self, mode: str) -> None:
        self._faults([("GET", "/cases*")], READING)
        if self.chance.random() < 0.3:
            moves = Change(lambda _store: self._people_at_work())
            self.sandbox.faults.append(Fault(moves, path="/cases", skip=1, times=2))
        self.story.append(f"export-cases: {mode}")
        for _ in range(self.chance.choice([0, 0, 1])):
            self._killed(export_cases, output=str(OUTPUT), mode=mode)
        state = end_of(OUTPUT, mode=mode)
        self.story.append(f"export-cases ended: {state.name}")
        if (OUTPUT / "latest.json").exists():
            for table in ("cases", "customers", "case_meta"):
                read_export(table, str(OUTPUT), check=True)  # type: ignore[arg-type]
        self.sandbox.faults = []
        with suppress(FailedRun):
            self._check_export(export(OUTPUT, mode=mode), mode)

    def _check_export(self, summary: dict[str, Any], mode: str) -> None:
        has, account = published(OUTPUT), expected(self.sandbox.store)
        for table, rows in account.items():
            missing = [row for row in rows if row not in has[table]]
            ids = {row.get("case_id", row.get("id")) for row in missing}
            if missing:
                self.wrong.append(f"{mode} export: {len(missing)} rows of {table} not as in {ids}")
            if summary["mode"] == "full" and len(has[table]) != len(rows):
                self.wrong.append(
                    f"{mode} export: {len(has[table])} rows of {table} instead of {len(rows)}"
                )

    def _rows(self, flow: Flow[..., Any]) -> list[Row]:
        numbers = self.chance.sample(range(24), self.chance.randrange(1, 16))
        ids = self.sandbox.store.ids
        if flow is import_cases:
            return [new_case(number) for number in numbers]
        if flow is sync_appointments:
            return [
                booking(number, ids[number % len(ids)], self.chance.choice([0, 30]),
                        is_gone=self.chance.random() < 0.2)
                for number in numbers
            ]  # fmt: skip
        chosen = [ids[number] for number in numbers if number < len(ids)] or ids[:1]
        words = f"{self.chance.getrandbits(32):x}"
        adds = flow is update_cases
        return [
            change(case_id, f"{words} {n}", self.chance.choice([0, 1]) if adds else None)
            for n, case_id in enumerate(chosen)
        ]

    def _faults(self, places: Sequence[tuple[str, str]], actions: Sequence[Any]) -> None:
        share = self.chance.choice([0.0, 0.15, 0.3])
        # few kinds at a time: what takes several of a kind would hardly ever come about
        actions = self.chance.sample(actions, self.chance.choice([1, 2, 4]))
        self.story.append(f"faults: {share:.0%} of {places} get {actions}")
        self.sandbox.faults = [
            RandomFaults(share, self.chance.getrandbits(32), actions, method, path)
            for method, path in places
        ]

    def _killed(self, flow: Flow[..., Any], **parameters: Any) -> None:
        if self.chance.random() < 0.3:
            place = self.chance.choice(
                DEATHS.get(flow, []) + (WRITING_DEATHS if flow in WRITES else [])
            )
            when, call = self.chance.choice(["before", "after"]), self.chance.randrange(1, 4)
            code = self.forks.wait(self.forks.start((place, when, call), of=flow, **parameters))
            self.story.append(f"{flow.name} was to die {when} call {call} of {place}: {code}")
            return
        then = self.chance.choice([None, Drop(), Applied(Drop()), Late(LATE, Drop())])
        stop = StopAtAny(signal.SIGKILL, self.chance.randrange(1, 15), then=then)
        stop.seconds = self.chance.choice([0.0, self.chance.uniform(0, 0.02)])
        self.story.append(f"{flow.name} to be killed: {stop}")
        self.story.append(
            f"it ended with {run_with(self.forks, self.sandbox, stop, of=flow, **parameters)}"
        )

    def _people_at_work(self) -> None:
        store: Store = self.sandbox.store
        number = self.chance.getrandbits(24)
        what = self.chance.choice(["insert", "change", "delete", "nothing"])
        if what == "insert":
            store.put(made_by_a_person(number))
        elif what == "change":
            store.change(self.chance.choice(store.ids), notes=f"Somebody's {number}")
        elif what == "delete" and len(store) > 1:
            store.delete(self.chance.choice(store.ids))
        self.story.append(f"people: {what}")


def seeds() -> Iterator[int]:
    """The one that is given, or others for as long as there is time."""
    if SEED:
        yield int(SEED)
        return
    ends_at = time.monotonic() + MINUTES * 60
    seed = random.SystemRandom().randrange(10**9)
    while time.monotonic() < ends_at:
        yield seed
        seed += 1


def test_whatever_runs_meet_what_they_say_is_so_and_nothing_is_there_twice(
    start_sandbox: StartSandbox,
    forks: Forks,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", str(SETTLED))
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    for seed in seeds():
        folder = tmp_path / str(seed)
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        campaign = Campaign(seed, start_sandbox, forks)
        try:
            campaign.run()
        except Exception as error:
            campaign.wrong.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            if campaign.wrong:
                report = written_report(pytestconfig, campaign)
                pytest.fail(
                    f"SEED={seed} in the environment plays it again; {report} says:\n"
                    + "\n".join(campaign.wrong)
                )


def written_report(pytestconfig: pytest.Config, campaign: Campaign) -> Path:
    """What can be filed: of invented people only."""
    path = Path(pytestconfig.cache.mkdir("campaigns")) / f"{campaign.seed}.txt"  # type: ignore[union-attr]
    lines = [f"SEED={campaign.seed}", "", *campaign.wrong, "", *campaign.story]
    path.write_text("\n".join(lines) + "\n")
    return path
