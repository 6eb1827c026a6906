"""Changing cases one by one and as a batch, and asking about its job, over real sockets."""

import asyncio
import io
import json
import logging
import socket
import struct
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.pretty import pretty_repr

from sandbox.faults import (
    FAILED_MESSAGE,
    Applied,
    Drip,
    Drop,
    Fault,
    Html,
    JobFault,
    Late,
    Partial,
    Status,
    Truncate,
)
from sandbox.people import CRM_FIELDS
from sandbox.server import CLIENT_SECRET, Options, Sandbox, running
from willsuite import (
    ApiJob,
    Effect,
    WillSuiteClient,
    WriteResult,
    bulk_update,
    case_update,
)
from willsuite.client import MAX_BATCH, MAX_ODD_ANSWERS
from willsuite.errors import (
    AuthenticationError,
    ContractError,
    InvalidRecordError,
    NotFoundError,
    NotJsonError,
    RateLimitedError,
    ServerError,
    WillSuiteError,
)
from willsuite.retrying import MAX_ATTEMPTS

AMBIGUOUS, APPLIED, REJECTED = Effect.AMBIGUOUS, Effect.APPLIED, Effect.REJECTED
STORAGE = CRM_FIELDS[3]["id"]
PERSON = {"title": "Mrs", "first_names": "Adaeze", "last_name": "Okafor"}
VALUES = {"notes": "Zoë called “twice”", "meta": {STORAGE: "CANARY-7"}}
UPDATE = case_update(VALUES | {"customers": [PERSON]})
CANARIES = ("CANARY", "Adaeze", "Okafor", "Zoë", "called", "Perpetua", "Quillfeather")
RAW_ID = "c-1"
"""Of the case at a server that isn't the sandbox."""


@dataclass(frozen=True)
class Write:
    """One of the two writes, with the same notes for one case."""

    call: str
    at: str
    """A shell pattern of its path, for faults."""
    accepted: dict[str, str]
    send: Callable[[WillSuiteClient, str], Awaitable[WriteResult[Any]]]


def change_of(case_id: str, **values: Any):
    return bulk_update({"id": case_id, **(values or VALUES)})


SINGLE = Write(
    "PATCH /cases/{caseId}",
    "/cases/*",
    {"id": RAW_ID},
    lambda client, case_id: client.update_case(case_id, UPDATE),
)
BULK = Write(
    "PATCH /cases-bulk-update",
    "/cases-bulk-update",
    {"apiJobId": "j-1"},
    lambda client, case_id: client.bulk_update([change_of(case_id)]),
)


@pytest.fixture(params=[SINGLE, BULK], ids=["single", "bulk"])
def write(request) -> Write:
    return request.param


@pytest.fixture
def case_id(sandbox) -> str:
    return sandbox.store.ids[7]


