"""Files people bring, whatever their kind: headers, cells, rows, and files that can't be used."""

# ruff: noqa: DTZ001, RUF001 - cells know no time zone; look-alikes are the point

import datetime as dt
import io
import os
import uuid
import zipfile
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.files import delimited, source
from schemas.files.source import Sheet, read_sheet
from schemas.files.workbooks import rejects_file
from schemas.issues import SourceError
from schemas.texts import clean

NAMES = {"ref", "notes", "last_name"}
SOMEBODY = "Margaret Thistlewood"
"""Of nobody; stands where no message may repeat it."""


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("sources") / "file"


@pytest.fixture
def read(path):
    def read(content: bytes) -> Sheet:
        path.write_bytes(content)
        return read_sheet(path, is_known=NAMES.__contains__)

    return read


@pytest.fixture
def refusal(read):
    def refusal(content: bytes) -> str:
        with pytest.raises(SourceError) as refused:
            read(content)
        return str(refused.value)

    return refusal


def parquet(columns: dict[str, object] | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def as_csv(header: list[str], rows: list[list[str | None]]) -> bytes:
    return delimited.written(header, rows)


def as_parquet(header: list[str], rows: list[list[str | None]]) -> bytes:
    columns = [pa.array([row[at] for row in rows], pa.string()) for at in range(len(header))]
    return parquet(pa.Table.from_arrays(columns, names=header))


def as_workbook(header: list[str], rows: list[list[str | None]]) -> bytes:
    suffix, content = rejects_file(header, rows, set())
    assert suffix == ".xlsx"
    return content


KINDS = pytest.mark.parametrize("write", [as_csv, as_parquet, as_workbook])


# -- frames ----------------------------------------------------------------------------------


@KINDS
def test_a_sheet_has_texts_only_under_the_names_of_the_header(read, write):
    sheet = read(write([" ref", "Last Name\u200b", "x"], [["1", "00123", ""], ["2", " ", "x"]]))

    expected = pd.DataFrame(
        {"ref": ["1", "2"], "Last Name": ["00123", None], "x": [None, "x"]}, dtype="str"
    )
    pd.testing.assert_frame_equal(sheet.frame, expected)
    assert isinstance(sheet.frame.index, pd.RangeIndex)
    assert sheet.rows == [2, 3]


@KINDS
def test_a_header_without_rows_is_a_sheet_without_rows(read, write):
    sheet = read(write(["ref", "notes"], []))

    assert sheet.frame.shape == (0, 2)
    assert set(sheet.frame.dtypes) == {pd.Series([], dtype="str").dtype}
    assert (sheet.rows, sheet.issues, sheet.blank_rows) == ([], [], 0)


@KINDS
def test_columns_without_any_value_are_texts_too(read, write):
    sheet = read(write(["ref", "notes"], [["1", None]]))

    assert sheet.frame["notes"].dtype == sheet.frame["ref"].dtype == "str"


@KINDS
def test_surnames_that_programs_take_for_nothing_survive(read, write):
    surnames = ["None", "NA", "N/A", "nan", "NaN", "null", "Null", "NULL", "True", "-", "#", "0"]
    sheet = read(write(["last_name"], [[name] for name in surnames]))

    assert sheet.frame["last_name"].tolist() == surnames
    assert sheet.issues == []


@KINDS
def test_cells_are_cleaned_at_their_ends_and_composed(read, write):
    cells = ["\xa0a ", "\u200bb\ufeff", "Zoe\u0308", "O’Brien", "a \xa0 b", "\u2060c\x7f"]
    sheet = read(write(["notes"], [[cell] for cell in cells]))

    assert sheet.frame["notes"].tolist() == ["a", "b", "Zoë", "O’Brien", "a \xa0 b", "c"]


@KINDS
def test_line_ends_within_a_cell_are_the_same_whatever_system_saved_it(read, write):
    sheet = read(write(["notes"], [["a\r\nb\nc"]]))

    assert sheet.frame["notes"].tolist() == ["a\nb\nc"]


@KINDS
def test_blank_rows_are_left_out_but_counted(read, write):
    rows = [["1", ""], ["", None], ["\xa0", " \u200b"], ["2", "b"]]
    sheet = read(write(["ref", "notes"], rows))

    assert sheet.frame["ref"].tolist() == ["1", "2"]
    assert sheet.rows == [2, 5]
    assert sheet.blank_rows == 2


@KINDS
def test_rows_keep_their_numbers_through_many_batches(read, write):
    rows = [[str(number), ""] if number % 7 else ["", ""] for number in range(2, 25_001)]
    sheet = read(write(["ref", "notes"], rows))

    assert sheet.frame["ref"].tolist() == [str(row) for row in sheet.rows]
    assert sheet.rows[-1] == 25_000
    assert sheet.blank_rows == 25_000 // 7


CELLS = st.text("ab1 '\"=+-;,\t\n\réß’£\xa0\u200b\u0301\x85\u2028😀中_x0D", max_size=7) | st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=4
)
ROWS = st.lists(st.lists(CELLS | st.none(), min_size=2, max_size=2), max_size=5)


@settings(deadline=None)
@given(rows=ROWS)
def test_any_texts_are_the_same_sheet_from_csv_parquet_and_workbook(path, rows):
    rows = [[clean(cell or "").replace("\r\n", "\n") for cell in row] for row in rows]
    sheets = []
    for write in (as_csv, as_parquet, as_workbook):
        path.write_bytes(write(["ref", "notes"], rows))
        sheets.append(read_sheet(path, is_known=NAMES.__contains__))

    first = sheets[0]
    assert first.frame.fillna("").to_numpy().tolist() == [row for row in rows if any(row)]
    for sheet in sheets[1:]:
        pd.testing.assert_frame_equal(sheet.frame, first.frame)
        assert (sheet.rows, sheet.issues) == (first.rows, first.issues)


# -- header ----------------------------------------------------------------------------------


@KINDS
def test_a_column_without_name_and_values_is_dropped(read, write):
    sheet = read(write(["ref", "", "notes", " "], [["1", "", "a", None], ["2", "\xa0", "b", ""]]))

    assert list(sheet.frame.columns) == ["ref", "notes"]
    assert sheet.frame["notes"].tolist() == ["a", "b"]


@KINDS
def test_a_column_with_values_but_no_name_refuses_the_file(refusal, write):
    message = refusal(write(["ref", "notes", "", "x"], [["1", "", "", ""], ["", "", SOMEBODY, ""]]))

    assert message.startswith("Column C (3) has values but no name.")


def test_a_last_column_of_csv_with_values_but_no_name_refuses_the_file(refusal):
    assert "Column B (2) has values" in refusal(b"ref,\n1,a\n")


def test_a_value_to_the_right_of_a_workbooks_header_is_a_matter_of_its_row(read):
    sheet = read(as_workbook(["ref", "notes"], [["1", "a"], ["2", "b", "", "remark"], ["3"]]))

    assert [(issue.row, issue.code) for issue in sheet.issues] == [(3, "too_many_cells")]
    assert sheet.surplus == {3: ["", "remark"]}
    assert list(sheet.frame.columns) == ["ref", "notes"]


@KINDS
@pytest.mark.parametrize("second", ["ref", "REF ", "\u200bRef"])
def test_two_columns_of_one_name_refuse_the_file(refusal, write, second):
    message = refusal(write(["ref", "notes", second], []))

    assert message.startswith("Columns A (1) and C (3) have the same name.")


@KINDS
def test_a_file_without_header_is_refused_without_repeating_who_is_in_it(refusal, write):
    message = refusal(write([SOMEBODY, "1950"], [["a", "b"]]))

    assert message.startswith("The first row holds none of the column names")
    assert "is the header missing?" in message
    assert SOMEBODY not in message


