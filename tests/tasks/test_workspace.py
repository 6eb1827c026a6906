"""A private folder for one run, whatever becomes of the others."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.policy import OutputError
from tasks.snapshots import LocalOutput
from tasks.workspace import run_workspace

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import sys
from pathlib import Path
from tasks.workspace import run_workspace
with run_workspace(Path(sys.argv[1])) as folder:
    (folder / "part-000001.arrow").write_bytes(b"somebody")
    print(folder, flush=True)
    sys.stdin.read()
"""


class Run:
    """A run in a process of its own that has its workspace until it is ended."""

    def __init__(self, output: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(output)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.folder = Path(self._process.stdout.readline().strip())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()
        assert self._process.returncode == -signal.SIGKILL

    def finish(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def workspaces(output: Path) -> set[Path]:
    return set(output.glob(".run-*"))


@pytest.mark.soak
def test_runs_that_live_keep_theirs_and_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    live, killed = Run(tmp_path), Run(tmp_path)
    killed.kill()
    assert workspaces(tmp_path) == {live.folder, killed.folder}
    with run_workspace(tmp_path) as ours:
        assert workspaces(tmp_path) == {live.folder, ours}
        with LocalOutput(tmp_path).workspace() as exports:
            assert workspaces(tmp_path) == {live.folder, ours, exports}
    assert (live.folder / "part-000001.arrow").read_bytes() == b"somebody"
    live.finish()
    assert workspaces(tmp_path) == set()


def test_an_export_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed = Run(tmp_path)
    killed.kill()
    with LocalOutput(tmp_path).workspace() as ours:
        assert workspaces(tmp_path) == {ours}


def test_what_was_left_without_a_lock_is_removed_too(tmp_path: Path) -> None:
    (tmp_path / ".run-pruned-1").mkdir()
    (tmp_path / ".run-pruned-1" / "cases.parquet").write_bytes(b"somebody")
    with run_workspace(tmp_path) as ours:
        assert workspaces(tmp_path) == {ours}


def test_many_at_once_in_one_process_have_folders_of_their_own(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folders = {stack.enter_context(run_workspace(tmp_path)) for _ in range(5)}
        assert workspaces(tmp_path) == folders
        assert len(folders) == 5
    assert workspaces(tmp_path) == set()


@pytest.mark.parametrize("step", ["pathlib.Path.mkdir", "fcntl.flock"])
def test_a_run_whose_new_folder_is_taken_for_a_leftover_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Another run clears up after the folder is made, or when its lock is just about to be held."""
    real = {"pathlib.Path.mkdir": Path.mkdir, "fcntl.flock": fcntl.flock}[step]
    lost: list[set[Path]] = []

    def another_run() -> None:
        if not lost:
            lost.append(workspaces(tmp_path))
            with run_workspace(tmp_path):
                pass

    def mkdir(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        another_run()

    def flock(*arguments: Any) -> None:
        another_run()
        real(*arguments)

    monkeypatch.setattr(step, mkdir if real is Path.mkdir else flock)
    with run_workspace(tmp_path) as ours:
        assert workspaces(tmp_path) == {ours}
        assert lost != [set()]
        assert lost != [{ours}]


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    with run_workspace(tmp_path / "new") as folder:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)]
        assert modes == [0o700, 0o700]
        assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_a_place_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(OutputError, match=r"Cannot write to the output folder .*file/out \(Not a "),
        run_workspace(tmp_path / "file" / "out"),
    ):
        pass
