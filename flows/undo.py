"""The way back from a bulk update: each case as it was, where it still is as the update left it.

Belongs here: making a file and a plan of a run's outcomes. Does not: carrying them out, which is
an update like any other (`flows/bulk_update_cases.py`), held to that plan.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.bulk_update_cases import FLOW, BulkUpdateSummary, bulk_update_cases
from protocols.rows.approved import write_intents
from protocols.rows.run_files import UNDO_NAME, run_folder
from schemas.outcomes import Outcome
from tasks.connection import settings_of
from tasks.files import private_folder, write_atomically
from tasks.policy import RunError

UNDONE = {Outcome.UPDATED, Outcome.PARTIAL}
FIRST_ROW = 2
"""Of the file's rows, under its header."""


class UndoSummary(BulkUpdateSummary):
    """What `undo_bulk_update` returns."""

    source: str
    """The file with the former values, for `source` of the run that carries the plan out."""
    not_undone: int
    """Fields that were blank before: WillSuite can't be told to empty a field."""


@dataclass(frozen=True)
class _Change:
    """What an update did to a case, by column."""

    case_id: str
    after: Mapping[str, str]
    back: Mapping[str, str]
    """What was there before; without what was blank."""


async def undo_bulk_update(
    outcomes: str, output: str = "data/runs", connection: str | None = None
) -> UndoSummary:
    """Plan the way back from a bulk update; nothing is sent.

    To carry it out: `await bulk_update_cases(source=summary["source"], plan=summary["plan_file"],
    blank_words=[])`. A case that somebody has changed since the update ends as conflict.

    Args:
        outcomes: the outcomes.parquet of the update, or its folder.
        output: folder for the plan.
        connection: as of the update.

    Raises:
        RunError: these aren't the outcomes of an update, or nothing in it can be undone.
    """
    path = Path(outcomes)
    path = path / "outcomes.parquet" if path.is_dir() else path
    changes = list(await asyncio.to_thread(_changes, path))
    rows = [change for change in changes if change.back]
    if not rows:
        raise RunError(f"{path} has no change that can be undone.")
    account = (await settings_of(connection)).account_name
    folder = private_folder(run_folder(str(output), f"undo-{FLOW}"))
    source = folder / UNDO_NAME
    await asyncio.to_thread(_write, source, rows)
    intents = [
        (number, (change.case_id, name, change.after[name], value))
        for number, change in enumerate(rows, FIRST_ROW)
        for name, value in change.back.items()
    ]
    plan = write_intents(folder, intents, flow=FLOW, account=account)
    planned = await bulk_update_cases(
        source=str(source), output=output, dry_run=True, plan=str(plan), connection=connection,
        blank_words=[],
    )  # fmt: skip
    not_undone = sum(len(change.after) - len(change.back) for change in changes)
    return UndoSummary(**planned, source=str(source), not_undone=not_undone)


def _changes(path: Path) -> Iterator[_Change]:
    """What the outcomes say was changed.

    Raises:
        RunError: they aren't those of an update.
    """
    try:
        table = pq.read_table(path, columns=["case_id", "outcome", "before", "after"])
    except (FileNotFoundError, pa.ArrowInvalid):
        raise RunError(f"{path} are not the outcomes of an update on this machine.") from None
    for row in table.to_pylist():
        if row["outcome"] in UNDONE and row["before"] and row["after"]:
            before, after = json.loads(row["before"]), json.loads(row["after"])
            back = {name: value for name, value in before.items() if value and after.get(name)}
            yield _Change(row["case_id"], after, back)


def _write(path: Path, changes: Sequence[_Change]) -> None:
    """A file for the update, one row a case, with a blank cell where nothing is to be undone."""
    names = list(dict.fromkeys(name for change in changes for name in change.back))
    columns = {name: [change.back.get(name) for change in changes] for name in names}
    table = pa.table({"id": [change.case_id for change in changes], **columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(path, sink.getvalue().to_pybytes())
