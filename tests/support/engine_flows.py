"""Flows for the workers of `tests/engine/`: what the product's flows do with an engine, no more."""

import asyncio
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from tasks.progress import LiveTable, Progress, show_result


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
