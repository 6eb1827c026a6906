"""What the flows that write have in common: their summary, their ending, what they show.

Belongs here: from the outcomes of a run to its files, its state and its artifact. Does not: what
one flow does (its own module), or how an expected error ends a run (`flows/endings.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, TypeVar

import pandas as pd
import pyarrow as pa
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.endings import EXPECTED_ERRORS, explained
from flows.parameters import Source
from protocols.account.lock import Waiting
from protocols.rows.approved import PLAN_NAME, hold_to_plan, write_plan
from protocols.rows.ledger import Ledger
from protocols.rows.run_files import RunFiles, write_run_files
from protocols.updating.changes import ChangeEntry, change_entry
from schemas.columns import MetaField
from schemas.files.several import read_several
from schemas.files.source import Sheet, read_sheet, read_table
from schemas.issues import Issue, SourceError
from schemas.outcomes import FAILING, FOR_A_PERSON, OUTCOMES, Outcome, code_counts, counts
from schemas.update_file import UpdateKind, plan_updates
from tasks.crm_fields import get_crm_fields
from tasks.policy import RunError
from tasks.progress import Progress, name_run, show_result
from tasks.workspace import run_workspace
from willsuite import Settings

Extra = Literal["forbid", "ignore"]
OnReject = Literal["complete", "fail"]
Hidden = Literal["refuse", "skip", "include"]

WAIT_SECONDS = 6 * 3600.0
"""How long a run waits for its turn, unless it is told."""
ROWS_SHOWN = 50
PROBLEMS_SHOWN = 20
"""Of a file full of mistakes the log shows some; rejected.xlsx has them all."""


class RunSummary(TypedDict):
    """What a flow that writes returns; counts and paths, no personal data."""

    rows: int
    """Rows that were read; blank ones are not counted."""
    outcomes: dict[str, int]
    """Rows by outcome; they add up to `rows`."""
    codes: dict[str, int]
    """Rows by the code of what was special about them."""
    columns: dict[str, int]
    """Rows by column in which their case differs; of flows that change something."""
    folder: str
    outcomes_file: str
    rejected_file: str | None
    attention_file: str | None
    plan_file: str | None
    """What would be sent, for `plan=` of the run that sends it; None but for a plan."""
    dry_run: bool


class IncompleteRunError(RunError):
    """The run ended, and some rows still have to be carried out; `summary` counts them."""

    def __init__(self, message: str, summary: RunSummary) -> None:
        super().__init__(message, summary)
        self.summary = summary

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Given:
    """What every flow that works off a file is given."""

    source: Source = field(repr=False)
    output: str
    connection: str | None
    extra: Extra
    encoding: str | None
    sheet: str | None
    hidden: Hidden
    blank_words: Sequence[str] | None
    on_reject: OnReject
    outcomes_csv: bool
    waiting: Waiting


@dataclass(frozen=True)
class Step:
    """One pass over a file: a plan, or the work."""

    is_plan: bool
    plan: str | None = None
    """The file of the plan beyond which nothing may be sent."""
    free_rows: int | None = None
    """A file with no more rows than this needs no plan: it is the work at once."""

    def of(self, sheet: Sheet) -> "Step":
        """The step that this file takes."""
        is_small = self.free_rows is not None and len(sheet.rows) <= self.free_rows
        return Step(is_plan=False) if is_small else self


@dataclass(frozen=True)
class WritingRun:
    """One run of a flow: what it writes about, and where."""

    flow: str
    """The flow's name; names the artifacts, too."""
    given: Given
    step: Step
    folder: Path
    sheet: Sheet
    ledger: Ledger[Any]
    settings: Settings
    schema: pa.Schema = OUTCOMES
    works_without_entries: bool = False
    """Whether there may be something to do, or to say, where no row can be sent."""

    def write(self) -> RunFiles:
        """Write the outcomes as they stand, and of a plan what it would send."""
        files = write_run_files(
            self.folder,
            self.ledger.outcomes(),
            sheet=self.sheet,
            issues=self.ledger.issues,
            schema=self.schema,
            case_url=self.settings.case_url,
            as_csv=self.given.outcomes_csv,
        )
        if self.step.is_plan:
            account = self.settings.account_name
            write_plan(self.folder, self.ledger.entries, flow=self.flow, account=account)
        return files

    async def carry_out(
        self, work: Callable[[Path, Progress], Awaitable[str | None]]
    ) -> str | None:
        """Let `work` give every entry its outcome, in a workspace and with progress.

        Whatever interrupts it, the outcomes so far are written down.

        Returns:
            What stopped the run before that was done, if anything, as a sentence.
        """
        if not self.ledger.entries and not self.works_without_entries:
            return None
        try:
            if (plan := self.step.plan) is not None:
                account = self.settings.account_name
                hold_to_plan(self.ledger.entries, plan, flow=self.flow, account=account)
            with (
                run_workspace(Path(self.given.output)) as workspace,
                Progress(f"{self.flow}-progress").shown() as progress,
            ):
                stopped_by = await work(workspace, progress)
                if self.step.is_plan:
                    for entry in self.ledger.entries:
                        if entry.outcome is Outcome.PLANNED:
                            entry.is_held_back()
                await progress.finish()
                return stopped_by
        except EXPECTED_ERRORS as error:
            return str(explained(error))
        except BaseException:
            # cancelled, or a fault of ours: no awaiting any more
            files = self.write()
            get_run_logger().warning("Stopped; the outcomes so far are in %s.", files.folder)
            raise

    def summary(self, files: RunFiles, columns: Mapping[str, int] | None = None) -> RunSummary:
        """The run in counts and paths."""
        outcomes = self.ledger.outcomes()
        return RunSummary(
            rows=len(outcomes),
            outcomes=counts(outcomes),
            codes=code_counts(outcomes),
            columns=dict(columns or {}),
            folder=str(files.folder),
            outcomes_file=str(files.outcomes),
            rejected_file=str(files.rejected) if files.rejected else None,
            attention_file=str(files.attention) if files.attention else None,
            plan_file=str(files.folder / PLAN_NAME) if self.step.is_plan else None,
            dry_run=self.step.is_plan,
        )


