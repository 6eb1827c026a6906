"""Handing in batches of changes, several at a time, and following their jobs to the end.

Belongs here: what one answer does to a batch, halving a batch that is refused, and the record of
every job. Does not: reading back and rounds (`tasks/bulk_updating.py`), or polls
(`tasks/api_jobs.py`).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.outcomes import Outcome
from tasks.api_jobs import JobBoard, JobEnd, JobPace, JobWait, wait_for_api_job
from tasks.cases import together
from tasks.changes import ChangeEntry
from tasks.job_records import JobRecord, JobRecords
from tasks.policy import write_task
from tasks.progress import Progress, add_progress
from willsuite import BulkUpdate, Effect, WillSuiteClient, WriteResult, bulk_update
from willsuite.client import is_id
from willsuite.errors import WillSuiteError

LONGEST_JOB_FACTOR = 2
"""A batch whose job nobody can see is waited for so many times as long as the longest job took."""
MAX_SAID_CHARACTERS = 500
MAX_REFUSALS = 64
"""So many batches refused and none taken: it isn't about single rows (a path that isn't there)."""
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

    @property
    def unproven(self) -> list[ChangeEntry]:
        """Entries whose cases haven't been seen with the wanted values."""
        return [entry for entry in self.entries if entry.outcome is not Outcome.UPDATED]

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
        records: JobRecords,
        board: JobBoard,
        pace: JobPace,
        batch_size: int,
    ) -> None:
        self._client = client
        self._records = records
        self._board = board
        self._batch_size = batch_size
        self._slots = asyncio.Semaphore(client.settings.max_concurrency)
        self._longest_seconds = 0.0
        self._expected = 0
        self._refusals: int | None = 0
        """How many batches were refused; None once one was taken."""
        self.pace = pace
        self.settle_seconds = client.settings.settle_seconds
        self.batches: list[Batch] = []
        """Those of this round that WillSuite may have taken."""
        self.job_ids: list[str] = []
        """All jobs of the run."""
        self.stopped_by: str | None = None
        """Why nothing more is sent, as a sentence."""

    @property
    def patience_seconds(self) -> float:
        """How long after its request a batch may begin to show whose job can't be seen."""
        return self.pace.patience_seconds + LONGEST_JOB_FACTOR * self._longest_seconds

    async def wait_for_open_jobs(self, records: Sequence[JobRecord], progress: Progress) -> None:
        """Wait for what earlier runs have handed in, so that its values are final.

        Raises:
            WillSuiteError: credentials or configuration.
        """
        if not records:
            return
        progress.say(f"{len(records):,} batch(es) of earlier runs may be under way; waiting.")
        await together(
            self._wait(record, record.age_seconds()) for record in records if record.job_id
        )
        ages = [record.age_seconds() for record in records if not record.job_id]
        rest = self.patience_seconds - min(ages, default=self.patience_seconds)
        await progress.wait(rest, "A run was stopped before it knew the job of its batch")
        for record in records:
            self._records.forget(record)

    async def send(self, entries: Sequence[ChangeEntry]) -> None:
        """Hand in each entry, unless something stops the run, and wait for all jobs.

        Raises:
            WillSuiteError: credentials or configuration; jobs may be under way.
        """
        self.batches, self._expected = [], len(entries)
        starts = range(0, len(entries), self._batch_size)

        async def send_from(start: int) -> None:
            async with self._slots:
                await self._send(entries[start : start + self._batch_size])

        await together(send_from(start) for start in starts)

    def forget(self, batch: Batch) -> None:
        """Nothing of the batch is open any more."""
        self._records.forget(batch.record)

    async def _send(self, entries: Sequence[ChangeEntry]) -> None:
        if self.stopped_by is not None:
            return
        body = [_request(entry) for entry in entries]
        record = self._records.intend(len(entries))
        before = [(entry.outcome, entry.code, entry.message) for entry in entries]
        for entry in entries:
            entry.attempts += 1
            entry.end(Outcome.UNKNOWN, "interrupted")
        try:
            result = await hand_in(_HandIn(self._client, body))
        except WillSuiteError as error:
            # these mean that nothing was carried out
            self._records.forget(record)
            Batch(entries, record, before).undo()
            for entry in entries:
                entry.attempts -= 1
            self.stopped_by = self.stopped_by or str(error)
            return
        await self._judge(Batch(entries, record, before), result)

    async def _judge(self, batch: Batch, result: WriteResult[str]) -> None:
        if result.effect is Effect.REJECTED or result.code == TOO_LARGE:
            self._records.forget(batch.record)
            batch.undo()
            await self._halve(batch.entries, result)
            return
        if result.effect is Effect.NOT_APPLIED:
            self._records.forget(batch.record)
            batch.undo()
            for entry in batch.entries:
                if not entry.taken_count:
                    entry.end(Outcome.FAILED, "unreachable")
            return
        self.batches.append(batch)
        self._refusals = None
        for entry in batch.entries:
            entry.taken_count += 1
        if result.record is not None and is_id(result.record):
            await self._follow(batch, result.record)
        await add_progress(len(batch.entries), self._expected)

    async def _follow(self, batch: Batch, job_id: str) -> None:
        batch.record = self._records.accepted(batch.record, job_id)
        self.job_ids.append(job_id)
        for entry in batch.entries:
            entry.end(Outcome.UNKNOWN, "under_way", job_id=job_id)
        batch.wait = await self._wait(batch.record)
        for entry in batch.entries:
            entry.end(Outcome.UNKNOWN, "unread")

    async def _wait(self, record: JobRecord, age_seconds: float = 0.0) -> JobWait:
        assert record.job_id is not None
        wait = await wait_for_api_job(record.job_id, self.pace, age_seconds, self._board)
        # one that was over when it was asked about may have taken a second of the day it is old
        if wait.end in (JobEnd.COMPLETED, JobEnd.FAILED) and (wait.was_running or not age_seconds):
            self._longest_seconds = max(self._longest_seconds, wait.seconds)
        return wait

    async def _halve(self, entries: Sequence[ChangeEntry], result: WriteResult[str]) -> None:
        """A batch is refused as a whole: its halves tell for which row."""
        if result.code == "status_403":
            self.stopped_by = self.stopped_by or (
                "WillSuite doesn't permit these credentials to update in bulk (status 403); ask "
                "its support."
            )
        elif self._refusals is not None:
            self._refusals += 1
            if self._refusals >= MAX_REFUSALS:
                self.stopped_by = self.stopped_by or (
                    f"WillSuite refused {MAX_REFUSALS} batches, even small ones, and took none "
                    f"({result.code}), so nothing more was sent; the outcomes have its words."
                )
        said = result.complaint or f"WillSuite refused the row ({result.code})."
        if self.stopped_by is not None:
            for entry in entries:
                if not entry.taken_count:
                    entry.end(Outcome.NOT_ATTEMPTED, "stopped", said)
            return
        if len(entries) == 1:
            entries[0].end(Outcome.REJECTED, result.code, said)
        else:
            middle = len(entries) // 2
            await together(self._send(half) for half in (entries[:middle], entries[middle:]))


def _request(entry: ChangeEntry) -> BulkUpdate:
    assert entry.case is not None
    return bulk_update({"id": entry.case.id, **entry.to_do.fields(entry.case)})


class _HandIn:
    """A request as the parameter of a task: Prefect looks into anything plainer."""

    def __init__(self, client: WillSuiteClient, body: Sequence[BulkUpdate]) -> None:
        self.client = client
        self.body = body


@write_task(name="hand-in-batch")
async def hand_in(request: _HandIn) -> WriteResult[str]:
    """Hand in one batch (`PATCH /cases-bulk-update`)."""
    return await request.client.bulk_update(request.body)
