"""Files people bring: CSV as people really save it, Parquet, Excel workbooks; tables from Python.

Belongs here: which kind a file is, its header, and its cells as clean texts with row numbers as a
spreadsheet shows them. Does not: what a column means (`import_file.py` and its like), or several
files as one (`several.py`).

Whatever the kind, a file comes down to records of texts, the header being one of them; the same
header rules and the same cleaning then hold for all kinds.
"""

# ruff: noqa: RUF001, RUF003 - signs that look like others are what is looked for

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.columns import letters_of, normalised
from schemas.files import delimited, parquet, workbooks
from schemas.files.content import content_of
from schemas.files.header import (
    FIRST_OF_A_FILE,
    FIRST_OF_A_TABLE,
    Header,
    refuse_values_without_name,
    take_header,
)
from schemas.files.hidden import seen_names, without_hidden
from schemas.files.structure import structure_issue
from schemas.issues import Issue, SourceError
from schemas.texts import clean

MAX_BYTES = 200_000_000
MAX_ROWS = 500_000

_BATCH = 10_000
_NOT_TEXT = (
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls), or one with a password",
     "Save it as .xlsx without a password, or as CSV."),
    (b"\x1f\x8b", "compressed (gzip)", "Unpack it first."),
    (b"BZh", "compressed (bzip2)", "Unpack it first."),
    (b"\xfd7zXZ\0", "compressed (xz)", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "compressed (7z)", "Unpack it first."),
    (b"ARROW1", "a Feather or Arrow file", "Save it as Parquet or CSV."),
    (b"%PDF", "a PDF", "Save the table as .xlsx or CSV."),
    (b"SQLite format 3\0", "a database", "Save the table as CSV."),
    (b"{\\rtf", "a text document (RTF)", "Save the table as .xlsx or CSV."),
)  # fmt: skip