def test_columns_far_to_the_right_are_named_like_in_a_spreadsheet(refusal):
    header = ["ref", *(f"c{number}" for number in range(2, 800))]
    for position, letters in ((25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ")):
        names = [*header[:position], "REF", *header[position + 1 :]]
        expected = f"Columns A (1) and {letters} ({position + 1}) have"
        assert refusal(as_csv(names, [])).startswith(expected)


def test_a_header_further_down_is_found_and_named(read, refusal):
    assert read(b",,\n\nref,notes,\n1,a,\n").rows == [4]
    assert refusal(b"\n\nx,y\n").startswith("Row 3, the first with a value, holds none")


@KINDS
def test_the_caller_is_asked_about_clean_names(path, write):
    asked = set()
    path.write_bytes(write(["\xa0Ref ", "", "my notes"], []))

    with pytest.raises(SourceError):
        read_sheet(path, is_known=lambda name: bool(asked.add(name)))
    assert asked == {"Ref", "my notes"}


# -- damage ----------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(
    "text",
    ["Zo\ufffd", *(text.encode().decode("cp1252", "replace").replace("\ufffd", "\x81") for text in
     ["Zoë", "René", "JOSÉ", "Müller", "LÖWE", "Ñ", "voilà tout", "£5", "O’Brien", "a – b", "“q”",
      "€5", "a…", "Michał", "Žižek", "Kovač", "Łódź", "Gödel", "ß", "d\xa0e", "François"])],
)  # fmt: skip
def test_damaged_texts_are_issues_of_their_cells(read, write, text):
    sheet = read(write(["ref", "notes", "x"], [["1", "fine", ""], ["2", f"a {text}", ""]]))

    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (3, "notes", "damaged_text")
    ]


def test_damage_at_the_end_of_a_text_is_seen_though_cleaning_removes_it(read):
    sheet = read(as_parquet(["ref"], [["voilÃ\xa0"], ["LucÃ\xad"]]))

    assert [issue.code for issue in sheet.issues] == ["damaged_text"] * 2


@KINDS
@pytest.mark.parametrize(
    "text",
    ["SÃO PAULO", "JOÃO", "IRMÃ", "Ânia", "Âge", "bâton", "pâté €5", "Â", "Ã", "“MAÇÃ”", "IRMÃ’",
     "ÅSE", "Åse – Ähtäri", "ÄÖÜ", "Zoë", "£5 – €6", "Łódź", "Ž", "10°", "½ Ä", "Ä…", "Ãnia"],
)  # fmt: skip
def test_sound_texts_are_not_taken_for_damaged(read, write, text):
    sheet = read(write(["ref"], [[text]]))

    assert sheet.frame["ref"].tolist() == [text]
    assert sheet.issues == []


@KINDS
def test_errors_a_spreadsheet_shows_are_issues(read, write):
    sheet = read(write(["ref", "notes"], [["1", "#N/A"], ["#REF!", "N/A"], ["#1", "# NAME?"]]))

    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (2, "notes", "error_cell"),
        (3, "ref", "error_cell"),
    ]


def test_issues_stand_in_the_order_of_the_file(read):
    sheet = read("ref,notes\n#N/A,Zo\ufffd,x\n1\n\ufffd,#N/A\n".encode())

    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (2, None, "too_many_cells"),
        (2, "ref", "error_cell"),
        (2, "notes", "damaged_text"),
        (3, None, "too_few_cells"),
        (4, "ref", "damaged_text"),
        (4, "notes", "error_cell"),
    ]


def test_issues_far_down_have_the_row_of_the_file(read):
    sheet = read(b"ref,notes\n" + b"1,a\n\n" * 12_000 + "2\n3,Zo�\n#N/A,b\n".encode())

    assert [(issue.row, issue.code) for issue in sheet.issues] == [
        (24_002, "too_few_cells"),
        (24_003, "damaged_text"),
        (24_004, "error_cell"),
    ]


def test_issues_are_sentences_without_the_content(read):
    sheet = read(f"ref,notes\n{SOMEBODY} Ã©,#N/A,{SOMEBODY}\n{SOMEBODY}\n".encode())

    assert len(sheet.issues) == 4
    for issue in sheet.issues:
        assert issue.message.endswith(".")
        assert SOMEBODY not in issue.message


def test_a_nul_character_in_a_parquet_file_refuses_it(refusal):
    assert refusal(as_parquet(["ref"], [["a"], ["b\0c"]])).startswith("Row 3 holds a NUL")


# -- Parquet ---------------------------------------------------------------------------------

