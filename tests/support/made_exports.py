"""Published exports with the tables that a test gives, made without an account."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from protocols.reading.past_exports import PastExport, PastExports
from schemas.case_changes import CHANGES
from schemas.case_tables import SCHEMA_VERSION, SCHEMAS
from tasks.files import private_folder, private_path
from tasks.snapshot_tables import TableFile, file_hash
from tasks.snapshots import Output, open_output

_NUMBERS = count(100)
OURS = "00000000000000aa"
Rows = Sequence[Mapping[str, Any]]


def publish_export(
    place: Path | Output,
    cases: Rows = (),
    customers: Rows = (),
    case_meta: Rows = (),
    changes: Rows = (),
    *,
    started_at: str = "2026-01-03T05:04:05+00:00",
    name: str = "",
    compared_with: str | None = None,
    **others: Any,
) -> PastExport:
    """An export of these rows, named by `latest.json`; `others` are parts of the manifest."""
    output = open_output(str(place)) if isinstance(place, Path) else place
    start = datetime.fromisoformat(started_at)
    name = name or f"{start:%Y%m%dT%H%M%SZ}-{next(_NUMBERS)}"
    manifest = {
        "snapshot": f"snapshots/{name}",
        "account": OURS,
        "schema_version": SCHEMA_VERSION,
        "mode": "full",
        "filters": {},
        "full_at": started_at,
        "started_at": started_at,
        "finished_at": started_at,
        "watermark": f"{start - timedelta(hours=26):%Y-%m-%d %H:%M:%S}",
        "verification": "quiet",
        "rows": {"cases": len(cases)},
        "changes": {"compared_with": compared_with},
        **others,
    }
    rows = {"cases": cases, "customers": customers, "case_meta": case_meta, "changes": changes}
    _publish(output, name, rows, manifest)
    export = msgspec.convert(manifest, PastExport)
    output.point(PastExports(output, OURS).pointer_to(export))
    return export


def _publish(output: Output, name: str, rows: Mapping[str, Rows], manifest: dict[str, Any]) -> None:
    schemas = {**SCHEMAS._asdict(), "changes": CHANGES}
    with output.workspace() as workspace:
        folder = private_folder(workspace / "tables")
        manifest["files"] = {}
        for table, schema in schemas.items():
            path = folder / f"{table}.parquet"
            full_rows = [dict.fromkeys(schema.names) | dict(row) for row in rows[table]]
            pq.write_table(
                pa.Table.from_pylist(full_rows, schema), private_path(path), row_group_size=2
            )
            file = TableFile(len(full_rows), path.stat().st_size, file_hash(path))
            manifest["files"][path.name] = asdict(file)
        output.publish(folder, name, manifest)
