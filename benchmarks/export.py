"""`make bench`, first part: the export flow beside a bare loop that fetches and writes the same.

How it is measured: `measuring.py`. What it is compared with: `bare_loop.py`.
"""

import argparse
import asyncio
import os
from pathlib import Path

from benchmarks.measuring import (
    Figures,
    measured,
    prefect_server,
    print_heading,
    print_rows,
    run_child,
    sandbox,
)

CONNECTIONS = 32
ROUNDS = 3


def measure(kind: str, output: str) -> None:
    """Child process: run one export and print what it took."""
    if kind == "flow":
        from flows.export_cases import export_cases

        measured(lambda: asyncio.run(export_cases(output=output))["cases"])
    else:
        from benchmarks.bare_loop import bare_export

        account = [
            os.environ[f"WILLSUITE_{name}"] for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET")
        ]
        measured(lambda: asyncio.run(bare_export(*account, Path(output), CONNECTIONS)))


def main() -> None:
    """Measure, alternating the two so that noise meets both, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=("flow", "bare"))
    parser.add_argument("--output", default="")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    if given.child:
        measure(given.child, given.output)
        return
    print_heading(f"Export, {CONNECTIONS} connections, medians of {given.rounds} (min-max)")
    with prefect_server(CONNECTIONS) as (environment, folder):
        for latency_ms, count in ((0, given.cases), (50, given.cases), (0, given.cases // 10)):
            runs: dict[str, list[Figures]] = {"bare": [], "flow": []}
            with sandbox(count, latency_ms):
                for _ in range(given.rounds):
                    for kind, results in runs.items():
                        results.append(run_child(__spec__.name, kind, environment, folder))
                        assert results[-1]["cases"] == count
            print_rows(f"{latency_ms} ms, {count:,}", runs)


if __name__ == "__main__":
    main()
