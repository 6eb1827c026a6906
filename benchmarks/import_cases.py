"""`make bench`, second part: the import flow beside a bare loop that sends the same bodies.

How it is measured: `measuring.py`. The bare loop has the bodies ready in memory and sends them
over as many connections, and nothing else: no file, no checks, no look at what is there, no
reading back, no outcomes. The flow does all of that.
"""

import argparse
import asyncio
import csv
import os
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measuring import (
    Figures,
    measured,
    prefect_server,
    print_heading,
    print_rows,
    run_child,
    sandbox,
)

LATENCY_MS = 20
ROUNDS = 3
HEADER = [
    "ref", "notes", *(
        f"customer_1_{name}"
        for name in ("title", "first_names", "last_name", "date_of_birth", "tel_1", "postcode")
    ),
]  # fmt: skip


def write_source(path: Path, rows: int) -> None:
    """A CSV file of invented people."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range(rows):
            year, phone = 1930 + number % 70, f"07700900{number % 1000:03d}"
            person = ["Mrs", f"Ann {number}", "O'Brien", f"14/03/{year}", phone, "QX1 1ZZ"]
            writer.writerow([f"BENCH-{number:06d}", "a note", *person])


def bodies_of(source: Path) -> list[dict[str, Any]]:
    """What the flow would send for the file."""
    from schemas.files.source import read_sheet
    from schemas.import_file import is_import_column
    from schemas.import_plan import plan_import

    plan = plan_import(read_sheet(source, is_known=is_import_column))
    return [dict(case.body) for case in plan.cases]


async def bare_import(bodies: list[dict[str, Any]], connections: int) -> int:
    """Post each body once; returns how many were accepted."""
    url, client_id, secret = (
        os.environ[f"WILLSUITE_{name}"] for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET")
    )
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=75) as http:
        account = {"client_id": client_id, "client_secret": secret}
        token = await http.post(
            f"{url}/oauth/token", json={"grant_type": "client_credentials", **account}
        )
        http.headers["authorization"] = f"Bearer {token.json()['access_token']}"
        slots = asyncio.Semaphore(connections)

        async def post(body: dict[str, Any]) -> bool:
            async with slots:
                return (await http.post(f"{url}/cases/create", json=body)).status_code == 200

        return sum(await asyncio.gather(*map(post, bodies)))


def measure(kind: str, source: Path, output: str) -> None:
    """Child process: run one import and print what it took."""
    if kind == "flow":
        from flows.import_cases import import_cases

        measured(
            lambda: asyncio.run(import_cases(str(source), output=output))["outcomes"]["created"]
        )
    else:
        bodies = bodies_of(source)
        connections = int(os.environ["WILLSUITE_MAX_CONCURRENCY"])
        measured(lambda: asyncio.run(bare_import(bodies, connections)))


def main() -> None:
    """Measure, alternating the two so that noise meets both, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=("flow", "bare"))
    parser.add_argument("--output", default="")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    if given.child:
        measure(given.child, Path(os.environ["BENCH_SOURCE"]), given.output)
        return
    print_heading(
        f"Import of {given.rows:,} rows, {LATENCY_MS} ms latency, medians of {given.rounds} "
        "(min-max)"
    )
    for connections in (8, 32):
        with prefect_server(connections) as (environment, folder):
            source = folder / "source.csv"
            write_source(source, given.rows)
            # nothing fails here, so nothing is waited for but the unknown end of no last run
            environment |= {"BENCH_SOURCE": str(source), "WILLSUITE_SETTLE_SECONDS": "0"}
            runs: dict[str, list[Figures]] = {"bare": [], "flow": []}
            for _ in range(given.rounds):
                for kind, results in runs.items():
                    with sandbox(0, LATENCY_MS):
                        results.append(run_child(__spec__.name, kind, environment, folder))
                    assert results[-1]["cases"] == given.rows
            print_rows(f"{connections} connections", runs)


if __name__ == "__main__":
    main()
