"""One writing run at a time in one account; only the engine's part is left out here."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect import flow
from prefect.states import Failed

from protocols.account.lock import _is_a_doubtful_run_known, account_lock, state_folder
from tasks.policy import RunError
from willsuite import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]

HOLD = """
import asyncio, sys
import protocols.account.lock
from willsuite import load_settings

async def no_slot(stack):
    pass

async def hold():
    protocols.account.lock._take_slot = no_slot
    protocols.account.lock._is_a_doubtful_run_known = lambda: asyncio.sleep(0, True)
    async with protocols.account.lock.account_lock(load_settings()) as lock:
        lock.begin_writing()
        print("held", flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    async def no_slot(_stack: object) -> None:
        pass

    async def doubtful() -> bool:
        return True

    monkeypatch.setattr("protocols.account.lock._take_slot", no_slot)
    monkeypatch.setattr("protocols.account.lock._is_a_doubtful_run_known", doubtful)
    monkeypatch.setenv("WILLSUITE_CLIENT_ID", "one")
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "secret")


def is_settled(settings: Settings, *, after: str = "") -> bool:
    """Whether a run finds things settled; `after` is what it then does."""

    async def look() -> bool:
        async with account_lock(settings) as lock:
            found = lock.is_settled
            for step in after.split():
                getattr(lock, step)()
            return found

    return asyncio.run(look())


@contextmanager
def held_by_another_process() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_in_this_process_or_another_one_is_refused_until_the_first_has_ended() -> None:
    settings = load_settings()

    async def twice() -> None:
        async with account_lock(settings):
            with pytest.raises(RunError, match="Another run on this machine"):
                async with account_lock(settings):
                    pass

    asyncio.run(twice())
    with held_by_another_process() as process:
        with pytest.raises(RunError, match="Another run on this machine"):
            is_settled(settings)
        process.kill()
        process.wait()
        # a kill frees the lock, and leaves behind that nothing is settled
        assert not is_settled(settings)


def test_another_account_has_another_lock_and_other_marks() -> None:
    one, other = load_settings(), load_settings(client_id="two")
    elsewhere = load_settings(base_url="https://elsewhere.example.org/api")

    async def all_at_once() -> None:
        async with account_lock(one) as lock, account_lock(other), account_lock(elsewhere):
            lock.settle()

    asyncio.run(all_at_once())
    assert [is_settled(settings) for settings in (one, other, elsewhere)] == [True, False, False]


def test_an_account_is_settled_from_a_clean_end_to_the_next_writing() -> None:
    settings = load_settings()
    assert not is_settled(settings)  # never heard of
    assert not is_settled(settings, after="begin_writing")
    assert not is_settled(settings, after="begin_writing settle")
    assert is_settled(settings)
    assert is_settled(settings, after="settle")
    assert is_settled(settings, after="begin_writing")
    assert not is_settled(settings)


def test_whatever_ends_the_block_frees_the_lock_and_settles_nothing() -> None:
    settings = load_settings()

    async def broken(error: BaseException) -> None:
        async with account_lock(settings) as lock:
            lock.begin_writing()
            raise error

    for error in (KeyError("ours"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            asyncio.run(broken(error))
        assert not is_settled(settings)


def test_the_state_is_private_and_names_neither_the_account_nor_its_keys() -> None:
    is_settled(load_settings(), after="settle")
    folder = state_folder()
    assert folder == Path(os.environ["XDG_STATE_HOME"]) / "willsuite-flows"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert sorted(file.suffix for file in files) == [".lock", ".settled"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "one" not in file.name
        assert file.read_bytes() == b""


def test_without_a_state_folder_of_its_own_the_state_is_in_the_users_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "")
    assert state_folder() == tmp_path / ".local" / "state" / "willsuite-flows"


def test_without_any_mark_prefect_is_asked_for_runs_that_may_not_have_ended_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def none_known() -> bool:
        return False

    monkeypatch.setattr("protocols.account.lock._is_a_doubtful_run_known", none_known)
    settings = load_settings()
    assert is_settled(settings, after="begin_writing")
    assert not is_settled(settings)  # now there is a mark, and it counts more


def test_a_run_that_failed_is_doubtful_and_one_that_completed_or_this_one_is_not(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.account.lock.WRITING_FLOWS", ("write-for-a-test",))

    @flow(name="write-for-a-test")
    async def write(fails: bool) -> object:
        found.append(await _is_a_doubtful_run_known())
        return Failed() if fails else None

    found: list[bool] = []
    for fails in (False, True, False):
        asyncio.run(write(fails, return_state=True))
    assert found == [False, False, True]
