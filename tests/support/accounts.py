"""Accounts as runs find them: what Prefect and machines know of them.

Belongs here: preparing what is known, other machines, and waiting for what another run says. Does
not: sandboxes (`conftest.py`), or what a run leaves (`ended_runs.py`).
"""

import asyncio
import time
from collections.abc import Callable

from protocols.account import shared


def forget_in_prefect(account: str) -> None:
    """Another Prefect database."""
    asyncio.run(_forget(account))


def known_from_before(account: str) -> None:
    """Let Prefect know of an account whose last run ended well, and of nothing else."""

    async def forget_and_settle() -> None:
        await _forget(account)
        await shared.create(shared.name_of("account", account, 1), {"is_settled": True})

    asyncio.run(forget_and_settle())


async def _forget(account: str) -> None:
    for kind, found in (await shared.read_account(account)).items():
        for name in found:
            await shared.remove(shared.name_of(kind, account, name))


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what somebody else does; bounded."""
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at, "it came in time"
        time.sleep(0.02)
