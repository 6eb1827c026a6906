"""What became of each input row: the table that every writing flow leaves.

Belongs here: the words for outcomes, the table's schema, and the check that it is complete.
Does not: deciding outcomes (`tasks/`), or where the table is written.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

import pyarrow as pa

from schemas.rows import file_of, own_number


class Outcome(StrEnum):
    """The end of an input row; each row has exactly one."""

    CREATED = "created"
    EXISTING = "existing"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    REJECTED = "rejected"
    """By us or by the server; the row has to be corrected."""
    CONFLICT = "conflict"
    """What the account holds contradicts the row; a person has to look."""
    PARTIAL = "partial"
    """Carried out, but not whole; a person has to complete it."""
    FAILED = "failed"
    """Not carried out, for no fault of the row's."""
    UNKNOWN = "unknown"
    """It may or may not have been carried out."""
    NOT_ATTEMPTED = "not_attempted"
    PLANNED = "planned"
    """Would be written; in a dry run only."""


FAILING = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_ATTEMPTED})
"""With one of these a run has not done what it was asked to do."""
FOR_A_PERSON = frozenset({Outcome.REJECTED, Outcome.CONFLICT, Outcome.PARTIAL})
"""With these it has, and somebody has work left."""

OUTCOMES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("action", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("case_id", pa.string()),
        pa.field("code", pa.string()),
        pa.field("message", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
    ]
)
"""`row` as a spreadsheet shows it (of a table from Python its position), `key` the ref or id,
`attempts` how often it was sent or tried to be sent."""


@dataclass(slots=True)
class RowOutcome:
    """One row of `OUTCOMES`."""

    row: int
    key: str | None
    action: str
    outcome: Outcome
    case_id: str | None = None
    code: str | None = None
    message: str | None = None
    """For the person's eyes: the file is private, logs are not."""
    attempts: int = 0


@dataclass(slots=True)
class ChangeOutcome(RowOutcome):
    """One row of `CHANGE_OUTCOMES`."""

    before: str | None = None
    after: str | None = None


CHANGE_OUTCOMES = pa.schema(
    [*OUTCOMES, pa.field("before", pa.string()), pa.field("after", pa.string())]
)
"""Of rows that change a case also the fields that differ: a JSON object by column each, of what
the case had and of what the row wants; null where nothing differs."""


@dataclass(slots=True)
class AppointmentOutcome(RowOutcome):
    """One row of `APPOINTMENT_OUTCOMES`."""

    appointment_id: str | None = None


APPOINTMENT_OUTCOMES = pa.schema([*OUTCOMES, pa.field("appointment_id", pa.string())])

assert [field.name for field in fields(RowOutcome)] == OUTCOMES.names
assert [field.name for field in fields(ChangeOutcome)] == CHANGE_OUTCOMES.names
assert [field.name for field in fields(AppointmentOutcome)] == APPOINTMENT_OUTCOMES.names


def outcome_table(
    outcomes: Iterable[RowOutcome],
    rows: Sequence[int],
    schema: pa.Schema = OUTCOMES,
    files: Sequence[str] = (),
) -> pa.Table:
    """`outcomes` as a table, in the order of `rows`, which are all rows that were read.

    Where several files were read as one, a column `file` beside `row` has the names of `files`.

    Raises:
        AssertionError: a row has no outcome, or more than one.
    """
    by_row = sorted(outcomes, key=lambda outcome: outcome.row)
    assert [outcome.row for outcome in by_row] == sorted(rows), "one outcome for each row"
    columns = {field.name: [getattr(each, field.name, None) for each in by_row] for field in schema}
    columns["row"] = [own_number(outcome.row) for outcome in by_row]
    table = pa.Table.from_pydict(columns, schema=schema)
    if not files:
        return table
    names = [file_of(outcome.row, files) for outcome in by_row]
    return table.add_column(1, pa.field("file", pa.string()), [names])


def counts(outcomes: Iterable[RowOutcome]) -> dict[str, int]:
    """Rows by outcome, in the order of `Outcome`; only what there is."""
    found = Counter(outcome.outcome for outcome in outcomes)
    return {outcome.value: found[outcome] for outcome in Outcome if found[outcome]}


def code_counts(outcomes: Iterable[RowOutcome]) -> dict[str, int]:
    """Rows by code, most frequent first."""
    found = Counter(outcome.code for outcome in outcomes if outcome.code)
    return dict(found.most_common())
