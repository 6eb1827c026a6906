"""Faults that can be scripted for single requests and for jobs.

Belongs here: which request a fault meets, and what each fault is. How it reaches the socket is
in `wire.py`, and what a job makes of it in `jobs.py`. A script is a list of `Fault`s; the first
one that matches a request and isn't used up is played. Jobs have a script of their own: the first
`JobFault` is for the batch accepted next, and so on.

What a fault leaves of a write: `Status`, `Drop` and `Html` come instead of the handler, so nothing
is applied; `Truncate`, `Drip` and `Applied` spoil the answer to one that is; `Late` applies it
after the answer and `Partial` only a part of it.
"""

import fnmatch
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """A write without a transaction breaks off.

    A new case is there without its people, an updated one without those to be added, a job that
    nobody will process, and an appointment of which nobody was told.
    """

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


FAILED_MESSAGE = (
    "SQLSTATE[22007]: Invalid datetime format: 1366 Incorrect string value for column 'notes'"
    " (SQL: update `customer_cases` set `notes` = Mrs Perpetua Quillfeather, 12 Nowhere Lane,"
    " tel 07700900461 where `id` = 12)"
)
"""What a failed job says: more about a person than it should. Nobody has this name."""
ATTEMPTED = (
    "App\\Jobs\\BulkUpdateCases has been attempted too many times or run too long."
    " The job may have previously timed out."
)
"""What a second worker says of a job that the first one is still at."""


@dataclass(frozen=True, slots=True)
class JobFault:
    """What becomes of one job; each field is one deviation, and they combine.

    `ends` is where it stays: for ever `pending` or `processing`, or finished as `failed`.
    `applies` is the share of its rows, from the first, that is applied all the same; without it
    all rows of a completed job and none of any other. Rows named by `skips` (by their index, or a
    share of all drawn at random) are left out, silently. `message` is what the job has to say in
    the end; a failed one says `FAILED_MESSAGE` without it.

    With `told_failed` it is said to have failed at half its time, in the words of `ATTEMPTED`,
    while it goes on; if it is completed in the end, the words stay.

    `seconds` stand in for those of the options, so that a job can be overtaken by the next.
    The first `hidden_polls` questions about it get a 404, with None all of them. `words` has other
    words for statuses ({"processing": "queued"}), and fields in `lacks` are missing from answers.
    """

    ends: Literal["pending", "processing", "completed", "failed"] = "completed"
    applies: float | None = None
    skips: float | Collection[int] = ()
    message: str | None = None
    seconds: float | None = None
    told_failed: bool = False
    hidden_polls: int | None = 0
    words: Mapping[str, str] = field(default_factory=dict)
    lacks: Collection[str] = ()

    def applied(self, rows: int, rng: random.Random) -> set[int]:
        """The indexes of those of a number of rows that are applied."""
        share = self.applies
        if share is None:
            share = 1.0 if self.ends == "completed" else 0.0
        chosen = set(range(round(rows * share)))
        if isinstance(self.skips, int | float):
            return chosen.difference(rng.sample(range(rows), round(rows * self.skips)))
        return chosen.difference(self.skips)
