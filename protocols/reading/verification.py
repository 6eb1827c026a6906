"""Whether a listing is complete: the decisions, without the requests.

Belongs here: what one sweep over all pages proves, and which page size the next one uses.
Does not: asking for pages (`reading/listing.py`).

Pages of an offset-paginated list shift while people work: a case deleted before the cursor
moves its neighbours up, and one of them is never shown. `../shared/design/reliability.md` 3
measured how often that happens and what finds it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tasks.spool import IdHashes

MAX_SWEEPS = 5


class Verification(StrEnum):
    """How sure it is that every case is there."""

    QUIET = "quiet"
    """One sweep, during which nothing moved."""
    CONVERGED = "converged"
    """Several sweeps with different page sizes, the last of which found nothing new."""
    UNCONVERGED = "unconverged"
    """Still finding cases, or still fewer than the server counts, after `MAX_SWEEPS`."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One walk over all pages of the listing."""

    number: int
    page_size: int
    pages: int
    rows: int
    totals: frozenset[int | None]
    hashes: IdHashes
    """Sorted and unique."""
    in_id_order: bool
    new: int
    """Cases that no earlier sweep had seen."""

    @property
    def duplicates(self) -> int:
        """Rows whose case had come before in the same sweep."""
        return self.rows - len(self.hashes)

    @property
    def is_quiet(self) -> bool:
        """Nothing moved: one constant total, no case twice, and exactly as many as counted.

        Wrong about once in 1,670 sweeps at 0.02 changes a page (measured, reliability.md 3.1):
        a case deleted and another inserted at the right moments cancel out.
        """
        return self.totals == {self.rows} and self.duplicates == 0


def page_sizes(largest: int) -> Iterator[int]:
    """Page sizes for one sweep after the other: `largest`, then ever smaller primes.

    A server that orders ties at random repeats the same misses at the same page boundaries;
    another size moves the boundaries (measured: 3.25 cases missed, then none). `largest` is
    what the server gives when asked for the maximum. Small lists end with sizes repeated.
    """
    yield largest
    size = largest
    while True:
        size = max((n for n in range(2, size) if _is_prime(n)), default=largest)
        yield size


def nothing_missed(new_hashes: IdHashes, changed_hashes: IdHashes) -> bool:
    """Whether a repeated sweep found only cases that no earlier sweep could have shown.

    A case that is new to us but was created or changed since the start (`changed_hashes`, from
    `updatedAfter`) doesn't count against the listing: it will be there anyway.
    """
    return bool(np.isin(new_hashes, changed_hashes).all())


def verdict(*, sweeps: int, is_settled: bool, rows: int, counted: int | None) -> Verification:
    """The end of it: `rows` are to be published, `counted` is the server's closing total.

    Fewer rows than counted means that some can't be listed; more rows than counted are cases
    that were all seen in the last sweep, so the count is what is wrong.
    """
    if not is_settled or (counted is not None and rows < counted):
        return Verification.UNCONVERGED
    return Verification.QUIET if sweeps == 1 else Verification.CONVERGED


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
