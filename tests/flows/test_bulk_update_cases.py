"""The bulk update through the real engine, against a server on a socket."""

import asyncio
import html
import json
import math
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
import xlsxwriter
from ended_runs import EndedRun, Row, write_csv
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from python_calamine import CalamineWorkbook

from flows.bulk_update_cases import bulk_update_cases
from flows.export_cases import export_cases
from flows.writing import IncompleteRunError
from sandbox import writes
from sandbox.faults import (
    ATTEMPTED,
    FAILED_MESSAGE,
    Action,
    Applied,
    Change,
    Drop,
    Fault,
    Html,
    JobFault,
    Late,
    Partial,
    Status,
    Truncate,
)
from sandbox.jobs import Job
from sandbox.people import CRM_FIELDS, case_of
from sandbox.server import Sandbox
from sandbox.store import Store
from schemas.issues import SourceError
from tasks.policy import RunError
from tasks.progress import Progress

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]
BULK = "/cases-bulk-update"
SOURCE, SIGNED, PLAN, STORAGE = (field["id"] for field in CRM_FIELDS)
UPDATED = ("updated", None, 1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.02")
    monkeypatch.setenv("WILLSUITE_JOB_TIMEOUT_SECONDS", "20")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    for name in (
        "protocols.reading.lookup.probe_ref_filter",
        "tasks.cases.get_cases",
        "tasks.cases.count_cases",
    ):
        monkeypatch.setattr(f"{name}.retry_delay_seconds", 0)


def run_update(source: Path | str, output: str = "runs", **parameters: Any) -> EndedRun:
    return EndedRun.of(bulk_update_cases, source, output, **parameters)


def write_changes(ids: Iterable[str], path: str = "changes.csv", notes: str = "New") -> Path:
    return write_csv(path, [{"id": case_id, "notes": f"{notes} {case_id}"} for case_id in ids])


def notes_of(sandbox: Sandbox, ids: Iterable[str]) -> list[str]:
    return [sandbox.store.case(case_id)["notes"] for case_id in ids]  # type: ignore[index]


def changed(sandbox: Sandbox, ids: Iterable[str], notes: str = "New") -> list[bool]:
    """Which of the cases have what `write_changes` wants."""
    ids = list(ids)
    return [has == f"{notes} {each}" for has, each in zip(notes_of(sandbox, ids), ids, strict=True)]


def batches(sandbox: Sandbox) -> list[list[dict[str, Any]]]:
    """The bodies of all bulk updates that arrived, in order."""
    return [json.loads(seen.body) for seen in sandbox.requests if seen.path == BULK]


def sent_ids(sandbox: Sandbox) -> list[str]:
    return [row["id"] for batch in batches(sandbox) for row in batch]


def asked(sandbox: Sandbox) -> Counter[str]:
    """Requests by path, without ids."""
    seen = (f"{each.method} {each.path}" for each in sandbox.requests)
    return Counter(re.sub("/(cases|api-jobs)/.+", r"/\1/*", each) for each in seen)


def records(tmp_path: Path) -> list[dict[str, Any]]:
    """What is on disk about batches that may be under way."""
    return [json.loads(path.read_bytes()) for path in (tmp_path / "state").rglob("*.jobs/*.json")]


def quiet(sandbox: Sandbox) -> None:
    """Wait until the server has done with all that it was sent."""
    while sandbox.pending_late or sandbox.pending_jobs:
        time.sleep(0.01)


def overlapping(sandbox: Sandbox) -> list[set[str]]:
    """Cases that were in two jobs at once."""
    pairs = combinations(sandbox.jobs.values(), 2)
    shared = [{*one.ids} & {*other.ids} for one, other in pairs if one.beside(other)]
    return [ids for ids in shared if ids]


# -- what arrives ------------------------------------------------------------------------------


@pytest.mark.parametrize("meta_update", ["merge", "replace"])
def test_what_a_file_gives_is_in_the_account_and_everything_else_stays(
    start_sandbox: StartSandbox, meta_update: str
) -> None:
    sandbox = start_sandbox(cases=30, meta_update=meta_update)
    ids = sandbox.store.ids[:4]
    had = [
        {"notes": "Old", "meta": {SIGNED: "2020-01-01", STORAGE: "0001"}},
        {"notes": "Old", "meta": {SOURCE: "Website", STORAGE: "0002"}},
        {"notes": None, "meta": {}},
        {"notes": "Two\nlines", "meta": {PLAN: "YES", STORAGE: "0004"}},
    ]
    for case_id, fields in zip(ids, had, strict=True):
        sandbox.store.change(case_id, **fields)
    before = [dict(sandbox.store.case(case_id) or {}) for case_id in ids]
    source, storage = "meta:Lead source", f"meta:{STORAGE}"
    rows = [
        {"ID": ids[0], "Notes ": "One,\n=two", source: "referral", storage: ""},
        {"ID": ids[1], "Notes ": "", source: "", storage: "00042"},
        {"ID": ids[2], "Notes ": "Café №7 😀", source: "Seminar", storage: ""},
        {"ID": ids[3], "Notes ": " Two\r\nlines", source: "Seminar", storage: ""},
    ]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [UPDATED] * 4
    # nothing that the case has already is sent, but for CRM values, which might go otherwise
    metas = [
        {SIGNED: "2020-01-01", STORAGE: "0001", SOURCE: "Referral"},
        {SOURCE: "Website", STORAGE: "00042"},
        {SOURCE: "Seminar"},
        {PLAN: "YES", STORAGE: "0004", SOURCE: "Seminar"},
    ]
    notes = ["One,\n=two", "Old", "Café №7 😀", "Two\nlines"]
    [batch] = batches(sandbox)
    assert batch == [
        {"id": ids[0], "notes": notes[0], "meta": metas[0]},
        {"id": ids[1], "meta": metas[1]},
        {"id": ids[2], "notes": notes[2], "meta": metas[2]},
        {"id": ids[3], "meta": metas[3]},
    ]
    assert [sandbox.store.case(case_id) for case_id in ids] == [
        case | {"notes": notes[index], "meta": metas[index]} for index, case in enumerate(before)
    ]


def test_each_row_has_an_outcome_and_the_counts_and_jobs_are_in_the_summary_and_the_state(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:5]
    for case_id in ids:
        sandbox.store.change(case_id, notes="Old", meta={STORAGE: "0001"})
    rows = [
        {"id": ids[0], "notes": "New", "meta:storage reference": "0002"},
        {"id": ids[1], "notes": "Old", "meta:storage reference": "0001"},
        {"id": "", "notes": "whose?", "meta:storage reference": ""},
        {"id": ids[2], "notes": "Old", "meta:storage reference": "0003"},
        {"id": "nobody", "notes": "New", "meta:storage reference": ""},
        {"id": ids[3], "notes": "New", "meta:storage reference": ""},
    ]
    source = write_csv("changes.csv", rows)
    run = run_update(source, batch_size=2)
    assert [(field.name, str(field.type)) for field in run.table.schema] == [
        ("row", "int64"),
        ("key", "string"),
        ("action", "string"),
        ("outcome", "string"),
        ("case_id", "string"),
        ("code", "string"),
        ("message", "string"),
        ("attempts", "int32"),
        ("before", "string"),
        ("after", "string"),
    ]
    column = "meta:storage reference"
    left_out = ("message", "before", "after")
    assert [[cell for name, cell in row.items() if name not in left_out] for row in run.rows] == [
        [2, ids[0], "update", "updated", ids[0], None, 1],
        [3, ids[1], "none", "unchanged", ids[1], None, 0],
        [4, None, "none", "rejected", None, "key_missing", 0],
        [5, ids[2], "update", "updated", ids[2], None, 1],
        [6, "nobody", "none", "rejected", None, "not_found", 0],
        [7, ids[3], "update", "updated", ids[3], None, 1],
    ]
    assert [(row["before"], row["after"]) for row in run.rows] == [
        (json.dumps(before), json.dumps(after)) if before else (None, None)
        for before, after in [
            ({"notes": "Old", column: "0001"}, {"notes": "New", column: "0002"}),
            ({}, {}),
            ({}, {}),
            ({column: "0001"}, {column: "0003"}),
            ({}, {}),
            ({"notes": "Old"}, {"notes": "New"}),
        ]
    ]
    summary = run.summary
    assert summary["rows"] == 6
    assert summary["outcomes"] == {"updated": 3, "unchanged": 1, "rejected": 2}
    assert summary["codes"] == {"key_missing": 1, "not_found": 1}
    assert sorted(summary["jobs"]) == sorted(sandbox.jobs)
    assert len(sandbox.jobs) == 2
    assert not summary["dry_run"]
    assert run.state.is_completed()
    assert "6 rows: 3 updated, 1 unchanged, 2 rejected." in str(run.state.message)
    assert str(summary["rejected_file"]) in str(run.state.message)

    again = run_update(source, batch_size=2)
    assert again.summary["outcomes"] == {"unchanged": 4, "rejected": 2}
    assert again.summary["jobs"] == []
    assert len(batches(sandbox)) == 2


def artifacts_of(run: EndedRun) -> list[tuple[str, Any]]:
    async def read() -> list[tuple[str, Any]]:
        flow_run = {"any_": [run.state.state_details.flow_run_id]}
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=flow_run)  # type: ignore[arg-type]
            )
        return [(str(artifact.key), artifact.data) for artifact in found]

    return asyncio.run(read())


