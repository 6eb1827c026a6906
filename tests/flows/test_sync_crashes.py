"""Whatever ends a run, running it again makes no appointment twice and writes to nobody twice."""

import asyncio
import csv
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stopped_runs import FAULTS, LOG, Forks, Stop, forks_of, quiet, run_with, stopped_run

from flows.sync_appointments import sync_appointments
from flows.writing import IncompleteRunError, RunSummary
from sandbox.faults import Applied, Drip, Drop, Fault, Late, RandomFaults
from sandbox.server import Options, Sandbox

pytestmark = pytest.mark.soak

StartSandbox = Callable[..., Sandbox]
Row = dict[str, str]

SEED = int(os.environ.get("SYNC_CRASH_SEED", "1"))
CASES = Sandbox(Options(cases=30)).store.ids
SMS = {"sms_recipient": "07700900123", "sms_confirmation": "yes"}


@pytest.fixture(autouse=True)
def quick(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.3")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


forks = forks_of(sync_appointments, output="runs")


class StopAt(Stop):
    """The writes to an appointment."""

    def counts(self, method: str, path: str) -> bool:
        return method != "GET" and path.startswith("/cases/")


def killed_at(forks: Forks, source: str, place: str, when: str, call: int) -> None:
    """A run that is killed just before or just after a call of its own."""
    assert forks.wait(forks.start((place, when, call), source=source)) == -signal.SIGKILL


def finished_run(source: str, **parameters: Any) -> RunSummary:
    try:
        return asyncio.run(sync_appointments(source=source, output="runs", **parameters))
    except IncompleteRunError as error:
        return error.summary


def outcomes_of(summary: RunSummary) -> dict[str, dict[str, Any]]:
    """The rows of a run by their key; they are all rows."""
    rows = pq.read_table(summary["outcomes_file"]).to_pylist()
    assert sum(summary["outcomes"].values()) == summary["rows"] == len(rows)
    return {row["key"]: row for row in rows}


def row_of(key: str, case: int, **cells: str) -> Row:
    """A plain good row; the location tells the server's appointments apart."""
    return {
        "key": key,
        "action": "",
        "case_id": CASES[case],
        "adviser_email": "adviser@example.org",
        "start_time": "2099-07-20 09:00",
        "end_time": "2099-07-20 10:00",
        "location": key,
    } | cells


def write_csv(path: str, rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def live(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """The appointments that aren't deleted, by their location."""
    return {
        each["location"]: each for each in sandbox.appointments.values() if not each["deleted_at"]
    }


def nothing_is_twice(sandbox: Sandbox) -> bool:
    """Whether no key has two appointments, or a message that went out twice."""
    made = Counter(each["location"] for each in sandbox.appointments.values())
    sent = Counter((message.appointment_id, message.kind) for message in sandbox.messages)
    return max(made.values(), default=0) <= 1 and max(sent.values(), default=0) <= 1


def resolution(sandbox: Sandbox, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What a person who looks into the diary says about the uncertain rows."""
    words = {}
    for key, row in rows.items():
        if row["outcome"] == "unknown":
            found = live(sandbox).get(key)
            [word] = re.findall(r'"((?:not created|message settled)[ 0-9]*)"', row["message"])
            words[key] = found["id"] if found and word.startswith("not created") else word
    return words


# -- aimed kills -------------------------------------------------------------------------------

PUT = "protocols.account.journal:Journal.put"
DELETED, MOVED, MADE = ("deleted", None), ("updated", None), ("created", None)
UNTOLD, UNSURE = ("unknown", "message_unsure"), ("unknown", "creation_unsure")
SAME = ("unchanged", None)
POINTS = {
    # when the n-th record is made, how the rows end in the next run, and the messages that are out
    "deletion noted, not sent": ("after", 1, [DELETED, MOVED, MADE, MADE], 1, 2),
    "deleted, not noted": ("before", 2, [DELETED, MOVED, MADE, MADE], 1, 2),
    "change noted, not sent": ("after", 3, [SAME, UNTOLD, MADE, MADE], 0, 2),
    "changed, not noted": ("before", 4, [SAME, UNTOLD, MADE, MADE], 1, 2),
    "first creation noted, not sent": ("after", 5, [SAME, SAME, UNSURE, MADE], 1, 1),
    "first created, not noted": ("before", 6, [SAME, SAME, UNSURE, MADE], 1, 2),
    "second creation noted, not sent": ("after", 7, [SAME, SAME, SAME, UNSURE], 1, 1),
    "second created, not noted": ("before", 8, [SAME, SAME, SAME, UNSURE], 1, 2),
}


def test_a_run_that_is_killed_beside_any_record_of_the_journal_is_taken_up_where_it_was(
    forks: Forks, start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    names = ("deleted", "changed", "first", "second")
    groups = [[f"{number} {name}" for name in names] for number in range(len(POINTS))]
    old = [row_of(key, n) for n, keys in enumerate(groups) for key in keys[:2]]
    assert finished_run(write_csv("old.csv", old))["outcomes"] == {"created": len(old)}

    rows: dict[str, Row] = {}
    unknown: dict[str, dict[str, Any]] = {}
    for number, (keys, point) in enumerate(zip(groups, POINTS.items(), strict=True)):
        what, (when, call, ends, told_of_change, made) = point
        group = [
            row_of(keys[0], number, action="delete"),
            row_of(keys[1], number, start_time="2099-07-20 09:30", **SMS),
            *(row_of(key, number, **SMS) for key in keys[2:]),
        ]
        source = write_csv("rows.csv", group)
        killed_at(forks, source, PUT, when, call)
        found = outcomes_of(finished_run(source))
        assert [(row["outcome"], row["code"]) for row in found.values()] == ends, what
        told = Counter(sandbox.appointments[each.appointment_id]["location"]
                       for each in sandbox.messages)  # fmt: skip
        there = live(sandbox)
        assert keys[0] not in there, what
        assert there[keys[1]]["start_time"] == "2099-07-20 09:30:00", what
        assert told[keys[1]] == told_of_change, what
        assert len(there.keys() & set(keys[2:])) == told[keys[2]] + told[keys[3]] == made, what
        rows |= {row["key"]: row for row in group}
        unknown |= {key: row for key, row in found.items() if row["outcome"] == "unknown"}
    assert len(unknown) == 6

    # not one of them is forgotten, and each is settled by what a person says
    source = write_csv("all.csv", list(rows.values()))
    later = finished_run(source)
    still = {key for key, row in outcomes_of(later).items() if row["outcome"] == "unknown"}
    assert still == unknown.keys()
    settled = finished_run(source, resolve=resolution(sandbox, outcomes_of(later)))
    assert settled["outcomes"] == {"created": 2, "unchanged": len(rows) - 2}
    assert finished_run(source)["outcomes"] == {"unchanged": len(rows)}
    assert nothing_is_twice(sandbox)


BEFORE_SENDING = [
    ("protocols.account.journal:_make", "after"),
    ("protocols.account.journal:Journal.begin_generation", "after"),
    ("protocols.account.known:write_atomically", "after"),
    ("protocols.account.known:KnownAccount.keep_journal", "after"),
    (PUT, "before"),
]


def test_runs_that_are_killed_before_anything_was_sent_leave_nothing_in_the_way(
    forks: Forks, start_sandbox: StartSandbox
) -> None:
    sandbox = start_sandbox(cases=30)
    source = write_csv("rows.csv", [row_of("one", 1)])
    for place, when in BEFORE_SENDING:
        killed_at(forks, source, place, when, 1)
    assert sandbox.appointments == {}
    assert finished_run(source)["outcomes"] == {"created": 1}
    source = write_csv("rows.csv", [row_of("one", 1), row_of("two", 2)])
    for place, when in BEFORE_SENDING[1:]:
        killed_at(forks, source, place, when, 1)
    assert finished_run(source)["outcomes"] == {"created": 1, "unchanged": 1}


# -- kills at any moment -----------------------------------------------------------------------


def check_claims(
    sandbox: Sandbox, rows: Sequence[Row], outcomes: Mapping[str, Mapping[str, Any]]
) -> None:
    """What is said of each row is so."""
    there = live(sandbox)
    assert outcomes.keys() == {row["key"] for row in rows}
    for row in rows:
        key, said = row["key"], outcomes[row["key"]]
        found = there.get(key)
        if said["outcome"] in ("created", "updated", "unchanged") and row["action"] != "delete":
            assert found is not None, key
            assert found["id"] == said["appointment_id"], key
            assert found["start_time"] == f"{row['start_time']}:00", key
            assert found["notes"] == row.get("notes"), key
        elif said["outcome"] in ("deleted", "unchanged") or said["action"] == "create":
            assert found is None or said["outcome"] == "unknown", key
        else:
            assert said["outcome"] in ("unknown", "not_attempted", "failed"), key
    assert nothing_is_twice(sandbox)
    # nothing is there of which nobody knows
    assert there.keys() <= outcomes.keys()


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_runs_killed_at_random_amid_faults_make_nothing_twice_and_say_what_is_uncertain(
    forks: Forks, start_sandbox: StartSandbox, seed: int
) -> None:
    sandbox = start_sandbox(cases=30)
    chance = random.Random(seed)
    old = [row_of(f"old {n}", n) for n in range(10)]
    assert finished_run(write_csv("old.csv", old))["outcomes"] == {"created": 10}
    rows = [
        *(row_of(f"old {n}", n, action="delete") for n in range(3)),
        *(row_of(f"old {n}", n, start_time="2099-07-20 09:45", notes="New") for n in range(3, 6)),
        *(row_of(f"old {n}", n, notes="New", **SMS) for n in range(6, 9)),
        row_of("old 9", 9),
        *(row_of(f"new {n}", n, notes="Made", **SMS) for n in range(10, 26)),
    ]
    source = write_csv("rows.csv", rows)
    # one time in four something goes wrong; the same seed, the same misfortune
    sandbox.faults = [
        RandomFaults(0.25, seed=seed, actions=FAULTS, method=method, path="/cases/*/appointments*")
        for method in ("POST", "PATCH", "DELETE")
    ]
    kills = 0
    for _ in range(5):
        then = chance.choice([None, Drop(), Applied(Drop()), Late(0.3, Drop())])
        stop = StopAt(signal.SIGKILL, chance.randrange(1, 8), then=then)
        kills += run_with(forks, sandbox, stop, source=source) == -signal.SIGKILL
        assert nothing_is_twice(sandbox)
    assert kills >= 2
    for _ in range(2):
        summary = finished_run(source)
        quiet(sandbox)
        check_claims(sandbox, rows, outcomes_of(summary))
    sandbox.faults = []
    for _ in range(3):  # enough for changes and deletions; what isn't known stays so
        outcomes = outcomes_of(finished_run(source))
        check_claims(sandbox, rows, outcomes)
    assert {row["outcome"] for row in outcomes.values()} <= {"unchanged", "unknown"}
    assert any(row["outcome"] == "unknown" for row in outcomes.values())
    sandbox.requests.clear()
    resolved = finished_run(source, resolve=resolution(sandbox, outcomes))
    assert set(resolved["outcomes"]) <= {"created", "unchanged"}
    check_claims(sandbox, rows, outcomes_of(resolved))
    assert live(sandbox).keys() == {row["key"] for row in rows if row["action"] != "delete"}
    # and then there is nothing left to be done, and nobody to be written to
    sandbox.requests.clear()
    assert finished_run(source)["outcomes"] == {"unchanged": len(rows)}
    assert {seen.method for seen in sandbox.requests} <= {"GET"}


def test_an_appointment_that_comes_after_the_run_was_killed_is_made_once(
    forks: Forks, start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    source = write_csv("rows.csv", [row_of(f"new {n}", n, **SMS) for n in range(4)])
    stop = StopAt(signal.SIGKILL, 2, then=Late(0.6, Drop()))
    assert stopped_run(forks, sandbox, stop, source=source) == -signal.SIGKILL
    said = outcomes_of(finished_run(source))
    assert [row["outcome"] for row in said.values()] == ["unchanged", "unknown", *["created"] * 2]
    quiet(sandbox)
    settled = finished_run(source, resolve=resolution(sandbox, said))
    assert settled["outcomes"] == {"unchanged": 4}
    assert len(live(sandbox)) == len(sandbox.messages) == 4


# -- stopped in order --------------------------------------------------------------------------

TERM = signal.SIGTERM
HELD = {"action": Drip(100.0), "method": "POST", "path": "/cases/*", "skip": 4, "times": None}
LOST = {"action": Applied(Drop()), "method": "PATCH", "times": 1}
UNDER_WAY = {("created", None): 4, ("unknown", "interrupted"): 8, ("not_attempted", "stopped"): 8}


@pytest.mark.parametrize(
    ("stop", "fault", "expected", "later"),
    [
        (StopAt(TERM, 12, seconds=0.2), HELD, UNDER_WAY,
         {("unchanged", None): 4, ("unknown", "creation_unsure"): 8, ("created", None): 8}),
        (StopAt(signal.SIGUSR1, 12, seconds=0.2), HELD, UNDER_WAY,
         {("unchanged", None): 4, ("unknown", "creation_unsure"): 8, ("created", None): 8}),
        (StopAt(TERM, 3, said="may or may not be made; waiting"), LOST,
         {("updated", None): 2, ("unknown", "change_unsure"): 1},
         {("updated", None): 1, ("unchanged", None): 2}),
    ],
    ids=["SIGTERM under way", "SIGUSR1 under way", "SIGTERM waiting for a lost answer"],
)  # fmt: skip
def test_a_run_that_is_stopped_writes_down_what_it_knows_of_every_row(
    forks: Forks,
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    stop: StopAt,
    fault: dict[str, Any],
    expected: dict[tuple[str, str | None], int],
    later: dict[tuple[str, str | None], int],
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    count, cells = 20, dict(SMS)
    if fault is LOST:
        count, cells = 3, {"notes": "New"}
        finished_run(write_csv("rows.csv", [row_of(f"new {n}", n) for n in range(3)]))
        monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "60")
    source = write_csv("rows.csv", [row_of(f"new {n}", n, **cells) for n in range(count)])
    before = set(Path("runs").glob("sync-*"))
    sandbox.faults = [Fault(**fault)]
    assert stopped_run(forks, sandbox, stop, source=source) != 0
    assert "Stopped; the outcomes so far are in" in LOG.read_text()
    [folder] = set(Path("runs").glob("sync-*")) - before
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    assert [row["row"] for row in rows] == list(range(2, count + 2))
    assert Counter((row["outcome"], row["code"]) for row in rows) == expected
    for row in rows:
        assert (row["key"] in live(sandbox)) is bool(row["attempts"]) or fault is LOST
    assert not list(Path("runs").glob(".run-*"))

    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    sandbox.faults = []
    again = outcomes_of(finished_run(source))  # nothing is locked
    assert Counter((row["outcome"], row["code"]) for row in again.values()) == later
    assert len(live(sandbox)) == count
    assert nothing_is_twice(sandbox)
