"""Sending entries one by one, several at a time, and stopping when something is wrong.

Belongs here: what the senders of all flows do alike: workers, an entry alone until something is
proven, the circuit breaker, and an entry that says `unknown` while its request is under way. Does
not: requests, and what an answer means for an entry (`importing/sender.py`, `updating/single.py`,
`appointments/sync.py`).
"""

import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from prefect.logging import get_run_logger

from protocols.rows.ledger import AnyEntry, Entry
from schemas.outcomes import FAILING, Outcome
from tasks.cases import together
from tasks.progress import add_progress
from willsuite import Effect, WillSuiteClient, WriteResult
from willsuite.errors import WillSuiteError

Record = TypeVar("Record")
ENTRIES_PER_TASK = 500
"""A task run for each entry would cost more than its requests."""
SAID = {
    Effect.APPLIED: "accepted",
    Effect.REJECTED: "refused",
    Effect.AMBIGUOUS: "without a clear answer",
    Effect.NOT_APPLIED: "not reached",
}


def task_ranges(count: int, first: int = 1) -> Iterator[tuple[int, int]]:
    """The places of so many entries, cut into what one task run sends; both ends included."""
    for start in range(first, first + count, ENTRIES_PER_TASK):
        yield start, min(start + ENTRIES_PER_TASK, first + count) - 1


