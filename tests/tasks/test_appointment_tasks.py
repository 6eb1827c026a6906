"""The tasks around appointments, from a small flow, with the real engine and a real server."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from accounts import wait_until
from prefect import flow
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

from sandbox.faults import Applied, Fault, Status
from sandbox.server import Sandbox
from tasks.appointments import create_appointment, delete_appointment, update_appointment
from tasks.connection import connected
from willsuite import Appointment, Effect, WriteResult
from willsuite.errors import (
    AuthenticationError,
    ContractError,
    InvalidRecordError,
    RateLimitedError,
    TokenUnavailableError,
)
from willsuite.retrying import MAX_ATTEMPTS
from willsuite.session import MAX_REJECTED_TOKENS

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]
Step = Callable[[], Awaitable[Any]]
NEW = {
    "adviser_email": "adviser@example.org",
    "start_time": "2026-07-20 09:00:00",
    "end_time": "2026-07-20 10:00:00",
    "email_recipient": "canary@example.org",
    "notes": "Her illness",
}
CHANGE = {"location": "Canary Row", "sms_recipient": "07700900999", "sms_confirmation": True}
CANARIES = ["canary@", "Her illness", "Canary Row", "07700900999"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)


def in_a_flow(*steps: Step, shared: bool = True) -> list[Any]:
    """What each of the steps gives or raises, one after another in one run."""
    seen: list[Any] = []

    async def run_all() -> None:
        for step in steps:
            try:
                seen.append(await step())
            except Exception as error:  # noqa: BLE001 - whatever it is, a test looks at it
                seen.append(error)

    @flow(name="small", persist_result=False)
    async def small() -> None:
        if not shared:
            return await run_all()
        async with connected():
            return await run_all()

    asyncio.run(small())
    return seen


def asked(sandbox: Sandbox) -> list[str]:
    """Methods and paths in their order, without ids and tokens."""
    ids = {*sandbox.store.ids, *sandbox.appointments}
    parts = [(seen.method, *seen.path.split("/")[1:]) for seen in sandbox.requests]
    shown = [" ".join("*" if part in ids else part for part in each) for each in parts]
    return [each for each in shown if each != "POST oauth token"]


def tokens_fetched(sandbox: Sandbox) -> int:
    return sum(seen.path == "/oauth/token" for seen in sandbox.requests)


ALL_WRITES = [
    "POST cases * appointments", "PATCH cases * appointments *", "DELETE cases * appointments *",
]  # fmt: skip


@pytest.fixture
def there(start_sandbox: StartSandbox) -> Sandbox:
    """A sandbox whose first case has an appointment."""
    sandbox = start_sandbox(cases=5)
    in_a_flow(lambda: create_appointment(sandbox.store.ids[0], NEW))
    sandbox.requests.clear()
    return sandbox


def writes(sandbox: Sandbox) -> list[Step]:
    """One call of each of the tasks."""
    case_id, appointment_id = sandbox.store.ids[0], next(iter(sandbox.appointments))
    return [
        lambda: create_appointment(case_id, NEW),
        lambda: update_appointment(case_id, appointment_id, CHANGE),
        lambda: delete_appointment(case_id, appointment_id),
    ]


def play(sandbox: Sandbox, action: Status | None = None, path: str = "/cases/*") -> Step:
    """A step from which on these requests get this answer, and the others their real one."""

    async def begin() -> None:
        sandbox.faults[:] = [Fault(action, path=path, times=None)] if action else []

    return begin


# -- what they give ----------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_each_task_is_one_request_with_the_result_of_the_client(
    shared: bool, there: Sandbox
) -> None:
    created, updated, deleted = in_a_flow(*writes(there), shared=shared)
    assert asked(there) == ALL_WRITES
    assert tokens_fetched(there) == (1 if shared else 3)
    first, second = there.appointments.values()
    assert isinstance(created.record, Appointment)
    assert (created.record.id, created.record.customer_case_id) == (
        second["id"], there.store.ids[0],
    )  # fmt: skip
    assert created.record.start_time == "2026-07-20T08:00:00.000000Z"
    assert (updated.record.id, updated.record.location) == (first["id"], "Canary Row")
    assert (first["location"], first["notes"]) == ("Canary Row", "Her illness")
    assert deleted == WriteResult(Effect.APPLIED, "applied")
    assert [bool(each["deleted_at"]) for each in (first, second)] == [True, False]
    assert [(message.kind, message.cause) for message in there.messages] == [
        ("sms_confirmation", "PATCH")
    ]


def test_a_refusal_is_a_result_with_its_fields_and_a_404_is_one_too(there: Sandbox) -> None:
    _, change, delete = writes(there)
    case_id = there.store.ids[0]
    results = in_a_flow(
        lambda: create_appointment(case_id, NEW | {"adviser_email": "canary@example.com"}),
        lambda: update_appointment(
            case_id, next(iter(there.appointments)), {"end_time": "2026-07-20 08:00:00"}
        ),
        lambda: create_appointment("nobody", NEW),
        delete,
        change,
        delete,
    )
    assert [(result.code, result.fields) for result in results] == [
        ("status_422", ("adviser_email",)), ("status_422", ("end_time",)), ("status_404", ()),
        ("applied", ()), ("status_404", ()), ("status_404", ()),
    ]  # fmt: skip
    assert len(asked(there)) == 6


# -- never a second time -----------------------------------------------------------------------


def test_a_write_that_may_have_been_carried_out_is_ambiguous_and_not_run_again(
    there: Sandbox,
) -> None:
    there.faults.append(Fault(Applied(Status(500)), path="/cases/*", times=None))
    results = in_a_flow(*writes(there))
    assert results == [WriteResult(Effect.AMBIGUOUS, "status_500")] * 3
    assert asked(there) == ALL_WRITES
    sent = [seen.body for seen in there.requests if seen.path.startswith("/cases/")]
    assert [json.loads(body or "{}") for body in sent] == [NEW, CHANGE, {}]
    assert len(there.appointments) == 2


def test_a_write_that_fails_is_not_run_again_by_prefect(there: Sandbox) -> None:
    each = writes(there)
    errors = in_a_flow(
        play(there, Status(302, {"Location": "/login"})),
        *each,
        play(there, Status(429, {"Retry-After": "86400"})),
        *each,
        play(there, Status(401)),
        *each,
        play(there, Status(503), "/oauth/token"),
        *each,
        shared=False,
    )
    assert [type(error) for error in errors if error] == [
        kind
        for kind in (
            WriteResult, RateLimitedError, AuthenticationError, TokenUnavailableError,
        )
        for _ in each
    ]  # fmt: skip
    # the client itself tries further tokens
    thrice = [c for c in ALL_WRITES for _ in range(MAX_REJECTED_TOKENS)]
    assert asked(there) == [*ALL_WRITES, *ALL_WRITES, *thrice]
    assert tokens_fetched(there) == 3 + 3 + 3 * MAX_REJECTED_TOKENS + 3 * MAX_ATTEMPTS
    assert len(there.appointments) == 1


@pytest.mark.parametrize("write", [create_appointment, update_appointment, delete_appointment])
def test_no_error_at_all_makes_prefect_run_a_write_again(write: Any) -> None:
    assert (write.retries, write.retry_condition_fn) == (0, None)


def test_what_cannot_be_right_is_refused_before_anything_is_sent(there: Sandbox) -> None:
    case_id, appointment_id = there.store.ids[0], next(iter(there.appointments))
    steps: list[Step] = [
        lambda: create_appointment(case_id, {}),
        lambda: create_appointment(case_id, NEW | {"start_time": "20/07/2026 09:00"}),
        lambda: create_appointment(case_id, NEW | {"end_time": NEW["start_time"]}),
        lambda: create_appointment(case_id, NEW | {"email_confirmation": "Her illness"}),
        lambda: update_appointment(case_id, appointment_id, {"adviser_email": "canary@x.org"}),
        lambda: update_appointment(case_id, appointment_id, {"notes": ""}),
    ]
    ids: list[Step] = [
        lambda: create_appointment("../crm-fields", NEW),
        lambda: update_appointment(case_id, "a/b", CHANGE),
        lambda: delete_appointment(case_id, "."),
        lambda: delete_appointment("", appointment_id),
    ]
    errors = in_a_flow(*steps, *ids)
    expected = [InvalidRecordError] * len(steps) + [ContractError] * len(ids)
    assert [type(error) for error in errors] == expected
    assert "start_time" in str(errors[1])
    assert "end after it starts" in str(errors[2])
    assert [word for word in CANARIES if word in "".join(map(str, errors))] == []
    assert there.requests == []


# -- what nobody may read ----------------------------------------------------------------------

WORDS = json.dumps({"message": "canary@example.org", "errors": {"notes": ["Her illness"]}})


def database_bytes() -> bytes:
    """The Prefect server's SQLite files, write-ahead log included."""
    path = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).split("///")[1])
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


@pytest.mark.leaks
@pytest.mark.usefixtures("recording_server")
def test_nothing_personal_and_no_secret_reaches_a_log_or_prefect(
    there: Sandbox, caplog: pytest.LogCaptureFixture, run_log: list[str]
) -> None:
    case_id = there.store.ids[0]
    caplog.set_level(logging.DEBUG)
    each = writes(there)
    in_a_flow(
        *each,
        lambda: create_appointment(case_id, NEW | {"start_time": "Her illness"}),
        *(
            step
            for status in (422, 200, 302, 500)
            for step in (play(there, Status(status, body=WORDS)), *each)
        ),
    )
    text = "\n".join([caplog.text, *run_log])
    assert "documented limit at start_time" in text
    assert "Finished in state" in text
    secrets = [*CANARIES, "sandbox-secret", *there.tokens]
    assert [word for word in secrets if word in text] == []
    wait_until(lambda: b"create-appointment" in database_bytes())  # task runs come in batches
    stored = database_bytes()
    assert [word for word in secrets if word.encode() in stored] == []
