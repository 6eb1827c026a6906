"""A folder stays while somebody has to look what became of one of its rows."""

from pathlib import Path

import pyarrow.parquet as pq

from protocols.rows.needed_folders import needed_folders
from schemas.outcomes import Outcome, RowOutcome, outcome_table

KEYS = ("A", "B")


def made(runs: Path, flow: str, day: int, *outcomes: Outcome) -> Path:
    """A folder whose rows have ended so, in the order of `KEYS`."""
    folder = runs / f"{flow}-2026010{day}T000000Z-01234567"
    folder.mkdir(parents=True)
    rows = [
        RowOutcome(number, key, "create", outcome)
        for number, (key, outcome) in enumerate(zip(KEYS, outcomes, strict=True))
    ]
    pq.write_table(outcome_table(rows, [row.row for row in rows]), folder / "outcomes.parquet")
    return folder


def test_one_with_unknown_rows_stays_until_a_later_run_says_what_became_of_them(
    tmp_path: Path,
) -> None:
    unknown, created = Outcome.UNKNOWN, Outcome.CREATED
    first = made(tmp_path, "import-cases", 1, unknown, unknown)
    made(tmp_path, "import-cases", 2, created, Outcome.NOT_ATTEMPTED)
    made(tmp_path, "update-cases", 2, created, created)  # is about something else
    assert needed_folders(tmp_path, has_open_jobs=False) == {
        first: "stays, since it isn't known what became of 1 row(s)"
    }
    made(tmp_path, "import-cases", 3, created, Outcome.EXISTING)
    assert needed_folders(tmp_path, has_open_jobs=False) == {}


def test_those_of_bulk_updates_stay_while_a_job_may_be_under_way(tmp_path: Path) -> None:
    bulk = made(tmp_path, "bulk-update-cases", 1, Outcome.UPDATED, Outcome.FAILED)
    made(tmp_path, "update-cases", 1, Outcome.UPDATED, Outcome.FAILED)
    assert needed_folders(tmp_path, has_open_jobs=False) == {}
    needed = needed_folders(tmp_path, has_open_jobs=True)
    assert needed == {bulk: "stays, since a bulk job may be under way"}


def test_one_with_a_plan_stays_while_a_run_waits_for_its_approval(tmp_path: Path) -> None:
    folder = made(tmp_path, "import-cases", 1, Outcome.PLANNED, Outcome.PLANNED)
    (folder / "plan.parquet").touch()
    made(tmp_path, "import-cases", 2, Outcome.PLANNED, Outcome.PLANNED)
    assert needed_folders(tmp_path, has_open_jobs=False) == {}
    needed = needed_folders(tmp_path, has_open_jobs=False, has_waiting_runs=True)
    assert [*needed] == [folder]


def test_one_of_an_undo_stays_while_a_run_waits_for_an_approval(tmp_path: Path) -> None:
    folder = tmp_path / "undo-bulk-update-cases-20260101T000000Z-01234567"
    folder.mkdir()
    for name in ("plan.parquet", "undo.parquet"):
        (folder / name).touch()
    assert needed_folders(tmp_path, has_open_jobs=True) == {}
    needed = needed_folders(tmp_path, has_open_jobs=False, has_waiting_runs=True)
    assert [*needed] == [folder]


def test_one_that_cannot_be_read_stays(tmp_path: Path) -> None:
    folder = made(tmp_path, "import-cases", 1, Outcome.CREATED, Outcome.CREATED)
    (folder / "outcomes.parquet").write_bytes(b"PAR1")
    assert "can't be read" in needed_folders(tmp_path, has_open_jobs=False)[folder]
    (folder / "outcomes.parquet").unlink()
    assert needed_folders(tmp_path, has_open_jobs=False) == {}
