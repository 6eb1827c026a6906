"""Changing many cases by jobs, and proving by their values what the jobs did.

Belongs here: the order of waiting for older jobs, handing in, waiting, reading back and handing in
once more (reliability.md 2.2). Does not: the requests and the polls (`updating/batches.py`,
`tasks/api_jobs.py`), or which case a row means (`updating/matching.py`).

Values decide, nothing else: `effected_records` leaves out what was up to date, a failed job may
have done half of its rows, and a completed one may have skipped some. No case is in two batches
at once: what might still be under way is waited for before anything of it is sent again.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from protocols.account.known import KnownAccount
from protocols.reading.found import Found
from protocols.reading.lookup import changed_cases, current_cases
from protocols.updating.batches import Batch, BulkSender
from protocols.updating.changes import ChangeEntry
from protocols.updating.matching import look_again, look_at
from schemas.outcomes import Outcome
from tasks.api_jobs import JobEnd
from tasks.progress import Progress

READ_BACK_OVERLAP = timedelta(hours=26)
"""`updatedAfter` has no zone: in UTC and so far back it means no later than the batch's time
wherever the server is (reliability.md 3.3)."""
MAX_UNSEEN_SENDS = 3
"""How often a change is handed in whose batches left no trace."""
MAX_JOBS = 2
"""How often it is in a job: once, and once more after one that failed or died."""


async def update_in_bulk(
    entries: Sequence[ChangeEntry],
    sender: BulkSender,
    known: KnownAccount,
    workspace: Path,
    progress: Progress,
    *,
    verify: bool,
) -> None:
    """Give every entry its outcome; those whose cases have the values already aren't sent.

    Args:
        entries: rows of a file, which nothing was asked about yet.
        sender: hands in the batches; afterwards says what stopped it.
        known: of the account, whose lock is held.
        workspace: for what is read.
        progress: for people.
        verify: prove the changes by reading them back; without it the jobs are believed.

    Raises:
        WillSuiteError, RunError: what happened can't be found out; the entries have their outcomes
            all the same, and the jobs their records.
    """
    to_send = await look_at(entries, workspace, progress)
    if to_send and not known.is_settled:
        # a run that was killed may have sent what the server is still working on
        rest = sender.settle_seconds - (time.monotonic() - sender.began_at)
        await progress.wait(rest, "It isn't known that the last run here ended cleanly")
        to_send = await look_at(to_send, workspace, progress)
    if not to_send:
        return
    await known.begin_writing()
    progress.say(f"{len(to_send):,} of {len(entries):,} rows differ from their cases.")
    looked_at = datetime.now(UTC) - READ_BACK_OVERLAP
    sender.look_again = partial(look_again, since=looked_at, workspace=workspace, progress=progress)
    parts: Sequence[Sequence[ChangeEntry]] = [to_send]
    while parts and sender.stopped_by is None:
        progress.begin("Changes in jobs that have ended")
        since = datetime.now(UTC) - READ_BACK_OVERLAP
        await sender.send(parts)
        if not verify:
            await _believe(sender)
            break
        parts = await _resolve(sender, since, workspace, progress)
        if parts:
            rows = sum(map(len, parts))
            progress.say(f"{rows:,} change(s) aren't there; handing them in again.")
    await known.settle()


async def _resolve(
    sender: BulkSender, since: datetime, workspace: Path, progress: Progress
) -> list[list[ChangeEntry]]:
    """Read back what was handed in; returns what is to be handed in again, in parts."""
    batches = sender.batches
    await _read_back(batches, since, workspace, progress)
    await _wait_for_late_ones(sender, since, workspace, progress)
    await _find_dead(sender, since, workspace, progress)
    again: list[list[ChangeEntry]] = [[]]
    for batch in batches:
        rest = batch.unproven
        for entry in rest:
            _judge(entry, batch)
        rest = [entry for entry in rest if _may_be_sent_again(entry, batch)]
        if batch.is_dead and rest:
            # it may have died of this row; another job of it would do so, too
            rest[0].end(Outcome.FAILED, "job_died", job_id=batch.record.job_id, said=batch.said)
            again.append(rest[1:])
        elif batch.wait is not None and batch.wait.end is JobEnd.FAILED:
            again += _apart(rest)
        else:
            again[0] += rest
        # a stuck job may go on one day: its record stays, and the next run asks about it
        if batch.wait is None or batch.wait.end is not JobEnd.STUCK:
            await sender.forget(batch)
    return [part for part in again if part]


def _apart(entries: list[ChangeEntry]) -> list[list[ChangeEntry]]:
    """What a failed job left undone, its first row apart: the job may have failed because of it,
    and would again before it comes to the rows behind."""
    return [entries[:1], entries[1:]]


async def _find_dead(
    sender: BulkSender, since: datetime, workspace: Path, progress: Progress
) -> None:
    """Which jobs have stopped for good within their rows: they stand still, have done a part of
    their rows, and do no more; of a single row there is no part, so the account's jobs must be
    known to die."""
    still = [batch for batch in sender.batches if batch.stands_still]
    unproven = {batch.record.path: len(batch.unproven) for batch in still}
    if still:
        await progress.wait(sender.pace.poll_seconds, f"{len(still):,} job(s) stand still")
        await _read_back(still, since, workspace, progress)
    for batch in still:
        rest, rows = len(batch.unproven), len(batch.entries)
        has_part = rest < rows or (rows == 1 and sender.knows_dead_jobs)
        if has_part and rest == unproven[batch.record.path]:
            await sender.take_for_dead(batch)


async def _wait_for_late_ones(
    sender: BulkSender, since: datetime, workspace: Path, progress: Progress
) -> None:
    """Look again where changes may show late: behind a list, or by a job that nobody sees."""
    seconds = sender.settle_seconds
    while True:
        open_batches = [batch for batch in sender.batches if batch.unproven]
        may_come = [batch for batch in open_batches if batch.may_come_late]
        unproven = sum(len(batch.unproven) for batch in open_batches)
        if not may_come:
            return
        await progress.wait(seconds, f"{unproven:,} change(s) don't show yet")
        await _read_back(may_come, since, workspace, progress)
        has_progressed = sum(len(batch.unproven) for batch in open_batches) < unproven
        ends_at = max(
            (batch.sent_at + sender.patience_seconds for batch in may_come if batch.is_unseen),
            default=0.0,
        )
        if not has_progressed and time.monotonic() >= ends_at:
            return
        seconds = sender.pace.poll_seconds


async def _read_back(
    batches: Sequence[Batch], since: datetime, workspace: Path, progress: Progress
) -> None:
    """Show the entries their cases, and end those that have what was wanted."""
    rest = [entry for batch in batches for entry in batch.unproven]
    found = await changed_cases(_ids(rest), since, workspace, progress)
    rest = [entry for entry in rest if not _is_proven(entry, found)]
    if rest:
        found = await current_cases(_ids(rest), (), workspace, progress)
    for entry in rest:
        if not _is_proven(entry, found):
            assert entry.case_id is not None
            entry.is_broken = found.is_broken(entry.case_id)
            if not entry.is_broken and found.with_id(entry.case_id) is None:
                entry.case = None


def _ids(entries: Sequence[ChangeEntry]) -> list[str]:
    return [entry.case_id for entry in entries if entry.case_id is not None]


def _is_proven(entry: ChangeEntry, found: Found) -> bool:
    case = found.with_id(entry.case_id or "")
    if case is None:
        return False
    entry.see(case)
    if entry.to_do:
        return False
    entry.end(Outcome.UPDATED)
    return True


def _judge(entry: ChangeEntry, batch: Batch) -> None:
    """The change isn't there, as far as can be read."""
    if entry.is_broken:
        entry.end(Outcome.UNKNOWN, "unread")
    elif entry.case is None:
        entry.end(Outcome.FAILED, "gone")
    elif entry.is_changed_otherwise and not _may_go_on(batch):
        entry.end_changed_otherwise()
    elif batch.wait is None or batch.wait.end is JobEnd.MISSING:
        entry.end(Outcome.FAILED, "not_applied")
    elif _may_go_on(batch):
        entry.end(Outcome.UNKNOWN, "job_stuck", job_id=batch.record.job_id)
    else:
        code = "skipped" if batch.wait.end is JobEnd.COMPLETED else "job_failed"
        entry.end(Outcome.FAILED, code, job_id=batch.record.job_id, said=batch.said)


def _may_go_on(batch: Batch) -> bool:
    return batch.wait is not None and batch.wait.end is JobEnd.STUCK and not batch.is_dead


def _may_be_sent_again(entry: ChangeEntry, batch: Batch) -> bool:
    if entry.is_broken or entry.case is None or entry.outcome is Outcome.PARTIAL:
        return False
    if batch.wait is not None and batch.wait.end in (JobEnd.COMPLETED, JobEnd.STUCK):
        return batch.is_dead
    return entry.taken_count < (MAX_UNSEEN_SENDS if batch.wait is None else MAX_JOBS)


async def _believe(sender: BulkSender) -> None:
    """Without reading back: what a completed job had is updated, of the rest nothing is known."""
    for batch in sender.batches:
        if batch.wait is not None and batch.wait.end in (JobEnd.COMPLETED, JobEnd.FAILED):
            await sender.forget(batch)
        is_completed = batch.wait is not None and batch.wait.end is JobEnd.COMPLETED
        for entry in batch.entries:
            if is_completed:
                entry.end(Outcome.UPDATED, "not_read_back")
            else:
                entry.end(Outcome.UNKNOWN, "not_believed")
