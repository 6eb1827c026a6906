"""Faults that can be scripted for single requests.

Belongs here: which request a fault meets, and what each fault is. How it reaches the socket is
in `server.py`. A script is a list of `Fault`s; the first one that matches a request and isn't
used up is played.

What a fault leaves of a write: `Status`, `Drop` and `Html` come instead of the handler, so nothing
is applied; `Truncate`, `Drip` and `Applied` spoil the answer to one that is; `Late` applies it
after the answer and `Partial` only a part of it.
"""

import fnmatch
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """This status instead of the answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"message": "Server Error"}'


SERVER_ERROR = Status(500)
GATEWAY_TIMEOUT = Status(504, body="<h1>504 Gateway Time-out</h1>")


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
class Applied:
    """The request is handled in full, and then this comes instead of its answer."""

    then: Status | Drop | Html | Truncate | Drip


@dataclass(frozen=True, slots=True)
class Late:
    """This comes at once; the request is handled `seconds` later, when nobody waits for it.

    Handled as if it came then: with unique references it is refused if its reference exists.
    """

    seconds: float
    then: Status | Drop | Html = GATEWAY_TIMEOUT


@dataclass(frozen=True, slots=True)
class Partial:
    """A creation without a transaction breaks off: the case is there, without its people."""

    then: Status | Drop | Html = SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Change:
    """Something happens to the data just before the real answer is made."""

    apply: Callable[[Store], Any]


Action = Status | Drop | Truncate | Drip | Html | Applied | Late | Partial | Change

WRITE_FAULTS: tuple[Action, ...] = (
    SERVER_ERROR,
    Status(503, body="<h1>503 Service Unavailable</h1>"),
    Drop(),
    Html(),
    Applied(SERVER_ERROR),
    Applied(Status(502, body="<h1>502 Bad Gateway</h1>")),
    Applied(Drop()),
    Applied(Html()),
    Truncate(),
    Truncate(announced=False),
    Drip(bytes_per_second=200.0),
    Late(2.0),
    Late(2.0, Drop()),
    Partial(),
)
"""One of every kind that a write can meet."""


@dataclass(slots=True)
class Fault:
    """An action for the requests it matches, from the `skip`-th on, `times` times.

    `path` is a shell pattern below the base path ("/cases", "/cases/*"); `page` the page asked
    for. `times=None` never ends.
    """

    action: Action
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


@dataclass(slots=True)
class RandomFaults:
    """Any of `actions` for a `share` of the requests; the same seed, the same sequence.

    Stands beside `Fault`s in a script. `chosen` has what was played, in the order of the requests.
    """

    share: float
    seed: int = 1
    actions: Sequence[Action] = WRITE_FAULTS
    method: str = "POST"
    path: str = "/cases/create"
    chosen: list[Action] = field(default_factory=list)
    _rng: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    @property
    def action(self) -> Action:
        """What the request that matched last gets."""
        return self.chosen[-1]

    def matches(self, method: str, path: str, page: str | None) -> bool:  # noqa: ARG002 - any page
        """Whether this request is one of the share; draws its action."""
        if not (fnmatch.fnmatch(method, self.method) and fnmatch.fnmatch(path, self.path)):
            return False
        if self._rng.random() >= self.share:
            return False
        self.chosen.append(self._rng.choice(self.actions))
        return True
