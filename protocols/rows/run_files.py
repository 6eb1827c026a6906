"""What a writing run leaves: a folder with the outcome of every row, and the rejected rows.

Belongs here: the layout of a run's folder, fixed by design.md:

    <output>/<flow>-<UTC time>-<id>/outcomes.parquet      every row
                                   /outcomes.csv          the same, where it is asked for
                                   /rejected.xlsx         rows to correct and feed back in
                                   /attention.xlsx        rows that somebody must look at
                                   /plan.parquet          of a plan (`approved.py`)
                                   /approval.json         what somebody said of it
                                   /undo.parquet          former values, to undo an update

Does not: deciding outcomes, or the forms of these files (`schemas/files/`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.columns import BOOKKEEPING, REJECTED_BECAUSE, REJECTED_ROW, normalised
from schemas.files.attention import attention_file
from schemas.files.delimited import written
from schemas.files.source import Sheet
from schemas.files.workbooks import rejects_file
from schemas.issues import Issue
from schemas.outcomes import OUTCOMES, Outcome, RowOutcome, outcome_table
from schemas.rows import place_of
from tasks.files import private_folder, write_atomically
from tasks.policy import OutputError

APPROVAL_NAME = "approval.json"
UNDO_NAME = "undo.parquet"
_NAME = re.compile(r"([a-z]+(?:-[a-z]+)*)-(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder that a run has left."""

    path: Path
    flow: str
    started_at: datetime


def folders_of_runs(output: Path) -> list[RunFolder]:
    """What runs have left in `output`, oldest first; other folders are none of ours."""
    found = []
    for path in output.iterdir() if output.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name and path.is_dir() and not path.is_symlink():
            started_at = datetime.strptime(name[2], _TIME).replace(tzinfo=UTC)
            found.append(RunFolder(path, name[1], started_at))
    return sorted(found, key=lambda folder: folder.started_at)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where a run's files are."""

    folder: Path
    outcomes: Path
    rejected: Path | None
    """None where no row was rejected."""
    attention: Path | None
    """None where nobody has to look at anything else."""


def run_folder(output: str, flow: str) -> Path:
    """A new folder's absolute path for one run; nothing is created yet.

    Raises:
        OutputError: it isn't a folder of this machine.
    """
    if "://" in output:
        raise OutputError("The output of this flow must be a folder of this machine, not a URL.")
    return Path(output).absolute() / f"{flow}-{datetime.now(UTC):{_TIME}}-{uuid4().hex[:8]}"


def write_run_files(
    folder: Path,
    outcomes: Sequence[RowOutcome],
    sheet: Sheet,
    issues: Mapping[int, Sequence[Issue]],
    schema: pa.Schema = OUTCOMES,
    *,
    case_url: str = "",
    as_csv: bool = False,
) -> RunFiles:
    """Write `outcomes.parquet` into `folder` and, if there are any, the rows for people.

    Each file is whole or not there; both are readable by their owner only.

    Args:
        folder: created where it isn't there.
        outcomes: one for each row of the sheet.
        sheet: the rows as they were read.
        issues: what is wrong with rejected rows, to mark their cells.
        schema: of the outcomes.
        case_url: where a case is in WillSuite (`attention.attention_file`).
        as_csv: whether the outcomes are wanted as CSV as well.

    Raises:
        OSError: the disk refuses.
    """
    private_folder(folder)
    table = outcome_table(outcomes, sheet.rows, schema, sheet.files)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(folder / "outcomes.parquet", sink.getvalue().to_pybytes())
    if as_csv:
        rows = ([None if cell is None else str(cell) for cell in row.values()]
                for row in table.to_pylist())  # fmt: skip
        write_atomically(folder / "outcomes.csv", written(table.column_names, rows))
    rejected = [outcome for outcome in outcomes if outcome.outcome is Outcome.REJECTED]
    return RunFiles(
        folder,
        folder / "outcomes.parquet",
        _kept(folder / "rejected", _rejects(rejected, sheet, issues) if rejected else None),
        _kept(folder / "attention", attention_file(outcomes, case_url, sheet.files)),
    )


def _kept(path: Path, file: tuple[str, bytes] | None) -> Path | None:
    """Where a file, given by its ending and content, is now; None where there is none."""
    if file is None:
        return None
    suffix, content = file
    path = path.with_suffix(suffix)
    write_atomically(path, content)
    return path


def _rejects(
    rejected: Iterable[RowOutcome], sheet: Sheet, issues: Mapping[int, Sequence[Issue]]
) -> tuple[str, bytes]:
    """Two columns of ours, then the person's own; rows longer than the header keep their tail."""
    headers = [header for header in sheet.frame.columns if normalised(header) not in BOOKKEEPING]
    places = {header: number for number, header in enumerate(headers, start=2)}
    frame = sheet.frame[headers]
    cells = frame.astype(object).where(frame.notna(), None).to_numpy()  # quick, row by row
    index_of = {row: index for index, row in enumerate(sheet.rows)}
    rows: list[list[str | None]] = []
    marked: set[tuple[int, int]] = set()
    for outcome in rejected:
        own = cells[index_of[outcome.row]].tolist()
        tail = sheet.surplus.get(outcome.row, [])
        for issue in issues.get(outcome.row, ()):
            if issue.column in places:
                marked.add((len(rows), places[issue.column]))
        rows.append([place_of(outcome.row, sheet.files), outcome.message, *own, *tail])
    return rejects_file([REJECTED_ROW, REJECTED_BECAUSE, *headers], rows, marked)
