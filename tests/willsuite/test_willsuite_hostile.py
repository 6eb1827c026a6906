"""Servers that are broken or mean it: bodies without end, bombs, numbers of any length, odd ids."""

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

from willsuite import Effect, NewCase, WillSuiteClient, new_appointment
from willsuite.client import MAX_ODD_ANSWERS
from willsuite.decoding import MAX_COUNT, decode_page
from willsuite.errors import (
    AuthenticationError,
    ConfigurationError,
    ContractError,
    NotJsonError,
    RateLimitedError,
    TokenUnavailableError,
    TooLongError,
    WillSuiteError,
)
from willsuite.retrying import MAX_ATTEMPTS, MAX_RETRY_AFTER_SECONDS
from willsuite.session import MAX_REJECTED_TOKENS

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "9" * 5000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CASE = {"id": "c-1", "ref": "R-1"}
NEW = NewCase(ref="R-1")


def page(*cases, **around):
    return {"data": list(cases), "per_page": 100, "last_page": 1, "total": len(cases), **around}


def bomb(encoding="gzip", megabytes=64, beginning=b"["):
    """White space for ever: valid JSON if it ever ended."""
    window = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "bare": -zlib.MAX_WBITS}
    packer = zlib.compressobj(1, wbits=window[encoding])
    packed = packer.compress(beginning)
    for _ in range(megabytes):
        packed += packer.compress(b" " * 1_000_000)
    return packed + packer.flush()


async def endless(request):
    request.writer.write(HEAD + b"\r\n[")
    with contextlib.suppress(ConnectionError):
        while True:
            request.writer.write(b" " * 65_536)
            await request.writer.drain()


async def endless_in_crumbs(request):
    request.writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            request.writer.write(b"1\r\n \r\n" * 10_000)
            await request.writer.drain()


def announced_endless(request):
    request.writer.write(HEAD + b"content-length: 999999999999\r\n\r\n" + b" " * 2_000_000)
    return b""


def packed(encoding, reply):
    name = "deflate" if encoding == "bare" else encoding
    body = bomb(encoding)
    return lambda _: reply(200, body, content_encoding=name)


# -- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("respond", [endless, endless_in_crumbs, announced_endless])
def test_a_body_without_end_is_given_up_with_one_sentence(respond, sent):
    _, error = sent(respond, lambda client: client.get_case("c-1"), max_body_mb=0.02)
    assert isinstance(error, TooLongError)
    assert "answered with more than 0.02 MB" in str(error)
    assert "WILLSUITE_MAX_BODY_MB" in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "bare"])
def test_a_body_that_unpacks_to_more_than_the_bound_is_given_up(encoding, sent, reply):
    respond = packed(encoding, reply)
    _, error = sent(respond, lambda client: client.get_cases_page(1), max_body_mb=1)
    assert isinstance(error, TooLongError)


@pytest.mark.parametrize("respond", [endless, "bomb"])
def test_an_answer_without_end_to_a_write_leaves_open_whether_it_was_carried_out(
    respond, sent, reply
):
    respond = packed("gzip", reply) if respond == "bomb" else respond
    seen, result = sent(respond, lambda client: client.create_case(NEW), max_body_mb=1)
    assert (result.effect, result.code) == (Effect.AMBIGUOUS, "unreadable")
    assert len(seen) == 1


def test_the_connection_of_a_body_without_end_is_closed_and_the_next_request_gets_its_answer(
    raw_api, reply, ask
):
    closed = []

    async def respond(request):
        if request.target == "/cases/long":
            await endless(request)
            closed.append(request.writer.is_closing())
            return None
        return reply(200, CASE)

    async def scenario():
        async def use(client):
            with pytest.raises(TooLongError):
                await client.get_case("long")
            return await client.get_case("c-1")

        async with raw_api(respond) as url:
            return await ask_of(ask, url, use)

    assert asyncio.run(scenario()).id == "c-1"
    assert closed == [True] * MAX_ODD_ANSWERS


async def ask_of(ask, url, use):
    return await asyncio.to_thread(ask, url, use, max_body_mb=1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "bare", "GZIP"])
def test_a_packed_body_within_the_bound_is_read(encoding, sent, reply):
    window = {"deflate": zlib.MAX_WBITS, "bare": -zlib.MAX_WBITS}.get(encoding, 31)
    packer = zlib.compressobj(wbits=window)
    body = packer.compress(json.dumps(CASE).encode()) + packer.flush()
    name = "deflate" if encoding == "bare" else encoding
    _, case = sent(
        lambda _: reply(200, body, content_encoding=name), lambda client: client.get_case("c-1")
    )
    assert case.id == "c-1"


