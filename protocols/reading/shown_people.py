"""Whether the list of cases leaves people out, and those cases whole.

Belongs here: finding that out once a listing (facts.md Q19: a list may show fewer customers than
the case has). Does not: looking up single cases for a comparison (`lookup.py`), or which cases the
list shows (`listing.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import pyarrow as pa

from protocols.reading.listing import Listing
from schemas.case_tables import people_counts
from tasks.cases import get_cases
from tasks.progress import Progress
from tasks.spool import merged

SAMPLE = 5
LOOK_UPS_PER_TASK = 500


async def complete_people(
    listing: Listing, progress: Progress, *, leaves_out: bool | None = None
) -> None:
    """Where the list leaves people out, read all its cases by their ids.

    Of a few cases that is tried first, unless it is known of the account (`leaves_out`). Which
    cases have more people the list doesn't tell: `full_names` may name people who are in the case
    no more, and none who were added later (facts.md Q19).

    Raises:
        WillSuiteError: the account can't be read.
    """
    sample = _sample(listing, is_unknown=leaves_out is None)
    if not (sample and await _complete(listing, sample)) and not leaves_out:
        listing.incomplete = 0
        return
    shown = dict(_shown(listing))
    rest = [case_id for case_id in shown if case_id not in sample]
    progress.begin("Cases read whole")
    progress.say(
        "WillSuite's list leaves people of cases out; all cases are read by their ids "
        f"({len(shown):,})."
    )
    for start in range(0, len(rest), LOOK_UPS_PER_TASK):
        ids = rest[start : start + LOOK_UPS_PER_TASK]
        await _complete(listing, {case_id: shown[case_id] for case_id in ids})
        await progress.add(len(ids), len(rest))


def _sample(listing: Listing, *, is_unknown: bool) -> dict[str, int]:
    """Cases that tell whether the list leaves people out: how many it shows of each, by id.

    Some of those whose names are more than their people; a list of an account that shows nobody
    with anybody else is asked about in any case.
    """
    sample = dict(islice(listing.lacking_people.items(), SAMPLE))
    if is_unknown and listing.most_people <= 1:
        sample |= dict(islice(_shown(listing), SAMPLE))
    return sample


def _shown(listing: Listing) -> Iterator[tuple[str, int]]:
    """Each case's id, and how many people the list shows of it."""
    for table in merged(listing.parts, sorted(listing.gone)):
        yield from _people(table)


async def _complete(listing: Listing, shown: Mapping[str, int]) -> int:
    """How many have more people than the list showed, of these cases, which are read by id.

    Those over which WillSuite stumbles stay as the list has them, and are counted.
    """
    part = listing.next_part()
    not_read = await get_cases([*shown], part, max_broken=len(shown))
    listing.gone.update(not_read.absent)
    listing.incomplete += len(not_read.broken)
    listing.parts.append(part)
    more = 0
    for table in merged([part]):
        more += sum(count > shown.get(case_id, count) for case_id, count in _people(table))
    listing.completed += more
    return more


def _people(table: pa.Table) -> Iterable[tuple[str, int]]:
    return zip(table["id"].to_pylist(), people_counts(table).to_pylist(), strict=True)
