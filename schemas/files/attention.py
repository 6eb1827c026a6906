"""The workbook of the rows that a person must act on, and what they write into it.

Belongs here: its columns, its links, and reading back what became of uncertain appointments. Does
not: rows to be corrected and fed back in (`workbooks.rejects_file`), or deciding outcomes.
"""

import io
import re
from collections.abc import Sequence

import xlsxwriter

from schemas.files.delimited import written
from schemas.files.source import read_sheet
from schemas.files.workbooks import AS_TEXTS, fits_a_workbook
from schemas.issues import SourceError
from schemas.outcomes import AppointmentOutcome, Outcome, RowOutcome
from schemas.rows import place_of

FOR_ATTENTION = frozenset({Outcome.CONFLICT, Outcome.PARTIAL, Outcome.UNKNOWN, Outcome.FAILED})
"""What a person must look at; rejected rows have a file of their own."""
COLUMNS = ("row", "key", "outcome", "code", "what to do", "case_id")
RESOLUTION = "resolution"
CASE_ID = "{case_id}"
_WIDTHS = {"key": 24, "what to do": 90, "case_id": 38, "appointment_id": 38, RESOLUTION: 38}
_MOST_LINKS = 60_000  # Excel opens no sheet with more than 65,530
_SAFE_ID = re.compile(r"[\w-]+", re.ASCII)


def attention_file(
    outcomes: Sequence[RowOutcome], case_url: str = "", files: Sequence[str] = ()
) -> tuple[str, bytes] | None:
    """The rows in `FOR_ATTENTION`: a workbook, or CSV where a workbook can't hold them unchanged
    or would be very large. None where there are none.

    Args:
        outcomes: of all rows.
        case_url: where a case is in WillSuite, with `{case_id}` in it; without it ids are texts.
        files: the names of the files, where the rows are of several.

    Returns:
        The ending of the file's name, ".xlsx" or ".csv", and its content.
    """
    wanted = [outcome for outcome in outcomes if outcome.outcome in FOR_ATTENTION]
    if not wanted:
        return None
    header = list(COLUMNS)
    if any(isinstance(outcome, AppointmentOutcome) for outcome in wanted):
        header += ["appointment_id", RESOLUTION]
    rows = [_cells(outcome, files)[: len(header)] for outcome in wanted]
    if not fits_a_workbook(header, rows):
        return ".csv", written(header, rows)
    links = [_link(outcome.case_id, case_url) for outcome in wanted[:_MOST_LINKS]]
    return ".xlsx", _workbook(header, rows, links)


def _workbook(
    header: Sequence[str], rows: Sequence[Sequence[str | None]], links: Sequence[str | None]
) -> bytes:
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, AS_TEXTS) as workbook:
        text = workbook.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
        bold = workbook.add_format({"bold": True})
        sheet = workbook.add_worksheet("To look at")
        for column, name in enumerate(header):
            sheet.set_column(column, column, _WIDTHS.get(name, 14), text)
            sheet.write_string(0, column, name, bold)
        for index, row in enumerate(rows, start=1):
            for column, cell in enumerate(row):
                if cell:
                    sheet.write_string(index, column, cell, text)
        place = header.index("case_id")
        for index, link in enumerate(links, start=1):
            if link:
                sheet.write_url(index, place, link, string=rows[index - 1][place])
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(rows), len(header) - 1)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
    return content.getvalue()


def _cells(outcome: RowOutcome, files: Sequence[str]) -> list[str | None]:
    own = [getattr(outcome, "appointment_id", None)]
    return [
        place_of(outcome.row, files), outcome.key, outcome.outcome.value, outcome.code,
        outcome.message, outcome.case_id, *own,
    ]  # fmt: skip


def _link(case_id: str | None, case_url: str) -> str | None:
    is_usable = bool(case_url and case_id and _SAFE_ID.fullmatch(case_id))
    return case_url.replace(CASE_ID, case_id or "") if is_usable else None


def resolutions(source: str) -> dict[str, str]:
    """What a person has written beside uncertain appointments, by key; blank cells say nothing.

    Raises:
        SourceError: it can't be read, lacks a column, or says two things of one key.
    """
    known = {"key", RESOLUTION}
    sheet = read_sheet(source, is_known=lambda name: name.strip().casefold() in known)
    columns = {str(name).strip().casefold(): name for name in sheet.frame.columns}
    if lacking := known - columns.keys():
        raise SourceError(
            f"The file for resolve has no column {' and no column '.join(sorted(lacking))}; use "
            "the attention.xlsx of the run."
        )
    said: dict[str, str] = {}
    keys, words = (sheet.frame[columns[name]] for name in ("key", RESOLUTION))
    for row, key, word in zip(sheet.rows, keys, words, strict=True):
        if not isinstance(word, str) or not word.strip():
            continue
        if not isinstance(key, str) or not key.strip():
            raise SourceError(f"Row {row} of the file for resolve has a resolution and no key.")
        if said.setdefault(key.strip(), word.strip()) != word.strip():
            raise SourceError(
                f"Row {row} of the file for resolve says otherwise than a row before it."
            )
    return said
