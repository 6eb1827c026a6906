"""The plan that a person has approved: what each row would send, so that nothing else is sent.

Belongs here: the file `plan.parquet` beside the outcomes of a plan, and holding a later run to it.
Does not: what an entry would send (`Entry.intents` of each flow), or asking somebody
(`flows/approvals.py`).

The file has digests, not values. A row may send less than was planned (somebody has done a part of
it meanwhile), never more or other: then it ends as `conflict`, with the code `not_as_planned`.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from protocols.rows.ledger import Entry
from schemas.outcomes import Outcome
from tasks.files import write_atomically
from tasks.policy import RunError

PLAN_NAME = "plan.parquet"
_SCHEMA = pa.schema(
    [pa.field("row", pa.int64(), nullable=False), pa.field("digest", pa.string(), nullable=False)]
)
"""`row` as in the outcomes; a row that sends several things has several digests."""
_FLOW, _ACCOUNT = b"willsuite_flow", b"willsuite_account"


def write_plan(folder: Path, entries: Iterable[Entry], *, flow: str, account: str) -> Path:
    """Write what the planned ones among `entries` would send; returns the file."""
    planned = [
        (entry.rows[0], digest)
        for entry in entries
        if entry.outcome is Outcome.PLANNED
        for digest in entry.digests()
    ]
    columns = {"row": [row for row, _ in planned], "digest": [digest for _, digest in planned]}
    named = _SCHEMA.with_metadata({_FLOW: flow, _ACCOUNT: account})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pydict(columns, schema=named), sink, compression="zstd")
    path = folder / PLAN_NAME
    write_atomically(path, sink.getvalue().to_pybytes())
    return path


def hold_to_plan(entries: Iterable[Entry], plan: str, *, flow: str, account: str) -> None:
    """Let `entries` send only what the file `plan` has; it may be given by its folder, too.

    Raises:
        RunError: it isn't there, isn't a plan, or is one of another flow or account.
    """
    path = Path(plan)
    path = path / PLAN_NAME if path.is_dir() else path
    try:
        table = pq.read_table(path)
        digests = zip(table["row"].to_pylist(), table["digest"].to_pylist(), strict=True)
    except FileNotFoundError:
        raise RunError(
            f"There is no plan {path} on this machine, so nothing was sent; plan again, with an "
            "output folder that all workers see."
        ) from None
    except (pa.ArrowInvalid, KeyError):
        raise RunError(f"{path} is not a plan; name the {PLAN_NAME} of one.") from None
    named = table.schema.metadata or {}
    if named.get(_FLOW) != flow.encode():
        raise RunError(f"{path} is not a plan of {flow}; name one of this flow.")
    if named.get(_ACCOUNT) != account.encode():
        raise RunError(f"{path} is a plan for another account, so nothing was sent; plan again.")
    by_row: defaultdict[int, set[str]] = defaultdict(set)
    for row, digest in digests:
        by_row[row].add(digest)
    for entry in entries:
        entry.approved = frozenset(by_row.get(entry.rows[0], ()))
