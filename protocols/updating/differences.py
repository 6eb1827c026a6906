"""What a row wants and its case hasn't got.

Belongs here: the comparison of a row with its case, value by value. Does not: who is in a case
(`people.py`), entries and their outcomes (`updating/changes.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.people import missing_people
from protocols.reading.found import FoundCase
from schemas.people import birth_date
from schemas.update_file import WantedChange, same_text


@dataclass(frozen=True, slots=True)
class Difference:
    """What a row wants and its case hasn't got; empty where they agree."""

    ref: str | None = field(default=None, repr=False)
    notes: str | None = field(default=None, repr=False)
    meta: Mapping[str, str] = field(default_factory=dict, repr=False)
    customers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)

    @property
    def has_fields(self) -> bool:
        """Whether something differs that a case has once."""
        return bool(self.ref or self.notes or self.meta)

    def __bool__(self) -> bool:
        return self.has_fields or bool(self.customers)

    def fields(self, along: Mapping[str, str]) -> dict[str, Any]:
        """The values to be sent, under their wire names; without customers.

        `along` are the CRM values that go with the row's own, where they would be lost otherwise.
        """
        meta = {**along, **self.meta} if self.meta else {}
        values = {"ref": self.ref, "notes": self.notes, "meta": meta}
        return {name: value for name, value in values.items() if value}


def difference(
    wanted: WantedChange, case: FoundCase, known_people: Collection[str] | None = None
) -> Difference:
    """What is left to be changed in `case`.

    `known_people` are the ids of its customers before any was added, if some may have been.
    """
    has = case.meta
    return Difference(
        ref=None if wanted.new_ref is None or wanted.new_ref == case.ref else wanted.new_ref,
        notes=None if same_text(wanted.notes or "", case.notes) else wanted.notes,
        meta={
            key: value for key, value in wanted.meta.items() if not _same_value(value, has.get(key))
        },
        customers=missing_people(wanted.customers, case.customers, known_people),
    )


def _same_value(wanted: str, has: str | None) -> bool:
    """Whether a CRM field has a value already; a date may be shown in another form."""
    date = birth_date(wanted)
    return same_text(wanted, has) or (date is not None and date == birth_date(has))
