"""`willsuite-flows`: the commands of the Makefile for an installed package, from any folder.

Belongs here: which command is which module. Does not: their options (`--help` of each).
"""

import runpy
import sys

COMMANDS = {
    "import": ("flows.import_cases", "FILE [--plan]: create the cases of a file"),
    "bulk": ("flows.bulk_update_cases", "FILE [--plan]: change many cases by jobs"),
    "update": ("flows.update_cases", "FILE [--plan]: change single cases, add customers"),
    "appointments": ("flows.sync_appointments", "FILE [--plan]: keep appointments in step"),
    "export": ("flows.export_cases", "every case to Parquet"),
    "deploy": ("commands.deploy", "put the deployments into the server at PREFECT_API_URL"),
    "worker": ("commands.worker", "run what is due there"),
    "run": ("commands.run", "--flow NAME --file FILE: start a deployment and follow it"),
}


def main() -> None:
    """Run the module of the command that is named first; the rest is its own."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        lines = [f"  {name:<13} {what}" for name, (_, what) in COMMANDS.items()]
        sys.exit("\n".join(["usage: willsuite-flows COMMAND ...", "", *lines]))
    del sys.argv[1]
    runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
