"""What is different between two exports, case by case.

Belongs here: comparing tables (`case_tables.py`), the table of changes, putting several of these
together, and when cases were new and changed. Does not: reading or writing files
(`tasks/snapshot_tables.py`).

A row of changes says that the rows of one case in one table were `added`, `changed` or `removed`.
A case all of whose people went is `removed` from `customers` and stays in `cases`. `columns` names
what is different in a changed one: columns of `cases` and `customers` (`id` where a person came or
went), CRM field ids for `case_meta`. A label that was renamed changes no case.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from schemas.case_tables import METADATA, MOMENT, SCHEMAS, SEEN, CaseTables

ADDED, CHANGED, REMOVED = "added", "changed", "removed"
_COLUMNS = pa.list_(pa.string())
CHANGES = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("table", "id", "change")),
        pa.field("columns", _COLUMNS),
    ],
    metadata=METADATA,
)
CASE_KEYS = CaseTables("id", "case_id", "case_id")
"""The column by which each table is sorted."""
_ROW_KEYS = CaseTables("id", "id", "field_id")
"""What tells a case's rows apart."""
_NOT_COMPARED = {"field_label", *SEEN}
_NAMES = CaseTables(*CaseTables._fields)


def changes_between(old: CaseTables, new: CaseTables) -> pa.Table:
    """How the cases of `new` differ from those of `old`, sorted by table and id."""
    found = map(_changes, _NAMES, old, new)
    return pa.concat_tables([CHANGES.empty_table(), *found])


def dated(cases: pa.Table, before: pa.Table, changes: pa.Table, now: datetime) -> pa.Table:
    """`cases` with when an export first saw each, and when it last saw it changed.

    Where the export before has the case, the times in its `before` stay, if it wasn't changed; what
    is new, or isn't known, is of now.
    """
    places = pc.index_in(cases["id"], value_set=_flat(before["id"]))
    unchanged = pc.invert(pc.is_in(cases["id"], value_set=_flat(changes["id"])))
    for name, is_kept in zip(SEEN, (True, unchanged), strict=True):
        times = pc.if_else(is_kept, before[name].take(places), pa.scalar(None, MOMENT))
        times = pc.fill_null(times, pa.scalar(now, MOMENT))
        place = cases.schema.get_field_index(name)
        cases = cases.set_column(place, cases.field(place), times)
    return cases


def count_changes(changes: pa.Table) -> Counter[str]:
    """How many cases were added, changed in whatever table, and removed."""
    of_cases = pc.equal(changes["table"], _NAMES.cases)
    came_or_went = pc.and_(of_cases, pc.not_equal(changes["change"], CHANGED))
    whole = changes.filter(came_or_went)
    kinds = pc.value_counts(whole["change"]).to_pylist()
    counts = Counter({kind["values"]: kind["counts"] for kind in kinds})
    in_part = changes.filter(pc.invert(came_or_went))["id"]
    in_part = in_part.filter(pc.invert(pc.is_in(in_part, value_set=_flat(whole["id"]))))
    counts[CHANGED] = len(pc.unique(in_part))
    return counts


def net_changes(in_order: Iterable[pa.Table]) -> pa.Table:
    """Changes of one export after the other as one: what came and went again is not in it."""
    first: dict[tuple[str, str], str] = {}
    last: dict[tuple[str, str], str] = {}
    columns: dict[tuple[str, str], set[str]] = {}
    for changes in in_order:
        for row in changes.to_pylist():
            key = row["table"], row["id"]
            first.setdefault(key, row["change"])
            last[key] = row["change"]
            columns.setdefault(key, set()).update(row["columns"] or ())
    rows: list[dict[str, object]] = []
    for table, case_id in sorted(first):
        key = table, case_id
        was_there, is_there = first[key] != ADDED, last[key] != REMOVED
        if was_there or is_there:
            change = _change(was_there, is_there)
            names = sorted(columns[key]) if change == CHANGED else []
            rows.append({"table": table, "id": case_id, "change": change, "columns": names})
    return pa.Table.from_pylist(rows, schema=CHANGES)


