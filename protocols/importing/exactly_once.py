"""Creating each case of a file exactly once in effect, with nothing but the account to rely on.

Belongs here: the order of looking, settling, sending and looking again (reliability.md 2.3).
Does not: what an answer does to an entry (`importing/sender.py`), what a found case does to one
(`importing/verdicts.py`), reading back (`importing/reading_back.py`), how references are looked up
(`reading/lookup.py`), the lock (`account/lock.py`).

The account is the journal and `ref` is the key. A request whose answer is lost may have been
carried out, or may be later still; so it is never repeated at once, but looked up after the time
in which the server has surely finished or given up.
"""

from collections.abc import Sequence
from pathlib import Path

from protocols.account.known import KnownAccount
from protocols.importing.entries import NewCaseEntry
from protocols.importing.reading_back import TRIAL_ROWS, ReadBack, find_cases_of
from protocols.importing.sender import Sender, create_cases
from protocols.importing.verdicts import (
    cases_of,
    compare_existing,
    confirm,
    confirm_refusal,
    refuse_decimal,
)
from protocols.rows.dispatcher import task_ranges
from schemas.outcomes import Outcome
from tasks.connection import connected
from tasks.progress import Progress

MAX_ROUNDS = 3
"""How often a case may be sent, each time after it was looked for in vain."""


async def look_for(
    entries: Sequence[NewCaseEntry], workspace: Path, progress: Progress
) -> list[NewCaseEntry]:
    """Give each entry whose reference the account holds its outcome; returns the others.

    Raises:
        WillSuiteError, RunError: it can't be told.
    """
    found = await find_cases_of(entries, workspace, progress)
    absent = []
    for entry in entries:
        if cases_of(entry, found):
            compare_existing(entry, found)
        elif not refuse_decimal(entry, found):
            absent.append(entry)
    return absent


async def create_absent(
    absent: Sequence[NewCaseEntry], known: KnownAccount, workspace: Path, progress: Progress
) -> str | None:
    """Create the cases of `absent`, of which the account had none when they were looked for.

    Returns:
        The sentence for which it stopped before all were sent; None if it didn't.

    Raises:
        WillSuiteError, RunError: what happened to the entries can't be looked up; they have their
            outcomes all the same.
    """
    async with connected() as client:
        settle_seconds = client.settings.settle_seconds
        if absent and not known.is_settled:
            # a run that was killed may have sent what the server is still working on
            await progress.wait(
                settle_seconds, "It isn't known that the last run here ended cleanly"
            )
            absent = await look_for(absent, workspace, progress)
        if not absent:
            return None
        await known.begin_writing()
        sender = Sender(client)
        read_back = ReadBack(settle_seconds, workspace, progress)
        await _send_in_rounds(sender, absent, read_back, workspace, progress)
        await known.settle()
        await read_back.audit(absent)
        return sender.reason_to_tell(absent)


async def _send_in_rounds(
    sender: Sender,
    absent: Sequence[NewCaseEntry],
    read_back: ReadBack,
    workspace: Path,
    progress: Progress,
) -> None:
    for number in range(1, MAX_ROUNDS + 1):
        progress.begin("Cases sent" if number == 1 else f"Cases sent again ({number})")
        sender.begin_round(absent)
        on_trial = TRIAL_ROWS if number == 1 and len(absent) > TRIAL_ROWS else 0
        if on_trial:
            await create_cases(sender, 1, on_trial)
            await read_back.stop_if_all_lose(sender, absent[:on_trial])
        for first, last in task_ranges(len(absent) - on_trial, on_trial + 1):
            if sender.stopped_by is None:
                await create_cases(sender, first, last)
        pending = [entry for entry in absent if entry.is_open]
        if not pending:
            return
        why = f"{len(pending):,} case(s) may or may not be created"
        await progress.wait(sender.rest_seconds, why)
        absent = await _resolve(pending, sender, workspace, progress)
        if not absent or sender.stopped_by is not None:
            return


async def _resolve(
    pending: Sequence[NewCaseEntry], sender: Sender, workspace: Path, progress: Progress
) -> list[NewCaseEntry]:
    """Give pending entries their outcomes; returns those that may be sent again."""
    found = await find_cases_of(pending, workspace, progress)
    absent = []
    for entry in pending:
        if (cases := found.with_ref(entry.case.ref)) and entry.was_uncertain:
            confirm(entry, cases, "found_later")
        elif cases_of(entry, found):
            compare_existing(entry, found)
        elif entry.refusal is not None:
            confirm_refusal(entry)
        else:
            entry.end(Outcome.FAILED, _why_absent(entry, sender), attempts=entry.attempts)
            absent.append(entry)
    return absent


def _why_absent(entry: NewCaseEntry, sender: Sender) -> str:
    if not entry.was_uncertain:
        return "unreachable"
    is_error = entry.answer.startswith("status_5")
    # where a first failure comes with a stop, the server itself may be ill
    is_the_rows = sender.has_applied and (entry.attempts > 1 or sender.stopped_by is None)
    return "row_fails" if is_error and is_the_rows else "not_created"
