"""Cells as they are cleaned, and the forms in which references and names are compared."""

# ruff: noqa: RUF001 - signs that look like others are what is tested

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.texts import canonical, clean, collision_key, folded

texts = st.text(max_size=20)


@pytest.mark.parametrize(
    "around",
    [" ", "\t", "\r\n", "\xa0", "\u2003", "\u200b", "\u2060", "\ufeff", "\xad", "\0", "\x1f\x7f"],
    ids=ascii,
)
def test_white_space_and_invisible_characters_go_from_both_ends(around):
    assert clean(f"{around}O'Brien {around}") == "O'Brien"
    assert clean(around) == ""


@pytest.mark.parametrize("text", ["", "D’Arcy", "Zoë", "van  der\tBerg", "Li\nNa", "№7 ½ ﬁ"])
def test_what_is_inside_stays_as_it_is(text):
    assert clean(text) == text


def test_a_letter_and_its_accent_become_one_character():
    assert clean("Zoe\u0308") == "Zo\xeb"


@given(texts)
def test_a_clean_text_is_clean(text):
    assert clean(clean(text)) == clean(text)
    assert unicodedata.is_normalized("NFC", clean(text))


@pytest.mark.parametrize(
    "same",
    [
        "REF-1 A", "ref-1 a", " Ref-1  A ", "ref-1\xa0a", "ref-1\t\na", "\ufeffref-1 a\u200b",
        "ｒｅｆ－１ ａ", "re\u200bf-1 a", "r\xadef\u200e-1 a",
    ],
    ids=ascii,
)  # fmt: skip
def test_case_white_space_and_compatibility_forms_do_not_tell_texts_apart(same):
    assert canonical(same) == "ref-1 a"


def test_letters_whose_lower_case_is_several_are_compared_with_these():
    assert canonical("Straße") == canonical("STRASSE")


@pytest.mark.parametrize("other", ["réf", "re f", "ref.", "rеf"], ids=ascii)
def test_accents_spaces_inside_signs_and_other_scripts_tell_texts_apart(other):
    assert canonical(other) != canonical("ref")


@given(texts, st.sampled_from([str.lower, str.upper, str.title]))
def test_plain_letters_compare_equal_in_any_case(text, change):
    plain = "".join(letter for letter in text if letter.isascii()) or "Ann"
    assert canonical(change(plain)) == canonical(plain)


@pytest.mark.parametrize("alike", ["résumé", "re\u0301sume\u0301", "RÉSUMÉ", " Rësumè "], ids=ascii)
def test_folded_texts_differ_by_more_than_accents(alike):
    assert folded(alike) == "resume"
    assert folded("resum") != folded(alike)


@given(texts)
@example("´a")
@example("İ")
def test_the_same_reference_is_alike(text):
    """What compares equal with accents compares equal without."""
    same = f" {text}\u200b"
    assert canonical(same) == canonical(text)
    assert folded(same) == folded(text)
    assert collision_key(same) == collision_key(text)


COLLIDE = [
    ("é", "e"), ("A", "a"), ("Ŵ", "W"), ("ß", "ss"), ("œ", "oe"), ("№", "No"), ("😀", "🎉"),
    ("ＡＢ", "ab"), ("a\u200bb", "ab"), ("a\xa0b", "a b"), ("ab\xa0", "ab"), ("ab ", "ab"),
    ("ab\u200b", "ab"), ("uni/165", "Ünï/165"), ("a\xadb", "ab"), ("e\u0301", "e"), ("Æ", "ae"),
    ("a  b", "a b"), ("WF-7\ufeff", "wf-7"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), COLLIDE, ids=ascii)
def test_references_that_a_usual_collation_takes_for_equal_have_one_key(one, other):
    assert collision_key(one) == collision_key(other)


APART = [
    ("Ł", "L"), ("’", "'"), ("a-b", "ab"), ("a b", "ab"), ("1", "01"), ("a.b", "ab"), ("O", "0"),
    ("😀", ""), ("😀", "😀😀"), ("р", "p"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), APART, ids=ascii)
def test_references_that_stay_two_have_two_keys(one, other):
    assert collision_key(one) != collision_key(other)
