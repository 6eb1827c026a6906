"""The documented endpoints over real HTTP.

Belongs here: routes, tokens, the rate limit, and playing faults on the socket.
Does not: the data (`store.py`), what may be written (`writes.py`), what is carried out later
(`jobs.py`), appointments (`appointments.py`), the fault script (`faults.py`).
"""

import asyncio
import contextlib
import json
import random
import secrets
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web

from sandbox.appointments import (
    Appointments,
    Message,
    ServerZone,
    SwappedEmails,
    errors_of_appointment,
    errors_of_change,
)
from sandbox.faults import (
    Action,
    Applied,
    Change,
    Drip,
    Drop,
    Fault,
    Html,
    JobFault,
    Late,
    Partial,
    RandomFaults,
    Status,
    Truncate,
)
from sandbox.jobs import Job, Jobs
from sandbox.people import CRM_FIELDS, USERS, invent_cases, new_id
from sandbox.store import Collation, Order, Store
from sandbox.views import Losses, Views
from sandbox.writes import (
    CREATED_FIELDS,
    Errors,
    MetaUpdate,
    SurnameKey,
    answer_to_update,
    changed_fields,
    cleaned,
    errors_of_batch,
    errors_of_case,
    errors_of_update,
    new_case,
    new_customers,
    new_entries,
)

