"""The bookings of a file, each with what has become of it.

Belongs here: the entries of a run that keeps appointments in step, and the sentences of their
codes. Does not: what entries of all flows have in common (`rows/ledger.py`), which step a row asks
for (`appointments/bookings.py`), or sending (`appointments/sync.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from protocols.account.journal import Journal
from protocols.rows.ledger import NOT_AS_PLANNED, STOPPED, Entry
from schemas.appointment_file import RECIPIENTS, WantedAppointment
from schemas.outcomes import AppointmentOutcome, RowOutcome

AGAIN = "Run the same file again."
NOT_CREATED = "not created"
MESSAGE_SETTLED = "message settled"
"""What a person says of uncertain appointments and messages, the first time; see `numbered`."""

SENTENCES = {
    "stopped": STOPPED,
    "not_as_planned": NOT_AS_PLANNED,
    "interrupted": f"The run was stopped while this row was under way. {AGAIN}",
    "creation_unsure": (
        "It isn't known whether this appointment was made, so it is not sent again. Look into the "
        'adviser\'s diary, and run the file again with resolve={{"{key}": "<the appointment\'s '
        'id>"}}, or with resolve={{"{key}": "{word}"}} if it isn\'t there.'
    ),
    "message_unsure": (
        "It isn't known whether a message of this appointment ({flags}) went out, so it is not "
        "sent again. Ask the client; then run the file again with "
        'resolve={{"{key}": "{word}"}}. To have it sent after all, write no for it, run the file, '
        "and then yes again."
    ),
    "change_unsure": f"It isn't known whether this change was made; repeating it is safe. {AGAIN}",
    "deletion_unsure": (
        f"It isn't known whether this appointment was deleted; repeating it is safe. {AGAIN}"
    ),
    "missing_unsure": (
        "WillSuite says that it has no such appointment; that is believed when it says so again "
        f"after a while, and shows the case. {AGAIN}"
    ),
    "case_missing": (
        "WillSuite has neither this appointment nor its case just now, so it isn't known what "
        f"became of it. {AGAIN} If the case is really gone, take the row out."
    ),
    "value_fails": (
        "WillSuite failed {attempts} time(s) with this change and took others: a value of this row "
        "may be too long or not storable (an emoji, say). Correct it; repeating it is safe."
    ),
    "unreachable": f"WillSuite could not be reached. {AGAIN}",
    "no_case": "WillSuite has no case with this reference; correct it.",
    "case_ref_twice": "More than one case has this reference: {ids}. Give the case_id instead.",
    "not_found": "WillSuite has no such appointment, or no such case; correct the row.",
    "gone": (
        "WillSuite has no such appointment any more; somebody has deleted it. Take the row out, "
        "write delete as its action, or run with recreate=True to make a new one."
    ),
    "fixed": (
        "{what} of an appointment can't be changed; run with recreate=True, which deletes it and "
        "makes a new one (with the messages that the row asks for), or put back what it was."
    ),
    "other_appointment": (
        "The journal has another appointment for this key ({appointment_id}); correct the key or "
        "the appointment_id."
    ),
    "other_key": (
        "The journal has this appointment for another key; use that key, or correct the "
        "appointment_id."
    ),
    "key_ambiguous": (
        "An earlier version of this program kept one appointment for keys that differ only in "
        "case or width, and this file has several such; run the row whose appointment it is in a "
        "file without the others first."
    ),
    "key_decimal": (
        "The journal has an appointment for this key without the .0, which a program may have "
        "added to a number; write the key without."
    ),
    "in_the_past": (
        "The appointment has begun already, and the row would have a message sent about it "
        "({flags}); correct the time, write no for the message, or run with allow_past=True."
    ),
    "case_of_deletion": "Give the case_id or case_ref of the appointment, too.",
    "never_made": "No appointment was made for this key, so there is none to delete.",
    "was_gone": "It was deleted already, by somebody else.",
}


class Step(StrEnum):
    """What is sent for a row."""

    DELETE = "delete"
    UPDATE = "update"
    RECREATE = "recreate"
    CREATE = "create"


@dataclass(slots=True, kw_only=True)
class BookingEntry(Entry):
    """One row and what has become of it."""

    sentences: ClassVar[Mapping[str, str]] = SENTENCES

    wanted: WantedAppointment = field(repr=False)
    wanted_case: str | None = None
    """The id of the row's case, where it was given or found by its reference."""
    appointment_id: str | None = None
    step: Step | None = None
    values: Mapping[str, str | bool] = field(default_factory=dict, repr=False)
    """What the step sends, under the wire names."""
    is_open: bool = False
    """Its last answer left open whether it was carried out, and it may be repeated."""
    missed_by: set[str] = field(default_factory=set)
    """Methods that have met a 404 in an earlier round: the next one may be believed."""

    def intents(self) -> Iterable[Sequence[Any]]:
        """The deletion, each value to be changed, or the appointment to be made, whole."""
        if self.step is Step.DELETE:
            yield "delete", self.case_id, self.appointment_id
        elif self.step is Step.UPDATE:
            for name, value in self.values.items():
                yield "update", self.case_id, self.appointment_id, name, value
        else:
            if self.step is Step.RECREATE:
                yield "delete", self.case_id
            yield "create", self.case_id, dict(self.values)

    def row_outcomes(self) -> Iterable[RowOutcome]:
        """As `Entry.row_outcomes`, with the appointment's id."""
        for row in Entry.row_outcomes(self):
            yield AppointmentOutcome(
                row.row, row.key, row.action, row.outcome, row.case_id, row.code, row.message,
                row.attempts, self.appointment_id,
            )  # fmt: skip


def booking_entry(wanted: WantedAppointment) -> BookingEntry:
    """The entry of a row that nothing was done about yet."""
    return BookingEntry(
        rows=(wanted.row,),
        key=wanted.key,
        action="none",
        wanted=wanted,
        wanted_case=wanted.case_id,
    )


def digests(values: Mapping[str, str | bool], journal: Journal) -> dict[str, str]:
    """Values as the journal keeps them."""
    return {name: journal.digest(name, _comparable(name, value)) for name, value in values.items()}


def _comparable(name: str, value: str | bool) -> str | bool:
    is_address = name in ("adviser_email", "email_recipient") and isinstance(value, str)
    return value.casefold() if is_address and isinstance(value, str) else value


def flags_of(values: Mapping[str, str | bool]) -> list[str]:
    """The flags among `values` that have a message sent to somebody."""
    return [name for name in RECIPIENTS if values.get(name) is True]


def numbered(word: str, attempt: int) -> str:
    """What `resolve` must say: the word alone the first time, then with the attempt's number.

    A word that was meant for an earlier attempt (a retried run has the same parameters) says
    nothing about a later one.
    """
    return word if attempt <= 1 else f"{word} {attempt}"
