"""The flow that keeps appointments in step with another calendar, each made once.

Belongs here: the order of things, and what a person is told. Reading and planning are in
`schemas/appointment_file.py`, the protocol in `protocols/appointments/`.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

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
    read_source,
    show,
)
from protocols.account.journal import Journal, journal_path, open_journal
from protocols.account.journal_marks import check_marks
from protocols.account.known import JournalMark, known_account
from protocols.account.lock import Waiting, account_lock
from protocols.appointments.bookings import (
    find_cases_of,
    report_doubts,
    sent_values,
)
from protocols.appointments.bookings import (
    plan as plan_booking,
)
from protocols.appointments.echoes import EchoCheck
from protocols.appointments.entries import BookingEntry, booking_entry
from protocols.appointments.resolve import settle
from protocols.appointments.sync import Syncer, keep_in_step
from protocols.rows.ledger import Ledger
from protocols.rows.run_files import run_folder
from schemas.appointment_file import MAX_HOURS, is_appointment_column, plan_appointments
from schemas.files.attention import resolutions
from schemas.outcomes import APPOINTMENT_OUTCOMES, Outcome
from schemas.texts import clean
from tasks.connection import connected
from tasks.progress import Progress
from willsuite import WillSuiteClient

FLOW = "sync-appointments"


@dataclass(frozen=True)
class _Options:
    """How the run's file is worked off."""

    journal: str
    resolve: Mapping[str, str] | str = field(repr=False)
    recreate: bool
    new_journal: bool
    accept_swapped_recipients: bool
    allow_past: bool
    max_hours: float

    def said(self) -> Mapping[str, str]:
        """What a person says of uncertain rows, by key."""
        return resolutions(self.resolve) if isinstance(self.resolve, str) else self.resolve