def test_a_run_leaves_private_files_and_one_table_of_its_jobs_and_nothing_temporary(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    faults = [JobFault(seconds=0.1), JobFault(ends="failed", applies=1.0), None]
    steps = zip(ids[::2], faults, strict=True)
    ByCase(sandbox, {case_id: jobs(fault) for case_id, fault in steps})
    rows = [{"id": case_id, "notes": "New"} for case_id in ids]
    run = run_update(write_csv("changes.csv", [*rows, {"id": "", "notes": "x"}]), batch_size=2)
    folder = Path(run.summary["folder"])
    assert {path.name for path in folder.iterdir()} == {"outcomes.parquet", "rejected.xlsx"}
    assert {path.name for path in Path("runs").iterdir()} == {folder.name}
    assert folder.name.startswith("bulk-update-cases-2")
    assert records(tmp_path) == []
    for path in [Path("runs"), *Path("runs").rglob("*"), *(tmp_path / "state").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path

    found = artifacts_of(run)
    assert Counter(key for key, _ in found) == {
        "bulk-update-cases-progress": 1,
        "bulk-update-cases-jobs": 1,
        "bulk-update-cases-result": 1,
    }
    data = dict(found)
    assert data["bulk-update-cases-progress"] == 100
    assert "| updated | 6 |" in data["bulk-update-cases-result"]
    assert run.summary["outcomes_file"] in data["bulk-update-cases-result"]
    head, _, *lines = data["bulk-update-cases-jobs"].splitlines()
    assert head == "| job | status | changed | of | elapsed |"
    by_job = {job_id: line for job_id in sandbox.jobs for line in lines if job_id in line}
    assert len(lines) == len(by_job) == 3
    for job_id, job in sandbox.jobs.items():
        assert by_job[job_id] == f"| {job_id} | {job.status} | 2 | 2 | 0 min 0 s |"
    assert {job.status for job in sandbox.jobs.values()} == {"completed", "failed"}


# -- only what differs -------------------------------------------------------------------------


def test_of_ten_thousand_rows_the_two_hundred_that_differ_are_sent(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=10_000)
    ids = sandbox.store.ids
    different = ids[7::50]
    for case_id in ids:  # in place: nothing in the account is newly changed
        sandbox.store.case(case_id)["notes"] = f"New {case_id}"  # type: ignore[index]
    for case_id in different:
        sandbox.store.case(case_id)["notes"] = "Old"  # type: ignore[index]
    run = run_update(write_changes(ids))
    assert run.summary["outcomes"] == {"updated": 200, "unchanged": 9800}
    assert sorted(sent_ids(sandbox)) == different
    assert all(changed(sandbox, ids))
    assert asked(sandbox)["GET /cases/*"] == 0


def test_a_dry_run_says_what_would_change_and_sends_nothing(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "90")  # a dry run doesn't wait for anybody
    ids = sandbox.store.ids[:3]
    for case_id in ids:
        sandbox.store.change(case_id, notes="Olé", meta={STORAGE: "0001"})
    rows = [
        {"id": ids[0], "notes": "Nëw", "meta:Lead source": "Website"},
        {"id": ids[1], "notes": "Olé", "meta:Lead source": ""},
        {"id": ids[2], "notes": "Olé", "meta:Lead source": "Pigeon"},
        {"id": "nobody", "notes": "x", "meta:Lead source": ""},
    ]
    run = run_update(write_csv("changes.csv", rows), dry_run=True)
    assert not (tmp_path / "state").exists()  # nor does it need the account for itself
    assert run.ends == [
        ("planned", None, 0),
        ("unchanged", None, 0),
        ("rejected", "meta_option", 0),
        ("rejected", "not_found", 0),
    ]
    planned = run.rows[0]
    assert json.loads(planned["before"]) == {"notes": "Olé", "meta:Lead source": None}
    assert json.loads(planned["after"]) == {"notes": "Nëw", "meta:Lead source": "Website"}
    assert "Nëw" in planned["after"]  # readable as it is
    assert (planned["action"], run.rows[1]["before"]) == ("update", None)
    assert run.summary["dry_run"]
    assert run.summary["jobs"] == []
    assert run.state.is_completed()
    assert {seen.method for seen in sandbox.requests} == {"GET", "POST"}
    assert asked(sandbox)["POST /oauth/token"] == 1
    assert notes_of(sandbox, ids) == ["Olé"] * 3


def export() -> None:
    asyncio.run(export_cases(output="exports"))


def test_with_an_export_to_compare_with_only_rows_that_differ_from_it_are_asked_about(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=300)
    ids = sandbox.store.ids[:60]
    for case_id in ids:
        sandbox.store.case(case_id).update(notes=f"New {case_id}", meta={STORAGE: "7"})  # type: ignore[union-attr]
    for case_id in ids[:2]:
        sandbox.store.case(case_id).update(notes="Old")  # type: ignore[union-attr]
    export()
    sandbox.requests.clear()
    # somebody has made one of the changes since, and another case is newer than the export
    sandbox.store.change(ids[1], notes=f"New {ids[1]}")
    newer = case_of(
        "00000000-aaaa-4aaa-8aaa-aaaaaaaaaaaa", ref="NEW-1", notes="Old", meta={}, is_active=1,
        customers=[],
    )  # fmt: skip
    sandbox.store.put(newer)
    refs = {case_id: str(sandbox.store.case(case_id)["ref"]) for case_id in ids}  # type: ignore[index]
    rows = [
        # some by their references, of which a reader may think otherwise than the file
        {"id": "" if number % 2 else case_id, "ref": refs[case_id].lower() if number % 2 else "",
         "notes": f"New {case_id}", "meta:Storage reference": "7"}
        for number, case_id in enumerate(ids)
    ]  # fmt: skip
    rows.append({"ref": "NEW-1", "notes": "New", "meta:Storage reference": "7"})
    rows.append({"ref": "NEW-2", "notes": "New", "meta:Storage reference": "7"})
    run = run_update(write_csv("changes.csv", rows), compare_to="latest", exports="exports")
    assert run.ends == [
        UPDATED,
        *[("unchanged", None, 0)] * 59,
        UPDATED,
        ("rejected", "not_found", 0),
    ]
    assert sorted(sent_ids(sandbox)) == sorted([ids[0], newer["id"]])
    assert [row["case_id"] for row in run.rows[:-1]] == [*ids, newer["id"]]
    unasked = {*ids[3:], *(refs[case_id] for case_id in ids[3:])}
    texts = {text for seen in sandbox.requests for text in (seen.path, *seen.query.values())}
    assert [text for text in texts if any(each in text for each in unasked)] == []
    assert sum(asked(sandbox).values()) < 30


def test_a_case_that_was_changed_after_the_export_is_compared_live(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:3]
    for case_id in ids:
        sandbox.store.case(case_id)["notes"] = f"New {case_id}"  # type: ignore[index]
    export()
    sandbox.store.change(ids[1], notes="Somebody else's")
    run = run_update(write_changes(ids), compare_to="latest", exports="exports")
    assert run.ends == [("unchanged", None, 0), UPDATED, ("unchanged", None, 0)]
    assert all(changed(sandbox, ids))


def no_export() -> None:
    Path("exports").mkdir()


def another_accounts() -> None:
    export()
    pointer = Path("exports/latest.json")
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | {"account": "0" * 16}))


