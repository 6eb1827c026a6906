"""Runs of a flow to their end, in this process, and what they leave.

Belongs here: writing a file for a run, starting it, reading what it says. Does not: runs that are
killed or stopped (`stopped_runs.py`).
"""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import Flow
from prefect.client.schemas.objects import State

from flows.writing import IncompleteRunError

Row = dict[str, str]
End = tuple[str, str | None, int]
"""Outcome, code and attempts of a row."""


@dataclass(frozen=True)
class EndedRun:
    """What one run of a flow left."""

    state: State[Any]
    result: Any

    @classmethod
    def of(cls, flow: Flow[..., Any], source: Any, output: str = "runs", **parameters: Any) -> Self:
        """Run `flow` with a file, or what else it takes; the rows it counts are all rows of its
        file of outcomes.
        """
        source = str(source) if isinstance(source, Path) else source

        async def run() -> Self:
            state: State[Any] = await flow(
                source=str(source) if isinstance(source, Path) else source,
                output=output,
                return_state=True,
                **parameters,
            )
            return cls(state, await state.aresult(raise_on_failure=False))

        ended = asyncio.run(run())
        if isinstance(ended.result, IncompleteRunError | dict):
            counted = Counter(row["outcome"] for row in ended.rows)
            assert ended.summary["outcomes"] == counted
            assert counted.total() == ended.summary["rows"]
        return ended

    @property
    def summary(self) -> Any:
        return summary_of(self.result)

    @property
    def table(self) -> pa.Table:
        return pq.read_table(self.summary["outcomes_file"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.to_pylist()

    @property
    def by_row(self) -> dict[int, dict[str, Any]]:
        return {row["row"]: row for row in self.rows}

    @property
    def by_key(self) -> dict[str, dict[str, Any]]:
        """The rows by their key, which the tests use once each."""
        return {row["key"]: row for row in self.rows}

    @property
    def ends(self) -> list[End]:
        """Of each row, in the order of the file."""
        return [_end(row) for row in self.rows]

    @property
    def ends_by_key(self) -> dict[str, End]:
        return {key: _end(row) for key, row in self.by_key.items()}


def _end(row: dict[str, Any]) -> End:
    return row["outcome"], row["code"], row["attempts"]


def summary_of(result: Any) -> Any:
    """What a flow returned, or says with the error of a run that left rows over."""
    return result.summary if isinstance(result, IncompleteRunError) else result


def write_csv(
    path: str, rows: Sequence[Row], *, delimiter: str = ",", encoding: str = "utf-8"
) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    Path(path).write_bytes(text.getvalue().encode(encoding))
    return Path(path)
