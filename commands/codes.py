"""`make pages`: the glossary of codes, made of the sentences that people are told.

Belongs here: which sentences there are, in the order of the glossary. Does not: the sentences,
which stand beside the rules that use them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from protocols.appointments.echoes import SENTENCES as ECHO_SENTENCES
from protocols.appointments.entries import SENTENCES as APPOINTMENT_SENTENCES
from protocols.importing.entries import SENTENCES as NEW_CASE_SENTENCES
from protocols.updating.changes import SENTENCES as CHANGE_SENTENCES
from schemas.appointment_file import SENTENCES as APPOINTMENT_FILE_SENTENCES
from schemas.files.structure import STRUCTURE_SENTENCES
from schemas.import_plan import SENTENCES as IMPORT_FILE_SENTENCES
from schemas.source_people import SENTENCES as PEOPLE_SENTENCES
from schemas.source_table import CELL_SENTENCES
from schemas.update_file import SENTENCES as UPDATE_FILE_SENTENCES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "codes.md"
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Rows that can't be sent": {
        **STRUCTURE_SENTENCES,
        **CELL_SENTENCES,
        **PEOPLE_SENTENCES,
        **IMPORT_FILE_SENTENCES,
        **UPDATE_FILE_SENTENCES,
        **APPOINTMENT_FILE_SENTENCES,
    },
    "import-cases": NEW_CASE_SENTENCES,
    "update-cases and bulk-update-cases": CHANGE_SENTENCES,
    "sync-appointments": APPOINTMENT_SENTENCES | ECHO_SENTENCES,
    "All flows": {
        "cleaned": "It was sent without signs that nobody sees; the row says in which columns.",
        "status_403": "WillSuite refused the row with this HTTP status; any other one likewise.",
    },
}
_HEAD = """\
# Codes of outcomes

What the column `code` of a run's outcomes says, and what to do. Made of the program's own sentences
by `make pages`; *words like these* stand for what the row's own sentence has.
"""


def glossary() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for title, sentences in SECTIONS.items():
        lines = [f"| `{code}` | {_general(text)} |" for code, text in sorted(sentences.items())]
        parts.append("\n".join([f"## {title}\n", "| code | |", "| --- | --- |", *lines]) + "\n")
    return "\n".join(parts)


def _general(sentence: str) -> str:
    words = re.sub(
        r"(?<!\{)\{(\w+)\}(?!\})", lambda found: f"*{found[1].replace('_', ' ')}*", sentence
    )
    return words.replace("{{", "{").replace("}}", "}").replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(glossary(), encoding="utf-8")
