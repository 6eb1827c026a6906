"""One writing run at a time in one account, and whether the last one ended cleanly.

Belongs here: the locks, and the note that a killed run leaves by not removing it.
Does not: what a run does while it holds them.

Two runs that import the same file at once would both find its rows absent and both create them,
and a duplicate can't be deleted. So a run holds

- a lock file of this machine, which the operating system frees when the process dies, and
- a slot of the Prefect global concurrency limit `willsuite-writes`, where that exists, which
  keeps runs on other machines out; `make deploy` creates it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import filelock
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.concurrency.asyncio import AcquireConcurrencySlotTimeoutError, concurrency
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from protocols.account.job_records import JobRecords
from tasks.files import private_folder, sync_folder
from tasks.policy import RunError
from willsuite import Settings

WRITING_FLOWS = ("import-cases", "update-cases", "bulk-update-cases", "sync-appointments")
CONCURRENCY_LIMIT = "willsuite-writes"
LEASE_SECONDS = 60.0
"""A killed run keeps its slot of the limit until its lease ends."""
SLOT_WAIT_SECONDS = 90.0
"""Long enough to outlast the lease of a killed run."""


class AccountLock:
    """The held lock of one account."""

    def __init__(self, settled: Path, jobs: JobRecords) -> None:
        self._settled = settled
        self.jobs = jobs
        """The account's bulk requests that may be under way."""

    @property
    def is_settled(self) -> bool:
        """Whether every request of earlier runs has certainly had its effect, as far as is known.

        A request of a run that was killed may still be under way in the server.
        """
        return self._settled.exists()

    def begin_writing(self) -> None:
        """From now on, until `settle`, a killed run leaves the account unsettled."""
        self._settled.unlink(missing_ok=True)
        sync_folder(self._settled.parent)

    def settle(self) -> None:
        """Nothing that was sent is uncertain any more."""
        self._settled.touch(mode=0o600)


def state_folder() -> Path:
    """This user's folder for state of this machine (the XDG convention)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "willsuite-flows"


@asynccontextmanager
async def account_lock(settings: Settings) -> AsyncIterator[AccountLock]:
    """Hold the locks of the account for the time of the block.

    Raises:
        RunError: another run holds one of them.
        OSError: the state folder can't be written.
    """
    name = settings.account_name
    folder = private_folder(state_folder())
    is_first_here = not (folder / f"{name}.lock").exists()
    lock = filelock.FileLock(folder / f"{name}.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(
            "Another run on this machine is writing to this WillSuite account; start this one "
            "again when it has ended."
        ) from None
    try:
        async with AsyncExitStack() as stack:
            await _take_slot(stack)
            held = AccountLock(folder / f"{name}.settled", JobRecords(folder / f"{name}.jobs"))
            if is_first_here and not await _is_a_doubtful_run_known():
                held.settle()
            yield held
    finally:
        lock.release()


async def _is_a_doubtful_run_known() -> bool:
    """Whether Prefect has another writing run that began and isn't known to have ended well.

    Asked where this machine has no marks of the account: a run that was killed elsewhere is in
    Prefect's database, for ever "Running" or "Crashed".
    """
    ended_well_or_not_begun = [StateType.COMPLETED, StateType.SCHEDULED, StateType.PENDING]
    this = runtime.flow_run.id
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(WRITING_FLOWS))),
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(not_any_=[UUID(this)] if this else []),
                state=FlowRunFilterState(
                    type=FlowRunFilterStateType(not_any_=ended_well_or_not_begun)
                ),
            ),
            limit=1,
        )
    return bool(runs)


async def _take_slot(stack: AsyncExitStack) -> None:
    try:
        async with get_client() as client:
            limit = await client.read_global_concurrency_limit_by_name(CONCURRENCY_LIMIT)
    except ObjectNotFound:
        get_run_logger().warning(
            "Only runs on this machine are kept from writing at the same time: Prefect has no "
            "global concurrency limit %s (make deploy creates it).",
            CONCURRENCY_LIMIT,
        )
        return
    if limit.active_slots >= limit.limit:
        get_run_logger().info(
            "Another run holds the limit %s, or was killed while it did; waiting up to %.0f s.",
            CONCURRENCY_LIMIT, SLOT_WAIT_SECONDS,
        )  # fmt: skip
    slot = concurrency(
        CONCURRENCY_LIMIT,
        timeout_seconds=SLOT_WAIT_SECONDS,
        lease_duration=LEASE_SECONDS,
        strict=True,
    )
    try:
        await stack.enter_async_context(slot)
    except AcquireConcurrencySlotTimeoutError:
        raise RunError(
            f"Another run holds the limit {CONCURRENCY_LIMIT}, so it is writing to WillSuite; "
            "start this one again when it has ended."
        ) from None
