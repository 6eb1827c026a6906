"""Identifiers as spreadsheets and programs spoil them: references, keys, ids.

Belongs here: what is refused in a column of identifiers, whatever file it is in, and the form in
which an identifier is sent. Does not: which columns are such (`import_file.py` and its like), or
when two of them are the same (`texts.py`).
"""

import re

import pandas as pd

from schemas.texts import visible
from schemas.values import SHOWN_DATE, check

IDENTIFIER_FIELDS = frozenset(
    {"ref", "new_ref", "id", "key", "case_id", "case_ref", "appointment_id"}
)
IDENTIFIER_SENTENCES = {
    "identifier_decimal": (
        "{column} ends in .0, which a program has added to a number (9001 became 9001.0); write it "
        "without, or it names another case than before."
    ),
    "identifier_rounded": (
        "{column} is what a spreadsheet shows of a number too long for it (1.59E+17, #####); get "
        "it anew from where it comes from, into a column formatted as text."
    ),
    "identifier_grouped": (
        "{column} has commas between its thousands, as a spreadsheet shows a number; write it "
        "without, or it names another case than before."
    ),
    "identifier_type": (
        "{column} is a date, or TRUE or FALSE, as a spreadsheet makes of what is typed into it; "
        "format the column as text and type it anew."
    ),
}
"""What a person is told, by code. No sentence repeats a cell."""
CLEANED = "Signs that nobody sees were left out of {columns}."
"""Said of a row that is sent with other identifiers than its cells have."""

_WHOLE = r"^-?[0-9]+\.0+\Z"
_WHOLE_PARTS = r"(-?[0-9]+)\.0+"
_FRACTION = r"^-?[0-9]+\.0*[1-9][0-9]*\Z"
_ROUNDED = r"^-?[0-9][.,][0-9]+[eE][+-]?[0-9]+\Z|^-?[0-9][eE]\+[0-9]+\Z|^#{2,}\Z"
_GROUPED = r"^-?[1-9][0-9]{0,2}(?:,[0-9]{3})+\Z"

_OTHER_TYPE = rf"{SHOWN_DATE}|^(?:TRUE|True|true|FALSE|False|false)\Z"


def _has_no_added_decimal(texts: pd.Series) -> pd.Series:
    """A column with 1.1 in it counts by such numbers, 1.0 being one, unless 1 stands there too."""
    whole = texts.str.match(_WHOLE)
    if texts.str.match(_FRACTION).any():
        whole &= texts.str.replace(r"\.0+\Z", "", regex=True).isin(set(texts))
    return ~whole


NUMBER_CHECKS = (
    check("identifier_decimal", _has_no_added_decimal),
    check("identifier_rounded", lambda texts: ~texts.str.match(_ROUNDED)),
    check("identifier_grouped", lambda texts: ~texts.str.match(_GROUPED)),
)
"""Of any column that identifies something, one of dates of birth among them."""
IDENTIFIER_CHECKS = (
    *NUMBER_CHECKS,
    check("identifier_type", lambda texts: ~texts.str.match(_OTHER_TYPE)),
)


def whole_form(identifier: str) -> str | None:
    """What a number was before a program added .0 to it; None where it has none.

    A column of such is refused; beside numbers like 1.1 a single one may be meant, unless the
    account has the whole form.
    """
    found = re.fullmatch(_WHOLE_PARTS, identifier)
    return found[1] if found else None


def cleaned(texts: pd.Series) -> pd.Series:
    """A column of identifiers without what nobody sees in them."""
    plain = texts.isna() | texts.str.match(r"^[ -~]*\Z")
    if plain.all():
        return texts
    return texts.where(plain, texts[~plain].map(visible))
