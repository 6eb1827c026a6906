"""Creating, changing and deleting appointments: requests, answers, and what becomes of faults."""

# ruff: noqa: DTZ001 - what a clock on the wall shows has no zone

import asyncio
import io
import json
import logging
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.pretty import pretty_repr

from sandbox.appointments import CREATED_FIELDS, UPDATED_FIELDS, errors_of_appointment
from sandbox.faults import Applied, Drop, Fault, Html, Late, Partial, Status, Truncate
from sandbox.server import CLIENT_SECRET, Options, Sandbox, running
from sandbox.writes import cleaned
from willsuite import (
    Appointment,
    Effect,
    ServerTime,
    WillSuiteClient,
    WriteResult,
    appointment_update,
    new_appointment,
    read_time,
)
from willsuite.decoding import decode_appointment
from willsuite.errors import (
    AuthenticationError,
    ContractError,
    InvalidRecordError,
    NotJsonError,
    RateLimitedError,
    WillSuiteError,
)
from willsuite.retrying import MAX_ATTEMPTS

AMBIGUOUS, APPLIED, REJECTED = Effect.AMBIGUOUS, Effect.APPLIED, Effect.REJECTED
ADVISER, RECIPIENT = "adviser@example.org", "canary@example.org"
NEW = {
    "adviser_email": ADVISER,
    "start_time": "2026-07-20 09:00:00",
    "end_time": "2026-07-20 10:00:00",
}
FLAGS = ("email_confirmation", "email_notification", "sms_confirmation", "sms_notification")
EVERYTHING = {
    **NEW,
    "email_recipient": RECIPIENT,
    "email_confirmation": True,
    "email_notification": False,
    "sms_recipient": "+44 7700 900417",
    "sms_confirmation": False,
    "sms_notification": True,
    "notes": "Zoë asked:\r\n“bring the deeds”",
    "location": "12 CANARY Row",
    "zoom_meeting": True,
}
CHANGEABLE = {
    name: value
    for name, value in EVERYTHING.items()
    if name not in ("adviser_email", "zoom_meeting")
}
CANARIES = ("canary@", "CANARY", "900417", "Zoë", "deeds")
CASE, APPOINTMENT = "c-1", "a-1"
"""Ids at a server that isn't the sandbox."""


@dataclass(frozen=True)
class Write:
    """One of the three writes."""

    name: str
    method: str
    template: str
    target: str
    send: Callable[[WillSuiteClient, str, str], Awaitable[WriteResult[Any]]]
    accepted: Any = field(default_factory=lambda: {"id": APPOINTMENT})


OF_CASE, OF_ONE = "/cases/{caseId}/appointments", "/cases/{caseId}/appointments/{appointmentID}"
CREATION = Write(
    "creation", "POST", OF_CASE, "/cases/c-1/appointments",
    lambda client, case_id, _: client.create_appointment(case_id, new_appointment(EVERYTHING)),
)  # fmt: skip
UPDATE = Write(
    "update", "PATCH", OF_ONE, "/cases/c-1/appointments/a-1",
    lambda client, case_id, appointment_id: client.update_appointment(
        case_id, appointment_id, appointment_update(CHANGEABLE)
    ),
)  # fmt: skip
DELETION = Write(
    "deletion", "DELETE", OF_ONE, "/cases/c-1/appointments/a-1",
    lambda client, case_id, appointment_id: client.delete_appointment(case_id, appointment_id),
    b"",
)  # fmt: skip
WRITES = [CREATION, UPDATE, DELETION]


@pytest.fixture(params=WRITES, ids=lambda write: write.name)
def write(request) -> Write:
    return request.param


@dataclass
class There:
    """A sandbox with one appointment, which is to be changed or deleted."""

    sandbox: Sandbox
    case_id: str
    appointment_id: str

    @property
    def writes(self) -> list[bytes]:
        """The bodies of all writes since."""
        return [
            seen.body for seen in self.sandbox.requests if seen.path.startswith("/cases/")
        ]  # fmt: skip

    def times_applied(self, write: Write) -> int:
        """How often the write has been carried out, as far as can be seen of it."""
        there, *new = self.sandbox.appointments.values()
        if write is CREATION:
            return len(new)
        return int(bool(there["deleted_at"] if write is DELETION else there["notes"]))


