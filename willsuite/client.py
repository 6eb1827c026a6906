"""One method per endpoint of the WillSuite API.

Belongs here: paths, queries, and the one way in which every call is paced, authenticated and,
if it only reads, retried; a write is sent again only where it certainly wasn't carried out.
Does not: decoding (`decoding.py`), HTTP (`transport.py`), policy about
cases (`tasks/`).
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from willsuite.answers import Effect, WriteResult, read_error, write_result
from willsuite.bodies import AppointmentUpdate, BulkUpdate, CaseUpdate, NewAppointment, NewCase
from willsuite.decoding import (
    decode_appointment,
    decode_case,
    decode_crm_fields,
    decode_job,
    decode_job_id,
    decode_page,
)
from willsuite.errors import (
    AnswerLostError,
    ContractError,
    InvalidRecordError,
    NotJsonError,
    RateLimitedError,
    TokenUnavailableError,
    TooLongError,
    TransientError,
    UnreachableError,
    WillSuiteError,
)
from willsuite.ids import checked_id
from willsuite.records import ApiJob, Appointment, Case, CasesPage, CrmField
from willsuite.retrying import RetryBudget, http_date, retry_after_seconds, utc_now
from willsuite.session import Session
from willsuite.settings import Settings
from willsuite.transport import Answer

_LOG = logging.getLogger(__name__)

MAX_PER_PAGE = 100
"""Vendor page "Cases": the default is 10, the maximum 100."""
MAX_BATCH = 2500
"""Vendor page "Cases", Bulk Update Case."""
MAX_ODD_ANSWERS = 3
"""How often a read is sent whose answers aren't what the documents describe."""

Decoded = TypeVar("Decoded")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class CaseFilters:
    """The filters of `GET /cases`; presumably combined with AND (facts.md 3.3)."""

    ref: str | None = None
    postcode: str | None = None
    """Matches the postcode of a customer of the case, not the case's own."""
    updated_after: str | None = None
    """`YYYY-MM-DD HH:mm:ss`, inclusive, in a zone the vendor doesn't name."""

    def query(self) -> dict[str, str]:
        """As query parameters under their wire names."""
        wire = {"ref": self.ref, "postcode": self.postcode, "updatedAfter": self.updated_after}
        return {name: value for name, value in wire.items() if value is not None}


NO_FILTERS = CaseFilters()


