"""A SIGTERM that ends a run in order.

Belongs here: turning the signal into a cancellation of the run. Does not: what a run does when it
is cancelled (its own `except` or `finally`), or Ctrl-C, which asyncio turns into the same.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancelled_by_sigterm() -> Iterator[None]:
    """Cancel the current task when SIGTERM arrives during the block.

    Prefect's own handler raises in the middle of whatever runs, and what asyncio happens to be
    running may swallow that: the run then goes on as if nothing had been. Where signals can't be
    handled (another thread, another system), Prefect's way stays.
    """
    loop, run = asyncio.get_running_loop(), asyncio.current_task()
    assert run is not None
    try:
        before = signal.getsignal(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGTERM, run.cancel)
    except (ValueError, RuntimeError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
