"""Bulk requests that earlier runs left under way: waiting for them, and what is done beside them.

Belongs here: the wait itself, for every flow that changes cases, and the outcome of rows while a
job doesn't end: it would undo, when it goes on, what was changed meanwhile. Does not: polls
(`tasks/api_jobs.py`), or the records (`account/job_records.py`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from protocols.account.job_records import JobRecord
from protocols.account.known import OpenJobs
from protocols.updating.changes import ChangeEntry
from protocols.updating.matching import look_at
from schemas.outcomes import Outcome
from tasks.api_jobs import JobBoard, JobEnd, JobPace, JobWait, wait_for_api_job
from tasks.cases import together
from tasks.progress import Progress

LONGEST_JOB_FACTOR = 2
"""A batch whose job nobody can see is waited for so many times as long as the longest job took."""


def patience_seconds(pace: JobPace, longest_seconds: float) -> float:
    """How long after its request a batch may begin to show whose job can't be seen.

    `longest_seconds` is how long the longest job took, as far as it was seen.
    """
    return pace.patience_seconds + LONGEST_JOB_FACTOR * longest_seconds


def seen_seconds(wait: JobWait) -> float:
    """How long a job took; 0 where that isn't known.

    One that was over when it was asked about may have taken a second of the day it is old, and
    one that may go on though it is told failed was waited for to its deadline.
    """
    is_over = wait.end in (JobEnd.COMPLETED, JobEnd.FAILED)
    is_over = is_over and not (wait.job and wait.job.may_go_on)
    return wait.seconds if is_over and (wait.was_running or wait.is_new) else 0.0


@dataclass(frozen=True, slots=True)
class EarlierJobs:
    """What has become of the bulk requests of earlier runs."""

    longest_seconds: float = 0.0
    """How long the longest of them took, as far as it was seen."""
    open_ids: Sequence[str] = ()
    """Jobs that may change cases yet: as long as there are any, nothing must be sent."""
    has_dead: bool = False
    """Whether a job of the account is taken for dead, though WillSuite says that it is at work."""


async def wait_for_open_jobs(
    records: OpenJobs,
    pace: JobPace,
    board: JobBoard,
    progress: Progress,
    abandoned: Collection[str] = (),
) -> EarlierJobs:
    """Wait for what earlier runs have handed in, so that its values are final.

    A job that hasn't ended by its deadline stays on record, except for those `abandoned`, of
    which a person says that they are dead.

    Raises:
        WillSuiteError: credentials or configuration.
    """
    found = await _without_abandoned(records, abandoned, progress)
    if not found:
        return EarlierJobs()
    progress.say(f"{len(found):,} batch(es) of earlier runs may be under way; waiting.")
    named = [record for record in found if record.job_id]
    waits = await together(_wait(record, pace, board) for record in named)
    longest_seconds = max(map(seen_seconds, waits), default=0.0)
    patience = patience_seconds(pace, longest_seconds)
    ages = [record.age_seconds() for record in found if not record.job_id]
    rest_seconds = patience - min(ages, default=patience)
    await progress.wait(rest_seconds, "A run was stopped before it knew the job of its batch")
    ends = {record.path: wait for record, wait in zip(named, waits, strict=True)}
    open_ids, has_dead = [], False
    for record in found:
        wait = ends.get(record.path)
        if wait is None or wait.end is not JobEnd.STUCK:
            await records.forget(record)
        elif _is_dead(record, wait):
            has_dead = True
            await records.take_for_dead(record, wait.effected_records or record.stood_at or 0)
        else:
            open_ids.append(record.job_id or "")
    return EarlierJobs(longest_seconds, open_ids, has_dead)


async def _without_abandoned(
    records: OpenJobs, abandoned: Collection[str], progress: Progress
) -> list[JobRecord]:
    found = await records.open()
    dead = [record for record in found if record.job_id in abandoned]
    for record in dead:
        await records.forget(record)
        progress.say(f"Job {record.job_id} is taken for dead, as abandon_jobs says.")
    if len(dead) < len(set(abandoned)):
        progress.say("abandon_jobs names a job that no run has left open; nothing is done for it.")
    return [record for record in found if record not in dead]


async def _wait(record: JobRecord, pace: JobPace, board: JobBoard) -> JobWait:
    """Of a job that is taken for dead already, one look is enough unless it has moved."""
    assert record.job_id is not None
    if record.stood_at is not None:
        at_once = replace(pace, timeout_seconds=0.0)
        wait = await wait_for_api_job(record.job_id, at_once, record.age_seconds(), board)
        if wait.end is not JobEnd.STUCK or _is_dead(record, wait):
            return wait
    return await wait_for_api_job(record.job_id, pace, record.age_seconds(), board)


def _is_dead(record: JobRecord, wait: JobWait) -> bool:
    """Whether a job that hasn't ended has stopped for good within its rows."""
    if record.stood_at is not None:
        # where it can't be asked about now, that is no news
        is_at_work = wait.job is None or wait.job.status == "processing"
        if is_at_work and wait.effected_records in (record.stood_at, 0):
            return True
    return wait.stands_still and wait.effected_records > 0


async def look_beside(
    open_ids: Sequence[str],
    entries: Sequence[ChangeEntry],
    to_look_at: Sequence[ChangeEntry],
    workspace: Path,
    progress: Progress,
) -> str:
    """Give all `entries` their outcome while jobs are open; nothing is sent.

    Which cases a job has is not on record, so it may have any of them, also those that have
    their values already.

    Returns:
        Why nothing was sent, as a sentence.

    Raises:
        WillSuiteError, RunError: it can't be told which rows have a case.
    """
    jobs = ", ".join(open_ids)
    to_send = {id(entry) for entry in await look_at(to_look_at, workspace, progress)}
    for entry in entries:
        if entry.outcome is Outcome.UNCHANGED or id(entry) in to_send:
            entry.end(Outcome.UNKNOWN, "job_open", jobs=jobs)
    return (
        f"WillSuite still works on a job of an earlier run ({jobs}), which may change cases yet, "
        "so nothing was sent. Run the same file again when it has ended; if WillSuite's support "
        "says that it never will, name it in abandon_jobs."
    )
