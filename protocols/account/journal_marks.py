"""Whether the journal at hand is the one that earlier runs wrote to.

Belongs here: refusing another one. Does not: the journal itself (`journal.py`), or where its marks
are kept (`known.py`): apart from it, on this machine and in Prefect.

With an empty journal, or an old copy, every booking since would be made a second time.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from protocols.account.journal import Journal
from protocols.account.known import JournalMark
from tasks.policy import RunError

ANEW = (
    "Only if it is lost for good, run with new_journal=True: every booking of the file that isn't "
    "known then is made anew."
)


def check_marks(marks: Sequence[JournalMark], path: Path, journal: Journal | None) -> None:
    """Refuse a journal that earlier runs haven't written to, or that lacks what they wrote.

    Args:
        marks: of the account's journals.
        path: where the journal was looked for.
        journal: None where there is none.

    Raises:
        RunError: it isn't the journal of the marks, or is older.
    """
    if journal is None and (others := sorted(path.parent.glob("appointments-*.sqlite3"))):
        account = re.sub(r"appointments-(.*)\.sqlite3", r"\1", others[0].name)
        raise RunError(
            f"{path.parent} has the journal of other API keys ({others[0].name}). If the keys of "
            f"this account were renewed, set WILLSUITE_ACCOUNT={account} (or the field account of "
            "the block); for another account name a folder of its own, or run with "
            "new_journal=True."
        )
    for mark in marks:
        if journal is None:
            raise RunError(
                f"Earlier runs kept a journal of this account's appointments, and there is none at "
                f"{path}. Name its folder with the parameter journal, or restore it. {ANEW}"
            )
        if journal.id != mark.journal_id:
            raise RunError(
                f"The journal {path} is not the one that earlier runs of this account wrote to. "
                f"Name that one's folder with the parameter journal, or restore it. {ANEW}"
            )
        if journal.generation < mark.generation:
            raise RunError(
                f"The journal {path} is an older copy: a later run has written to another one. "
                f"Restore the latest. {ANEW}"
            )
