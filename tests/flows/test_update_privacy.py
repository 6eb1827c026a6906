"""Nobody's personal data or secret leaves an update, single or in bulk, but into its own folder."""

import asyncio
import csv
import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ended_runs import EndedRun, summary_of
from prefect import Flow

from flows.bulk_update_cases import bulk_update_cases
from flows.export_cases import export_cases
from flows.update_cases import update_cases
from sandbox.faults import Applied, Change, Drop, Fault, Html, JobFault, Status, Truncate
from sandbox.people import CRM_FIELDS, case_of
from sandbox.server import Sandbox
from schemas.outcomes import Outcome
from willsuite.errors import AuthenticationError

pytestmark = pytest.mark.leaks

StartSandbox = Callable[..., Sandbox]
Leaks = Callable[[Sequence[str]], list[str]]

STORAGE = CRM_FIELDS[3]["id"]
STORAGE_FIELD = f"meta:{CRM_FIELDS[3]['field_label']}"
BULK_HEADER = ["ref", "notes", STORAGE_FIELD]
HEADER = [
    *BULK_HEADER, "new_ref", "customer_1_title", "customer_1_first_names", "customer_1_last_name",
    "customer_1_date_of_birth", "customer_1_tel_1", "customer_1_marital_status",
    "customer_1_postcode", "customer_1_email", "customer_1_occupation", "customer_2_title",
    "customer_2_first_names", "customer_2_last_name",
]  # fmt: skip
ROW = [
    "Vexquib-Ref-{}", "Vexquib illness", "Vexquib safe 9", "Vexquib-New-{}", "Vexquibess",
    "Vexquibina", "Vexquib-Wren", "23/11/1931", "07700900987", "widowed", "QX9 9QX",
    "vexquib@example.org", "Vexquib keeper", "Vexquibber", "Vexquibello", "Vexquibski",
]  # fmt: skip
"""In the order of the header. Every cell is one to be looked for, but for the status."""
BAD = {
    "customer_1_title": "",
    "customer_1_date_of_birth": "23/11/31",
    "customer_1_tel_1": "7700900987",
    "customer_1_marital_status": "Vexquib-single",
    "customer_1_email": "vexquib at example",
    "ref": "",
}
"""Of each a row that is rejected for it."""
WORDS = json.dumps(
    {
        "message": "Vexquib message",
        "errors": {"customers.0.last_name": ["Vexquib-Wren is not a name, said Vexquib."]},
    }
)
TAKEN = json.dumps({"errors": {"ref": ["The ref Vexquib-New is already taken by Vexquib."]}})
SAID = "Vexquib-Wren's notes are too long, says the job."
CANARIES = [
    "exquib", "EXQUIB", "07700900987", "7700900987", "QX9 9QX", "23/11/1931", "23/11/31",
    "1931-11-23", "sandbox-secret",
]  # fmt: skip


