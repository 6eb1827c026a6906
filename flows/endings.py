"""How a flow run ends: the state a person reads in the UI, and what a script gets.

Belongs here: turning expected errors into a Failed state with one sentence.
A Failed state returned (not an exception raised) makes Prefect log that sentence and no
traceback; a script that awaits the flow gets the error raised all the same.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from schemas.issues import SourceError
from tasks.policy import RunError
from willsuite.errors import WillSuiteError

EXPECTED_ERRORS = (WillSuiteError, RunError, SourceError, OSError)
"""What a flow catches; anything else is our fault and keeps its traceback."""


def failed(error: BaseException) -> State:
    """The Failed state of an expected error; the error's message is the state's message."""
    error = explained(error)
    return Failed(message=str(error), data=error)


def explained(error: BaseException) -> BaseException:
    """The error, or a sentence in place of what the operating system says."""
    if not isinstance(error, OSError):
        return error
    where = f" at {error.filename}" if error.filename else ""
    reason = error.strerror or type(error).__name__
    return RunError(
        f"This machine refused a file operation{where} ({reason}); make room or fix the "
        "permissions, and run again."
    )


def run_here(flow: Flow[..., Any], **parameters: Any) -> None:
    """Run `flow`, as `python -m flows.<name>` does; exit 1 if it fails."""
    try:
        asyncio.run(flow(**parameters))
    except EXPECTED_ERRORS:
        sys.exit(1)  # the log has just said why


def run_with_file(flow: Flow[..., Any]) -> None:
    """`python -m flows.<name> FILE [--plan]`, for a flow that works off a file.

    Without the file nothing begins: neither a server of Prefect nor a look at credentials.
    """
    parser = argparse.ArgumentParser(prog=f"python -m flows.{flow.fn.__name__}")
    parser.add_argument("source", nargs="?", default="")
    parser.add_argument("--plan", action="store_true", help="only say what would happen")
    given = parser.parse_args()
    if not given.source:
        sys.exit("Which file? Name it: FILE=cases.csv after make, or as the first argument.")
    if "://" not in given.source and not Path(given.source).exists():
        sys.exit(f"There is no file {Path(given.source).absolute()} on this machine.")
    run_here(flow, source=given.source, dry_run=given.plan)
