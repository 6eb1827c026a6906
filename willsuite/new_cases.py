"""What may be sent to create a case, with the vendor's limits.

Belongs here: the request structs under their wire names, and turning plain values into them.
Does not: sending (`client.py`), or what a file may contain (`schemas/`), which checks the same
limits earlier and with a sentence for each row.

Source: vendor page "Cases", Create Case; quirks Q1, Q11-Q16 of facts.md. Absent values are left
out of the request, never sent as null or "".
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from willsuite.errors import InvalidRecordError

Given = Annotated[str, msgspec.Meta(min_length=1)]
UpTo25 = Annotated[str, msgspec.Meta(max_length=25)]
UpTo100 = Annotated[str, msgspec.Meta(max_length=100)]
UpTo150 = Annotated[str, msgspec.Meta(max_length=150)]
WireDate = Annotated[str, msgspec.Meta(pattern=r"^\d{2}/\d{2}/\d{4}$")]
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


class NewCustomer(_Request, frozen=True):
    """A person of a new case. The vendor's table says `last_names`, all its examples
    `last_name`, which is sent (Q1); the importer proves by the first answer that it arrived.
    """

    title: Given
    first_names: Given
    last_name: Given
    middle_names: str | None = None
    date_of_birth: WireDate | None = None
    gender: str | None = None
    marital_status: MaritalStatus | None = None
    tel_1: UpTo25 | None = None
    tel_2: UpTo25 | None = None
    address_1: UpTo100 | None = None
    address_2: UpTo100 | None = None
    address_3: UpTo100 | None = None
    postcode: UpTo100 | None = None
    occupation: UpTo150 | None = None
    preferred_name: UpTo150 | None = None
    email: str | None = None


class NewAddressBookEntry(_Request, frozen=True):
    """A person or organisation of a new case's address book; the vendor gives no limits.

    Without `relationship`, which is keyed by customer ids that don't exist yet (Q14).
    """

    entity_id: Literal["person", "organisation"]
    title: str | None = None
    first_names: str | None = None
    middle_names: str | None = None
    last_name: str | None = None
    known_as: str | None = None
    preferred_name: str | None = None
    alias: str | None = None
    tel_1: str | None = None
    tel_2: str | None = None
    email: str | None = None
    gender: str | None = None
    dob: WireDate | None = None
    occupation: str | None = None
    address_1: str | None = None
    address_2: str | None = None
    address_3: str | None = None
    postcode: str | None = None
    name: str | None = None
    reg_no: str | None = None
    is_charity: Literal["yes", "no"] | None = None


class NewCase(_Request, frozen=True):
    """The body of `POST /cases/create`."""

    ref: str | None = None
    """Made by the server where it is absent, and then the case can't be found again by it."""
    email: str | None = None
    """The API user's, not the client's (Q11)."""
    adviser_email: str | None = None
    notes: str | None = None
    meta: dict[str, str] = {}
    customers: list[NewCustomer] = []
    address_book: list[NewAddressBookEntry] = []


def new_case(values: Mapping[str, Any]) -> NewCase:
    """Plain values under their wire names as a request.

    Raises:
        InvalidRecordError: a documented limit is broken; names the place, never the value.
    """
    try:
        return msgspec.convert(values, NewCase)
    except msgspec.ValidationError as error:
        # msgspec's own text may show the value; its end names the place
        place = re.search(r"`\$\.?([^`]+)`$", str(error))
        where = f" at {place[1]}" if place else ""
        raise InvalidRecordError(
            f"The case breaks a documented limit{where}; nothing was sent."
        ) from None
