"""Single reads of an account, whose answers are looked at as they are.

Belongs here: asking, counting, and the moment until which a case is listed as changed. Does not:
the questions (`questions.py`, `writing.py`), or decoding for use (`willsuite/`).

Nothing is retried, and a refusal is an answer like any other.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from protocols.reading.listing import WIRE_TIME
from tasks.policy import RunError
from willsuite.client import MAX_PER_PAGE
from willsuite.retrying import http_date
from willsuite.session import Session
from willsuite.transport import Answer

_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_FARTHEST_ZONE = timedelta(hours=15)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question, without anything of anybody."""

    question: str
    answer: str
    values: Mapping[str, Any] = field(default_factory=dict)
    setting: str = ""
    """What it means for a setting or a parameter; empty where nothing is to be set."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the list."""

    status: int
    rows: list[dict[str, Any]]
    per_page: int | None

    def has(self, case_id: str) -> bool:
        """Whether the case is on it."""
        return any(row.get("id") == case_id for row in self.rows)


class Asking:
    """The reads of one check, over an open session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.count = 0
        self.headers: dict[str, str] = {}
        """Those about a rate limit, as they came last."""
        self.server_now = datetime.now(UTC)
        """By the last answer's Date."""
        self.has_date = False
        self.sample: list[dict[str, Any]] = []
        """Cases as the first page of the list has them."""

    async def take_sample(self) -> None:
        """Read the first page.

        Raises:
            WillSuiteError: it can't be had.
        """
        page = await self.page(perPage=MAX_PER_PAGE)
        if not page.rows:
            raise RunError(
                f"WillSuite lists no case (status {page.status}), so nothing can be asked; check "
                "the API keys, or use an account with some cases."
            )
        self.sample = page.rows

    async def get(self, path: str, **params: str | int) -> Answer:
        """One answer, whatever its status.

        Raises:
            WillSuiteError: there is none, or no token.
        """
        self.count += 1
        answer = await self._session.exchange("GET", path, params)
        told = {name.lower(): value for name, value in answer.headers.items()}
        self.headers |= {name: value for name, value in told.items() if "ratelimit" in name}
        if date := http_date(told.get("date")):
            self.server_now, self.has_date = date, True
        return answer

    async def patch(self, path: str, body: Mapping[str, Any]) -> int:
        """The status of one change, which is sent once."""
        self.count += 1
        content = msgspec.json.encode(body)
        return (await self._session.exchange("PATCH", path, content=content)).status

    async def page(self, **params: str | int) -> Page:
        """One answer of the list; without rows where it is none."""
        answer = await self.get("/cases", **params)
        body = content_of(answer)
        body = body if isinstance(body, dict) else {}
        rows = body.get("data")
        rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        size = body.get("per_page")
        return Page(answer.status, rows, size if isinstance(size, int) else None)

    async def case(self, case_id: str) -> dict[str, Any]:
        """A case by its id; empty where it can't be had."""
        body = content_of(await self.get(f"/cases/{case_id}"))
        return body if isinstance(body, dict) else {}

    async def newest_change(self) -> datetime | None:
        """The latest time from which on any case is listed as changed, as if it were UTC."""

        async def sees(moment: datetime) -> bool:
            return bool((await self.page(perPage=1, updatedAfter=f"{moment:{WIRE_TIME}}")).rows)

        return await self._last_seen(sees)

    async def last_change(self, case: Mapping[str, Any]) -> datetime | None:
        """The same for one case; None where the filters don't tell."""

        async def sees(moment: datetime) -> bool:
            since = f"{moment:{WIRE_TIME}}"
            return (await self.page(ref=case["ref"], updatedAfter=since)).has(case["id"])

        return await self._last_seen(sees) if case.get("ref") else None

    async def _last_seen(self, sees: Callable[[datetime], Awaitable[bool]]) -> datetime | None:
        """The second until which `sees` holds, by halving."""
        low = _FIRST_DAY
        high = (self.server_now + _FARTHEST_ZONE).replace(microsecond=0)
        if not await sees(low) or await sees(high):
            return None
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            low, high = (middle, high) if await sees(middle) else (low, middle)
        return low


def content_of(answer: Answer) -> Any:
    """What is in a body, if it was asked for with success and is JSON."""
    if not 200 <= answer.status < 300:
        return None
    try:
        return msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return None
