"""`make demo`: what this product does, on a local WillSuite with invented people.

Starts the sandbox in this process and lets Prefect start its own embedded server, imports a good
file and one full of mistakes, changes some of the new cases in bulk and singly, makes appointments,
exports everything, reads the files back and prints what is in them.
Everything it leaves is in data/demo (or in the folder given as its argument).
"""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running

DATA = Path(__file__).resolve().parent / "data"
CASES = 1600


def main() -> None:
    """Run the demo; exit code 0 only if everything was imported and every case exported."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "demo"
    # a terminated demo ends like an interrupted one: with its Prefect server stopped
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = Options(cases=CASES, job_seconds=1.0, appointment_zone="Europe/London")
        with running(Sandbox(options)) as sandbox:
            use_demo_settings(sandbox.url, folder)
            print(
                "A local WillSuite is up. Prefect's embedded server starts (10 s or so) ...",
                flush=True,
            )
            created = import_file("cases.csv", folder)
            created += import_file("cases_with_mistakes.csv", folder)
            change_cases(folder)
            keep_appointments(folder)
            print(
                f"  E-mails and SMS that a real WillSuite would have sent: {len(sandbox.messages)}"
            )
            show(export(folder / "exports"), CASES + created)
    except KeyboardInterrupt:
        sys.exit("Interrupted; nothing of the demo is running any more.")


def use_demo_settings(url: str, folder: Path) -> None:
    """The sandbox's account and a Prefect of the demo's own, whatever is set outside."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "WILLSUITE_"))]:
        del os.environ[name]
    for of_another_account in ("exports", "journal", "state"):  # an earlier demo's, which is gone
        shutil.rmtree(folder / of_another_account, ignore_errors=True)
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
        # this WillSuite answers at once, so nothing of an earlier run can still be under way in it
        WILLSUITE_SETTLE_SECONDS="0",
        # ... and its jobs take a second
        WILLSUITE_JOB_POLL_SECONDS="1",
        XDG_STATE_HOME=str(folder / "state"),
    )


def import_file(name: str, folder: Path) -> int:
    """Import a sample and print what became of its rows; returns how many cases it made."""
    # only now, because Prefect reads its settings when it is imported
    from flows.import_cases import import_cases

    print(f"\n--- Importing {name}", flush=True)
    outcomes, summary = run_flow(import_cases, name, folder)
    for row in outcomes[outcomes["outcome"] == "rejected"].itertuples():
        print(f"  row {row.row:>2}  {row.message}")
    print("  " + counted(summary))
    if summary["rejected_file"]:
        print(f"  Correct {summary['rejected_file']} and import it as it is.")
    return summary["outcomes"].get("created", 0)


def change_cases(folder: Path) -> None:
    """Change what was imported: in bulk, first as a plan, and singly."""
    from flows.bulk_update_cases import bulk_update_cases
    from flows.update_cases import update_cases

    print("\n--- What a bulk update would change", flush=True)
    plan, _ = run_flow(bulk_update_cases, "bulk_updates.csv", folder, dry_run=True)
    for row in plan[plan["outcome"] == "planned"].itertuples():
        print(f"  {row.key}  {row.before}\n           -> {row.after}")
    for title, flow, name in (
        ("Changing them in bulk", bulk_update_cases, "bulk_updates.csv"),
        ("Adding a customer, changing a reference", update_cases, "case_updates.csv"),
    ):
        print(f"\n--- {title}", flush=True)
        _, summary = run_flow(flow, name, folder)
        print("  " + counted(summary))


def keep_appointments(folder: Path) -> None:
    """Make the appointments of a sample, twice: the second time there is nothing to do."""
    from flows.sync_appointments import sync_appointments

    for title in ("Making appointments", "Once more"):
        print(f"\n--- {title}", flush=True)
        _, summary = run_flow(
            sync_appointments, "appointments.csv", folder, journal=str(folder / "journal")
        )
        print("  " + counted(summary))


def run_flow(flow: Any, name: str, folder: Path, **options: Any) -> tuple[Any, Any]:
    """A flow with a sample; returns the outcomes as a pandas frame, and the summary."""
    import pandas as pd

    from flows.endings import EXPECTED_ERRORS

    source = str(DATA / "samples" / name)
    try:
        summary = asyncio.run(flow(source=source, output=str(folder / "runs"), **options))
    except EXPECTED_ERRORS:
        sys.exit(1)  # the flow's log has just said why
    return pd.read_parquet(summary["outcomes_file"]), summary


def counted(summary: Any) -> str:
    """Rows by outcome."""
    return ", ".join(f"{count} {outcome}" for outcome, count in summary["outcomes"].items())


def export(output: Path) -> str:
    """Run the flow; returns the snapshot's folder."""
    print("\n--- Exporting every case", flush=True)
    from flows.endings import EXPECTED_ERRORS
    from flows.export_cases import export_cases

    try:
        summary = asyncio.run(export_cases(output=str(output)))
    except EXPECTED_ERRORS:
        sys.exit(1)  # the flow's log has just said why
    print(f"\nVerification: {summary['verification']} after {summary['sweeps']} sweep(s)")
    return summary["snapshot"]


def show(snapshot: str, expected: int) -> None:
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
    if len(cases) != expected:
        sys.exit(f"{expected:,} cases were expected.")
    print(f"\n{len(cases):,} cases exported.")


if __name__ == "__main__":
    main()
