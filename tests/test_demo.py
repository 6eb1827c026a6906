"""The README's first command, as a newcomer runs it, and as an impatient one stops it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak
ROOT = Path(__file__).resolve().parent.parent


def start_demo(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "demo.py"), str(home / "demo")],
        env={**os.environ, "HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def living_members(group: int) -> list[str]:
    """Command lines of the processes of a process group that are still there."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = stat.with_name("cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(command)
    return found


@pytest.mark.timeout(400)
def test_the_demo_can_be_repeated_imports_changes_and_exports_and_ctrl_c_leaves_no_process_behind(
    tmp_path: Path,
) -> None:
    first = start_demo(tmp_path)
    first.communicate()
    whole = start_demo(tmp_path)
    output, _ = whole.communicate()
    assert whole.returncode == 0, output
    assert "8 created" in output
    assert "1 created, 15 rejected" in output
    assert "4 updated, 1 unchanged" in output
    assert "2 updated, 1 unchanged" in output
    assert "3 created" in output
    assert "3 unchanged" in output
    assert "1,609 cases exported." in output
    assert "Verification: quiet" in output
    assert living_members(whole.pid) == []

    stopped = start_demo(tmp_path)
    while len(living_members(stopped.pid)) < 2:  # the demo and its Prefect server
        assert stopped.poll() is None
        time.sleep(0.05)
    os.kill(stopped.pid, signal.SIGINT)
    output, _ = stopped.communicate()
    assert stopped.returncode != 0
    assert "Interrupted" in output
    assert "Traceback" not in output
    assert living_members(stopped.pid) == []
