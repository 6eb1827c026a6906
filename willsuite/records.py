"""The documented records.

Belongs here: `Case`, `Customer`, `CrmField`, `CasesPage`, `Appointment`, `ApiJob`.
Does not: reading them from bodies (`decoding.py`), requests, Arrow or files.

Sources: vendor pages "Cases" and "Case Appointments"; quirks Q1-Q10, Q22-Q26 and Q33-Q40 of
facts.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

Flag = bool | int | str | None
"""0, 1, true, false, "0", "1" or absent, as the wire has it (Q2)."""


_NO_WIRE_NAME = "(other fields)"
"""A field of ours beside the wire's: what the vendor calls `extra` is another one."""


class Customer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A person of a case. Absent and null are both None; the texts are as sent."""

    id: str
    title: str | None = None
    first_names: str | None = None
    middle_names: str | None = None
    last_name: str | None = None
    date_of_birth: str | None = None
    gender: str | None = None
    tel_1: str | None = None
    tel_2: str | None = None
    email: str | None = None
    occupation: str | None = None
    marital_status: str | None = None
    address_1: str | None = None
    address_2: str | None = None
    address_3: str | None = None
    postcode: str | None = None
    customer_case_id: str | None = None
    is_deceased: Flag = None
    extra: str | None = msgspec.field(default=None, name=_NO_WIRE_NAME)
    """The fields that aren't documented, as a JSON object; None where there are none."""

    def __repr__(self) -> str:
        """The id alone: a record in a traceback or a log must not show a person."""
        return f"Customer(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`; msgspec's own gives rich every field."""
        return [("id", self.id)]


class Case(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A case with its customers; `meta` maps CRM field ids to values, `[]` read as empty."""

    id: str
    ref: str | None = None
    first_names: str | None = None
    last_names: str | None = None
    full_names: str | None = None
    email: str | None = None
    postcode: str | None = None
    notes: str | None = None
    is_active: Flag = None
    customers: list[Customer] | None = None
    meta: dict[str, str | None] | list[Any] | None = None
    extra: str | None = msgspec.field(default=None, name=_NO_WIRE_NAME)
    """As `Customer`'s."""

    def __repr__(self) -> str:
        """As `Customer`'s."""
        return f"Case(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `Customer`'s."""
        return [("id", self.id)]


class CrmField(msgspec.Struct, frozen=True):
    """A custom field of the account: the key of `meta`, its label, its allowed values."""

    id: str
    field_label: str | None = None
    options: list[str] | None = None


class ApiJob(msgspec.Struct, frozen=True):
    """A bulk request being worked on (facts.md 4); all but `id` may be missing."""

    id: str
    status: str | None = None
    """`pending`, `processing`, `completed`, `failed`, or a word that isn't documented."""
    total_records: int | None = None
    effected_records: int | None = None
    """Sic. Records that were changed: those already up to date aren't counted."""
    message: str | None = None
    """For private files only: it may repeat what is in the cases."""
    end_time: str | None = None

    def __repr__(self) -> str:
        """Without the message."""
        return f"ApiJob(id={self.id!r}, status={self.status!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`."""
        return [("id", self.id), ("status", self.status)]

    @property
    def is_finished(self) -> bool:
        """The vendor's rule: an end time, or one of the two last words; any other word runs on."""
        return bool(self.end_time) or self.status in ("completed", "failed")

    @property
    def may_go_on(self) -> bool:
        """Whether it may be at work although it is told failed: so says a queue that takes a job
        up again while its first worker still has it (laravel-measured.md)."""
        said = (self.message or "").lower()
        return self.status == "failed" and "attempted too many times" in said


class Appointment(msgspec.Struct, frozen=True):
    """An appointment as an answer to a write has it: no endpoint reads one.

    All but `id` may be missing: the answers to a creation and to an update each lack fields of
    the other (Q38). Flags are True, False or None for "not said" (Q36).
    """

    id: str
    customer_case_id: str | None = None
    type: str | None = None
    adviser_email: str | None = None
    """In the vendor's example of a creation it is the recipient's (Q33)."""
    start_time: str | None = None
    """As sent back, in either form of `times.read_time` (Q34): compare it with what was sent."""
    end_time: str | None = None
    notes: str | None = None
    location: str | None = None
    email_recipient: str | None = None
    """In the vendor's example of a creation it is the adviser's (Q33)."""
    email_confirmation: bool | None = None
    email_notification: bool | None = None
    email_day_before: int | None = None
    sms_recipient: str | None = None
    sms_confirmation: bool | None = None
    sms_notification: bool | None = None
    sms_day_before: int | None = None
    attended: bool | None = None
    cancelled: bool | None = None
    zoom_id: str | None = None
    join_url: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    deleted_at: str | None = None

    def __repr__(self) -> str:
        """As `Customer`'s."""
        return f"Appointment(id={self.id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `Customer`'s."""
        return [("id", self.id)]


@dataclass(frozen=True, slots=True)
class CasesPage:
    """One page of `GET /cases`. Links and `path` of the body are not even read (Q22)."""

    cases: list[Case]
    page: int
    per_page: int | None
    """As the server echoes it: it may give fewer rows than asked for."""
    last_page: int | None
    total: int | None
    server_date: datetime | None
    """The `Date` header, UTC."""
    fetch_number: int
    """Counts the answers of one client: of two copies of a case the higher one is later."""
    unknown_fields: Mapping[str, int] = field(default_factory=dict)
    """How many records carried a field that isn't documented, by `case.<x>`/`customer.<x>`."""
    unread_values: Mapping[str, int] = field(default_factory=dict)
    """How many values aren't of the documented kind and are kept as they came, by `case.<x>`."""