def _changes(name: str, old: pa.Table, new: pa.Table) -> pa.Table:
    case_key = getattr(CASE_KEYS, name)
    compared = [column for column in new.column_names if column not in _NOT_COMPARED]
    old, new = old.select(compared), new.select(compared)
    if not len(old) or not len(new):
        rows, change = (new, ADDED) if len(new) else (old, REMOVED)
        ids = pc.unique(rows[case_key])
        no_columns = pa.ListArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(ids) + 1), [])
        return _table(name, ids, pa.repeat(change, len(ids)), no_columns.cast(_COLUMNS))
    if old.equals(new):
        return CHANGES.empty_table()
    touched = _touched(name, old, new)
    ids = pa.array(sorted(touched), pa.string())
    before = pc.is_in(ids, value_set=_flat(old[case_key])).to_pylist()
    after = pc.is_in(ids, value_set=_flat(new[case_key])).to_pylist()
    changes = [_change(*each) for each in zip(before, after, strict=True)]
    # in the order of the columns, and fields of `case_meta` by their ids
    order = {column: place for place, column in enumerate(getattr(SCHEMAS, name).names)}
    columns = [
        sorted(touched[case_id], key=lambda each: (order.get(each, 0), each))
        if change == CHANGED
        else []
        for case_id, change in zip(ids.to_pylist(), changes, strict=True)
    ]
    return _table(name, ids, pa.array(changes, pa.string()), pa.array(columns, _COLUMNS))


def _change(was_there: bool, is_there: bool) -> str:
    if was_there and is_there:
        return CHANGED
    return ADDED if is_there else REMOVED


def _touched(name: str, old: pa.Table, new: pa.Table) -> Mapping[str, set[str]]:
    """Ids of the cases that differ, and in which columns (or CRM fields)."""
    touched: dict[str, set[str]] = {}
    for case_id, what in _differences(name, old, new):
        touched.setdefault(case_id, set()).add(what)
    return touched


def _differences(name: str, old: pa.Table, new: pa.Table) -> Iterator[tuple[str, str]]:
    case_key, row_key = getattr(CASE_KEYS, name), getattr(_ROW_KEYS, name)
    is_meta = name == _NAMES.case_meta

    def told(rows: pa.Table, mask: pa.ChunkedArray, column: str) -> Iterator[tuple[str, str]]:
        ids = rows[case_key].filter(mask).to_pylist()
        what = rows[row_key].filter(mask).to_pylist() if is_meta else [column] * len(ids)
        return zip(ids, what, strict=True)

    old_keys, new_keys = _keys(old, case_key, row_key), _keys(new, case_key, row_key)
    places = pc.index_in(new_keys, value_set=old_keys)
    yield from told(new, pc.is_null(places), row_key)
    yield from told(old, pc.invert(pc.is_in(old_keys, value_set=new_keys)), row_key)
    after = new.filter(pc.is_valid(places))
    before = old.take(pc.drop_null(places))
    for column in new.column_names:
        if not before[column].equals(after[column]):
            yield from told(after, _differs(before[column], after[column]), column)


def _differs(before: pa.ChunkedArray, after: pa.ChunkedArray) -> pa.ChunkedArray:
    is_null_now_or_then = pc.xor(pc.is_null(before), pc.is_null(after))
    return pc.or_(is_null_now_or_then, pc.fill_null(pc.not_equal(before, after), False))


def _keys(rows: pa.Table, case_key: str, row_key: str) -> pa.Array:
    if row_key == case_key:
        return _flat(rows[case_key])
    return _flat(pc.binary_join_element_wise(rows[case_key], rows[row_key], "\0"))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array, as `value_set` has to be."""
    return (
        column
        if isinstance(column, pa.Array)
        else pa.concat_arrays([pa.array([], column.type), *column.chunks])
    )


def _table(name: str, ids: pa.Array, changes: pa.Array, columns: pa.Array) -> pa.Table:
    arrays = [pa.repeat(name, len(ids)), _flat(ids), changes, columns]
    return pa.Table.from_arrays(arrays, schema=CHANGES)
