"""The flow that takes every case out of WillSuite into Parquet, complete or saying that it isn't.

Belongs here: the order of things. Does not: what an export says of itself (`export_manifest.py`),
the listing and its verification (`protocols/reading/listing.py`), what an incremental one is made
of (`protocols/reading/increments.py`), files (`tasks/snapshot_tables.py`, `tasks/snapshots.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import msgspec
from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.endings import EXPECTED_ERRORS, failed, run_here
from flows.export_filters import filters_of
from flows.export_manifest import (
    ExportSummary,
    Made,
    emit_missed,
    last_word,
    manifest_of,
    said_of_changes,
    said_of_missed,
    show,
    show_history,
)
from flows.parameters import with_checked_parameters, with_form
from flows.runs import leave_summary
from protocols.reading.increments import (
    Base,
    NotIncremental,
    find_base,
    list_changed,
    look_for_missing,
    missed_by_incremental,
    refuse_fewer,
)
from protocols.reading.listing import Listing, list_cases
from protocols.reading.past_exports import PastExport, PastExports
from protocols.reading.shown_people import complete_people
from protocols.reading.verification import Verification
from schemas.case_changes import ADDED, CHANGED, REMOVED
from tasks.cases import ONE_CASES_ERRORS
from tasks.connection import connected
from tasks.crm_fields import get_crm_fields
from tasks.policy import RunError, log_for_people
from tasks.progress import Progress, name_run
from tasks.snapshot_tables import CHANGES_NAME, Listed, merge_snapshot, write_snapshot
from tasks.snapshots import LATEST, Output, open_output
from willsuite import CaseFilters, CrmField
from willsuite.errors import RejectedError

MOST_GONE = 0.05
FEW_GONE = 10
"""An export with more cases gone than both says is taken for a fault (a key that sees less)."""
WATERMARK_OVERLAP_HOURS = 26.0
"""The server's zone is not documented: 26 h behind its start, nothing is lost in any zone."""
MOST_OVERLAP_HOURS = 24 * 365
LABELS_READ = "read"
LABELS_ERRORS: tuple[type[Exception], ...] = (RejectedError, *ONE_CASES_ERRORS)
SEEN = {
    Verification.QUIET: "nothing moved while they were read",
    Verification.CONVERGED: "some moved meanwhile, and were read again until nothing was new",
    Verification.UNCONVERGED: "they went on moving, so that some may be missing",
}
"""What a person is told of a listing."""
FIELDS_TO_NAME, MOST_NAMED = 20, 500
"""Of fields that aren't documented: how many are named, and in how many letters."""


class UnverifiedExportError(RunError):
    """The listing never settled, so nothing was published."""


class ShrunkenExportError(RunError):
    """Far fewer cases were listed than last time, so nothing was published."""


@dataclass(frozen=True)
class _Options:
    """What is exported, how, and when it is published."""

    filters: CaseFilters
    mode: Literal["full", "incremental", "auto"]
    allow_unverified: bool
    allow_shrink: bool
    keep_last: int
    full_after_days: float
    overlap_hours: float

    def __post_init__(self) -> None:
        if self.keep_last < 1:
            raise RunError("keep_last must be at least 1: the last snapshot is never removed.")
        if not 0 <= self.overlap_hours <= MOST_OVERLAP_HOURS:
            raise RunError(f"overlap_hours must be a number from 0 to {MOST_OVERLAP_HOURS:,}.")

    @property
    def overlap(self) -> timedelta:
        """How far behind its start an export's watermark lies."""
        return timedelta(hours=self.overlap_hours)


@dataclass(frozen=True)
class _Run:
    """What the steps of one run share."""

    output: Output
    past: PastExports
    workspace: Path
    options: _Options
    fields: Sequence[CrmField]
    fields_note: str
    progress: Progress

    @property
    def labels(self) -> dict[str, str | None]:
        """By CRM field id."""
        return {field.id: field.field_label for field in self.fields}

    @property
    def tables(self) -> Path:
        """Where the files to be published are written."""
        return self.workspace / "tables"