async def read_source(given: Given, is_known: Callable[[str], bool]) -> Sheet:
    """The file as text; logs how many rows it has, and what kind of file it is.

    Raises:
        SourceError: it can't be read.
    """
    read = await asyncio.to_thread(_read, given, is_known)
    get_run_logger().info("Read %s rows (%s).", f"{len(read.rows):,}", read.description)
    return read


async def name_writing(title: str, sheet: Sheet, step: Step) -> None:
    """Call the run what it does with how many rows."""
    rows = len(sheet.rows)
    await name_run(f"{'plan: ' if step.is_plan else ''}{title} {rows:,} row{'s' * (rows != 1)}")


def _read(given: Given, is_known: Callable[[str], bool]) -> Sheet:
    source = given.source
    if isinstance(source, pd.DataFrame | pa.Table):
        if given.encoding is not None or given.sheet is not None:
            raise SourceError("encoding= and sheet= are for files; leave them out.")
        return read_table(source, is_known=is_known)
    options: dict[str, Any] = {
        "is_known": is_known,
        "encoding": given.encoding,
        "sheet": given.sheet,
        "hidden": given.hidden,
    }
    if isinstance(source, list | tuple) and all(isinstance(each, str | Path) for each in source):
        return read_several(source, **options)
    if isinstance(source, str | Path):
        return read_sheet(source, **options)
    raise SourceError(
        "source must be a path or a URL, a list of these, a pandas DataFrame or an Arrow table."
    )


class _Plan(Protocol):
    @property
    def issues(self) -> Mapping[int, Sequence[Issue]]: ...
    @property
    def rows(self) -> Sequence[int]: ...
    @property
    def meta_columns(self) -> Sequence[str]: ...


AnyPlan = TypeVar("AnyPlan", bound=_Plan)


async def plan_with_meta(make: Callable[..., AnyPlan]) -> AnyPlan:
    """The plan that `make` makes of a file, with `crm_fields` where it needs them.

    The account's CRM fields (`GET /crm-fields`) are asked for only where some row may need them.
    """
    plan = await asyncio.to_thread(make)
    if plan.meta_columns and len(plan.issues) < len(plan.rows):
        fields = [
            MetaField(field.id, field.field_label, field.options)
            for field in await get_crm_fields()
        ]
        plan = await asyncio.to_thread(make, crm_fields=fields)
    return plan


async def change_ledger(given: Given, sheet: Sheet, kind: UpdateKind) -> Ledger[ChangeEntry]:
    """The changes that a file wants, and the rows of which none can be made."""
    make = partial(plan_updates, sheet, kind, extra=given.extra, blank_words=given.blank_words)
    plan = await plan_with_meta(make)
    entries = [change_entry(change, plan.meta_headers, plan.field_ids) for change in plan.changes]
    return Ledger(entries, plan.issues, plan.keys, plan.notes)


def ending(summary: RunSummary, stopped_by: str | None, on_reject: str, verb: str) -> State:
    """Completed, if every row came to an end that needs no second run.

    `verb` says what is done with the corrected rejects ("import").
    """
    done = ", ".join(f"{count:,} {outcome}" for outcome, count in summary["outcomes"].items())
    message = f"{summary['rows']:,} rows: {done or 'nothing to do'}."
    if stopped_by is not None:
        message += f" {stopped_by}"
    if summary["rejected_file"]:
        message += f" Correct {summary['rejected_file']} and {verb} it as it is."
    if summary["attention_file"]:
        message += f" Look at {summary['attention_file']}."
    message += f" Every row's outcome: {summary['outcomes_file']}"
    left = [Outcome(outcome) for outcome in summary["outcomes"]]
    is_incomplete = stopped_by is not None or bool(FAILING.intersection(left))
    if is_incomplete or (on_reject == "fail" and FOR_A_PERSON.intersection(left)):
        return Failed(message=message, data=IncompleteRunError(message, summary))
    return Completed(message=message, data=summary)


async def show(run: WritingRun, title: str, summary: RunSummary) -> None:
    """The result for people, as an artifact and in the log: counts, rows, columns and codes."""
    logger = get_run_logger()
    problems = [issue for found in run.ledger.issues.values() for issue in found]
    for issue in problems[:PROBLEMS_SHOWN]:
        logger.info("Row %s, %s: %s", issue.row, issue.column or "whole row", issue.code)
    if len(problems) > PROBLEMS_SHOWN:
        logger.info("... and %s more problems.", f"{len(problems) - PROBLEMS_SHOWN:,}")
    counted = {
        "outcome": summary["outcomes"],
        "code": summary["codes"],
        "column that differs": summary["columns"],
    }
    tables = [
        f"| {name} | rows |\n| --- | ---: |\n"
        + "\n".join(f"| {key} | {count:,} |" for key, count in found.items())
        for name, found in counted.items()
        if found
    ]
    files = "\n".join(
        f"- `{path}`"
        for path in (summary["outcomes_file"], summary["rejected_file"], summary["attention_file"])
        if path
    )
    what = "Plan" if summary["dry_run"] else title
    parts = [f"## {what} of {summary['rows']:,} rows", *tables, _to_act_on(run.ledger), files]
    await show_result(
        key=f"{run.flow}-result",
        description="Rows by outcome and by code, and where the files are",
        markdown="\n\n".join(filter(None, parts)),
    )


def _to_act_on(ledger: Ledger[Any]) -> str:
    """The first rows on which somebody has to act, without a word of what is in them."""
    acting = FAILING | FOR_A_PERSON
    rows = [each for each in ledger.outcomes() if each.outcome in acting]
    if not rows:
        return ""
    lines = [
        f"| {each.row} | {each.outcome} | {each.code or ''} | {each.case_id or ''} |"
        for each in rows[:ROWS_SHOWN]
    ]
    if len(rows) > ROWS_SHOWN:
        lines.append(f"| {len(rows) - ROWS_SHOWN:,} more | | | |")
    head = "### To act on\n\nThe files below have each row's sentence; docs/codes.md has all codes."
    return "\n".join(
        [head, "", "| row | outcome | code | case |", "| --- | --- | --- | --- |", *lines]
    )
