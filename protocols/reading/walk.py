"""One walk over the pages of a list, which ends whatever the server says.

Belongs here: which pages are asked for next, and the end. Does not: what several walks prove
(`listing.py`, `verification.py`), requests (`tasks/cases.py`).

Only an empty page is the end: `total` and `last_page` are hints, which tell how far ahead pages are
asked for and how much is too much. A server that repeats itself, or never comes to an end, costs a
number of requests that follows from what its first page counts and from what was new.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tasks.cases import PagesSeen, get_cases_pages, together
from tasks.spool import IdHashes, id_hashes, part_ids
from willsuite import CaseFilters
from willsuite.errors import ContractError

PAGES_PER_TASK = 50
"""A task run costs about 30 ms and a row in Prefect's database: one a batch, never one a page."""
TASKS_PER_WALK = 350
"""Larger accounts get larger batches: Prefect's server loses task runs it can't record."""
TASKS_AT_ONCE = 2
"""Enough that one batch's last pages don't leave connections idle."""
MAX_PAGES_PAST_THE_END = 1000
MAX_PAGES_WITHOUT_COUNT = 10_000
"""Where the server counts nothing at all."""


class Walk:
    """The pages seen so far."""

    def __init__(
        self, page_size: int, filters: CaseFilters, next_part: Callable[[], Path], first: PagesSeen
    ) -> None:
        self._page_size = page_size
        self._filters = filters
        self._next_part = next_part
        self._rows_a_page = max(1, first.rows)
        """As many as the server gives, not as it says."""
        self._has_ended = False
        self._compared_pages = 1
        self.batches: list[PagesSeen] = []
        self._hashes: list[IdHashes] = []
        self._add(first)
        counted = self._pages(first.total) or first.last_page
        most = 2 * counted + MAX_PAGES_PAST_THE_END if counted else MAX_PAGES_WITHOUT_COUNT
        self._most_pages = most

    @property
    def hashes(self) -> IdHashes:
        """Of the ids of all cases seen, sorted and unique."""
        hashes: IdHashes = np.unique(np.concatenate(self._hashes))
        return hashes

    @property
    def pages(self) -> int:
        """The last page asked for."""
        return max(batch.last for batch in self.batches)

    async def to_the_end(self) -> None:
        """Ask for page after page.

        Raises:
            ContractError: there is no end, or the same comes again and again.
            WillSuiteError: a page could not be had.
        """
        step = 0
        while not self._has_ended:
            start, announced = self.pages + 1, self._announced_pages()
            # one page further than announced: only an empty page is the end
            end = min(max(announced + 1, start + step), self._most_pages)
            if start > end:
                raise ContractError("GET /cases has no last page; the listing was given up.")
            before = self.hashes if start > announced else None
            seen = len(self.batches)
            await self._ask_for(start, end)
            if before is not None and not self._has_news(seen, before):
                return  # a server that shows its last page for ever
            step = min(2 * step + 1, PAGES_PER_TASK)

    async def _ask_for(self, start: int, end: int) -> None:
        ahead = _batches(start, end)

        async def work() -> None:
            for first, last in ahead:
                if self._has_ended:
                    return
                part = self._next_part()
                self._add(await get_cases_pages(first, last, part, self._page_size, self._filters))

        await together(work() for _ in range(TASKS_AT_ONCE))

    def _add(self, seen: PagesSeen) -> None:
        self.batches.append(seen)
        self._hashes.append(np.unique(id_hashes(part_ids(seen.part))))
        if seen.ends_empty:
            self._has_ended = True
        elif self._repeats_itself():
            if self.pages <= self._announced_pages():
                raise ContractError(
                    "GET /cases gives the same cases again and again; the listing was given up."
                )
            self._has_ended = True

    def _repeats_itself(self) -> bool:
        """Whether it shows a row twice on average; seen to whenever the pages have doubled."""
        pages = self.pages
        if pages < 2 * self._compared_pages:
            return False
        self._compared_pages = pages
        return sum(batch.rows for batch in self.batches) >= 2 * len(self.hashes)

    def _has_news(self, seen: int, before: IdHashes) -> bool:
        return any(not np.isin(each, before).all() for each in self._hashes[seen:])

    def _announced_pages(self) -> int:
        latest = self.batches[-1]
        hints = [latest.last_page, self._pages(latest.total)]
        return min((hint for hint in hints if hint is not None), default=1)

    def _pages(self, total: int | None) -> int | None:
        return None if total is None else -(-total // self._rows_a_page)


async def walk(
    page_size: int,
    filters: CaseFilters,
    next_part: Callable[[], Path],
    first: PagesSeen | None = None,
) -> Walk:
    """Every page up to the first empty one, in batches.

    Raises:
        ContractError: there is no end, or the same comes again and again.
        WillSuiteError: a page could not be had.
    """
    first = first or await get_cases_pages(1, 1, next_part(), page_size, filters)
    walked = Walk(page_size, filters, next_part, first)
    await walked.to_the_end()
    return walked


def _batches(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Pages `start` to `end`, both included, cut into batches.

    The first ones are small, however many are announced: they may show that it isn't so.
    """
    largest = max(PAGES_PER_TASK, -(-(end - start + 1) // TASKS_PER_WALK))
    while start <= end:
        size = min(largest, max(PAGES_PER_TASK, start // 10))
        yield start, min(start + size - 1, end)
        start += size
