"""Which cases with given references or ids the account holds, asked in the cheaper of two ways.

Belongs here: choosing between one sweep over all cases and one look-up a reference or id, and
reading back what was found. Does not: what a found case means for a row (`importing/`,
`updating/matching.py`).

A reference that is wrongly taken for absent becomes a duplicate, so neither way is trusted
blindly: a sweep must have settled (`reading/listing.py`), and the server's `ref` filter, of which
the vendor says only that it "corresponds", must first find a case that is known to be there, by
its reference in the other case.
"""

import contextlib
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from prefect.logging import get_run_logger

from protocols.reading.found import Found, FoundCase, found_case
from protocols.reading.listing import WIRE_TIME, list_cases, list_once
from protocols.reading.verification import Verification
from schemas.case_tables import nested_cases
from schemas.texts import canonical, collision_key
from tasks.cases import (
    ONE_CASES_ERRORS,
    NotRead,
    case_columns,
    count_cases,
    get_cases,
    together,
)
from tasks.connection import connected
from tasks.files import private_folder
from tasks.policy import RunError, read_task
from tasks.progress import Progress, add_progress
from tasks.spool import merged, part_ids, write_part
from willsuite import CaseFilters
from willsuite.client import MAX_PER_PAGE, NO_FILTERS
from willsuite.errors import RejectedError
from willsuite.ids import is_id

SWEEP_OVERHEAD_REQUESTS = 4
"""The empty last page, the catch-up, its empty page and the closing count."""
LOOK_UPS_PER_TASK = 500
WHOLE_CASES_TO_SEE = 5
"""By id a case may show what no list does."""
MAX_BROKEN = 10
"""Of so many look-ups of a task the failure may be the cases' own; of more it is the server's."""


async def find_cases(
    refs: Collection[str], with_people: Collection[str], workspace: Path, progress: Progress
) -> Found:
    """All cases whose reference is one of `refs`, or one that the server takes for it.

    `with_people` are those of `refs` whose customers matter. What is read waits in `workspace`
    until the call ends.

    Raises:
        WillSuiteError: the account can't be read.
        RunError: neither way gives an answer that can be relied on.
    """
    if not refs:
        return Found()
    with _folder(workspace) as folder:
        found = await _find(refs, folder, progress)
        found = await _taken_for_the_same(found, refs, folder, progress)
        people_of = {canonical(ref) for ref in with_people}
        keys = {collision_key(ref) for ref in with_people}
        wanted = [case for ref in people_of for case in found.by_ref.get(ref, ())]
        wanted += [case for key in keys for case in found.by_key.get(key, ())]
        return found.replaced(await _with_people(wanted, folder))


async def _taken_for_the_same(
    found: Found, refs: Collection[str], folder: Path, progress: Progress
) -> Found:
    """`found` without references of another spelling that the server tells from `refs`.

    Which it takes for the same depends on its database, so its filter is asked.
    """
    alike = [ref for ref in refs if found.spelled_otherwise(ref)]
    said = await _look_up(alike, folder, progress) if alike else None
    # where the filter doesn't say, the careful answer is that they are the same
    return found if said is None else replace(found, by_key=said.by_key)


async def current_cases(
    ids: Collection[str], refs: Collection[str], workspace: Path, progress: Progress
) -> Found:
    """The cases with one of these ids or references, as they are now.

    An id that isn't in the answer, nor broken, is in no case. Raises as `find_cases`.
    """
    with _folder(workspace) as folder:
        sweep_requests = await _sweep_requests() if len(ids) > SWEEP_OVERHEAD_REQUESTS else inf
        if len(ids) + len(refs) < sweep_requests:
            found = await _find(refs, folder, progress) if refs else Found()
            return found | await _by_id(ids, folder, progress)
        found = await _sweep(refs, ids, folder, progress)
        # what a list doesn't show may be there all the same; an id can be asked for
        missing = [case_id for case_id in ids if found.with_id(case_id) is None]
        return found | await _by_id(missing, folder, progress)