@pytest.fixture
def there(sandbox, ask) -> There:
    case_id = sandbox.store.ids[3]
    made = ask(sandbox.url, lambda c: c.create_appointment(case_id, new_appointment(NEW)))
    sandbox.requests.clear()
    return There(sandbox, case_id, made.record.id)


@pytest.fixture
def send(there, ask):
    """`send(write)`: what becomes of it at the sandbox."""

    def sending(write: Write, **settings) -> WriteResult[Any]:
        return ask(
            there.sandbox.url,
            lambda client: write.send(client, there.case_id, there.appointment_id),
            **settings,
        )

    return sending


def raw(write: Write):
    return lambda client: write.send(client, CASE, APPOINTMENT)


# -- bodies ------------------------------------------------------------------------------------


def wire(request: msgspec.Struct) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(request))


BUILDERS = {"new": (new_appointment, EVERYTHING), "change": (appointment_update, CHANGEABLE)}
both = pytest.mark.parametrize(("build", "whole"), BUILDERS.values(), ids=BUILDERS)


def refused(build, values) -> str:
    """The sentence of the refusal, which holds no value anywhere."""
    with pytest.raises(InvalidRecordError) as raised:
        build(values)
    shown = "".join(traceback.format_exception(raised.value, limit=0)) + repr(raised.value)
    assert [word for word in CANARIES if word in shown] == []
    assert "The appointment " in shown
    assert "nothing was sent" in shown
    return str(raised.value)


@both
def test_everything_documented_is_sent_as_it_was_given_under_its_wire_name(build, whole):
    assert wire(build(whole)) == whole


@both
def test_an_absent_value_is_left_out_and_never_sent_as_null(build, whole):
    for name in whole.keys() - (NEW.keys() if build is new_appointment else set()):
        assert wire(build(whole | {name: None})) == {k: v for k, v in whole.items() if k != name}
        assert name in wire(build(whole))


def test_the_three_required_values_alone_are_a_new_appointment_and_nothing_is_an_update():
    assert wire(new_appointment(NEW)) == NEW
    assert msgspec.json.encode(appointment_update({})) == b"{}"


@pytest.mark.parametrize("name", NEW)
def test_each_of_the_three_is_required(name):
    others = {key: value for key, value in EVERYTHING.items() if key != name}
    assert name in refused(new_appointment, others)
    for nothing in (None, ""):
        assert f"at {name};" in refused(new_appointment, EVERYTHING | {name: nothing})


@pytest.mark.parametrize("name", ["adviser_email", "zoom_meeting"])
def test_what_an_update_does_not_document_is_not_sent_in_one(name):
    assert "documented limit" in refused(appointment_update, {name: EVERYTHING[name]})


@both
@pytest.mark.parametrize("name", ["type", "attended", "sms_day_before", "id", "join_url", "Notes"])
def test_a_key_that_is_not_documented_is_refused(build, whole, name):
    assert "documented limit" in refused(build, whole | {name: "CANARY"})


@both
@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("wrong", [1, 0, "true", "yes", "", "CANARY", [], numpy.bool_(True)])
def test_a_flag_is_a_real_boolean(build, whole, name, wrong):
    assert f"at {name};" in refused(build, whole | {name: wrong})


def test_the_flag_for_zoom_is_a_real_boolean():
    assert "at zoom_meeting;" in refused(new_appointment, NEW | {"zoom_meeting": "CANARY"})


@both
@pytest.mark.parametrize("name", ["notes", "location", "email_recipient", "sms_recipient"])
@pytest.mark.parametrize("wrong", ["", 7700900417, True, ["CANARY"], datetime(2026, 7, 1)])
def test_a_text_is_a_text_with_something_in_it(build, whole, name, wrong):
    assert f"at {name};" in refused(build, whole | {name: wrong})


