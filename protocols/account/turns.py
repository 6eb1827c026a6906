"""Whose turn it is to write to an account, among all machines that share a Prefect server.

Belongs here: waiting in order of arrival, taking the turn, keeping it while the run lives, and
telling a holder that is dead from one that is only slow. Does not: the machine's own lock file
(`lock.py`), or what is known of the account (`known.py`).

A turn is a variable with a number; the newest one counts. To take it is to create the next number,
which one run alone can do. A holder changes its variable every `BEAT_SECONDS`; one that is not
heard of for `SILENCE_SECONDS`, while the server answered all the time, is dead. No clock of one
machine is compared with another's, and nothing is lost when the server restarts: a slot of a
Prefect concurrency limit is (its leases are in the server's memory), and a killed run's stays.

Who has to wait leaves a ticket, whose name says when it came.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic, time_ns
from typing import Any
from uuid import uuid4

from prefect import runtime

from protocols.account import shared

BEAT_SECONDS = 10.0
SILENCE_SECONDS = 90.0
POLL_SECONDS = 2.0
FREE = "_free"
"""Ends the name of a variable that says that a turn was given back."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The run whose turn it is, or was last."""

    token: str
    flow: str
    run_id: str
    place: str
    since: str
    """UTC, by the holder's clock; for people."""
    beat: int = 0

    def value(self) -> shared.Value:
        """As it is in the variable."""
        return {name: getattr(self, name) for name in self.__slots__}


def this_run(place: str) -> Holder:
    """The run around the caller; `place` says where its lock file is."""
    return Holder(
        token=uuid4().hex,
        flow=runtime.flow_run.flow_name or "",
        run_id=str(runtime.flow_run.id or ""),
        place=place,
        since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
    )


def _holder(value: shared.Value) -> Holder:
    """Whoever is in a variable; a stranger where that can't be read."""
    texts = {name: str(value.get(name, "")) for name in ("token", "flow", "run_id", "place")}
    beat = value.get("beat")
    return Holder(
        **texts,
        since=str(value.get("since", "")),
        beat=beat if isinstance(beat, int) else 0,
    )


def _number(name: str) -> int:
    """Of the turn whose variable bears this name; 0 for one that isn't ours."""
    head = name.removesuffix(FREE)
    return int(head) if head.isdecimal() else 0


@dataclass
class _Silence:
    """How long which variables have stayed as they are, by this machine's own clock."""

    seen: dict[str, tuple[Any, float]] = field(default_factory=dict)

    def look(self, found: dict[str, shared.Value]) -> None:
        """What the variables hold now."""
        now = monotonic()
        self.seen = {
            name: before if (before := self.seen.get(name)) and before[0] == value else (value, now)
            for name, value in found.items()
        }

    def forget(self) -> None:
        """The server was away: nobody could be heard of."""
        self.seen = {}

    def is_dead(self, name: str) -> bool:
        """Whether nothing was heard of it for long enough."""
        return monotonic() - self.seen[name][1] >= SILENCE_SECONDS


