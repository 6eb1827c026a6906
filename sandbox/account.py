"""One account of the local WillSuite: how it behaves, its data, its jobs, what it has seen.

Belongs here: what several endpoints share. Does not: the endpoints (`case_reads.py`,
`case_writes.py`, `appointment_calls.py`), the data's own rules (`store.py`, `writes.py`).
"""

import asyncio
import random
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from sandbox.appointments import Appointments, Message, ServerZone, SwappedEmails
from sandbox.faults import Fault, JobFault, RandomFaults
from sandbox.jobs import Job, Jobs
from sandbox.people import invent_cases
from sandbox.refusals import no_results, refusal
from sandbox.store import Collation, Order, Store
from sandbox.views import Losses, Views
from sandbox.writes import Errors, MetaUpdate, SurnameKey

BREAKS_OFF = ContextVar("BREAKS_OFF", default=False)
"""Whether this request is to be handled only in part; for handlers that can be."""


@dataclass(frozen=True, slots=True)
class Options:
    """How this WillSuite behaves; the defaults are what the documents suggest."""

    cases: int = 1600
    seed: int = 1
    latency_ms: float = 0.0
    workers: int | None = None
    requests_per_minute: int | None = None
    token_seconds: float = 31_536_000
    max_per_page: int = 100
    words_as_flags: bool = False
    order: Order = "id"
    unique_refs: bool = True
    surname_key: SurnameKey = "last_name"
    validation_status: int = 422
    update_loses: tuple[str, ...] = ()
    meta_update: MetaUpdate = "merge"
    bulk_unknown_ids: Literal["message", "refuse"] = "message"
    job_seconds: float = 0.0
    updated_zone: str = "UTC"
    """In which `updatedAfter` is read."""
    appointment_zone: ServerZone = "Europe/London"
    swapped_emails: SwappedEmails = "never"
    patch_sends: bool = True
    recipients: Literal["anyone", "customers"] = "anyone"
    collation: Collation = "accents count"
    views: Views = field(default_factory=Views)
    losses: Losses = field(default_factory=Losses)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; kept so that tests can count. Of a GET the body isn't kept."""

    method: str
    path: str
    query: dict[str, str]
    host: str
    body: bytes = b""


@dataclass
class Account:
    """One account: its data, its tokens, its jobs, its fault scripts, the requests it has seen.

    `job_faults` are used up one by one by the batches that are accepted; None is no fault.
    """

    options: Options = field(default_factory=Options)
    faults: list[Fault | RandomFaults] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    url: str = ""
    job_faults: list[JobFault | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(
            invent_cases(
                self.options.cases, self.options.seed, words_as_flags=self.options.words_as_flags
            ),
            order=self.options.order,
            collation=self.options.collation,
            views=self.options.views,
        )
        # not the seed itself, which has given the invented cases their ids
        self._rng = random.Random(f"created in {self.options.seed}")
        self.tokens: dict[str, float] = {}
        self._workers: AbstractAsyncContextManager[Any] = (
            asyncio.Semaphore(self.options.workers) if self.options.workers else nullcontext()
        )
        self._late: set[asyncio.Task[None]] = set()
        self._jobs = Jobs(
            self.store, seconds=self.options.job_seconds, meta_update=self.options.meta_update
        )
        self._appointments = Appointments(
            zone=self.options.appointment_zone,
            swapped_emails=self.options.swapped_emails,
            patch_sends=self.options.patch_sends,
        )
        self._windows: dict[str, tuple[float, int]] = {}  # when they began, requests since

    @property
    def pending_late(self) -> int:
        """How many requests were answered by `Late` and are still to be handled."""
        return len(self._late)

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs by id, in the order in which they were accepted."""
        return self._jobs.all

    @property
    def pending_jobs(self) -> int:
        """How many jobs are still to get as far as they will ever get."""
        return self._jobs.under_way

    @property
    def appointments(self) -> dict[str, dict[str, Any]]:
        """All appointments by id, in the order of their creation, the deleted ones too.

        With the documented fields of all answers; start and end as they were sent.
        """
        return self._appointments.all

    @property
    def messages(self) -> list[Message]:
        """Every e-mail and SMS about appointments that would have gone to a person, in order."""
        return self._appointments.messages

    def _known_case(self, request: web.Request) -> str:
        case_id = request.match_info["case_id"]
        case = self.store.case(case_id)
        if case is None:
            raise no_results("CustomerCase", case_id)
        return str(case["id"])

    def _refuse_if(self, errors: Errors) -> None:
        if errors:
            status = self.options.validation_status
            raise refusal(status, "The given data was invalid.", errors=errors)
