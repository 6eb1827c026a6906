"""The Parquet files of a snapshot: written, merged with what has changed, and compared.

Belongs here: everything that reads or writes those files a range of cases at a time, so that
memory doesn't grow with the account. Does not: where they are published (`tasks/snapshots.py`),
what is in them (`schemas/case_tables.py`), what counts as a change (`schemas/case_changes.py`).

Tables are sorted by case; so two snapshots, or one and what has changed since, are read side by
side. Row groups have about as many rows as are in memory at once.
"""

import asyncio
import contextlib
import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.case_changes import CASE_KEYS, CHANGES, changes_between, count_changes, dated
from schemas.case_tables import (
    FORMER_SCHEMAS,
    SCHEMAS,
    SEEN,
    CaseTables,
    TableError,
    check_tables,
    flat_tables,
    relabelled,
    with_null_columns,
)
from tasks.files import private_folder, private_path, sync_file
from tasks.policy import RunError, file_task
from tasks.spool import ROWS_AT_ONCE, merged

CHANGES_NAME = "changes"
CASES_A_GROUP = 2 * ROWS_AT_ONCE
"""Where a range has grown by what was added to it, it becomes two row groups of cases."""
_DICTIONARY_COLUMNS = {
    "cases": [*SEEN],
    "customers": ["title", "gender", "marital_status"],
    "case_meta": ["field_id", "field_label"],
    CHANGES_NAME: ["table", "change", "columns.list.element"],
}
_SCHEMAS = {**SCHEMAS._asdict(), CHANGES_NAME: CHANGES}
assert set(_SCHEMAS) == set(_DICTIONARY_COLUMNS)
_NOTHING = CaseTables(*(schema.empty_table() for schema in SCHEMAS))


@dataclass(frozen=True, slots=True)
class TableFile:
    """One published file, as the manifest lists it."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a snapshot, by table, and how many cases were added, changed and removed."""

    files: dict[str, TableFile]
    changes: Counter[str]


@dataclass(frozen=True, slots=True)
class Listed:
    """What of a listing becomes rows."""

    parts: Sequence[Path]
    """Its part files (`tasks/spool.py`)."""
    without: Sequence[str]
    """Ids of cases that are gone."""
    field_labels: Mapping[str, str | None]
    """CRM field ids to labels."""
    birth_forms: Mapping[str, int]
    """How many dates of birth the account has in which form."""
    seen_at: datetime
    """The start of the run: when what is new in it was first seen."""


