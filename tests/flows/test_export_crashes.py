"""Whatever ends the process, `latest.json` names a whole snapshot."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.settings import PREFECT_API_URL

from sandbox.faults import Change, Fault
from sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parents[2]

EXPORT = """
import asyncio, sys
from flows.export_cases import export_cases
asyncio.run(export_cases(output=sys.argv[1]))
"""

# Publishes once and is killed just before the n-th change of a name on the disk.
PUBLISH_AND_DIE = """
import os, signal, sys
from pathlib import Path
from tasks.files import private_file, private_folder
from tasks.snapshots import LocalOutput

left = int(sys.argv[2])

def watch(event, arguments):
    global left
    if event in ("os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

output = LocalOutput(Path(sys.argv[1]))
with output.workspace() as folder:
    tables = private_folder(folder / "tables")
    for name in ("cases", "customers", "case_meta"):
        with private_file(tables / f"{name}.parquet") as file:
            file.write(b"new")
    sys.addaudithook(watch)
    output.publish(tables, "2-new", b"{}", b'{"snapshot": "snapshots/2-new"}')
    output.prune(1)
print("left", left)
"""


def run_script(script: str, *arguments: str, **details: Any) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": PREFECT_API_URL.value(),
    }
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **details,
    )


def whole_snapshot(output: Path) -> Path:
    """The folder that latest.json names, with every file its manifest lists."""
    pointer = json.loads((output / "latest.json").read_text())
    manifest = json.loads((output / pointer["manifest"]).read_text())
    folder = output / str(pointer["snapshot"])
    for name, file in manifest["files"].items():
        assert (folder / name).stat().st_size == file["bytes"]
        assert len(pq.read_table(folder / name)) == file["rows"]
    return folder


def test_a_run_killed_while_it_lists_leaves_the_last_export_and_the_next_run_tidies_up(
    prefect_server: None, start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=900)
    output = tmp_path / "out"
    assert run_script(EXPORT, str(output)).wait() == 0
    before = whole_snapshot(output)

    victim: list[subprocess.Popen[str]] = []
    kill = Change(lambda _store: victim[0].send_signal(signal.SIGKILL))
    sandbox.faults = [Fault(kill, path="/cases", page=6)]
    victim.append(run_script(EXPORT, str(output)))
    assert victim[0].wait() == -signal.SIGKILL
    assert whole_snapshot(output) == before
    assert list(output.glob(".run-*"))

    assert run_script(EXPORT, str(output)).wait() == 0
    assert whole_snapshot(output) != before
    assert not list(output.glob(".run-*"))


def test_a_run_killed_at_any_step_of_publishing_leaves_a_whole_snapshot(
    prefect_server: None, tmp_path: Path
) -> None:
    """Every rename, link and removal of a publication is tried as the last moment."""
    results = []
    for step in range(1, 40):
        output = tmp_path / f"out-{step}"
        first = output / "snapshots" / "1-old"
        first.mkdir(parents=True)
        for name in ("cases", "customers", "case_meta"):
            (first / f"{name}.parquet").write_bytes(b"old")
        (output / "latest.json").write_text('{"snapshot": "snapshots/1-old"}')
        process = run_script(PUBLISH_AND_DIE, str(output), str(step))
        process.wait()
        pointed = output / json.loads((output / "latest.json").read_text())["snapshot"]
        contents = {path.read_bytes() for path in pointed.iterdir()}
        assert len(list(pointed.iterdir())) == 3, step
        assert contents == {pointed.name.split("-")[1].encode()}, step
        results.append((process.returncode, pointed.name))
        if process.returncode == 0:
            break
    killed_with = [name for code, name in results if code == -signal.SIGKILL]
    assert results[-1] == (0, "2-new")
    # both sides of the decisive moment were met
    assert set(killed_with) == {"1-old", "2-new"}


def test_a_full_disk_fails_the_run_with_a_sentence_and_keeps_the_last_export(
    prefect_server: None, start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    start_sandbox(cases=300)
    output = tmp_path / "out"
    assert run_script(EXPORT, str(output)).wait() == 0
    before = whole_snapshot(output)

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    run = run_script(EXPORT, str(output), preexec_fn=small_files_only)
    log, _ = run.communicate()
    assert run.returncode == 1
    assert "This machine refused a file operation" in log
    assert whole_snapshot(output) == before
    assert not list(output.glob(".run-*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_cleans_up_after_itself(
    prefect_server: None, start_sandbox: Callable[..., Sandbox], tmp_path: Path, how: signal.Signals
) -> None:
    sandbox = start_sandbox(cases=900, latency_ms=20)
    victim: list[subprocess.Popen[str]] = []
    stop = Change(lambda _store: victim[0].send_signal(how))
    sandbox.faults = [Fault(stop, path="/cases", page=4)]
    victim.append(run_script(EXPORT, str(tmp_path / "out")))
    victim[0].communicate()
    assert victim[0].returncode != 0
    assert not list((tmp_path / "out").glob(".run-*"))
    assert not (tmp_path / "out" / "latest.json").exists()
