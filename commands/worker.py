"""`make worker`: runs what is due, and ends in order.

Belongs here: what a stopped worker does with its runs. Prefect's own command kills their processes
at once and leaves them Running for ever (https://github.com/PrefectHQ/prefect/issues/16746). This
one tells them to end, so that they write down the outcomes so far, and waits for that.
"""

import asyncio
import contextlib
import os
import signal
from typing import Any
from uuid import UUID

from anyio.abc import TaskStatus
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from commands.deploy import POOL
from commands.server import server

GRACE_SECONDS = 60
"""How long a run may take to write down its outcomes."""
_IN_HAND = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
)


class OrderlyWorker(ProcessWorker):
    """A process worker that can be stopped without leaving a run behind."""

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "orderly-process"  # in Prefect's register "process" stays ProcessWorker

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._taken: set[UUID] = set()
        """Every run that it has ever taken; which of them are in hand, the server knows."""
        self._pids: set[int] = set()
        self._is_stopping = False

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """As in ProcessWorker; nothing more once it is stopping."""
        if self._is_stopping:
            return []
        runs = await super().get_and_submit_flow_runs()
        self._taken.update(run.id for run in runs)
        return runs

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """As in ProcessWorker; remembers the process."""
        started = _Started(self, task_status)
        try:
            return await super().run(flow_run, configuration, started)  # type: ignore[arg-type]
        finally:
            self._pids.discard(started.pid)

    def add(self, pid: int) -> None:
        """A run's process has begun."""
        self._pids.add(pid)
        if self._is_stopping:
            _tell_to_end(pid)

    async def stop(self) -> None:
        """Take no more runs, tell those that are under way to end, and wait until they have."""
        self._is_stopping = True
        if self._pids:
            print(f"Stopping: {len(self._pids)} run(s) are told to end ...", flush=True)
        for pid in self._pids:
            _tell_to_end(pid)
        while await self._in_hand():
            await asyncio.sleep(0.2)

    async def _in_hand(self) -> int:
        if not self._taken:
            return 0
        mine = FlowRunFilter(id=FlowRunFilterId(any_=list(self._taken)), state=_IN_HAND)
        return len(await self.client.read_flow_runs(flow_run_filter=mine))


class _Started:
    """What a run's process id is reported to, on its way to Prefect."""

    def __init__(self, worker: OrderlyWorker, task_status: TaskStatus[int] | None) -> None:
        self._worker, self._task_status = worker, task_status
        self.pid = 0

    def started(self, pid: int) -> None:
        self.pid = pid
        self._worker.add(pid)
        if self._task_status is not None:
            self._task_status.started(pid)


def _tell_to_end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


async def work() -> None:
    """Run a worker until SIGINT or SIGTERM; a second Ctrl-C doesn't wait for the runs."""
    async with server():
        pass
    worker = OrderlyWorker(work_pool_name=POOL)
    working = asyncio.create_task(worker.start())
    stopping: list[asyncio.Task[None]] = []

    async def stop() -> None:
        try:
            await asyncio.wait_for(worker.stop(), GRACE_SECONDS)
        finally:  # whether they have ended or not, the server being away or not
            working.cancel()

    def on_signal(signum: signal.Signals) -> None:
        if not stopping:
            stopping.append(asyncio.create_task(stop()))
        elif signum == signal.SIGINT:
            # one SIGTERM may come twice: from the supervisor, and passed on by make
            working.cancel()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, on_signal, signum)
    with contextlib.suppress(asyncio.CancelledError):
        await working
    await asyncio.gather(*stopping, return_exceptions=True)
    print("The worker has stopped.", flush=True)


if __name__ == "__main__":
    asyncio.run(work())
