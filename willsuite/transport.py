"""One request over HTTP: bytes out, bytes in. The only module that knows httpx.

Belongs here: connections, TLS, the bounds of one answer in time and bytes, and sorting what httpx
raises into "never arrived" (`UnreachableError`) and "may have arrived" (`AnswerLostError`).
Does not: retries, tokens, pacing or the meaning of a status.
"""

import asyncio
import logging
import socket
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from willsuite.errors import AnswerLostError, TooLongError, UnreachableError

# Idle connections are dropped before a server's own keep-alive ends: a request sent into a
# connection that the server is just closing has an unknown effect.
KEEPALIVE_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 10.0

# Unpacked here and not by httpx, which makes 1,000 bytes of each byte of a bomb before it tells.
_PACKED = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""What may be asked for, and its window as zlib wants it."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, lower-cased headers and the whole decoded body of one response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends to one origin only, that of `base_url`; redirects are never followed.

    TLS is verified against the operating system's trust store (`SSL_CERT_FILE` may name
    another), not against certifi, and proxies from the environment are not used. As many
    connections as `send`s at once: the caller bounds them.
    """

    def __init__(
        self, base_url: str, *, timeout_seconds: float, max_body_bytes: int = 20_000_000
    ) -> None:
        # httpx logs whole URLs at INFO, and a filter in a URL may be a client's postcode
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        parts = urlsplit(base_url)
        self._base_url = base_url
        self.host = parts.netloc
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._tls = ssl.create_default_context() if parts.scheme == "https" else False
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self._clients:
            await client.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """Send one request below the base URL and read its whole answer.

        `path` is "" or starts with "/", and is made by the client, never taken from a body.

        Raises:
            UnreachableError: no connection, so nothing was carried out.
            AnswerLostError: the connection broke, or the deadline passed (it covers the body
                too: a server that drips a byte a second doesn't hold the run).
            TooLongError: the body is longer than `max_body_bytes`, as it comes or unpacked.
        """
        url = self._base_url + path
        # `..` and encoded slashes must not lead out of the base path
        if path and (not path.startswith("/") or ".." in path or "%" in path or "//" in path):
            raise ValueError("the path must be a plain one below the base URL")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._request(
                    method, url, headers=headers, params=params, content=content
                )
        except TimeoutError:
            raise AnswerLostError(
                f"{self.host} did not answer within {self._timeout_seconds:g} seconds."
            ) from None
        except _NEVER_SENT as error:
            raise UnreachableError(f"Cannot reach {self.host}: {_reason(error)}.") from None
        except (httpx.HTTPError, OSError, zlib.error) as error:
            # OSError: neither httpx nor httpcore maps an ssl.SSLError after the handshake
            raise AnswerLostError(
                f"The answer of {self.host} was lost ({type(error).__name__})."
            ) from None

    async def _request(self, method: str, url: str, **details: Any) -> Answer:
        """Send by a client that has nothing else under way; the last one used first.

        One connection a client: httpx looks at every connection of a pool for every request,
        which at 32 connections costs as much as all our own work (benchmarks/export.py).
        """
        client = self._idle.pop() if self._idle else self._new_client()
        is_free = True
        try:
            async with client.stream(method, url, **details) as response:
                return Answer(response.status_code, response.headers, await self._body(response))
        except asyncio.CancelledError:
            # its only connection may stay taken for ever (httpcore 1.0.9); closed at the end
            is_free = False
            raise
        finally:
            if is_free:
                self._idle.append(client)

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise self._too_long()
        window = _PACKED.get(response.headers.get("content-encoding", "").strip().lower())
        if window is None or not body:
            return bytes(body)
        plain = _unpacked(body, window, self._max_body_bytes + 1)
        if len(plain) > self._max_body_bytes:
            raise self._too_long()
        return plain

    def _too_long(self) -> TooLongError:
        return TooLongError(
            f"{self.host} answered with more than {self._max_body_bytes / 1_000_000:g} MB, and "
            "was not read to the end; if its answers are really so long, raise "
            "WILLSUITE_MAX_BODY_MB."
        )

    def _new_client(self) -> httpx.AsyncClient:
        seconds = self._timeout_seconds
        client = httpx.AsyncClient(
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            headers={"accept-encoding": ", ".join(_PACKED)},
            limits=httpx.Limits(max_connections=1, keepalive_expiry=KEEPALIVE_SECONDS),
            timeout=httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT_SECONDS, seconds)),
        )
        self._clients.append(client)
        return client


def _unpacked(body: bytes | bytearray, window: int, most: int) -> bytes:
    """The beginning of what is packed in `body`, up to `most` bytes of it."""
    try:
        return zlib.decompressobj(window).decompress(body, most)
    except zlib.error:
        if window != zlib.MAX_WBITS:
            raise
        # "deflate" is sent with and without the header that it should have
        return zlib.decompressobj(-window).decompress(body, most)


def _reason(error: BaseException) -> str:
    """Why there is no connection, in words; the exception's own text may hold a URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its TLS certificate is not trusted by this machine"
        if isinstance(cause, ssl.SSLError):
            return "no TLS connection could be agreed on"
        if isinstance(cause, socket.gaierror):
            return "the host name is not known"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(cause, TimeoutError | httpx.TimeoutException):
            return "no connection in time"
        cause = cause.__cause__ or cause.__context__
    return "no connection"
