"""What may be sent to create and change cases, with the vendor's limits.

Belongs here: the request structs under their wire names, and turning plain values into them.
Does not: sending (`client.py`), or what a file may contain (`schemas/`), which checks the same
limits earlier and with a sentence for each row.

Source: vendor page "Cases"; quirks Q1, Q11-Q17 and Q27 of facts.md. Absent values are left
out of the request, never sent as null or "".
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from willsuite.errors import InvalidRecordError

Given = Annotated[str, msgspec.Meta(min_length=1)]
UpTo25 = Annotated[str, msgspec.Meta(min_length=1, max_length=25)]
UpTo100 = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
UpTo150 = Annotated[str, msgspec.Meta(min_length=1, max_length=150)]
WireDate = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{2}/[0-9]{2}/[0-9]{4}\Z")]
"""DD/MM/YYYY."""
MaritalStatus = Literal[
    "married", "civil", "cohabiting", "widowed", "divorced", "dissolved", "separated", "single",
    "other",
]  # fmt: skip
"""The server compares with regard to case."""


class _Request(
    msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    def __repr__(self) -> str:
        """The kind alone: a request in a traceback or a log must not show a person."""
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`; msgspec's own gives rich every field."""
        return []


class NewCustomer(_Request, frozen=True):
    """A person of a new case. The vendor's table says `last_names`, all its examples
    `last_name`, which is sent (Q1); the importer proves by the first answer that it arrived.
    """

    title: Given
    first_names: Given
    last_name: Given
    middle_names: Given | None = None
    date_of_birth: WireDate | None = None
    gender: Given | None = None
    marital_status: MaritalStatus | None = None
    tel_1: UpTo25 | None = None
    tel_2: UpTo25 | None = None
    address_1: UpTo100 | None = None
    address_2: UpTo100 | None = None
    address_3: UpTo100 | None = None
    postcode: UpTo100 | None = None
    occupation: UpTo150 | None = None
    preferred_name: UpTo150 | None = None
    email: Given | None = None


class NewAddressBookEntry(_Request, frozen=True):
    """A person or organisation of a new case's address book; the vendor gives no limits.

    Without `relationship`, which is keyed by customer ids that don't exist yet (Q14).
    """

    entity_id: Literal["person", "organisation"]
    title: Given | None = None
    first_names: Given | None = None
    middle_names: Given | None = None
    last_name: Given | None = None
    known_as: Given | None = None
    preferred_name: Given | None = None
    alias: Given | None = None
    tel_1: Given | None = None
    tel_2: Given | None = None
    email: Given | None = None
    gender: Given | None = None
    dob: WireDate | None = None
    occupation: Given | None = None
    address_1: Given | None = None
    address_2: Given | None = None
    address_3: Given | None = None
    postcode: Given | None = None
    name: Given | None = None
    reg_no: Given | None = None
    is_charity: Literal["yes", "no"] | None = None


class NewCase(_Request, frozen=True):
    """The body of `POST /cases/create`."""

    ref: Given | None = None
    """Made by the server where it is absent, and then the case can't be found again by it."""
    email: Given | None = None
    """The API user's, not the client's (Q11)."""
    adviser_email: Given | None = None
    notes: Given | None = None
    meta: dict[str, Given] = {}
    customers: list[NewCustomer] = []
    address_book: list[NewAddressBookEntry] = []


class CaseUpdate(_Request, frozen=True):
    """The body of `PATCH /cases/{caseId}`; `customers` are added, each time they are sent."""

    ref: Given | None = None
    notes: Given | None = None
    meta: dict[str, Given] = {}
    customers: list[NewCustomer] = []


class BulkUpdate(_Request, frozen=True):
    """One element of the body of `PATCH /cases-bulk-update`; the reference can't be changed."""

    id: Given
    notes: Given | None = None
    meta: dict[str, Given] = {}


Body = TypeVar("Body", NewCase, CaseUpdate, BulkUpdate)


def new_case(values: Mapping[str, Any]) -> NewCase:
    """Plain values under their wire names as a request; raises as `case_update` does."""
    return _converted(values, NewCase)


def case_update(values: Mapping[str, Any]) -> CaseUpdate:
    """Plain values under their wire names as a request.

    Raises:
        InvalidRecordError: a documented limit is broken; names the place, never the value.
    """
    return _converted(values, CaseUpdate)


def bulk_update(values: Mapping[str, Any]) -> BulkUpdate:
    """Plain values under their wire names as a request; raises as `case_update` does."""
    return _converted(values, BulkUpdate)


def _converted(values: Mapping[str, Any], kind: type[Body]) -> Body:
    try:
        return msgspec.convert(_plain(values), kind)
    except (UnicodeEncodeError, RecursionError):
        raise InvalidRecordError(
            "The case holds a text that can't be sent as UTF-8, or a list within itself; nothing "
            "was sent."
        ) from None
    except msgspec.ValidationError as error:
        raise InvalidRecordError(
            f"The case breaks a documented limit{_place(str(error))}; nothing was sent."
        ) from None


def _plain(raw: Any) -> Any:
    """`raw` with texts of other classes (numpy's) as str, which is all that msgspec encodes.

    Raises:
        UnicodeEncodeError: a text with half a surrogate pair in it.
    """
    if isinstance(raw, str):
        raw.encode()
        return str.__str__(raw)
    if isinstance(raw, Mapping):
        return {_plain(key): _plain(value) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_plain(item) for item in raw]
    return raw


def _place(said: str) -> str:
    """Where msgspec's complaint is; its own words may show a value or a key of the caller's."""
    place = re.search(r" - at (?:`key` in )?`\$\.([a-z0-9_.\[\]]+)`$", said)
    missing = re.match(r"Object missing required field `([a-z_]+)`", said)
    names = [place[1]] if place else []
    names += [missing[1]] if missing else []
    return f" at {'.'.join(names)}" if names else ""
