"""Files that hold clients' data: readable by their owner alone, and whole or not there at all.

Belongs here: creating, syncing and replacing single files and folders.
Does not: what is in them.
"""

import os
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


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


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that every reader finds the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with private_file(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Bring a written file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Bring a folder's entries (creations, renames) to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
