"""Whatever ends the process that forgets a case, exports can be read, and the next one ends it."""

import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from made_exports import publish_export
from read_texts import texts_in

from commands.forget import forget
from protocols.exports import changes_since, read_export
from protocols.rows.run_files import run_folder, write_run_files
from schemas.files.source import read_sheet
from schemas.outcomes import Outcome, RowOutcome

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[3]
CASES = [{"id": "a", "ref": "R-1"}, {"id": "Quill-Case", "ref": "Quill 7"}, {"id": "c"}]
DAYS = [f"2026-01-0{day}T05:00:00+00:00" for day in range(1, 3)]

# For each n, a process forgets the case in a copy of the data and is killed just before its n-th
# change of a name on the disk, until one lives to the end.
FORGET_AND_DIE = """
import os, shutil, signal, sys
from argparse import Namespace
from pathlib import Path
from commands.forget import forget

template, copies = Path(sys.argv[1]), Path(sys.argv[2])

def forget_and_die(data, steps):
    def watch(event, arguments):
        nonlocal steps
        if event in ("os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir"):
            steps -= 1
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    os.environ["XDG_STATE_HOME"] = str(data / "state")
    forget(Namespace(
        ref="Quill 7", case_id="", exports=str(data / "exports"), runs=str(data / "runs"),
        journal=str(data / "journal"), bookings=True, apply=True,
    ))
    os._exit(0)

for steps in range(1, 1000):
    data = copies / str(steps)
    shutil.copytree(template, data, symlinks=True)
    child = os.fork()
    if not child:
        forget_and_die(data, steps)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


def made_data(data: Path) -> None:
    before = None
    for day in DAYS:
        changes = [
            {"table": "cases", "id": each["id"], "change": "changed", "columns": ["notes"]}
            for each in CASES
        ]
        export = publish_export(
            data / "exports", CASES, (), (), changes, started_at=day, compared_with=before
        )
        before = export.name
    source = data / "c.csv"
    source.write_text("ref\nR-1\nQuill 7")
    outcomes = [
        RowOutcome(2, "R-1", "create", Outcome.FAILED, None, "y", "Later."),
        RowOutcome(3, "Quill 7", "create", Outcome.FAILED, None, "y", "Later."),
    ]
    folder = run_folder(str(data / "runs"), "import-cases")
    sheet = read_sheet(source, is_known=lambda name: name == "ref")
    write_run_files(folder, outcomes, sheet, {})
    source.unlink()


def test_forgetting_killed_at_any_step_leaves_whole_exports_and_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_data(tmp_path / "template")
    copies = tmp_path / "copies"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run(
        [sys.executable, "-c", FORGET_AND_DIE, str(tmp_path / "template"), str(copies)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert died.returncode == 0, died.stderr
    folders = sorted(copies.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 20
    for data in folders:
        exports = str(data / "exports")
        for as_of in (None, *DAYS):
            kept = read_export("cases", exports, as_of=as_of, check=True)["id"].to_pylist()
            assert kept in (["a", "c"], ["Quill-Case", "a", "c"], ["a", "Quill-Case", "c"])
        assert len(changes_since("2025-12-31 03:00:00", exports).changes) in (2, 3)
        finish(data, monkeypatch)
        assert "quill" not in texts_in(data).casefold()
        assert len(list(data.glob("exports/snapshots/*"))) == len(DAYS)
        assert len(list(data.glob("exports/manifests/*.json"))) == len(DAYS)
        assert read_export("cases", exports, check=True)["id"].to_pylist() == ["a", "c"]
        assert not list(data.rglob(".run-*"))
    shutil.rmtree(copies)


def finish(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(data / "state"))
    forget(
        Namespace(
            ref="Quill 7", case_id="", exports=str(data / "exports"), runs=str(data / "runs"),
            journal=str(data / "journal"), bookings=True, apply=True,
        )
    )  # fmt: skip
