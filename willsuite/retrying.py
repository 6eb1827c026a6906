"""How long to wait before a request is sent again. Pure functions and one small budget.

Belongs here: `Retry-After`, back-off, and the two bounds (attempts and total time) of one call.
Does not: sleeping, sending, or whether a write may be sent again (`answers.py`).
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_ATTEMPTS = 5
MAX_TOTAL_SECONDS = 300.0
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 15.0
MAX_RETRY_AFTER_SECONDS = 120.0
"""A longer Retry-After is cut to this, or ends it; the total time ends the retries anyway."""


def utc_now() -> datetime:
    """Our own clock, as an aware instant."""
    return datetime.now(UTC)


def http_date(value: str | None) -> datetime | None:
    """An HTTP date header as an aware UTC instant; None where it is absent or garbage."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the server asks to wait: `Retry-After` as seconds or as an HTTP date.

    A date is measured against the server's own `Date` where there is one, since the two
    clocks may differ. None where the header is absent, garbage or in the past.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9]) or None
    moment = http_date(value)
    if moment is None:
        return None
    seconds = (moment - (http_date(headers.get("date")) or now)).total_seconds()
    return seconds if seconds > 0 else None


def backoff_seconds(attempt: int, *, rng: Callable[[], float] = random.random) -> float:
    """Full-jitter exponential back-off after attempt 1, 2, 3 …, never less than a tenth."""
    ceiling = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1))
    return ceiling * (0.1 + 0.9 * rng())


@dataclass(slots=True)
class RetryBudget:
    """What one call may still spend on retries: `MAX_ATTEMPTS` and `MAX_TOTAL_SECONDS`.

    The time counts from the first failure: before that a call may have waited long for its turn.
    """

    clock: Callable[[], float]
    attempts: int = 0
    _failing_since: float | None = None

    def next_delay_seconds(self, asked_seconds: float | None = None) -> float | None:
        """After a failure: the wait before the next attempt, or None when the budget is spent.

        `asked_seconds` is the server's Retry-After; it lengthens the wait, up to the cap.
        """
        now = self.clock()
        if self._failing_since is None:
            self._failing_since = now
        self.attempts += 1
        delay = backoff_seconds(self.attempts)
        if asked_seconds is not None:
            delay = max(delay, min(asked_seconds, MAX_RETRY_AFTER_SECONDS))
        spent = now - self._failing_since
        if self.attempts >= MAX_ATTEMPTS or spent + delay > MAX_TOTAL_SECONDS:
            return None
        return delay
