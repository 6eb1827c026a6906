"""One writing run at a time in one account, wherever it runs; the others wait for their turn.

Belongs here: the lock of the account while a run writes: this machine's lock file, which the
operating system frees when the process dies, and the turn among all machines (`turns.py`).
Does not: what a run does while it holds them, or what is known of the account (`known.py`).

Two runs that import the same file at once would both find its rows absent and both create them,
and a duplicate can't be deleted.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import filelock
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Crashed

from protocols.account import shared
from protocols.account.known import KnownAccount, known_from, state_folder
from protocols.account.turns import POLL_SECONDS, Holder, Queue, Turn, this_run
from tasks.files import private_folder
from tasks.policy import RunError
from tasks.progress import Progress
from willsuite import Settings

SAY_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a run waits for its account."""

    seconds: float
    """How long while others write to it."""
    first_run: bool = False
    """Whether a person says that nothing was sent to the account before."""


@asynccontextmanager
async def account_lock(
    settings: Settings, waiting: Waiting, progress: Progress
) -> AsyncIterator[KnownAccount]:
    """Hold the account for the time of the block, after those that came before.

    Raises:
        RunError: another run still holds it after that time, or took it from this one.
        OSError: the state folder can't be written.
    """
    name = settings.account_name
    folder = private_folder(state_folder())
    file_lock = filelock.FileLock(folder / f"{name}.lock", timeout=0, mode=0o600)
    queue = Queue(name, this_run(_place(folder)))
    try:
        turn = await _wait(queue, file_lock, waiting.seconds, progress)
        async with _kept(turn):
            known = known_from(name, turn.found)
            with suppress(shared.ServerAwayError):
                await known.tidy()
            if known.is_new and waiting.first_run:
                known.begin_anew()
            yield known
    finally:
        file_lock.release()


async def _wait(
    queue: Queue, file_lock: filelock.BaseFileLock, seconds: float, progress: Progress
) -> Turn:
    began_at = time.monotonic()
    said_at = None
    try:
        while True:
            found = await _try(queue, file_lock)
            if isinstance(found, Turn):
                return found
            now = time.monotonic()
            waited = now - began_at
            if waited >= seconds:
                raise RunError(
                    f"{_named(found)} writes to this WillSuite account, so nothing was sent; "
                    "start this one again when that has ended, or let it wait longer "
                    f"(wait_seconds, now {seconds:.0f})."
                )
            if said_at is None or now - said_at >= SAY_EVERY_SECONDS:
                said_at = now
                progress.show(
                    f"Waiting for this account, since {waited:.0f} s: {_named(found)} writes to it"
                )
            await asyncio.sleep(min(POLL_SECONDS, seconds - waited))
    except BaseException:
        with suppress(Exception):
            await queue.leave()
        raise


async def _try(queue: Queue, file_lock: filelock.BaseFileLock) -> Turn | Holder | None:
    """The turn, or who has it (None: it can't be told)."""
    try:
        file_lock.acquire()
    except filelock.Timeout:
        with suppress(shared.ServerAwayError):
            return await queue.look()
        return None
    found: Turn | Holder | None = None
    try:
        with suppress(shared.ServerAwayError):
            found = await queue.take()
        return found
    finally:
        if not isinstance(found, Turn):
            file_lock.release()


def _named(found: Holder | None) -> str:
    if found is None or not found.flow:
        return "Another run"
    run = f" {found.run_id}" if found.run_id else ""
    return f"Another run ({found.flow}{run}, since {found.since})"


@asynccontextmanager
async def _kept(turn: Turn) -> AsyncIterator[None]:
    """Keep the turn for the time of the block; a block whose turn is lost is cancelled."""
    loop, run = asyncio.get_running_loop(), asyncio.current_task()
    assert run is not None
    lost: list[bool] = []

    def on_loss() -> None:
        lost.append(True)
        loop.call_soon_threadsafe(run.cancel)

    if turn.took_over is not None:
        await _bury(turn.took_over)
    turn.keep(on_loss)
    try:
        yield
    except asyncio.CancelledError:
        if not lost:
            raise
        run.uncancel()
        raise RunError(
            "Another run has taken this WillSuite account over, since nothing was heard of this "
            "one for so long (was this machine asleep?); run the same file again."
        ) from None
    finally:
        if not lost:
            with suppress(shared.ServerAwayError):  # then it is taken for dead in a minute
                await turn.give_back()


async def _bury(dead: Holder) -> None:
    """Let the engine know that a run is over which nobody has heard of for so long."""
    logger = get_run_logger()
    logger.info("%s has ended without a word; this one goes on.", _named(dead))
    try:
        async with get_client() as client:
            run = await client.read_flow_run(UUID(dead.run_id))
            if run.state is not None and not run.state.is_final():
                gone: State[None] = Crashed(
                    message="Its process is gone: nothing was heard of it any more."
                )
                await client.set_flow_run_state(run.id, gone, force=True)
    except Exception as error:  # noqa: BLE001 - a courtesy; the turn is this run's
        logger.debug("The engine can't be told (%s).", type(error).__name__)


def _place(folder: Path) -> str:
    """The same for all runs that share this folder's lock files, and for no others.

    The kernel that runs, and the folder as it knows it: a copy of the folder in another container
    is another place.
    """
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return uuid4().hex
    status = folder.stat()
    return hashlib.sha256(f"{kernel}{status.st_dev}:{status.st_ino}".encode()).hexdigest()[:16]
