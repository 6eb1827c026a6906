"""Nobody's personal data leaves a plan, whatever becomes of it, but into the run's own folder."""

import asyncio
import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from deployed_runs import carry_out_next, deploy
from ended_runs import EndedRun, Row, write_csv
from prefect import Flow
from prefect.client.orchestration import get_client
from read_texts import texts_in

from flows.bulk_update_cases import bulk_update_cases
from flows.import_cases import import_cases
from flows.runs import latest_run, outcomes, rejects
from flows.sync_appointments import sync_appointments
from flows.undo import undo_bulk_update
from flows.update_cases import update_cases
from sandbox.faults import Fault, JobFault, Status
from sandbox.people import case_of
from sandbox.server import Sandbox
from tasks.policy import RunError

pytestmark = pytest.mark.leaks

StartSandbox = Callable[..., Sandbox]
Leaks = Callable[[Sequence[str]], list[str]]

WORDS = Status(422, body=json.dumps({"errors": {"notes": ["Vexquib-Wren is unwell, it said."]}}))
SAID = "Vexquib-Wren's notes are too long, says the job."
CANARIES = ["exquib", "EXQUIB", "QX9 9QX", "07700900987", "1931-11-23", "23/11/1931"]
FLOWS = (import_cases, bulk_update_cases, update_cases, sync_appointments)
WRITES = {
    import_cases: "/cases/create", bulk_update_cases: "/cases-bulk-update",
    update_cases: "/cases/*", sync_appointments: "/cases/*",
}  # fmt: skip


def id_of(number: int) -> str:
    return f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def put_case(sandbox: Sandbox, number: int, notes: str = "Vexquib was here") -> None:
    sandbox.store.put(
        case_of(
            id_of(number), ref=f"Vexquib-Old-{number}", notes=notes, meta={}, is_active=1,
            customers=[],
        )
    )  # fmt: skip


def person(title: str = "Vexquibess") -> Row:
    cells = {
        "title": title, "first_names": "Vexquibina", "last_name": "Vexquib-Wren",
        "date_of_birth": "23/11/1931", "postcode": "QX9 9QX",
    }  # fmt: skip
    return {f"customer_1_{name}": cell for name, cell in cells.items()}


def good(flow: Flow[..., Any], number: int) -> Row:
    if flow is import_cases:
        return {"ref": f"Vexquib-New-{number}", "notes": "Vexquib illness", **person()}
    if flow is sync_appointments:
        return {
            "key": f"Vexquib {flow.name} {number}", "case_ref": f"Vexquib-Old-{number}",
            "adviser_email": "adviser@example.org", "start_time": "2099-07-20 09:00",
            "end_time": "2099-07-20 10:00", "location": "Vexquib Hall", "notes": "Vexquib key",
            "sms_recipient": "07700900987", "sms_confirmation": "yes",
        }  # fmt: skip
    change = {"ref": f"Vexquib-Old-{number}", "notes": f"Vexquib illness {flow.name}"}
    return change | (person() if flow is update_cases else {})


def bad(flow: Flow[..., Any]) -> Row:
    """One that is rejected."""
    row = good(flow, 0)
    return row | ({"key": ""} if flow is sync_appointments else {"ref": ""})


async def planned_and_answered(flow: Flow[..., Any], **said: Any) -> None:
    """A run of a deployment is suspended with its plan, answered, and taken up again."""
    async with get_client() as client:
        deployment, _ = await deploy(client, flow)
        run = await client.create_flow_run_from_deployment(
            deployment, parameters={"source": "rows.csv", "approve": True}
        )
        await carry_out_next(client, deployment, flow)
        state = (await client.read_flow_run(run.id)).state
        assert state is not None
        assert state.name == "Suspended"
        await client.resume_flow_run(run.id, run_input=said)
        await carry_out_next(client, deployment, flow)


@pytest.fixture
def leaks(leaked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Leaks:
    """Which words runs have shown, or Prefect keeps."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    return lambda words: leaked(words, "bulk-update-cases", Path("state"))


def modes() -> set[int]:
    return {
        stat.S_IMODE(file.stat().st_mode)
        for folder in ("data/runs", "runs")
        for file in Path(folder).rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_plan_that_waits_for_an_answer_shows_nobody_whatever_the_answer_is(
    start_sandbox: StartSandbox, leaks: Leaks, flow: Flow[..., Any]
) -> None:
    sandbox = start_sandbox(cases=3)
    for number in range(5):
        put_case(sandbox, number)
    put_case(sandbox, 99)
    write_csv("rows.csv", [*(good(flow, number) for number in range(4)), bad(flow)])
    # what the account says of a row, and a job of its cases, is nobody's business either
    sandbox.faults = [Fault(WORDS, path=WRITES[flow], method="P*", skip=1)]
    sandbox.job_faults = [JobFault(ends="failed", message=SAID, applies=0.5)]
    asyncio.run(planned_and_answered(flow, approve=False, approved_by="Bo"))
    asyncio.run(planned_and_answered(flow, approve=True, approved_by="Bo"))
    run = asyncio.run(latest_run(flow.name))
    assert run.summary is not None
    assert run.summary["outcomes"]["rejected"] >= 1
    # whoever follows the run gets to the rows by the paths that Prefect keeps
    assert "Vexquib" in str(outcomes(run).to_dict()) + str(rejects(run).to_dict())
    bulk = EndedRun.of(bulk_update_cases, write_csv("x.csv", [good(bulk_update_cases, 99)]))
    assert bulk.state.is_completed()  # of which there is a result in any case
    assert leaks([*CANARIES, *sandbox.tokens]) == []
    assert modes() == {0o600}
    assert "Vexquib" in texts_in(Path("data/runs"))


def test_a_plan_that_is_named_and_the_way_back_show_nobody(
    start_sandbox: StartSandbox, leaks: Leaks
) -> None:
    sandbox = start_sandbox(cases=3)
    for number in range(5):
        put_case(sandbox, number, f"Vexquib before {number}")

    def run(source: str | Path, **parameters: Any) -> EndedRun:
        return EndedRun.of(bulk_update_cases, source, **parameters)

    rows = [good(bulk_update_cases, number) for number in range(5)]
    source = write_csv("rows.csv", rows)
    asked = run(source, approve=True)
    assert asked.summary["outcomes"] == {"planned": 5}
    put_case(sandbox, 0, "Vexquib meanwhile")
    done = run(source, plan=asked.summary["plan_file"])
    assert done.summary["outcomes"] == {"updated": 4, "conflict": 1}
    too_many = run(write_csv("more.csv", [{**row, "notes": "Vexquib"} for row in rows]),
                   approve_over=1)  # fmt: skip
    assert too_many.state.is_failed()
    assert run(source, plan=str(source)).state.is_failed()

    undone = asyncio.run(undo_bulk_update(done.summary["outcomes_file"], "runs"))
    put_case(sandbox, 1, "Vexquib at last")
    sandbox.job_faults = [JobFault(message=SAID)]
    back = run(undone["source"], plan=undone["plan_file"], blank_words=[])
    assert back.summary["outcomes"] == {"updated": 3, "conflict": 1}
    with pytest.raises(RunError) as nothing:
        asyncio.run(undo_bulk_update(asked.summary["outcomes_file"], "runs"))
    for shown in (undone, back.summary, str(nothing.value), str(too_many.state.message)):
        assert "exquib" not in str(shown)
    assert leaks([*CANARIES, "sandbox-secret", *sandbox.tokens]) == []
    assert modes() == {0o600}
    assert "Vexquib before 1" in texts_in(Path("runs"))
