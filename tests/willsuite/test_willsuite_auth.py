"""Where the token comes from, how often it is fetched, and how its refusal reads."""

import asyncio
import json
import traceback

import pytest
from pydantic import SecretStr

from willsuite.auth import TokenSource
from willsuite.errors import (
    AuthenticationError,
    ConfigurationError,
    ContractError,
    TokenUnavailableError,
    WillSuiteError,
)
from willsuite.retrying import MAX_ATTEMPTS
from willsuite.transport import Transport

SECRET = "s3cr3t-value"


def granted(reply, **fields):
    return reply(200, {"token_type": "Bearer", "access_token": "t-1", **fields})


async def ask(raw_server, time, respond, use=None):
    """Serve `respond`, and run `use(source)` or just ask for one token."""
    async with (
        raw_server(respond) as url,
        Transport(url + "/oauth/token", timeout_seconds=5) as transport,
    ):
        source = TokenSource(
            transport, "someone", SecretStr(SECRET), clock=time.clock, sleep=time.sleep
        )
        return await (use(source) if use else source.token())


def test_the_token_is_asked_for_with_a_json_body(raw_server, reply, fake_time):
    seen = []

    def respond(request):
        seen.append(request)
        return granted(reply)

    assert asyncio.run(ask(raw_server, fake_time, respond)) == "t-1"
    (request,) = seen
    assert (request.method, request.target) == ("POST", "/oauth/token")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert "authorization" not in request.headers
    assert json.loads(request.body) == {
        "grant_type": "client_credentials",
        "client_id": "someone",
        "client_secret": SECRET,
    }


def counted(reply, **fields):
    """A respond function that gives t-1, t-2, ... and the list of what it gave."""
    given = []

    def respond(_request):
        given.append(f"t-{len(given) + 1}")
        return granted(reply, access_token=given[-1], **fields)

    return respond, given


def test_a_token_is_kept_until_nine_tenths_of_its_lifetime(raw_server, reply, fake_time):
    respond, given = counted(reply, expires_in=1000)

    async def use(source):
        assert await source.token() == "t-1"
        fake_time.now += 899
        assert await source.token() == "t-1"
        fake_time.now += 2
        assert await source.token() == "t-2"
        assert await source.token() == "t-2"

    asyncio.run(ask(raw_server, fake_time, respond, use))
    assert len(given) == 2


@pytest.mark.parametrize(
    "expires_in",
    [None, 0, -5, "", "soon", "nan", [], [60], {}, "Infinity", pytest.param(10**400, id="huge")],
)
def test_without_a_usable_lifetime_the_token_is_kept_until_it_is_refused(
    expires_in, raw_server, reply, fake_time
):
    respond, given = counted(reply, expires_in=expires_in)

    async def use(source):
        await source.token()
        fake_time.now += 10**9
        return await source.token()

    assert asyncio.run(ask(raw_server, fake_time, respond, use)) == "t-1"
    assert given == ["t-1"]


def test_a_lifetime_written_as_text_is_read(raw_server, reply, fake_time):
    respond, _ = counted(reply, expires_in="1000")

    async def use(source):
        await source.token()
        fake_time.now += 901
        return await source.token()

    assert asyncio.run(ask(raw_server, fake_time, respond, use)) == "t-2"


def test_an_answer_without_a_lifetime_is_accepted(raw_server, reply, fake_time):
    body = {"access_token": "t-1"}
    assert asyncio.run(ask(raw_server, fake_time, lambda _: reply(201, body))) == "t-1"


def test_twenty_callers_at_once_make_one_token_request(raw_server, reply, fake_time):
    respond, given = counted(reply, expires_in=1000)

    async def use(source):
        tokens = await asyncio.gather(*(source.token() for _ in range(20)))
        assert set(tokens) == {"t-1"}
        replaced = (source.token(instead_of="t-1") for _ in range(20))
        assert set(await asyncio.gather(*replaced)) == {"t-2"}

    asyncio.run(ask(raw_server, fake_time, respond, use))
    assert given == ["t-1", "t-2"]


def test_a_token_that_was_already_replaced_is_not_replaced_again(raw_server, reply, fake_time):
    respond, given = counted(reply)

    async def use(source):
        await source.token()
        await source.token(instead_of="t-1")
        return await source.token(instead_of="t-1")

    assert asyncio.run(ask(raw_server, fake_time, respond, use)) == "t-2"
    assert len(given) == 2


def test_a_caller_cancelled_while_fetching_leaves_the_way_free(raw_server, reply, fake_time):
    async def scenario():
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def respond(_request):
            arrived.set()
            await go_on.wait()
            return granted(reply)

        async def use(source):
            first = asyncio.create_task(source.token())
            second = asyncio.create_task(source.token())
            await arrived.wait()
            first.cancel()
            go_on.set()
            return await second

        return await ask(raw_server, fake_time, respond, use)

    assert asyncio.run(scenario()) == "t-1"


