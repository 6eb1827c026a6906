"""What has become of each case of an import so far; at every moment a complete answer.

Belongs here: the entries of a running import, the sentences of their codes, and the row outcomes
they stand for. Does not: deciding (`tasks/importing.py`), or files (`tasks/run_files.py`).

An entry says `unknown` from just before its request leaves until its answer is judged, so that a
run that is stopped in between has told the truth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.import_plan import ImportPlan, PlannedCase
from schemas.issues import Issue
from schemas.outcomes import Outcome, RowOutcome
from willsuite import NewCase, new_case

AGAIN = "Run the same file again: it looks for the reference first."
SENTENCES = {
    "interrupted": f"The run was stopped while this row was under way. {AGAIN}",
    "stopped": "The run stopped before this row's turn.",
    "found_later": "The answer was lost; the case was then found in WillSuite.",
    "unresolved": f"WillSuite's answers were lost, and it could not be looked up. {AGAIN}",
    "not_created": (
        f"WillSuite failed {{attempts}} time(s) with this row, and the case isn't there. {AGAIN}"
    ),
    "unreadable": (
        "WillSuite refused the row ({code}) without a reason that can be read, and the case isn't "
        "there."
    ),
    "unreachable": f"WillSuite could not be reached. {AGAIN}",
    "ref_twice": "More than one case has this reference already: {ids}.",
    "other_people": (
        "A case of other people has this reference ({ids}); give the row another one, or correct "
        "the case."
    ),
    "customers_missing": (
        "The case ({ids}) has fewer customers than the row; add the missing ones in WillSuite."
    ),
    "ref_taken": (
        "WillSuite says that this reference is taken, but shows no case with it; it may belong to "
        "a deleted one. Use another reference, or ask WillSuite's support."
    ),
    "duplicate_case": (
        "There are now several cases with this reference: {ids}. Remove all but one in WillSuite."
    ),
    "lacking": ("The case was created, but {what} of it did not arrive; complete it in WillSuite."),
    "surname_dropped": (
        "The case was created without the surname, so the run stopped; WillSuite's API may have "
        "changed. Complete or remove this case, and report it before importing more."
    ),
    "ref_not_kept": (
        "The case was created under another reference, so the run stopped: a second run would "
        "not know it again. Correct its reference, and report it before importing more."
    ),
    "gone": "The case was created, and at the closing check it was not there any more.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server said against an entry, until it is known whether it was meant."""

    code: str
    words: str = field(repr=False)
    is_ref_taken: bool


@dataclass(slots=True)
class Entry:
    """One planned case and what has become of it."""

    case: PlannedCase
    request: NewCase
    outcome: Outcome = Outcome.NOT_ATTEMPTED
    action: str = "create"
    case_id: str | None = None
    code: str | None = "stopped"
    message: str | None = SENTENCES["stopped"]
    attempts: int = 0
    is_pending: bool = False
    """Its last answer left open whether the case is there."""
    was_uncertain: bool = False
    """Some request of it may have been carried out without our knowing."""
    refusal: Refusal | None = None
    """Where it may be the echo of our own success."""

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
        self.outcome, self.code, self.is_pending = outcome, code, False
        sentence = SENTENCES.get(code or "")
        self.message = message or (sentence and sentence.format(**details))
        self.case_id = case_id or self.case_id

    def leave_open(self, outcome: Outcome, code: str, message: str | None = None) -> None:
        """Not known yet, or not done yet: to be looked up and perhaps sent again."""
        self.end(outcome, code, message or SENTENCES["unresolved"])
        self.is_pending = True


class Ledger:
    """All rows of a file: those that can be sent as entries, the others rejected."""

    def __init__(self, plan: ImportPlan) -> None:
        self._plan = plan
        self.entries = [Entry(case, new_case(case.body)) for case in plan.cases]

    def outcomes(self) -> list[RowOutcome]:
        """One for each row, as things stand."""
        return sorted(
            [*self._rejected(), *(row for entry in self.entries for row in _rows_of(entry))],
            key=lambda outcome: outcome.row,
        )

    def _rejected(self) -> Iterable[RowOutcome]:
        for row, issues in self._plan.issues.items():
            yield RowOutcome(
                row,
                self._plan.refs.get(row),
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


def _rows_of(entry: Entry) -> Iterable[RowOutcome]:
    for row in entry.case.rows:
        yield RowOutcome(
            row,
            entry.case.ref,
            entry.action,
            entry.outcome,
            entry.case_id,
            entry.code,
            entry.message,
            entry.attempts,
        )
