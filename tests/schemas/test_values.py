"""Single values of a column: what is refused and under which code, and what is sent."""

# ruff: noqa: RUF001 - signs that look like others are what is tested

from datetime import date

import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas.values
from schemas.values import (
    DATE_CHECK,
    EMAIL_CHECK,
    ENTITY_CHECK,
    MARITAL_STATUS_CHECK,
    MARITAL_STATUSES,
    NAME_CHECK,
    PERSON_CHECK,
    PHONE_CHECKS,
    SENTENCES,
    YES_NO,
    YES_NO_CHECK,
    column,
    date_problems,
    marital_status,
    up_to,
    wire_date,
)

TODAY = date(2026, 6, 15)
ALL_CHECKS = [
    up_to(3), DATE_CHECK, EMAIL_CHECK, *PHONE_CHECKS, MARITAL_STATUS_CHECK, YES_NO_CHECK,
    ENTITY_CHECK, NAME_CHECK, PERSON_CHECK,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _today(monkeypatch):
    monkeypatch.setattr(schemas.values, "_today", lambda: TODAY)


def series(*texts: str | None) -> pd.Series:
    return pd.Series(list(texts), dtype=str)


def refused(checks: list[pa.Check], *texts: str | None) -> list[tuple[str | None, str]]:
    """Each refused text with the code, in the order of `texts`."""
    model = pa.DataFrameSchema({"x": column("", *checks)})
    try:
        model.validate(pd.DataFrame({"x": series(*texts)}), lazy=True)
    except pa.errors.SchemaErrors as error:
        found = error.failure_cases.sort_values(["index", "check_number"])
        return [
            (texts[int(index)], code)
            for index, code in zip(found["index"], found["check"], strict=True)
        ]
    return []


def problems(*texts: str) -> list[str | None]:
    return [None if pd.isna(code) else code for code in date_problems(series(*texts))]


# -- all checks ------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [[], [None], [None, None, None]], ids=["empty", "null", "nulls"])
@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.name)
def test_a_blank_cell_is_never_refused(check, texts):
    assert refused([check], *texts) == []


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.name)
def test_a_check_finds_every_broken_cell_among_blank_ones(check):
    broken = "7700900123.0 x / 07700 900123" if check.name == "two_phones" else "7700900123.0"
    broken = {
        "phone_zero_lost": "7700900123", "phone_plus_lost": "447700900123", "not_a_name": "TRUE",
    }.get(check.name, broken)  # fmt: skip
    assert refused([check], None, broken, None, broken) == [(broken, check.name)] * 2


def test_each_code_has_a_sentence_that_names_the_column():
    codes = {check.name for check in ALL_CHECKS} - {DATE_CHECK.name}
    assert codes <= SENTENCES.keys()
    for code, sentence in SENTENCES.items():
        said = sentence.format(column="The Column", limit=25, one=2, other=3)
        assert "The Column" in said or code == "date_month_first"
        assert said.endswith(".")


def test_every_date_problem_has_a_sentence():
    assert {code for code in SENTENCES if code.startswith("date_")} == {
        "date_unreadable", "date_two_digit_year", "date_serial", "date_mixed", "date_month_first",
        "date_contradiction", "date_swapped",
        "date_impossible", "date_out_of_range",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [25, 100, 150])
def test_a_limit_counts_characters_and_is_itself_allowed(limit):
    for letter in ("x", "é", "№", "𝒳"):
        assert refused([up_to(limit)], letter * limit, letter * (limit + 1)) == [
            (letter * (limit + 1), "too_long")
        ]


# -- dates -----------------------------------------------------------------------------------


@given(
    st.lists(st.dates(date(1890, 1, 1), TODAY), min_size=1, max_size=12),
    st.sampled_from(
        [
            "{0.day:02d}/{0.month:02d}/{0.year}", "{0.day}/{0.month}/{0.year}", "{0}", "{0}T00:00",
            "{0} 00:00:00", "{0}T00:00:00.000",
        ]
    ),
)  # fmt: skip
def test_no_date_is_ever_swapped(dates, form):
    texts = [form.format(day) for day in dates]
    assert problems(*texts) == [None] * len(dates)
    assert [wire_date(text) for text in texts] == [f"{day:%d/%m/%Y}" for day in dates]


