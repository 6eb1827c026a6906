"""Whose turn it is, among machines that share a real Prefect server."""

import asyncio
import threading
from uuid import uuid4

import pytest

from protocols.account import shared, turns
from protocols.account.turns import Holder, Queue, Turn

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def account() -> str:
    """A name that no other test has left anything for."""
    return uuid4().hex[:16]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which a waiting run judges others; stands still but for what a test adds."""
    now = [1000.0]
    monkeypatch.setattr(turns, "monotonic", lambda: now[0])
    return now


def run_at(place: str) -> Holder:
    return Holder(uuid4().hex, "import-cases", "", place, "2026-11-30 09:00:00 UTC")


def queue(account: str, place: str = "elsewhere") -> Queue:
    return Queue(account, run_at(place))


def taken(found: object) -> bool:
    return isinstance(found, Turn)


async def names(account: str, kind: str = "turn") -> list[str]:
    return list(await shared.read_all(f"willsuite_{kind}_{account}_"))


def test_of_many_that_come_at_once_one_has_the_turn(account: str) -> None:
    async def all_at_once() -> list[object]:
        return await asyncio.gather(*(queue(account, f"place {n}").take() for n in range(8)))

    found = asyncio.run(all_at_once())
    assert len(list(filter(taken, found))) == 1


def test_a_turn_that_is_given_back_is_the_next_ones_and_nothing_older_remains(account: str) -> None:
    async def three_in_a_row() -> None:
        for number in (1, 2, 3):
            turn = await queue(account).take()
            assert isinstance(turn, Turn)
            assert turn.took_over is None
            other = queue(account, "there")
            holder = await other.look()
            assert holder is not None
            assert holder.flow == "import-cases"
            await other.leave()
            await turn.give_back()
            assert await names(account) == [str(number), f"{number}_free"]

    asyncio.run(three_in_a_row())


def test_those_who_wait_have_their_turns_as_they_came(account: str) -> None:
    async def come_and_go() -> None:
        first = await queue(account).take()
        assert isinstance(first, Turn)
        second, third = queue(account, "second"), queue(account, "third")
        assert not taken(await second.take())
        assert not taken(await third.take())
        await first.give_back()
        before = await third.take()
        assert isinstance(before, Holder)
        turn = await second.take()
        assert isinstance(turn, Turn)
        assert not taken(await third.take())
        await turn.give_back()
        assert taken(await third.take())
        assert await names(account, "ticket") == []

    asyncio.run(come_and_go())


def test_a_run_that_came_and_left_keeps_nobody_waiting(account: str) -> None:
    async def leave() -> None:
        first, second = await queue(account).take(), queue(account, "second")
        assert isinstance(first, Turn)
        assert not taken(await second.take())
        third = queue(account, "third")
        assert not taken(await third.take())
        await second.leave()
        await first.give_back()
        assert taken(await third.take())

    asyncio.run(leave())


def test_a_holder_that_is_not_heard_of_is_dead_and_one_that_beats_is_not(
    account: str, clock: list[float]
) -> None:
    async def watch() -> None:
        assert taken(await queue(account, "dead").take())
        waiting = queue(account, "here")
        assert not taken(await waiting.take())
        clock[0] += turns.SILENCE_SECONDS - 1
        assert not taken(await waiting.take())
        held = await shared.read(f"willsuite_turn_{account}_1")
        assert held is not None
        await shared.put(f"willsuite_turn_{account}_1", held | {"beat": 1})
        clock[0] += 2
        assert not taken(await waiting.take())
        clock[0] += turns.SILENCE_SECONDS
        turn = await waiting.take()
        assert isinstance(turn, Turn)
        assert turn.took_over is not None
        assert turn.took_over.place == "dead"

    asyncio.run(watch())


def test_a_server_that_was_away_makes_nobody_dead(
    account: str, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_account: str) -> shared.AccountVariables:
        raise shared.ServerAwayError("away")

    async def watch() -> None:
        assert taken(await queue(account, "slow").take())
        waiting = queue(account, "here")
        assert not taken(await waiting.take())
        with monkeypatch.context() as patch:
            patch.setattr("protocols.account.shared.read_account", away)
            with pytest.raises(shared.ServerAwayError):
                await waiting.take()
        clock[0] += 2 * turns.SILENCE_SECONDS
        assert not taken(await waiting.take())

    asyncio.run(watch())


def test_whoever_waits_and_dies_is_passed_over(account: str, clock: list[float]) -> None:
    async def watch() -> None:
        first, dead, alive = await queue(account).take(), queue(account, "d"), queue(account, "a")
        assert isinstance(first, Turn)
        assert not taken(await dead.take())
        assert not taken(await alive.take())
        await first.give_back()
        assert not taken(await alive.take())
        clock[0] += turns.SILENCE_SECONDS
        assert taken(await alive.take())
        assert await names(account, "ticket") == []

    asyncio.run(watch())


def test_a_dead_run_of_the_same_place_is_known_at_once(account: str) -> None:
    async def rerun() -> None:
        assert taken(await queue(account, "here").take())
        turn = await queue(account, "here").take()
        assert isinstance(turn, Turn)
        assert turn.took_over is not None

    asyncio.run(rerun())


def test_a_number_that_was_cleared_away_is_no_turn(account: str) -> None:
    async def late() -> None:
        for _ in range(2):
            turn = await queue(account).take()
            assert isinstance(turn, Turn)
            await turn.give_back()
        held = await queue(account).take()
        assert taken(held)
        # one that had looked before all this, and is only now about to create its number
        late_comer = Turn(account, 1, run_at("late"))
        assert not await late_comer.claim()
        assert await names(account) == ["3"]

    asyncio.run(late())


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.05)


def test_a_turn_is_kept_by_beats_until_it_is_given_back(account: str, quick_beats: None) -> None:
    async def keep() -> None:
        turn = await queue(account).take()
        assert isinstance(turn, Turn)
        turn.keep(lambda: pytest.fail("nobody has taken it"))
        name = f"willsuite_turn_{account}_1"
        async with asyncio.timeout(30):
            while (value := await shared.read(name)) is None or value["beat"] < 2:
                await asyncio.sleep(0.05)
        await turn.give_back()
        assert await names(account) == ["1", "1_free"]

    asyncio.run(keep())


def test_a_turn_whose_variable_is_gone_is_kept_all_the_same(
    account: str, quick_beats: None
) -> None:
    async def keep() -> None:
        turn = await queue(account).take()
        assert isinstance(turn, Turn)
        await shared.remove(f"willsuite_turn_{account}_1")
        turn.keep(lambda: pytest.fail("nobody has taken it"))
        async with asyncio.timeout(30):
            while not await names(account):
                await asyncio.sleep(0.05)
        assert not taken(await queue(account, "another").take())
        await turn.give_back()

    asyncio.run(keep())


def test_a_run_learns_that_another_has_taken_its_turn(account: str, quick_beats: None) -> None:
    lost = threading.Event()

    async def lose() -> None:
        turn = await queue(account, "here").take()
        assert isinstance(turn, Turn)
        assert taken(await queue(account, "here").take())
        turn.keep(lost.set)
        assert await asyncio.to_thread(lost.wait, 30)
        assert await names(account) == ["2"]

    asyncio.run(lose())
