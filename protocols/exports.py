"""Published exports, as a script or a notebook reads them; nothing is asked of WillSuite.

Belongs here: tables in the forms that readers want, what has changed since a watermark, and views
for DuckDB. Does not: making exports (`flows/export_cases.py`), finding one
(`reading/published.py`), copies without people (`pseudonymised.py`), or comparing files with cases
(`reading/exported.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from protocols.reading.listing import WIRE_TIME
from protocols.reading.past_exports import PastExport, PastExports
from protocols.reading.published import find_export, moment, read_table
from schemas.case_changes import net_changes
from schemas.case_tables import PANDAS_TYPES, SCHEMAS
from schemas.pseudonyms import PSEUDONYMISED, SOURCE_COLUMNS, pseudonymised
from tasks.policy import OutputError
from tasks.snapshot_tables import CHANGES_NAME
from tasks.snapshots import Output, open_output
from willsuite import load_pseudonym_key

TableName = Literal["cases", "customers", "case_meta", "changes"]
Profile = Literal["full", "pseudonymised"]
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
    profile: Profile = "full",
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
        profile: "pseudonymised" gives a list of columns without people: hashes of ids and
            references, with the key WILLSUITE_PSEUDONYM_KEY, years of birth, outward postcodes,
            CRM values of closed lists.

    Raises:
        OutputError: there is no such export, it is another account's, or it is damaged.
        ValueError: there is no such table, profile or column, or it has no wide form.
        ConfigurationError: WILLSUITE_PSEUDONYM_KEY is missing or too short.
    """
    if profile not in ("full", PSEUDONYMISED):
        raise ValueError(f"There is no profile {profile!r}; there are full and pseudonymised.")
    if table not in _TABLES:
        raise ValueError(f"There is no table {table!r}; there are {', '.join(_TABLES)}.")
    if wide_meta and table != "cases":
        raise ValueError('wide_meta=True is a form of the table "cases".')
    place = open_output(str(output))
    export = find_export(place, as_of, account)
    if profile == "full" and not wide_meta:
        rows = read_table(place, export, table, columns, check=check)
    else:
        rows = _whole(place, export, table, profile, check)
    if wide_meta:
        rows = _widened(rows, _whole(place, export, "case_meta", profile, check))
    if missing := set(columns or ()).difference(rows.column_names):
        raise ValueError(f"There is no column {', '.join(sorted(missing))} in this table.")
    return _given(rows.select(columns) if columns else rows, as_pandas)


def _whole(output: Output, export: PastExport, table: str, profile: str, check: bool) -> pa.Table:
    if profile in ("full", export.profile):
        return read_table(output, export, table, check=check)
    key = load_pseudonym_key()
    rows = read_table(output, export, table, SOURCE_COLUMNS[table], check=check)
    return pseudonymised(table, rows, key, export.crm_field_options)


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
    latest = find_export(place, None, account)
    since = None if watermark is None else moment(watermark).strftime(WIRE_TIME)
    exports = [*_exports_since(PastExports(place, account or latest.account or ""), latest, since)]
    tables = [read_table(place, export, CHANGES_NAME) for export in reversed(exports)]
    return ChangesSince(_given(net_changes(tables), as_pandas), latest.watermark)


def export_views(
    output: str = "data/exports",
    *,
    as_of: datetime | str | None = None,
    account: str | None = None,
) -> str:
    """SQL for DuckDB that makes views of the latest export.

    `cases`, `customers`, `case_meta`, `changes` (where it has them), and `cases_wide`, which has a
    column `meta:<label>` for each CRM field. All are of one export: run it again after the next.

    Args:
        output: as in `read_export`.
        as_of: as in `read_export`.
        account: as in `read_export`.

    Raises:
        OutputError: there is no such export, it is another account's, or it is damaged.
    """
    place = open_output(str(output))
    export = find_export(place, as_of, account)
    tables = [name for name in _TABLES if f"{name}.parquet" in export.files]
    views = {
        name: f"from read_parquet({_text(place.location(path))})"
        for name in tables
        for path in [f"{export.snapshot}/{name}.parquet"]
    }
    meta = read_table(place, export, "case_meta", ["field_id", "field_label"])
    views["cases_wide"] = _wide_query(_meta_columns(meta))
    return "\n".join(f"create or replace view {name} as {sql};" for name, sql in views.items())


def _wide_query(meta_columns: Mapping[str, str]) -> str:
    if not meta_columns:
        return "from cases"
    values = ", ".join(
        f"max(value) filter (where field_id = {_text(field_id)}) as {_name(column)}"
        for field_id, column in meta_columns.items()
    )
    wide = f"from case_meta select case_id, {values} group by case_id"
    return (
        f"from cases left join ({wide}) wide on case_id = id select cases.*, wide.* exclude case_id"
    )


def _text(value: str) -> str:
    """As a text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    """As a name in SQL."""
    return '"' + value.replace('"', '""') + '"'


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


def _widened(cases: pa.Table, case_meta: pa.Table) -> pa.Table:
    """`cases` with a column for each CRM field."""
    for field_id, name in _meta_columns(case_meta).items():
        of_field = case_meta.filter(pc.equal(case_meta["field_id"], field_id))
        places = pc.index_in(cases["id"], value_set=of_field["case_id"].combine_chunks())
        cases = cases.append_column(name, of_field["value"].take(places))
    return cases


def _meta_columns(case_meta: pa.Table) -> dict[str, str]:
    """Names of columns by CRM field; of one label's several fields with their ids."""
    fields = case_meta.group_by(["field_id", "field_label"]).aggregate([]).to_pylist()
    fields.sort(key=lambda field: field["field_label"] or "")
    by_id = {each["field_id"]: each["field_label"] for each in fields}
    # for DuckDB's names big and small letters are the same
    labels = [(label or "").casefold() for label in by_id.values()]
    names = {}
    for field_id, label in sorted(by_id.items()):
        is_clear = label and labels.count(label.casefold()) == 1
        names[field_id] = label if is_clear else f"{label} ({field_id})" if label else field_id
    return {field_id: f"meta:{name}" for field_id, name in names.items()}


def _given(table: pa.Table, as_pandas: bool) -> Any:
    return table.to_pandas(types_mapper=PANDAS_TYPES.get) if as_pandas else table
