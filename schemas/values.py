"""What single values must look like, whatever file they are in: checks and their normal forms.

Belongs here: vectorised checks of a column of texts, each with a stable code, and what a valid
text becomes on the wire. Does not: which column has which check (`import_file.py` and its like),
or rules over several columns.

A check takes a `str` series without blanks and returns a boolean series, True where it holds.
Limits are the vendor's (page "Cases", Create Case).
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from schemas.date_orders import (
    CONTRADICTIONS,
    Contradiction,
    begins_with_month,
    contradiction,
)
from schemas.texts import canonical

OLDEST_BIRTH_YEAR = 1890
MARITAL_STATUSES = (
    "married", "civil", "cohabiting", "widowed", "divorced", "dissolved", "separated", "single",
    "other",
)  # fmt: skip
_SAME_STATUS = {
    "civil partner": "civil",
    "civil partnership": "civil",
    "in a civil partnership": "civil",
    "co-habiting": "cohabiting",
    "widow": "widowed",
    "widower": "widowed",
}
YES_NO = {"yes": "yes", "y": "yes", "true": "yes", "1": "yes", "no": "no", "n": "no",
          "false": "no", "0": "no"}  # fmt: skip
ENTITIES = ("person", "organisation")

SENTENCES: dict[str, str] = {
    "too_long": "{column} has more than {limit} characters, which WillSuite's limit is.",
    "date_unreadable": "{column} is not a date; write it as DD/MM/YYYY.",
    "date_two_digit_year": "{column} has a year of two digits; write all four.",
    "date_serial": "{column} holds a day number of a spreadsheet; format the column as dates.",
    "date_mixed": (
        "{column} is written in another form than most dates of this column; use one form, "
        "DD/MM/YYYY or YYYY-MM-DD, throughout."
    ),
    "date_month_first": (
        "The dates of this column seem to begin with the month; write them as DD/MM/YYYY."
    ),
    **CONTRADICTIONS,
    "date_impossible": "{column} is a date that doesn't exist.",
    "date_out_of_range": f"{{column}} is in the future or before {OLDEST_BIRTH_YEAR}.",
    "marital_status": "{column} must be one of: " + ", ".join(MARITAL_STATUSES) + ".",
    "email": "{column} is not an e-mail address.",
    "phone_number_format": (
        "{column} has become a number; format the cell as text and type the phone number again."
    ),
    "phone_zero_lost": (
        "{column} begins neither with 0 nor with +, which a spreadsheet may have dropped; write it "
        "with its 0, or with + and the country's code."
    ),
    "phone_plus_lost": (
        "{column} has lost its plus sign; write +44..., in a cell formatted as text."
    ),
    "not_a_name": (
        "{column} is a number, a date, TRUE or FALSE, or #####, and no name; enter the name "
        "(True, if that is one), in a cell formatted as text."
    ),
    "two_phones": (
        "{column} holds two phone numbers; leave one of them (a customer's second goes into tel_2)."
    ),
    "yes_or_no": "{column} must be yes or no.",
    "entity_id": "{column} must be person or organisation.",
}
"""What a person is told, by code. No sentence repeats a cell."""


def column(description: str, *checks: pa.Check) -> pa.Column:
    """An optional column of texts; blank cells are never checked."""
    return pa.Column(
        str, list(checks), nullable=True, required=False, regex=True, description=description
    )


def check(code: str, holds: Callable[[pd.Series], pd.Series], **limits: int) -> pa.Check:
    """A check of a whole column at once, known by its code."""
    return pa.Check(holds, error=code, name=code, description=str(limits.get("limit", "")))


def up_to(limit: int) -> pa.Check:
    """At most so many characters (not bytes)."""
    return check("too_long", lambda texts: texts.str.len() <= limit, limit=limit)


# -- dates ------------------------------------------------------------------------------------

# [0-9] and not \d, which takes the digits of every script
_ISO = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[T ]00:00(?::00(?:\.0+)?)?)?\Z"
)
_DAY_FIRST = r"^(?P<day>[0-9]{1,2})/(?P<month>[0-9]{1,2})/(?P<year>[0-9]{4})\Z"
_TWO_DIGIT_YEAR = r"^[0-9]{1,2}[/.\-][0-9]{1,2}[/.\-][0-9]{2}\Z"
_SERIAL = r"^[0-9]{4,5}\Z"


def _today() -> date:
    return datetime.now(UTC).date()


def date_problems(texts: pd.Series) -> pd.Series:
    """For each date of a column the code of what is wrong with it, or None.

    One form a column, never guessed row by row: the form of most cells is the column's, and cells
    in the other are refused; where both come equally often, all are.
    """
    # a column has far fewer dates than cells
    cells, uniques = pd.factorize(texts)
    found = _problems_of_each(pd.Series(uniques, dtype=str), np.bincount(cells))
    return pd.Series(found.to_numpy(dtype=object)[cells], index=texts.index, dtype=object)


def _problems_of_each(texts: pd.Series, counts: npt.NDArray[np.int64]) -> pd.Series:
    problems = pd.Series(None, index=texts.index, dtype=object)
    iso, day_first = texts.str.match(_ISO), texts.str.match(_DAY_FIRST)
    problems[~iso & ~day_first] = "date_unreadable"
    problems[texts.str.match(_TWO_DIGIT_YEAR)] = "date_two_digit_year"
    problems[texts.str.match(_SERIAL)] = "date_serial"
    in_iso, in_day_first = counts[iso].sum(), counts[day_first].sum()
    if in_iso >= in_day_first:
        problems[day_first] = "date_mixed"
    if in_day_first >= in_iso:
        problems[iso] = "date_mixed"
    parts = _date_parts(texts)
    if begins_with_month(parts[day_first]):
        problems[day_first] = "date_month_first"
    found = contradiction(parts[iso], parts[day_first], is_mostly_iso=in_iso > in_day_first)
    if found is not None:
        problems[day_first] = found.code
    if found is not None and found.code == "date_swapped":
        problems[iso] = found.code
    readable = problems.isna()
    dates = pd.to_datetime(parts[readable], errors="coerce")
    problems[dates[dates.isna()].index] = "date_impossible"
    too_late = dates > pd.Timestamp(_today())
    too_early = dates.notna() & (parts.loc[readable, "year"] < OLDEST_BIRTH_YEAR)
    problems[dates[too_late | too_early].index] = "date_out_of_range"
    return problems


def _date_parts(texts: pd.Series) -> pd.DataFrame:
    """Columns year, month and day as numbers; NaN where the text has neither form."""
    names = ["year", "month", "day"]
    iso, day_first = (texts.str.extract(form)[names] for form in (_ISO, _DAY_FIRST))
    return iso.fillna(day_first).astype("float64")


def contradiction_in(texts: pd.Series) -> Contradiction | None:
    """How a column of dates contradicts itself; with the indexes of two of its cells."""
    iso, day_first = texts.str.match(_ISO), texts.str.match(_DAY_FIRST)
    parts = _date_parts(texts)
    return contradiction(
        parts[iso], parts[day_first], is_mostly_iso=bool(iso.sum() > day_first.sum())
    )


DATE_CHECK = check("date", lambda texts: date_problems(texts).isna())
"""One check of all; `date_problems` says which it is that fails."""


def wire_date(text: str) -> str | None:
    """A date in either form as DD/MM/YYYY; None where it has neither."""
    found = re.match(_ISO, text) or re.match(_DAY_FIRST, text)
    if found is None:
        return None
    return f"{int(found['day']):02d}/{int(found['month']):02d}/{found['year']}"


# -- the others -------------------------------------------------------------------------------

_EMAIL = r"^[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+\Z"
_BECOME_A_NUMBER = r"^[0-9]+\.[0-9]+\Z|^[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+\Z|^#{2,}\Z"
_NO_ZERO_NOR_PLUS = r"^[( ]*[1-9]"
_PLUS_LOST = r"^[( ]*44(?:[ ().-]*[0-9]){10}\Z"
_BETWEEN_PHONES = re.compile(r"[/,;&]|\bor\b|\band\b", re.IGNORECASE)
_DIGITS_OF_A_PHONE = range(7, 18)
"""A local number at least; an international one with an extension at most."""


def _is_one_phone(text: str) -> bool:
    counts = [sum(map(str.isdigit, part)) for part in _BETWEEN_PHONES.split(text)]
    return (
        sum(count >= _DIGITS_OF_A_PHONE.start for count in counts) < 2
        and sum(counts) < _DIGITS_OF_A_PHONE.stop
    )


def _has_lost_its_zero(texts: pd.Series) -> pd.Series:
    """Unless there is a better reason to refuse it."""
    spoilt = texts.str.match(_BECOME_A_NUMBER) | texts.str.match(_PLUS_LOST)
    return texts.str.match(_NO_ZERO_NOR_PLUS) & ~spoilt & texts.map(_is_one_phone).astype(bool)


# a month before a number is none: MAR-24 is a usual reference
SHOWN_DATE = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}.*)?\Z"
    r"|^[0-9]{1,2}[/.][0-9]{1,2}[/.](?:[0-9]{2}|[0-9]{4})(?: [0-9]{1,2}:[0-9]{2}.*)?\Z"
    r"|^[0-9]{1,2}-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?:-[0-9]{2,4})?\Z"
)
"""A whole cell that is a date as a spreadsheet shows one, or as a program writes it."""
_NO_NAME = rf"{SHOWN_DATE}|^(?:TRUE|true|FALSE|False|false)\Z|^#{{2,}}\Z"

_ONLY_DIGITS = r"^[0-9]+(?:[.,][0-9]+)?\Z"

NAME_CHECK = check("not_a_name", lambda texts: ~texts.str.match(_NO_NAME))
"""Of organisations too, some of which are called by a number."""
PERSON_CHECK = check(
    "not_a_name", lambda texts: ~texts.str.match(_NO_NAME) & ~texts.str.match(_ONLY_DIGITS)
)
"""A date typed into a column of names may come as its day number."""
EMAIL_CHECK = check("email", lambda texts: texts.str.match(_EMAIL))
PHONE_CHECKS = (
    check("phone_number_format", lambda texts: ~texts.str.match(_BECOME_A_NUMBER)),
    check("phone_zero_lost", lambda texts: ~_has_lost_its_zero(texts)),
    check("phone_plus_lost", lambda texts: ~texts.str.match(_PLUS_LOST)),
    check("two_phones", lambda texts: texts.map(_is_one_phone).astype(bool)),
)
MARITAL_STATUS_CHECK = check("marital_status", lambda texts: texts.map(marital_status).notna())
YES_NO_CHECK = check("yes_or_no", lambda texts: texts.str.casefold().isin(YES_NO))
ENTITY_CHECK = check("entity_id", lambda texts: texts.str.casefold().isin(ENTITIES))


def marital_status(text: str) -> str | None:
    """The vendor's word for a marital status, written in any case; None for any other text."""
    known = canonical(text)
    known = _SAME_STATUS.get(known, known)
    return known if known in MARITAL_STATUSES else None
