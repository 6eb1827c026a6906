"""Files as the reader would give them, made from records; and what a plan finds wrong in them."""

from collections.abc import Iterable

import pandas as pd

from schemas.files.source import Sheet
from schemas.import_file import matched_columns
from schemas.import_plan import ImportPlan
from schemas.issues import Issue
from schemas.source_table import SourceTable
from schemas.update_file import UpdatePlan

Record = dict[str, str | None]


def sheet(
    records: Iterable[Record], *, header: list[str] | None = None, issues: Iterable[Issue] = ()
) -> Sheet:
    """A file with these rows, the first of which is row 2."""
    records = list(records)
    names = header or list(dict.fromkeys(name for record in records for name in record))
    cells = [[record.get(name) for name in names] for record in records]
    frame = pd.DataFrame(cells, columns=pd.Index(names, dtype=str), dtype=str)
    return Sheet(frame, list(range(2, 2 + len(records))), list(issues), {}, 0, "a test")


def found(made: ImportPlan | UpdatePlan) -> list[tuple[int, str | None, str]]:
    return [
        (row, issue.column, issue.code) for row, issues in made.issues.items() for issue in issues
    ]


def import_table(*records: Record, header: list[str] | None = None) -> SourceTable:
    """The known columns of a file of new cases with these rows."""
    file = sheet(records, header=header)
    return SourceTable(file, matched_columns(file, "forbid", ()))


def found_in(issues: Iterable[Issue]) -> list[tuple[int, str | None, str]]:
    return [(issue.row, issue.column, issue.code) for issue in issues]
