"""The import through the real engine, against a server on a socket."""

import asyncio
import itertools
import json
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from accounts import wait_until
from ended_runs import EndedRun, Row, write_csv
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from python_calamine import CalamineWorkbook

from flows.import_cases import import_cases
from flows.writing import IncompleteRunError
from sandbox.account import BREAKS_OFF
from sandbox.faults import (
    Action,
    Applied,
    Change,
    Drip,
    Drop,
    Fault,
    Html,
    Late,
    Partial,
    Status,
    Truncate,
)
from sandbox.people import CRM_FIELDS, case_of
from sandbox.server import Sandbox
from sandbox.store import Store
from schemas.issues import SourceError
from tasks.policy import RunError
from tasks.snapshots import LocalOutput
from tasks.workspace import run_workspace
from willsuite.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("protocols.reading.lookup.probe_ref_filter.retry_delay_seconds", 0)


def run_import(source: Path | str, output: str = "runs", **parameters: Any) -> EndedRun:
    return EndedRun.of(import_cases, source, output, **parameters)


def row_of(number: int, **cells: str) -> Row:
    """A plain good row."""
    return {
        "ref": f"IMP-{number:03d}",
        "notes": f"Note {number}",
        "customer_1_title": "Ms",
        "customer_1_first_names": "Zoë",
        "customer_1_last_name": f"Núñez {number}",
    } | cells


def rows_of(*numbers: int) -> list[Row]:
    return [row_of(number) for number in numbers]


def case_for(row: Row, *, number: int = 0, **fields: Any) -> dict[str, Any]:
    """A case of the account that looks as if `row` had been imported; `number` makes the id."""
    person = {
        name.removeprefix("customer_1_"): cell
        for name, cell in row.items()
        if name.startswith("customer_1_")
    }
    case_id = f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
    case = case_of(
        case_id,
        ref=row["ref"],
        notes=row["notes"],
        meta={},
        is_active=1,
        customers=[{"id": f"p-{case_id}", "customer_case_id": case_id, **person}],
    )
    return case | fields