MOMENT = dt.datetime(2024, 7, 1, 9, 30, 15, 999_999)
MIDNIGHT = dt.datetime(1950, 7, 1)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        pytest.param(pa.array(["a", None, ""], pa.large_string()), ["a", "", ""], id="large"),
        pytest.param(pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"], id="category"),
        pytest.param(pa.array([7, 8, 7]).dictionary_encode(), ["7", "8", "7"], id="of numbers"),
        pytest.param(pa.array([True, False, None]), ["true", "false", ""], id="bool"),
        pytest.param(pa.array([1, -2, None], pa.int8()), ["1", "-2", ""], id="int8"),
        pytest.param(pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"], id="uint64"),
        pytest.param(
            pa.array([0.1 + 0.2, 159001810629457088.0, 9001.0]),
            ["0.3", "1.59001810629457e+17", "9001"], id="rounded float64",
        ),
        pytest.param(
            pa.array([7700900123.0, 0.1, np.nan, None, 1e15, -0.5, 1e-7]),
            ["7700900123", "0.1", "", "", "1000000000000000", "-0.5", "1e-07"], id="float64",
        ),
        pytest.param(pa.array([0.1, 3, None], pa.float32()), ["0.1", "3", ""], id="float32"),
        pytest.param(pa.array(np.array([0.5, 3], np.float16())), ["0.5", "3"], id="float16"),
        pytest.param(
            pa.array([Decimal("1.00"), Decimal("1.50"), None, Decimal("-200")]),
            ["1", "1.50", "", "-200"], id="decimal",
        ),
        pytest.param(pa.array([dt.date(1950, 1, 2), None]), ["1950-01-02", ""], id="date32"),
        pytest.param(pa.array([dt.date(1950, 1, 2)], pa.date64()), ["1950-01-02"], id="date64"),
        *(
            pytest.param(
                pa.array([MOMENT, MIDNIGHT, None]).cast(pa.timestamp(unit), safe=False),
                ["2024-07-01 09:30:15", "1950-07-01", ""], id=f"timestamp in {unit}",
            )
            for unit in ("s", "ms", "us", "ns")
        ),
        pytest.param(
            pa.array([dt.datetime(2024, 6, 30, 23), MOMENT], pa.timestamp("us", "Europe/London")),
            ["2024-07-01", "2024-07-01 10:30:15+0100"], id="timestamp of London",
        ),
        pytest.param(
            pa.array([MOMENT, None], pa.timestamp("us", "-05:00")),
            ["2024-07-01 04:30:15-0500", ""], id="timestamp with offset",
        ),
        pytest.param(
            pa.array([MOMENT, MIDNIGHT], pa.timestamp("ns", "UTC")),
            ["2024-07-01 09:30:15+0000", "1950-07-01"], id="timestamp of UTC",
        ),
        pytest.param(
            pa.array([dt.datetime(1949, 12, 31, 23, 59, 59, 500_000)]), ["1949-12-31 23:59:59"],
            id="timestamp before 1970",
        ),
        pytest.param(pa.array([dt.time(9, 30)]), ["09:30:00"], id="time"),
        pytest.param(pa.nulls(2), ["", ""], id="null"),
        pytest.param(
            pa.array([uuid.UUID(int=1).bytes, None], pa.uuid()), [str(uuid.UUID(int=1)), ""],
            id="uuid",
        ),
    ],
)  # fmt: skip
def test_values_of_parquet_become_the_texts_a_person_would_type(read, values, texts):
    sheet = read(parquet({"ref": [str(row) for row in range(len(values))], "notes": values}))

    assert sheet.frame["notes"].fillna("").tolist() == texts
    assert sheet.description == "Parquet"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array([["a"]]), id="list"),
        pytest.param(pa.array([{"a": 1}]), id="struct"),
        pytest.param(pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), id="map"),
        pytest.param(pa.array([b"a"]), id="binary"),
        pytest.param(pa.array([dt.timedelta(1)]), id="duration"),
    ],
)
def test_columns_of_parquet_that_are_no_plain_values_refuse_it(refusal, values):
    message = refusal(parquet({"ref": ["1"], SOMEBODY: values}))

    assert message.startswith("Column 2 holds")
    assert SOMEBODY not in message