@both
@pytest.mark.parametrize("name", ["start_time", "end_time"])
@pytest.mark.parametrize(
    "wrong",
    ["2026-07-20T09:00:00", "2026-07-20 09:00", "20/07/2026 09:00:00", "2026-07-20",
     "2026-07-20 09:00:00Z", "2026-07-20 09:00:00+01:00", "2026-07-20 09:00:00.000",
     " 2026-07-20 09:00:00", "2026-07-20 09:00:00\n", "2026-7-20 9:00:00", "CANARY",
     "\uff12026-07-20 09:00:00", "2026-02-29 09:00:00", "2026-13-01 09:00:00",
     "2026-07-20 24:00:00", "2026-07-20 09:60:00", "2026-07-20 09:00:60", "0000-07-20 09:00:00",
     datetime(2026, 7, 20, 9), 20260720],
    ids=ascii,
)  # fmt: skip
def test_a_time_is_the_documented_text_of_a_real_one(build, whole, name, wrong):
    assert f"at {name};" in refused(build, whole | {name: wrong})


@both
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-07-20 10:00:00", "2026-07-20 10:00:00"),
        ("2026-07-20 10:00:00", "2026-07-20 09:59:59"),
        ("2026-07-20 10:00:00", "2026-07-19 23:00:00"),
        ("2026-07-20 10:00:00", "2025-12-31 10:00:00"),
    ],
)
def test_the_end_is_later_than_the_start(build, whole, start, end):
    times = {"start_time": start, "end_time": end}
    assert refused(build, whole | times) == (
        "The appointment must end after it starts; nothing was sent."
    )
    if start != end:
        assert wire(build(whole | {"start_time": end, "end_time": start}))["end_time"] == start


@pytest.mark.parametrize("name", ["start_time", "end_time"])
def test_one_of_the_times_may_be_changed_without_the_other(name):
    assert wire(appointment_update({name: NEW[name]})) == {name: NEW[name]}


moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=300)))
def test_any_two_times_in_their_order_are_sent_and_read_back(start, length):
    end = start + timedelta(seconds=int(length.total_seconds()))
    texts = {"start_time": start.isoformat(" "), "end_time": end.isoformat(" ")}
    body = wire(new_appointment(NEW | texts))
    assert (read_time(body["start_time"]), read_time(body["end_time"])) == (
        ServerTime(start, is_utc=False), ServerTime(end, is_utc=False),
    )  # fmt: skip


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=25)
appointments = st.fixed_dictionaries(
    {name: st.just(value) for name, value in NEW.items()},
    optional=dict.fromkeys((*FLAGS, "zoom_meeting"), st.none() | st.booleans())
    | dict.fromkeys(("notes", "location", "email_recipient", "sms_recipient"), texts),
)


@given(appointments)
def test_whatever_we_send_passes_the_documented_rules(values):
    body = wire(new_appointment(values))
    assert errors_of_appointment(cleaned(body)) == {}
    assert body == {name: value for name, value in values.items() if value is not None}


@both
def test_a_text_that_has_no_utf8_is_refused_before_it_is_to_be_sent(build, whole):
    assert "UTF-8" in refused(build, whole | {"notes": "CANARY\ud800"})


@both
def test_a_request_is_shown_without_what_is_in_it(build, whole):
    request = build(whole)
    printed = io.StringIO()
    Console(file=printed).print(request, [request])
    for shown in (repr(request), f"{[request]}", pretty_repr(request), printed.getvalue()):
        assert [word for word in (*CANARIES, ADVISER) if word in shown] == []


# -- times -------------------------------------------------------------------------------------


@given(st.datetimes(), st.sampled_from(["T", " "]), st.sampled_from(["", "Z", "+00:00", "-0000"]))
def test_a_time_in_any_of_the_forms_is_read_as_it_was_written(moment, between, mark):
    text = f"{moment.isoformat(between, 'microseconds')}{mark}"
    assert read_time(text) == ServerTime(moment, is_utc=bool(mark))
    whole = moment.replace(microsecond=0)
    assert read_time(f"{whole.isoformat(between)}{mark}") == ServerTime(whole, is_utc=bool(mark))


