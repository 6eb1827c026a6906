"""What an answer to a creation is believed, against a server on a socket."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from protocols.account.journal import BookingState, Journal, open_journal
from protocols.appointments.bookings import plan
from protocols.appointments.echoes import EchoCheck
from protocols.appointments.entries import BookingEntry, booking_entry
from protocols.appointments.sync import Syncer
from sandbox.faults import Fault, Status
from sandbox.server import Sandbox
from schemas.appointment_file import WantedAppointment
from schemas.outcomes import Outcome
from willsuite import WillSuiteClient, load_settings

StartSandbox = Callable[..., Sandbox]
MADE, UNSURE = (Outcome.CREATED, None), (Outcome.UNKNOWN, "creation_unsure")


@pytest.fixture
def sandbox(start_sandbox: StartSandbox) -> Sandbox:
    return start_sandbox(cases=3)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "journal.sqlite3", writing=True) as journal:
        yield journal


def ids_given(sandbox: Sandbox, *ids: str) -> None:
    """The ids in the answers to creations, one after another; the last one for ever."""
    for number, made_id in enumerate(ids, 1):
        times = 1 if number < len(ids) else None
        answer = Status(201, body=json.dumps({"id": made_id}))
        sandbox.faults.append(Fault(answer, "/cases/*/appointments", method="POST", times=times))


def entry_of(sandbox: Sandbox, key: str) -> BookingEntry:
    given: dict[str, str | bool] = {
        "adviser_email": "adviser@example.org",
        "start_time": "2026-07-20 09:00:00",
        "end_time": "2026-07-20 10:00:00",
    }
    case_id = sandbox.store.ids[0]
    return booking_entry(WantedAppointment(2, key, "upsert", case_id, None, None, given))


def send(journal: Journal, *entries: BookingEntry, recreate: bool = False) -> list[object]:
    """How the entries end."""

    async def work() -> None:
        async with WillSuiteClient(load_settings()) as client:
            echoes = EchoCheck(ZoneInfo("Europe/London"))
            syncer = Syncer(client, journal, echoes, recreate=recreate)
            for entry in entries:
                plan(entry, journal, recreate=recreate)
            syncer.begin_round(entries)
            for syncer.step in {entry.step: None for entry in entries}:
                await syncer.send([each for each in entries if each.step is syncer.step])

    asyncio.run(work())
    return [(entry.outcome, entry.code) for entry in entries]


def test_an_id_that_was_given_before_is_not_believed_a_second_time(
    sandbox: Sandbox, journal: Journal
) -> None:
    ids_given(sandbox, "a-1", "a-2", "A-1")
    entries = [entry_of(sandbox, key) for key in ("B-1", "B-2", "B-3")]
    assert send(journal, *entries) == [MADE, MADE, UNSURE]
    booking = journal.booking("B-3")
    assert booking is not None
    assert (booking.state, booking.appointment_id) == (BookingState.CREATING, None)


def test_the_id_of_a_deleted_appointment_is_not_believed_of_a_new_one(
    sandbox: Sandbox, journal: Journal
) -> None:
    ids_given(sandbox, "a-1")
    assert send(journal, entry_of(sandbox, "B-1")) == [MADE]
    booking = journal.booking("B-1")
    assert booking is not None
    journal.put("B-1", replace(booking, state=BookingState.DELETED, fields={}))
    assert send(journal, entry_of(sandbox, "B-1"), recreate=True) == [UNSURE]


@pytest.mark.parametrize("odd", ["../..", "a/b", "", "a b"])
def test_an_id_that_cannot_be_asked_for_is_not_believed(
    sandbox: Sandbox, journal: Journal, odd: str
) -> None:
    ids_given(sandbox, odd)
    assert send(journal, entry_of(sandbox, "B-1")) == [UNSURE]
