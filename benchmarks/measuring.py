"""What the benchmarks share: a Prefect server, sandboxes, and children that measure themselves.

Belongs here: processes, and figures as a table. Does not: what is measured.

Each measurement is its own process; wall and CPU count from the first request to the last file
(imports and Prefect's server start excluded: the server is up before), peak memory is the whole
process's. The sandbox and the Prefect server run in processes of their own and are not counted.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Figures = dict[str, float]


def measured(run: Callable[[], int]) -> None:
    """In a child: run once and print what it took, and how many cases it was."""
    cpu, wall = time.process_time(), time.perf_counter()
    cases = run()
    print(
        json.dumps(
            {
                "cases": cases,
                "wall_seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def run_child(module: str, kind: str, environment: dict[str, str], folder: Path) -> Figures:
    """One measurement in a fresh process."""
    output = folder / kind
    command = [sys.executable, "-m", module, "--child", kind, "--output", str(output)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def prefect_server(connections: int) -> Iterator[tuple[dict[str, str], Path]]:
    """A Prefect server, the environment that children need, and a folder gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="willsuite-bench-"))
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": "http://127.0.0.1:4299/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "XDG_STATE_HOME": str(folder / "state"),
        "WILLSUITE_BASE_URL": "http://127.0.0.1:8099/engine/api",
        "WILLSUITE_CLIENT_ID": "sandbox",
        "WILLSUITE_CLIENT_SECRET": "sandbox-secret",
        "WILLSUITE_MAX_CONCURRENCY": str(connections),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", "4299"],
        env={**environment, "PREFECT_SERVER_UI_ENABLED": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for("http://127.0.0.1:4299/api/health")
        yield environment, folder
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def sandbox(cases: int, latency_ms: int) -> Iterator[None]:
    """A sandbox in its own process."""
    command = [sys.executable, "-m", "sandbox", "--port", "8099", "--cases", str(cases)]
    process = subprocess.Popen(
        [*command, "--latency-ms", str(latency_ms)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        _wait_for("http://127.0.0.1:8099/engine/api/cases")
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, seconds: float = 60) -> None:
    """Until something answers at `url`."""
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).read()
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def print_heading(text: str) -> None:
    """What is compared, and the head of the table."""
    print(f"{text}\n\n| what | | wall s | CPU s | peak MB |\n| --- | --- | --- | --- | --- |")


def print_rows(label: str, runs: dict[str, list[Figures]]) -> None:
    """Rows of medians (min-max) for "bare" and "flow", and one of their ratios."""
    medians = {}
    for kind, results in runs.items():
        cells = []
        for name in ("wall_seconds", "cpu_seconds", "peak_mb"):
            values = [result[name] for result in results]
            medians[kind, name] = statistics.median(values)
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})")
        print(f"| {label} | {kind} | {' | '.join(cells)} |")
    ratios = (
        f"{medians['flow', name] / medians['bare', name]:.2f}"
        for name in ("wall_seconds", "cpu_seconds", "peak_mb")
    )
    print(f"| {label} | **flow / bare** | {' | '.join(ratios)} |", flush=True)
