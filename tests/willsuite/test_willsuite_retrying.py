"""How long a read waits before it is sent again, and when it gives up."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from willsuite.retrying import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    MAX_TOTAL_SECONDS,
    RetryBudget,
    backoff_seconds,
    http_date,
    retry_after_seconds,
)

NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)


def stamp(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("86400", 86400.0),
        ("0", None),
        ("000", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),  # an Arabic digit, which str.isdigit accepts
        ("²", None),
        ("Sun, 99 Jun 2025 12:00:00 GMT", None),
        ("Sun, 01 Jun 2025 12:00:30 GMT", 30.0),
        ("Sun, 01 Jun 2025 13:00:30 +0100", 30.0),
        ("Sun, 01 Jun 2025 12:00:30", 30.0),
        ("Sun, 01 Jun 2025 12:00:00 GMT", None),
        ("Sun, 01 Jun 2025 11:59:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, seconds):
    assert retry_after_seconds({"retry-after": value}, NOW) == seconds


def test_without_the_header_nothing_is_asked():
    assert retry_after_seconds({}, NOW) is None


def test_a_date_is_measured_against_the_servers_own_clock():
    ahead = {"retry-after": stamp(3630), "date": stamp(3600)}
    assert retry_after_seconds(ahead, NOW) == 30
    behind = {"retry-after": stamp(-3570), "date": stamp(-3600)}
    assert retry_after_seconds(behind, NOW) == 30
    passed = {"retry-after": stamp(30), "date": stamp(60)}
    assert retry_after_seconds(passed, NOW) is None


def test_a_garbled_server_date_leaves_our_own_clock_to_measure_by():
    assert retry_after_seconds({"retry-after": stamp(30), "date": "yesterday"}, NOW) == 30


@pytest.mark.parametrize("digits", [10, 400, 10_000])
def test_a_number_of_any_length_is_just_a_long_wait(digits):
    seconds = retry_after_seconds({"retry-after": "9" * digits}, NOW)
    assert 10_000_000 < seconds < float("inf")


dates = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,2} Jan \d{1,5} \d{2}:\d{2}:\d{2} [+-]?\w{0,6}\Z"),
    st.datetimes(timezones=st.timezones()).map(format_datetime),
)


@given(value=st.one_of(st.integers().map(str), dates), date=st.none() | dates)
@example(value="Fri, 31 Dec 9999 23:59:59 -0100", date=None)
@example(value="Fri, 31 Dec 9999 23:59:59 GMT", date="Sun, 31 Dec 9999 23:59:59 -0100")
def test_whatever_the_headers_hold_the_answer_is_none_or_a_positive_number(value, date):
    headers = {"retry-after": value} | ({} if date is None else {"date": date})
    seconds = retry_after_seconds(headers, NOW)
    assert seconds is None or 0 < seconds < float("inf")


@pytest.mark.parametrize("value", [None, "", "garbage", "Mon, 32 Jan 2025 00:00:00 GMT", "0" * 99])
def test_a_date_header_that_is_no_date_is_none(value):
    assert http_date(value) is None


def test_a_date_header_becomes_an_instant_in_utc():
    moment = http_date("Sun, 01 Jun 2025 14:00:00 +0200")
    assert moment == NOW
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (6, 15.0), (500, 15.0)]
)
def test_backoff_is_drawn_between_a_tenth_and_the_whole_of_a_doubling_ceiling(attempt, ceiling):
    assert backoff_seconds(attempt, rng=lambda: 0.0) == pytest.approx(ceiling / 10)
    assert backoff_seconds(attempt, rng=lambda: 1.0) == pytest.approx(ceiling)


@given(attempt=st.integers(1, 1000))
def test_backoff_is_never_nothing_and_never_above_the_cap(attempt):
    assert 0.05 <= backoff_seconds(attempt) <= MAX_DELAY_SECONDS


def test_a_budget_ends_after_the_last_attempt():
    budget = RetryBudget(lambda: 0.0)
    delays = [budget.next_delay_seconds() for _ in range(MAX_ATTEMPTS)]
    assert all(delay > 0 for delay in delays[:-1])
    assert delays[-1] is None


def test_a_budget_ends_when_its_time_is_spent_however_few_the_attempts():
    now = [50.0]
    budget = RetryBudget(lambda: now[0])
    assert budget.next_delay_seconds() is not None
    now[0] += MAX_TOTAL_SECONDS - MAX_DELAY_SECONDS
    assert budget.next_delay_seconds() is not None
    now[0] += MAX_DELAY_SECONDS
    assert budget.next_delay_seconds() is None


def test_a_wait_that_would_end_after_the_time_is_not_begun():
    now = [0.0]
    budget = RetryBudget(lambda: now[0])
    assert budget.next_delay_seconds() is not None
    now[0] = MAX_TOTAL_SECONDS - 5
    assert budget.next_delay_seconds(asked_seconds=6) is None


@pytest.mark.parametrize(("asked", "least"), [(3, 3), (60, 60), (10_000, MAX_RETRY_AFTER_SECONDS)])
def test_what_the_server_asks_lengthens_the_wait_up_to_the_cap(asked, least):
    assert RetryBudget(lambda: 0.0).next_delay_seconds(asked) == least


def test_what_the_server_asks_never_shortens_the_wait():
    delays = [RetryBudget(lambda: 0.0).next_delay_seconds(0.001) for _ in range(50)]
    assert min(delays) >= 0.05
