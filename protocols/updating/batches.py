"""Handing in batches of changes, several at a time, and following their jobs to the end.

Belongs here: what one answer does to a batch, halving a batch that is refused, and the record of
every job. Does not: reading back and rounds (`updating/bulk.py`), or polls
(`tasks/api_jobs.py`).
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from prefect.logging import get_run_logger

from protocols.account.job_records import JobRecord
from protocols.account.known import OpenJobs
from protocols.rows.dispatcher import SAID
from protocols.updating.changes import ChangeEntry
from protocols.updating.open_jobs import EarlierJobs, patience_seconds, seen_seconds
from schemas.outcomes import FAILING, Outcome
from tasks.api_jobs import JobBoard, JobEnd, JobPace, JobWait, wait_for_api_job
from tasks.policy import RunError, write_task
from tasks.progress import add_progress
from willsuite import BulkUpdate, Effect, WillSuiteClient, WriteResult, bulk_update
from willsuite.errors import WillSuiteError
from willsuite.ids import is_id

MAX_SAID_CHARACTERS = 500
MAX_REFUSED_ROWS = 32
"""So many single rows refused and no batch taken: it isn't about them (a path that isn't there)."""
TOO_LARGE = "status_413"
"""Said by a web server in its own words, before it reads the batch."""


@dataclass(slots=True)
class Batch:
    """Changes that were handed in together, and that WillSuite may have taken."""

    entries: Sequence[ChangeEntry]
    record: JobRecord
    before: Sequence[tuple[Outcome, str | None, str | None]]
    """What was known of its entries before it was sent."""
    sent_at: float = field(default_factory=time.monotonic)
    wait: JobWait | None = None
    """How its job ended; None where no answer named a job."""
    is_dead: bool = False
    """Whether its job stands still for good, though WillSuite says that it is at work."""

    @property
    def unproven(self) -> list[ChangeEntry]:
        """Entries whose cases haven't been seen with the wanted values."""
        return [entry for entry in self.entries if entry.outcome is not Outcome.UPDATED]

    @property
    def stands_still(self) -> bool:
        """Whether its job has got no further over several polls, beyond its deadline."""
        return self.wait is not None and self.wait.end is JobEnd.STUCK and self.wait.stands_still

    def undo(self) -> None:
        """Nothing of it was carried out: what was known before is all that is known."""
        for entry, ending in zip(self.entries, self.before, strict=True):
            entry.outcome, entry.code, entry.message = ending

    @property
    def is_unseen(self) -> bool:
        """Whether it may have a job that can't be asked about."""
        return self.wait is None or self.wait.end is JobEnd.MISSING

    @property
    def may_come_late(self) -> bool:
        """Whether values may yet show of which nothing is to be seen, without a further request."""
        is_completed = self.wait is not None and self.wait.end is JobEnd.COMPLETED
        return bool(self.unproven) and (is_completed or self.is_unseen)

    @property
    def said(self) -> str:
        """The job's message, for the outcome file alone: it may repeat what is in the cases."""
        message = self.wait.job.message if self.wait and self.wait.job else None
        return f"It said: {message[:MAX_SAID_CHARACTERS]}" if message else ""


