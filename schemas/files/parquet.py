"""Parquet files and tables of Python programs: columns of any plain type, as texts.

Belongs here: what the text of a typed value is. Does not: what a header must look like, cleaning
of cells (`source.py`), and the Parquet files an export publishes (`case_tables.py`).
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.issues import SourceError

_BATCH = 10_000
_is_pandas_index = re.compile(r"__index_level_\d+__").fullmatch


def read_records(data: bytes, *, max_rows: int) -> tuple[str, Iterator[Sequence[str]]]:
    """The records of a Parquet file, the first being the names of its columns.

    Returns:
        A description for logs, and the records, in the order of the file.

    Raises:
        SourceError: the file is damaged or too long, or (while the records are taken) a column
            holds no plain values.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
    except (pa.ArrowException, OSError, ValueError):
        raise _damaged() from None
    if file.metadata.num_rows > max_rows:
        raise SourceError(
            f"The file has {file.metadata.num_rows:,} rows; {max_rows:,} is the most that is "
            "taken. Split it, and bring the parts one after the other."
        )
    return "Parquet", _records(file.schema_arrow, file.iter_batches(batch_size=_BATCH))


def records_of(table: pd.DataFrame | pa.Table) -> Iterator[Sequence[str]]:
    """The records of a table of a Python program, as if they had been written to Parquet.

    Raises:
        SourceError: a column can't be one of a table, or holds no plain values.
    """
    if isinstance(table, pd.DataFrame):
        table = _arrow_table(table)
    return _records(table.schema, iter(table.to_batches(_BATCH)))


def _arrow_table(frame: pd.DataFrame) -> pa.Table:
    """No message repeats what pyarrow says, which has values in it."""
    names = [str(name) for name in frame.columns]
    if repeated := next((place for place, name in enumerate(names) if name in names[:place]), 0):
        raise SourceError(f"Columns {names.index(names[repeated]) + 1} and {repeated + 1} of the "
                          "table have the same name. Rename or remove one.")  # fmt: skip
    for place in range(len(names)):
        try:
            pa.array(frame.iloc[:, place], from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise SourceError(
                f"Column {place + 1} of the table holds values of several kinds, such as texts and "
                "numbers; make all of them texts."
            ) from None
    return pa.Table.from_pandas(frame)


def _records(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[Sequence[str]]:
    used = [position for position, name in enumerate(schema.names) if not _is_pandas_index(name)]
    converters = [_converter(schema.field(position).type, position) for position in used]
    yield [schema.names[position] for position in used]
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
            columns = [
                [text or "" for text in convert(batch.column(position))]
                for convert, position in zip(converters, used, strict=True)
            ]
        except (pa.ArrowException, OSError, ValueError, OverflowError):
            raise _damaged() from None
        yield from zip(*columns, strict=True)


def _damaged() -> SourceError:
    return SourceError(
        "The file begins like Parquet but can't be read as such: it is damaged or incomplete. "
        "Write or copy it again."
    )


# -- values ----------------------------------------------------------------------------------

_Texts = list[str | None]


def _converter(kind: pa.DataType, position: int) -> Callable[[pa.Array], _Texts]:
    """The way from a column of type `kind` to texts."""
    if pa.types.is_dictionary(kind):
        convert = _converter(kind.value_type, position)
        return lambda array: convert(array.dictionary_decode())
    for fits, convert in _CONVERTERS:
        if fits(kind):
            return convert
    raise SourceError(
        f"Column {position + 1} holds lists, structures or bytes. "
        "Write it as texts, numbers or dates, or leave it out."
    )


EXACT_BELOW = 2.0**53
"""From here on a number of 64 bits can be another one than was written."""


def number_text(number: float, exact_below: float = EXACT_BELOW) -> str:
    """Digits where it is whole, else up to 15 of them, as a spreadsheet shows it; "" for NaN.

    One that is not exact any more is as a spreadsheet shows it, too: 1.59001810629457e+17.
    """
    if math.isnan(number):
        return ""
    if number.is_integer() and abs(number) < exact_below:
        return str(int(number))
    return f"{number:.15g}"


def _as_arrow_prints(array: pa.Array) -> _Texts:
    texts: _Texts = array.cast(pa.large_string()).to_pylist()
    return texts


def _as_python_prints(array: pa.Array) -> _Texts:
    return [None if value is None else str(value) for value in array.to_pylist()]


def _numbers(array: pa.Array) -> _Texts:
    if not pa.types.is_float64(array.type):
        # by way of the shortest text, or 0.1 becomes 0.10000000149011612
        array = array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
    return [None if value is None else number_text(value) for value in array.to_pylist()]


def _decimals(array: pa.Array) -> _Texts:
    return [
        None if value is None else f"{value:f}" if value % 1 else f"{value:.0f}"
        for value in array.to_pylist()
    ]


def _timestamps(array: pa.Array) -> _Texts:
    """The wall time of the column's own zone, if it has one with its offset from UTC; only the
    day where that is midnight.

    Without the offset nobody could tell nine o'clock in London from nine o'clock UTC.
    """
    zone = array.type.tz
    array = pc.floor_temporal(array, unit="second").cast(pa.timestamp("s", zone))
    walls = array if zone is None else pc.local_timestamp(array)
    is_midnight = pc.equal(walls, pc.floor_temporal(walls, unit="day"))
    days = walls.cast(pa.date32()).cast(pa.string())
    texts = walls.cast(pa.string()) if zone is None else pc.strftime(array, "%Y-%m-%d %H:%M:%S%z")
    return _as_arrow_prints(pc.if_else(is_midnight, days, texts))


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", None) == "arrow.uuid"


_TYPES = pa.types
_CONVERTERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], _Texts]], ...] = (
    (_TYPES.is_string, _as_arrow_prints),
    (_TYPES.is_large_string, _as_arrow_prints),
    (_TYPES.is_string_view, _as_arrow_prints),
    (_TYPES.is_null, _as_arrow_prints),
    (_TYPES.is_boolean, _as_arrow_prints),
    (_TYPES.is_integer, _as_arrow_prints),
    (_TYPES.is_date, _as_arrow_prints),
    (_TYPES.is_floating, _numbers),
    (_TYPES.is_decimal, _decimals),
    (_TYPES.is_timestamp, _timestamps),
    (_TYPES.is_time, _as_python_prints),
    (_is_uuid, _as_python_prints),
)
