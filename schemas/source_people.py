"""The people in the rows of a file, checked and as they are sent.

Belongs here: what each customer and address-book entry lacks, who is in one case twice, and their
wire form. Does not: their columns (`person_columns.py`), or whether two records are of one person
(`people.py`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from schemas.issues import Issue, issue_of
from schemas.people import Sameness, sameness
from schemas.person_columns import OF_ORGANISATIONS, REQUIRED_OF_CUSTOMERS
from schemas.source_table import SourceTable
from schemas.values import YES_NO, marital_status, wire_date

SENTENCES = {
    "required": (
        "{column} is missing; WillSuite needs title, first names and last name of each customer."
    ),
    "customer_repeated": "This customer is in the same case twice (row {other}).",
    "organisation_name": "{column} is missing; an organisation needs a name.",
    "not_an_organisation": (
        "{column} is only for organisations; write organisation into entity_id, or clear it."
    ),
}
"""What a person is told, by code. No sentence repeats a cell."""
_issue = partial(issue_of, SENTENCES)


def _gender(text: str) -> str:
    """The examples' two words in their case; the vendor lists none, so others stay as they are."""
    return text.casefold() if text.casefold() in ("male", "female") else text


def _yes_or_no(text: str) -> str:
    return YES_NO[text.casefold()]


_TO_WIRE: dict[str, Callable[[str], str | None]] = {
    "date_of_birth": wire_date,
    "dob": wire_date,
    "marital_status": marital_status,
    "gender": _gender,
    "entity_id": str.casefold,
    "is_charity": _yes_or_no,
}


def people_issues(table: SourceTable) -> Iterator[Issue]:
    """What each given customer and address-book entry lacks."""
    for prefix, names in table.entries.items():
        given = table.frame[list(names.values())].notna().any(axis=1)
        check = _customer_issues if prefix.startswith("customer") else _address_book_issues
        for index in given[given].index:
            yield from check(table, prefix, int(index))


def _customer_issues(table: SourceTable, prefix: str, index: int) -> Iterator[Issue]:
    given = table.entry(prefix, index)
    for name in REQUIRED_OF_CUSTOMERS:
        if name not in given:
            yield _issue("required", table.rows[index], table.header(prefix + name))


def _address_book_issues(table: SourceTable, prefix: str, index: int) -> Iterator[Issue]:
    given = table.entry(prefix, index)
    row = table.rows[index]
    if given.get("entity_id", "person").casefold() == "organisation":
        if "name" not in given:
            yield _issue("organisation_name", row, table.header(f"{prefix}name"))
        return
    for name in OF_ORGANISATIONS:
        if name in given:
            yield _issue("not_an_organisation", row, table.header(prefix + name))


def repeated_customers(table: SourceTable, group: Sequence[int]) -> Iterator[Issue]:
    """The same person twice in the rows (by index) of one case."""
    known: list[tuple[int, Mapping[str, str]]] = []
    for index in group:
        for prefix in [prefix for prefix in table.entries if prefix.startswith("customer")]:
            person = table.entry(prefix, index)
            if not {"first_names", "last_name"} <= person.keys():
                continue
            same = (row for row, other in known if sameness(person, other) >= Sameness.PERHAPS)
            if (first := next(same, None)) is not None:
                header = table.header(f"{prefix}last_name")
                yield _issue("customer_repeated", table.rows[index], header, other=first)
            known.append((table.rows[index], person))


def people_in(
    table: SourceTable, kind: str, group: Sequence[int]
) -> Iterator[dict[str, str | None]]:
    """The customers (or address-book entries) in the rows of one case, under their wire names."""
    for index, prefix in places(table, kind, group):
        given = table.entry(prefix, index)
        if kind == "address_book":
            given = {"entity_id": "person"} | given  # person is only the likely default
        yield {
            name: _TO_WIRE[name](value) if name in _TO_WIRE else value
            for name, value in given.items()
        }


def places(table: SourceTable, kind: str, group: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Where the people of the rows of one case stand: row by index, and `customer_1_`."""
    prefixes = sorted(
        (prefix for prefix in table.entries if prefix.startswith(kind)),
        key=lambda prefix: int(re.sub(r"\D", "", prefix) or 0),
    )
    for index in group:
        yield from ((index, prefix) for prefix in prefixes if table.entry(prefix, index))
