"""Which case of the account each row of an update means.

Belongs here: from ids and references to cases, and the outcome of rows that name none, or one
that another row names too. Does not: how cases are found (`reading/lookup.py`), or what is
changed in one (`updating/changes.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from protocols.reading.found import Found, FoundCase
from protocols.reading.lookup import changed_cases, current_cases, with_people
from protocols.updating.changes import ChangeEntry, end_unchanged
from protocols.updating.differences import difference
from schemas.identifiers import whole_form
from schemas.outcomes import Outcome
from schemas.texts import canonical
from tasks.progress import Progress

MAX_ASKED = 200
"""So many cases that an export has settled are asked for whether they are still there."""


def match(entries: Sequence[ChangeEntry], found: Found) -> list[ChangeEntry]:
    """Show each entry its case; those that have none, or not for themselves, get their outcome.

    Returns:
        The entries that have a case.
    """
    matched = [entry for entry in entries if _match(entry, found)]
    same_case: defaultdict[str, list[ChangeEntry]] = defaultdict(list)
    for entry in matched:
        same_case[entry.case_id or ""].append(entry)
    for same in same_case.values():
        for entry in same if len(same) > 1 else ():
            other = next(each for each in same if each is not entry)
            entry.end(Outcome.REJECTED, "case_repeated", other=other.wanted.row)
    alone = [entry for entry in matched if len(same_case[entry.case_id or ""]) == 1]
    return [entry for entry in alone if not _wants_taken_ref(entry, found)]


def _wants_taken_ref(entry: ChangeEntry, found: Found) -> bool:
    """The server may or may not refuse a reference that another case has (F5)."""
    if not entry.to_do.ref:
        return False
    others = [case.id for case in found.with_ref(entry.to_do.ref) if case.id != entry.case_id]
    if others:
        entry.end(Outcome.CONFLICT, "ref_taken", ids=", ".join(others))
    return bool(others)


def _match(entry: ChangeEntry, found: Found) -> bool:
    """Show the entry its case; False where it has none, and then it has its outcome."""
    wanted = entry.wanted
    if wanted.case_id is not None:
        case = found.with_id(wanted.case_id)
        if case is None and found.is_broken(wanted.case_id):
            entry.end(Outcome.NOT_ATTEMPTED, "case_unreadable")
        elif case is None:
            entry.end(Outcome.REJECTED, "not_found")
        elif not _agrees(entry, case):
            entry.end(Outcome.CONFLICT, "id_and_ref_differ", case_id=case.id)
        else:
            entry.see(case)
            return True
        return False
    cases = found.with_ref(wanted.ref or "")
    if len(cases) > 1:
        entry.end(Outcome.CONFLICT, "ref_twice", ids=", ".join(case.id for case in cases))
    elif cases:
        entry.see(cases[0])
        return True
    else:
        _end_without_case(entry, found)
    return False


def _agrees(entry: ChangeEntry, case: FoundCase) -> bool:
    """Whether the row's reference, if it has one, is the case's, or was before it was changed."""
    given = entry.wanted.ref
    known = [canonical(case.ref or ""), canonical(entry.wanted.new_ref or "")]
    return given is None or canonical(given) == known[0] or known[0] == known[1] != ""


def _end_without_case(entry: ChangeEntry, found: Found) -> None:
    """No case has the row's reference; perhaps an earlier run of the file has changed it."""
    renamed = found.with_ref(entry.wanted.new_ref or "")
    whole = whole_form(entry.wanted.ref or "")
    if whole is not None and (cases := found.with_ref(whole)):
        entry.end(Outcome.REJECTED, "ref_decimal", ids=", ".join(case.id for case in cases))
    elif len(renamed) != 1:
        entry.end(Outcome.REJECTED, "not_found")
    elif difference(entry.wanted, renamed[0]):
        entry.end(Outcome.CONFLICT, "ref_unclear", case_id=renamed[0].id)
    else:
        entry.end(Outcome.UNCHANGED, "renamed_already", case_id=renamed[0].id)


