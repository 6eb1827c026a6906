"""Rows and columns of a sheet that nobody sees.

Belongs here: refusing them, leaving them out or taking them, as the person has said. Does not:
which are hidden (`sheet_xml.py`).
"""

from collections.abc import Callable, Collection

import numpy as np
import pyarrow as pa

from schemas.columns import letters_of
from schemas.issues import SourceError


def seen_names(
    names: list[str],
    table: pa.Table,
    is_known: Callable[[str], bool],
    hidden_columns: Collection[int],
    choice: str,
) -> tuple[list[str], str]:
    """The names of the columns that are left, "" for the others, and a remark about these."""
    concerned = [
        position
        for position, name in enumerate(names)
        if position in hidden_columns and name and is_known(name)
        and table[position].null_count < len(table)
    ]  # fmt: skip
    if not concerned or choice == "include":
        return names, f", {len(concerned)} columns of it hidden" if concerned else ""
    if choice == "skip":
        left = ["" if position in concerned else name for position, name in enumerate(names)]
        return left, f", {len(concerned)} hidden columns left out"
    raise SourceError(
        f"Column {letters_of(concerned[0])} of the sheet is hidden, and has values. Show or delete "
        'it, or say hidden="skip" to leave hidden rows and columns out, or hidden="include" to '
        "take them."
    )


def without_hidden(
    kept: pa.Array, first_row: int, hidden_rows: Collection[int], choice: str
) -> tuple[pa.Array, str]:
    """The rows that are left, and what is to be said of the others."""
    is_hidden = np.array([row in hidden_rows for row in range(first_row, first_row + len(kept))])
    concerned = is_hidden & kept.to_numpy(zero_copy_only=False)
    count = int(concerned.sum())
    if not count or choice == "include":
        return kept, f", {count} rows of it hidden" if count else ""
    if choice == "skip":
        left = kept.to_numpy(zero_copy_only=False) & ~is_hidden
        return pa.array(left), f", {count} hidden rows left out"
    raise SourceError(
        f"{count} row(s) of the sheet are hidden or filtered out, the first of them row "
        f'{first_row + int(concerned.argmax())}. Show or delete them, or say hidden="skip" to '
        'leave them out, or hidden="include" to take them.'
    )