def patches(sandbox) -> list[bytes]:
    return [seen.body for seen in sandbox.requests if seen.method == "PATCH"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def times_applied(sandbox, case_id) -> int:
    """How often our change has reached the case: by its new person where there is one."""
    until(lambda: sandbox.pending_jobs == 0)
    case = sandbox.store.case(case_id)
    people = sum(person["last_name"] == "Okafor" for person in case["customers"])
    return people or int(case["notes"] == VALUES["notes"])


@pytest.fixture(autouse=True)
def nobody_has_our_surname(request):
    if "sandbox" in request.fixturenames:
        store = request.getfixturevalue("sandbox").store
        for case_id in store.ids:
            for person in store.case(case_id)["customers"]:
                person["last_name"] = "Ng"


# -- what is sent ------------------------------------------------------------------------------


def test_an_update_is_one_patch_of_the_case_with_the_headers_the_vendor_demands(sent, reply):
    seen, result = sent(
        lambda _: reply(200, {"id": RAW_ID}), lambda client: client.update_case(RAW_ID, UPDATE)
    )
    (request,) = seen
    assert (request.method, request.target) == ("PATCH", "/cases/c-1")
    assert request.headers["authorization"] == "Bearer raw-token"
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert (result.effect, result.code, result.record.id) == (APPLIED, "applied", RAW_ID)


def test_a_batch_is_one_patch_beside_the_cases_with_the_same_headers(sent, reply):
    seen, result = sent(
        lambda _: reply(201, {"apiJobId": "j-1"}),
        lambda client: client.bulk_update([change_of("c-1")]),
    )
    (request,) = seen
    assert (request.method, request.target) == ("PATCH", "/cases-bulk-update")
    assert request.headers["accept"] == request.headers["content-type"] == "application/json"
    assert result == WriteResult(APPLIED, "applied", "j-1")


@pytest.mark.parametrize(
    "values",
    [
        {"ref": "R-1"},
        {"notes": "Zoë\r\nand “Tom”"},
        {"meta": {STORAGE: "0417"}},
        {"customers": [PERSON, PERSON | {"date_of_birth": "01/02/1960"}]},
        {},
    ],
    ids=str,
)
def test_an_update_sends_what_was_given_and_nothing_else(values, sent, reply):
    seen, _ = sent(
        lambda _: reply(200, {"id": RAW_ID}),
        lambda client: client.update_case(RAW_ID, case_update(values)),
    )
    assert [request.body for request in seen] == [
        json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    ]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_batch_is_a_bare_array_in_its_order_with_what_was_given_and_nothing_else(
    kind, sent, reply
):
    rows = [
        {"id": "b", "notes": "Zoë"},
        {"id": "a", "meta": {STORAGE: "0417"}},
        {"id": "c", "notes": "both", "meta": {STORAGE: "x"}},
        {"id": "B"},
    ]
    seen, _ = sent(
        lambda _: reply(201, {"apiJobId": "j-1"}),
        lambda client: client.bulk_update(kind(bulk_update(row) for row in rows)),
    )
    assert [request.body for request in seen] == [
        json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    ]


# -- what comes of it --------------------------------------------------------------------------


def test_an_update_changes_the_case_adds_the_person_and_gives_the_case_back(sandbox, ask, case_id):
    before = sandbox.store.case(case_id)
    result = ask(sandbox.url, lambda client: SINGLE.send(client, case_id))
    after = sandbox.store.case(case_id)
    assert (result.effect, result.code, result.record.id) == (APPLIED, "applied", case_id)
    assert (after["notes"], after["meta"][STORAGE]) == (VALUES["notes"], "CANARY-7")
    assert after["ref"] == before["ref"]
    [added] = [person for person in after["customers"] if person not in before["customers"]]
    assert len(after["customers"]) == len(before["customers"]) + 1
    assert added["last_name"] == "Okafor"
    assert [person.id for person in result.record.customers] == [
        person["id"] for person in after["customers"]
    ]
    assert result.record.is_active is None
    assert len(patches(sandbox)) == 1


def test_values_of_a_new_person_that_the_server_loses_are_lost_in_the_record(ask):
    with running(Sandbox(Options(cases=1, update_loses=("gender", "marital_status")))) as sandbox:
        update = case_update({"customers": [PERSON | {"gender": "female", "tel_1": "1"}]})
        result = ask(sandbox.url, lambda c: c.update_case(sandbox.store.ids[0], update))
    [added] = [each for each in result.record.customers if each.last_name == "Okafor"]
    assert (added.gender, added.marital_status, added.tel_1) == (None, None, "1")


def test_a_batch_is_taken_and_becomes_the_job_it_names(sandbox, ask):
    ids = sandbox.store.ids[:3]
    result = ask(sandbox.url, lambda client: client.bulk_update([change_of(i) for i in ids]))
    assert (result.effect, result.code) == (APPLIED, "applied")
    assert sandbox.jobs[result.record].ids == ids
    assert [times_applied(sandbox, i) for i in sandbox.store.ids[:4]] == [1, 1, 1, 0]
    assert len(patches(sandbox)) == 1


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_of_the_accepting_statuses_will_do(status, write, sent, reply):
    seen, result = sent(
        lambda _: reply(status, write.accepted), lambda client: write.send(client, RAW_ID)
    )
    assert (len(seen), result.effect) == (1, APPLIED)


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        "j-1",
        {"apiJobId": None},
        {"apiJobId": ""},
        {"apiJobId": ["j-1"]},
        {"apijobid": "j-1"},
        {"api_job_id": "j-1"},
        {"id": "j-1"},
        [{"apiJobId": "j-1"}],
    ],
    ids=json.dumps,
)
def test_a_batch_accepted_without_the_id_of_its_job_is_ambiguous(status, body, sent, reply):
    seen, result = sent(
        lambda _: reply(status, json.dumps(body).encode()), lambda c: BULK.send(c, RAW_ID)
    )
    assert (len(seen), result) == (1, WriteResult(AMBIGUOUS, "unreadable"))