def test_only_what_can_be_unpacked_within_bounds_is_asked_for(sent, reply):
    (request, *_), _ = sent(lambda _: reply(200, CASE), lambda client: client.get_case("c-1"))
    assert request.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_a_body_packed_as_nobody_asked_is_no_json(encoding, sent, reply):
    body = gzip.compress(gzip.compress(b"[]"))
    _, error = sent(
        lambda _: reply(200, body, content_encoding=encoding), lambda client: client.get_case("c-1")
    )
    assert isinstance(error, NotJsonError)


READER = """
    import asyncio, resource, sys
    from willsuite import WillSuiteClient, load_settings
    from willsuite.errors import WillSuiteError

    async def run(path):
        settings = load_settings(base_url=sys.argv[1], client_id="a", client_secret="b")
        async with WillSuiteClient(settings) as client:
            try:
                await client.get_case(path)
            except WillSuiteError as error:
                return type(error).__name__

    def peak_mb():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    print(asyncio.run(run("small")), before := peak_mb())
    print(asyncio.run(run(sys.argv[2])), peak_mb() - before)
"""


@pytest.mark.parametrize("kind", ["endless", "bomb"])
def test_memory_stays_flat_whatever_a_body_holds(kind, raw_api, reply):
    body = bomb(megabytes=250) if kind == "bomb" else b""

    async def respond(request):
        if request.target == "/cases/small":
            return reply(200, CASE)
        if kind == "endless":
            return await endless(request)
        return reply(200, body, content_encoding="gzip")

    async def scenario():
        async with raw_api(respond) as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", textwrap.dedent(READER), url, kind, stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            out, _ = await process.communicate()
            return out.decode().split()

    _, _, error, grown_mb = asyncio.run(scenario())
    assert error == "TooLongError"
    assert float(grown_mb) < 100  # the bound, as it comes and unpacked, and not 250 and more


# -- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["x_ratelimit_remaining", "x_ratelimit_reset", "x_ratelimit_limit"]
)
@pytest.mark.parametrize("value", [DIGITS, "-" + DIGITS, "0" * 5000, "1e999", "٣", "²"])
def test_a_number_of_any_length_in_a_header_of_the_rate_ends_nothing(name, value, sent, reply):
    _, case = sent(lambda _: raw_header(reply, name, value), lambda client: client.get_case("c-1"))
    assert case.id == "c-1"


def raw_header(reply, name, value):
    return reply(200, CASE).replace(
        b"\r\n\r\n", f"\r\n{name.replace('_', '-')}: ".encode() + value.encode() + b"\r\n\r\n", 1
    )


def test_a_length_that_no_body_has_is_an_error_of_ours(sent):
    _, error = sent(
        lambda _: HEAD + f"content-length: {DIGITS}\r\n\r\n".encode(),
        lambda client: client.get_case("c-1"),
    )
    assert isinstance(error, WillSuiteError)


def test_a_retry_after_of_any_length_ends_the_run_with_a_sentence(sent, reply):
    _, error = sent(lambda _: reply(429, retry_after=DIGITS), lambda client: client.get_case("c-1"))
    assert isinstance(error, RateLimitedError)
    assert len(str(error)) < 200


@pytest.mark.parametrize("value", [2**70, MAX_COUNT + 1, -1, -(2**70), str(2**70), DIGITS, 1e300])
@pytest.mark.parametrize("surprise", [{}, {"surprise": 1}], ids=["fast", "lenient"])
def test_a_count_that_no_account_has_is_none(value, surprise):
    body = page(CASE | surprise, total=value, last_page=value, per_page=value)
    read = decode_page(json.dumps(body).encode(), page=1, server_date=None, fetch_number=1)
    assert (read.total, read.last_page, read.per_page) == (None, None, None)
    assert [case.id for case in read.cases] == ["c-1"]


@pytest.mark.parametrize("name", ["total", "last_page", "per_page", "current_page", "surprise"])
@pytest.mark.parametrize("number", [DIGITS, f"-{DIGITS}", "1e999", f"{DIGITS}.5"])
def test_a_number_of_any_length_in_a_page_is_read_over_or_said_in_a_sentence(name, number):
    body = json.dumps(page(CASE, **{name: "NUMBER"})).replace('"NUMBER"', number)
    with contextlib.suppress(NotJsonError):
        decode_page(body.encode(), page=1, server_date=None, fetch_number=1)


# -- one odd answer ----------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [None, [], "x", {"data": None}, page({"ref": "no id"})])
def test_one_page_that_is_none_is_asked_for_again(odd, sent, reply):
    answers = [reply(200, odd), reply(200, page(CASE))]
    seen, read = sent(lambda _: answers.pop(0), lambda client: client.get_cases_page(1))
    assert [case.id for case in read.cases] == ["c-1"]
    assert len(seen) == 2


def test_a_page_that_is_never_one_is_asked_for_a_few_times(sent, reply):
    seen, error = sent(
        lambda _: reply(200, {"data": None}), lambda client: client.get_cases_page(1)
    )
    assert isinstance(error, ContractError)
    assert len(seen) == MAX_ODD_ANSWERS


