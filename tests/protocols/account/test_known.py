"""What is known of an account, by machines that share a real Prefect server."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from accounts import forget_in_prefect

from protocols.account import shared
from protocols.account.job_records import JobRecord
from protocols.account.known import KnownAccount, has_open_jobs, known_account, state_folder

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def account() -> str:
    """A name that no other test has left anything for."""
    return uuid4().hex[:16]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Go to another machine: another state folder, the same server."""

    def go(machine: str) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))

    return go


def known(account: str, *steps: str) -> bool:
    """Whether a run finds the account settled; `steps` are what it then does."""

    async def look() -> bool:
        found = await known_account(account)
        was_settled = found.is_settled
        for step in steps:
            change: Callable[[], Awaitable[None]] = getattr(found, step)
            await change()
        return was_settled

    return asyncio.run(look())


def test_of_an_account_of_which_nothing_is_known_nothing_is_settled(account: str) -> None:
    assert not known(account)
    assert asyncio.run(known_account(account)).is_new


def test_somebody_may_say_that_there_was_nothing_before(account: str) -> None:
    found = asyncio.run(known_account(account))
    found.begin_anew()
    assert found.is_settled
    assert not known(account), "nothing has been written down"


def test_an_account_is_settled_from_a_clean_end_to_the_next_writing(account: str) -> None:
    known(account, "begin_writing")
    assert not known(account, "begin_writing", "settle")
    assert known(account)
    assert known(account, "begin_writing")
    assert not known(account)


def test_what_a_run_left_under_way_on_one_machine_is_known_on_another(
    account: str, on: Callable[[str], None]
) -> None:
    on("second")
    known(account, "begin_writing", "settle")
    on("first")
    assert known(account, "begin_writing")  # and killed
    on("second")
    assert not known(account), "though its own last run ended well"
    on("third")
    assert not known(account)


def test_a_clean_end_on_one_machine_settles_it_for_machines_that_know_nothing(
    account: str, on: Callable[[str], None]
) -> None:
    on("first")
    known(account, "begin_writing", "settle")
    on("second")
    assert known(account)


def test_a_machine_does_not_forget_what_it_left_when_prefect_has_forgotten(account: str) -> None:
    known(account, "begin_writing", "settle")
    forget_in_prefect(account)
    assert not known(account), "what ran elsewhere can't be known"
    assert not asyncio.run(known_account(account)).is_new


def test_a_run_with_another_prefect_server_is_known_on_its_machine(
    account: str, on: Callable[[str], None]
) -> None:
    on("first")
    known(account, "begin_writing")
    on("second")
    known(account, "settle")
    on("first")
    assert not known(account, "settle")
    assert known(account)


@pytest.mark.parametrize("value", ["x", [], {}, {"is_settled": "yes"}])
def test_a_record_that_cannot_be_read_settles_nothing(account: str, value: object) -> None:
    known(account, "begin_writing", "settle")
    asyncio.run(shared.put(f"willsuite_account_{account}_9", value))  # type: ignore[arg-type]
    assert not known(account)


def test_older_records_are_removed_by_the_next_run(account: str) -> None:
    known(account, "begin_writing", "settle", "begin_writing", "settle")
    assert known(account, "tidy")
    assert list(asyncio.run(shared.read_all(f"willsuite_account_{account}_"))) == ["4"]
    assert known(account)


def test_the_record_is_in_the_users_state_folder(
    account: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "")
    assert state_folder() == tmp_path / ".local" / "state" / "willsuite-flows"
    known(account, "begin_writing")
    assert [path.name for path in state_folder().iterdir()] == [f"{account}.json"]


# -- jobs ----------------------------------------------------------------------------------------


def jobs(account: str) -> list[tuple[int, str | None]]:
    async def read() -> list[JobRecord]:
        return await (await known_account(account)).jobs.open()

    return [(record.rows, record.job_id) for record in asyncio.run(read())]


