"""The header of a file: the names of its columns, in the first record that isn't blank.

Belongs here: finding it, and what it must be like whatever kind the file is of. Does not: which
columns a kind of file has (`columns.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from schemas.columns import letters_of
from schemas.issues import SourceError
from schemas.texts import clean


@dataclass(frozen=True)
class Header:
    """Names of columns, and in which row they stand."""

    row: int
    """Of a table from Python it is -1, so that row 0 is the first."""
    names: list[str]
    """One per column, "" where there is none."""

    @property
    def first_row(self) -> int:
        """The row below the header."""
        return self.row + 1

    @property
    def width(self) -> int:
        """The number of columns up to the last named one."""
        return max(position for position, name in enumerate(self.names, 1) if name)


FIRST_OF_A_FILE = 1
"""The first row, as a spreadsheet shows it."""
FIRST_OF_A_TABLE = -1
"""The names of a table from Python stand in no row; its own rows count from 0."""


def take_header(
    records: Iterator[Sequence[str]],
    is_known: Callable[[str], bool],
    first_row: int = FIRST_OF_A_FILE,
) -> Header:
    """Take records up to the header, which is the first that isn't blank.

    Raises:
        SourceError: there is none, none of its names is known, or two are equal.
    """
    named = (
        (row, [clean(cell) for cell in record]) for row, record in enumerate(records, first_row)
    )
    header = next((Header(row, names) for row, names in named if any(names)), None)
    if header is None:
        raise SourceError("The file is empty.")
    if not any(is_known(name) for name in header.names if name):
        where = "The first row" if header.row == 1 else f"Row {header.row}, the first with a value,"
        if first_row == FIRST_OF_A_TABLE:
            raise SourceError("The table has none of the column names that are known.")
        raise SourceError(
            f"{where} holds none of the column names that are known; is the header missing?"
        )
    _refuse_equal_names(header.names)
    return header


def _refuse_equal_names(names: list[str]) -> None:
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(name.casefold(), []).append(position)
    for name, same in positions.items():
        if name and len(same) > 1:
            which = " and ".join(_place(position) for position in same)
            raise SourceError(f"Columns {which} have the same name. Rename or remove one.")


def refuse_values_without_name(names: list[str], table: pa.Table) -> None:
    """Values of which nobody knows what they are are not left out without a word.

    Raises:
        SourceError: a column has values but no name.
    """
    for position, name in enumerate(names):
        if not name and table[position].null_count < len(table):
            raise SourceError(
                f"Column {_place(position)} has values but no name. Give it a name in the header, "
                "or remove its values."
            )


def _place(position: int) -> str:
    """A column as people find it: by the letter of a spreadsheet, and by its number."""
    return f"{letters_of(position)} ({position + 1})"
