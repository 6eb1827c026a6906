"""Waiting for bulk requests that earlier runs left under way.

Belongs here: the wait itself, for every flow that changes cases: a job that ends late would undo
what was changed meanwhile. Does not: polls (`tasks/api_jobs.py`), or the records
(`account/job_records.py`).
"""

from protocols.account.known import OpenJobs
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

    One that was over when it was asked about may have taken a second of the day it is old.
    """
    is_over = wait.end in (JobEnd.COMPLETED, JobEnd.FAILED)
    return wait.seconds if is_over and (wait.was_running or wait.is_new) else 0.0


async def wait_for_open_jobs(
    records: OpenJobs, pace: JobPace, board: JobBoard, progress: Progress
) -> float:
    """Wait for what earlier runs have handed in, so that its values are final.

    Returns:
        How long the longest of the jobs took, as far as it was seen.

    Raises:
        WillSuiteError: credentials or configuration.
    """
    found = await records.open()
    if not found:
        return 0.0
    progress.say(f"{len(found):,} batch(es) of earlier runs may be under way; waiting.")
    waits = await together(
        wait_for_api_job(record.job_id, pace, record.age_seconds(), board)
        for record in found
        if record.job_id
    )
    longest_seconds = max(map(seen_seconds, waits), default=0.0)
    patience = patience_seconds(pace, longest_seconds)
    ages = [record.age_seconds() for record in found if not record.job_id]
    rest_seconds = patience - min(ages, default=patience)
    await progress.wait(rest_seconds, "A run was stopped before it knew the job of its batch")
    for record in found:
        await records.forget(record)
    return longest_seconds