def test_both_forms_of_the_vendors_example_are_read():
    nine = datetime(2024, 1, 12, 9)
    assert read_time("2024-01-12T09:00:00.000000Z") == ServerTime(nine, is_utc=True)
    assert read_time("2024-01-12 09:00:00") == ServerTime(nine, is_utc=False)


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [("2024-01-12 09:00:00.5", 500_000), ("2024-01-12 09:00:00.123Z", 123_000),
     ("2024-01-12 09:00:00.1234567Z", 123_456)],
)  # fmt: skip
def test_a_fraction_may_have_any_number_of_digits(text, microsecond):
    assert read_time(text).wall == datetime(2024, 1, 12, 9, 0, 0, microsecond)


@pytest.mark.parametrize(
    "text",
    [None, "", "2024-01-12", "09:00:00", "2024-01-12 09:00", "2024-01-12T09:00:00+01:00",
     "2024-01-12 09:00:00 Z", "2024-01-12 09:00:00Z\n", " 2024-01-12 09:00:00",
     "2024-02-30 09:00:00", "2024-01-12 24:00:00", "2024-01-12 09:00:60", "12/01/2024 09:00:00",
     "\uff12024-01-12 09:00:00", "1705050000", "null"],
    ids=ascii,
)  # fmt: skip
def test_any_other_form_is_not_guessed_at(text):
    assert read_time(text) is None


# -- records -----------------------------------------------------------------------------------


def decoded(**fields: Any) -> Appointment:
    return decode_appointment(json.dumps({"id": "a-1"} | fields).encode())


def test_an_appointment_may_lack_everything_but_its_id():
    nothing = dict.fromkeys(set(Appointment.__struct_fields__) - {"id"})
    assert msgspec.structs.asdict(decoded()) == nothing | {"id": "a-1"}
    assert decoded(**nothing) == decoded()


def test_every_field_of_both_documented_answers_is_in_the_record():
    assert set(Appointment.__struct_fields__) == {*CREATED_FIELDS, *UPDATED_FIELDS}


@pytest.mark.parametrize("name", [*FLAGS, "attended", "cancelled"])
@pytest.mark.parametrize(
    ("raw", "read"),
    [(True, True), (1, True), ("1", True), ("true", True), ("TRUE", True), (False, False),
     (0, False), ("0", False), ("false", False), (None, None), ("", None), ("maybe", None),
     (2, None), (1.5, None), ([], None), ([True], None), ({}, None)],
    ids=repr,
)  # fmt: skip
def test_a_flag_is_true_false_or_not_said(name, raw, read):
    assert getattr(decoded(**{name: raw}), name) is read


@pytest.mark.parametrize("name", ["email_day_before", "sms_day_before"])
@pytest.mark.parametrize(("raw", "read"), [(0, 0), ("1", 1), (None, None), ("x", None)], ids=repr)
def test_the_days_before_are_numbers(name, raw, read):
    assert getattr(decoded(**{name: raw}), name) == read


@pytest.mark.parametrize("text", ["2024-01-12T09:00:00.000000Z", "2024-01-12 09:00:00", "noon"])
def test_times_are_kept_as_they_came(text):
    names = ("start_time", "end_time", "created_at", "updated_at", "deleted_at")
    made = decoded(**dict.fromkeys(names, text))
    assert [getattr(made, name) for name in names] == [text] * 5


def test_texts_of_other_types_and_unknown_fields_do_no_harm():
    made = decoded(id=7, zoom_id=81234567890, notes=["a"], surprise={"x": 1})
    assert (made.id, made.zoom_id, made.notes) == ("7", "81234567890", '["a"]')


@pytest.mark.parametrize(
    "body", [{}, [], None, "a-1", {"id": None}, {"id": ""}, {"id": True}, {"id": ["a"]},
             {"appointment": {"id": "a-1"}}],
    ids=json.dumps,
)  # fmt: skip
def test_what_has_no_id_is_no_appointment(body):
    with pytest.raises(ContractError, match="without an id"):
        decode_appointment(json.dumps(body).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"<h1>CANARY</h1>", b"\xff", b'{"id": "a'], ids=repr)
def test_what_is_not_json_is_said_to_be_so(body):
    with pytest.raises(NotJsonError):
        decode_appointment(body)


