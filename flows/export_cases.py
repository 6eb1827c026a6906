"""The flow that takes every case out of WillSuite into Parquet, complete or saying that it isn't.

Belongs here: the order of things and the manifest. The listing and its verification are in
`protocols/reading/listing.py`, files in `tasks/snapshots.py`, tables in `schemas/case_tables.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypedDict
from uuid import uuid4

import msgspec
from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.endings import EXPECTED_ERRORS, failed, run_here
from flows.parameters import with_checked_parameters
from protocols.reading.listing import WIRE_TIME, Listing, list_cases
from protocols.reading.past_exports import PastExport, PastExports
from protocols.reading.shown_people import complete_people
from protocols.reading.verification import Verification
from schemas.case_tables import SCHEMA_VERSION
from tasks.cases import ONE_CASES_ERRORS
from tasks.connection import connected
from tasks.crm_fields import get_crm_fields
from tasks.policy import RunError, log_for_people
from tasks.progress import Progress, show_result
from tasks.snapshots import LATEST, Output, TableFile, open_output, write_snapshot
from willsuite import CaseFilters
from willsuite.errors import RejectedError

MOST_GONE = 0.05
FEW_GONE = 10
"""An export with more cases gone than both says is taken for a fault (a key that sees less)."""
WATERMARK_OVERLAP = timedelta(hours=26)
"""The server's zone is not documented: 26 h behind its start, nothing is lost in any zone."""


class UnverifiedExportError(RunError):
    """The listing never settled, so nothing was published."""


class ShrunkenExportError(RunError):
    """Far fewer cases were listed than last time, so nothing was published."""


class ExportSummary(TypedDict):
    """What `export_cases` returns; counts and paths, no personal data."""

    snapshot: str
    """Folder of the three Parquet files."""
    manifest: str
    """The manifest's path."""
    is_latest: bool
    """Whether `latest.json` names this snapshot now."""
    verification: str
    """quiet, converged or unconverged."""
    cases: int
    customers: int
    case_meta: int
    sweeps: int
    pruned: int
    """Old snapshots removed."""
    completed: int
    """Cases that were read by their ids, because the list left people out."""
    incomplete: int
    """Cases that can't be read by their ids, and may lack people."""


@dataclass(frozen=True)
class _Options:
    """What is exported, and when it is published."""

    filters: CaseFilters
    allow_unverified: bool
    allow_shrink: bool
    keep_last: int

    def __post_init__(self) -> None:
        if self.keep_last < 1:
            raise RunError("keep_last must be at least 1: the last snapshot is never removed.")


@flow(name="export-cases", validate_parameters=False, persist_result=False)
@with_checked_parameters
async def export_cases(
    output: str = "data/exports",
    mode: Literal["full", "incremental"] = "full",
    ref: str | None = None,
    postcode: str | None = None,
    updated_after: str | None = None,
    allow_unverified: bool = False,
    connection: str | None = None,
    keep_last: int = 10,
    allow_shrink: bool = False,
) -> ExportSummary:
    """Export every case, with its customers and CRM fields, to Parquet.

    Args:
        output: Folder for the snapshots, or a URL such as s3://bucket/folder.
        mode: "full" lists every case. "incremental" is not available yet.
        ref: Only cases with this reference.
        postcode: Only cases with a customer at this postcode.
        updated_after: Only cases changed at or after this time (YYYY-MM-DD HH:MM:SS; the vendor
            names no zone, and a time with an offset is converted to UTC).
        allow_unverified: Publish even if it can't be shown that no case is missing.
        connection: Name of a "WillSuite connection" block; without it the environment is used.
        keep_last: How many snapshots of all cases to keep, the new one included, and how many
            filtered ones.
        allow_shrink: Publish even if more than 5 % of the cases (and at least 10) are gone since
            the account's last verified export.

    Returns:
        An ExportSummary. A run that fails raises one of: willsuite.errors.WillSuiteError,
        tasks.policy.RunError.
    """
    log_for_people()
    try:
        filters = CaseFilters(ref or None, postcode or None, _wire_time(updated_after))
        options = _Options(filters, allow_unverified, allow_shrink, keep_last)
        _check(mode)
        async with connected(connection) as client:
            account = client.settings.account_name
            summary = await _export(open_output(str(output)), account, options)
    except EXPECTED_ERRORS as error:
        return failed(error)  # type: ignore[return-value]
    return Completed(message=_told(summary), data=summary)  # type: ignore[return-value]


def _told(summary: ExportSummary) -> str:
    message = (
        f"{summary['cases']:,} cases exported to {summary['snapshot']}, "
        f"verification: {summary['verification']}."
    )
    if summary["completed"]:
        message += (
            f" WillSuite's list left people of {summary['completed']:,} case(s) out; these were "
            "read by their ids."
        )
    if summary["incomplete"]:
        message += (
            f" {summary['incomplete']:,} case(s) can't be read by their ids and lack people "
            "whom the list leaves out."
        )
    return message


