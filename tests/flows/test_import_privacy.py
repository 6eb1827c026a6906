"""Nobody's personal data or secret leaves an import but into the run's own folder."""

import asyncio
import csv
import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ended_runs import EndedRun, summary_of

from flows.import_cases import import_cases
from sandbox.faults import Applied, Change, Drop, Fault, Html, Status, Truncate
from sandbox.people import CRM_FIELDS
from sandbox.server import Sandbox
from schemas.outcomes import Outcome
from willsuite.errors import AuthenticationError

pytestmark = pytest.mark.leaks

StartSandbox = Callable[..., Sandbox]
Leaks = Callable[[Sequence[str]], list[str]]

STORAGE_FIELD = f"meta:{CRM_FIELDS[3]['field_label']}"
HEADER = [
    "ref", "notes", "email", STORAGE_FIELD, "customer_1_title", "customer_1_first_names",
    "customer_1_last_name", "customer_1_date_of_birth", "customer_1_tel_1",
    "customer_1_marital_status", "customer_1_postcode", "customer_1_email", "customer_1_occupation",
    "address_book_1_first_names", "address_book_1_last_name",
]  # fmt: skip
PERSON = [
    "Vexquib-Ref-{}", "Vexquib illness", "vexquib.user@example.org", "Vexquib safe 9", "Vexquibess",
    "Vexquibina", "Vexquib-Wren", "23/11/1931", "07700900987", "widowed", "QX9 9QX",
    "vexquib@example.org", "Vexquib keeper", "Vexquibello", "Vexquibski",
]  # fmt: skip
"""In the order of the header. Every cell is one to be looked for, but for the status."""
BAD = {
    "customer_1_title": "",
    "customer_1_date_of_birth": "23/11/31",
    "customer_1_tel_1": "7700900987",
    "customer_1_marital_status": "Vexquib-single",
    "customer_1_email": "vexquib at example",
    "email": "vexquib.user at example",
    "ref": "",
}
"""Of each a row that is rejected for it."""
WORDS = json.dumps(
    {
        "message": "Vexquib message",
        "errors": {"customers.0.last_name": ["Vexquib-Wren is not a name, said Vexquib."]},
    }
)
CANARIES = [
    "exquib", "EXQUIB", "07700900987", "7700900987", "QX9 9QX", "23/11/1931", "23/11/31",
    "1931-11-23",
]  # fmt: skip