def test_a_record_is_shown_by_its_id_alone():
    made = decoded(
        **CHANGEABLE, join_url="https://zoom.example.org/j/CANARY", adviser_email=ADVISER
    )
    printed = io.StringIO()
    Console(file=printed).print(made, {"made": made})
    for shown in (repr(made), f"{[made]}", pretty_repr(made), printed.getvalue()):
        assert "a-1" in shown
        assert [word for word in (*CANARIES, ADVISER, "2026") if word in shown] == []


# -- what is sent ------------------------------------------------------------------------------


def test_each_write_is_one_request_with_the_headers_the_vendor_demands(write, sent, reply):
    seen, result = sent(lambda _: reply(200, write.accepted), raw(write))
    (request,) = seen
    assert (request.method, request.target) == (write.method, write.target)
    assert request.headers["authorization"] == "Bearer raw-token"
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"
    assert (result.effect, result.code) == (APPLIED, "applied")


@pytest.mark.parametrize(
    ("write", "body"), [(CREATION, EVERYTHING), (UPDATE, CHANGEABLE), (DELETION, None)],
    ids=lambda each: each.name if isinstance(each, Write) else "",
)  # fmt: skip
def test_what_was_given_is_the_body_and_a_deletion_has_none(write, body, sent, reply):
    (request,), _ = sent(lambda _: reply(200, write.accepted), raw(write))
    assert (json.loads(request.body) if request.body else None) == body


# -- what comes of it --------------------------------------------------------------------------


def test_a_creation_gives_the_id_and_raw_times_and_only_what_was_asked_for_is_sent_out(there, ask):
    quiet = EVERYTHING | {"email_confirmation": None, "sms_notification": None}
    made = ask(
        there.sandbox.url,
        lambda client: client.create_appointment(there.case_id, new_appointment(quiet)),
    ).record
    kept = there.sandbox.appointments[made.id]
    assert (made.customer_case_id, made.adviser_email) == (there.case_id, ADVISER)
    assert (made.start_time, made.end_time) == (
        "2026-07-20T08:00:00.000000Z", "2026-07-20 10:00:00",
    )  # fmt: skip
    assert read_time(made.start_time) == ServerTime(datetime(2026, 7, 20, 8), is_utc=True)
    assert (made.email_confirmation, made.email_notification) == (None, False)
    assert (made.type, made.attended, made.join_url) == (None, None, None)
    assert {name: kept[name] for name in NEW} == NEW
    assert there.sandbox.messages == []


def test_a_server_in_utc_is_told_by_the_start_it_sends_back(ask):
    with running(Sandbox(Options(cases=1, appointment_zone="UTC"))) as sandbox:
        made = ask(
            sandbox.url,
            lambda client: client.create_appointment(
                sandbox.store.ids[0], new_appointment(NEW)
            ),
        ).record  # fmt: skip
    assert read_time(made.start_time).wall == datetime(2026, 7, 20, 9)
    assert read_time(made.end_time).wall == datetime(2026, 7, 20, 10)


def test_an_update_changes_what_is_in_it_and_gives_the_link_of_a_zoom_meeting(sandbox, ask):
    case_id = sandbox.store.ids[0]

    async def use(client):
        made = await client.create_appointment(
            case_id, new_appointment(NEW | {"zoom_meeting": True})
        )
        return await client.update_appointment(
            case_id, made.record.id, appointment_update({"location": "here"})
        )

    result = ask(sandbox.url, use)
    (kept,) = sandbox.appointments.values()
    assert (result.effect, result.record.id) == (APPLIED, kept["id"])
    assert result.record.join_url == kept["join_url"]
    assert (kept["location"], kept["start_time"]) == ("here", NEW["start_time"])
    assert (result.record.adviser_email, result.record.attended) == (None, False)
    assert result.record.email_confirmation is None