def write_rows(path: str, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> str:
    with Path(path).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rows_of(*numbers: int) -> list[list[str]]:
    return [[cell.format(number) for cell in ROW] for number in numbers]


def bulk_rows(*numbers: int) -> list[list[str]]:
    return [row[: len(BULK_HEADER)] for row in rows_of(*numbers)]


def bad_rows() -> list[list[str]]:
    rows = rows_of(*range(100, 100 + len(BAD)))
    for row, (name, cell) in zip(rows, BAD.items(), strict=True):
        row[HEADER.index(name)] = cell
    return [*rows, [*rows_of(200)[0], "Vexquib surplus"], rows_of(201)[0][:5]]


def id_of(number: int) -> str:
    return f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def prepare(sandbox: Sandbox, *numbers: int) -> None:
    """Cases for the rows; what they hold is nobody's business either."""
    for number in numbers:
        person = {
            "id": f"p-{number}",
            "title": "Vexquibster",
            "first_names": "Vexquibold",
            "last_name": "Vexquibsson",
            "postcode": "QX9 9QX",
        }
        case = case_of(
            id_of(number),
            ref=f"Vexquib-Ref-{number}",
            notes="Vexquib was here",
            meta={STORAGE: "Vexquib box"},
            is_active=1,
            customers=[person],
        )
        sandbox.store.put(case)


def run(flow: Flow[..., Any], source: str, **parameters: Any) -> Any:
    """What a flow gives back, or the error with which it ends."""
    return EndedRun.of(flow, source, **parameters).result


def update(source: str, **parameters: Any) -> Any:
    return run(update_cases, source, **parameters)


def bulk(source: str, **parameters: Any) -> Any:
    return run(bulk_update_cases, source, job_poll_seconds=0.05, **parameters)


def outcomes_of(result: Any) -> dict[str, int]:
    return dict(summary_of(result)["outcomes"])


def messages() -> str:
    """All that the outcome files tell the person."""
    tables = [pq.read_table(file).to_pylist() for file in Path("runs").glob("*/*.parquet")]
    return str(tables)


@pytest.fixture
def leaks(leaked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Leaks:
    """Which words a run has shown, or Prefect or the state folder keeps."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    for name in (
        "protocols.reading.lookup.probe_ref_filter",
        "tasks.cases.get_cases_pages",
        "tasks.cases.get_cases",
    ):
        monkeypatch.setattr(f"{name}.retry_delay_seconds", 0)

    def look(words: Sequence[str]) -> list[str]:
        assert list(Path("state").rglob("*.lock"))
        return leaked(words, "update-cases", Path("state"))

    return look


def modes() -> set[int]:
    """Of all files that runs leave, and of the state folder's."""
    folders = Path("runs"), Path("state")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} >= {".parquet", ".xlsx", ".lock"}
    return {stat.S_IMODE(file.stat().st_mode) for file in files}


def test_no_cell_no_value_of_a_case_and_no_word_of_the_server_is_shown_by_single_updates(
    start_sandbox: StartSandbox, leaks: Leaks
) -> None:
    sandbox = start_sandbox(cases=30)
    prepare(sandbox, *range(40))
    source = write_rows("good.csv", rows_of(0, 1))
    assert outcomes_of(update(source, dry_run=True)) == {"planned": 2}
    assert outcomes_of(update(source)) == {"updated": 2}
    assert outcomes_of(update(source)) == {"unchanged": 2}
    assert outcomes_of(update(write_rows("bad.csv", bad_rows()))) == {"rejected": len(BAD) + 2}
    bodies = [Status(422, body=WORDS), Status(400, body=WORDS), Status(409, body=WORDS),
              Status(422, body=TAKEN), Status(500, body=WORDS), Status(403, body=WORDS),
              Status(200, body=WORDS), Applied(Status(502, body=WORDS)), Truncate(0.9), Html(),
              Drop()]  # fmt: skip
    sandbox.faults = [
        Fault(body, path=f"/cases/{id_of(number)}", method="PATCH", skip=number % 3)
        for number, body in enumerate(bodies * 2, start=2)
    ]
    result = update(write_rows("refused.csv", rows_of(*range(2, 40))))
    assert {"updated", "rejected", "partial"} <= outcomes_of(result).keys()
    for status in (200, 500):
        sandbox.faults = [Fault(Status(status, body=WORDS), path="/cases", times=None)]
        assert isinstance(update(write_rows("unread.csv", rows_of(40))), Exception)
    assert leaks([*CANARIES, *sandbox.tokens]) == []
    # it is all there for the person, in the folder of the run
    assert modes() == {0o600}
    said = messages()
    for words in ("Vexquib-Wren is not a name", "Vexquib was here", "Vexquibello Vexquibski"):
        assert words in said


def test_no_cell_no_value_of_a_case_and_no_word_of_a_job_is_shown_by_bulk_updates(
    start_sandbox: StartSandbox, leaks: Leaks
) -> None:
    sandbox = start_sandbox(cases=30)
    prepare(sandbox, *range(20))
    source = write_rows("good.csv", bulk_rows(0, 1), BULK_HEADER)
    assert outcomes_of(bulk(source, dry_run=True)) == {"planned": 2}
    sandbox.job_faults = [
        JobFault(message=SAID, words={"pending": "Vexquib 1", "processing": "Vexquib 2"}),
        # and the two jobs with what it left undone
        *[JobFault(ends="failed", message=SAID, applies=0.5)] * 3,
        JobFault(skips=[0], message=SAID, seconds=0.2, words={"processing": "Vexquib 3"}),
    ]
    assert outcomes_of(bulk(source)) == {"updated": 2}
    result = bulk(write_rows("failed.csv", bulk_rows(*range(2, 8)), BULK_HEADER))
    assert outcomes_of(result).keys() == {"updated", "failed"}
    result = bulk(write_rows("skipped.csv", bulk_rows(8, 9), BULK_HEADER))
    assert outcomes_of(result) == {"updated": 1, "failed": 1}
    bad = [["", *bulk_rows(10)[0][1:]], [*bulk_rows(11)[0], "Vexquib surplus"], *bulk_rows(12, 99)]
    sandbox.faults = [Fault(Status(422, body=WORDS), path="/cases-bulk-update")]
    assert outcomes_of(bulk(write_rows("bad.csv", bad, BULK_HEADER))) == {"rejected": 4}
    sandbox.faults = [
        Fault(Status(500, body=WORDS), path="/api-jobs/*", times=3),
        Fault(Applied(Status(502, body=WORDS)), path="/cases-bulk-update"),
    ]
    bulk(write_rows("lost.csv", bulk_rows(13, 14), BULK_HEADER))
    asyncio.run(export_cases(output="exports"))
    compared = bulk(source, compare_to="latest", exports="exports")
    assert outcomes_of(compared) == {"unchanged": 2}

    assert leaks([*CANARIES, *sandbox.tokens]) == []
    assert modes() == {0o600}
    said = messages()
    for words in ("too long, says the job", "Vexquib-Wren is not a name", "Vexquib was here"):
        assert words in said


@pytest.mark.parametrize("flow", [update, bulk])
def test_neither_a_file_that_cannot_be_used_nor_a_fault_of_ours_shows_a_cell(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    leaks: Leaks,
    flow: Callable[..., Any],
) -> None:
    sandbox = start_sandbox(cases=30)
    prepare(sandbox, *range(20))
    header = HEADER if flow is update else BULK_HEADER

    def rows(*numbers: int) -> list[list[str]]:
        return [row[: len(header)] for row in rows_of(*numbers)]

    def written(path: str, *numbers: int) -> str:
        return write_rows(path, rows(*numbers), header)

    assert outcomes_of(flow(written("good.csv", 1))) == {"updated": 1}
    [row] = rows(2)
    meta = ["meta:Lead source" if name == "notes" else name for name in header]
    unfit = [
        write_rows("headerless.csv", [row], row),
        write_rows("half.csv", [row], ["ref", *row[1:]]),
        write_rows("double.csv", [row], [*header[:-1], "ref"]),
        write_rows("nul.csv", [[f"{cell}\0" for cell in row]], header),
        write_rows("meta.csv", [row], meta),
    ]
    Path("quotes.csv").write_text(",".join(header) + '\n"Vexquib" x,"y\n')
    Path("mixed.csv").write_bytes(",".join(header).encode() + b"\nVexquib\xff\xc3\xa9\x81\n")
    for source in (*unfit, "quotes.csv", "mixed.csv"):
        result = flow(source)
        assert isinstance(result, Exception) or outcomes_of(result) == {"rejected": 1}, source
        assert "exquib" not in str(result), source
    with monkeypatch.context() as patch:
        patch.setenv("WILLSUITE_CLIENT_SECRET", "vexquib-secret-1")
        assert isinstance(flow("good.csv"), AuthenticationError)

    # whatever breaks in the middle of a row, it breaks as it would with that row at hand
    def broken(*_any: Any, **_others: Any) -> Any:
        raise KeyError("a key")

    places = ["protocols.updating.matching.match"]
    if flow is update:
        places += ["protocols.updating.single.case_update", "protocols.updating.single.lost_values"]
    else:
        places += ["protocols.updating.batches.bulk_update", "protocols.updating.bulk._judge"]
    sandbox.job_faults = [JobFault(ends="failed", message=SAID)]
    for number, place in enumerate(places, start=3):
        with monkeypatch.context() as patch:
            patch.setattr(place, broken)
            assert isinstance(flow(written("broken.csv", number)), KeyError), place
    assert leaks(CANARIES) == []
    assert Outcome.UNKNOWN in messages()


@pytest.mark.parametrize("flow", [update_cases, bulk_update_cases])
def test_an_update_that_is_cancelled_shows_no_cell_and_leaves_none_in_its_records(
    start_sandbox: StartSandbox, leaks: Leaks, flow: Any
) -> None:
    sandbox = start_sandbox(cases=30)
    prepare(sandbox, *range(1, 10))
    is_bulk = flow is bulk_update_cases
    header = BULK_HEADER if is_bulk else HEADER
    rows = [row[: len(header)] for row in rows_of(*range(1, 10))]
    source = write_rows("cases.csv", rows, header)
    update(write_rows("bad.csv", bad_rows()))

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(flow(source=source, output="runs"))
        stop = Change(lambda _store: loop.call_soon_threadsafe(task.cancel))
        path, skip = ("/cases-bulk-update", 0) if is_bulk else ("/cases/*", 4)
        sandbox.faults = [Fault(stop, path=path, method="PATCH", skip=skip)]
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    if is_bulk:
        assert list(Path("state").rglob("*.jobs/*.json")), "there is something to look at"
    assert leaks(CANARIES) == []
    assert modes() == {0o600}
    assert Outcome.UNKNOWN in messages()
