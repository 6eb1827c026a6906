"""All that a folder's files say, as text: to look for what mustn't be there, or must."""

import zipfile
from pathlib import Path

import pyarrow.parquet as pq


def texts_in(folder: Path) -> str:
    """Names and content of all files; Parquet files and workbooks unpacked."""
    return "\n".join(
        f"{path}\n{_text(path)}" for path in sorted(folder.rglob("*")) if path.is_file()
    )


def _text(path: Path) -> str:
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    if path.suffix == ".xlsx":
        with zipfile.ZipFile(path) as archive:
            return "\n".join(archive.read(name).decode() for name in archive.namelist())
    return path.read_bytes().decode("utf-8", "replace")