def test_a_deletion_takes_the_appointment_and_a_second_one_is_a_404(there, send):
    assert send(DELETION) == WriteResult(APPLIED, "applied")
    assert there.times_applied(DELETION) == 1
    again = send(DELETION)
    assert (again.effect, again.code) == (REJECTED, "status_404")
    gone = send(UPDATE)
    assert (gone.effect, gone.code) == (REJECTED, "status_404")
    assert len(there.writes) == 3


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_of_the_accepting_statuses_will_do(status, write, sent, reply):
    seen, result = sent(lambda _: reply(status, write.accepted), raw(write))
    assert (len(seen), result.effect) == (1, APPLIED)


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize(
    "body", [b"", b"   ", b"OK", b"1", b"null", b"{}", b'{"message": "Deleted"}', b"\xff", b"["],
    ids=repr,
)  # fmt: skip
def test_the_body_of_the_answer_to_a_deletion_is_not_read(status, body, sent, reply):
    if status == 204:  # which has none
        respond = sending(b"HTTP/1.1 204 No Content\r\n\r\n")
    else:
        respond = sending(reply(status, body, content_type="text/html"))
    seen, result = sent(respond, raw(DELETION))
    assert (len(seen), result) == (1, WriteResult(APPLIED, "applied"))


@pytest.mark.parametrize("page", [b"<!doctype html><h1>Log in</h1>", b"\r\n <html>", b"<?xml ?>"])
def test_a_web_page_is_not_the_answer_to_a_deletion(page, sent, reply):
    seen, result = sent(lambda _: reply(200, page), raw(DELETION))
    assert (len(seen), result) == (1, WriteResult(AMBIGUOUS, "not_json"))


@pytest.mark.parametrize("write", [CREATION, UPDATE], ids=lambda write: write.name)
@pytest.mark.parametrize("body", [{}, [], None, {"id": ""}, {"data": {"id": "a"}}], ids=json.dumps)
def test_an_answer_without_an_appointment_is_ambiguous(write, body, sent, reply):
    seen, result = sent(lambda _: reply(200, json.dumps(body).encode()), raw(write))
    assert (len(seen), result) == (1, WriteResult(AMBIGUOUS, "unreadable"))


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [422, 400])
def test_an_adviser_whom_the_account_does_not_know_is_a_refusal_that_names_the_field(status, ask):
    with running(Sandbox(Options(cases=1, validation_status=status))) as sandbox:
        nobody = new_appointment(EVERYTHING | {"adviser_email": "canary@example.com"})
        result = ask(sandbox.url, lambda c: c.create_appointment(sandbox.store.ids[0], nobody))
    assert (result.effect, result.code) == (REJECTED, f"status_{status}")
    assert (result.fields, result.record) == (("adviser_email",), None)
    assert (sandbox.appointments, sandbox.messages) == ({}, [])


def test_an_end_before_the_stored_start_is_refused_by_the_server(there, ask):
    early = appointment_update({"end_time": "2026-07-20 08:00:00"})
    result = ask(
        there.sandbox.url,
        lambda client: client.update_appointment(there.case_id, there.appointment_id, early),
    )
    assert (result.effect, result.fields) == (REJECTED, ("end_time",))


def test_what_is_not_there_is_a_404_and_no_error(there, ask, write):
    unknown_case = ask(there.sandbox.url, raw(write))
    assert (unknown_case.effect, unknown_case.code) == (REJECTED, "status_404")
    assert there.times_applied(write) == 0
    assert len(there.writes) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 415, 422])
def test_no_refusal_is_sent_again(status, write, sent, reply, fake_time):
    seen, result = sent(lambda _: reply(status, {"message": "No."}), raw(write))
    assert (result.effect, result.code, result.complaint) == (REJECTED, f"status_{status}", "No.")
    assert len(seen) == 1
    assert fake_time.slept == []


# -- sent once, whatever becomes of the answer -------------------------------------------------


def reset(request):
    sock = request.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.writer.transport.abort()


def sending(data):
    """These bytes, and then the end of the connection."""
    return lambda request: request.writer.write(data)


OK = b"HTTP/1.1 200 OK\r\n"
LOST = {
    "reset": reset,
    "closed": lambda _: None,
    "headers only": sending(OK + b"content-length: 50\r\n\r\n"),
    "half an announced body": sending(OK + b'content-length: 50\r\n\r\n{"id": "a-1", "no'),
    "no HTTP": sending(b"220 mail.example.org ESMTP\r\n\r\n"),
}


