"""Making, changing and deleting appointments, none of them twice and nobody written to twice.

Belongs here: what one answer does to a booking and to the journal, and the order of it all
(reliability.md 2.4). Does not: what a row asks for (`bookings.py`), or the journal's file
(`account/journal.py`).

A creation is sent once: without an answer it stays `unknown` until a person says what became of
it. Changes and deletions are repeated, after the time in which the server has surely finished;
but a message to a client is asked for at most once. That an appointment isn't there any more is
believed at the second 404, if the case is shown.

An answer that doesn't show what was sent (another time, the adviser as the recipient) stops the
run. So what an answer can show for the first time goes alone, before its like is sent.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from protocols.account.journal import PENDING, Booking, BookingState, Journal
from protocols.account.known import KnownAccount
from protocols.appointments.bookings import changed, changing, creating, end_in_step, existing, plan
from protocols.appointments.echoes import RECIPIENTS, SENTENCES, TIMES, EchoCheck
from protocols.appointments.entries import BookingEntry, Step
from protocols.rows.dispatcher import Dispatcher, task_ranges
from schemas.outcomes import Outcome
from tasks.policy import write_task
from tasks.progress import Progress
from willsuite import (
    Appointment,
    Effect,
    WillSuiteClient,
    WriteResult,
    appointment_update,
    new_appointment,
)
from willsuite.errors import NotFoundError, WillSuiteError

Record = TypeVar("Record")

MAX_ROUNDS = 4
"""How often a row may be sent: a change and then a deletion that find nothing, each twice."""
ORDER = (Step.DELETE, Step.UPDATE, Step.RECREATE, Step.CREATE)
"""Deletions first: they make room in the diary."""
MAKING = (Step.RECREATE, Step.CREATE)


class Syncer(Dispatcher[BookingEntry]):
    """Carries out the steps of entries."""

    failures_in_a_row = 3
    """Fewer than elsewhere: each creation without an answer is work for a person."""
    tries_elsewhere = 1

    def __init__(
        self, client: WillSuiteClient, journal: Journal, echoes: EchoCheck, *, recreate: bool
    ) -> None:
        super().__init__(client)
        self._echoes = echoes
        self._shown: set[str] = set()
        """What answers have shown to be right."""
        self.fault: str | None = None
        """What an answer has shown to be wrong, as a sentence."""
        self.journal = journal
        self.recreate = recreate
        self.step: Step | None = None
        """What is being sent now."""

    def goes_alone(self, entry: BookingEntry) -> bool:
        """What isn't understood is not sent eight times, nor what may arrive as something else."""
        return not self._can_show(entry) <= self._shown

    def may_be_tried(self, entry: BookingEntry) -> bool:
        """Not before the steps that come first."""
        return entry.step is self.step

    def _can_show(self, entry: BookingEntry) -> set[str]:
        kind = "made" if entry.step in MAKING else "changed"
        shown = {f"{kind}, {what}" for what in self._echoes.can_show(entry.values)}
        return shown | ({kind} if entry.step in MAKING else set())

    async def carry_out(self, entry: BookingEntry) -> None:
        """Send what the entry's step asks for."""
        if entry.step is Step.UPDATE:
            await self._update(entry)
            return
        if entry.step is Step.CREATE:
            await self._create(entry)
        elif await self._delete(entry) and entry.step is Step.RECREATE:
            entry.end(Outcome.NOT_ATTEMPTED, "stopped")
            await self._create(entry)
            if entry.outcome is not Outcome.CREATED:
                entry.message = f"The old appointment is deleted. {entry.message}"

    async def _create(self, entry: BookingEntry) -> None:
        assert entry.case_id is not None
        case_id, before = entry.case_id, self.journal.booking(entry.key)
        body = new_appointment(entry.values)
        during = creating(entry, before, self.journal)

        async def send() -> WriteResult[Appointment]:
            result = await self.client.create_appointment(case_id, body)
            if result.record is not None and self._is_known(entry, before, result.record.id):
                return replace(result, effect=Effect.AMBIGUOUS, record=None)
            return result

        result = await self._request(entry, before, during, send)
        if result is not None and result.effect is Effect.APPLIED and result.record is not None:
            made = replace(during, state=BookingState.EXISTS, appointment_id=result.record.id)
            self._end_answered(entry, made, Outcome.CREATED, result.record)
        elif result is not None and result.effect is Effect.AMBIGUOUS:
            plan(entry, self.journal, recreate=self.recreate)

    def _is_known(self, entry: BookingEntry, before: Booking | None, made_id: str) -> bool:
        """Whether an id is of an earlier appointment, and so doesn't say that one was made now."""
        former = [*before.former_ids, before.appointment_id] if before else []
        is_former = made_id.casefold() in {each.casefold() for each in former if each}
        return is_former or self.journal.is_anothers(entry.key, made_id)

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
            lambda: self.client.update_appointment(*at, body),
        )
        if result is None:
            return
        if result.effect is Effect.APPLIED:
            assert result.record is not None
            booking = changed(booking, entry.values, self.journal)
            self._end_answered(entry, booking, Outcome.UPDATED, result.record)
        elif _is_missing(result):
            if await self._is_gone(entry, "PATCH", at[0]) and before is not None:
                entry.end(Outcome.CONFLICT, "gone")
                if self.recreate:
                    # to be made anew in a later round, after DELETEs have shown that it is gone: a
                    # 404 may mean something else, an unknown recipient for one
                    self.journal.put(entry.key, replace(booking, state=BookingState.DELETING))
                    entry.is_open = True
        elif result.effect is Effect.AMBIGUOUS:
            is_the_rows = self.has_applied and entry.attempts > 1
            is_error = result.code.startswith("status_5")
            _leave_open(entry, "value_fails" if is_error and is_the_rows else "change_unsure")

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
            lambda: self.client.delete_appointment(*at),
        )
        if result is None:
            return False
        was_gone = _is_missing(result) and await self._is_gone(entry, "DELETE", at[0])
        if result.effect is Effect.APPLIED or (was_gone and before is not None):
            self.journal.put(entry.key, replace(booking, state=BookingState.DELETED, fields={}))
            was_sent = booking.state is BookingState.DELETING
            entry.end(Outcome.DELETED, "was_gone" if was_gone and not was_sent else None)
            return True
        if result.effect is Effect.AMBIGUOUS:
            _leave_open(entry, "deletion_unsure")
        return False

    def _end_answered(
        self, entry: BookingEntry, booking: Booking, outcome: Outcome, answer: Appointment
    ) -> None:
        """The appointment is there; whether as it was sent, its answer says."""
        sent = dict(entry.values)
        if "email_recipient" in sent:  # an update doesn't name the adviser
            sent.setdefault("adviser_email", entry.wanted.given.get("adviser_email", ""))
        code = self._echoes.difference(sent, answer)
        if code is None:
            self._shown |= self._can_show(entry)
        else:  # what is in doubt is sent again by the next run, before anything is made
            names = [name for name in _names_in_doubt(code) if name in sent]
            booking = replace(booking, fields={**booking.fields, **dict.fromkeys(names, PENDING)})
        self.journal.put(entry.key, booking)
        end_in_step(entry, booking, outcome)
        if code is not None:
            self.fault = SENTENCES[code]
            entry.end(Outcome.PARTIAL, code, self.fault)
            self.stop(f"Nothing was sent after row {entry.rows[0]}. {self.fault}")

    async def _is_gone(self, entry: BookingEntry, method: str, case_id: str) -> bool:
        """Whether a 404 is believed: it is not the first one, and the case is there.

        A server that is being updated says 404, too, of whatever it is asked for.
        """
        if method not in entry.missed_by:
            entry.missed_by.add(method)
            _leave_open(entry, "missing_unsure")
            self.note_uncertainty()
            return False
        try:
            case = await self.client.get_case(case_id)
        except NotFoundError:
            entry.end(Outcome.UNKNOWN, "case_missing")
            return False
        except WillSuiteError:
            entry.end(Outcome.UNKNOWN, "missing_unsure")
            return False
        if case.id.casefold() != case_id.casefold():
            entry.end(Outcome.UNKNOWN, "missing_unsure")
            return False
        return True

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
        self.journal.put(entry.key, during)
        entry.is_open = False
        result = await self.attempt(entry, send)
        if result is None:
            self.journal.put(entry.key, before)
            return None
        if result.effect is Effect.NOT_APPLIED:
            self.journal.put(entry.key, before)
            entry.end(Outcome.FAILED, "unreachable")
            entry.is_open = True
        elif result.effect is Effect.REJECTED:
            self.journal.put(entry.key, before)
            _refuse(entry, result)
        return result