BASE_PATH = "/engine/api"
CLIENT_ID = "sandbox"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - the sandbox's only account, printed at its start
LINK_BASE = "http://willsuite-v2.test/engine/api/cases"
"""As the vendor's example has it: http, another host, and only `page` in the query (Q22)."""
WINDOW_SECONDS = 60.0
BREAKS_OFF = ContextVar("BREAKS_OFF", default=False)
"""Whether this request is to be handled only in part; for handlers that can be."""
MAX_BODY_BYTES = 32 * 2**20
"""Enough for 2,500 cases with long notes; the vendor states no limit."""
MAX_BATCH = 2500
"""Rows of one bulk update; documented."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Options:
    """How this WillSuite behaves; the defaults are what the documents suggest."""

    cases: int = 1600
    seed: int = 1
    latency_ms: float = 0.0
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
    appointment_zone: ServerZone = "Europe/London"
    swapped_emails: SwappedEmails = "never"
    patch_sends: bool = True
    recipients: Literal["anyone", "customers"] = "anyone"
    collation: Collation = "accents count"
    views: Views = field(default_factory=Views)
    losses: Losses = field(default_factory=Losses)


class Refusal(Exception):
    """An answer in Laravel's error shape (facts.md 1.1, inferred)."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers

    def response(self) -> web.Response:
        """The refusal as it goes out."""
        return web.json_response(self.body, status=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; kept so that tests can count. Of a GET the body isn't kept."""

    method: str
    path: str
    query: dict[str, str]
    host: str
    body: bytes = b""


@dataclass
class Sandbox:
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
        self._late: set[asyncio.Task[None]] = set()
        self._jobs = Jobs(
            self.store, seconds=self.options.job_seconds, meta_update=self.options.meta_update
        )
        self._appointments = Appointments(
            zone=self.options.appointment_zone,
            swapped_emails=self.options.swapped_emails,
            patch_sends=self.options.patch_sends,
        )
        self._window_started = 0.0
        self._window_used = 0

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

    def app(self) -> web.Application:
        """The whole API as an aiohttp application."""
        app = web.Application(middlewares=[self._front], client_max_size=MAX_BODY_BYTES)
        app.on_cleanup.append(self._cancel_tasks)
        add = app.router.add_route
        for slash in ("", "/"):  # the vendor prints both; only these two paths have one
            add("POST", f"{BASE_PATH}/oauth/token{slash}", self._token)
            add("GET", f"{BASE_PATH}/cases{slash}", self._list_cases)
        add("POST", f"{BASE_PATH}/cases/create", self._create_case)
        add("GET", f"{BASE_PATH}/cases/{{case_id}}", self._get_case)
        add("PATCH", f"{BASE_PATH}/cases/{{case_id}}", self._update_case)
        add("PATCH", f"{BASE_PATH}/cases-bulk-update", self._bulk_update)
        add("GET", f"{BASE_PATH}/api-jobs/{{job_id}}", self._get_job)
        add("GET", f"{BASE_PATH}/crm-fields", self._crm_fields)
        appointments = f"{BASE_PATH}/cases/{{case_id}}/appointments"
        add("POST", appointments, self._create_appointment)
        add("PATCH", f"{appointments}/{{appointment_id}}", self._update_appointment)
        add("DELETE", f"{appointments}/{{appointment_id}}", self._delete_appointment)
        return app

    # -- what every request meets ------------------------------------------------------------

    @web.middleware
    async def _front(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix(BASE_PATH)
        # read before any fault: a write answered early or by a reset has arrived all the same
        try:
            body = b"" if request.method == "GET" else await request.read()
        except ConnectionError:  # half an upload: nothing has arrived, nobody waits
            return web.Response()
        self.requests.append(Seen(request.method, path, dict(request.query), request.host, body))
        if self.options.latency_ms:
            await asyncio.sleep(self.options.latency_ms / 1000)
        page = request.query.get("page")
        fault = next((f for f in self.faults if f.matches(request.method, path, page)), None)
        if fault is None:
            return await self._guarded(request, handler)
        return await self._play(fault.action, request, handler)

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if handler != self._token:
                self._check_token(request)
            if request.content_type != "application/json":
                raise _refusal(400, "The Content-Type header must be application/json.")
            headers = self._rate_limit() if handler != self._token else {}
            response = await handler(request)
        except Refusal as refusal:
            return refusal.response()
        except web.HTTPException as unrouted:
            allow = {k: v for k, v in unrouted.headers.items() if k == "Allow"}
            return _refusal(unrouted.status, unrouted.reason, allow).response()
        response.headers.update(headers)
        return response

    def _check_token(self, request: web.Request) -> None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or self.tokens.get(token, 0.0) < time.monotonic():
            raise _refusal(401, "Unauthenticated.")

    def _rate_limit(self) -> dict[str, str]:
        """Laravel's fixed window: counts from the first request, then refuses to the end."""
        limit = self.options.requests_per_minute
        if limit is None:
            return {}
        now = time.monotonic()
        if now - self._window_started >= WINDOW_SECONDS:
            self._window_started, self._window_used = now, 0
        self._window_used += 1
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - self._window_used)),
        }
        if self._window_used > limit:
            left = WINDOW_SECONDS - (now - self._window_started)
            headers["Retry-After"] = str(int(left) + 1)
            headers["X-RateLimit-Reset"] = str(int(time.time() + left) + 1)
            raise _refusal(429, "Too Many Attempts.", headers)
        return headers

    async def _play(
        self, action: Action, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if isinstance(action, Status | Drop | Html):
            return _answer_instead(request, action)
        if isinstance(action, Late):
            task = asyncio.create_task(self._handle_late(action.seconds, request, handler))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return _answer_instead(request, action.then)
        if isinstance(action, Change):
            action.apply(self.store)
        # aiohttp gives each request a task, hence a context, of its own
        BREAKS_OFF.set(isinstance(action, Partial))
        real = await self._guarded(request, handler)
        if isinstance(action, Applied | Partial):
            action = action.then
        if isinstance(action, Status | Drop | Html):
            return _answer_instead(request, action)
        if isinstance(action, Truncate | Drip):
            assert isinstance(real, web.Response)
            try:
                return await _send_slowly_or_partly(request, real, action)
            except ConnectionError:  # nobody is there any more, which isn't worth a traceback
                return web.Response()
        return real

    async def _handle_late(self, seconds: float, request: web.Request, handler: Handler) -> None:
        await asyncio.sleep(seconds)
        await self._guarded(request, handler)

    async def _cancel_tasks(self, _app: web.Application) -> None:
        late = list(self._late)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await self._jobs.cancel()  # after what could still bring new ones

    # -- the endpoints -----------------------------------------------------------------------

    async def _token(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            body = {}
        if not isinstance(body, dict):
            body = {}
        if body.get("grant_type") != "client_credentials":
            raise _oauth_refusal(400, "unsupported_grant_type")
        if (body.get("client_id"), body.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            raise _oauth_refusal(401, "invalid_client")
        token = secrets.token_urlsafe(32)
        self.tokens[token] = time.monotonic() + self.options.token_seconds
        return web.json_response(
            {
                "token_type": "Bearer",
                "expires_in": int(self.options.token_seconds),
                "access_token": token,
            }
        )

    async def _list_cases(self, request: web.Request) -> web.Response:
        page = _whole_number(request, "page", 1)
        per_page = min(_whole_number(request, "perPage", 10), self.options.max_per_page)
        ids = self.store.listing(
            ref=request.query.get("ref"),
            postcode=request.query.get("postcode"),
            updated_after=_moment(request, "updatedAfter"),
        )
        start = (page - 1) * per_page
        shown = ids[start : start + per_page]
        around = _paginator(page, per_page, len(ids), len(shown))
        cases = b",".join(self.store.rendered(case_id, in_list=True) for case_id in shown)
        body = b'{"data":[' + cases + b"]," + json.dumps(around).encode()[1:]
        return web.Response(body=body, content_type="application/json")

    async def _get_case(self, request: web.Request) -> web.Response:
        case_id = self._known_case(request)
        return web.Response(body=self.store.rendered(case_id), content_type="application/json")

    def _known_case(self, request: web.Request) -> str:
        case_id = request.match_info["case_id"]
        if case_id not in self.store:
            raise _no_results("CustomerCase", case_id)
        return case_id

    async def _create_case(self, request: web.Request) -> web.Response:
        sent = _json_object(await request.read())
        # nothing is awaited from here on, so that of two requests with one ref the second is late
        ref = self._ref_of(sent)
        if BREAKS_OFF.get():
            sent = sent | {"customers": None, "address_book": None}
        options = self.options
        case = new_case(
            options.losses.of(sent),
            self._rng,
            ref=ref,
            surname_key=options.surname_key,
            words_as_flags=options.words_as_flags,
        )
        self.store.put(case)
        self.store.address_books[case["id"]] = new_entries(sent, self._rng)
        answer = {name: case[name] for name in CREATED_FIELDS}
        return web.json_response(answer | {"meta": case["meta"] or []})

    def _ref_of(self, sent: dict[str, Any]) -> str:
        """The reference of the new case if all that was sent is accepted."""
        errors = errors_of_case(sent, self.options.surname_key)
        self._refuse_if(errors | self._error_of_ref(sent.get("ref")))
        for name in ("email", "adviser_email"):
            if sent.get(name) and sent[name].casefold() not in USERS:
                raise _refusal(400, f"The {name} does not belong to a user of this account.")
        return sent.get("ref") or self.store.unused_ref()

    def _error_of_ref(self, ref: Any, *, besides: str | None = None) -> Errors:
        """Whether another case than `besides` has the reference, where that is forbidden."""
        if not (self.options.unique_refs and ref and isinstance(ref, str)):
            return {}
        taken = self.store.has_ref(ref, besides=besides)
        return {"ref": ["The ref has already been taken."]} if taken else {}

    def _refuse_if(self, errors: Errors) -> None:
        if errors:
            status = self.options.validation_status
            raise _refusal(status, "The given data was invalid.", errors=errors)

    async def _update_case(self, request: web.Request) -> web.Response:
        body = await request.read()
        # nothing is awaited from here on, so that what is compared is what is changed
        case_id = self._known_case(request)
        sent = _json_object(body)
        errors = errors_of_update(sent, self.options.surname_key)
        self._refuse_if(errors | self._error_of_ref(sent.get("ref"), besides=case_id))
        case = self.store.case(case_id)
        assert case is not None
        fields = changed_fields(case, sent, self.options.meta_update)
        added = [] if BREAKS_OFF.get() else self._customers_to_add(sent, case_id)
        if added:  # the case's own names stay as they are (Q19)
            fields["customers"] = case["customers"] + added
        if fields:
            self.store.change(case_id, **fields)
        return web.json_response(answer_to_update(case | fields))

    def _customers_to_add(self, sent: dict[str, Any], case_id: str) -> list[dict[str, Any]]:
        options = self.options
        return new_customers(
            sent,
            self._rng,
            case_id,
            surname_key=options.surname_key,
            words_as_flags=options.words_as_flags,
            loses=options.update_loses,
        )

    async def _bulk_update(self, request: web.Request) -> web.Response:
        batch = self._batch_of(await request.read())
        fault = self.job_faults.pop(0) if self.job_faults else None
        if BREAKS_OFF.get():
            fault = JobFault(ends="pending")
        job = self._jobs.accept(new_id(self._rng), batch, fault or JobFault())
        return web.json_response({"apiJobId": job.id}, status=201)

    def _batch_of(self, body: bytes) -> list[dict[str, Any]]:
        """The rows of a bulk update if all of them are accepted, with what is looked at."""
        sent = _json(body)
        if not isinstance(sent, list) or not sent:
            raise _refusal(400, "The body must be an array of cases.")
        if len(sent) > MAX_BATCH:
            raise _refusal(400, f"The body must not have more than {MAX_BATCH} cases.")
        self._refuse_if(errors_of_batch(sent))
        if self.options.bulk_unknown_ids == "refuse" and any(
            row["id"] not in self.store for row in sent
        ):
            raise _no_results("CustomerCase")
        return [
            {name: row[name] for name in ("id", "notes", "meta") if name in row} for row in sent
        ]

    async def _get_job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        answer = self._jobs.answer(job_id)
        if answer is None:
            raise _no_results("ApiJob", job_id)
        return web.json_response(answer)

    async def _create_appointment(self, request: web.Request) -> web.Response:
        case_id = self._known_case(request)
        sent = _json_object(await request.read())
        self._refuse_if(errors_of_appointment(sent) or self._error_of_recipient(sent, case_id))
        breaks_off = BREAKS_OFF.get()
        answer = self._appointments.create(case_id, sent, self._rng, breaks_off=breaks_off)
        return web.json_response(answer)

    async def _update_appointment(self, request: web.Request) -> web.Response:
        body = await request.read()
        appointment = self._known_appointment(request)
        sent = _json_object(body)
        case_id = appointment["customer_case_id"]
        errors = errors_of_change(sent, appointment)
        self._refuse_if(errors or self._error_of_recipient(sent, case_id))
        answer = self._appointments.change(appointment, sent, breaks_off=BREAKS_OFF.get())
        return web.json_response(answer)

    async def _delete_appointment(self, request: web.Request) -> web.Response:
        self._appointments.delete(self._known_appointment(request))
        return web.Response(body=b"", content_type="text/html")  # Laravel's type for nothing

    def _known_appointment(self, request: web.Request) -> dict[str, Any]:
        appointment_id = request.match_info["appointment_id"]
        found = self._appointments.find(self._known_case(request), appointment_id)
        if found is None:
            raise _no_results("Appointment", appointment_id)
        return found

    def _error_of_recipient(self, sent: dict[str, Any], case_id: str) -> Errors:
        """Whether the e-mails would go to a stranger, where that is forbidden."""
        recipient = sent.get("email_recipient")
        case = self.store.case(case_id)
        if self.options.recipients == "anyone" or not recipient or case is None:
            return {}
        known = {(customer["email"] or "").casefold() for customer in case["customers"]}
        if recipient.casefold() in known:
            return {}
        return {"email_recipient": ["The selected email_recipient is invalid."]}

    async def _crm_fields(self, _request: web.Request) -> web.Response:
        return web.json_response(CRM_FIELDS)


@contextlib.contextmanager
def running(sandbox: Sandbox, *, port: int = 0) -> Iterator[Sandbox]:
    """Serve `sandbox` on a loopback port from a thread; `sandbox.url` is the API's base URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(sandbox.app(), access_log=None, shutdown_timeout=0)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        bound = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        sandbox.url = f"http://127.0.0.1:{bound}{BASE_PATH}"
        yield sandbox
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _answer_instead(request: web.Request, action: Status | Drop | Html) -> web.Response:
    if isinstance(action, Status):
        kind = "application/json" if action.body.startswith("{") else "text/html"
        return web.Response(
            status=action.status, headers=action.headers, text=action.body, content_type=kind
        )
    if isinstance(action, Html):
        page = "<!doctype html><title>Log in</title><p>Please log in.</p>"
        return web.Response(text=page, content_type="text/html")
    if request.transport is not None and not request.transport.is_closing():  # by the client
        # without lingering, closing sends a reset
        peer = request.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


class _UntilClosed(web.StreamResponse):
    """An answer whose end is the end of the connection, as HTTP/1.0 has it."""

    _length_check = False  # aiohttp's own switch: no Content-Length, no chunks


async def _send_slowly_or_partly(
    request: web.Request, real: web.Response, action: Truncate | Drip
) -> web.StreamResponse:
    body = real.body
    assert isinstance(body, bytes)
    unannounced = isinstance(action, Truncate) and not action.announced
    kind = _UntilClosed if unannounced else web.StreamResponse
    response = kind(status=real.status, headers=real.headers)
    if isinstance(action, Drip) or action.announced:
        response.content_length = len(body)
    else:
        response.force_close()
    await response.prepare(request)
    if isinstance(action, Truncate):
        await response.write(body[: int(len(body) * action.share)])
        if request.transport is not None:
            request.transport.close()
        return response
    for start in range(0, len(body), 10):
        await response.write(body[start : start + 10])
        await asyncio.sleep(10 / action.bytes_per_second)
    return response


def _refusal(
    status: int, message: str, headers: dict[str, str] | None = None, **more: Any
) -> Refusal:
    return Refusal(status, {"message": message, **more}, headers or {})


def _oauth_refusal(status: int, code: str) -> Refusal:
    return _refusal(status, "The request was refused.", error=code, error_description=code)


def _invalid(name: str, text: str) -> Refusal:
    return _refusal(400, "The given data was invalid.", errors={name: [text]})


def _no_results(model: str, key: str = "") -> Refusal:
    return _refusal(404, f"No query results for model [{model}] {key}".rstrip())


def _json_object(body: bytes) -> dict[str, Any]:
    sent = _json(body)
    if not isinstance(sent, dict):
        raise _refusal(400, "The body must be a JSON object.")
    return sent


def _json(body: bytes) -> Any:
    """What was sent, cleaned; None if it is no JSON."""
    try:
        return cleaned(json.loads(body))
    except ValueError:
        return None


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise _invalid(name, f"The {name} must be a whole number of at least 1.")
    return int(text)


def _moment(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or str(moment.replace(tzinfo=None)) != text:
        raise _invalid(name, f"The {name} does not match the format Y-m-d H:i:s.")
    return moment


def _paginator(page: int, per_page: int, total: int, shown: int) -> dict[str, Any]:
    """Laravel's length-aware paginator without its data."""
    last = max(1, -(-total // per_page))
    first_row = (page - 1) * per_page + 1
    return {
        "current_page": page,
        "first_page_url": _link(1),
        "from": first_row if shown else None,
        "last_page": last,
        "last_page_url": _link(last),
        "links": _links(page, last),
        "next_page_url": _link(page + 1) if page < last else None,
        "path": LINK_BASE,
        "per_page": per_page,
        "prev_page_url": _link(page - 1) if page > 1 else None,
        "to": first_row + shown - 1 if shown else None,
        "total": total,
    }


def _link(page: int) -> str:
    return f"{LINK_BASE}?page={page}"


def _links(page: int, last: int) -> list[dict[str, Any]]:
    """The buttons of Laravel's pager: both ends, the neighbours, and dots between."""
    if last < 14:
        numbers: set[int] = set(range(1, last + 1))
    elif page <= 7:
        numbers = {*range(1, 11), last - 1, last}
    elif page > last - 7:
        numbers = {1, 2, *range(last - 9, last + 1)}
    else:
        numbers = {1, 2, *range(page - 3, page + 4), last - 1, last}
    buttons: list[dict[str, Any]] = [
        {"url": _link(page - 1) if page > 1 else None, "label": "&laquo; Previous", "active": False}
    ]
    before = 0
    for number in sorted(numbers):
        if number > before + 1:
            buttons.append({"url": None, "label": "...", "active": False})
        buttons.append({"url": _link(number), "label": str(number), "active": number == page})
        before = number
    following = _link(page + 1) if page < last else None
    buttons.append({"url": following, "label": "Next &raquo;", "active": False})
    return buttons
