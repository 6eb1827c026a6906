"""The published export that somebody means, and its tables.

Belongs here: which of the exports in an output it is, and reading one of its tables. Does not:
what readers make of a table (`protocols/exports.py`), or the base of the next export
(`increments.py`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from protocols.reading.past_exports import PastExport, PastExports
from tasks.policy import OutputError
from tasks.snapshots import Output


def find_export(output: Output, as_of: datetime | str | None, account: str | None) -> PastExport:
    """The export that `latest.json` names, or the newest of all cases that began by `as_of`.

    Raises:
        OutputError: there is none, or it is not of `account`.
    """
    past = PastExports(output, account or PastExports(output, "").owner() or "")
    if account:
        past.refuse_another_account("name the folder of this account's exports")
    if as_of is None:
        export = past.named() or past.current()
    else:
        until = moment(as_of)
        by_then = (each for each in past.published() if moment(each.started_at) <= until)
        export = next(by_then, None)
    if export is None:
        when = "" if as_of is None else " from before that time"
        raise OutputError(
            f"There is no export of all cases{when} in {output.location('').rstrip('/')}; run "
            "export-cases first."
        )
    return export


def moment(value: datetime | str) -> datetime:
    """A time in UTC; one without an offset is of UTC."""
    when = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)


def read_table(
    output: Output,
    export: PastExport,
    table: str,
    columns: Sequence[str] | None = None,
    *,
    check: bool = False,
) -> pa.Table:
    """A table of the export, or those of these columns that it has, in its order; with `check` its
    hash is looked at first.

    Raises:
        OutputError: it isn't there, or damaged.
    """
    with _reading(output, export, table, check) as file:
        return pq.ParquetFile(file).read(columns=columns and [*columns])


def read_pieces(
    output: Output, export: PastExport, table: str, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The same table, checked, a row group at a time; at least one piece comes, maybe empty.

    Raises:
        OutputError: it isn't there, or damaged.
    """
    with _reading(output, export, table, check=True) as content:
        file = pq.ParquetFile(content)
        yield file.read_row_groups([], columns=[*columns])
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=[*columns])


@contextmanager
def _reading(
    output: Output, export: PastExport, table: str, check: bool
) -> Iterator[pa.NativeFile]:
    """The table's file, open; whatever is wrong with it is said in a sentence."""
    name = f"{export.snapshot}/{table}.parquet"
    try:
        file = output.open(name)
        if file is not None:
            with file:
                known = export.files.get(f"{table}.parquet")
                if check and (known is None or _hash(file) != known.sha256):
                    raise OutputError(
                        f"{output.location(name)} isn't what was exported; read an earlier one "
                        "(as_of), or export again."
                    )
                yield file
                return
    except (pa.ArrowException, OSError):
        pass
    raise OutputError(f"{output.location(name)} can't be read; export again.")


def _hash(file: Any) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest
