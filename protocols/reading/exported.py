"""Cases as the latest export has them, to be compared without asking the account.

Belongs here: reading a published snapshot back. Does not: its layout (`tasks/snapshots.py`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection

import pyarrow as pa
import pyarrow.parquet as pq

from protocols.reading.found import Found, FoundCase
from protocols.reading.past_exports import PastExports
from schemas.texts import canonical
from tasks.policy import OutputError, file_task
from tasks.snapshots import Output, open_output


@file_task(name="read-export")
async def exported_cases(
    exports: str, account: str, ids: Collection[str], refs: Collection[str]
) -> tuple[Found, str]:
    """Those cases of the latest export that have one of these ids or references, and its watermark:
    what was changed at or after that time (of `updatedAfter`) may be newer than the export.

    Without their customers. A case that isn't in the answer may be in the account all the same.

    Args:
        exports: the `output` of export-cases, a folder or a URL.
        account: whose cases they have to be (`Settings.account_name`).
        ids: of cases.
        refs: of cases.

    Raises:
        OutputError: there is no export, it is another account's, or it can't be read.
    """
    return await asyncio.to_thread(_read, open_output(exports), exports, account, ids, refs)


@file_task(name="count-exported")
async def count_exported(exports: str, changed: Collection[str]) -> int:
    """How many cases there are if none was deleted since the latest export: those that it has, and
    those of the ids `changed` since that it hasn't.

    Raises:
        OutputError: it can't be read.
    """

    def read() -> int:
        output = open_output(exports)
        cases = _table(output, f"{output.latest().get('snapshot')}/cases.parquet", ["id"])
        return len({*cases["id"].to_pylist(), *changed})

    return await asyncio.to_thread(read)


def _read(
    output: Output, exports: str, account: str, ids: Collection[str], refs: Collection[str]
) -> tuple[Found, str]:
    latest = output.latest()
    snapshot, watermark = latest.get("snapshot"), latest.get("watermark")
    if not isinstance(snapshot, str) or not isinstance(watermark, str):
        raise OutputError(
            f'There is no export in {exports}; run export-cases first, or use compare_to="live".'
        )
    PastExports(output, account).refuse_another_account(
        'name the folder of this account\'s exports, or use compare_to="live"'
    )
    cases = _table(output, f"{snapshot}/cases.parquet", ["id", "ref", "notes"])
    wanted_refs = {canonical(ref) for ref in refs}
    wanted_ids = {case_id.casefold() for case_id in ids}
    meta: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    names = ["case_id", "field_id", "value"]
    for entry in _table(output, f"{snapshot}/case_meta.parquet", names).to_pylist():
        meta[entry["case_id"]][entry["field_id"]] = entry["value"]
    found = Found()
    for row in cases.to_pylist():
        has_ref = bool(wanted_refs) and canonical(row["ref"] or "") in wanted_refs
        has_id = row["id"].casefold() in wanted_ids
        if has_ref or has_id:
            case = FoundCase(row["id"], (), meta.get(row["id"], {}), row["notes"], row["ref"])
            found.add(case, has_ref=has_ref, has_id=has_id)
    return found, watermark


def _table(output: Output, name: str, columns: list[str]) -> pa.Table:
    content = output.read(name)
    try:
        if content is not None:
            return pq.read_table(pa.BufferReader(content), columns=columns)
    except (pa.ArrowException, OSError):
        pass
    raise OutputError(
        f"The latest export can't be read ({output.location(name)}); export again, or use "
        'compare_to="live".'
    )
