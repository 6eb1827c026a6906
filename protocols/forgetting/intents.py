"""What is being forgotten, written down until it is done.

Belongs here: the file of this machine's state that says so. Does not: the removing itself.

Half-way, the files that are left may name the case by its id alone, and no other may tell any more
that it is the one with the reference; so a run that was killed leaves word to the next one.
"""

from pathlib import Path
from uuid import uuid4

import msgspec

from protocols.account.known import state_folder
from protocols.forgetting.traces import Traces
from tasks.files import private_folder, sync_folder, write_atomically


class _Stored(msgspec.Struct):
    ids: frozenset[str]
    refs: frozenset[str]


def with_intents(traces: Traces) -> Traces:
    """The case by all that runs knew of it that were stopped before."""
    for path in _paths():
        stored = _read(path)
        if stored.ids & traces.ids or stored.refs & traces.refs:
            traces = Traces(traces.ids | stored.ids, traces.refs | stored.refs)
    return traces


def intend(traces: Traces) -> None:
    """From now on, until `done`, a killed run is one to be brought to its end."""
    folder = private_folder(state_folder())
    path = folder / f"forgetting-{uuid4().hex}.json"
    write_atomically(path, msgspec.json.encode(_Stored(traces.ids, traces.refs)))


def done(traces: Traces) -> None:
    """Nothing of the case is left."""
    for path in [*_paths(), *state_folder().glob(".forgetting-*")]:  # ... or was being written
        stored = _read(path)
        if stored.ids <= traces.ids and stored.refs <= traces.refs:
            path.unlink()
            sync_folder(path.parent)


def count_intents() -> int:
    """How many were not brought to their end."""
    return len(_paths())


def _paths() -> list[Path]:
    return sorted(state_folder().glob("forgetting-*.json"))


def _read(path: Path) -> _Stored:
    """One that can't be read is of no case, and is over with the next that is done."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Stored)
    except msgspec.MsgspecError:
        return _Stored(frozenset(), frozenset())
