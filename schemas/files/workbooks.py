"""Excel workbooks: reading those people bring, writing rejected rows for people to correct.

Belongs here: the XLSX format, in both directions. Does not: what a header must look like,
cleaning of cells (`source.py`), and which rows are rejected.

Read by calamine, which is ten times as fast as openpyxl; written by XlsxWriter, which can write
any text as a text.
"""

import io
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from xml.etree import ElementTree

import xlsxwriter
from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from schemas.files import delimited
from schemas.files.parquet import number_text
from schemas.files.sheet_xml import SheetXml, sheet_xml, shown
from schemas.issues import SourceError
from schemas.texts import clean

MAX_UNPACKED_BYTES = 1_500_000_000

_MAX_CELLS = 50_000_000
_DIMENSION = re.compile(rb"<(?:\w+:)?dimension\s+ref=[\"'][^\"':]*:([A-Z]+)([0-9]+)[\"']")
_ERROR_CELL = re.compile(rb"(<(?:\w+:)?c\s[^<>]*\bt=[\"'])e(?=[\"'])")

_EXACT_BELOW = 1e15
"""A spreadsheet keeps 15 digits of a number."""

_LONGEST_TEXT = 32_767
_MOST_ROWS = 1_048_576
_MOST_COLUMNS = 16_384
_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TEXT = 49  # the number of Excel's own format "Text"
_NARROWEST, _WIDEST = 8, 50
MOST_CELLS = 300_000
"""A workbook is made in memory, with some 0.7 kB a cell; what is larger becomes CSV."""
AS_TEXTS = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}


# -- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marks:
    """What is special about rows and cells, besides their values; cells as (row, position)."""

    hidden_rows: Collection[int] = ()
    hidden_columns: Collection[int] = ()
    """By position."""
    without_result: Sequence[tuple[int, int]] = ()
    shown_otherwise: list[tuple[int, int]] = field(default_factory=list)
    """Numbers whose format shows them in a way that isn't known here; filled while records are
    taken."""


def read_records(
    data: bytes, *, is_known: Callable[[str], bool], sheet: str | None
) -> tuple[str, Iterator[Sequence[str]], Marks]:
    """The records of one sheet, from row 1 and column A on.

    Hidden sheets don't count, unless one is named: a person doesn't know of them. Cells with an
    error (#N/A) have the error's name as their text, numbers are as their format shows them.

    Args:
        data: the whole file.
        is_known: tells whether a header is a known one; the sheet that has such is read.
        sheet: the name of the sheet; None takes the only one.

    Returns:
        A description for logs, the records, blank ones too, and what is special about them.

    Raises:
        SourceError: this is no workbook, or one too large, damaged or empty; or there is more than
            one sheet to choose from.
    """
    try:
        data = _checked(data)
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
        number, count, found = _sheet(workbook, is_known, sheet)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            xml = sheet_xml(archive, found.name)
        marks = Marks(xml.hidden_rows(), xml.hidden_columns(), xml.formulas_without_result())
    except (CalamineError, OSError, ValueError, KeyError, ElementTree.ParseError):
        raise _damaged() from None
    which = f", sheet {number} of {count}" if count > 1 else ""
    return f"Excel workbook{which}", _records(found, xml, marks), marks


def _sheet(
    workbook: CalamineWorkbook, is_known: Callable[[str], bool], name: str | None
) -> tuple[int, int, CalamineSheet]:
    """The sheet to be read, its number and how many there are; hidden ones are not counted."""
    if name is not None:
        names = [each for each in workbook.sheet_names if clean(each) == clean(name)]
        if not names:
            raise SourceError("The workbook has no sheet of the name that sheet= gives.")
        found = workbook.get_sheet_by_name(names[0])
        if not found.start:
            raise SourceError("The sheet is empty.")
        return 1, 1, found
    visible = [
        workbook.get_sheet_by_index(position)
        for position, sheet in enumerate(workbook.sheets_metadata)
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]
    filled = [(number, sheet) for number, sheet in enumerate(visible, 1) if sheet.start]
    if not filled:
        raise SourceError("The workbook is empty.")
    known = [(number, sheet) for number, sheet in filled if _has_rows(sheet, is_known)]
    if len(known) > 1:
        raise SourceError(
            f"Sheets {' and '.join(str(number) for number, _ in known)} of the workbook have rows "
            'of this kind. Name the one to be read, as in sheet="Sheet1".'
        )
    number, found = (known or filled)[0]
    return number, len(visible), found


