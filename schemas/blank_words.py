"""Words that programs and people write for "nothing": nan, NULL, n/a.

Belongs here: which words these are, making those blank that a run was told are, and asking about
the others before a column of them is sent. Does not: in which columns they may stand
(`import_file.py` and its like).
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from schemas.files.source import Sheet
from schemas.issues import SourceError

_ASKED_ABOUT = frozenset(
    {"nan", "<na>", "nat", "none", "(none)", "null", "(null)", "[null]", "(blank)", "undefined",
     "\\n", "n/a", "n.a.", "na", "-", "--", "---", "\u2013", "\u2014"}
)  # fmt: skip
_NEVER_MEANT = frozenset({"\\n", "<na>"})
_WORDS = _ASKED_ABOUT | {
    "nil", "unknown", "not known", "not applicable", "tbc", "tba", "?", ".",
}  # fmt: skip
"""In any case. Where a phone, an e-mail or a date is meant, none of these is one."""
_NAMES = frozenset({"Null", "None", "Na", "NA", "Nan"})
"""What people are called, written so; in a column of names that is not asked about."""
_COLUMNS_NAMED = 10


def stand_for_nothing(texts: pd.Series) -> pd.Series:
    """Whether each text is a word for nothing; blank cells are none."""
    return _are_among(texts, _WORDS)


def _are_among(texts: pd.Series, words: Collection[str]) -> pd.Series:
    found = pd.Series(False, index=texts.index)
    given = texts.dropna()
    short = given[given.str.len() <= max(map(len, words))]
    found[short.index] = short.str.casefold().isin(words)
    return found


def without_blank_words(
    sheet: Sheet, words: Sequence[str] | None, needed_names: Collection[str]
) -> Sheet:
    """The file with blank cells where these words stand, in any case.

    In `needed_names`, headers of columns that a person can't be without, the case counts: where
    NULL is nothing, Null is still a surname.
    """
    if not words:
        return sheet
    frame = sheet.frame.copy()
    for header in frame.columns:
        is_blank = _are_among(frame[header], {word.casefold() for word in words})
        if header in needed_names:
            is_blank &= frame[header].isin(words)
        frame[header] = frame[header].mask(is_blank)
    places = {row: place for place, row in enumerate(sheet.rows)}
    issues = [
        issue
        for issue in sheet.issues
        # that a spreadsheet shows #N/A is no fault where that is a word for nothing
        if issue.code != "error_cell" or frame[issue.column].notna().iloc[places[issue.row]]
    ]
    return replace(sheet, frame=frame, issues=issues)


def refuse_words_for_nothing(
    free_texts: Mapping[str, pd.Series], words: Sequence[str] | None, needed: Collection[str]
) -> None:
    """Ask, once for the whole file, what such words mean in columns of free text.

    A single one may be meant (Null is a surname, "-" may be a note), so it is asked about where
    the same stands in several cells. Nothing is asked where the answer was an empty list: all are
    meant as they stand.

    Args:
        free_texts: the cells by header, without the words that are blank in this run.
        words: which these were; None where nothing was said.
        needed: headers of columns that are counted by themselves, names and identifiers: that
            there is a note NULL says nothing about a surname Null.

    Raises:
        SourceError: there is such a column.
    """
    if words is not None and not words:
        return
    found = {
        header: given
        for header, texts in free_texts.items()
        if len(given := _in_question(texts, header in needed))
    }
    total = Counter(
        (header if header in needed else None, word)
        for header, given in found.items()
        for word in given.str.casefold()
    )
    asked = {
        header: given
        for header, given in found.items()
        for group in [header if header in needed else None]
        if any(total[group, word] > 1 or word in _NEVER_MEANT for word in given.str.casefold())
    }
    if asked:
        raise SourceError(_question(asked, words or ()))


def _in_question(texts: pd.Series, are_names: bool) -> pd.Series:
    """The cells that may stand for nothing."""
    found = texts[_are_among(texts, _ASKED_ABOUT)]
    return found[~found.isin(_NAMES)] if are_names else found


def _question(asked: Mapping[str, pd.Series], words: Sequence[str]) -> str:
    columns = [f"{header} (cells: {len(given):,})" for header, given in asked.items()]
    more = f" and {len(columns) - _COLUMNS_NAMED} more" if columns[_COLUMNS_NAMED:] else ""
    spellings = {text for given in asked.values() for text in given}
    return (
        f"Words for nothing stand in {', '.join(columns[:_COLUMNS_NAMED])}{more}. If nothing is "
        f"given there, say blank_words={json.dumps([*words, *sorted(spellings)])}, and these cells "
        "are blank; if they are meant as they stand, say blank_words=[]."
    )
