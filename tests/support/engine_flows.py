"""Flows for the workers of `tests/engine/`: what the product's flows do with an engine, no more."""

import asyncio
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from protocols.account.lock import Waiting, account_lock
from tasks.progress import LiveTable, Progress, show_result
from willsuite import Settings, load_settings


@flow
async def tell() -> None:
    """Say something in each way that the product's flows do."""
    get_run_logger().info("said in the log")
    progress = Progress("told-progress")
    progress.begin("Cases told")
    await progress.add(1, 4)
    await progress.finish()
    table = LiveTable("told-table", "What is told")
    await table.show("first")
    await table.show("last")
    await show_result("told-result", "What was told", "**told**")


@flow
async def wait(path: str) -> None:
    """Be under way until there is such a file."""
    while not Path(path).exists():
        await asyncio.sleep(0.1)


@flow
async def write(path: str) -> None:
    """Have an account to itself until there is such a file."""
    async with account_lock(
        account_of("engine"), Waiting(0.0), Progress("write-progress")
    ) as known:
        await known.begin_writing()
        await wait.fn(path)
        await known.settle()


def account_of(client_id: str) -> Settings:
    """Nobody is asked for anything there."""
    return load_settings(client_id=client_id, client_secret="none")