@given(st.lists(st.dates(date(1890, 1, 1), TODAY), min_size=1, max_size=12))
def test_a_column_that_begins_with_the_month_never_gives_another_date_unless_each_may_be_either(
    dates,
):
    texts = [f"{day:%m/%d/%Y}" for day in dates]
    found = problems(*texts)
    if any(day.day > 12 for day in dates):
        assert found == ["date_month_first"] * len(dates)
    else:
        assert set(found) <= {None, "date_out_of_range"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1/2/60", "date_two_digit_year"),
        ("01.02.60", "date_two_digit_year"),
        ("1-2-60", "date_two_digit_year"),
        ("22000", "date_serial"),
        ("1234", "date_serial"),
        ("31/02/1960", "date_impossible"),
        ("29/02/1900", "date_impossible"),
        ("00/01/1960", "date_impossible"),
        ("01/00/1960", "date_impossible"),
        ("32/01/1960", "date_impossible"),
        ("16/06/2026", "date_out_of_range"),
        ("31/12/1889", "date_out_of_range"),
        ("01/01/0001", "date_out_of_range"),
        ("31/12/9999", "date_out_of_range"),
        ("1 Feb 1960", "date_unreadable"),
        ("01.02.1960", "date_unreadable"),
        ("01-02-1960", "date_unreadable"),
        ("1960/02/01", "date_unreadable"),
        ("01/02/1960 00:00", "date_unreadable"),
        ("19600201", "date_unreadable"),
        ("220", "date_unreadable"),
        ("22000.0", "date_unreadable"),
        ("01/02/19600", "date_unreadable"),
        ("x01/02/1960", "date_unreadable"),
        ("01/02/1960\n", "date_unreadable"),
        ("about 01/02/1960", "date_unreadable"),
        ("", "date_unreadable"),
    ],
)
def test_a_day_first_column_refuses(text, code):
    assert problems("14/03/1951", text, "02/11/1948") == [None, code, None]
    assert problems(text) == [code]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1960-02-30", "date_impossible"),
        ("1960-13-01", "date_impossible"),
        ("2026-06-16", "date_out_of_range"),
        ("1889-12-31", "date_out_of_range"),
        ("1960-2-1", "date_unreadable"),
        ("1960-02-01T09:30", "date_unreadable"),
        ("1960-02-01T00:00:01", "date_unreadable"),
        ("1960-02-01T00:00Z", "date_unreadable"),
        ("1960-02-01T", "date_unreadable"),
    ],
)
def test_an_iso_column_refuses(text, code):
    assert problems("1951-03-14", text, "1948-11-02T00:00") == [None, code, None]


@pytest.mark.parametrize("text", ["15/06/2026", "01/01/1890", "29/02/2000", "2026-06-15"])
def test_the_first_and_the_last_day_and_leap_days_are_dates(text):
    assert problems(text) == [None]


@pytest.mark.parametrize("text", ["٠١/٠٢/١٩٦٠", "０１/０２/１９６０", "١٩٦٠-٠٢-٠١", "01/02/196٠"])
def test_digits_of_another_script_are_no_date(text):
    assert problems(text) == ["date_unreadable"]


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        (["01/02/1960", "02/02/1960", "1960-02-03"], [None, None, "date_mixed"]),
        (["1960-02-03", "1960-02-04", "1/2/1960"], [None, None, "date_mixed"]),
        (["01/02/1960", "1960-02-03"], ["date_mixed"] * 2),
        # the same date twice counts twice
        (["1960-02-03", "1960-02-03", "1/2/1960"], [None, None, "date_mixed"]),
        (["1960-02-03", "1960-02-03", "1/2/1960", "2/2/1960"], ["date_mixed"] * 4),
        # what is no date has no say
        (["01/02/1960", "x", "y", "z"], [None, *["date_unreadable"] * 3]),
    ],
)
def test_a_column_has_one_form_which_is_that_of_most_cells(texts, codes):
    assert problems(*texts) == codes