class BulkSender:
    """Hands in batches and waits for their jobs; keeps what one answer says about all others."""

    def __init__(
        self,
        client: WillSuiteClient,
        records: OpenJobs,
        board: JobBoard,
        pace: JobPace,
        batch_size: int,
    ) -> None:
        self._client = client
        self._records = records
        self._batch_size = batch_size
        self._slots = asyncio.Semaphore(client.settings.max_concurrency)
        self.began_at = time.monotonic()
        self.longest_seconds = 0.0
        """How long the longest job took so far."""
        self.knows_dead_jobs = False
        """Whether a job of the account has stopped within its rows before."""
        self._expected = 0
        self._refused_rows = 0
        self._has_taken = False
        """Whether any batch of the run was taken."""
        self.look_again: LookAgain = _as_they_are
        """Shows entries their cases right before they are sent; returns those to be sent."""
        self.board = board
        self.pace = pace
        self.settle_seconds = client.settings.settle_seconds
        self.batches: list[Batch] = []
        """Those of this round that WillSuite may have taken."""
        self.job_ids: list[str] = []
        """All jobs of the run."""
        self.stopped_by: str | None = None
        """Why nothing more is sent, as a sentence."""

    def learn_from(self, earlier: EarlierJobs) -> None:
        """What the jobs of earlier runs say of this one's."""
        self.longest_seconds = earlier.longest_seconds
        self.knows_dead_jobs = earlier.has_dead

    @property
    def patience_seconds(self) -> float:
        """How long after its request a batch may begin to show whose job can't be seen."""
        return patience_seconds(self.pace, self.longest_seconds)

    async def send(self, parts: Sequence[Sequence[ChangeEntry]]) -> None:
        """Hand in each entry, unless something stops the run, and wait for all jobs.

        No batch has entries of two of the `parts`.

        Raises:
            WillSuiteError: credentials or configuration; jobs may be under way.
        """
        self.batches, self._expected = [], sum(map(len, parts))
        try:
            async with asyncio.TaskGroup() as jobs:
                for part in parts:
                    for start in range(0, len(part), self._batch_size):
                        await self._send(part[start : start + self._batch_size], jobs)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def forget(self, batch: Batch) -> None:
        """Nothing of the batch is open any more."""
        await self._records.forget(batch.record)

    async def take_for_dead(self, batch: Batch) -> None:
        """Its job has stopped within its rows; should it go on, a later run sees it."""
        assert batch.wait is not None
        batch.is_dead = True
        self.knows_dead_jobs = self.knows_dead_jobs or bool(batch.unproven)
        batch.record = await self._records.take_for_dead(batch.record, batch.wait.effected_records)

    async def _send(
        self, entries: Sequence[ChangeEntry], jobs: asyncio.TaskGroup, *, by_name: bool = True
    ) -> None:
        """Hand in a batch, or the parts of one that is refused; `jobs` are followed meanwhile.

        `by_name` says whether rows that a refusal names are to be set apart.
        """
        await self._slots.acquire()  # a job keeps it to its end
        result, batch = None, None
        entries = await self._seen_again(entries) if by_name else entries
        if entries and self.stopped_by is None:
            batch = await self._begin(entries)
            result = await self._hand_in(batch)
        if batch is None or result is None or not await self._is_taken(batch, result):
            self._slots.release()
        else:
            jobs.create_task(self._follow(batch))
        if batch is not None and result is not None and _is_refused(result):
            named = _named_rows(result.fields, len(entries)) if by_name else set()
            for part in self._parts(entries, result, named):
                await self._send(part, jobs, by_name=by_name and not named)

    async def _seen_again(self, entries: Sequence[ChangeEntry]) -> Sequence[ChangeEntry]:
        """Those that are still to be sent, after a look at their cases right before."""
        if self.stopped_by is not None:
            return []
        try:
            seen = await self.look_again(entries)
        except (WillSuiteError, RunError) as error:
            self.stopped_by = self.stopped_by or str(error)
            return []
        return [entry for entry in seen if not entry.is_held_back()]

    async def _begin(self, entries: Sequence[ChangeEntry]) -> Batch:
        before = [(entry.outcome, entry.code, entry.message) for entry in entries]
        record = await self._records.intend(len(entries))
        for entry in entries:
            entry.attempts += 1
            entry.end(Outcome.UNKNOWN, "interrupted")
        return Batch(entries, record, before)

    async def _hand_in(self, batch: Batch) -> WriteResult[str] | None:
        """None where nothing was carried out, nor will be."""
        try:
            return await hand_in(_HandIn(self._client, [_request(each) for each in batch.entries]))
        except WillSuiteError as error:
            await self._records.forget(batch.record)
            batch.undo()
            for entry in batch.entries:
                entry.attempts -= 1
            self.stopped_by = self.stopped_by or str(error)
            return None

    async def _is_taken(self, batch: Batch, result: WriteResult[str]) -> bool:
        """Whether WillSuite may work on the batch; if not, what was known before is known again."""
        self.stopped_by = self.stopped_by or result.stops_run
        is_unreachable = result.effect is Effect.NOT_APPLIED
        if is_unreachable or _is_refused(result):
            await self._records.forget(batch.record)
            batch.undo()
            for entry in batch.entries:
                if is_unreachable and not entry.taken_count:
                    entry.end(Outcome.FAILED, "unreachable")
            return False
        if result.record is not None and is_id(result.record):
            batch.record = await self._records.accepted(batch.record, result.record)
            self.job_ids.append(result.record)
        self.batches.append(batch)
        self._has_taken = True
        for entry in batch.entries:
            entry.taken_count += 1
        return True

    def _parts(
        self, entries: Sequence[ChangeEntry], result: WriteResult[str], named: Collection[int]
    ) -> list[Sequence[ChangeEntry]]:
        """What is to be handed in instead of a batch that was refused as a whole.

        Rows that the refusal names go alone, since they may be named wrongly, and the others
        together; where it names none, the halves tell which row it is for.
        """
        said = result.complaint or f"WillSuite refused the row ({result.code})."
        self._note_refusal(len(entries), result)
        if self.stopped_by is not None:
            for entry in entries:
                if not entry.taken_count:
                    entry.end(Outcome.NOT_ATTEMPTED, "stopped", said)
            return []
        if len(entries) == 1:
            entries[0].end(Outcome.REJECTED, result.code, said)
            return []
        if named:
            others = [entry for place, entry in enumerate(entries) if place not in named]
            return [*([others] if others else []), *([entries[place]] for place in sorted(named))]
        if not self._has_taken:
            # bad rows often stand together; dealt out, some soon are in a part without any
            return [entries[::2], entries[1::2]]
        middle = len(entries) // 2
        return [entries[:middle], entries[middle:]]

    def _note_refusal(self, rows: int, result: WriteResult[str]) -> None:
        """Stop where it isn't about rows: all are refused, down to single ones."""
        if result.code == "status_403":
            self.stopped_by = self.stopped_by or (
                "WillSuite doesn't permit these credentials to update in bulk (status 403); ask "
                "its support."
            )
        elif rows == 1 and not self._has_taken:
            self._refused_rows += 1
            if self._refused_rows >= MAX_REFUSED_ROWS:
                self.stopped_by = self.stopped_by or (
                    f"WillSuite refused {MAX_REFUSED_ROWS} rows one by one and took no batch "
                    f"({result.code}), so nothing more was sent; the outcomes have its words."
                )

    def reason_to_tell(self, entries: Iterable[ChangeEntry]) -> str | None:
        """Why it stopped, where that matters: what was lost may be the answers, not the work."""
        is_told = any(entry.outcome in FAILING for entry in entries)
        return self.stopped_by if is_told else None

    async def _follow(self, batch: Batch) -> None:
        """Wait for its job, if an answer has named one."""
        try:
            job_id = batch.record.job_id
            for entry in batch.entries:
                entry.end(Outcome.UNKNOWN, "under_way" if job_id else "unread", job_id=job_id)
            if job_id is not None:
                batch.wait = await wait_for_api_job(job_id, self.pace, board=self.board)
                self.longest_seconds = max(self.longest_seconds, seen_seconds(batch.wait))
            for entry in batch.entries:
                entry.end(Outcome.UNKNOWN, "unread")
            await add_progress(len(batch.entries), self._expected)
        finally:
            self._slots.release()