@with_form
@flow(name="export-cases", validate_parameters=False, persist_result=False)
@with_checked_parameters
async def export_cases(
    output: str = "data/exports",
    mode: Literal["full", "incremental", "auto"] = "full",
    ref: str | None = None,
    postcode: str | None = None,
    updated_after: str | None = None,
    allow_unverified: bool = False,
    connection: str | None = None,
    keep_last: int = 10,
    allow_shrink: bool = False,
    full_after: float = 7,
    overlap_hours: float = WATERMARK_OVERLAP_HOURS,
    group_readable: bool = False,
    filters_file: str | None = None,
) -> ExportSummary:
    """Export every case, with its customers and CRM fields, to Parquet.

    Args:
        output: Folder for the snapshots, or a URL such as s3://bucket/folder.
        mode: "full" lists every case. "incremental" reads what was changed since the last export
            and merges it into a new snapshot of all cases; it doesn't see deletions. "auto" is
            incremental unless the last full export is older than `full_after`.
        ref: Only cases with this reference. Prefect stores parameters: rather use `filters_file`.
        postcode: Only cases with a customer at this postcode. Stored as well.
        updated_after: Only cases changed at or after this time (YYYY-MM-DD HH:MM:SS; the vendor
            names no zone, and a time with an offset is converted to UTC).
        allow_unverified: Publish even if it can't be shown that no case is missing.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
        keep_last: How many snapshots of all cases to keep, the new one included, and how many
            filtered ones.
        allow_shrink: Publish even if more than 5 % of the cases (and at least 10) are gone since
            the account's last verified export.
        full_after: For "auto": days after which every case is read again.
        overlap_hours: How far before the start of this export the next incremental one begins to
            read. Less than 26 may lose changes, since WillSuite doesn't say in which zone it
            keeps its times.
        group_readable: Let the group of the output folder read what is published, too.
        filters_file: A JSON or CSV file with ref, postcode, updated_after, which Prefect doesn't
            store; or its URL.

    Returns:
        An ExportSummary. A run that fails raises one of: willsuite.errors.WillSuiteError,
        tasks.policy.RunError.
    """
    log_for_people()
    try:
        options = _Options(
            filters_of(ref, postcode, updated_after, filters_file), mode,
            allow_unverified, allow_shrink, keep_last, full_after, overlap_hours,
        )  # fmt: skip
        async with connected(connection) as client:
            account = client.settings.account_name
            await name_run(f"export {mode}")
            place = open_output(str(output), group_readable=group_readable)
            summary = await _export(place, account, options)
    except EXPECTED_ERRORS as error:
        return failed(error)  # type: ignore[return-value]
    await leave_summary(summary)
    return Completed(message=last_word(summary), data=summary)  # type: ignore[return-value]


async def _export(output: Output, account: str, options: _Options) -> ExportSummary:
    with output.workspace() as workspace:
        past = PastExports(output, account)
        past.refuse_another_account("give this export one another output folder")
        fields, note = await _crm_fields()
        with Progress("export-cases-progress").shown() as progress:
            run = _Run(output, past, workspace, options, fields, note, progress)
            made = await _made(run)
        name = f"{made.listing.started_at:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
        manifest = manifest_of(name, made, account, options.overlap, fields, note)
        is_latest, pruned = _publish(output, past, run.tables, manifest, options.keep_last)
        await progress.finish()
    summary = _summary(output, made, manifest, is_latest, pruned)
    if changes := said_of_changes(summary):
        get_run_logger().info("%s since the export before.", changes)
    if made.missed:
        get_run_logger().warning("%s", said_of_missed(made.missed))
        emit_missed(made.missed, output.location(""))
    await show(manifest, summary)
    await show_history(past.published())
    return summary


async def _made(run: _Run) -> Made:
    """The export, incremental where that is wanted and can be."""
    base, reason = None, None
    is_filtered = bool(run.options.filters.query())
    if not is_filtered:
        found = await find_base(run.output, run.past, run.workspace)
        base, reason = (found, None) if isinstance(found, Base) else (None, found)
        if reason:
            get_run_logger().info("Not compared with an export before, since %s.", reason)
    if run.options.mode != "full":
        try:
            return await _made_of_changes(run, _base_to_build_upon(run.options, base, reason))
        except NotIncremental as why:
            reason = str(why)
            get_run_logger().info("Every case is read, since %s.", reason)
    made = await _made_in_full(run, base, is_filtered=is_filtered)
    return replace(made, reason=None if run.options.mode == "full" else reason)


def _base_to_build_upon(options: _Options, base: Base | None, reason: str | None) -> Base:
    """The base, if it can and shall be built upon.

    Raises:
        NotIncremental: there is none, or it is time to read every case.
    """
    if options.filters.query():
        raise NotIncremental("it is of some cases only (ref, postcode or updated_after)")
    if base is None:
        raise NotIncremental(reason)
    if options.mode == "auto" and base.full_is_older_than(options.full_after_days):
        raise NotIncremental(f"the last time was {options.full_after_days:g} days ago or more")
    base.refuse_unverified()
    return base


async def _made_of_changes(run: _Run, base: Base) -> Made:
    """An export of the one before and what has changed since.

    Raises:
        NotIncremental: it can't be.
    """
    changed = await list_changed(base, run.workspace / "changed", run.progress)
    listing, relabel = changed.listing, run.fields_note == LABELS_READ
    _refuse_unverified(listing, run.options)
    listed = _listed(run, listing, changed.birth_forms)
    written = await merge_snapshot(base.folder, listed, run.tables, relabel=relabel)
    rows, changes = written.files["cases"].rows, written.changes
    assert rows == base.export.rows.cases + changes[ADDED] - changes[REMOVED]
    refuse_fewer(rows, changed)
    return Made("incremental", listing, written, base, changed.birth_forms, changed.counted)


