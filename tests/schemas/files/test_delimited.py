"""Delimited text as programs and people save it: encodings, delimiters, records, guarded cells."""

# ruff: noqa: RUF001 - look-alikes are the point

import codecs
import contextlib
import csv
import io
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.files import delimited
from schemas.files.source import Sheet, read_sheet
from schemas.issues import SourceError
from schemas.texts import clean

PEOPLE = [
    ["ref", "last_name", "notes"],
    ["1", "O’Brien", "£250, then “more”"],
    ["2", "Zoë", "two\nlines"],
    ["3", "Müller", "café"],
    ["4", "García", ""],
]
NAMES = set(PEOPLE[0])


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("delimited") / "people.csv"


@pytest.fixture
def read(path):
    """Write bytes, or a text as UTF-8, and read them as a sheet that knows ref and its like."""

    def read(content: bytes | str, *, encoding: str | None = None) -> Sheet:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_sheet(path, is_known=NAMES.__contains__, encoding=encoding)

    return read


@pytest.fixture
def refusal(read):
    def refusal(content: bytes | str, **options: str) -> str:
        with pytest.raises(SourceError) as refused:
            read(content, **options)
        return str(refused.value)

    return refusal


def text(table: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> str:
    file = io.StringIO(newline="")
    # with other line ends, csv would leave a CR or an LF within a cell unquoted
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(table)
    return file.getvalue()


def table(sheet: Sheet) -> list[list[str]]:
    return [list(sheet.frame.columns), *sheet.frame.fillna("").to_numpy().tolist()]


# -- encodings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "description"),
    [
        pytest.param(text(PEOPLE).encode(), "CSV, UTF-8, separated by ,", id="UTF-8"),
        pytest.param(
            text(PEOPLE).encode("utf-8-sig"), "CSV, UTF-8, separated by ,", id="UTF-8 of Excel"
        ),
        pytest.param(
            text(PEOPLE).encode("cp1252"), "CSV, cp1252, separated by ,", id="CSV of Excel"
        ),
        pytest.param(
            text(PEOPLE, "\t").encode("utf-16"), "CSV, UTF-16, separated by tabs",
            id="Unicode text of Excel",
        ),
        pytest.param(
            codecs.BOM_UTF16_BE + text(PEOPLE, "\t").encode("utf-16-be"),
            "CSV, UTF-16, separated by tabs", id="UTF-16 BE",
        ),
        pytest.param(
            text(PEOPLE).encode("utf-16-be"), "CSV, UTF-16, separated by ,",
            id="UTF-16 BE without BOM",
        ),
        pytest.param(
            text(PEOPLE).encode("utf-16-le"), "CSV, UTF-16, separated by ,",
            id="UTF-16 LE without BOM",
        ),
        pytest.param(
            text(PEOPLE, ";").encode("cp1252"), "CSV, cp1252, separated by ;",
            id="CSV of a continental Excel",
        ),
        pytest.param(
            text(PEOPLE, ";").encode("utf-8-sig"), "CSV, UTF-8, separated by ;",
            id="UTF-8 of a continental Excel",
        ),
        pytest.param(text(PEOPLE, "|", "\n").encode(), "CSV, UTF-8, separated by |", id="pipes"),
        pytest.param(
            ("sep=;\r\n" + text(PEOPLE, ";")).encode("utf-8-sig"), "CSV, UTF-8, separated by ;",
            id="sep line",
        ),
        pytest.param(text(PEOPLE, end="\r").encode(), "CSV, UTF-8, separated by ,", id="CR"),
    ],
)  # fmt: skip
def test_the_same_people_come_out_of_every_form_in_which_programs_save_them(
    read, content, description
):
    sheet = read(content)

    assert table(sheet) == PEOPLE
    assert sheet.rows == [2, 3, 4, 5]
    assert sheet.description == description
    assert (sheet.issues, sheet.surplus, sheet.blank_rows) == ([], {}, 0)


