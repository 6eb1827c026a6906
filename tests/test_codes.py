"""The glossary has every code that a row can end with."""

import re
from pathlib import Path

from commands.codes import PAGE, SECTIONS, glossary
from schemas.issues import issue_of

ROOT = Path(__file__).resolve().parent.parent
CODE_OF = re.compile(
    r'(?:\.end\(\s*Outcome\.\w+,\s*|confirm\(\w+, \w+, |_issue\([^()"]*)"([a-z_0-9]+)"'
)


def test_the_page_is_made_of_the_sentences_of_today() -> None:
    assert PAGE.read_text(encoding="utf-8") == glossary(), "run make pages"


def test_every_code_of_the_program_is_explained() -> None:
    files = [*ROOT.glob("protocols/**/*.py"), *ROOT.glob("schemas/**/*.py")]
    used = {code for file in files for code in CODE_OF.findall(file.read_text())}
    assert len(used) > 40
    assert used <= {code for sentences in SECTIONS.values() for code in sentences}


def test_no_place_of_a_sentence_is_left_open() -> None:
    assert not re.findall(r"\{\w+\}", re.sub(r"`[^`]*`|\{\"[^}]*\}", "", glossary()))


def test_every_sentence_about_a_row_can_be_said() -> None:
    details = {"other": 3, "one": 4, "count": 21, "limit": 25, "options": "a, b", "zone": "A/B"}
    details |= {"recipient": "Another", "word": '"nan"', "columns": 3, "cell": "E2"}
    sentences = SECTIONS["Rows that can't be sent"]
    for code in sentences:
        said = issue_of(sentences, code, 2, "The Column", **details).message
        assert "{" not in said
        assert said.endswith(".")
