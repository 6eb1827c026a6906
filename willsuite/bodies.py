"""What may be sent to create and change cases and appointments, with the vendor's limits.

Belongs here: the request structs under their wire names, and turning plain values into them.
Does not: sending (`client.py`), or what a file may contain (`schemas/`), which checks the same
limits earlier and with a sentence for each row.

Source: vendor pages "Cases" and "Case Appointments"; quirks Q1, Q11-Q17, Q27 and Q41 of facts.md.
Absent values are left out of the request, never sent as null or "".
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec

from willsuite.errors import InvalidRecordError
from willsuite.times import read_time

Given = Annotated[str, msgspec.Meta(min_length=1)]
UpTo25 = Annotated[str, msgspec.Meta(min_length=1, max_length=25)]
UpTo100 = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
UpTo150 = Annotated[str, msgspec.Meta(min_length=1, max_length=150)]
WireDate = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{2}/[0-9]{2}/[0-9]{4}\Z")]
"""DD/MM/YYYY."""
WireTime = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\Z"),
]
"""YYYY-MM-DD HH:mm:ss: what a clock on the wall shows; the vendor names no zone (Q35)."""
MaritalStatus = Literal[
    "married", "civil", "cohabiting", "widowed", "divorced", "dissolved", "separated", "single",
    "other",
]  # fmt: skip
"""The server compares with regard to case."""


class _Request(
    msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    noun: ClassVar[str] = "case"
    """What a refusal calls it."""

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


class NewAppointment(_Request, frozen=True):
    """The body of `POST /cases/{caseId}/appointments`.

    Each of the flags for e-mail and SMS that is true has a message sent to a real person.
    """

    noun: ClassVar[str] = "appointment"

    adviser_email: Given
    """Of a user of the account; can't be changed later."""
    start_time: WireTime
    end_time: WireTime
    email_recipient: Given | None = None
    """Of a customer of the case."""
    email_confirmation: bool | None = None
    email_notification: bool | None = None
    """Reminder."""
    sms_recipient: Given | None = None
    sms_confirmation: bool | None = None
    sms_notification: bool | None = None
    """Reminder."""
    notes: Given | None = None
    location: Given | None = None
    """Shown in confirmations and reminders."""
    zoom_meeting: bool | None = None
    """The link is not in the answer (Q38)."""


class AppointmentUpdate(_Request, frozen=True):
    """The body of `PATCH /cases/{caseId}/appointments/{appointmentID}`.

    Neither the adviser nor the Zoom meeting can be changed. Whether it sends messages again is
    documented in one direction only: where a flag is in it.
    """

    noun: ClassVar[str] = "appointment"

    start_time: WireTime | None = None
    end_time: WireTime | None = None
    email_recipient: Given | None = None
    email_confirmation: bool | None = None
    email_notification: bool | None = None
    sms_recipient: Given | None = None
    sms_confirmation: bool | None = None
    sms_notification: bool | None = None
    notes: Given | None = None
    location: Given | None = None


Body = TypeVar("Body", NewCase, CaseUpdate, BulkUpdate, NewAppointment, AppointmentUpdate)
Appointed = TypeVar("Appointed", NewAppointment, AppointmentUpdate)


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


def new_appointment(values: Mapping[str, Any]) -> NewAppointment:
    """Plain values under their wire names as a request; raises as `case_update` does.

    The end must be later than the start (Q41).
    """
    return _with_possible_times(_converted(values, NewAppointment))


def appointment_update(values: Mapping[str, Any]) -> AppointmentUpdate:
    """Plain values under their wire names as a request; raises as `case_update` does.

    The end must be later than the start where both are given.
    """
    return _with_possible_times(_converted(values, AppointmentUpdate))


def _with_possible_times(request: Appointed) -> Appointed:
    walls = []
    for name, text in (("start_time", request.start_time), ("end_time", request.end_time)):
        if text is None:
            continue
        time = read_time(text)
        if time is None:  # the 31st of June
            raise _refused(request.noun, f" at {name}")
        walls.append(time.wall)
    if walls != sorted(set(walls)):
        raise InvalidRecordError("The appointment must end after it starts; nothing was sent.")
    return request


def _converted(values: Mapping[str, Any], kind: type[Body]) -> Body:
    try:
        return msgspec.convert(_plain(values), kind)
    except (UnicodeEncodeError, RecursionError):
        raise InvalidRecordError(
            f"The {kind.noun} holds a text that can't be sent as UTF-8, or a list within itself; "
            "nothing was sent."
        ) from None
    except msgspec.ValidationError as error:
        raise _refused(kind.noun, _place(str(error))) from None


def _refused(noun: str, place: str) -> InvalidRecordError:
    return InvalidRecordError(f"The {noun} breaks a documented limit{place}; nothing was sent.")


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
