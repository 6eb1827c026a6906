"""Times of appointments as people and other systems write them: what a clock on the wall shows.

Belongs here: which form a column of times has, what is wrong with a single time, and what a valid
one becomes on the wire. Does not: dates of birth (`values.py`), which columns hold times
(`appointment_file.py`), or the times of the API's answers (`willsuite/times.py`).

The API takes a time without a zone, so a file must have it the same way: the local time of one
zone, which the caller names. A time with an offset is refused even where it could be converted: a
Z is put on local times too often (the vendor's own answers may, Q35), and the mistake shows in
summer only, as an appointment that is an hour off.
"""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pandas as pd

from schemas.date_orders import begins_with_month, contradiction

FIRST_YEAR, LAST_YEAR = 2000, 2099

TIME_SENTENCES: dict[str, str] = {
    "time_unreadable": (
        "{column} is not a date with a time; write it as YYYY-MM-DD HH:MM or DD/MM/YYYY HH:MM."
    ),
    "time_of_day_missing": (
        "{column} has no time of day; write it as YYYY-MM-DD HH:MM or DD/MM/YYYY HH:MM, as text "
        "if midnight is meant."
    ),
    "time_with_offset": (
        "{column} has a Z or an offset from UTC; write the local time of {zone} without it."
    ),
    "time_mixed": (
        "{column} is written in another form than most times of this column; use one form, "
        "YYYY-MM-DD HH:MM or DD/MM/YYYY HH:MM, throughout."
    ),
    "time_impossible": "{column} is a date or a time that doesn't exist.",
    "time_out_of_range": "{column} is not in this century; check the year.",
    "time_skipped": (
        "{column} doesn't exist in {zone}: the clocks go forward over it; write the time an hour "
        "later."
    ),
    "time_twice": (
        "{column} comes twice in {zone}, where the clocks go back, and WillSuite can't be told "
        "which is meant; choose a time before or after that hour."
    ),
}
"""What a person is told, by code. No sentence repeats a cell."""

# [0-9] and not \d, which takes the digits of every script
_ISO = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})[T ]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.0+)?)?"
)
_DAY_FIRST = re.compile(
    r"(?P<day>[0-9]{1,2})/(?P<month>[0-9]{1,2})/(?P<year>[0-9]{4}) "
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
)
_OTHER_FORMS = {
    "time_with_offset": re.compile(
        r".*[0-9]:[0-9]{2}(?::[0-9.]+)? ?(?:Z|UTC|GMT|BST|[+-][0-9]{2}(?::?[0-9]{2})?)",
        re.IGNORECASE | re.DOTALL,
    ),
    "time_of_day_missing": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"),
    "date_two_digit_year": re.compile(r"[0-9]{1,2}[/.\-][0-9]{1,2}[/.\-][0-9]{2}(?: .*)?"),
    "date_serial": re.compile(r"[0-9]{4,5}(?:\.[0-9]+)?"),
}


def time_problems(texts: Iterable[str], zone: ZoneInfo) -> dict[str, str]:
    """The code of what is wrong with each of a column's texts that can't be sent.

    One form a column, never guessed row by row: the form of most cells is the column's, and cells
    in the other are refused; where both come equally often, all are.
    """
    counts = Counter(texts)
    iso, day_first = _in_form(_ISO, counts), _in_form(_DAY_FIRST, counts)
    problems = {text: code for text in counts if (code := _problem(text, zone))}
    if begins_with_month(day_first):
        problems |= dict.fromkeys(day_first.index, "date_month_first")
    majority = _majority(counts, iso, day_first)
    if majority >= 0:
        problems |= dict.fromkeys(day_first.index, "time_mixed")
    if majority <= 0:
        problems |= dict.fromkeys(iso.index, "time_mixed")
    found = contradiction(iso, day_first, is_mostly_iso=majority > 0)
    if found is not None:
        problems |= dict.fromkeys(day_first.index, found.code)
    if found is not None and found.code == "date_swapped":
        problems |= dict.fromkeys(iso.index, found.code)
    return problems


def contradicting_times(texts: Iterable[str]) -> tuple[str, ...]:
    """Two of a column's texts that contradict each other; none where it doesn't."""
    counts = Counter(texts)
    iso, day_first = _in_form(_ISO, counts), _in_form(_DAY_FIRST, counts)
    majority = _majority(counts, iso, day_first)
    found = contradiction(iso, day_first, is_mostly_iso=majority > 0)
    return () if found is None else (str(found.one), str(found.other))


def _in_form(form: re.Pattern[str], texts: Iterable[str]) -> pd.DataFrame:
    """Day and month of the texts of a form, by text."""
    found = {text: match for text in texts if (match := form.fullmatch(text))}
    parts = {name: [int(match[name]) for match in found.values()] for name in ("day", "month")}
    return pd.DataFrame(parts, index=pd.Index(found, dtype=object), dtype="int64")


def _majority(counts: Counter[str], iso: pd.DataFrame, day_first: pd.DataFrame) -> int:
    """How many cells more have the first form than the second."""
    return sum(counts[text] for text in iso.index) - sum(counts[text] for text in day_first.index)


def _problem(text: str, zone: ZoneInfo) -> str | None:
    """What is wrong with a time, whatever the others of its column look like."""
    found = _ISO.fullmatch(text) or _DAY_FIRST.fullmatch(text)
    if found is None:
        others = (code for code, form in _OTHER_FORMS.items() if form.fullmatch(text))
        return next(others, "time_unreadable")
    wall = _wall(found)
    if wall is None:
        return "time_impossible"
    if not FIRST_YEAR <= wall.year <= LAST_YEAR:
        return "time_out_of_range"
    if _is_skipped(wall, zone):
        return "time_skipped"
    return "time_twice" if _is_twice(wall, zone) else None


def _wall(found: re.Match[str]) -> datetime | None:
    names = ("year", "month", "day", "hour", "minute", "second")
    numbers = [int(found[name] or 0) for name in names]
    try:
        return datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001 - as on the wall
    except ValueError:
        return None


def _is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks go forward over it: by way of UTC it comes back as another time."""
    back = wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    return back.replace(tzinfo=None) != wall


def _is_twice(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks go back over it, so that it comes twice."""
    offsets = {wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    return len(offsets) > 1


def wire_time(text: str) -> str | None:
    """A time in either form as YYYY-MM-DD HH:mm:ss; None where it has neither.

    Of two such texts the later time is the greater one: times that come twice, of which that
    would not hold, have a problem.
    """
    found = _ISO.fullmatch(text) or _DAY_FIRST.fullmatch(text)
    wall = _wall(found) if found else None
    return wall.isoformat(" ") if wall else None