class Queue:
    """One run's place among those that want to write to an account."""

    def __init__(self, account: str, me: Holder) -> None:
        self._account = account
        self._tickets = shared.name_of("ticket", account)
        # arrival first: names sort as their runs came
        self._ticket = f"{time_ns() // 1000:017d}_{me.token[:8]}"
        self._me = me
        self._silence = _Silence()
        self._beaten_at = float("-inf")

    async def take(self) -> "Turn | Holder | None":
        """The turn, if it is this run's now; else who has it, or comes before.

        For a run that holds the lock file of its place: another one from there is dead, then.

        Raises:
            ServerAwayError: it can't be told.
        """
        number, newest, before = await self._see()
        is_gone = newest is not None and self._is_gone(newest, number)
        if (newest is not None and not is_gone) or before is not None:
            return newest if newest is not None and not is_gone else before
        turn = Turn(self._account, number + 1, self._me)
        if not await turn.claim():
            return newest
        turn.took_over = newest
        await self.leave()
        return turn

    async def look(self) -> Holder | None:
        """Who has the turn, or comes before; for a run that can't have it yet.

        Raises:
            ServerAwayError: it can't be told.
        """
        _, newest, before = await self._see()
        return newest or before

    async def _see(self) -> tuple[int, Holder | None, Holder | None]:
        """The newest turn's number, who has it (None: nobody), and who waits before this run."""
        try:
            found = await shared.read_account(self._account)
            turns, tickets = found["turn"], found["ticket"]
            self._silence.look({f"turn {name}": value for name, value in turns.items()} | tickets)
            before = await self._first_before_me(tickets)
            number = max(map(_number, turns), default=0)
            is_held = str(number) in turns and f"{number}{FREE}" not in turns
            newest = _holder(turns[str(number)]) if is_held else None
            if newest is not None or before is not None:
                await self._wait_in_line()
        except shared.ServerAwayError:
            self._silence.forget()
            raise
        return number, newest, before

    async def leave(self) -> None:
        """Take the ticket back, if there is one."""
        if self._beaten_at > float("-inf"):
            await shared.remove(self._tickets + self._ticket)

    def _is_gone(self, newest: Holder, number: int) -> bool:
        # from the same place, it would hold the lock file that this run holds
        return newest.place == self._me.place or self._silence.is_dead(f"turn {number}")

    async def _first_before_me(self, tickets: dict[str, shared.Value]) -> Holder | None:
        for name, value in sorted(tickets.items()):
            if name >= self._ticket:
                break
            if not self._silence.is_dead(name):
                return _holder(value)
            await shared.remove(self._tickets + name)
        return None

    async def _wait_in_line(self) -> None:
        """Leave a ticket, or show that its run still lives."""
        now = monotonic()
        if now - self._beaten_at >= BEAT_SECONDS:
            self._me = replace(self._me, beat=self._me.beat + 1)
            await shared.put(self._tickets + self._ticket, self._me.value())
            self._beaten_at = now


class Turn:
    """A turn that this run has, while it lives."""

    def __init__(self, account: str, number: int, me: Holder) -> None:
        self._account, self._number, self._me = account, number, me
        self._prefix = shared.name_of("turn", account)
        self.took_over: Holder | None = None
        """The dead run that had it before."""
        self.found: shared.AccountVariables = {}
        """What was said of the account when the turn was this run's."""
        self._is_over = threading.Event()

    @property
    def _name(self) -> str:
        return f"{self._prefix}{self._number}"

    async def claim(self) -> bool:
        """Create the turn's variable; False where another run was quicker."""
        if not await shared.create(self._name, self._me.value()):
            return False
        self.found = await shared.read_account(self._account)
        turns = self.found["turn"]
        if any(_number(name) > self._number for name in turns):
            # this number had been cleared away, so it could be created again
            await shared.remove(self._name)
            return False
        for name in turns:
            if _number(name) < self._number:
                await shared.remove(self._prefix + name)
        return True

    def keep(self, on_loss: Callable[[], None]) -> None:
        """Beat from now on, in a thread: whatever else keeps this process busy.

        `on_loss` is called in that thread, if another run has taken the turn: this one was not
        heard of for so long.
        """
        context = contextvars.copy_context()
        beats = threading.Thread(
            target=lambda: context.run(asyncio.run, self._beat(on_loss)), daemon=True
        )
        beats.start()

    async def _beat(self, on_loss: Callable[[], None]) -> None:
        while not self._is_over.wait(BEAT_SECONDS):
            with suppress(shared.ServerAwayError):  # nobody else can take it meanwhile, either
                turns = await shared.read_all(self._prefix)
                if any(_number(name) > self._number for name in turns):
                    on_loss()
                    return
                self._me = replace(self._me, beat=self._me.beat + 1)
                await shared.put(self._name, self._me.value())

    async def give_back(self) -> None:
        """Let the next run have it."""
        self._is_over.set()
        await shared.patiently(lambda: shared.create(self._name + FREE, {}))
