"""The tasks around `PATCH /cases-bulk-update` and `GET /api-jobs/{apiJobID}`.

Belongs here: handing in a batch, reading the state of its job, and waiting for its end.
Does not: deciding what is sent, or proving what a job did (`protocols/updating/bulk.py`).
"""

import asyncio
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prefect.logging import get_run_logger

from tasks.connection import connected
from tasks.policy import read_task, write_task
from tasks.progress import LiveTable
from willsuite import ApiJob, Settings, WillSuiteClient, WriteResult, bulk_update
from willsuite.errors import ContractError, RejectedError, TransientError

FIRST_POLL_SHARE = 0.1
"""The first question comes after this share of the usual time: small batches are soon done."""
STILL_POLLS = 3
"""A job that has begun and doesn't move stands still after so many polls."""
JITTER = 0.1
"""Polls of several jobs, and of several runs, drift apart by this share."""


@write_task(name="submit-bulk-update")
async def submit_bulk_update(changes: Sequence[Mapping[str, Any]]) -> WriteResult[str]:
    """Hand in changes to cases, which WillSuite then works off as a job; for flows of your own.

    No run knows of this job, nor waits for it: from a notebook give `bulk_update_cases` a
    DataFrame.

    Source: vendor page "Cases", Bulk Update Case.

    Args:
        changes: 1 to 2,500, each of another case: `id`, and `notes` or `meta` (CRM field id to
            value). Whether `meta` is merged into what the case has isn't documented.

    Returns:
        What is known of the effect; its record is the job's id. After `ambiguous` the job may
        be under way all the same.

    Raises:
        InvalidRecordError: the values break a documented limit.
        WillSuiteError: credentials, configuration or rate limit; nothing was handed in.
    """
    batch = [bulk_update(change) for change in changes]
    async with connected() as client:
        return await client.bulk_update(batch)


@read_task(name="get-api-job")
async def get_api_job(job_id: str) -> ApiJob:
    """The state of a job, once; the vendor asks to poll every 5 to 10 minutes.

    Source: vendor page "API Jobs" (facts.md 4). `effected_records` leaves out records that were
    up to date, so it can't tell success from failure: read the cases.

    Raises:
        NotFoundError: there is no such job, or not yet.
        WillSuiteError: it can't be read.
    """
    async with connected() as client:
        return await client.get_api_job(job_id)


class JobEnd(StrEnum):
    """How waiting for a job ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    """Or any other word than completed, with an end time."""
    STUCK = "stuck"
    """It had not ended by the deadline, and may go on: its record has to stay."""
    MISSING = "missing"
    """WillSuite doesn't show it (404, or refused), not even after a while."""


@dataclass(frozen=True, slots=True)
class JobWait:
    """What waiting for a job brought."""

    end: JobEnd
    seconds: float
    """From its submission until its end was seen."""
    job: ApiJob | None = None
    """As it was last seen; None where it never was."""
    was_running: bool = False
    """Whether it was seen running, so that `seconds` say how long it took."""
    is_new: bool = False
    """Whether it was waited for from its submission on."""
    stands_still: bool = False
    """Whether it was last seen at work, and over several polls had got no further."""

    @property
    def effected_records(self) -> int:
        """How many rows it has changed, as far as it says."""
        return (self.job and self.job.effected_records) or 0


class JobBoard:
    """All jobs that a run waits for, for people: lines in the log, and one table."""

    def __init__(self, key: str) -> None:
        self._table = LiveTable(key, "Jobs of this run")
        self._lines: dict[str, str] = {}
        self._logger = get_run_logger()

    async def show(self, job_id: str, status: str, job: ApiJob | None, seconds: float) -> None:
        """The job is in this state, so long after its submission."""
        changed, total = (
            "?" if number is None else f"{number:,}"
            for number in (job and job.effected_records, job and job.total_records)
        )
        elapsed = f"{int(seconds) // 60} min {int(seconds) % 60} s"
        self._logger.info(
            "Job %s: %s, %s of %s changed, %s", job_id, status, changed, total, elapsed
        )
        self._lines[job_id] = f"| {job_id} | {status} | {changed} | {total} | {elapsed} |"
        head = "| job | status | changed | of | elapsed |\n| --- | --- | ---: | ---: | ---: |"
        await self._table.show("\n".join([head, *self._lines.values()]))


@dataclass(frozen=True, slots=True)
class JobPace:
    """How often a job is asked about, and for how long."""

    poll_seconds: float
    timeout_seconds: float
    """From its submission; after it a job counts as stuck. With 0 it is looked at once."""
    patience_seconds: float
    """So long a job may be invisible: it may not be there yet."""


