"""Cases on disk between the API and a snapshot, so that memory doesn't grow with the account.

Belongs here: part files of a run's workspace, written a batch of pages at a time and read back
a range of ids at a time. Does not: what is published (`tasks/snapshots.py`).

A part is an Arrow IPC file, sorted by id and cut into the same 64 ranges of ids in every part.
Reading one range from all parts gives all copies of its cases; of each id the latest is kept.
Ranges follow the ids' first two characters, which spreads UUIDs evenly; other ids only make the
ranges uneven, never the result wrong.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.case_tables import NESTED, latest_cases
from tasks.files import private_path

ROWS_AT_ONCE = 10_000
"""About how many cases are in memory while a snapshot is written; also its row groups."""

AT_ONCE_BYTES = 2_000_000
"""Up to this size parts are read whole: 64 nearly empty ranges take a tenth of a second."""

_BOUNDARIES = [f"{number:02x}" for number in range(4, 256, 4)]

IdHashes = npt.NDArray[np.int64]
"""Ids as this process's 64-bit hashes: enough to compare sets of them in 8 bytes each.

Two ids that share a hash (once in 10^7 accounts of a million cases) make a sweep look like one
with a repeated id, which costs another sweep; rows are always compared by the id itself.
"""


def write_part(path: Path, pages: Sequence[pa.Table]) -> None:
    """Write `NESTED` tables as one part file; an existing one is replaced."""
    table = pa.concat_tables([NESTED.empty_table(), *pages]).combine_chunks()
    table = table.take(pc.sort_indices(table["id"])).combine_chunks()
    ids = table["id"].to_pylist()
    cuts = [0, *(bisect_left(ids, boundary) for boundary in _BOUNDARIES), len(ids)]
    with pa.OSFile(private_path(path), "wb") as sink, pa.ipc.new_file(sink, NESTED) as writer:
        for start, end in pairwise(cuts):
            piece = table.slice(start, end - start).to_batches()
            # one batch a range, also where it is empty: its number is the range's
            writer.write_batch(piece[0] if piece else _EMPTY_BATCH)


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
    """All copies of the cases of one range of ids after another; of small parts all at once."""
    if sum(part.stat().st_size for part in parts) <= AT_ONCE_BYTES:
        yield pa.concat_tables([NESTED.empty_table(), *map(_whole, parts)])
        return
    for number in range(len(_BOUNDARIES) + 1):
        yield _range(parts, number)


def _whole(part: Path) -> pa.Table:
    with pa.OSFile(str(part)) as source, pa.ipc.open_file(source) as reader:
        return reader.read_all()


def _range(parts: Sequence[Path], number: int) -> pa.Table:
    batches = []
    for part in parts:
        with pa.OSFile(str(part)) as source, pa.ipc.open_file(source) as reader:
            batches.append(reader.get_batch(number))
    return pa.Table.from_batches(batches, NESTED)


_EMPTY_BATCH = pa.RecordBatch.from_pylist([], schema=NESTED)
