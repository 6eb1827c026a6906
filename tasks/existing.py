"""Which cases with given references the account holds, asked in the cheaper of two ways.

Belongs here: choosing between one sweep over all cases and one look-up a reference, and reading
back what was found. Does not: what a found case means for a row (`tasks/importing.py`).

A reference that is wrongly taken for absent becomes a duplicate, so neither way is trusted
blindly: a sweep must have settled (`tasks/listing.py`), and the server's `ref` filter, of which
the vendor says only that it "corresponds", must first find a case that is known to be there, by
its reference in the other case.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from schemas.case_tables import nested_cases
from schemas.texts import canonical
from tasks.cases import case_columns, get_cases, together
from tasks.connection import connected
from tasks.files import private_folder
from tasks.listing import list_cases
from tasks.policy import RunError, read_task
from tasks.progress import Progress, add_progress
from tasks.spool import merged, write_part
from tasks.verification import Verification
from willsuite import CaseFilters
from willsuite.client import MAX_PER_PAGE, NO_FILTERS

SWEEP_OVERHEAD_REQUESTS = 4
"""The empty last page, the catch-up, its empty page and the closing count."""
LOOK_UPS_PER_TASK = 500


@dataclass(frozen=True, slots=True)
class FoundCase:
    """A case of the account, as far as a row is compared with it."""

    id: str
    customers: Sequence[Mapping[str, Any]] = field(repr=False)
    meta: Mapping[str, str | None] = field(repr=False)
    notes: str | None = field(repr=False)


FoundCases = Mapping[str, Sequence[FoundCase]]
"""By canonical reference; a reference that isn't a key is in no case."""


async def find_cases(
    refs: Collection[str], with_people: Collection[str], workspace: Path, progress: Progress
) -> FoundCases:
    """All cases whose reference is one of `refs`.

    `with_people` are those of `refs` whose customers matter. What is read waits in `workspace`
    until the call ends.

    Raises:
        WillSuiteError: the account can't be read.
        RunError: neither way gives an answer that can be relied on.
    """
    if not refs:
        return {}
    folder = private_folder(workspace / uuid4().hex[:8])
    try:
        found = await _find(refs, folder, progress)
        return await _with_people(found, with_people, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _find(
    refs: Collection[str], folder: Path, progress: Progress
) -> dict[str, list[FoundCase]]:
    with_letters = any(ref.swapcase() != ref for ref in refs)
    total, is_filter_proven = await probe_ref_filter(with_letters)
    if total == 0:
        return {}
    sweep_requests = -(-(total or 0) // MAX_PER_PAGE) + SWEEP_OVERHEAD_REQUESTS
    # of double spaces and letters of another width a filter may think otherwise than `canonical`
    are_plain = all(canonical(ref) == ref.casefold() for ref in refs)
    found = None
    if total is not None and is_filter_proven and are_plain and len(refs) < sweep_requests:
        found = await _look_up(refs, folder, progress)
    if found is None:
        found = await _sweep(refs, folder, progress, is_filter_proven)
    return found


async def _sweep(
    refs: Collection[str], folder: Path, progress: Progress, is_filter_proven: bool
) -> dict[str, list[FoundCase]]:
    listing = await list_cases(folder, NO_FILTERS, progress)
    found = _matching(listing.parts, refs, sorted(listing.gone))
    absent = [ref for ref in refs if canonical(ref) not in found]
    if listing.verification is not Verification.UNCONVERGED or not absent:
        return found
    rest = await _look_up(absent, folder, progress) if is_filter_proven else None
    if rest is None:
        raise RunError(
            "It can't be told which references are in WillSuite already, because too much moves "
            "there; nothing more was sent. Run it again when fewer people are working."
        )
    return found | rest


async def _with_people(
    found: dict[str, list[FoundCase]], with_people: Collection[str], folder: Path
) -> FoundCases:
    """A list may leave a case's customers out: one that shows none is asked for by its id."""
    wanted = [found.get(canonical(ref), ()) for ref in with_people]
    ids = [case.id for cases in wanted for case in cases if not case.customers]
    if not ids:
        return found
    part = folder / "people.arrow"
    await get_cases(ids, part)
    whole = {row["id"]: _found(row) for table in merged([part]) for row in table.to_pylist()}
    return {ref: [whole.get(case.id, case) for case in cases] for ref, cases in found.items()}


@read_task(name="probe-ref-filter")
async def probe_ref_filter(with_letters: bool) -> tuple[int | None, bool]:
    """How many cases there are (None: it isn't said), and whether the filter by ref finds one
    that is known to be there, written in the other case: a filter that tells a from A misses
    what is the same reference to us, and perhaps to the server.

    `with_letters` says whether the references to be looked up have any.
    """
    async with connected() as client:
        first = await client.get_cases_page(1)
        total = None if first.cases and not first.total else first.total
        refs = [case.ref for case in first.cases if case.ref]
        known = next((ref for ref in refs if ref.swapcase() != ref or not with_letters), None)
        if known is None:
            return total, False
        page = await client.get_cases_page(1, filters=CaseFilters(ref=known.swapcase()))
        return total, canonical(known) in {canonical(case.ref or "") for case in page.cases}


@read_task(name="look-up-refs")
async def look_up_refs(refs: Sequence[str], part: Path) -> bool:
    """Cases with these references (`GET /cases?ref=`) into the file `part`.

    Returns:
        False where one answer doesn't show all that it counts, so that looking up is no way to
        find out; `part` is not written then.
    """
    async with connected() as client:

        async def fetch(ref: str) -> pa.Table | None:
            page = await client.get_cases_page(1, filters=CaseFilters(ref=ref))
            await add_progress(1, None)
            is_whole = not page.cases if page.total is None else len(page.cases) >= page.total
            if not is_whole:
                return None
            return nested_cases(case_columns(page.cases), page.fetch_number)[0]

        tables = await together(fetch(ref) for ref in refs)
    if any(table is None for table in tables):
        return False
    write_part(part, [table for table in tables if table is not None])
    return True


async def _look_up(
    refs: Collection[str], folder: Path, progress: Progress
) -> dict[str, list[FoundCase]] | None:
    """None where the filter can't be used for it."""
    progress.begin("References looked up")
    wanted, parts = sorted(refs), []
    for start in range(0, len(wanted), LOOK_UPS_PER_TASK):
        parts.append(folder / f"look-up-{start}.arrow")
        if not await look_up_refs(wanted[start : start + LOOK_UPS_PER_TASK], parts[-1]):
            return None
    return _matching(parts, refs)


def _matching(
    parts: Sequence[Path], refs: Collection[str], without: Sequence[str] = ()
) -> dict[str, list[FoundCase]]:
    wanted = {canonical(ref) for ref in refs}
    found: dict[str, list[FoundCase]] = {}
    for table in merged(parts, without):
        for index, key in _wanted_rows(table["ref"], wanted):
            found.setdefault(key, []).append(_found(table.slice(index, 1).to_pylist()[0]))
    return found


def _wanted_rows(refs: pa.ChunkedArray, wanted: Collection[str]) -> Iterator[tuple[int, str]]:
    for index, ref in enumerate(refs.to_pylist()):
        if ref is not None and (key := canonical(ref)) in wanted:
            yield index, key


def _found(row: Mapping[str, Any]) -> FoundCase:
    meta = {entry["field_id"]: entry["value"] for entry in row["meta"] or ()}
    return FoundCase(row["id"], row["customers"] or (), meta, row["notes"])