@pytest.mark.parametrize(
    "body", [{}, [], None, {"id": None}, {"id": ""}, {"apiJobId": "j-1"}], ids=json.dumps
)
def test_an_update_answered_without_a_case_is_ambiguous(body, sent, reply):
    seen, result = sent(
        lambda _: reply(200, json.dumps(body).encode()), lambda c: SINGLE.send(c, RAW_ID)
    )
    assert (len(seen), result) == (1, WriteResult(AMBIGUOUS, "unreadable"))


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [422, 400])
@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"ref": "WS-000001"}, "ref"),
        ({"meta": {"nope": "x"}}, "meta.nope"),
        ({"customers": [PERSON, PERSON | {"date_of_birth": "31/02/1960"}]},
         "customers.1.date_of_birth"),
    ],
    ids=["ref", "meta", "customers"],
)  # fmt: skip
def test_a_refused_update_names_the_field_and_changes_nothing(status, values, field, ask):
    with running(Sandbox(Options(cases=9, validation_status=status))) as sandbox:
        (case_id,) = sandbox.store.listing(ref="WS-000005")
        before = dict(sandbox.store.case(case_id))
        result = ask(sandbox.url, lambda c: c.update_case(case_id, case_update(values)))
        assert (result.effect, result.code) == (REJECTED, f"status_{status}")
        assert (result.fields, result.record) == ((field,), None)
        assert field in result.complaint
        assert (sandbox.store.case(case_id), len(patches(sandbox))) == (before, 1)


def test_a_refused_batch_names_row_and_field_and_none_of_it_becomes_a_job(sandbox, ask):
    lead_source = CRM_FIELDS[0]["id"]
    one, other = sandbox.store.ids[:2]
    batch = [change_of(one), change_of(other, meta={lead_source: "Billboard"})]
    result = ask(sandbox.url, lambda client: client.bulk_update(batch))
    assert (result.effect, result.code) == (REJECTED, "status_422")
    assert result.fields == (f"1.meta.{lead_source}",)
    assert (sandbox.jobs, len(patches(sandbox))) == ({}, 1)


def test_a_case_that_is_not_there_is_a_refusal_and_no_error(write, ask):
    with running(Sandbox(Options(cases=3, bulk_unknown_ids="refuse"))) as sandbox:
        result = ask(sandbox.url, lambda client: write.send(client, "nobody"))
        assert (result.effect, result.code, result.fields) == (REJECTED, "status_404", ())
        assert len(patches(sandbox)) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 415, 422])
def test_no_refusal_is_sent_again(status, write, sent, reply, fake_time):
    seen, result = sent(
        lambda _: reply(status, {"message": "No."}), lambda client: write.send(client, RAW_ID)
    )
    assert (result.effect, result.code) == (REJECTED, f"status_{status}")
    assert result.complaint == "No."
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
    "half an announced body": sending(OK + b'content-length: 50\r\n\r\n{"apiJobId": "j-1", "id'),
    "half the chunks": sending(OK + b'transfer-encoding: chunked\r\n\r\nd\r\n{"id": "c-1"}\r\n'),
    "no HTTP": sending(b"220 mail.example.org ESMTP\r\n\r\n"),
}
NOT_JSON = {
    "half a body of unknown length": sending(OK + b'\r\n{"apiJobId": "j-1", "id": "c-1'),
    "a log-in page": sending(OK + b"content-type: text/html\r\n\r\n<!doctype html><h1>Log in</h1>"),
    "no content": sending(b"HTTP/1.1 204 No Content\r\n\r\n"),
}


