"""Changing single cases, and adding customers to them without ever adding one twice.

Belongs here: the order of reading, sending, settling, reading back and sending the rest once more
(reliability.md 2.2), and what one answer does to one entry. Does not: which case a row means
(`updating/matching.py`), or who is in a case already (`people.py`).

A customer is added each time it is sent and can't be removed. So each goes in a request of its
own, after the case was read, and is sent again only where the case, read after the time in which
the server has surely finished, doesn't have it. References are changed last: then a row that
names the case by its old one is found until it is done.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.logging import get_run_logger

from protocols.account.known import KnownAccount
from protocols.kept import lost_values
from protocols.people import missing_people
from protocols.reading.found import FoundCase, found_case
from protocols.reading.lookup import current_cases, with_people
from protocols.rows.dispatcher import Dispatcher, task_ranges
from protocols.updating.changes import Answered, ChangeEntry, end_unchanged
from protocols.updating.matching import look_at
from schemas.outcomes import Outcome
from tasks.cases import ONE_CASES_ERRORS
from tasks.policy import write_task
from tasks.progress import Progress
from willsuite import Case, Effect, WillSuiteClient, WriteResult, case_update
from willsuite.errors import NotFoundError, WillSuiteError

ANSWERED = {
    Effect.APPLIED: Answered.ACCEPTED,
    Effect.NOT_APPLIED: Answered.UNREACHED,
    Effect.REJECTED: Answered.SETTLED,
    Effect.AMBIGUOUS: Answered.OPEN,
}
MAX_ROUNDS = 3
"""How often a row may be sent, each time after its case was read and lacked something."""


class Updater(Dispatcher[ChangeEntry]):
    """Sends changes of single cases."""

    shows_births = False
    """Whether any answer had somebody's birth date."""

    def __init__(self, client: WillSuiteClient) -> None:
        super().__init__(client)
        self.merges_meta: bool | None = None
        """Whether CRM values stay that a request doesn't name; None until a case has shown it."""
        self._proving = asyncio.Lock()

    def goes_alone(self, entry: ChangeEntry) -> bool:
        """Until it is proven that people arrive whole: a customer can't be removed."""
        return bool(entry.to_do.customers)

    async def carry_out(self, entry: ChangeEntry) -> None:
        """Read the case again, and send what it lacks."""
        if not await self._see_again(entry):
            return
        goes_on = True
        for person in entry.to_do.customers:
            goes_on = goes_on and await self._patch(entry, {"customers": [person]})
        if goes_on and entry.to_do.has_fields:
            await self._send_fields(entry)

    async def _send_fields(self, entry: ChangeEntry) -> None:
        """Send what a case has once; the first one with another CRM value to lose goes alone."""
        if entry.lost_values:
            self.merges_meta = False
        others = entry.other_values
        if not entry.to_do.meta or not others or self.merges_meta is not None:
            await self._patch(entry, entry.to_do.fields({} if self.merges_meta else others))
            return
        async with self._proving:
            if self.merges_meta is None:
                entry.at_risk = others  # until it is seen that they stay
                if await self._patch(entry, entry.to_do.fields({})):
                    await self._prove_merging(entry)
                return
        if await self._see_again(entry):  # time has passed
            await self._send_fields(entry)

    async def _prove_merging(self, entry: ChangeEntry) -> None:
        """Whether the other CRM values of the case have stayed (facts.md 3.6); if not, they are
        put back at once."""
        assert entry.case_id is not None
        try:
            case = found_case(await self.client.get_case(entry.case_id))
        except WillSuiteError:
            entry.answered = Answered.OPEN
            return
        wanted = entry.to_do.meta
        entry.see(case)
        if entry.lost_values:
            self.merges_meta = False
            get_run_logger().info(
                "WillSuite drops CRM values that a request doesn't name; they go along from now on."
            )
            await self._patch(entry, entry.to_do.fields(entry.other_values))
        elif not wanted.keys() & entry.to_do.meta.keys():
            self.merges_meta, entry.at_risk = True, {}

    async def _see_again(self, entry: ChangeEntry) -> bool:
        """Read the case right before it is changed; False if nothing is to be sent."""
        assert entry.case_id is not None
        try:
            case = found_case(await self.client.get_case(entry.case_id))
        except NotFoundError:
            entry.end(Outcome.FAILED, "gone")
        except ONE_CASES_ERRORS:
            self.note(is_failure=True)  # this case may be the only one
            entry.end(Outcome.FAILED, "unreachable")
        except WillSuiteError as error:
            self.stop(str(error))
        else:
            if not entry.attempts and entry.to_do.customers:
                entry.known_people = None  # a list may have left some of them out
                if not entry.is_overtaken(case):
                    entry.see(case)
                    return bool(end_unchanged([entry]))
            elif entry.catch_up(case):
                return True
            elif entry.outcome is Outcome.UPDATED:  # it shows late, or somebody else was quicker
                _confirm(self, entry, case)
        return False

    async def _patch(self, entry: ChangeEntry, values: Mapping[str, Any]) -> bool:
        """One request; False if nothing more of the entry is to be sent now."""
        assert entry.case_id is not None
        case_id, update = entry.case_id, case_update(values)
        result = await self.attempt(entry, lambda: self.client.update_case(case_id, update))
        if result is None:
            entry.answered = Answered.OPEN if entry.has_applied else Answered.SETTLED
            return False
        entry.answered = ANSWERED[result.effect]
        if result.effect is Effect.APPLIED:
            entry.has_applied = True
            entry.end(Outcome.UNKNOWN, "unread")
            people = values.get("customers")
            return not people or self.is_proven or await self._prove(entry, people, result.record)
        if result.effect is Effect.REJECTED:
            _refuse(entry, result)
        elif result.effect is Effect.NOT_APPLIED:
            entry.end(Outcome.FAILED, "unreachable")
        else:
            entry.end(Outcome.UNKNOWN, "unread")
        return False

    async def _prove(
        self, entry: ChangeEntry, people: Sequence[Mapping[str, Any]], answer: Case | None
    ) -> bool:
        """Whether the first customer arrived with a surname (Q1); without, nothing more is sent."""
        assert entry.case_id is not None
        case = found_case(answer) if answer is not None else None
        if case is None or not _are_whole(people, case, entry):
            try:
                case = found_case(await self.client.get_case(entry.case_id))
            except WillSuiteError:
                entry.answered = Answered.OPEN
                return False
        self.is_proven = _are_whole(people, case, entry)
        if not self.is_proven:
            known = entry.known_people or frozenset()
            is_anybody_new = any(person["id"] not in known for person in case.customers)
            self.stop_for(entry, "surname_dropped" if is_anybody_new else "nobody_added")
        return self.is_proven

    def note_shown_births(self, cases: Iterable[FoundCase]) -> None:
        """A server that shows nobody's birth date (it is null in each of the vendor's examples)
        has not lost one."""
        people = (person for case in cases for person in case.customers)
        self.shows_births = self.shows_births or any(person["date_of_birth"] for person in people)

    def stop_for(self, entry: ChangeEntry, code: str) -> None:
        """The server doesn't do what the documents say: one such customer is enough."""
        self.stop(entry.sentences[code])
        entry.end(Outcome.PARTIAL, code)
        entry.answered = Answered.SETTLED


