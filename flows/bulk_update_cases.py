"""The flow that changes notes and CRM values of many cases at once, and proves that it did.

Belongs here: the order of things, and what a person is told. Reading and planning are in
`schemas/update_file.py`, the protocol in `protocols/updating/bulk.py`.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State

from flows.approvals import APPROVE_WITHIN_HOURS, Asked, plan_first
from flows.endings import run_with_file
from flows.parameters import Source, with_checked_parameters, with_form
from flows.writing import (
    WAIT_SECONDS,
    Extra,
    Given,
    Hidden,
    OnReject,
    RunSummary,
    Step,
    WritingRun,
    change_ledger,
    ending,
    name_writing,
    read_source,
    show,
)
from protocols.account.lock import Waiting, account_lock
from protocols.reading.exported import count_exported, exported_cases
from protocols.reading.lookup import ids_changed_since
from protocols.rows.run_files import run_folder
from protocols.updating.batches import BulkSender
from protocols.updating.bulk import update_in_bulk
from protocols.updating.changes import ChangeEntry, changed_columns
from protocols.updating.matching import end_unchanged_by, gone_since, look_at
from protocols.updating.open_jobs import look_beside, wait_for_open_jobs
from schemas.outcomes import CHANGE_OUTCOMES, Outcome
from schemas.update_file import BULK_UPDATE
from tasks.api_jobs import JobBoard, job_pace
from tasks.cases import count_cases
from tasks.connection import connected
from tasks.policy import RunError
from tasks.progress import Progress
from willsuite import WillSuiteClient
from willsuite.client import MAX_BATCH

FLOW = "bulk-update-cases"


class BulkUpdateSummary(RunSummary):
    """What `bulk_update_cases` returns; counts, paths and ids of jobs, no personal data."""

    jobs: list[str]
    """Ids of the jobs that this run has started."""


@dataclass(frozen=True)
class _Options:
    """How the run's file is worked off."""

    verify: bool
    compare_to: str
    exports: str
    batch_size: int
    job_poll_seconds: float | None
    job_timeout_seconds: float | None
    abandoned: Collection[str]

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= MAX_BATCH:
            raise RunError(f"batch_size must be 1 to {MAX_BATCH}.")
        for name in ("job_poll_seconds", "job_timeout_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:  # nor NaN
                raise RunError(f"{name} must be above 0.")


@with_form
@flow(name=FLOW, validate_parameters=False, persist_result=False)
@with_checked_parameters
async def bulk_update_cases(
    source: Source,
    output: str = "data/runs",
    dry_run: bool = False,
    connection: str | None = None,
    verify: bool = True,
    compare_to: Literal["live", "latest"] = "live",
    exports: str = "data/exports",
    batch_size: int = MAX_BATCH,
    job_poll_seconds: float | None = None,
    job_timeout_seconds: float | None = None,
    extra: Extra = "forbid",
    encoding: str | None = None,
    sheet: str | None = None,
    hidden: Hidden = "refuse",
    blank_words: list[str] | None = None,
    on_reject: OnReject = "complete",
    outcomes_csv: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    first_run: bool = False,
    abandon_jobs: list[str] | None = None,
    approve: bool = False,
    approve_over: int | None = None,
    plan: str | None = None,
    approve_within_hours: float = APPROVE_WITHIN_HOURS,
) -> BulkUpdateSummary:
    """Change notes and CRM values of the cases of a CSV, Parquet or Excel file, in jobs.

    Rows whose cases have the values already are not sent. Running it again with the same file, or
    after a crash, is always safe: a job that is under way is waited for, not submitted twice.

    Args:
        source: CSV, Parquet or Excel file: a path on the worker's machine, or a URL such as
            s3://bucket/file.csv (its credentials from the environment); or a list of such files
            with the same columns, which data/samples/README.md describes. From Python also a
            pandas DataFrame or an Arrow table, whose rows count from 0, as in frame.iloc.
        output: Folder for the outcome of every row, and for the rejected rows.
        dry_run: Change nothing, and say per row what would be changed, before and after.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
        verify: Read every changed case back; without it WillSuite's word for a job is believed.
        compare_to: "live" reads the cases first; "latest" trusts the latest export for the rows
            that need no change and whose cases weren't changed since, and reads only the others.
        exports: Where export-cases has put that export (a folder or a URL).
        batch_size: Cases in one job, at most 2,500.
        job_poll_seconds: How often a job is asked about; WillSuite wants 5 to 10 minutes.
        job_timeout_seconds: How long a job may take before it counts as stuck.
        extra: "forbid" refuses a file with unknown columns, "ignore" leaves them out.
        encoding: Of a CSV file, where it can't be told; for example mac_roman.
        sheet: Name of a workbook's sheet, where several could be meant.
        hidden: "refuse" a sheet with hidden rows or columns, "skip" these, or "include" them.
        blank_words: Words that mean "nothing is given" in this file, such as nan or NULL; an empty
            list says that all such words are meant as they stand.
        on_reject: "complete" or "fail": how a run ends that was fine but for rejected rows.
        outcomes_csv: Leave every row's outcome as a CSV file for Excel as well.
        wait_seconds: How long to wait while another run writes to the account.
        first_run: Nothing was ever sent to this account, so there is nothing to wait for; without
            it, the first run on new machines waits once for what may be under way.
        abandon_jobs: Ids of jobs of earlier runs that never end, as WillSuite's support says;
            until then nothing is sent, since such a job may set back what is changed now.
        approve: Plan first; go on only when somebody has approved the plan, and send nothing that
            isn't in it. A run of a deployment waits for that in Prefect's UI (Resume); from Python
            the plan is returned, for a second call with plan.
        approve_over: Ask for the same where the plan would send more rows than this.
        plan: Carry out this plan and nothing else: the plan_file, or the folder, of an earlier run
            with dry_run or approve. Rows that would send anything else end as conflict.
        approve_within_hours: Without an answer in this time the run ends, and nothing is sent.

    Returns:
        A BulkUpdateSummary. A run that leaves rows failed, unknown or not attempted raises
        IncompleteRunError, which has it too; one that can't begin raises one of
        willsuite.errors.WillSuiteError, tasks.policy.RunError, schemas.issues.SourceError.
    """
    given = Given(
        source, str(output), connection, extra, encoding, sheet, hidden, blank_words, on_reject,
        outcomes_csv, Waiting(wait_seconds, first_run),
    )  # fmt: skip
    asked = partial(Asked, dry_run, approve, approve_over, plan, approve_within_hours)
    options = partial(
        _Options, verify, compare_to, str(exports), batch_size, job_poll_seconds,
        job_timeout_seconds, frozenset(abandon_jobs or ()),
    )  # fmt: skip
    carry_out = partial(_update_in_bulk, given, options)
    return await plan_first(asked, carry_out)  # type: ignore[return-value]


async def _update_in_bulk(given: Given, made: Callable[[], _Options], step: Step) -> State:
    options = made()
    jobs: list[str] = []
    folder = run_folder(given.output, FLOW)
    async with connected(given.connection) as client:
        read = await read_source(given, BULK_UPDATE.has_column)
        step = step.of(read)
        await name_writing("bulk update", read, step)
        ledger = await change_ledger(given, read, BULK_UPDATE)
        run = WritingRun(
            FLOW, given, step, folder, read, ledger, client.settings, CHANGE_OUTCOMES
        )  # fmt: skip
        work = partial(_work, client, ledger.entries, given.waiting, options, step, jobs)
        stopped_by = await run.carry_out(work)
        files = await asyncio.to_thread(run.write)
    columns = changed_columns(ledger.entries)
    summary = BulkUpdateSummary(**run.summary(files, columns), jobs=jobs)
    await show(run, "Bulk update", summary)
    return ending(summary, stopped_by, given.on_reject, "use")


async def _work(
    client: WillSuiteClient,
    entries: Sequence[ChangeEntry],
    waiting: Waiting,
    options: _Options,
    step: Step,
    jobs: list[str],
    workspace: Path,
    progress: Progress,
) -> str | None:
    all_entries = entries
    if options.compare_to == "latest":
        wanted = [entry.wanted for entry in entries]
        ids = [change.case_id for change in wanted if change.case_id]
        refs = [change.ref for change in wanted if change.ref]
        exported, watermark = await exported_cases(
            options.exports, client.settings.account_name, ids, refs
        )
        changed = await ids_changed_since(watermark, workspace, progress)
        if changed is not None:
            entries = end_unchanged_by(exported.without(changed), entries)
            if await count_cases() != await count_exported(options.exports, changed):
                settled = [entry for entry in all_entries if entry.outcome is Outcome.UNCHANGED]
                entries = [*entries, *await gone_since(settled, workspace, progress)]
    if step.is_plan:
        for entry in await look_at(entries, workspace, progress):
            entry.end(Outcome.PLANNED)
        return None
    async with account_lock(client.settings, waiting, progress) as known:
        board = JobBoard(f"{FLOW}-jobs")
        pace = job_pace(client.settings, options.job_poll_seconds, options.job_timeout_seconds)
        sender = BulkSender(client, known.jobs, board, pace, options.batch_size)
        earlier = await wait_for_open_jobs(known.jobs, pace, board, progress, options.abandoned)
        if earlier.open_ids:
            return await look_beside(earlier.open_ids, all_entries, entries, workspace, progress)
        sender.learn_from(earlier)
        try:
            await update_in_bulk(entries, sender, known, workspace, progress, verify=options.verify)
        finally:
            jobs += sender.job_ids
        return sender.reason_to_tell(entries)


if __name__ == "__main__":
    run_with_file(bulk_update_cases)