@pytest.mark.parametrize("kind", LOST | NOT_JSON)
def test_a_write_whose_answer_is_lost_or_cut_is_ambiguous_and_never_sent_again(
    kind, write, sent, fake_time
):
    seen, result = sent((LOST | NOT_JSON)[kind], lambda client: write.send(client, RAW_ID))
    assert result == WriteResult(AMBIGUOUS, "answer_lost" if kind in LOST else "not_json")
    assert len(seen) == 1
    assert fake_time.slept == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b'{"message": "Server Error"}'), (502, b"<h1>"), (503, b""), (504, b"<h1>"),
     (408, b"{}"), (422, b"<h1>WAF</h1>"), (403, b"<h1>WAF</h1>"), (404, b"<h1>nginx</h1>")],
)  # fmt: skip
def test_an_answer_that_leaves_it_open_is_ambiguous_and_never_sent_again(
    status, body, write, sent, reply, fake_time
):
    seen, result = sent(
        lambda _: reply(status, body, retry_after="1"), lambda client: write.send(client, RAW_ID)
    )
    assert result == WriteResult(AMBIGUOUS, f"status_{status}")
    assert len(seen) == 1
    assert fake_time.slept == []


def test_a_server_that_stays_silent_is_asked_once(write, sent):
    async def silent(_request):
        await asyncio.sleep(60)

    async def after_a_read(client):
        await client.get_crm_fields()  # so that the short deadline is for the answer alone
        return await write.send(client, RAW_ID)

    seen, result = sent(silent, after_a_read, read_timeout_seconds=0.3)
    assert result == WriteResult(AMBIGUOUS, "answer_lost")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("action", "code", "count"),
    [
        (Status(500), "status_500", 0),
        (Status(503, {"Retry-After": "1"}, "<h1>Down</h1>"), "status_503", 0),
        (Drop(), "answer_lost", 0),
        (Html(), "not_json", 0),
        (Applied(Status(500)), "status_500", 1),
        (Applied(Status(502, body="<h1>502 Bad Gateway</h1>")), "status_502", 1),
        (Applied(Drop()), "answer_lost", 1),
        (Applied(Html()), "not_json", 1),
        (Truncate(), "answer_lost", 1),
        (Truncate(announced=False), "not_json", 1),
        (Truncate(share=0.0, announced=False), "not_json", 1),
        (Late(60), "status_504", 0),
    ],
    ids=repr,
)
def test_whatever_the_server_did_nothing_is_sent_twice_after_a_fault(
    action, code, count, write, sandbox, ask, fake_time, case_id
):
    sandbox.faults.append(fault := Fault(action, path=write.at, method="PATCH"))
    result = ask(sandbox.url, lambda client: write.send(client, case_id))
    assert result == WriteResult(AMBIGUOUS, code)
    assert (len(patches(sandbox)), fault.played) == (1, 1)
    assert times_applied(sandbox, case_id) == count
    assert fake_time.slept == []


def test_a_write_that_broke_off_halfway_is_ambiguous_and_not_completed_by_us(
    write, sandbox, ask, case_id
):
    sandbox.faults.append(Fault(Partial(), path=write.at, method="PATCH"))
    result = ask(sandbox.url, lambda client: write.send(client, case_id))
    assert result == WriteResult(AMBIGUOUS, "status_500")
    assert len(patches(sandbox)) == 1
    assert not any(p["last_name"] == "Okafor" for p in sandbox.store.case(case_id)["customers"])


def test_a_dripping_answer_to_an_applied_write_is_ambiguous(write, sandbox, ask, case_id):
    sandbox.faults.append(Fault(Drip(bytes_per_second=50), path=write.at, method="PATCH"))

    async def after_a_read(client):
        await client.get_crm_fields()
        return await write.send(client, case_id)

    result = ask(sandbox.url, after_a_read, read_timeout_seconds=0.3)
    assert result == WriteResult(AMBIGUOUS, "answer_lost")
    assert (len(patches(sandbox)), times_applied(sandbox, case_id)) == (1, 1)


# -- sent again, where it certainly was not carried out ----------------------------------------


def test_after_a_401_the_same_body_is_sent_once_more_with_a_new_token(
    write, sandbox, ask, case_id, fake_time
):
    async def with_a_token_that_ends(client):
        await client.get_crm_fields()
        sandbox.tokens.clear()
        return await write.send(client, case_id)

    result = ask(sandbox.url, with_a_token_that_ends)
    assert result.effect is APPLIED
    first, second = patches(sandbox)
    assert first == second
    assert times_applied(sandbox, case_id) == 1
    assert fake_time.slept == []


def test_a_third_401_means_that_the_credentials_are_refused(write, sandbox, ask, case_id):
    sandbox.faults.append(Fault(Status(401), path=write.at, method="PATCH", times=None))
    with pytest.raises(AuthenticationError, match="fresh access token"):
        ask(sandbox.url, lambda client: write.send(client, case_id))
    assert (len(patches(sandbox)), times_applied(sandbox, case_id)) == (3, 0)


