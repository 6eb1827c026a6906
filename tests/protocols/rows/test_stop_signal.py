"""A SIGTERM ends a run in order, also one that comes twice."""

import asyncio
import os
import signal

import pytest

from protocols.rows import stop_signal
from protocols.rows.stop_signal import cancelled_by_sigterm


@pytest.fixture(autouse=True)
def nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signal, "_told_at", float("-inf"))


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def stopped_twice() -> str:
    """A run that is stopped, and stopped again while it writes down what it knows."""
    with cancelled_by_sigterm():
        terminate()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            terminate()
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                return "cut short"
            return "whole"
    return "never stopped"


def test_a_signal_that_comes_twice_does_not_cut_short_what_it_has_begun() -> None:
    assert asyncio.run(stopped_twice()) == "whole"


def test_a_later_signal_is_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signal, "ONE_SIGNAL_SECONDS", 0.0)
    assert asyncio.run(stopped_twice()) == "cut short"