async def _export(output: Output, account: str, options: _Options) -> ExportSummary:
    logger = get_run_logger()
    with output.workspace() as workspace:
        past = PastExports(output, account)
        past.refuse_another_account("give this export one another output folder")
        labels, fields_note = await _field_labels()
        with Progress("export-cases-progress").shown() as progress:
            listing = await list_cases(workspace, options.filters, progress)
            await complete_people(listing, progress)
            logger.info("Listed %s cases: %s.", f"{listing.rows:,}", listing.verification)
        if listing.verification is Verification.UNCONVERGED and not options.allow_unverified:
            raise UnverifiedExportError(_unverified(listing))
        if not options.filters.query() and not options.allow_shrink:
            _refuse_shrunken(listing, past.last_verified_full())
        tables = workspace / "tables"
        files = await write_snapshot(
            listing.parts, sorted(listing.gone), labels, listing.birth_forms, tables
        )
        assert files["cases"].rows == listing.rows, "what was listed is what was written"
        manifest = _manifest(account, listing, files, fields_note)
        is_latest, pruned = _publish(output, past, tables, manifest, options.keep_last)
        await progress.finish()
    await _show(output.location(manifest["snapshot"]), manifest)
    return ExportSummary(
        snapshot=output.location(manifest["snapshot"]),
        manifest=output.location(f"manifests/{manifest['snapshot'].rpartition('/')[2]}.json"),
        is_latest=is_latest,
        verification=listing.verification.value,
        cases=files["cases"].rows,
        customers=files["customers"].rows,
        case_meta=files["case_meta"].rows,
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


def _check(mode: str) -> None:
    if mode == "incremental":
        raise RunError('mode="incremental" is not available yet; use mode="full".')
    if mode != "full":
        raise RunError(f'There is no mode {mode!r}; use mode="full".')


def _wire_time(value: str | datetime | None) -> str | None:
    """A filter time in the vendor's format; an offset is converted to UTC, none is left as is."""
    if not value:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        raise RunError(
            "updated_after must be a time like 2026-01-31 09:00:00 (or a date like 2026-01-31)."
        ) from None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime(WIRE_TIME)


async def _field_labels() -> tuple[dict[str, str | None], str]:
    """Labels by CRM field id, and a note for the manifest.

    Labels are a convenience: where they can't be read, the export goes on without.
    """
    try:
        fields = await get_crm_fields()
    except (RejectedError, *ONE_CASES_ERRORS) as error:
        status = getattr(error, "status", None)
        note = f"status {status}" if status else type(error).__name__
        get_run_logger().warning("GET /crm-fields: %s; labels stay empty.", note)
        return {}, note
    return {field.id: field.field_label for field in fields}, "read"


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


def _manifest(
    account: str, listing: Listing, files: Mapping[str, TableFile], fields_note: str
) -> dict[str, Any]:
    assert listing.started_at is not None
    name = f"{listing.started_at:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
    return {
        "snapshot": f"snapshots/{name}",
        "account": account,
        "schema_version": SCHEMA_VERSION,
        "mode": "full",
        "filters": listing.filters.query(),
        "started_at": listing.started_at.isoformat(),
        "finished_at": datetime.now(UTC).isoformat(),
        "clock": "server" if listing.has_server_clock else "local",
        "watermark": (listing.started_at - WATERMARK_OVERLAP).strftime(WIRE_TIME),
        "verification": listing.verification.value,
        "counted": listing.counted,
        "rows": {table: file.rows for table, file in files.items()},
        "files": {f"{table}.parquet": asdict(file) for table, file in files.items()},
        "sweeps": [
            {
                "page_size": sweep.page_size,
                "pages": sweep.pages,
                "rows": sweep.rows,
                "duplicates": sweep.duplicates,
                "new": sweep.new,
                "totals": sorted(sweep.totals, key=lambda total: -1 if total is None else total),
                "order": "id" if sweep.in_id_order else "other",
            }
            for sweep in listing.sweeps
        ],
        "looked_up": listing.looked_up,
        "gone": len(listing.gone),
        "caught_up": listing.caught_up,
        "completed": listing.completed,
        "incomplete": listing.incomplete,
        "unknown_fields": dict(listing.unknown_fields),
        "unread_values": dict(listing.unread_values),
        "date_of_birth_forms": dict(listing.birth_forms),
        "crm_fields": fields_note,
    }


async def _show(snapshot: str, manifest: Mapping[str, Any]) -> None:
    """The result as an artifact of the run, for people; counts only."""
    rows = "\n".join(f"| {table} | {count:,} |" for table, count in manifest["rows"].items())
    await show_result(
        key="export-cases-result",
        description="Rows per table and how sure it is that they are all",
        markdown=(
            f"## {snapshot}\n\n| table | rows |\n| --- | ---: |\n{rows}\n\n"
            f"Verification: **{manifest['verification']}** after {len(manifest['sweeps'])} "
            f"sweep(s); WillSuite counts {manifest['counted']}."
        ),
    )


if __name__ == "__main__":
    run_here(export_cases)