@pytest.mark.parametrize("kind", LOST)
def test_a_write_whose_answer_is_lost_or_cut_is_ambiguous_and_never_sent_again(
    kind, write, sent, fake_time
):
    seen, result = sent(LOST[kind], raw(write))
    assert result == WriteResult(AMBIGUOUS, "answer_lost")
    assert len(seen) == 1
    assert fake_time.slept == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b'{"message": "Server Error"}'), (502, b"<h1>"), (503, b""), (504, b"<h1>"),
     (408, b"{}"), (404, b"<h1>nginx</h1>"), (403, b"<h1>WAF</h1>")],
)  # fmt: skip
def test_an_answer_that_leaves_it_open_is_ambiguous_and_never_sent_again(
    status, body, write, sent, reply, fake_time
):
    seen, result = sent(lambda _: reply(status, body, retry_after="1"), raw(write))
    assert result == WriteResult(AMBIGUOUS, f"status_{status}")
    assert len(seen) == 1
    assert fake_time.slept == []


def test_a_server_that_stays_silent_is_asked_once(write, sent):
    async def silent(_request):
        await asyncio.sleep(60)

    async def after_a_read(client):
        await client.get_crm_fields()  # so that the short deadline is for the answer alone
        return await write.send(client, CASE, APPOINTMENT)

    seen, result = sent(silent, after_a_read, read_timeout_seconds=0.3)
    assert (len(seen), result) == (1, WriteResult(AMBIGUOUS, "answer_lost"))


@pytest.mark.parametrize(
    ("action", "code", "count"),
    [
        (Status(500), "status_500", 0),
        (Status(503, {"Retry-After": "1"}, "<h1>Down</h1>"), "status_503", 0),
        (Drop(), "answer_lost", 0),
        (Html(), "not_json", 0),
        (Applied(Status(500)), "status_500", 1),
        (Applied(Drop()), "answer_lost", 1),
        (Applied(Html()), "not_json", 1),
        (Partial(), "status_500", 1),
        (Late(60), "status_504", 0),
    ],
    ids=repr,
)
def test_whatever_the_server_did_nothing_is_sent_twice_after_a_fault(
    action, code, count, write, there, send, fake_time
):
    there.sandbox.faults.append(fault := Fault(action, path="/cases/*", method=write.method))
    assert send(write) == WriteResult(AMBIGUOUS, code)
    assert (len(there.writes), fault.played) == (1, 1)
    assert there.times_applied(write) == count
    assert fake_time.slept == []


@pytest.mark.parametrize("write", [CREATION, UPDATE], ids=lambda write: write.name)
@pytest.mark.parametrize(
    ("action", "code"), [(Truncate(), "answer_lost"), (Truncate(announced=False), "not_json")]
)
def test_half_an_answer_is_ambiguous_too(action, code, write, there, send):
    there.sandbox.faults.append(Fault(action, path="/cases/*"))
    assert send(write) == WriteResult(AMBIGUOUS, code)
    assert (len(there.writes), there.times_applied(write)) == (1, 1)


def test_after_a_lost_answer_nobody_hears_twice(there, send):
    there.sandbox.faults.append(Fault(Applied(Drop()), path="/cases/*", times=2))
    results = [send(CREATION), send(UPDATE)]
    assert {result.effect for result in results} == {AMBIGUOUS}
    assert [(message.kind, message.cause) for message in there.sandbox.messages] == [
        ("email_confirmation", "POST"), ("sms_notification", "POST"),
        ("email_confirmation", "PATCH"), ("sms_notification", "PATCH"),
    ]  # fmt: skip


# -- sent again, where it certainly was not carried out ----------------------------------------


def test_after_a_401_the_same_body_is_sent_once_more_with_a_new_token(write, there, ask, fake_time):
    async def with_a_token_that_ends(client):
        await client.get_crm_fields()
        there.sandbox.tokens.clear()
        return await write.send(client, there.case_id, there.appointment_id)

    assert ask(there.sandbox.url, with_a_token_that_ends).effect is APPLIED
    first, second = there.writes
    assert first == second
    assert there.times_applied(write) == 1
    assert fake_time.slept == []


