"""The tasks that each make one call, from a small flow, with the real engine and a real server."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from accounts import wait_until
from prefect import flow
from prefect.settings import (
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    PREFECT_TASK_DEFAULT_RETRIES,
    temporary_settings,
)

from sandbox.faults import FAILED_MESSAGE, Applied, Fault, JobFault, Status
from sandbox.people import CRM_FIELDS
from sandbox.server import Sandbox
from tasks.api_jobs import get_api_job, submit_bulk_update
from tasks.cases import create_case, update_case
from tasks.connection import connected
from tasks.policy import file_task, write_task
from willsuite import Case, Effect, WriteResult
from willsuite.errors import (
    AuthenticationError,
    ContractError,
    InvalidRecordError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TokenUnavailableError,
)
from willsuite.retrying import MAX_ATTEMPTS

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]
STORAGE = CRM_FIELDS[3]["id"]
PERSON = {"title": "Mrs", "first_names": "Adaeze", "last_name": "Canaria-Wren"}
NEW = {"ref": "CANARY-1", "notes": "Her illness", "customers": [PERSON]}
CHANGE = {"notes": "Her illness", "meta": {STORAGE: "07700900999"}}
CANARIES = ["Canaria-Wren", "Adaeze", "Her illness", "07700900999", "Quillfeather"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr("tasks.api_jobs.get_api_job.retry_delay_seconds", 0)


def in_a_flow(*steps: Callable[[], Awaitable[Any]], shared: bool = True) -> list[Any]:
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


def writes(case_id: str) -> list[Callable[[], Awaitable[WriteResult[Any]]]]:
    """One call of each task that writes."""
    return [
        lambda: create_case(NEW),
        lambda: update_case(case_id, CHANGE | {"customers": [PERSON]}),
        lambda: submit_bulk_update([{"id": case_id, **CHANGE}]),
    ]


def asked(sandbox: Sandbox) -> list[str]:
    """Methods and paths in their order, without ids and tokens."""
    ids = {*sandbox.store.ids, *sandbox.jobs}
    parts = [(seen.method, *seen.path.split("/")[1:]) for seen in sandbox.requests]
    shown = [" ".join("*" if part in ids else part for part in each) for each in parts]
    return [each for each in shown if each != "POST oauth token"]


def tokens_fetched(sandbox: Sandbox) -> int:
    return sum(seen.path == "/oauth/token" for seen in sandbox.requests)


ALL_WRITES = ["POST cases create", "PATCH cases *", "PATCH cases-bulk-update"]


def play(
    sandbox: Sandbox, action: Status | None = None, path: str = ""
) -> Callable[[], Awaitable[None]]:
    """A step from which on these requests get this answer, and the others their real one."""

    async def begin() -> None:
        sandbox.faults[:] = [Fault(action, path=path, times=None)] if action else []

    return begin


async def settled(sandbox: Sandbox) -> None:
    deadline = time.monotonic() + 10
    while sandbox.pending_jobs:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


# -- what they give ----------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_each_task_is_one_request_with_the_result_of_the_client(
    shared: bool, start_sandbox: StartSandbox
) -> None:
    sandbox = start_sandbox(cases=5)
    case_id, other_id = sandbox.store.ids[:2]
    made: dict[str, Any] = {}

    async def change_the_new_one() -> Any:
        made["id"] = sandbox.store.listing(ref=NEW["ref"])[0]
        return await update_case(made["id"], {"notes": "later", "customers": [PERSON]})

    async def ask_about_the_job() -> Any:
        await settled(sandbox)
        return await get_api_job(next(iter(sandbox.jobs)))

    created, updated, submitted, job = in_a_flow(
        lambda: create_case(NEW),
        change_the_new_one,
        lambda: submit_bulk_update([{"id": case_id, **CHANGE}, {"id": other_id, "notes": "x"}]),
        ask_about_the_job,
        shared=shared,
    )
    assert asked(sandbox) == [*ALL_WRITES, "GET api-jobs *"]
    assert tokens_fetched(sandbox) == (1 if shared else 4)
    for result in (created, updated, submitted):
        assert (result.effect, result.code) == (Effect.APPLIED, "applied")
    assert isinstance(created.record, Case)
    assert (created.record.id, created.record.customers) == (made["id"], None)
    assert [person.last_name for person in updated.record.customers] == ["Canaria-Wren"] * 2
    assert updated.record.notes == "later"
    assert submitted.record == job.id == next(iter(sandbox.jobs))
    assert (job.status, job.total_records, job.effected_records) == ("completed", 2, 2)
    assert job.is_finished
    case = sandbox.store.case(case_id)
    assert case is not None
    assert (case["notes"], case["meta"][STORAGE]) == ("Her illness", "07700900999")


def test_tasks_at_the_same_time_share_the_runs_client(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=5)
    ids = sandbox.store.ids

    async def at_once() -> list[WriteResult[Any]]:
        calls = [update_case(case_id, {"notes": case_id}) for case_id in ids]
        return list(await asyncio.gather(*calls))

    (results,) = in_a_flow(at_once)
    assert [result.record.id for result in results] == ids
    assert [result.record.notes for result in results] == ids
    assert tokens_fetched(sandbox) == 1
    assert asked(sandbox) == ["PATCH cases *"] * 5


def test_a_refusal_is_a_result_with_its_fields(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=5)
    case_id = sandbox.store.ids[0]
    taken = {"ref": sandbox.store.case(sandbox.store.ids[1])["ref"]}  # type: ignore[index]
    results = in_a_flow(
        lambda: create_case(taken),
        lambda: update_case(case_id, taken),
        lambda: submit_bulk_update([{"id": case_id, "meta": {"nope": "x"}}]),
        lambda: update_case("nobody", {"notes": "x"}),
    )
    assert {result.effect for result in results} == {Effect.REJECTED}
    assert [result.fields for result in results] == [("ref",), ("ref",), ("0.meta.nope",), ()]
    assert [result.code for result in results] == ["status_422"] * 3 + ["status_404"]
    assert len(asked(sandbox)) == 4


# -- never a second time -----------------------------------------------------------------------


def test_a_write_that_may_have_been_carried_out_is_ambiguous_and_not_run_again(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    sandbox.faults.append(Fault(Applied(Status(500)), path="/cases*", times=None))
    case_id = sandbox.store.ids[0]
    results = in_a_flow(*writes(case_id))
    assert results == [WriteResult(Effect.AMBIGUOUS, "status_500")] * 3
    assert asked(sandbox) == ALL_WRITES
    sent = [json.loads(seen.body) for seen in sandbox.requests if seen.path.startswith("/cases")]
    assert sent == [NEW, CHANGE | {"customers": [PERSON]}, [{"id": case_id, **CHANGE}]]
    assert len(sandbox.store.listing(ref=NEW["ref"])) == len(sandbox.jobs) == 1


def test_a_write_that_fails_is_not_run_again_by_prefect(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=5)
    each = writes(sandbox.store.ids[0])
    errors = in_a_flow(
        play(sandbox, Status(302, {"Location": "/login"}), "/cases*"),
        *each,
        play(sandbox, Status(429, {"Retry-After": "86400"}), "/cases*"),
        *each,
        play(sandbox, Status(401), "/cases*"),
        *each,
        play(sandbox, Status(503), "/oauth/token"),
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
    # the client itself tries three tokens
    assert asked(sandbox) == [*ALL_WRITES, *ALL_WRITES, *(c for c in ALL_WRITES for _ in range(3))]
    assert tokens_fetched(sandbox) == 3 + 3 + 3 * 3 + 3 * MAX_ATTEMPTS


@pytest.mark.parametrize("write", [create_case, update_case, submit_bulk_update])
def test_no_error_at_all_makes_prefect_run_a_write_again(write: Any) -> None:
    assert (write.retries, write.retry_condition_fn) == (0, None)


@pytest.mark.parametrize("kind", [write_task, file_task])
def test_no_setting_of_prefect_makes_a_write_run_again(kind: Callable[..., Any]) -> None:
    with temporary_settings({PREFECT_TASK_DEFAULT_RETRIES: 2}):

        @kind(name="writes")
        async def writing() -> None:
            pass

    assert writing.retries == 0


def test_what_cannot_be_right_is_refused_before_anything_is_sent(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    case_id = sandbox.store.ids[0]
    steps: list[Callable[[], Awaitable[Any]]] = [
        lambda: create_case({"customers": [PERSON | {"tel_1": "Canaria-Wren" * 3}]}),
        lambda: update_case(case_id, {"customers": [PERSON | {"date_of_birth": "Her illness"}]}),
        lambda: update_case(case_id, {"adviser_email": "Canaria-Wren"}),
        lambda: submit_bulk_update([{"id": case_id, "notes": "x"}, {"id": "b", "notes": ""}]),
        lambda: submit_bulk_update([{"id": case_id, "ref": "Canaria-Wren"}]),
        lambda: submit_bulk_update([{"notes": "Her illness"}]),
        lambda: submit_bulk_update([]),
        lambda: submit_bulk_update([{"id": case_id, "notes": "x"}] * 2),
        lambda: submit_bulk_update([{"id": str(n), "notes": "x"} for n in range(2501)]),
    ]
    *errors, no_case, no_job = in_a_flow(
        *steps,
        lambda: update_case("../crm-fields", {"notes": "x"}),
        lambda: get_api_job("a/b"),
    )
    assert [type(error) for error in errors] == [InvalidRecordError] * len(steps)
    assert "customers[0].tel_1" in str(errors[0])
    assert "customers[0].date_of_birth" in str(errors[1])
    assert "id" in str(errors[5])
    assert [word for word in CANARIES if word in "".join(map(str, errors))] == []
    assert [type(error) for error in (no_case, no_job)] == [ContractError] * 2
    assert sandbox.requests == []


# -- reading a job -----------------------------------------------------------------------------


def test_a_question_about_a_job_is_run_once_more_if_it_may_work_then(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    fault = Fault(Status(500), path="/api-jobs/*", times=MAX_ATTEMPTS)

    async def submit_then_ask() -> Any:
        result = await submit_bulk_update([{"id": sandbox.store.ids[0], "notes": "x"}])
        await settled(sandbox)
        sandbox.faults.append(fault)
        return await get_api_job(result.record)  # type: ignore[arg-type]

    job, _, missing, _, failure = in_a_flow(
        submit_then_ask,
        play(sandbox),
        lambda: get_api_job("nobody"),
        play(sandbox, Status(500), "/api-jobs/*"),
        lambda: get_api_job(next(iter(sandbox.jobs))),
    )
    assert job.status == "completed"
    assert (type(missing), type(failure)) == (NotFoundError, ServerError)
    assert asked(sandbox) == [
        "PATCH cases-bulk-update",
        *["GET api-jobs *"] * (MAX_ATTEMPTS + 1),
        "GET api-jobs nobody",
        *["GET api-jobs *"] * (2 * MAX_ATTEMPTS),
    ]


# -- what nobody may read ----------------------------------------------------------------------

WORDS = json.dumps({"message": "Mrs Canaria-Wren", "errors": {"ref": ["Her illness"]}})


def database_bytes() -> bytes:
    """The Prefect server's SQLite files, write-ahead log included."""
    path = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).split("///")[1])
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


