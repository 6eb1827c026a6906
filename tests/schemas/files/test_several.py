"""Several files of the same columns are read as one, and every row says whose it is."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from schemas.files import several, source
from schemas.files.several import read_several
from schemas.files.source import Sheet
from schemas.issues import SourceError

NAMES = {"ref", "notes"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def read(*paths: Path, **options: str) -> Sheet:
    return read_several(
        [str(path) for path in paths], is_known=lambda h: h.lower() in NAMES, **options
    )


def test_their_rows_follow_each_other_under_the_headers_of_the_first(write: Write) -> None:
    one = write("one.csv", "Ref,notes\nA,1\n\nB,2\n")
    other = write("other.csv", "notes;ref\n3;C\n;\n")
    parquet = one.with_name("third.parquet")
    pd.DataFrame({"ref": ["D"], "notes": ["4"]}).to_parquet(parquet)
    sheet = read(one, other, parquet)
    assert sheet.frame.to_dict("list") == {
        "Ref": ["A", "B", "C", "D"],
        "notes": ["1", "2", "3", "4"],
    }
    assert [str(row) for row in sheet.rows] == [
        "2 of file 1", "4 of file 1", "2 of file 2", "2 of file 3",
    ]  # fmt: skip
    assert sheet.files == ["one.csv", "other.csv", "third.parquet"]
    assert sheet.blank_rows == 2
    assert sheet.description.startswith("3 files: CSV")


def test_what_is_wrong_with_a_row_is_said_of_the_row_of_its_file(write: Write) -> None:
    one = write("one.csv", "ref,notes\nA,1\n")
    other = write("other.csv", "NOTES,ref\n1,#N/A\n2,B,surplus\n")
    sheet = read(one, other)
    assert [(str(issue.row), issue.column, issue.code) for issue in sheet.issues] == [
        ("2 of file 2", "ref", "error_cell"),
        ("3 of file 2", None, "too_many_cells"),
    ]
    assert {str(row): cells for row, cells in sheet.surplus.items()} == {"3 of file 2": ["surplus"]}


@pytest.mark.parametrize("text", ["ref\nC\n", "ref,notes,more\nC,1,2\n", "ref,title\nC,1\n"])
def test_files_of_other_columns_are_refused(write: Write, text: str) -> None:
    with pytest.raises(
        SourceError, match=r"^File 2 of the list: It has not the columns of the first"
    ):
        read(write("one.csv", "ref,notes\nA,1\n"), write("other.csv", text))


def test_a_file_that_cannot_be_used_is_named_by_its_place(write: Write) -> None:
    one = write("one.csv", "ref,notes\nA,1\n")
    with pytest.raises(SourceError, match=r"^File 2 of the list: The file is empty"):
        read(one, write("other.csv", ""))
    with pytest.raises(SourceError, match=r"^File 2 of the list: There is no file"):
        read(one, one.with_name("absent.csv"))


def test_the_same_file_twice_and_no_file_at_all_are_refused(write: Write) -> None:
    one = write("one.csv", "ref,notes\nA,1\n")
    other = write("other.csv", "ref,notes\nB,1\n")
    with pytest.raises(SourceError, match="Files 1 and 3 of the list are the same file"):
        read(one, other, one.parent / "x" / ".." / "one.csv")
    with pytest.raises(SourceError, match="name at least one"):
        read()


def test_all_together_have_no_more_rows_than_one_may_have(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_ROWS", 3)
    monkeypatch.setattr(several, "MAX_ROWS", 3)
    one = write("one.csv", "ref,notes\nA,1\nB,2\n")
    assert len(read(one, write("other.csv", "ref,notes\nC,1\n")).rows) == 3
    with pytest.raises(SourceError, match="more than 3 rows"):
        read(one, write("other.csv", "ref,notes\nC,1\nD,1\n"))


def test_files_of_one_name_are_told_apart_by_their_folders(write: Write) -> None:
    paths = [write(f"{branch}/cases.csv", f"ref,notes\n{branch},1\n") for branch in ("a", "b")]
    assert read(*paths).files == [str(path) for path in paths]
