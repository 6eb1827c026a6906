"""Whether an export can be made of the one before and what has changed since, and what it missed.

Belongs here: the export that the next one follows, what speaks against building upon it, reading
what has changed, and the count of changes that WillSuite doesn't list. Does not: the listing
(`listing.py`), merging (`tasks/snapshot_tables.py`), the manifests of the past (`past_exports.py`).

A reason is half a sentence, which goes on after "since".
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from protocols.reading.listing import MAX_LOOK_UPS, WIRE_TIME, Listing, list_cases
from protocols.reading.lookup import ids_changed_since
from protocols.reading.past_exports import PastExport, PastExports
from protocols.reading.shown_people import complete_people
from schemas.birth_dates import DAY_FIRST, MONTH_FIRST
from schemas.case_tables import FORMER_VERSION, SCHEMA_VERSION, SCHEMAS
from tasks.cases import count_cases, get_cases
from tasks.files import private_folder
from tasks.policy import file_task
from tasks.progress import Progress
from tasks.snapshot_tables import CaseFiles, file_hash
from tasks.snapshots import Output
from tasks.spool import id_hashes
from willsuite import CaseFilters

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A server's several machines may differ by so much."""


class NotIncremental(Exception):  # noqa: N818 - it is a reason, and no error
    """Why every case has to be read."""


@dataclass(frozen=True, slots=True)
class Base:
    """The export that the next one follows, with whole files."""

    export: PastExport
    folder: Path
    """On this machine."""
    pointer_watermark: str | None
    """As `latest.json` has it, where it names this export."""

    @property
    def watermark(self) -> datetime:
        """From when on changes may not be in it.

        Raises:
            NotIncremental: it doesn't say.
        """
        if self.pointer_watermark not in (None, self.export.watermark):
            raise NotIncremental("latest.json and the manifest that it names disagree")
        try:
            return datetime.strptime(self.export.watermark, WIRE_TIME).replace(tzinfo=UTC)
        except ValueError:
            raise NotIncremental("the last export has no watermark that can be read") from None

    def refuse_future(self, now: datetime) -> None:
        """Refuse a watermark that the server's clock, `now`, hasn't reached.

        Raises:
            NotIncremental: so it is.
        """
        started = _moment(self.export.started_at) or self.watermark
        if max(self.watermark, started) > now + CLOCK_TOLERANCE:
            raise NotIncremental("the last export's watermark lies in the future")

    def refuse_unverified(self) -> None:
        """Refuse what may lack cases, which the next one would lack, too.

        Raises:
            NotIncremental: so it is.
        """
        if not self.export.is_verified:
            raise NotIncremental("the last export is not verified")

    def full_is_older_than(self, days: float) -> bool:
        """Whether the last time that all cases were read is so long ago, or isn't known."""
        began = _moment(self.export.full_at or "")
        return began is None or datetime.now(UTC) - began >= timedelta(days=days)


@file_task(name="check-last-export")
async def find_base(output: Output, past: PastExports, workspace: Path) -> Base | str:
    """The export that the next one follows, with each of its files as it was written; or the reason
    why there is none to be had.

    Raises:
        OutputError: the output can't be read.
    """
    return await asyncio.to_thread(_find_base, output, past, private_folder(workspace / "before"))


def _find_base(output: Output, past: PastExports, folder: Path) -> Base | str:
    export = past.current()
    if export is None:
        return "there is no export of all cases before it"
    if export.schema_version not in (SCHEMA_VERSION, FORMER_VERSION):
        return "the last export has other columns (it is of another version)"
    for table in SCHEMAS._fields:
        name = f"{table}.parquet"
        path = output.local_file(f"{export.snapshot}/{name}", folder)
        known = export.files.get(name)
        if path is None or known is None or file_hash(path) != known.sha256:
            return f"{name} of the last export is damaged"
        folder = path.parent
    try:
        CaseFiles(folder)
    except (pa.ArrowException, OSError):
        return "the last export can't be read"
    pointer = past.pointed_at(export)
    return Base(export, folder, None if pointer is None else str(pointer.get("watermark")))


@dataclass(frozen=True, slots=True)
class ChangedCases:
    """What may have changed since the last export."""

    listing: Listing
    birth_forms: Counter[str]
    """Of the whole account, as far as known."""
    counted: int | None
    """All cases by WillSuite's count, before they were listed."""


