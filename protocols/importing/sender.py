"""Sending new cases: each once, several at a time, and stopping when something is wrong.

Belongs here: what one answer does to one entry, and the proof that surnames arrive. Does not:
workers and the circuit breaker (`rows/dispatcher.py`), looking for existing cases, rounds,
settling (`importing/exactly_once.py`).
"""

from protocols.importing.entries import SENTENCES, NewCaseEntry, Refusal
from protocols.kept import Echo, echo_of, echo_of_case
from protocols.rows.dispatcher import Dispatcher
from schemas.outcomes import Outcome
from tasks.policy import write_task
from willsuite import Case, Effect, WillSuiteClient, WriteResult
from willsuite.errors import WillSuiteError

UNREADABLE_REFUSALS = frozenset({"status_400", "status_409", "status_422"})
"""With a page or plain text instead of JSON: perhaps not the API's own word, but once the case is
known to be absent, sending the row again would change nothing."""
MAX_CASES_WITHOUT_PEOPLE = 3
"""So many first cases without their customers, and none with them, are the server's habit."""


class Sender(Dispatcher[NewCaseEntry]):
    """Sends the cases of an import."""

    def __init__(self, client: WillSuiteClient) -> None:
        super().__init__(client)
        self._without_people = 0

    def goes_alone(self, entry: NewCaseEntry) -> bool:
        """Until it is proven that people arrive whole: a case can't be deleted."""
        return bool(entry.request.customers)

    async def carry_out(self, entry: NewCaseEntry) -> None:
        """Send one case, and judge the answer."""
        result = await self.attempt(entry, lambda: self.client.create_case(entry.request))
        if result is not None:
            await self._judge(entry, result)

    async def _judge(self, entry: NewCaseEntry, result: WriteResult[Case]) -> None:
        if result.effect is Effect.APPLIED:
            assert result.record is not None
            await self._check_echo(entry, result.record)
        elif result.effect is Effect.REJECTED:
            _refuse(entry, result)
        elif result.effect is Effect.NOT_APPLIED:
            entry.leave_open(Outcome.FAILED, result.code)
        else:
            if result.code in UNREADABLE_REFUSALS:
                said = SENTENCES["unreadable"].format(code=result.code)
                entry.refusal = Refusal(result.code, said, is_ref_taken=False)
            self._leave_uncertain(entry, result.code)

    def _leave_uncertain(self, entry: NewCaseEntry, code: str) -> None:
        entry.was_uncertain = True
        entry.leave_open(Outcome.UNKNOWN, code)
        self.note_uncertainty()

    async def _check_echo(self, entry: NewCaseEntry, answer: Case) -> None:
        sent = entry.case.body
        echo = echo_of(sent, answer)
        if echo is not Echo.PROVEN:
            try:
                case = await self.client.get_case(answer.id)
            except WillSuiteError:
                self._leave_uncertain(entry, "unproven")
                return
            echo = echo_of_case(sent, case)
        if echo is Echo.PROVEN:
            self.is_proven = self.is_proven or bool(entry.request.customers)
            entry.is_created = True
            entry.end(Outcome.CREATED, case_id=answer.id)
        elif echo is not Echo.OTHER_REF and (self.is_proven or self._may_be_chance(echo)):
            # others arrived whole, or may yet: so far it is the one case's misfortune
            entry.is_created = True
            people = [f"customers.{number}" for number in range(len(sent["customers"]))]
            what = ", ".join(entry.columns_of(people))
            entry.end(Outcome.PARTIAL, "lacking", what=what, case_id=answer.id)
        else:
            self._stop_for(entry, echo, answer.id)

    def _may_be_chance(self, echo: Echo) -> bool:
        """A server may make a case and fail at its people; not again and again, though."""
        self._without_people += echo is Echo.NO_PEOPLE
        return echo is Echo.NO_PEOPLE and self._without_people < MAX_CASES_WITHOUT_PEOPLE

    def _stop_for(self, entry: NewCaseEntry, echo: Echo, case_id: str) -> None:
        """The server doesn't do what the documents say: one such case is enough."""
        is_ref = echo is Echo.OTHER_REF
        code = "ref_not_kept" if is_ref else "surname_dropped"
        entry.end(Outcome.PARTIAL, code, case_id=case_id)
        self.stop(
            f"WillSuite did not keep the {'reference' if is_ref else 'surname'} of row "
            f"{entry.case.rows[0]} (case {case_id}), so nothing more was sent; correct or remove "
            "that case, and report it before importing more."
        )


def _refuse(entry: NewCaseEntry, result: WriteResult[Case]) -> None:
    """A refusal; where it may be the echo of our own success, the case is looked up first."""
    said = result.complaint or f"WillSuite refused the row without a reason ({result.code})."
    if entry.was_uncertain or result.is_about_ref or not result.complaint:
        entry.refusal = Refusal(result.code, said, result.is_ref_taken)
        entry.leave_open(Outcome.REJECTED, result.code, said)
    else:
        entry.end(Outcome.REJECTED, result.code, said)


@write_task(name="create-cases", task_run_name="create cases {first} to {last}")
async def create_cases(sender: Sender, first: int, last: int) -> None:
    """Send some of `sender.entries` (`POST /cases/create`), counted from 1, both included."""
    await sender.send(sender.entries[first - 1 : last])
    sender.say_sent("Cases", first, last)
