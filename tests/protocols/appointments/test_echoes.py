"""Whether an appointment came back as it was sent."""

import asyncio
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import pytest
from prefect import flow

from protocols.appointments.echoes import SENTENCES, EchoCheck
from willsuite import Appointment

pytestmark = pytest.mark.usefixtures("prefect_server")

Sent = Mapping[str, str | bool]
SUMMER = {"start_time": "2026-07-20 09:00:00", "end_time": "2026-07-20 10:00:00"}
WINTER = {"start_time": "2026-01-20 09:00:00", "end_time": "2026-01-20 10:00:00"}
ADVISER, CLIENT = "adviser@example.org", "client@example.org"


def answer(start: str | None = None, end: str | None = None, **fields: str | None) -> Appointment:
    return Appointment(id="a-1", start_time=start, end_time=end, **fields)  # type: ignore[arg-type]


def found(pairs: Sequence[tuple[Sent, Appointment]], zone: str = "Europe/London") -> list[set[str]]:
    """The codes of the differences of each answer, as runs of their own would find them."""
    checks = [EchoCheck(ZoneInfo(zone)) for _ in pairs]

    @flow(name="small", persist_result=False)
    async def small() -> None:
        for check, (sent, echoed) in zip(checks, pairs, strict=True):
            check.compare(sent, echoed)

    asyncio.run(small())
    return [check.found for check in checks]


def test_times_are_compared_in_the_zone_of_the_file_whichever_shape_they_come_back_in() -> None:
    cases: list[tuple[Sent, Appointment, set[str]]] = [
        # as the server says it in the vendor's example: an instant, and a wall time (Q34)
        (SUMMER, answer("2026-07-20T08:00:00.000000Z", "2026-07-20 10:00:00"), set()),
        (SUMMER, answer("2026-07-20T08:00:00+00:00", "2026-07-20T09:00:00Z"), set()),
        (SUMMER, answer("2026-07-20 09:00:00", "2026-07-20 10:00:00"), set()),
        (WINTER, answer("2026-01-20T09:00:00.000000Z", "2026-01-20 10:00:00"), set()),
        # read as UTC: shows in summer alone (Q35)
        (SUMMER, answer("2026-07-20T09:00:00.000000Z", "2026-07-20 10:00:00"), {"read_as_utc"}),
        (SUMMER, answer("2026-07-20T08:00:00Z", "2026-07-20T10:00:00Z"), {"read_as_utc"}),
        # anything else
        (SUMMER, answer("2026-07-20T07:00:00.000000Z", "2026-07-20 10:00:00"), {"shifted"}),
        (SUMMER, answer("2026-07-20 08:00:00", "2026-07-20 10:00:00"), {"shifted"}),
        (SUMMER, answer("2026-07-20T08:00:00Z", "2026-07-20 11:00:00"), {"shifted"}),
        (WINTER, answer("2026-01-20T08:00:00.000000Z", "2026-01-20 10:00:00"), {"shifted"}),
        (SUMMER, answer("2026-07-20T09:00:00Z", "2026-07-21 10:00:00"), {"read_as_utc", "shifted"}),
        # what isn't said can't differ, nor what wasn't sent
        (SUMMER, answer(None, None), set()),
        (SUMMER, answer("20/07/2026 11:00", "soon"), set()),
        ({"notes": "x"}, answer("2026-07-20T03:00:00Z", "2026-07-20 03:00:00"), set()),
        ({"end_time": SUMMER["end_time"]}, answer("2026-07-20T03:00:00Z", SUMMER["end_time"]),
         set()),
    ]  # fmt: skip
    assert found([(sent, echoed) for sent, echoed, _ in cases]) == [codes for _, _, codes in cases]
    elsewhere = [
        (SUMMER, answer("2026-07-20T13:00:00Z")),
        (WINTER, answer("2026-01-20T14:00:00Z")),
        (WINTER, answer("2026-01-20T09:00:00Z")),
        (WINTER, answer("2026-01-20T08:00:00Z")),
    ]
    assert found(elsewhere, "America/New_York") == [set(), set(), {"read_as_utc"}, {"shifted"}]


def test_an_adviser_who_comes_back_as_the_recipient_is_noticed_and_nobody_else() -> None:
    sent = {"adviser_email": ADVISER, "email_recipient": CLIENT}
    cases: list[tuple[Sent, Appointment, set[str]]] = [
        (sent, answer(email_recipient=ADVISER, adviser_email=CLIENT), {"swapped"}),
        (sent, answer(email_recipient="Adviser@Example.org"), {"swapped"}),
        (sent, answer(email_recipient=CLIENT, adviser_email=ADVISER), set()),
        (sent, answer(email_recipient="CLIENT@example.org"), set()),
        (sent, answer(email_recipient=None), set()),
        ({"adviser_email": ADVISER}, answer(email_recipient=ADVISER), {"swapped"}),
        (sent | {"email_recipient": ADVISER}, answer(email_recipient=ADVISER), set()),
        ({"email_recipient": CLIENT}, answer(email_recipient=ADVISER), set()),
    ]
    assert found([(sent, echoed) for sent, echoed, _ in cases]) == [codes for _, _, codes in cases]


def test_each_kind_of_difference_is_said_once_a_run_and_without_a_value(run_log: list[str]) -> None:
    check = EchoCheck(ZoneInfo("Europe/London"))
    sent = SUMMER | {"adviser_email": ADVISER, "email_recipient": CLIENT}

    @flow(name="small", persist_result=False)
    async def small() -> None:
        for hour in ("09", "09", "03", "04", "09"):
            check.compare(sent, answer(f"2026-07-20T{hour}:00:00Z", email_recipient=ADVISER))

    asyncio.run(small())
    assert check.found == {"read_as_utc", "shifted", "swapped"}
    said = [line for line in run_log if line.startswith("WillSuite gives")]
    assert sorted(said) == sorted(SENTENCES.values())
    text = "\n".join(run_log)
    assert [word for word in ("example.org", "2026-07-20", "09:00") if word in text] == []
