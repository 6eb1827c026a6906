"""What people must act on comes as a workbook, and what they write into it is understood."""

import io
import re
import zipfile
from pathlib import Path

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook

from schemas.files import workbooks
from schemas.files.attention import attention_file, resolutions
from schemas.issues import SourceError
from schemas.outcomes import AppointmentOutcome, Outcome, RowOutcome

CASE = "0a1b-case"
URL = "https://crm.example.org/cases/{case_id}/edit"


def row(number: int, outcome: Outcome, **fields: str) -> RowOutcome:
    return RowOutcome(number, f"K-{number}", "create", outcome, **fields)  # type: ignore[arg-type]


def unsure(number: int, **fields: str) -> AppointmentOutcome:
    return AppointmentOutcome(number, f"K-{number}", "create", Outcome.UNKNOWN, **fields)  # type: ignore[arg-type]


def cells_of(file: tuple[str, bytes] | None) -> list[list[str]]:
    """As another reader of workbooks has them."""
    assert file is not None
    assert file[0] == ".xlsx"
    return CalamineWorkbook.from_filelike(io.BytesIO(file[1])).get_sheet_by_index(0).to_python()


def parts_of(file: tuple[str, bytes] | None) -> str:
    """The XML of the sheet and of what it refers to."""
    assert file is not None
    with zipfile.ZipFile(io.BytesIO(file[1])) as archive:
        names = [name for name in archive.namelist() if "worksheets" in name]
        return "".join(archive.read(name).decode() for name in names)


def test_only_rows_that_somebody_must_look_at_are_in_it() -> None:
    outcomes = [row(number, outcome) for number, outcome in enumerate(Outcome, start=2)]
    cells = cells_of(attention_file(outcomes))
    assert cells[0] == ["row", "key", "outcome", "code", "what to do", "case_id"]
    assert {line[2] for line in cells[1:]} == {"conflict", "partial", "unknown", "failed"}


def test_where_nobody_has_to_look_there_is_no_file() -> None:
    assert attention_file([row(2, Outcome.CREATED), row(3, Outcome.REJECTED)]) is None


@pytest.mark.parametrize(
    ("case_id", "url", "links"),
    [
        (CASE, URL, [f"https://crm.example.org/cases/{CASE}/edit"]),
        (CASE, "", []),
        ("../x", URL, []),
    ],
)
def test_a_case_is_a_link_where_its_address_is_known(
    case_id: str, url: str, links: list[str]
) -> None:
    content = attention_file([row(2, Outcome.PARTIAL, case_id=case_id)], url)
    assert cells_of(content)[1][5] == case_id
    assert re.findall(r'Target="([^"]*)"', parts_of(content)) == links


def test_no_cell_is_a_formula() -> None:
    content = attention_file([row(2, Outcome.FAILED, message="=1+1")])
    assert cells_of(content)[1][4] == "=1+1"
    assert "<f>" not in parts_of(content)


def filled_in(path: Path, *words: str) -> str:
    """The file with what a person has written into its last column."""
    outcomes = [unsure(number) for number in range(2, 2 + len(words))]
    header, *lines = cells_of(attention_file(outcomes))
    assert header[-1] == "resolution"
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(0, 0, header)
        for number, (line, word) in enumerate(zip(lines, words, strict=True), start=1):
            sheet.write_row(number, 0, [*line[: len(header) - 1], word])
    return str(path)


def test_what_a_person_writes_beside_a_booking_is_its_resolution(tmp_path: Path) -> None:
    source = filled_in(tmp_path / "a.xlsx", " not created ", "", "id-7")
    assert resolutions(source) == {"K-2": "not created", "K-4": "id-7"}


def test_a_csv_with_these_columns_does_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Key,Resolution\nK-2,message settled\nK-3,\n")
    assert resolutions(str(tmp_path / "a.csv")) == {"K-2": "message settled"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("key,what\nK-2,x\n", "has no column resolution"),
        ("key,resolution\n,not created\n", "Row 2 .* no key"),
        ("key,resolution\nK-2,not created\nK-2,id-7\n", "Row 3 .* otherwise"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(SourceError, match=sentence):
        resolutions(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("message", ["a \x0b b", "<r>x</r>", "long " * 7000])
def test_what_a_workbook_cannot_hold_comes_as_csv(message: str) -> None:
    file = attention_file([row(2, Outcome.FAILED, message=message)])
    assert file is not None
    assert file[0] == ".csv"
    assert message in file[1].decode("utf-8-sig")


def test_very_many_rows_come_as_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbooks, "MOST_CELLS", 20)
    outcomes = [row(number, Outcome.FAILED) for number in range(2, 9)]
    assert attention_file(outcomes[:2])[0] == ".xlsx"  # type: ignore[index]
    assert attention_file(outcomes)[0] == ".csv"  # type: ignore[index]
