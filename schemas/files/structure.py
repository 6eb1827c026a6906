"""What can be wrong with a row of a file before any column has a meaning, and how it is said.

Belongs here: sentences by code. Does not: finding such rows (`source.py`), or what a cell of a
known column may be (`schemas/values.py`, `identifiers.py`, `wall_times.py`).
"""

from schemas.issues import Issue

STRUCTURE_SENTENCES = {
    "damaged_text": (
        "Letters of this text were lost or became other signs when the file was saved (like Ã© "
        "for é). Type the text anew, or save the source as UTF-8."
    ),
    "formula_without_result": (
        "{cell} is a formula without a result; open the file in Excel and save it."
    ),
    "number_format": (
        "The cell is a number in a format that shows something else than its value. Format the "
        "column as text, and type the value as it is to be."
    ),
    "files_joined": (
        "Another file begins here: the row repeats the header, or holds the mark that files begin "
        "with. Remove the row, or bring the files one after the other."
    ),
    "ruled_line": "The row is a line of dashes and no data; remove it.",
    "error_cell": "The spreadsheet shows an error here. Enter the value itself, or empty the cell.",
    "too_many_cells": (
        "The row has {count} cells, more than the header, which has {columns}. A value that holds "
        "the separator needs quotation marks around it; or the header lacks a name."
    ),
    "too_few_cells": (
        "The row ends after cell {count}, but the header has {columns}. Check that every value "
        "stands in its column."
    ),
}


def structure_issue(row: int, column: str | None, code: str, **details: object) -> Issue:
    """An issue with its code's sentence."""
    return Issue(row, column, code, STRUCTURE_SENTENCES[code].format(**details))