def failure(raw_server, time, answer) -> tuple[WillSuiteError, int]:
    count = []

    def respond(_request):
        count.append(1)
        return answer

    with pytest.raises(WillSuiteError) as raised:
        asyncio.run(ask(raw_server, time, respond))
    return raised.value, len(count)


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (401, {"error": "invalid_client", "message": f"no client {SECRET}"}, "invalid_client"),
        (400, {"error": "unsupported_grant_type"}, "unsupported_grant_type"),
        (400, {"error": f"odd {SECRET}"}, "status 400"),
        (403, {"message": SECRET}, "status 403"),
        (401, [SECRET], "status 401"),
        (401, {"error": None}, "status 401"),
        (401, {"error": {"code": "invalid_client"}}, "status 401"),
        (401, {"error": ["invalid_client"]}, "status 401"),
        (401, b"<p>Unauthorized</p>", "status 401"),
        (401, b"", "status 401"),
        (422, {"message": "The given data was invalid."}, "status 422"),
    ],
)
def test_refused_credentials_end_at_once_and_no_secret_is_repeated(
    status, body, named, raw_server, reply, fake_time
):
    error, requests = failure(raw_server, fake_time, reply(status, body))
    assert type(error) is AuthenticationError
    assert named in str(error)
    assert "WILLSUITE_CLIENT_ID" in str(error)
    assert requests == 1
    assert fake_time.slept == []
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("status", [404, 405, 301, 302, 308])
def test_no_token_endpoint_at_the_address_is_a_matter_of_configuration(
    status, raw_server, reply, fake_time
):
    answer = reply(status, {"message": "Not found"}, location="https://elsewhere.example/login")
    error, requests = failure(raw_server, fake_time, answer)
    assert type(error) is ConfigurationError
    assert "WILLSUITE_TOKEN_URL" in str(error)
    assert f"status {status}" in str(error)
    assert requests == 1


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, {"message": "Server Error"}, "status 500"),
        (503, b"<h1>Maintenance</h1>", "status 503"),
        (429, {"message": "Too Many Attempts."}, "429"),
        (200, b"<!doctype html><title>Log in</title>", "JSON"),
        (200, b"", "JSON"),
        (200, b"[]", "JSON"),
        (200, b'{"access_token": "t-1', "JSON"),
        (200, b'{"access_token": "\xff"}', "JSON"),
        (200, b"[" * 100_000, "JSON"),
        pytest.param(200, b'{"a":' * 100_000, "JSON", id="nested"),
    ],
)
def test_a_token_endpoint_that_keeps_failing_is_asked_a_few_times(
    status, body, told, raw_server, reply, fake_time
):
    error, requests = failure(raw_server, fake_time, reply(status, body))
    assert type(error) is TokenUnavailableError
    assert told in str(error)
    assert requests == MAX_ATTEMPTS
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1
    assert min(fake_time.slept) > 0


def test_an_endpoint_that_recovers_gives_its_token(raw_server, reply, fake_time):
    answers = iter([reply(500), None, reply(503, retry_after="7"), granted(reply)])
    assert asyncio.run(ask(raw_server, fake_time, lambda _: next(answers))) == "t-1"
    assert len(fake_time.slept) == 3
    assert fake_time.slept[2] >= 7


def test_an_endpoint_that_refuses_connections_is_unavailable(fake_time, unused_tcp_port):
    async def scenario():
        url = f"http://127.0.0.1:{unused_tcp_port}/oauth/token"
        async with Transport(url, timeout_seconds=5) as transport:
            source = TokenSource(
                transport,
                "someone",
                SecretStr(SECRET),
                clock=fake_time.clock,
                sleep=fake_time.sleep,
            )
            await source.token()

    with pytest.raises(TokenUnavailableError, match="connection was refused"):
        asyncio.run(scenario())
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1


@pytest.mark.parametrize(
    "token", [None, "", 5, ["t"], "two\r\nlines", "tab\t", "żółć", pytest.param("\x00", id="nul")]
)
def test_an_answer_without_a_token_that_fits_a_header_is_a_broken_contract(
    token, raw_server, reply, fake_time
):
    error, requests = failure(raw_server, fake_time, granted(reply, access_token=token))
    assert type(error) is ContractError
    assert requests == 1


def test_the_secret_and_the_token_are_in_no_repr_of_the_source(raw_server, reply, fake_time):
    async def use(source):
        await source.token()
        return f"{source!r} {vars(source)['_client_secret']!r}"

    text = asyncio.run(ask(raw_server, fake_time, lambda _: granted(reply), use))
    assert SECRET not in text
    assert "t-1" not in text
