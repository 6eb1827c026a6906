"""Copies of exports for people who may not see clients, in a folder of their own.

Belongs here: writing one, and keeping it apart from the exports themselves. Does not: what is left
of a table (`schemas/pseudonyms.py`), or reading a copy (`exports.py`, as any export).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from protocols.reading.past_exports import PastExport, PastExports
from protocols.reading.published import find_export, moment, read_pieces
from schemas.case_tables import SCHEMAS
from schemas.pseudonyms import PSEUDONYMISED, SOURCE_COLUMNS, in_order_of_hashes, pseudonymised
from tasks.files import private_folder, private_path
from tasks.policy import OutputError
from tasks.snapshot_tables import TableFile, write_table_file
from tasks.snapshots import Output, open_output
from willsuite import load_pseudonym_key

_HEX_DIGITS = "0123456789abcdef"


def write_pseudonymised(
    output: str = "data/exports",
    to: str = "data/pseudonymised",
    *,
    as_of: datetime | str | None = None,
    account: str | None = None,
    keep_last: int = 10,
    group_readable: bool = False,
) -> str:
    """Write the latest export of all cases without people into another folder.

    It is read as an export is (`read_export("cases", to)`), and is none: nothing is built upon it,
    and no flow takes it for the account. The same key gives the same hashes in every copy.

    Args:
        output: the `output` of export-cases, a folder or a URL.
        to: where copies are, and nothing else; a folder or a URL.
        as_of: as in `read_export`.
        account: as in `read_export`.
        keep_last: how many copies to keep.
        group_readable: let the group of the folder `to` read it.

    Returns:
        Where the copy is.

    Raises:
        ConfigurationError: WILLSUITE_PSEUDONYM_KEY is missing or too short.
        OutputError: there is no export of all cases, or `to` has other things, or can't be written.
    """
    key = load_pseudonym_key()
    if keep_last < 1:
        raise OutputError("keep_last must be at least 1: the last copy is never removed.")
    place = open_output(str(output))
    export = find_export(place, as_of, account)
    if not export.is_full or export.profile == PSEUDONYMISED:
        raise OutputError(
            f"{place.location(export.snapshot)} is no export of all cases; run export-cases first."
        )
    target = open_output(str(to), group_readable=group_readable)
    owner = f"{export.account or 'unknown'}-{PSEUDONYMISED}"
    past = PastExports(target, owner)
    with target.workspace() as workspace:
        _refuse_others(target, past, owner)
        folder = private_folder(workspace / "tables")
        files = _write(place, export, key, folder)
        manifest = _manifest(export, owner, files)
        copy = msgspec.convert(manifest, PastExport)
        target.publish(folder, copy.name, manifest)
        target.point(past.pointer_to(copy))
        past.prune(keep_last, copy.name)
    return target.location(copy.snapshot)


def _refuse_others(target: Output, past: PastExports, owner: str) -> None:
    """Refuse a folder with the people themselves in it, or with another account's copies."""
    has_something = target.snapshots() or target.manifests() or target.latest()
    if has_something and past.owner() != owner:
        raise OutputError(
            f"{target.location('').rstrip('/')} has other exports in it; name a new folder for "
            "pseudonymised copies."
        )


def _write(place: Output, export: PastExport, key: bytes, folder: Path) -> dict[str, TableFile]:
    files = {}
    for name in SCHEMAS._fields:
        pieces = (
            pseudonymised(name, piece, key, export.crm_field_options)
            for piece in read_pieces(place, export, name, SOURCE_COLUMNS[name])
        )
        aside = private_folder(folder.with_name(f"{name}-by-hash"))
        schema = _write_by_hash(pieces, aside)
        files[name] = write_table_file(_by_hash(aside), schema, folder / f"{name}.parquet")
    return files


def _write_by_hash(pieces: Iterator[pa.Table], aside: Path) -> pa.Schema:
    """Write rows, by the first digit of their first column, to files; at least one piece comes."""
    first = next(pieces)
    with ExitStack() as stack:
        files = {
            digit: stack.enter_context(pa.ipc.new_file(private_path(aside / digit), first.schema))
            for digit in _HEX_DIGITS
        }
        for piece in chain([first], pieces):
            for digit, file in files.items():
                file.write_table(piece.filter(pc.starts_with(piece[0], digit)))
    return first.schema


def _by_hash(aside: Path) -> Iterator[pa.Table]:
    """All these rows in the order of their hashes; a sixteenth of them is in memory."""
    for path in sorted(aside.iterdir()):
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            yield in_order_of_hashes(reader.read_all())


def _manifest(export: PastExport, owner: str, files: dict[str, TableFile]) -> dict[str, Any]:
    began = moment(export.started_at)
    return {
        "snapshot": f"snapshots/{began:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}",
        "account": owner,
        "profile": PSEUDONYMISED,
        "copy_of": export.snapshot,
        "mode": export.mode,
        "filters": {},
        "started_at": export.started_at,
        "finished_at": datetime.now(UTC).isoformat(),
        "full_at": export.full_at,
        "watermark": export.watermark,
        "verification": export.verification,
        "schema_version": export.schema_version,
        "rows": {name: file.rows for name, file in files.items()},
        "files": msgspec.to_builtins({f"{name}.parquet": file for name, file in files.items()}),
    }