def write_rows(path: str, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> str:
    with Path(path).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def people(*numbers: int) -> list[list[str]]:
    return [[cell.format(number) for cell in PERSON] for number in numbers]


def bad_people() -> list[list[str]]:
    rows = people(*range(100, 100 + len(BAD)))
    for row, (name, cell) in zip(rows, BAD.items(), strict=True):
        row[HEADER.index(name)] = cell
    return [*rows, [*people(200)[0], "Vexquib surplus"], people(201)[0][:5]]


def run(source: Any, **parameters: Any) -> Any:
    """What the flow gives back, or the error with which it ends."""
    return EndedRun.of(import_cases, source, **parameters).result


def outcomes_of(result: Any) -> dict[str, int]:
    return dict(summary_of(result)["outcomes"])


@pytest.fixture
def leaks(leaked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Leaks:
    """Which words a run has shown, or Prefect keeps."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("tasks.cases.get_cases_pages.retry_delay_seconds", 0)
    monkeypatch.setattr("protocols.reading.lookup.probe_ref_filter.retry_delay_seconds", 0)
    monkeypatch.setattr("sandbox.case_writes.USERS", ("vexquib.user@example.org",))
    return lambda words: leaked(words, "import-cases")


def test_no_cell_of_any_row_and_no_word_of_the_server_is_shown_or_kept_by_prefect(
    start_sandbox: StartSandbox,
    leaks: Leaks,
) -> None:
    sandbox = start_sandbox(cases=30)
    assert outcomes_of(run(write_rows("good.csv", people(*range(5))))) == {"created": 5}
    assert outcomes_of(run("good.csv")) == {"existing": 5}
    assert outcomes_of(run(write_rows("bad.csv", bad_people()))) == {"rejected": len(BAD) + 2}
    run(write_rows("plan.csv", people(*range(6, 9))), dry_run=True)
    frame = pd.DataFrame(people(0, 60), columns=HEADER)
    assert outcomes_of(run(frame)) == {"existing": 1, "created": 1}
    assert outcomes_of(run(pa.Table.from_pandas(frame))) == {"existing": 2}

    bodies = [Status(422, body=WORDS), Status(400, body=WORDS), Status(409, body=WORDS),
              Status(500, body=WORDS), Status(403, body=WORDS), Status(200, body=WORDS),
              Applied(Status(502, body=WORDS)), Truncate(0.9), Html(), Drop()]  # fmt: skip
    sandbox.faults = [Fault(body, path="/cases/create") for body in bodies]
    result = run(write_rows("refused.csv", people(*range(10, 30))))
    assert {"created", "rejected", "conflict"} == outcomes_of(result).keys()
    for status in (200, 500):
        sandbox.faults = [Fault(Status(status, body=WORDS), path="/cases", times=None)]
        assert isinstance(run(write_rows("unread.csv", people(40))), Exception)
    sandbox.faults = [Fault(Status(500, body=WORDS), path="/cases/create", times=None)]
    assert "not_attempted" in outcomes_of(run(write_rows("ill.csv", people(*range(50, 80)))))

    assert leaks([*CANARIES, "sandbox-secret", *sandbox.tokens]) == []
    # it is all there for the person, in the folder of the run
    files = list(Path("runs").glob("*/*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    tables = [pq.read_table(file).to_pylist() for file in files if file.suffix == ".parquet"]
    assert any("Vexquib-Wren is not a name" in str(table) for table in tables)


def test_neither_a_file_that_cannot_be_used_nor_a_fault_of_ours_shows_a_cell(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    leaks: Leaks,
) -> None:
    sandbox = start_sandbox(cases=30)
    run(write_rows("good.csv", people(1)))
    [row] = people(2)
    half_known = ["ref", *row[1:]]
    double = [*HEADER[:-1], "ref"]
    unfit = [
        write_rows("headerless.csv", [row], row),
        write_rows("half.csv", [row], half_known),
        write_rows("double.csv", [row], double),
        write_rows("nul.csv", [[f"{cell}\0" for cell in row]]),
        write_rows("meta.csv", [row], ["meta:Lead source" if c == "notes" else c for c in HEADER]),
    ]
    Path("quotes.csv").write_text(",".join(HEADER) + '\n"Vexquib" x,"y\n')
    Path("mixed.csv").write_bytes(",".join(HEADER).encode() + b"\nVexquib\xff\xc3\xa9\x81\n")
    for source in (*unfit, "quotes.csv", "mixed.csv"):
        result = run(source)
        assert isinstance(result, Exception) or outcomes_of(result) == {"rejected": 1}, source
        assert "exquib" not in str(result), source
    run(write_rows("derived.csv", [["", *row[1:]]]), derive_ref_from=["customer_1_last_name"])

    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "vexquib-secret-1")
    assert isinstance(run("good.csv"), AuthenticationError)
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "sandbox-secret")

    # whatever breaks in the middle of a row, it breaks as it would with that row at hand
    def broken(sent: Any, *_others: Any) -> Any:
        raise KeyError("a key")

    for place in (
        "protocols.importing.sender.echo_of",
        "protocols.importing.verdicts.lost_of_case",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, broken)
            assert isinstance(run(write_rows("broken.csv", people(len(place)))), KeyError)
    assert leaks([*CANARIES, "vexquib-secret-1", "sandbox-secret"]) == []
    assert Outcome.UNKNOWN in str([pq.read_table(f) for f in Path("runs").glob("*/*.parquet")])
    assert sandbox.requests


def test_an_import_that_is_cancelled_shows_no_cell(
    start_sandbox: StartSandbox, leaks: Leaks
) -> None:
    sandbox = start_sandbox(cases=30)
    source = write_rows("cases.csv", people(*range(1, 10)))

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(import_cases(source=source, output="runs"))
        stop = Change(lambda _store: loop.call_soon_threadsafe(task.cancel))
        sandbox.faults = [Fault(stop, path="/cases/create", skip=4)]
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    run(source)
    assert leaks([*CANARIES, "sandbox-secret"]) == []
    assert len(sandbox.store) == 39