class Dispatcher(ABC, Generic[AnyEntry]):
    """Sends entries; keeps what one answer says about all that follow."""

    failures_in_a_row = 10
    """After so many the server is taken to be ill, unless it takes rows from elsewhere."""
    tries_elsewhere = 3
    """Rows of the rest of the file, drawn at random, that are tried before that is said."""

    def __init__(self, client: WillSuiteClient) -> None:
        self.client = client
        self.is_proven = False
        """Whether an answer has shown that what can't be undone arrives as it should."""
        self.has_applied = False
        """Whether WillSuite has carried out anything of this run, as its answers say."""
        self._failures = 0
        self._answers: Counter[Effect] = Counter()
        self.stopped_by: str | None = None
        """Why nothing more is sent, as a sentence."""
        self._told_for: frozenset[Outcome] = frozenset()
        """With a row that ends so, a person must know why it stopped."""
        self.settle_seconds = client.settings.settle_seconds
        self._uncertain_since: float | None = None
        self.entries: Sequence[AnyEntry] = ()
        """Those of this round."""
        self._begun: set[int] = set()
        """Those of this round that had their turn, by `id`."""

    @abstractmethod
    def goes_alone(self, entry: AnyEntry) -> bool:
        """Whether an entry has to wait for the others' answers until `is_proven`."""

    @abstractmethod
    async def carry_out(self, entry: AnyEntry) -> None:
        """All requests of one entry."""

    def may_be_tried(self, entry: AnyEntry) -> bool:  # noqa: ARG002 - for those who know better
        """Whether the breaker may take an entry before its turn."""
        return True

    def begin_round(self, entries: Sequence[AnyEntry]) -> None:
        """`entries` are to be sent; what failed in the round before is history."""
        self.entries, self._failures, self._uncertain_since = entries, 0, None
        self._begun.clear()

    async def send(self, entries: Sequence[AnyEntry]) -> None:
        """Send each entry once, unless something stops the run."""
        waiting = deque(entry for entry in entries if id(entry) not in self._begun)
        while waiting and self.stopped_by is None:
            if self._is_in_doubt:
                await self._try_elsewhere()
                waiting = deque(entry for entry in waiting if id(entry) not in self._begun)
            else:
                await self._send_until_in_doubt(waiting)

    async def _send_until_in_doubt(self, waiting: deque[AnyEntry]) -> None:
        while self._may_go_on and (alone := self._next_alone(waiting)) is not None:
            waiting.remove(alone)
            await self._carry_out(alone)

        async def work() -> None:
            while waiting and self._may_go_on:
                await self._carry_out(waiting.popleft())

        workers = min(self.client.settings.max_concurrency, len(waiting))
        await together(work() for _ in range(workers))

    def _next_alone(self, waiting: Iterable[AnyEntry]) -> AnyEntry | None:
        if self.is_proven:
            return None
        return next((entry for entry in waiting if self.goes_alone(entry)), None)

    async def _try_elsewhere(self) -> None:
        """Stop, unless the server takes rows from elsewhere: those it failed at may be at fault.

        At random, so that the next run tries others; it knows nothing of this one.
        """
        rest = [entry for entry in self.entries if id(entry) not in self._begun]
        rest = [entry for entry in rest if self.may_be_tried(entry)]
        for entry in random.sample(rest, min(self.tries_elsewhere, len(rest))):
            await self._carry_out(entry)
            if not self._is_in_doubt or self.stopped_by is not None:
                return
        self._cease(
            f"WillSuite failed {self.failures_in_a_row} times in a row, so nothing more was "
            "sent; run the same file again later.",
            frozenset({Outcome.NOT_ATTEMPTED}),  # others say for themselves what became of them
        )

    async def _carry_out(self, entry: AnyEntry) -> None:
        self._begun.add(id(entry))
        await self.carry_out(entry)
        await add_progress(1, len(self.entries))

    async def attempt(
        self, entry: Entry, send: Callable[[], Awaitable[WriteResult[Record]]]
    ) -> WriteResult[Record] | None:
        """One request of an entry; None where nothing was carried out, nor will be."""
        if entry.is_held_back():
            return None
        before = entry.outcome, entry.code, entry.message
        entry.attempts += 1
        entry.end(Outcome.UNKNOWN, "interrupted")
        try:
            result = await send()
        except WillSuiteError as error:
            entry.attempts -= 1
            entry.outcome, entry.code, entry.message = before
            self._cease(str(error))
            return None
        self._answers[result.effect] += 1
        is_failure = result.effect not in (Effect.APPLIED, Effect.REJECTED)
        self.note(is_failure=is_failure or result.code == "status_403")
        self.has_applied = self.has_applied or result.effect is Effect.APPLIED
        if result.effect is Effect.AMBIGUOUS:
            self.note_uncertainty()
        if result.stops_run is not None:
            self._cease(result.stops_run)
        return result

    def note(self, *, is_failure: bool) -> None:
        """An answer came, or failed to."""
        self._failures = self._failures + 1 if is_failure else 0

    @property
    def _is_in_doubt(self) -> bool:
        """Whether the server failed so often that it may be ill."""
        return self._failures >= self.failures_in_a_row

    @property
    def _may_go_on(self) -> bool:
        return self.stopped_by is None and not self._is_in_doubt

    def note_uncertainty(self) -> None:
        """From now on the server may still be working on something that was sent."""
        self._uncertain_since = time.monotonic()

    def stop(self, why: str) -> None:
        """Nothing more is to be sent, and a person must know why; the first reason stays."""
        self._cease(why, frozenset(Outcome))

    def _cease(self, why: str, told_for: frozenset[Outcome] = FAILING) -> None:
        """Nothing more can be sent; of interest only if some row ends as one of `told_for`."""
        if self.stopped_by is None:
            self.stopped_by, self._told_for = why, told_for

    def reason_to_tell(self, entries: Iterable[Entry]) -> str | None:
        """Why it stopped, where that matters: what was lost may be the answers, not the work."""
        is_told = any(entry.outcome in self._told_for for entry in entries)
        return self.stopped_by if is_told else None

    def say_sent(self, what: str, first: int, last: int) -> None:
        """One line of what these entries, counted from 1, were answered."""
        told = [f"{count:,} {SAID[effect]}" for effect, count in self._answers.items()]
        get_run_logger().info("%s %s to %s: %s.", what, first, last, ", ".join(told) or "not sent")
        self._answers.clear()

    @property
    def rest_seconds(self) -> float:
        """Until the server has surely finished with whatever is uncertain."""
        if self._uncertain_since is None:
            return 0.0
        return self._uncertain_since + self.settle_seconds - time.monotonic()