def _leave_open(entry: BookingEntry, code: str) -> None:
    """To be sent once more, when the server has surely finished with it."""
    entry.end(Outcome.UNKNOWN, code, attempts=entry.attempts)
    entry.is_open = True


def _is_missing(result: WriteResult[Record]) -> bool:
    return result.effect is Effect.REJECTED and result.code == "status_404"


def _names_in_doubt(code: str) -> Sequence[str]:
    return TIMES if code in ("shifted", "read_as_utc") else RECIPIENTS


def _refuse(entry: BookingEntry, result: WriteResult[Record]) -> None:
    if result.code == "status_404":
        entry.end(Outcome.REJECTED, "not_found")
        if result.complaint:  # it may be about something else, the adviser for one (Q43)
            entry.message = f"{entry.message} WillSuite says: {result.complaint}"
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
    entries: Sequence[BookingEntry], syncer: Syncer, known: KnownAccount, progress: Progress
) -> None:
    """Carry out the entries' steps; repeats what may be repeated.

    Args:
        entries: planned; those without a step have their outcome.
        syncer: sends them; afterwards it says what stopped it.
        known: of the account, whose lock is held.
        progress: for people.
    """
    to_send = [entry for entry in entries if entry.step is not None]
    if not to_send:
        return
    if not known.is_settled:
        # a run that was killed may have sent what the server is still working on
        await progress.wait(
            syncer.settle_seconds, "It isn't known that the last run here ended cleanly"
        )
    await known.begin_writing()
    for _round in range(MAX_ROUNDS):
        progress.begin("Appointments sent")
        syncer.begin_round(sorted(to_send, key=lambda entry: ORDER.index(entry.step or MAKING[0])))
        for step in ORDER:
            await _send_all(syncer, step)
        is_open = [entry for entry in to_send if entry.is_open]
        if not is_open or syncer.stopped_by is not None:
            break
        await progress.wait(
            syncer.rest_seconds, f"{len(is_open):,} change(s) may or may not be made"
        )
        for entry in is_open:
            plan(entry, syncer.journal, recreate=syncer.recreate)
        to_send = [entry for entry in is_open if entry.step is not None]
    for entry in entries:
        if entry.code == "stopped" and syncer.fault is not None:
            entry.message = f"{entry.message} {syncer.fault}"
    if syncer.rest_seconds <= 0:  # else the next run waits, or what comes late is the last word
        await known.settle()


async def _send_all(syncer: Syncer, step: Step) -> None:
    """Those with this step; none of another begins before they have ended."""
    syncer.step = step
    places = [place for place, entry in enumerate(syncer.entries, 1) if entry.step is step]
    for first, last in task_ranges(len(places), places[0] if places else 1):
        if syncer.stopped_by is None:
            await send_appointments(syncer, first, last)
