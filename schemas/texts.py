"""Texts as people type them, made comparable.

Belongs here: cleaning of a cell, and the forms in which texts are compared: `canonical` (one
reference, however it is typed), `collision_key` (perhaps one to some database), `folded` (what
names are compared by). Does not: what a column means (`import_file.py` and its like), or people
(`people.py`).
"""

import html
import re
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


def without_invisible(text: str) -> str:
    """`text` without what nobody sees in it: joiners, soft hyphens, byte order marks."""
    seen = _IGNORABLE.sub("", text)
    return "".join(each for each in seen if each.isspace() or not _is_blank(each))


_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]")
"""What Unicode says to show nothing for, although its categories are those of letters and marks."""


def visible(text: str) -> str:
    """`text` as it looks: `without_invisible`, every blank a plain space, ends trimmed."""
    seen = without_invisible(text)
    return clean("".join(" " if each.isspace() else each for each in seen))


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


def canonical(text: str) -> str:
    """The form in which references and names are compared: what MySQL's usual collations and
    Laravel's trimming make of a text (reliability.md, F13). Two texts with the same canonical
    form are the same reference; accents still distinguish, signs that nobody sees do not.
    """
    seen = text if text.isascii() and text.isprintable() else without_invisible(clean(text))
    return " ".join(unicodedata.normalize("NFKC", seen).casefold().split())


def folded(text: str) -> str:
    """`canonical` without accents and without invisible signs inside, ligatures as two letters."""
    plain = canonical(text)
    if plain.isascii() and plain.isprintable():
        return plain
    letters = unicodedata.normalize("NFKD", plain).translate(_TWO_LETTERS)
    weighed = [each for each in letters if unicodedata.category(each) not in _WEIGHTLESS]
    return " ".join("".join(weighed).split())


_TWO_LETTERS = str.maketrans({"œ": "oe", "æ": "ae"})
_WEIGHTLESS = frozenset({"Mn", "Me", "Cf", "Cc"})
"""Categories of signs that a collation doesn't see: accents, joiners, soft hyphens, controls."""


def collision_key(text: str) -> str:
    """What two references have in common that any usual collation takes for equal.

    The coarsest: what `utf8mb4_unicode_ci` (Laravel's default) was measured to take for equal, and
    soft hyphens, which newer ones ignore. Characters beyond the BMP, emoji above all, have no
    weights of their own in it. Ł and L, a typographic apostrophe and a
    plain one, a-b and ab stay apart. Two references with one
    key may be one or two to a server; with two keys they are two.
    """
    return folded(_BEYOND_BMP.sub("\ufffd", clean(text)))


_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")


def unescaped(text: str | None) -> str:
    """`text` without HTML entities: PHP code escapes what it shows, at times twice."""
    return html.unescape(html.unescape(text or ""))
