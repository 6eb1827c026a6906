"""The tasks around `PATCH /cases-bulk-update` and `GET /api-jobs/{apiJobID}`.

Belongs here: handing in a batch, and reading the state of its job, one call each.
Does not: deciding what is sent, waiting, or proving what a job did.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.connection import connected
from tasks.policy import read_task, write_task
from willsuite import ApiJob, WriteResult, bulk_update


@write_task(name="submit-bulk-update")
async def submit_bulk_update(changes: Sequence[Mapping[str, Any]]) -> WriteResult[str]:
    """Hand in changes to cases, which WillSuite then works off as a job.

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
