"""Reading back what an import has created: each case once, and every value that was sent.

Belongs here: finding the cases of entries, asking by id where a list may not show all of them,
the closing check, and the stop where a server loses the same column each time. Does not: comparing
(`kept.py`, `people.py`), what a found case does to an entry (`importing/verdicts.py`), sending.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from protocols.importing.entries import NewCaseEntry
from protocols.importing.sender import Sender
from protocols.importing.verdicts import cases_of, confirm, lost_in, presence_in
from protocols.kept import paths_of
from protocols.reading.found import Found, FoundCase
from protocols.reading.lookup import find_cases, shown_person_fields, whole_cases
from schemas.identifiers import whole_form
from schemas.outcomes import Outcome
from tasks.connection import connected
from tasks.progress import Progress
from willsuite.errors import NotFoundError

TRIAL_ROWS = 20
"""After so many first rows it is known whether the server keeps what it is sent."""
ENOUGH_TO_STOP = TRIAL_ROWS // 2
"""A column that fewer of these rows give proves no habit of the server."""
ENOUGH_OTHERS = 10
"""So many people of other cases without a field show that the server shows it of nobody."""


async def find_cases_of(
    entries: Sequence[NewCaseEntry], workspace: Path, progress: Progress
) -> Found:
    """The cases with the references of `entries`, or with what these were as whole numbers.

    A list may leave some of a case's people out: where somebody seems to be missing, it is asked
    for by its id.

    Raises:
        WillSuiteError, RunError: it can't be told.
    """
    refs = [entry.case.ref for entry in entries]
    refs += [whole for ref in refs if (whole := whole_form(ref))]
    with_people = [entry.case.ref for entry in entries if entry.request.customers]
    found = await find_cases(refs, with_people, workspace, progress)
    doubtful = [
        case.id
        for entry in entries
        for case in cases_of(entry, found)
        if (people := presence_in(entry, case)).there < people.wanted
    ]
    return found.replaced(await whole_cases(doubtful, workspace)) if doubtful else found


class ReadBack:
    """Compares the cases that an import has created with what was sent for them."""

    def __init__(self, settle_seconds: float, workspace: Path, progress: Progress) -> None:
        self._settle_seconds = settle_seconds
        self._workspace = workspace
        self._progress = progress
        self._unshown: frozenset[str] = frozenset()
        """Fields of people that the server shows of nobody: nobody can have lost them."""
        self._is_probed = False

    async def stop_if_all_lose(self, sender: Sender, entries: Sequence[NewCaseEntry]) -> None:
        """Stop the run if each of these first entries has lost the same column."""
        created = [entry for entry in entries if entry.is_created]
        lost = await self._lost_by_all(created)
        if lost:  # people may come behind their case
            why = f"Values of the first {len(created)} new case(s) aren't there"
            await self._progress.wait(self._settle_seconds, why)
            lost = await self._lost_by_all(created)
        if lost:
            sender.stop(
                f"WillSuite did not keep {', '.join(lost)} in any of the first {len(created)} new "
                "cases, so nothing more was sent; complete these cases, and report it before "
                "importing more."
            )

    async def _lost_by_all(self, created: Sequence[NewCaseEntry]) -> list[str]:
        """Columns that were lost in each of the entries that gave them, if these are enough."""
        ids = [entry.case_id for entry in created if entry.case_id]
        whole = await whole_cases(ids, self._workspace)
        pairs = [(entry, whole[entry.case_id or ""]) for entry in created if entry.case_id in whole]
        await self._learn_unshown(pairs)
        given, lost = (
            [column for columns in each for column in columns]
            for each in (
                [entry.columns_of(paths_of(entry.case.body)) for entry, _ in pairs],
                [entry.columns_of(lost_in(entry, case, self._unshown)) for entry, case in pairs],
            )
        )
        return [
            column
            for column in dict.fromkeys(lost)
            if lost.count(column) >= max(given.count(column), ENOUGH_TO_STOP)
        ]

    async def audit(self, entries: Sequence[NewCaseEntry]) -> None:
        """Give those of `entries` that were created the outcome that their cases show."""
        created = [entry for entry in entries if entry.is_created]
        doubtful = await self._confirm_created(created)
        if doubtful:
            # a list may lag behind what is there, and people behind their case
            why = f"{len(doubtful):,} new case(s) aren't whole yet"
            await self._progress.wait(self._settle_seconds, why)
            doubtful = await self._confirm_created(doubtful)
        seen = {entry.case_id for entry in created if entry not in doubtful}
        for entry in doubtful:
            if entry.outcome is Outcome.CREATED and entry.case_id in seen:
                entry.end(Outcome.FAILED, "id_of_another", ids=entry.case_id)
            elif entry.outcome is Outcome.CREATED:
                await _confirm_by_id(entry)
            seen.add(entry.case_id)

    async def _confirm_created(self, entries: Sequence[NewCaseEntry]) -> list[NewCaseEntry]:
        """Compare entries with their cases; returns those that aren't found, or aren't whole."""
        found = await find_cases_of(entries, self._workspace, self._progress)
        doubtful = [
            case.id
            for entry in entries
            for case in cases_of(entry, found)
            if lost_in(entry, case, self._unshown)
        ]
        if doubtful:  # a list may leave values out
            found = found.replaced(await whole_cases(doubtful, self._workspace))
        pairs = [(entry, case) for entry in entries for case in cases_of(entry, found)]
        await self._learn_unshown(pairs)
        not_whole = []
        for entry in entries:
            cases = cases_of(entry, found)
            if cases:
                code = entry.code if entry.outcome is Outcome.CREATED else None
                confirm(entry, cases, code, self._unshown)
            if not cases or entry.outcome is Outcome.PARTIAL:
                not_whole.append(entry)
        return not_whole

    async def _learn_unshown(self, pairs: Sequence[tuple[NewCaseEntry, FoundCase]]) -> None:
        """Find out which of the fields that seem to be lost the server shows of nobody."""
        seem_lost = {
            path.rpartition(".")[2]
            for entry, case in pairs
            for path in lost_in(entry, case, self._unshown)
            if path.count(".") == 2
        }
        blank = seem_lost - _filled_in(case for _, case in pairs)
        if not blank or self._is_probed:
            return
        self._is_probed = True
        shown, others = await shown_person_fields(frozenset(case.id for _, case in pairs))
        if others < ENOUGH_OTHERS:
            blank &= {"date_of_birth"}  # it is null in each of the vendor's examples
        self._unshown = frozenset(blank - shown)
        if self._unshown:
            fields = ", ".join(sorted(self._unshown))
            self._progress.say(
                f"WillSuite shows {fields} of nobody, so whether it was kept can't be compared."
            )


def _filled_in(cases: Iterable[FoundCase]) -> set[str]:
    """Fields of people that somebody has."""
    people = (person for case in cases for person in case.customers)
    return {name for person in people for name, value in person.items() if value}


async def _confirm_by_id(entry: NewCaseEntry) -> None:
    """A reference may have been changed by a person meanwhile, or the case removed."""
    assert entry.case_id is not None
    async with connected() as client:
        try:
            await client.get_case(entry.case_id)
        except NotFoundError:
            entry.end(Outcome.FAILED, "gone")