@pytest.mark.parametrize("times", [1, MAX_ATTEMPTS + 2])
def test_a_429_is_waited_out_and_the_same_body_sent_again(
    times, write, sandbox, ask, case_id, fake_time
):
    wait = Status(429, {"Retry-After": "7"})
    sandbox.faults.append(Fault(wait, path=write.at, method="PATCH", times=times))
    result = ask(sandbox.url, lambda client: write.send(client, case_id))
    assert result.effect is APPLIED
    assert len(patches(sandbox)) == times + 1
    assert len(set(patches(sandbox))) == 1
    assert times_applied(sandbox, case_id) == 1
    assert min(fake_time.slept) >= 7


def test_a_500_after_a_429_is_ambiguous_and_ends_it(write, sent, reply):
    answers = iter([reply(429, retry_after="1"), reply(500), reply(200, write.accepted)])
    seen, result = sent(lambda _: next(answers), lambda client: write.send(client, RAW_ID))
    assert (len(seen), result) == (2, WriteResult(AMBIGUOUS, "status_500"))


def test_a_429_that_asks_for_a_day_ends_it_at_once(write, sandbox, ask, case_id, fake_time):
    day = Status(429, {"Retry-After": "86400"})
    sandbox.faults.append(Fault(day, path=write.at, method="PATCH", times=None))
    with pytest.raises(RateLimitedError):
        ask(sandbox.url, lambda client: write.send(client, case_id))
    assert (len(patches(sandbox)), times_applied(sandbox, case_id)) == (1, 0)
    assert fake_time.slept == []


def test_a_server_that_refuses_connections_is_tried_until_the_attempts_are_spent(
    write, ask, unused_tcp_port, fake_time, sandbox
):
    result = ask(
        f"http://127.0.0.1:{unused_tcp_port}",
        lambda client: write.send(client, RAW_ID),
        token_url=f"{sandbox.url}/oauth/token",
    )
    assert result == WriteResult(Effect.NOT_APPLIED, "unreachable")
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1


def test_a_server_that_begins_to_listen_gets_it_once(
    write, settings_for, unused_tcp_port, fake_time, reply, sandbox
):
    bodies = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        bodies.append(await reader.readexactly(length))
        writer.write(reply(200, write.accepted))
        writer.close()

    async def scenario():
        servers = []

        async def listen_then_wait(seconds):
            if not servers:
                servers.append(await asyncio.start_server(serve, "127.0.0.1", unused_tcp_port))
            await fake_time.sleep(seconds)

        settings = settings_for(
            f"http://127.0.0.1:{unused_tcp_port}", token_url=f"{sandbox.url}/oauth/token"
        )
        async with WillSuiteClient(
            settings, clock=fake_time.clock, sleep=listen_then_wait
        ) as client:
            result = await write.send(client, RAW_ID)
        servers[0].close()
        return result

    assert asyncio.run(scenario()).effect is APPLIED
    assert (len(bodies), len(fake_time.slept)) == (1, 1)


# -- refused before anything is sent -----------------------------------------------------------

BAD_IDS = ["", ".", "..", "a/b", "../cases", "a%2Fb", "a b", "a\n", "a?x=1", "a#b", "é",
           "-a", "_a", "a.b", "a\\b", "a\0", "Okafor;CANARY", "x" * 65]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
@pytest.mark.parametrize("what", ["case", "job"])
def test_an_id_that_could_lead_elsewhere_never_enters_a_path(bad, what, sandbox, ask):
    def use(client):
        return client.get_api_job(bad) if what == "job" else client.update_case(bad, UPDATE)

    with pytest.raises(ContractError, match="nothing was sent") as refused:
        ask(sandbox.url, use)
    assert sandbox.requests == []
    assert len(bad) < 3 or bad not in str(refused.value)


@pytest.mark.parametrize("good", ["7", "A", "a-b_c", "x" * 64])
def test_any_other_id_is_sent_as_it_is(good, sent, reply):
    seen, _ = sent(lambda _: reply(200, {"id": good}), lambda c: c.update_case(good, UPDATE))
    assert [request.target for request in seen] == [f"/cases/{good}"]
    seen, _ = sent(lambda _: reply(200, {"status": "x"}), lambda c: c.get_api_job(good))
    assert [(request.method, request.target) for request in seen] == [("GET", f"/api-jobs/{good}")]


