"""What files of appointments must look like, and the appointments that are in them.

Belongs here: the pandera model of such files, the rules over their columns and rows, and the
values of a row as they are sent. Does not: reading files (`files/source.py`), what all
kinds of files have in common (`source_table.py`), forms of times (`wall_times.py`), what was done
with a row before, or the network.

A row says how an appointment of another system is to be in WillSuite (`upsert`), or that it is to
be gone (`delete`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import pandera.pandas as pa

from schemas.column_tables import markdown_table
from schemas.columns import match_columns
from schemas.files.source import Sheet
from schemas.identifiers import IDENTIFIER_CHECKS
from schemas.issues import Issue, SourceError, issue_of
from schemas.source_table import CELL_SENTENCES, SourceTable, column_issues, repeated
from schemas.values import (
    EMAIL_CHECK,
    PHONE_CHECKS,
    YES_NO,
    YES_NO_CHECK,
    check,
    column,
)
from schemas.wall_times import TIME_SENTENCES, contradicting_times, time_problems, wire_time

Action: TypeAlias = Literal["upsert", "delete"]
ACTIONS: tuple[Action, ...] = ("upsert", "delete")

_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z"
_ID_CHECK = check("not_an_id", lambda texts: texts.str.match(_ID))
_ACTION_CHECK = check("action", lambda texts: texts.str.casefold().isin(ACTIONS))

IDENTITY_FIELDS = {
    "key": column(
        "required, unique to the letter: the booking's id in the other system", *IDENTIFIER_CHECKS
    ),
    "action": column("upsert (the default), or delete", _ACTION_CHECK),
    "case_id": column("the case's id", _ID_CHECK),
    "case_ref": column("or its reference; one of the two", *IDENTIFIER_CHECKS),
    "appointment_id": column("only of one that was made outside this tool", _ID_CHECK),
}
VALUE_FIELDS = {
    "adviser_email": column("required: the adviser's, who can't be changed later", EMAIL_CHECK),
    "start_time": column("required: local time, YYYY-MM-DD HH:MM, or DD/MM/YYYY HH:MM throughout"),
    "end_time": column("required: as start_time, and later"),
    "location": column("shown in confirmations and reminders"),
    "notes": column(""),
    "email_recipient": column("of a customer of the case", EMAIL_CHECK),
    "email_confirmation": column("yes sends an e-mail now", YES_NO_CHECK),
    "email_notification": column("yes sends a reminder by e-mail", YES_NO_CHECK),
    "sms_recipient": column("a mobile phone, with its 0 or +", *PHONE_CHECKS),
    "sms_confirmation": column("yes sends an SMS now", YES_NO_CHECK),
    "sms_notification": column("yes sends a reminder by SMS", YES_NO_CHECK),
    "zoom_meeting": column("yes makes a link; only when the appointment is made", YES_NO_CHECK),
}
APPOINTMENT_FIELDS = IDENTITY_FIELDS | VALUE_FIELDS
SYNC_APPOINTMENTS = pa.DataFrameSchema(
    APPOINTMENT_FIELDS,
    name="sync-appointments",
    description="One row an appointment.",
    strict=True,
    unique_column_names=True,
)
"""The contract of the columns, after their headers were normalised; cells are cleaned texts.