class CaseFiles:
    """The three tables of a snapshot in a folder, read a range of cases at a time.

    Raises pa.ArrowException or OSError: they aren't there, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._tables = CaseTables(
            *(_SortedFile(folder / f"{name}.parquet", name) for name in CaseTables._fields)
        )
        self.bounds: list[str] = self._tables.cases.bounds
        """The last id of every row group of cases."""

    def until(self, bound: str | None) -> CaseTables:
        """All rows, not given before, of cases up to `bound`, or of all that are left."""
        return CaseTables(*(table.until(bound) for table in self._tables))


class _SortedFile:
    """One of the tables; at most a row group more than was asked for is in memory."""

    def __init__(self, path: Path, name: str) -> None:
        self._file = pq.ParquetFile(path)
        self._schema: pa.Schema = getattr(SCHEMAS, name)
        self._key: str = getattr(CASE_KEYS, name)
        is_known = (self._schema, getattr(FORMER_SCHEMAS, name))
        if not any(map(self._file.schema_arrow.equals, is_known)):
            raise pa.ArrowInvalid(f"{name} has other columns")
        self._next = 0
        self._waiting = self._schema.empty_table()

    @property
    def bounds(self) -> list[str]:
        groups = range(self._file.num_row_groups)
        return [self._last_key(n) for n in groups if self._file.metadata.row_group(n).num_rows]

    def until(self, bound: str | None) -> pa.Table:
        taken = [self._schema.empty_table()]
        while len(self._waiting) or self._next < self._file.num_row_groups:
            if not len(self._waiting):
                # threads would hold the columns of a group in memory side by side
                group = self._file.read_row_group(self._next, use_threads=False)
                self._waiting = with_null_columns(group, self._schema)
                self._next += 1
            count = len(self._waiting)
            if bound is not None:
                count = bisect_right(self._waiting[self._key], bound, key=pa.StringScalar.as_py)
            taken.append(self._waiting.slice(0, count))
            self._waiting = self._waiting.slice(count)
            if len(self._waiting):
                break
        return pa.concat_tables(taken)

    def _last_key(self, group: int) -> str:
        column = self._schema.get_field_index(self._key)
        statistics = self._file.metadata.row_group(group).column(column).statistics
        if statistics is not None and statistics.has_min_max:
            return str(statistics.max)
        keys = self._file.read_row_group(group, columns=[self._key])[self._key]
        return str(keys[-1].as_py())


@file_task(name="write-snapshot")
async def write_snapshot(
    listed: Listed, folder: Path, before: Path | None, *, with_changes: bool = True
) -> Written:
    """Write the Parquet tables of the listed cases into `folder`, checked and synced.

    Args:
        listed: all cases that it has.
        folder: where to; created.
        before: folder of the snapshot to compare it with; without one all cases are added.
        with_changes: whether to write what has changed, too.

    Raises:
        RunError: a table breaks its schema.
        OSError: the disk refuses.
    """
    return await asyncio.to_thread(_write, listed, folder, before, with_changes)


@file_task(name="merge-snapshot")
async def merge_snapshot(
    before: Path, changed: Listed, folder: Path, *, relabel: bool = True
) -> Written:
    """Write the snapshot in `before` with some cases replaced into `folder`, synced.

    Args:
        before: its folder.
        changed: the cases that may have changed or are new, whole, and ids of those to be left out.
        folder: where to; created.
        relabel: give all CRM values the labels of now.

    Raises:
        RunError: a table breaks its schema.
        OSError: the disk refuses.
    """
    return await asyncio.to_thread(_merge, before, changed, folder, relabel)


def _write(listed: Listed, folder: Path, before: Path | None, with_changes: bool) -> Written:
    earlier = CaseFiles(before) if before else None
    with _Writer(folder, with_changes) as writer:
        last = None
        for new in _tables_of(listed):
            if with_changes and len(new.cases):
                last = new.cases["id"][-1].as_py()
                old = earlier.until(last) if earlier else _NOTHING
                changes = writer.note(old, new)
                new = _dated(new, old, changes, listed)  # noqa: PLW2901
            writer.write(new)
            # else the pool keeps what the largest pieces needed, and the peak creeps up
            pa.default_memory_pool().release_unused()
        if earlier and with_changes:
            for bound in _bounds_after(last, earlier.bounds):
                writer.note(earlier.until(bound), _NOTHING)
    return writer.finished()


def _merge(before: Path, changed: Listed, folder: Path, relabel: bool) -> Written:
    aside = private_folder(folder.with_name(f"{folder.name}-changed"))
    _write(changed, aside, None, with_changes=False)
    earlier, now = CaseFiles(before), CaseFiles(aside)
    gone = pa.array(list(changed.without), pa.string())
    last = max(earlier.bounds, default=None)
    with _Writer(folder, with_changes=True) as writer:
        for bound in [*earlier.bounds[:-1], *_bounds_after(last, now.bounds)]:
            old, new = earlier.until(bound), now.until(bound)
            ids = pa.concat_arrays([*new.cases["id"].chunks, gone])
            kept, replaced = _parted(old, ids)
            changes = writer.note(replaced, new)
            rows = _dated(_in_order(kept, new), old, changes, changed)
            if relabel:
                rows = rows._replace(case_meta=relabelled(rows.case_meta, changed.field_labels))
            writer.write(rows)
            pa.default_memory_pool().release_unused()
    return writer.finished()


def _dated(new: CaseTables, old: CaseTables, changes: pa.Table, listed: Listed) -> CaseTables:
    return new._replace(cases=dated(new.cases, old.cases, changes, listed.seen_at))


def _bounds_after(last: str | None, bounds: Sequence[str]) -> list[str | None]:
    """Bounds of ranges of all that comes after `last`, without an end to the last one."""
    return [*[bound for bound in bounds if last is None or bound > last][:-1], None]


def _parted(tables: CaseTables, ids: pa.Array) -> tuple[CaseTables, CaseTables]:
    """The rows of all other cases, and those of these."""
    if not len(ids):
        return tables, _NOTHING
    kept, taken = [], []
    for table, key in zip(tables, CASE_KEYS, strict=True):
        is_one = pc.is_in(table[key], value_set=ids)
        kept.append(table.filter(pc.invert(is_one)))
        taken.append(table.filter(is_one))
    return CaseTables(*kept), CaseTables(*taken)


def _in_order(kept: CaseTables, new: CaseTables) -> CaseTables:
    """Both together; the rows of a case stay in their order."""
    if not len(new.cases):
        return kept
    both = []
    for some, others, key in zip(kept, new, CASE_KEYS, strict=True):
        table = pa.concat_tables([some, others]).combine_chunks()
        both.append(table.take(pc.sort_indices(table, sort_keys=[(key, "ascending")])))
    return CaseTables(*both)


def _tables_of(listed: Listed) -> Iterator[CaseTables]:
    """All cases, sorted by id, a piece at a time; at least one comes, maybe empty."""
    for nested in merged(listed.parts, listed.without):
        tables = flat_tables(nested, listed.field_labels, listed.birth_forms)
        try:
            check_tables(tables)
        except TableError as error:
            raise RunError(
                f"{error} Nothing was published; this is a fault of the export or a change "
                "in the API, so please report it."
            ) from None
        yield tables


class _Writer(contextlib.ExitStack):
    """The files of one snapshot while they are written."""

    def __init__(self, folder: Path, with_changes: bool) -> None:
        super().__init__()
        private_folder(folder)
        names = [name for name in _SCHEMAS if with_changes or name != CHANGES_NAME]
        self._paths = {name: folder / f"{name}.parquet" for name in names}
        self._files = {
            name: self.enter_context(_parquet_writer(path, name))
            for name, path in self._paths.items()
        }
        self._rows = dict.fromkeys(names, 0)
        self._changes: Counter[str] = Counter()

    def write(self, tables: CaseTables) -> None:
        """The next cases."""
        for name, table in tables._asdict().items():
            self._write(name, table)

    def note(self, old: CaseTables, new: CaseTables) -> pa.Table:
        """What has become of these cases; the changes are given, too."""
        changes = changes_between(old, new)
        if len(changes):
            self._write(CHANGES_NAME, changes)
            self._changes += count_changes(changes)
        return changes

    def finished(self) -> Written:
        """After the end of the `with`."""
        files = {name: _finished(path, self._rows[name]) for name, path in self._paths.items()}
        return Written(files, self._changes)

    def _write(self, name: str, table: pa.Table) -> None:
        limit = CASES_A_GROUP if name == "cases" else None
        self._files[name].write_table(table, row_group_size=limit)
        self._rows[name] += len(table)


def _parquet_writer(path: Path, name: str) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        private_path(path),
        _SCHEMAS[name],
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY_COLUMNS[name] or False,
    )


def write_table_file(pieces: Iterable[pa.Table], schema: pa.Schema, path: Path) -> TableFile:
    """Write a table of any columns as one file, synced."""
    rows = 0
    with pq.ParquetWriter(private_path(path), schema, compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(piece)
            rows += len(piece)
    return _finished(path, rows)


def _finished(path: Path, rows: int) -> TableFile:
    sync_file(path)
    return TableFile(rows, path.stat().st_size, file_hash(path))


def file_hash(path: Path) -> str:
    """The file's SHA-256, as a manifest has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