LookAgain = Callable[[Sequence[ChangeEntry]], Awaitable[Sequence[ChangeEntry]]]


async def _as_they_are(entries: Sequence[ChangeEntry]) -> Sequence[ChangeEntry]:
    return entries


def _is_refused(result: WriteResult[str]) -> bool:
    return result.effect is Effect.REJECTED or result.code == TOO_LARGE


def _named_rows(fields: Sequence[str], rows: int) -> set[int]:
    """Places in the batch that a refusal names ("17.notes"), as Laravel does, counted from 0."""
    heads = [name.partition(".")[0] for name in fields]
    places = {int(head) for head in heads if re.fullmatch(r"[0-9]{1,4}", head)}
    return {place for place in places if place < rows}


def _request(entry: ChangeEntry) -> BulkUpdate:
    assert entry.case is not None
    # CRM values that a batch doesn't name might go (facts.md 3.6)
    return bulk_update({"id": entry.case.id, **entry.to_do.fields(entry.other_values)})


class _HandIn:
    """A request as the parameter of a task: Prefect looks into anything plainer."""

    def __init__(self, client: WillSuiteClient, body: Sequence[BulkUpdate]) -> None:
        self.client = client
        self.body = body


@write_task(name="hand-in-batch", task_run_name="hand in a batch")
async def hand_in(request: _HandIn) -> WriteResult[str]:
    """Hand in one batch (`PATCH /cases-bulk-update`)."""
    result = await request.client.bulk_update(request.body)
    rows = f"{len(request.body):,}"
    get_run_logger().info("A batch of %s case(s): %s.", rows, SAID[result.effect])
    return result
