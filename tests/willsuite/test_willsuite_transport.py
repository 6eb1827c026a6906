"""One request over a real socket: what arrives, what is lost, and what is never sent."""

import asyncio
import contextlib
import gzip
import logging
import socket
import ssl
import struct
import traceback
from urllib.parse import parse_qsl

import pytest

from willsuite.errors import AnswerLostError, UnreachableError
from willsuite.transport import Transport

POSTCODE = "QX9 9ZZ"


async def send(url, *, path="/cases", method="GET", timeout_seconds=5.0, **details):
    async with Transport(url, timeout_seconds=timeout_seconds) as transport:
        return await transport.send(method, path, headers={}, **details)


def run(raw_server, respond, **details):
    async def scenario():
        async with raw_server(respond) as url:
            return await send(url, **details)

    return asyncio.run(scenario())


def test_an_answer_is_its_status_its_headers_and_its_body(raw_server, reply):
    answer = run(raw_server, lambda _: reply(418, b"body", X_Thing="value"))
    assert (answer.status, answer.body) == (418, b"body")
    assert answer.headers.get("x-thing") == "value"
    assert answer.headers.get("content-type") == "application/json"


def test_path_query_and_content_arrive_as_they_were_given(raw_server, reply):
    seen = []

    def respond(request):
        seen.append(request)
        return reply(200)

    async def scenario():
        async with raw_server(respond) as url:
            await send(
                f"{url}/engine/api",
                method="POST",
                params={"postcode": POSTCODE, "ref": "a&b=c", "page": 2},
                content=b"{}",
            )

    asyncio.run(scenario())
    (request,) = seen
    assert request.method == "POST"
    path, _, query = request.target.partition("?")
    assert path == "/engine/api/cases"
    assert parse_qsl(query) == [("postcode", POSTCODE), ("ref", "a&b=c"), ("page", "2")]
    assert request.body == b"{}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_is_handed_back_and_not_followed(status, method, raw_server, reply):
    async def scenario():
        elsewhere = []
        async with raw_server(elsewhere.append) as other:

            def respond(_request):
                return reply(status, location=f"{other}/cases")

            async with raw_server(respond) as url:
                answer = await send(url, method=method)
        assert answer.status == status
        assert elsewhere == []

    asyncio.run(scenario())


@pytest.mark.parametrize("location", ["", "//", "http://[", "http://a:99999/"])
def test_a_redirect_to_an_address_that_is_none_is_still_a_redirect(location, raw_server, reply):
    assert run(raw_server, lambda _: reply(302, location=location)).status == 302


