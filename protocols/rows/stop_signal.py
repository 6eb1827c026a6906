"""A SIGTERM that ends a run in order.

Belongs here: turning the signal into a cancellation of the run. Does not: what a run does when it
is cancelled (its own `except` or `finally`), or Ctrl-C, which asyncio turns into the same.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_running: set[asyncio.Task[Any]] = set()
"""What a SIGTERM cancels: one run, or several that are awaited together."""
ONE_SIGNAL_SECONDS = 1.0
"""Within it a signal that comes twice is one: from a supervisor, and passed on by its child. A
second one would cut short what the first has begun."""
_told_at = float("-inf")
_before: Any = None
"""The handler to be put back when the last of them has ended."""


@contextmanager
def cancelled_by_sigterm() -> Iterator[None]:
    """Cancel the current task when SIGTERM arrives during the block.

    Prefect's own handler raises in the middle of whatever runs, and what asyncio happens to be
    running may swallow that: the run then goes on as if nothing had been. Where signals can't be
    handled (another thread, another system), Prefect's way stays.
    """
    global _before  # noqa: PLW0603 - signal handlers are the process's
    loop, run = asyncio.get_running_loop(), asyncio.current_task()
    assert run is not None
    try:
        before = signal.getsignal(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGTERM, _cancel_all)
    except (ValueError, RuntimeError, NotImplementedError):
        yield
        return
    if not _running:
        _before = before
    _running.add(run)
    try:
        yield
    finally:
        _running.discard(run)
        if not _running:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, _before)


def _cancel_all() -> None:
    global _told_at  # noqa: PLW0603 - as above
    if time.monotonic() - _told_at < ONE_SIGNAL_SECONDS:
        return
    _told_at = time.monotonic()
    for run in _running:
        run.cancel()
