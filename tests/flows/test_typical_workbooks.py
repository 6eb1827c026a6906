"""A workbook with the problems that workbooks have, through each flow into the account.

One run a flow: what single rules do is tested where they are (`tests/schemas/`).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from ended_runs import EndedRun
from python_calamine import CalamineWorkbook

from flows.bulk_update_cases import bulk_update_cases
from flows.import_cases import import_cases
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases
from sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("prefect_server", "no_account_from_outside")

WITHOUT_RESULT = object()
"""A formula that was never calculated."""
ZEROS = object()
"""42, which its format shows as 00042."""
HIDDEN = object()
"""First in a row that is hidden."""


@pytest.fixture
def sandbox(start_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.02")
    monkeypatch.setattr("schemas.appointment_file._now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    return start_sandbox(cases=5)


def workbook(header: list[str], *rows: list[Any]) -> Path:
    path = Path("typical.xlsx")
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        zeros, day = (book.add_format({"num_format": form}) for form in ("00000", "dd/mm/yyyy"))
        sheet.write_row(0, 0, header)
        for number, row in enumerate(rows, 1):
            if HIDDEN in row:
                sheet.set_row(number, None, None, {"hidden": True})
            for column, cell in enumerate(cell for cell in row if cell is not HIDDEN):
                if cell is ZEROS:
                    sheet.write_number(number, column, 42, zeros)
                elif cell is WITHOUT_RESULT:
                    sheet.write_formula(number, column, "=B1", None, "")
                elif isinstance(cell, date):
                    sheet.write_datetime(number, column, cell, day)
                elif cell is not None:
                    sheet.write(number, column, cell)
    return path


def ends(run: EndedRun) -> dict[int, tuple[str, str | None]]:
    return {row["row"]: (row["outcome"], row["code"]) for row in run.rows}


def rejected_rows(run: EndedRun) -> list[str]:
    sheet = CalamineWorkbook.from_path(run.summary["rejected_file"]).get_sheet_by_index(0)
    return [str(row[0]) for row in sheet.to_python()[1:]]


def test_cases_are_created_of_the_rows_that_are_as_they_were_seen(sandbox: Sandbox) -> None:
    sandbox.store.change(sandbox.store.ids[0], ref="9001")
    path = workbook(
        ["Ref", "Customer 1 Title", "Customer 1 First Names", "Customer 1 Last Name",
         "Customer 1 Tel 1", "Customer 1 Date of Birth", "Notes"],
        [ZEROS, "Ms", "Ann", "Null", "07700 900123", date(1960, 2, 1), 0.1 + 0.2],
        ["9001.0", "Mr", "Ben", "Okafor", None, None, None],
        ["1.5", "Mr", "Wei", "Ng", None, None, None],
        ["A-4", "Mr", "Tom", "Brien", 447700900123, None, None],
        [date(2024, 3, 1), "Mr", "Tom", "Brien", None, None, None],
        ["A-6", "Ms", "Zoe", "Wren", None, WITHOUT_RESULT, None],
        [],
        [HIDDEN, "A-8", "Ms", "Amara", "Hidden", None, None, None],
        ["A\u00ad-9", "Ms", "Amara", "Wren", "\u202a07700 900124\u202c", None, "x"],
        ["Total", None, None, None, None, None, 7],
    )  # fmt: skip
    run = EndedRun.of(import_cases, path, hidden="skip")
    assert ends(run) == {
        2: ("created", None), 3: ("rejected", "ref_decimal"), 4: ("created", None),
        5: ("rejected", "phone_plus_lost"), 6: ("rejected", "identifier_type"),
        7: ("rejected", "formula_without_result"), 10: ("created", "cleaned"),
        11: ("rejected", "only_a_ref"),
    }  # fmt: skip
    made = [sandbox.store.case(case_id) or {} for case_id in sandbox.store.ids]
    by_ref = {str(case["ref"]): case for case in made}
    assert {"00042", "9001", "1.5", "A-9"} <= by_ref.keys()
    assert len(made) == 5 + 3
    assert by_ref["00042"]["notes"] == "0.3"
    assert by_ref["00042"]["customers"][0]["date_of_birth"] == "1960-02-01"
    assert by_ref["A-9"]["customers"][0]["tel_1"] == "07700 900124"
    assert rejected_rows(run) == ["3", "5", "6", "7", "11"]


def test_cases_are_changed_by_the_rows_that_are_as_they_were_seen(sandbox: Sandbox) -> None:
    ids = sandbox.store.ids
    for case_id, ref in zip(ids, ("00042", "B-2", "9001", "B-4", "B-5"), strict=True):
        sandbox.store.change(case_id, ref=ref, notes="old")
    path = workbook(
        ["ref", "notes", "new_ref"],
        [ZEROS, "new", None],
        ["B-2", WITHOUT_RESULT, None],
        ["9001.0", "new", None],
        ["1.5", "new", None],
        ["ref", "notes", "new_ref"],
        ["B\u200b-4", "new", 17],
        ["B-5", "new", date(2024, 3, 1)],
        ["Total", None, None],
    )
    run = EndedRun.of(update_cases, path)
    assert ends(run) == {
        2: ("updated", None), 3: ("rejected", "formula_without_result"),
        4: ("rejected", "ref_decimal"), 5: ("rejected", "not_found"),
        6: ("rejected", "files_joined"), 7: ("updated", "cleaned"),
        8: ("rejected", "identifier_type"), 9: ("rejected", "not_found"),
    }  # fmt: skip
    has = [sandbox.store.case(case_id) or {} for case_id in ids]
    assert [case["notes"] for case in has] == ["new", "old", "old", "new", "old"]
    assert [case["ref"] for case in has] == ["00042", "B-2", "9001", "17", "B-5"]


def test_many_cases_are_changed_by_the_rows_that_are_as_they_were_seen(sandbox: Sandbox) -> None:
    ids = sandbox.store.ids
    for case_id, ref in zip(ids, ("00042", "B-2", "9001", "B-4", "B-5"), strict=True):
        sandbox.store.change(case_id, ref=ref, notes="old")
    path = workbook(
        ["ref", "notes"],
        [ZEROS, "new"],
        ["B-2", "#N/A"],
        ["9001.0", "new"],
        [1.5, "new"],
        [HIDDEN, "B-4", "new"],
        ["B-5", 12.5],
        ["b-5", "other"],
        ["TOTAL", 4],
    )
    run = EndedRun.of(bulk_update_cases, path, hidden="include")
    assert ends(run) == {
        2: ("updated", None), 3: ("rejected", "error_cell"), 4: ("rejected", "ref_decimal"),
        5: ("rejected", "not_found"), 6: ("updated", None), 7: ("rejected", "case_repeated"),
        8: ("rejected", "case_repeated"), 9: ("rejected", "not_found"),
    }  # fmt: skip
    has = [sandbox.store.case(case_id) or {} for case_id in ids]
    assert [case["notes"] for case in has] == ["new", "old", "old", "new", "old"]


def test_appointments_are_made_of_the_rows_that_are_as_they_were_seen(sandbox: Sandbox) -> None:
    sandbox.store.change(sandbox.store.ids[0], ref="C-1")
    times = ("2027-03-01 09:00", "2027-03-01 10:00")
    rest = ("C-1", "adviser@example.org", *times)
    header = ["key", "case_ref", "adviser_email", "start_time", "end_time", "sms_recipient",
              "sms_confirmation"]  # fmt: skip
    first = EndedRun.of(
        sync_appointments, workbook(header, ["5001", *rest]), journal="journal", new_journal=True
    )
    assert ends(first) == {2: ("created", None)}
    path = workbook(
        header,
        [ZEROS, *rest],
        ["5001.0", *rest],
        ["1.5", *rest, 7700900123, "yes"],
        ["AAMkAGI0w=", *rest, "07700\u202a 900123", "yes"],
        ["AAMkAGI0W=", *rest],
        ["k-6", "C-1", "adviser@example.org", date(2027, 3, 1), times[1]],
        ["k-7", "C-1", "adviser@example.org", WITHOUT_RESULT, times[1]],
        ["k-8", "C-1", "adviser@example.org", "2027-03-01 09:00", "2028-03-01 10:00"],
        ["Total: 8"],
    )
    run = EndedRun.of(sync_appointments, path, journal="journal")
    assert ends(run) == {
        2: ("created", None), 3: ("rejected", "key_decimal"), 4: ("rejected", "phone_zero_lost"),
        5: ("created", "cleaned"), 6: ("created", None), 7: ("rejected", "time_of_day_missing"),
        8: ("rejected", "formula_without_result"), 9: ("rejected", "too_many_hours"),
        10: ("rejected", "case_missing"),
    }  # fmt: skip