# -- tokens ------------------------------------------------------------------------------------


@pytest.fixture
def with_tokens(raw_server, reply, settings_for, fake_time):
    """`with_tokens(answer)`: how many tokens were asked for, what was said meanwhile, the end."""

    def run(answer, case_answer=(200, CASE)):
        asked, said = [], []

        async def respond(request):
            if request.target != "/oauth/token":
                return reply(*case_answer)
            asked.append(request)
            made = answer(request)
            return await made if asyncio.iscoroutine(made) else made

        async def scenario():
            async with (
                raw_server(respond) as url,
                WillSuiteClient(
                    settings_for(url),
                    clock=fake_time.clock,
                    sleep=fake_time.sleep,
                    say=said.append,
                ) as client,
            ):
                return await client.get_case("c-1")

        try:
            end = asyncio.run(scenario())
        except WillSuiteError as error:
            end = error
        return len(asked), said, end

    return run


def test_a_token_endpoint_that_answers_html_is_given_up_after_a_few_attempts(with_tokens, reply):
    asked, said, error = with_tokens(lambda _: reply(200, b"<html>Please log in</html>"))
    assert isinstance(error, TokenUnavailableError)
    assert "something else than a JSON object" in str(error)
    assert asked == MAX_ATTEMPTS
    assert len(said) == MAX_ATTEMPTS - 1


@pytest.mark.parametrize("lifetime", [0, -1, -(2**70), "-5", 1e-9, float(10**300), "nan", "x", []])
def test_a_token_whose_lifetime_makes_no_sense_is_used(lifetime, with_tokens, reply):
    body = {"access_token": "t", "expires_in": lifetime}
    asked, _, case = with_tokens(lambda _: reply(200, body))
    assert case.id == "c-1"
    assert asked == 1


def test_a_token_that_lives_for_a_number_of_any_length_is_used_or_refused(with_tokens, reply):
    body = b'{"access_token": "t", "expires_in": ' + DIGITS.encode() + b"}"
    asked, _, end = with_tokens(lambda _: reply(200, body))
    assert isinstance(end, TokenUnavailableError)
    assert asked == MAX_ATTEMPTS


def test_tokens_without_lifetime_that_are_all_refused_end_it(with_tokens, reply):
    body = {"access_token": "t", "expires_in": 0}
    asked, _, error = with_tokens(lambda _: reply(200, body), (401, {}))
    assert isinstance(error, AuthenticationError)
    assert asked == MAX_REJECTED_TOKENS


def test_a_token_endpoint_that_asks_for_a_long_wait_ends_it_at_once(with_tokens, reply, fake_time):
    asked, said, error = with_tokens(lambda _: reply(429, retry_after=DIGITS))
    assert isinstance(error, TokenUnavailableError)
    assert f"longer wait than the {MAX_RETRY_AFTER_SECONDS:.0f} seconds" in str(error)
    assert len(str(error)) < 250
    assert (asked, said, fake_time.slept) == (1, [], [])


def test_while_a_token_is_waited_for_it_is_said(with_tokens, reply):
    answers = [reply(429, retry_after="60"), reply(200, {"access_token": "t"})]
    _, said, case = with_tokens(lambda _: answers.pop(0))
    assert case.id == "c-1"
    (line,) = said
    assert "limits the rate (429)" in line
    assert "Asking again in 60 seconds" in line


@pytest.mark.parametrize("kind", ["endless", "bomb"])
def test_a_token_without_end_is_given_up(kind, with_tokens, reply):
    answer = endless if kind == "endless" else packed("gzip", reply)
    asked, _, error = with_tokens(answer)
    assert isinstance(error, ConfigurationError)
    assert "far more than a token" in str(error)
    assert asked == 1


# -- ids ---------------------------------------------------------------------------------------

ODD_IDS = ["../..", "a/b", "a b", ".", "c-1?x=1", "%2e%2e", "x" * 65, "ä", "c-1\n"]


@pytest.mark.parametrize("odd", ODD_IDS)
def test_a_made_case_with_an_id_that_is_none_may_or_may_not_be_made(odd, sent, reply):
    _, result = sent(lambda _: reply(201, {"id": odd}), lambda client: client.create_case(NEW))
    assert (result.effect, result.record) == (Effect.AMBIGUOUS, None)


@pytest.mark.parametrize("odd", ODD_IDS)
def test_a_made_appointment_with_an_id_that_is_none_may_or_may_not_be_made(odd, sent, reply):
    body = new_appointment(
        {
            "adviser_email": "a@example.org",
            "start_time": "2026-12-01 09:00:00",
            "end_time": "2026-12-01 10:00:00",
        }
    )
    _, result = sent(
        lambda _: reply(201, {"id": odd}), lambda client: client.create_appointment("c-1", body)
    )
    assert (result.effect, result.record) == (Effect.AMBIGUOUS, None)
