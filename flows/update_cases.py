"""The flow that changes single cases: references, notes, CRM values, and customers to be added.

Belongs here: the order of things, and what a person is told. Reading and planning are in
`schemas/update_file.py`, the protocol in `protocols/updating/single.py`.
"""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

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
from protocols.rows.run_files import run_folder
from protocols.updating.changes import ChangeEntry, changed_columns
from protocols.updating.matching import look_at
from protocols.updating.open_jobs import look_beside, wait_for_open_jobs
from protocols.updating.single import Updater, update_singly
from schemas.outcomes import CHANGE_OUTCOMES, Outcome
from schemas.update_file import UPDATE_CASES
from tasks.api_jobs import JobBoard, job_pace
from tasks.connection import connected
from tasks.progress import Progress
from willsuite import WillSuiteClient

FLOW = "update-cases"


@with_form
@flow(name=FLOW, validate_parameters=False, persist_result=False)
@with_checked_parameters
async def update_cases(
    source: Source,
    output: str = "data/runs",
    dry_run: bool = False,
    connection: str | None = None,
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
) -> RunSummary:
    """Change the cases of a CSV, Parquet or Excel file one by one, and add customers to them.

    For what bulk updates can't do; the API can't change or remove a customer. Running it again
    with the same file, or after a crash, is always safe: each case is read before anything is
    sent, and a customer who is there is not added again.

    Args:
        source: CSV, Parquet or Excel file: a path on the worker's machine, or a URL such as
            s3://bucket/file.csv (its credentials from the environment); or a list of such files
            with the same columns, which data/samples/README.md describes. From Python also a
            pandas DataFrame or an Arrow table, whose rows count from 0, as in frame.iloc.
        output: Folder for the outcome of every row, and for the rejected rows.
        dry_run: Change nothing, and say per row what would be changed, before and after.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
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
        A RunSummary. A run that leaves rows failed, unknown or not attempted raises
        IncompleteRunError, which has it too; one that can't begin raises one of
        willsuite.errors.WillSuiteError, tasks.policy.RunError, schemas.issues.SourceError.
    """
    given = Given(
        source, str(output), connection, extra, encoding, sheet, hidden, blank_words, on_reject,
        outcomes_csv, Waiting(wait_seconds, first_run),
    )  # fmt: skip
    asked = partial(Asked, dry_run, approve, approve_over, plan, approve_within_hours)
    carry_out = partial(_update, given, frozenset(abandon_jobs or ()))
    return await plan_first(asked, carry_out)  # type: ignore[return-value]


async def _update(given: Given, abandoned: Collection[str], step: Step) -> State:
    folder = run_folder(given.output, FLOW)
    async with connected(given.connection) as client:
        read = await read_source(given, UPDATE_CASES.has_column)
        step = step.of(read)
        await name_writing("update", read, step)
        ledger = await change_ledger(given, read, UPDATE_CASES)
        run = WritingRun(
            FLOW, given, step, folder, read, ledger, client.settings, CHANGE_OUTCOMES
        )  # fmt: skip
        work = partial(_work, client, ledger.entries, step, given.waiting, abandoned)
        stopped_by = await run.carry_out(work)
        files = await asyncio.to_thread(run.write)
    summary = run.summary(files, changed_columns(ledger.entries))
    await show(run, "Update", summary)
    return ending(summary, stopped_by, given.on_reject, "use")


async def _work(
    client: WillSuiteClient,
    entries: Sequence[ChangeEntry],
    step: Step,
    waiting: Waiting,
    abandoned: Collection[str],
    workspace: Path,
    progress: Progress,
) -> str | None:
    if step.is_plan:
        for entry in await look_at(entries, workspace, progress):
            entry.end(Outcome.PLANNED, entry.remark)
        return None
    async with account_lock(client.settings, waiting, progress) as known:
        # a job of a bulk update that was killed would undo, when it ends, what is changed now
        board = JobBoard(f"{FLOW}-jobs")
        pace = job_pace(client.settings)
        earlier = await wait_for_open_jobs(known.jobs, pace, board, progress, abandoned)
        if earlier.open_ids:
            return await look_beside(earlier.open_ids, entries, entries, workspace, progress)
        updater = Updater(client)
        await update_singly(entries, updater, known, workspace, progress)
        return updater.reason_to_tell(entries)


if __name__ == "__main__":
    run_with_file(update_cases)
