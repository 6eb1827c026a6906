"""The filters of an export from a file."""

from pathlib import Path

import pytest

from schemas.files.filters import read_filters
from schemas.issues import SourceError

WANTED = {"ref": "Quill 7", "updated_after": "2026-01-31 09:00:00"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "filters"


@pytest.mark.parametrize(
    "content",
    [
        '{"ref": " Quill 7", "updated_after": "2026-01-31 09:00:00", "postcode": null}',
        '\ufeff\n{"ref": "Quill 7", "updated_after": "2026-01-31 09:00:00", "postcode": " "}',
        "ref,postcode,updated_after\nQuill 7,,2026-01-31 09:00:00\n",
        "Updated after;Ref\n2026-01-31 09:00:00;Quill 7\n;\n",
    ],
)
def test_they_are_read_from_json_and_from_tables(file: Path, content: str) -> None:
    file.write_text(content)
    assert read_filters(str(file)) == WANTED


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"ref": "Quill"', "isn't a JSON object of texts"),
        ('["Quill"]', "isn't a JSON object of texts"),
        ('{"ref": 7}', "isn't a JSON object of texts"),
        ('{"ref": "Quill", "name": "x"}', "has others than ref, postcode, updated_after"),
        ('{"ref": "Quill", "Quillname": "x"}', "has others than"),
        ("{}", "names none, and would export all"),
        ('{"ref": ""}', "names none, and would export all"),
        ("ref\nQuill\nQuill 2\n", "has 2 rows"),
        ("ref\nQuill,Quillian\n", "has 1 rows"),
        ("ref,Quillname\nQuill,x\n", "has others than"),
    ],
)
def test_what_is_none_is_refused_with_the_form_and_without_a_value(
    file: Path, content: str, why: str
) -> None:
    file.write_text(content)
    with pytest.raises(SourceError, match=why) as refused:
        read_filters(str(file))
    assert "write it like" in str(refused.value)
    assert "Quill" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(SourceError, match="There is no file"):
        read_filters(str(file))
