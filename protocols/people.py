"""What a case of the account says about the row that wanted it.

Belongs here: comparing what was sent with an answer or with a case that was read; plain
functions. Does not: asking, sending, or what follows from a verdict (`importing/exactly_once.py`).

Only what the vendor documents as returned is compared: people by name, notes and CRM values by
whether they are there at all, since their form may change on the way.
"""

import html
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any

from protocols.reading.lookup import FoundCase
from schemas.texts import canonical, folded
from schemas.values import wire_date
from willsuite import Case


class Echo(StrEnum):
    """What the answer to a creation proves."""

    PROVEN = "proven"
    OTHER_REF = "other_ref"
    """The case has another reference, so a second run would not find it."""
    NO_SURNAME = "no_surname"
    """None of the surnames that were sent came back."""
    NO_PEOPLE = "no_people"
    """The case has no customers at all, which says nothing of surnames."""


def echo_of(sent: Mapping[str, Any], answer: Case) -> Echo:
    """Whether the answer to `POST /cases/create` shows the reference and a surname (F6, F7).

    The answer has no customers, only their names joined; a case without customers proves itself
    by its reference.
    """
    if canonical(answer.ref or "") != canonical(sent["ref"]):
        return Echo.OTHER_REF
    names = _shown(f"{answer.last_names or ''} {answer.full_names or ''}")
    surnames = _surnames(sent.get("customers", ()))
    if surnames and not any(surname in names for surname in surnames):
        return Echo.NO_SURNAME
    return Echo.PROVEN


def echo_of_case(sent: Mapping[str, Any], case: Case) -> Echo:
    """The same from the whole case, which has its customers."""
    if canonical(case.ref or "") != canonical(sent["ref"]):
        return Echo.OTHER_REF
    surnames = _surnames(sent.get("customers", ()))
    kept = {_shown(person.last_name) for person in case.customers or ()}
    if surnames and not case.customers:
        return Echo.NO_PEOPLE
    return Echo.NO_SURNAME if surnames and not surnames & kept else Echo.PROVEN


def _surnames(people: Sequence[Mapping[str, Any]]) -> set[str]:
    return {_shown(person["last_name"]) for person in people}


def lacking(sent: Mapping[str, Any], found: FoundCase) -> list[str]:
    """What was sent and isn't in the case that it made: wire names, empty if it is whole."""
    missing = []
    if _missing_people(sent, found):
        missing.append("customers")
    if sent.get("notes") and not (found.notes or "").strip():
        missing.append("notes")
    if any(not (found.meta.get(key) or "").strip() for key in sent.get("meta", {})):
        missing.append("meta")
    return missing


def _missing_people(sent: Mapping[str, Any], found: FoundCase) -> int:
    wanted = Counter(_name(person) for person in sent.get("customers", ()))
    return (wanted - Counter(_name(person) for person in found.customers)).total()


def _name(person: Mapping[str, Any]) -> tuple[str, str]:
    return _shown(person["first_names"]), _shown(person["last_name"])


def _shown(text: str | None) -> str:
    """A text of the account or of a row, comparable; PHP code may escape what it shows."""
    return canonical(html.unescape(text or ""))


_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)
"""Letters that aren't made of another one and an accent, as people without their keys type them."""


class Likeness(StrEnum):
    """How a case that was there before relates to the row with its reference."""

    SAME = "same"
    INCOMPLETE = "incomplete"
    """Customers of the row are missing in it: perhaps a creation that was cut short."""
    OTHER_PEOPLE = "other_people"
    """Nobody of the row is in it: the reference belongs to somebody else."""


def likeness_of(sent: Mapping[str, Any], found: FoundCase) -> Likeness:
    """Compare by names only: people marry, and notes are worked on."""
    wanted = sent.get("customers", ())
    if not wanted:
        return Likeness.SAME
    names = {part for person in found.customers for part in enumerate(_name(person)) if part[1]}
    known = sum(bool(set(enumerate(_name(person))) & names) for person in wanted)
    if not known and found.customers:
        return Likeness.OTHER_PEOPLE
    if len(found.customers) < len(wanted):
        return Likeness.INCOMPLETE
    return Likeness.SAME


class Sameness(IntEnum):
    """How a person of a row relates to a customer of the case."""

    OTHER = 0
    """Another name; or the same, born on another day, or living elsewhere if no day is known."""
    CLASH = 1
    """Same names, and another birth date that may be a mistake, or the same address; or the same
    first names without a surname, which some server may have dropped."""
    PERHAPS = 2
    """Same names, and nothing else that can be compared."""
    SAME = 3
    """Same names, and the same birth date or, where none is known, the same postcode."""


