"""The cases that an import is to create, each with what has become of it.

Belongs here: the entries of an import and the sentences of their codes. Does not: what entries of
all flows have in common (`rows/ledger.py`), or deciding (`importing/exactly_once.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from protocols.rows.ledger import NOT_AS_PLANNED, STOPPED, Entry
from schemas.import_plan import PlannedCase
from schemas.outcomes import Outcome
from willsuite import NewCase, new_case

AGAIN = "Run the same file again: it looks for the reference first."
SENTENCES = {
    "interrupted": f"The run was stopped while this row was under way. {AGAIN}",
    "stopped": STOPPED,
    "not_as_planned": NOT_AS_PLANNED,
    "found_later": "The answer was lost; the case was then found in WillSuite.",
    "unresolved": f"WillSuite's answers were lost, and it could not be looked up. {AGAIN}",
    "not_created": (
        f"WillSuite failed {{attempts}} time(s) with this row, and the case isn't there. {AGAIN}"
    ),
    "row_fails": (
        "WillSuite failed {attempts} time(s) with this row and took others: a value of this row "
        "may be too long or not storable (an emoji, say). Correct it."
    ),
    "unreadable": (
        "WillSuite refused the row ({code}) without a reason that can be read, and the case isn't "
        "there."
    ),
    "unreachable": f"WillSuite could not be reached. {AGAIN}",
    "ref_twice": "More than one case has this reference already: {ids}.",
    "other_people": (
        "A case of other people has this reference ({ids}): of the row's {wanted} customer(s) none "
        "is in it. Give the row another reference, or correct the case."
    ),
    "customers_missing": (
        "Of the row's {wanted} customer(s) {there} are in the case ({ids}), {missing} are not"
        "{but_unsure}; add the missing ones in WillSuite, or correct the row."
    ),
    "customers_unsure": (
        "Of the row's {wanted} customer(s) {there} are in the case ({ids}), {missing} are not"
        "{but_unsure}; look at the case, and correct it or the row."
    ),
    "ref_spelled_otherwise": (
        "WillSuite takes this reference for that of another case ({ids}), where it is spelled "
        "otherwise. If it is the same case, use its spelling; if not, another reference."
    ),
    "ref_decimal": (
        "WillSuite has a case with this reference without the .0 ({ids}), which a program may have "
        "added to a number; write it without."
    ),
    "ref_taken": (
        "WillSuite says that this reference is taken, but shows no case with it; it may belong to "
        "a deleted one. Use another reference, or ask WillSuite's support."
    ),
    "duplicate_case": (
        "There are now several cases with this reference: {ids}. Remove all but one in WillSuite."
    ),
    "lacking": (
        "The case was created, but WillSuite did not keep {what} as it is in the file; correct it "
        "in WillSuite."
    ),
    "surname_dropped": (
        "The case was created without the surname, so the run stopped; WillSuite's API may have "
        "changed. Complete or remove this case, and report it before importing more."
    ),
    "ref_not_kept": (
        "The case was created under another reference, so the run stopped: a second run would "
        "not know it again. Correct its reference, and report it before importing more."
    ),
    "id_of_another": (
        "WillSuite said that the case was created and gave the id of another row's ({ids}), and "
        f"no case has this row's reference. {AGAIN}"
    ),
    "gone": "The case was created, and at the closing check it was not there any more.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server said against an entry, until it is known whether it was meant."""

    code: str
    words: str = field(repr=False)
    is_ref_taken: bool


@dataclass(slots=True, kw_only=True)
class NewCaseEntry(Entry):
    """One planned case and what has become of it."""

    sentences: ClassVar[Mapping[str, str]] = SENTENCES

    case: PlannedCase
    request: NewCase
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the file, by column (`ImportPlan.headers`)."""
    is_created: bool = False
    """The case was made by us, as far as we know."""
    is_open: bool = False
    """Its last answer left open whether the case is there."""
    answer: str = ""
    """The code of that answer."""
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
        """As `Entry.end`; nothing is open any more."""
        # not super(): a dataclass with slots is another class than the one super() would look for
        Entry.end(self, outcome, code, message, case_id=case_id, **details)
        self.is_open = False

    def intents(self) -> Iterable[Sequence[Any]]:
        """The case, whole."""
        yield "create", dict(self.case.body)

    def leave_open(self, outcome: Outcome, code: str, message: str | None = None) -> None:
        """Not known yet, or not done yet: to be looked up and perhaps sent again."""
        self.end(outcome, code, message or SENTENCES["unresolved"])
        self.is_open, self.answer = True, code

    def columns_of(self, lost: Iterable[str]) -> list[str]:
        """What `kept.lost_of_case` names, by the headers of the file, each once."""
        return list(dict.fromkeys(map(self._column_of, lost)))

    def _column_of(self, path: str) -> str:
        kind, _, rest = path.partition(".")
        if kind == "meta":
            return self.headers.get(f"meta:{rest}", rest)
        if kind != "customers":
            return self.headers.get(path, path)
        position, _, name = rest.partition(".")
        column = self.case.customer_columns[int(position)] + (name or "*")
        return self.headers.get(column, column)


def new_case_entry(case: PlannedCase, headers: Mapping[str, str]) -> NewCaseEntry:
    """The entry of a planned case that nothing was done about yet."""
    return NewCaseEntry(
        rows=case.rows,
        key=case.ref,
        action="create",
        case=case,
        request=new_case(case.body),
        headers=headers,
    )
