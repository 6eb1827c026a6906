"""Automations that tell somebody: made once, kept as people leave them, for a block that can."""

import asyncio

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import Automation

from commands.alerts import alerts, set_up
from flows.export_manifest import MISSED_EVENT

pytestmark = pytest.mark.usefixtures("prefect_server")


async def save_block() -> None:
    block = CustomWebhookNotificationBlock(
        name="ops", url="http://127.0.0.1:9/", json_data={"text": "{{subject}} {{body}}"}
    )
    await block.save("ops", overwrite=True)  # type: ignore[misc]


async def ours() -> list[Automation]:
    async with get_client() as client:
        found = await client.read_automations()
    return [each for each in found if each.name.startswith("willsuite alert: ")]


def test_they_are_made_once_and_one_that_was_switched_off_stays_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run() -> list[Automation]:
        await save_block()
        await set_up("custom-webhook/ops", 26, 4)
        async with get_client() as client:
            for automation in await ours():
                if "overdue" in automation.name:
                    await client.pause_automation(automation.id)
        await set_up("custom-webhook/ops", 12, 4)
        return await ours()

    made = asyncio.run(run())
    assert len(made) == len({each.name for each in made}) == 4
    assert [each.name for each in made if not each.enabled] == [
        "willsuite alert: an export is overdue"
    ]
    said = capsys.readouterr().out
    assert said.count("created.") == 4
    assert said.count("still off.") == 1
    [overdue] = [each for each in made if "overdue" in each.name]
    assert overdue.trigger.within.total_seconds() == 12 * 3600  # type: ignore[union-attr]
    [missed] = [each for each in made if "miss" in each.name]
    assert missed.trigger.expect == {MISSED_EVENT}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("", "make alerts BLOCK=slack-webhook/ops"),
        ("ops", "make alerts BLOCK=slack-webhook/ops"),
        ("slack-webhook/nobody", "There is no block slack-webhook/nobody"),
    ],
)
def test_a_block_that_cannot_tell_anybody_is_refused_with_what_to_do(block: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        asyncio.run(set_up(block, 26, 4))


def test_no_message_has_more_of_a_run_than_its_name_and_its_last_sentence() -> None:
    for automation in alerts("00000000-0000-0000-0000-000000000000"):  # type: ignore[arg-type]
        [action] = automation.actions
        text = action.subject + action.body  # type: ignore[union-attr]
        assert "parameters" not in text
        assert "logs" not in text
