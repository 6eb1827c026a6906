"""What has become of each row of a writing run so far; at every moment a complete answer.

Belongs here: the entries of a running import or update, and the row outcomes they stand for. Does
not: what the entries of one flow have beside (`importing/entries.py`, `updating/changes.py`),
deciding, or files (`rows/run_files.py`).

An entry says `unknown` from just before its request leaves until its answer is judged, so that a
run that is stopped in between has told the truth.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from schemas.issues import Issue
from schemas.outcomes import Outcome, RowOutcome

STOPPED = "The run stopped before this row's turn."
NOT_AS_PLANNED = (
    "What this row would send now is not in the plan that was approved, so it was not sent: the "
    "case or the row has changed since. Plan again."
)


def digest_of(intent: Sequence[Any]) -> str:
    """An intent in the form in which a plan keeps it."""
    return hashlib.sha256(msgspec.json.encode(intent, order="sorted")).hexdigest()[:32]


@dataclass(slots=True, kw_only=True)
class Entry:
    """Rows of a file that are carried out together, and what has become of them."""

    sentences: ClassVar[Mapping[str, str]] = {}
    """What a person is told, by code."""

    rows: tuple[int, ...]
    """As a spreadsheet shows them."""
    key: str
    """How the file names the case."""
    action: str
    outcome: Outcome = Outcome.NOT_ATTEMPTED
    case_id: str | None = None
    code: str | None = "stopped"
    message: str | None = field(default=STOPPED, repr=False)
    attempts: int = 0
    approved: Collection[str] | None = field(default=None, repr=False)
    """Digests of what it may send (`rows/approved.py`); None: whatever it wants to."""

    def intents(self) -> Iterable[Sequence[Any]]:
        """What it would send now, part by part, with what that takes the place of; plain values.

        The entries of each flow say it: one that can't is never held to a plan.
        """
        raise NotImplementedError

    def is_held_back(self) -> bool:
        """Whether it would send what wasn't approved; then that is its outcome."""
        if self.approved is None:
            return False
        is_other = any(digest_of(intent) not in self.approved for intent in self.intents())
        if is_other:
            self.end(Outcome.CONFLICT, "not_as_planned")
        return is_other

    def end(
        self,
        outcome: Outcome,
        code: str | None = None,
        message: str | None = None,
        *,
        case_id: str | None = None,
        **details: object,
    ) -> None:
        """Give it this outcome; `message` is the code's sentence unless another one is given."""
        self.outcome, self.code = outcome, code
        sentence = self.sentences.get(code or "")
        self.message = message or (sentence and sentence.format(**details))
        self.case_id = case_id or self.case_id

    def row_outcomes(self) -> Iterable[RowOutcome]:
        """One for each of its rows."""
        for row in self.rows:
            yield RowOutcome(
                row,
                self.key,
                self.action,
                self.outcome,
                self.case_id,
                self.code,
                self.message,
                self.attempts,
            )


AnyEntry = TypeVar("AnyEntry", bound=Entry)


class Ledger(Generic[AnyEntry]):
    """All rows of a file: those that can be sent as entries, the others rejected."""

    def __init__(
        self,
        entries: Sequence[AnyEntry],
        issues: Mapping[int, Sequence[Issue]],
        keys: Mapping[int, str],
        notes: Mapping[int, str] | None = None,
    ) -> None:
        self.entries = entries
        self.issues = issues
        """By row; a row has these or is in an entry."""
        self._keys = keys
        self._notes = notes or {}
        """By row: what is sent otherwise than the file has it; said beside what became of it."""

    def outcomes(self) -> list[RowOutcome]:
        """One for each row, as things stand."""
        return sorted([*self._rejected(), *self._sent()], key=lambda outcome: outcome.row)

    def _sent(self) -> Iterable[RowOutcome]:
        for entry in self.entries:
            for outcome in entry.row_outcomes():
                if note := self._notes.get(outcome.row):
                    outcome.code = outcome.code or "cleaned"
                    outcome.message = f"{outcome.message} {note}" if outcome.message else note
                yield outcome

    def _rejected(self) -> Iterable[RowOutcome]:
        for row, issues in self.issues.items():
            yield RowOutcome(
                row,
                self._keys.get(row),
                "none",
                Outcome.REJECTED,
                code=issues[0].code,
                message=" ".join(map(_sentence, issues)),
            )


def _sentence(issue: Issue) -> str:
    """Names the column, where the issue's own sentence doesn't."""
    if issue.column is None or issue.column in issue.message:
        return issue.message
    return f"{issue.column}: {issue.message}"