def test_a_date_of_the_other_form_is_refused_even_if_it_does_not_exist():
    assert problems("01/02/1960", "02/02/1960", "1960-13-45") == [None, None, "date_mixed"]


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        (["01/31/1960"], ["date_month_first"]),
        (["01/02/1960", "03/13/1960", "12/11/1960"], ["date_month_first"] * 3),
        # a first number above 12 shows that the column begins with the day
        (["13/02/1960", "03/13/1960", "01/02/1960"], ["date_contradiction"] * 3),
        (["12/12/1960", "01/02/1960"], [None, None]),
        (["01/13/1960", "1960-02-13", "1960-02-02"], ["date_month_first", None, None]),
    ],
)
def test_a_column_that_begins_with_the_month_is_refused_as_a_whole(texts, codes):
    assert problems(*texts) == codes


@pytest.mark.parametrize(
    ("texts", "is_refused"),
    [
        # what a program has made dates of, and the texts that it couldn't read
        (["1960-03-04", "1961-05-06", "1962-07-08", "13/05/1963", "25/12/1964"], True),
        (["1960-03-04", "1961-05-06", "05/13/1963"], True),
        (["1960-03-04", "13/05/1963", "25/12/1964"], True),
        (["1960-03-04", "1961-05-06", "1962-07-08", "13/05/1963", "02/12/1964"], True),
        # a day above 12 was not swapped, and a text that could be read was not left
        (["1960-03-13", "1961-05-06", "13/05/1963"], False),
        (["1960-03-04", "1961-05-06", "02/05/1963"], False),
        (["1960-03-04", "13/05/1963", "02/12/1964"], False),
    ],
)
def test_dates_that_a_program_may_have_swapped_are_refused_with_what_it_left(texts, is_refused):
    found = problems(*texts)
    assert (found == ["date_swapped"] * len(texts)) is is_refused
    assert ("date_swapped" in found) is is_refused


def test_problems_keep_the_places_of_their_dates():
    texts = pd.Series(["x", "01/02/1960", "x"], index=[7, 3, 9], dtype=str)
    found = date_problems(texts)
    assert found.index.tolist() == [7, 3, 9]
    assert found.isna().tolist() == [False, True, False]


def test_no_dates_have_no_problems():
    assert problems() == []


@given(
    st.lists(st.text(max_size=12) | st.from_regex(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"), max_size=8)
)
def test_whatever_stands_in_a_column_of_dates_each_cell_is_sent_or_has_a_known_problem(texts):
    for text, code in zip(texts, problems(*texts), strict=True):
        if code is None:
            day, month, year = wire_date(text).split("/")
            assert date(int(year), int(month), int(day)) <= TODAY
        else:
            assert code in SENTENCES


@pytest.mark.parametrize("text", ["1 Feb 1960", "", "1960-2-1", "01/02/1960\n"])
def test_what_has_neither_form_is_not_sent(text):
    assert wire_date(text) is None


# -- phones ----------------------------------------------------------------------------------


def test_phone_numbers_as_people_write_them():
    fine = [
        "07700 900123", "07700900123", "+447700900123", "+44 (0) 7700 900123", "0044 7700 900123",
        "020-7946-0101", "0770090012", "01632 960001 ext. 12",
        "01632 960001 / 2", "ask at reception", "0", "+1 (212) 555 0100 or ask for Ann",
        "0044 7700 900123 x123", "07700 900 / 123",
    ]  # fmt: skip
    assert refused(list(PHONE_CHECKS), *fine) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("7700900123.0", "phone_number_format"),
        ("447700900123.00", "phone_number_format"),
        ("7.7009E+09", "phone_number_format"),
        ("7.7009e9", "phone_number_format"),
        ("7E+09", "phone_number_format"),
        ("7,7009E+09", "phone_number_format"),
        ("7700900123", "phone_zero_lost"),
        ("871234567", "phone_zero_lost"),
        ("7700 900123", "phone_zero_lost"),
        ("(7700) 900123", "phone_zero_lost"),
        ("900123", "phone_zero_lost"),
        ("33123456789", "phone_zero_lost"),
        ("447700900123", "phone_plus_lost"),
        ("44 7700 900123", "phone_plus_lost"),
        ("#####", "phone_number_format"),
        ("07700 900123 / 07700 900124", "two_phones"),
        ("07700900123/07700900124", "two_phones"),
        ("07700900123, 07700900124", "two_phones"),
        ("07700900123; home 01632 960001", "two_phones"),
        ("07700900123 & 07700900124", "two_phones"),
        ("07700 900123 or 07700 900124", "two_phones"),
        ("07700 900123 OR 07700 900124", "two_phones"),
        ("2345678/3456789", "two_phones"),
        ("2345678 OR 3456789", "two_phones"),
        ("2345678 and 3456789", "two_phones"),
        ("07700 900123 07700 900124", "two_phones"),
        ("123456789012345678", "two_phones"),
        ("07700 900123 and 01632 960001", "two_phones"),
    ],
)
def test_phone_numbers_that_a_spreadsheet_or_a_person_has_spoilt(text, code):
    assert refused(list(PHONE_CHECKS), "07700 900123", text) == [(text, code)]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("sign", ["1", "1 ", "1/", "1 or ", "1.", "1e", "+", "or", "\u0661"])
