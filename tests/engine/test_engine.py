"""The locked Prefect does what the product leans on, on SQLite and on PostgreSQL.

That it is installed and answers proves nothing: with prefect 3.8.8 and sqlalchemy 2.1 everything
looked right, and no schedule ever fired. So each service that we lean on is asked to do its work
here, by a server and workers that are started as the README says:

- the scheduler makes the runs of `prefect.yaml`'s schedules: without it there is no nightly export;
- late runs are marked: without it nobody sees in the UI that no worker is there;
- the process worker runs what is due, and ends what is cancelled: without it nothing runs, or
  nothing can be stopped;
- limits of deployments (`concurrency_limit` in `prefect.yaml`): without them an export overtakes
  the export before it; and where their leases don't outlive a restart of the server, which they do
  only because `pyproject.toml` says so, the engine ends the run that holds one;
- heartbeats, events and automations mark a run whose process is gone (`make deploy` creates the
  automation): without them it stays Running for ever, and its deployment stands still;
- artifacts and logs (`tasks/progress.py`): without them a run shows neither progress nor result;
- blocks (`tasks/connection.py`): without them there is no account but the environment's, or its
  secret lies in the database for all to read;
- variables (`protocols/account`): that a name is created only once is what keeps runs of two
  machines from writing at the same time, and that they last is what keeps a lost journal noticed.
"""

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from engine_flows import account_of
from engines import Engine, until
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    GlobalConcurrencyLimitCreate,
    WorkPoolCreate,
)
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.actions import ChangeFlowRunState
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.states import Cancelling, Pending
from prefect.variables import Variable
from pydantic import SecretStr

from protocols.account.known import known_account
from protocols.account.turns import Queue, this_run
from tasks.connection import WillSuiteConnection

POOL = "engine"
ONE_AT_A_TIME = {
    "concurrency_limit": 1,
    "concurrency_options": {"collision_strategy": "CANCEL_NEW"},
}
"""As the nightly export in `prefect.yaml`."""
ROOT = Path(__file__).resolve().parents[2]
LONDON = ZoneInfo("Europe/London")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
]  # the first one starts both servers; each wait has a bound


def state_of(client: SyncPrefectClient, run: FlowRun) -> str:
    return str(client.read_flow_run(run.id).state_name)


def wait_for(client: SyncPrefectClient, run: FlowRun, state: str) -> None:
    until(f"{run.name} is {state}", lambda: state_of(client, run) == state)


def deploy(client: SyncPrefectClient, flow: str, name: str, **options: Any) -> UUID:
    """A deployment of one of the flows of `engine_flows.py`."""
    return client.create_deployment(
        flow_id=client.create_flow_from_name(flow),
        name=name,
        entrypoint=f"tests/support/engine_flows.py:{flow}",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        **{"work_pool_name": POOL, **options},
    )


def runs_of(
    client: SyncPrefectClient,
    deployment: UUID,
    after: datetime | None = None,
    before: datetime | None = None,
) -> list[FlowRun]:
    between = FlowRunFilterExpectedStartTime(after_=after, before_=before)
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(expected_start_time=between),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )


def started(client: SyncPrefectClient, deployment: UUID, path: Path | str = "no/such") -> FlowRun:
    """A run of `wait` that is under way."""
    run = client.create_flow_run_from_deployment(deployment, parameters={"path": str(path)})
    wait_for(client, run, "Running")
    return run


def events_of(client: SyncPrefectClient, run: FlowRun) -> set[str]:
    of_it = EventResourceFilter(id=[f"prefect.flow-run.{run.id}"])
    return {
        event.event for event in client.read_events(EventFilter(resource=of_it), limit=50).events
    }


def mark_as_crashed_without_heartbeats(tag: str, seconds: int) -> None:
    """The automation that `make deploy` creates, for the runs with this tag."""
    ends = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed")
    Automation(
        name=f"{tag}: its process is gone",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.id": f"prefect.tag.{tag}",
                "prefect.resource.role": "tag",
            },
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
            posture=Posture.Proactive,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no sign of life")],
    ).create()