def test_an_index_that_pandas_stored_is_no_column(path):
    frame = pd.DataFrame({"ref": ["b", "a"], "notes": ["y", "x"]}, index=[5, 3])
    frame.to_parquet(path)
    assert "__index_level_0__" in pq.read_schema(path).names

    sheet = read_sheet(path, is_known=NAMES.__contains__)
    assert sheet.frame.to_dict("list") == {"ref": ["b", "a"], "notes": ["y", "x"]}


def test_a_named_index_of_pandas_is_a_column(path):
    pd.DataFrame({"notes": ["x"]}, index=pd.Index(["a"], name="ref")).to_parquet(path)

    sheet = read_sheet(path, is_known=NAMES.__contains__)
    assert sheet.frame.to_dict("list") == {"notes": ["x"], "ref": ["a"]}


@pytest.mark.parametrize("cut", [4, 100, -1])
def test_a_damaged_parquet_file_is_refused(refusal, cut):
    content = as_parquet(["ref"], [["a"]] * 100)

    assert "begins like Parquet but can't be read" in refusal(content[:cut])


def test_a_parquet_file_with_damaged_pages_is_refused(refusal):
    content = bytearray(as_parquet(["ref"], [[str(row)] for row in range(1000)]))
    content[4:60] = b"\xff" * 56

    assert "begins like Parquet but can't be read" in refusal(bytes(content))


# -- files that can't be used ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "Save it as .xlsx"),
        (b"\x1f\x8b\x08\0" + b"\0" * 50, "Unpack it first."),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF"),
        (b"ARROW1\0\0", "Save it as Parquet or CSV."),
        (b"", "The file is empty."),
        (b"\xef\xbb\xbf", "The file is empty."),
        (b"\r\n \xc2\xa0\r\n", "The file is empty."),
        (bytes(range(1, 256)) * 2, "can't be told"),
        (bytes(range(256)) * 2, "NUL"),
    ],
)
def test_a_file_that_is_no_table_is_refused(refusal, content, reason):
    assert reason in refusal(content)


def test_a_parquet_file_without_columns_is_refused(refusal):
    assert refusal(parquet({})) == "The file is empty."


def test_the_content_tells_the_kind_of_a_file_not_its_name(tmp_path):
    path = tmp_path / "people.csv"
    for write, description in (
        (as_parquet, "Parquet"),
        (as_workbook, "Excel workbook"),
        (as_csv, "CSV, UTF-8, separated by ,"),
    ):
        path.write_bytes(write(["ref"], [["1"]]))
        assert read_sheet(str(path), is_known=NAMES.__contains__).description == description


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.csv", "There is no file "),
        ("people.csv/x", "can't be read: Not a directory."),
        (".", " is not a file."),
        ("x" * 300, "can't be read: File name too long."),
        ("a\0b", "can't be read: no valid path."),
    ],
)
def test_a_path_without_a_file_is_refused(tmp_path, name, reason):
    (tmp_path / "people.csv").write_text("ref\n1\n")

    with pytest.raises(SourceError) as refused:
        read_sheet(tmp_path / name, is_known=NAMES.__contains__)
    assert reason in str(refused.value)


def test_a_refused_file_is_named_with_the_folder_it_was_looked_for_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as refused:
        read_sheet("missing.csv", is_known=NAMES.__contains__)
    assert str(refused.value) == f"There is no file {tmp_path}/missing.csv on this machine."


def test_a_file_comes_from_any_place_that_pyarrow_knows(tmp_path):
    (tmp_path / "cases.csv").write_text("ref,notes\nA-1,x\n")
    url = (tmp_path / "cases.csv").as_uri()
    assert read_sheet(url, is_known=NAMES.__contains__).frame["ref"].tolist() == ["A-1"]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("{folder}/missing.csv", "There is no file at this URL"),
        ("{folder}", "The URL is a folder's"),
        ("nowhere://bucket/cases.csv", "can't be read .*like s3://"),
        ("s3://canary:canary@bucket/x.csv?endpoint_override=127.0.0.1:9&scheme=http", "can't be"),
    ],
)
def test_a_url_that_gives_no_file_is_a_sentence_without_it(tmp_path, url, sentence):
    with pytest.raises(SourceError, match=sentence) as refused:
        read_sheet(url.format(folder=tmp_path.as_uri()), is_known=NAMES.__contains__)
    assert "canary" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_large_file_of_a_store_is_refused_before_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "cases.csv").write_text("ref\n" + "A-1\n" * 100)
    monkeypatch.setattr(source, "MAX_BYTES", 50)
    with pytest.raises(SourceError, match="is the most that is taken"):
        read_sheet((tmp_path / "cases.csv").as_uri(), is_known=NAMES.__contains__)


