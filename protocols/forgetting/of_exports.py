"""A case in published exports: finding it, and publishing them anew without it.

Belongs here: the order in which an export is replaced, so that at every moment `latest.json` names
a whole one and each export's changes are told from one that is there. Does not: writing into an
output (`tasks/snapshots.py`), or which case it is (`traces.py`).

A snapshot never changes, so one without the case is published beside it under another name, whose
manifest says of which it was made (`REWRITTEN`); then all that named the old one names the new one,
and the old one goes. What a killed run leaves of this, the next one brings to its end.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from protocols.forgetting.traces import FORGOTTEN, Traces
from schemas.case_changes import ADDED, CHANGED, REMOVED, count_changes
from schemas.case_tables import SCHEMAS
from tasks.files import private_folder, private_path, sync_file
from tasks.policy import OutputError
from tasks.snapshot_tables import CHANGES_NAME, TableFile, file_hash
from tasks.snapshots import Output

REWRITTEN = "rewritten_from"
_KEYS = {"cases": "id", "customers": "case_id", "case_meta": "case_id", CHANGES_NAME: "id"}
assert {*SCHEMAS._fields, CHANGES_NAME} == _KEYS.keys()


@dataclass(frozen=True, slots=True)
class ExportTraces:
    """What one export has of a case."""

    name: str
    rows: Mapping[str, int]
    """By table; none where its tables are removed, or haven't got the case."""
    is_filtered_by_it: bool
    """Whether its manifest names the case's reference as the filter."""


def known_in_exports(output: Output) -> Iterator[tuple[str, str | None]]:
    """Id and reference of every case of every snapshot."""
    for name in output.snapshots():
        for rows in _groups(output, name, "cases", ["id", "ref"]):
            yield from zip(rows["id"].to_pylist(), rows["ref"].to_pylist(), strict=True)


def find_in_exports(output: Output, traces: Traces) -> list[ExportTraces]:
    """The exports that have the case in their tables or manifests, oldest first.

    Raises:
        OutputError: one can't be read.
    """
    there = set(output.snapshots())
    found = []
    for name in sorted({*there, *output.manifests()}):
        rows = _rows_of(output, name, traces) if name in there else {}
        is_filter = traces.has_ref((_manifest(output, name) or {}).get("filters", {}).get("ref"))
        if rows or is_filter:
            found.append(ExportTraces(name, rows, is_filter))
    return found


def has_unfinished(output: Output) -> bool:
    """Whether a run was stopped while it replaced an export."""
    return bool(_unfinished(output))


def forget_in_exports(output: Output, traces: Traces) -> None:
    """Replace every export that has the case; no export can run meanwhile.

    Raises:
        OutputError: an export is running, or one can't be read or written.
    """
    if not output.snapshots() and not output.manifests():
        return  # a workspace would make the folder
    with output.workspace() as workspace:
        for old, new in _unfinished(output):
            _take_the_place(output, old, new)
        for found in find_in_exports(output, traces):
            manifest = _manifest(output, found.name)
            if manifest is None:
                _remove_orphan(output, found.name)
            elif found.rows:
                _rewrite(output, found.name, manifest, traces, workspace)
            else:
                output.replace_manifest(found.name, _without_filter(manifest, traces))


def _unfinished(output: Output) -> list[tuple[str, str]]:
    """Replaced exports that are still there, each with the one in its place."""
    names = output.manifests()
    there = {*names, *output.snapshots()}
    found = [(str((_manifest(output, name) or {}).get(REWRITTEN)), name) for name in names]
    return [(old, new) for old, new in found if old in there]