def _has_rows(sheet: CalamineSheet, is_known: Callable[[str], bool]) -> bool:
    """Whether it has a header with known names, and a row below it."""
    rows = (row for row in sheet.iter_rows() if any(clean(_text(cell)) for cell in row))
    header = next(rows, [])
    names = [clean(_text(cell)) for cell in header]
    return any(is_known(name) for name in names if name) and next(rows, None) is not None


def _records(sheet: CalamineSheet, xml: SheetXml, marks: Marks) -> Iterator[Sequence[str]]:
    blank_columns = [""] * (sheet.start or (0, 0))[1]
    formatted = xml.formatted_cells()
    place, code = next(formatted, _NO_MORE)
    width = 0
    for row, cells in enumerate(sheet.iter_rows(), 1):
        record = [*blank_columns, *(cell if type(cell) is str else _text(cell) for cell in cells)]
        while place[0] <= row:
            position = place[1] - len(blank_columns)
            if place[0] == row and 0 <= position < len(cells):
                number = cells[position]
                if type(number) is float or type(number) is int:
                    text = shown(float(number), code)
                    if text is None:
                        marks.shown_otherwise.append(place)
                    record[place[1]] = text or record[place[1]]
            place, code = next(formatted, _NO_MORE)
        # The header ends with its last name: what stands to its right is a matter of single rows
        while not width and record and not clean(record[-1]):
            record.pop()
        width = width or len(record)
        yield record
    # calamine ends with the last value
    last = max((row for row, _ in marks.without_result), default=0)
    for _ in range(sheet.total_height, last):
        yield [""] * width


_NO_MORE = ((sys.maxsize, 0), "")


def _text(cell: float | str | bool | time | date | timedelta) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return number_text(cell, _EXACT_BELOW)
    if isinstance(cell, datetime):
        # Excel counts in days: half past nine may come as 9:29:59.9999
        nearest = (cell + timedelta(milliseconds=500)).replace(microsecond=0)
        return str(nearest.date() if nearest.time() == time() else nearest)
    return str(cell)


def _damaged() -> SourceError:
    return SourceError(
        "The file begins like an Excel workbook (.xlsx) but can't be read as such. Open it in a "
        "spreadsheet program and save it again as .xlsx, or as CSV."
    )


def _checked(data: bytes) -> bytes:
    """`data` if it is a workbook of a size to be read, with its error cells made visible."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise SourceError(
                    "The workbook is too large when unpacked. Split it, or save it as CSV."
                )
            sheets = [name for name in archive.namelist() if _is_sheet(name)]
            if not sheets:
                raise SourceError(
                    "The file is a ZIP archive but no Excel workbook (.xlsx). Unpack it first, or "
                    "save the table as .xlsx or CSV."
                )
            # a list, since every sheet is to be checked for its size
            if any([_has_error_cells(archive.read(name)) for name in sheets]):
                return _with_visible_errors(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise _damaged() from None
    return data


def _is_sheet(name: str) -> bool:
    return name.startswith("xl/worksheets/") and name.endswith(".xml")


def _has_error_cells(sheet: bytes) -> bool:
    """Whether there are any.

    Raises:
        SourceError: the sheet has a stray cell so far out that all those in between, which
            calamine lays out in memory, would not fit.
    """
    if dimension := _DIMENSION.search(sheet, 0, 10_000):
        columns = 0
        for letter in dimension[1]:
            columns = 26 * columns + letter - ord("A") + 1
        if columns * int(dimension[2]) > _MAX_CELLS:
            raise SourceError(
                f"A sheet reaches as far as cell {(dimension[1] + dimension[2]).decode()}. Delete "
                "the columns and rows beyond the data, and save it again."
            )
    # that pattern alone takes seconds on a large sheet
    return (b'"e"' in sheet or b"'e'" in sheet) and _ERROR_CELL.search(sheet) is not None


def _with_visible_errors(archive: zipfile.ZipFile) -> bytes:
    """The workbook with errors as texts: calamine gives an error as if the cell were blank."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as copy:
        for name in archive.namelist():
            part = archive.read(name)
            copy.writestr(name, _ERROR_CELL.sub(rb"\1str", part) if _is_sheet(name) else part)
    return content.getvalue()


