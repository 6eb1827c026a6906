"""Several files of the same columns, read as one.

Belongs here: that their columns are the same, and which file a row is of. Does not: reading one
(`source.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from schemas.columns import normalised
from schemas.files.source import MAX_ROWS, Sheet, read_sheet
from schemas.issues import Issue, SourceError
from schemas.rows import RowOfFile


def read_several(
    sources: Sequence[str | Path],
    *,
    is_known: Callable[[str], bool],
    encoding: str | None = None,
    sheet: str | None = None,
    hidden: str = "refuse",
) -> Sheet:
    """The rows of all files, one file after the other, under the headers of the first.

    Args:
        sources: paths and URLs; each as `read_sheet` takes it, and with the same columns.
        is_known, encoding, sheet, hidden: as of `read_sheet`, for each file.

    Raises:
        SourceError: one of them can't be used, or they don't go together.
    """
    if not sources:
        raise SourceError("The list of files is empty; name at least one.")
    _refuse_the_same_file(sources)
    sheets: list[Sheet] = []
    for number, source in enumerate(sources, 1):
        with _said_of_file(number):
            read = read_sheet(
                source, is_known=is_known, encoding=encoding, sheet=sheet, hidden=hidden
            )
            sheets.append(_of_file(number, read, sheets[0] if sheets else read))
        if sum(len(each.rows) for each in sheets) > MAX_ROWS:
            raise SourceError(
                f"The files have more than {MAX_ROWS:,} rows, which is the most that is taken at "
                "once. Bring them one after the other."
            )
    kinds = list(dict.fromkeys(each.description for each in sheets))
    return Sheet(
        frame=pd.concat([each.frame for each in sheets], ignore_index=True),
        rows=[row for each in sheets for row in each.rows],
        issues=[issue for each in sheets for issue in each.issues],
        surplus={row: cells for each in sheets for row, cells in each.surplus.items()},
        blank_rows=sum(each.blank_rows for each in sheets),
        description=f"{len(sheets)} files: {'; '.join(kinds)}",
        doubts=[issue for each in sheets for issue in each.doubts],
        files=_names_of([_without_secrets(str(source)) for source in sources]),
    )


def _refuse_the_same_file(sources: Sequence[str | Path]) -> None:
    first: dict[str, int] = {}
    for number, source in enumerate(map(str, sources), 1):
        place = source if "://" in source else str(Path(source).resolve())
        if (other := first.setdefault(place, number)) != number:
            raise SourceError(f"Files {other} and {number} of the list are the same file.")


@contextmanager
def _said_of_file(number: int) -> Iterator[None]:
    """Every reason that a file is refused for says which one it is."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"File {number} of the list: {error}") from None


def _of_file(number: int, sheet: Sheet, first: Sheet) -> Sheet:
    """The sheet under the headers of the first file, its rows known as those of this one."""
    headers = _headers_of_the_first(sheet, first)

    def moved(issue: Issue) -> Issue:
        column = headers.get(issue.column or "", issue.column)
        return replace(issue, row=RowOfFile.at(number, issue.row), column=column)

    return replace(
        sheet,
        frame=sheet.frame.rename(columns=headers)[list(first.frame.columns)],
        rows=[RowOfFile.at(number, row) for row in sheet.rows],
        issues=[moved(issue) for issue in sheet.issues],
        doubts=[moved(issue) for issue in sheet.doubts],
        surplus={RowOfFile.at(number, row): cells for row, cells in sheet.surplus.items()},
    )


def _headers_of_the_first(sheet: Sheet, first: Sheet) -> dict[str, str]:
    """Each header of the sheet with that of the first file's column of the same name."""
    if sheet is first:
        return {header: header for header in first.frame.columns}
    columns = {normalised(header): header for header in first.frame.columns}
    own = [normalised(header) for header in sheet.frame.columns]
    if len(columns) != len(first.frame.columns) or sorted(own) != sorted(columns):
        missing, added = len(columns.keys() - set(own)), len(set(own) - columns.keys())
        raise SourceError(
            f"It has not the columns of the first file: {missing} of them are missing, {added} "
            "are others. Files of one list need the same columns; bring this one by itself."
        )
    return dict(zip(sheet.frame.columns, (columns[name] for name in own), strict=True))


def _without_secrets(source: str) -> str:
    """Of a URL the path alone: what stands around it may be credentials."""
    return urlsplit(source).path if "://" in source else source


def _names_of(paths: Sequence[str]) -> list[str]:
    """Without folders, unless two would be the same."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
