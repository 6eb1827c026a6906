"""`make alerts BLOCK=slack-webhook/ops`: who is told what, by Prefect's automations.

Belongs here: what is worth a message, and after how long. Does not: marking dead runs Crashed
(`commands/deploy.py`), or how a message gets anywhere: that is a notification block, which
somebody makes in Prefect's UI (Slack, Teams, a webhook, Sendgrid for e-mail and so on).

To be repeated freely: an automation that is there is brought up to date, and one that was switched
off in the UI stays off. Messages have names of runs and their last sentence: no client's data.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from commands.deploy import ensure_automation
from commands.server import server
from flows.export_manifest import MISSED_EVENT

EXPORT_HOURS = 26.0
"""A nightly export and two hours."""
APPROVAL_HOURS = 4.0
_RUN = {"match": {"prefect.resource.id": "prefect.flow-run.*"}}
_ENDED_BADLY = ("Failed", "TimedOut", "Crashed")
_ANSWERED = ("Resuming", "Running", "Cancelled", "Failed", "Completed", "Crashed")
_SAID = "{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}"


def alerts(
    block: UUID, export_hours: float = EXPORT_HOURS, approval_hours: float = APPROVAL_HOURS
) -> Iterator[AutomationCore]:
    """The automations; of runs of our deployments alone, by their tags."""
    yield _told(
        "a run failed",
        EventTrigger(
            **_RUN, match_related=_tagged("willsuite"), expect=_events(*_ENDED_BADLY),
            posture=Posture.Reactive, threshold=1,
        ),
        SendNotification(
            block_document_id=block,
            subject="WillSuite: {{ flow.name }} {{ flow_run.state.name }}", body=_SAID,
        ),
    )  # fmt: skip
    yield _told(
        "an export is overdue",
        EventTrigger(
            **_RUN, match_related=_tagged("export"), expect=_events("Completed"),
            posture=Posture.Proactive, threshold=1, within=timedelta(hours=export_hours),
        ),
        SendNotification(
            block_document_id=block, subject="WillSuite: an export is overdue",
            body=f"No export has completed for {export_hours:g} hours. Is a worker running?",
        ),
    )  # fmt: skip
    yield _told(
        "a plan waits for an answer",
        EventTrigger(
            **_RUN, match_related=_tagged("willsuite"), for_each={"prefect.resource.id"},
            after=_events("Suspended"), expect=_events(*_ANSWERED), posture=Posture.Proactive,
            threshold=1, within=timedelta(hours=approval_hours),
        ),
        SendNotification(
            block_document_id=block, subject="WillSuite: a plan waits for an answer",
            body=f"{{{{ flow_run.name }}}} waits for {approval_hours:g} hours.\n"
            "{{ flow_run|ui_url }}",
        ),
    )  # fmt: skip
    yield _told(
        "incremental exports miss changes",
        EventTrigger(expect={MISSED_EVENT}, posture=Posture.Reactive, threshold=1),
        SendNotification(
            block_document_id=block, subject="WillSuite: incremental exports miss changes",
            body="A full export found {{ event.payload.missed }} case(s) changed that WillSuite "
            "didn't list as changed; docs/reading-exports.md says what to do.",
        ),
    )  # fmt: skip


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


def _tagged(tag: str) -> dict[str, str]:
    return {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}


def _told(what: str, trigger: EventTrigger, action: SendNotification) -> AutomationCore:
    return AutomationCore(
        name=f"willsuite alert: {what}",
        description="Made by make alerts.",
        trigger=trigger,
        actions=[action],
    )


async def set_up(block: str, export_hours: float, approval_hours: float) -> None:
    """Bring the server's automations up to date; a line for each."""
    async with server() as client:
        block_id = await _block(client, block)
        for automation in alerts(block_id, export_hours, approval_hours):
            await ensure_automation(client, automation)


async def _block(client: PrefectClient, name: str) -> UUID:
    """The id of a block that can tell somebody."""
    kind, _, block = name.partition("/")
    if not kind or not block:
        sys.exit(
            "Whom shall it tell? Make a notification block in Prefect's UI under Blocks (Slack, "
            "Microsoft Teams, Custom Webhook, Sendgrid Email ...), and name it as kind/name: make "
            "alerts BLOCK=slack-webhook/ops"
        )
    try:
        found = await client.read_block_document_by_name(block, kind, include_secrets=False)
    except ObjectNotFound:
        sys.exit(f"There is no block {name} in this Prefect; make it in the UI under Blocks.")
    capabilities = found.block_schema.capabilities if found.block_schema else []
    if "notify" not in capabilities:
        sys.exit(f"The block {name} can't tell anybody anything; name a notification block.")
    return found.id


def main() -> None:
    """Read the command line that the Makefile writes."""
    parser = argparse.ArgumentParser(prog="python -m commands.alerts")
    parser.add_argument("--block", default="", help="a notification block, as kind/name")
    parser.add_argument("--export-hours", type=float, default=EXPORT_HOURS)
    parser.add_argument("--approval-hours", type=float, default=APPROVAL_HOURS)
    given = parser.parse_args()
    asyncio.run(set_up(given.block, given.export_hours, given.approval_hours))


if __name__ == "__main__":
    main()