@pytest.mark.parametrize(
    "ids",
    [[], [str(n) for n in range(MAX_BATCH + 1)], ["CANARY", "b", "CANARY"], ["a"] * 2],
    ids=["none", "one too many", "one twice", "only one"],
)
def test_a_batch_that_cannot_be_right_is_refused_before_anything_is_sent(ids, sandbox, ask):
    batch = [change_of(case_id) for case_id in ids]
    with pytest.raises(InvalidRecordError, match="1 to 2,500 changes") as refused:
        ask(sandbox.url, lambda client: client.bulk_update(batch))
    assert sandbox.requests == []
    assert "CANARY" not in str(refused.value)


def test_the_largest_batch_is_one_request(sandbox, ask):
    ids = [f"unknown-{number}" for number in range(MAX_BATCH)]
    batch = [change_of(case_id, notes="x") for case_id in ids]
    result = ask(sandbox.url, lambda client: client.bulk_update(batch))
    assert sandbox.jobs[result.record].ids == ids
    assert len(patches(sandbox)) == 1


# -- the job -----------------------------------------------------------------------------------


def job_after(ask, sandbox, fault, *, polls=1, **values) -> list[ApiJob | WillSuiteError]:
    """What is seen of a job that has got as far as it will ever get."""
    sandbox.job_faults.append(fault)

    async def use(client):
        ids = sandbox.store.ids[:4]
        result = await client.bulk_update([change_of(case_id, **values) for case_id in ids])
        await asyncio.to_thread(until, lambda: sandbox.pending_jobs == 0)
        seen = []
        for _ in range(polls):
            try:
                seen.append(await client.get_api_job(result.record))
            except WillSuiteError as error:
                seen.append(error)
            else:
                assert seen[-1].id == result.record
        return seen

    return ask(sandbox.url, use)


@pytest.mark.parametrize(
    ("fault", "finished", "effected"),
    [
        (JobFault(ends="pending"), False, 0),
        (JobFault(ends="processing", applies=0.5), False, 2),
        (JobFault(ends="completed"), True, 4),
        (JobFault(ends="completed", skips=[1]), True, 3),
        (JobFault(ends="failed", applies=0.25), True, 1),
    ],
    ids=repr,
)
def test_a_job_is_seen_in_every_status(fault, finished, effected, sandbox, ask):
    (job,) = job_after(ask, sandbox, fault)
    assert (job.status, job.is_finished) == (fault.ends, finished)
    assert (job.total_records, job.effected_records) == (4, effected)
    assert (job.end_time is not None) is finished
    assert job.message == (FAILED_MESSAGE if fault.ends == "failed" else None)


def test_a_job_can_be_followed_from_its_acceptance_to_its_end(ask):
    with running(Sandbox(Options(cases=4, job_seconds=0.05))) as sandbox:

        async def use(client):
            result = await client.bulk_update([change_of(sandbox.store.ids[0])])
            seen = []
            deadline = time.monotonic() + 10
            while not (seen and seen[-1].is_finished):
                assert time.monotonic() < deadline
                seen.append(await client.get_api_job(result.record))
            return seen

        seen = ask(sandbox.url, use)
    assert [job.is_finished for job in seen] == [False] * (len(seen) - 1) + [True]
    ranks = [("pending", "processing", "completed").index(job.status) for job in seen]
    assert ranks == sorted(ranks)
    assert ranks[-1] == 2


def test_records_that_were_up_to_date_are_not_among_the_effected(sandbox, ask):
    for case_id in sandbox.store.ids[:3]:
        sandbox.store.change(case_id, notes="the same")
    (job,) = job_after(ask, sandbox, None, notes="the same")
    assert (job.total_records, job.effected_records, job.status) == (4, 1, "completed")


def test_a_job_that_is_not_visible_yet_is_a_404_which_is_not_asked_again(sandbox, ask, fake_time):
    first, second, third = job_after(ask, sandbox, JobFault(hidden_polls=2), polls=3)
    assert isinstance(first, NotFoundError)
    assert isinstance(second, NotFoundError)
    assert "GET /api-jobs/{apiJobID}" in str(first)
    assert next(iter(sandbox.jobs)) not in str(first)
    assert third.status == "completed"
    assert sum(seen.path.startswith("/api-jobs") for seen in sandbox.requests) == 3
    assert fake_time.slept == []


