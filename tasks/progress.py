"""What a person can watch: progress as lines in the log and as an artifact, and the result.

It carries counts only. Showing progress never fails a run: where the artifact can't be written,
the log says so once and the run goes on.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.utilities.urls import url_for

LOG_EVERY_SECONDS = 10.0
UPDATE_EVERY_SECONDS = 1.0
COUNT_DOWN_SECONDS = 5.0
SHOW_TIMEOUT_SECONDS = 10.0
"""At the end of a run nobody waits longer than this for a server that is away."""


class Progress:
    """How far one flow run is. `key` names the artifact: lower case, digits and dashes."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._logger = get_run_logger()
        self._artifact: UUID | None = None
        self._has_failed = False
        self._showing: asyncio.Task[None] | None = None
        self._logged_at = self._updated_at = time.monotonic()
        self._what = ""
        self._done = 0
        self._percent = 0.0

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Make this the progress that tasks of the run add to."""
        before = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(before)

    def say(self, message: str) -> None:
        """A line in the run's log, at once."""
        self._logger.info("%s", message)

    def show(self, message: str) -> None:
        """Say it in the log, and as what the artifact shows until something is counted."""
        self.say(f"{message}.")
        self._show(self._percent, message)

    async def wait(self, seconds: float, why: str) -> None:
        """Let the server finish; `why` begins the sentence that says so. Counted down."""
        if seconds <= 0:
            return
        self.say(
            f"{why}; waiting {seconds:.0f} s, until WillSuite has surely finished with what "
            "was sent, before looking."
        )
        until = self._logged_at = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            self._show(self._percent, f"{why}; waiting, {rest:.0f} s left")
            await asyncio.sleep(min(COUNT_DOWN_SECONDS, rest))

    def begin(self, what: str) -> None:
        """Count from zero; `what` is counted ("Cases listed")."""
        self._what, self._done = what, 0

    async def add(self, count: int, expected: int | None) -> None:
        """`count` more of `expected`; shown now and then."""
        self._done += count
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_SECONDS:
            self._logged_at = now
            of = f" of {expected:,}" if expected else ""
            self._logger.info("%s: %s%s", self._what, f"{self._done:,}", of)
        if self._artifact is None or now - self._updated_at >= UPDATE_EVERY_SECONDS:
            self._updated_at = now
            # never 100 before the end: what comes after the listing takes time too
            self._percent = min(99.0, 100.0 * self._done / expected) if expected else 0.0
            self._show(self._percent, self._what)

    async def finish(self) -> None:
        """Show 100 %."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SHOW_TIMEOUT_SECONDS):
                if self._showing is not None:
                    await self._showing
                await self._write(100.0, self._what)

    def _show(self, percent: float, what: str) -> None:
        """Show it beside the work, which doesn't wait; what comes too quickly isn't shown."""
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._write(percent, what))

    async def _write(self, percent: float, what: str) -> None:
        try:
            if self._artifact is None:
                created: Any = await acreate_progress_artifact(
                    progress=percent, key=self._key, description=what
                )
                self._artifact = created
            else:
                await aupdate_progress_artifact(self._artifact, percent, what)
        except Exception as error:  # noqa: BLE001 - the work matters, its display doesn't
            if not self._has_failed:
                name = type(error).__name__
                self._logger.warning("Progress can't be shown (%s); going on.", name)
            self._has_failed = True


class LiveTable:
    """A markdown artifact of the run that is replaced by its newer versions."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._artifact: UUID | None = None
        self._broken = False
        self._turn = asyncio.Lock()
        self._latest = self._shown = ""

    async def show(self, markdown: str) -> None:
        """Show this instead of what is shown so far."""
        self._latest = markdown
        async with self._turn:  # calls at once make one artifact, and the last one stays
            if not self._broken and self._shown != self._latest:
                await self._show(self._latest)

    async def _show(self, markdown: str) -> None:
        try:
            if self._artifact is None:
                created: Any = await acreate_markdown_artifact(
                    key=self._key, description=self._description, markdown=markdown
                )
                self._artifact = created
                if page := url_for("flow-run", runtime.flow_run.id):
                    get_run_logger().info("%s: among the artifacts of %s", self._description, page)
            else:
                async with get_client() as client:
                    await client.update_artifact(self._artifact, ArtifactUpdate(data=markdown))
            self._shown = markdown
        except Exception as error:  # noqa: BLE001 - as above
            self._broken = True
            get_run_logger().warning("It can't be shown (%s); going on.", type(error).__name__)


async def show_result(key: str, description: str, markdown: str) -> None:
    """A markdown artifact of the run; what the run has done stands, even if it can't be shown."""
    try:
        await acreate_markdown_artifact(key=key, description=description, markdown=markdown)
    except Exception as error:  # noqa: BLE001 - as above
        get_run_logger().warning("The result can't be shown (%s).", type(error).__name__)


async def show_table(key: str, description: str, rows: list[dict[str, Any]]) -> None:
    """A table artifact of the run, likewise."""
    try:
        await acreate_table_artifact(key=key, description=description, table=rows)
    except Exception as error:  # noqa: BLE001 - as above
        get_run_logger().warning("A table can't be shown (%s).", type(error).__name__)


async def name_run(what: str) -> None:
    """Let the run around the caller be called so, and when; a name that it has is as good.

    `what` has counts and no name of a file: that may bear a client's.
    """
    with suppress(Exception):
        async with get_client() as client:
            name = f"{what} · {datetime.now():%Y-%m-%d %H:%M}"  # noqa: DTZ005 - for people
            await client.update_flow_run(UUID(runtime.flow_run.id or ""), name=name)


_current: ContextVar[Progress | None] = ContextVar("progress", default=None)


def begin_progress(what: str) -> None:
    """Begin another count in the progress of the run around the caller, if it shows one."""
    if (progress := _current.get()) is not None:
        progress.begin(what)


async def add_progress(count: int, expected: int | None) -> None:
    """Add to the progress of the run around the calling task, if it shows one."""
    if (progress := _current.get()) is not None:
        await progress.add(count, expected)