def handed_in(account: str, rows: int, job_id: str | None) -> Callable[[], None]:
    """Leave a batch open; returns what ends it."""

    async def hand_in() -> tuple[KnownAccount, JobRecord]:
        found = await known_account(account)
        record = await found.jobs.intend(rows)
        return found, await found.jobs.accepted(record, job_id) if job_id else record

    found, record = asyncio.run(hand_in())
    return lambda: asyncio.run(found.jobs.forget(record))


def test_open_jobs_of_one_machine_are_known_on_another_until_they_have_ended(
    account: str, on: Callable[[str], None]
) -> None:
    on("first")
    end_first = handed_in(account, 5, "job-1")
    handed_in(account, 7, None)
    on("second")
    assert jobs(account) == [(5, "job-1"), (7, None)]
    end_first()
    assert jobs(account) == [(7, None)]
    on("first")
    assert jobs(account) == [(7, None)]


def test_open_jobs_that_prefect_has_forgotten_are_known_where_they_were_handed_in(
    account: str,
) -> None:
    handed_in(account, 5, "job-1")
    forget_in_prefect(account)
    assert jobs(account) == [(5, "job-1")]


def test_a_batch_that_other_machines_cannot_be_told_of_is_not_handed_in(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_anything: object) -> None:
        raise shared.ServerAwayError("away")

    monkeypatch.setattr(shared, "PATIENCE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("protocols.account.shared.create", away)
        with pytest.raises(shared.ServerAwayError):
            handed_in(account, 5, None)
    assert jobs(account) == []


def test_what_was_said_last_of_a_batch_counts_and_once_it_is_over_the_next_run_clears_it_away(
    account: str,
) -> None:
    async def said() -> tuple[list[str], list[str]]:
        jobs = (await known_account(account)).jobs
        record = await jobs.accepted(await jobs.intend(5), "job-1")
        record = await jobs.take_for_dead(record, 2)
        elsewhere = (await known_account(account)).jobs
        shutil.rmtree(record.path.parent)  # what this machine alone knew
        [found] = await elsewhere.open()
        assert (found.job_id, found.stood_at) == ("job-1", 2)
        await elsewhere.take_for_dead(found, 3)
        assert [each.stood_at for each in await elsewhere.open()] == [3]
        await elsewhere.forget(found)
        prefix = f"willsuite_job_{account}_"
        before = list(await shared.read_all(prefix))
        assert await elsewhere.open() == []
        return before, list(await shared.read_all(prefix))

    before, after = asyncio.run(said())
    assert (len(before), after) == (5, [])


def test_a_batch_that_is_over_stays_so_while_what_was_said_of_it_cannot_be_cleared_away(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, failures = shared.remove, ["the first"]

    async def fails_once(name: str) -> None:
        if failures:
            raise shared.ServerAwayError(failures.pop())
        await remove(name)

    async def left_open() -> list[JobRecord]:
        jobs = (await known_account(account)).jobs
        await jobs.forget(await jobs.intend(5))
        monkeypatch.setattr(shared, "remove", fails_once)
        assert await jobs.open() == []
        return await jobs.open()

    assert asyncio.run(left_open()) == []
    assert failures == []


@pytest.mark.parametrize("value", ["x", {}, {"rows": "many", "submitted_at": 3, "job_id": 4}])
def test_a_job_whose_record_cannot_be_read_counts_as_a_batch_of_now(
    account: str, value: object
) -> None:
    name = f"willsuite_job_{account}_{uuid4().hex}"
    asyncio.run(shared.put(name, value))  # type: ignore[arg-type]
    assert jobs(account) == [(0, None)]


def test_whether_a_batch_is_open_anywhere_is_known_here_and_elsewhere(
    account: str, on: Callable[[str], None]
) -> None:
    async def look() -> list[bool]:
        for name in await shared.read_all("willsuite_job_"):  # of other tests
            await shared.remove(f"willsuite_job_{name}")
        found = [await has_open_jobs()]
        jobs = (await known_account(account)).jobs
        record = await jobs.intend(3)
        found.append(await has_open_jobs())
        on("another")
        found.append(await has_open_jobs())
        await jobs.forget(record)
        found.append(await has_open_jobs())
        return found

    on("one")
    assert asyncio.run(look()) == [False, True, True, False]