def test_an_unknown_word_runs_on_until_there_is_an_end_time(sandbox, ask):
    words = {"processing": "Queued ", "completed": "done"}
    (running_on,) = job_after(ask, sandbox, JobFault(ends="processing", words=words))
    assert (running_on.status, running_on.is_finished) == ("queued", False)
    (ended,) = job_after(ask, sandbox, JobFault(words=words))
    assert (ended.status, ended.is_finished) == ("done", True)
    (endless,) = job_after(ask, sandbox, JobFault(words=words, lacks=["end_time"]))
    assert (endless.status, endless.is_finished) == ("done", False)


@pytest.mark.parametrize(
    "lacks",
    ["status", "end_time", "total_records", "effected_records", "message", "id"],
)
def test_a_job_may_lack_any_field(lacks, sandbox, ask):
    (job,) = job_after(ask, sandbox, JobFault(lacks=[lacks], message="m"))
    (whole,) = job_after(ask, sandbox, JobFault(message="m"), notes="again")
    assert job.is_finished
    for name in ("status", "total_records", "effected_records", "message"):
        assert getattr(job, name) == (None if name == lacks else getattr(whole, name))
    assert (job.end_time is None) is (lacks == "end_time")


def test_a_job_without_status_and_end_time_breaks_the_contract(sandbox, ask):
    (seen,) = job_after(ask, sandbox, JobFault(lacks=["status", "end_time"]))
    assert isinstance(seen, ContractError)
    assert "GET /api-jobs/{apiJobID}" in str(seen)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "COMPLETED"}, {"status": "completed"}),
        ({"status": "", "end_time": None}, {"status": None}),
        ({"status": None}, {"status": None}),
        ({"end_time": "2026-01-05 10:00:00"}, {"end_time": "2026-01-05 10:00:00"}),
        ({"status": "failed", "affected_records": 3}, {"status": "failed", "effected_records": 3}),
        ({"status": "failed", "effected_records": 0, "affected_records": 3},
         {"status": "failed", "effected_records": 0}),
        ({"status": "x", "total_records": "12", "effected_records": "n/a"},
         {"status": "x", "total_records": 12}),
        ({"status": "x", "total_records": None, "message": ["a", {"b": 1}]},
         {"status": "x", "message": '["a",{"b":1}]'}),
        ({"status": "x", "id": "another", "type": "bulk", "logs": [1]}, {"status": "x"}),
    ],
    ids=lambda value: json.dumps(value)[:60],
)  # fmt: skip
def test_a_job_is_read_with_lenience(body, expected, sent, reply):
    seen, job = sent(lambda _: reply(200, body), lambda client: client.get_api_job("j-1"))
    assert msgspec.structs.asdict(job) == msgspec.structs.asdict(ApiJob("j-1", **expected))
    assert len(seen) == 1


def test_the_alias_stands_in_for_a_count_that_is_null(sent, reply):
    body = {"status": "completed", "effected_records": None, "affected_records": 3}
    _, job = sent(lambda _: reply(200, body), lambda client: client.get_api_job("j-1"))
    assert job.effected_records == 3


def is_finished_with(end_time, sent, reply) -> bool:
    body = {"status": "processing", "end_time": end_time}
    _, job = sent(lambda _: reply(200, body), lambda client: client.get_api_job("j-1"))
    return job.is_finished


@pytest.mark.parametrize("end_time", [None, ""], ids=repr)
def test_no_end_time_does_not_finish_a_job(end_time, sent, reply):
    assert not is_finished_with(end_time, sent, reply)


@pytest.mark.parametrize("end_time", [False, 0, " "], ids=repr)
def test_what_php_writes_for_no_time_does_not_finish_a_job(end_time, sent, reply):
    assert not is_finished_with(end_time, sent, reply)


@pytest.mark.parametrize("body", [[], None, "completed", {}, {"data": {"status": "completed"}}])
def test_what_is_no_job_breaks_the_contract_when_it_has_come_three_times(body, sent, reply):
    seen, error = sent(
        lambda _: reply(200, json.dumps(body).encode()), lambda client: client.get_api_job("j-1")
    )
    assert isinstance(error, ContractError)
    assert len(seen) == MAX_ODD_ANSWERS