def test_letters_of_an_old_mac_are_refused_and_can_be_named(read, refusal):
    content = "ref,last_name\r1,Smith\r2,Renée\r".encode("mac_roman")

    assert "row 3 look like those of an old Mac program" in refusal(content)
    assert 'encoding="mac_roman"' in refusal(content)
    assert table(read(content, encoding="mac_roman"))[2] == ["2", "Renée"]


@pytest.mark.parametrize(
    "name",
    ["José", "Müller", "Jäger", "Garçon", "Hernández", "Zoé", "Crêpe", "château", "âge",
     "O’Brien", "D’Arcy", "Fabrègas", "Smith’s"],
)  # fmt: skip
def test_names_of_an_old_mac_are_not_read_as_if_they_were_of_windows(refusal, name):
    assert "mac_roman" in refusal(f"ref,last_name\n1,{name}\n".encode("mac_roman"))


@pytest.mark.parametrize(
    "name",
    [
        "Žižek", "Škoda", "Šárka Žáková".replace("á", "a"), "ŠIMŮNEK".replace("Ů", "U"), "Œuvre",
        "L’HAŸ-LES-ROSES", "Aÿ", "SIMÕES", "Simões", "Õnnepalu", "JÕGI", "O’Brien", "“quoted”",
        "‘single’", "£5–£10 … €20", "Å, Ö — Ø", "50‰ of it", "a † b ‡ c", "Strauß", "Núñez",
        "Ó Sé", "D’Árcy", "René", "Zoë", "Renée", "façade", "Jœl", "Ålesund", "ÞÓR", "ñ",
    ],
)  # fmt: skip
def test_names_and_signs_of_windows_are_read_as_they_are(read, name):
    sheet = read(text([["ref", "notes"], ["1", name]]).encode("cp1252"))

    assert sheet.frame["notes"].tolist() == [name]
    assert sheet.description == "CSV, cp1252, separated by ,"


def test_a_mix_of_utf8_and_windows_is_refused(refusal):
    content = "ref,last_name\n1,Zoë\n2,Smith\n".encode() + "3,Renée\n".encode("cp1252")

    assert "mixes UTF-8 with another encoding, from row 4 on" in refusal(content)


def test_a_mix_can_be_read_in_an_encoding_that_is_named(read):
    content = "ref,last_name\n1,Zoë\n".encode() + "2,Renée\n".encode("cp1252")

    assert table(read(content, encoding="cp1252"))[1:] == [["1", "ZoÃ«"], ["2", "Renée"]]


@pytest.mark.parametrize("byte", [0x81, 0x8D, 0x8F, 0x90, 0x9D])
def test_bytes_that_windows_does_not_have_leave_the_encoding_open(refusal, byte):
    content = b'ref,notes\n1,"two\nlines"\n2,caf' + bytes([byte]) + b"\n"

    assert "encoding of the file can't be told (row 3)" in refusal(content)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_breaks_the_encoding_it_announces_is_refused(refusal, encoding):
    content = "ref,notes\n1,é\n2,".encode(encoding) + b"\xff\xdf\xff"

    assert re.search(r"begins as UTF-(8|16), but row 3 holds", refusal(content))


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"ref,notes\n1,a\n2,b\0\0\0\n", 3),
        (b'ref,notes\r\n1,"a\r\nb ""c"", d"\r\n\r\n3,5" pipe\r\n4,\0', 5),
        (b"ref,notes\n1,a\n" + b"\0" * 500, 3),
        (b"sep=,\nref,notes\n1,\0\n", 2),
        (b"\0ref,notes\n1,a\n", 1),
    ],
)
def test_nul_characters_are_refused_with_their_row(refusal, content, row):
    assert refusal(content).startswith(f"Row {row} holds NUL characters")


@pytest.mark.parametrize("encoding", ["nonsense", "", "base64", "rot13", "a\0b"])
def test_an_encoding_that_is_none_is_refused(refusal, encoding):
    assert "is no encoding of text that Python knows" in refusal("ref\n1\n", encoding=encoding)