@pytest.fixture(scope="module")
def deployed(engine: Engine) -> None:
    made = subprocess.run(
        ["make", "deploy"], cwd=ROOT, env=engine.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture(scope="module")
def nightly(deployed: None, client: SyncPrefectClient) -> UUID:
    return client.read_deployment_by_name("export-cases/export-nightly").id


@pytest.fixture(scope="module")
def worker(client: SyncPrefectClient, engine: Engine) -> None:
    """A worker for what is deployed here."""
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    engine.start_worker(POOL)


@pytest.fixture(scope="module")
def told(client: SyncPrefectClient, worker: None) -> FlowRun:
    """The first run of `tell` that its schedule started and the worker ended."""
    soon = datetime.now(UTC) + timedelta(seconds=3)
    every_minute = IntervalSchedule(interval=timedelta(minutes=1), anchor_date=soon)
    deployment = deploy(
        client, "tell", "told", schedules=[DeploymentScheduleCreate(schedule=every_minute)]
    )

    def ended() -> list[FlowRun]:
        return [run for run in runs_of(client, deployment) if run.state_name == "Completed"]

    run = until("a scheduled run is Completed", ended)[0]
    client.pause_deployment(deployment)
    return run


def test_after_make_deploy_the_next_exports_are_scheduled_at_three_in_london(
    client: SyncPrefectClient, nightly: UUID
) -> None:
    runs = until("three runs are scheduled", lambda: runs_of(client, nightly)[2:])
    assert {run.state_name for run in runs} == {"Scheduled"}
    days = [run.expected_start_time.astimezone(LONDON) for run in runs]
    assert {(day.hour, day.minute) for day in days} == {(3, 0)}
    assert [day.toordinal() - days[0].toordinal() for day in days] == list(range(len(runs)))


@pytest.mark.parametrize(("month", "hours"), [(3, [3, 3, 2, 2]), (10, [2, 2, 3, 3])])
def test_the_export_stays_at_three_in_london_when_the_clock_changes(
    client: SyncPrefectClient, nightly: UUID, month: int, hours: list[int]
) -> None:
    last_day = datetime(datetime.now(UTC).year + 1, month, 31, tzinfo=UTC)
    sunday = last_day - timedelta(days=last_day.isoweekday() % 7)
    first, end = sunday - timedelta(days=2), sunday + timedelta(days=2)
    client.request(
        "POST", "/deployments/{id}/schedule", path_params={"id": nightly},
        json={"start_time": first.isoformat(), "end_time": end.isoformat(), "min_runs": 4},
    )  # fmt: skip
    runs = runs_of(client, nightly, after=first, before=end)
    starts = [run.expected_start_time.astimezone(UTC) for run in runs]
    assert starts == [first + timedelta(days=day, hours=hour) for day, hour in enumerate(hours)]


def test_what_is_due_is_run_by_a_worker_without_anybody_starting_it(told: FlowRun) -> None:
    assert told.auto_scheduled
    assert told.created_by is not None
    assert told.created_by.type == "SCHEDULE"


def test_a_runs_log_can_be_read(client: SyncPrefectClient, told: FlowRun) -> None:
    of_it = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[told.id]))
    until(
        "the line is in the log",
        lambda: "said in the log" in {line.message for line in client.read_logs(of_it)},
    )


def test_a_runs_life_is_told_by_events(client: SyncPrefectClient, told: FlowRun) -> None:
    expected = {f"prefect.flow-run.{step}" for step in ("Running", "heartbeat", "Completed")}
    until("its events are stored", lambda: expected <= events_of(client, told))


def test_artifacts_are_shown_as_they_were_last_updated(
    client: SyncPrefectClient, told: FlowRun
) -> None:
    shown = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[told.id]))
    )
    assert {artifact.key: artifact.data for artifact in shown} == {
        "told-progress": 100.0, "told-table": "last", "told-result": "**told**",
    }  # fmt: skip


