"""The bytes of a person's file, from this machine or an object store.

Belongs here: getting at them, and saying why not. Does not: what is in them (`source.py`).
"""

from pathlib import Path

import pyarrow.fs as pafs

from schemas.issues import SourceError


def content_of(source: str | Path, max_bytes: int) -> bytes:
    """All of the file at a path, or at a URL that pyarrow knows.

    Raises:
        SourceError: there is none, it can't be read, or it is larger than `max_bytes`.
    """
    return (
        _remote(str(source), max_bytes) if "://" in str(source) else _local(Path(source), max_bytes)
    )


def _local(path: Path, max_bytes: int) -> bytes:
    try:
        _refuse_large(path.stat().st_size, max_bytes)
        if not path.is_file():
            raise SourceError(f"{path} is not a file.")
        return path.read_bytes()
    except FileNotFoundError:
        # the absolute path says where it was looked for, which may be a worker's folder
        raise SourceError(f"There is no file {path.absolute()} on this machine.") from None
    except PermissionError:
        raise SourceError(f"The file {path} may not be read by this user.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no valid path"
        raise SourceError(f"The file {path} can't be read: {reason}.") from None


def _remote(url: str, max_bytes: int) -> bytes:
    """No message repeats the URL, which may have credentials in it."""
    try:
        files, path = pafs.FileSystem.from_uri(url)
        info = files.get_file_info(path)
        if info.type is pafs.FileType.NotFound:
            raise SourceError("There is no file at this URL; check its bucket and name.")
        if not info.is_file:
            raise SourceError("The URL is a folder's; give that of a file.")
        _refuse_large(info.size, max_bytes)
        with files.open_input_stream(path) as file:
            content: bytes = file.read()
            return content
    except (OSError, ValueError) as error:
        raise SourceError(
            f"The file at the URL can't be read ({type(error).__name__}); check that the URL is "
            "complete, like s3://bucket/folder/file.csv, and your credentials for it."
        ) from None


def _refuse_large(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise SourceError(
            f"The file has {size / 1e6:,.0f} MB; {max_bytes / 1e6:,.0f} MB is the most that is "
            "taken. Split it, and bring the parts one after the other."
        )
