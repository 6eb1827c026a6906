"""Whether an appointment came back as it was sent, and what an answer can show at all."""

import re
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import pytest

from protocols.appointments.echoes import SENTENCES, EchoCheck
from willsuite import Appointment

Sent = Mapping[str, str | bool]
SUMMER = {"start_time": "2026-07-20 09:00:00", "end_time": "2026-07-20 10:00:00"}
WINTER = {"start_time": "2026-01-20 09:00:00", "end_time": "2026-01-20 10:00:00"}
ADVISER, CLIENT = "adviser@example.org", "client@example.org"
LONDON = EchoCheck(ZoneInfo("Europe/London"))


def answer(start: str | None = None, end: str | None = None, **fields: str | None) -> Appointment:
    return Appointment(id="a-1", start_time=start, end_time=end, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "echoed", "code"),
    [
        # as the server says it in the vendor's example: an instant, and a wall time (Q34)
        (SUMMER, answer("2026-07-20T08:00:00.000000Z", "2026-07-20 10:00:00"), None),
        (SUMMER, answer("2026-07-20T08:00:00+00:00", "2026-07-20T09:00:00Z"), None),
        (SUMMER, answer("2026-07-20 09:00:00", "2026-07-20 10:00:00"), None),
        (WINTER, answer("2026-01-20T09:00:00.000000Z", "2026-01-20 10:00:00"), None),
        # read as UTC: shows in summer alone (Q35)
        (SUMMER, answer("2026-07-20T09:00:00.000000Z", "2026-07-20 10:00:00"), "read_as_utc"),
        (SUMMER, answer("2026-07-20T08:00:00Z", "2026-07-20T10:00:00Z"), "read_as_utc"),
        # anything else
        (SUMMER, answer("2026-07-20T07:00:00.000000Z", "2026-07-20 10:00:00"), "shifted"),
        (SUMMER, answer("2026-07-20 08:00:00", "2026-07-20 10:00:00"), "shifted"),
        (SUMMER, answer("2026-07-20T08:00:00Z", "2026-07-20 11:00:00"), "shifted"),
        (WINTER, answer("2026-01-20T08:00:00.000000Z", "2026-01-20 10:00:00"), "shifted"),
        (SUMMER, answer("2026-07-20T09:00:00Z", "2026-07-21 10:00:00"), "shifted"),
        # what isn't said can't differ, nor what wasn't sent
        (SUMMER, answer(None, None), None),
        (SUMMER, answer("20/07/2026 11:00", "soon"), None),
        ({"notes": "x"}, answer("2026-07-20T03:00:00Z", "2026-07-20 03:00:00"), None),
    ],
)
def test_times_are_compared_in_the_zone_of_the_account_whichever_shape_they_come_back_in(
    sent: Sent, echoed: Appointment, code: str | None
) -> None:
    assert LONDON.difference(sent, echoed) == code


@pytest.mark.parametrize(
    ("zone", "sent", "start", "code"),
    [
        ("America/New_York", SUMMER, "2026-07-20T13:00:00Z", None),
        ("America/New_York", WINTER, "2026-01-20T14:00:00Z", None),
        ("America/New_York", WINTER, "2026-01-20T09:00:00Z", "read_as_utc"),
        ("America/New_York", WINTER, "2026-01-20T08:00:00Z", "shifted"),
        ("UTC", SUMMER, "2026-07-20T09:00:00Z", None),
        ("UTC", SUMMER, "2026-07-20T08:00:00Z", "shifted"),
    ],
)
def test_where_the_setting_is_the_accounts_zone_nothing_is_said(
    zone: str, sent: Sent, start: str, code: str | None
) -> None:
    assert EchoCheck(ZoneInfo(zone)).difference(sent, answer(start)) == code


BOTH = {"adviser_email": ADVISER, "email_recipient": CLIENT}


@pytest.mark.parametrize(
    ("sent", "fields", "code"),
    [
        (BOTH, {"email_recipient": ADVISER, "adviser_email": CLIENT}, "swapped"),
        (BOTH, {"email_recipient": "Adviser@Example.org"}, "swapped"),
        (BOTH, {"email_recipient": CLIENT, "adviser_email": ADVISER}, None),
        (BOTH, {"email_recipient": "CLIENT@example.org"}, None),
        (BOTH, {"email_recipient": None}, None),
        ({"adviser_email": ADVISER}, {"email_recipient": ADVISER}, "swapped"),
        (BOTH | {"email_recipient": ADVISER}, {"email_recipient": ADVISER}, None),
        (BOTH, {"email_recipient": "somebody@example.org"}, "other_recipient"),
        ({"sms_recipient": "07700 900123"}, {"sms_recipient": "+447700900123"}, None),
        ({"sms_recipient": "07700 900123"}, {"sms_recipient": "07700 900124"}, "other_recipient"),
    ],
)
def test_a_recipient_who_comes_back_as_somebody_else_is_noticed(
    sent: Sent, fields: Mapping[str, str | None], code: str | None
) -> None:
    assert LONDON.difference(sent, answer(**fields)) == code
    accepting = EchoCheck(LONDON.zone, accepts_swap=True)
    assert accepting.difference(sent, answer(**fields)) == (None if code == "swapped" else code)


def test_a_time_shows_something_about_all_times_of_the_same_season_alone() -> None:
    summer, winter = LONDON.can_show(SUMMER), LONDON.can_show(WINTER)
    assert len(summer) == len(winter) == 1
    assert not summer & winter
    assert LONDON.can_show({"start_time": "2026-08-31 16:30:00"}) == summer
    # of an account in UTC, too: it may be read as London's
    utc = EchoCheck(ZoneInfo("UTC"))
    assert not utc.can_show(SUMMER) & utc.can_show(WINTER)
    assert LONDON.can_show({"notes": "x"}) == frozenset()


def test_only_a_recipient_who_is_not_the_adviser_can_show_whether_they_are_swapped() -> None:
    assert LONDON.can_show(BOTH) == LONDON.can_show({"email_recipient": CLIENT}) == {"recipients"}
    assert LONDON.can_show(BOTH | {"email_recipient": ADVISER}) == frozenset()


def test_every_sentence_says_what_to_do_and_has_no_gap() -> None:
    for sentence in SENTENCES.values():
        assert re.fullmatch(r"[^{}\n]+\.", sentence)