def test_a_block_is_loaded_as_it_was_saved_and_its_secret_is_not_in_clear_in_the_database(
    client: SyncPrefectClient, engine: Engine
) -> None:
    WillSuiteConnection.register_type_and_schema()
    block = WillSuiteConnection(client_id="our-id", client_secret=SecretStr("our-open-secret"))
    block.save("our-account")
    loaded = WillSuiteConnection.load("our-account")
    assert isinstance(loaded, WillSuiteConnection)
    assert (loaded.client_id, loaded.client_secret) == (block.client_id, block.client_secret)
    stored = engine.stored()
    assert b"our-account" in stored
    assert b"our-open-secret" not in stored


def test_of_many_that_create_a_variable_at_once_exactly_one_succeeds(engine: Engine) -> None:
    def create(number: int) -> int:
        content = {"name": "fought_over", "value": {"by": number}}
        return httpx.post(f"{engine.url}/variables/", json=content, timeout=60).status_code

    with ThreadPoolExecutor(16) as pool:
        answers = sorted(pool.map(create, range(32)))
    assert answers == [201] + [409] * 31


def test_a_run_that_no_worker_takes_is_marked_late(client: SyncPrefectClient) -> None:
    client.create_work_pool(WorkPoolCreate(name="deserted", type="process"))
    deployment = deploy(client, "tell", "late", work_pool_name="deserted")
    wait_for(client, client.create_flow_run_from_deployment(deployment), "Late")


def test_a_limit_of_a_deployment_cancels_the_run_that_would_overtake(
    client: SyncPrefectClient,
) -> None:
    deployment = deploy(client, "wait", "overtaken", work_pool_name=None, **ONE_AT_A_TIME)
    first, second = (client.create_flow_run_from_deployment(deployment) for _ in range(2))
    client.set_flow_run_state(first.id, Pending())
    client.set_flow_run_state(second.id, Pending())
    assert (state_of(client, first), state_of(client, second)) == ("Pending", "Cancelled")


def test_a_run_that_is_cancelled_ends_cancelled(client: SyncPrefectClient, worker: None) -> None:
    run = started(client, deploy(client, "wait", "cancelled"))
    client.set_flow_run_state(run.id, Cancelling())
    wait_for(client, run, "Cancelled")


def test_what_is_stored_and_the_run_under_way_outlive_a_restart_of_the_server(
    client: SyncPrefectClient, engine: Engine, worker: None, tmp_path: Path
) -> None:
    Variable.set("kept", {"generation": 7})
    client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="kept", limit=1))
    lease = client.increment_concurrency_slots_with_lease(
        ["kept"], slots=1, mode="concurrency", lease_duration=600
    ).json()["lease_id"]
    run = started(client, deploy(client, "wait", "outliving"), tmp_path / "end")
    writing = started(client, deploy(client, "write", "writing"), tmp_path / "end")
    until("it writes", lambda: who_writes() == str(writing.id))
    engine.restart()
    assert who_writes() == str(writing.id)
    (tmp_path / "end").touch()
    assert Variable.get("kept") == {"generation": 7}
    client.renew_concurrency_lease(lease, lease_duration=600)  # refused: the engine ends its run
    wait_for(client, run, "Completed")
    wait_for(client, writing, "Completed")
    assert who_writes() is None
    assert asyncio.run(known_account(account_of("engine").account_name)).is_settled


def who_writes() -> str | None:
    """The run that has the account, as another machine sees it."""

    async def look() -> str | None:
        queue = Queue(account_of("engine").account_name, this_run("elsewhere"))
        holder = await queue.look()
        await queue.leave()
        return holder.run_id if holder else None

    return asyncio.run(look())


def test_a_run_whose_process_is_gone_is_crashed_and_its_deployment_is_free_again(
    client: SyncPrefectClient, engine: Engine, worker: None
) -> None:
    mark_as_crashed_without_heartbeats("mortal", seconds=10)
    deployment = deploy(client, "wait", "killed", tags=["mortal"], **ONE_AT_A_TIME)
    run = started(client, deployment)
    until("its heart beats", lambda: "prefect.flow-run.heartbeat" in events_of(client, run))
    engine.kill_workers()
    wait_for(client, run, "Crashed")
    following = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(following.id, Pending())
    assert state_of(client, following) == "Pending"
