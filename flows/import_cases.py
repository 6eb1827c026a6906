"""The flow that creates the cases of a file in WillSuite, each once, however often it runs.

Belongs here: the order of things, and what a person is told. Reading and planning are in
`schemas/`, the protocol in `protocols/importing/`, files in `protocols/rows/run_files.py`.
"""

import asyncio
from collections.abc import Callable, Sequence
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
    ending,
    name_writing,
    plan_with_meta,
    read_source,
    show,
)
from protocols.account.lock import Waiting, account_lock
from protocols.importing.entries import NewCaseEntry, new_case_entry
from protocols.importing.exactly_once import create_absent, look_for
from protocols.rows.ledger import Ledger
from protocols.rows.run_files import run_folder
from schemas.columns import normalised
from schemas.import_file import is_import_column
from schemas.import_plan import MAX_PEOPLE, plan_import
from schemas.outcomes import Outcome
from tasks.connection import connected
from tasks.progress import Progress
from willsuite import Settings

FLOW = "import-cases"


@with_form
@flow(name=FLOW, validate_parameters=False, persist_result=False)
@with_checked_parameters
async def import_cases(
    source: Source,
    output: str = "data/runs",
    dry_run: bool = False,
    connection: str | None = None,
    extra: Extra = "forbid",
    derive_ref_from: list[str] | None = None,
    max_people: int = MAX_PEOPLE,
    encoding: str | None = None,
    sheet: str | None = None,
    hidden: Hidden = "refuse",
    blank_words: list[str] | None = None,
    on_reject: OnReject = "complete",
    outcomes_csv: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    first_run: bool = False,
    approve: bool = False,
    approve_over: int | None = None,
    plan: str | None = None,
    approve_within_hours: float = APPROVE_WITHIN_HOURS,
) -> RunSummary:
    """Create the cases of a CSV, Parquet or Excel file, each exactly once.

    Running it again with the same file, or after a crash, is always safe: it looks for each
    reference before it creates a case.

    Args:
        source: CSV, Parquet or Excel file: a path on the worker's machine, or a URL such as
            s3://bucket/file.csv (its credentials from the environment); or a list of such files
            with the same columns, which data/samples/README.md describes. From Python also a
            pandas DataFrame or an Arrow table, whose rows count from 0, as in frame.iloc.
        output: Folder for the outcome of every row, and for the rejected rows.
        dry_run: Do everything but create cases, and say per row what would happen.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
        extra: "forbid" refuses a file with unknown columns, "ignore" leaves them out.
        derive_ref_from: Columns that identify a case (such as the other system's id); rows without
            a ref get one made from these. Without it such rows are rejected.
        max_people: Customers that a case may have; rows that make more of one are rejected.
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
    identity = [normalised(name) for name in derive_ref_from or []]
    asked = partial(Asked, dry_run, approve, approve_over, plan, approve_within_hours)
    carry_out = partial(_import, given, identity, max_people)
    return await plan_first(asked, carry_out)  # type: ignore[return-value]


async def _import(given: Given, identity: Sequence[str], max_people: int, step: Step) -> State:
    folder = run_folder(given.output, FLOW)
    async with connected(given.connection) as client:
        read = await read_source(given, _known_with(identity))
        step = step.of(read)
        await name_writing("import", read, step)
        make = partial(
            plan_import, read, extra=given.extra, derive_ref_from=identity, max_people=max_people,
            blank_words=given.blank_words,
        )  # fmt: skip
        plan = await plan_with_meta(make)
        entries = [new_case_entry(case, plan.headers) for case in plan.cases]
        ledger = Ledger(entries, plan.issues, plan.refs, plan.notes)
        run = WritingRun(FLOW, given, step, folder, read, ledger, client.settings)
        work = partial(_work, entries, step, client.settings, given.waiting)
        stopped_by = await run.carry_out(work)
        files = await asyncio.to_thread(run.write)
    summary = run.summary(files)
    await show(run, "Import", summary)
    return ending(summary, stopped_by, given.on_reject, "import")


def _known_with(identity: Sequence[str]) -> Callable[[str], bool]:
    return lambda header: is_import_column(header) or normalised(header) in identity


async def _work(
    entries: Sequence[NewCaseEntry],
    step: Step,
    settings: Settings,
    waiting: Waiting,
    workspace: Path,
    progress: Progress,
) -> str | None:
    if step.is_plan:
        for entry in await look_for(entries, workspace, progress):
            entry.end(Outcome.PLANNED)
        return None
    async with account_lock(settings, waiting, progress) as known:
        absent = await look_for(entries, workspace, progress)
        return await create_absent(absent, known, workspace, progress)


if __name__ == "__main__":
    run_with_file(import_cases)
