"""Faults that can be scripted for single requests.

Belongs here: which request a fault meets, and what each fault is. How it reaches the socket is
in `server.py`. A script is a list of `Fault`s; the first one that matches a request and isn't
used up is played.
"""

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """This status instead of the answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"message": "Server Error"}'


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is reset without an answer."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """The first part of the real answer, then the end; with or without its length announced."""

    share: float = 0.5
    announced: bool = True


@dataclass(frozen=True, slots=True)
class Drip:
    """The real answer, a few bytes at a time."""

    bytes_per_second: float = 20.0


@dataclass(frozen=True, slots=True)
class Html:
    """A log-in page with status 200."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something happens to the data just before the real answer is made."""

    apply: Callable[[Store], Any]


@dataclass(slots=True)
class Fault:
    """An action for the requests it matches, from the `skip`-th on, `times` times.

    `path` is a shell pattern below the base path ("/cases", "/cases/*"); `page` the page asked
    for. `times=None` never ends.
    """

    action: Status | Drop | Truncate | Drip | Html | Change
    path: str = "*"
    method: str = "*"
    page: int | None = None
    skip: int = 0
    times: int | None = 1
    played: int = 0

    def matches(self, method: str, path: str, page: str | None) -> bool:
        """Whether this fault meets the request; counts it down."""
        if self.times is not None and self.played >= self.times:
            return False
        if not (fnmatch.fnmatch(method, self.method) and fnmatch.fnmatch(path, self.path)):
            return False
        if self.page is not None and page != str(self.page):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.played += 1
        return True
