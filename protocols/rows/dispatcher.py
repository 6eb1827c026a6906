"""Sending entries one by one, several at a time, and stopping when something is wrong.

Belongs here: what the senders of all flows do alike: workers, an entry alone until something is
proven, the circuit breaker, and an entry that says `unknown` while its request is under way. Does
not: requests, and what an answer means for an entry (`importing/sender.py`, `updating/single.py`,
`appointments/sync.py`).
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from protocols.rows.ledger import AnyEntry, Entry
from schemas.outcomes import Outcome
from tasks.cases import together
from tasks.progress import add_progress
from willsuite import Effect, WillSuiteClient, WriteResult
from willsuite.errors import WillSuiteError

Record = TypeVar("Record")
ENTRIES_PER_TASK = 500
"""A task run for each entry would cost more than its requests."""


def task_ranges(count: int, first: int = 1) -> Iterator[tuple[int, int]]:
    """The places of so many entries, cut into what one task run sends; both ends included."""
    for start in range(first, first + count, ENTRIES_PER_TASK):
        yield start, min(start + ENTRIES_PER_TASK, first + count) - 1


class Dispatcher(ABC, Generic[AnyEntry]):
    """Sends entries; keeps what one answer says about all that follow."""

    failures_in_a_row = 10
    """After so many the server is taken to be ill; whatever isn't sent yet stays unsent."""

    def __init__(self, client: WillSuiteClient) -> None:
        self.client = client
        self.is_proven = False
        """Whether an answer has shown that what can't be undone arrives as it should."""
        self._failures = 0
        self.stopped_by: str | None = None
        """Why nothing more is sent, as a sentence."""
        self.settle_seconds = client.settings.settle_seconds
        self._uncertain_since: float | None = None
        self.entries: Sequence[AnyEntry] = ()
        """Those of this round."""

    @abstractmethod
    def goes_alone(self, entry: AnyEntry) -> bool:
        """Whether an entry has to wait for the others' answers until `is_proven`."""

    @abstractmethod
    async def carry_out(self, entry: AnyEntry) -> None:
        """All requests of one entry."""

    def begin_round(self, entries: Sequence[AnyEntry]) -> None:
        """`entries` are to be sent; what failed in the round before is history."""
        self.entries, self._failures, self._uncertain_since = entries, 0, None

    async def send(self, entries: Sequence[AnyEntry]) -> None:
        """Send each entry once, unless something stops the run."""
        waiting = deque(sorted(entries, key=lambda entry: not self.goes_alone(entry)))
        while waiting and not self.is_proven and self.goes_alone(waiting[0]):
            if self.stopped_by is not None:
                return
            await self._carry_out(waiting.popleft())

        async def work() -> None:
            while waiting and self.stopped_by is None:
                await self._carry_out(waiting.popleft())

        workers = min(self.client.settings.max_concurrency, len(waiting))
        await together(work() for _ in range(workers))

    async def _carry_out(self, entry: AnyEntry) -> None:
        await self.carry_out(entry)
        await add_progress(1, len(self.entries))

    async def attempt(
        self, entry: Entry, send: Callable[[], Awaitable[WriteResult[Record]]]
    ) -> WriteResult[Record] | None:
        """One request of an entry; None where nothing was carried out, nor will be."""
        before = entry.outcome, entry.code, entry.message
        entry.attempts += 1
        entry.end(Outcome.UNKNOWN, "interrupted")
        try:
            result = await send()
        except WillSuiteError as error:
            entry.attempts -= 1
            entry.outcome, entry.code, entry.message = before
            self.stop(str(error))
            return None
        is_failure = result.effect not in (Effect.APPLIED, Effect.REJECTED)
        self.note(is_failure=is_failure or result.code == "status_403")
        if result.effect is Effect.AMBIGUOUS:
            self.note_uncertainty()
        return result

    def note(self, *, is_failure: bool) -> None:
        """An answer came, or failed to."""
        self._failures = self._failures + 1 if is_failure else 0
        if self._failures >= self.failures_in_a_row:
            self.stop(
                f"WillSuite failed {self.failures_in_a_row} times in a row, so nothing more was "
                "sent; run the same file again later."
            )

    def note_uncertainty(self) -> None:
        """From now on the server may still be working on something that was sent."""
        self._uncertain_since = time.monotonic()

    def stop(self, why: str) -> None:
        """Nothing more is to be sent; the first reason stays."""
        self.stopped_by = self.stopped_by or why

    @property
    def rest_seconds(self) -> float:
        """Until the server has surely finished with whatever is uncertain."""
        if self._uncertain_since is None:
            return 0.0
        return self._uncertain_since + self.settle_seconds - time.monotonic()