async def _made_in_full(run: _Run, base: Base | None, *, is_filtered: bool) -> Made:
    """An export of all cases that match."""
    listing = await list_cases(run.workspace, run.options.filters, run.progress)
    if base is not None and listing.verification is not Verification.UNCONVERGED:
        await look_for_missing(base, listing)
    await complete_people(listing, run.progress)
    _refuse_unverified(listing, run.options)
    if not is_filtered and not run.options.allow_shrink:
        _refuse_shrunken(listing, run.past.last_verified_full())
    listed = _listed(run, listing, listing.birth_forms)
    before = base.folder if base else None
    written = await write_snapshot(listed, run.tables, before, with_changes=not is_filtered)
    assert written.files["cases"].rows == listing.rows, "what was listed is what was written"
    missed = None
    if base is not None:
        assert listing.started_at is not None
        changes = run.tables / f"{CHANGES_NAME}.parquet"
        missed = await missed_by_incremental(
            base, changes, listing.started_at, run.workspace, run.progress
        )
    return Made("full", listing, written, base, listing.birth_forms, listing.counted, missed=missed)


def _listed(run: _Run, listing: Listing, birth_forms: Mapping[str, int]) -> Listed:
    assert listing.started_at is not None
    gone = sorted(listing.gone)
    return Listed(listing.parts, gone, run.labels, birth_forms, listing.started_at)


def _refuse_unverified(listing: Listing, options: _Options) -> None:
    get_run_logger().info("Listed %s cases; %s.", f"{listing.rows:,}", SEEN[listing.verification])
    if listing.unknown_fields:
        names = ", ".join(sorted(listing.unknown_fields)[:FIELDS_TO_NAME])
        get_run_logger().warning(
            "WillSuite sends fields that it doesn't document (%s); they are kept in the column "
            "`extra`.", names[:MOST_NAMED],
        )  # fmt: skip
    if listing.verification is Verification.UNCONVERGED and not options.allow_unverified:
        raise UnverifiedExportError(_unverified(listing))


def _summary(
    output: Output, made: Made, manifest: Mapping[str, Any], is_latest: bool, pruned: int
) -> ExportSummary:
    listing, changes, rows = made.listing, made.written.changes, manifest["rows"]
    is_compared = CHANGES_NAME in made.written.files
    return ExportSummary(
        snapshot=str(output.location(manifest["snapshot"])),
        manifest=output.location(f"manifests/{manifest['snapshot'].rpartition('/')[2]}.json"),
        is_latest=is_latest,
        mode=made.mode,
        reason=made.reason,
        verification=listing.verification.value,
        cases=rows["cases"],
        customers=rows["customers"],
        case_meta=rows["case_meta"],
        added=changes[ADDED] if is_compared else None,
        changed=changes[CHANGED] if is_compared else None,
        removed=changes[REMOVED] if is_compared else None,
        missed_by_incremental=made.missed,
        sweeps=len(listing.sweeps),
        pruned=pruned,
        completed=listing.completed,
        incomplete=listing.incomplete,
    )


def _publish(
    output: Output, past: PastExports, tables: Path, manifest: Mapping[str, Any], keep_last: int
) -> tuple[bool, int]:
    """Publish, point at what is the latest now, prune.

    Returns:
        Whether this export is the latest now, and how many old ones were removed.
    """
    logger = get_run_logger()
    export = msgspec.convert(manifest, PastExport)
    # where there is no lock, another account's export may have come in between
    past.refuse_another_account("give this export one another output folder")
    output.publish(tables, export.name, manifest)
    logger.info("Published %s.", output.location(export.snapshot))
    pointer = past.pointer_to(export) if export.is_full else past.pointer_beside(export)
    is_latest = pointer.get("snapshot") == export.snapshot
    if pointer != output.latest():
        output.point(pointer)
    if not is_latest:
        logger.warning(
            "%s names %s, not this filtered export.", LATEST, pointer.get("snapshot", "nothing")
        )
    return is_latest, past.prune(keep_last, export.name)


async def _crm_fields() -> tuple[Sequence[CrmField], str]:
    """The account's CRM fields, and a note for the manifest.

    Labels are a convenience: where they can't be read, the export goes on without.
    """
    try:
        return await get_crm_fields(), LABELS_READ
    except LABELS_ERRORS as error:
        status = getattr(error, "status", None)
        note = f"status {status}" if status else type(error).__name__
        get_run_logger().warning("GET /crm-fields: %s; labels stay empty.", note)
        return (), note


def _unverified(listing: Listing) -> str:
    counted = "an unknown number of" if listing.counted is None else f"{listing.counted:,}"
    return (
        f"The export could not be verified: after {len(listing.sweeps)} sweeps {listing.rows:,} "
        f"cases were listed and WillSuite counts {counted}; nothing was published. Run it again "
        "when fewer people are working, or with allow_unverified=True to publish it marked so."
    )


def _refuse_shrunken(listing: Listing, last: PastExport | None) -> None:
    if last is None:
        return
    before = last.rows.cases
    gone = before - listing.rows
    if gone >= FEW_GONE and gone > before * MOST_GONE:
        raise ShrunkenExportError(
            f"WillSuite listed {listing.rows:,} cases, and the last verified export "
            f"({last.snapshot}) has {before:,}; nothing was published. Check that the API keys "
            "still see every case; if so many are really gone, run it with allow_shrink=True."
        )


if __name__ == "__main__":
    run_here(export_cases)
