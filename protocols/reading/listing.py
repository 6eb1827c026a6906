"""All cases that match, on disk, and how sure it is that they are all.

Belongs here: the order of sweeps, look-ups, catch-up and closing count (reliability.md 3.2).
Does not: what a sweep proves (`reading/verification.py`), requests (`tasks/cases.py`), files to
publish (`tasks/snapshots.py`).
"""

import asyncio
from collections import ChainMap, Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from protocols.reading.verification import (
    MAX_SWEEPS,
    Sweep,
    Verification,
    nothing_missed,
    page_sizes,
    verdict,
)
from tasks.cases import PagesSeen, count_cases, get_cases, get_cases_pages, together
from tasks.progress import Progress, begin_progress
from tasks.spool import IdHashes, id_hashes, ids_with_hashes, part_ids
from willsuite import CaseFilters
from willsuite.client import MAX_PER_PAGE
from willsuite.errors import ContractError

PAGES_PER_TASK = 50
"""A task run costs about 30 ms and a row in Prefect's database: one a batch, never one a page."""
MAX_TASKS_PER_SWEEP = 400
"""Larger accounts get larger batches: Prefect's server loses task runs it can't record."""
TASKS_AT_ONCE = 2
"""Enough that one batch's last pages don't leave connections idle."""
CATCH_UP_OVERLAP = timedelta(minutes=2)
"""Looked back behind the start, for changes stamped before it and committed after it."""
UNKNOWN_CLOCK_OVERLAP = timedelta(minutes=15)
"""Looked back further when the server doesn't say its time and ours has to do."""
CLOSING_ATTEMPTS = 3
MAX_LOOK_UPS = 1000
MAX_PAGES_PAST_THE_END = 10_000

WIRE_TIME = "%Y-%m-%d %H:%M:%S"
"""The vendor's format for `updatedAfter`; it names no zone, we write UTC."""


@dataclass(slots=True)
class Listing:
    """What was listed; grows while it is listed.

    `parts` hold every copy of every case that was fetched (see `tasks/spool.py`).
    """

    filters: CaseFilters
    folder: Path
    started_at: datetime | None = None
    """By the server's clock where it tells it; UTC."""
    has_server_clock: bool = True
    parts: list[Path] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    known: IdHashes = field(default_factory=lambda: np.empty(0, np.int64))
    gone: set[str] = field(default_factory=set)
    """Ids that were listed once and then were not there any more (404)."""
    looked_up: int = 0
    caught_up: int = 0
    """Rows that came by `updatedAfter`, at the last catch-up."""
    counted: int | None = None
    """The server's `total` at the end."""
    verification: Verification = Verification.UNCONVERGED
    unknown_fields: Counter[str] = field(default_factory=Counter)
    """Records of the last sweep with a field that isn't documented, by field."""
    unread_values: Counter[str] = field(default_factory=Counter)
    """Flags of the last sweep that are neither true nor false, by column."""
    birth_forms: Counter[str] = field(default_factory=Counter)
    """Dates of birth of the last sweep, by the form they came in."""
    lacking_people: dict[str, int] = field(default_factory=dict)
    """Some cases of the last sweep that may have more people than these, by id."""
    completed: int = 0
    """Cases of which the list showed some people only (`shown_people.py`)."""
    incomplete: int = 0
    """Cases that may be such ones, and can't be read by their ids."""

    @property
    def rows(self) -> int:
        """Cases to be published."""
        return len(self.known) - len(self.gone)

    @property
    def catch_up_filters(self) -> CaseFilters:
        """The same cases, of those changed since just before the start."""
        assert self.started_at is not None
        overlap = CATCH_UP_OVERLAP if self.has_server_clock else UNKNOWN_CLOCK_OVERLAP
        since = (self.started_at - overlap).strftime(WIRE_TIME)
        return replace(self.filters, updated_after=max(since, self.filters.updated_after or ""))

    def next_part(self) -> Path:
        """A file name for the next batch; `parts` may lag behind batches under way."""
        self._part_number += 1
        return self.folder / f"part-{self._part_number:06d}.arrow"

    _part_number: int = 0


async def list_cases(folder: Path, filters: CaseFilters, progress: Progress) -> Listing:
    """List all matching cases into part files in `folder`, verified.

    A listing during which nothing moved costs its pages, one empty page that proves the end,
    one page of recent changes, and one closing count.

    Raises:
        WillSuiteError: a page could not be had; what is in `folder` is worth nothing then.
    """
    listing = Listing(filters, folder)
    progress.begin("Cases listed")
    first = await get_cases_pages(1, 1, listing.next_part(), MAX_PER_PAGE, filters)
    listing.started_at = (first.server_date or datetime.now(UTC)).astimezone(UTC)
    listing.has_server_clock = first.server_date is not None
    sizes = page_sizes(min(first.per_page or MAX_PER_PAGE, MAX_PER_PAGE))
    # a server that gave fewer rows than asked for keeps doing so: the first size stays as asked
    await _sweep(listing, MAX_PER_PAGE, first)
    next(sizes)
    settled = listing.sweeps[0].is_quiet
    while True:
        if settled:
            await _close(listing)
            if listing.counted in (None, listing.rows):
                break
        if len(listing.sweeps) == MAX_SWEEPS:
            break
        size = next(sizes)
        progress.say(f"Cases moved while they were listed; listing them again, {size} a page.")
        progress.begin(f"Cases listed again ({len(listing.sweeps) + 1})")
        new = await _sweep(listing, size)
        settled = not len(new) or nothing_missed(new, await _catch_up(listing))
    listing.verification = verdict(
        sweeps=len(listing.sweeps),
        is_settled=settled,
        rows=listing.rows,
        counted=listing.counted,
    )
    return listing


