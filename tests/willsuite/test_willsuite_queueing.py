"""A request that waited long for its turn has not used up its patience or its retries."""

import asyncio

import pytest

from sandbox.faults import Fault, Status
from willsuite import WillSuiteClient

ONE_IN_A_QUARTER_OF_AN_HOUR = 0.05  # requests a minute: each waits longer than any patience


@pytest.mark.parametrize(
    "trouble", [Status(500), Status(429, {"Retry-After": "1"})], ids=["500", "429"]
)
def test_a_first_refusal_after_a_long_wait_in_the_queue_is_not_the_last(
    trouble, sandbox, settings_for, fake_time
):
    async def scenario():
        settings = settings_for(sandbox.url, requests_per_minute=ONE_IN_A_QUARTER_OF_AN_HOUR)
        client = WillSuiteClient(settings, clock=fake_time.clock, sleep=fake_time.sleep)
        async with client:
            await client.get_cases_page(1)
            sandbox.faults.append(Fault(trouble, path="/cases"))
            return await client.get_cases_page(2, per_page=20)

    assert len(asyncio.run(scenario()).cases) == 20
    assert sandbox.faults[0].played == 1
