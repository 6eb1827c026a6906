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
from prefect.logging import get_run_logger

from flows.endings import EXPECTED_ERRORS, failed, run_with_file
from flows.parameters import Source, keeping_tables_out, with_checked_parameters
from flows.writing import (
    WAIT_SECONDS,
    Extra,
    Hidden,
    OnReject,
    RunSummary,
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
from protocols.appointments.bookings import find_cases_of, plan, report_doubts, sent_values
from protocols.appointments.echoes import EchoCheck
from protocols.appointments.entries import BookingEntry, booking_entry
from protocols.appointments.resolve import settle
from protocols.appointments.sync import Syncer, keep_in_step
from protocols.rows.ledger import Ledger
from protocols.rows.run_files import run_folder
from protocols.rows.stop_signal import cancelled_by_sigterm
from schemas.appointment_file import MAX_HOURS, is_appointment_column, plan_appointments
from schemas.files.attention import resolutions
from schemas.outcomes import APPOINTMENT_OUTCOMES, Outcome
from schemas.texts import clean
from tasks.connection import connected
from tasks.policy import log_for_people
from tasks.progress import Progress
from willsuite import WillSuiteClient

FLOW = "sync-appointments"


@dataclass(frozen=True)
class _Options:
    """How the run's file is worked off."""

    dry_run: bool
    journal: str
    resolve: Mapping[str, str] = field(repr=False)
    recreate: bool
    new_journal: bool
    waiting: Waiting
    keys: Sequence[str] = field(repr=False)
    """All keys of the file."""


@keeping_tables_out
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
) -> RunSummary:
    """Make, change and delete appointments so that they are as a CSV, Parquet or Excel file says.

    Running it again with the same file changes nothing and writes to nobody. WillSuite can't be
    asked for an appointment, so a journal remembers what was sent; where an answer was lost the
    row is "unknown" until a person says what became of it.

    Args:
        source: The file: a path on the worker's machine, or a URL such as s3://bucket/file.csv
            (its credentials from the environment); or a list of files with the same columns. From
            Python also a pandas DataFrame or an Arrow table, whose rows count from 0, as in
            frame.iloc. Its columns are described in the README.
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

    Returns:
        A RunSummary. A run that leaves rows failed, unknown or not attempted raises
        IncompleteRunError, which has it too; one that can't begin raises one of
        willsuite.errors.WillSuiteError, tasks.policy.RunError, schemas.issues.SourceError.
    """
    log_for_people()
    try:
        folder = run_folder(str(output), FLOW)
        with cancelled_by_sigterm():
            async with connected(connection) as client:
                table = await read_source(source, is_appointment_column, encoding, sheet, hidden)
                await name_writing("appointments", table, is_plan=dry_run)
                zone = ZoneInfo(client.settings.timezone)
                read = await asyncio.to_thread(
                    plan_appointments, table, timezone=zone, extra=extra, allow_past=allow_past,
                    max_hours=max_hours, blank_words=blank_words,
                )  # fmt: skip
                entries = [booking_entry(wanted) for wanted in read.wanted]
                said = resolutions(resolve) if isinstance(resolve, str) else resolve or {}
                options = _Options(
                    dry_run, str(journal), said, recreate, new_journal,
                    Waiting(wait_seconds, first_run), list(read.keys.values()),
                )  # fmt: skip
                echoes = EchoCheck(zone, accept_swapped_recipients)
                ledger = Ledger(entries, read.issues, read.keys, read.notes)
                run = WritingRun(
                    FLOW, str(output), folder, table, ledger, dry_run, APPOINTMENT_OUTCOMES,
                    case_url=client.settings.case_url, outcomes_csv=outcomes_csv,
                    works_without_entries=True,  # resolve, and what is uncertain
                )  # fmt: skip
                work = partial(_work, client, entries, echoes, options)
                stopped_by = await run.carry_out(work)
                files = await asyncio.to_thread(run.write)
        summary = run.summary(files)
        await show(run, "Appointments", summary, sent_values(entries))
    except EXPECTED_ERRORS as error:
        return failed(error)  # type: ignore[return-value]
    return ending(summary, stopped_by, on_reject, "use")  # type: ignore[return-value]


async def _work(
    client: WillSuiteClient,
    entries: Sequence[BookingEntry],
    echoes: EchoCheck,
    options: _Options,
    workspace: Path,
    progress: Progress,
) -> str | None:
    account = client.settings.account_name
    path = journal_path(options.journal, account)
    if options.dry_run:
        with _rehearsal(path) as known:
            if not options.new_journal:
                marks = (await known_account(account)).journals
                check_marks(marks, path, known)
            _settle(known, options)
            await _plan(entries, known, options, workspace, progress)
            for entry in entries:
                if entry.step is not None:
                    entry.end(Outcome.PLANNED)
        return None
    async with account_lock(client.settings, options.waiting, progress) as held:
        if not path.exists() and not options.new_journal:
            check_marks(held.journals, path, None)
        with open_journal(path, writing=True) as journal:
            if not options.new_journal:
                check_marks(held.journals, path, journal)
            journal.begin_generation()
            await held.keep_journal(JournalMark(journal.id, journal.generation))
            _settle(journal, options)
            await _plan(entries, journal, options, workspace, progress)
            syncer = Syncer(client, journal, echoes, recreate=options.recreate)
            await keep_in_step(entries, syncer, held, progress)
            others = report_doubts(entries, journal)
        return " ".join(filter(None, (syncer.reason_to_tell(entries), others))) or None


@contextmanager
def _rehearsal(path: Path) -> Iterator[Journal | None]:
    """None where there is none: a plan makes none."""
    if not path.exists():
        yield None
        return
    with open_journal(path, writing=False) as journal, journal.rehearsal() as copy:
        yield copy


def _settle(journal: Journal | None, options: _Options) -> None:
    if journal is not None:
        journal.adopt(options.keys)
        journal.adopt(map(clean, options.resolve))
    if left := settle(journal, options.resolve):
        get_run_logger().warning(
            "resolve names %s key(s) that aren't uncertain, or were settled for an earlier "
            "attempt; they are left alone.", f"{left:,}",
        )  # fmt: skip


async def _plan(
    entries: Sequence[BookingEntry],
    journal: Journal | None,
    options: _Options,
    workspace: Path,
    progress: Progress,
) -> None:
    for entry in await find_cases_of(entries, journal, workspace, progress):
        plan(entry, journal, recreate=options.recreate)


if __name__ == "__main__":
    run_with_file(sync_appointments)
