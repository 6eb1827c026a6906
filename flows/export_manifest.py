"""What an export says of itself: its manifest, its artifact, and the last word of its run.

Belongs here: the words and numbers. Does not: how they come about (`export_cases.py`), or what a
later run makes of a manifest (`protocols/reading/past_exports.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal, TypedDict

from prefect.events import emit_event

from protocols.reading.increments import Base
from protocols.reading.listing import WIRE_TIME, Listing
from protocols.reading.past_exports import PastExport
from protocols.reading.verification import Verification
from schemas.case_changes import ADDED, CHANGED, REMOVED
from schemas.case_tables import SCHEMA_VERSION, SCHEMAS
from tasks.progress import show_result, show_table
from tasks.snapshot_tables import CHANGES_NAME, Written
from willsuite import CrmField

MISSED_EVENT = "willsuite.export.missed-changes"
"""Emitted when a full export finds what incremental ones missed; `make alerts` waits for it."""


HISTORY = 30
"""Exports in the table that shows how the account grows."""


class ExportSummary(TypedDict):
    """What `export_cases` returns; counts and paths, no personal data."""

    snapshot: str
    """Folder of the Parquet files."""
    manifest: str
    """The manifest's path."""
    is_latest: bool
    """Whether `latest.json` names this snapshot now."""
    mode: str
    """full or incremental: how it was made."""
    reason: str | None
    """Why it is a full export although an incremental one was asked for."""
    verification: str
    """quiet, converged or unconverged."""
    cases: int
    customers: int
    case_meta: int
    added: int | None
    """Cases that the export before hasn't; all of them in the first one. None, as are the next two,
    of a filtered export."""
    changed: int | None
    removed: int | None
    missed_by_incremental: int | None
    """Of a full export: cases that differ from the export before, and that WillSuite doesn't list
    as changed since. None where it isn't known."""
    sweeps: int
    pruned: int
    """Old snapshots removed."""
    completed: int
    """Cases that were read by their ids, because the list left people out."""
    incomplete: int
    """Cases that can't be read by their ids, and may lack people."""


@dataclass(frozen=True, slots=True)
class Made:
    """An export that is ready to be published."""

    mode: Literal["full", "incremental"]
    listing: Listing
    written: Written
    base: Base | None
    """What its changes are told from."""
    birth_forms: Mapping[str, int]
    counted: int | None
    """All cases that it should have by WillSuite's count; deleted ones don't count there."""
    reason: str | None = None
    missed: int | None = None


def manifest_of(
    name: str, made: Made, account: str, overlap: timedelta, fields: Sequence[CrmField], note: str
) -> dict[str, Any]:
    """The manifest of the export whose snapshot is called `name`.

    `fields` are the account's CRM fields, `note` says how they were had.
    """
    listing, files = made.listing, made.written.files
    started_at = listing.started_at
    assert started_at is not None
    is_full, base = made.mode == "full", made.base.export if made.base else None
    full_at = started_at.isoformat() if is_full or base is None else base.full_at
    people_left_out = bool(listing.completed) or bool(base and base.list_leaves_people_out)
    return {
        "snapshot": f"snapshots/{name}",
        "account": account,
        "schema_version": SCHEMA_VERSION,
        "mode": made.mode,
        "reason": made.reason,
        "full_at": full_at,
        "filters": listing.filters.query() if is_full else {},
        "changed_since": None if is_full else listing.filters.updated_after,
        "started_at": started_at.isoformat(),
        "finished_at": datetime.now(UTC).isoformat(),
        "clock": "server" if listing.has_server_clock else "local",
        "watermark": _watermark(made, overlap),
        "verification": listing.verification.value,
        "counted": made.counted,
        "rows": {table: files[table].rows for table in SCHEMAS._fields},
        "files": {f"{table}.parquet": asdict(file) for table, file in files.items()},
        "changes": _changes(made) if CHANGES_NAME in files else None,
        "missed_by_incremental": made.missed,
        **_listed(listing),
        "list_leaves_people_out": people_left_out,
        "date_of_birth_forms": dict(made.birth_forms),
        "crm_fields": note,
        "crm_field_options": {field.id: field.options for field in fields if field.options},
    }


