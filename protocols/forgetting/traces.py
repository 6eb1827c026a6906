"""Which case is to be forgotten, and what is a trace of it.

Belongs here: the ids and references that one case has had, as our own files know them, and telling
its rows and mentions from those of others. Does not: files (`of_exports.py`, `of_runs.py`).

A reference may have been another case's at another time; so a row that names a case by its id is
told by that alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from schemas.texts import canonical
from tasks.policy import RunError

FORGOTTEN = "(forgotten)"
"""Stands where a reference was in a sentence or a filter."""
MOST_NAMED = 10


@dataclass(frozen=True)
class Traces:
    """One case, by all that our files call it."""

    ids: frozenset[str] = field(repr=False)
    """Case-folded; at most one, but where a file writes it otherwise."""
    refs: frozenset[str] = field(repr=False)
    """In their canonical form."""

    def is_row(self, case_id: str | None, key: str | None) -> bool:
        """Whether a row of outcomes is the case's."""
        if case_id:
            return case_id.casefold() in self.ids
        return self.is_named(key)

    def is_named(self, cell: str | None) -> bool:
        """Whether a cell is the case's id or reference."""
        return self.has_ref(cell) or (cell or "").casefold() in self.ids

    def has_ref(self, cell: str | None) -> bool:
        """Whether a cell is a reference of the case."""
        return bool(cell) and canonical(cell or "") in self.refs

    def without_mentions(self, sentence: str | None) -> str | None:
        """One of our sentences, with another word for the case's id and reference."""
        return self._mention.sub(FORGOTTEN, sentence) if sentence else sentence

    @cached_property
    def _mention(self) -> re.Pattern[str]:
        words = sorted({*self.ids, *self.refs}, key=len, reverse=True)
        # blanks may be of any kind and number in what a person has typed
        alternatives = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in words)
        return re.compile(rf"(?<![\w-])(?:{alternatives})(?![\w-])", re.IGNORECASE)


def traces_of(ref: str, case_id: str, known: Iterable[tuple[str, str | None]]) -> Traces:
    """The case that has had the reference `ref`, or has the id `case_id`; one of them is given.

    Args:
        ref: as a person types it.
        case_id: the id in WillSuite.
        known: ids of cases with a reference that each has, or has had.

    Raises:
        RunError: several cases have had the reference.
    """
    ids_by_ref: dict[str, set[str]] = defaultdict(set)
    for known_id, known_ref in known:
        ids_by_ref[canonical(known_ref or "")].add(known_id.casefold())
    wanted = canonical(ref)
    ids = {case_id.casefold()} if case_id else ids_by_ref.get(wanted, set())
    if len(ids) > 1:
        raise RunError(
            f"{len(ids)} cases have had this reference ({', '.join(sorted(ids)[:MOST_NAMED])}); "
            "look which of them is meant, and give its id instead: CASE_ID=..."
        )
    refs = {each for each, its_ids in ids_by_ref.items() if each and its_ids == ids}
    return Traces(frozenset(ids), frozenset(refs | ({wanted} if wanted else set())))