# -- writing ---------------------------------------------------------------------------------


def rejects_file(
    header: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    marked: Collection[tuple[int, int]],
) -> tuple[str, bytes]:
    """A file of rows for a person to correct and bring again: a workbook, or CSV where a workbook
    can't hold all of it unchanged, or would be very large.

    No cell is a formula in either, and `read_sheet` gives the cells back as they were.

    Args:
        header: the names of the columns.
        rows: the cells; None and "" are blank. A row may be longer than the header.
        marked: the cells to highlight, as (index of the row, index of the column).

    Returns:
        The ending of the file's name, ".xlsx" or ".csv", and its content.
    """
    if fits_a_workbook(header, rows):
        return ".xlsx", _workbook(header, rows, marked)
    return ".csv", delimited.written(header, rows)


def fits_a_workbook(header: Sequence[str], rows: Sequence[Sequence[str | None]]) -> bool:
    """Whether a workbook can hold all cells unchanged, and is not very large."""
    table = (header, *rows)
    if len(table) > _MOST_ROWS or max(map(len, table)) > _MOST_COLUMNS:
        return False
    if sum(map(len, table)) > MOST_CELLS:
        return False
    return all(_fits_a_cell(cell) for row in table for cell in row if cell)


def _fits_a_cell(text: str) -> bool:
    # Excel counts what UTF-16 makes of a text
    if len(text) > _LONGEST_TEXT // 2 and len(text.encode("utf-16-le")) > 2 * _LONGEST_TEXT:
        return False
    # XlsxWriter takes "<r>...</r>" for markup of its own, and puts it into the file as it is
    is_markup = text.startswith("<r>") and text.endswith("</r>")
    return not is_markup and not _NOT_IN_XML.search(text)


def _workbook(
    header: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    marked: Collection[tuple[int, int]],
) -> bytes:
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, AS_TEXTS) as workbook:
        # what a person types stays a text too: a phone number keeps its zero, a date its form
        text = workbook.add_format({"num_format": _TEXT})
        mark = workbook.add_format({"num_format": _TEXT, "bg_color": "#FFC7CE"})
        bold = workbook.add_format({"num_format": _TEXT, "bold": True})
        sheet = workbook.add_worksheet("Rejected rows")
        for column, width in enumerate(_widths(header, rows)):
            sheet.set_column(column, column, width, text)
        for column, name in enumerate(header):
            sheet.write_string(0, column, name, bold)
        for index, row in enumerate(rows):
            for column, cell in enumerate(row):
                form = mark if (index, column) in marked else text
                if cell or form is mark:
                    sheet.write_string(index + 1, column, cell or "", form)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(rows), max(len(header) - 1, 0))
        # no green corner on every phone number
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
    return content.getvalue()


def _widths(header: Sequence[str], rows: Sequence[Sequence[str | None]]) -> list[int]:
    widths = [_NARROWEST] * max(map(len, (header, *rows)))
    for row in (header, *rows):
        for column, cell in enumerate(row):
            widths[column] = max(widths[column], min(len(cell or "") + 2, _WIDEST))
    return widths