def test_a_file_one_may_not_read_is_refused(path, monkeypatch):
    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    path.write_text("ref\n1\n")
    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)

    with pytest.raises(SourceError, match="may not be read"):
        read_sheet(path, is_known=NAMES.__contains__)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SourceError, match="is not a file"):
        read_sheet(tmp_path / "pipe", is_known=NAMES.__contains__)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(path, monkeypatch):
    with path.open("wb") as file:
        file.truncate(source.MAX_BYTES + 1_000_000)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: pytest.fail("read"))

    with pytest.raises(SourceError, match="201 MB; 200 MB is the most"):
        read_sheet(path, is_known=NAMES.__contains__)


@KINDS
def test_a_file_with_too_many_rows_is_refused(read, refusal, write, monkeypatch):
    monkeypatch.setattr(source, "MAX_ROWS", 12)

    assert len(read(write(["ref"], [["1"]] * 12)).frame) == 12
    assert "Split it" in refusal(write(["ref"], [["1"]] * 13))


def test_too_many_rows_are_not_read_to_their_end(refusal, monkeypatch):
    monkeypatch.setattr(source, "MAX_ROWS", 12)

    # the quotation mark far down would be the reason otherwise
    assert "more than 12 rows" in refusal(b"ref\n" + b"1\n" * 20_000 + b'"1"x\n')


def test_too_many_rows_of_parquet_are_told_by_its_metadata(refusal, monkeypatch):
    content = as_parquet(["ref"], [["1"]] * 13)
    monkeypatch.setattr(source, "MAX_ROWS", 12)
    monkeypatch.setattr(
        "pyarrow.parquet.ParquetFile.iter_batches", lambda *_, **__: pytest.fail("read")
    )

    assert "has 13 rows; 12 is the most" in refusal(content)


@KINDS
def test_a_description_says_nothing_of_the_content(path, write):
    path.write_bytes(write([SOMEBODY, "ref"], [[SOMEBODY, "1"]]))
    sheet = read_sheet(path, is_known=NAMES.__contains__)

    assert SOMEBODY not in sheet.description
    assert path.name not in sheet.description


def test_a_zip_archive_that_is_no_workbook_is_refused(refusal):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("people.csv", "ref\n1\n")

    assert "no Excel workbook" in refusal(content.getvalue())


@KINDS
@pytest.mark.parametrize("repeat", [["ref", "notes"], ["REF", "Notes "], ["\ufeffref", "notes"]])
def test_a_row_that_repeats_the_header_begins_another_file(read, write, repeat):
    rows = [["1", "a"], repeat, ["ref", "not a header"], ["2", "notes"]]
    sheet = read(write(["ref", "notes"], rows))

    assert [(issue.row, issue.code) for issue in sheet.issues] == [(3, "files_joined")]


@KINDS
def test_a_byte_order_mark_within_a_file_begins_another_one(read, write):
    sheet = read(write(["ref", "notes"], [["1", "\ufeffa"], ["\ufeff2", "b"], ["\ufeff", ""]]))

    assert [(issue.row, issue.code) for issue in sheet.issues] == [(3, "files_joined")]


def test_a_row_in_which_two_cells_repeat_their_header_begins_another_file(read):
    sheet = read(b"ref,title,notes\nA,Mr,x\nref,customer title,notes\nref,Ms,y\n")
    assert [(issue.row, issue.code) for issue in sheet.issues] == [(3, "files_joined")]


def test_a_line_of_dashes_is_no_data(read):
    lines = b"ref,title,notes\n---,---,---\n=====,,====\n-----,,\n--,Mr,x\n--,-,--\n"
    assert [(issue.row, issue.code) for issue in read(lines).issues] == [
        (2, "ruled_line"), (3, "ruled_line"),
    ]  # fmt: skip
