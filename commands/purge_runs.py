"""`make purge-runs`: delete old runs of our flows from Prefect's server, and with FILES=1 what they
left in our folders; first as a plan.

Belongs here: which runs are old, deleting them with what belongs to them, what a person is told.
Does not: which folders are still needed (`protocols/rows/needed_folders.py`).

Prefect keeps parameters, logs and artifacts for ever; its events go by themselves (after 7 days,
PREFECT_SERVER_EVENTS_RETENTION_PERIOD).
"""

import argparse
import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from commands.deploy import ROOT, full_name
from commands.server import server
from protocols.account.known import has_open_jobs
from protocols.rows.needed_folders import needed_folders
from protocols.rows.run_files import RunFolder, folders_of_runs
from tasks.policy import RunError

PAGE = 200
BATCH = 50
"""The most runs that Prefect deletes at once."""
ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def our_flows() -> list[str]:
    """The names of our flows, which prefect.yaml has."""
    config = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return sorted({full_name(item).partition("/")[0] for item in config["deployments"]})


def age(text: str) -> timedelta:
    """An age as a person writes it: 90d, 12w, 36h.

    Raises:
        RunError: it isn't one.
    """
    found = re.fullmatch(r"([0-9]{1,4})([hdw])", text.strip())
    if not found:
        raise RunError("How old? Give it in days, weeks or hours: OLDER_THAN=90d (or 12w, 36h).")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


async def purge(given: argparse.Namespace, now: datetime) -> None:
    """Say what is older, and delete it where that is wanted."""
    before = now - age(given.older_than)
    async with server() as client:
        count = await _plan_runs(client, before)
        folders = await _plan_folders(client, Path(given.runs), before) if given.files else []
        if not given.apply:
            print("Nothing was deleted; APPLY=1 does it.")
            return
        await _delete_runs(client, before, count)
    for folder in folders:
        # out of sight first; what is left of it after a kill, the next run removes
        doomed = folder.path.rename(folder.path.with_name(f".run-purged-{folder.path.name}"))
        shutil.rmtree(doomed, ignore_errors=True)
    if folders:
        print(f"Removed {len(folders):,} folders.")


async def _plan_runs(client: PrefectClient, before: datetime) -> int:
    """How many old runs there are."""
    total = 0
    for flow in our_flows():
        count = await client.count_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=_ended(before),
        )
        total += count
        if count:
            print(f"{flow}: {count:,} runs that ended before {before:%Y-%m-%d %H:%M} UTC")
    if not total:
        print(f"Prefect has no runs of our flows that ended before {before:%Y-%m-%d %H:%M} UTC.")
    return total


async def _plan_folders(client: PrefectClient, runs: Path, before: datetime) -> list[RunFolder]:
    """The old folders of runs that nobody needs any more."""
    paused = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
    waiting = await client.count_flow_runs(flow_run_filter=FlowRunFilter(state=paused))
    needed = needed_folders(
        runs, has_open_jobs=await has_open_jobs(), has_waiting_runs=bool(waiting)
    )
    old = [folder for folder in folders_of_runs(runs) if folder.started_at < before]
    for folder in old:
        print(f"{folder.path}: {needed.get(folder.path, 'to be removed')}")
    if not old:
        print(f"{runs} has no folders of runs from before {before:%Y-%m-%d %H:%M} UTC.")
    return [folder for folder in old if folder.path not in needed]


async def _delete_runs(client: PrefectClient, before: datetime, count: int) -> None:
    deleted = 0
    async for page in _pages(client, before):
        # artifacts first: without their run nobody finds them any more
        await _delete_artifacts(client, page)
        now = 0
        for start in range(0, len(page), BATCH):
            now += await _delete_batch(client, page[start : start + BATCH], before)
        if not now:
            raise RunError(
                "Prefect's server deletes none of the runs that it lists; look at its log."
            )
        deleted += now
        print(f"Deleted {deleted:,} of {max(count, deleted):,} runs.", flush=True)


async def _pages(client: PrefectClient, before: datetime) -> AsyncIterator[list[UUID]]:
    """Page after page of what there still is, so each has to be deleted before the next."""
    ours = FlowFilter(name=FlowFilterName(any_=our_flows()))
    while runs := await client.read_flow_runs(
        flow_filter=ours, flow_run_filter=_ended(before), sort=FlowRunSort.END_TIME_DESC, limit=PAGE
    ):
        yield [run.id for run in runs]


def _ended(before: datetime, runs: list[UUID] | None = None) -> FlowRunFilter:
    """Ended runs; one that is under way or scheduled is never old."""
    return FlowRunFilter(
        id=None if runs is None else FlowRunFilterId(any_=runs),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ENDED)),
        end_time=FlowRunFilterEndTime(before_=before),
    )


async def _delete_artifacts(client: PrefectClient, runs: list[UUID]) -> None:
    of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=runs))
    while artifacts := await client.read_artifacts(artifact_filter=of_runs, limit=PAGE):
        for artifact in artifacts:
            try:
                await client.delete_artifact(artifact.id)
            except ObjectNotFound:  # by somebody else meanwhile
                continue


async def _delete_batch(client: PrefectClient, runs: list[UUID], before: datetime) -> int:
    """Delete these with their task runs and logs, unless one was started again meanwhile."""
    body = {
        "flow_runs": _ended(before, runs).model_dump(mode="json", exclude_unset=True),
        "limit": BATCH,
    }
    # the client's list of paths hasn't got this one
    path: Any = "/flow_runs/bulk_delete"
    response = await client.request("POST", path, json=body)
    return len(response.json()["deleted"])


def main() -> None:
    """Read the command line that the Makefile writes."""
    parser = argparse.ArgumentParser(prog="python -m commands.purge_runs")
    parser.add_argument("--older-than", default="")
    parser.add_argument("--runs", default="data/runs")
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--apply", action="store_true")
    try:
        asyncio.run(purge(parser.parse_args(), datetime.now(UTC)))
    except RunError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The disk refuses ({error.strerror}); start this again when that is mended.")
    except KeyboardInterrupt:
        sys.exit("Interrupted; start it again to go on.")


if __name__ == "__main__":
    main()
