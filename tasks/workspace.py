"""A private folder for what one run needs on the disk while it runs.

Belongs here: making it, removing it, and removing what killed runs left, for it holds clients'
data. Does not: what a run writes into it, or keeping runs apart (any number may share an output).
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from tasks.files import private_folder
from tasks.policy import OutputError

_LOCK = ".lock"
"""In the workspace itself; the operating system frees it when the process dies."""


@contextlib.contextmanager
def run_workspace(output: Path) -> Iterator[Path]:
    """A new folder `.run-<id>` in `output`, gone at the end, whatever the end is.

    Folders of runs that were killed are removed; those of runs that live never.

    Raises:
        OutputError: `output` can't be written to.
    """
    try:
        private_folder(output)
        _remove_leftovers(output)
        folder, lock = _new_folder(output)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OutputError(f"Cannot write to the output folder {output} ({reason}).") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _new_folder(output: Path) -> tuple[Path, int]:
    while True:
        folder = output / f".run-{uuid4().hex[:8]}"
        folder.mkdir(mode=0o700)
        # until it is locked, another run may take it for a leftover
        if (lock := _locked(folder)) is not None:
            return folder, lock


def _remove_leftovers(output: Path) -> None:
    for folder in output.glob(".run-*"):
        if (lock := _locked(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """The descriptor of the folder's held lock; None where a run has it, or has removed it."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None
