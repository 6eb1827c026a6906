"""Making, changing and deleting appointments, none of them twice and nobody written to twice.

Belongs here: what one answer does to a booking and to the journal, and the order of it all
(reliability.md 2.4). Does not: what a row asks for (`tasks/bookings.py`), or the journal's file
(`tasks/journal.py`).

A creation is sent once: without an answer it stays `unknown` until a person says what became of
it. Changes and deletions are repeated, after the time in which the server has surely finished;
but a message to a client is asked for at most once.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar
from zoneinfo import ZoneInfo

from schemas.outcomes import Outcome
from tasks.account_lock import AccountLock
from tasks.bookings import (
    BookingEntry,
    Step,
    changed,
    changing,
    creating,
    end_in_step,
    existing,
    plan,
)
from tasks.breaker import Breaker
from tasks.cases import together
from tasks.echoes import EchoCheck
from tasks.journal import Booking, BookingState, Journal
from tasks.policy import write_task
from tasks.progress import Progress, add_progress
from willsuite import (
    Appointment,
    Effect,
    WillSuiteClient,
    WriteResult,
    appointment_update,
    new_appointment,
)
from willsuite.client import is_id
from willsuite.errors import WillSuiteError

Record = TypeVar("Record")

FAILURES_IN_A_ROW = 3
"""Fewer than elsewhere: each creation without an answer is work for a person."""
MAX_ROUNDS = 3
"""How often a change or a deletion may be sent."""
ENTRIES_PER_TASK = 500
"""A task run for each appointment would cost more than its request."""
ORDER = (Step.DELETE, Step.UPDATE, Step.RECREATE, Step.CREATE)
"""Deletions first: they make room in the diary."""
MAKING = (Step.RECREATE, Step.CREATE)


class Syncer:
    """Carries out the steps of entries; keeps what one answer says about all that follow."""

    def __init__(
        self, client: WillSuiteClient, journal: Journal, zone: ZoneInfo, *, recreate: bool
    ) -> None:
        self._client = client
        self._is_proven = False
        self._echoes = EchoCheck(zone)
        self.journal = journal
        self.recreate = recreate
        self.breaker = Breaker(FAILURES_IN_A_ROW)
        self.settle_seconds = client.settings.settle_seconds
        self.uncertain_since: float | None = None
        """When the last answer came (or failed to) that leaves open whether a change was made;
        `time.monotonic()`."""
        self.entries: Sequence[BookingEntry] = ()

    async def send(self, entries: Sequence[BookingEntry]) -> None:
        """Carry out each entry's step, unless something stops the run."""
        waiting = deque(entries)
        # one alone until a creation was answered: what isn't understood is not sent eight times
        while waiting and not self._is_proven and waiting[0].step in MAKING:
            if self.breaker.stopped_by is not None:
                return
            await self._carry_out(waiting.popleft())

        async def work() -> None:
            while waiting and self.breaker.stopped_by is None:
                await self._carry_out(waiting.popleft())

        workers = min(self._client.settings.max_concurrency, len(waiting))
        await together(work() for _ in range(workers))

    async def _carry_out(self, entry: BookingEntry) -> None:
        await self._send(entry)
        await add_progress(1, len(self.entries))

    async def _send(self, entry: BookingEntry) -> None:
        if entry.step is Step.UPDATE:
            await self._update(entry)
            return
        is_gone = entry.step is not Step.CREATE and await self._delete(entry)
        if entry.step is Step.CREATE or (entry.step is Step.RECREATE and is_gone):
            await self._create(entry)
        if is_gone and entry.step is Step.RECREATE and entry.outcome is not Outcome.CREATED:
            entry.message = f"The old appointment is deleted. {entry.message}"

    async def _create(self, entry: BookingEntry) -> None:
        assert entry.case_id is not None
        case_id, before = entry.case_id, self.journal.booking(entry.key)
        body = new_appointment(entry.values)
        during = creating(entry, before, self.journal)

        async def send() -> WriteResult[Appointment]:
            result = await self._client.create_appointment(case_id, body)
            if result.record is not None and not is_id(result.record.id):
                return replace(result, effect=Effect.AMBIGUOUS, record=None)
            return result

        result = await self._request(entry, before, during, send)
        if result is not None and result.effect is Effect.APPLIED and result.record is not None:
            made = replace(during, state=BookingState.EXISTS, appointment_id=result.record.id)
            self.journal.put(entry.key, made)
            self._is_proven = True
            self._echoes.compare(entry.values, result.record)
            end_in_step(entry, made, Outcome.CREATED)
        elif result is not None and result.effect is Effect.AMBIGUOUS:
            plan(entry, self.journal, recreate=self.recreate)

    async def _update(self, entry: BookingEntry) -> None:
        assert entry.case_id is not None
        assert entry.appointment_id is not None
        at, before = (entry.case_id, entry.appointment_id), self.journal.booking(entry.key)
        booking = existing(entry, before, self.journal)
        body = appointment_update(entry.values)
        result = await self._request(
            entry,
            before,
            changing(booking, entry.values, self.journal),
            lambda: self._client.update_appointment(*at, body),
        )
        if result is None:
            return
        if result.effect is Effect.APPLIED:
            booking = changed(booking, entry.values, self.journal)
            self.journal.put(entry.key, booking)
            if result.record is not None:
                self._echoes.compare(entry.values, result.record)
            end_in_step(entry, booking, Outcome.UPDATED)
        elif result.effect is Effect.REJECTED and result.code == "status_404" and before:
            entry.end(Outcome.CONFLICT, "gone")
        elif result.effect is Effect.AMBIGUOUS:
            self._leave_open(entry, "change_unsure")

    async def _delete(self, entry: BookingEntry) -> bool:
        """Whether it is gone."""
        before = self.journal.booking(entry.key)
        booking = existing(entry, before, self.journal)
        assert booking.appointment_id is not None
        at = booking.case_id, booking.appointment_id
        result = await self._request(
            entry,
            before,
            replace(booking, state=BookingState.DELETING),
            lambda: self._client.delete_appointment(*at),
        )
        if result is None:
            return False
        was_gone = result.effect is Effect.REJECTED and result.code == "status_404"
        if result.effect is Effect.APPLIED or (was_gone and before is not None):
            gone = Booking(BookingState.DELETED, *at, creations=booking.creations)
            self.journal.put(entry.key, gone)
            was_sent = booking.state is BookingState.DELETING
            entry.end(Outcome.DELETED, "was_gone" if was_gone and not was_sent else None)
            return True
        if result.effect is Effect.AMBIGUOUS:
            self._leave_open(entry, "deletion_unsure")
        return False

    async def _request(
        self,
        entry: BookingEntry,
        before: Booking | None,
        during: Booking,
        send: Callable[[], Awaitable[WriteResult[Record]]],
    ) -> WriteResult[Record] | None:
        """One request, which the journal knows of before it leaves; None if nothing was sent.

        Where it certainly had no effect, the journal and the entry say so already.
        """
        ending = entry.outcome, entry.code, entry.message
        self.journal.put(entry.key, during)
        entry.attempts += 1
        entry.is_open = False
        entry.end(Outcome.UNKNOWN, "interrupted")
        try:
            result = await send()
        except WillSuiteError as error:
            # these mean that nothing was carried out
            self.journal.put(entry.key, before)
            entry.attempts -= 1
            entry.outcome, entry.code, entry.message = ending
            self.breaker.stop(str(error))
            return None
        is_refusal = result.effect is Effect.REJECTED
        is_failure = result.effect is not Effect.APPLIED and not is_refusal
        self.breaker.note(is_failure=is_failure or result.code == "status_403")
        if result.effect is Effect.NOT_APPLIED:
            self.journal.put(entry.key, before)
            entry.end(Outcome.FAILED, "unreachable")
            entry.is_open = True
        elif is_refusal:
            self.journal.put(entry.key, before)
            _refuse(entry, result)
        return result

    def _leave_open(self, entry: BookingEntry, code: str) -> None:
        """To be sent once more, when the server has surely finished with it."""
        entry.end(Outcome.UNKNOWN, code)
        entry.is_open = True
        self.uncertain_since = time.monotonic()


