"""`make bench`: the export flow beside a bare loop that fetches and writes the same.

Each measurement is its own process; wall and CPU count from the first request to the last file
(imports and Prefect's server start excluded: the server is up before), peak memory is the whole
process's. The sandbox and the Prefect server run in processes of their own and are not counted.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

CONNECTIONS = 32
ROUNDS = 3
ROOT = Path(__file__).resolve().parent.parent


def measure(kind: str, output: str) -> None:
    """Child process: run one export and print what it took."""
    if kind == "flow":
        from flows.export_cases import export_cases

        def run() -> int:
            return asyncio.run(export_cases(output=output))["cases"]
    else:
        from benchmarks.bare_loop import bare_export

        def run() -> int:
            url, client_id, secret = (
                os.environ[f"WILLSUITE_{name}"]
                for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET")
            )
            return asyncio.run(bare_export(url, client_id, secret, Path(output), CONNECTIONS))

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


def run_child(kind: str, environment: dict[str, str], folder: Path) -> dict[str, float]:
    """One measurement in a fresh process."""
    output = folder / kind
    command = [sys.executable, "-m", "benchmarks.export", "--child", kind, "--output", str(output)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def wait_for(url: str, seconds: float = 60) -> None:
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


def start_sandbox(cases: int, latency_ms: int, port: int) -> subprocess.Popen[bytes]:
    """A sandbox in its own process."""
    command = [sys.executable, "-m", "sandbox", "--port", str(port), "--cases", str(cases)]
    process = subprocess.Popen(
        [*command, "--latency-ms", str(latency_ms)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    wait_for(f"http://127.0.0.1:{port}/engine/api/cases")
    return process


def main() -> None:
    """Run all measurements and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=("flow", "bare"))
    parser.add_argument("--output", default="")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    if given.child:
        measure(given.child, given.output)
        return
    folder = Path(tempfile.mkdtemp(prefix="willsuite-bench-"))
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": "http://127.0.0.1:4299/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "WILLSUITE_BASE_URL": "http://127.0.0.1:8099/engine/api",
        "WILLSUITE_CLIENT_ID": "sandbox",
        "WILLSUITE_CLIENT_SECRET": "sandbox-secret",
        "WILLSUITE_MAX_CONCURRENCY": str(CONNECTIONS),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", "4299"],
        env={**environment, "PREFECT_SERVER_UI_ENABLED": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for("http://127.0.0.1:4299/api/health")
        report(environment, folder, given.cases, given.rounds)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def report(environment: dict[str, str], folder: Path, cases: int, rounds: int) -> None:
    """Measure, alternating the two so that noise meets both, and print medians and ratios."""
    print(f"{cases:,} cases, {CONNECTIONS} connections, medians of {rounds} (min-max)\n")
    print("| latency | what | wall s | CPU s | peak MB |\n| --- | --- | --- | --- | --- |")
    for latency_ms, count in ((0, cases), (50, cases), (0, cases // 10)):
        sandbox = start_sandbox(count, latency_ms, 8099)
        runs: dict[str, list[dict[str, float]]] = {"bare": [], "flow": []}
        try:
            for _ in range(rounds):
                for kind, results in runs.items():
                    results.append(run_child(kind, environment, folder))
                    assert results[-1]["cases"] == count
        finally:
            sandbox.terminate()
            sandbox.wait()
        print_rows(f"{latency_ms} ms, {count:,}", runs)


def print_rows(label: str, runs: dict[str, list[dict[str, float]]]) -> None:
    """Two rows of figures and one of ratios."""
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


if __name__ == "__main__":
    main()
