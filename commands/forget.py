"""`make forget`: remove what the files of this tool hold of one case; first as a plan.

Belongs here: what a person says and is told, without the reference itself. Does not: finding and
removing (`protocols/forgetting/`).

The reference comes in a variable of the environment, or is asked for: a command's arguments can be
read by everybody on the machine.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from protocols.account.journal import open_journal
from protocols.forgetting.intents import count_intents, done, intend, with_intents
from protocols.forgetting.of_exports import (
    find_in_exports,
    forget_in_exports,
    has_unfinished,
    known_in_exports,
)
from protocols.forgetting.of_runs import (
    find_in_runs,
    forget_in_runs,
    known_in_runs,
    unknown_files,
)
from protocols.forgetting.traces import Traces, traces_of
from tasks.policy import RunError
from tasks.snapshots import Output, open_output

BEYOND_REACH = """\
Out of reach of this command:
- WillSuite itself: while it has the case, the next export brings it back.
- Prefect's database: parameters of runs (the filters ref and postcode, keys in resolve, names of
  files) until the runs are deleted there: make purge-runs.
- Backups, copies, the files that were imported, and whatever was made of exports elsewhere; who
  follows changes_since is not told.
- Pseudonymised copies: a case is a hash there; write_pseudonymised makes new ones, without it.
- Other cases whose notes or values speak of the person, and file names.
- Other folders: name them with EXPORTS=, RUNS= and JOURNAL=."""


@dataclass(frozen=True, slots=True)
class _Places:
    exports: Output
    runs: Path
    journals: Path


def forget(given: argparse.Namespace) -> None:
    """Say what there is of the case, and remove it where that is wanted."""
    if "://" in given.runs or "://" in given.journal:
        raise RunError("RUNS and JOURNAL are folders of this machine.")
    places = _Places(open_output(given.exports), Path(given.runs), Path(given.journal))
    known = chain(known_in_exports(places.exports), known_in_runs(places.runs))
    traces = with_intents(traces_of(given.ref, given.case_id, known))
    lines = [*_plan(places, traces)]
    print("\n".join(lines) if lines else "Nothing of this case is in these folders.")
    bookings = sum(count for _, count in _journals(places.journals, traces))
    if bookings and not given.bookings:
        print(
            f"{bookings:,} booking(s) in the journal stay, as ids and digests: a calendar file "
            "that still names one would make its appointment a second time. BOOKINGS=1 removes "
            "them, too."
        )
    if unknown := unknown_files(places.runs):
        print(f"{unknown:,} file(s) in folders of runs are somebody's own: look at them yourself.")
    print(BEYOND_REACH)
    if not given.apply:
        print("Nothing was changed; APPLY=1 removes it.")
        return
    intend(traces)
    if given.bookings:
        _forget_bookings(places.journals, traces)
    forget_in_exports(places.exports, traces)
    forget_in_runs(places.runs, traces)
    done(traces)
    print("Removed.")
    if left := count_intents():
        print(f"{left:,} earlier run(s) for other cases were stopped: start those again, too.")


def _plan(places: _Places, traces: Traces) -> Iterator[str]:
    if has_unfinished(places.exports):
        yield "An earlier run was stopped while it replaced an export; that is brought to its end"
    for export in find_in_exports(places.exports, traces):
        rows = ", ".join(f"{table} {count:,}" for table, count in export.rows.items())
        place = places.exports.location(f"snapshots/{export.name}")
        if rows:
            yield f"{place}: rows of {rows}"
        if export.is_filtered_by_it:
            manifest = places.exports.location(f"manifests/{export.name}.json")
            yield f"{manifest}: the reference, as its filter"
    for file in find_in_runs(places.runs, traces):
        mentions = f", {file.mentions:,} mention(s) in rows of others" if file.mentions else ""
        yield f"{file.path}: {file.rows:,} row(s){mentions}"
    for path, count in _journals(places.journals, traces):
        yield f"{path}: {count:,} booking(s)"


def _journals(folder: Path, traces: Traces) -> Iterator[tuple[Path, int]]:
    for path in sorted(folder.glob("appointments-*.sqlite3")):
        with open_journal(path, writing=False) as journal:
            count = sum(map(journal.count_of_case, traces.ids))
        if count:
            yield path, count


def _forget_bookings(folder: Path, traces: Traces) -> None:
    for path, _ in [*_journals(folder, traces)]:
        with open_journal(path, writing=True) as journal:
            for case_id in traces.ids:
                journal.forget_case(case_id)


def main() -> None:
    """Read the command line that the Makefile writes, and the reference from elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m commands.forget")
    parser.add_argument("--exports", default="data/exports")
    parser.add_argument("--runs", default="data/runs")
    parser.add_argument("--journal", default="data/journal")
    parser.add_argument("--bookings", action="store_true")
    parser.add_argument("--apply", action="store_true")
    given = parser.parse_args()
    given.ref = os.environ.get("FORGET_REF", "").strip()
    given.case_id = os.environ.get("FORGET_CASE_ID", "").strip()
    try:
        if not given.ref and not given.case_id and sys.stdin.isatty():
            given.ref = getpass.getpass("Reference of the case (it isn't shown): ").strip()
        if bool(given.ref) == bool(given.case_id):
            sys.exit("Which case? Name it by its reference or by its id: REF=... or CASE_ID=...")
        forget(given)
    except RunError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The disk refuses ({error.strerror}); start this again when that is mended.")
    except KeyboardInterrupt:
        sys.exit("Interrupted; start it again to bring it to its end.")


if __name__ == "__main__":
    main()
