"""How fast requests may follow each other, learned from the server and shared by a whole run.

Belongs here: the gate every request passes, and what the answers teach it.
Does not: retry decisions, or the number of connections (a semaphore in `client.py`).

The vendor documents no rate limit. Laravel's stock throttle answers `X-RateLimit-Limit` and
`X-RateLimit-Remaining` on every call, and `Retry-After` and `X-RateLimit-Reset` on a 429
(facts.md 1.1, inferred), so the gate

- counts down what the server says remains, and never lets more requests out than that;
- at zero waits for the announced reset; where none was announced, lets a single request out to
  ask, so that a limit costs one 429 and not one for every connection;
- after a 429 stays shut for as long as the server asks, and then opens for one request first.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from willsuite.errors import RateLimitedError
from willsuite.retrying import retry_after_seconds, utc_now

_LOG = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 120.0
"""A longer Retry-After than this ends the run instead of hanging it."""
UNKNOWN_WAITS_SECONDS = (1.0, 2.0, 4.0, 5.0)
"""After 429s that don't say how long; the last value repeats."""
SAID_FROM_SECONDS = 10.0
"""A shorter wait needs no line in the log, unless it is one of many."""
SAID_EACH = 10
"""Of so many refusals in a row one is said."""


class Pacer:
    """One gate for all requests of a run; not shared between event loops."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        clock: Callable[[], float],
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        say: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._interval_seconds = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._say = say
        self._next_slot = clock()
        self._shut_until = clock()
        self._reset_at: float | None = None
        self._remaining: int | None = None
        self._in_flight = 0
        self._refusals = 0
        self._changed = asyncio.Event()

    async def enter(self) -> None:
        """Wait for a slot. Every `enter` is followed by `leave` or `learn`."""
        while True:
            wait = self._wait_seconds()
            if wait is None:
                # the requests under way will bring news
                self._changed.clear()
                await self._changed.wait()
            elif wait > 0:
                await self._sleep(wait)
            else:
                break
        self._in_flight += 1
        self._next_slot = self._clock() + self._interval_seconds
        if self._remaining:
            self._remaining -= 1

    def _wait_seconds(self) -> float | None:
        """Seconds to wait before looking again, 0 to go, None to wait for an answer."""
        now = self._clock()
        if now < self._shut_until:
            return self._shut_until - now
        if self._remaining == 0:
            reset = self._until_reset()
            if reset is not None:
                return reset
            if self._in_flight:
                return None
        return max(0.0, self._next_slot - now)

    def leave(self) -> None:
        """A request ended without an answer."""
        self._in_flight -= 1
        self._changed.set()

    def learn(self, status: int, headers: Mapping[str, str]) -> None:
        """A request was answered.

        Raises:
            RateLimitedError: a 429 that asks for more than `MAX_WAIT_SECONDS`.
        """
        self.leave()
        if status == 429:
            self._refused(headers)
            return
        if self._clock() < self._shut_until:
            return  # it was sent before the refusal and knows nothing of it
        self._refusals = 0
        remaining = headers.get("x-ratelimit-remaining", "")
        if remaining.isascii() and remaining.isdigit():
            # what is under way may or may not be counted yet: assume not, and so never overrun
            self._remaining = max(0, int(remaining[:9]) - self._in_flight)
            self._note_reset(headers)
        else:
            self._remaining = None

    def _until_reset(self) -> float | None:
        """Seconds to an announced reset that is still ahead, while nothing remains."""
        if self._remaining != 0 or self._reset_at is None:
            return None
        wait = self._reset_at - self._clock()
        if wait <= 0 or wait > MAX_WAIT_SECONDS:
            self._reset_at = None
            return None
        return wait

    def _note_reset(self, headers: Mapping[str, str]) -> None:
        value = headers.get("x-ratelimit-reset", "")
        if value.isascii() and value.isdigit():
            self._reset_at = self._clock() + int(value[:12]) - self._now().timestamp()

    def _refused(self, headers: Mapping[str, str]) -> None:
        asked = retry_after_seconds(headers, self._now())
        if asked is not None and asked > MAX_WAIT_SECONDS:
            raise RateLimitedError(
                f"WillSuite asks to wait {asked:.0f} seconds before the next request, which is "
                f"more than the {MAX_WAIT_SECONDS:.0f} this run accepts; start it again later."
            )
        if asked is None:
            step = min(self._refusals, len(UNKNOWN_WAITS_SECONDS) - 1)
            asked = UNKNOWN_WAITS_SECONDS[step]
        self._refusals += 1
        if asked >= SAID_FROM_SECONDS or self._refusals % SAID_EACH == 0:
            self._say_wait(asked)
        # a little later than asked, so that several workers don't come back in one instant
        wait = asked + min(1.0, asked / 10) * self._jitter()
        self._shut_until = max(self._shut_until, self._clock() + wait)
        self._remaining = 0
        self._reset_at = None

    def _say_wait(self, seconds: float) -> None:
        # of the requests that were under way together, the first says it
        if self._clock() >= self._shut_until:
            self._say(f"WillSuite limits the rate (429); waiting {seconds:.0f} seconds.")
