"""Whether two records are of one person.

Belongs here: comparing two records under the vendor's wire names, by names, birth date and
postcode. The one place that knows; it is in `schemas/` because the checks inside a file need it
and may not import protocols. Does not: who of a row is in a case, which of two equal candidates is
meant (`protocols/people.py`), or whether other values were kept (`protocols/kept.py`).

A person's names say little about titles, accents, apostrophes, hyphens and spaces, and what a
server escapes; so they are compared by their letters.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum, IntEnum, auto
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.texts import canonical, folded, unescaped
from schemas.values import wire_date

Person = Mapping[str, Any]
"""A person of a file or of a case, by wire names; a blank value, null and no key are alike."""


class Sameness(IntEnum):
    """How two records of people relate."""

    OTHER = 0
    """Two people: another first name, or born on another day, or nothing in common but names."""
    ELSEWHERE = 1
    """Same names, living elsewhere, and no birth dates to compare: moved, or a namesake."""
    CLASH = 2
    """Perhaps one person, but something contradicts: a birth date that may be a mistake, father
    and son at one address, a surname that is missing, a first name that is only alike."""
    RENAMED = 3
    """Same first name, and the same birth date or else postcode, under another surname (she
    married); or same surname and birth date, and a short form of the first name."""
    PERHAPS = 4
    """Same names, and nothing else that can be compared."""
    SAME = 5
    """Same names, and the same birth date or, where one is unknown, the same postcode."""


class _Agreement(Enum):
    SAME = auto()
    ALIKE = auto()
    OTHER = auto()
    UNKNOWN = auto()
    """One or both records don't say."""


_SAME, _ALIKE, _OTHER, _UNKNOWN = _Agreement


def sameness(person: Person, other: Person) -> Sameness:
    """Whether two records are of one person; the order of the two doesn't matter."""
    here, there = _names(person), _names(other)
    first = _compare_first_names(here, there)
    births = _compare_births(person, other)
    if first in (_OTHER, _UNKNOWN):
        is_mixed_up = _are_swapped(here, there) or (
            first is _UNKNOWN and _compare_surnames(here, there) is _SAME
        )
        return Sameness.CLASH if is_mixed_up and births is _SAME else Sameness.OTHER
    last = _compare_surnames(here, there)
    homes = _compare_postcodes(person, other)
    if births is _SAME:
        return _of_one_birth_date(first, last, homes)
    if births is _UNKNOWN:
        verdict = _of_unknown_birth_dates(first, last, homes)
        if "".join(here.first) != "".join(there.first) or _agree(here.middle, there.middle):
            return verdict
        return Sameness.CLASH if verdict >= Sameness.CLASH else Sameness.OTHER
    if births is _ALIKE and first is _SAME and last is not _OTHER:
        return Sameness.CLASH
    # of two birth dates one may be wrong; at one address it is father and son, or a mistake
    is_near = first is last is _SAME or (births is _ALIKE and _SAME in (first, last))
    return Sameness.CLASH if is_near and homes is _SAME else Sameness.OTHER


def _of_one_birth_date(first: _Agreement, last: _Agreement, homes: _Agreement) -> Sameness:
    if first is _SAME:
        if last is _UNKNOWN:
            return Sameness.CLASH
        return Sameness.SAME if last is _SAME else Sameness.RENAMED
    if last is _SAME:
        return Sameness.RENAMED
    return Sameness.OTHER if last is _OTHER and homes is not _SAME else Sameness.CLASH


def _of_unknown_birth_dates(first: _Agreement, last: _Agreement, homes: _Agreement) -> Sameness:
    if first is _ALIKE:
        return Sameness.CLASH if last is _SAME and homes is not _OTHER else Sameness.OTHER
    if last is _UNKNOWN:
        return Sameness.CLASH
    if last is _SAME:
        by_home = {_SAME: Sameness.SAME, _OTHER: Sameness.ELSEWHERE, _UNKNOWN: Sameness.PERHAPS}
        return by_home[homes]
    if homes is _SAME:
        return Sameness.RENAMED
    return Sameness.CLASH if last is _ALIKE and homes is _UNKNOWN else Sameness.OTHER


def may_be_made_of(person: Person, other: Person) -> bool:
    """Whether `other` may be what a server made of `person`, whatever became of all but names."""
    here, there = _names(person), _names(other)
    has_first_names = _compare_first_names(here, there) is _SAME
    return has_first_names and _compare_surnames(here, there) is not _OTHER


# -- names ------------------------------------------------------------------------------------


class _Names(NamedTuple):
    """Words of letters only."""

    first: Sequence[str]
    middle: Sequence[str]
    last: Sequence[str]


