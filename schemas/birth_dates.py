"""Dates of birth as an answer has them, as days.

Belongs here: in which forms an account's answers have them, and the days they mean. Does not:
comparing one of a file with one of an answer (`people.py`), or what a file may have (`values.py`).

The vendor shows none in any answer (facts.md Q16), so the form is found out from all that came.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from schemas.people import birth_date

DAY_FIRST, MONTH_FIRST, EITHER = "DD/MM/YYYY", "MM/DD/YYYY", "DD/MM/YYYY or MM/DD/YYYY"
OTHER = "unread"
_PATTERNS = {
    "YYYY-MM-DD": r"^\d{4}-\d{2}-\d{2}$",
    "instant": r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}",
    DAY_FIRST: r"^(1[3-9]|2\d|3[01])/\d{1,2}/\d{4}$",
    MONTH_FIRST: r"^\d{1,2}/(1[3-9]|2\d|3[01])/\d{4}$",
    EITHER: r"^(0?\d|1[0-2])/(0?\d|1[0-2])/\d{4}$",
}


def birth_forms(texts: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How many of the texts have which form; null and empty ones have none."""
    given = texts.filter(pc.not_equal(pc.fill_null(texts, ""), ""))
    forms: Counter[str] = Counter()
    for form, pattern in _PATTERNS.items():
        if not (rest := len(given) - forms.total()):
            break
        forms[form] = min(rest, pc.sum(pc.match_substring_regex(given, pattern)).as_py() or 0)
    forms[OTHER] = len(given) - forms.total()
    return +forms


def birth_days(texts: pa.Array, forms: Mapping[str, int]) -> pa.Array:
    """The days that the texts mean; null where it can't be told.

    `forms` are those of the whole account: 03/04/1950 is the third of April (as in requests,
    facts.md 3.4) unless other dates have the month first; where both occur, it is neither.
    """
    encoded = texts.dictionary_encode()
    order = {form for form in (DAY_FIRST, MONTH_FIRST) if forms.get(form)}
    days = [_day(text, order) for text in encoded.dictionary.to_pylist()]
    return pa.array(days, pa.date32()).take(encoded.indices)


def _day(text: str, order: set[str]) -> date | None:
    parts = text.strip().split("/")
    if len(parts) != 3:
        return birth_date(text)
    if len(order) == 2:
        return None
    if MONTH_FIRST in order:
        parts[:2] = parts[1::-1]
    return birth_date("/".join(part.zfill(2) for part in parts))