def job_pace(
    settings: Settings, poll_seconds: float | None = None, timeout_seconds: float | None = None
) -> JobPace:
    """The pace of the settings, unless a run has its own."""
    poll = poll_seconds or settings.job_poll_seconds
    return JobPace(
        poll, timeout_seconds or settings.job_timeout_seconds, settings.settle_seconds + 2 * poll
    )


# no retries: it goes on by itself through everything that may pass
@write_task(name="wait-for-api-job", task_run_name="wait for job {job_id}")
async def wait_for_api_job(
    job_id: str,
    pace: JobPace | None = None,
    age_seconds: float = 0.0,
    board: JobBoard | None = None,
) -> JobWait:
    """Ask about a job until it has ended, or can't be waited for any longer.

    The first time soon, then every `poll_seconds`; a word that isn't documented counts as running
    until there is an end time, and a job that is told failed and may go on does to the deadline.
    Network failures and server errors are waited through.
    Source: vendor page "API Jobs" (facts.md 4).

    Args:
        job_id: as `submit_bulk_update` gave it.
        pace: without it that of the settings.
        age_seconds: how long ago the job was submitted; an older one is asked about at once.
        board: shows each answer; without it only the log of failures does.

    Raises:
        WillSuiteError: credentials or configuration.
    """
    async with connected() as client:
        waiting = _Waiting(job_id, pace or job_pace(client.settings), board, age_seconds)
        return await waiting.until_it_ends(client)


@dataclass(slots=True)
class _Waiting:
    job_id: str
    pace: JobPace
    board: JobBoard | None
    age_seconds: float
    started_at: float = field(default_factory=time.monotonic)
    invisible_from_seconds: float | None = 0.0
    """When WillSuite first denied it; None after it was seen, or couldn't be read."""
    job: ApiJob | None = None
    was_running: bool = False
    still_polls: int = 0
    """How many polls in a row showed it at work and no further than before."""
    late_polls: int = 0
    """How many came after the deadline."""

    async def until_it_ends(self, client: WillSuiteClient) -> JobWait:
        delay = 0.0 if self.age_seconds else self.pace.poll_seconds * FIRST_POLL_SHARE
        while True:
            await asyncio.sleep(delay)
            end = await self._ask(client)
            is_late = self.seconds >= self.pace.timeout_seconds
            self.late_polls += is_late
            if end is None and is_late and not self._may_have_stopped:
                end = JobEnd.STUCK
            if end is not None:
                return JobWait(
                    end,
                    self.seconds,
                    self.job,
                    self.was_running,
                    is_new=not self.age_seconds,
                    stands_still=self.still_polls >= STILL_POLLS,
                )
            jittered = self.pace.poll_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
            rest = self.pace.timeout_seconds - self.seconds
            delay = jittered if is_late else min(jittered, rest)

    @property
    def _may_have_stopped(self) -> bool:
        """It is at work; whether it gets any further, a few more polls will tell.

        An old one that has done nothing yet is no different from one that waits for its turn.
        """
        if self.job is None or self.job.status != "processing" or not self.pace.timeout_seconds:
            return False
        has_begun = bool(self.job.effected_records) or not self.age_seconds
        return has_begun and self.still_polls < STILL_POLLS >= self.late_polls

    @property
    def seconds(self) -> float:
        """Since the job was submitted."""
        return self.age_seconds + time.monotonic() - self.started_at

    async def _ask(self, client: WillSuiteClient) -> JobEnd | None:
        """Its end, or None while it may still run."""
        before = self.job
        try:
            self.job = await client.get_api_job(self.job_id)
        except RejectedError:
            await self._show("not shown by WillSuite")
            if self.invisible_from_seconds is None:
                self.invisible_from_seconds = self.seconds
            invisible_seconds = self.seconds - self.invisible_from_seconds
            return JobEnd.MISSING if invisible_seconds > self.pace.patience_seconds else None
        except (TransientError, ContractError):
            self.invisible_from_seconds = None
            await self._show("can't be read now")
            return None
        self.invisible_from_seconds = None
        status = self.job.status or "no status"
        await self._show(status if re.fullmatch(r"[a-z_-]{1,20}", status) else "another word")
        may_go_on = self.job.may_go_on and self.seconds < self.pace.timeout_seconds
        if may_go_on or not self.job.is_finished:
            self.was_running = True
            is_still = self.job.status == "processing" and before == self.job
            self.still_polls = self.still_polls + 1 if is_still else 0
            return None
        return JobEnd.COMPLETED if self.job.status == "completed" else JobEnd.FAILED

    async def _show(self, status: str) -> None:
        if self.board is not None:
            await self.board.show(self.job_id, status, self.job, self.seconds)
