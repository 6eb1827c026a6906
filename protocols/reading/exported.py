"""Cases as the latest export has them, to be compared without asking the account.

Belongs here: reading a published snapshot back. Does not: its layout (`tasks/snapshots.py`).
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
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
        count, new = 0, set(changed)
        with _reading(output, f"{output.latest().get('snapshot')}/cases.parquet") as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                count += len(ids)
                new.difference_update(ids)
        return count + len(new)

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
    cases = _wanted_cases(output, f"{snapshot}/cases.parquet", ids, refs)
    meta = _meta_of(output, f"{snapshot}/case_meta.parquet", sorted(row["id"] for row, *_ in cases))
    found = Found()
    for row, has_id, has_ref in cases:
        case = FoundCase.of(row["id"], (), meta.get(row["id"], {}), row["notes"], row["ref"])
        found.add(case, has_ref=has_ref, has_id=has_id)
    return found, watermark


def _wanted_cases(
    output: Output, name: str, ids: Collection[str], refs: Collection[str]
) -> list[tuple[dict[str, Any], bool, bool]]:
    """Their rows, and whether it was by id and by reference; a row group at a time is in memory."""
    wanted_refs = {canonical(ref) for ref in refs}
    wanted_ids = {case_id.casefold() for case_id in ids}
    wanted: list[tuple[dict[str, Any], bool, bool]] = []
    with _reading(output, name) as file:
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, columns=["id", "ref"])
            columns = keys["id"].to_pylist(), keys["ref"].to_pylist()
            by_id = [case_id.casefold() in wanted_ids for case_id in columns[0]]
            by_ref = [
                bool(ref and wanted_refs) and canonical(ref) in wanted_refs for ref in columns[1]
            ]
            places = [at for at, each in enumerate(zip(by_id, by_ref, strict=True)) if any(each)]
            if places:
                rows = file.read_row_group(group, columns=["id", "ref", "notes"]).take(places)
                wanted += [
                    (row, by_id[at], by_ref[at])
                    for row, at in zip(rows.to_pylist(), places, strict=True)
                ]
    return wanted


def _meta_of(output: Output, name: str, ids: Sequence[str]) -> Mapping[str, dict[str, str | None]]:
    """The CRM values of the cases with these ids, which are sorted, as the table is."""
    meta: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    wanted = pa.array(ids, pa.string())
    with _reading(output, name) as file:
        key = file.schema_arrow.get_field_index("case_id")
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(key).statistics
            if statistics is not None and statistics.has_min_max:
                first = bisect_left(ids, statistics.min)
                if first == len(ids) or ids[first] > statistics.max:
                    continue
            rows = file.read_row_group(group, columns=["case_id", "field_id", "value"])
            for entry in rows.filter(pc.is_in(rows["case_id"], value_set=wanted)).to_pylist():
                meta[entry["case_id"]][entry["field_id"]] = entry["value"]
    return meta


@contextmanager
def _reading(output: Output, name: str) -> Iterator[pq.ParquetFile]:
    """The file, open; whatever is wrong with it is said in a sentence."""
    content = output.open(name)
    try:
        if content is not None:
            with content:
                yield pq.ParquetFile(content)
                return
    except (pa.ArrowException, OSError, LookupError):  # ... or another table altogether
        pass
    raise OutputError(
        f"The latest export can't be read ({output.location(name)}); export again, or use "
        'compare_to="live".'
    )
