"""The changes that an update is to make, each with what has become of it.

Belongs here: the entries of both update flows and the sentences of their codes. Does not: what a
case lacks (`updating/differences.py`), which case a row means (`updating/matching.py`), sending
(`updating/bulk.py`, `updating/single.py`).
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, ClassVar

from protocols.kept import lacking_of_person
from protocols.people import likest, made_of
from protocols.reading.found import FoundCase
from protocols.rows.ledger import NOT_AS_PLANNED, STOPPED, Entry
from protocols.updating.differences import Difference, difference
from schemas.outcomes import ChangeOutcome, Outcome, RowOutcome
from schemas.people import Sameness
from schemas.update_file import WantedChange, same_text

AGAIN = "Run the same file again: it reads the case first."
SENTENCES = {
    "stopped": STOPPED,
    "not_as_planned": NOT_AS_PLANNED,
    "ref_decimal": (
        "WillSuite has a case with this reference without the .0 ({ids}), which a program may have "
        "added to a number; write it without."
    ),
    "not_found": "WillSuite has no case with this id or reference; correct it.",
    "case_unreadable": (
        "WillSuite fails each time when it is asked for this case, so nothing was sent; the other "
        "rows were not kept up. Open the case in WillSuite, or report its id to its support."
    ),
    "ref_twice": "More than one case has this reference: {ids}. Give the id instead.",
    "id_and_ref_differ": (
        "The case with this id has another reference; correct one of the two, or leave one blank."
    ),
    "case_repeated": (
        "Row {other} names the same case in another way; give all its changes in one row."
    ),
    "interrupted": f"The run was stopped while this row was under way. {AGAIN}",
    "under_way": (
        "The run was stopped while WillSuite worked on job {job_id}, which has this row. Run the "
        "same file again: it waits for the job first."
    ),
    "unread": f"The change was handed in, but the case could not be read back. {AGAIN}",
    "unreachable": f"WillSuite could not be reached. {AGAIN}",
    "not_applied": f"WillSuite failed, and the case doesn't show the change. {AGAIN}",
    "job_failed": "WillSuite's job {job_id} failed, and the case is unchanged. {said}",
    "job_stuck": (
        "WillSuite's job {job_id} did not end in time, and may change the case yet. Run the same "
        "file again later: it asks for the job first."
    ),
    "job_open": (
        "WillSuite's job {jobs} of an earlier run has not ended, and may change this case yet, so "
        "nothing was sent. Run the same file again when it has ended; if WillSuite's support says "
        "that it never will, name it in abandon_jobs."
    ),
    "job_died": (
        "WillSuite's job {job_id} got as far as about this row and stands still since, so its "
        "values may be what WillSuite can't store (too long, an emoji). Correct the row. {said}"
    ),
    "changed_meanwhile": (
        "Somebody has changed this case since the run read it ({what}), to something else than the "
        "row has, so the row was not sent. If the row is right, run the same file again."
    ),
    "not_as_asked": (
        "The case was changed, but not as asked: WillSuite has something else than the row, which "
        "the column after shows. Correct the row, or complete it in WillSuite."
    ),
    "skipped": "WillSuite's job {job_id} ended, and the case is unchanged. {said}",
    "not_read_back": "WillSuite's job ended as completed; the case was not read back.",
    "not_believed": f"It isn't known whether the change was carried out. {AGAIN}",
    "by_export": (
        "The latest export has the values already; whether the case is still there was not looked "
        "at, since none of a sample was gone."
    ),
    "gone": "The case is not there any more.",
    "renamed_already": "The case has its new reference already.",
    "same_names": (
        "A customer of the same name is in the case already, and nothing tells the two apart; if "
        "it is somebody else, add the person in WillSuite."
    ),
    "renamed_person": (
        "A customer of the case with another surname, or a short first name, is taken for this "
        "person: the birth date is the same, or else the postcode. If it is somebody else, add the "
        "person in WillSuite."
    ),
    "perhaps_there": (
        "A customer of the case may be this person, with another birth date or name, or without a "
        "surname; correct the customer or the row, or add the person in WillSuite."
    ),
    "ref_taken": "Another case has the new reference already: {ids}.",
    "ref_refused": (
        "WillSuite says that the new reference is taken, but shows no case with it; it may belong "
        "to a deleted one."
    ),
    "ref_unclear": (
        "No case has the old reference and one has the new one, but it differs from the row; if it "
        "is the case, write its reference into ref and run the file again."
    ),
    "refused_after": "A part of the row was carried out; then WillSuite refused: {said}",
    "not_kept": (
        "WillSuite accepted the change, but the case doesn't show it; look at the case before "
        "running the file again."
    ),
    "values_lost": (
        "A customer of the case hasn't got all that the row has; missing or different: {what}. "
        "Complete it in WillSuite, since its API can't."
    ),
    "nobody_added": (
        "WillSuite accepted a customer, and the case doesn't show anybody new, so the run stopped; "
        "look at the case before running the file again."
    ),
    "surname_dropped": (
        "A customer was added without the surname, so the run stopped; WillSuite's API may have "
        "changed. Correct the customer, and report it before adding more."
    ),
}


_NAMES = ("first_names", "last_name")
_REMARKS = {Sameness.RENAMED: "renamed_person", Sameness.PERHAPS: "same_names"}


class Answered(Enum):
    """What is known of the last request of a row that is sent by itself."""

    NOT_YET = auto()
    """None has left."""
    UNREACHED = auto()
    """It certainly had no effect."""
    OPEN = auto()
    """It may have been carried out or not."""
    ACCEPTED = auto()
    """WillSuite said yes; whether the case shows it is to be read."""
    SETTLED = auto()
    """Nothing more is to be found out."""


@dataclass(slots=True, kw_only=True)
class ChangeEntry(Entry):
    """One wanted change and what has become of it."""

    sentences: ClassVar[Mapping[str, str]] = SENTENCES

    wanted: WantedChange = field(repr=False)
    meta_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    field_ids: Collection[str] | None = field(default=None, repr=False)
    """Of the CRM fields that there are; None where nobody asked."""
    case: FoundCase | None = field(default=None, repr=False)
    """As it was last read."""
    first_seen: FoundCase | None = field(default=None, repr=False)
    """As it was when the change was planned."""
    planned: Difference = field(default_factory=Difference, repr=False)
    """What was to be changed then."""
    at_risk: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Other CRM values of the case, which a request of ours may have taken from it."""
    to_do: Difference = field(default_factory=Difference, repr=False)
    """What is left to be changed in it."""
    known_people: frozenset[str] | None = None
    """Ids of the customers that the case had before any was added."""
    taken_count: int = 0
    """In how many batches it was that WillSuite may have taken."""
    has_applied: bool = False
    """Something of it was accepted by the server."""
    answered: Answered = Answered.NOT_YET
    is_broken: bool = False
    """WillSuite failed each time when the case was to be read back."""
    remark: str | None = None
    """The code of what a person has to know, however well the row ends."""
    before: str | None = field(default=None, repr=False)
    after: str | None = field(default=None, repr=False)

    def see(self, case: FoundCase) -> None:
        """`case` is what the account has now."""
        self.case, self.case_id = case, case.id
        self.to_do = difference(self.wanted, case, self.known_people)
        if lost := self.lost_values:
            self.to_do = replace(self.to_do, meta=lost | dict(self.to_do.meta))

    @property
    def is_open(self) -> bool:
        """Whether it may be sent again once the case is read."""
        return self.answered in (Answered.UNREACHED, Answered.OPEN)

    @property
    def lost_values(self) -> dict[str, str]:
        """Other CRM values that the case had, and hasn't any more."""
        assert self.case is not None
        meta = self.case.meta
        return {key: value for key, value in self.at_risk.items() if not meta.get(key)}

    @property
    def other_values(self) -> dict[str, str]:
        """CRM values of the case beside those to be changed, as far as their fields still are."""
        assert self.case is not None
        return {
            key: value
            for key, value in self.case.meta.items()
            if value
            and key not in self.to_do.meta
            and (self.field_ids is None or key in self.field_ids)
        }

    def lost_of_people(self, *, shows_births: bool) -> list[str]:
        """What the row's people have, by wire names, and the customers lack who are taken for
        them, whoever added these; by their names they were found, so those aren't compared.
        """
        assert self.case is not None
        people = self.wanted.customers
        lost = {
            name: None
            for position, other in made_of(people, self.case.customers).items()
            for name in lacking_of_person(people[position], other)
            if name not in _NAMES and (shows_births or name != "date_of_birth")
        }
        return list(lost)

    def catch_up(self, case: FoundCase | None) -> bool:
        """`case` is what the account has right before it is changed; None: as it was.

        Returns:
            False if nothing is to be sent; then the entry has its outcome.
        """
        if case is None:
            return True
        if self.is_overtaken(case):
            return False
        self.see(case)
        if not self.to_do:
            self.end(Outcome.UPDATED if self.attempts else Outcome.UNCHANGED, self.remark)
        elif not self.attempts:
            self.plan()
        return bool(self.to_do)

    def is_overtaken(self, case: FoundCase) -> bool:
        """Whether somebody has changed in `case` what the row changes; then that is its outcome."""
        if changed := self._changed_meanwhile(case):
            self.end(Outcome.CONFLICT, "changed_meanwhile", what=", ".join(changed))
        return bool(changed)

    def _changed_meanwhile(self, case: FoundCase) -> list[str]:
        """What of the row somebody has changed since, to something else than the row wants."""
        assert self.case is not None
        differs = self._own_values(difference(self.wanted, case, self.known_people), case)
        before = self._own_values(difference(self.wanted, case, self.known_people), self.case)
        return [name for name, has in differs.items() if not same_text(has or "", before[name])]

    @property
    def is_changed_otherwise(self) -> bool:
        """Whether the case was changed, but not as the row wants."""
        if self.case is None or self.first_seen is None:
            return False
        left = difference(self.wanted, self.case, self.known_people)
        has, had = self._own_values(left, self.case), self._own_values(left, self.first_seen)
        return any(not same_text(value or "", had[name]) for name, value in has.items())

    def end_changed_otherwise(self) -> None:
        """It is for a person now; the outcome shows what is there instead of what was wanted."""
        self.after = _shown(self._values(self.planned, self.case))
        self.end(Outcome.PARTIAL, "not_as_asked")

    def reopen(self) -> None:
        """As if nothing had been asked about it."""
        self.end(Outcome.NOT_ATTEMPTED, "stopped")
        self.case_id, self.case, self.to_do = None, None, Difference()
        self.action, self.remark, self.before, self.after = "none", None, None, None
        self.first_seen, self.planned = None, Difference()

    def plan(self) -> None:
        """What is to be done now is what the outcome shows as before and after."""
        assert self.case is not None
        self.action = "update"
        self.first_seen, self.planned = self.case, self.to_do
        self.known_people = frozenset(person["id"] for person in self.case.customers)
        self.before = _shown(self._values(self.to_do, self.case))
        self.after = _shown(self._values(self.to_do, None))

    def _own_values(self, to_do: Difference, case: FoundCase | None) -> dict[str, str | None]:
        """Fields of `to_do` by column: as `case` has them, or as wanted; without customers."""
        values: dict[str, str | None] = {}
        if to_do.ref:
            values["ref"] = case.ref if case else to_do.ref
        if to_do.notes:
            values["notes"] = case.notes if case else to_do.notes
        meta = case.meta if case else to_do.meta
        for key in to_do.meta:
            values[self.meta_headers.get(key, key)] = meta.get(key)
        return values

    def _values(self, to_do: Difference, case: FoundCase | None) -> dict[str, Any]:
        assert self.case is not None
        values: dict[str, Any] = dict(self._own_values(to_do, case))
        if to_do.customers:
            people = case.customers if case else [*self.case.customers, *to_do.customers]
            values["customers"] = [_name(person) for person in people]
        return values

    def intents(self) -> Iterable[Sequence[Any]]:
        """Each field with what it takes the place of, and each customer to be added."""
        assert self.case is not None
        left = difference(self.wanted, self.case, self.known_people)
        has, wants = self._own_values(left, self.case), self._own_values(left, None)
        for name, value in wants.items():
            yield self.case_id, name, has[name] or "", value
        for person in left.customers:
            yield self.case_id, "customers", dict(person)

    def row_outcomes(self) -> Iterable[RowOutcome]:
        """As `Entry.row_outcomes`, with what was before and what was wanted."""
        for row in Entry.row_outcomes(self):
            yield ChangeOutcome(
                row.row, row.key, row.action, row.outcome, row.case_id, row.code, row.message,
                row.attempts, self.before, self.after,
            )  # fmt: skip