@pytest.mark.leaks
@pytest.mark.usefixtures("recording_server")
def test_nothing_personal_and_no_secret_reaches_a_log_or_prefect(
    start_sandbox: StartSandbox, caplog: pytest.LogCaptureFixture, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=5)
    sandbox.job_faults.append(JobFault(ends="failed"))
    case_id = sandbox.store.ids[0]
    too_long = {"customers": [PERSON | {"tel_1": "Canaria-Wren" * 3}]}
    caplog.set_level(logging.DEBUG)

    async def ask_about_the_job() -> Any:
        await settled(sandbox)
        return await get_api_job(next(iter(sandbox.jobs)))

    seen = in_a_flow(
        *writes(case_id),
        ask_about_the_job,
        lambda: create_case(too_long),
        lambda: update_case(case_id, too_long),
        play(sandbox, Status(422, body=WORDS), "/[ca]*"),
        *writes(case_id),
        lambda: get_api_job("j"),
        play(sandbox, Status(200, body=WORDS), "/[ca]*"),
        *writes(case_id),
        lambda: get_api_job("j"),
        play(sandbox, Status(302, body=WORDS), "/[ca]*"),
        *writes(case_id),
    )
    assert seen[3].message == FAILED_MESSAGE
    text = "\n".join([caplog.text, *run_log])
    assert "documented limit at customers[0].tel_1" in text
    assert "Finished in state" in text
    secrets = [*CANARIES, "sandbox-secret", *sandbox.tokens]
    assert [word for word in secrets if word in text] == []
    wait_until(lambda: b"submit-bulk-update" in database_bytes())  # task runs come in batches
    stored = database_bytes()
    assert [word for word in secrets if word.encode() in stored] == []


def test_the_log_of_a_run_says_that_a_token_is_waited_for(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox()
    sandbox.faults = [Fault(Status(503), path="/oauth/token", times=1)]
    case_id = sandbox.store.ids[0]
    (result,) = in_a_flow(lambda: update_case(case_id, CHANGE))
    assert result.effect is Effect.APPLIED
    said = [line for line in run_log if "No access token yet" in line]
    assert len(said) == 1
    assert "status 503. Asking again in" in said[0]
