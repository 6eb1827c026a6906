"""Sending new cases: each once, several at a time, and stopping when something is wrong.

Belongs here: what one answer does to one entry, the proof that surnames arrive, and the circuit
breaker. Does not: looking for existing cases, rounds, settling (`tasks/importing.py`).
"""

import re
import time
from collections import deque
from collections.abc import Sequence

from schemas.outcomes import Outcome
from tasks.cases import together
from tasks.comparison import Echo, echo_of, echo_of_case
from tasks.new_cases import NewCaseEntry, Refusal
from tasks.policy import write_task
from tasks.progress import add_progress
from willsuite import Case, Effect, WillSuiteClient, WriteResult
from willsuite.errors import WillSuiteError

FAILURES_IN_A_ROW = 10
"""After so many the server is taken to be ill; whatever isn't sent yet stays unsent."""
_REF = re.compile(r"\bref(erence)?\b", re.IGNORECASE)
_TAKEN = re.compile(r"taken|exist|unique|duplicate|already|in use", re.IGNORECASE)
MAX_CASES_WITHOUT_PEOPLE = 3
"""So many first cases without their customers, and none with them, are the server's habit."""
CASES_PER_TASK = 500
"""A task run for each case would cost more than its request."""


class Sender:
    """Sends entries; keeps what one answer says about all that follow."""

    def __init__(self, client: WillSuiteClient) -> None:
        self._client = client
        self._failures_in_a_row = 0
        self._is_proven = False
        self._without_people = 0
        self.stopped_by: str | None = None
        """Why nothing more is sent, as a sentence."""
        self.uncertain_since: float | None = None
        """When the last answer came (or failed to) that leaves open whether a case is there;
        `time.monotonic()`."""
        self.entries: Sequence[NewCaseEntry] = ()

    def begin_round(self, entries: Sequence[NewCaseEntry]) -> None:
        """`entries` are to be sent; failures of the round before are history."""
        self.entries = entries
        self._failures_in_a_row = 0

    async def send(self, entries: Sequence[NewCaseEntry]) -> None:
        """Send each entry once, unless something stops the run."""
        # one alone until it is proven that people arrive whole: a case can't be deleted
        waiting = deque(sorted(entries, key=lambda entry: not entry.request.customers))
        while waiting and self.stopped_by is None:
            if self._is_proven or not waiting[0].request.customers:
                break
            await self._send(waiting.popleft())

        async def work() -> None:
            while waiting and self.stopped_by is None:
                await self._send(waiting.popleft())

        workers = min(self._client.settings.max_concurrency, len(waiting))
        await together(work() for _ in range(workers))

    async def _send(self, entry: NewCaseEntry) -> None:
        outcome = entry.outcome, entry.code, entry.message
        entry.attempts += 1
        entry.end(Outcome.UNKNOWN, "interrupted")
        try:
            result = await self._client.create_case(entry.request)
        except WillSuiteError as error:
            # these mean that nothing was carried out
            entry.attempts -= 1
            entry.outcome, entry.code, entry.message = outcome
            self.stopped_by = self.stopped_by or str(error)
            return
        await self._judge(entry, result)
        await add_progress(1, len(self.entries))

    async def _judge(self, entry: NewCaseEntry, result: WriteResult[Case]) -> None:
        if result.effect is Effect.APPLIED:
            assert result.record is not None
            await self._check_echo(entry, result.record)
        elif result.effect is Effect.REJECTED:
            self._note(is_failure=result.code == "status_403")
            _refuse(entry, result)
        elif result.effect is Effect.NOT_APPLIED:
            self._note(is_failure=True)
            entry.leave_open(Outcome.FAILED, result.code)
        else:
            self._note(is_failure=True)
            self._leave_uncertain(entry, result.code)

    def _leave_uncertain(self, entry: NewCaseEntry, code: str) -> None:
        entry.was_uncertain = True
        entry.leave_open(Outcome.UNKNOWN, code)
        self.uncertain_since = time.monotonic()

    def _note(self, *, is_failure: bool) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_failure else 0
        if self._failures_in_a_row >= FAILURES_IN_A_ROW and self.stopped_by is None:
            self.stopped_by = (
                f"WillSuite failed {FAILURES_IN_A_ROW} times in a row, so nothing more was sent; "
                "run the same file again later."
            )

    async def _check_echo(self, entry: NewCaseEntry, answer: Case) -> None:
        sent = entry.case.body
        echo = echo_of(sent, answer)
        if echo is not Echo.PROVEN:
            try:
                case = await self._client.get_case(answer.id)
            except WillSuiteError:
                self._leave_uncertain(entry, "unproven")
                return
            echo = echo_of_case(sent, case)
        self._note(is_failure=False)
        if echo is Echo.PROVEN:
            self._is_proven = self._is_proven or bool(entry.request.customers)
            entry.end(Outcome.CREATED, case_id=answer.id)
        elif echo is not Echo.OTHER_REF and (self._is_proven or self._may_be_chance(echo)):
            # others arrived whole, or may yet: so far it is the one case's misfortune
            entry.end(Outcome.PARTIAL, "lacking", what="customers", case_id=answer.id)
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
        self.stopped_by = (
            f"WillSuite did not keep the {'reference' if is_ref else 'surname'} of row "
            f"{entry.case.rows[0]} (case {case_id}), so nothing more was sent; correct or remove "
            "that case, and report it before importing more."
        )


def _refuse(entry: NewCaseEntry, result: WriteResult[Case]) -> None:
    """A refusal; where it may be the echo of our own success, the case is looked up first."""
    said = result.complaint or f"WillSuite refused the row without a reason ({result.code})."
    is_about_ref = "ref" in result.fields or _REF.search(result.complaint) is not None
    is_conflict = result.code == "status_409"
    if entry.was_uncertain or is_about_ref or is_conflict or not result.complaint:
        is_ref_taken = is_conflict or (is_about_ref and _TAKEN.search(said) is not None)
        entry.refusal = Refusal(result.code, said, is_ref_taken)
        entry.leave_open(Outcome.REJECTED, result.code, said)
    else:
        entry.end(Outcome.REJECTED, result.code, said)


@write_task(name="create-cases", task_run_name="create cases {first} to {last}")
async def create_cases(sender: Sender, first: int, last: int) -> None:
    """Send some of `sender.entries` (`POST /cases/create`), counted from 1, both included."""
    await sender.send(sender.entries[first - 1 : last])
