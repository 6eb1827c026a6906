"""Texts as people type them, made comparable.

Belongs here: cleaning of a cell, and the forms in which texts are compared.
Does not: what a column means (`import_file.py` and its like).
"""

import unicodedata


def clean(text: str) -> str:
    """`text` in NFC, without white space and invisible characters at its ends.

    Strips what `str.strip` leaves: zero-width spaces, byte order marks, control characters.
    Letters, accents and apostrophes stay as they are, and so does everything inside.
    """
    text = unicodedata.normalize("NFC", text)
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while end > start and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


def canonical(text: str) -> str:
    """The form in which references and names are compared: what MySQL's usual collations and
    Laravel's trimming make of a text (reliability.md, F13). Two texts with the same canonical
    form are the same reference; accents still distinguish.
    """
    return " ".join(unicodedata.normalize("NFKC", clean(text)).casefold().split())


def folded(text: str) -> str:
    """`canonical` without accents: some databases take even these for the same text."""
    decomposed = unicodedata.normalize("NFD", canonical(text))
    return "".join(letter for letter in decomposed if unicodedata.category(letter) != "Mn")