async def list_changed(base: Base, folder: Path, progress: Progress) -> ChangedCases:
    """The cases changed or created since the base's watermark, verified like any listing.

    Raises:
        NotIncremental: they can't be merged into it.
        WillSuiteError: a page could not be had.
    """
    # before they are listed: what is counted then is in the base or will be listed
    counted = await count_cases()
    since = base.watermark.strftime(WIRE_TIME)
    listing = await list_cases(private_folder(folder), CaseFilters(updated_after=since), progress)
    assert listing.started_at is not None
    base.refuse_future(listing.started_at)
    # a few changed cases may not show what the list does to others
    leaves_out = base.export.list_leaves_people_out
    await complete_people(listing, progress, leaves_out=leaves_out)
    if listing.completed and not leaves_out:
        raise NotIncremental("WillSuite's list leaves people out, which the base didn't know")
    forms = Counter(base.export.date_of_birth_forms)
    for form, count in listing.birth_forms.items():
        forms.setdefault(form, count)
    if _orders(forms) != _orders(base.export.date_of_birth_forms):
        raise NotIncremental("dates of birth come in another form than before")
    return ChangedCases(listing, forms, counted)


async def look_for_missing(base: Base, listing: Listing) -> None:
    """Ask for cases of the base that a listing of all didn't show by their ids: only what isn't
    there (404) is gone, and the others join the listing.

    Of very many only some are asked for: whether so many may be gone is for a person to say.

    Raises:
        WillSuiteError: the account can't be read.
    """
    missing = await asyncio.to_thread(_not_listed, base, listing)
    part = listing.next_part()
    wanted = missing[:MAX_LOOK_UPS]
    if not wanted:
        return
    not_read = await get_cases(wanted, part, max_broken=len(wanted))
    listing.parts.append(part)
    listing.looked_up += len(wanted)
    found = set(wanted).difference(not_read.absent, not_read.broken)
    listing.known = np.union1d(listing.known, id_hashes([*found]))


def _not_listed(base: Base, listing: Listing) -> list[str]:
    missing: list[str] = []
    file = pq.ParquetFile(base.folder / "cases.parquet")
    for group in range(file.num_row_groups):
        ids = file.read_row_group(group, columns=["id"])["id"].to_pylist()
        is_missing = np.isin(id_hashes(ids), listing.known, invert=True)
        missing += [ids[place] for place in np.flatnonzero(is_missing)]
    return missing


def refuse_fewer(rows: int, changed: ChangedCases) -> None:
    """Refuse a merged export of `rows` cases if WillSuite has more.

    Raises:
        NotIncremental: so it is.
    """
    if changed.counted is not None and rows < changed.counted:
        raise NotIncremental(
            f"WillSuite counts {changed.counted:,} cases, {changed.counted - rows:,} more than the "
            "last export and what has changed since"
        )


async def missed_by_incremental(
    base: Base, changes: Path, now: datetime, workspace: Path, progress: Progress
) -> int | None:
    """How many cases differ from the base that WillSuite doesn't list as changed since then.

    `changes` is the `changes.parquet` of an export that has read every case, from `now` on. None
    where it can't be told. Cases that are gone don't count, since no list shows them. It is a lower
    bound: a case changed since the watermark both with and without a sign of it isn't found.

    Raises:
        WillSuiteError: the account can't be read.
    """
    try:
        since = base.watermark
        base.refuse_future(now)
    except NotIncremental:
        return None
    table = pq.read_table(changes, columns=["table", "id", "change"])
    is_gone = pc.and_(pc.equal(table["table"], "cases"), pc.equal(table["change"], "removed"))
    differing = set(table["id"].to_pylist()) - set(table["id"].filter(is_gone).to_pylist())
    if not differing:
        return 0
    listed = await ids_changed_since(since.strftime(WIRE_TIME), workspace, progress)
    return None if listed is None else len(differing - listed)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _orders(forms: dict[str, int]) -> set[str]:
    """What decides how a date is read (`schemas/birth_dates.py`)."""
    return {form for form in (DAY_FIRST, MONTH_FIRST) if forms.get(form)}
