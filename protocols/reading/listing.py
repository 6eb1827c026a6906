"""All cases that match, on disk, and how sure it is that they are all.

Belongs here: the order of sweeps, look-ups, catch-up and closing count (reliability.md 3.2).
Does not: one walk over the pages (`reading/walk.py`), what a sweep proves
(`reading/verification.py`), requests (`tasks/cases.py`), files to
publish (`tasks/snapshots.py`).
"""

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
from protocols.reading.walk import Walk, walk
from tasks.cases import PagesSeen, count_cases, get_cases, get_cases_pages
from tasks.progress import Progress, begin_progress
from tasks.spool import IdHashes, id_hashes, ids_with_hashes
from willsuite import CaseFilters
from willsuite.client import MAX_PER_PAGE

CATCH_UP_OVERLAP = timedelta(minutes=2)
"""Looked back behind the start, for changes stamped before it and committed after it."""
UNKNOWN_CLOCK_OVERLAP = timedelta(minutes=15)
"""Looked back further when the server doesn't say its time and ours has to do."""
CLOSING_ATTEMPTS = 3
MAX_LOOK_UPS = 1000

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
    most_people: int = 0
    """Of the case that the last sweep showed with the most."""
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
    walked = await _walk(listing, page_size, listing.filters, first)
    batches, hashes = walked.batches, walked.hashes
    new = np.setdiff1d(hashes, listing.known, assume_unique=True)
    listing.known = np.union1d(listing.known, hashes)
    listing.sweeps.append(
        Sweep(
            number=len(listing.sweeps) + 1,
            page_size=batches[0].per_page or page_size,
            pages=walked.pages,
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
    listing.most_people = max(batch.most_people for batch in batches)
    if listing.gone:  # what is listed again is there again
        parts = [batch.part for batch in batches]
        listing.gone -= set(ids_with_hashes(parts, id_hashes([*listing.gone])))
    return new


async def _walk(
    listing: Listing, page_size: int, filters: CaseFilters, first: PagesSeen | None = None
) -> Walk:
    walked = await walk(page_size, filters, listing.next_part, first)
    listing.parts += [batch.part for batch in walked.batches]
    return walked


def _summed(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


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
    walked = await _walk(listing, MAX_PER_PAGE, listing.catch_up_filters)
    listing.caught_up = sum(batch.rows for batch in walked.batches)
    listing.known = np.union1d(listing.known, walked.hashes)
    return walked.hashes