@pytest.mark.parametrize(
    ("action", "kind"), [(Status(500), ServerError), (Html(), NotJsonError)], ids=repr
)
def test_a_question_about_a_job_only_reads_so_it_is_asked_again(
    action, kind, sandbox, ask, fake_time
):
    sandbox.faults.append(Fault(action, path="/api-jobs/*", times=2))
    (job,) = job_after(ask, sandbox, None)
    assert job.status == "completed"
    assert len(fake_time.slept) == 2
    sandbox.faults.append(Fault(action, path="/api-jobs/*", times=None))
    (error,) = job_after(ask, sandbox, None)
    assert isinstance(error, kind)
    assert len(patches(sandbox)) == 2


@pytest.mark.parametrize(
    ("status", "end_time", "finished"),
    [
        (None, None, False),
        ("pending", None, False),
        ("processing", None, False),
        ("queued", None, False),
        ("completed", None, True),
        ("failed", None, True),
        ("pending", "2026-01-05", True),
        (None, "2026-01-05", True),
    ],
)
def test_a_job_is_finished_by_its_end_time_or_by_one_of_two_words(status, end_time, finished):
    assert ApiJob("j", status, end_time=end_time).is_finished is finished


# -- what nobody may read ----------------------------------------------------------------------


def test_a_job_is_shown_without_its_message(sandbox, ask):
    (job,) = job_after(ask, sandbox, JobFault(ends="failed"))
    assert "Quillfeather" in job.message
    printed = io.StringIO()
    Console(file=printed).print(job, {"job": job})
    shown = [repr(job), str(job), f"{[job]}", pretty_repr(job), printed.getvalue()]
    for text in shown:
        assert job.id in text.replace("\n", "")
        assert "failed" in text
        assert [word for word in CANARIES if word in text] == []


def test_a_refusal_and_a_record_are_shown_without_what_is_in_them(sandbox, ask, case_id):
    words = '{"message": "Okafor", "errors": {"notes": ["Zoë called is too long"]}}'
    sandbox.faults.append(Fault(Status(422, body=words), method="PATCH"))
    results = [ask(sandbox.url, lambda client: SINGLE.send(client, case_id)) for _ in range(2)]
    assert [result.effect for result in results] == [REJECTED, APPLIED]
    assert "Zoë" in results[0].complaint
    for shown in (repr(results), pretty_repr(results)):
        assert case_id in shown
        assert [word for word in CANARIES if word in shown] == []


def test_a_redirect_is_ambiguous_and_names_the_template_and_never_the_id(write, sent, reply):
    seen, result = sent(
        lambda _: reply(302, b"", location="/login"), lambda c: write.send(c, "id-CANARY")
    )
    assert result.effect is AMBIGUOUS
    assert result.stops_run.startswith(f"{write.call} was redirected")
    assert "CANARY" not in repr(result)
    assert len(seen) == 1


WORDS = '{"message": "Mrs Okafor is known", "errors": {"ref": ["CANARY-7 is taken"]}}'


@pytest.mark.parametrize(
    "action",
    [
        *(Status(status, body=WORDS) for status in (200, 302, 401, 404, 422, 500)),
        Status(429, {"Retry-After": "86400"}, WORDS),
        Status(200, body="<h1>Okafor</h1>"),
        Drop(),
        Truncate(),
        None,
    ],
    ids=repr,
)
def test_no_error_no_log_and_no_result_shows_the_change_or_a_secret(
    action, write, sandbox, ask, caplog, case_id
):
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    if action:
        sandbox.faults.append(Fault(action, path=write.at, method="PATCH", times=None))
    try:
        shown = repr(ask(sandbox.url, lambda client: write.send(client, case_id)))
    except WillSuiteError as error:
        # `limit=0`: the lines of code, of which some are this test's, are no part of it
        shown = "".join(traceback.format_exception(error, limit=0)) + repr(error)
    logging.getLogger("control").debug("the net is out")
    text = shown + caplog.text
    assert "the net is out" in text
    assert patches(sandbox)
    assert [word for word in CANARIES if word in text] == []
    assert CLIENT_SECRET not in text
    assert not any(token in text for token in sandbox.tokens)