def _rewrite(
    output: Output, old: str, manifest: dict[str, Any], traces: Traces, workspace: Path
) -> None:
    # the same name each time: what a killed run had moved to its place is found, and made anew
    new = f"{old.partition('-')[0]}-{hashlib.sha256(old.encode()).hexdigest()[:8]}"
    if new in output.snapshots():
        output.remove_snapshot(new)
    folder = private_folder(workspace / new)
    renewed = _without_filter(manifest, traces) | {"snapshot": f"snapshots/{new}", REWRITTEN: old}
    with tempfile.TemporaryDirectory(dir=workspace) as copies:
        files = {
            table: _written_without(source, folder / source.name, _KEYS[table], traces)
            for table in _KEYS
            if (source := output.local_file(f"snapshots/{old}/{table}.parquet", Path(copies)))
        }
    renewed["rows"] = {**manifest["rows"], **{name: files[name].rows for name in SCHEMAS._fields}}
    renewed["files"] = {f"{table}.parquet": asdict(file) for table, file in files.items()}
    if manifest.get("changes") and CHANGES_NAME in files:
        counts = count_changes(pq.read_table(folder / f"{CHANGES_NAME}.parquet"))
        told = {change: counts[change] for change in (ADDED, CHANGED, REMOVED)}
        renewed["changes"] = {**manifest["changes"], **told}
    output.for_readers_of(old).publish(folder, new, renewed)
    _take_the_place(output, old, new)


def _take_the_place(output: Output, old: str, new: str) -> None:
    """Let all that names one export name the other, and remove it; to be repeated freely."""
    for name in output.manifests():
        manifest = _manifest(output, name) or {}
        changes = manifest.get("changes")
        if changes and changes.get("compared_with") == old:
            output.replace_manifest(name, manifest | {"changes": {**changes, "compared_with": new}})
    latest = output.latest()
    if latest.get("snapshot") == f"snapshots/{old}":
        place = {"snapshot": f"snapshots/{new}", "manifest": f"manifests/{new}.json"}
        output.for_readers_of(new).point(latest | place)
    if old in output.snapshots():
        output.remove_snapshot(old)
    if old in output.manifests():
        output.remove_manifest(old)


def _remove_orphan(output: Output, name: str) -> None:
    """Remove tables without a manifest, of an export that never came to its end."""
    if output.latest().get("snapshot") == f"snapshots/{name}":
        raise OutputError(
            f"The manifest of snapshots/{name}, which latest.json names, can't be read; export "
            "again, then start this once more."
        )
    output.remove_snapshot(name)


def _without_filter(manifest: dict[str, Any], traces: Traces) -> dict[str, Any]:
    filters = manifest.get("filters", {})
    if not traces.has_ref(filters.get("ref")):
        return manifest
    return manifest | {"filters": {**filters, "ref": FORGOTTEN}}


def _manifest(output: Output, name: str) -> dict[str, Any] | None:
    """None where there is none that can be read, as for those who read exports."""
    try:
        content: dict[str, Any] = msgspec.json.decode(
            output.read(f"manifests/{name}.json") or b"", type=dict
        )
    except msgspec.DecodeError:
        return None
    return content


def _rows_of(output: Output, name: str, traces: Traces) -> dict[str, int]:
    counted = {
        table: sum(
            pc.sum(_is_of(rows[key], traces)).as_py() or 0
            for rows in _groups(output, name, table, [key])
        )
        for table, key in _KEYS.items()
    }
    return {table: count for table, count in counted.items() if count}


def _groups(output: Output, name: str, table: str, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of a table, a row group after the other; nothing where there is no such file."""
    path = f"snapshots/{name}/{table}.parquet"
    source = output.open(path)
    if source is None:
        return
    try:
        with source:
            file = pq.ParquetFile(source)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=columns)
    except (pa.ArrowException, OSError, LookupError):
        raise OutputError(
            f"{output.location(path)} can't be read, so it isn't known whether the case is in it; "
            "remove that snapshot, or restore it, and start this again."
        ) from None


def _is_of(column: pa.ChunkedArray, traces: Traces) -> pa.ChunkedArray:
    return pc.is_in(pc.utf8_lower(column), value_set=pa.array(sorted(traces.ids), pa.string()))


def _written_without(source: Path, target: Path, key: str, traces: Traces) -> TableFile:
    """Copy a table without the case's rows; as many people may read it as before."""
    count = 0
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(
            private_path(target), file.schema_arrow, compression="zstd", compression_level=1
        ) as writer,
    ):
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, use_threads=False)
            rows = rows.filter(pc.invert(_is_of(rows[key], traces)))
            if len(rows):
                writer.write_table(rows, row_group_size=len(rows))
                count += len(rows)
    shutil.copymode(source, target)
    sync_file(target)
    return TableFile(count, target.stat().st_size, file_hash(target))
