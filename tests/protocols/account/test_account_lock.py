"""One writing run at a time in one account, with a real Prefect server."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from accounts import forget_in_prefect, known_from_before, wait_until
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from protocols.account import lock, shared, turns
from protocols.account.known import KnownAccount, state_folder
from protocols.account.lock import Waiting, account_lock
from tasks.policy import RunError
from tasks.progress import Progress
from willsuite import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
AT_ONCE = Waiting(0.0)

HOLD = """
import asyncio, sys
from prefect import flow
from protocols.account.lock import Waiting, account_lock
from tasks.progress import Progress
from willsuite import load_settings

@flow(name="import-cases")
async def hold():
    async with account_lock(load_settings(), Waiting(0.0), Progress("p")) as known:
        await known.begin_writing()
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def settings(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None
) -> Settings:
    """An account whose last run ended well."""
    monkeypatch.setenv("WILLSUITE_CLIENT_ID", "one")
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "secret")
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.05)
    settings = load_settings()
    known_from_before(settings.account_name)
    return settings


def in_a_run(work: Callable[[], Any]) -> Any:
    @flow(name="update-cases")
    async def run() -> Any:
        return await work()

    return asyncio.run(run())


def held_by_this_run(settings: Settings, waiting: Waiting = AT_ONCE) -> bool:
    """Whether a run finds things settled."""

    async def hold() -> bool:
        async with account_lock(settings, waiting, Progress("p")) as known:
            return known.is_settled

    return bool(in_a_run(hold))


@contextmanager
def another_process(**environment: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has the account."""
    ours = {
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env={**os.environ, **ours, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_a_second_run_waits_until_the_first_has_ended_wherever_it_runs(
    settings: Settings, tmp_path: Path, run_log: list[str], machine: str
) -> None:
    elsewhere = {} if machine == "the same" else {"XDG_STATE_HOME": str(tmp_path / "elsewhere")}

    async def wait() -> bool:
        with another_process(**elsewhere) as process:

            async def end_it() -> None:
                while "Waiting for this account" not in "\n".join(run_log):
                    await asyncio.sleep(0.02)
                assert process.stdin is not None
                process.stdin.close()

            told = asyncio.create_task(end_it())
            async with account_lock(settings, Waiting(60.0), Progress("p")) as known:
                await told
                assert process.wait(30) == 0
                return known.is_settled

    assert not in_a_run(wait), "the first has settled nothing"
    [line] = [line for line in run_log if "Waiting for this account" in line]
    assert "Another run (import-cases " in line


def test_a_run_that_may_not_wait_is_refused_and_says_who_writes(settings: Settings) -> None:
    with (
        another_process(),
        pytest.raises(RunError, match=r"Another run \(import-cases .* writes to"),
    ):
        held_by_this_run(settings)


def test_what_a_killed_run_held_is_free_at_once_on_its_machine_and_it_is_marked_as_crashed(
    settings: Settings,
) -> None:
    with another_process() as process:
        process.kill()
        process.wait()
        before = asyncio.run(shared.read_all(f"willsuite_turn_{settings.account_name}_"))
        assert not held_by_this_run(settings), "nothing is settled"

    async def state() -> str:
        async with get_client() as client:
            run = await client.read_flow_run(UUID(before["1"]["run_id"]))
        assert run.state is not None
        return str(run.state.name)

    assert asyncio.run(state()) == "Crashed"


def test_what_a_killed_run_held_on_another_machine_is_free_when_nothing_is_heard_of_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with another_process(XDG_STATE_HOME=str(tmp_path / "elsewhere")) as process:
        process.kill()
        process.wait()
        with pytest.raises(RunError):
            held_by_this_run(settings)
        monkeypatch.setattr(turns, "SILENCE_SECONDS", 0.5)
        assert not held_by_this_run(settings, Waiting(60.0))


def test_a_run_goes_on_beating_while_its_event_loop_is_kept_busy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.05)

    def has_beaten() -> bool:
        [value] = asyncio.run(shared.read_all(f"willsuite_turn_{settings.account_name}_")).values()
        return bool(value["beat"] >= 2)

    async def busy() -> None:
        async with account_lock(settings, AT_ONCE, Progress("p")):
            with ThreadPoolExecutor() as pool:  # waited for without leaving the loop to others
                pool.submit(copy_context().run, wait_until, has_beaten).result()

    in_a_run(busy)


def test_a_run_whose_account_was_taken_over_is_stopped_with_a_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.1)

    async def lose() -> None:
        async with account_lock(settings, AT_ONCE, Progress("p")):
            usurper = turns.Turn(settings.account_name, 2, turns.this_run("elsewhere"))
            assert await usurper.claim()
            await asyncio.sleep(60)

    with pytest.raises(RunError, match="has taken this WillSuite account over"):
        in_a_run(lose)


def test_a_waiting_run_that_is_cancelled_leaves_nothing_in_the_way(
    settings: Settings, run_log: list[str]
) -> None:
    async def cancel() -> None:
        async with account_lock(settings, AT_ONCE, Progress("p")):

            async def second() -> None:
                async with account_lock(settings, Waiting(60.0), Progress("p")):
                    pytest.fail("it is taken")

            waiting = asyncio.create_task(second())
            while "Waiting for this account" not in "\n".join(run_log):
                await asyncio.sleep(0.02)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await shared.read_all(f"willsuite_ticket_{settings.account_name}_") == {}

    in_a_run(cancel)
    assert held_by_this_run(settings)


def test_other_accounts_do_not_wait_for_each_other(settings: Settings) -> None:
    other = load_settings(client_id="two")
    elsewhere = load_settings(base_url="https://elsewhere.example.org/api")

    async def all_at_once() -> None:
        async with (
            account_lock(settings, AT_ONCE, Progress("p")),
            account_lock(other, AT_ONCE, Progress("p")),
            account_lock(elsewhere, AT_ONCE, Progress("p")),
        ):
            pass

    in_a_run(all_at_once)


@pytest.mark.parametrize("error", [KeyError("ours"), asyncio.CancelledError()])
def test_whatever_ends_the_block_frees_the_account_and_settles_nothing(
    settings: Settings, error: BaseException
) -> None:
    async def broken() -> None:
        try:
            async with account_lock(settings, AT_ONCE, Progress("p")) as known:
                await known.begin_writing()
                raise error
        except type(error):
            pass

    in_a_run(broken)
    assert not held_by_this_run(settings)


def test_the_first_run_ever_may_say_that_there_is_nothing_to_wait_for(settings: Settings) -> None:
    forget_in_prefect(settings.account_name)
    assert not held_by_this_run(settings)
    assert held_by_this_run(settings, Waiting(0.0, first_run=True))

    async def write(known: KnownAccount) -> None:
        await known.begin_writing()

    async def killed() -> None:
        async with account_lock(settings, AT_ONCE, Progress("p")) as known:
            await write(known)

    in_a_run(killed)
    assert not held_by_this_run(settings, Waiting(0.0, first_run=True)), "it was not the first"


def test_the_state_is_private_and_names_neither_the_account_nor_its_keys(
    settings: Settings,
) -> None:
    async def end_well() -> None:
        async with account_lock(settings, AT_ONCE, Progress("p")) as known:
            await known.settle()

    in_a_run(end_well)
    folder = state_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert sorted(file.suffix for file in files) == [".json", ".lock"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "one" not in file.name
