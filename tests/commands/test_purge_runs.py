"""Old runs go out of Prefect's database with all that belongs to them, and nothing else does."""

import asyncio
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from accounts import wait_until
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, LogCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import State, StateType

from commands import purge_runs
from commands.parameters import FLOWS
from commands.purge_runs import age, our_flows, purge
from protocols.rows.run_files import run_folder
from tasks.policy import RunError

OURS = "flow-of-ours"
"""Not the name of a real one: of those, other tests have runs."""


@flow(name=OURS)
async def ours(ref: str) -> None: ...


@flow(name="somebody-elses")
async def not_ours(ref: str) -> None: ...


async def made(made_by: Any, kind: str = "COMPLETED") -> UUID:
    """A run that is in this state now, with a log and an artifact."""
    async with get_client() as client:
        state: State[Any] = State(type=StateType(kind))
        run = await client.create_flow_run(made_by, parameters={"ref": "Quill"}, state=state)
        now = datetime.now(UTC)
        log = LogCreate(name="a", level=20, message="b", timestamp=now, flow_run_id=run.id)
        await client.create_logs([log])
        artifact = ArtifactCreate(key="a-result", type="markdown", data="c", flow_run_id=run.id)
        await client.create_artifact(artifact)
    return run.id


async def is_there(run: UUID) -> set[str]:
    """What there still is of a run."""
    async with get_client() as client:
        runs = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
        logs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        artifacts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        there = {
            "run": await client.read_flow_runs(flow_run_filter=runs),
            "logs": await client.read_logs(logs),
            "artifacts": await client.read_artifacts(artifact_filter=artifacts),
        }
    return {what for what, found in there.items() if found}


def purged(runs: Path, now: datetime, *, plan: bool = False, files: bool = False) -> None:
    given = Namespace(older_than="90d", runs=str(runs), files=files, apply=not plan)
    asyncio.run(purge(given, now))


@pytest.mark.usefixtures("prefect_server")
def test_runs_of_ours_that_ended_long_ago_go_with_their_logs_and_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(purge_runs, "PAGE", 2)  # several pages of few runs
    monkeypatch.setattr(purge_runs, "our_flows", lambda: [OURS])

    async def make() -> tuple[list[UUID], datetime, list[UUID]]:
        kept = [await made(not_ours), await made(ours, "RUNNING")]
        old = [await made(ours, kind) for kind in ("COMPLETED", "FAILED", "CRASHED")]
        in_90_days = datetime.now(UTC) + timedelta(days=90)
        return old, in_90_days, [*kept, await made(ours)]

    old, now, kept = asyncio.run(make())
    purged(tmp_path, now, plan=True)
    said = capsys.readouterr().out
    assert f"{OURS}: 3 runs that ended before" in said
    assert "Nothing was deleted; APPLY=1 does it." in said
    assert asyncio.run(is_there(old[0])) == {"run", "logs", "artifacts"}
    purged(tmp_path, now)
    assert "Deleted 3 of 3 runs." in capsys.readouterr().out
    # the server removes logs in the background
    wait_until(lambda: not any(asyncio.run(is_there(run)) for run in old))
    assert all(asyncio.run(is_there(run)) == {"run", "logs", "artifacts"} for run in kept)
    purged(tmp_path, now)
    assert "Prefect has no runs of our flows that ended before" in capsys.readouterr().out


@pytest.mark.usefixtures("prefect_server")
def test_folders_of_runs_go_only_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge_runs, "our_flows", lambda: ["no-such-flow"])
    now = datetime.now(UTC)
    young = Path(run_folder(str(tmp_path), "import-cases"))
    old = tmp_path / "import-cases-20200101T000000Z-01234567"
    others = tmp_path / "somebody's own"
    for folder in (young, old, others):
        folder.mkdir()
        (folder / "file").touch()
    purged(tmp_path, now)
    purged(tmp_path, now, files=True, plan=True)
    assert old.exists()
    purged(tmp_path, now, files=True)
    assert sorted(path for path in tmp_path.glob("*") if path.name != "state") == [young, others]


def test_the_flows_are_all_of_ours() -> None:
    assert our_flows() == sorted(flow.name for flow in FLOWS)


@pytest.mark.parametrize(("text", "hours"), [("90d", 2160), ("2w", 336), (" 36h ", 36), ("0d", 0)])
def test_an_age_is_read_as_people_write_it(text: str, hours: int) -> None:
    assert age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "90 days", "99999d"])
def test_what_is_no_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RunError, match="OLDER_THAN=90d"):
        age(text)
