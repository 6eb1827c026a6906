"""A WillSuite of its own for each test, and clients that talk to it over real HTTP."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running

GRANT = {
    "grant_type": "client_credentials",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
}

Serve = Callable[..., Sandbox]
Connect = Callable[..., httpx.Client]


@pytest.fixture
def open_until_the_end() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(open_until_the_end: contextlib.ExitStack) -> Serve:
    """`serve(cases=20, ...)` starts a sandbox with these options."""

    def start(**options: Any) -> Sandbox:
        return open_until_the_end.enter_context(running(Sandbox(Options(**options))))

    return start


@pytest.fixture
def stranger(open_until_the_end: contextlib.ExitStack) -> Connect:
    """`stranger(url)` is a client that sends nothing but what a test tells it to."""

    def connect(url: str) -> httpx.Client:
        return open_until_the_end.enter_context(httpx.Client(base_url=url, timeout=10))

    return connect


@pytest.fixture
def connect(stranger: Connect) -> Connect:
    """`connect(url)` is a client with a token and the JSON content type."""

    def with_token(url: str) -> httpx.Client:
        client = stranger(url)
        token = client.post("/oauth/token", json=GRANT).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        client.headers["Content-Type"] = "application/json"
        return client

    return with_token