@pytest.mark.parametrize(
    "path",
    [
        "cases",
        "@elsewhere.example/cases",
        ".elsewhere.example/cases",
        ":80/cases",
        "http://elsewhere.example/cases",
        "//elsewhere.example/cases",
        "/cases/../../admin",
        "/cases/..",
        "/cases/%2e%2e/admin",
        "/cases/a%2Fb",
        "/cases//a",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_never_sent(path, raw_server, reply):
    seen = []

    def respond(request):
        seen.append(request)
        return reply(200)

    with pytest.raises(ValueError, match="path"):
        run(raw_server, respond, path=path)
    assert seen == []


def test_the_deadline_covers_a_body_that_drips(raw_server):
    async def respond(request):
        request.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                request.writer.write(b" ")
                await request.writer.drain()
                await asyncio.sleep(0.01)

    with pytest.raises(AnswerLostError, match=r"did not answer within 0\.15 seconds"):
        run(raw_server, respond, timeout_seconds=0.15)


def test_a_server_that_stays_silent_is_given_up_at_the_deadline(raw_server):
    async def respond(_request):
        await asyncio.sleep(60)

    with pytest.raises(AnswerLostError, match="did not answer"):
        run(raw_server, respond, timeout_seconds=0.1)


def test_after_a_deadline_the_next_request_gets_its_own_answer(raw_server, reply):
    async def scenario():
        next_one_came = asyncio.Event()

        async def respond(request):
            if request.target == "/slow":
                await next_one_came.wait()
            else:
                next_one_came.set()
                await asyncio.sleep(0.02)
            return reply(200, request.target.encode())

        async with (
            raw_server(respond) as url,
            Transport(url, timeout_seconds=0.25) as transport,
        ):
            with pytest.raises(AnswerLostError):
                await transport.send("GET", "/slow", headers={})
            return await transport.send("GET", "/quick", headers={})

    assert asyncio.run(scenario()).body == b"/quick"


def test_a_refused_connection_was_certainly_not_a_request(unused_tcp_port):
    with pytest.raises(UnreachableError, match="the connection was refused") as raised:
        asyncio.run(send(f"http://127.0.0.1:{unused_tcp_port}"))
    assert f"127.0.0.1:{unused_tcp_port}" in str(raised.value)


def reset(request):
    linger = struct.pack("ii", 1, 0)  # close with a reset instead of an end
    sock = request.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.writer.transport.abort()


def close(_request):
    return None


def cut_headers(request):
    request.writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")


def cut_body(request):
    request.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{")


def cut_chunks(request):
    request.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[1,2\r\n")


def nonsense(request):
    request.writer.write(b"220 mail.example.org ESMTP\r\n\r\n")


def broken_gzip(request):
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n"
    request.writer.write(head + b"nope")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "respond", [reset, close, cut_headers, cut_body, cut_chunks, nonsense, broken_gzip]
)
def test_after_sending_whatever_breaks_the_answer_makes_it_lost(method, respond, raw_server):
    with pytest.raises(AnswerLostError):
        run(raw_server, respond, method=method)


def test_a_cut_body_of_unannounced_length_looks_whole_and_is_left_to_the_decoder(raw_server):
    def respond(request):
        request.writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"data": [')

    answer = run(raw_server, respond)
    assert (answer.status, answer.body) == (200, b'{"data": [')


def test_a_compressed_body_is_handed_over_plain(raw_server, reply):
    packed = reply(200, gzip.compress(b'{"data": []}'), content_encoding="gzip")
    assert run(raw_server, lambda _: packed).body == b'{"data": []}'


def test_an_error_names_the_host_and_neither_the_query_nor_the_cause(raw_server):
    with pytest.raises(AnswerLostError) as raised:
        run(raw_server, reset, params={"postcode": POSTCODE})
    text = "".join(traceback.format_exception(raised.value))
    assert "127.0.0.1" in text
    for form in (POSTCODE, "QX9+9ZZ", "QX9%209ZZ"):
        assert form not in text.replace("POSTCODE", "")


def test_no_log_at_any_level_holds_the_query(raw_server, reply, caplog):
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    run(raw_server, lambda _: reply(200), params={"postcode": POSTCODE})
    with pytest.raises(AnswerLostError):
        run(raw_server, reset, params={"postcode": POSTCODE})
    logging.getLogger("control").debug("the net is out")
    assert "the net is out" in caplog.text
    assert "QX9" not in caplog.text
    assert "9ZZ" not in caplog.text


def test_proxies_and_passwords_of_the_environment_are_not_used(
    raw_server, reply, monkeypatch, tmp_path, unused_tcp_port
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password leaked\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen = []

    def respond(request):
        seen.append(request)
        return reply(200)

    assert run(raw_server, respond).status == 200
    assert "authorization" not in seen[0].headers


def test_requests_one_after_another_share_a_connection(raw_server, reply):
    peers = []

    def respond(request):
        peers.append(request.writer.get_extra_info("peername"))
        return reply(200)

    async def scenario():
        async with raw_server(respond) as url, Transport(url, timeout_seconds=5) as transport:
            for _ in range(5):
                await transport.send("GET", "/cases", headers={})

    asyncio.run(scenario())
    assert len(peers) == 5
    assert len(set(peers)) == 1


def test_requests_at_once_do_not_wait_for_each_other(raw_server, reply):
    async def scenario():
        all_here = asyncio.Barrier(12)

        async def respond(_request):
            await all_here.wait()
            return reply(200)

        async with raw_server(respond) as url, Transport(url, timeout_seconds=5) as transport:
            sends = (transport.send("GET", "/cases", headers={}) for _ in range(12))
            return [answer.status for answer in await asyncio.gather(*sends)]

    assert asyncio.run(scenario()) == [200] * 12


# -- TLS ---------------------------------------------------------------------------------------


def https(raw_server, reply, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen = []

    def respond(request):
        seen.append(request)
        return reply(200, b"safe")

    async def scenario():
        async with raw_server(respond, context) as url:
            return await send(url)

    return scenario, seen


def test_a_certificate_this_machine_does_not_trust_ends_it_before_anything_is_sent(
    raw_server, reply, certificate
):
    scenario, seen = https(raw_server, reply, certificate)
    with pytest.raises(UnreachableError, match="certificate is not trusted"):
        asyncio.run(scenario())
    assert seen == []


def test_ssl_cert_file_names_another_authority_to_trust(
    raw_server, reply, certificate, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    scenario, seen = https(raw_server, reply, certificate)
    assert asyncio.run(scenario()).body == b"safe"
    assert len(seen) == 1


def test_https_to_a_server_that_speaks_http_is_unreachable():
    async def scenario():
        async def greet(_reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await send(f"https://127.0.0.1:{port}")

    with pytest.raises(UnreachableError, match="no TLS connection"):
        asyncio.run(scenario())
