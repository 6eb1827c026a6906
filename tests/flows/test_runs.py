"""Runs of deployments as a notebook sees them, and plans that wait for an answer.

The runs are carried out in this process; workers do it in tests/test_roads.py.
"""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from deployed_runs import carry_out_next, deploy
from ended_runs import Row, write_csv
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.responses import SetStateStatus

from flows.export_cases import export_cases
from flows.import_cases import import_cases
from flows.runs import (
    EndedRun,
    RunFailedError,
    latest_run,
    outcomes,
    rejects,
    run_and_wait,
)
from sandbox.server import Sandbox
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("flows.runs.POLL_SECONDS", 0.1)


def row(ref: str) -> Row:
    person = {"title": "Ms", "first_names": "Zoë", "last_name": "Núñez"}
    return {"ref": ref} | {f"customer_1_{name}": value for name, value in person.items()}


def created(sandbox: Sandbox) -> int:
    return sum(seen.path == "/cases/create" for seen in sandbox.requests)


async def waited_for(client: PrefectClient, passes: int = 1, **parameters: Any) -> dict[str, Any]:
    """Start a run of import-cases, and carry it out beside whoever waits for it."""
    deployment, name = await deploy(client, import_cases)

    async def carry_out() -> None:
        for _ in range(passes):
            await carry_out_next(client, deployment, import_cases)

    work = asyncio.create_task(carry_out())
    try:
        return await run_and_wait(name, **parameters)
    finally:
        work.cancel()


