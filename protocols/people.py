"""Who of a row is in a case.

Belongs here: finding the people of a row among the customers of a case; plain functions without
network. Does not: whether two records are of one person (`schemas/people.py`, which the checks
inside a file need too), whether their values were kept (`kept.py`), or what follows from it
(`importing/verdicts.py`, `updating/changes.py`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from schemas.people import Person, Sameness, may_be_made_of, sameness

ABSENT = (Sameness.OTHER, Sameness.ELSEWHERE)
"""Whose likest customer is no more than this isn't there, for one who is about to be added."""


def likest(person: Person, customers: Sequence[Person], wanted: Sequence[Person] = ()) -> Sameness:
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
    wanted: Sequence[Person],
    customers: Sequence[Person],
    known_ids: Collection[str] | None = None,
) -> list[Person]:
    """Those of `wanted` who aren't among `customers`, and are to be added.

    In doubt a person is taken to be there: a customer who was added twice can't be removed through
    the API. `known_ids` are those of the customers before anybody was added: where given, a new
    customer of the same name is the one that was added, whatever became of the other values. Of
    two people of one name, each needs a new customer.
    """
    new = [] if known_ids is None else [each for each in customers if each["id"] not in known_ids]
    known = [each for each in customers if each not in new]
    missing = [person for person in wanted if likest(person, known, wanted) in ABSENT]
    for other in new:
        alike = [person for person in missing if may_be_made_of(person, other)]
        if alike:
            made = max(alike, key=lambda person: sameness(person, other))
            missing = [person for person in missing if person is not made]
    return missing


@dataclass(frozen=True, slots=True)
class Presence:
    """How many people of a row are in a case, each customer standing for one of them."""

    there: int
    unsure: int
    """Somebody may be this person, but something contradicts it."""
    missing: int

    @property
    def wanted(self) -> int:
        """How many people the row has."""
        return self.there + self.unsure + self.missing


def presence(wanted: Sequence[Person], customers: Sequence[Person]) -> Presence:
    """Who of a row is in the case with the row's reference.

    The reference speaks for them already, so the same names are enough where no birth date is
    known: people move.
    """
    found = {position: verdict for position, _, verdict in _pairs(wanted, customers, sameness)}
    unsure = sum(verdict is Sameness.CLASH for verdict in found.values())
    return Presence(len(found) - unsure, unsure, len(wanted) - len(found))


def made_of(wanted: Sequence[Person], customers: Sequence[Person]) -> dict[int, Person]:
    """The customer that a server made of each of `wanted`, by position; without those it lost."""

    def likeness(person: Person, other: Person) -> int:
        return sameness(person, other) + may_be_made_of(person, other)

    pairs = _pairs(wanted, customers, likeness)
    return {position: customers[other] for position, other, _ in pairs}


def _pairs(
    wanted: Sequence[Person],
    customers: Sequence[Person],
    likeness: Callable[[Person, Person], int],
) -> list[tuple[int, int, int]]:
    """Positions of those who belong together, the most alike first, and how alike they are."""
    verdicts = [
        (verdict, -here, -there)
        for here, person in enumerate(wanted)
        for there, other in enumerate(customers)
        if (verdict := likeness(person, other))
    ]
    pairs: list[tuple[int, int, int]] = []
    for verdict, here, there in sorted(verdicts, reverse=True):
        if all(-here != taken and -there != other for taken, other, _ in pairs):
            pairs.append((-here, -there, verdict))
    return pairs