def _watermark(made: Made, overlap: timedelta) -> str:
    """From when on the next incremental run reads; never past what may not have been read."""
    assert made.listing.started_at is not None
    is_whole = made.listing.verification is not Verification.UNCONVERGED
    if made.mode == "incremental" and made.base and not is_whole:
        return made.base.export.watermark
    return (made.listing.started_at - overlap).strftime(WIRE_TIME)


def _changes(made: Made) -> dict[str, Any]:
    changes = made.written.changes
    compared_with = made.base.export.name if made.base else None
    return {
        "compared_with": compared_with,
        **{change: changes[change] for change in (ADDED, CHANGED, REMOVED)},
    }


def _listed(listing: Listing) -> dict[str, Any]:
    return {
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
    }


def said_of_changes(summary: ExportSummary) -> str:
    """What is new in it, for a person: "+12 cases, 340 changed, 2 gone"; empty if filtered."""
    if summary["added"] is None:
        return ""
    return (
        f"+{summary['added']:,} cases, {summary['changed']:,} changed, {summary['removed']:,} gone"
    )


def last_word(summary: ExportSummary) -> str:
    """The state message of a run that has published."""
    message = (
        f"{summary['cases']:,} cases exported to {summary['snapshot']}, "
        f"verification: {summary['verification']}."
    )
    if changes := said_of_changes(summary):
        message += f" {changes}."
    if summary["reason"]:
        message += f" Every case was read, since {summary['reason']}."
    if summary["missed_by_incremental"]:
        message += f" {said_of_missed(summary['missed_by_incremental'])}"
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


def emit_missed(missed: int, output: str) -> None:
    """Let Prefect's automations know."""
    emit_event(
        event=MISSED_EVENT,
        resource={"prefect.resource.id": f"willsuite.export.{output}"},
        payload={"missed": missed},
    )


def said_of_missed(missed: int) -> str:
    """What it means that WillSuite hides changes, and what to do."""
    return (
        f"ATTENTION: {missed:,} case(s) have changed without WillSuite listing them as changed, so "
        "incremental exports miss such changes: run full ones more often (full_after)."
    )


async def show_history(exports: Iterable[PastExport]) -> None:
    """The newest exports of all cases as a table under one key, newest first."""
    rows = [
        {
            "began": f"{past.started_at[:16].replace('T', ' ')} UTC",
            "mode": past.mode,
            "cases": past.rows.cases,
            "added": past.changes and past.changes.added,
            "changed": past.changes and past.changes.changed,
            "gone": past.changes and past.changes.removed,
            "verification": past.verification,
        }
        for past in islice(exports, HISTORY)
    ]
    if rows:
        await show_table("export-cases-history", "The exports that are there", rows)


async def show(manifest: Mapping[str, Any], summary: ExportSummary) -> None:
    """The result as an artifact of the run, for people; counts only."""
    rows = "\n".join(f"| {table} | {count:,} |" for table, count in manifest["rows"].items())
    missed = summary["missed_by_incremental"]
    changes = said_of_changes(summary)
    changes = f"{changes} since the export before ({summary['mode']})." if changes else ""
    since = f"\n\nEvery case was read, since {summary['reason']}." if summary["reason"] else ""
    await show_result(
        key="export-cases-result",
        description="Rows per table, what has changed, and how sure it is that they are all",
        markdown=(
            f"## {summary['snapshot']}\n\n| table | rows |\n| --- | ---: |\n{rows}\n\n"
            f"{changes}{since}\n\n"
            f"Verification: **{summary['verification']}** after {summary['sweeps']} "
            f"sweep(s); WillSuite counts {manifest['counted']}."
            + (f"\n\n**{said_of_missed(missed)}**" if missed else "")
        ),
    )
