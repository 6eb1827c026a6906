"""The documented endpoints over real HTTP.

Belongs here: routes, the way of a request to its endpoint or its fault, and serving. Does not: who
is let in (`gate.py`), the endpoints (`case_reads.py`, `case_writes.py`, `appointment_calls.py`),
what they share (`account.py`), the fault script (`faults.py`), faults on the socket (`wire.py`).
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from sandbox.account import BREAKS_OFF, Options, Seen
from sandbox.appointment_calls import AppointmentCalls
from sandbox.case_reads import CaseReads
from sandbox.case_writes import CaseWrites
from sandbox.faults import (
    Action,
    Applied,
    Change,
    Drip,
    Drop,
    Html,
    Late,
    Partial,
    Status,
    Truncate,
)
from sandbox.gate import CLIENT_ID, CLIENT_SECRET, Gate, answer_unrouted
from sandbox.refusals import Refusal, refusal
from sandbox.wire import answer_instead, send_slowly_or_partly

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "Options", "Sandbox", "running"]

BASE_PATH = "/engine/api"
MAX_BODY_BYTES = 32 * 2**20
"""Enough for 2,500 cases with long notes; the vendor states no limit."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox(Gate, CaseReads, CaseWrites, AppointmentCalls):
    """The account, served."""

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

    @web.middleware
    async def _front(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix(BASE_PATH)
        # read before any fault: a write answered early or by a reset has arrived all the same
        try:
            body = b"" if request.method == "GET" else await request.read()
        except ConnectionError:  # half an upload: nothing has arrived, nobody waits
            return web.Response()
        self.requests.append(Seen(request.method, path, dict(request.query), request.host, body))
        async with self._workers:  # even where the client has left while it waited
            return await self._worked_off(request, handler, path)

    async def _worked_off(
        self, request: web.Request, handler: Handler, path: str
    ) -> web.StreamResponse:
        if self.options.latency_ms:
            await asyncio.sleep(self.options.latency_ms / 1000)
        page = request.query.get("page")
        fault = next((f for f in self.faults if f.matches(request.method, path, page)), None)
        if fault is None:
            return await self._guarded(request, handler)
        return await self._play(fault.action, request, handler)

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        unrouted = request.match_info.http_exception
        if unrouted is not None:
            return answer_unrouted(unrouted)
        try:
            headers = self._rate_limit("tokens" if handler == self._token else "api")
            if handler != self._token:
                self._check_token(request)
            if request.content_type != "application/json":
                raise refusal(400, "The Content-Type header must be application/json.")
            response = await handler(request)
        except Refusal as refused:
            return refused.response()
        response.headers.update(headers)
        return response

    async def _play(
        self, action: Action, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if isinstance(action, Status | Drop | Html):
            return answer_instead(request, action)
        if isinstance(action, Late):
            task = asyncio.create_task(self._handle_late(action.seconds, request, handler))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return answer_instead(request, action.then)
        if isinstance(action, Change):
            action.apply(self.store)
        # aiohttp gives each request a task, hence a context, of its own
        BREAKS_OFF.set(isinstance(action, Partial))
        real = await self._guarded(request, handler)
        if isinstance(action, Applied | Partial):
            action = action.then
        if isinstance(action, Status | Drop | Html):
            return answer_instead(request, action)
        if isinstance(action, Truncate | Drip):
            assert isinstance(real, web.Response)
            try:
                return await send_slowly_or_partly(request, real, action)
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
