"""Cases of the account as rows are compared with them.

Belongs here: the records of what was found, and finding one of them again. Does not: the network
(`reading/lookup.py`), or comparing (`people.py`, `kept.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from msgspec import msgpack

from schemas.texts import canonical, collision_key
from willsuite import Case


@dataclass(frozen=True, slots=True)
class FoundCase:
    """A case of the account, as far as a row is compared with it.

    A run may hold one for each of 200,000 rows: people and CRM values are packed, and become
    records each time they are looked at.
    """

    id: str
    notes: str | None = field(repr=False)
    ref: str | None = field(repr=False)
    packed_customers: bytes = field(repr=False)
    packed_meta: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        case_id: str,
        customers: Sequence[Mapping[str, Any]],
        meta: Mapping[str, str | None],
        notes: str | None,
        ref: str | None = None,
    ) -> "FoundCase":
        """A case with these customers and CRM values (by the id of their field)."""
        return cls(case_id, notes, ref, msgpack.encode(customers), msgpack.encode(meta))

    @property
    def customers(self) -> list[dict[str, Any]]:
        """Its people, with the wire names of their fields."""
        return msgpack.decode(self.packed_customers, type=list[dict[str, Any]])

    @property
    def meta(self) -> dict[str, str | None]:
        """Its CRM values, by the id of their field."""
        return msgpack.decode(self.packed_meta, type=dict[str, str | None])

    def without_people(self) -> "FoundCase":
        """The same as a list that leaves all people out has it."""
        return replace(self, packed_customers=msgpack.encode(()))


def found_case(case: Case) -> FoundCase:
    """A case that was asked for by itself."""
    people = [msgspec.structs.asdict(person) for person in case.customers or ()]
    meta = case.meta if isinstance(case.meta, dict) else {}
    return FoundCase.of(case.id, people, meta, case.notes, case.ref)


@dataclass(frozen=True, slots=True)
class Found:
    """Cases of the account that were asked for."""

    by_ref: dict[str, list[FoundCase]] = field(default_factory=dict)
    """By canonical reference."""
    by_id: dict[str, list[FoundCase]] = field(default_factory=dict)
    """By id in lower case."""
    by_key: dict[str, list[FoundCase]] = field(default_factory=dict)
    """Those with another reference than was asked for, by what both have in common
    (`texts.collision_key`)."""
    broken: set[str] = field(default_factory=set)
    """Ids that were asked for in vain: WillSuite fails each time it should show these cases."""

    def with_ref(self, ref: str) -> Sequence[FoundCase]:
        """The cases with this reference."""
        return self.by_ref.get(canonical(ref), ())

    def spelled_otherwise(self, ref: str) -> Sequence[FoundCase]:
        """Where no case has this reference: those with one that a database may take for it."""
        return () if self.with_ref(ref) else self.by_key.get(collision_key(ref), ())

    def with_id(self, case_id: str) -> FoundCase | None:
        """The case with this id; a file may have its letters in the other case."""
        alike = self.by_id.get(case_id.casefold(), ())
        exact = [case for case in alike if case.id == case_id]
        return exact[0] if exact else alike[0] if len(alike) == 1 else None

    def is_broken(self, case_id: str) -> bool:
        """Whether it can't be told if there is a case with this id, nor what it has."""
        return not self.broken.isdisjoint((case_id, case_id.lower()))

    def add(self, case: FoundCase, *, has_ref: bool, has_id: bool) -> None:
        """Let it be found by that of its reference and id which was asked for.

        By another one it might be found alone, where the account has several.
        """
        if has_id:
            self.by_id.setdefault(case.id.casefold(), []).append(case)
        if has_ref:
            self.by_ref.setdefault(canonical(case.ref or ""), []).append(case)

    def without(self, ids: Collection[str]) -> "Found":
        """The same, but for the cases with these ids."""
        by_ref, by_id, by_key = (
            {key: [case for case in cases if case.id not in ids] for key, cases in found.items()}
            for found in (self.by_ref, self.by_id, self.by_key)
        )
        return Found(by_ref, by_id, by_key, self.broken)

    def replaced(self, whole: Mapping[str, FoundCase]) -> "Found":
        """The same with those of its cases that `whole` has by id."""
        by_ref, by_id, by_key = (
            {key: [whole.get(case.id, case) for case in cases] for key, cases in found.items()}
            for found in (self.by_ref, self.by_id, self.by_key)
        )
        return Found(by_ref, by_id, by_key, self.broken)

    def __or__(self, other: "Found") -> "Found":
        return Found(
            self.by_ref | other.by_ref,
            self.by_id | other.by_id,
            self.by_key | other.by_key,
            self.broken | other.broken,
        )