def end_unchanged_by(exported: Found, entries: Sequence[ChangeEntry]) -> list[ChangeEntry]:
    """Give entries their outcome whose cases had the values when they were exported.

    Returns:
        The others, of which the account itself has to be asked.
    """
    unchanged = [entry for entry in match(entries, exported) if not entry.to_do]
    for entry in unchanged:
        entry.end(Outcome.UNCHANGED)
    rest = [entry for entry in entries if entry.outcome is not Outcome.UNCHANGED]
    for entry in rest:
        entry.reopen()
    return rest


async def gone_since(
    unchanged: Sequence[ChangeEntry], workspace: Path, progress: Progress
) -> list[ChangeEntry]:
    """Of entries that an export has settled: those of which the account has to be asked after all.

    To be asked where cases were deleted, which is in no list of changes: up to `MAX_ASKED` cases
    are asked for by their ids; of
    more, these are a sample: where one is gone, all are to be looked at; else the others say that
    they weren't.
    """
    step = -(-len(unchanged) // MAX_ASKED) or 1
    sample = unchanged[::step]
    ids = [entry.case_id for entry in sample if entry.case_id]
    found = await current_cases(ids, (), workspace, progress)
    gone = [entry for entry in sample if found.with_id(entry.case_id or "") is None]
    if gone and step > 1:
        return list(unchanged)
    asked = {id(entry) for entry in sample}
    for entry in unchanged:
        if id(entry) not in asked:
            entry.end(Outcome.UNCHANGED, "by_export")
    return gone


async def look_at(
    entries: Sequence[ChangeEntry], workspace: Path, progress: Progress
) -> list[ChangeEntry]:
    """Read the entries' cases, and give those their outcome that aren't to be changed.

    Returns:
        The others, each with its case and what is to be done.

    Raises:
        WillSuiteError, RunError: it can't be told.
    """
    if not entries:
        return []
    for entry in entries:
        entry.reopen()
    ids = [entry.wanted.case_id for entry in entries if entry.wanted.case_id]
    refs = [entry.wanted.ref for entry in entries if entry.wanted.ref and not entry.wanted.case_id]
    refs += [whole for ref in refs if (whole := whole_form(ref))]
    new_refs = [entry.wanted.new_ref for entry in entries if entry.wanted.new_ref]
    found = await current_cases(ids, [*refs, *new_refs], workspace, progress)
    await _complete_renamed(entries, found, workspace)
    matched = match(entries, found)
    await _show_people(matched, workspace)
    return end_unchanged(matched)


async def look_again(
    entries: Sequence[ChangeEntry], since: datetime, workspace: Path, progress: Progress
) -> list[ChangeEntry]:
    """Read cases right before they are changed, as far as they may have changed `since`.

    Returns:
        The entries that are still to be sent; the others have their outcome.
    """
    ids = [entry.case_id for entry in entries if entry.case_id]
    found = await changed_cases(ids, since, workspace, progress)
    return [entry for entry in entries if entry.catch_up(found.with_id(entry.case_id or ""))]


async def _complete_renamed(entries: Sequence[ChangeEntry], found: Found, workspace: Path) -> None:
    """Whether a case is a row's by its new reference, only all of its customers can tell."""
    adding = [entry.wanted for entry in entries if entry.wanted.customers]
    renamed = [
        case
        for wanted in adding
        if wanted.case_id is None and not found.with_ref(wanted.ref or "")
        for case in found.with_ref(wanted.new_ref or "")
    ]
    if renamed:
        # without customers, so that they are asked for: a list may show only some
        whole = await with_people([case.without_people() for case in renamed], workspace)
        for cases in found.by_ref.values():
            cases[:] = [whole.get(case.id, case) for case in cases]


async def _show_people(entries: Sequence[ChangeEntry], workspace: Path) -> None:
    """Of cases that get customers, those they have must be known."""
    adding = [entry for entry in entries if entry.wanted.customers]
    cases = [
        # a list may show less of people than there is
        entry.case.without_people() if entry.lost_of_people(shows_births=True) else entry.case
        for entry in adding
        if entry.case
    ]
    whole = await with_people(cases, workspace)
    for entry in adding:
        entry.see(whole[entry.case_id or ""])