Without the times, whose rules depend on a zone.
"""
REQUIRED = ("adviser_email", "start_time", "end_time")
TIMES = ("start_time", "end_time")
RECIPIENTS = {
    "email_confirmation": "email_recipient",
    "email_notification": "email_recipient",
    "sms_confirmation": "sms_recipient",
    "sms_notification": "sms_recipient",
}
"""Where the message of each flag goes to."""
FLAGS = (*RECIPIENTS, "zoom_meeting")
MAX_HOURS = 24.0
"""A longer appointment is more likely a wrong month than meant."""
SENTENCES = {
    **TIME_SENTENCES,
    "booking_key_missing": (
        "{column} is missing: without it a second run could not know the appointment again."
    ),
    "booking_key_repeated": "The same key is in row {other}; a key names one booking.",
    "appointment_repeated": (
        "The same appointment is in row {other}; two bookings can't share one."
    ),
    "action": "{column} must be upsert or delete; blank means upsert.",
    "not_an_id": (
        "{column} has characters that no id of WillSuite has; copy the id anew (a reference goes "
        "into case_ref)."
    ),
    "case_missing": (
        "case_id and case_ref are blank; one of them must say whose appointment it is."
    ),
    "required_of_appointment": (
        "{column} is missing; an appointment needs an adviser, a start and an end."
    ),
    "end_before_start": "{column} must be later than the start.",
    "too_many_hours": (
        "{column} is {count} hours after the start, more than {limit}; correct it, or, if it is "
        "right, allow it with max_hours={count}."
    ),
    "recipient_missing": (
        "{column} asks for a message, but {recipient} is blank; fill it in, or write no."
    ),
}
"""What a person is told, by code. No sentence repeats a cell."""
_CELL_SENTENCES = CELL_SENTENCES | SENTENCES
"""Times contradict each other, or begin with the month, as dates do."""
_issue = partial(issue_of, _CELL_SENTENCES)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class WantedAppointment:
    """How one row wants an appointment to be."""

    row: int
    key: str
    action: Action
    case_id: str | None
    case_ref: str | None
    appointment_id: str | None
    given: Mapping[str, str | bool] = field(repr=False)
    """The values under their wire names and in their wire form; of a deletion none."""
    is_past: bool = False
    """Whether it has begun already, and nobody has said that this is right."""


@dataclass(frozen=True)
class AppointmentPlan:
    """Every row of a file: a wanted appointment, or at least one issue."""

    rows: Sequence[int]
    keys: Mapping[int, str]
    wanted: Sequence[WantedAppointment]
    issues: Mapping[int, Sequence[Issue]]
    notes: Mapping[int, str]
    """By row: what is sent otherwise than the file has it."""


def appointment_column_table() -> str:
    """The columns as a Markdown table, for `data/samples/README.md`, which is tested against it."""
    return markdown_table(
        {name: str(spec.description) for name, spec in APPOINTMENT_FIELDS.items()}
    )


def is_appointment_column(header: str) -> bool:
    """Whether a header is one of the columns of this kind of file."""
    return bool(match_columns([header], APPOINTMENT_FIELDS, patterns={}, extra="ignore"))


def plan_appointments(
    sheet: Sheet,
    *,
    timezone: ZoneInfo,
    extra: str = "forbid",
    allow_past: bool = False,
    max_hours: float = MAX_HOURS,
    blank_words: Sequence[str] | None = None,
) -> AppointmentPlan:
    """All appointments of a file as they are wanted, and all problems of the rows that can't be.

    Args:
        sheet: the file as text.
        timezone: of the file's times, which are local and without an offset.
        extra: "forbid" refuses unknown columns, "ignore" leaves them out.
        allow_past: messages about appointments that have begun already are meant.
        max_hours: the most that an appointment may last.
        blank_words: words that are blank in this file; none of them, if it is an empty list.

    Raises:
        SourceError: the columns can't be understood.
    """
    headers = list(sheet.frame.columns)
    matched = match_columns(headers, APPOINTMENT_FIELDS, patterns={}, extra=extra)
    if "key" not in matched.values():
        raise SourceError(
            "The file needs a column key with the booking's id in the other system: by it a "
            "second run knows the appointment again."
        )
    table = SourceTable(_without_what_is_ignored(sheet, matched), matched, blank_words)
    by_row: defaultdict[int, list[Issue]] = defaultdict(list)
    for issue in [
        *table.file_issues,
        *column_issues(table, SYNC_APPOINTMENTS, _CELL_SENTENCES),
        *_identity_issues(table),
        *_value_issues(table, timezone, max_hours),
    ]:
        by_row[issue.row].append(issue)
    keys = {row: key for row, key in zip(table.rows, table.cells["key"], strict=True) if key}
    past_until = "" if allow_past else f"{_now().astimezone(timezone):%Y-%m-%d %H:%M:%S}"
    fine = (index for index, row in enumerate(table.rows) if row not in by_row)
    return AppointmentPlan(
        rows=table.rows,
        keys=keys,
        wanted=[_wanted(table, index, past_until) for index in fine],
        issues=dict(sorted(by_row.items())),
        notes=table.notes,
    )


def _without_what_is_ignored(sheet: Sheet, matched: Mapping[str, str]) -> Sheet:
    """Of a row that deletes only what says which one.

    A booking that was cancelled often comes with all its old values, and whatever is wrong with
    them must not keep its appointment in somebody's diary.
    """
    frame = sheet.frame.copy()
    ignored = [header for header, name in matched.items() if name not in IDENTITY_FIELDS]
    for header, name in matched.items():
        if name == "action":
            deletes = (frame[header].str.casefold() == "delete").to_numpy(bool, na_value=False)
            frame.loc[deletes, ignored] = None
            rows = {row for row, is_one in zip(sheet.rows, deletes, strict=True) if is_one}
            issues = [
                issue
                for issue in sheet.issues
                if issue.row not in rows or issue.column not in ignored
            ]
            sheet = replace(sheet, issues=issues)
    return replace(sheet, frame=frame)


# -- which appointment -----------------------------------------------------------------------


def _identity_issues(table: SourceTable) -> Iterator[Issue]:
    for index, row in enumerate(table.rows):
        if not table.cell("key", index):
            yield _issue("booking_key_missing", row, table.header("key"))
        names_case = table.cell("case_id", index) or table.cell("case_ref", index)
        if _action(table, index) == "upsert" and not names_case:
            yield _issue("case_missing", row, None)
    for row, other in repeated(table, "key", key=str):  # another system's
        yield _issue("booking_key_repeated", row, table.header("key"), other=other)
    for row, other in repeated(table, "appointment_id"):
        yield _issue("appointment_repeated", row, table.header("appointment_id"), other=other)


def _action(table: SourceTable, index: int) -> Action | None:
    """None where the cell holds neither of the two."""
    word = (table.cell("action", index) or ACTIONS[0]).casefold()
    return word if word in ACTIONS else None


# -- how it is to be -------------------------------------------------------------------------


def _value_issues(table: SourceTable, timezone: ZoneInfo, max_hours: float) -> Iterator[Issue]:
    yield from _time_issues(table, timezone, max_hours)
    for index, row in enumerate(table.rows):
        if _action(table, index) != "upsert":
            continue
        for name in REQUIRED:
            if not table.cell(name, index):
                yield _issue("required_of_appointment", row, table.header(name))
        for name, recipient in RECIPIENTS.items():
            if _flag(table.cell(name, index)) and not table.cell(recipient, index):
                details = {"recipient": table.header(recipient)}
                yield _issue("recipient_missing", row, table.header(name), **details)


def _time_issues(table: SourceTable, timezone: ZoneInfo, max_hours: float) -> Iterator[Issue]:
    problems: dict[str, dict[str, str]] = {}
    for name in TIMES:
        cells = table.cells.get(name, [])
        problems[name] = time_problems([text for text in cells if text], timezone)
        details = _witnesses(table, name) | {"zone": timezone.key}
        for text, row in zip(cells, table.rows, strict=bool(cells)):
            if text in problems[name]:
                yield _issue(problems[name][text], row, table.header(name), **details)
    for index, row in enumerate(table.rows):
        start, end = (table.cell(name, index) for name in TIMES)
        if not start or not end or start in problems["start_time"] or end in problems["end_time"]:
            continue
        hours = _hours(start, end)
        if hours <= 0:
            yield _issue("end_before_start", row, table.header("end_time"))
        elif hours > max_hours:
            details = {"count": ceil(hours), "limit": f"{max_hours:g}"}
            yield _issue("too_many_hours", row, table.header("end_time"), **details)


def _hours(start: str, end: str) -> float:
    """Between two times without a problem, as on the wall."""
    walls = [datetime.fromisoformat(wire_time(text) or "") for text in (start, end)]
    return (walls[1] - walls[0]) / timedelta(hours=1)


def _witnesses(table: SourceTable, name: str) -> dict[str, Any]:
    """The rows that contradict each other in a column of times."""
    cells = table.cells.get(name, [])
    texts = contradicting_times(text for text in cells if text)
    rows = (table.rows[cells.index(text)] for text in texts)
    return dict(zip(("one", "other"), rows, strict=False))


def _flag(text: str | None) -> bool:
    return text is not None and YES_NO.get(text.casefold()) == "yes"


def _wanted(table: SourceTable, index: int, past_until: str) -> WantedAppointment:
    action = _action(table, index)
    assert action is not None  # or the row would have an issue
    given = {name: text for name in VALUE_FIELDS if (text := table.cell(name, index)) is not None}
    return WantedAppointment(
        table.rows[index],
        table.cell("key", index) or "",
        action,
        table.cell("case_id", index),
        table.cell("case_ref", index),
        table.cell("appointment_id", index),
        {name: _wire(name, text) for name, text in given.items()},
        is_past=(wire_time(given.get("start_time", "")) or past_until) < past_until,
    )


def _wire(name: str, text: str) -> str | bool:
    if name in FLAGS:
        return _flag(text)
    return (wire_time(text) or text) if name in TIMES else text
