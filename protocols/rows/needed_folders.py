"""Which folders of runs somebody still needs.

Belongs here: the rows of which it isn't known what became of them. Does not: how old a folder is,
and removing it (`commands/purge_runs.py`).

No run reads the folder of another; a person does, to look what became of an unknown row: the
journal holds no keys that could be read, and a job no references.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from protocols.rows.approved import PLAN_NAME
from protocols.rows.run_files import folders_of_runs
from schemas.outcomes import Outcome

BULK_FLOW = "bulk-update-cases"
_PLANNED = "stays, since a run waits for a plan to be approved"
_SAYS_NOTHING = {Outcome.UNKNOWN, Outcome.NOT_ATTEMPTED, Outcome.PLANNED}


def needed_folders(
    runs: Path, *, has_open_jobs: bool, has_waiting_runs: bool = False
) -> dict[Path, str]:
    """The folders that must stay, each with the reason.

    Args:
        runs: where runs leave their folders.
        has_open_jobs: whether a bulk request of some account may be under way.
        has_waiting_runs: whether a run waits for its plan to be approved.
    """
    needed: dict[Path, str] = {}
    settled: set[tuple[str, str]] = set()
    for folder in reversed(folders_of_runs(runs)):
        has_plan = (folder.path / PLAN_NAME).exists()
        path = folder.path / "outcomes.parquet"
        try:
            table = pq.read_table(path, columns=["key", "outcome"])
        except FileNotFoundError:
            if has_plan and has_waiting_runs:  # of an undo
                needed[folder.path] = _PLANNED
            continue
        except (pa.ArrowException, OSError):
            needed[folder.path] = "stays, since its outcomes can't be read"
            continue
        rows = list(zip(table["key"].to_pylist(), table["outcome"].to_pylist(), strict=True))
        open_rows = [
            key
            for key, outcome in rows
            if outcome == Outcome.UNKNOWN and (folder.flow, key) not in settled
        ]
        if open_rows:
            needed[folder.path] = (
                f"stays, since it isn't known what became of {len(open_rows):,} row(s)"
            )
        elif has_open_jobs and folder.flow == BULK_FLOW:
            needed[folder.path] = "stays, since a bulk job may be under way"
        elif has_waiting_runs and has_plan:
            needed[folder.path] = _PLANNED
        # of a key that is said anew later, nobody has to look at the earlier row
        settled |= {(folder.flow, key) for key, outcome in rows if outcome not in _SAYS_NOTHING}
    return needed