class WillSuiteClient:
    """The API of one account; use as `async with WillSuiteClient(settings) as client`.

    Bounded by `settings.max_concurrency` requests at once and by what the server says about
    its rate. Reads are retried (`retrying.py`) and raise the errors of `errors.py`; writes
    return a `WriteResult` that says what is known of their effect. `say` is told of waits that a
    person would wonder about.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        say: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._session = Session(settings, clock=clock, sleep=sleep, say=say)
        self.settings = settings
        self._fetches = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    async def get_cases_page(
        self, page: int, *, per_page: int = MAX_PER_PAGE, filters: CaseFilters = NO_FILTERS
    ) -> CasesPage:
        """Page `page` (from 1) of `GET /cases`; a page past the end is empty.

        Source: vendor page "Cases", Get Cases.
        """

        def decode(answer: Answer) -> CasesPage:
            return decode_page(
                answer.body,
                page=page,
                server_date=http_date(answer.headers.get("date")),
                fetch_number=self.next_fetch_number(),
            )

        params: dict[str, str | int] = {"page": page, "perPage": per_page, **filters.query()}
        return await self._read("GET /cases", "/cases", decode, params)

    async def iter_case_pages(
        self, *, per_page: int = MAX_PER_PAGE, filters: CaseFilters = NO_FILTERS
    ) -> AsyncIterator[CasesPage]:
        """Page after page of `GET /cases` until one is empty.

        One pass: cases that move between pages meanwhile can be missed or come twice
        (`reading/listing.py` is the pass that checks). A server that gives the same ids for
        two pages in a row ends it with a ContractError instead of looping.
        """
        before: list[str] = []
        for number in itertools.count(1):
            page = await self.get_cases_page(number, per_page=per_page, filters=filters)
            ids = [case.id for case in page.cases]
            if not ids:
                return
            if ids == before:
                raise ContractError(f"GET /cases gives pages {number - 1} and {number} alike.")
            before = ids
            yield page

    async def get_case(self, case_id: str) -> Case:
        """One case by id; NotFoundError where there is none (vendor page "Cases", Get Case)."""
        path = f"/cases/{checked_id(case_id)}"
        return await self._read(
            "GET /cases/{caseId}", path, lambda answer: decode_case(answer.body)
        )

    async def get_crm_fields(self) -> list[CrmField]:
        """The account's custom fields, in the server's order (vendor page "CRM Fields")."""
        return await self._read(
            "GET /crm-fields", "/crm-fields", lambda answer: decode_crm_fields(answer.body)
        )

    async def create_case(self, case: NewCase) -> WriteResult[Case]:
        """Create a case; never sends it twice unless the first was certainly not carried out.

        The answer's record has no customers and no address book (Q12).
        Source: vendor page "Cases", Create Case.

        Raises:
            WillSuiteError: credentials, configuration or rate limit; nothing was carried out.
        """
        return await self._write("POST", "/cases/create", case, decode_case)

    async def update_case(self, case_id: str, update: CaseUpdate) -> WriteResult[Case]:
        """Change a case, and add customers to it: sent once, as `create_case`.

        Customers are added again each time they are sent (Q20), and the answer may lack some of
        their values (Q18). Source: vendor page "Cases", Update Case.

        Raises:
            WillSuiteError: credentials, configuration or rate limit; nothing was carried out.
        """
        path = f"/cases/{checked_id(case_id)}"
        return await self._write("PATCH", path, update, decode_case, call="PATCH /cases/{caseId}")

    async def bulk_update(self, batch: Sequence[BulkUpdate]) -> WriteResult[str]:
        """Hand in a batch of at most `MAX_BATCH` changes; the record is the id of its job.

        Carried out later: see `get_api_job`. Source: vendor page "Cases", Bulk Update Case.

        Raises:
            InvalidRecordError: too many, or none, or one case twice.
            WillSuiteError: credentials, configuration or rate limit; nothing was carried out.
        """
        if not 0 < len({change.id for change in batch}) == len(batch) <= MAX_BATCH:
            raise InvalidRecordError(
                f"A batch must have 1 to {MAX_BATCH:,} changes, each of another case."
            )
        return await self._write("PATCH", "/cases-bulk-update", batch, decode_job_id)

    async def get_api_job(self, job_id: str) -> ApiJob:
        """The state of a bulk request; NotFoundError where there is none, or not yet.

        Source: vendor page "API Jobs" (facts.md 4), which asks to poll every 5 to 10 minutes.
        """
        path = f"/api-jobs/{checked_id(job_id)}"
        return await self._read(
            "GET /api-jobs/{apiJobID}", path, lambda answer: decode_job(answer.body, job_id)
        )

    async def create_appointment(
        self, case_id: str, appointment: NewAppointment
    ) -> WriteResult[Appointment]:
        """Create an appointment of a case: sent once, as `create_case`.

        Its id is in the record and nowhere else: no endpoint finds an appointment again, so
        after an ambiguous effect only a person can look. A 404 means that there is no such case.
        Source: vendor page "Case Appointments", Create Case Appointment.

        Raises:
            WillSuiteError: credentials, configuration or rate limit; nothing was carried out.
        """
        path = f"/cases/{checked_id(case_id)}/appointments"
        call = "POST /cases/{caseId}/appointments"
        return await self._write("POST", path, appointment, decode_appointment, call=call)

    async def update_appointment(
        self, case_id: str, appointment_id: str, update: AppointmentUpdate
    ) -> WriteResult[Appointment]:
        """Change an appointment: sent once, as `create_case`.

        A PATCH, whatever the page's heading says (Q31). Sending the same again changes nothing,
        but a flag in it may have its message sent again. A 404 is the caller's to read: no such
        case or appointment, or one deleted before.
        Source: vendor page "Case Appointments", Update Case Appointment.

        Raises:
            WillSuiteError: credentials, configuration or rate limit; nothing was carried out.
        """
        path = f"/cases/{checked_id(case_id)}/appointments/{checked_id(appointment_id)}"
        call = "PATCH /cases/{caseId}/appointments/{appointmentID}"
        return await self._write("PATCH", path, update, decode_appointment, call=call)

    async def delete_appointment(self, case_id: str, appointment_id: str) -> WriteResult[None]:
        """Delete an appointment: sent once, as `create_case`.

        A DELETE, whatever the page's heading says (Q31). It may be sent again after an ambiguous
        effect: a 404 then means that the first one was carried out.
        Source: vendor page "Case Appointments", Delete Case Appointment.

        Raises:
            WillSuiteError: credentials, configuration or rate limit; nothing was carried out.
        """
        path = f"/cases/{checked_id(case_id)}/appointments/{checked_id(appointment_id)}"
        call = "DELETE /cases/{caseId}/appointments/{appointmentID}"
        return await self._write("DELETE", path, None, _nothing, call=call)

    def next_fetch_number(self) -> int:
        """Counts answers: of two copies of a case the one with the higher number is later."""
        return next(self._fetches)

    async def _read(
        self,
        call: str,
        path: str,
        decode: Callable[[Answer], Decoded],
        params: Mapping[str, str | int] | None = None,
    ) -> Decoded:
        """A GET, sent again after transient errors within the bounds of `RetryBudget`."""
        budget = RetryBudget(self._clock)
        while True:
            asked_seconds = None
            try:
                answer = await self._session.exchange("GET", path, params)
                error = read_error(answer, call)
                if error is None:
                    return decode(answer)
                asked_seconds = retry_after_seconds(answer.headers, utc_now())
            except WillSuiteError as raised:
                error = raised
            if not _may_pass(error, budget):
                raise error
            delay = budget.next_delay_seconds(asked_seconds)
            if delay is None:
                raise error
            await self._sleep(delay)

    async def _write(
        self,
        method: str,
        path: str,
        body: msgspec.Struct | Sequence[msgspec.Struct] | None,
        decode: Callable[[bytes], Record],
        *,
        call: str = "",
    ) -> WriteResult[Record]:
        """A write; sent again only after 401, 429 and where no connection was made.

        `call` names it where the path holds an id.
        """
        content = None if body is None else msgspec.json.encode(body)
        budget = RetryBudget(self._clock)
        while True:
            try:
                signal: Answer | WillSuiteError = await self._session.exchange(
                    method, path, content=content
                )
            except (UnreachableError, AnswerLostError, TooLongError) as error:
                signal = error
            result = write_result(signal, call or f"{method} {path}", decode)
            if result.effect is not Effect.NOT_APPLIED:
                return result
            delay = budget.next_delay_seconds()
            if delay is None:
                return result
            await self._sleep(delay)


def _may_pass(error: WillSuiteError, budget: RetryBudget) -> bool:
    """Whether a read that failed with it is worth another attempt."""
    if isinstance(error, ContractError):
        return budget.attempts + 1 < MAX_ODD_ANSWERS
    # a pacer's "no" is final, and the token source has retried already
    is_final = isinstance(error, RateLimitedError | TokenUnavailableError)
    return isinstance(error, TransientError) and not is_final


def _nothing(body: bytes) -> None:
    """An answer that is only a status (Q40): whatever is in it isn't read.

    Raises:
        NotJsonError: it is a web page, a log-in's or a firewall's, so it isn't the API's answer.
    """
    if body.lstrip().startswith(b"<"):
        raise NotJsonError("The answer is a web page.")
