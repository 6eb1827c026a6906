"""What a person types into a spreadsheet gives the same plan, or the same refusal, in whatever kind
of file it is saved.
"""

# ruff: noqa: DTZ001, RUF001 - cells know no time zone, and people type such signs

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pytest
import xlsxwriter

from schemas.appointment_file import is_appointment_column, plan_appointments
from schemas.files.source import Sheet, read_sheet, read_table
from schemas.import_file import is_import_column
from schemas.import_plan import plan_import
from schemas.issues import SourceError
from schemas.update_file import BULK_UPDATE, UPDATE_CASES, plan_updates

Cell = str | int | float | bool | date | datetime | None
DATE, TIME = "%d/%m/%Y", "%d/%m/%Y %H:%M"


@dataclass(frozen=True)
class Typed:
    """A cell as it was typed, and how its format shows it."""

    value: int | float
    format: str
    shown: str


# -- the kinds of file -----------------------------------------------------------------------


def shown(cell: Cell | Typed) -> str:
    """As a spreadsheet of a British person shows it."""
    if isinstance(cell, Typed):
        return cell.shown
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, datetime):
        return cell.strftime(TIME)
    if isinstance(cell, date):
        return cell.strftime(DATE)
    return f"{cell:.15g}" if isinstance(cell, float) else "" if cell is None else str(cell)


