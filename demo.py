"""`make demo`: what this product does, on a local WillSuite with invented people.

Starts the sandbox in this process and lets Prefect start its own embedded server, runs the
export, reads the files back and prints what is in them. Everything it leaves is in data/demo (or
in the folder given as its argument).
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running

DEFAULT_FOLDER = Path(__file__).resolve().parent / "data" / "demo"
CASES = 1600


def main() -> None:
    """Run the demo; exit code 0 only if every case was exported."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    # a terminated demo ends like an interrupted one: with its Prefect server stopped
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running(Sandbox(Options(cases=CASES))) as sandbox:
            use_demo_settings(sandbox.url, folder)
            show(export(folder / "exports"))
    except KeyboardInterrupt:
        sys.exit("Interrupted; nothing of the demo is running any more.")


def use_demo_settings(url: str, folder: Path) -> None:
    """The sandbox's account and a Prefect of the demo's own, whatever is set outside."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "WILLSUITE_"))]:
        del os.environ[name]
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        WILLSUITE_BASE_URL=url,
        WILLSUITE_TOKEN_URL=f"{url}/oauth/token",
        WILLSUITE_CLIENT_ID=CLIENT_ID,
        WILLSUITE_CLIENT_SECRET=CLIENT_SECRET,
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        DO_NOT_TRACK="1",
    )


def export(output: Path) -> str:
    """Run the flow; returns the snapshot's folder."""
    print(
        "A local WillSuite is up. Starting Prefect's embedded server (10 s or so) ...", flush=True
    )
    # only now, because Prefect reads its settings when it is imported
    from flows.endings import EXPECTED_ERRORS
    from flows.export_cases import export_cases

    try:
        summary = asyncio.run(export_cases(output=str(output)))
    except EXPECTED_ERRORS:
        sys.exit(1)  # the flow's log has just said why
    print(f"\nVerification: {summary['verification']} after {summary['sweeps']} sweep(s)")
    return summary["snapshot"]


def show(snapshot: str) -> None:
    """Read the Parquet files back, as a user of them would."""
    import pandas as pd

    folder = Path(snapshot)
    cases, customers, meta = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("cases", "customers", "case_meta")
    )
    sources = meta[meta["field_label"] == "Lead source"]["value"].value_counts()
    print(f"Files: {folder}{os.sep}{{cases,customers,case_meta}}.parquet\n")
    print(f"  cases      {len(cases):>6,} rows   {cases['is_active'].sum():,} active")
    print(
        f"  customers  {len(customers):>6,} rows   {len(customers) / len(cases):.2f} a case, "
        f"{customers['tel_1'].notna().mean():.0%} with a phone number"
    )
    print(
        f"  case_meta  {len(meta):>6,} rows   lead source: "
        + ", ".join(f"{name} {count:,}" for name, count in sources.items())
    )
    if len(cases) != CASES:
        sys.exit(f"{CASES:,} cases were expected.")
    print(f"\n{len(cases):,} cases exported.")


if __name__ == "__main__":
    main()
