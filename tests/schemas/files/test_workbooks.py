"""Workbooks: reading those of people, and writing rejected rows that come back as they were."""

# ruff: noqa: DTZ001 - cells know no time zone

import datetime as dt
import io
import re
import zipfile

import pytest
import xlsxwriter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.files import workbooks
from schemas.files.source import Sheet, read_sheet
from schemas.files.workbooks import rejects_file
from schemas.issues import SourceError
from schemas.texts import clean


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("workbooks") / "people"


@pytest.fixture
def read(path):
    def read(content: bytes) -> Sheet:
        path.write_bytes(content)
        return read_sheet(path, is_known=lambda name: name == "ref")

    return read


@pytest.fixture
def refusal(read):
    def refusal(content: bytes) -> str:
        with pytest.raises(SourceError) as refused:
            read(content)
        return str(refused.value)

    return refusal


def workbook(fill) -> bytes:
    """A workbook filled by a function of it."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        fill(book)
    return content.getvalue()


def sheet_of(cells: dict[tuple[int, int], object], formats: dict[str, str] | None = None) -> bytes:
    def fill(book):
        sheet = book.add_worksheet()
        for (row, column), value in cells.items():
            form = book.add_format({"num_format": (formats or {}).get(type(value).__name__, "")})
            sheet.write(row, column, value, form)

    return workbook(fill)


def parts(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def edited(content: bytes, part: str, old: str, new: str) -> bytes:
    texts = parts(content)
    assert old in texts[part]
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text.replace(old, new) if name == part else text)
    return changed.getvalue()


FIRST_SHEET = "xl/worksheets/sheet1.xml"


# -- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a text", "a text"),
        ("00123", "00123"),
        (7700900123, "7700900123"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.3"),
        (1234.1000000000008, "1234.1"),
        (123456789012345, "123456789012345"),
        (159001810629457088, "1.59001810629457e+17"),
        (-2.0, "-2"),
        (True, "true"),
        (False, "false"),
        (dt.date(1950, 1, 2), "1950-01-02"),
        (dt.datetime(1950, 1, 2), "1950-01-02"),
        (dt.datetime(2024, 7, 1, 9, 30), "2024-07-01 09:30:00"),
        (dt.datetime(2024, 7, 1, 9, 29, 59, 999_000), "2024-07-01 09:30:00"),
        (dt.datetime(2024, 7, 1, 23, 59, 59, 800_000), "2024-07-02"),
        (dt.time(9, 30), "09:30:00"),
    ],
)
def test_values_of_a_workbook_become_the_texts_a_person_would_type(read, value, text):
    formats = {"date": "dd/mm/yyyy", "datetime": "dd/mm/yyyy hh:mm", "time": "hh:mm"}
    sheet = read(sheet_of({(0, 0): "ref", (1, 0): value}, formats))

    assert sheet.frame["ref"].tolist() == [text]
    assert sheet.issues == []


def test_dates_count_from_1904_where_the_workbook_says_so(read):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write(0, 0, "ref")
        sheet.write_datetime(
            1, 0, dt.datetime(1950, 1, 2), book.add_format({"num_format": "d/m/y"})
        )

    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True, "date_1904": True}) as book:
        fill(book)
    assert read(content.getvalue()).frame["ref"].tolist() == ["1950-01-02"]


def test_a_duration_is_text(read):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write(0, 0, "ref")
        sheet.write(1, 0, 1.5, book.add_format({"num_format": "[h]:mm"}))

    assert read(workbook(fill)).frame["ref"].tolist() == ["1 day, 12:00:00"]


def test_the_value_of_a_formula_is_read(read):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write(0, 0, "ref")
        sheet.write_formula(1, 0, '="a"&"b"', None, "ab")

    assert read(workbook(fill)).frame["ref"].tolist() == ["ab"]


def test_an_error_in_a_cell_is_an_issue_not_a_blank_cell(read):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["ref", "notes"])
        sheet.write_row(1, 0, ["1", "fine"])
        sheet.write(2, 0, "2")
        sheet.write_formula(2, 1, "=NA()", None, "#N/A")
        sheet.write_formula(3, 0, "=1/0", None, "#DIV/0!")

    sheet = read(workbook(fill))

    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (3, "notes", "error_cell"),
        (4, "ref", "error_cell"),
    ]
    assert sheet.frame["notes"].fillna("").tolist() == ["fine", "#N/A", ""]


def test_rows_have_the_numbers_of_the_sheet_and_columns_its_letters(read, refusal):
    cells = {(2, 2): "ref", (2, 3): "notes", (4, 2): "1", (7, 3): "a"}
    sheet = read(sheet_of(cells))

    assert sheet.rows == [5, 8]
    assert sheet.blank_rows == 5
    assert list(sheet.frame.columns) == ["ref", "notes"]
    assert refusal(sheet_of({**cells, (2, 4): "ref"})).startswith("Columns C (3) and E (5)")


def test_columns_and_rows_that_are_only_formatted_do_not_count(read):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write_column(0, 0, ["ref", "1"])
        sheet.write_blank(40, 9, None, book.add_format({"bold": True}))

    sheet = read(workbook(fill))
    assert (list(sheet.frame.columns), sheet.rows, sheet.issues) == (["ref"], [2], [])


def test_the_first_sheet_with_anything_in_it_that_people_see_is_read(read):
    def fill(book):
        book.add_worksheet("blank")
        hidden = book.add_worksheet("lists")
        hidden.write(0, 0, "ref")
        hidden.write(1, 0, "hidden")
        hidden.hide()
        people = book.add_worksheet("people")
        people.write_column(0, 0, ["ref", "seen"])
        book.add_worksheet("more").write_column(0, 0, ["a list", "late"])

    sheet = read(workbook(fill))
    assert sheet.frame["ref"].tolist() == ["seen"]
    assert sheet.description == "Excel workbook, sheet 2 of 3"


def two_sheets(book):
    for name in ("North", "South"):
        book.add_worksheet(name).write_column(0, 0, ["ref", name])


def test_of_two_sheets_with_rows_one_has_to_be_named(path, refusal):
    assert refusal(workbook(two_sheets)).startswith("Sheets 1 and 2 of the workbook have rows")
    named = read_sheet(path, is_known=lambda name: name == "ref", sheet="South")
    assert named.frame["ref"].tolist() == ["South"]
    with pytest.raises(SourceError, match="no sheet of the name"):
        read_sheet(path, is_known=lambda name: name == "ref", sheet="West")


def test_only_workbooks_have_sheets(path):
    path.write_bytes(b"ref\n1\n")
    with pytest.raises(SourceError, match="Only a workbook has sheets"):
        read_sheet(path, is_known=lambda name: name == "ref", sheet="North")


def hidden_rows(book):
    sheet = book.add_worksheet()
    sheet.write_column(0, 0, ["ref", "1", "2", "3"])
    sheet.set_row(2, None, None, {"hidden": True})
    sheet.set_row(9, None, None, {"hidden": True})


def test_rows_that_nobody_sees_are_refused_left_out_or_taken_as_one_says(path, refusal):
    message = refusal(workbook(hidden_rows))
    assert message.startswith("1 row(s) of the sheet are hidden or filtered out, the first of them")
    for choice, rows in (("skip", [2, 4]), ("include", [2, 3, 4])):
        sheet = read_sheet(path, is_known=lambda name: name == "ref", hidden=choice)
        assert sheet.rows == rows
        assert "hidden" in sheet.description


def test_columns_that_nobody_sees_are_refused_left_out_or_taken_as_one_says(path, refusal):
    def hidden_columns(book):
        sheet = book.add_worksheet()
        for row, cells in enumerate([("ref", "notes", "id", "other"), ("A", "seen", "", "x")]):
            sheet.write_row(row, 0, cells)
        sheet.set_column(0, 0, None, None, {"hidden": True})
        sheet.set_column(2, 3, None, None, {"hidden": True})  # without values, or not known

    known = {"ref", "notes", "id"}.__contains__
    path.write_bytes(workbook(hidden_columns))
    with pytest.raises(SourceError, match=r"^Column A of the sheet is hidden, and has values"):
        read_sheet(path, is_known=known)
    for choice, names in (
        ("skip", ["notes", "id", "other"]),
        ("include", ["ref", "notes", "id", "other"]),
    ):
        sheet = read_sheet(path, is_known=known, hidden=choice)
        assert list(sheet.frame.columns) == names
        assert "1 " in sheet.description


@pytest.mark.parametrize("result", ["", "<v></v>", "<v/>"])
def test_a_formula_that_was_never_calculated_is_named(read, result):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["ref", "notes"])
        sheet.write(1, 0, "1")
        sheet.write_formula(1, 1, "=A2", None, 7)
        sheet.write_formula(2, 1, "=A1", None, "blank")
        sheet.write_formula(3, 1, "=A3", None, 8)

    content = edited(workbook(fill), FIRST_SHEET, "<v>blank</v>", "<v></v>")
    content = edited(content, FIRST_SHEET, "<v>7</v>", result)
    content = edited(content, FIRST_SHEET, "<v>8</v>", result)
    sheet = read(content)
    assert [(issue.row, issue.column, issue.code) for issue in sheet.issues] == [
        (2, "notes", "formula_without_result"), (4, "notes", "formula_without_result"),
    ]  # fmt: skip
    assert sheet.issues[0].message.startswith("B2 is a formula without a result")


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (42, "00000", "00042"),
        (123456, "00000", "123456"),
        (42, '"WS-"0000', "WS-0042"),
        (42, "000\\-000", "000-042"),
        (7700900123, "00000 000000", "07700 900123"),
        (42, "#,##0", "42"),
        (42, "[Red]0", "42"),
        (0.4, "0%", "40%"),
        (0.185, "0%", "19%"),
        (0.1, "0.00%", "10.00%"),
        (0.125, "0.0%", "12.5%"),
        ("42", "00000", "42"),
    ],
)
def test_a_number_is_what_its_format_shows(read, value, code, text):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write(2, 1, "ref")
        sheet.write(3, 1, value, book.add_format({"num_format": code}))

    sheet = read(workbook(fill))
    assert sheet.frame["ref"].tolist() == [text]
    assert (sheet.issues, sheet.doubts) == ([], [])


@pytest.mark.parametrize(("value", "code"), [(1234, "#,##0"), (1.5, "0"), (3, "0.00"), (-7, "000")])
def test_a_number_shown_in_another_way_is_doubted(read, value, code):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write(0, 0, "ref")
        sheet.write(1, 0, value, book.add_format({"num_format": code}))

    sheet = read(workbook(fill))
    assert sheet.frame["ref"].tolist() == [str(value)]
    assert [(each.row, each.column, each.code) for each in sheet.doubts] == [
        (2, "ref", "number_format")
    ]


def test_merged_cells_are_read_with_their_value_in_the_first(read):
    def fill(book):
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["ref", "notes"])
        sheet.merge_range(1, 0, 2, 1, "both")

    sheet = read(workbook(fill))
    assert sheet.frame.fillna("").to_numpy().tolist() == [["both", ""]]


@pytest.mark.parametrize("cells", [{}, {(3, 3): " "}])
def test_an_empty_workbook_is_refused(refusal, cells):
    assert refusal(sheet_of(cells)) in ("The workbook is empty.", "The file is empty.")


def test_a_stray_cell_far_out_is_refused_before_memory_runs_out(refusal):
    message = refusal(sheet_of({(0, 0): "ref", (1_048_575, 16_383): "x"}))

    assert "reaches as far as cell XFD1048576" in message


def test_a_long_or_a_wide_sheet_is_not_taken_for_one_with_a_stray_cell(read):
    assert len(read(sheet_of({(0, 0): "ref", (200_000, 20): ""})).frame) == 0
    assert len(read(sheet_of({(0, 0): "ref", (1, 0): "1", (1, 16_000): "x"})).frame) == 1


def test_a_workbook_that_unpacks_to_too_much_is_refused(refusal, monkeypatch):
    content = sheet_of({(0, 0): "ref"})
    monkeypatch.setattr(workbooks, "MAX_UNPACKED_BYTES", 2_000)

    assert "too large when unpacked" in refusal(content)


def test_a_bomb_is_refused_by_its_directory(refusal, monkeypatch):
    bomb = io.BytesIO(sheet_of({(0, 0): "ref"}))
    monkeypatch.setattr(workbooks, "MAX_UNPACKED_BYTES", 50_000_000)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/zeros", bytes(60_000_000))

    assert len(bomb.getvalue()) < 100_000
    assert "too large when unpacked" in refusal(bomb.getvalue())


@pytest.mark.parametrize("cut", [10, 500, -30])
def test_an_incomplete_workbook_is_refused(refusal, cut):
    assert "can't be read as such" in refusal(sheet_of({(0, 0): "ref"})[:cut])


def test_a_workbook_with_broken_xml_is_refused(refusal):
    content = sheet_of({(0, 0): "ref", (1, 0): 1})

    assert "can't be read as such" in refusal(edited(content, FIRST_SHEET, "</sheet", "<sheet"))


# -- writing ---------------------------------------------------------------------------------

SIGNS = ["=1+1", "+44 7700 900123", "-1", "@SUM(A1)", "'=1", "00123", "1950-01-02", "1e5", "TRUE",
         "#N/A", "http://example.com", "mailto:a@example.com", "{=1}", "=", "<b>"]  # fmt: skip


def test_no_cell_of_a_workbook_is_a_formula_a_number_or_a_link():
    suffix, content = rejects_file(["=ref"], [[sign] for sign in SIGNS], set())
    sheet = parts(content)[FIRST_SHEET]

    assert suffix == ".xlsx"
    assert len(re.findall(r'<c r="A\d+" s="\d+" t="s">', sheet)) == len(SIGNS) + 1
    assert not re.search(r"<f[ >]|<hyperlink", sheet)


def test_cells_stay_texts_when_a_person_types_into_them():
    styles = parts(rejects_file(["ref", "notes"], [["1", None]], {(0, 1)})[1])

    sheet = styles[FIRST_SHEET]
    forms = re.findall(r'<xf numFmtId="(\d+)"', styles["xl/styles.xml"].split("<cellXfs")[1])
    used = {int(style) for style in re.findall(r'<(?:col|c) [^>]*\b(?:style|s)="(\d+)"', sheet)}
    assert used
    assert {forms[style] for style in used} == {"49"}  # "@"
    assert re.search(r'<col [^>]*max="2"[^>]* style="[1-9]', sheet)  # blank cells too


def test_marked_cells_are_red_even_where_they_are_blank():
    rows = [["1", "a"], ["2", None]]
    texts = parts(rejects_file(["ref", "notes"], rows, {(0, 0), (1, 1)})[1])

    forms = texts["xl/styles.xml"].split("<cellXfs")[1].split("<xf ")[1:]
    fills = [int(re.search(r'fillId="(\d+)"', form)[1]) for form in forms]
    styles = dict(re.findall(r'<c r="(\w+)" s="(\d+)"', texts[FIRST_SHEET]))
    filled = {cell for cell, style in styles.items() if fills[int(style)] > 1}
    assert filled == {"A2", "B3"}
    assert "FFFFC7CE" in texts["xl/styles.xml"]


def test_the_header_is_bold_stays_in_sight_and_filters():
    texts = parts(rejects_file(["ref", "notes"], [["1", "a"]], set())[1])

    assert 'state="frozen"' in texts[FIRST_SHEET]
    assert '<autoFilter ref="A1:B2"/>' in texts[FIRST_SHEET]
    assert "<b/>" in texts["xl/styles.xml"]


def test_columns_are_as_wide_as_their_texts_within_bounds():
    sheet = parts(rejects_file(["a", "b", "c"], [["x" * 20, "y" * 1000, None]], set())[1])[
        FIRST_SHEET
    ]
    widths = [round(float(width)) for width in re.findall(r'<col [^>]*width="([\d.]+)"', sheet)]

    assert widths == [23, 51, 9]


def test_a_workbook_names_no_person():
    texts = parts(rejects_file(["ref"], [["1"]], set())[1])

    core = texts["docProps/core.xml"]
    assert "<dc:creator></dc:creator>" in core
    assert "<cp:lastModifiedBy></cp:lastModifiedBy>" in core
    assert "<Company></Company>" in texts["docProps/app.xml"]


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("x" * 32_767, ".xlsx"),
        ("x" * 32_768, ".csv"),
        ("😀" * 16_383, ".xlsx"),
        ("😀" * 16_384, ".csv"),
        ("a\x01b", ".csv"),
        ("a\x0bb", ".csv"),
        ("a\ufffeb", ".csv"),
        ("a\uffffb", ".csv"),
        ("<r><t>x</t></r>", ".csv"),
        ("<r>x</r", ".xlsx"),
        ("_x000D_", ".xlsx"),
        ("a\rb\tc\nd", ".xlsx"),
    ],
)
def test_texts_that_a_workbook_would_change_are_written_as_csv(read, text, suffix):
    for header, rows, expected in (
        (["ref", "notes"], [["1", text]], [text]),
        (["ref", "notes", text], [["1", "a", "b"]], ["a"]),
    ):
        if len(text) > 30_000 and len(header) == 3:
            continue
        written, content = rejects_file(header, rows, set())
        sheet = read(content)

        assert written == suffix
        assert list(sheet.frame.columns) == header
        assert sheet.frame["notes"].tolist() == expected


def test_a_table_larger_than_a_sheet_is_written_as_csv(monkeypatch):
    assert rejects_file(["a"] * 16_384, [], set())[0] == ".xlsx"
    assert rejects_file(["a"] * 16_385, [], set())[0] == ".csv"
    assert rejects_file(["a"], [["b"] * 16_385], set())[0] == ".csv"
    monkeypatch.setattr(workbooks, "_MOST_ROWS", 3)
    assert rejects_file(["a"], [["b"]] * 2, set())[0] == ".xlsx"
    assert rejects_file(["a"], [["b"]] * 3, set())[0] == ".csv"


def test_cells_beyond_the_header_are_written_and_read_back(read):
    for beyond in ("x", "x\x01y"):
        sheet = read(rejects_file(["ref"], [["1", "", beyond], ["2"]], {(0, 2)})[1])

        assert sheet.surplus == {2: ["", beyond]}
        assert sheet.frame["ref"].tolist() == ["1", "2"]


CELLS = st.text(
    "ab1=+-@'\"<>&;,_x0D \t\r\n\x0b\x01é\xa0\u200b\u0301\ufffe😀", max_size=8
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


@settings(deadline=None)
@given(rows=st.lists(st.lists(CELLS | st.none(), min_size=3, max_size=3), max_size=5))
@example(rows=[["<r><t>a</t></r>", "_x0041_", "_x000d_"], ["''=1", "'", "=HYPERLINK(1)"]])
def test_any_rejected_rows_come_back_as_they_were(path, rows):
    rows = [[clean(cell or "").replace("\r\n", "\n") for cell in row] for row in rows]
    rows = [row for row in rows if any(row)]
    suffix, content = rejects_file(["ref", "=notes", "'x"], rows, {(0, 0)})
    path.write_bytes(content)
    sheet = read_sheet(path, is_known=lambda name: name == "ref")

    assert list(sheet.frame.columns) == ["ref", "=notes", "'x"]
    assert sheet.frame.fillna("").to_numpy().tolist() == rows
    assert sheet.rows == list(range(2, len(rows) + 2))
    if suffix == ".xlsx":
        assert "<f" not in parts(content)[FIRST_SHEET]


def test_very_many_rejected_rows_come_as_csv_in_little_memory(monkeypatch):
    monkeypatch.setattr(workbooks, "MOST_CELLS", 20)
    rows = [["5", "why", "A-1"]] * 6
    assert rejects_file(["row", "why", "ref"], rows[:5], set())[0] == ".xlsx"
    ending, content = rejects_file(["row", "why", "ref"], rows, set())
    assert ending == ".csv"
    assert content.count(b"A-1") == 6
