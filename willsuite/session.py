"""One request to an account and its answer: authenticated, paced, and one of a few at once.

Belongs here: the order of token, slot and pace around one request, and what 401 and 429 mean.
Does not: HTTP (`transport.py`), other statuses (`answers.py`), retries (`client.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from willsuite.auth import TokenSource
from willsuite.errors import AuthenticationError, RateLimitedError
from willsuite.pacing import Pacer
from willsuite.retrying import backoff_seconds
from willsuite.settings import Settings
from willsuite.transport import Answer, Transport

RATE_LIMIT_PATIENCE_SECONDS = 900.0
"""How long one request may be turned away by 429s before the run gives up."""
MAX_REJECTED_TOKENS = 3
"""How many tokens one request may wear out, however well they do elsewhere: one that has expired,
and a fresh one that the server's other machines don't know yet."""
MAX_TOKEN_BYTES = 1_000_000

_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "willsuite-flows",
}


class Session:
    """All requests of one client; not shared between event loops."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        say: Callable[[str], None],
    ) -> None:
        seconds = settings.read_timeout_seconds
        self._clock = clock
        self._sleep = sleep
        self._api = Transport(
            settings.base_url,
            timeout_seconds=seconds,
            max_body_bytes=round(settings.max_body_mb * 1_000_000),
        )
        self._token_endpoint = Transport(
            settings.token_endpoint, timeout_seconds=seconds, max_body_bytes=MAX_TOKEN_BYTES
        )
        self._tokens = TokenSource(
            self._token_endpoint,
            settings.client_id,
            settings.client_secret,
            clock=clock,
            sleep=sleep,
            say=say,
        )
        self._pacer = Pacer(
            requests_per_minute=settings.requests_per_minute, clock=clock, sleep=sleep, say=say
        )
        self._slots = asyncio.Semaphore(settings.max_concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._api.__aexit__(kind, error, trace)
        await self._token_endpoint.__aexit__(kind, error, trace)

    async def exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """One answer that is neither a 429 nor the first 401: both mean "not carried out".

        Raises:
            AuthenticationError: one token after the other was refused.
            RateLimitedError: a longer wait is asked for than this run accepts.
            WillSuiteError: no token, or no answer.
        """
        rejected_token: str | None = None
        rejections = 0
        refused_since: float | None = None
        while True:
            token = await self._tokens.token(instead_of=rejected_token)
            answer = await self._send(method, path, params, content, token)
            if answer.status == 401:
                rejections += 1
                if rejections >= MAX_REJECTED_TOKENS:
                    raise AuthenticationError(
                        "WillSuite refuses even a fresh access token (401); check that the API "
                        "keys of this account are still valid."
                    )
                if rejections > 1:
                    await self._sleep(backoff_seconds(rejections))
                rejected_token = token
                continue
            if answer.status != 429:
                return answer
            # not from the beginning: it may have waited long for its turn, and be refused once
            refused_since = self._clock() if refused_since is None else refused_since
            if self._clock() - refused_since > RATE_LIMIT_PATIENCE_SECONDS:
                raise RateLimitedError(
                    "WillSuite has turned requests away (429) for "
                    f"{RATE_LIMIT_PATIENCE_SECONDS / 60:.0f} minutes; start the run later."
                )

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        content: bytes | None,
        token: str,
    ) -> Answer:
        async with self._slots:
            await self._pacer.enter()
            try:
                answer = await self._api.send(
                    method,
                    path,
                    headers={**_HEADERS, "authorization": f"Bearer {token}"},
                    params=params,
                    content=content,
                )
            except BaseException:
                self._pacer.leave()
                raise
            self._pacer.learn(answer.status, answer.headers)
            return answer
