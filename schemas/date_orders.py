"""What the dates of a column prove about the order of day and month.

Belongs here: whether a column contradicts itself, for dates of birth and for times alike. Does
not: forms of single dates and times, and what else is wrong with them (`values.py`,
`wall_times.py`).
"""

from collections.abc import Hashable
from typing import NamedTuple

import pandas as pd

CONTRADICTIONS = {
    "date_contradiction": (
        "Some dates of {column} can only begin with the month (row {one}), some only with the day "
        "(row {other}), so none can be trusted; write all as DD/MM/YYYY."
    ),
    "date_swapped": (
        "A program seems to have read the dates of {column} with day and month swapped (row "
        "{one}), and left as text what it couldn't read so (row {other}); write all anew as "
        "DD/MM/YYYY, in a column formatted as text."
    ),
}
"""What a person is told, by code; of a column with such a code all dates are refused."""


class Contradiction(NamedTuple):
    """Two dates of a column that can't both be right, by their labels."""

    code: str
    one: Hashable
    other: Hashable


def begins_with_month(slashed: pd.DataFrame) -> bool:
    """Whether some second number can only be a day, and no first number can.

    `slashed` has the first two numbers of dates like 03/04/1960, as `day` and `month`.
    """
    return bool((slashed["month"] > 12).any() and not (slashed["day"] > 12).any())


def contradiction(
    iso: pd.DataFrame, slashed: pd.DataFrame, *, is_mostly_iso: bool
) -> Contradiction | None:
    """How a column contradicts itself, if it does.

    A spreadsheet of the other country's habits makes dates, swapped, of all texts of a column that
    it can read, and leaves the rest. So dates in ISO form that all could be swapped, beside texts
    that none could read so, are those; as they are if their form is the column's, and there is
    any such text.

    Args:
        iso: `day` of each date of the form YYYY-MM-DD, by its label.
        slashed: `day` and `month`, the first two numbers of the others.
        is_mostly_iso: whether the column's form would be the first.
    """
    first, second = slashed.index[slashed["day"] > 12], slashed.index[slashed["month"] > 12]
    if len(first) and len(second):
        return Contradiction("date_contradiction", second[0], first[0])
    unread = first.union(second, sort=False)
    could_be_swapped = len(iso) > 0 and bool((iso["day"] <= 12).all())
    if could_be_swapped and len(unread) and (is_mostly_iso or len(unread) == len(slashed)):
        return Contradiction("date_swapped", iso.index[0], unread[0])
    return None