def test_a_named_encoding_that_cannot_be_right_is_refused(refusal):
    message = refusal("ref,notes\n1,é\n".encode("cp1252"), encoding="utf-8")

    assert "can't be read as 'utf-8'" in message


def test_a_named_encoding_that_gives_half_characters_is_refused(refusal):
    assert "can't be read as" in refusal(b"ref\n\\ud800\n", encoding="unicode_escape")


def test_a_byte_order_mark_is_no_part_of_a_header_when_the_encoding_is_named(read):
    sheet = read('"ref",notes\n1,é\n'.encode("utf-8-sig"), encoding="UTF8")

    assert table(sheet) == [["ref", "notes"], ["1", "é"]]
    assert sheet.description == "CSV, utf-8, separated by ,"


# -- delimiters ------------------------------------------------------------------------------


def test_known_names_decide_about_the_delimiter_not_how_often_a_sign_occurs(read):
    sheet = read("ref;a, b, c, d\n1;x, y, z\n")

    assert table(sheet) == [["ref", "a, b, c, d"], ["1", "x, y, z"]]


def test_of_delimiters_with_equally_many_known_names_the_one_with_most_columns_is_taken(read):
    assert list(read("x,y\tref\tb\tc\n").frame.columns) == ["x,y", "ref", "b", "c"]
    assert list(read("ref\n1\n").frame.columns) == ["ref"]


def test_a_quoted_delimiter_or_newline_in_a_header_is_no_delimiter(read):
    sheet = read('ref,"a\nb;c,d",notes\r\n1,2,3\r\n')

    assert table(sheet) == [["ref", "a\nb;c,d", "notes"], ["1", "2", "3"]]
    assert sheet.rows == [2]


@pytest.mark.parametrize("line", ["sep=^\n", "SEP=^\r\n", "sep=^\r"])
def test_a_sep_line_decides_and_is_not_counted_as_a_row(read, line):
    sheet = read(f"{line}ref^notes,more\n1^2\n")

    assert table(sheet) == [["ref", "notes,more"], ["1", "2"]]
    assert sheet.rows == [2]
    assert sheet.description == "CSV, UTF-8, separated by ^"


def test_a_column_that_merely_begins_like_a_sep_line_is_a_column(read):
    assert list(read("sep=x,ref\n1,2\n").frame.columns) == ["sep=x", "ref"]


# -- records ---------------------------------------------------------------------------------


def test_newlines_within_quotes_belong_to_the_cell_and_a_record_is_one_row(read):
    sheet = read('ref,notes\r\n1,"a\r\nb\nc\rd"\r\n2,e\r\n')

    assert sheet.frame["notes"].tolist() == ["a\nb\nc\rd", "e"]
    assert sheet.rows == [2, 3]


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_signs_that_only_python_takes_for_line_ends_stay_within_their_cell(read, sign):
    assert read(f"ref,notes\n1,a{sign}b\n").frame["notes"].tolist() == [f"a{sign}b"]


def test_rows_are_counted_as_a_spreadsheet_shows_them_blank_ones_included(read):
    sheet = read('\n,,\nref,notes\n\n1,"a\nb"\n,\n \u200b,\xa0\n2,\n\n')

    assert table(sheet) == [["ref", "notes"], ["1", "a\nb"], ["2", ""]]
    assert sheet.rows == [5, 8]
    assert sheet.blank_rows == 6
    assert sheet.issues == []


def test_a_row_with_more_cells_than_the_header_is_an_issue_and_loses_nothing(read):
    sheet = read("ref,notes\n1,a\n2,b,c,,' d,\n3,e,,,\n")

    assert table(sheet)[1:] == [["1", "a"], ["2", "b"], ["3", "e"]]
    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (3, None, "too_many_cells")
    ]
    assert "has 5 cells" in sheet.issues[0].message
    assert sheet.surplus == {3: ["c", "", "' d"]}


