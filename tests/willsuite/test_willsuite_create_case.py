"""Creating a case over real sockets: how often it is sent, and what is then known of it."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import ssl
import struct
import traceback

import msgspec
import pytest

from sandbox.faults import Applied, Drip, Drop, Fault, Html, Late, Partial, Status, Truncate
from sandbox.server import CLIENT_SECRET, Options, Sandbox, running
from willsuite import Effect, WillSuiteClient, WriteResult, new_case
from willsuite.errors import (
    AuthenticationError,
    RateLimitedError,
    TokenUnavailableError,
    WillSuiteError,
)
from willsuite.retrying import MAX_ATTEMPTS
from willsuite.session import RATE_LIMIT_PATIENCE_SECONDS

CREATE = "/cases/create"
VALUES = {
    "ref": "WS-CANARY-1",
    "notes": "Zoë called “twice”",
    "customers": [{"title": "Mrs", "first_names": "Adaeze", "last_name": "Okafor"}],
}
CASE = new_case(VALUES)
CANARIES = ("WS-CANARY", "Adaeze", "Okafor", "Zoë", "called")
AMBIGUOUS, APPLIED = Effect.AMBIGUOUS, Effect.APPLIED


@pytest.fixture
def ask(settings_for, fake_time):
    """`await ask(url, create)` with a client that never waits."""

    async def asking(url, use, **settings):
        async with WillSuiteClient(
            settings_for(url, **settings), clock=fake_time.clock, sleep=fake_time.sleep
        ) as client:
            return await use(client)

    return asking


async def create(client):
    return await client.create_case(CASE)


async def create_after_a_read(client):
    """With a token and a connection at hand, so that a short deadline is for the answer alone."""
    await client.get_crm_fields()
    return await client.create_case(CASE)


@pytest.fixture
def posted(raw_api, reply, ask):
    """`posted(respond)`: the requests that arrive for one case, and its result or error."""

    def run(respond, use=create, **settings):
        seen = []

        def keep(request):
            if request.method == "GET":
                return reply(200, [])
            seen.append(request)
            return respond(request)

        async def scenario():
            async with raw_api(keep) as url:
                return await ask(url, use, **settings)

        try:
            return seen, asyncio.run(scenario())
        except WillSuiteError as error:
            return seen, error

    return run


def creations(sandbox) -> list[bytes]:
    return [seen.body for seen in sandbox.requests if seen.path == CREATE]


def stored(sandbox) -> int:
    """How often our case is in the account."""
    return len(sandbox.store.listing(ref=VALUES["ref"]))


# -- what is sent, and what comes of it --------------------------------------------------------


def test_a_creation_is_one_post_with_the_headers_the_vendor_demands(posted, reply):
    seen, result = posted(lambda _: reply(201, {"id": "c-1"}))
    (request,) = seen
    assert (request.method, request.target) == ("POST", "/cases/create")
    assert request.headers["authorization"] == "Bearer raw-token"
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert result.record.id == "c-1"


def test_the_body_is_the_case_as_compact_utf8_json_and_nothing_else(posted, reply):
    seen, _ = posted(lambda _: reply(200, {"id": "c-1"}))
    (request,) = seen
    assert json.loads(request.body.decode("utf-8")) == VALUES
    assert request.body == json.dumps(VALUES, ensure_ascii=False, separators=(",", ":")).encode()


def test_the_path_follows_the_base_url_without_a_slash_at_its_end(raw_server, reply, ask):
    seen = []

    def respond(request):
        seen.append(request.target)
        return reply(200, {"access_token": "t", "id": "c-1"})

    async def scenario():
        async with raw_server(respond) as url:
            await ask(f"{url}/engine/api/", create)

    asyncio.run(scenario())
    assert seen == ["/engine/api/oauth/token", "/engine/api/cases/create"]


def test_a_created_case_is_there_once_and_comes_back_with_its_id(sandbox, ask):
    result = asyncio.run(ask(sandbox.url, create))
    assert (result.effect, result.code) == (APPLIED, "applied")
    assert sandbox.store.listing(ref=VALUES["ref"]) == [result.record.id]
    assert (result.record.ref, result.record.notes) == (VALUES["ref"], VALUES["notes"])
    assert result.record.customers is None
    (person,) = sandbox.store.case(result.record.id)["customers"]
    assert person["last_name"] == "Okafor"
    assert len(creations(sandbox)) == 1


def test_a_refusal_names_the_field_and_the_words_and_is_not_repeated(sandbox, ask):
    async def twice(client):
        await client.create_case(CASE)
        return await client.create_case(CASE)

    result = asyncio.run(ask(sandbox.url, twice))
    assert (result.effect, result.code) == (Effect.REJECTED, "status_422")
    assert (result.fields, result.complaint) == (("ref",), "The ref has already been taken.")
    assert (len(creations(sandbox)), stored(sandbox)) == (2, 1)


def test_a_server_that_drops_the_surname_shows_it_in_the_record(ask):
    with running(Sandbox(Options(cases=0, surname_key="last_names"))) as sandbox:
        result = asyncio.run(ask(sandbox.url, create))
    assert (result.effect, result.record.last_names) == (APPLIED, "")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 415, 422])
def test_no_refusal_is_sent_again(status, posted, reply, fake_time):
    seen, result = posted(lambda _: reply(status, {"message": "No."}))
    assert (result.effect, result.code, result.complaint) == (
        Effect.REJECTED,
        f"status_{status}",
        "No.",
    )
    assert len(seen) == 1
    assert fake_time.slept == []


# -- sent once, whatever becomes of the answer -------------------------------------------------


def reset(request):
    linger = struct.pack("ii", 1, 0)  # close with a reset instead of an end
    sock = request.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.writer.transport.abort()


def close(_request):
    return None


def sending(data):
    """These bytes, and then the end of the connection."""

    def respond(request):
        request.writer.write(data)

    return respond


OK = b"HTTP/1.1 200 OK\r\n"
LOST = {
    "reset": reset,
    "closed": close,
    "half a status line": sending(b"HTTP/1.1 20"),
    "half the headers": sending(OK + b"content-le"),
    "headers only": sending(OK + b"content-length: 50\r\n\r\n"),
    "half an announced body": sending(OK + b'content-length: 50\r\n\r\n{"id": "c-1", "re'),
    "all but one byte": sending(OK + b'content-length: 13\r\n\r\n{"id": "c-1"'),
    "half the chunks": sending(OK + b'transfer-encoding: chunked\r\n\r\nd\r\n{"id": "c-1"}\r\n'),
    "no HTTP": sending(b"220 mail.example.org ESMTP\r\n\r\n"),
    "broken gzip": sending(OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"),
    "promise only": sending(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "two lengths": sending(OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}"),
}
NOT_JSON = {
    "half a body of unknown length": sending(OK + b'\r\n{"id": "c-1", "re'),
    "an empty body of unknown length": sending(OK + b"\r\n"),
    "a log-in page": sending(OK + b"content-type: text/html\r\n\r\n<!doctype html><h1>Log in</h1>"),
    "no content": sending(b"HTTP/1.1 204 No Content\r\n\r\n"),
}


@pytest.mark.parametrize("kind", LOST | NOT_JSON)
def test_a_creation_whose_answer_is_lost_or_cut_is_ambiguous_and_never_sent_again(
    kind, posted, fake_time
):
    seen, result = posted((LOST | NOT_JSON)[kind])
    assert result == WriteResult(AMBIGUOUS, "answer_lost" if kind in LOST else "not_json")
    assert len(seen) == 1
    assert fake_time.slept == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(status, body) for status in (500, 502, 503, 504, 520) for body in (b"", b"<h1>", b"{}")]
    + [(408, b"{}"), (425, b"{}"), (418, b"{}"), (422, b"<h1>WAF</h1>"), (403, b"<h1>WAF</h1>")],
)
def test_an_answer_that_leaves_it_open_is_ambiguous_and_never_sent_again(
    status, body, posted, reply, fake_time
):
    seen, result = posted(lambda _: reply(status, body, retry_after="1"))
    assert result == WriteResult(AMBIGUOUS, f"status_{status}")
    assert len(seen) == 1
    assert fake_time.slept == []


def test_a_server_that_stays_silent_is_asked_once(posted):
    async def respond(_request):
        await asyncio.sleep(60)

    seen, result = posted(respond, create_after_a_read, read_timeout_seconds=0.4)
    assert result == WriteResult(AMBIGUOUS, "answer_lost")
    assert len(seen) == 1


def test_an_answer_that_drips_past_the_deadline_is_ambiguous_and_never_sent_again(posted):
    async def respond(request):
        request.writer.write(OK + b"content-length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                request.writer.write(b" ")
                await request.writer.drain()
                await asyncio.sleep(0.01)

    seen, result = posted(respond, create_after_a_read, read_timeout_seconds=0.4)
    assert result == WriteResult(AMBIGUOUS, "answer_lost")
    assert len(seen) == 1


def test_a_connection_that_ends_before_the_whole_body_has_arrived_is_ambiguous(ask, reply, sandbox):
    heads = []

    async def scenario():
        async def serve(reader, writer):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            large = new_case(VALUES | {"notes": "x" * 20_000_000})
            return await ask(
                url,
                lambda client: client.create_case(large),
                token_url=f"{sandbox.url}/oauth/token",
            )

    assert asyncio.run(scenario()) == WriteResult(AMBIGUOUS, "answer_lost")
    assert len(heads) == 1


@pytest.mark.parametrize(
    ("action", "code", "count"),
    [
        (Status(500), "status_500", 0),
        (Status(503, {"Retry-After": "1"}, "<h1>Down</h1>"), "status_503", 0),
        (Drop(), "answer_lost", 0),
        (Html(), "not_json", 0),
        (Applied(Status(500)), "status_500", 1),
        (Applied(Status(502, body="<h1>502 Bad Gateway</h1>")), "status_502", 1),
        (Applied(Status(504, body="")), "status_504", 1),
        (Applied(Drop()), "answer_lost", 1),
        (Applied(Html()), "not_json", 1),
        (Truncate(), "answer_lost", 1),
        (Truncate(share=0.0), "answer_lost", 1),
        (Truncate(announced=False), "not_json", 1),
        (Truncate(share=0.0, announced=False), "not_json", 1),
        (Partial(), "status_500", 1),
        (Late(60), "status_504", 0),
    ],
    ids=repr,
)
def test_whatever_the_server_did_nothing_is_sent_twice_after_a_fault(
    action, code, count, sandbox, ask, fake_time
):
    sandbox.faults.append(fault := Fault(action, path=CREATE))
    assert asyncio.run(ask(sandbox.url, create)) == WriteResult(AMBIGUOUS, code)
    assert (len(creations(sandbox)), fault.played) == (1, 1)
    assert stored(sandbox) == count
    assert fake_time.slept == []


def test_a_dripping_answer_to_an_applied_creation_is_ambiguous(sandbox, ask):
    sandbox.faults.append(Fault(Drip(bytes_per_second=50), path=CREATE))
    result = asyncio.run(ask(sandbox.url, create_after_a_read, read_timeout_seconds=0.4))
    assert result == WriteResult(AMBIGUOUS, "answer_lost")
    assert (len(creations(sandbox)), stored(sandbox)) == (1, 1)


@pytest.mark.parametrize("end", [reset, close])
def test_a_kept_connection_that_closes_as_we_send_is_ambiguous_and_not_replaced(
    end, raw_api, reply, ask
):
    async def scenario():
        peers, bodies = [], []

        def respond(request):
            peers.append(request.writer.get_extra_info("peername"))
            bodies.append(request.body)
            return reply(200, {"id": "c-1"}) if len(bodies) != 2 else end(request)

        async def use(client):
            return [await client.create_case(new_case({"ref": f"r-{n}"})) for n in range(3)]

        async with raw_api(respond) as url:
            results = await ask(url, use, max_concurrency=1)
        assert [result.effect for result in results] == [APPLIED, AMBIGUOUS, APPLIED]
        assert results[1].code == "answer_lost"
        assert bodies == [b'{"ref":"r-%d"}' % n for n in range(3)]
        assert peers[0] == peers[1], "the second went over a new connection: nothing is shown"
        assert peers[2] != peers[1]

    asyncio.run(scenario())


def test_a_connection_closed_while_idle_is_replaced_before_anything_is_sent(raw_api, reply, ask):
    async def scenario():
        peers = []
        closed = asyncio.Event()

        def respond(request):
            peers.append(request.writer.get_extra_info("peername"))
            if len(peers) == 1:

                async def end():
                    request.writer.close()
                    with contextlib.suppress(ConnectionError):
                        await request.writer.wait_closed()
                    closed.set()

                ends.append(asyncio.get_running_loop().call_soon(asyncio.ensure_future, end()))
            return reply(200, {"id": "c-1"})

        async def use(client):
            first = await client.create_case(new_case({"ref": "r-1"}))
            await asyncio.wait_for(closed.wait(), 5)
            return first, await client.create_case(new_case({"ref": "r-2"}))

        ends = []
        async with raw_api(respond) as url:
            results = await ask(url, use, max_concurrency=1)
        assert [result.effect for result in results] == [APPLIED, APPLIED]
        assert len(set(peers)) == len(peers) == 2

    asyncio.run(scenario())


# -- sent again, where it certainly was not carried out ----------------------------------------


def test_a_401_fetches_one_new_token_and_sends_the_same_body_once_more(raw_server, reply, ask):
    async def scenario():
        tokens, seen = [], []

        def respond(request):
            if request.target == "/oauth/token":
                tokens.append(f"t-{len(tokens)}")
                return reply(200, {"access_token": tokens[-1]})
            seen.append(request)
            if len(seen) == 1:
                return reply(401, {"message": "Unauthenticated."})
            return reply(200, {"id": "c-1"})

        async with raw_server(respond) as url:
            result = await ask(url, create)
        assert result.effect is APPLIED
        assert [request.headers["authorization"] for request in seen] == [
            "Bearer t-0",
            "Bearer t-1",
        ]
        assert seen[0].body == seen[1].body
        assert len(tokens) == 2

    asyncio.run(scenario())


def test_a_third_401_means_that_the_credentials_are_refused(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(401), path=CREATE, times=None))
    with pytest.raises(AuthenticationError, match="fresh access token"):
        asyncio.run(ask(sandbox.url, create))
    assert (len(creations(sandbox)), stored(sandbox)) == (3, 0)
    assert len(fake_time.slept) == 1


def test_a_token_that_expires_under_many_creations_is_replaced_once(sandbox, ask):
    async def use(client):
        await client.get_crm_fields()
        sandbox.tokens.clear()
        cases = [new_case({"ref": f"many-{number}"}) for number in range(12)]
        return await asyncio.gather(*(client.create_case(case) for case in cases))

    results = asyncio.run(ask(sandbox.url, use, max_concurrency=6))
    assert {result.effect for result in results} == {APPLIED}
    assert [result.record.ref for result in results] == [f"many-{number}" for number in range(12)]
    assert sum(seen.path == "/oauth/token" for seen in sandbox.requests) == 2
    assert len(sandbox.store.ids) == 50 + 12


def test_no_token_no_creation(sandbox, ask):
    sandbox.faults.append(Fault(Status(500), path="/oauth/token", times=None))
    with pytest.raises(TokenUnavailableError):
        asyncio.run(ask(sandbox.url, create))
    assert creations(sandbox) == []


def test_wrong_credentials_end_before_any_creation(sandbox, ask):
    with pytest.raises(AuthenticationError, match="invalid_client"):
        asyncio.run(ask(sandbox.url, create, client_secret="wrong"))
    assert creations(sandbox) == []


@pytest.mark.parametrize("times", [1, MAX_ATTEMPTS + 2])
def test_a_429_is_waited_out_and_sent_again(times, sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(429, {"Retry-After": "7"}), path=CREATE, times=times))
    result = asyncio.run(ask(sandbox.url, create))
    assert result.effect is APPLIED
    assert (len(creations(sandbox)), stored(sandbox)) == (times + 1, 1)
    assert len(set(creations(sandbox))) == 1
    assert len(fake_time.slept) == times
    assert min(fake_time.slept) >= 7


def test_after_a_429_and_a_401_the_next_answer_counts_like_a_first_one(posted, reply):
    answers = iter([reply(429, retry_after="1"), reply(401), reply(429), reply(500)])
    seen, result = posted(lambda _: next(answers))
    assert result == WriteResult(AMBIGUOUS, "status_500")
    assert len(seen) == 4


def test_a_500_after_a_429_is_ambiguous_and_ends_it(posted, reply):
    answers = iter([reply(429, retry_after="1"), reply(500), reply(200, {"id": "c-1"})])
    seen, result = posted(lambda _: next(answers))
    assert result == WriteResult(AMBIGUOUS, "status_500")
    assert len(seen) == 2


def test_a_429_that_asks_for_a_day_ends_it_at_once(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(429, {"Retry-After": "86400"}), path=CREATE, times=None))
    with pytest.raises(RateLimitedError, match="86400 seconds"):
        asyncio.run(ask(sandbox.url, create))
    assert (len(creations(sandbox)), stored(sandbox)) == (1, 0)
    assert fake_time.slept == []


def test_429s_without_end_are_given_up_when_patience_is(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(429, {"Retry-After": "100"}), path=CREATE, times=None))
    started = fake_time.now
    with pytest.raises(RateLimitedError, match="start the run later"):
        asyncio.run(ask(sandbox.url, create))
    assert fake_time.now - started > RATE_LIMIT_PATIENCE_SECONDS
    assert stored(sandbox) == 0


def test_a_server_that_refuses_connections_is_tried_until_the_attempts_are_spent(
    ask, unused_tcp_port, fake_time, sandbox
):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    result = asyncio.run(ask(url, create, token_url=f"{sandbox.url}/oauth/token"))
    assert result == WriteResult(Effect.NOT_APPLIED, "unreachable")
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1
    assert min(fake_time.slept) > 0


@pytest.mark.parametrize("answers", [["applied"], ["lost", "never"]])
def test_a_server_that_begins_to_listen_gets_it_once(
    answers, settings_for, unused_tcp_port, fake_time, reply, sandbox
):
    left = iter(answers)
    bodies = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        bodies.append(await reader.readexactly(length))
        if next(left) == "applied":
            writer.write(reply(200, {"id": "c-1"}))
        writer.close()

    async def scenario():
        servers = []

        async def sleep(seconds):
            await fake_time.sleep(seconds)
            if len(fake_time.slept) == 2:  # it is up before the third attempt
                servers.append(await asyncio.start_server(serve, "127.0.0.1", unused_tcp_port))

        settings = settings_for(
            f"http://127.0.0.1:{unused_tcp_port}", token_url=f"{sandbox.url}/oauth/token"
        )
        async with WillSuiteClient(settings, clock=fake_time.clock, sleep=sleep) as client:
            result = await create(client)
        servers[0].close()
        return result

    result = asyncio.run(scenario())
    assert result.effect is (APPLIED if answers == ["applied"] else AMBIGUOUS)
    assert len(fake_time.slept) == 2
    assert len(bodies) == 1


# -- redirects ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_ambiguous_and_its_target_gets_nothing(status, raw_server, reply, posted):
    elsewhere = []

    async def other_host():
        async with raw_server(elsewhere.append) as other:
            return await asyncio.to_thread(
                posted, lambda _: reply(status, location=f"{other}/cases/create")
            )

    seen, result = asyncio.run(other_host())
    assert result.effect is Effect.AMBIGUOUS
    assert "WILLSUITE_BASE_URL" in result.stops_run
    assert len(seen) == 1
    assert elsewhere == []


@pytest.mark.parametrize("location", ["/login", "/cases/create/", "cases/create", ""])
def test_a_redirect_within_the_server_is_not_followed_either(location, posted, reply):
    seen, result = posted(lambda _: reply(302, location=location))
    assert result.effect is Effect.AMBIGUOUS
    assert [request.target for request in seen] == [CREATE]


# -- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_no_more_creations_are_under_way_than_max_concurrency(limit, raw_api, reply, ask):
    async def scenario():
        now, peak = 0, 0
        full = asyncio.Event()

        async def respond(request):
            nonlocal now, peak
            now += 1
            peak = max(peak, now)
            if now >= limit:
                full.set()
            await asyncio.wait_for(full.wait(), 5)
            for _ in range(50):
                await asyncio.sleep(0)  # time for one too many to come
            now -= 1
            return reply(200, {"id": json.loads(request.body)["ref"]})

        async def use(client):
            cases = [new_case({"ref": f"r-{number}"}) for number in range(24)]
            return await asyncio.gather(*(client.create_case(case) for case in cases))

        async with raw_api(respond) as url:
            results = await ask(url, use, max_concurrency=limit)
        assert [result.record.id for result in results] == [f"r-{number}" for number in range(24)]
        return peak

    assert asyncio.run(scenario()) == limit


def test_reads_and_creations_share_one_limit(raw_api, reply, ask):
    async def scenario():
        now, peak = 0, 0

        async def respond(request):
            nonlocal now, peak
            now += 1
            peak = max(peak, now)
            for _ in range(50):
                await asyncio.sleep(0)
            now -= 1
            return reply(200, [] if request.method == "GET" else {"id": "c-1"})

        async def use(client):
            calls = [call(client) for call in (create, lambda c: c.get_crm_fields()) * 6]
            await asyncio.gather(*calls)

        async with raw_api(respond) as url:
            await ask(url, use, max_concurrency=2)
        return peak

    assert asyncio.run(scenario()) == 2


def test_one_429_holds_all_creations_back(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(429, {"Retry-After": "30"}), path=CREATE))

    async def use(client):
        cases = [new_case({"ref": f"r-{number}"}) for number in range(10)]
        return await asyncio.gather(*(client.create_case(case) for case in cases))

    results = asyncio.run(ask(sandbox.url, use, max_concurrency=4))
    assert {result.effect for result in results} == {APPLIED}
    assert len(creations(sandbox)) == 11
    assert len(sandbox.store.ids) == 60
    assert max(fake_time.slept) >= 30


def test_what_one_creation_met_does_not_touch_the_others(sandbox, ask):
    for number, action in enumerate((Drop(), Status(500), Truncate(), Status(401), Html())):
        sandbox.faults.append(Fault(action, path=CREATE, skip=number))

    async def use(client):
        cases = [new_case({"ref": f"r-{number}"}) for number in range(20)]
        return await asyncio.gather(*(client.create_case(case) for case in cases))

    results = asyncio.run(ask(sandbox.url, use, max_concurrency=5))
    effects = [result.effect for result in results]
    assert (effects.count(AMBIGUOUS), effects.count(APPLIED)) == (4, 16)
    assert len(creations(sandbox)) == 21  # the one that got a 401 twice
    for number, result in enumerate(results):
        held = sandbox.store.listing(ref=f"r-{number}")
        assert len(held) <= 1
        if result.effect is APPLIED:
            assert held == [result.record.id]


# -- cancelled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 2])
def test_a_cancelled_creation_gives_its_slot_and_its_turn_back(slots, raw_api, reply, ask):
    async def scenario():
        arrived = asyncio.Event()
        refs = []

        async def respond(request):
            refs.append(json.loads(request.body)["ref"])
            if refs[-1].startswith("stuck"):
                if refs[-1] == f"stuck-{slots - 1}":
                    arrived.set()
                await asyncio.sleep(60)
            return reply(200, {"id": "c-1"}, x_ratelimit_remaining="9")

        async def use(client):
            def begin(ref):
                return asyncio.create_task(client.create_case(new_case({"ref": ref})))

            await begin("first")
            stuck = [begin(f"stuck-{number}") for number in range(slots)]
            await asyncio.wait_for(arrived.wait(), 5)
            queued = begin("queued")
            await asyncio.sleep(0)
            for task in (*stuck, queued):
                task.cancel()
            ended = await asyncio.gather(*stuck, queued, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in ended)
            after = [begin(f"after-{number}") for number in range(2 * slots)]
            return await asyncio.wait_for(asyncio.gather(*after), 5)

        async with raw_api(respond) as url:
            results = await ask(url, use, max_concurrency=slots)
        assert {result.effect for result in results} == {APPLIED}
        assert "queued" not in refs
        assert len(refs) == len(set(refs)) == 1 + slots + 2 * slots

    asyncio.run(scenario())


def test_a_cancelled_creation_leaves_the_gate_of_the_rate_open(raw_api, reply, ask):
    async def scenario():
        arrived = asyncio.Event()

        async def respond(request):
            if json.loads(request.body)["ref"] == "stuck":
                arrived.set()
                await asyncio.sleep(60)
            return reply(200, {"id": "c-1"}, x_ratelimit_remaining="0")

        async def use(client):
            await client.create_case(new_case({"ref": "first"}))  # now only one may ask at a time
            stuck = asyncio.create_task(client.create_case(new_case({"ref": "stuck"})))
            await asyncio.wait_for(arrived.wait(), 5)
            waiting = asyncio.create_task(client.create_case(new_case({"ref": "waiting"})))
            await asyncio.sleep(0)
            stuck.cancel()
            return await asyncio.wait_for(waiting, 5)

        async with raw_api(respond) as url:
            return await ask(url, use, max_concurrency=4)

    assert asyncio.run(scenario()).effect is APPLIED


@pytest.mark.parametrize("end", [reset, close])
def test_a_lost_answer_leaves_the_gate_of_the_rate_open(end, raw_api, reply, ask):
    async def scenario():
        def respond(request):
            if json.loads(request.body)["ref"] == "lost":
                return end(request)
            return reply(200, {"id": "c-1"}, x_ratelimit_remaining="0")

        async def use(client):
            await client.create_case(new_case({"ref": "first"}))
            cases = [new_case({"ref": ref}) for ref in ("lost", "lost", "then")]
            return await asyncio.wait_for(asyncio.gather(*map(client.create_case, cases)), 5)

        async with raw_api(respond) as url:
            return await ask(url, use, max_concurrency=3)

    effects = [result.effect for result in asyncio.run(scenario())]
    assert effects == [AMBIGUOUS, AMBIGUOUS, APPLIED]


# -- TLS that breaks after the request ---------------------------------------------------------


@pytest.mark.parametrize(
    "below_tls",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x17\x03\x03\x00\x20" + b"x" * 32,
        b"\x15\x03\x03\x00\x02\x02\x28",
    ],
    ids=["plain HTTP", "a broken record", "an alert in plain"],
)
def test_an_encryption_that_breaks_after_the_request_is_ambiguous(
    below_tls, certificate, monkeypatch, raw_server, ask, sandbox
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen = []

    async def respond(request):
        seen.append(request)
        number = os.dup(request.writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=number) as below:
            below.send(below_tls)
        await asyncio.sleep(60)

    async def scenario():
        async with raw_server(respond, context) as url:
            return await ask(url, create, token_url=f"{sandbox.url}/oauth/token")

    assert asyncio.run(scenario()) == WriteResult(AMBIGUOUS, "answer_lost")
    assert len(seen) == 1


def test_a_certificate_this_machine_does_not_trust_means_that_nothing_was_sent(
    certificate, raw_server, ask, sandbox
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen = []

    async def scenario():
        async with raw_server(seen.append, context) as url:
            return await ask(url, create, token_url=f"{sandbox.url}/oauth/token")

    assert asyncio.run(scenario()) == WriteResult(Effect.NOT_APPLIED, "unreachable")
    assert seen == []


# -- what nobody may read ----------------------------------------------------------------------

WORDS = '{"message": "Mrs Okafor is known", "errors": {"ref": ["WS-CANARY-1 is taken"]}}'


@pytest.mark.parametrize(
    "action",
    [
        *(Status(status, body=WORDS) for status in (200, 302, 400, 401, 404, 422, 500, 503)),
        Status(429, {"Retry-After": "86400"}, WORDS),
        Status(200, body="<h1>Okafor</h1>"),
        Drop(),
        Applied(Drop()),
        Truncate(),
        Truncate(announced=False),
        Html(),
        None,
    ],
    ids=repr,
)
def test_no_error_no_log_and_no_result_shows_the_case_or_a_secret(action, sandbox, ask, caplog):
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    if action:
        sandbox.faults.append(Fault(action, path=CREATE, times=None))
    try:
        shown = repr(asyncio.run(ask(sandbox.url, create)))
    except WillSuiteError as error:
        # `limit=0`: the lines of code, of which some are this test's, are no part of it
        shown = "".join(traceback.format_exception(error, limit=0)) + repr(error)
    logging.getLogger("control").debug("the net is out")
    text = shown + caplog.text
    assert "the net is out" in text
    assert creations(sandbox)
    assert [word for word in CANARIES if word in text] == []
    assert CLIENT_SECRET not in text
    assert not any(token in text for token in sandbox.tokens)


def test_a_server_out_of_reach_is_logged_without_the_case(ask, unused_tcp_port, sandbox, caplog):
    caplog.set_level(logging.DEBUG)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    result = asyncio.run(ask(url, create, token_url=f"{sandbox.url}/oauth/token"))
    text = repr(result) + caplog.text
    assert [word for word in CANARIES if word in text] == []


def test_every_attempt_sends_the_same_body(sandbox, ask):
    sandbox.faults.append(Fault(Status(429), path=CREATE, times=2))
    asyncio.run(ask(sandbox.url, create))
    assert creations(sandbox) == [msgspec.json.encode(CASE)] * 3