def _are_whole(people: Sequence[Mapping[str, Any]], case: FoundCase, entry: ChangeEntry) -> bool:
    """Whether people who were added are in the case, with their surnames."""
    known = entry.known_people or frozenset()
    lost = [name for person in people for name in lost_values(person, case.customers, known)]
    return "last_name" not in lost and not missing_people(people, case.customers, known)


def _refuse(entry: ChangeEntry, result: WriteResult[Case]) -> None:
    said = result.complaint or f"WillSuite refused the row ({result.code})."
    if entry.has_applied:
        entry.end(Outcome.PARTIAL, "refused_after", said=said)
    elif entry.to_do.ref and result.is_ref_taken:
        entry.end(Outcome.CONFLICT, "ref_refused")
    else:
        entry.end(Outcome.REJECTED, result.code, said)


@write_task(name="update-cases", task_run_name="update cases {first} to {last}")
async def send_updates(updater: Updater, first: int, last: int) -> None:
    """Send some of `updater.entries` (`PATCH /cases/{caseId}`), counted from 1, both included."""
    await updater.send(updater.entries[first - 1 : last])
    updater.say_sent("Changes", first, last)


async def update_singly(
    entries: Sequence[ChangeEntry],
    updater: Updater,
    known: KnownAccount,
    workspace: Path,
    progress: Progress,
) -> None:
    """Give every entry its outcome; those whose cases have everything already aren't sent.

    Raises:
        WillSuiteError, RunError: what happened can't be found out; the entries have their outcomes
            all the same.
    """
    to_send = await look_at(entries, workspace, progress)
    if to_send and not known.is_settled:
        # a run that was killed may have sent what the server is still working on
        await progress.wait(
            updater.settle_seconds, "It isn't known that the last run here ended cleanly"
        )
        to_send = await look_at(to_send, workspace, progress)
    if not to_send:
        return
    await known.begin_writing()
    was_merging = known.merges_meta
    if was_merging is False:
        updater.merges_meta = False
    for number in range(1, MAX_ROUNDS + 1):
        progress.begin("Cases sent" if number == 1 else f"Cases sent again ({number})")
        updater.begin_round(to_send)
        attempts = [entry.attempts for entry in to_send]
        for first, last in task_ranges(len(to_send)):
            if updater.stopped_by is None:
                await send_updates(updater, first, last)
        sent = [entry for entry, was in zip(to_send, attempts, strict=True) if entry.attempts > was]
        to_send = await _resolve(updater, sent, workspace, progress)
        if not to_send or updater.stopped_by is not None:
            break
    if updater.merges_meta not in (None, was_merging):
        await known.keep_merging(bool(updater.merges_meta))
    await known.settle()