def test_a_run_that_is_waited_for_gives_its_summary_and_its_rows(
    start_sandbox: StartSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    start_sandbox(cases=3)
    source = str(
        write_csv("rows.csv", [row("A1"), row("A2"), {"ref": "", "notes": "no reference"}])
    )

    async def notebook() -> tuple[dict[str, Any], EndedRun]:
        async with get_client() as client:
            summary = await waited_for(client, source=source)
            return summary, await latest_run("import-cases")

    summary, latest = asyncio.run(notebook())
    assert summary["outcomes"] == {"created": 2, "rejected": 1}
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith(": Completed")
    lines = shown.split("\r")
    assert all(one != other for one, other in pairwise(lines)), "a line is written when it changes"
    assert latest.is_completed
    assert latest.summary == summary
    for run in (summary, latest):
        assert outcomes(run)["outcome"].to_list() == ["created", "created", "rejected"]
        assert rejects(run).shape[0] == 1


def test_a_run_that_fails_raises_its_own_sentence_and_has_its_summary(
    start_sandbox: StartSandbox,
) -> None:
    start_sandbox(cases=3)

    async def notebook(**parameters: Any) -> EndedRun:
        async with get_client() as client:
            with pytest.raises(RunFailedError) as failed:
                await waited_for(client, show=False, **parameters)
        assert failed.value.run.message in str(failed.value)
        return failed.value.run

    rejected = str(write_csv("rows.csv", [{"ref": "", "notes": "no reference"}]))
    run = asyncio.run(notebook(source=rejected, on_reject="fail"))
    assert run.summary is not None
    assert run.summary["outcomes"] == {"rejected": 1}
    run = asyncio.run(notebook(source="missing.csv"))
    assert run.summary is None
    assert "missing.csv" in run.message
    with pytest.raises(RunError, match="left no summary"):
        outcomes(run)


def test_what_cannot_be_started_is_a_sentence(start_sandbox: StartSandbox) -> None:
    start_sandbox(cases=3)

    async def notebook(name: str = "", **parameters: Any) -> None:
        async with get_client() as client:
            _, made = await deploy(client, import_cases, enforce_parameter_schema=True)
            await run_and_wait(name or made, show=False, **parameters)

    with pytest.raises(RunError, match="no deployment import-cases/other"):
        asyncio.run(notebook("import-cases/other"))
    with pytest.raises(RunError, match="refuses the parameters"):
        asyncio.run(notebook(source="x", max_people=0))
    with pytest.raises(RunError, match=r"within 0\.2 s; it goes on"):
        asyncio.run(notebook(source="x", timeout_seconds=0.2))
    with pytest.raises(RunError, match="No run of no-such-flow"):
        asyncio.run(latest_run("no-such-flow"))


def test_the_summary_of_an_export_is_kept_too(start_sandbox: StartSandbox) -> None:
    start_sandbox(cases=3)

    async def notebook() -> EndedRun:
        async with get_client() as client:
            deployment, _ = await deploy(client, export_cases)
            await client.create_flow_run_from_deployment(deployment, parameters={"output": "x"})
            await carry_out_next(client, deployment, export_cases)
            return await latest_run("export-cases")

    run = asyncio.run(notebook())
    assert run.summary is not None
    assert run.summary["cases"] == 3
    with pytest.raises(RunError, match="only the flows that write"):
        outcomes(run)


# -- plans that wait for an answer ---------------------------------------------------------------


async def asked(client: PrefectClient, source: str, **parameters: Any) -> tuple[UUID, UUID]:
    """A deployment and a run of it that is suspended."""
    deployment, _ = await deploy(client, import_cases)
    run = await client.create_flow_run_from_deployment(
        deployment, parameters={"source": source, "approve": True, **parameters}
    )
    await carry_out_next(client, deployment, import_cases)
    state = (await client.read_flow_run(run.id)).state
    assert state is not None
    assert state.name == "Suspended"
    return deployment, run.id


def answered(source: str, meanwhile: Callable[[], None], **said: Any) -> str:
    """How a run ends that was suspended, and answered so."""

    async def run() -> str:
        async with get_client() as client:
            deployment, run_id = await asked(client, source)
            meanwhile()
            await client.resume_flow_run(run_id, run_input=said)
            await carry_out_next(client, deployment, import_cases)
            state = (await client.read_flow_run(run_id)).state
            assert state is not None
            return f"{state.name}: {state.message}"

    return asyncio.run(run())


def test_an_approved_plan_is_carried_out_and_what_has_changed_since_is_not(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=3)
    source = str(write_csv("rows.csv", [row("A1"), row("A2")]))

    def meanwhile() -> None:
        assert created(sandbox) == 0
        write_csv("rows.csv", [row("A1"), row("A2"), row("A3")])

    said = answered(source, meanwhile, approve=True, approved_by="Bo", remark="as agreed")
    assert said.startswith("Completed: 3 rows: 2 created, 1 conflict.")
    assert created(sandbox) == 2
    [file] = Path("data/runs").glob("*/approval.json")
    approval = json.loads(file.read_text())
    assert (approval["approve"], approval["by"]) == (True, "Bo")


@pytest.mark.parametrize("said", [{"approve": False, "approved_by": "Bo"}, {}])
def test_a_plan_that_is_not_approved_ends_the_run_and_nothing_is_sent(
    start_sandbox: StartSandbox, said: dict[str, Any]
) -> None:
    sandbox = start_sandbox(cases=3)
    source = str(write_csv("rows.csv", [row("A1")]))
    ended = answered(source, lambda: None, **said)
    assert ended.startswith("Cancelled: The plan ")
    assert "was rejected" in ended
    assert created(sandbox) == 0


def test_an_approved_plan_that_is_gone_sends_nothing(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=3)
    source = str(write_csv("rows.csv", [row("A1")]))

    def meanwhile() -> None:
        for plan in Path("data/runs").glob("*/plan.parquet"):
            plan.unlink()

    ended = answered(source, meanwhile, approve=True)
    assert ended.startswith("Failed: ")
    assert "There is no plan" in ended
    assert created(sandbox) == 0


def test_the_form_shows_the_plan_in_counts_and_refuses_what_is_no_answer(
    start_sandbox: StartSandbox,
) -> None:
    start_sandbox(cases=3)
    source = str(write_csv("rows.csv", [row("A1"), {"ref": "", "notes": "no reference"}]))

    async def run() -> str:
        async with get_client() as client:
            _, run_id = await asked(client, source)
            refused = await client.resume_flow_run(run_id, run_input={"approve": "perhaps"})
            assert refused.status is SetStateStatus.REJECT
            return await client.read_flow_run_input(run_id, "suspended-approval-description")

    shown = asyncio.run(run())
    assert "2 rows: 1 rejected, 1 planned." in shown
    assert "outcomes.parquet" in shown


def test_a_plan_below_the_limit_of_its_deployment_waits_for_nobody(
    start_sandbox: StartSandbox,
) -> None:
    start_sandbox(cases=3)
    source = str(write_csv("rows.csv", [row("A1"), row("A2")]))

    async def notebook(limit: int) -> dict[str, Any]:
        async with get_client() as client:
            return await waited_for(client, show=False, source=source, approve_over=limit)

    assert asyncio.run(notebook(2))["outcomes"] == {"created": 2}
