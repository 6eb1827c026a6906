"""Tables of Python programs are read as if they came in a Parquet file."""

import re
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from schemas.files.source import Sheet, read_sheet, read_table
from schemas.issues import SourceError

NAMES = {"ref", "notes", "day", "key"}
SOMEBODY = "Margaret Thistlewood"


def read(table: Any) -> Sheet:
    return read_table(table, is_known=NAMES.__contains__)


def refusal(table: Any) -> str:
    with pytest.raises(SourceError) as refused:
        read(table)
    return str(refused.value)


FRAME = pd.DataFrame(
    {
        "ref": [" A ", None, "C\u200b", "D"],
        "notes": [1.0, np.nan, 0.1 + 0.2, 9001.0],
        "day": [date(2024, 3, 1), None, None, date(1960, 12, 31)],
        "key": pd.Series([1, None, 3, 4], dtype="Int64"),
    }
)


@pytest.mark.parametrize(
    "table", [FRAME, pa.Table.from_pandas(FRAME), FRAME.set_index(pd.Index([7, 7, 8, 9]))],
    ids=["pandas", "Arrow", "pandas with labels"],
)  # fmt: skip
def test_cells_are_as_of_a_parquet_file_and_rows_are_positions(table: Any, tmp_path: Any) -> None:
    FRAME.to_parquet(tmp_path / "frame.parquet")
    as_file = read_sheet(tmp_path / "frame.parquet", is_known=NAMES.__contains__)
    sheet = read(table)
    pd.testing.assert_frame_equal(sheet.frame, as_file.frame)
    assert sheet.rows == [0, 2, 3]
    assert [row + 2 for row in sheet.rows] == as_file.rows
    assert (sheet.blank_rows, sheet.issues, sheet.files) == (1, [], ())


def test_an_index_with_a_name_is_a_column() -> None:
    sheet = read(FRAME.set_index("ref"))
    assert sheet.frame["ref"].tolist()[0] == "A"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pd.DataFrame(), "The file is empty."),
        (pd.DataFrame({SOMEBODY: ["x"]}), "The table has none of the column names that are known."),
        (pd.DataFrame({"ref": ["A", 5]}), "Column 1 of the table holds values of several kinds"),
        (pd.DataFrame({"ref": ["A"], "notes": [[SOMEBODY]]}), "Column 2 holds lists"),
        (pd.DataFrame([["A", "B"]], columns=["ref", "ref"]), "Columns 1 and 2 of the table have"),
        (pd.DataFrame([["A", "B"]], columns=["ref", "Ref"]), r"Columns A \(1\) and B \(2\) have"),
    ],
)
def test_a_table_that_cannot_be_used_is_a_sentence_without_a_cell(
    table: pd.DataFrame, sentence: str
) -> None:
    said = refusal(table)
    assert re.match(sentence, said), said
    assert SOMEBODY not in said


def test_a_damaged_arrow_table_is_refused() -> None:
    texts = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    assert "can't be read" in refusal(pa.table({"ref": texts}))


def test_a_table_is_not_changed() -> None:
    before = FRAME.copy(deep=True)
    read(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)
