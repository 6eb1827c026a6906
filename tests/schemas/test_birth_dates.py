"""Dates of birth of an export are the days that they mean, or none."""

from datetime import date

import pyarrow as pa
import pytest

from schemas.birth_dates import birth_days, birth_forms

OCTOBER = date(1963, 10, 18)
APRIL = date(1950, 4, 3)
MARCH = date(1950, 3, 4)
DAY_FIRST, MONTH_FIRST = "25/12/1950", "12/25/1950"


def day_of(text: str | None, *others: str) -> date | None:
    texts = pa.array([text, *others], pa.string())
    day: date | None = birth_days(texts, birth_forms(texts))[0].as_py()
    return day


@pytest.mark.parametrize(
    ("text", "others", "day"),
    [
        ("1963-10-18", (), OCTOBER),
        ("1963-10-18 00:00:00", (), OCTOBER),
        ("1963-10-18T00:00:00.000000Z", (), OCTOBER),
        ("1963-10-17T23:00:00.000000Z", (), OCTOBER),  # midnight in London, in summer
        ("18/10/1963", (), OCTOBER),
        ("03/04/1950", (), APRIL),  # as the vendor has it in requests
        ("3/4/1950", (), APRIL),
        ("03/04/1950", (DAY_FIRST,), APRIL),
        ("03/04/1950", (MONTH_FIRST,), MARCH),
        ("10/18/1963", (MONTH_FIRST,), OCTOBER),
        ("03/04/1950", (DAY_FIRST, MONTH_FIRST), None),
        (DAY_FIRST, (MONTH_FIRST,), None),
        ("0000-00-00", (), None),
        ("1963-02-30", (), None),
        ("about 1950", (), None),
        ("", (), None),
        (None, (), None),
    ],
)
def test_a_date_of_birth_is_the_day_that_it_means(
    text: str | None, others: tuple[str, ...], day: date | None
) -> None:
    assert day_of(text, *others) == day


def test_each_date_of_birth_is_counted_in_one_form() -> None:
    texts = ["1963-10-18", "1963-10-17T23:00:00Z", DAY_FIRST, MONTH_FIRST, "3/4/1950", "1950", "",
             None, "0000-00-00"]  # fmt: skip
    assert birth_forms(pa.array(texts, pa.string())) == {
        "YYYY-MM-DD": 2,
        "instant": 1,
        "DD/MM/YYYY": 1,
        "MM/DD/YYYY": 1,
        "DD/MM/YYYY or MM/DD/YYYY": 1,
        "unread": 1,
    }


def test_an_account_without_dates_of_birth_has_no_form() -> None:
    assert not birth_forms(pa.array([None, ""], pa.string()))
    assert birth_days(pa.array([], pa.string()), {}).to_pylist() == []