@pytest.mark.parametrize("times", [1, MAX_ATTEMPTS + 2])
def test_a_429_is_waited_out_and_the_same_body_sent_again(times, write, there, send, fake_time):
    wait = Status(429, {"Retry-After": "7"})
    there.sandbox.faults.append(Fault(wait, path="/cases/*", times=times))
    assert send(write).effect is APPLIED
    assert len(there.writes) == times + 1
    assert len(set(there.writes)) == 1
    assert there.times_applied(write) == 1
    assert min(fake_time.slept) >= 7


@pytest.mark.parametrize(
    ("action", "kind", "count"),
    [(Status(401), AuthenticationError, 3),
     (Status(429, {"Retry-After": "86400"}), RateLimitedError, 1)],
    ids=repr,
)  # fmt: skip
def test_what_refuses_all_of_them_is_an_error(action, kind, count, write, there, send):
    there.sandbox.faults.append(Fault(action, path="/cases/*", times=None))
    with pytest.raises(kind):
        send(write)
    assert (len(there.writes), there.times_applied(write)) == (count, 0)


def test_a_server_that_refuses_connections_is_tried_until_the_attempts_are_spent(
    write, ask, unused_tcp_port, fake_time, sandbox
):
    result = ask(
        f"http://127.0.0.1:{unused_tcp_port}", raw(write), token_url=f"{sandbox.url}/oauth/token"
    )
    assert result == WriteResult(Effect.NOT_APPLIED, "unreachable")
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1


# -- refused before anything is sent -----------------------------------------------------------

BAD_IDS = ["", ".", "..", "a/b", "../cases", "a%2Fb", "a b", "a\n", "a?x=1", "a#b", "é",
           "-a", "_a", "a.b", "a\\b", "a\0", "CANARY;x", "x" * 65]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
def test_an_id_that_could_lead_elsewhere_never_enters_a_path(bad, write, sandbox, ask):
    pairs = [(bad, APPOINTMENT)] if write is CREATION else [(bad, APPOINTMENT), (CASE, bad)]
    for case_id, appointment_id in pairs:
        with pytest.raises(ContractError, match="nothing was sent") as refused:
            ask(sandbox.url, lambda c, a=case_id, b=appointment_id: write.send(c, a, b))
        assert len(bad) < 3 or bad not in str(refused.value)
    assert sandbox.requests == []


# -- what nobody may read ----------------------------------------------------------------------


def test_a_redirect_is_ambiguous_and_names_the_template_and_never_an_id(write, sent, reply):
    seen, result = sent(
        lambda _: reply(302, b"", location="/login"),
        lambda client: write.send(client, "id-CANARY", "aid-CANARY"),
    )
    assert result.effect is AMBIGUOUS
    assert result.stops_run.startswith(f"{write.method} {write.template} was redirected")
    assert "CANARY" not in repr(result)
    assert len(seen) == 1


WORDS = '{"message": "canary@example.org", "errors": {"notes": ["Zoë asked is too long"]}}'


@pytest.mark.parametrize(
    "action",
    [*(Status(status, body=WORDS) for status in (200, 302, 401, 404, 422, 500)),
     Status(429, {"Retry-After": "86400"}, WORDS), Status(200, body="<h1>CANARY</h1>"), Drop(),
     None],
    ids=repr,
)  # fmt: skip
def test_no_error_no_log_and_no_result_shows_the_appointment_or_a_secret(
    action, write, there, send, caplog
):
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    if action:
        there.sandbox.faults.append(Fault(action, path="/cases/*", times=None))
    try:
        shown = repr(send(write))
    except WillSuiteError as error:
        shown = "".join(traceback.format_exception(error, limit=0)) + repr(error)
    logging.getLogger("control").debug("the net is out")
    text = shown + caplog.text
    assert "the net is out" in text
    assert there.writes
    assert [word for word in (*CANARIES, CLIENT_SECRET) if word in text] == []
    assert not any(token in text for token in there.sandbox.tokens)
