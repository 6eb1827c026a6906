"""What is wrong with a file, or with one row of it.

Belongs here: the two forms in which every reader and every check reports, whatever the file kind.
Does not: the checks themselves, or their sentences, which stand beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SourceError(Exception):
    """The file as a whole can't be used; nothing of it was taken.

    One sentence, or a few, that say what to do. It goes into logs: it names rows, columns by
    position or known name, and encodings; never the content of a cell.
    """


@dataclass(frozen=True, slots=True)
class Issue:
    """One reason why one row can't be taken."""

    row: int
    """As a spreadsheet shows it: the header is row 1."""
    column: str | None
    """The header as it stands in the file; None where the whole row is meant."""
    code: str
    """Stable, lower case, for machines and for counting."""
    message: str
    """A sentence for the person who will correct the row."""


def issue_of(
    sentences: Mapping[str, str], code: str, row: int, header: str | None, **details: Any
) -> Issue:
    """An issue with the sentence of its code."""
    return Issue(row, header, code, sentences[code].format(column=header, **details))