_TITLES = frozenset(
    {"mr", "mrs", "miss", "ms", "mx", "dr", "prof", "professor", "rev", "revd", "reverend", "sir",
     "dame", "lord", "lady"}
)  # fmt: skip
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ð": "d", "þ": "th"})
"""Letters that aren't made of another one and an accent, as people without their keys type them."""
_BETWEEN_FIRST_NAMES = r"[\s.,]+"
_BETWEEN_SURNAMES = r"[\s.,()\-\u2010-\u2015\u2212]+"


@lru_cache(maxsize=8192)  # a file has few of them, and each is compared with several
def letters(text: str | None) -> str:
    """A name or a postcode by what is compared of it: plain letters and digits in small case.

    What has none, a dash as a surname, is compared as it is.
    """
    shown = unescaped(text)
    plain = "".join(filter(str.isalnum, folded(shown).translate(_PLAIN)))
    return plain or canonical(shown)


def surname_words(text: str | None) -> Sequence[str]:
    """The parts of a surname, each as `letters`."""
    return _words(text or "", _BETWEEN_SURNAMES)


def _names(person: Person) -> _Names:
    first = _words(person.get("first_names") or "", _BETWEEN_FIRST_NAMES)
    while len(first) > 1 and first[0] in _TITLES:
        first = first[1:]
    middle = _words(person.get("middle_names") or "", _BETWEEN_FIRST_NAMES)
    return _Names(first, middle, surname_words(person.get("last_name")))


@lru_cache(maxsize=8192)
def _words(text: str, between: str) -> Sequence[str]:
    parts = map(letters, re.split(between, unescaped(text)))
    words = tuple(part for part in parts if any(map(str.isalnum, part)))
    return words or tuple(filter(None, [letters(text)]))


def _compare_first_names(here: _Names, there: _Names) -> _Agreement:
    if not here.first or not there.first:
        return _UNKNOWN
    if "".join(here.first) == "".join(there.first):
        return _SAME
    all_here, all_there = [*here.first, *here.middle], [*there.first, *there.middle]
    if all_here[0] == all_there[0]:  # Mary, and Mary Ann, but not Mary Ann and Mary Beth
        return _SAME if _agree(all_here, all_there) else _OTHER
    if _agree(all_here[:1], all_there[:1]):  # T. or Tim, and Timothy
        return _ALIKE
    goes_by_middle_name = here.first[0] in there.middle or there.first[0] in here.middle
    return _ALIKE if goes_by_middle_name else _OTHER


def _agree(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether names that both have are the same, or one the beginning of the other."""
    pairs = zip(some, others, strict=False)
    return all(one.startswith(other) or other.startswith(one) for one, other in pairs)


def _compare_surnames(here: _Names, there: _Names) -> _Agreement:
    if "".join(here.last) == "".join(there.last):
        return _SAME
    if not here.last or not there.last:
        return _UNKNOWN
    has_part = set(here.last) < set(there.last) or set(there.last) < set(here.last)
    return _ALIKE if has_part else _OTHER


def _are_swapped(here: _Names, there: _Names) -> bool:
    """Whether the surname of each stands where the other has the first names."""
    crosswise = (here.first, there.last), (here.last, there.first)
    return all(one and "".join(one) == "".join(other) for one, other in crosswise)


# -- birth dates and postcodes ----------------------------------------------------------------


def birth_date(text: str | None) -> date | None:
    """A date of birth in any form; None where there is none that can be read."""
    given = (text or "").strip()
    try:
        if len(given) > len("YYYY-MM-DD"):
            # a date turned into an instant by a server in summer time is an hour short of its day;
            # one at noon keeps it
            return (datetime.fromisoformat(given) + timedelta(hours=11)).date()
        day, month, year = map(int, (wire_date(given) or "").split("/"))
        return date(year, month, day)
    except (ValueError, OverflowError):
        return None


def _compare_births(person: Person, other: Person) -> _Agreement:
    births = birth_date(person.get("date_of_birth")), birth_date(other.get("date_of_birth"))
    here, there = births
    if here is None or there is None:
        return _UNKNOWN
    if here == there:
        return _SAME
    # what a server may make of a date: day and month swapped, a day off by its time zone (Q16, Q17)
    is_swapped = (here.year, here.month, here.day) == (there.year, there.day, there.month)
    return _ALIKE if is_swapped or abs((here - there).days) == 1 else _OTHER


def _compare_postcodes(person: Person, other: Person) -> _Agreement:
    here, there = letters(person.get("postcode")), letters(other.get("postcode"))
    if not here or not there:
        return _UNKNOWN
    return _SAME if here == there else _OTHER
