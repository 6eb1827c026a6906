"""The numbers by which people know the rows of a file.

Belongs here: the number of a row where several files are read as one. Does not: reading files
(`files/several.py`).
"""

from collections.abc import Sequence

_ROWS_OF_A_FILE = 10_000_000
"""More than any file has."""


class RowOfFile(int):
    """A row of one of several files; as a number it is that of no row of another one, and it comes
    in the order of the files.

    In a sentence it says "3 of file 2": names of files are people's own, and no log has them.
    """

    __slots__ = ()

    @classmethod
    def at(cls, file: int, row: int) -> "RowOfFile":
        """The row of the file that comes first, where `file` is 1."""
        return cls(file * _ROWS_OF_A_FILE + row)

    @property
    def file(self) -> int:
        """Which of the files, from 1 on."""
        return int(self) // _ROWS_OF_A_FILE

    @property
    def row(self) -> int:
        """As a spreadsheet shows it."""
        return int(self) % _ROWS_OF_A_FILE

    def __str__(self) -> str:
        return f"{self.row} of file {self.file}"


def own_number(row: int) -> int:
    """The row as its own file has it."""
    return row.row if isinstance(row, RowOfFile) else row


def file_of(row: int, files: Sequence[str]) -> str | None:
    """The name of its file, where there are several."""
    return files[row.file - 1] if isinstance(row, RowOfFile) else None


def place_of(row: int, files: Sequence[str]) -> str:
    """The row for the person's eyes, in their own files: "3", or "3 of february.csv"."""
    name = file_of(row, files)
    return f"{own_number(row)} of {name}" if name else str(row)