def a_cut_table() -> None:
    export()
    table = next(Path("exports/snapshots").glob("*/case_meta.parquet"))
    table.write_bytes(table.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_export, "There is no export in exports; run export-cases first, or use"),
        (another_accounts, "name the folder of this account's exports, or use"),
        (a_cut_table, "case_meta.parquet); export again, or use"),
    ],
)
def test_an_export_that_cannot_be_read_is_a_sentence_and_nothing_is_sent(
    start_sandbox: StartSandbox,
    run_log: list[str],
    spoil: Callable[[], None],
    sentence: str,
) -> None:
    sandbox = start_sandbox(cases=5)
    spoil()
    sandbox.requests.clear()
    source = write_changes(sandbox.store.ids[:2])
    run = run_update(source, compare_to="latest", exports="exports")
    assert run.state.is_failed()
    assert run.ends == [("not_attempted", "stopped", 0)] * 2
    assert f'{sentence} compare_to="live"' in str(run.state.message)
    assert "Traceback" not in "\n".join(run_log)
    assert sandbox.requests == []


# -- which case a row means --------------------------------------------------------------------


@pytest.mark.parametrize("cases", [2500, 30], ids=["by look-up", "by sweep"])
def test_rows_name_their_cases_in_all_the_ways_they_can(
    start_sandbox: StartSandbox, cases: int
) -> None:
    sandbox = start_sandbox(cases=cases)
    ids = sandbox.store.ids
    for case_id, ref in zip(ids[2:6], ["Ü-1", "twice", "Twice", "mine"], strict=True):
        sandbox.store.change(case_id, ref=ref)
    own_refs = [str(sandbox.store.case(case_id)["ref"]) for case_id in ids]  # type: ignore[index]
    given: list[tuple[str, str, tuple[str, str | None, int], str | None]] = [
        (ids[0], "", UPDATED, ids[0]),
        (ids[1].upper(), "", UPDATED, ids[1]),
        ("", " ü-1\u200b", UPDATED, ids[2]),
        ("", "TWICE", ("conflict", "ref_twice", 0), None),
        (ids[5], "MINE", UPDATED, ids[5]),
        (ids[6], own_refs[0], ("conflict", "id_and_ref_differ", 0), ids[6]),
        # one case by two routes, and in two rows
        (ids[7], "", ("rejected", "case_repeated", 0), ids[7]),
        ("", own_refs[7], ("rejected", "case_repeated", 0), ids[7]),
        (ids[8], "", ("rejected", "case_repeated", 0), None),
        (ids[8].upper(), "", ("rejected", "case_repeated", 0), None),
        # no case at all
        ("00000000-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "", ("rejected", "not_found", 0), None),
        ("", "nobody's", ("rejected", "not_found", 0), None),
        ("../../oauth/clients", "", ("rejected", "not_found", 0), None),
        (f"{{{ids[9]}}}", "", ("rejected", "not_found", 0), None),
        ("%2e%2e", "", ("rejected", "not_found", 0), None),
    ]
    rows = [{"id": case_id, "ref": ref, "notes": "New"} for case_id, ref, _, _ in given]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [end for _, _, end, _ in given]
    assert [row["case_id"] for row in run.rows] == [case_id for *_, case_id in given]
    assert [row["key"] for row in run.rows][:3] == [ids[0], ids[1].upper(), "ü-1"]
    assert sorted(sent_ids(sandbox)) == sorted([*ids[:3], ids[5]])
    wrong = [row["message"] for row in run.rows]
    assert ids[3] in wrong[3]
    assert ids[4] in wrong[3]
    assert ("row 9" in wrong[6].lower(), "row 8" in wrong[7].lower()) == (True, True)
    assert ("row 11" in wrong[8], "row 10" in wrong[9]) == (True, True)
    paths = [seen.path for seen in sandbox.requests]
    assert (f"/cases/{ids[6]}" in paths[: paths.index(BULK)]) is (cases == 2500)
    safe = re.compile("/(cases|api-jobs|crm-fields|oauth)[-/A-Za-z0-9]*")
    assert [seen.path for seen in sandbox.requests if not safe.fullmatch(seen.path)] == []
    assert "/oauth/clients" not in {seen.path for seen in sandbox.requests}


# -- whatever happens to a batch ------------------------------------------------------------


Step = tuple[Action | None, JobFault | None]


class ByCase:
    """What happens to batches, by a case in them: the n-th batch with it gets its n-th step.

    For a sandbox without latency, which looks for a fault as soon as a request is there.
    """

    def __init__(self, sandbox: Sandbox, script: Mapping[str, Sequence[Step]]) -> None:
        self._sandbox = sandbox
        self._left = {case_id: list(steps) for case_id, steps in script.items()}
        self.action: Action
        sandbox.faults.append(self)  # type: ignore[arg-type]

    def matches(self, _method: str, path: str, _page: str | None) -> bool:
        if path != BULK:
            return False
        ids = [row["id"] for row in json.loads(self._sandbox.requests[-1].body)]
        steps = next((self._left[case_id] for case_id in ids if self._left.get(case_id)), None)
        action, job_fault = steps.pop(0) if steps else (None, None)
        # accepted before anything else is looked at
        self._sandbox.job_faults = [job_fault]
        if action is not None:
            self.action = action
        return action is not None


def lost(*actions: Action) -> list[Step]:
    return [(action, None) for action in actions]


def jobs(*faults: JobFault | None) -> list[Step]:
    return [(None, fault) for fault in faults]


REFUSED = '{"message": "Invalid.", "errors": {"0.notes": ["Canary words."]}}'
RESENT = ("updated", None, 2)
SURVIVED: list[tuple[list[Step], tuple[str, str | None, int]]] = [
    # the answer is lost: applied, not applied, late
    (lost(Applied(Status(500))), UPDATED),
    (lost(Applied(Drop())), UPDATED),
    (lost(Applied(Html())), UPDATED),
    (lost(Truncate()), UPDATED),
    (lost(Applied(Status(201, body='{"apiJobId": "../crm-fields"}'))), UPDATED),
    (lost(Late(0.2, Drop())), UPDATED),
    (lost(Status(500)), RESENT),
    (lost(Status(403, body="<h1>firewall</h1>")), RESENT),
    (lost(Drop()), RESENT),
    (lost(Partial()), RESENT),
    (lost(Drop(), Late(0.2)), RESENT),
    (lost(Drop(), Html(), Applied(Drop())), ("updated", None, 3)),
    (lost(Drop(), Html(), Status(500)), ("failed", "not_applied", 3)),
    # a job that fails, with and without having done its work
    (jobs(JobFault(ends="failed")), RESENT),
    (jobs(JobFault(ends="failed", applies=1.0)), UPDATED),
    (jobs(JobFault(ends="failed"), JobFault(ends="failed")), ("failed", "job_failed", 2)),
    # one that ends well and leaves its row out
    (jobs(JobFault(skips=[0])), ("failed", "skipped", 1)),
    # one that never ends
    (jobs(JobFault(ends="pending")), ("unknown", "job_stuck", 1)),
    (jobs(JobFault(ends="processing", applies=1.0)), UPDATED),
    (jobs(JobFault(ends="failed"), JobFault(ends="pending")), ("unknown", "job_stuck", 2)),
    # one that isn't shown, for some time and for ever
    (jobs(JobFault(hidden_polls=3)), UPDATED),
    (jobs(JobFault(hidden_polls=None, seconds=0.2)), UPDATED),
    (jobs(JobFault(hidden_polls=None, ends="pending")), RESENT),
    # one that speaks in other words, or says less
    (jobs(JobFault(words={"pending": "queued", "processing": "running"}, seconds=0.2)), UPDATED),
    (jobs(JobFault(words={"completed": "done"})), UPDATED),
    (jobs(JobFault(lacks=("status",), seconds=0.2)), UPDATED),
    (jobs(JobFault(lacks=("end_time", "total_records", "effected_records", "id"))), UPDATED),
    # one after another
    ([(Drop(), None), (None, JobFault(ends="failed"))], ("failed", "job_failed", 2)),
    ([(None, JobFault(ends="failed")), (Drop(), None)], ("updated", None, 3)),
    # refused
    (lost(Status(422, body=REFUSED)), ("rejected", "status_422", 1)),
    (lost(Drop(), Status(400, body="")), ("rejected", "status_400", 2)),
]


def test_a_batch_that_was_taken_and_answered_with_a_redirect_is_read_back_and_the_run_stops(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    sandbox = start_sandbox(cases=200)
    ids = sandbox.store.ids[:6]
    redirect = Applied(Status(302, {"Location": "/"}))
    sandbox.faults = [Fault(redirect, path="/cases-bulk-update", times=1)]
    source = write_changes(ids)
    run = run_update(source, batch_size=2)
    assert run.summary["outcomes"] == {"updated": 2, "not_attempted": 4}
    assert "was redirected" in str(run.state.message)
    assert run_update(source, batch_size=2).summary["outcomes"] == {"updated": 4, "unchanged": 2}
    assert len(sandbox.jobs) == 3


def test_a_redirect_after_which_every_row_is_as_it_should_be_fails_no_run(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    sandbox.faults = [
        Fault(Applied(Status(302, {"Location": "/"})), path="/cases-bulk-update", times=1)
    ]
    run = run_update(write_changes(sandbox.store.ids[:6]))
    assert run.summary["outcomes"] == {"updated": 6}
    assert run.state.is_completed()


def test_whatever_happens_to_a_batch_its_cases_have_the_values_or_the_row_says_that_they_have_not(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    run_log: list[str],
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.4")
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "64")
    sandbox = start_sandbox(cases=200)
    ids = sandbox.store.ids[: len(SURVIVED) + 1]
    ByCase(sandbox, {each: steps for each, (steps, _) in zip(ids, SURVIVED, strict=False)})
    source = write_changes(ids)
    run = run_update(source, batch_size=1, job_timeout_seconds=1.0)
    assert run.ends == [*(end for _, end in SURVIVED), UPDATED]
    has_value = [outcome == "updated" for outcome, _, _ in run.ends]
    assert changed(sandbox, ids) == has_value
    assert run.state.is_failed()
    assert isinstance(run.result, IncompleteRunError)
    assert Counter(sent_ids(sandbox)) == {
        each: attempts for each, (_, _, attempts) in zip(ids, run.ends, strict=True)
    }
    refusals = {row["code"]: row["message"] for row in run.rows if row["outcome"] == "rejected"}
    assert refusals == {
        "status_422": "Canary words.",
        "status_400": "WillSuite refused the row (status_400).",
    }
    # what a job says may be about people, so it is in the private file alone
    said = {row["message"] for row in run.rows if row["code"] == "job_failed"}
    assert all(FAILED_MESSAGE in message for message in said)
    assert "Quillfeather" not in "\n".join(run_log)
    assert "Canary" not in "\n".join(run_log)

    sandbox.faults = []
    quiet(sandbox)
    stuck = [job_id for job_id, job in sandbox.jobs.items() if job.status == "pending"]
    again = run_update(source, job_timeout_seconds=0.7, abandon_jobs=stuck)
    assert again.summary["outcomes"] == {
        "updated": len(ids) - sum(has_value),
        "unchanged": sum(has_value),
    }
    assert all(changed(sandbox, ids))
    assert again.state.is_completed()


def test_what_may_come_late_after_a_lost_answer_is_waited_for_before_it_is_sent_again(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.1")
    sandbox = start_sandbox(cases=30)
    # later than the server's own requests are settled, not than a job may be invisible
    sandbox.faults = [Fault(Late(0.3, Drop()), path=BULK)]
    run = run_update(write_changes(sandbox.store.ids[:2]), job_poll_seconds=0.4)
    assert run.ends == [UPDATED] * 2
    assert len(batches(sandbox)) == 1


@pytest.mark.parametrize("fails_again", [False, True])
def test_of_a_job_that_fails_half_way_only_the_other_half_is_sent_once_more(
    start_sandbox: StartSandbox, fails_again: bool
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:12]
    half_done = JobFault(ends="failed", applies=0.5, message="Mr Null. " * 200)
    sandbox.job_faults = [half_done, None, half_done if fails_again else None]
    run = run_update(write_changes(ids))
    sent = [[row["id"] for row in batch] for batch in batches(sandbox)]
    assert sent == [ids, ids[6:7], ids[7:]]
    again = [("updated", None, 2)] * 6
    if fails_again:
        again[3:] = [("failed", "job_failed", 2)] * 3
    assert run.ends == [UPDATED] * 6 + again
    assert changed(sandbox, ids) == [end[0] == "updated" for end in run.ends]
    assert run.summary["jobs"] == list(sandbox.jobs)
    assert overlapping(sandbox) == []
    if fails_again:
        message = run.rows[-1]["message"]
        assert run.summary["jobs"][2] in message
        assert len(message) < 700


def test_a_row_at_which_every_job_fails_keeps_no_other_from_being_updated(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:12]
    sandbox.job_faults = [JobFault(ends="failed", applies=0.5), JobFault(ends="failed")]
    run = run_update(write_changes(ids))
    assert [end[0] for end in run.ends] == ["updated"] * 6 + ["failed"] + ["updated"] * 5


def test_rows_that_a_job_left_out_silently_are_failed_and_not_sent_again(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:12]
    sandbox.job_faults = [JobFault(skips=[2, 5])]
    run = run_update(write_changes(ids))
    skipped = ("failed", "skipped", 1)
    assert run.ends == [skipped if number in (2, 5) else UPDATED for number in range(12)]
    assert len(batches(sandbox)) == 1
    [job_id] = sandbox.jobs
    assert job_id in run.rows[2]["message"]
    assert run.state.is_failed()


def test_a_completed_job_that_changed_fewer_cases_than_it_had_is_no_failure_whatever_it_says(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:12]

    def somebody_is_faster(store: Store) -> None:
        for case_id in ids[:5]:
            store.change(case_id, notes=f"New {case_id}")

    sandbox.faults = [Fault(Change(somebody_is_faster), path=BULK)]
    sandbox.job_faults = [JobFault(message=ATTEMPTED)]
    run = run_update(write_changes(ids))
    assert [job.effected_records for job in sandbox.jobs.values()] == [7]
    assert run.ends == [UPDATED] * 12
    assert run.state.is_completed()


def test_of_a_job_that_is_told_failed_and_goes_on_the_cases_are_believed(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    sandbox.job_faults = [JobFault(told_failed=True, seconds=1.0)]
    run = run_update(write_changes(ids))
    assert changed(sandbox, ids) == [True] * 6
    assert run.ends == [UPDATED] * 6
    quiet(sandbox)
    assert [job.message for job in sandbox.jobs.values()] == [ATTEMPTED]
    assert changed(sandbox, ids) == [True] * 6


def test_polls_that_fail_are_waited_through(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30, job_seconds=0.5)
    sandbox.faults = [
        Fault(action, path="/api-jobs/*", times=times)
        for action, times in [
            (Status(503, body="<h1>down</h1>"), 7), (Html(), 6), (Drop(), 5), (Truncate(), 1),
            (Status(200, body="[]"), 1), (Status(200, body='{"id": 7}'), 1),
        ]
    ]  # fmt: skip
    ids = sandbox.store.ids[:2]
    run = run_update(write_changes(ids))
    assert all(fault.played == fault.times for fault in sandbox.faults)  # type: ignore[union-attr]
    assert run.ends == [UPDATED] * 2
    assert len(batches(sandbox)) == 1
    assert "can't be read now" in "\n".join(run_log)


class Outage:
    """Polls get no answer for a time, then a 404, and then the jobs that were stuck go on."""

    def __init__(self, sandbox: Sandbox, seconds: float) -> None:
        self._sandbox = sandbox
        self._seconds = seconds
        self._ends_at: float | None = None
        self._then: list[Action] = [Status(404, body="{}"), Change(self._go_on)]
        self.action: Action
        sandbox.job_faults.append(JobFault(ends="processing"))
        sandbox.faults.append(self)  # type: ignore[arg-type]

    def matches(self, _method: str, path: str, _page: str | None) -> bool:
        if not path.startswith("/api-jobs/"):
            return False
        now = time.monotonic()
        self._ends_at = self._ends_at or now + self._seconds
        if now >= self._ends_at and not self._then:
            return False
        self.action = Drop() if now < self._ends_at else self._then.pop(0)
        return True

    def _go_on(self, store: Store) -> None:
        for job in self._sandbox.jobs.values():
            for row in job.batch:
                store.change(row["id"], notes=row["notes"])
            job.move("completed")


def test_a_job_that_is_not_shown_once_after_it_could_not_be_read_for_long_is_waited_for(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.3")
    sandbox = start_sandbox(cases=30)
    Outage(sandbox, seconds=0.6)
    run = run_update(write_changes(sandbox.store.ids[:2]))
    assert run.ends == [UPDATED] * 2
    assert len(batches(sandbox)) == 1


def test_values_that_show_late_are_waited_for(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:8]
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    rendered = Store.rendered
    shown: dict[str, list[tuple[float, bytes]]] = {}

    def lagging(store: Store, case_id: str, **how: Any) -> bytes:
        now = time.monotonic()
        versions = shown.setdefault(case_id, [(-math.inf, rendered(store, case_id, **how))])
        if versions[-1][1] != (newest := rendered(store, case_id, **how)):
            versions.append((now, newest))
        return next(body for since, body in reversed(versions) if since + 0.3 < now)

    monkeypatch.setattr(Store, "rendered", lagging)
    run = run_update(write_changes(ids))
    assert run.ends == [UPDATED] * 8
    assert len(batches(sandbox)) == 1


def test_a_case_that_is_gone_when_it_is_read_back_is_failed(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    remove = Change(lambda store: store.delete(ids[2]))
    sandbox.faults = [Fault(remove, path="/api-jobs/*")]
    run = run_update(write_changes(ids))
    assert run.ends.pop(2) == ("failed", "gone", 1)
    assert Counter(run.ends) == {UPDATED: 5, ("failed", "gone", 1): 1}
    assert run.rows[2]["case_id"] == ids[2]
    assert len(batches(sandbox)) == 1


@pytest.mark.parametrize(("end", "sends"), [("completed", 1), ("failed", 2)])
def test_a_case_over_which_the_server_stumbles_keeps_no_other_row_up(
    start_sandbox: StartSandbox, end: str, sends: int
) -> None:
    sandbox = start_sandbox(cases=2000)
    ids = sandbox.store.ids[:6]
    broken = [Fault(Status(500), path=f"/cases/{each}", times=None) for each in ids[:2]]
    sandbox.faults = broken[:1]
    sandbox.job_faults = [JobFault(ends=end)]
    breaks = Change(lambda _store: sandbox.faults.append(broken[1]))
    sandbox.faults.append(Fault(breaks, path=BULK))
    run = run_update(write_changes(ids))
    # before it was changed, and when it was to be read back
    assert run.ends == [
        ("not_attempted", "case_unreadable", 0),
        ("unknown", "unread", 1),
        *[("updated", None, sends)] * 4,
    ]
    assert run.rows[1]["case_id"] == ids[1]
    assert run.state.is_failed()

    sandbox.faults = []
    assert run_update("changes.csv").ends[0] == UPDATED
    assert all(changed(sandbox, ids))


# -- refused -----------------------------------------------------------------------------------


class Refuses:
    """Refuses every batch that `is_refused`."""

    def __init__(self, sandbox: Sandbox, action: Action, is_refused: Callable[[Any], bool]) -> None:
        self.action = action
        self._sandbox = sandbox
        self._is_refused = is_refused
        sandbox.faults.append(self)  # type: ignore[arg-type]

    def matches(self, _method: str, path: str, _page: str | None) -> bool:
        return path == BULK and self._is_refused(json.loads(self._sandbox.requests[-1].body))


def test_of_a_refused_batch_the_row_that_is_at_fault_is_found_and_the_others_are_updated(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=60)
    ids = sandbox.store.ids[:48]
    bad = {ids[17], ids[34]}
    refusal = Status(422, body=REFUSED)
    Refuses(sandbox, refusal, lambda batch: any(row["notes"] == "=2+5 bad" for row in batch))
    rows = [{"id": each, "notes": "=2+5 bad" if each in bad else f"New {each}"} for each in ids]
    run = run_update(write_csv("changes.csv", rows))
    assert [row["key"] for row in run.rows if row["outcome"] != "updated"] == [ids[17], ids[34]]
    assert changed(sandbox, ids) == [case_id not in bad for case_id in ids]
    for number in (17, 34):
        refused = run.rows[number]
        assert (refused["outcome"], refused["code"]) == ("rejected", "status_422")
        assert refused["message"] == "Canary words."
    # of all that was taken each row is in one job, and it didn't take a request a row
    assert Counter(each for job in sandbox.jobs.values() for each in job.ids) == {
        case_id: 1 for case_id in ids if case_id not in bad
    }
    assert len(batches(sandbox)) < 30
    assert run.state.is_completed()
    assert "Canary" not in "\n".join(run_log)

    # what is rejected can be corrected and fed back in as it is
    rejected = Path(str(run.summary["rejected_file"]))
    cells = CalamineWorkbook.from_path(rejected).get_sheet_by_index(0).to_python()
    assert cells == [
        ["rejected_row", "rejected_because", "id", "notes"],
        ["19", "Canary words.", ids[17], "=2+5 bad"],
        ["36", "Canary words.", ids[34], "=2+5 bad"],
    ]
    with xlsxwriter.Workbook("corrected.xlsx", {"strings_to_formulas": False}) as workbook:
        sheet = workbook.add_worksheet()
        for index, row in enumerate(cells):
            sheet.write_row(index, 0, [str(cell).replace(" bad", " good") for cell in row])
    again = run_update("corrected.xlsx")
    assert again.ends == [UPDATED] * 2
    assert notes_of(sandbox, sorted(bad)) == ["=2+5 good"] * 2


def test_rows_that_a_refusal_names_go_alone_and_the_others_together(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the account's list of fields offers what the server then refuses, by the row's place
    monkeypatch.setitem(writes._OPTIONS, SOURCE, ["Referral"])
    sandbox = start_sandbox(cases=60)
    ids = sandbox.store.ids[:48]
    bad = [ids[3], ids[20], ids[47]]
    rows = [{"id": each, "meta:Lead source": "Referral", "notes": "New"} for each in ids]
    for case_id in ids:
        sandbox.store.change(case_id, meta={})
    for row in rows:
        if row["id"] in bad:
            row["meta:Lead source"] = "Website"
    run = run_update(write_csv("changes.csv", rows))
    assert [row["key"] for row in run.rows if row["outcome"] == "rejected"] == bad
    assert run.summary["outcomes"] == {"updated": 45, "rejected": 3}
    assert [len(batch) for batch in batches(sandbox)] == [48, 45, 1, 1, 1]
    assert {row["message"] for row in run.rows if row["code"]} == {
        f"The selected 0.meta.{SOURCE} is invalid."
    }


def test_a_batch_that_is_too_large_for_the_server_goes_in_smaller_ones(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:20]
    too_large = Status(413, body="<h1>413 Request Entity Too Large</h1>")
    Refuses(sandbox, too_large, lambda batch: len(batch) > 6)
    run = run_update(write_changes(ids))
    assert [len(job.ids) for job in sandbox.jobs.values()] == [5, 5, 5, 5]
    assert Counter(run.ends) == {("updated", None, 3): 20}
    assert run.state.is_completed()


def test_credentials_that_may_not_update_stop_the_run_after_one_refusal(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:9]
    forbidden = Status(403, body='{"message": "This action is unauthorized."}')
    sandbox.faults = [Fault(forbidden, path=BULK, skip=1, times=None)]
    run = run_update(write_changes(ids), batch_size=3)
    assert [len(batch) for batch in batches(sandbox)] == [3, 3]
    assert [outcome for outcome, _, _ in run.ends] == ["updated"] * 3 + ["not_attempted"] * 6
    assert run.state.is_failed()
    assert "doesn't permit these credentials to update in bulk (status 403)" in str(
        run.state.message
    )
    assert records(tmp_path) == []


def test_refusals_that_are_not_about_rows_stop_the_run_after_some_rows(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.updating.batches.MAX_REFUSED_ROWS", 3)
    sandbox = start_sandbox(cases=50)
    no_such_path = Status(404, body='{"message": "The route could not be found."}')
    sandbox.faults = [Fault(no_such_path, path=BULK, times=None)]
    run = run_update(write_changes(sandbox.store.ids), batch_size=10)
    assert len(batches(sandbox)) < 12
    assert run.summary["outcomes"] == {"rejected": 2, "not_attempted": 48}
    words = {row["message"] for row in run.rows if row["outcome"] == "rejected"}
    assert words == {"The route could not be found."}
    assert run.state.is_failed()
    assert "status_404" in str(run.state.message)


def test_a_refused_resend_does_not_hide_what_became_of_the_first(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:2]
    sandbox.job_faults = [JobFault(ends="failed")]
    sandbox.faults = [Fault(Status(403), path=BULK, skip=1)]
    run = run_update(write_changes(ids))
    assert run.ends == [("failed", "job_failed", 2), ("failed", "job_failed", 1)]
    assert records(tmp_path) == []
    assert run.state.is_failed()


def test_an_account_that_cannot_be_read_leaves_every_row_not_attempted(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "canary-wrong-secret")
    run = run_update(write_changes([*sandbox.store.ids[:2], ""]))
    assert [row["outcome"] for row in run.rows] == ["not_attempted", "not_attempted", "rejected"]
    assert run.state.is_failed()
    assert "check WILLSUITE_CLIENT_ID and WILLSUITE_CLIENT_SECRET" in str(run.state.message)
    assert batches(sandbox) == []
    log = "\n".join(run_log)
    assert "Traceback" not in log
    assert "canary-wrong-secret" not in log


# -- parameters --------------------------------------------------------------------------------


def test_a_batch_has_at_most_so_many_rows_as_the_parameter_says(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    run = run_update(write_changes(sandbox.store.ids[:7]), batch_size=3)
    assert run.ends == [UPDATED] * 7
    assert [len(batch) for batch in batches(sandbox)] == [3, 3, 1]


def test_parameters_stand_in_for_the_settings_of_jobs(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "300")
    monkeypatch.setenv("WILLSUITE_JOB_TIMEOUT_SECONDS", "7200")
    sandbox = start_sandbox(cases=30)
    sandbox.job_faults = [JobFault(ends="pending")]
    source = write_changes(sandbox.store.ids[:2])
    run = run_update(source, job_poll_seconds=0.02, job_timeout_seconds=0.2)
    assert run.ends == [("unknown", "job_stuck", 1)] * 2
    assert all(1 <= job.polls <= 13 for job in sandbox.jobs.values())


def test_without_verifying_a_job_is_believed_and_nothing_is_read_back(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    script = {
        ids[0]: jobs(JobFault(skips=[0])),
        ids[1]: jobs(JobFault(ends="failed", applies=1.0)),
        ids[2]: jobs(JobFault(ends="pending")),
        ids[3]: lost(Applied(Drop())),
        ids[4]: lost(Status(422, body=REFUSED)),
    }
    ByCase(sandbox, script)
    run = run_update(write_changes(ids), batch_size=1, verify=False, job_timeout_seconds=0.2)
    believed, unbelieved = ("updated", "not_read_back", 1), ("unknown", "not_believed", 1)
    assert run.ends == [
        believed,
        *[unbelieved] * 3,
        ("rejected", "status_422", 1),
        believed,
    ]
    assert run.state.is_failed()
    last = max(at for at, seen in enumerate(sandbox.requests) if seen.path == BULK)
    after = [seen.path for seen in sandbox.requests[last:] if seen.path.startswith("/cases/")]
    assert after == []
    # what may still be under way is known to the next run, and nothing else
    stuck = [job_id for job_id, job in sandbox.jobs.items() if job.status == "pending"]
    open_jobs = [record["job_id"] for record in records(tmp_path)]
    assert sorted(open_jobs, key=str) == sorted([None, *stuck], key=str)


def test_options_do_what_they_say(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids
    rows = [
        {"id": ids[0], "notes": "Zoë", "shoe_size": "9"},
        {"id": "", "notes": "x", "shoe_size": ""},
    ]
    source = write_csv("changes.csv", rows, encoding="mac_roman")
    run = run_update(source, extra="ignore", encoding="mac_roman", on_reject="fail")
    assert run.summary["outcomes"] == {"updated": 1, "rejected": 1}
    assert notes_of(sandbox, ids[:1]) == ["Zoë"]
    assert run.state.is_failed()
    assert isinstance(run.result, IncompleteRunError)


def a_file_with(*rows: Row) -> Callable[[], str]:
    return lambda: str(write_csv("changes.csv", rows))


GOOD = a_file_with({"id": "c-1", "notes": "x"})


@pytest.mark.parametrize(
    ("source", "parameters", "error", "sentence"),
    [
        (a_file_with({"id": "c", "new_ref": "x"}), {}, SourceError, "Unknown: column B"),
        (a_file_with({"notes": "x"}), {}, SourceError, "needs a column id or ref"),
        (GOOD, {"on_reject": "stop"}, RunError, 'on_reject must be "complete" or "fail".'),
        (GOOD, {"compare_to": "memory"}, RunError, 'compare_to must be "live" or "latest".'),
        (GOOD, {"batch_size": 0}, RunError, "batch_size must be 1 to 2500."),
        (GOOD, {"batch_size": 2501}, RunError, "batch_size must be 1 to 2500."),
        (GOOD, {"job_poll_seconds": 0}, RunError, "job_poll_seconds must be above 0."),
        (GOOD, {"job_timeout_seconds": -1}, RunError, "job_timeout_seconds must be above 0."),
        (GOOD, {"output": "s3://bucket/runs"}, RunError, "must be a folder of this machine"),
    ],
)
def test_a_run_that_cannot_begin_says_why_in_one_sentence_and_sends_nothing(
    start_sandbox: StartSandbox,
    run_log: list[str],
    source: Callable[[], str],
    parameters: dict[str, Any],
    error: type[Exception],
    sentence: str,
) -> None:
    sandbox = start_sandbox(cases=5)
    run = run_update(source(), **parameters)
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    assert "\n" not in str(run.state.message)
    assert isinstance(run.result, error)
    assert sandbox.requests == []
    assert not Path("runs").exists()
    assert "Traceback" not in "\n".join(run_log)


# -- what reading back costs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "busy", "by_id", "listings"),
    [
        (3, 0, 3, 0),
        (30, 0, 0, 3),  # how many changed, a page of them, and an empty one
        (30, 2600, 30, 1),
    ],
)
def test_changes_are_read_back_in_the_way_that_takes_fewer_requests(
    start_sandbox: StartSandbox, rows: int, busy: int, by_id: int, listings: int
) -> None:
    sandbox = start_sandbox(cases=3000)
    for case_id in sandbox.store.ids[300 : 300 + busy]:
        sandbox.store.change(case_id, notes="by somebody else")
    ids = sandbox.store.ids[:rows]
    run = run_update(write_changes(ids))
    assert run.ends == [UPDATED] * rows
    handed_in = next(at for at, seen in enumerate(sandbox.requests) if seen.path == BULK)
    after = sandbox.requests[handed_in + 1 :]
    assert sum(seen.path.startswith("/cases/") for seen in after) == by_id
    listed = [seen.query for seen in after if seen.path == "/cases"]
    assert len(listed) == listings
    # its zone isn't documented: in UTC, and longer ago than the zones differ
    since = {datetime.fromisoformat(query["updatedAfter"] + "+00:00") for query in listed}
    ages = {(datetime.now(UTC) - moment) / timedelta(hours=1) for moment in since}
    assert all(26 <= age < 26.1 for age in ages)


def test_changes_that_the_filter_for_changes_does_not_show_are_read_back_all_the_same(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=300)
    change = Store.change
    unseen = lambda store, case_id, **fields: change(store, case_id, unseen=True, **fields)  # noqa: E731
    monkeypatch.setattr(Store, "change", unseen)
    ids = sandbox.store.ids[:50]
    run = run_update(write_changes(ids))
    assert run.ends == [UPDATED] * 50
    assert len(batches(sandbox)) == 1


# -- records of jobs ---------------------------------------------------------------------------


def leave_record(tmp_path: Path, job_id: str | None, *, hours_ago: float = 0.0) -> None:
    """As a run leaves one that was killed then; there must have been a run before."""
    folder = next((tmp_path / "state").rglob("*.jobs"))
    submitted_at = datetime.now(UTC) - timedelta(hours=hours_ago)
    content = {"submitted_at": submitted_at.isoformat(), "rows": 2, "job_id": job_id}
    (folder / f"{uuid4().hex}.json").write_text(json.dumps(content))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the run would have waited for the server, each time; it doesn't wait."""
    seconds: list[float] = []

    async def wait(_self: Progress, for_seconds: float, _why: str) -> None:
        seconds.append(for_seconds)

    monkeypatch.setattr(Progress, "wait", wait)
    return seconds


def test_a_job_of_long_ago_does_not_make_later_ones_be_waited_for_as_long(
    start_sandbox: StartSandbox, tmp_path: Path, waits: list[float]
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:2]
    run_update(write_changes(ids))
    [job_id] = sandbox.jobs
    leave_record(tmp_path, job_id, hours_ago=5)
    leave_record(tmp_path, None, hours_ago=5)
    sandbox.faults = [Fault(Applied(Drop()), path=BULK)]
    run = run_update(write_changes(ids, notes="Newer"))
    assert run.ends == [UPDATED] * 2
    assert max(waits) < 10
    assert records(tmp_path) == []


def test_a_batch_is_on_disk_before_it_leaves_and_its_job_before_it_is_asked_about(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    at_request: list[int] = []
    at_poll: list[tuple[str, set[str | None]]] = []

    def look_at_request(_store: Store) -> None:
        at_request.append(sum(record["rows"] for record in records(tmp_path)))

    def look_at_poll(_store: Store) -> None:
        job_id = sandbox.requests[-1].path.rpartition("/")[2]
        at_poll.append((job_id, {record["job_id"] for record in records(tmp_path)}))

    sandbox.faults = [
        Fault(Change(look_at_request), path=BULK, times=None),
        Fault(Change(look_at_poll), path="/api-jobs/*", times=None),
    ]
    run = run_update(write_changes(ids), batch_size=2)
    assert run.ends == [UPDATED] * 6
    assert len(at_request) == 3
    assert min(at_request) >= 2
    assert {job_id for job_id, _ in at_poll} == set(sandbox.jobs)
    assert all(job_id in on_disk for job_id, on_disk in at_poll)
    assert records(tmp_path) == []
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert "New" not in kept


def test_a_stuck_job_stays_on_record_and_the_next_run_asks_about_it_first(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    sandbox.job_faults = [JobFault(ends="pending"), JobFault(ends="processing")]
    source = write_changes(ids)
    run = run_update(source, batch_size=3, job_timeout_seconds=0.2)
    assert run.ends == [("unknown", "job_stuck", 1)] * 6
    assert run.state.is_failed()
    stuck = list(sandbox.jobs)
    assert sorted(record["job_id"] for record in records(tmp_path)) == sorted(stuck)
    assert [row["message"].split()[2] for row in run.rows] == [stuck[0]] * 3 + [stuck[1]] * 3

    # one day they go on, here while the next run asks about them
    def go_on(store: Store) -> None:
        for case_id in ids:
            store.change(case_id, notes=f"New {case_id}")
        for job in sandbox.jobs.values():
            job.move("completed")

    sandbox.requests.clear()
    sandbox.faults = [Fault(Change(go_on), path="/api-jobs/*", skip=4)]
    again = run_update(source)
    assert again.ends == [("unchanged", None, 0)] * 6
    paths = [seen.path for seen in sandbox.requests]
    polls = {at for at, path in enumerate(paths) if path.startswith("/api-jobs/")}
    assert {paths[at] for at in polls} == {f"/api-jobs/{job_id}" for job_id in stuck}
    assert max(polls) < paths.index("/cases")
    assert batches(sandbox) == []
    assert records(tmp_path) == []


def test_a_job_of_an_earlier_file_that_is_told_failed_and_goes_on_sets_nothing_back(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:2]
    run_update(write_changes(ids, notes="Oldest"))
    batch = [{"id": case_id, "notes": "Older"} for case_id in ids]
    job = sandbox.jobs["job-1"] = Job("job-1", batch, 1, JobFault(), "failed")
    job.message, job.end_time = ATTEMPTED, job.updated_at
    leave_record(tmp_path, "job-1", hours_ago=0.01)
    sandbox.faults = [Fault(Change(lambda _: go_on(sandbox)), path="/api-jobs/*", skip=2)]
    run = run_update(write_changes(ids))
    assert run.ends == [UPDATED] * 2
    assert changed(sandbox, ids) == [True] * 2
    assert records(tmp_path) == []


def test_a_job_that_nobody_knows_any_more_is_forgotten(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:2]
    run_update(write_changes(ids))
    leave_record(tmp_path, "a-job-that-nobody-knows", hours_ago=1)
    run = run_update(write_changes(ids, notes="Newer"), job_timeout_seconds=0.1)
    assert run.ends == [UPDATED] * 2
    assert records(tmp_path) == []


OPEN = ("unknown", "job_open", 0)


def go_on(sandbox: Sandbox) -> None:
    """The jobs that were stuck end well."""
    for job in sandbox.jobs.values():
        for row in job.batch:
            sandbox.store.change(row["id"], notes=row["notes"])
        job.move("completed")
        job.end_time = job.updated_at


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_nothing_is_sent_while_a_job_of_another_file_has_not_ended(
    start_sandbox: StartSandbox, tmp_path: Path, status: Literal["pending", "processing"]
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:4]
    sandbox.store.change(ids[3], notes=f"Newer {ids[3]}")
    sandbox.job_faults = [JobFault(ends=status), JobFault(ends=status)]
    run_update(write_changes(ids, notes="Old"), batch_size=2, job_timeout_seconds=0.1)
    newer = write_changes([*ids, "nobody"], notes="Newer")
    for source in (newer, newer):
        run = run_update(source, job_timeout_seconds=0.1)
        # the last one has its value, and the job may yet take it away
        assert run.ends == [*[OPEN] * 4, ("rejected", "not_found", 0)]
        assert all(job_id in run.rows[0]["message"] for job_id in sandbox.jobs)
        assert "abandon_jobs" in str(run.state.message)
        assert len(batches(sandbox)) == 2
        assert {record["job_id"] for record in records(tmp_path)} == set(sandbox.jobs)
    go_on(sandbox)
    assert run_update(newer).ends == [*[UPDATED] * 4, ("rejected", "not_found", 0)]
    assert changed(sandbox, ids, "Newer") == [True] * 4
    assert records(tmp_path) == []


def test_a_job_of_which_a_person_says_that_it_is_dead_is_waited_for_no_more(
    start_sandbox: StartSandbox, tmp_path: Path, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:4]
    sandbox.job_faults = [JobFault(ends="pending"), JobFault(ends="pending")]
    source = write_changes(ids)
    run_update(source, batch_size=2, job_timeout_seconds=0.1)
    first, second = sandbox.jobs
    run = run_update(source, job_timeout_seconds=0.1, abandon_jobs=[first])
    assert run.ends == [OPEN] * 4
    assert [record["job_id"] for record in records(tmp_path)] == [second]
    run = run_update(source, job_timeout_seconds=0.1, abandon_jobs=[second, "no-such-job"])
    assert run.ends == [UPDATED] * 4
    assert records(tmp_path) == []
    assert "abandon_jobs names a job that no run has left open" in "\n".join(run_log)
    assert isinstance(run_update(source, abandon_jobs=[7]).result, RunError)


def test_rows_that_the_latest_export_settles_may_be_changed_by_an_open_job_too(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:2]
    for case_id in ids:
        sandbox.store.change(case_id, notes=f"Newer {case_id}")
    asyncio.run(export_cases(output="exports"))
    sandbox.job_faults = [JobFault(ends="pending")]
    run_update(write_changes(ids, notes="Old"), job_timeout_seconds=0.1)
    run = run_update(
        write_changes(ids, notes="Newer"),
        compare_to="latest",
        exports="exports",
        job_timeout_seconds=0.1,
    )
    assert run.ends == [OPEN] * 2


# -- what others do meanwhile ------------------------------------------------------------------


@pytest.mark.parametrize("meta_update", ["merge", "replace"])
def test_what_somebody_changes_before_a_batch_is_handed_in_is_not_set_back(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, meta_update: str
) -> None:
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    sandbox = start_sandbox(cases=30, meta_update=meta_update)
    ids = sandbox.store.ids[:5]
    removed = "99999999-9999-4999-8999-999999999999"
    for case_id in ids:
        sandbox.store.change(case_id, meta={PLAN: "NO", removed: "left over"})

    def by_hand(store: Store) -> None:
        store.change(ids[1], meta={PLAN: "YES", STORAGE: "7"})
        store.change(ids[2], meta={PLAN: "NO", SOURCE: "Website"})
        store.change(ids[3], meta={PLAN: "NO", STORAGE: "hers"})

    sandbox.faults = [Fault(Change(by_hand), path="/api-jobs/*")]
    rows = [{"id": case_id, f"meta:{STORAGE}": "7"} for case_id in ids]
    run = run_update(write_csv("changes.csv", rows), batch_size=1)
    conflict = ("conflict", "changed_meanwhile", 0)
    assert run.ends == [UPDATED, ("unchanged", None, 0), UPDATED, conflict, UPDATED]
    metas = [(sandbox.store.case(case_id) or {})["meta"] for case_id in ids]
    assert metas[1] == {PLAN: "YES", STORAGE: "7"}
    assert metas[2] == {PLAN: "NO", SOURCE: "Website", STORAGE: "7"}
    assert metas[3] == {PLAN: "NO", STORAGE: "hers"}
    assert all(removed not in row["meta"] for batch in batches(sandbox) for row in batch)


def test_what_arrives_in_another_form_is_told_from_what_arrives_otherwise(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(case: dict[str, Any], sent: dict[str, Any], meta_update: Any) -> dict[str, Any]:
        notes = html.escape(sent["notes"].partition("\U0001f600")[0].strip())
        return writes.changed_fields(case, sent | {"notes": notes}, meta_update)

    monkeypatch.setattr("sandbox.jobs.changed_fields", kept)
    sandbox = start_sandbox(cases=30)
    first, second, third = sandbox.store.ids[:3]
    rows = [
        {"id": first, "notes": "Brown & O'Neil"},
        {"id": second, "notes": "Met her \U0001f600 today"},
        {"id": third, "notes": "Met him"},
    ]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.ends == [UPDATED, ("partial", "not_as_asked", 1), UPDATED]
    assert json.loads(run.rows[1]["after"]) == {"notes": "Met her"}
    assert run.state.is_completed()
    # it reads the case; its text can't be told from an older one, so it is tried once a run
    sandbox.requests.clear()
    assert run_update(source).ends[::2] == [("unchanged", None, 0)] * 2
    assert sent_ids(sandbox) == [second]


def test_rows_that_the_latest_export_settles_are_asked_for_being_there_where_cases_are_gone(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    for case_id in ids:
        sandbox.store.case(case_id)["notes"] = f"New {case_id}"  # type: ignore[index]
    export()
    source = write_changes(ids)
    unchanged = ("unchanged", None, 0)

    def ends(max_asked: int) -> list[tuple[str, str | None, int]]:
        monkeypatch.setattr("protocols.updating.matching.MAX_ASKED", max_asked)
        return run_update(source, compare_to="latest", exports="exports").ends

    sandbox.store.delete(sandbox.store.ids[-1])  # of which the file has nothing
    assert ends(3) == [unchanged, ("unchanged", "by_export", 0)] * 3
    for case_id in ids[2:4]:
        sandbox.store.delete(case_id)
    for max_asked in (3, 200):
        gone = [("rejected", "not_found", 0)] * 2
        assert ends(max_asked) == [*[unchanged] * 2, *gone, *[unchanged] * 2]


# -- jobs that die within their rows -----------------------------------------------------------


@pytest.mark.parametrize("says_how_many", [True, False])
def test_a_job_that_stops_within_its_rows_is_taken_for_a_failed_one_and_its_next_row_goes_apart(
    start_sandbox: StartSandbox, tmp_path: Path, says_how_many: bool
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    lacks = () if says_how_many else ("effected_records",)
    sandbox.job_faults = [JobFault(ends="processing", applies=0.5, lacks=lacks)]
    source = write_changes(ids)
    run = run_update(source, job_timeout_seconds=0.2)
    died, resent = ("failed", "job_died", 1), ("updated", None, 2)
    assert run.ends == [UPDATED, UPDATED, UPDATED, died, resent, resent]
    assert [len(batch) for batch in batches(sandbox)] == [6, 2]
    # should it go on one day, a run sees it; until then it is in nobody's way
    assert [record["job_id"] for record in records(tmp_path)] == [next(iter(sandbox.jobs))]
    sandbox.job_faults = [JobFault(ends="processing")]
    again = run_update(source, job_timeout_seconds=0.2)
    unchanged = ("unchanged", None, 0)
    assert again.ends == [*[unchanged] * 3, died, *[unchanged] * 2]
    sandbox.store.change(ids[3], notes=f"New {ids[3]}")
    assert run_update(source, job_timeout_seconds=0.2).ends == [unchanged] * 6


def test_a_job_taken_for_dead_that_goes_on_is_waited_for(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:6]
    sandbox.job_faults = [JobFault(ends="processing", applies=0.5)]
    source = write_changes(ids)
    run_update(source, job_timeout_seconds=0.2)
    job = next(iter(sandbox.jobs.values()))
    job.effected_records = 4
    job.move("pending")  # a queue has taken it up again
    newer = write_changes(ids, notes="Newer")
    assert run_update(newer, job_timeout_seconds=0.2).ends == [OPEN] * 6
    go_on(sandbox)
    assert run_update(newer).ends == [UPDATED] * 6
    assert records(tmp_path) == []


def test_a_batch_of_which_no_job_is_known_is_waited_for_as_long_as_it_may_be_invisible(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    waits: list[float],
) -> None:
    sandbox = start_sandbox(cases=30)
    ids = sandbox.store.ids[:2]
    run_update(write_changes(ids))
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "90")
    leave_record(tmp_path, None, hours_ago=1)
    leave_record(tmp_path, None)
    folder = next((tmp_path / "state").rglob("*.jobs"))
    (folder / "spoilt.json").write_text('{"submitted_at": "yes')
    run = run_update(write_changes(ids, notes="Newer"), job_poll_seconds=15)
    assert 90 < max(waits) <= 120
    assert run.ends == [UPDATED] * 2
    assert records(tmp_path) == []


# -- two at once -------------------------------------------------------------------------------


def test_of_two_runs_at_once_one_is_refused_and_nothing_is_in_two_jobs(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, job_seconds=0.1)
    ids = sandbox.store.ids[:6]
    source = write_changes(ids)
    second: list[EndedRun] = []

    def update_too(_store: Store) -> None:
        with ThreadPoolExecutor() as pool:
            second.append(pool.submit(run_update, source, wait_seconds=0).result())

    sandbox.faults = [Fault(Change(update_too), path="/api-jobs/*")]
    assert run_update(source).ends == [UPDATED] * 6
    assert second[0].ends == [("not_attempted", "stopped", 0)] * 6
    assert second[0].state.is_failed()
    assert "writes to this WillSuite account" in str(second[0].state.message)
    assert len(batches(sandbox)) == 1