_EXCEL_ERRORS = pa.array(
    ["#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!",
     "#GETTING_DATA", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!"],
    pa.large_string(),
)  # fmt: skip

_LINE = r"^[-=_*+—–─|]{2,}$"
# UTF-8 read as cp1252 and saved again: "Ã©" for é, "â€™" for ’, "Â£" for £, "Å‚" for ł. Signs that
# may well follow a capital Ã at the end of a word (“MAÇÃ”) tell nothing there.
_CONTINUATION = "\x80-\x9f¡-º¼-¿€‚ƒ„†‡ˆ‰Š‹ŒŽ˜™š›œžŸ"
_PUNCTUATION = "\xa0»‘’“”•–—…"
_DAMAGED = re.compile(
    f"\ufffd|[ÃÅÄ][{_CONTINUATION}]|(?<![A-ZÀ-Þ])Ã[{_PUNCTUATION}]|Ã[{_PUNCTUATION}](?=[^\\W\\d_])"
    "|â€|â‚¬|Â[\xa0-\xbf]"
)


@dataclass(frozen=True)
class Sheet:
    """A file as text, one row per record, before any column has a meaning."""

    frame: pd.DataFrame
    """The header's texts as columns, every one of dtype `str`; clean cells, blank ones missing."""
    rows: list[int]
    """The row of each frame row as a spreadsheet shows it: the header is row 1. Of a table from
    Python its position, from 0 on."""
    issues: list[Issue]
    """What is wrong with the structure or the text of single rows, which are in `frame` too."""
    surplus: dict[int, list[str]]
    """By spreadsheet row: the cells of a too long row beyond the header."""
    blank_rows: int
    """How many wholly blank rows were left out."""
    description: str
    """The kind of the file, for a log line; nothing of its content, nor its name."""
    doubts: list[Issue] = field(default_factory=list)
    """What is wrong with single cells where they are to be taken sign by sign: references, keys,
    phones, postcodes."""
    files: Sequence[str] = ()
    """The names of several files that were read as one, in whose rows `RowOfFile` tells them."""


def read_sheet(
    source: str | Path,
    *,
    is_known: Callable[[str], bool],
    encoding: str | None = None,
    sheet: str | None = None,
    hidden: str = "refuse",
) -> Sheet:
    """Read a CSV file, a Parquet file or an Excel workbook; the content tells which it is.

    Args:
        source: the path of the file, or a URL that pyarrow knows, such as s3://bucket/file.csv.
        is_known: tells whether the text of a header is one of the columns the caller knows.
        encoding: of a CSV file, where it can't be told.
        sheet: the name of a workbook's sheet, where several could be meant.
        hidden: "refuse" a sheet with hidden rows, "skip" these, or "include" them.

    Raises:
        SourceError: there is no such file, or it can't be used as a whole.
    """
    data = content_of(source, MAX_BYTES)
    for magic, what, advice in _NOT_TEXT:
        if data.startswith(magic):
            raise SourceError(f"The file is {what}. {advice}")
    is_workbook = data.startswith(b"PK\x03\x04")
    if sheet is not None and not is_workbook:
        raise SourceError("Only a workbook has sheets; leave sheet= out.")
    marks = workbooks.Marks()
    if data.startswith(b"PAR1"):
        description, records = parquet.read_records(data, max_rows=MAX_ROWS)
    elif is_workbook:
        description, records, marks = workbooks.read_records(data, is_known=is_known, sheet=sheet)
    else:
        description, records = delimited.read_records(data, is_known=is_known, encoding=encoding)
    return _sheet(description, records, is_known, marks, hidden)


def read_table(table: pd.DataFrame | pa.Table, *, is_known: Callable[[str], bool]) -> Sheet:
    """Read a table of a Python program, as if it had been written to Parquet.

    Its rows are known by their position, from 0 on: `frame.iloc[row]`, `table.slice(row, 1)`.

    Raises:
        SourceError: it can't be used as a whole.
    """
    kind = "pandas DataFrame" if isinstance(table, pd.DataFrame) else "Arrow table"
    records = parquet.records_of(table)
    return _sheet(kind, records, is_known, workbooks.Marks(), "refuse", FIRST_OF_A_TABLE)


# -- cells -----------------------------------------------------------------------------------


@dataclass
class _Findings:
    """What turns up while cells are cleaned, by spreadsheet row."""

    counts: dict[int, int] = field(default_factory=dict)
    """How many cells a row has that has too few or too many of them."""
    surplus: dict[int, list[str]] = field(default_factory=dict)
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """Rows, and positions of columns."""
    joined: list[int] = field(default_factory=list)
    """Rows at which another file begins: by its byte order mark, or by its header."""
    ruled: list[int] = field(default_factory=list)
    """Rows that are lines, as programs draw them below a header."""


def _sheet(
    description: str,
    records: Iterator[Sequence[str]],
    is_known: Callable[[str], bool],
    marks: workbooks.Marks,
    hidden: str,
    first_row: int = FIRST_OF_A_FILE,
) -> Sheet:
    header = take_header(records, is_known, first_row)
    findings = _Findings()
    table = _cleaned(records, header, findings)
    refuse_values_without_name(header.names, table)
    error_cells = _error_cells(table, header)
    findings.joined += _repeated_headers(table, header)
    findings.ruled += _ruled_lines(table, header)
    names, remark = seen_names(header.names, table, is_known, marks.hidden_columns, hidden)
    table = table.select([position for position, name in enumerate(names) if name])
    description += remark
    uncalculated = {row for row, _ in marks.without_result if row > header.row}
    kept = _rows_with_something(table, {*findings.surplus, *uncalculated}, header.first_row)
    if marks.hidden_rows:
        kept, remark = without_hidden(kept, header.first_row, marks.hidden_rows, hidden)
        description += remark
    frame = table.filter(kept).combine_chunks().to_pandas()
    frame.columns = pd.Index([name for name in names if name], dtype="str")
    rows = [row for row, is_kept in enumerate(kept.to_pylist(), header.first_row) if is_kept]
    return Sheet(
        frame=frame,
        rows=rows,
        issues=_issues(findings, error_cells, header, set(rows), marks.without_result),
        doubts=_doubts(marks.shown_otherwise, header, set(rows)),
        surplus=findings.surplus,
        blank_rows=header.row - first_row + len(kept) - len(rows),
        description=description,
    )


def _cleaned(records: Iterator[Sequence[str]], header: Header, findings: _Findings) -> pa.Table:
    """The records below the header as a table of texts, with null for blank."""
    fields = [pa.field(str(position), pa.large_string()) for position in range(len(header.names))]
    batches = []
    row = header.first_row
    while batch := list(islice(records, _BATCH)):
        if row - header.first_row + len(batch) > MAX_ROWS:
            raise SourceError(
                f"The file has more than {MAX_ROWS:,} rows, which is the most that is taken. "
                "Split it, and bring the parts one after the other."
            )
        columns = zip(*_even(batch, row, header, findings), strict=True)
        arrays = [
            _cleaned_column(cells, row, position, findings)
            for position, cells in enumerate(columns)
        ]
        batches.append(pa.record_batch(arrays, schema=pa.schema(fields)))
        row += len(batch)
    return pa.Table.from_batches(batches, schema=pa.schema(fields))


def _even(
    batch: list[Sequence[str]], first_row: int, header: Header, findings: _Findings
) -> Iterator[Sequence[str]]:
    """`batch` with as many cells in each record as the header has."""
    width = len(header.names)
    for row, record in enumerate(batch, first_row):
        if len(record) == width:
            yield record
            continue
        surplus = [_cleaned_cell(cell) for cell in record[width:]]
        while surplus and not surplus[-1]:
            surplus.pop()
        if surplus:
            findings.surplus[row] = surplus
            findings.counts[row] = width + len(surplus)
        elif len(record) < header.width:
            findings.counts[row] = len(record)
        yield [*record[:width], *[""] * (width - len(record))]


def _cleaned_column(
    cells: Sequence[str], first_row: int, position: int, findings: _Findings
) -> pa.Array:
    texts = pa.array(cells, pa.large_string())
    # Nearly all cells are plain; cleaning only the others takes a tenth of the time
    is_plain = pc.and_(pc.ascii_is_printable(texts), pc.equal(pc.ascii_trim(texts, " "), texts))
    cleaned = []
    for index in pc.indices_nonzero(pc.invert(is_plain)).to_pylist():
        cell, row = cells[index], first_row + index
        if "\0" in cell:
            raise SourceError(f"Row {row} holds a NUL character. Remove it at the source.")
        if position == 0 and cell.startswith("\ufeff"):
            findings.joined.append(row)
        if _DAMAGED.search(cell):
            findings.damaged.append((row, position))
        cleaned.append(_cleaned_cell(cell))
    texts = pc.replace_with_mask(texts, pc.invert(is_plain), pa.array(cleaned, texts.type))
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _cleaned_cell(cell: str) -> str:
    """`cell` without blank ends; with one form of line ends, whatever system saved the file."""
    return clean(cell).replace("\r\n", "\n")


def _rows_with_something(table: pa.Table, surplus: Iterable[int], first_row: int) -> pa.Array:
    """A boolean for each row of `table`."""
    kept = np.zeros(len(table), dtype=bool)
    for column in table.columns:
        kept |= column.is_valid().to_numpy()
    kept[[row - first_row for row in surplus]] = True
    return pa.array(kept)


# -- issues ----------------------------------------------------------------------------------


def _error_cells(table: pa.Table, header: Header) -> list[tuple[int, int]]:
    """Rows, and positions of columns, of cells in which a spreadsheet shows an error."""
    return [
        (header.first_row + index, position)
        for position, column in enumerate(table.columns)
        for index in pc.indices_nonzero(pc.is_in(column, value_set=_EXCEL_ERRORS)).to_pylist()
    ]


def _repeated_headers(table: pa.Table, header: Header) -> list[int]:
    """Rows that repeat the header, as files put together have them."""
    names = {position: normalised(name) for position, name in enumerate(header.names) if name}
    first = next(iter(names))
    lowered = pc.utf8_lower(table[first])
    found = []
    for index in pc.indices_nonzero(pc.equal(lowered, header.names[first].lower())).to_pylist():
        given = [
            (position, text)
            for position in names
            if (text := table[position][index].as_py()) is not None
        ]
        equal = sum(normalised(text) == names[position] for position, text in given)
        if equal >= min(len(names), 2):
            found.append(header.first_row + index)
    return found


def _ruled_lines(table: pa.Table, header: Header) -> list[int]:
    """Rows in which all cells are dashes and the like, and at least two of them."""
    first = next(position for position, name in enumerate(header.names) if name)
    found = []
    is_line = pc.match_substring_regex(table[first], _LINE)
    for index in pc.indices_nonzero(is_line).to_pylist():
        given = [text for column in table.columns if (text := column[index].as_py()) is not None]
        if len(given) > 1 and all(re.match(_LINE, text) for text in given):
            found.append(header.first_row + index)
    return found


def _issues(
    findings: _Findings,
    error_cells: list[tuple[int, int]],
    header: Header,
    rows: set[int],
    without_result: Sequence[tuple[int, int]],
) -> list[Issue]:
    """All of them, by row and then from left to right."""
    found = [
        (row, -1, _uneven(row, count, header))
        for row, count in findings.counts.items()
        if row in rows
    ]
    for row in set(findings.joined).intersection(rows):
        found.append((row, -1, structure_issue(row, None, "files_joined")))
    for row in set(findings.ruled).intersection(rows):
        found.append((row, -1, structure_issue(row, None, "ruled_line")))
    for row, position in findings.damaged:
        found.append((row, position, structure_issue(row, header.names[position], "damaged_text")))
    for row, position in error_cells:
        found.append((row, position, structure_issue(row, header.names[position], "error_cell")))
    for row, position in without_result:
        if position < len(header.names) and (name := header.names[position]):
            cell = f"{letters_of(position)}{row}"
            issue = structure_issue(row, name, "formula_without_result", cell=cell)
            found.append((row, position, issue))
    found = [entry for entry in found if entry[0] in rows]
    return [issue for *_, issue in sorted(found, key=lambda entry: entry[:2])]


def _doubts(cells: list[tuple[int, int]], header: Header, rows: set[int]) -> list[Issue]:
    return [
        structure_issue(row, name, "number_format")
        for row, position in cells
        if row in rows and position < len(header.names) and (name := header.names[position])
    ]


def _uneven(row: int, count: int, header: Header) -> Issue:
    if count > len(header.names):
        return structure_issue(row, None, "too_many_cells", count=count, columns=len(header.names))
    return structure_issue(row, None, "too_few_cells", count=count, columns=header.width)
