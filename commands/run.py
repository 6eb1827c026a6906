"""`make run`: start a deployment, follow it, and say how it ended.

Belongs here: what a person at a terminal sees of a run that a worker carries out. The run itself
doesn't depend on it: whoever stops following, stops nothing.
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.utilities.urls import url_for

from commands.server import server

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
"""After it a run that nobody has taken is explained."""
LATE_LINES = timedelta(seconds=10)
"""Lines of a run's processes reach the server in batches, and not in order."""
PAGE = 200
_NOISE = "Finished in state "
"""What Prefect says of every task, and of the run, which is shown at its end anyway."""


async def start_and_follow(given: argparse.Namespace) -> int:
    """The exit code: 0 if the run ended Completed."""
    parameters = _parameters(given)
    async with server() as client:
        run = await (_read(client, given.run) if given.run else _start(client, given, parameters))
        given.run = str(run.id)
        return await _follow(client, run)


def _parameters(given: argparse.Namespace) -> dict[str, Any]:
    """What the caller says, as parameters of the flow; paths as seen from where they are."""
    if not given.flow and not given.run:
        sys.exit("Which deployment? Name it: make run FLOW=import-cases/import-file FILE=cases.csv")
    parameters: dict[str, Any] = {}
    if given.file:
        parameters["source"] = given.file
        if "://" not in given.file:
            path = Path(given.called_from) / given.file
            # a whole path may be one of the worker's machine
            if not Path(given.file).is_absolute() and not path.exists():
                sys.exit(f"There is no file {path}.")
            parameters["source"] = os.path.normpath(path)
    if given.plan:
        parameters["dry_run"] = True
    if given.approve:
        parameters["approve"] = True
    if given.connection:
        parameters["connection"] = given.connection
    return parameters


async def _start(
    client: PrefectClient, given: argparse.Namespace, parameters: dict[str, Any]
) -> FlowRun:
    try:
        deployment = await client.read_deployment_by_name(given.flow)
    except (ObjectNotFound, ValueError):
        sys.exit(f"There is no deployment {given.flow}; `make deploy` creates those there are.")
    _check(deployment, given.flow, parameters)
    try:
        run = await client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except PrefectHTTPStatusError as error:
        sys.exit(f"Prefect refuses it: {error.response.json().get('detail', error)}")
    print(f"{given.flow}: run {run.name}, {url_for(run) or run.id}", flush=True)
    return run


def _check(deployment: DeploymentResponse, name: str, parameters: dict[str, Any]) -> None:
    """Refuse what the flow doesn't take, or lacks."""
    words = {"source": "FILE", "dry_run": "PLAN", "approve": "APPROVE", "connection": "CONNECTION"}
    schema = deployment.parameter_openapi_schema or {}
    for parameter in parameters:
        if parameter not in schema.get("properties", {}):
            sys.exit(f"{name} takes no {words[parameter]}.")
    for parameter in schema.get("required", []):
        if parameter not in {**deployment.parameters, **parameters}:
            word = words.get(parameter, parameter)
            sys.exit(f"{name} needs {word}=...; for example {word}=cases.csv")


async def _read(client: PrefectClient, run: str) -> FlowRun:
    try:
        return await client.read_flow_run(UUID(run))
    except (ObjectNotFound, ValueError):
        sys.exit(f"There is no run {run}.")


async def _follow(client: PrefectClient, started: FlowRun) -> int:
    lines = _Lines(started.id)
    began = time.monotonic()
    is_explained = False
    shown = None
    async for run in _polled(client, started.id):
        # the state was read first: a final one comes after all lines of the run
        for line in await lines.new(client):
            print(line, flush=True)
        state = run.state
        assert state is not None
        if state.is_final():
            print(f"{state.name}: {state.message or 'no message'}", flush=True)
            return 0 if state.is_completed() else 1
        if state.name != shown:
            shown = state.name
            print(f"-- {state.name}{f': {state.message}' if state.message else ''}", flush=True)
            if state.is_paused():
                print(f"-- Somebody has to answer: Resume, in the UI: {url_for(run)}", flush=True)
        is_late = time.monotonic() - began > PATIENCE_SECONDS
        if state.is_scheduled() and is_late and not is_explained:
            is_explained = True
            print(f"-- {await _why_waiting(client, run)}", flush=True)
    raise AssertionError("a run is looked at until it ends")


async def _polled(client: PrefectClient, run: UUID) -> AsyncIterator[FlowRun]:
    """The run as it is, again and again; a server that is away for a while is waited for."""
    is_away = False
    while True:
        try:
            yield await client.read_flow_run(run)
            is_away = False
        except httpx.TransportError:
            if not is_away:
                print("-- The Prefect server doesn't answer; still trying.", flush=True)
            is_away = True
        await asyncio.sleep(POLL_SECONDS)


async def _why_waiting(client: PrefectClient, run: FlowRun) -> str:
    pool = run.work_pool_name or ""
    workers = await client.read_workers_for_work_pool(pool) if pool else []
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        return "No worker is polling; start one with make worker, in another terminal."
    return "Not taken by a worker yet; they look every 10 s or so."


class _Lines:
    """The log of a run, each line once."""

    def __init__(self, run: UUID) -> None:
        self._run = LogFilterFlowRunId(any_=[run])
        self._seen: set[UUID] = set()
        self._latest: datetime | None = None

    async def new(self, client: PrefectClient) -> list[str]:
        """The lines that have come since; of INFO and above, without the worker's own."""
        since = self._latest and LogFilterTimestamp(after_=self._latest - LATE_LINES)
        wanted = LogFilter(
            flow_run_id=self._run, level=LogFilterLevel(ge_=logging.INFO), timestamp=since
        )
        found = []
        offset = 0
        while page := await client.read_logs(wanted, limit=PAGE, offset=offset):
            found += [log for log in page if log.id not in self._seen]
            offset += len(page)
        self._seen.update(log.id for log in found)
        if found:
            self._latest = max(log.timestamp for log in found)
        return [
            f"{log.timestamp.astimezone():%H:%M:%S}  {log.message}"
            for log in found
            if not log.name.endswith(".worker") and not log.message.startswith(_NOISE)
        ]


def main() -> None:
    """Read the command line that the Makefile writes."""
    parser = argparse.ArgumentParser(prog="python -m commands.run")
    parser.add_argument("--flow", default="")
    parser.add_argument("--file", default="")
    parser.add_argument("--called-from", default=".")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--approve", action="store_true")
    parser.add_argument("--connection", default="")
    parser.add_argument("--run", default="", help="follow this run, and start none")
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(start_and_follow(given)))
    except KeyboardInterrupt:
        if not given.run:
            sys.exit("Interrupted; nothing was started.")
        sys.exit(
            f"No longer followed; the run goes on. Follow it again: make run RUN={given.run}\n"
            f"Cancel it: .venv/bin/prefect flow-run cancel {given.run}, or in the UI."
        )


if __name__ == "__main__":
    main()
