"""Whether the list of cases leaves people out, and those cases whole.

Belongs here: finding that out once a listing (facts.md Q19: a list may show fewer customers than
the case has). Does not: looking up single cases for a comparison (`lookup.py`), or which cases the
list shows (`listing.py`).
"""

from collections.abc import Mapping
from itertools import islice

import pyarrow.compute as pc

from protocols.reading.listing import Listing
from schemas.case_tables import lacking_people
from tasks.cases import get_cases
from tasks.progress import Progress
from tasks.spool import merged

SAMPLE = 5
LOOK_UPS_PER_TASK = 500


async def complete_people(listing: Listing, progress: Progress, *, of_all: bool = False) -> None:
    """Where cases that name more people than the list shows do have more, read them by their ids.

    `full_names` may also name people who are in the case no more; so a few are asked first, unless
    it is known that the list leaves people out (`of_all`).

    Raises:
        WillSuiteError: the account can't be read.
    """
    sample = dict(islice(listing.lacking_people.items(), SAMPLE))
    if not sample:
        return
    if not await _complete(listing, sample) and not of_all:
        listing.incomplete = 0
        return
    tables = merged(listing.parts, sorted(listing.gone))
    lacking = [each for table in tables for each in lacking_people(table).items()]
    lacking = [(case_id, shown) for case_id, shown in lacking if case_id not in sample]
    progress.begin("Cases read whole")
    progress.say(
        "WillSuite's list leaves people of cases out; such cases are read by their ids "
        f"({len(lacking) + len(sample):,})."
    )
    for start in range(0, len(lacking), LOOK_UPS_PER_TASK):
        await _complete(listing, dict(lacking[start : start + LOOK_UPS_PER_TASK]))
        await progress.add(LOOK_UPS_PER_TASK, len(lacking))


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
        counts = pc.fill_null(pc.list_value_length(table["customers"]), 0).to_pylist()
        ids = table["id"].to_pylist()
        more += sum(n > shown.get(case_id, n) for case_id, n in zip(ids, counts, strict=True))
    listing.completed += more
    return more
