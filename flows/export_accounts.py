"""The flow that exports several accounts, each by a run of its own, on whatever workers there are.

Belongs here: which accounts, how many at once, and what became of each. Does not: an export
(`export_cases.py`), which keeps to the pace of its own account.
"""

import asyncio
from typing import Any, Literal, TypedDict

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.endings import failed
from flows.parameters import with_checked_parameters, with_form
from flows.runs import leave_summary, summary_of_run
from tasks.policy import RunError, log_for_people
from tasks.progress import name_run, show_table

FLOW = "export-accounts"
POLL_SECONDS = 2.0


class AccountExport(TypedDict):
    """What became of one account."""

    connection: str
    state: str
    message: str
    cases: int | None
    """None where it isn't known."""
    snapshot: str | None


class AccountsSummary(TypedDict):
    """What `export_accounts` returns."""

    accounts: list[AccountExport]
    """In the order of `connections`."""
    failed: int


class AccountsError(RunError):
    """Some account was not exported; `summary` says which."""

    def __init__(self, message: str, summary: AccountsSummary) -> None:
        super().__init__(message)
        self.summary = summary


@with_form
@flow(name=FLOW, validate_parameters=False, persist_result=False)
@with_checked_parameters
async def export_accounts(
    connections: list[str],
    output: str = "data/exports",
    mode: Literal["full", "incremental", "auto"] = "full",
    keep_last: int = 10,
    at_once: int = 4,
    deployment: str = "export-cases/export-account",
) -> AccountsSummary:
    """Export several accounts, each in a run of its own, into a folder of its own.

    One that fails leaves the others alone; the run then fails at its end, and says which.

    Args:
        connections: Names of "WillSuite connection" blocks, one for each account.
        output: Folder or URL; each account's exports are in <output>/<connection>.
        mode: As of export-cases.
        keep_last: Snapshots to keep, of each account.
        at_once: How many accounts are exported at the same time, on all workers together.
        deployment: The deployment that exports one account.

    Returns:
        An AccountsSummary. A run in which some account failed raises AccountsError, which has it
        too; one that can't begin raises tasks.policy.RunError.
    """
    log_for_people()
    try:
        await _refuse_impossible(connections, at_once, deployment)
    except RunError as error:
        return failed(error)  # type: ignore[return-value]
    await name_run(f"export {len(connections)} accounts")
    slots = asyncio.Semaphore(at_once)
    parameters = {"mode": mode, "keep_last": keep_last}

    async def export(connection: str) -> AccountExport:
        async with slots:
            place = f"{output.rstrip('/')}/{connection}"
            given = {**parameters, "connection": connection, "output": place}
            return await _exported(deployment, connection, given)

    accounts = await asyncio.gather(*map(export, connections))
    summary = AccountsSummary(
        accounts=accounts, failed=sum(each["state"] != "Completed" for each in accounts)
    )
    await show_table("export-accounts-result", "What became of each account", _rows(summary))
    await leave_summary(summary)
    return _ending(summary)  # type: ignore[return-value]


async def _refuse_impossible(connections: list[str], at_once: int, deployment: str) -> None:
    if not connections:
        raise RunError("connections is empty; name a WillSuite connection block for each account.")
    if len(set(connections)) < len(connections):
        raise RunError("connections names a block twice; each account is exported once.")
    if at_once < 1:
        raise RunError("at_once must be at least 1.")
    async with get_client() as client:
        try:
            await client.read_deployment_by_name(deployment)
        except (ObjectNotFound, ValueError):
            raise RunError(
                f"There is no deployment {deployment}; make deploy creates it."
            ) from None


async def _exported(deployment: str, connection: str, parameters: dict[str, Any]) -> AccountExport:
    """Let a worker export one account, and wait for it."""
    run = await arun_deployment(
        deployment, parameters=parameters, poll_interval=POLL_SECONDS, timeout=None
    )
    state = run.state
    assert state is not None
    summary = await summary_of_run(run.id) or {}
    message = state.message or ""
    get_run_logger().info("%s: %s. %s", connection, state.name, message)
    return AccountExport(
        connection=connection,
        state=str(state.name),
        message=message,
        cases=summary.get("cases"),
        snapshot=summary.get("snapshot"),
    )


def _rows(summary: AccountsSummary) -> list[dict[str, Any]]:
    names = ("connection", "state", "cases", "snapshot", "message")
    return [{name: account[name] for name in names} for account in summary["accounts"]]  # type: ignore[literal-required]


def _ending(summary: AccountsSummary) -> State:
    accounts, left = summary["accounts"], summary["failed"]
    message = f"{len(accounts) - left} of {len(accounts)} accounts exported."
    if not left:
        return Completed(message=message, data=summary)
    bad = [each for each in accounts if each["state"] != "Completed"]
    said = " ".join(f"{each['connection']}: {each['state']}. {each['message']}" for each in bad)
    message = f"{message} {said}"
    return Failed(message=message, data=AccountsError(message, summary))
