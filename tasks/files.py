"""Files that hold clients' data: readable by their owner alone (unless the group is let in), and
whole or not there at all.

Belongs here: creating, syncing and replacing single files and folders.
Does not: what is in them.
"""

import errno
import logging
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger


def private_folder(path: Path) -> Path:
    """Create `path` (mode 0700) and its parents where they don't exist yet."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


def private_file(path: Path) -> BinaryIO:
    """Open `path` for writing, mode 0600; an existing file is emptied."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "wb")


def private_path(path: Path) -> str:
    """Create an empty file, mode 0600, for a library that then opens it by name."""
    private_file(path).close()
    return str(path)


def open_to_group(path: Path) -> None:
    """Let the group read the file, or look into the folder, where it may not yet."""
    mode = stat.S_IMODE(path.stat().st_mode)
    bits = stat.S_IRGRP | stat.S_IXGRP if path.is_dir() else stat.S_IRGRP
    if mode | bits != mode:
        path.chmod(mode | bits)


def write_atomically(path: Path, content: bytes, *, group_readable: bool = False) -> None:
    """Put `content` at `path` so that every reader finds the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with private_file(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if group_readable:
            open_to_group(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Bring a written file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Bring a folder's entries (creations, renames) to the disk, where the file system can.

    Shares of Windows machines and some others in user space refuse it (EINVAL and the like); a
    crash of the machine may then cost what was just written there, which is said once.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        _say_once(
            "The file system of %s can't sync folders: what was written last may be lost if the "
            "machine crashes.", path,
        )  # fmt: skip
    finally:
        os.close(descriptor)


_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}
_SAID: set[int] = set()
"""The devices of which it was said."""


def _say_once(message: str, path: Path) -> None:
    device = path.stat().st_dev
    if device not in _SAID:
        _SAID.add(device)
        try:
            logger: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()
        except MissingContextError:
            logger = logging.getLogger(__name__)
        logger.warning(message, path)
