"""Published exports, as a script or a notebook reads them; nothing is asked of WillSuite.

Belongs here: which snapshot is meant, its tables, and what has changed since a watermark. Does not:
making exports (`flows/export_cases.py`), or comparing files with cases (`reading/exported.py`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from protocols.reading.listing import WIRE_TIME
from protocols.reading.past_exports import PastExport, PastExports
from schemas.case_changes import net_changes
from schemas.case_tables import PANDAS_TYPES, SCHEMAS
from tasks.policy import OutputError
from tasks.snapshot_tables import CHANGES_NAME
from tasks.snapshots import Output, open_output

TableName = Literal["cases", "customers", "case_meta", "changes"]
_TABLES = (*SCHEMAS._fields, CHANGES_NAME)
Table: TypeAlias = Any
"""An Arrow table, or a pandas frame where that is asked for."""


class ChangesSince(NamedTuple):
    """What `changes_since` gives."""

    changes: Table
    """As `changes.parquet`: one row a case and table that is different now."""
    watermark: str
    """For the next time."""


def read_export(
    table: TableName,
    output: str = "data/exports",
    *,
    as_of: datetime | str | None = None,
    wide_meta: bool = False,
    account: str | None = None,
    columns: Sequence[str] | None = None,
    check: bool = False,
    as_pandas: bool = False,
) -> Table:
    """A table of the latest export: an Arrow table, or a pandas frame.

    Args:
        table: "cases", "customers", "case_meta" or "changes".
        output: the `output` of export-cases, a folder or a URL.
        as_of: read the newest export of all cases that began by then, instead of the one that
            `latest.json` names (ISO; without an offset it is UTC).
        wide_meta: of "cases": with a column `meta:<label>` for each CRM field.
        account: whose export it has to be (`account` in `latest.json`).
        columns: of the table; all by default.
        check: compare the file with the hash in its manifest first.
        as_pandas: a pandas frame.

    Raises:
        OutputError: there is no such export, it is another account's, or it is damaged.
        ValueError: there is no such table, or it has no wide form.
    """
    if table not in _TABLES:
        raise ValueError(f"There is no table {table!r}; there are {', '.join(_TABLES)}.")
    if wide_meta and table != "cases":
        raise ValueError('wide_meta=True is a form of the table "cases".')
    place = open_output(str(output))
    export = _export(place, as_of, account)
    rows = _table(place, export, table, columns if not wide_meta else None, check)
    if wide_meta:
        rows = _widened(rows, _table(place, export, "case_meta", None, check))
        rows = rows.select(columns) if columns else rows
    return _given(rows, as_pandas)


def changes_since(
    watermark: str | datetime | None,
    output: str = "data/exports",
    *,
    account: str | None = None,
    as_pandas: bool = False,
) -> ChangesSince:
    """Which cases are different in the latest export from the one with this watermark.

    For somebody who keeps a copy in step: read everything once, keep the `watermark` of
    `latest.json`, and give the one that came with the last changes each time. A change may be told
    twice, and never not at all.

    Args:
        watermark: as `latest.json` has it (UTC); None for all changes ever, all cases added first.
        output: as in `read_export`.
        account: as in `read_export`.
        as_pandas: as in `read_export`.

    Raises:
        OutputError: the exports since then are not all there any more (`keep_last`), or one of them
            couldn't be compared: read the whole export again.
    """
    place = open_output(str(output))
    latest = _export(place, None, account)
    since = None if watermark is None else _moment(watermark).strftime(WIRE_TIME)
    exports = [*_exports_since(PastExports(place, account or latest.account or ""), latest, since)]
    tables = [_table(place, export, CHANGES_NAME, None, False) for export in reversed(exports)]
    return ChangesSince(_given(net_changes(tables), as_pandas), latest.watermark)


def _exports_since(
    past: PastExports, latest: PastExport, since: str | None
) -> Iterator[PastExport]:
    """From the latest one back to the one after that with the watermark `since`."""
    there = {export.name: export for export in past.published()}
    export: PastExport | None = latest
    while export is not None:
        earlier_name = export.changes.compared_with if export.changes else None
        earlier = there.get(earlier_name or "")
        if since is not None and export.watermark <= since:
            # where two have the same one, nobody knows which of them is meant
            if earlier is None or not export.watermark == earlier.watermark == since:
                return
        elif earlier is None and (since is not None or earlier_name is not None):
            raise OutputError(
                "What has changed since then can't be told from the exports that are there; read "
                "the whole export again, and keep more of them (keep_last)."
            )
        yield export
        export = earlier


def _export(output: Output, as_of: datetime | str | None, account: str | None) -> PastExport:
    """The export that is meant."""
    past = PastExports(output, account or PastExports(output, "").owner() or "")
    if account:
        past.refuse_another_account("name the folder of this account's exports")
    if as_of is None:
        export = past.named() or past.current()
    else:
        moment = _moment(as_of)
        by_then = (each for each in past.published() if _moment(each.started_at) <= moment)
        export = next(by_then, None)
    if export is None:
        when = "" if as_of is None else " from before that time"
        raise OutputError(
            f"There is no export of all cases{when} in {output.location('').rstrip('/')}; run "
            "export-cases first."
        )
    return export


def _moment(value: datetime | str) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _table(
    output: Output, export: PastExport, table: str, columns: Sequence[str] | None, check: bool
) -> pa.Table:
    name = f"{export.snapshot}/{table}.parquet"
    try:
        file = output.open(name)
        if file is not None:
            with file:
                if check:
                    known = export.files.get(f"{table}.parquet")
                    if known is None or _hash(file) != known.sha256:
                        raise OutputError(
                            f"{output.location(name)} isn't what was exported; read an earlier one "
                            "(as_of), or export again."
                        )
                return pq.read_table(file, columns=columns and [*columns])
    except (pa.ArrowException, OSError):
        pass
    raise OutputError(f"{output.location(name)} can't be read; export again.")


def _hash(file: Any) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def _widened(cases: pa.Table, case_meta: pa.Table) -> pa.Table:
    """`cases` with a column for each CRM field; of one label's several fields with their ids."""
    last_labels = dict(
        zip(case_meta["field_id"].to_pylist(), case_meta["field_label"].to_pylist(), strict=True)
    )
    labels = list(last_labels.values())
    for field_id, label in sorted(last_labels.items()):
        of_field = case_meta.filter(pc.equal(case_meta["field_id"], field_id))
        places = pc.index_in(cases["id"], value_set=of_field["case_id"].combine_chunks())
        is_clear = label and labels.count(label) == 1
        name = label if is_clear else f"{label} ({field_id})" if label else field_id
        cases = cases.append_column(f"meta:{name}", of_field["value"].take(places))
    return cases


def _given(table: pa.Table, as_pandas: bool) -> Any:
    return table.to_pandas(types_mapper=PANDAS_TYPES.get) if as_pandas else table
