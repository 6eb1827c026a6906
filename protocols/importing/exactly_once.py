"""Creating each case of a file exactly once in effect, with nothing but the account to rely on.

Belongs here: the order of looking, settling, sending and looking again (reliability.md 2.3).
Does not: what an answer does to an entry (`importing/sender.py`), how references are looked up
(`reading/lookup.py`), the locks (`account/lock.py`).

The account is the journal and `ref` is the key. A request whose answer is lost may have been
carried out, or may be later still; so it is never repeated at once, but looked up after the time
in which the server has surely finished or given up.
"""

from collections.abc import Sequence
from pathlib import Path

from protocols.account.lock import AccountLock
from protocols.importing.entries import SENTENCES, NewCaseEntry
from protocols.importing.sender import Sender, create_cases
from protocols.people import Likeness, lacking, likeness_of
from protocols.reading.lookup import FoundCase, FoundCases, find_cases
from protocols.rows.dispatcher import task_ranges
from schemas.outcomes import Outcome
from schemas.texts import canonical
from tasks.connection import connected
from tasks.progress import Progress
from willsuite.errors import NotFoundError

UNREADABLE_REFUSALS = frozenset({"status_400", "status_409", "status_422"})
"""With a page or plain text instead of JSON: perhaps not the API's own word, but once the case is
known to be absent, sending the row again would change nothing."""
MAX_ROUNDS = 3
"""How often a case may be sent, each time after it was looked for in vain."""


async def look_for(
    entries: Sequence[NewCaseEntry], workspace: Path, progress: Progress
) -> list[NewCaseEntry]:
    """Give each entry whose reference the account holds its outcome; returns the others.

    Raises:
        WillSuiteError, RunError: it can't be told.
    """
    found = await _find(entries, workspace, progress)
    absent = []
    for entry in entries:
        if cases := found.get(canonical(entry.case.ref)):
            _compare_existing(entry, cases)
        else:
            absent.append(entry)
    return absent


async def _find(entries: Sequence[NewCaseEntry], workspace: Path, progress: Progress) -> FoundCases:
    refs = [entry.case.ref for entry in entries]
    with_people = [entry.case.ref for entry in entries if entry.request.customers]
    return await find_cases(refs, with_people, workspace, progress)