async def list_once(folder: Path, filters: CaseFilters, progress: Progress) -> list[Path]:
    """One pass over the matching cases; returns the part files.

    Unverified: a case that it shows is there, one that it doesn't show may be there too.

    Raises:
        WillSuiteError: a page could not be had.
    """
    progress.begin("Cases listed")
    listing = Listing(filters, folder)
    await _walk(listing, MAX_PER_PAGE, filters)
    return listing.parts


async def _sweep(listing: Listing, page_size: int, first: PagesSeen | None = None) -> IdHashes:
    """Walk over all pages once; returns the hashes of ids not known before."""
    batches = await _walk(listing, page_size, listing.filters, first)
    hashes = _hashes(batches)
    new = np.setdiff1d(hashes, listing.known, assume_unique=True)
    listing.known = np.union1d(listing.known, hashes)
    listing.sweeps.append(
        Sweep(
            number=len(listing.sweeps) + 1,
            page_size=batches[0].per_page or page_size,
            pages=max(batch.last for batch in batches),
            rows=sum(batch.rows for batch in batches),
            totals=frozenset().union(*(batch.totals for batch in batches)),
            hashes=hashes,
            in_id_order=all(batch.in_id_order for batch in batches),
            new=len(new),
        )
    )
    listing.unknown_fields = _summed(batch.unknown_fields for batch in batches)
    listing.unread_values = _summed(batch.unread_values for batch in batches)
    listing.birth_forms = _summed(batch.birth_forms for batch in batches)
    listing.lacking_people = dict(ChainMap(*(batch.lacking_people for batch in batches)))
    if listing.gone:  # what is listed again is there again
        parts = [batch.part for batch in batches]
        listing.gone -= set(ids_with_hashes(parts, id_hashes([*listing.gone])))
    return new


async def _walk(
    listing: Listing,
    page_size: int,
    filters: CaseFilters,
    first: PagesSeen | None = None,
) -> list[PagesSeen]:
    """Every page up to the first empty one, in batches; `last_page` is only a hint."""
    slots = asyncio.Semaphore(TASKS_AT_ONCE)

    async def fetch(start: int, end: int) -> PagesSeen:
        async with slots:
            return await get_cases_pages(start, end, listing.next_part(), page_size, filters)

    if first is None:
        first = await fetch(1, 1)
    batches = [first]
    listing.parts.append(first.part)
    announced_end, step = first.last_page or 1, 0
    while not batches[-1].ends_empty:
        start = batches[-1].last + 1
        # one page further than announced: only an empty page is the end
        end = max(announced_end + 1, start + step)
        ahead = await together(fetch(*pages) for pages in _batches(start, end))
        listing.parts += [seen.part for seen in ahead]
        if start > announced_end and _only_repeats(ahead, batches):
            break  # a server that shows its last page for ever
        batches += ahead
        announced_end, step = ahead[-1].last_page or 1, min(2 * step + 1, PAGES_PER_TASK)
        if batches[-1].last > announced_end + MAX_PAGES_PAST_THE_END:
            raise ContractError("GET /cases has no last page; the listing was given up.")
    return batches


def _batches(start: int, end: int) -> list[tuple[int, int]]:
    """Pages `start` to `end`, both included, cut into at most `MAX_TASKS_PER_SWEEP` batches."""
    count = end - start + 1
    size = max(PAGES_PER_TASK, -(-count // MAX_TASKS_PER_SWEEP))
    return [(page, min(page + size - 1, end)) for page in range(start, end + 1, size)]


def _only_repeats(ahead: list[PagesSeen], before: list[PagesSeen]) -> bool:
    return ahead[-1].rows > 0 and bool(np.isin(_hashes(ahead), _hashes(before)).all())


def _summed(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def _hashes(batches: list[PagesSeen]) -> IdHashes:
    ids = [id_hashes(part_ids(batch.part)) for batch in batches]
    hashes: IdHashes = np.unique(np.concatenate(ids))
    return hashes


async def _close(listing: Listing) -> None:
    """Look up what the last sweep didn't show, fetch what changed meanwhile, and count.

    Repeated a few times while people keep adding cases between the last two steps.
    """
    await _look_up_missing(listing)
    for _attempt in range(CLOSING_ATTEMPTS):
        await _catch_up(listing)
        listing.counted = await count_cases(listing.filters)
        if listing.counted in (None, listing.rows):
            return


async def _look_up_missing(listing: Listing) -> None:
    """Cases that some sweep showed and the last one didn't: fetched, or known to be gone."""
    missing = np.setdiff1d(listing.known, listing.sweeps[-1].hashes, assume_unique=True)
    if not len(missing):
        return
    ids = [i for i in ids_with_hashes(listing.parts, missing) if i not in listing.gone]
    # of very many only some are asked for: the next sweep knows more about the others
    part = listing.next_part()
    listing.gone.update((await get_cases(ids[:MAX_LOOK_UPS], part)).absent)
    listing.parts.append(part)
    listing.looked_up += len(ids[:MAX_LOOK_UPS])


async def _catch_up(listing: Listing) -> IdHashes:
    """Fetch what was created or changed since the start; returns the hashes of those ids."""
    begin_progress("Recent changes listed")
    batches = await _walk(listing, MAX_PER_PAGE, listing.catch_up_filters)
    hashes = _hashes(batches)
    listing.caught_up = sum(batch.rows for batch in batches)
    listing.known = np.union1d(listing.known, hashes)
    return hashes
