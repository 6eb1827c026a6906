"""Appointments of cases, which can be written and never read, and the messages about them.

Belongs here: the documented rules for the fields of appointments, what becomes of accepted ones,
the answers, and who would have been written to. Does not: HTTP, and the cases (`store.py`).
"""

import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sandbox.people import USERS, new_id
from sandbox.writes import Errors, Rules, a_text, errors_of_fields, required

ServerZone = Literal["UTC", "Europe/London", "America/New_York"]
"""The zone in which the server reads the times sent to it; the vendor doesn't say (Q35)."""
SwappedEmails = Literal["never", "in_answers", "really"]
"""Whether a creation takes adviser and recipient for one another, as its example does (Q33)."""
Cause = Literal["POST", "PATCH"]

CREATED_FIELDS = (
    "notes", "start_time", "end_time", "sms_recipient", "sms_confirmation", "sms_notification",
    "sms_day_before", "email_recipient", "email_confirmation", "email_notification",
    "email_day_before", "location", "customer_case_id", "id", "updated_at", "created_at",
    "adviser_email",
)  # fmt: skip
"""The documented answer to a creation."""
UPDATED_FIELDS = (
    "id", "customer_case_id", "type", "notes", "start_time", "sms_recipient", "sms_notification",
    "sms_day_before", "sms_confirmation", "attended", "cancelled", "deleted_at", "created_at",
    "updated_at", "location", "email_confirmation", "email_notification", "email_day_before",
    "email_recipient", "end_time", "zoom_id", "join_url",
)  # fmt: skip
"""The documented answer to an update."""
MESSAGE_FLAGS = ("email_confirmation", "email_notification", "sms_confirmation", "sms_notification")
_TIMES = ("start_time", "end_time")
_CHANGEABLE = (
    *_TIMES, *MESSAGE_FLAGS, "email_recipient", "sms_recipient", "notes", "location",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """An e-mail or SMS that would have gone to a person; `kind` is the flag that asked for it."""

    kind: str
    recipient: str
    appointment_id: str
    cause: Cause


class Appointments:
    """All appointments of the account by id, deleted ones too; times as they were sent."""

    def __init__(
        self, *, zone: ServerZone, swapped_emails: SwappedEmails, patch_sends: bool
    ) -> None:
        self.all: dict[str, dict[str, Any]] = {}
        self.messages: list[Message] = []
        self._zone = ZoneInfo(zone)
        self._swapped_emails = swapped_emails
        self._patch_sends = patch_sends

    def find(self, case_id: str, appointment_id: str) -> dict[str, Any] | None:
        """The appointment if it is one of the case, and not deleted."""
        appointment = self.all.get(appointment_id.lower())
        if appointment is None or appointment["customer_case_id"] != case_id:
            return None
        return None if appointment["deleted_at"] else appointment

    def create(
        self, case_id: str, sent: dict[str, Any], rng: random.Random, *, breaks_off: bool
    ) -> dict[str, Any]:
        """Make an appointment of an accepted body and send its messages; returns the answer.

        One that `breaks_off` is there without its messages and its Zoom meeting.
        """
        if self._swapped_emails == "really":
            sent = _swapped(sent)
        appointment_id, now = new_id(rng), _now()
        appointment = self.all[appointment_id] = {
            "id": appointment_id,
            "customer_case_id": case_id,
            "adviser_email": sent.get("adviser_email"),
            **{name: sent.get(name) for name in _CHANGEABLE},
            "type": None,
            "attended": 0,
            "cancelled": 0,
            "sms_day_before": 0,
            "email_day_before": 0,
            "zoom_id": None,
            "join_url": None,
            "created_at": now,
            "updated_at": now,
            "deleted_at": None,
        }
        if not breaks_off:
            if sent.get("zoom_meeting"):
                appointment["zoom_id"] = str(rng.randrange(10**10, 10**11))
                appointment["join_url"] = f"https://zoom.example.org/j/{appointment['zoom_id']}"
            self._send(appointment, sent, "POST")
        shown = self._shown(appointment)
        if self._swapped_emails == "in_answers":
            shown = _swapped(shown)
        return {name: shown[name] for name in CREATED_FIELDS}

    def change(
        self, appointment: dict[str, Any], sent: dict[str, Any], *, breaks_off: bool
    ) -> dict[str, Any]:
        """Give an appointment the values of an accepted body; returns the answer.

        One that `breaks_off` sends no messages.
        """
        fields = merged(appointment, sent)
        if any(appointment[name] != value for name, value in fields.items()):
            appointment |= fields
            appointment["updated_at"] = _now()
        if self._patch_sends and not breaks_off:
            self._send(appointment, sent, "PATCH")
        shown = self._shown(appointment)
        for name in MESSAGE_FLAGS:  # as the database has them (Q36)
            shown[name] = None if shown[name] is None else int(shown[name])
        return {name: shown[name] for name in UPDATED_FIELDS}

    def delete(self, appointment: dict[str, Any]) -> None:
        """Take an appointment out of everybody's sight; nobody is told."""
        appointment["deleted_at"] = _now()

    def _send(self, appointment: dict[str, Any], sent: dict[str, Any], cause: Cause) -> None:
        for kind in MESSAGE_FLAGS:
            recipient = appointment[f"{kind.partition('_')[0]}_recipient"]
            if sent.get(kind) and recipient:
                self.messages.append(Message(kind, recipient, appointment["id"], cause))

    def _shown(self, appointment: dict[str, Any]) -> dict[str, Any]:
        """The start as an instant, the end as it was sent (Q34)."""
        start = _moment(appointment["start_time"]).replace(tzinfo=self._zone)
        return appointment | {"start_time": _iso(start)}


def merged(appointment: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """All that can be changed, as it is after an update; null clears, but not a time."""
    fields = {name: sent.get(name, appointment[name]) for name in _CHANGEABLE}
    for name in _TIMES:
        fields[name] = fields[name] or appointment[name]
    return fields


def _swapped(values: dict[str, Any]) -> dict[str, Any]:
    emails = {
        "adviser_email": values.get("email_recipient"),
        "email_recipient": values["adviser_email"],
    }
    return values | emails


# -- rules -----------------------------------------------------------------------------------


def errors_of_appointment(sent: dict[str, Any]) -> Errors:
    """What is wrong with the cleaned body of a creation."""
    return errors_of_fields(sent, _NEW) or _error_of_order(sent)


def errors_of_change(sent: dict[str, Any], appointment: dict[str, Any]) -> Errors:
    """What is wrong with the cleaned body of an update."""
    return errors_of_fields(sent, _CHANGE) or _error_of_order(merged(appointment, sent))


def _error_of_order(times: dict[str, Any]) -> Errors:
    # texts of this form are in the order of their times
    if times["end_time"] > times["start_time"]:
        return {}
    return {"end_time": ["The end_time must be a date after start_time."]}


def _a_time(value: Any) -> str | None:
    if value is None:
        return None
    form = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"
    try:
        if re.fullmatch(form, value):
            _moment(value)
            return None
    except ValueError:
        pass
    return "The {name} does not match the format Y-m-d H:i:s."


def _a_flag(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    return "The {name} field must be true or false."


def _a_user(value: Any) -> str | None:
    return None if value.casefold() in USERS else "The selected {name} is invalid."


_CHANGE: Rules = {
    **dict.fromkeys(_TIMES, (a_text, _a_time)),
    **dict.fromkeys(MESSAGE_FLAGS, (_a_flag,)),
    **dict.fromkeys(("email_recipient", "sms_recipient", "notes", "location"), (a_text,)),
}
_NEW: Rules = {
    **_CHANGE,
    **dict.fromkeys(_TIMES, (required, a_text, _a_time)),
    "adviser_email": (required, a_text, _a_user),
    "zoom_meeting": (_a_flag,),
}


# -- times -----------------------------------------------------------------------------------


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the zone is an option


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000000Z}"


def _now() -> str:
    return _iso(datetime.now(UTC))
