"""Cases on disk between the API and a snapshot, so that memory doesn't grow with the account.

Belongs here: part files of a run's workspace, written a batch of pages at a time and read back
a range of ids at a time. Does not: what is published (`tasks/snapshots.py`).

A part is an Arrow IPC file, sorted by id and cut into 64 batches or fewer, whose first ids it names
at its head. From these the ranges follow in which all parts are read side by side, whatever the
ids look like: random ones, or such as begin with the time. Of each id the latest copy is kept.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.case_tables import NESTED, latest_cases
from tasks.files import private_path

ROWS_AT_ONCE = 10_000
"""About how many cases are in memory while a snapshot is written; also its row groups."""

BATCHES_A_PART = 64
LEAST_ROWS_A_BATCH = 32
LEAST_ROWS_A_RANGE = 1000
_BATCHES = b"batches"

IdHashes = npt.NDArray[np.int64]
"""Ids as this process's 64-bit hashes: enough to compare sets of them in 8 bytes each.

Two ids that share a hash (once in 10^7 accounts of a million cases) make a sweep look like one
with a repeated id, which costs another sweep; rows are always compared by the id itself.
"""


def write_part(path: Path, pages: Sequence[pa.Table]) -> None:
    """Write `NESTED` tables as one part file; an existing one is replaced."""
    table = pa.concat_tables([NESTED.empty_table(), *pages]).combine_chunks()
    table = table.take(pc.sort_indices(table["id"])).combine_chunks()
    size = max(LEAST_ROWS_A_BATCH, -(-len(table) // BATCHES_A_PART))
    starts = range(0, len(table), size)
    first_ids = table["id"].take(pa.array(starts, pa.int64())).to_pylist()
    rows = [min(size, len(table) - start) for start in starts]
    batches = list(zip(first_ids, rows, strict=True))
    schema = NESTED.with_metadata({_BATCHES: msgspec.json.encode(batches)})
    with pa.OSFile(private_path(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in table.to_batches(size):
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def part_ids(path: Path) -> list[str]:
    """The ids in a part, repeated ones included."""
    options = pa.ipc.IpcReadOptions(included_fields=[NESTED.get_field_index("id")])
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source, options=options) as reader:
        ids: list[str] = reader.read_all()["id"].to_pylist()
        return ids


def id_hashes(ids: Sequence[str]) -> IdHashes:
    """The hashes of `ids`, in the same order."""
    return np.fromiter(map(hash, ids), np.int64, len(ids))


def ids_with_hashes(parts: Sequence[Path], wanted: IdHashes) -> list[str]:
    """The ids in `parts` whose hash is in `wanted`, each once."""
    hashes = set(wanted.tolist())
    return sorted(
        {case_id for part in parts for case_id in part_ids(part) if hash(case_id) in hashes}
    )


def merged(parts: Sequence[Path], without: Sequence[str] = ()) -> Iterator[pa.Table]:
    """All cases of `parts`, sorted by id, each once in its latest copy, in `NESTED` tables.

    Each table has about `ROWS_AT_ONCE` rows; at least one comes, maybe empty. `without` names
    ids to leave out.
    """
    gone = pa.array(list(without), pa.string())
    waiting: list[pa.Table] = []
    for copies in _ranges(parts):
        table = latest_cases(copies)
        if len(gone):
            table = table.filter(pc.invert(pc.is_in(table["id"], value_set=gone)))
        waiting.append(table)
        if sum(map(len, waiting)) >= ROWS_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting = []
    yield pa.concat_tables([NESTED.empty_table(), *waiting])


def _ranges(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """All copies of the cases of one range of ids after another."""
    readers = [_PartReader(part) for part in parts]
    for bound in _bounds(readers):
        copies = [piece for reader in readers for piece in reader.until(bound)]
        yield pa.concat_tables([NESTED.empty_table(), *copies])


def _bounds(readers: Sequence["_PartReader"]) -> Iterator[str | None]:
    """Ids that end one range after the other; None for the last one.

    Ranges are small, for sorting takes memory, but there are not many more of them than parts have
    batches, for each opens all parts that have something in it; and of a large account each is
    enough for a table.
    """
    batches = sorted(batch for reader in readers for batch in reader.batches)
    rows_a_range = min(sum(rows for _, rows in batches) // BATCHES_A_PART, ROWS_AT_ONCE * 5 // 4)
    rows_so_far, last = 0, None
    for first, rows in batches:
        if rows_so_far >= max(rows_a_range, LEAST_ROWS_A_RANGE) and first != last:
            yield first
            rows_so_far = 0
        rows_so_far += rows
        last = first
    yield None


class _PartReader:
    """One part, read from its beginning; keeps a batch at most. Open only while it reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            self.batches = msgspec.json.decode(
                reader.schema.metadata[_BATCHES], type=list[tuple[str, int]]
            )
            """First ids and numbers of rows."""
        self._next = 0
        self._waiting = NESTED.empty_table()

    def until(self, bound: str | None) -> Iterator[pa.Table]:
        """The rows, not given before, whose id is less than `bound`, or all that are left."""
        due = self._next
        while due < len(self.batches) and (bound is None or self.batches[due][0] < bound):
            due += 1
        yield from self._given(self._waiting, bound)
        if due == self._next:
            return
        with pa.OSFile(str(self._path)) as source, pa.ipc.open_file(source) as reader:
            for number in range(self._next, due):
                yield from self._given(
                    pa.Table.from_batches([reader.get_batch(number)], NESTED), bound
                )
        self._next = due

    def _given(self, table: pa.Table, bound: str | None) -> Iterator[pa.Table]:
        """What of it is due; keeps the rest."""
        count = len(table)
        if bound is not None:
            count = bisect_left(table["id"], bound, key=pa.StringScalar.as_py)
        self._waiting = table.slice(count)
        if count:
            yield table.slice(0, count)
