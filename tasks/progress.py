"""Progress a person can watch: a line in the log now and then, and a Prefect progress artifact.

It carries counts only. Showing progress never fails a run: where the artifact can't be written,
the log says so once and the run goes on.
"""

import time
from typing import Any
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.logging import get_run_logger

LOG_EVERY_SECONDS = 10.0
UPDATE_EVERY_SECONDS = 1.0


class Progress:
    """How far one run is. `key` names the artifact: lower case, digits and dashes."""

    def __init__(self, key: str, what: str) -> None:
        self._key = key
        self._what = what
        self._logger = get_run_logger()
        self._artifact: UUID | None = None
        self._broken = False
        self._logged_at = self._updated_at = time.monotonic()

    def say(self, message: str) -> None:
        """A line in the run's log, at once."""
        self._logger.info("%s", message)

    async def show(self, done: int, expected: int | None, *, final: bool = False) -> None:
        """`done` of `expected` so far; throttled, except for the first and the final call."""
        now = time.monotonic()
        if final or now - self._logged_at >= LOG_EVERY_SECONDS:
            self._logged_at = now
            of = f" of {expected:,}" if expected else ""
            self._logger.info("%s: %s%s", self._what, f"{done:,}", of)
        if final or self._artifact is None or now - self._updated_at >= UPDATE_EVERY_SECONDS:
            self._updated_at = now
            share = 100.0 if final else min(99.0, 100.0 * done / expected) if expected else 0.0
            await self._show_artifact(share)

    async def _show_artifact(self, percent: float) -> None:
        if self._broken:
            return
        try:
            if self._artifact is None:
                created: Any = await acreate_progress_artifact(
                    progress=percent, key=self._key, description=self._what
                )
                self._artifact = created
            else:
                await aupdate_progress_artifact(self._artifact, percent)
        except Exception as error:  # noqa: BLE001 - the work matters, its display doesn't
            self._broken = True
            self._logger.warning("Progress can't be shown (%s); going on.", type(error).__name__)