async def create_absent(
    absent: Sequence[NewCaseEntry], lock: AccountLock, workspace: Path, progress: Progress
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
        if absent and not lock.is_settled:
            # a run that was killed may have sent what the server is still working on
            await progress.wait(
                settle_seconds, "It isn't known that the last run here ended cleanly"
            )
            absent = await look_for(absent, workspace, progress)
        if not absent:
            return None
        lock.begin_writing()
        sender = Sender(client)
        await _send_in_rounds(sender, absent, workspace, progress)
        lock.settle()
        await _audit(absent, settle_seconds, workspace, progress)
        return sender.reason_to_tell(absent)


async def _send_in_rounds(
    sender: Sender,
    absent: Sequence[NewCaseEntry],
    workspace: Path,
    progress: Progress,
) -> None:
    for number in range(1, MAX_ROUNDS + 1):
        progress.begin("Cases sent" if number == 1 else f"Cases sent again ({number})")
        sender.begin_round(absent)
        for first, last in task_ranges(len(absent)):
            if sender.stopped_by is None:
                await create_cases(sender, first, last)
        pending = [entry for entry in absent if entry.is_pending]
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
    found = await _find(pending, workspace, progress)
    absent = []
    for entry in pending:
        cases = found.get(canonical(entry.case.ref), ())
        if cases and entry.was_uncertain:
            _confirm(entry, cases, "found_later")
        elif cases:
            _compare_existing(entry, cases)
        elif entry.refusal is not None:
            _confirm_refusal(entry)
        elif entry.code in UNREADABLE_REFUSALS:
            entry.end(Outcome.REJECTED, entry.code, SENTENCES["unreadable"].format(code=entry.code))
        else:
            entry.end(Outcome.FAILED, _why_absent(entry, sender), attempts=entry.attempts)
            absent.append(entry)
    return absent


def _why_absent(entry: NewCaseEntry, sender: Sender) -> str:
    if not entry.was_uncertain:
        return "unreachable"
    is_error = (entry.code or "").startswith("status_5")
    # where a first failure comes with a stop, the server itself may be ill
    is_the_rows = sender.has_applied and (entry.attempts > 1 or sender.stopped_by is None)
    return "row_fails" if is_error and is_the_rows else "not_created"


async def _audit(
    entries: Sequence[NewCaseEntry], settle_seconds: float, workspace: Path, progress: Progress
) -> None:
    """Read back what was created: each once, and whole."""
    doubtful = await _confirm_created(
        [entry for entry in entries if entry.outcome is Outcome.CREATED or entry.code == "lacking"],
        workspace,
        progress,
    )
    if doubtful:
        # a list may lag behind what is there, and people behind their case
        await progress.wait(settle_seconds, f"{len(doubtful):,} new case(s) aren't whole yet")
        doubtful = await _confirm_created(doubtful, workspace, progress)
    for entry in doubtful:
        if entry.outcome is Outcome.CREATED:
            await _confirm_by_id(entry)


async def _confirm_created(
    entries: Sequence[NewCaseEntry], workspace: Path, progress: Progress
) -> list[NewCaseEntry]:
    """Compare entries with their cases; returns those that aren't found, or aren't whole."""
    found = await _find(entries, workspace, progress)
    doubtful = []
    for entry in entries:
        cases = found.get(canonical(entry.case.ref), ())
        if cases:
            _confirm(entry, cases, None if entry.code == "lacking" else entry.code)
        if not cases or entry.code == "lacking":
            doubtful.append(entry)
    return doubtful


async def _confirm_by_id(entry: NewCaseEntry) -> None:
    """A reference may have been changed by a person meanwhile, or the case removed."""
    assert entry.case_id is not None
    async with connected() as client:
        try:
            await client.get_case(entry.case_id)
        except NotFoundError:
            entry.end(Outcome.FAILED, "gone")


# -- what a found case does to an entry -------------------------------------------------------


def _compare_existing(entry: NewCaseEntry, cases: Sequence[FoundCase]) -> None:
    """The case was there before us."""
    entry.action = "none"
    if len(cases) > 1:
        entry.end(Outcome.CONFLICT, "ref_twice", ids=_ids(cases))
        return
    likeness = likeness_of(entry.case.body, cases[0])
    if likeness is Likeness.OTHER_PEOPLE:
        entry.end(Outcome.CONFLICT, "other_people", ids=_ids(cases), case_id=cases[0].id)
    elif likeness is Likeness.INCOMPLETE:
        entry.end(Outcome.PARTIAL, "customers_missing", ids=_ids(cases), case_id=cases[0].id)
    else:
        entry.end(Outcome.EXISTING, case_id=cases[0].id)


def _confirm(entry: NewCaseEntry, cases: Sequence[FoundCase], code: str | None) -> None:
    """The case is ours, unless it is somebody else's; `code` says how that is known."""
    if len(cases) > 1:
        entry.end(Outcome.CONFLICT, "duplicate_case", ids=_ids(cases))
    elif likeness_of(entry.case.body, cases[0]) is Likeness.OTHER_PEOPLE:
        entry.end(Outcome.CONFLICT, "other_people", ids=_ids(cases), case_id=cases[0].id)
    elif missing := lacking(entry.case.body, cases[0]):
        what = " and ".join(missing)
        entry.end(Outcome.PARTIAL, "lacking", what=what, case_id=cases[0].id)
    else:
        entry.end(Outcome.CREATED, code, case_id=cases[0].id)


def _confirm_refusal(entry: NewCaseEntry) -> None:
    """The case isn't there, so the refusal was meant."""
    refusal = entry.refusal
    assert refusal is not None
    if refusal.is_ref_taken:
        entry.end(Outcome.CONFLICT, "ref_taken")
    else:
        entry.end(Outcome.REJECTED, refusal.code, refusal.words)


def _ids(cases: Sequence[FoundCase]) -> str:
    return ", ".join(case.id for case in cases)
