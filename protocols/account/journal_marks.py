"""Whether the journal at hand is the one that earlier runs wrote to.

Belongs here: the marks that a run leaves of its journal, and refusing another one. Does not: the
journal itself (`account/journal.py`).

With an empty journal, or an old copy, every booking since would be made a second time. So the
journal's id and generation are kept apart from it twice: on this machine, and as a Prefect
variable, which runs on other machines see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from prefect.variables import Variable

from protocols.account.journal import Journal
from protocols.account.lock import state_folder
from tasks.files import private_folder, write_atomically
from tasks.policy import RunError

ANEW = (
    "Only if it is lost for good, run with new_journal=True: every booking of the file that isn't "
    "known then is made anew."
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The journal that was written to last."""

    journal_id: str
    generation: int


async def check_marks(account: str, path: Path, journal: Journal | None) -> None:
    """Refuse a journal that earlier runs haven't written to, or that lacks what they wrote.

    Args:
        account: its hash.
        path: where the journal was looked for.
        journal: None where there is none.

    Raises:
        RunError: it isn't the journal of the marks, or is older.
    """
    if journal is None and (others := sorted(path.parent.glob("appointments-*.sqlite3"))):
        raise RunError(
            f"{path.parent} has the journal of other API keys ({others[0].name}). If the keys of "
            f"this account were made anew, rename it to {path.name} (and its -wal, where there is "
            "one); for another account name a folder of its own, or run with new_journal=True."
        )
    for mark in await _marks(account):
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


async def leave_marks(account: str, journal: Journal) -> None:
    """Say that this is the account's journal from now on."""
    content = {"journal_id": journal.id, "generation": journal.generation}
    private_folder(state_folder())
    write_atomically(_file(account), msgspec.json.encode(content))
    await Variable.aset(_variable(account), content, overwrite=True)


async def _marks(account: str) -> list[Mark]:
    found = [await Variable.aget(_variable(account)), _content(_file(account))]
    return [mark for raw in found if (mark := _mark(raw)) is not None]


def _mark(raw: Any) -> Mark | None:
    """None where there is none; one that can't be read stands for a journal that is unknown."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        return Mark("", 0)
    generation = raw.get("generation")
    return Mark(str(raw.get("journal_id")), generation if isinstance(generation, int) else 0)


def _content(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return ""


def _file(account: str) -> Path:
    return state_folder() / f"{account}.journal"


def _variable(account: str) -> str:
    return f"willsuite_journal_{account}"