def test_a_row_of_nothing_but_surplus_is_not_blank(read):
    sheet = read("ref,notes\n,,c\n")

    assert table(sheet)[1:] == [["", ""]]
    assert (sheet.rows, sheet.surplus, sheet.blank_rows) == ([2], {2: ["c"]}, 0)


def test_a_row_with_fewer_cells_than_the_header_is_an_issue(read):
    sheet = read("ref,last_name,notes\n1,a\n2\n3,b,\n")

    assert table(sheet)[1:] == [["1", "a", ""], ["2", "", ""], ["3", "b", ""]]
    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (2, None, "too_few_cells"),
        (3, None, "too_few_cells"),
    ]


def test_cells_of_columns_without_a_name_may_be_missing(read):
    sheet = read("ref,notes,,\n1,a\n2,b,,\n3,c,\n")

    assert table(sheet) == [["ref", "notes"], ["1", "a"], ["2", "b"], ["3", "c"]]
    assert sheet.issues == []


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('ref,notes\n1,"a"b\n', "row 2"),
        ('ref,notes\n1,a\n2,"b\n3,c\n', "row 3"),
        ('ref,notes\n1,a\n2,"b\n3,c"d\n', "row 3"),
        ('ref,notes\n1,"a" \n2,b\n3,"c"d"\n4,"\n', "rows 2, 4, 5"),
        ('"ref,notes\n1,a\n', "row 1"),
        ("ref,notes\n" + '1,"a"b\n' * 20, "rows 2, 3, 4, 5, 6,"),
    ],
)
def test_quotation_marks_that_do_not_match_refuse_the_file_and_name_rows(refusal, content, rows):
    assert f"don't match in {rows}" in refusal(content)


def test_a_broken_row_is_named_rightly_far_down_the_file(refusal):
    assert "in row 25001," in refusal("ref,notes\n" + "1,a\n" * 24_999 + '2,"b"c\n' + "3,d\n" * 9)


def test_quotation_marks_inside_a_cell_are_part_of_it(read):
    sheet = read('ref,notes\n1,5" pipe\n2,"say ""hi"""\n3,a"b"\n')

    assert sheet.frame["notes"].tolist() == ['5" pipe', 'say "hi"', 'a"b"']


def test_cells_of_any_length_are_read_and_the_limit_of_the_csv_module_stays(read):
    before = csv.field_size_limit()
    long = "long " * 100_000 + "end"

    assert read(f"ref,notes\n1,{long}\n").frame["notes"].tolist() == [long]
    assert csv.field_size_limit() == before


def test_the_limit_of_the_csv_module_stays_when_a_file_is_refused(refusal):
    before = csv.field_size_limit()
    refusal('ref,notes\n1,"' + "long " * 100_000)

    assert csv.field_size_limit() == before


def test_files_read_at_the_same_time_do_not_disturb_each_other(tmp_path):
    before = csv.field_size_limit()
    for number in range(8):
        lines = [f"{row},{'x' * 140_000 * (number % 2)}" for row in range(20)]
        (tmp_path / f"{number}.csv").write_text("ref,notes\n" + "\n".join(lines))

    with ThreadPoolExecutor(8) as pool:
        files = sorted(tmp_path.iterdir())
        sheets = list(pool.map(lambda file: read_sheet(file, is_known=NAMES.__contains__), files))

    assert [len(sheet.frame) for sheet in sheets] == [20] * 8
    assert csv.field_size_limit() == before


# -- guarded cells ---------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_one_apostrophe_before_a_sign_of_formulas_is_removed(read, sign):
    sheet = read(f"ref,notes\n'{sign}1,''{sign}1\n{sign}1,x'{sign}1\n,'{sign}1\n")

    assert table(sheet)[1:] == [
        [f"{sign}1", f"'{sign}1"],
        [f"{sign}1", f"x'{sign}1"],
        ["", f"{sign}1"],
    ]