async def changed_cases(
    ids: Collection[str], since: datetime, workspace: Path, progress: Progress
) -> Found:
    """Those of the cases with these ids that can be read cheaply after a change of them all.

    One sweep over all cases changed since then, or a look-up of each, whichever takes fewer
    requests. A case that isn't in the answer is only not known to be changed.
    """
    with _folder(workspace) as folder:
        filters = CaseFilters(updated_after=since.strftime(WIRE_TIME))
        if len(ids) > SWEEP_OVERHEAD_REQUESTS:
            count = await count_cases(filters)
            if count is not None and -(-count // MAX_PER_PAGE) + SWEEP_OVERHEAD_REQUESTS < len(ids):
                return _matching(await list_once(folder, filters, progress), (), ids)
        return await _by_id(ids, folder, progress)


async def ids_changed_since(
    wire_time: str, workspace: Path, progress: Progress
) -> frozenset[str] | None:
    """Ids of all cases changed at or after this time, in the vendor's format.

    None where too much moves for it to be told. Raises as `find_cases`.
    """
    with _folder(workspace) as folder:
        listing = await list_cases(folder, CaseFilters(updated_after=wire_time), progress)
        if listing.verification is Verification.UNCONVERGED:
            return None
        return frozenset(case_id for part in listing.parts for case_id in part_ids(part))


async def with_people(cases: Sequence[FoundCase], workspace: Path) -> dict[str, FoundCase]:
    """`cases` by id; those that a list shows without customers are asked for by their id."""
    with _folder(workspace) as folder:
        return {case.id: case for case in cases} | await _with_people(cases, folder)


async def whole_cases(ids: Collection[str], workspace: Path) -> dict[str, FoundCase]:
    """Each case by its id, for a list may show some of its people, or some of their values.

    One that isn't there is not in the answer. Raises as `find_cases`.
    """
    with _folder(workspace) as folder:
        return await _whole_cases(ids, folder)


@contextlib.contextmanager
def _folder(workspace: Path) -> Iterator[Path]:
    """A folder for what is read, gone at the end."""
    folder = private_folder(workspace / uuid4().hex[:8])
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _find(refs: Collection[str], folder: Path, progress: Progress) -> Found:
    with_letters = any(ref.swapcase() != ref for ref in refs)
    total, is_filter_proven = await probe_ref_filter(with_letters)
    if total == 0:
        return Found()
    sweep_requests = -(-(total or 0) // MAX_PER_PAGE) + SWEEP_OVERHEAD_REQUESTS
    # of double spaces and letters of another width a filter may think otherwise than `canonical`
    are_plain = all(canonical(ref) == ref.casefold() for ref in refs)
    found = None
    if total is not None and is_filter_proven and are_plain and len(refs) < sweep_requests:
        found = await _look_up(refs, folder, progress)
    return found or await _sweep(refs, (), folder, progress, is_filter_proven)


async def _sweep_requests() -> float:
    total = await count_cases()
    return inf if total is None else -(-total // MAX_PER_PAGE) + SWEEP_OVERHEAD_REQUESTS


async def _sweep(
    refs: Collection[str],
    ids: Collection[str],
    folder: Path,
    progress: Progress,
    is_filter_proven: bool = False,
) -> Found:
    listing = await list_cases(folder, NO_FILTERS, progress)
    found = _matching(listing.parts, refs, ids, sorted(listing.gone))
    absent = [ref for ref in refs if canonical(ref) not in found.by_ref]
    if listing.verification is not Verification.UNCONVERGED or not absent:
        return found
    rest = await _look_up(absent, folder, progress) if is_filter_proven else None
    if rest is None:
        raise RunError(
            "It can't be told which references are in WillSuite already, because too much moves "
            "there; nothing more was sent. Run it again when fewer people are working."
        )
    return found | rest


async def _by_id(ids: Collection[str], folder: Path, progress: Progress) -> Found:
    """Each case by its own request; what no id can look like isn't asked for."""
    wanted: list[str] = sorted(filter(is_id, ids))
    parts: list[Path] = []
    broken: set[str] = set()
    to_ask = wanted
    while to_ask:
        progress.begin("Cases looked up")
        absent: list[str] = []
        for start in range(0, len(to_ask), LOOK_UPS_PER_TASK):
            parts.append(folder / f"by-id-{len(parts)}.arrow")
            batch = to_ask[start : start + LOOK_UPS_PER_TASK]
            not_read = await _get_all_but_broken(batch, parts[-1])
            absent += not_read.absent
            broken.update(not_read.broken)
            await progress.add(len(batch), len(to_ask))
        # a file may have the letters of an id in the other case, and the server may mind
        to_ask = sorted({each.lower() for each in absent}.difference(wanted, to_ask))
    found = _matching(parts, (), wanted) if parts else Found()
    return replace(found, broken=broken)


async def _get_all_but_broken(ids: Sequence[str], part: Path) -> NotRead:
    try:
        return await get_cases(ids, part, may_be_no_ids=True)
    except ONE_CASES_ERRORS:  # after all patience
        return await get_cases(ids, part, may_be_no_ids=True, max_broken=MAX_BROKEN)


async def _with_people(cases: Iterable[FoundCase], folder: Path) -> dict[str, FoundCase]:
    """A list may leave a case's customers out: one that shows none is asked for by its id."""
    return await _whole_cases([case.id for case in cases if not case.customers], folder)


async def _whole_cases(ids: Collection[str], folder: Path) -> dict[str, FoundCase]:
    wanted = sorted(set(ids))
    whole: dict[str, FoundCase] = {}
    for start in range(0, len(wanted), LOOK_UPS_PER_TASK):
        part = folder / f"whole-{start}.arrow"
        await _get_all_but_broken(wanted[start : start + LOOK_UPS_PER_TASK], part)
        whole |= {row["id"]: _found(row) for table in merged([part]) for row in table.to_pylist()}
    return whole


@read_task(name="probe-ref-filter", task_run_name="try the filter by reference")
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
        finds = False
        if known is not None:
            page = await client.get_cases_page(1, filters=CaseFilters(ref=known.swapcase()))
            finds = canonical(known) in {canonical(case.ref or "") for case in page.cases}
    how = "finds a case that is there" if finds else "isn't known to find what is there"
    get_run_logger().info("WillSuite's filter by reference %s.", how)
    return total, finds


@read_task(name="probe-person-fields", task_run_name="see which fields people have")
async def shown_person_fields(besides: Collection[str]) -> tuple[frozenset[str], int]:
    """Which fields of people the server shows of anybody, in its list or by id, and of how many
    people that was seen; those of the cases `besides` don't count.
    """
    async with connected() as client:
        page = await client.get_cases_page(1, per_page=MAX_PER_PAGE)
        cases = [case for case in page.cases if case.id not in besides]
        count = sum(len(case.customers or ()) for case in cases)
        for case in cases[:WHOLE_CASES_TO_SEE]:
            with contextlib.suppress(RejectedError, *ONE_CASES_ERRORS):
                cases.append(await client.get_case(case.id))
    people = [person for case in cases for person in found_case(case).customers]
    shown = frozenset(name for each in people for name, value in each.items() if value)
    get_run_logger().info("WillSuite shows %s field(s) of people.", len(shown))
    return shown, count


@read_task(name="look-up-refs", task_run_name="look up references")
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
    there = [table for table in tables if table is not None]
    if len(there) < len(tables):
        return False
    write_part(part, there)
    cases = sum(table.num_rows for table in there)
    get_run_logger().info("Looked up %s reference(s): %s case(s).", f"{len(refs):,}", f"{cases:,}")
    return True


async def _look_up(refs: Collection[str], folder: Path, progress: Progress) -> Found | None:
    """None where the filter can't be used for it."""
    progress.begin("References looked up")
    wanted, parts = sorted(refs), []
    for start in range(0, len(wanted), LOOK_UPS_PER_TASK):
        parts.append(folder / f"look-up-{start}.arrow")
        if not await look_up_refs(wanted[start : start + LOOK_UPS_PER_TASK], parts[-1]):
            return None
    return _matching(parts, refs)


def _matching(
    parts: Sequence[Path],
    refs: Collection[str],
    ids: Collection[str] = (),
    without: Sequence[str] = (),
) -> Found:
    wanted_refs = {canonical(ref) for ref in refs}
    wanted_keys = {collision_key(ref) for ref in refs}
    wanted_ids = {case_id.casefold() for case_id in ids}
    found = Found()
    for table in merged(parts, without):
        columns = table["id"].to_pylist(), table["ref"].to_pylist()
        asked: list[tuple[int, bool, bool, str]] = []
        for index, (case_id, ref) in enumerate(zip(*columns, strict=True)):
            has_id = case_id.casefold() in wanted_ids
            has_ref = bool(ref and wanted_refs) and canonical(ref) in wanted_refs
            key = collision_key(ref) if ref and wanted_refs and not has_ref else ""
            if has_ref or has_id or key in wanted_keys:
                asked.append((index, has_ref, has_id, key))
        indices = pa.array([index for index, *_ in asked], pa.int64())
        cases = map(_found, table.take(indices).to_pylist())
        for (_, has_ref, has_id, key), case in zip(asked, cases, strict=True):
            found.add(case, has_ref=has_ref, has_id=has_id)
            if key in wanted_keys:
                found.by_key.setdefault(key, []).append(case)
    return found


def _found(row: Mapping[str, Any]) -> FoundCase:
    meta = {entry["field_id"]: entry["value"] for entry in row["meta"] or ()}
    return FoundCase.of(row["id"], row["customers"] or (), meta, row["notes"], row["ref"])
