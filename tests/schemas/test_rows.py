"""By which numbers people know the rows of their files."""

import pytest

from schemas.rows import RowOfFile, file_of, own_number, place_of

FILES = ["january.csv", "february.csv"]


def test_rows_of_several_files_are_all_different_and_in_the_order_of_the_files():
    rows = [RowOfFile.at(file, row) for file in (1, 2, 11) for row in (2, 3, 500_000)]
    assert sorted(rows) == rows
    assert len(set(rows)) == len(rows)
    assert [(row.file, row.row) for row in rows[:4]] == [(1, 2), (1, 3), (1, 500_000), (2, 2)]


@pytest.mark.parametrize("said", ["{}".format, lambda row: f"{row}", str])
def test_a_sentence_says_the_row_and_which_file_without_its_name(said):
    assert said(RowOfFile.at(2, 17)) == "17 of file 2"


def test_the_persons_own_files_name_the_file():
    assert place_of(RowOfFile.at(2, 17), FILES) == "17 of february.csv"
    assert (own_number(RowOfFile.at(2, 17)), file_of(RowOfFile.at(1, 2), FILES)) == (
        17, "january.csv",
    )  # fmt: skip


def test_a_row_of_a_single_file_is_a_number():
    assert (place_of(17, []), own_number(17), file_of(17, [])) == ("17", 17, None)