async def _resolve(
    updater: Updater, sent: Sequence[ChangeEntry], workspace: Path, progress: Progress
) -> list[ChangeEntry]:
    """Read back what was sent; returns what may be sent again."""
    await progress.wait(updater.rest_seconds, "Some changes may or may not have been carried out")
    await _read_back(updater, sent, workspace, progress)
    late = [entry for entry in sent if entry.answered is Answered.ACCEPTED]
    if late:
        await progress.wait(updater.settle_seconds, f"{len(late):,} change(s) don't show yet")
        await _read_back(updater, late, workspace, progress)
    return [entry for entry in sent if entry.is_open]


async def _read_back(
    updater: Updater, entries: Sequence[ChangeEntry], workspace: Path, progress: Progress
) -> None:
    ids = [entry.case_id for entry in entries if entry.case_id]
    found = await current_cases(ids, (), workspace, progress)
    # a list may leave some of a case's customers out: where people seem to be missing, it is asked
    # for by its id
    doubtful = [
        case.without_people()
        for entry in entries
        if (case := found.with_id(entry.case_id or "")) is not None
        and missing_people(entry.wanted.customers, case.customers, entry.known_people)
    ]
    whole = await with_people(doubtful, workspace)
    cases = [found.with_id(entry.case_id or "") for entry in entries]
    cases = [case and whole.get(case.id, case) for case in cases]
    updater.note_shown_births(case for case in cases if case is not None)
    for entry, case in zip(entries, cases, strict=True):
        if case is None and found.is_broken(entry.case_id or ""):
            if entry.answered in (Answered.OPEN, Answered.ACCEPTED):
                entry.end(Outcome.UNKNOWN, "unread")
            entry.answered = Answered.SETTLED
        elif case is None:
            entry.answered = Answered.SETTLED
            entry.end(Outcome.FAILED, "gone")
        else:
            _confirm(updater, entry, case)


def _confirm(updater: Updater, entry: ChangeEntry, case: FoundCase) -> None:
    """What the case now shows of the entry."""
    entry.see(case)
    known = entry.known_people or frozenset()
    if not entry.to_do:
        entry.answered = Answered.SETTLED
        before = [person for person in case.customers if person["id"] in known]
        added = missing_people(entry.wanted.customers, before)
        made = [lost_values(person, case.customers, known) for person in added]
        lost = {name: None for names in made for name in names}
        if not updater.shows_births:
            lost.pop("date_of_birth", None)
        lost |= dict.fromkeys(entry.lost_of_people(shows_births=updater.shows_births))
        if "last_name" in lost:
            updater.stop_for(entry, "surname_dropped")
        elif lost:
            entry.end(Outcome.PARTIAL, "values_lost", what=", ".join(lost))
        else:
            entry.end(Outcome.UPDATED, entry.remark)
    elif entry.is_changed_otherwise:
        if not (entry.lost_values and entry.is_open):
            entry.answered = Answered.SETTLED
        entry.end_changed_otherwise()
    elif entry.is_open:
        is_unreached = entry.answered is Answered.UNREACHED
        entry.end(Outcome.FAILED, "unreachable" if is_unreached else "not_applied")
    elif entry.answered is Answered.ACCEPTED:
        outcome = Outcome.PARTIAL if entry.to_do.customers else Outcome.FAILED
        entry.end(outcome, "not_kept")