def as_workbook(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for row, cells in enumerate(rows):
            for column, cell in enumerate(cells):
                if isinstance(cell, Typed):
                    form = book.add_format({"num_format": cell.format})
                    sheet.write_number(row, column, cell.value, form)
                elif isinstance(cell, date):
                    form = "dd/mm/yyyy hh:mm" if isinstance(cell, datetime) else "dd/mm/yyyy"
                    sheet.write_datetime(row, column, cell, book.add_format({"num_format": form}))
                elif isinstance(cell, str):
                    sheet.write_string(row, column, cell)
                elif cell is not None:
                    sheet.write(row, column, cell)


def as_csv(separator: str, encoding: str) -> Callable[[Path, Sequence[Sequence[Any]]], None]:
    def write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
        table = pd.DataFrame([[shown(cell) for cell in cells] for cells in rows])
        text = io.StringIO(newline="")
        table.to_csv(text, sep=separator, header=False, index=False, lineterminator="\r\n")
        path.write_bytes(text.getvalue().encode(encoding))

    return write


def columns_of(rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Columns of one kind as they are; others as the texts that are shown."""
    header, *records = rows
    columns: dict[str, list[Any]] = {}
    for place, name in enumerate(header):
        cells = [record[place] for record in records]
        kinds = {type(cell) for cell in cells if cell is not None}
        is_plain = len(kinds) < 2 and Typed not in kinds
        columns[name] = cells if is_plain else [shown(cell) or None for cell in cells]
    return columns


def as_parquet(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    pd.DataFrame(columns_of(rows)).to_parquet(path)  # a number beside a gap becomes 9001.0


def as_parquet_of_polars(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    pl.DataFrame(columns_of(rows)).write_parquet(path)


KINDS: Mapping[str, Callable[[Path, Sequence[Sequence[Any]]], None]] = {
    "workbook": as_workbook,
    "Parquet": as_parquet,
    "Parquet of Polars": as_parquet_of_polars,
    **{
        f"CSV {separator} {encoding}": as_csv(separator, encoding)
        for separator in (",", ";")
        for encoding in ("utf-8-sig", "cp1252", "utf-16")
    },
}


# -- the plans of the four flows -------------------------------------------------------------


REASONS = {
    "number_format": "number", "identifier_grouped": "number", "identifier_rounded": "number",
    "date_swapped": "dates", "date_contradiction": "dates", "date_month_first": "dates",
    "date_mixed": "dates", "date_impossible": "dates",
}  # fmt: skip
"""Which of these it is depends on what the program that saved the file has made of a cell."""


def said(plan: Any, wanted: Mapping[int, Any]) -> Any:
    """What is sent by row, and which cells are refused; the first row of the sheet is 0."""
    first = min(plan.rows)
    refused = {
        (issue.row - first, issue.column, REASONS.get(issue.code, issue.code))
        for issues in plan.issues.values()
        for issue in issues
    }
    sent = {row - first: repr(each) for row, each in wanted.items()}
    return sent, refused, {row - first: note for row, note in plan.notes.items()}


IS_KNOWN: Mapping[str, Callable[[str], bool]] = {
    "import": is_import_column,
    "single": UPDATE_CASES.has_column,
    "bulk": BULK_UPDATE.has_column,
    "appointments": is_appointment_column,
}


def planned(flow: str, sheet: Sheet) -> Any:
    """The plan of the flow, or the sentence of a refusal."""
    try:
        if flow == "import":
            made = plan_import(sheet)
            return said(made, {case.rows[0]: (case.ref, case.body) for case in made.cases})
        if flow == "appointments":
            booked = plan_appointments(sheet, timezone=ZoneInfo("Europe/London"))
            return said(booked, {each.row: (each.key, each.given) for each in booked.wanted})
        changes = plan_updates(sheet, BULK_UPDATE if flow == "bulk" else UPDATE_CASES)
        wanted = {
            each.row: (each.key, each.notes, each.new_ref, each.customers)
            for each in changes.changes
        }
        return said(changes, wanted)
    except SourceError as error:
        return str(error)


def each_planned(flow: str, sheets: Mapping[str, Sheet]) -> dict[str, Any]:
    """The plan of each; sheets that are the same are planned once, for it takes its time."""
    known: dict[str, Any] = {}
    plans = {}
    for kind, sheet in sheets.items():
        first = min(sheet.rows)
        issues = [replace(issue, row=issue.row - first) for issue in sheet.issues + sheet.doubts]
        content = f"{sheet.frame.to_json()} {issues}"
        plans[kind] = known[content] if content in known else planned(flow, sheet)
        known[content] = plans[kind]
    return plans


PERSON = ["ref", "customer_1_title", "customer_1_first_names", "customer_1_last_name"]
BORN = [*PERSON, "customer_1_date_of_birth"]
PHONE = [*PERSON, "customer_1_tel_1"]
NOTES = [*PERSON, "notes"]
BOOKING = ["key", "case_ref", "adviser_email", "start_time", "end_time"]
ADVISER = "a@example.org"
NINE, TEN = datetime(2027, 3, 1, 9), datetime(2027, 3, 1, 10)
ANN = ("Ms", "Ann", "Núñez")
BEN = ("Mr", "Ben", "O’Brien")

SHEETS: Mapping[str, tuple[str, Sequence[Sequence[Any]], str]] = {
    "names and notes": (
        "import", [NOTES, ["A-1", *ANN, "a; b, \"c\" – £5"], ["A-2", *BEN, None]], "",
    ),
    "births": (
        "import", [BORN, ["A", *ANN, date(1960, 2, 1)], ["B", *BEN, date(1931, 12, 31)]], "",
    ),
    "births as texts": ("import", [BORN, ["A", *ANN, "01/02/1960"], ["B", *BEN, "1/2/1961"]], ""),
    "swapped births": (
        "import",
        [BORN, ["A", *ANN, date(1960, 2, 1)], ["B", *BEN, date(1960, 3, 1)],
         ["C", *BEN, "12/31/1960"], ["D", *BEN, "25/12/1960"]], "dates",
    ),
    "numbers as refs, and a gap": (
        "import", [NOTES, [9001, *ANN, None], [None, *BEN, None], [9002, *BEN, None]],
        "ref_missing",
    ),
    "refs with zeros in front": (
        "import", [PERSON, [Typed(42, "00000", "00042"), *ANN], [Typed(7, "00000", "00007"), *BEN]],
        "",
    ),
    "refs with commas": (
        "import", [PERSON, ["A", *ANN], [Typed(12345, "#,##0", "12,345"), *BEN]], "number",
    ),
    "long refs": (
        "import", [PERSON, ["A", *ANN], [Typed(159001810629457088, "0.00E+00", "1.59E+17"), *BEN]],
        "number",
    ),
    "a date as ref": ("import", [PERSON, ["A", *ANN], [date(2024, 3, 1), *BEN]], "identifier_type"),
    "a date as surname": (
        "import", [PERSON, ["A", *ANN], ["B", "Mr", "Ben", date(2024, 5, 12)]], "not_a_name",
    ),
    "TRUE as surname": ("import", [PERSON, ["A", *ANN], ["B", "Mr", "Ben", True]], "not_a_name"),
    "phones that are numbers": (
        "import", [PHONE, ["A", *ANN, 447700900123], ["B", *BEN, 7700900123]], "phone_plus_lost",
    ),
    "phones with a format": (
        "import",
        [PHONE, ["A", *ANN, Typed(7700900123, "00000 000000", "07700 900123")], ["B", *BEN, None]],
        "",
    ),
    "sums": ("import", [NOTES, ["A", *ANN, 0.1 + 0.2], ["B", *BEN, 1234.1000000000008]], ""),
    "a total": (
        "import", [NOTES, ["A", *ANN, "x"], ["Total", None, None, None, 1]], "only_a_ref",
    ),
    "the header again": (
        "import", [NOTES, ["A", *ANN, "x"], NOTES, ["B", *BEN, "y"]], "files_joined",
    ),
    "words for nothing": (
        "import", [NOTES, ["A", *ANN, "NULL"], ["B", *BEN, "NULL"]], "Words for nothing",
    ),
    "an invisible sign": ("import", [PERSON, ["A\xad-1", *ANN], ["A-2", *BEN]], "Signs that"),
    "changes": ("single", [[*NOTES, "new_ref"], ["A", *ANN, "x", 17], ["B", *BEN, "y", 18]], ""),
    "notes in bulk": ("bulk", [["id", "notes"], ["c-1", 12.5], ["c-2", 7.0]], ""),
    "a key twice in bulk": ("bulk", [["ref", "notes"], [17, "x"], [17, "y"]], "case_repeated"),
    "bookings": (
        "appointments",
        [BOOKING, [5001, "A", ADVISER, NINE, TEN], [5002, "B", ADVISER, NINE, TEN]], "",
    ),
    "a booking without its end": (
        "appointments", [BOOKING, ["k", "A", ADVISER, NINE, None], ["l", "B", ADVISER, NINE, TEN]],
        "required_of_appointment",
    ),
}  # fmt: skip
"""Of each the flow, the rows as they were typed, and what its result has in it."""


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_gives_the_same_in_every_kind_of_file_and_as_a_table(
    name: str, tmp_path: Path
) -> None:
    flow, rows, part = SHEETS[name]
    is_known = IS_KNOWN[flow]
    sheets = {}
    for kind, write in KINDS.items():
        write(tmp_path / "file", rows)
        sheets[kind] = read_sheet(tmp_path / "file", is_known=is_known)
    columns = columns_of(rows)
    sheets["pandas"] = read_table(pd.DataFrame(columns), is_known=is_known)
    sheets["Arrow"] = read_table(pl.DataFrame(columns).to_arrow(), is_known=is_known)
    plans = each_planned(flow, sheets)
    for kind, plan in plans.items():
        assert plan == plans["workbook"], kind
    assert part in str(plans["workbook"])