def sameness(person: Mapping[str, Any], other: Mapping[str, Any]) -> Sameness:
    """Whether two records are of one person."""
    if _letters(person) != _letters(other):
        return Sameness.CLASH if _has_lost_surname(person, other) else Sameness.OTHER
    postcodes = _postcode(person), _postcode(other)
    lives_there = all(postcodes) and postcodes[0] == postcodes[1]
    birth, other_birth = _birth_date(person), _birth_date(other)
    if birth and other_birth:
        if birth == other_birth:
            return Sameness.SAME
        may_be_mistaken = lives_there or _are_alike(birth, other_birth)
        return Sameness.CLASH if may_be_mistaken else Sameness.OTHER
    if all(postcodes):
        return Sameness.SAME if lives_there else Sameness.OTHER
    return Sameness.PERHAPS


def _are_alike(birth: date, other: date) -> bool:
    """Whether a server may have made one of the other: day and month swapped, or a day off by its
    time zone (Q16, Q17)."""
    is_swapped = (birth.year, birth.month, birth.day) == (other.year, other.day, other.month)
    return is_swapped or abs((birth - other).days) == 1


def likest(
    person: Mapping[str, Any],
    customers: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mapping[str, Any]] = (),
) -> Sameness:
    """How `person` relates to the most similar of `customers`.

    Of these, one who is the same as another of the `wanted` people is nobody else: a file that
    has father and son means two.
    """
    verdicts = {
        sameness(person, other)
        for other in customers
        if sameness(person, other) is Sameness.SAME
        or not any(sameness(each, other) is Sameness.SAME for each in wanted)
    }
    return max(verdicts, default=Sameness.OTHER)


def missing_people(
    wanted: Sequence[Mapping[str, Any]],
    customers: Sequence[Mapping[str, Any]],
    known_ids: Collection[str] | None = None,
) -> list[Mapping[str, Any]]:
    """Those of `wanted` who aren't among `customers`: by names, and birth date or postcode.

    In doubt a person is taken to be there: a customer who was added twice can't be removed through
    the API. `known_ids` are those of the customers before anybody was added: where given, a new
    customer of the same name is the one that was added, whatever became of the other values. Of
    two people of one name, each needs a new customer.
    """
    new = [] if known_ids is None else [each for each in customers if each["id"] not in known_ids]
    known = [each for each in customers if each not in new]
    missing = [person for person in wanted if likest(person, known, wanted) is Sameness.OTHER]
    for other in new:
        alike = [person for person in missing if _may_be_made_of(person, other)]
        if alike:
            made = max(alike, key=lambda person: sameness(person, other))
            missing = [person for person in missing if person is not made]
    return missing


def lost_values(
    sent: Mapping[str, Any], customers: Sequence[Mapping[str, Any]], known_ids: Collection[str]
) -> list[str]:
    """Wire names of what was sent of a person and isn't so in the customer that it made (Q18).

    Empty as well where there is no such customer. What no answer shows (`preferred_name`) isn't
    compared; of the others only whether they are there, since their form may change on the way,
    but for the birth date.
    """
    made = [
        other
        for other in customers
        if other["id"] not in known_ids and _may_be_made_of(sent, other)
    ]
    if not made:
        return []
    kept = max(made, key=lambda other: sameness(sent, other))
    lost = [name for name in sent if name in kept and not _given(kept, name)]
    births = _birth_date(sent), _birth_date(kept)
    return [*lost, "date_of_birth"] if all(births) and births[0] != births[1] else lost


def _may_be_made_of(person: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return _letters(person) == _letters(other) or _has_lost_surname(person, other)


def _has_lost_surname(person: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    (first_names, _), (other_first_names, other_surname) = _letters(person), _letters(other)
    return first_names == other_first_names and not other_surname


def _letters(person: Mapping[str, Any]) -> tuple[str, str]:
    """Names without accents, spaces and punctuation, which a server may change on the way."""
    return _bare(person.get("first_names")), _bare(person.get("last_name"))


def _bare(name: str | None) -> str:
    plain = folded(html.unescape(name or "")).translate(_PLAIN)
    letters = "".join(filter(str.isalnum, plain))
    return letters or _shown(name)


def _birth_date(person: Mapping[str, Any]) -> date | None:
    """None where there is none that can be read (its format isn't documented)."""
    text = _given(person, "date_of_birth")
    try:
        if len(text) > len("YYYY-MM-DD"):
            # a date turned into an instant by a server in summer time is an hour short of its day;
            # one at noon keeps it
            return (datetime.fromisoformat(text) + timedelta(hours=11)).date()
        day, month, year = map(int, (wire_date(text) or "").split("/"))
        return date(year, month, day)
    except (ValueError, OverflowError):
        return None


def _given(person: Mapping[str, Any], name: str) -> str:
    """A value of a person; MySQL's date of zeros is none."""
    text = (person.get(name) or "").strip()
    return text if name != "date_of_birth" or text.strip("0-/:T.Z ") else ""


def _postcode(person: Mapping[str, Any]) -> str:
    return canonical(person.get("postcode") or "").replace(" ", "")
