"""Accounts as runs find them: what Prefect and machines know of them.

Belongs here: preparing what is known, other machines, and waiting for what another run says. Does
not: sandboxes (`conftest.py`), or what a run leaves (`ended_runs.py`).
"""

import asyncio
import time
from collections.abc import Callable

from protocols.account import shared

KINDS = ("account", "turn", "ticket", "job")


def forget_in_prefect(account: str) -> None:
    """Another Prefect database."""

    async def forget() -> None:
        for kind in KINDS:
            prefix = f"willsuite_{kind}_{account}"
            for name in await shared.read_all(prefix):
                await shared.remove(prefix + name)

    asyncio.run(forget())


def known_from_before(account: str) -> None:
    """Let Prefect know of an account whose last run ended well, and of nothing else."""
    forget_in_prefect(account)
    asyncio.run(shared.put(f"willsuite_account_{account}", {"is_settled": True}))


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what somebody else does; bounded."""
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at, "it came in time"
        time.sleep(0.02)
