"""Runs of a flow in processes of their own, which are killed or stopped at a chosen moment.

Belongs here: starting them, the moment, and the signal. Does not: what a flow has to leave behind
(the tests of each flow).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.settings import PREFECT_API_URL

from sandbox.faults import Action, Applied, Drop, Html, Late, Partial, Status, Truncate
from sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parents[2]
FAULTS: tuple[Action, ...] = (
    Status(500),
    Status(503, body="<h1>503 Service Unavailable</h1>"),
    Drop(),
    Html(),
    Applied(Status(500)),
    Applied(Status(502, body="<h1>502 Bad Gateway</h1>")),
    Applied(Drop()),
    Applied(Html()),
    Truncate(),
    Truncate(announced=False),
    Late(0.2),
    Late(0.2, Drop()),
    Partial(),
)
"""One of every kind that a write can meet, none later than the time that the tests settle."""
LOG = Path("run.log")
"""What the latest run has said, in the folder it was started in."""

# Starting Python and Prefect takes longer than a run, so one process does it and then forks each
# run. A line of JSON starts one, a number waits for the process with that id.
SCRIPT = """
import asyncio, functools, importlib, inspect, json, os, signal, sys

flows = [getattr(importlib.import_module(m), name) for m, name in map(str.split, sys.argv[1:])]
for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        print(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]), flush=True)
    elif child := os.fork():
        print(child, flush=True)
    else:
        break
else:
    sys.exit()
os.environ.update(order["environment"])
os.chdir(order["folder"])
log = os.open("run.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)


def die_at(place, when, call):
    # SIGKILL to itself just before or just after the call with this number
    module, _, name = place.partition(":")
    owner = importlib.import_module(module)
    *classes, name = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    real, calls = getattr(owner, name), iter(range(1, 1000))

    def die(now, number):
        if (now, number) == (when, call):
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(real)
    def dying(*arguments, **named):
        number = next(calls)
        die("before", number)
        result = real(*arguments, **named)
        die("after", number)
        return result

    @functools.wraps(real)
    async def dying_slowly(*arguments, **named):
        number = next(calls)
        die("before", number)
        result = await real(*arguments, **named)
        die("after", number)
        return result

    setattr(owner, name, dying_slowly if inspect.iscoroutinefunction(real) else dying)


async def run():
    # SIGUSR1 stands for a SIGTERM in the middle of a callback, where asyncio loses what is raised
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, os.kill, os.getpid(), signal.SIGTERM)
    if order["die"]:
        die_at(*order["die"])
    await flows[order["flow"]](**order["parameters"])


asyncio.run(run())
"""


class Forks:
    """Starts runs of flows in the current folder, with the parameters `usual` and others."""

    def __init__(self, *flows: Flow[..., Any], **usual: Any) -> None:
        self._names = [flow.name for flow in flows]
        self._usual = usual
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PREFECT_API_URL": PREFECT_API_URL.value(),
        }
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SCRIPT,
                *(f"{flow.fn.__module__} {flow.fn.__name__}" for flow in flows),
            ],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        die: tuple[str, str, int] | None = None,
        *,
        of: Flow[..., Any] | None = None,
        **parameters: Any,
    ) -> int:
        """Start one; returns its process id.

        `of`: which flow, where there are several.
        `die`: the place of a function (`module:name`), "before" or "after", and the number of the
        call beside which the run kills itself.
        """
        ours = ("WILLSUITE_", "XDG_STATE_HOME")
        return self._ask(
            {
                "environment": {
                    name: text for name, text in os.environ.items() if name.startswith(ours)
                },
                "folder": str(Path.cwd()),
                "parameters": self._usual | parameters,
                "die": die,
                "flow": self._names.index(of.name) if of else 0,
            }
        )

    def wait(self, process_id: int) -> int:
        """Its exit code, negative for the signal that ended it."""
        return self._ask(process_id)

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, order: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def forks_of(flow: Flow[..., Any], **usual: Any) -> Callable[..., Iterator[Forks]]:
    """A fixture for the tests of a module."""

    @pytest.fixture(scope="module")
    def forks(prefect_server: None) -> Iterator[Forks]:
        forks = Forks(flow, **usual)
        yield forks
        forks.close()

    return forks


@dataclass
class Stop(ABC):
    """A signal to a run when the sandbox gets the n-th request that counts; a fault for it."""

    how: signal.Signals
    at: int
    _: KW_ONLY
    then: Action | None = None
    """What becomes of that request; None leaves it to the other faults."""
    seconds: float = 0.0
    """How long after the request."""
    said: str = ""
    """What the run has to have said in its log before it is stopped in order."""
    action: Action = field(init=False, repr=False)
    is_over: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    """The run has ended, whatever it has said."""
    _aimed: "Future[int]" = field(default_factory=Future, init=False, repr=False)
    """The run's process; a request of it may be here before it is known."""

    def aim(self, process_id: int) -> None:
        """This is the process to be stopped."""
        assert process_id > 0, "0 stands for all processes of this session"
        self._aimed.set_result(process_id)

    def _send(self) -> None:
        os.kill(self._aimed.result(), self.how)

    @abstractmethod
    def counts(self, method: str, path: str) -> bool:
        """Whether it is one of the requests among which the n-th is looked for."""

    def matches(self, method: str, path: str, _page: str | None) -> bool:
        if not self.counts(method, path):
            return False
        self.at -= 1
        if self.at != 0:
            return False
        if self.how is signal.SIGKILL:
            time.sleep(self.seconds)
            self._send()
            time.sleep(0.05)  # dead before there can be an answer
        else:
            threading.Timer(self.seconds, self._signal).start()
        if self.then is not None:
            self.action = self.then
        return self.then is not None

    def _signal(self) -> None:
        while self.said not in LOG.read_text():
            if self.is_over.wait(0.01):
                return
        self._send()


def run_with(forks: Forks, sandbox: Sandbox, stop: Stop, **parameters: Any) -> int:
    """Start a run that `stop` stops, if it comes to that request; returns its exit code."""
    sandbox.faults.insert(0, stop)  # type: ignore[arg-type]
    stop.aim(process_id := forks.start(**parameters))
    code = forks.wait(process_id)
    stop.is_over.set()
    sandbox.faults.remove(stop)  # type: ignore[arg-type]
    return code


def stopped_run(forks: Forks, sandbox: Sandbox, stop: Stop, **parameters: Any) -> int:
    """Start a run that `stop` stops; returns its exit code."""
    code = run_with(forks, sandbox, stop, **parameters)
    assert stop.at <= 0, "it came to that request"
    return code


def quiet(sandbox: Sandbox) -> None:
    """Wait until the server has done with all that it was sent."""
    while sandbox.pending_late or sandbox.pending_jobs:
        time.sleep(0.01)
