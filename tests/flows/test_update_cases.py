"""Updates of single cases through the real engine, against a server on a socket."""

import asyncio
import csv
import html
import json
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ended_runs import End, EndedRun, Row, write_csv
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from python_calamine import CalamineWorkbook

from flows.bulk_update_cases import bulk_update_cases
from flows.update_cases import update_cases
from flows.writing import IncompleteRunError
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
from sandbox.writes import changed_fields, new_customers
from schemas.issues import SourceError
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]

SOURCE, SIGNED, PLAN, STORAGE = (field["id"] for field in CRM_FIELDS)
STORAGE_COLUMN = f"meta:{STORAGE}"
UPDATED, UNCHANGED = ("updated", None, 1), ("unchanged", None, 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    for name in (
        "protocols.reading.lookup.probe_ref_filter",
        "tasks.cases.get_cases_pages",
        "tasks.cases.get_cases",
    ):
        monkeypatch.setattr(f"{name}.retry_delay_seconds", 0)


class Run(EndedRun):
    """What one run of the flow left."""

    @property
    def rejected(self) -> list[list[Any]]:
        """The cells of the file of rejected rows."""
        path = self.summary["rejected_file"]
        if path is None:
            return []
        sheet = CalamineWorkbook.from_path(path).get_sheet_by_index(0)
        return [[str(cell) for cell in row] for row in sheet.to_python()]


def run_update(source: Path | str, output: str = "runs", **parameters: Any) -> Run:
    return Run.of(update_cases, source, output, **parameters)


def id_of(number: int) -> str:
    return f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def ref_of(number: int) -> str:
    return f"UPD-{number:03d}"


def put_case(sandbox: Sandbox, number: int, *people: Mapping[str, Any], **fields: Any) -> None:
    """A case of the account, `UPD-<number>`, that a row with this number may change."""
    case = case_of(
        id_of(number),
        ref=ref_of(number),
        notes=f"Old note {number}",
        meta={},
        is_active=1,
        customers=[],
    )
    customers = [
        customer(person, id_of(number), f"p-{number}-{place}")
        for place, person in enumerate(people)
    ]
    sandbox.store.put(case | {"customers": customers} | fields)


def customer(person: Mapping[str, Any], case_id: str, person_id: str) -> dict[str, Any]:
    """A customer as the account shows one."""
    blank = dict.fromkeys(
        ("middle_names", "date_of_birth", "gender", "tel_1", "tel_2", "email", "occupation",
         "marital_status", "address_1", "address_2", "address_3", "postcode")
    )  # fmt: skip
    own = {"id": person_id, "title": "Ms", "customer_case_id": case_id, "is_deceased": 0}
    return blank | own | dict(person)


def add(number: int, person: Mapping[str, Any]) -> Change:
    """Somebody adds a customer to the case by hand."""

    def by_hand(store: Store) -> None:
        case_id = id_of(number)
        people = people_of(store, number)
        made = customer(person, case_id, f"p-{number}-{len(people)}")
        store.change(case_id, customers=[*people, made])

    return Change(by_hand)


def people_of(store: Store, number: int) -> list[dict[str, Any]]:
    case = store.case(id_of(number))
    assert case is not None
    return list(case["customers"])


def names_in(sandbox: Sandbox, number: int) -> list[str]:
    """First and last names of the customers of a case, sorted."""
    people = people_of(sandbox.store, number)
    return sorted(f"{person['first_names']} {person['last_name']}" for person in people)


def field_of(sandbox: Sandbox, number: int, name: str) -> Any:
    case = sandbox.store.case(id_of(number))
    assert case is not None
    return case[name]


def amara(number: int = 1, **fields: str) -> Row:
    """A person of a row, under the names of the wire."""
    person = {
        "title": "Ms",
        "first_names": "Amara",
        "last_name": "Okafor",
        "date_of_birth": f"{number % 28 + 1:02d}/03/1950",
    }
    return {name: value for name, value in (person | fields).items() if value}


def columns(*people: Mapping[str, str]) -> Row:
    """People as the cells of a row."""
    return {
        f"customer_{number}_{name}": value
        for number, person in enumerate(people, start=1)
        for name, value in person.items()
    }


def patches(sandbox: Sandbox, number: int | None = None) -> list[dict[str, Any]]:
    """The bodies of the changes that arrived, in order; those of one case."""
    return [
        json.loads(seen.body)
        for seen in sandbox.requests
        if seen.method == "PATCH" and number in (None, _number(seen.path))
    ]


def _number(path: str) -> int | None:
    """Of the case in a path; None where it isn't one of the test's."""
    case_id = path.removeprefix("/cases/")
    return int(case_id[:8]) if case_id[8:] == id_of(0)[8:] else None


class ByCase:
    """Faults aimed at cases: the n-th change of one gets the n-th of its actions."""

    def __init__(
        self,
        sandbox: Sandbox,
        script: Mapping[int, Sequence[Action | None]],
        method: str = "PATCH",
    ) -> None:
        self._left = {number: list(actions) for number, actions in script.items()}
        self._method = method
        self.action: Action
        sandbox.faults.append(self)  # type: ignore[arg-type]

    def matches(self, method: str, path: str, _page: str | None) -> bool:
        number = _number(path)
        left = self._left.get(number) if number is not None and method == self._method else None
        action = left.pop(0) if left else None
        if action is not None:
            self.action = action
        return action is not None


def assert_unchanged_again(sandbox: Sandbox, source: Path, count: int) -> None:
    """A further run of a file that has been carried out does nothing."""
    sandbox.requests.clear()
    again = run_update(source)
    assert {row["outcome"] for row in again.rows} == {"unchanged"}
    assert len(again.rows) == count
    assert again.state.is_completed()
    assert patches(sandbox) == []


# -- what arrives ------------------------------------------------------------------------------


RICH: Row = {
    "Ref": ref_of(1),
    "New-Ref": "NEW-é1",
    "notes": "Line one\nline two, with a comma",
    f"meta:{CRM_FIELDS[0]['field_label']}": "website",
    f"meta:{STORAGE}": "00042",
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
    "customer_2_tel_1": "",
}
SIAN = {
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
}
TOM = {"title": "Mr", "first_names": "Tom", "last_name": "Null"}


def test_every_value_of_a_file_is_in_its_case_one_customer_a_request_and_the_reference_last(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, meta_update="replace")
    put_case(sandbox, 1, amara(), meta={SOURCE: "Referral", SIGNED: "2020-01-02"})
    put_case(sandbox, 2)
    source = write_csv("changes.csv", [RICH, {"id": id_of(2), "notes": "By id"}])
    run = run_update(source)
    assert run.ends == [("updated", None, 4), UPDATED]
    # this server drops CRM values that aren't sent, so they are put back
    own = {SOURCE: "Website", STORAGE: "00042"}
    whole = {"meta": own | {SIGNED: "2020-01-02"}}
    fields = {"ref": "NEW-é1", "notes": RICH["notes"]}
    people = [{"customers": [SIAN]}, {"customers": [TOM]}]
    assert patches(sandbox, 1) == [*people, fields | {"meta": own}, whole]
    fields |= whole
    assert patches(sandbox, 2) == [{"notes": "By id"}]
    case = sandbox.store.case(id_of(1))
    assert case is not None
    assert fields.items() <= case.items()
    kept = {"id", "customer_case_id", "is_deceased"}
    people = [
        {key: value for key, value in person.items() if value is not None and key not in kept}
        for person in sorted(case["customers"], key=lambda person: person["first_names"])
        if person["id"] != "p-1-0"
    ]
    shown = {name: value for name, value in SIAN.items() if name != "preferred_name"}
    assert people == [shown | {"date_of_birth": "1950-03-02"}, TOM]
    with source.open(newline="", encoding="utf-8") as file:
        pq.write_table(pa.Table.from_pylist(list(csv.DictReader(file))), "changes.parquet")
    assert_unchanged_again(sandbox, Path("changes.parquet"), 2)


def test_only_what_differs_is_sent_and_a_row_with_nothing_to_do_sends_nothing(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    has = {SOURCE: "Website", STORAGE: "007", SIGNED: None}
    for number in range(2, 9):
        put_case(sandbox, number, meta=has, notes="One\nTwo")
    label = "meta:Lead source"
    rows = [
        {"ref": ref_of(2), "notes": "One\r\nTwo ", "new_ref": ref_of(2), label: "website"},
        {"ref": ref_of(3).lower(), f"meta:{STORAGE}": " 007"},
        {"ref": ref_of(4), "notes": "Three", label: "Website"},
        {"ref": ref_of(5), "notes": "One\nTwo", f"meta:{STORAGE}": "7"},
        {"id": id_of(6), "ref": ref_of(6), "new_ref": "upd-006", "notes": ""},
        {"ref": f" {ref_of(7)}\u200b", "notes": "ONE\nTwo"},
        {"id": id_of(8), "notes": "One Two"},
    ]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.ends == [UNCHANGED] * 2 + [UPDATED] * 5
    assert {number: patches(sandbox, number) for number in range(2, 9)} == {
        2: [],
        3: [],
        4: [{"notes": "Three"}],
        5: [{"meta": {STORAGE: "7"}}],
        6: [{"ref": "upd-006"}],
        7: [{"notes": "ONE\nTwo"}],
        8: [{"notes": "One Two"}],
    }
    assert field_of(sandbox, 5, "notes") == "One\nTwo"
    assert_unchanged_again(sandbox, source, 7)


def change_by_hand(number: int, **fields: Any) -> Change:
    """Somebody changes a case; CRM values beside those it has."""

    def by_hand(store: Store) -> None:
        case = store.case(id_of(number))
        assert case is not None
        meta = case["meta"] | fields.get("meta", {})
        store.change(id_of(number), **(fields | {"meta": meta}))

    return Change(by_hand)


@pytest.mark.parametrize("meta_update", ["merge", "replace"])
def test_whether_other_crm_values_stay_is_found_out_on_the_first_case_that_has_some(
    start_sandbox: StartSandbox, meta_update: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    sandbox = start_sandbox(cases=0, meta_update=meta_update)
    removed = "99999999-9999-4999-8999-999999999999"
    had = [{}, *[{PLAN: "NO", removed: "left over"}] * 4]
    for number, meta in enumerate(had, start=1):
        put_case(sandbox, number, meta=meta)
    # a person works on, while the run is on its way
    busy = change_by_hand(5, meta={SOURCE: "Website"})
    sandbox.faults = [Fault(busy, method="PATCH", skip=1)]
    rows = [{"id": id_of(number), STORAGE_COLUMN: "007"} for number in range(1, 6)]
    run = run_update(write_csv("changes.csv", rows))
    own = {STORAGE: "007"}
    sent = [body["meta"] for body in patches(sandbox)]
    assert {row["outcome"] for row in run.rows} == {"updated"}
    for number in range(2, 6):
        assert field_of(sandbox, number, "meta")[PLAN] == "NO"
        assert field_of(sandbox, number, "meta")[STORAGE] == "007"
    assert field_of(sandbox, 5, "meta")[SOURCE] == "Website"
    if meta_update == "merge":
        assert sent == [own] * 5
        return
    assert sent.count(own) == 2  # the case that has no others, and the one that showed it
    assert sent.count({PLAN: "NO"} | own) == 3  # one of them puts back
    # the next run knows
    sandbox.requests.clear()
    again = [{"id": id_of(number), STORAGE_COLUMN: "008"} for number in range(1, 6)]
    run = run_update(write_csv("again.csv", again))
    assert run.ends == [UPDATED] * 5
    assert own not in [body["meta"] for body in patches(sandbox)][1:]


def test_a_value_that_was_lost_in_the_proof_is_put_back_even_if_the_answer_is_lost(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=0, meta_update="replace")
    for number in (1, 2):
        put_case(sandbox, number, meta={PLAN: "NO"})
    sandbox.faults = [Fault(Applied(Drop()), method="PATCH")]
    rows = [{"id": id_of(number), STORAGE_COLUMN: "007"} for number in (1, 2)]
    run = run_update(write_csv("changes.csv", rows))
    assert {row["outcome"] for row in run.rows} == {"updated"}
    for number in (1, 2):
        assert field_of(sandbox, number, "meta") == {PLAN: "NO", STORAGE: "007"}


def test_what_somebody_changed_since_the_run_read_it_is_a_conflict_and_not_overwritten(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=0)
    for number in range(1, 6):
        put_case(sandbox, number, meta={STORAGE: "1"})
    by_hand = {
        1: change_by_hand(1, notes="Hers"),
        2: change_by_hand(2, meta={STORAGE: "2"}),
        3: change_by_hand(3, meta={PLAN: "NO"}),
        4: change_by_hand(4, notes="Ours 4", meta={STORAGE: "7"}),
    }
    # each by somebody, after the run has looked at all cases
    for number, change in by_hand.items():
        sandbox.faults.append(Fault(change, path=f"/cases/{id_of(number)}", method="GET"))
    rows = [
        {"id": id_of(number), "notes": f"Ours {number}", STORAGE_COLUMN: "7"}
        for number in range(1, 6)
    ]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [
        ("conflict", "changed_meanwhile", 0),
        ("conflict", "changed_meanwhile", 0),
        UPDATED,
        UNCHANGED,
        UPDATED,
    ]
    assert "(notes)" in run.rows[0]["message"]
    assert [field_of(sandbox, number, "notes") for number in (1, 2)] == ["Hers", "Old note 2"]
    assert field_of(sandbox, 3, "meta") == {PLAN: "NO", STORAGE: "7"}


def test_a_case_that_is_changed_but_not_as_asked_is_said_so_with_what_is_there(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(case: dict[str, Any], sent: dict[str, Any], meta_update: Any) -> dict[str, Any]:
        sent = sent | {"notes": re.split("[\U00010000-\U0010ffff]", sent["notes"])[0].strip()}
        return changed_fields(case, sent, meta_update)

    monkeypatch.setattr("sandbox.case_writes.changed_fields", cut)
    sandbox = start_sandbox(cases=0)
    for number in (1, 2):
        put_case(sandbox, number)
    rows = [
        {"id": id_of(1), "notes": "Met her \U0001f600 today"},
        {"id": id_of(2), "notes": "Met him"},
    ]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [("partial", "not_as_asked", 1), UPDATED]
    assert json.loads(run.rows[0]["after"]) == {"notes": "Met her"}
    assert run.state.is_completed()


def test_values_that_come_back_with_entities_are_what_was_sent(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def escaped(case: dict[str, Any], sent: dict[str, Any], meta_update: Any) -> dict[str, Any]:
        meta = {key: html.escape(value) for key, value in sent["meta"].items()}
        sent = sent | {"notes": html.escape(sent["notes"]), "meta": meta}
        return changed_fields(case, sent, meta_update)

    monkeypatch.setattr("sandbox.case_writes.changed_fields", escaped)
    sandbox = start_sandbox(cases=0)
    put_case(sandbox, 1)
    row = {"id": id_of(1), "notes": "Brown & O'Neil <trust>", STORAGE_COLUMN: "A & B"}
    source = write_csv("changes.csv", [row])
    assert run_update(source).ends == [UPDATED]
    assert run_update(source).ends == [UNCHANGED]


def test_each_row_has_an_outcome_with_what_was_before_and_after_it(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=30)
    put_case(sandbox, 2, amara(), meta={SOURCE: "Website"}, notes=None)
    put_case(sandbox, 3)
    rows = [
        {"ref": ref_of(2), "new_ref": "NEW-2", "notes": "É", "meta:Lead source": "Seminar"}
        | columns(TOM, amara()),
        {"ref": ref_of(3), "notes": "Old note 3"},
        {"ref": "UPD-nobody", "notes": "x"},
        {"ref": ref_of(5), "meta:Lead source": "Pigeon"},
    ]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
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
    first = run.rows[0]
    assert [list(json.loads(first.pop(name)).items()) for name in ("before", "after")] == [
        [
            ("ref", ref_of(2)),
            ("notes", None),
            ("meta:Lead source", "Website"),
            ("customers", ["Amara Okafor"]),
        ],
        [
            ("ref", "NEW-2"),
            ("notes", "É"),
            ("meta:Lead source", "Seminar"),
            ("customers", ["Amara Okafor", "Tom Null"]),
        ],
    ]
    not_found = "WillSuite has no case with this id or reference; correct it."
    wrong = "meta:Lead source must be one of the options of this CRM field: Referral, Website, "
    assert [list(row.values())[:8] for row in run.rows] == [
        [2, ref_of(2), "update", "updated", id_of(2), None, None, 2],
        [3, ref_of(3), "none", "unchanged", id_of(3), None, None, 0],
        [4, "UPD-nobody", "none", "rejected", None, "not_found", not_found, 0],
        [5, ref_of(5), "none", "rejected", None, "meta_option", f"{wrong}Seminar.", 0],
    ]
    assert {row["before"] for row in run.rows[1:]} == {None}
    summary = run.summary
    assert summary["outcomes"] == {"updated": 1, "unchanged": 1, "rejected": 2}
    assert summary["codes"] == {"not_found": 1, "meta_option": 1}
    assert run.state.is_completed()
    assert "4 rows: 1 updated, 1 unchanged, 2 rejected." in str(run.state.message)
    assert f"Correct {summary['rejected_file']} and use it as it is." in str(run.state.message)

    folder = Path(summary["folder"])
    assert {path.name for path in folder.iterdir()} == {"outcomes.parquet", "rejected.xlsx"}
    assert {path.name for path in Path("runs").iterdir()} == {folder.name}
    assert folder.name.startswith("update-cases-2")
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
    assert data["update-cases-progress"] == 100
    for line in ("| updated | 1 |", "| customers | 1 |", "| not_found | 1 |"):
        assert line in data["update-cases-result"]
    assert summary["outcomes_file"] in data["update-cases-result"]

    # the rejected rows, corrected, are a file of changes
    cells = [["meta:Lead source" if c == "Meta:lead source" else c for c in row]
             for row in run.rejected]  # fmt: skip
    put_case(sandbox, 4)
    put_case(sandbox, 5)
    corrected = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    corrected[0]["ref"], corrected[1]["meta:Lead source"] = ref_of(4), "Referral"
    assert run_update(write_csv("corrected.csv", corrected)).ends == [UPDATED, UPDATED]
    assert field_of(sandbox, 5, "meta") == {SOURCE: "Referral"}


def test_a_dry_run_shows_the_changes_that_a_run_then_makes_and_writes_nothing(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=30)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "90")  # a dry run doesn't wait for anybody
    put_case(sandbox, 2, amara(2))
    put_case(sandbox, 3)
    put_case(sandbox, 4)
    rows = [
        {"ref": ref_of(2), "notes": "New"} | columns(amara(2), TOM),
        {"ref": ref_of(3), "notes": "Old note 3"},
        {"ref": ref_of(4), "new_ref": ref_of(3)},
        {"ref": "", "notes": "x"},
    ]
    source = write_csv("changes.csv", rows)
    plan = run_update(source, dry_run=True)
    assert [seen.method for seen in sandbox.requests].count("PATCH") == 0
    assert not (tmp_path / "state").exists()  # nor does it need the account for itself
    assert plan.ends == [
        ("planned", None, 0),
        UNCHANGED,
        ("conflict", "ref_taken", 0),
        ("rejected", "key_missing", 0),
    ]
    assert plan.summary["dry_run"]
    assert plan.state.is_completed()
    assert json.loads(plan.rows[0]["before"]) == {
        "notes": "Old note 2",
        "customers": ["Amara Okafor"],
    }
    assert json.loads(plan.rows[0]["after"]) == {
        "notes": "New",
        "customers": ["Amara Okafor", "Tom Null"],
    }
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    run = run_update(source)
    assert run.ends[0] == ("updated", None, 2)
    assert [(row["before"], row["after"]) for row in run.rows] == [
        (row["before"], row["after"]) for row in plan.rows
    ]
    assert names_in(sandbox, 2) == ["Amara Okafor", "Tom Null"]
    assert patches(sandbox) == [{"customers": [TOM]}, {"notes": "New"}]


# -- people ------------------------------------------------------------------------------------

ZOE = {"title": "Ms", "first_names": "Zoë", "last_name": "Núñez-O'Hara"}
BORN = {"date_of_birth": "02/03/1950"}
HOME = {"postcode": "QX1 1ZZ"}
THERE: End = ("unchanged", None, 0)
SAME_NAMES: End = ("unchanged", "same_names", 0)
LACKING: End = ("partial", "values_lost", 0)
RENAMED: End = ("unchanged", "renamed_person", 0)
CLASH: End = ("conflict", "perhaps_there", 0)
PEOPLE: list[tuple[Mapping[str, Any], Mapping[str, str], End]] = [
    # who is in the case, who is wanted, and what becomes of the row
    (ZOE | {"date_of_birth": "1950-03-02"}, ZOE | BORN, THERE),
    (ZOE | {"date_of_birth": "02/03/1950"}, ZOE | BORN, THERE),
    (ZOE | {"date_of_birth": "2/3/1950"}, ZOE | BORN, THERE),
    (ZOE | {"date_of_birth": "1950-03-02T00:00:00.000000Z"}, ZOE | BORN, THERE),
    (ZOE | {"date_of_birth": "1950-03-02 00:00:00"}, ZOE | BORN, THERE),
    # midnight of British summer time, as an instant
    (ZOE | {"date_of_birth": "1950-07-01T23:00:00.000000Z"},
     ZOE | {"date_of_birth": "02/07/1950"}, THERE),
    (ZOE | {"date_of_birth": "1950-03-02"} | HOME, ZOE | BORN | {"postcode": "QX9 9ZZ"}, THERE),
    # names in another spelling
    (ZOE | {"first_names": "ZOE", "last_name": "nunez o\u2019hara", "date_of_birth": "1950-03-02"},
     ZOE | BORN, THERE),
    (ZOE | {"first_names": " Zoe\u0308 ", "last_name": "Núñez O&#039;Hara",
            "date_of_birth": "1950-03-02"}, ZOE | BORN, THERE),
    (ZOE | {"last_name": "NunezOHara"} | HOME, ZOE | HOME, THERE),
    (ZOE | {"title": "Dr", "middle_names": "Ann"} | HOME, ZOE | HOME, THERE),
    (ZOE | {"first_names": "Lukasz", "last_name": "Soerensen Dordevic"} | HOME,
     ZOE | {"first_names": "Łukasz", "last_name": "Soerensen-Đorđević"} | HOME, THERE),
    # no birth date in one of the two: the postcode tells
    (ZOE | HOME, ZOE | {"postcode": "qx11zz"}, THERE),
    (ZOE | {"postcode": " qx1  1zz"}, ZOE | BORN | HOME, LACKING),
    (ZOE | {"date_of_birth": "1950-03-02"} | HOME, ZOE | HOME, THERE),
    (ZOE | {"date_of_birth": "around 1950"} | HOME, ZOE | BORN | HOME, THERE),
    # nothing tells them apart: nobody is added in doubt
    (ZOE, ZOE, SAME_NAMES),
    (ZOE | HOME, ZOE | BORN, LACKING),
    (ZOE | {"date_of_birth": "1950-03-02"}, ZOE | HOME, LACKING),
    (ZOE | {"date_of_birth": "unknown"}, ZOE | BORN, SAME_NAMES),
    (ZOE | {"date_of_birth": "0000-00-00"}, ZOE | BORN, LACKING),
    # she married
    (ZOE | {"last_name": "Núñez", "date_of_birth": "1950-03-02"} | HOME,
     ZOE | BORN | HOME, RENAMED),
    # father and son in one house, or a mistake of somebody's, or of a server's
    (ZOE | {"date_of_birth": "1950-03-02"} | HOME,
     ZOE | HOME | {"date_of_birth": "02/03/1980"}, CLASH),
    (ZOE | {"date_of_birth": "1950-02-03"}, ZOE | BORN, CLASH),
    (ZOE | {"date_of_birth": "1950-03-01"}, ZOE | BORN, CLASH),
    (ZOE | {"last_name": None, "date_of_birth": "1950-03-02"}, ZOE | BORN, CLASH),
    # somebody else
    (ZOE | {"date_of_birth": "1950-03-02"} | HOME,
     ZOE | {"date_of_birth": "02/03/1980", "postcode": "QX1 2ZZ"}, UPDATED),
    (ZOE | {"date_of_birth": "1950-03-02"}, ZOE | {"date_of_birth": "02/03/1980"}, UPDATED),
    (ZOE | HOME, ZOE | {"postcode": "QX2 2ZZ"}, UPDATED),
    (ZOE | {"first_names": "Chloe", "date_of_birth": "1950-03-02"} | HOME,
     ZOE | BORN | HOME, UPDATED),
    (ZOE | {"first_names": None, "last_name": None} | HOME, ZOE | HOME, UPDATED),
]  # fmt: skip


def test_a_customer_who_is_there_already_in_whatever_spelling_is_not_added_again(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    rows = []
    for number, (there, wanted, _) in enumerate(PEOPLE, start=2):
        put_case(sandbox, number, TOM, there)
        rows.append({"ref": ref_of(number)} | columns(wanted))
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    expected = {number: end for number, (_, _, end) in enumerate(PEOPLE, start=2)}
    assert dict(enumerate(run.ends, start=2)) == expected
    for number, (_, wanted, (outcome, _, _)) in enumerate(PEOPLE, start=2):
        assert patches(sandbox, number) == [{"customers": [wanted]}] * (outcome == "updated")
    assert run.state.is_completed()

    sandbox.requests.clear()
    again = run_update(source)
    assert again.ends == [UNCHANGED if end == UPDATED else end for end in run.ends]
    assert patches(sandbox) == []


def test_of_several_customers_those_who_are_missing_are_added_and_a_doubtful_one_stops_the_row(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    son = amara(2, date_of_birth="02/03/1980")
    put_case(sandbox, 2, amara(2))
    put_case(sandbox, 3, amara(3, **HOME))
    put_case(sandbox, 4)
    put_case(sandbox, 5, amara(5, date_of_birth=""))
    rows = [
        {"ref": ref_of(2)} | columns(TOM, amara(2)),
        {"ref": ref_of(3), "notes": "New"} | columns(TOM, son | HOME),
        # numbers may be left out, and come in any order
        {"ref": ref_of(4), "customer_9_title": "Mr", "customer_9_first_names": "Wei",
         "customer_9_last_name": "Ng"} | columns({}, TOM),
        {"ref": ref_of(5), "notes": "New"} | columns(amara(5)),
    ]  # fmt: skip
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.ends == [
        UPDATED,
        ("conflict", "perhaps_there", 0),
        ("updated", None, 2),
        ("partial", "values_lost", 1),
    ]
    assert names_in(sandbox, 2) == ["Amara Okafor", "Tom Null"]
    assert names_in(sandbox, 3) == ["Amara Okafor"]
    assert field_of(sandbox, 3, "notes") == "Old note 3"
    assert names_in(sandbox, 4) == ["Tom Null", "Wei Ng"]
    assert patches(sandbox, 5) == [{"notes": "New"}]
    sandbox.requests.clear()
    again = run_update(source)
    assert again.ends == [SAME_NAMES, run.ends[1], SAME_NAMES, LACKING]
    assert patches(sandbox) == []


def test_values_that_a_server_loses_are_named_and_a_rerun_adds_nobody(
    start_sandbox: StartSandbox,
) -> None:
    lost = ("middle_names", "gender", "date_of_birth", "postcode")
    sandbox = start_sandbox(cases=30, update_loses=lost)
    wanted = amara(2, middle_names="Ann", postcode="QX1 1ZZ", tel_1="07700900123")
    for number in (2, 4):
        put_case(sandbox, number)
    put_case(sandbox, 3, amara(3))
    rows = [
        {"ref": ref_of(2), "notes": "New"} | columns(wanted, TOM),
        {"ref": ref_of(3)} | columns(TOM),
        {"ref": ref_of(4)} | columns(amara(4)),
    ]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.ends == [
        ("partial", "values_lost", 3),
        UPDATED,
        ("partial", "values_lost", 1),
    ]
    said = "missing or different: date_of_birth, middle_names, postcode."
    assert said in run.rows[0]["message"]
    assert "missing or different: date_of_birth." in run.rows[2]["message"]
    assert run.state.is_completed()
    assert field_of(sandbox, 2, "notes") == "New"
    sandbox.requests.clear()
    again = run_update(source)
    # whoever added the people: what the row has and the case hasn't is said to every run
    there = ("partial", "values_lost", 0)
    assert again.ends == [there, SAME_NAMES, there]
    assert said in again.rows[0]["message"]
    assert patches(sandbox) == []
    assert names_in(sandbox, 2) == ["Amara Okafor", "Tom Null"]


def test_a_server_that_shows_nobodys_birth_date_has_lost_none(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=30, update_loses=("date_of_birth",))
    put_case(sandbox, 2)
    run = run_update(write_csv("changes.csv", [{"ref": ref_of(2)} | columns(amara(2))]))
    assert run.ends == [UPDATED]
    assert names_in(sandbox, 2) == ["Amara Okafor"]


def test_of_somebody_whose_birth_date_a_server_changes_a_rerun_adds_no_other(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(sent: dict[str, Any], rng: Any, case_id: str, **options: Any) -> list[Any]:
        made = new_customers(sent, rng, case_id, **options)
        for person in made:
            born = date.fromisoformat(person["date_of_birth"])
            swapped = born.replace(day=born.month, month=born.day)
            before = born - timedelta(days=1)
            person["date_of_birth"] = str(swapped if case_id == id_of(2) else before)
        return made

    monkeypatch.setattr("sandbox.case_writes.new_customers", changed)
    sandbox = start_sandbox(cases=30)
    for number in (2, 3):
        put_case(sandbox, number)
    rows = [
        {"ref": ref_of(number)} | columns(amara(date_of_birth="05/04/1950")) for number in (2, 3)
    ]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.ends == [("partial", "values_lost", 1)] * 2
    assert "missing or different: date_of_birth." in run.rows[1]["message"]
    assert run_update(source).ends == [CLASH] * 2
    assert [len(names_in(sandbox, number)) for number in (2, 3)] == [1, 1]


@pytest.mark.parametrize("house", [{}, HOME], ids=["elsewhere", "of one house"])
def test_two_people_of_one_name_in_a_row_are_two(
    start_sandbox: StartSandbox, house: Mapping[str, str]
) -> None:
    sandbox = start_sandbox(cases=30)
    father, son = (amara(date_of_birth=f"02/03/{year}", **house) for year in (1950, 1980))
    for number in range(2, 7):
        put_case(sandbox, number)
    put_case(sandbox, 7, father)  # there already, or all that a killed run got done
    put_case(sandbox, 8, father)
    ByCase(sandbox, {3: [None, Drop()], 4: [Drop()], 5: [Applied(Drop())], 6: [None, Late(0.0)]})
    rows = [{"ref": ref_of(number)} | columns(father, son) for number in range(2, 8)]
    rows.append({"ref": ref_of(8)} | columns(son))
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    again = ("updated", None, 3)
    alone = CLASH if house else UPDATED  # a row that has the son alone may mean the father
    twice = ("updated", None, 2)
    assert run.ends == [twice, again, again, twice, twice, UPDATED, alone]
    for number in range(2, 8):
        born = [person["date_of_birth"][-4:] for person in people_of(sandbox.store, number)]
        assert len(born) == 2
    sandbox.requests.clear()
    assert run_update(source).ends == [UNCHANGED] * 6 + [CLASH if house else UNCHANGED]
    assert patches(sandbox) == []


@pytest.mark.parametrize(
    "drops", [{"surname_key": "last_names"}, {"update_loses": ("last_name",)}], ids=str
)
def test_a_server_that_drops_surnames_gets_one_customer_and_no_more(
    start_sandbox: StartSandbox, drops: dict[str, Any]
) -> None:
    sandbox = start_sandbox(cases=30, **drops)
    for number in range(2, 32):
        put_case(sandbox, number)
    # a row without people proves nothing about surnames, so it isn't the first to be sent
    rows = [{"ref": ref_of(2), "notes": "New"}]
    rows += [{"ref": ref_of(n)} | columns(amara(n), *[TOM] * (n == 3)) for n in range(3, 32)]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert patches(sandbox) == [{"customers": [amara(3)]}]
    assert run.ends[1] == ("partial", "surname_dropped", 1)
    assert {*run.ends[:1], *run.ends[2:]} == {("not_attempted", "stopped", 0)}
    assert run.state.is_failed()
    assert "A customer was added without the surname" in str(run.state.message)

    # nor is anybody added again, whether answers arrive or not
    ByCase(sandbox, {4: [Applied(Drop())] * 3})
    again = run_update(source)
    assert again.ends[1] == ("conflict", "perhaps_there", 0)
    assert again.ends[2][0] == "partial"
    assert [len(names_in(sandbox, number)) for number in (3, 4, 5, 6)] == [1, 1, 1, 0]


def test_a_server_that_accepts_a_customer_and_adds_nobody_gets_no_more(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "_customers_to_add", lambda *_: [])
    sandbox = start_sandbox(cases=30)
    for number in (2, 3):
        put_case(sandbox, number)
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in (2, 3)]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [("partial", "nobody_added", 1), ("not_attempted", "stopped", 0)]
    assert "the case doesn't show anybody new, so the run stopped" in str(run.state.message)


def test_an_answer_without_the_people_is_believed_if_the_case_has_them(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.writes.UPDATED_FIELDS", ("id", "ref"))
    sandbox = start_sandbox(cases=30)
    for number in (2, 3):
        put_case(sandbox, number)
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in (2, 3)]
    assert run_update(write_csv("changes.csv", rows)).ends == [UPDATED, UPDATED]
    assert names_in(sandbox, 3) == ["Amara Okafor"]


# -- references --------------------------------------------------------------------------------

TAKEN = '{"message": "Invalid.", "errors": {"ref": ["The ref has already been taken."]}}'


@pytest.mark.parametrize("unique_refs", [True, False])
def test_references_are_changed_unless_another_case_has_the_new_one(
    start_sandbox: StartSandbox, unique_refs: bool
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=unique_refs)
    for number in range(2, 18):
        put_case(sandbox, number)
    rows = [
        {"ref": ref_of(2), "new_ref": "NEW-2"},
        {"id": id_of(3), "new_ref": "NEW-3", "notes": "New"},
        {"id": id_of(4), "ref": ref_of(4), "new_ref": "NEW-4"} | columns(amara()),
        {"ref": ref_of(5), "new_ref": "WS-000007", "notes": "New"} | columns(amara()),
        {"id": id_of(6), "new_ref": f" {ref_of(12).lower()}"},
        {"ref": ref_of(7), "new_ref": ref_of(8)},  # these two swap
        {"ref": ref_of(8), "new_ref": ref_of(7)},
        {"ref": ref_of(9), "new_ref": "NEW-9"},  # and these two want the same one
        {"ref": ref_of(10), "new_ref": "new-9 "},
        {"ref": ref_of(11), "new_ref": "NEW-11"},
        {"ref": ref_of(13), "new_ref": ref_of(14)},  # one after the other
        {"ref": ref_of(14), "new_ref": "NEW-14"},
        {"ref": ref_of(16), "new_ref": "NEW-16"},
        {"ref": ref_of(17), "new_ref": "NEW-17"},
    ]
    # taken, perhaps by a case that was deleted
    in_words = '{"message": "This reference is in use."}'
    ByCase(
        sandbox,
        {
            11: [Status(422, body=TAKEN)],
            16: [Status(409, body='{"message": "Conflict."}')],
            17: [Status(400, body=in_words)],
        },
    )
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    taken, twice = ("conflict", "ref_taken", 0), ("rejected", "new_ref_repeated", 0)
    refused = ("conflict", "ref_refused", 1)
    assert run.ends == [
        UPDATED,
        UPDATED,
        ("updated", None, 2),
        *[taken] * 4,
        *[twice] * 2,
        refused,
        taken,
        UPDATED,
        refused,
        refused,
    ]
    seventh = sandbox.store.listing(ref="WS-000007")
    assert run.rows[3]["message"] == f"Another case has the new reference already: {seventh[0]}."
    for number in (5, 6, 7, 8, 13):
        assert patches(sandbox, number) == []
        assert field_of(sandbox, number, "ref") == ref_of(number)
    for number in (2, 3, 4, 14):
        assert field_of(sandbox, number, "ref") == f"NEW-{number}"
    assert run.state.is_completed()

    if unique_refs:
        return
    # again: as if nothing had happened, but for the references that have become free
    sandbox.requests.clear()
    again = run_update(source)
    there = ("unchanged", "renamed_already", 0)
    assert again.ends == [
        there,
        UNCHANGED,
        UNCHANGED,
        *[taken] * 4,
        *[twice] * 2,
        UPDATED,
        UPDATED,
        there,
        UPDATED,
        UPDATED,
    ]
    assert {number: patches(sandbox, number) for number in (11, 13)} == {
        11: [{"ref": "NEW-11"}],
        13: [{"ref": ref_of(14)}],
    }
    assert len(patches(sandbox)) == 4
    assert len(names_in(sandbox, 4)) == 1


def test_a_case_is_known_again_after_its_reference_was_changed_only_if_it_has_all_of_the_row(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    for number in range(2, 6):
        put_case(sandbox, number)
    rows = [
        {"ref": ref_of(number), "new_ref": f"NEW-{number}", "notes": "New"} | columns(amara())
        for number in range(2, 6)
    ]
    source = write_csv("changes.csv", rows)
    assert run_update(source).ends == [("updated", None, 2)] * 4
    sandbox.store.change(id_of(3), notes="Worked on since")
    sandbox.store.change(id_of(4), customers=[])
    put_case(sandbox, 15, ref=ref_of(5))  # another one has the old reference now
    sandbox.requests.clear()
    again = run_update(source)
    assert again.ends == [
        ("unchanged", "renamed_already", 0),
        ("conflict", "ref_unclear", 0),
        ("conflict", "ref_unclear", 0),
        ("conflict", "ref_taken", 0),
    ]
    assert patches(sandbox) == []


# -- which case --------------------------------------------------------------------------------


@pytest.mark.parametrize("looked_up", [True, False])
def test_a_row_that_names_no_case_or_not_one_alone_is_not_sent(
    start_sandbox: StartSandbox, looked_up: bool
) -> None:
    sandbox = start_sandbox(cases=2000 if looked_up else 30)
    for number in range(2, 16):
        put_case(sandbox, number)
    put_case(sandbox, 16, ref=ref_of(15))
    rows = [
        {"id": id_of(99)},
        {"ref": "UPD-nobody"},
        {"id": "../../oauth/clients"},
        {"ref": ref_of(15)},
        {"id": id_of(2), "ref": ref_of(3)},
        {"id": id_of(4)},  # the same case by another way, twice
        {"ref": ref_of(4)},
        {"id": id_of(5), "ref": f"{ref_of(5).lower()} "},
        {"id": id_of(15)},
        {"id": "", "ref": ""},
        {"ref": ref_of(6)},
        {"ref": ref_of(6).lower()},
        {"ref": ref_of(7)},
    ]
    source = write_csv("changes.csv", [row | {"notes": "New"} for row in rows])
    run = run_update(source)
    assert run.ends == [
        ("rejected", "not_found", 0),
        ("rejected", "not_found", 0),
        ("rejected", "not_found", 0),
        ("conflict", "ref_twice", 0),
        ("conflict", "id_and_ref_differ", 0),
        ("rejected", "case_repeated", 0),
        ("rejected", "case_repeated", 0),
        UPDATED,
        UPDATED,
        ("rejected", "key_missing", 0),
        ("rejected", "case_repeated", 0),
        ("rejected", "case_repeated", 0),
        UPDATED,
    ]
    assert run.rows[3]["message"] == (
        f"More than one case has this reference: {id_of(15)}, {id_of(16)}. Give the id instead."
    )
    assert "Row 8 names the same case in another way" in run.rows[5]["message"]
    assert "Row 7 names the same case in another way" in run.rows[6]["message"]
    assert [row[0] for row in run.rejected[1:]] == ["2", "3", "4", "7", "8", "11", "12", "13"]
    changed = {n for n in range(2, 17) if field_of(sandbox, n, "notes") == "New"}
    assert changed == {5, 7, 15}
    pages = [seen.query["page"] for seen in sandbox.requests if seen.path == "/cases"]
    assert (set(pages) == {"1"}) is looked_up


@pytest.mark.parametrize("shown", [0, 1])
def test_people_whom_a_list_leaves_out_are_not_added_again(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    listed = Sandbox._list_cases

    async def without_people(sandbox: Sandbox, request: Any) -> Any:
        response = await listed(sandbox, request)
        body = json.loads(response.body)  # type: ignore[arg-type]
        for case in body["data"]:
            del case["customers"][shown:]
        response.body = json.dumps(body).encode()
        return response

    monkeypatch.setattr(Sandbox, "_list_cases", without_people)
    sandbox = start_sandbox(cases=30)
    mother = amara(6, date_of_birth="06/03/1920")
    put_case(sandbox, 2, TOM, amara(2))
    put_case(sandbox, 3, TOM)
    put_case(sandbox, 4, TOM)
    put_case(sandbox, 5, TOM, amara(5) | HOME)  # of the same house, born on another day
    put_case(sandbox, 6, TOM, mother)
    rows = [{"ref": ref_of(number), "notes": "New"} | columns(amara(number)) for number in (2, 3)]
    rows.append({"ref": ref_of(4), "new_ref": "NEW-4"} | columns(amara(4)))
    rows.append({"ref": ref_of(5), "notes": "New"} | columns(amara(25) | HOME))
    rows.append({"ref": ref_of(6)} | columns(amara(6)))
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    clash = ("conflict", "perhaps_there", 0)
    assert run.ends == [UPDATED, ("updated", None, 2), ("updated", None, 2), clash, UPDATED]
    sandbox.requests.clear()
    again = run_update(source)
    renamed = ("unchanged", "renamed_already", 0)
    assert again.ends == [UNCHANGED, UNCHANGED, renamed, clash, UNCHANGED]
    assert patches(sandbox) == []
    for number in range(2, 6):
        assert names_in(sandbox, number) == ["Amara Okafor", "Tom Null"]
    assert len(names_in(sandbox, 6)) == 3


# -- refusals ----------------------------------------------------------------------------------

REFUSED = '{"message": "Invalid.", "errors": {"customers.0.tel_1": ["Canary words."]}}'


def test_refused_rows_have_the_words_of_the_server_and_can_be_corrected(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30, validation_status=400)
    for number in range(2, 11):
        put_case(sandbox, number)
    rows = [
        {"ref": ref_of(2), "notes": "New", STORAGE_COLUMN: "1"} | columns(amara()),
        {"ref": ref_of(3), "notes": "New"},
        {"ref": ref_of(4), "notes": "New"} | columns(amara(), TOM),
        {"ref": ref_of(5), "notes": "New"} | columns(amara()),
        {"ref": ref_of(6), "notes": "New"},
        {"ref": ref_of(7), "notes": "New"},
        {"ref": ref_of(8), "notes": "New"},
        {"ref": ref_of(9), "notes": "New"},
        {"ref": ref_of(10), "notes": "New"} | columns(amara(title="x")),
    ]
    refused, as_documented = Status(422, body=REFUSED), Status(400, body=REFUSED)
    ByCase(
        sandbox,
        {
            3: [refused],
            4: [None, as_documented],  # after one customer was added
            5: [None, refused],  # after all customers were
            6: [Status(400, body="{}")],
            # perhaps carried out, and then refused for good
            7: [Drop(), refused],
            # carried out, whatever the refusal says
            8: [Applied(refused)],
            # about a reference that isn't to be changed
            9: [Status(422, body=TAKEN)],
            10: [as_documented],
        },
    )
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.ends == [
        ("updated", None, 2),
        ("rejected", "status_422", 1),
        ("partial", "refused_after", 2),
        ("partial", "refused_after", 2),
        ("rejected", "status_400", 1),
        ("rejected", "status_422", 2),
        UPDATED,
        ("rejected", "status_422", 1),
        ("rejected", "status_400", 1),
    ]
    assert names_in(sandbox, 4) == ["Amara Okafor"]
    words = [row["message"] for row in run.rows]
    after = "A part of the row was carried out; then WillSuite refused: Canary words."
    assert words[1:4] == ["Canary words.", after, after]
    assert {row[0]: row[1] for row in run.rejected[1:]} == {
        "3": "Canary words.",
        "6": "WillSuite refused the row (status_400).",
        "7": "Canary words.",
        "9": "The ref has already been taken.",
        "10": "Canary words.",
    }
    # nothing to be tried again, so the run is complete; a person has work left
    assert run.state.is_completed()
    log = "\n".join([*run_log, str(run.state.message)])
    assert "Canary words" not in log
    assert "been taken" not in log

    header, *cells = run.rejected
    corrected = [dict(zip(header, row, strict=True)) for row in cells]
    assert set(run_update(write_csv("corrected.csv", corrected)).ends) == {
        UPDATED,
        ("updated", None, 2),
    }
    again = run_update(source)  # what was there stays, what was lacking is added
    assert again.ends == [UNCHANGED] * 2 + [("updated", None, 2), UPDATED] + [UNCHANGED] * 5
    assert names_in(sandbox, 4) == ["Amara Okafor", "Tom Null"]
    assert [len(names_in(sandbox, number)) for number in (2, 5, 10)] == [1, 1, 1]


# -- faults ------------------------------------------------------------------------------------

RESENT: End = ("updated", None, 2)
"""It wasn't there, so it was sent again."""
DOWN = Status(503, body="<h1>down</h1>")
SURVIVED: list[tuple[list[Action], End]] = [
    ([Status(500)], RESENT),
    ([DOWN], RESENT),
    ([Status(403, body="<h1>firewall</h1>")], RESENT),
    ([Status(429, {"Retry-After": "1"})], UPDATED),
    ([Drop()], RESENT),
    ([Html()], RESENT),
    ([Applied(Status(500))], UPDATED),
    ([Applied(Status(502, body="<h1>502</h1>"))], UPDATED),
    ([Applied(Drop())], UPDATED),
    ([Applied(Html())], UPDATED),
    ([Applied(Status(200, body='{"ref": 1}'))], UPDATED),
    ([Truncate()], UPDATED),
    ([Truncate(announced=False)], UPDATED),
    ([Drip(50.0)], UPDATED),
    ([Late(0.2)], UPDATED),
    ([Late(0.2, Drop())], UPDATED),
    ([Drop(), Status(500)], ("updated", None, 3)),
    ([Drop(), Late(0.2)], RESENT),
    ([Status(500), Drop(), Truncate()], ("updated", None, 3)),
    ([Status(500), Drop(), Html()], ("failed", "not_applied", 3)),
]


def test_whatever_happens_to_a_request_its_change_is_there_once_or_the_row_says_that_it_is_not(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    monkeypatch.setenv("WILLSUITE_READ_TIMEOUT_SECONDS", "1")
    sandbox = start_sandbox(cases=30)
    # a good row after each of the others, else so many faults would look like a server that is ill
    count = len(SURVIVED)
    people, fields = range(2, 2 + 2 * count), range(100, 100 + 2 * count)
    rows = {number: {"ref": ref_of(number)} | columns(amara(number)) for number in people}
    rows |= {number: {"ref": ref_of(number), "notes": "New"} for number in fields}
    expected = dict.fromkeys(rows, UPDATED)
    script: dict[int, Sequence[Action | None]] = {}
    for numbers in (people, fields):
        # the first is a good one, so that surnames are proven and several are sent at once
        for number, (actions, end) in zip(numbers[1::2], SURVIVED, strict=True):
            script[number], expected[number] = actions, end
    # of two people and a note each may be hit
    several: dict[int, tuple[list[Action | None], End]] = {
        300: ([None, Applied(Drop())], ("updated", None, 3)),
        301: ([Applied(Drop()), Drop(), None, Status(500)], ("failed", "not_applied", 4)),
        302: ([None, None, Drop(), Applied(Html())], ("updated", None, 4)),
        303: ([Applied(Drop()), Applied(Drop()), Applied(Drop())], ("updated", None, 3)),
        304: ([Partial(), None, Late(0.2)], ("updated", None, 4)),
    }
    for number, (actions, end) in several.items():
        rows[number] = {"ref": ref_of(number), "notes": "New", "new_ref": f"NEW-{number}"}
        rows[number] |= columns(amara(number), TOM)
        script[number], expected[number] = actions, end
    for number in rows:
        put_case(sandbox, number)
    ByCase(sandbox, script)
    source = write_csv("changes.csv", list(rows.values()))
    run = run_update(source)
    assert dict(zip(rows, run.ends, strict=True)) == expected
    for number, row in zip(rows, run.rows, strict=True):
        wanted = number in people or number in several
        there = len(names_in(sandbox, number)) or field_of(sandbox, number, "notes") == "New"
        if row["outcome"] == "updated":
            assert len(names_in(sandbox, number)) == (1 if number in people else 2) * wanted
            assert wanted or there
        elif number not in several:
            assert not there
    assert run.state.is_failed()
    assert isinstance(run.result, IncompleteRunError)
    assert "3 failed" in str(run.state.message)

    again = run_update(source)
    assert again.summary["outcomes"] == {"updated": 3, "unchanged": len(rows) - 3}
    for number in rows:
        assert len(names_in(sandbox, number)) == (
            2 if number in several else 1 if number in people else 0
        )


def test_a_customer_who_shows_late_is_not_sent_again(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=2000)  # so that cases are read one by one
    for number in (2, 3, 4):
        put_case(sandbox, number)
    rows = [{"id": id_of(number)} | columns(amara(number)) for number in (2, 3, 4)]
    # lost, and not there when the case is read back, but when it is read before sending it again
    ByCase(sandbox, {3: [Drop()]})
    ByCase(sandbox, {3: [None, None, None, add(3, amara(3))]}, "GET")
    # somebody adds the same person by hand after the first look
    ByCase(sandbox, {4: [None, add(4, amara(4))]}, "GET")
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert [names_in(sandbox, number) for number in (2, 3, 4)] == [["Amara Okafor"]] * 3
    assert run.ends == [UPDATED, UPDATED, UNCHANGED]
    assert_unchanged_again(sandbox, source, 3)


def test_a_change_that_is_accepted_and_does_not_show_is_said_so_and_not_sent_again(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Sandbox._update_case

    async def forgets(sandbox: Sandbox, request: Any) -> Any:
        case = sandbox.store.case(request.match_info["case_id"])
        assert case is not None
        answer = await update(sandbox, request)
        if case["id"] in (id_of(3), id_of(4)):
            sandbox.store.put(case)
        return answer

    monkeypatch.setattr(Sandbox, "_update_case", forgets)
    sandbox = start_sandbox(cases=30)
    for number in range(2, 6):
        put_case(sandbox, number)
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in (2, 3)]
    rows += [{"ref": ref_of(number), "notes": "New"} for number in (4, 5)]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [
        UPDATED,
        ("partial", "not_kept", 1),
        ("failed", "not_kept", 1),
        UPDATED,
    ]
    assert "look at the case before running the file again" in run.rows[1]["message"]


def test_a_list_that_lags_behind_is_waited_for(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.8")
    sandbox = start_sandbox(cases=30)
    for number in range(2, 12):
        put_case(sandbox, number)
    listed, rendered = Sandbox._list_cases, Store.rendered
    before = {case_id: sandbox.store.case(case_id) for case_id in sandbox.store.ids}
    began = time.monotonic()

    async def lags(sandbox: Sandbox, request: Any) -> Any:
        if time.monotonic() > began + 1.5:
            return await listed(sandbox, request)
        monkeypatch.setattr(Store, "rendered", lambda _, key: json.dumps(before[key]).encode())
        try:
            return await listed(sandbox, request)
        finally:
            monkeypatch.setattr(Store, "rendered", rendered)

    monkeypatch.setattr(Sandbox, "_list_cases", lags)
    rows = [{"id": id_of(number), "notes": "New"} for number in range(2, 12)]
    assert run_update(write_csv("changes.csv", rows)).ends == [UPDATED] * 10


def test_a_case_that_is_gone_meanwhile_is_failed_and_the_others_go_on(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=2000)
    for number in range(2, 7):
        put_case(sandbox, number)
    rows = [{"id": id_of(number)} | columns(amara(number)) for number in (2, 3, 4)]
    rows += [{"id": id_of(number), "notes": "New"} for number in (5, 6)]

    def remove(number: int) -> Change:
        return Change(lambda store: store.delete(id_of(number)))

    ByCase(sandbox, {4: [remove(4)], 5: [remove(5)]})
    ByCase(sandbox, {3: [None, remove(3)]}, "GET")
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [
        UPDATED,
        ("failed", "gone", 0),
        ("failed", "gone", 1),
        ("failed", "gone", 1),
        UPDATED,
    ]
    assert run.state.is_failed()
    assert run.rejected == []


class Breaks:
    """Something befalls the change of a case, and from then on the case can't be read."""

    def __init__(self, number: int, action: Action) -> None:
        self.action = action
        self._path = f"/cases/{id_of(number)}"
        self._is_broken = False

    def matches(self, method: str, path: str, _page: str | None) -> bool:
        if path != self._path:
            return False
        if self._is_broken:
            self.action = Status(500)
        self._is_broken = self._is_broken or method == "PATCH"
        return self._is_broken


def test_a_case_over_which_the_server_stumbles_keeps_no_other_row_up(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=2000)
    for number in range(2, 9):
        put_case(sandbox, number)
    rows = [{"id": id_of(number)} | columns(amara(number)) for number in (2, 3, 4)]
    rows += [{"id": id_of(number), "notes": "New"} for number in (5, 6, 7, 8)]
    for number in (2, 5):  # before anything is sent
        path = f"/cases/{id_of(number)}"
        sandbox.faults.append(Fault(Status(500), method="GET", path=path, times=None))
    for number, action in ((3, Applied(Drop())), (6, Drop()), (7, Status(422))):
        sandbox.faults.append(Breaks(number, action))  # type: ignore[arg-type]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [
        ("not_attempted", "case_unreadable", 0),
        ("unknown", "unread", 1),
        UPDATED,
        ("not_attempted", "case_unreadable", 0),
        ("unknown", "unread", 1),
        ("rejected", "status_422", 1),
        UPDATED,
    ]
    sandbox.faults = []
    run = run_update("changes.csv")
    assert [end[0] for end in run.ends] == [
        "updated", "unchanged", "unchanged", "updated", "updated", "updated", "unchanged",
    ]  # fmt: skip
    assert all(len(people_of(sandbox.store, number)) == 1 for number in (2, 3, 4))


# -- stopping for good reason ------------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
def test_a_server_that_is_ill_is_left_alone_after_a_few_failures(
    start_sandbox: StartSandbox, applied: bool
) -> None:
    sandbox = start_sandbox(cases=30)
    numbers = range(2, 36)
    for number in numbers:
        put_case(sandbox, number, TOM)
    ill = Applied(Status(500)) if applied else Status(500)
    sandbox.faults = [Fault(ill, path="/cases/*", method="PATCH", skip=5, times=None)]
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in numbers]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    sent = len(patches(sandbox))
    # as many may be under way when the tenth fails, and three more are tried
    assert 15 + 3 <= sent <= 5 + 10 + 8 + 3
    rest = {"not_attempted": len(rows) - sent}
    done = {"updated": sent} if applied else {"updated": 5, "failed": sent - 5}
    assert run.summary["outcomes"] == done | rest
    assert run.state.is_failed()
    assert "failed 10 times in a row, so nothing more was sent" in str(run.state.message)
    sandbox.faults = []
    if applied:
        assert set(run_update(source).ends) == {UPDATED, UNCHANGED}
        assert all(len(names_in(sandbox, number)) == 2 for number in numbers)


def test_a_server_that_is_ill_before_surnames_are_proven_gets_ten_requests_and_three(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    for number in range(2, 22):
        put_case(sandbox, number, TOM)
    sandbox.faults = [Fault(Status(500), path="/cases/*", method="PATCH", times=None)]
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in range(2, 22)]
    run = run_update(write_csv("changes.csv", rows))
    assert len(patches(sandbox)) == 13
    assert run.ends[:10] == [("failed", "not_applied", 1)] * 10
    assert run.summary["outcomes"] == {"failed": 13, "not_attempted": 7}


class After:
    """A fault for everything that comes after so many changes."""

    def __init__(self, sandbox: Sandbox, changes: int, action: Action, method: str = "*") -> None:
        self._sandbox, self._left = sandbox, changes
        self._method, self.action = method, action

    def matches(self, method: str, _path: str, _page: str | None) -> bool:
        if method == "PATCH":
            self._left -= 1
        return self._left < 0 and self._method in ("*", method)


@pytest.mark.parametrize(
    ("status", "method", "sentence", "others"),
    [
        (401, "*", "refused the client id and secret", {("unknown", "unread", 1)}),
        (401, "PATCH", "check that the API keys", {UPDATED}),
        (403, "PATCH", "failed 10 times in a row", {UPDATED, ("rejected", "status_403", 1)}),
    ],
)
def test_a_right_that_is_lost_under_way_stops_the_run_and_a_rerun_does_the_rest(
    start_sandbox: StartSandbox,
    run_log: list[str],
    status: int,
    method: str,
    sentence: str,
    others: set[End],
) -> None:
    sandbox = start_sandbox(cases=60)
    numbers = range(2, 56)  # more than the breaker lets through while answers are under way
    for number in numbers:
        put_case(sandbox, number, TOM)
    sandbox.faults = [After(sandbox, 5, Status(status), method)]  # type: ignore[list-item]
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in numbers]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    assert set(run.ends) == {*others, ("not_attempted", "stopped", 0)}
    assert "Traceback" not in "\n".join(run_log)
    assert sum(len(names_in(sandbox, number)) - 1 for number in numbers) == 5
    if method == "PATCH":
        return
    sandbox.faults = []
    again = run_update(source)
    assert again.summary["outcomes"] == {"updated": len(rows) - 5, "unchanged": 5}
    assert all(len(names_in(sandbox, number)) == 2 for number in numbers)


def test_a_case_that_cannot_be_read_keeps_the_others_from_nothing(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    for number in range(2, 8):
        put_case(sandbox, number, TOM)
    # the list shows it, asked for by itself it never comes
    sandbox.faults = [Fault(Status(500), path=f"/cases/{id_of(3)}", method="GET", times=None)]
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in range(2, 8)]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [UPDATED, ("failed", "unreachable", 0), *[UPDATED] * 4]


# -- two at once -------------------------------------------------------------------------------


def test_of_two_runs_at_once_one_is_refused_and_no_customer_is_there_twice(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    for number in range(2, 12):
        put_case(sandbox, number)
    rows = [{"ref": ref_of(number)} | columns(amara(number)) for number in range(2, 12)]
    source = write_csv("changes.csv", rows)
    second: list[Run] = []

    def update_too(_store: Store) -> None:
        with ThreadPoolExecutor() as pool:
            second.append(pool.submit(run_update, source, wait_seconds=0).result())

    sandbox.faults = [Fault(Change(update_too), path="/cases/*", method="PATCH", skip=3)]
    assert run_update(source).summary["outcomes"] == {"updated": 10}
    assert second[0].summary["outcomes"] == {"not_attempted": 10}
    assert second[0].state.is_failed()
    assert "writes to this WillSuite account" in str(second[0].state.message)
    assert all(len(names_in(sandbox, number)) == 1 for number in range(2, 12))


def test_a_run_after_one_that_may_not_have_settled_waits_before_it_sends_anything(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.2")
    sandbox = start_sandbox(cases=30)
    for number in range(4, 8):
        put_case(sandbox, number, TOM)
    wait = "the last run here ended cleanly"

    def update(number: int, key: str = "ref") -> Run:
        run_log.clear()
        name = ref_of(number) if key == "ref" else id_of(number)
        return run_update(write_csv("changes.csv", [{key: name} | columns(amara(number))]))

    # what was sent is read back, and that can't be had: the run doesn't know how it ended
    sandbox.faults = [
        Fault(Drop(), path="/cases/*", method="PATCH"),
        Fault(Status(401), path="/cases/*", method="GET", skip=2, times=None),
    ]
    run = update(4, "id")
    assert run.ends == [("unknown", "unread", 1)]
    assert run.state.is_failed()
    assert wait not in "\n".join(run_log)
    # what it sent arrives only now, while this one waits after its three requests
    sandbox.faults = [Fault(add(4, amara(4)), path="/cases", method="GET", skip=3)]
    began = time.monotonic()
    assert update(4).ends == [UNCHANGED]
    assert time.monotonic() - began >= 0.2
    assert wait in "\n".join(run_log)
    assert patches(sandbox, 4) == [{"customers": [amara(4)]}]  # the one that was lost
    assert update(5).ends == [UPDATED]
    assert update(6).ends == [UPDATED]  # after a clean end
    assert wait not in "\n".join(run_log)


def test_a_job_that_a_killed_bulk_update_left_is_waited_for_so_that_it_undoes_nothing(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.1")
    sandbox = start_sandbox(cases=30, job_seconds=1.0)
    put_case(sandbox, 2)

    async def killed() -> None:
        source = write_csv("bulk.csv", [{"ref": ref_of(2), "notes": "Older"}])
        task = asyncio.create_task(bulk_update_cases(source=str(source), output="runs"))
        loop = asyncio.get_running_loop()
        stop = Change(lambda _store: loop.call_soon_threadsafe(task.cancel))
        sandbox.faults = [Fault(stop, path="/api-jobs/*")]
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(killed())
    assert sandbox.pending_jobs == 1
    source = write_csv("changes.csv", [{"ref": ref_of(2), "notes": "Newer"}])
    assert run_update(source).ends == [UPDATED]
    assert sandbox.pending_jobs == 0
    assert field_of(sandbox, 2, "notes") == "Newer"


# -- parameters and files ----------------------------------------------------------------------


def test_options_do_what_they_say(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=30)
    put_case(sandbox, 2)
    header, rows = "id,notes,shoe size", [f"{id_of(2)},Zoë,9", "nobody,x,9"]
    Path("changes.csv").write_bytes("\n".join([header, *rows]).encode("mac_roman"))
    run = run_update("changes.csv", extra="ignore", encoding="mac_roman", on_reject="fail")
    assert run.ends == [UPDATED, ("rejected", "not_found", 0)]
    assert field_of(sandbox, 2, "notes") == "Zoë"
    assert run.state.is_failed()
    assert isinstance(run.result, IncompleteRunError)


def a_file_with(**cells: str) -> Callable[[], str]:
    return lambda: str(write_csv("changes.csv", [cells]))


GOOD = a_file_with(id=id_of(2), notes="x")


@pytest.mark.parametrize(
    ("source", "parameters", "error", "sentence"),
    [
        (lambda: "nowhere.csv", {}, SourceError, "There is no file /"),
        (a_file_with(id="a", nots="x"), {}, SourceError, "(nearest known name: notes)"),
        (
            a_file_with(id="a", customer_title="Ms", customer_last_name="Ng"),
            {},
            SourceError,
            'column B "customer_title" (nearest known name: customer_1_title); '
            'column C "customer_last_name" (nearest known name: customer_1_last_name)',
        ),
        (
            a_file_with(id="a", address_book_1_dob="x"),
            {},
            SourceError,
            "Unknown: column B",
        ),
        (a_file_with(notes="x"), {}, SourceError, "needs a column id or ref"),
        (a_file_with(name="Ann"), {}, SourceError, "is the header missing?"),
        (GOOD, {"extra": "allow"}, RunError, 'extra must be "forbid" or "ignore".'),
        (GOOD, {"on_reject": "stop"}, RunError, 'on_reject must be "complete" or "fail".'),
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


def test_of_a_file_of_bad_rows_nothing_is_asked_and_an_account_that_is_ill_leaves_rows_untouched(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30)
    rows = [{"ref": ref_of(n), "meta:Any": "x"} | columns(amara(n, title="")) for n in range(300)]
    source = write_csv("changes.csv", rows)
    run = run_update(source)
    assert sandbox.requests == []
    assert run.summary["outcomes"] == {"rejected": 300}
    assert run.summary["codes"] == {"required": 300}
    assert run.state.is_completed()
    assert len("\n".join(run_log).splitlines()) < 40

    sandbox.faults = [Fault(Status(500), path="/cases", times=None)]
    rows = [{"ref": ref_of(2), "notes": "x"}, {"ref": "", "notes": "x"}]
    run = run_update(write_csv("changes.csv", rows))
    assert run.ends == [("not_attempted", "stopped", 0), ("rejected", "key_missing", 0)]
    assert run.state.is_failed()
    assert "GET /cases keeps failing with status 500" in str(run.state.message)
    assert "Traceback" not in "\n".join(run_log)