@with_form
@flow(name=FLOW, validate_parameters=False, persist_result=False)
@with_checked_parameters
async def sync_appointments(
    source: Source,
    output: str = "data/runs",
    dry_run: bool = False,
    connection: str | None = None,
    journal: str = "data/journal",
    resolve: dict[str, str] | str | None = None,
    recreate: bool = False,
    new_journal: bool = False,
    accept_swapped_recipients: bool = False,
    allow_past: bool = False,
    max_hours: float = MAX_HOURS,
    extra: Extra = "forbid",
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
    """Make, change and delete appointments so that they are as a CSV, Parquet or Excel file says.

    Running it again with the same file changes nothing and writes to nobody. WillSuite can't be
    asked for an appointment, so a journal remembers what was sent; where an answer was lost the
    row is "unknown" until a person says what became of it.

    Args:
        source: CSV, Parquet or Excel file: a path on the worker's machine, or a URL such as
            s3://bucket/file.csv (its credentials from the environment); or a list of such files
            with the same columns, which data/samples/README.md describes. From Python also a
            pandas DataFrame or an Arrow table, whose rows count from 0, as in frame.iloc.
        output: Folder for the outcome of every row, and for the rejected rows.
        dry_run: Send nothing, settle nothing, and say per row what would be done.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
        journal: Folder of the journal; on a disk of this machine that is kept and backed up.
        resolve: What became of uncertain rows, by key. The appointment's id or "not created"; of a
            message in doubt "message settled". The second time with a number, as the row says.
            Or, since Prefect stores what is given here, the path of a run's attention.xlsx with its
            column `resolution` filled in, or of a CSV file with the columns key and resolution.
        recreate: Delete and make anew what can't be changed; adviser, Zoom meeting and case.
        new_journal: Begin a new journal, or use another one, although there was one.
        accept_swapped_recipients: It is known that WillSuite's answers show the adviser's address
            as the recipient's, and that messages go to the client all the same.
        allow_past: Send messages about appointments that have begun already, too.
        max_hours: How long an appointment may last; rows with longer ones are rejected.
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
    options = _Options(
        str(journal), resolve or {}, recreate, new_journal, accept_swapped_recipients, allow_past,
        max_hours,
    )  # fmt: skip
    carry_out = partial(_sync, given, options)
    return await plan_first(asked, carry_out)  # type: ignore[return-value]


async def _sync(given: Given, options: _Options, step: Step) -> State:
    folder = run_folder(given.output, FLOW)
    said = await asyncio.to_thread(options.said)
    async with connected(given.connection) as client:
        table = await read_source(given, is_appointment_column)
        step = step.of(table)
        await name_writing("appointments", table, step)
        zone = ZoneInfo(client.settings.timezone)
        read = await asyncio.to_thread(
            plan_appointments, table, timezone=zone, extra=given.extra,
            allow_past=options.allow_past, max_hours=options.max_hours,
            blank_words=given.blank_words,
        )  # fmt: skip
        entries = [booking_entry(wanted) for wanted in read.wanted]
        work = _Sync(
            client, entries, list(read.keys.values()), zone, options, said, given.waiting, step
        )
        ledger = Ledger(entries, read.issues, read.keys, read.notes)
        run = WritingRun(
            FLOW, given, step, folder, table, ledger, client.settings, APPOINTMENT_OUTCOMES,
            works_without_entries=True,  # resolve, and what is uncertain
        )  # fmt: skip
        stopped_by = await run.carry_out(work.carry_out)
        files = await asyncio.to_thread(run.write)
    summary = run.summary(files, sent_values(entries))
    await show(run, "Appointments", summary)
    return ending(summary, stopped_by, given.on_reject, "use")


@dataclass(frozen=True)
class _Sync:
    """The rows of a file, and what there is to keep them in step with."""

    client: WillSuiteClient
    entries: Sequence[BookingEntry]
    keys: Sequence[str] = field(repr=False)
    """All keys of the file."""
    zone: ZoneInfo
    options: _Options
    said: Mapping[str, str] = field(repr=False)
    """What a person says of uncertain rows, by key."""
    waiting: Waiting
    step: Step

    async def carry_out(self, workspace: Path, progress: Progress) -> str | None:
        """Give every entry its outcome; returns what a person must know, if anything."""
        path = journal_path(self.options.journal, self.client.settings.account_name)
        if self.step.is_plan:
            await self._rehearse(path, workspace, progress)
            return None
        return await self._send(path, workspace, progress)

    async def _rehearse(self, path: Path, workspace: Path, progress: Progress) -> None:
        with _rehearsal(path) as known:
            if not self.options.new_journal:
                marks = (await known_account(self.client.settings.account_name)).journals
                check_marks(marks, path, known)
            self._settle(known)
            await self._plan(known, workspace, progress)
            for entry in self.entries:
                if entry.step is not None:
                    entry.end(Outcome.PLANNED)

    async def _send(self, path: Path, workspace: Path, progress: Progress) -> str | None:
        is_new = self.options.new_journal
        async with account_lock(self.client.settings, self.waiting, progress) as held:
            if not path.exists() and not is_new:
                check_marks(held.journals, path, None)
            with open_journal(path, writing=True) as journal:
                if not is_new:
                    check_marks(held.journals, path, journal)
                journal.begin_generation()
                await held.keep_journal(JournalMark(journal.id, journal.generation))
                self._settle(journal)
                await self._plan(journal, workspace, progress)
                echoes = EchoCheck(self.zone, self.options.accept_swapped_recipients)
                syncer = Syncer(self.client, journal, echoes, recreate=self.options.recreate)
                await keep_in_step(self.entries, syncer, held, progress)
                others = report_doubts(self.entries, journal)
            return " ".join(filter(None, (syncer.reason_to_tell(self.entries), others))) or None

    def _settle(self, journal: Journal | None) -> None:
        if journal is not None:
            journal.adopt(self.keys)
            journal.adopt(map(clean, self.said))
        if left := settle(journal, self.said):
            get_run_logger().warning(
                "resolve names %s key(s) that aren't uncertain, or were settled for an earlier "
                "attempt; they are left alone.", f"{left:,}",
            )  # fmt: skip

    async def _plan(self, journal: Journal | None, workspace: Path, progress: Progress) -> None:
        for entry in await find_cases_of(self.entries, journal, workspace, progress):
            plan_booking(entry, journal, recreate=self.options.recreate)


@contextmanager
def _rehearsal(path: Path) -> Iterator[Journal | None]:
    """None where there is none: a plan makes none."""
    if not path.exists():
        yield None
        return
    with open_journal(path, writing=False) as journal, journal.rehearsal() as copy:
        yield copy


if __name__ == "__main__":
    run_with_file(sync_appointments)