def _name(person: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (person.get("first_names"), person.get("last_name"))))


def _shown(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def change_entry(
    wanted: WantedChange,
    meta_headers: Mapping[str, str],
    field_ids: Collection[str] | None = None,
) -> ChangeEntry:
    """The entry of a wanted change that nothing was done about yet."""
    return ChangeEntry(
        rows=(wanted.row,),
        key=wanted.key,
        action="none",
        wanted=wanted,
        meta_headers=meta_headers,
        field_ids=field_ids,
    )


def end_unchanged(entries: Collection[ChangeEntry]) -> list[ChangeEntry]:
    """Give entries that have nothing to do their outcome; returns the others, planned."""
    to_do = []
    cases = [entry.case for entry in entries if entry.case is not None]
    shows_births = any(person.get("date_of_birth") for case in cases for person in case.customers)
    for entry in entries:
        assert entry.case is not None
        people = entry.wanted.customers
        alike = {likest(person, entry.case.customers, people) for person in people}
        entry.remark = next((_REMARKS[each] for each in sorted(alike) if each in _REMARKS), None)
        if Sameness.CLASH in alike:
            entry.end(Outcome.CONFLICT, "perhaps_there")
        elif entry.to_do:
            entry.plan()
            to_do.append(entry)
        elif lost := entry.lost_of_people(shows_births=shows_births):
            entry.end(Outcome.PARTIAL, "values_lost", what=", ".join(lost))
        else:
            entry.end(Outcome.UNCHANGED, entry.remark)
    return to_do


def changed_columns(entries: Iterable[ChangeEntry]) -> dict[str, int]:
    """In how many rows each column differs, or did, from what the case has; most frequent first."""
    counts = Counter(name for entry in entries if entry.after for name in json.loads(entry.after))
    return dict(counts.most_common())