def test_a_text_in_a_formula_that_keeps_its_zeros_is_read_as_it_is_shown(read):
    sheet = read('ref,notes\n="00042","=""00043"""\n"=""","=""a""&""b"""\n')
    assert table(sheet)[1:] == [["00042", "00043"], ['="', '="a"&"b"']]
    rejected = delimited.written(["ref", "notes"], [['="00042"', ""]])
    assert table(read(rejected.decode("utf-8-sig")))[1:] == [['="00042"', ""]]


def test_apostrophes_elsewhere_stay(read):
    sheet = read("ref,notes\n'1,'t Hooft\n'',' =x\n'n,''\n'=a,-\n")

    assert table(sheet)[1:] == [["'1", "'t Hooft"], ["''", "' =x"], ["'n", "''"], ["=a", "-"]]


def test_no_cell_that_is_written_begins_like_a_formula():
    signs = ["=1+1", "+44 7700 900123", "-1", "@x", "'=1", "''+1", "\t=1", "\r=1", "'\t1"]
    content = delimited.written(["=ref"], [[cell] for cell in signs])

    cells = [row[0] for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))]
    assert cells == ["'=ref", *(f"'{cell}" for cell in signs)]


def test_what_is_written_is_utf8_for_excel_with_every_cell_quoted():
    content = delimited.written(["ref", "notes"], [["1", "é"], [None, ""]])

    assert content == b'\xef\xbb\xbf"ref","notes"\r\n"1","\xc3\xa9"\r\n"",""\r\n'


# -- properties ------------------------------------------------------------------------------

ALPHABET = "ab1 \"',;|\t\r\n=+-@éß£’Ă\u0301\xa0\u200b\x85\u2028\x0b😀中"
CELLS = st.text(ALPHABET, max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
TABLES = st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5)


def as_read(cell: str) -> str:
    shown = re.sub(r"^'(?='*[=+\-@\t\r])|^=\"([^\"]*)\"\Z", r"\1", cell)
    return clean(shown).replace("\r\n", "\n")


def expected(rows: list[list[str]]) -> tuple[list[list[str]], list[int]]:
    read = [(number, [as_read(cell) for cell in row]) for number, row in enumerate(rows, 2)]
    kept = [(number, row) for number, row in read if any(row)]
    return [PEOPLE[0], *(row for _, row in kept)], [number for number, _ in kept]


@settings(deadline=None)
@given(
    rows=TABLES,
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\r\n", "\n", "\r"]),
)
def test_any_table_is_read_as_it_was_written(path, rows, delimiter, encoding, end):
    path.write_bytes(text([PEOPLE[0], *rows], delimiter, end).encode(encoding))
    sheet = read_sheet(path, is_known=NAMES.__contains__)

    assert (table(sheet), sheet.rows) == expected(rows)


def tables_in(encoding: str) -> st.SearchStrategy[tuple[str, list[list[str]]]]:
    letters = bytes(range(1, 256)).decode(encoding, "ignore")
    rows = st.lists(st.lists(st.text(letters, max_size=6), min_size=3, max_size=3), max_size=4)
    return st.tuples(st.just(encoding), rows)


@settings(deadline=None)
@given(
    encoded=st.sampled_from(["cp1252", "mac_roman", "latin-1", "cp437", "cp1250"]).flatmap(
        tables_in
    ),
    delimiter=st.sampled_from(",;\t|"),
)
def test_any_table_is_read_in_the_encoding_that_is_named(path, encoded, delimiter):
    encoding, rows = encoded
    path.write_bytes(text([PEOPLE[0], *rows], delimiter).encode(encoding))
    sheet = read_sheet(path, is_known=NAMES.__contains__, encoding=encoding)

    assert (table(sheet), sheet.rows) == expected(rows)


@settings(deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(path, content):
    path.write_bytes(b"ref,notes\n" + content)
    with contextlib.suppress(SourceError):
        sheet = read_sheet(path, is_known=NAMES.__contains__)
        assert len(sheet.rows) == len(sheet.frame)
