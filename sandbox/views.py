"""How stored cases are shown, and what is lost before they are stored.

Belongs here: the options by which a server leaves people or values out of its answers, writes them
in another form, or cuts what it is sent. Does not: which of them an answer has (`case_reads.py`).
"""

import html
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

ListedPeople = Literal["all", "first", "none"]
"""Which of a case's customers the list shows (Q19); the case by its id shows all."""
BirthDates = Literal["ISO", "day first", "London"]
"""The form in which `date_of_birth` is shown; "London" is Laravel's cast with its zone set so."""


@dataclass(frozen=True, slots=True)
class Views:
    """What the answers of `GET` make of a case; the defaults show all as it is stored."""

    listed_people: ListedPeople = "all"
    list_hides: tuple[str, ...] = ()
    """Fields of customers that are null in the list."""
    hides: tuple[str, ...] = ()
    """Fields of customers that are null in every answer."""
    birth_dates: BirthDates = "ISO"
    entities: bool = False
    """Texts are escaped, as PHP's `e()` does it."""

    def shown(self, case: dict[str, Any], *, in_list: bool) -> dict[str, Any]:
        """The case as an answer has it."""
        people = case["customers"]
        if in_list and self.listed_people != "all":
            people = people[:1] if self.listed_people == "first" else []
        hidden = {*self.hides, *(self.list_hides if in_list else ())}
        people = [self._person(person, hidden) for person in people]
        shown = case | {"meta": case["meta"] or [], "customers": people}
        return _escaped(shown) if self.entities else shown

    def _person(self, person: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
        shown = person | {name: None for name in hidden if name in person}
        if shown.get("date_of_birth"):
            shown["date_of_birth"] = self._date(shown["date_of_birth"])
        return shown

    def _date(self, text: str) -> str:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return text
        if self.birth_dates == "day first":
            return f"{day:%d/%m/%Y}"
        if self.birth_dates == "London":
            midnight = datetime.combine(day, datetime.min.time(), ZoneInfo("Europe/London"))
            return midnight.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        return text


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Losses:
    """What becomes of a new case before it is stored; the defaults lose nothing."""

    customer_fields: tuple[str, ...] = ()
    swaps_birth_dates: bool = False
    """Day and month are taken for each other, where that makes a date."""
    notes_limit: int | None = None
    notes_end_at_emoji: bool = False
    """As MySQL's utf8 of three bytes cuts a text in its lenient mode."""

    def of(self, sent: dict[str, Any]) -> dict[str, Any]:
        """The cleaned body of a creation, less what is lost."""
        kept = dict(sent)
        if isinstance(kept.get("notes"), str):
            kept["notes"] = self._notes(kept["notes"])
        if kept.get("customers"):
            kept["customers"] = [self._person(person) for person in kept["customers"]]
        return kept

    def _notes(self, notes: str) -> str:
        if self.notes_end_at_emoji:
            beyond = (place for place, sign in enumerate(notes) if ord(sign) > 0xFFFF)
            notes = notes[: next(beyond, None)]
        return notes[: self.notes_limit]

    def _person(self, person: dict[str, Any]) -> dict[str, Any]:
        kept = person | dict.fromkeys(name for name in self.customer_fields if name in person)
        born = kept.get("date_of_birth")
        if self.swaps_birth_dates and born:
            day, month, year = born.split("/")
            kept["date_of_birth"] = f"{month}/{day}/{year}" if int(day) <= 12 else born
        return kept
