"""`make deploy`: all that a Prefect server must know of this repository; to be repeated freely.

Belongs here: the work pool, the block type, the automation that ends dead runs, the deployments of
prefect.yaml, and keeping what people have set in the UI meanwhile. `prefect deploy` alone would
set off what was paused, and remove schedules and parameters that were added by hand.
"""

import asyncio
import importlib
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from commands.server import server
from tasks.connection import WillSuiteConnection

ROOT = Path(__file__).resolve().parent.parent
POOL = "willsuite"
AUTOMATION = "willsuite: runs whose process is gone"
FORMER_NAMES = {
    "export-nightly": "nightly",
    "export-hourly": "hourly",
    "import-file": "file",
    "bulk-update-file": "file",
    "update-file": "file",
    "sync-file": "file",
}
"""What deployments were called before; two schedules would export everything twice."""
SILENCE = timedelta(seconds=90)
"""Three heartbeats; their pace is in prefect.yaml."""


async def deploy() -> None:
    """Bring the server up to date; a line for each thing."""
    async with server() as client:
        await _ensure_work_pool(client)
        await WillSuiteConnection.aregister_type_and_schema(client=client)
        print(f'Block type "{WillSuiteConnection.get_block_type_name()}": registered.')
        await ensure_automation(client, dead_runs_automation())
        await _deploy_all(client)


async def _ensure_work_pool(client: PrefectClient) -> None:
    try:
        pool = await client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", base_job_template=template)
        )
        print(f"Work pool {POOL}: created.")
        return
    print(f"Work pool {POOL}: {'still paused' if pool.is_paused else 'there already'}.")


def dead_runs_automation() -> AutomationCore:
    """Marks a run Crashed when its process has given no sign of life for `SILENCE`.

    Only runs of our deployments, by their tag: others, from notebooks too, have another pace.
    """
    # a suspended run has no process, and isn't missed
    ends = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed", "Suspended")
    return AutomationCore(
        name=AUTOMATION,
        description="Without it a run whose worker was killed stays Running for ever.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.id": "prefect.tag.willsuite",
                "prefect.resource.role": "tag",
            },
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"Its process is gone: no sign of life for {SILENCE.seconds} s.",
            )
        ],
    )


async def ensure_automation(client: PrefectClient, automation: AutomationCore) -> None:
    """Create it, or bring the one of its name up to date; switched off, it stays off."""
    existing = await client.read_automations_by_name(automation.name)
    if not existing:
        await client.create_automation(automation)
        print(f'Automation "{automation.name}": created.')
        return
    automation.enabled = existing[0].enabled
    await client.update_automation(existing[0].id, automation)
    state = "up to date" if automation.enabled else "still off"
    print(f'Automation "{automation.name}": {state}.')


def full_name(item: dict[str, Any]) -> str:
    """What Prefect calls a deployment of prefect.yaml; a flow bears its function's name."""
    function = item["entrypoint"].partition(":")[2]
    return f"{function.replace('_', '-')}/{item['name']}"


async def _deploy_all(client: PrefectClient) -> None:
    config = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for item in config["deployments"]:
        name = full_name(item)
        if former := FORMER_NAMES.get(item["name"]):
            await _retire(client, former, name)
        try:
            existing = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            print(f"{name}: new.")
            continue
        print(f"{name}: updated.")
        for note in [
            *_keep_pause(item, existing),
            *_keep_parameters(item, existing),
            *await _keep_schedules(client, item, existing),
        ]:
            print(f"  {note}")
    _prefect_deploy(config)
    for item in config["deployments"]:
        await _give_form(client, item)
    print(f"{len(config['deployments'])} deployments are in Prefect; `make worker` runs them.")


async def _give_form(client: PrefectClient, item: dict[str, Any]) -> None:
    """The form as `flows/forms.py` has it: `prefect deploy` makes one of its own."""
    path, _, function = item["entrypoint"].partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    schema: dict[str, Any] = getattr(module, function).parameters.model_dump_for_openapi()
    deployment = await client.read_deployment_by_name(full_name(item))
    form = DeploymentUpdate(parameter_openapi_schema=schema)
    await client.update_deployment(deployment.id, form)


async def _retire(client: PrefectClient, former: str, name: str) -> None:
    """Pause the deployment that `name` replaces; its runs stay to be looked at."""
    try:
        deployment = await client.read_deployment_by_name(f"{name.partition('/')[0]}/{former}")
    except ObjectNotFound:
        return
    if not deployment.paused:
        await client.pause_deployment(deployment.id)
        print(
            f"{name} was called {former} before, which is paused now: set in the new one what was "
            "set by hand in the old one, and delete that when nothing starts it any more."
        )


def _keep_pause(item: dict[str, Any], existing: DeploymentResponse) -> list[str]:
    item["paused"] = existing.paused
    return ["It stays paused."] if existing.paused else []


def _keep_parameters(item: dict[str, Any], existing: DeploymentResponse) -> list[str]:
    """Parameters that prefect.yaml doesn't name stay; those that it names are its own."""
    notes = []
    own = item.setdefault("parameters", {})
    for name, value in existing.parameters.items():
        if name not in own:
            own[name] = value
            notes.append(f"Its parameter {name} stays {value!r}.")
        elif own[name] != value:
            notes.append(f"Its parameter {name} was {value!r}; prefect.yaml has {own[name]!r}.")
    return notes


async def _keep_schedules(
    client: PrefectClient, item: dict[str, Any], existing: DeploymentResponse
) -> list[str]:
    """Schedules that prefect.yaml doesn't name stay; those that it names stay on or off."""
    own = {schedule["slug"]: schedule for schedule in item.get("schedules", [])}
    notes = []
    for schedule in existing.schedules:
        mine = own.pop(schedule.slug or "", None)
        if mine is None:
            notes.append(f"Its schedule {_time(schedule)}, added by hand, stays.")
            if not schedule.slug:
                # else Prefect takes the list in prefect.yaml for all that there is
                slug = f"by-hand-{str(schedule.id)[:8]}"
                await client.update_deployment_schedule(existing.id, schedule.id, slug=slug)
            continue
        mine["active"] = schedule.active
        if not schedule.active:
            notes.append(f"Its schedule {schedule.slug} stays off.")
        if _time(schedule) != f"{mine['cron']} ({mine['timezone']})":
            notes.append(
                f"Its schedule {schedule.slug} was {_time(schedule)}; prefect.yaml has "
                f"{mine['cron']} ({mine['timezone']})."
            )
    return [*notes, *(f"Its schedule {slug} was missing, and is there again." for slug in own)]


def _time(schedule: DeploymentSchedule) -> str:
    when = schedule.schedule
    if isinstance(when, CronSchedule):
        return f"{when.cron} ({when.timezone})"
    if isinstance(when, IntervalSchedule):
        return f"every {when.interval}"
    return getattr(when, "rrule", "of another kind")


def _prefect_deploy(config: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [
                sys.executable, "-m", "prefect", "--no-prompt",
                "deploy", "--all", "--prefect-file", file.name,
            ],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nPrefect refused the deployments, see above.")


if __name__ == "__main__":
    asyncio.run(deploy())
