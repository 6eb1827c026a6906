"""A clean environment, a clock without waiting, and a server for what the sandbox can't do."""

import asyncio
import contextlib
import datetime
import heapq
import inspect
import ipaddress
import itertools
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running
from willsuite import Settings, WillSuiteClient, load_settings
from willsuite.errors import WillSuiteError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("WILLSUITE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class FakeTime:
    """A clock that only sleeping moves; `sleep` returns at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(0.0, seconds)
        await asyncio.sleep(0)


class SteppedTime:
    """A clock moved by the test: sleepers wake in their order while it moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self.now = end
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def stepped_time() -> SteppedTime:
    return SteppedTime()


@pytest.fixture
def sandbox():
    with running(Sandbox(Options(cases=50))) as server:
        yield server


@pytest.fixture
def settings_for() -> Callable[..., Settings]:
    def build(base_url: str, **overrides: Any) -> Settings:
        values = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **overrides}
        return load_settings(base_url=base_url, **values)

    return build


@dataclass(frozen=True)
class RawRequest:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter


def http_reply(status: int, body: Any = b"", **headers: str) -> bytes:
    """A response as bytes; `retry_after="3"` becomes the header `retry-after: 3`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-length": str(len(content)), "content-type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {fields[name]}" for name in fields)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


TOKEN_REPLY = http_reply(200, {"access_token": "raw-token", "expires_in": 3600})


@contextlib.asynccontextmanager
async def raw_serving(
    respond: Callable[[RawRequest], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server in this event loop; bytes that `respond` returns go out, None closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*ended):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split(" ")
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                answer = respond(RawRequest(method, target, headers, body, writer))
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
def raw_server():
    """`async with raw_server(respond) as url`: every request goes to `respond`."""
    return raw_serving


@pytest.fixture
def raw_api():
    """As `raw_server`, but token requests are answered by themselves."""

    def serving(respond: Callable[[RawRequest], Any]):
        def route(request: RawRequest) -> Any:
            return TOKEN_REPLY if request.target == "/oauth/token" else respond(request)

        return raw_serving(route)

    return serving


@pytest.fixture
def reply():
    return http_reply


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def ask(settings_for, fake_time):
    """`ask(url, use)`: what `use` makes of a client that never waits."""

    def asking(url, use, **settings):
        async def run():
            async with WillSuiteClient(
                settings_for(url, **settings), clock=fake_time.clock, sleep=fake_time.sleep
            ) as client:
                return await use(client)

        return asyncio.run(run())

    return asking


@pytest.fixture
def sent(raw_api, reply, settings_for, fake_time):
    """`sent(respond, use)`: the requests that arrive, and the result or the error."""

    def run(respond, use, **settings):
        seen = []

        def keep(request):
            if request.target == "/crm-fields":
                return reply(200, [])
            seen.append(request)
            return respond(request)

        async def scenario():
            async with (
                raw_api(keep) as url,
                WillSuiteClient(
                    settings_for(url, **settings), clock=fake_time.clock, sleep=fake_time.sleep
                ) as client,
            ):
                return await use(client)

        try:
            return seen, asyncio.run(scenario())
        except WillSuiteError as error:
            return seen, error

    return run


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