def _refuse(entry: BookingEntry, result: WriteResult[Record]) -> None:
    if result.code == "status_404":
        entry.end(Outcome.REJECTED, "not_found")
    else:
        said = result.complaint or f"WillSuite refused the row ({result.code})."
        entry.end(Outcome.REJECTED, result.code, said)


@write_task(name="send-appointments", task_run_name="send appointments {first} to {last}")
async def send_appointments(syncer: Syncer, first: int, last: int) -> None:
    """Carry out the steps of some of `syncer.entries`, counted from 1, both included.

    POST, PATCH and DELETE `/cases/{caseId}/appointments`.
    """
    await syncer.send(syncer.entries[first - 1 : last])


async def keep_in_step(
    entries: Sequence[BookingEntry], syncer: Syncer, lock: AccountLock, progress: Progress
) -> None:
    """Carry out the entries' steps; repeats what may be repeated.

    Args:
        entries: planned; those without a step have their outcome.
        syncer: sends them; afterwards its breaker says what stopped it.
        lock: of the account, held.
        progress: for people.
    """
    to_send = [entry for entry in entries if entry.step is not None]
    if not to_send:
        return
    if not lock.is_settled:
        # a run that was killed may have sent what the server is still working on
        await progress.wait(
            syncer.settle_seconds, "It isn't known that the last run here ended cleanly"
        )
    lock.begin_writing()
    for _round in range(MAX_ROUNDS):
        progress.begin("Appointments sent")
        syncer.entries = sorted(to_send, key=lambda entry: ORDER.index(entry.step or Step.CREATE))
        syncer.uncertain_since = None
        syncer.breaker.begin()
        for step in ORDER:
            await _send_all(syncer, step)
        is_open = [entry for entry in to_send if entry.is_open]
        if not is_open or syncer.breaker.stopped_by is not None:
            break
        if syncer.uncertain_since is not None:
            rest = syncer.uncertain_since + syncer.settle_seconds - time.monotonic()
            await progress.wait(rest, f"{len(is_open):,} change(s) may or may not be made")
        for entry in is_open:
            plan(entry, syncer.journal, recreate=syncer.recreate)
        to_send = [entry for entry in is_open if entry.step is not None]
    lock.settle()


async def _send_all(syncer: Syncer, step: Step) -> None:
    """Those with this step; none of another begins before they have ended."""
    places = [place for place, entry in enumerate(syncer.entries, 1) if entry.step is step]
    for start in range(0, len(places), ENTRIES_PER_TASK):
        if syncer.breaker.stopped_by is None:
            batch = places[start : start + ENTRIES_PER_TASK]
            await send_appointments(syncer, batch[0], batch[-1])
