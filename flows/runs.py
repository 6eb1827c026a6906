"""Runs of deployments as a notebook or a script sees them: started, followed, and what they left.

Belongs here: the summary that a run leaves with Prefect, and reading it and the files it names.
Does not: carrying runs out (the flows), or a terminal's view of one (`commands/run.py`).

A run that a worker carries out returns nothing to whoever started it, and Prefect stores no result
of it, since results may hold people's data. The summary doesn't: counts, paths and ids. Prefect
keeps it with the run, and removes it with the run.
"""

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pandas as pd
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.utilities.urls import url_for
from python_calamine import CalamineWorkbook

from tasks.policy import RunError

SUMMARY_KEY = "summary"
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, and what it left."""

    id: UUID
    name: str
    state: str
    """Completed, Failed, Crashed or Cancelled."""
    message: str
    """The run's own last sentence."""
    ended_at: datetime | None
    summary: dict[str, Any] | None
    """As the flow returns it; None where the run left none (crashed, or could not begin)."""

    @property
    def is_completed(self) -> bool:
        """Whether it ended well."""
        return self.state == "Completed"


class RunFailedError(RunError):
    """A run that was waited for did not complete; `run` is it, and the message its last word."""

    def __init__(self, run: EndedRun) -> None:
        super().__init__(f"{run.state}: {run.message}")
        self.run = run


async def leave_summary(summary: Any) -> None:
    """Keep the summary with the run around the caller, if it is one of a deployment.

    A display only: where Prefect can't be reached, the run's own end is all the same.
    """
    run = FlowRunContext.get().flow_run  # type: ignore[union-attr]
    if run is None or run.deployment_id is None:
        return
    try:
        async with get_client() as client:
            with suppress(PrefectHTTPStatusError):  # there is one where the run is retried
                await client.delete_flow_run_input(run.id, SUMMARY_KEY)
            text = msgspec.json.encode(summary).decode()
            await client.create_flow_run_input(run.id, SUMMARY_KEY, text)
    except Exception as error:  # noqa: BLE001 - the work matters
        get_run_logger().warning("The summary can't be kept (%s).", type(error).__name__)


async def run_and_wait(
    deployment: str, *, show: bool = True, timeout_seconds: float | None = None, **parameters: Any
) -> dict[str, Any]:
    """Start a deployment ("import-cases/import-file"), wait for its end, and give its summary.

    Args:
        deployment: flow and deployment, as Prefect names them.
        show: write one line of progress, which replaces itself; False writes nothing.
        timeout_seconds: how long to wait at most; the run goes on. None: to its end.
        parameters: of the flow; paths as the worker sees them.

    Raises:
        RunFailedError: the run failed, crashed or was cancelled; it has the run's own sentence.
        RunError: there is no such deployment, Prefect refuses the parameters, or the time is over.
    """
    async with get_client() as client:
        run = await _started(client, deployment, parameters)
        try:
            async with asyncio.timeout(timeout_seconds):
                ended = await _followed(client, run, show=show)
        except TimeoutError:
            raise RunError(
                f"The run has not ended within {timeout_seconds:g} s; it goes on: {url_for(run)}"
            ) from None
    if not ended.is_completed:
        raise RunFailedError(ended)
    return ended.summary or {}


async def latest_run(flow: str) -> EndedRun:
    """The run of a flow ("import-cases") that ended last, by whatever it was started.

    Raises:
        RunError: none has ended.
    """
    async with get_client() as client:
        found = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES)))
            ),
            sort=FlowRunSort.END_TIME_DESC,
            limit=1,
        )
        if not found:
            raise RunError(f"No run of {flow} has ended; is PREFECT_API_URL that of the server?")
        return await _ended(client, found[0])


def outcomes(run: EndedRun | dict[str, Any]) -> pd.DataFrame:
    """The outcome of every row, of a run or of the summary that it returned.

    Raises:
        RunError: the run left no outcomes; OSError: they aren't on this machine.
    """
    return pd.read_parquet(_file(run, "outcomes_file"))


def rejects(run: EndedRun | dict[str, Any]) -> pd.DataFrame:
    """The rows that were rejected, as texts, with what is wrong with them; empty if none was."""
    if _summary_of(run).get("rejected_file") is None:
        return pd.DataFrame()
    path = _file(run, "rejected_file")
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False, sep=None, engine="python")
    header, *rows = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    return pd.DataFrame(rows, columns=header).astype(str)


def _summary_of(run: EndedRun | dict[str, Any]) -> dict[str, Any]:
    summary = run.summary if isinstance(run, EndedRun) else run
    if summary is None:
        raise RunError("This run left no summary: it crashed, or could not begin.")
    return summary


def _file(run: EndedRun | dict[str, Any], name: str) -> Path:
    path = _summary_of(run).get(name)
    if path is None:
        raise RunError("This run left no outcomes of rows; only the flows that write do.")
    return Path(path)


async def _started(client: PrefectClient, name: str, parameters: dict[str, Any]) -> FlowRun:
    try:
        deployment = await client.read_deployment_by_name(name)
    except (ObjectNotFound, ValueError):
        raise RunError(
            f"There is no deployment {name}; make deploy creates those there are."
        ) from None
    try:
        return await client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except PrefectHTTPStatusError as error:
        said = error.response.json().get("detail", "")
        raise RunError(f"Prefect refuses the parameters: {said}") from None


async def _followed(client: PrefectClient, started: FlowRun, *, show: bool) -> EndedRun:
    line = _Line(show=show)
    while True:
        run = await client.read_flow_run(started.id)
        assert run.state is not None
        if run.state.is_final():
            line.end(f"{run.name}: {run.state.name}")
            return await _ended(client, run)
        if run.state.is_paused():
            line.write(f"{run.name}: somebody has to answer it (Resume): {url_for(run)}")
        else:
            line.write(f"{run.name}: {await _progress(client, run) or run.state.name}")
        await asyncio.sleep(POLL_SECONDS)


async def summary_of_run(run: UUID) -> dict[str, Any] | None:
    """What a run of a deployment left; None where it left nothing."""
    async with get_client() as client:
        return await _summary_left(client, run)


async def _summary_left(client: PrefectClient, run: UUID) -> dict[str, Any] | None:
    try:
        text = await client.read_flow_run_input(run, SUMMARY_KEY)
    except PrefectHTTPStatusError:
        return None
    return msgspec.json.decode(text, type=dict[str, Any])


async def _ended(client: PrefectClient, run: FlowRun) -> EndedRun:
    assert run.state is not None
    summary = await _summary_left(client, run.id)
    state, message = str(run.state.name), run.state.message or "no message"
    return EndedRun(run.id, run.name, state, message, run.end_time, summary)


async def _progress(client: PrefectClient, run: FlowRun) -> str | None:
    """What the run's progress shows: "Pages fetched, 40 %"."""
    if run.state_type is not StateType.RUNNING:
        return None
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter(
            type=ArtifactFilterType(any_=["progress"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
        ),
        limit=1,
    )
    return f"{found[0].description}, {float(str(found[0].data)):.0f} %" if found else None


class _Line:
    """One line of text that replaces itself."""

    def __init__(self, *, show: bool) -> None:
        self._show = show
        self._text = ""

    def write(self, text: str, end: str = "") -> None:
        """Put `text` in the place of what was there, if it is another one."""
        if self._show and (text != self._text or end):
            sys.stdout.write(f"\r{text.ljust(len(self._text))}{end}")
            sys.stdout.flush()
            self._text = text

    def end(self, text: str) -> None:
        """The last one."""
        self.write(text, "\n")
