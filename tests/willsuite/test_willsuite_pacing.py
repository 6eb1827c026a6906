"""The gate: how many requests pass it, and when."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from willsuite.errors import RateLimitedError
from willsuite.pacing import MAX_WAIT_SECONDS, UNKNOWN_WAITS_SECONDS, Pacer

NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)


def gate(time, *, jitter=0.0, **options) -> Pacer:
    start = time.clock()
    return Pacer(
        clock=time.clock,
        sleep=time.sleep,
        now=lambda: NOW + timedelta(seconds=time.clock() - start),
        jitter=lambda: jitter,
        **options,
    )


def reset_in(seconds: float) -> str:
    return str(int(NOW.timestamp() + seconds))


async def waiting(pacer: Pacer, count: int, time) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(pacer.enter()) for _ in range(count)]
    await time.settle()
    return tasks


def passed(tasks) -> int:
    return sum(task.done() for task in tasks)


async def cancel(tasks) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_server_that_says_nothing_is_not_slowed(stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        tasks = await waiting(pacer, 100, stepped_time)
        assert passed(tasks) == 100
        pacer.learn(200, {})
        assert passed(await waiting(pacer, 100, stepped_time)) == 100
        assert stepped_time.sleeps == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(("remaining", "in_flight"), [(5, 0), (5, 3), (1, 0), (3, 2)])
def test_no_more_requests_pass_than_remain_after_those_under_way(
    remaining, in_flight, stepped_time
):
    async def scenario():
        pacer = gate(stepped_time)
        await waiting(pacer, in_flight + 1, stepped_time)
        pacer.learn(200, {"x-ratelimit-remaining": str(remaining)})
        tasks = await waiting(pacer, 20, stepped_time)
        assert passed(tasks) == remaining - in_flight
        await stepped_time.advance(3600)
        assert passed(tasks) == remaining - in_flight
        await cancel(tasks)

    asyncio.run(scenario())


def test_at_zero_without_a_reset_one_request_at_a_time_asks(stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        pacer.learn(200, {"x-ratelimit-remaining": "0"})
        tasks = await waiting(pacer, 5, stepped_time)
        assert passed(tasks) == 1
        pacer.learn(200, {"x-ratelimit-remaining": "0"})
        await stepped_time.settle()
        assert passed(tasks) == 2
        pacer.learn(200, {"x-ratelimit-remaining": "50"})
        await stepped_time.settle()
        assert passed(tasks) == 5

    asyncio.run(scenario())


def test_an_asking_request_that_gets_no_answer_lets_the_next_one_ask(stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        pacer.learn(200, {"x-ratelimit-remaining": "0"})
        tasks = await waiting(pacer, 3, stepped_time)
        pacer.leave()
        await stepped_time.settle()
        assert passed(tasks) == 2
        await cancel(tasks)

    asyncio.run(scenario())


def test_at_zero_the_announced_reset_is_waited_for(stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset_in(40)}
        pacer.learn(200, headers)
        tasks = await waiting(pacer, 5, stepped_time)
        await stepped_time.advance(39)
        assert passed(tasks) == 0
        await stepped_time.advance(2)
        assert passed(tasks) == 1
        pacer.learn(200, {"x-ratelimit-remaining": "50"})
        await stepped_time.settle()
        assert passed(tasks) == 5

    asyncio.run(scenario())


@pytest.mark.parametrize("reset", ["", "soon", "-1", "0", reset_in(-10), reset_in(86400), "9" * 50])
def test_a_reset_that_is_past_absurd_or_garbage_is_not_waited_for(reset, stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        pacer.learn(200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset})
        tasks = await waiting(pacer, 5, stepped_time)
        assert passed(tasks) == 1
        await cancel(tasks)

    asyncio.run(scenario())


@pytest.mark.parametrize("remaining", ["", "many", "-1", "²", "1.5"])
def test_a_remaining_count_that_is_no_number_is_ignored(remaining, stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        pacer.learn(200, {"x-ratelimit-remaining": remaining})
        assert passed(await waiting(pacer, 20, stepped_time)) == 20

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "header", ["30", format(NOW + timedelta(seconds=30), "%a, %d %b %Y %H:%M:%S GMT")]
)
def test_after_a_429_the_gate_is_shut_as_long_as_asked_and_then_one_request_goes_first(
    header, stepped_time
):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        pacer.learn(429, {"retry-after": header})
        tasks = await waiting(pacer, 8, stepped_time)
        await stepped_time.advance(29.9)
        assert passed(tasks) == 0
        await stepped_time.advance(0.2)
        assert passed(tasks) == 1
        await stepped_time.advance(600)
        assert passed(tasks) == 1
        pacer.learn(200, {})
        await stepped_time.settle()
        assert passed(tasks) == 8

    asyncio.run(scenario())


def test_a_straggling_answer_from_before_the_429_does_not_open_the_gate_for_all(stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await waiting(pacer, 2, stepped_time)
        pacer.learn(429, {"retry-after": "30"})
        pacer.learn(200, {})
        tasks = await waiting(pacer, 8, stepped_time)
        await stepped_time.advance(29)
        assert passed(tasks) == 0
        await stepped_time.advance(2)
        assert passed(tasks) == 1
        await cancel(tasks)

    asyncio.run(scenario())


def test_several_429s_at_once_shut_the_gate_for_the_longest_of_their_waits(stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await waiting(pacer, 3, stepped_time)
        for seconds in ("10", "60", "20"):
            pacer.learn(429, {"retry-after": seconds})
        tasks = await waiting(pacer, 8, stepped_time)
        await stepped_time.advance(59)
        assert passed(tasks) == 0
        await stepped_time.advance(2)
        assert passed(tasks) == 1
        await cancel(tasks)

    asyncio.run(scenario())


@pytest.mark.parametrize(("asked", "most"), [(2, 2.2), (10, 11), (100, 101)])
def test_jitter_comes_on_top_of_the_wait_and_stays_below_a_second(asked, most, stepped_time):
    async def scenario():
        pacer = gate(stepped_time, jitter=1.0)
        await pacer.enter()
        pacer.learn(429, {"retry-after": str(asked)})
        tasks = await waiting(pacer, 1, stepped_time)
        await stepped_time.advance(most - 0.01)
        assert passed(tasks) == 0
        await stepped_time.advance(0.02)
        assert passed(tasks) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("asked", [int(MAX_WAIT_SECONDS) + 1, 86400, 10**12])
def test_an_absurd_retry_after_ends_the_run_instead_of_hanging_it(asked, stepped_time):
    async def scenario():
        pacer = gate(stepped_time)
        await pacer.enter()
        with pytest.raises(RateLimitedError, match="start it again later"):
            pacer.learn(429, {"retry-after": str(asked)})
        # the slot was given back
        assert passed(await waiting(pacer, 5, stepped_time)) == 5

    asyncio.run(scenario())


@pytest.mark.parametrize("header", [{}, {"retry-after": "0"}, {"retry-after": "later"}])
def test_429s_that_do_not_say_how_long_are_waited_for_longer_and_longer(header, fake_time):
    async def scenario():
        pacer = gate(fake_time)
        waits = []
        for _ in range(6):
            started = fake_time.now
            await pacer.enter()
            waits.append(fake_time.now - started)
            pacer.learn(429, header)
        assert waits == pytest.approx([0.0, *UNKNOWN_WAITS_SECONDS, UNKNOWN_WAITS_SECONDS[-1]])
        assert len(fake_time.slept) == 5

    asyncio.run(scenario())


def test_after_a_success_the_unknown_waits_start_small_again(fake_time):
    async def scenario():
        pacer = gate(fake_time)
        for status in (429, 429, 200, 429):
            await pacer.enter()
            pacer.learn(status, {})
        await pacer.enter()
        assert fake_time.slept == pytest.approx([1.0, 2.0, 1.0])

    asyncio.run(scenario())


def test_requests_per_minute_spaces_the_requests_evenly(stepped_time):
    async def scenario():
        pacer = gate(stepped_time, requests_per_minute=60)
        tasks = await waiting(pacer, 5, stepped_time)
        assert passed(tasks) == 1
        for expected in (2, 3, 4, 5):
            await stepped_time.advance(1.0)
            assert passed(tasks) == expected

    asyncio.run(scenario())


def test_an_idle_spell_is_not_saved_up_for_a_burst(stepped_time):
    async def scenario():
        pacer = gate(stepped_time, requests_per_minute=60)
        await pacer.enter()
        await stepped_time.advance(300)
        tasks = await waiting(pacer, 5, stepped_time)
        assert passed(tasks) == 1
        await cancel(tasks)

    asyncio.run(scenario())


def test_a_429_also_holds_those_who_wait_for_their_own_minute_slot(stepped_time):
    async def scenario():
        pacer = gate(stepped_time, requests_per_minute=60)
        await pacer.enter()
        tasks = await waiting(pacer, 5, stepped_time)
        pacer.learn(429, {"retry-after": "30"})
        await stepped_time.advance(29)
        assert passed(tasks) == 0
        await cancel(tasks)

    asyncio.run(scenario())


@pytest.mark.parametrize("shut_by", ["429", "reset", "count", "minute"])
def test_waiters_that_are_cancelled_do_not_take_a_slot_with_them(shut_by, stepped_time):
    async def scenario():
        pacer = gate(stepped_time, requests_per_minute=60 if shut_by == "minute" else None)
        await pacer.enter()
        if shut_by == "429":
            pacer.learn(429, {"retry-after": "30"})
        elif shut_by == "reset":
            headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset_in(30)}
            pacer.learn(200, headers)
        elif shut_by == "count":
            pacer.learn(200, {"x-ratelimit-remaining": "0"})
            await pacer.enter()
        else:
            pacer.learn(200, {})
        tasks = await waiting(pacer, 10, stepped_time)
        assert passed(tasks) == 0
        await cancel(tasks)
        if shut_by == "count":
            pacer.leave()
        await stepped_time.advance(31)
        assert passed(await waiting(pacer, 1, stepped_time)) == 1
        # with nothing left under way the next request that asks may go: no slot is missing
        pacer.learn(200, {"x-ratelimit-remaining": "0"})
        later = await waiting(pacer, 1, stepped_time)
        await stepped_time.advance(1)
        assert passed(later) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("looks", range(8))
def test_a_reset_that_passes_between_two_looks_at_the_clock_strands_nobody(looks, stepped_time):
    async def scenario():
        times = iter(())
        pacer = Pacer(
            clock=lambda: next(times, stepped_time.now), sleep=stepped_time.sleep, now=lambda: NOW
        )
        await pacer.enter()
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset_in(10)}
        pacer.learn(200, headers)
        before, after = stepped_time.now + 9.5, stepped_time.now + 10.5
        times = iter([before] * looks)  # the reset falls after so many looks
        stepped_time.now = after
        (task,) = await waiting(pacer, 1, stepped_time)
        await stepped_time.advance(60)
        assert task.done()

    asyncio.run(scenario())


def test_every_waiter_gets_through_a_server_that_counts_down_and_resets(fake_time):
    window = {"left": 10, "ends": fake_time.now + 60}
    refused = []

    async def request(pacer: Pacer) -> None:
        while True:
            await pacer.enter()
            await asyncio.sleep(0)
            if fake_time.now >= window["ends"]:
                window.update(left=10, ends=fake_time.now + 60)
            if window["left"] == 0:
                refused.append(1)
                pacer.learn(429, {"retry-after": str(int(window["ends"] - fake_time.now) + 1)})
                continue
            window["left"] -= 1
            pacer.learn(200, {"x-ratelimit-remaining": str(window["left"])})
            return

    async def scenario():
        pacer = gate(fake_time)
        slots = asyncio.Semaphore(4)

        async def bounded():
            async with slots:
                await request(pacer)

        await asyncio.gather(*(bounded() for _ in range(35)))

    asyncio.run(scenario())
    assert 3 <= len(refused) <= 4  # one per window, not one per connection


@pytest.mark.parametrize(("asked", "said"), [("60", ["60"]), ("5", [])])
def test_a_long_wait_after_a_refusal_is_said_once_for_all_that_were_under_way(
    asked, said, stepped_time
):
    async def scenario():
        lines = []
        pacer = gate(stepped_time, say=lines.append)
        await waiting(pacer, 3, stepped_time)
        for _ in range(3):
            pacer.learn(429, {"retry-after": asked})
        assert lines == [
            f"WillSuite limits the rate (429); waiting {each} seconds." for each in said
        ]

    asyncio.run(scenario())


def test_short_waits_without_end_are_said_now_and_then(stepped_time):
    async def scenario():
        lines = []
        pacer = gate(stepped_time, say=lines.append)
        for _ in range(25):
            tasks = await waiting(pacer, 1, stepped_time)
            await stepped_time.advance(10)
            assert passed(tasks) == 1
            pacer.learn(429, {})
        assert lines == ["WillSuite limits the rate (429); waiting 5 seconds."] * 2

    asyncio.run(scenario())