def sent(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The bodies of all creations that arrived, in order."""
    return [json.loads(seen.body) for seen in sandbox.requests if seen.path == "/cases/create"]


def ref_counts(store: Store) -> Counter[str]:
    return Counter(str(store.case(case_id)["ref"]) for case_id in store.ids)  # type: ignore[index]


def ids_of(store: Store, ref: str) -> list[str]:
    return store.listing(ref=ref)


class ByRef:
    """Faults aimed at references: the n-th request with one gets the n-th of its actions.

    For a sandbox without latency, which looks for a fault as soon as a request is there.
    """

    def __init__(self, sandbox: Sandbox, script: Mapping[str, Sequence[Action | None]]) -> None:
        self._sandbox = sandbox
        self._left = {ref: list(actions) for ref, actions in script.items()}
        self.action: Action
        sandbox.faults.append(self)  # type: ignore[arg-type]

    def matches(self, _method: str, path: str, _page: str | None) -> bool:
        if path != "/cases/create":
            return False
        left = self._left.get(json.loads(self._sandbox.requests[-1].body)["ref"])
        action = left.pop(0) if left else None
        if action is not None:
            self.action = action
        return action is not None


# -- what arrives ------------------------------------------------------------------------------


RICH = {
    "Ref": "IMP-é1",
    "notes": "Line one\nline two, with a comma",
    "adviser_email": "adviser@example.org",
    "email": "api.user@example.org",
    f"meta:{CRM_FIELDS[0]['field_label']}": "referral",
    f"meta:{CRM_FIELDS[3]['id']}": "00042",
    "Customer 1 Title": "Mrs",
    "customer_1_first_names": "Siân",
    "customer_1_middle_names": "de la",
    "customer_1_last_name": "O'Brien",
    "customer_1_date_of_birth": "02/03/1950",
    "customer_1_gender": "Female",
    "customer_1_marital_status": "Married",
    "customer_1_tel_1": "07700 900123",
    "customer_1_tel_2": "+44 20 7946 0123",
    "customer_1_address_1": "1 Nowhere Lane",
    "customer_1_address_2": "Borchester",
    "customer_1_address_3": "Borsetshire",
    "customer_1_postcode": "QX1 1ZZ",
    "customer_1_occupation": "Baker",
    "customer_1_preferred_name": "Shan",
    "customer_1_email": "sian@example.org",
    "customer_2_title": "Mr",
    "customer_2_first_names": "Tom",
    "customer_2_last_name": "Null",
    "customer_2_date_of_birth": "28/02/1949",
    "customer_2_tel_1": "",
    "address_book_1_first_names": "Omar",
    "address_book_1_last_name": "Siddiqui",
    "address_book_1_dob": "01/12/1980",
    "address_book_2_entity_id": "Organisation",
    "address_book_2_name": "Nowhere Hospice",
    "address_book_2_reg_no": "0012345",
    "address_book_2_is_charity": "Yes",
}
RICH_BODY = {
    "ref": "IMP-é1",
    "notes": "Line one\nline two, with a comma",
    "adviser_email": "adviser@example.org",
    "email": "api.user@example.org",
    "meta": {CRM_FIELDS[0]["id"]: "Referral", CRM_FIELDS[3]["id"]: "00042"},
    "customers": [
        {
            "title": "Mrs",
            "first_names": "Siân",
            "middle_names": "de la",
            "last_name": "O'Brien",
            "date_of_birth": "02/03/1950",
            "gender": "female",
            "marital_status": "married",
            "tel_1": "07700 900123",
            "tel_2": "+44 20 7946 0123",
            "address_1": "1 Nowhere Lane",
            "address_2": "Borchester",
            "address_3": "Borsetshire",
            "postcode": "QX1 1ZZ",
            "occupation": "Baker",
            "preferred_name": "Shan",
            "email": "sian@example.org",
        },
        {
            "title": "Mr",
            "first_names": "Tom",
            "last_name": "Null",
            "date_of_birth": "28/02/1949",
        },
    ],
    "address_book": [
        {
            "entity_id": "person",
            "first_names": "Omar",
            "last_name": "Siddiqui",
            "dob": "01/12/1980",
        },
        {
            "entity_id": "organisation",
            "name": "Nowhere Hospice",
            "reg_no": "0012345",
            "is_charity": "yes",
        },
    ],
}


def test_every_field_of_a_good_file_is_in_the_account_as_it_was_in_the_file(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    source = write_csv("cases.csv", [RICH, {"Ref": "IMP-2", "notes": "Bare"}])
    run = run_import(source)
    assert sorted(sent(sandbox), key=lambda body: -len(body)) == [
        RICH_BODY, {"ref": "IMP-2", "notes": "Bare"},
    ]  # fmt: skip
    case_id = run.by_key["IMP-é1"]["case_id"]
    case = sandbox.store.case(case_id)
    assert case is not None
    assert (case["ref"], case["notes"], case["meta"]) == (
        RICH_BODY["ref"],
        RICH_BODY["notes"],
        RICH_BODY["meta"],
    )
    kept = {"id", "customer_case_id", "is_deceased"}
    people = [
        {key: value for key, value in person.items() if value is not None and key not in kept}
        for person in sorted(case["customers"], key=lambda person: person["first_names"])
    ]
    shan, tom = (dict(person) for person in RICH_BODY["customers"])  # type: ignore[arg-type]
    del shan["preferred_name"]  # written, never shown
    dates = ({"date_of_birth": "1950-03-02"}, {"date_of_birth": "1949-02-28"})
    assert people == [shan | dates[0], tom | dates[1]]
    entries = [
        {"entity_id": entry["entity_id"], **entry["data"]}
        for entry in sandbox.store.address_books[case_id]
    ]
    assert entries == RICH_BODY["address_book"]
    bare = sandbox.store.case(run.by_key["IMP-2"]["case_id"])
    assert bare is not None
    assert (bare["notes"], bare["customers"]) == ("Bare", [])


def test_each_row_has_an_outcome_and_the_counts_are_in_the_summary_and_the_state(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    there = case_for(row_of(3))
    sandbox.store.put(there)
    bad = row_of(4, customer_1_title="")
    run = run_import(write_csv("cases.csv", [row_of(2), row_of(3), bad, row_of(5)]))
    assert [(field.name, str(field.type)) for field in run.table.schema] == [
        ("row", "int64"),
        ("key", "string"),
        ("action", "string"),
        ("outcome", "string"),
        ("case_id", "string"),
        ("code", "string"),
        ("message", "string"),
        ("attempts", "int32"),
    ]
    made = {ref: ids_of(sandbox.store, ref) for ref in ("IMP-002", "IMP-005")}
    message = run.rows[2].pop("message")
    assert [[cell for name, cell in row.items() if name != "message"] for row in run.rows] == [
        [2, "IMP-002", "create", "created", made["IMP-002"][0], None, 1],
        [3, "IMP-003", "none", "existing", there["id"], None, 0],
        [4, "IMP-004", "none", "rejected", None, "required", 0],
        [5, "IMP-005", "create", "created", made["IMP-005"][0], None, 1],
    ]
    assert "customer_1_title is missing" in message
    summary = run.summary
    assert summary["rows"] == 4
    assert summary["outcomes"] == {"created": 2, "existing": 1, "rejected": 1}
    assert summary["codes"] == {"required": 1}
    assert not summary["dry_run"]
    assert run.state.is_completed()
    assert "4 rows: 2 created, 1 existing, 1 rejected." in str(run.state.message)
    assert str(summary["rejected_file"]) in str(run.state.message)


def test_a_run_leaves_private_files_and_artifacts_and_nothing_temporary(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=30)
    run = run_import(write_csv("cases.csv", [*rows_of(2, 3), row_of(4, ref="")]))
    folder = Path(run.summary["folder"])
    assert {path.name for path in folder.iterdir()} == {"outcomes.parquet", "rejected.xlsx"}
    assert {path.name for path in Path("runs").iterdir()} == {folder.name}
    assert folder.name.startswith("import-cases-2")
    for path in [Path("runs"), *Path("runs").rglob("*"), *(tmp_path / "state").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path

    async def artifacts() -> dict[str, Any]:
        flow_run = {"any_": [run.state.state_details.flow_run_id]}
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=flow_run)  # type: ignore[arg-type]
            )
        return {str(artifact.key): artifact.data for artifact in found}

    data = asyncio.run(artifacts())
    assert data["import-cases-progress"] == 100
    assert "| created | 2 |" in data["import-cases-result"]
    assert "| 4 | rejected | ref_missing |" in data["import-cases-result"]
    assert run.summary["outcomes_file"] in data["import-cases-result"]


# -- again -------------------------------------------------------------------------------------


def test_the_same_cases_in_whatever_form_of_file_are_created_once(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=120, unique_refs=False)
    rows = [row_of(n, customer_1_date_of_birth=f"{n:02d}/03/1950") for n in range(2, 14)]
    assert run_import(write_csv("cases.csv", rows)).summary["outcomes"] == {"created": 12}
    before = sandbox.store.ids
    loud = [row | {"ref": f"  {row['ref'].lower()} "} for row in rows]
    backwards = [dict(reversed(row.items())) for row in reversed(loud)]
    iso = [
        row | {"customer_1_date_of_birth": f"1950-03-{n:02d}"}
        for n, row in enumerate(rows, start=2)
    ]
    pq.write_table(pa.Table.from_pylist(iso), "cases.parquet")
    with xlsxwriter.Workbook("cases.xlsx") as workbook:
        sheet = workbook.add_worksheet()
        for index, cells in enumerate([list(rows[0]), *(list(row.values()) for row in rows)]):
            sheet.write_row(index, 0, cells)
    for source in (
        Path("cases.csv"),
        write_csv("excel.csv", backwards, delimiter=";", encoding="cp1252"),
        Path("cases.parquet"),
        Path("cases.xlsx"),
    ):
        run = run_import(source)
        assert run.summary["outcomes"] == {"existing": 12}, source
        assert run.state.is_completed()
    assert sandbox.store.ids == before
    assert len(sent(sandbox)) == 12


def test_a_run_is_called_what_it_does_and_when_and_not_by_a_file_that_may_bear_a_name(
    start_sandbox: StartSandbox,
) -> None:
    start_sandbox(cases=0)
    run = run_import(write_csv("mrs_quillfeather.csv", rows_of(2, 3)), dry_run=True)

    async def name() -> str:
        async with get_client() as client:
            assert run.state.state_details.flow_run_id is not None
            return (await client.read_flow_run(run.state.state_details.flow_run_id)).name

    assert re.fullmatch(r"plan: import 2 rows · \d{4}-\d\d-\d\d \d\d:\d\d", asyncio.run(name()))


def test_a_dry_run_says_what_would_happen_and_sends_nothing(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "90")  # a dry run doesn't wait for anybody
    sandbox.store.put(case_for(row_of(3)))
    source = write_csv("cases.csv", [row_of(2), row_of(3), row_of(4, ref="")])
    run = run_import(source, dry_run=True)
    assert not (tmp_path / "state").exists()  # nor does it need the account for itself
    assert [row["outcome"] for row in run.rows] == ["planned", "existing", "rejected"]
    assert [row["attempts"] for row in run.rows] == [0, 0, 0]
    assert run.summary["dry_run"]
    assert run.state.is_completed()
    assert [seen.path for seen in sandbox.requests if seen.method == "POST"] == ["/oauth/token"]


def test_of_a_file_of_a_thousand_bad_rows_nothing_is_asked_and_little_is_logged(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30)
    rows = [row_of(n, customer_1_tel_1="7700900123", notes="=1+1") for n in range(2, 1002)]
    run = run_import(write_csv("cases.csv", rows))
    assert sandbox.requests == []
    assert run.summary["outcomes"] == {"rejected": 1000}
    assert run.summary["codes"] == {"phone_zero_lost": 1000}
    assert {row["row"] for row in run.rows} == set(range(2, 1002))
    assert run.state.is_completed()
    assert len("\n".join(run_log).splitlines()) < 40

    rejected = Path(str(run.summary["rejected_file"]))
    cells = CalamineWorkbook.from_path(rejected).get_sheet_by_index(0).to_python()
    assert len(cells) == 1001
    columns = cells[0]
    assert columns == ["rejected_row", "rejected_because", *rows[0]]
    assert cells[1] == ["2", run.rows[0]["message"], *rows[0].values()]
    with xlsxwriter.Workbook("corrected.xlsx") as workbook:
        sheet = workbook.add_worksheet()
        for index, row in enumerate(cells[:31]):
            corrected = [f"0{cell}" if cell == "7700900123" else cell for cell in row]
            for column, cell in enumerate(corrected):
                sheet.write_string(index, column, str(cell))
    assert run_import("corrected.xlsx").summary["outcomes"] == {"created": 30}
    bodies = {body["ref"]: body for body in sent(sandbox)}
    assert bodies["IMP-007"]["notes"] == "=1+1"
    assert bodies["IMP-007"]["customers"][0]["tel_1"] == "07700900123"


# -- faults ------------------------------------------------------------------------------------


ONCE = ("created", "found_later", 1)
"""The answer was lost, the case is there."""
RESENT = ("created", None, 2)
"""It wasn't there, so it was sent again."""
SURVIVED: list[tuple[list[Action], tuple[str, str | None, int]]] = [
    ([Status(500)], RESENT),
    ([Status(503, body="<h1>down</h1>")], RESENT),
    ([Status(403, body="<h1>firewall</h1>")], RESENT),
    ([Drop()], RESENT),
    ([Html()], RESENT),
    ([Applied(Status(500))], ONCE),
    ([Applied(Status(502, body="<h1>502</h1>"))], ONCE),
    ([Applied(Drop())], ONCE),
    ([Applied(Html())], ONCE),
    ([Applied(Status(201, body='{"ref": 1}'))], ONCE),
    ([Truncate()], ONCE),
    ([Truncate(announced=False)], ONCE),
    ([Drip(10.0)], ONCE),
    ([Late(0.2)], ONCE),
    ([Late(0.2, Drop())], ONCE),
    ([Partial()], ("partial", "lacking", 1)),
    ([Drop(), Status(500)], ("created", None, 3)),
    ([Drop(), Late(0.2)], ("created", "found_later", 2)),
    ([Status(500), Drop(), Truncate()], ("created", "found_later", 3)),
    ([Status(500), Drop(), Html()], ("failed", "not_created", 3)),
]


@pytest.mark.parametrize("unique_refs", [True, False])
def test_whatever_happens_to_a_request_its_case_is_there_once_or_the_row_says_that_it_is_not(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, unique_refs: bool
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    monkeypatch.setenv("WILLSUITE_READ_TIMEOUT_SECONDS", "1")
    sandbox = start_sandbox(cases=30, unique_refs=unique_refs)
    # a good row after each of the others, else so many faults would look like a server that is ill
    rows = rows_of(*range(2, 2 + 2 * len(SURVIVED)))
    script = {row["ref"]: survived[0] for row, survived in zip(rows[::2], SURVIVED, strict=True)}
    ByRef(sandbox, script)
    source = write_csv("cases.csv", rows)
    run = run_import(source)
    expected = {row["ref"]: ("created", None, 1) for row in rows}
    expected |= {row["ref"]: end for row, (_, end) in zip(rows[::2], SURVIVED, strict=True)}
    assert run.ends_by_key == expected
    for ref, row in run.by_key.items():
        there = ids_of(sandbox.store, ref)
        assert there == ([] if row["outcome"] == "failed" else [row["case_id"]]), ref
    assert run.state.is_failed()
    assert isinstance(run.result, IncompleteRunError)
    assert "1 failed" in str(run.state.message)

    again = run_import(source)
    assert again.summary["outcomes"] == {"created": 1, "existing": len(rows) - 2, "partial": 1}
    assert again.state.is_completed()
    assert set(ref_counts(sandbox.store).values()) == {1}


def test_a_row_that_always_fails_is_sent_three_times_and_the_others_go_on(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    ByRef(sandbox, {"IMP-003": [Status(500)] * 9})
    run = run_import(write_csv("cases.csv", rows_of(2, 3, 4, 5)))
    assert run.summary["outcomes"] == {"created": 3, "failed": 1}
    assert run.ends_by_key["IMP-003"] == ("failed", "row_fails", 3)
    assert "failed 3 time(s)" in run.by_key["IMP-003"]["message"]
    assert [body["ref"] for body in sent(sandbox)].count("IMP-003") == 3


def test_a_rate_limit_is_waited_for_and_is_no_failure(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.importing.sender.Sender.failures_in_a_row", 2)
    sandbox = start_sandbox(cases=30)
    limited = Status(429, {"Retry-After": "1"})
    sandbox.faults = [Fault(limited, path="/cases/create", skip=3, times=3)]
    run = run_import(write_csv("cases.csv", rows_of(*range(2, 12))))
    assert set(run.ends_by_key.values()) == {("created", None, 1)}
    assert len(sent(sandbox)) == 10 + 3


# -- refusals and conflicts --------------------------------------------------------------------


REFUSED = '{"message": "Invalid.", "errors": {"customers.0.tel_1": ["Canary words."]}}'
TAKEN = '{"message": "Invalid.", "errors": {"ref": ["The ref has already been taken."]}}'


@pytest.mark.parametrize("status", [422, 400])
def test_refusals_and_conflicts_are_told_apart_row_by_row(
    start_sandbox: StartSandbox, run_log: list[str], status: int
) -> None:
    sandbox = start_sandbox(cases=30, validation_status=status)
    put = sandbox.store.put
    rows = {number: row_of(number) for number in range(2, 18)}
    rows[3]["adviser_email"] = "nobody@example.org"
    put(case_for(rows[5], number=5))
    put(case_for(rows[5], number=55))
    put(case_for(row_of(6, customer_1_first_names="Wei", customer_1_last_name="Ng"), number=6))
    rows[7] |= {f"customer_2_{key}": "Tom" for key in ("title", "first_names", "last_name")}
    put(case_for(rows[7], number=7))
    put(case_for(rows[8], number=8, customers=[]))
    others = row_of(11, customer_1_first_names="Wei", customer_1_last_name="Ng")
    ByRef(
        sandbox,
        {
            "IMP-004": [Status(status, body=REFUSED)],
            "IMP-009": [Status(status, body=TAKEN)],
            "IMP-010": [Change(lambda store: store.put(case_for(rows[10], number=10)))],
            "IMP-011": [Change(lambda store: store.put(case_for(others, number=11)))],
            "IMP-012": [Status(409, body=REFUSED)],
            # a second request that meets the first one's case, which came later still
            "IMP-013": [
                Status(500),
                Change(lambda store: store.put(case_for(rows[13], number=13))),
            ],
            # a request that was perhaps carried out, and then is refused for good
            "IMP-014": [Drop(), Status(status, body=REFUSED)],
            # the same, but it was carried out: whatever the refusal says, the case is ours
            "IMP-015": [Drop(), Applied(Status(status, body=REFUSED))],
            "IMP-016": [Status(status, body="{}")],
        },
    )
    run = run_import(write_csv("cases.csv", list(rows.values())))
    assert run.ends_by_key == {
        "IMP-002": ("created", None, 1),
        "IMP-003": ("rejected", "status_400", 1),
        "IMP-004": ("rejected", f"status_{status}", 1),
        "IMP-005": ("conflict", "ref_twice", 0),
        "IMP-006": ("conflict", "other_people", 0),
        "IMP-007": ("partial", "customers_missing", 0),
        "IMP-008": ("partial", "customers_missing", 0),
        "IMP-009": ("conflict", "ref_taken", 1),
        "IMP-010": ("existing", None, 1),
        "IMP-011": ("conflict", "other_people", 1),
        "IMP-012": ("conflict", "ref_taken", 1),
        "IMP-013": ("created", "found_later", 2),
        "IMP-014": ("rejected", f"status_{status}", 2),
        "IMP-015": ("created", "found_later", 2),
        "IMP-016": ("rejected", f"status_{status}", 1),
        "IMP-017": ("created", None, 1),
    }
    for number in (5, 6, 7, 10, 11, 13, 15):
        ids = ids_of(sandbox.store, f"IMP-{number:03d}")
        row = run.by_key[f"IMP-{number:03d}"]
        assert row["case_id"] in ids or row["code"] == "ref_twice"
        if row["outcome"] in ("conflict", "partial"):
            assert all(case_id in row["message"] for case_id in ids), number
    assert len(ids_of(sandbox.store, "IMP-005")) == 2
    # nothing to be tried again, so the run is complete; a person has work left
    assert run.state.is_completed()

    rejected = Path(str(run.summary["rejected_file"]))
    cells = CalamineWorkbook.from_path(rejected).get_sheet_by_index(0).to_python()
    because = {row[0]: row[1] for row in cells[1:]}
    words = "The adviser_email does not belong to a user of this account."
    silent = f"WillSuite refused the row without a reason (status_{status})."
    assert because == {"3": words, "4": "Canary words.", "14": "Canary words.", "16": silent}
    assert run.by_key["IMP-003"]["message"] == words
    assert run.by_key["IMP-004"]["message"] == "Canary words."
    log = "\n".join(run_log)
    assert "Canary words" not in log
    assert "does not belong" not in log


def test_a_case_that_somebody_else_made_at_the_same_moment_is_named_as_a_duplicate(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    ByRef(sandbox, {"IMP-003": [Change(lambda store: store.put(case_for(row_of(3), number=3)))]})
    run = run_import(write_csv("cases.csv", rows_of(2, 3, 4)))
    assert run.ends_by_key["IMP-003"] == ("conflict", "duplicate_case", 1)
    ids = ids_of(sandbox.store, "IMP-003")
    assert len(ids) == 2
    assert all(case_id in run.by_key["IMP-003"]["message"] for case_id in ids)
    assert run.summary["outcomes"] == {"created": 2, "conflict": 1}


def test_a_case_that_is_gone_at_the_closing_check_is_not_called_created(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=200)
    remove = Change(lambda store: store.delete(ids_of(store, "IMP-003")[0]))
    # the look before anything is sent: two requests about the filter by ref, and one for each row
    listings = Fault(remove, path="/cases", method="GET", skip=2 + 2)
    sandbox.faults = [listings]
    run = run_import(write_csv("cases.csv", rows_of(2, 3)))
    assert listings.played == 1
    assert run.ends_by_key["IMP-003"] == ("failed", "gone", 1)
    assert run.ends_by_key["IMP-002"] == ("created", None, 1)
    assert run.state.is_failed()


def test_a_creation_that_is_answered_with_the_case_of_another_row_is_not_called_created(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=0)

    class AnotherId:
        """Row 3 is answered as if it had been created, with the id that row 2 got."""

        def matches(self, _method: str, path: str, _page: str | None) -> bool:
            there = ids_of(sandbox.store, "IMP-002")
            if path == "/cases/create" and there:
                answer = case_for(row_of(3), number=3) | {"id": there[0]}
                self.action = Status(201, body=json.dumps(answer))
                return True
            return False

    sandbox.faults = [AnotherId()]  # type: ignore[list-item]
    run = run_import(write_csv("cases.csv", rows_of(2, 3)))
    assert ids_of(sandbox.store, "IMP-003") == []
    assert run.ends_by_key["IMP-002"] == ("created", None, 1)
    assert run.ends_by_key["IMP-003"] == ("failed", "id_of_another", 1)
    sandbox.faults = []
    again = run_import(write_csv("cases.csv", rows_of(2, 3)))
    assert again.summary["outcomes"] == {"existing": 1, "created": 1}


# -- stopping for good reason ------------------------------------------------------------------


def test_a_server_that_drops_surnames_gets_one_case_and_no_more(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, surname_key="last_names")
    # a row without people proves nothing about surnames, so it isn't the first to be sent
    run = run_import(
        write_csv("cases.csv", [{"ref": "IMP-001", "notes": "Bare"}, *rows_of(*range(2, 30))])
    )
    assert [body["ref"] for body in sent(sandbox)] == ["IMP-002"]
    first = run.by_key["IMP-002"]
    assert run.ends_by_key["IMP-002"] == ("partial", "surname_dropped", 1)
    assert ids_of(sandbox.store, "IMP-002") == [first["case_id"]]
    rest = {run.ends_by_key[ref] for ref in run.ends_by_key if ref != "IMP-002"}
    assert rest == {("not_attempted", "stopped", 0)}
    assert run.state.is_failed()
    assert "did not keep the surname of row 3" in str(run.state.message)
    assert first["case_id"] in str(run.state.message)


def test_a_server_that_gives_cases_its_own_references_gets_one_case_and_no_more(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setattr(
        "sandbox.server.Sandbox._ref_of", lambda self, _sent: self.store.unused_ref()
    )
    run = run_import(write_csv("cases.csv", rows_of(*range(2, 20))))
    assert len(sent(sandbox)) == 1
    assert run.ends_by_key.pop("IMP-002") == ("partial", "ref_not_kept", 1)
    assert set(run.ends_by_key.values()) >= {("not_attempted", "stopped", 0)}
    assert run.summary["outcomes"] == {"partial": 1, "not_attempted": 17}
    assert run.state.is_failed()
    assert "did not keep the reference of row 2" in str(run.state.message)


def test_an_answer_without_the_surname_is_believed_if_the_case_has_it(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = ("id", "ref", "meta")
    monkeypatch.setattr("sandbox.case_writes.CREATED_FIELDS", fields)
    sandbox = start_sandbox(cases=30)
    run = run_import(write_csv("cases.csv", rows_of(2, 3)))
    assert run.summary["outcomes"] == {"created": 2}
    assert len(sent(sandbox)) == 2


@pytest.mark.parametrize(("without_people", "stops"), [(2, False), (3, True)])
def test_first_cases_without_their_people_are_partial_and_too_many_of_them_stop_the_run(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    without_people: int,
    stops: bool,
) -> None:
    create = Sandbox._create_case
    calls = itertools.count(1)

    async def create_without_people(sandbox: Sandbox, request: Any) -> Any:
        before = BREAKS_OFF.set(next(calls) <= without_people)
        try:
            return await create(sandbox, request)
        finally:
            BREAKS_OFF.reset(before)

    monkeypatch.setattr(Sandbox, "_create_case", create_without_people)
    sandbox = start_sandbox(cases=30)
    run = run_import(write_csv("cases.csv", rows_of(*range(2, 12))))
    if stops:
        assert run.summary["outcomes"] == {"partial": 3, "not_attempted": 7}
        assert len(sent(sandbox)) == 3
    else:
        assert run.summary["outcomes"] == {"created": 8, "partial": 2}
        assert run.ends_by_key["IMP-002"] == ("partial", "lacking", 1)


@pytest.mark.parametrize("applied", [False, True])
def test_a_server_that_is_ill_is_left_alone_after_a_few_failures(
    start_sandbox: StartSandbox, applied: bool
) -> None:
    sandbox = start_sandbox(cases=30)
    ill = Applied(Status(500)) if applied else Status(500)
    sandbox.faults = [Fault(ill, path="/cases/create", skip=5, times=None)]
    run = run_import(write_csv("cases.csv", rows_of(*range(2, 102))))
    posts = len(sent(sandbox))
    # as many may be under way when the tenth fails, and three more are tried
    assert 15 + 3 <= posts <= 5 + 10 + 8 + 3
    tried = posts - 5
    rest = {"not_attempted": 100 - posts}
    if applied:
        assert run.summary["outcomes"] == {"created": posts} | rest
    else:
        assert run.summary["outcomes"] == {"created": 5, "failed": tried} | rest
    assert set(ref_counts(sandbox.store).values()) == {1}
    assert run.state.is_failed()
    assert "failed 10 times in a row, so nothing more was sent" in str(run.state.message)


@pytest.mark.parametrize("poisoned", [range(2, 14), [*range(2, 8), *range(26, 34)]])
def test_rows_that_always_get_an_error_do_not_keep_the_good_ones_out(
    start_sandbox: StartSandbox, poisoned: Iterable[int]
) -> None:
    sandbox = start_sandbox(cases=30)
    bad = {row["ref"] for row in rows_of(*poisoned)}
    ByRef(sandbox, {ref: [Status(500)] * 9 for ref in bad})
    run = run_import(write_csv("cases.csv", rows_of(*range(2, 34))))
    assert run.summary["outcomes"] == {"created": 32 - len(bad), "failed": len(bad)}
    assert {key for key, row in run.by_key.items() if row["outcome"] == "failed"} == bad
    for ref in bad:
        assert "may be too long or not storable (an emoji, say)" in run.by_key[ref]["message"]
        assert "un the same file again" not in run.by_key[ref]["message"]
    assert "run the same file again" not in str(run.state.message)


@pytest.mark.parametrize("answer", [Status(500), Drop(), Status(302, {"Location": "/"})])
def test_a_run_in_which_all_was_done_though_every_answer_was_lost_is_completed(
    start_sandbox: StartSandbox, answer: Action
) -> None:
    sandbox = start_sandbox(cases=30)
    sandbox.faults = [Fault(Applied(answer), path="/cases/create", times=None)]
    rows = rows_of(*range(2, 12)) if answer != Status(302, {"Location": "/"}) else rows_of(2)
    run = run_import(write_csv("cases.csv", rows))
    assert run.summary["outcomes"] == {"created": len(rows)}
    assert run.state.is_completed()
    assert "nothing more was sent" not in str(run.state.message)


def test_a_case_that_was_made_and_answered_with_a_redirect_is_found_and_the_run_stops(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    sandbox.faults = [Fault(Applied(Status(302, {"Location": "/"})), path="/cases/create")]
    source = write_csv("cases.csv", rows_of(2, 3, 4))
    run = run_import(source)
    assert run.ends_by_key["IMP-002"] == ("created", "found_later", 1)
    assert run.summary["outcomes"] == {"created": 1, "not_attempted": 2}
    assert "was redirected" in str(run.state.message)
    assert run_import(source).summary["outcomes"] == {"existing": 1, "created": 2}
    assert set(ref_counts(sandbox.store).values()) == {1}


@pytest.mark.parametrize(
    ("fault", "sentence", "refused"),
    [
        (Fault(Status(401), skip=25, times=None), "refused the client id and secret", set()),
        (Fault(Status(401), path="/cases*", skip=25, times=None), "check that the API keys", set()),
        (
            Fault(Status(403), path="/cases/create", skip=5, times=None),
            "failed 10 times in a row",
            {("rejected", "status_403", 1)},
        ),
    ],
)
def test_a_right_that_is_lost_under_way_stops_the_run(
    start_sandbox: StartSandbox,
    run_log: list[str],
    fault: Fault,
    sentence: str,
    refused: set[tuple[str, str, int]],
) -> None:
    sandbox = start_sandbox(cases=30)
    sandbox.faults = [fault]
    run = run_import(write_csv("cases.csv", rows_of(*range(2, 62))))
    assert len(sent(sandbox)) < 40
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    made = run.summary["outcomes"]["created"]
    assert made == len(sandbox.store) - 30 > 0
    assert set(run.ends_by_key.values()) - {("created", None, 1)} == {
        ("not_attempted", "stopped", 0),
        *refused,
    }
    assert run.summary["outcomes"]["not_attempted"] >= 20
    assert "Traceback" not in "\n".join(run_log)


# -- how references are looked for -------------------------------------------------------------


def listing_queries(sandbox: Sandbox) -> tuple[int, int]:
    """How many references were asked for one by one, and how many further pages of a sweep."""
    queries = [seen.query for seen in sandbox.requests if seen.path == "/cases"]
    return sum("ref" in query for query in queries), sum(query["page"] != "1" for query in queries)


def test_few_rows_are_looked_up_and_many_are_found_in_a_sweep(
    start_sandbox: StartSandbox,
) -> None:
    large = start_sandbox(cases=1600)
    there = row_of(2, ref="WS-000007")
    run = run_import(write_csv("few.csv", [there, *rows_of(3, 4)]), dry_run=True)
    assert run.summary["outcomes"] == {"conflict": 1, "planned": 2}
    assert listing_queries(large) == (4, 0)  # one of them to see that the filter works

    small = start_sandbox(cases=200)
    rows = [there, *rows_of(*range(3, 102))]
    run = run_import(write_csv("many.csv", rows), dry_run=True)
    assert run.summary["outcomes"] == {"conflict": 1, "planned": 99}
    assert listing_queries(small) == (1, 2)  # the second page, and the empty one


@pytest.mark.parametrize("lie", ["finds nothing", "finds everything", "tells a from A"])
def test_a_filter_by_ref_that_lies_is_not_relied_on(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    sandbox = start_sandbox(cases=600, unique_refs=False)
    listing = Store.listing

    def lying(store: Store, *, ref: str | None = None, **others: Any) -> list[str]:
        if ref is not None and lie == "tells a from A":
            found = listing(store, ref=ref, **others)
            return [key for key in found if (store.case(key) or {})["ref"] == ref]
        return [] if ref is not None and lie == "finds nothing" else listing(store, **others)

    rows = [row_of(2), row_of(3), row_of(4)]
    sandbox.store.put(case_for(rows[0] | {"ref": rows[0]["ref"].lower()}, number=2))
    monkeypatch.setattr(Store, "listing", lying)
    run = run_import(write_csv("cases.csv", rows))
    assert listing_queries(sandbox)[1] >= 6
    assert run.summary["outcomes"] == {"created": 2, "existing": 1}
    assert set(ref_counts(sandbox.store).values()) == {1}


def test_an_answer_that_counts_more_than_it_shows_is_no_proof_that_a_case_is_absent(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Sandbox._list_cases

    async def counts_only(sandbox: Sandbox, request: Any) -> Any:
        response = await listed(sandbox, request)
        if request.query.get("ref", "").startswith("IMP"):
            body = json.loads(response.body)  # type: ignore[arg-type]
            response.body = json.dumps(body | {"data": []}).encode()
        return response

    monkeypatch.setattr(Sandbox, "_list_cases", counts_only)
    sandbox = start_sandbox(cases=600, unique_refs=False)
    rows = [row_of(2), row_of(3)]
    sandbox.store.put(case_for(rows[0], number=2))
    run = run_import(write_csv("cases.csv", rows))
    assert run.summary["outcomes"] == {"created": 1, "existing": 1}
    assert set(ref_counts(sandbox.store).values()) == {1}


@pytest.mark.parametrize("looked_up", [True, False])
def test_a_reference_is_the_same_one_however_it_is_written(
    start_sandbox: StartSandbox, looked_up: bool
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    sandbox.store.put(case_for(row_of(2, ref="AB-1 Ö"), number=2))
    sandbox.store.put(case_for(row_of(3, ref="Cd-2"), number=3))
    others = [] if looked_up else rows_of(*range(5, 15))
    for row in others:
        sandbox.store.put(case_for(row, number=int(row["ref"][-3:])))
    spelled = [row_of(2, ref=" ab-1 ö"), row_of(3, ref="CD-2\u200b"), *others]
    run = run_import(write_csv("cases.csv", spelled))
    assert (listing_queries(sandbox)[1] == 0) is looked_up
    assert run.summary["outcomes"] == {"existing": len(spelled)}
    # letters of another width, and inner spaces, of which a server's filter may think otherwise
    wide = [row_of(2, ref="AB-1  Ö"), row_of(3, ref="ＣＤ-2"), *others]  # noqa: RUF001
    run = run_import(write_csv("wide.csv", wide))
    assert run.summary["outcomes"] == {"existing": len(wide)}


def test_people_whom_a_list_leaves_out_are_looked_for_in_the_case_itself(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Sandbox._list_cases

    async def without_people(sandbox: Sandbox, request: Any) -> Any:
        response = await listed(sandbox, request)
        body = json.loads(response.body)  # type: ignore[arg-type]
        for case in body["data"]:
            del case["customers"]
        response.body = json.dumps(body).encode()
        return response

    monkeypatch.setattr(Sandbox, "_list_cases", without_people)
    sandbox = start_sandbox(cases=30)
    others = row_of(4, customer_1_first_names="Wei", customer_1_last_name="Ng")
    sandbox.store.put(case_for(others, number=4))
    source = write_csv("cases.csv", rows_of(2, 3, 4))
    assert run_import(source).summary["outcomes"] == {"created": 2, "conflict": 1}
    assert run_import(source).summary["outcomes"] == {"existing": 2, "conflict": 1}


def test_a_list_that_lags_behind_is_waited_for(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.8")
    sandbox = start_sandbox(cases=30, unique_refs=False)
    put, listing = Store.put, Store.listing
    new: dict[str, float] = {}

    def noted(store: Store, case: dict[str, Any]) -> None:
        new[case["id"]] = time.monotonic()
        put(store, case)

    def lagging(store: Store, **filters: Any) -> list[str]:
        until = time.monotonic() - 0.5
        return [key for key in listing(store, **filters) if new.get(key, 0.0) < until]

    monkeypatch.setattr(Store, "put", noted)
    monkeypatch.setattr(Store, "listing", lagging)
    twin = Change(lambda store: store.put(case_for(row_of(3), number=3)))
    ByRef(sandbox, {"IMP-003": [twin]})
    run = run_import(write_csv("cases.csv", rows_of(2, 3, 4)))
    assert run.ends_by_key == {
        "IMP-002": ("created", None, 1),
        "IMP-003": ("conflict", "duplicate_case", 1),
        "IMP-004": ("created", None, 1),
    }
    assert len(sandbox.store) == 34


# -- parameters and files ----------------------------------------------------------------------


def test_rows_without_a_ref_get_one_made_from_the_columns_that_identify_them(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    rows = [row_of(n, ref="", our_id=f"A{n}") for n in range(2, 5)]
    run = run_import(write_csv("cases.csv", rows), derive_ref_from=["Our Id"])
    assert run.summary["outcomes"] == {"created": 3}
    refs = [row["key"] for row in run.rows]
    assert all(ref.startswith("WF-") and ids_of(sandbox.store, ref) for ref in refs)
    # a corrected name or another order doesn't make another case of it
    rows = [row_of(n, ref="", our_id=f"A{n} ", notes="corrected") for n in range(4, 1, -1)]
    again = run_import(write_csv("again.csv", rows), derive_ref_from=["our_id"])
    assert again.summary["outcomes"] == {"existing": 3}
    assert [row["key"] for row in again.rows] == refs[::-1]
    bare = run_import(write_csv("bare.csv", [row_of(2, ref="")]))
    assert bare.summary["codes"] == {"ref_missing": 1}


def test_rows_of_one_ref_make_one_case_and_share_its_outcome(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)

    def person(ref: str, first: str) -> Row:
        return {"ref": ref, "customer_title": "Ms", "customer_first_names": first,
                "customer_last_name": "Ng"}  # fmt: skip

    rows = [person("A", "Wei"), person("B", "Ann"), person("A", "Mei"), person("C", "")]
    rows.append(person("C", "Amy"))
    run = run_import(write_csv("cases.csv", rows))
    assert [(row["row"], row["key"], row["outcome"], row["attempts"]) for row in run.rows] == [
        (2, "A", "created", 1),
        (3, "B", "created", 1),
        (4, "A", "created", 1),
        (5, "C", "rejected", 0),
        (6, "C", "rejected", 0),
    ]
    assert run.rows[0]["case_id"] == run.rows[2]["case_id"]
    case = sandbox.store.case(run.rows[0]["case_id"])
    assert case is not None
    assert {person["first_names"] for person in case["customers"]} == {"Wei", "Mei"}
    assert len(sent(sandbox)) == 2


def test_options_do_what_they_say(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=30)
    rows = [row_of(2, shoe_size="9"), row_of(3, shoe_size="8", customer_1_title="")]
    source = write_csv("cases.csv", rows, encoding="mac_roman")
    run = run_import(source, extra="ignore", encoding="mac_roman", on_reject="fail")
    assert run.summary["outcomes"] == {"created": 1, "rejected": 1}
    assert sent(sandbox)[0]["customers"][0]["first_names"] == "Zoë"
    assert run.state.is_failed()
    assert isinstance(run.result, IncompleteRunError)
    assert run_import(source, extra="ignore", encoding="mac_roman").state.is_completed()


def a_directory() -> str:
    Path("folder.csv").mkdir()
    return "folder.csv"


def a_file_with(rows: Iterable[Row]) -> Callable[[], str]:
    return lambda: str(write_csv("cases.csv", list(rows)))


GOOD = a_file_with([row_of(2)])


@pytest.mark.parametrize(
    ("source", "parameters", "error", "sentence"),
    [
        (lambda: "nowhere.csv", {}, SourceError, "There is no file /"),
        (a_directory, {}, SourceError, "folder.csv is not a file."),
        (a_file_with([row_of(2, nots="x")]), {}, SourceError, "nearest known name: notes"),
        (a_file_with([{"name": "Ann"}]), {}, SourceError, "is the header missing?"),
        (GOOD, {"extra": "allow"}, RunError, 'extra must be "forbid" or "ignore".'),
        (GOOD, {"on_reject": "stop"}, RunError, 'on_reject must be "complete" or "fail".'),
        (GOOD, {"derive_ref_from": ["id"]}, SourceError, "derive_ref_from names 1 column(s)"),
        (GOOD, {"encoding": "klingon"}, SourceError, "no encoding of text that Python knows"),
        (GOOD, {"connection": "nowhere"}, ConfigurationError, "There is no block"),
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
    run = run_import(source(), **parameters)
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    assert "\n" not in str(run.state.message)
    assert isinstance(run.result, error)
    assert sandbox.requests == []
    assert not Path("runs").exists()
    assert "Traceback" not in "\n".join(run_log)


def test_an_unknown_crm_field_is_named_with_the_nearest_one_and_nothing_is_sent(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=5)
    run = run_import(write_csv("cases.csv", [row_of(2) | {"meta:Lead sauce": "Website"}]))
    assert isinstance(run.result, SourceError)
    assert "the nearest is meta:Lead source" in str(run.state.message)
    assert sent(sandbox) == []
    wrong = run_import(write_csv("wrong.csv", [row_of(2) | {"meta:Lead source": "Pigeon"}]))
    assert wrong.summary["codes"] == {"meta_option": 1}
    assert "Traceback" not in "\n".join(run_log)


def wrong_secret(monkeypatch: pytest.MonkeyPatch, _sandbox: Sandbox) -> None:
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "canary-wrong-secret")


def ill(_monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    sandbox.faults = [Fault(Status(500), path="/cases", times=None)]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (wrong_secret, "check WILLSUITE_CLIENT_ID and WILLSUITE_CLIENT_SECRET"),
        (ill, "GET /cases keeps failing with status 500; try again later."),
    ],
)
def test_an_account_that_cannot_be_read_leaves_every_row_not_attempted(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    run_log: list[str],
    spoil: Callable[[pytest.MonkeyPatch, Sandbox], None],
    sentence: str,
) -> None:
    sandbox = start_sandbox(cases=30)
    spoil(monkeypatch, sandbox)
    run = run_import(write_csv("cases.csv", [*rows_of(2, 3), row_of(4, ref="")]))
    assert [row["outcome"] for row in run.rows] == ["not_attempted", "not_attempted", "rejected"]
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    assert sent(sandbox) == []
    log = "\n".join(run_log)
    assert "Traceback" not in log
    assert "canary-wrong-secret" not in log


def test_a_state_folder_that_cannot_be_written_is_a_sentence(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    Path("file").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").absolute()))
    run = run_import(write_csv("cases.csv", rows_of(2)))
    assert run.summary["outcomes"] == {"not_attempted": 1}
    assert "This machine refused a file operation" in str(run.state.message)
    assert sent(sandbox) == []


# -- two at once -------------------------------------------------------------------------------


def test_a_plan_and_an_import_succeed_while_an_export_and_another_run_use_the_same_output(
    start_sandbox: StartSandbox,
) -> None:
    start_sandbox(cases=30)
    source = write_csv("cases.csv", rows_of(2, 3))
    output = Path("runs")
    with LocalOutput(output).workspace() as export, run_workspace(output) as other:
        assert run_import(source, dry_run=True).summary["outcomes"] == {"planned": 2}
        assert run_import(source).summary["outcomes"] == {"created": 2}
        assert set(output.glob(".run-*")) == {export, other}


def test_of_two_imports_at_once_one_waits_and_no_case_is_there_twice(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    source = write_csv("cases.csv", rows_of(*range(2, 22)))
    with ThreadPoolExecutor() as pool:
        second: list[Future[EndedRun]] = []

        def import_too(_store: Store) -> None:
            second.append(pool.submit(run_import, source))
            wait_until(lambda: "Waiting for this account" in "\n".join(run_log))

        sandbox.faults = [Fault(Change(import_too), path="/cases/create", skip=3)]
        assert run_import(source).summary["outcomes"] == {"created": 20}
        assert second[0].result().summary["outcomes"] == {"existing": 20}
    assert len(sandbox.store) == 50
    [line] = [line for line in run_log if "Waiting for this account" in line]
    assert "Another run (import-cases " in line


def test_a_run_that_may_not_wait_any_longer_sends_nothing_and_says_who_writes(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    source = write_csv("cases.csv", rows_of(2, 3))
    second: list[EndedRun] = []

    def import_too(_store: Store) -> None:
        with ThreadPoolExecutor() as pool:
            second.append(pool.submit(run_import, source, wait_seconds=0).result())

    sandbox.faults = [Fault(Change(import_too), path="/cases/create")]
    assert run_import(source).summary["outcomes"] == {"created": 2}
    assert second[0].summary["outcomes"] == {"not_attempted": 2}
    assert second[0].state.is_failed()
    assert "writes to this WillSuite account, so nothing was sent" in str(second[0].state.message)
    assert len(sent(sandbox)) == 2


# -- settling ----------------------------------------------------------------------------------


def test_only_a_run_after_one_that_ended_cleanly_begins_without_waiting(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    sandbox = start_sandbox(cases=30)
    wait = "the last run here ended cleanly"

    def waited(*numbers: int) -> bool:
        run_log.clear()
        began = time.monotonic()
        run_import(write_csv("cases.csv", rows_of(*numbers)))
        has_waited = wait in "\n".join(run_log)
        assert not has_waited or time.monotonic() - began >= 0.5
        return has_waited

    assert not waited(2)
    # what was sent is looked for, and that can't be had: the run doesn't know how it ended
    sandbox.faults = [
        Fault(Drop(), path="/cases/create"),
        Fault(Status(401), path="/cases", method="GET", skip=2 + 1, times=None),
    ]
    run_log.clear()
    run = run_import(write_csv("cases.csv", rows_of(4)))
    assert wait not in "\n".join(run_log)
    assert run.summary["outcomes"] == {"unknown": 1}
    assert run.ends_by_key["IMP-004"] == ("unknown", "answer_lost", 1)
    sandbox.faults = []
    assert not waited(2)  # there is nothing to be sent
    assert waited(5)


def test_the_lock_file_that_a_killed_run_left_keeps_nobody_out(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=30)
    run_import(write_csv("cases.csv", rows_of(2)))
    lock = next((tmp_path / "state").rglob("*.lock"))
    with filelock.FileLock(lock):
        held = run_import(write_csv("cases.csv", rows_of(3)), wait_seconds=0)
        assert held.summary["outcomes"] == {"not_attempted": 1}
    assert lock.exists()
    assert run_import("cases.csv").summary["outcomes"] == {"created": 1}