def test_no_cell_keeps_the_checks_of_phones_busy(sign):
    for end in ("", "x", "@"):
        refused([*PHONE_CHECKS, EMAIL_CHECK], sign * 10_000 + end)


# -- names -----------------------------------------------------------------------------------


def test_what_a_spreadsheet_makes_of_a_cell_is_no_name():
    spoilt = ["2024-03-01", "2024-03-01 09:30:00", "1/3/2024", "01.03.24", "1-Mar", "TRUE", "true",
              "FALSE", "False", "####"]  # fmt: skip
    assert refused([NAME_CHECK], *spoilt) == [(text, "not_a_name") for text in spoilt]
    names = ["True", "Null", "May", "April", "Ann-Marie", "3rd", "O'Brien", "Mar", "#", "X Æ A-12"]
    assert refused([NAME_CHECK], *names) == []


def test_a_number_is_the_name_of_no_person_but_of_an_organisation():
    numbers = ["45231", "12", "45231.5", "45231,5"]
    assert refused([PERSON_CHECK], *numbers) == [(text, "not_a_name") for text in numbers]
    assert refused([PERSON_CHECK], "3rd", "X Æ A-12", "Ann 2") == []
    assert refused([NAME_CHECK], *numbers) == []
    assert refused([PERSON_CHECK], "2024-03-01") == [("2024-03-01", "not_a_name")]


# -- e-mails and words -----------------------------------------------------------------------


def test_email_addresses():
    fine = ["a@b.c", "zoe.o'brien+wills@mail.example.org", "ä@exämple.org", "A_B@EXAMPLE.ORG"]
    broken = [
        "a@b", "a.example.org", "a@b.c.", "a b@example.org", "a@b@example.org", "a@exam ple.org",
        "<a@example.org>", "Ann <a@example.org>", "a@example.org, b@example.org",
        "a@example.org;b@example.org", "@example.org", "a@", "a@.", "a@example.org\n",
        "hal at example.org",
    ]  # fmt: skip
    assert refused([EMAIL_CHECK], *fine, *broken) == [(text, "email") for text in broken]


def test_the_vendors_marital_statuses_in_any_case():
    for word in MARITAL_STATUSES:
        for written in (word, word.upper(), word.title(), f" {word} "):
            assert marital_status(written) == word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Civil Partnership", "civil"),
        ("civil partner", "civil"),
        ("In a  civil partnership", "civil"),
        ("Co-habiting", "cohabiting"),
        ("Widow", "widowed"),
        ("WIDOWER", "widowed"),
    ],
)
def test_other_words_for_a_marital_status(text, word):
    assert marital_status(text) == word
    assert refused([MARITAL_STATUS_CHECK], text) == []


def test_words_that_are_no_marital_status():
    broken = ["engaged", "M", "marriedd", "not single", "", "n/a", "civil partnerships"]
    assert refused([MARITAL_STATUS_CHECK], *broken) == [(text, "marital_status") for text in broken]


def test_yes_and_no_in_any_case_and_as_other_programs_write_them():
    fine = ["yes", "No", "Y", "n", "TRUE", "False", "1", "0"]
    assert refused([YES_NO_CHECK], *fine, "2", "maybe", "yes!") == [
        (text, "yes_or_no") for text in ("2", "maybe", "yes!")
    ]
    assert [YES_NO[text.casefold()] for text in fine] == ["yes", "no"] * 4


def test_entities_in_any_case():
    broken = ["organization", "company", "people"]
    found = refused([ENTITY_CHECK], "person", "Organisation", "PERSON", *broken)
    assert found == [(text, "entity_id") for text in broken]
