"""A case in the folders that runs have left: finding its rows, and writing the files anew.

Belongs here: which rows and cells of a run's files are the case's. Does not: the layout of a run's
folder (`rows/run_files.py`), or which case it is (`traces.py`).

The outcomes say which rows of the person's file were the case's, so they are written last: after a
run that was killed in between, the next one finds the rest by them.
"""

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from operator import ne
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from protocols.forgetting.traces import Traces
from protocols.rows.approved import PLAN_NAME
from protocols.rows.run_files import APPROVAL_NAME, UNDO_NAME, RunFolder, folders_of_runs
from schemas.columns import REJECTED_BECAUSE, REJECTED_ROW, normalised
from schemas.files.delimited import written
from schemas.files.source import read_sheet
from schemas.files.workbooks import rejects_file
from schemas.issues import SourceError
from tasks.files import write_atomically
from tasks.policy import OutputError
from tasks.workspace import run_workspace

OUTCOMES_NAME = "outcomes.parquet"
_CSV_NAME = "outcomes.csv"
_TO_READ = ("rejected.xlsx", "rejected.csv", "attention.xlsx", "attention.csv")
_OURS = frozenset({OUTCOMES_NAME, _CSV_NAME, PLAN_NAME, UNDO_NAME, APPROVAL_NAME, *_TO_READ})
"""A plan has digests only, and names no case."""
_SENTENCES = frozenset({"message", "before", "after"})
"""Of outcomes: columns in which the row of another case may name this one."""
_SENTENCE = {"rejected": REJECTED_BECAUSE, "attention": "what_to_do"}
"""The same in the files for people; all other columns may be fed back."""
_NAMES_THE_CASE = ("id", "case_id", "ref", "case_ref", "new_ref")
"""Columns of the person's own file, and of ours."""
_PLACE = {"rejected": REJECTED_ROW, "attention": "row"}
_APPOINTMENT = "appointment_id"
"""Where there is this column, `key` is another system's, and names no case."""


@dataclass(frozen=True, slots=True)
class FileTraces:
    """What one file of a run has of a case."""

    path: Path
    rows: int
    mentions: int
    """Cells of other rows that name the case."""


@dataclass(frozen=True, slots=True)
class _Found:
    traces: FileTraces
    content: Callable[[], bytes | None]
    """The file without them; None if nothing is left of it."""


def known_in_runs(runs: Path) -> Iterator[tuple[str, str | None]]:
    """Id and reference of every case that outcomes name by both."""
    for folder in folders_of_runs(runs):
        table = _outcomes(folder)
        if table is not None and _APPOINTMENT not in table.column_names:
            pairs = zip(table["case_id"].to_pylist(), table["key"].to_pylist(), strict=True)
            yield from ((case_id, key) for case_id, key in pairs if case_id)


def find_in_runs(runs: Path, traces: Traces) -> list[FileTraces]:
    """The files of runs that have the case, oldest first.

    Raises:
        OutputError: one can't be read.
    """
    return [each.traces for folder in folders_of_runs(runs) for each in _found(folder, traces)]


def unknown_files(runs: Path) -> int:
    """How many files in the folders of runs are not as a run leaves them: somebody's own copies."""
    return sum(
        path.is_file() and path.name not in _OURS
        for folder in folders_of_runs(runs)
        for path in folder.path.rglob("*")
    )


def forget_in_runs(runs: Path, traces: Traces) -> None:
    """Write every file that has the case anew.

    Raises:
        OutputError: a run is writing, or a file can't be read or written.
    """
    if not runs.is_dir():
        return
    with run_workspace(runs) as own:  # what killed runs left is removed with it
        if any(folder != own for folder in runs.glob(".run-*")):
            raise OutputError(
                f"A run is using {runs}, and will write its outcomes at its end; start this again "
                "when it has ended."
            )
        for folder in folders_of_runs(runs):
            for name in _OURS:
                for left in folder.path.glob(f".{name}.*"):  # by a run killed while it wrote
                    left.unlink()
            for found in _found(folder, traces):
                content = found.content()
                try:
                    if content is None:
                        found.traces.path.unlink()
                    else:
                        write_atomically(found.traces.path, content)
                except OSError as error:
                    raise OutputError(
                        f"{found.traces.path} can't be written ({error.strerror})."
                    ) from None


def _found(folder: RunFolder, traces: Traces) -> list[_Found]:
    """Files of one run, the outcomes last."""
    outcomes = _outcomes(folder)
    mine = [] if outcomes is None else _is_row(outcomes, traces)
    places = set() if outcomes is None else _places(outcomes, mine)
    found = [
        _sheet_traces(folder.path / name, places, traces)
        for name in _TO_READ
        if (folder.path / name).is_file()
    ]
    for name, look in ((UNDO_NAME, _undo_traces), (APPROVAL_NAME, _approval_traces)):
        if (folder.path / name).is_file():
            found.append(look(folder.path / name, traces))
    if outcomes is not None:
        rest, mentions = _without(outcomes, mine, traces)
        for name, form in ((_CSV_NAME, _csv), (OUTCOMES_NAME, _parquet)):
            if (folder.path / name).is_file():
                file = FileTraces(folder.path / name, sum(mine), mentions)
                found.append(_Found(file, partial(form, rest)))
    return [each for each in found if each.traces.rows or each.traces.mentions]


