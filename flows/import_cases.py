"""The flow that creates the cases of a file in WillSuite, each once, however often it runs.

Belongs here: the order of things, and what a person is told. Reading and planning are in
`schemas/`, the protocol in `tasks/importing.py`, files in `tasks/run_files.py`.
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict

from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed, State

from flows.endings import EXPECTED_ERRORS, explained, failed, run_here
from schemas.columns import MetaField, normalised
from schemas.import_file import is_import_column
from schemas.import_plan import ImportPlan, plan_import
from schemas.outcomes import FAILING, FOR_A_PERSON, Outcome, RowOutcome, code_counts, counts
from schemas.source_files import Sheet, read_sheet
from tasks.account_lock import account_lock
from tasks.connection import connected
from tasks.crm_fields import get_crm_fields
from tasks.importing import create_absent, look_for
from tasks.ledger import Ledger
from tasks.policy import RunError, hide_expected_tracebacks
from tasks.progress import Progress, show_result
from tasks.run_files import RunFiles, run_folder, write_run_files
from tasks.snapshots import LocalOutput
from tasks.stopping import cancelled_by_sigterm
from willsuite import Settings

PROBLEMS_SHOWN = 20
"""Of a file full of mistakes the log shows some; rejected.xlsx has them all."""


class ImportSummary(TypedDict):
    """What `import_cases` returns; counts and paths, no personal data."""

    rows: int
    """Rows that were read; blank ones are not counted."""
    outcomes: dict[str, int]
    """Rows by outcome; they add up to `rows`."""
    codes: dict[str, int]
    """Rows by the code of what was special about them."""
    folder: str
    outcomes_file: str
    rejected_file: str | None
    dry_run: bool


class IncompleteImportError(RunError):
    """The run ended, and some rows still have to be imported; `summary` counts them."""

    def __init__(self, message: str, summary: ImportSummary) -> None:
        super().__init__(message, summary)
        self.summary = summary

    def __str__(self) -> str:
        return str(self.args[0])


@flow(name="import-cases", validate_parameters=False, persist_result=False)
async def import_cases(
    source: str,
    output: str = "data/runs",
    dry_run: bool = False,
    connection: str | None = None,
    extra: Literal["forbid", "ignore"] = "forbid",
    derive_ref_from: list[str] | None = None,
    encoding: str | None = None,
    on_reject: Literal["complete", "fail"] = "complete",
) -> ImportSummary:
    """Create the cases of a CSV, Parquet or Excel file, each exactly once.

    Running it again with the same file, or after a crash, is always safe: it looks for each
    reference before it creates a case.

    Args:
        source: The file. Its columns are described in the README.
        output: Folder for the outcome of every row, and for the rejected rows.
        dry_run: Do everything but create cases, and say per row what would happen.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
        extra: "forbid" refuses a file with unknown columns, "ignore" leaves them out.
        derive_ref_from: Columns that identify a case (such as the other system's id); rows without
            a ref get one made from these. Without it such rows are rejected.
        encoding: Of a CSV file, where it can't be told; for example mac_roman.
        on_reject: "complete" or "fail": how a run ends that was fine but for rejected rows.

    Returns:
        An ImportSummary. A run that leaves rows failed, unknown or not attempted raises
        IncompleteImportError, which has it too; one that can't begin raises one of
        willsuite.errors.WillSuiteError, tasks.policy.RunError, schemas.issues.SourceError.
    """
    hide_expected_tracebacks()
    try:
        _check(extra, on_reject)
        folder = run_folder(str(output), "import-cases")
        identity = [normalised(name) for name in derive_ref_from or []]
        with cancelled_by_sigterm():
            async with connected(connection) as client:
                sheet = await asyncio.to_thread(
                    read_sheet, source, is_known=_known_with(identity), encoding=encoding
                )
                get_run_logger().info(
                    "Read %s rows (%s).", f"{len(sheet.rows):,}", sheet.description
                )
                plan = await _plan(sheet, extra, identity)
                ledger = Ledger(plan)
                write = partial(write_run_files, folder, sheet=sheet, issues=plan.issues)
                stopped_by = await _carry_out(ledger, str(output), dry_run, client.settings, write)
                files = await asyncio.to_thread(write, ledger.outcomes())
        summary = _summary(ledger, files, dry_run)
        await _show(summary, plan)
    except EXPECTED_ERRORS as error:
        return failed(error)  # type: ignore[return-value]
    return _ending(summary, stopped_by, on_reject)  # type: ignore[return-value]


def _check(extra: str, on_reject: str) -> None:
    if extra not in ("forbid", "ignore"):
        raise RunError('extra must be "forbid" or "ignore".')
    if on_reject not in ("complete", "fail"):
        raise RunError('on_reject must be "complete" or "fail".')


def _known_with(identity: Sequence[str]) -> Callable[[str], bool]:
    return lambda header: is_import_column(header) or normalised(header) in identity


async def _plan(sheet: Sheet, extra: str, identity: Sequence[str]) -> ImportPlan:
    """The plan; the account's CRM fields are asked for only where some row may need them."""
    make = partial(plan_import, sheet, extra=extra, derive_ref_from=identity)
    plan = await asyncio.to_thread(make)
    if plan.cases and plan.meta_columns:
        fields = [
            MetaField(field.id, field.field_label, field.options)
            for field in await get_crm_fields()
        ]
        plan = await asyncio.to_thread(make, crm_fields=fields)
    return plan


async def _carry_out(
    ledger: Ledger,
    output: str,
    dry_run: bool,
    settings: Settings,
    write: Callable[[Sequence[RowOutcome]], RunFiles],
) -> str | None:
    """Give every row its outcome; returns what stopped the run before that was done, if anything.

    Whatever interrupts it, the outcomes so far are written down.
    """
    if not ledger.entries:
        return None
    try:
        with (
            LocalOutput(Path(output)).workspace() as workspace,
            Progress("import-cases-progress").shown() as progress,
        ):
            if dry_run:
                for entry in await look_for(ledger.entries, workspace, progress):
                    entry.end(Outcome.PLANNED)
                stopped_by = None
            else:
                async with account_lock(settings) as lock:
                    absent = await look_for(ledger.entries, workspace, progress)
                    stopped_by = await create_absent(absent, lock, workspace, progress)
            await progress.finish()
            return stopped_by
    except EXPECTED_ERRORS as error:
        return str(explained(error))
    except BaseException:
        # cancelled, or a fault of ours: no awaiting any more
        files = write(ledger.outcomes())
        get_run_logger().warning("Stopped; the outcomes so far are in %s.", files.folder)
        raise


def _summary(ledger: Ledger, files: RunFiles, dry_run: bool) -> ImportSummary:
    outcomes = ledger.outcomes()
    return ImportSummary(
        rows=len(outcomes),
        outcomes=counts(outcomes),
        codes=code_counts(outcomes),
        folder=str(files.folder),
        outcomes_file=str(files.outcomes),
        rejected_file=str(files.rejected) if files.rejected else None,
        dry_run=dry_run,
    )


def _ending(summary: ImportSummary, stopped_by: str | None, on_reject: str) -> State:
    """Completed, if every row came to an end that needs no second run."""
    done = ", ".join(f"{count:,} {outcome}" for outcome, count in summary["outcomes"].items())
    message = f"{summary['rows']:,} rows: {done or 'nothing to do'}."
    if stopped_by is not None:
        message += f" {stopped_by}"
    if summary["rejected_file"]:
        message += f" Correct {summary['rejected_file']} and import it as it is."
    message += f" Every row's outcome: {summary['outcomes_file']}"
    left = [Outcome(outcome) for outcome in summary["outcomes"]]
    is_incomplete = stopped_by is not None or bool(FAILING.intersection(left))
    if is_incomplete or (on_reject == "fail" and FOR_A_PERSON.intersection(left)):
        return Failed(message=message, data=IncompleteImportError(message, summary))
    return Completed(message=message, data=summary)


async def _show(summary: ImportSummary, plan: ImportPlan) -> None:
    """The result for people, as an artifact and in the log: counts, rows, columns and codes."""
    logger = get_run_logger()
    problems = [issue for issues in plan.issues.values() for issue in issues]
    for issue in problems[:PROBLEMS_SHOWN]:
        logger.info("Row %s, %s: %s", issue.row, issue.column or "whole row", issue.code)
    if len(problems) > PROBLEMS_SHOWN:
        logger.info("... and %s more problems.", f"{len(problems) - PROBLEMS_SHOWN:,}")
    tables = [
        f"| {name} | rows |\n| --- | ---: |\n"
        + "\n".join(f"| {key} | {count:,} |" for key, count in found.items())
        for name, found in (("outcome", summary["outcomes"]), ("code", summary["codes"]))
        if found
    ]
    files = "\n".join(
        f"- `{path}`" for path in (summary["outcomes_file"], summary["rejected_file"]) if path
    )
    await show_result(
        key="import-cases-result",
        description="Rows by outcome and by code, and where the files are",
        markdown="\n\n".join(
            [
                f"## {'Plan' if summary['dry_run'] else 'Import'} of {summary['rows']:,} rows",
                *tables,
                files,
            ]
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.import_cases")
    parser.add_argument("source")
    parser.add_argument("--plan", action="store_true", help="only say what would happen")
    given = parser.parse_args()
    run_here(import_cases, source=given.source, dry_run=given.plan)
