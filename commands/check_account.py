"""`make check-account`: ask a real account what the vendor's documents leave open.

Belongs here: settings, where the report goes, and what a person sees. Does not: the questions
(`protocols/checking/`).
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from protocols.checking.asking import Asking, Finding
from protocols.checking.questions import ask_all
from protocols.checking.report import Report
from protocols.checking.writing import ask_by_writing
from tasks.connection import settings_of
from tasks.files import private_folder, write_atomically
from tasks.policy import RunError
from willsuite.errors import WillSuiteError
from willsuite.session import Session


async def check(given: argparse.Namespace) -> list[Path]:
    """Ask, and write the report; the files."""
    settings = await settings_of(given.connection or None)
    at = datetime.now(UTC)
    async with Session(settings, say=print) as session:
        asking = Asking(session)
        findings = await ask_all(asking, _show)
        if given.write:
            for finding in await ask_by_writing(asking, given.write):
                _show(finding)
                findings.append(finding)
    report = Report(at, asking.count, bool(given.write), findings)
    folder = private_folder(Path(given.output).absolute())
    files = [folder / f"check-account-{at:%Y%m%dT%H%M%SZ}{suffix}" for suffix in (".md", ".json")]
    write_atomically(files[0], report.as_markdown().encode())
    write_atomically(files[1], report.as_json())
    return files


def _show(finding: Finding) -> None:
    print(f"{finding.question}\n  {finding.answer}", flush=True)


def main() -> None:
    """Read the command line that the Makefile writes."""
    parser = argparse.ArgumentParser(prog="python -m commands.check_account")
    parser.add_argument("--connection", default="")
    parser.add_argument("--output", default="data")
    parser.add_argument("--write", default="", help="a case made for it, which may be changed")
    try:
        files = asyncio.run(check(parser.parse_args()))
    except (WillSuiteError, RunError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The disk refuses ({error.strerror}).")
    except KeyboardInterrupt:
        sys.exit("Interrupted; nothing was written.")
    print(f"The report, which can be passed on: {' and '.join(map(str, files))}")


if __name__ == "__main__":
    main()