def _outcomes(folder: RunFolder) -> pa.Table | None:
    path = folder.path / OUTCOMES_NAME
    return _table(path) if path.is_file() else None


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError):
        raise _unreadable(path) from None


def _is_row(table: pa.Table, traces: Traces) -> list[bool]:
    keys = table["key"].to_pylist()
    if _APPOINTMENT in table.column_names:
        keys = [None] * len(keys)
    return [
        traces.is_row(case_id, key)
        for case_id, key in zip(table["case_id"].to_pylist(), keys, strict=True)
    ]


def _places(table: pa.Table, mine: Sequence[bool]) -> set[str]:
    """The case's rows as files for people call them."""
    rows = table["row"].to_pylist()
    files = table["file"].to_pylist() if "file" in table.column_names else [None] * len(rows)
    named = [
        f"{row} of {name}" if name else str(row) for row, name in zip(rows, files, strict=True)
    ]
    return set(compress(named, mine))


def _without(table: pa.Table, mine: Sequence[bool], traces: Traces) -> tuple[pa.Table, int]:
    """The rows of others, and in how many cells of these the case was named."""
    rest = table.filter(pa.array([not each for each in mine], pa.bool_()))
    mentions = 0
    for name in _SENTENCES & set(rest.column_names):
        cells = rest[name].to_pylist()
        others = [traces.without_mentions(cell) for cell in cells]
        mentions += sum(map(ne, cells, others))
        place = rest.schema.get_field_index(name)
        rest = rest.set_column(place, rest.schema.field(name), pa.array(others, pa.string()))
    return rest, mentions


def _csv(table: pa.Table) -> bytes:
    rows = ([None if cell is None else str(cell) for cell in row.values()]
            for row in table.to_pylist())  # fmt: skip
    return written(table.column_names, rows)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _undo_traces(path: Path, traces: Traces) -> _Found:
    """Former values by case; a row that goes leaves a blank one, since the plan counts rows."""
    table = _table(path)
    ids = table["id"].to_pylist()
    mine = [bool(case_id) and traces.is_row(case_id, None) for case_id in ids]
    mask = pa.array(mine, pa.bool_())
    rest = pa.table(
        {
            name: pc.if_else(mask, pa.scalar(None, table[name].type), table[name])
            for name in table.column_names
        }
    )
    is_empty = not any(rest["id"].to_pylist())
    return _Found(FileTraces(path, sum(mine), 0), lambda: None if is_empty else _parquet(rest))


def _approval_traces(path: Path, traces: Traces) -> _Found:
    try:
        said = msgspec.json.decode(path.read_bytes(), type=dict[str, str | bool])
    except (msgspec.MsgspecError, OSError):
        raise _unreadable(path) from None
    reworded = {
        name: traces.without_mentions(value) if isinstance(value, str) else value
        for name, value in said.items()
    }
    mentions = sum(reworded[name] != said[name] for name in said)
    return _Found(FileTraces(path, 0, mentions), partial(msgspec.json.encode, reworded))


def _sheet_traces(path: Path, places: Collection[str], traces: Traces) -> _Found:
    """A file for people: by its rows, and by the columns in which it names cases."""
    names_case = _is_mine_in_rejects if path.stem == "rejected" else _is_mine_in_attention
    place, sentence = _PLACE[path.stem], _SENTENCE[path.stem]
    header, rows = _read(path, {place, sentence, "key", *_NAMES_THE_CASE})
    names = [normalised(name) for name in header]
    at = names.index(sentence) if sentence in names else None
    kept, mentions = [], 0
    for row in rows:
        cells = dict(zip(names, row, strict=False))
        if cells.get(place) in places or names_case(cells, traces):
            continue
        kept.append(row)
        if at is not None:
            reworded = traces.without_mentions(row[at])
            mentions += reworded != row[at]
            row[at] = reworded
    file = FileTraces(path, len(rows) - len(kept), mentions)
    return _Found(file, partial(_written, path.suffix, header, kept))


def _is_mine_in_attention(cells: Mapping[str, str | None], traces: Traces) -> bool:
    key = None if _APPOINTMENT in cells else cells.get("key")
    return traces.is_row(cells.get("case_id"), key)


def _is_mine_in_rejects(cells: Mapping[str, str | None], traces: Traces) -> bool:
    return any(traces.is_named(cells.get(name)) for name in _NAMES_THE_CASE)


def _read(path: Path, known: Collection[str]) -> tuple[list[str], list[list[str | None]]]:
    """The header and the rows, with cells beyond the header."""
    try:
        sheet = read_sheet(path, is_known=lambda name: normalised(name) in known, hidden="include")
    except SourceError:
        raise _unreadable(path) from None
    cells = sheet.frame.astype(object).where(sheet.frame.notna(), None).to_numpy().tolist()
    rows = [
        [*row, *sheet.surplus.get(number, ())]
        for number, row in zip(sheet.rows, cells, strict=True)
    ]
    return [str(name) for name in sheet.frame.columns], rows


def _written(
    suffix: str, header: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> bytes | None:
    if not rows:
        return None
    return written(header, rows) if suffix == ".csv" else rejects_file(header, rows, ())[1]


def _unreadable(path: Path) -> OutputError:
    return OutputError(
        f"{path} can't be read, so it isn't known whether the case is in it; look at it yourself, "
        "move it away, and start this again."
    )
