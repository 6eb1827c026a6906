"""Plans that somebody approves, from Python: what is sent afterwards is what was planned.

Runs of deployments, which are suspended meanwhile, are in tests/engine/.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ended_runs import EndedRun, Row, write_csv
from prefect import Flow

from flows.bulk_update_cases import bulk_update_cases
from flows.import_cases import import_cases
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases
from flows.writing import IncompleteRunError
from protocols.rows.approved import PLAN_NAME
from sandbox.people import case_of
from sandbox.server import Sandbox
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]
ADVISER = "adviser@example.org"
HELD_BACK = ("conflict", "not_as_planned", 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


def new_case(number: int, **cells: str) -> Row:
    person = {"title": "Ms", "first_names": "Zoë", "last_name": f"Núñez {number}"}
    return {"ref": f"NEW-{number}"} | {f"customer_1_{k}": v for k, v in person.items()} | cells


def put_case(sandbox: Sandbox, number: int, **fields: Any) -> str:
    case_id = f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
    known = {"ref": f"OLD-{number}", "notes": f"Old {number}", "meta": {}, "is_active": 1}
    sandbox.store.put(case_of(case_id, customers=[], **known) | fields)
    return case_id


def change(number: int, **cells: str) -> Row:
    return {"ref": f"OLD-{number}", "notes": f"New {number}"} | cells


def run(flow: Flow[..., Any], *rows: Row, **parameters: Any) -> EndedRun:
    return EndedRun.of(flow, write_csv("rows.csv", rows), **parameters)


def plan_of(flow: Flow[..., Any], *rows: Row, **parameters: Any) -> str:
    planned = run(flow, *rows, dry_run=True, **parameters)
    assert planned.state.is_completed()
    return str(planned.summary["plan_file"])


def writes(sandbox: Sandbox) -> list[str]:
    """Methods and paths of all writes that came."""
    return [
        f"{seen.method} {seen.path}"
        for seen in sandbox.requests
        if seen.method != "GET" and seen.path != "/oauth/token"
    ]


def test_a_plan_that_still_holds_is_carried_out(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=5)
    rows = [new_case(number) for number in range(3)]
    plan = plan_of(import_cases, *rows)
    assert not writes(sandbox)
    carried = run(import_cases, *rows, plan=plan)
    assert carried.summary["outcomes"] == {"created": 3}
    again = run(import_cases, *rows, plan=str(Path(plan).parent))
    assert again.summary["outcomes"] == {"existing": 3}


def test_of_an_import_only_the_cases_that_were_planned_are_created(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    there = new_case(1, notes="There")
    run(import_cases, there)
    plan = plan_of(import_cases, new_case(0), there, new_case(2))
    for case_id in sandbox.store.listing(ref="NEW-1"):
        sandbox.store.delete(case_id)
    sandbox.requests.clear()
    rows = [new_case(0), there, new_case(2, customer_1_last_name="Other"), new_case(3)]
    carried = run(import_cases, *rows, plan=plan)
    assert carried.state.is_completed()
    assert carried.ends_by_key == {
        "NEW-0": ("created", None, 1),
        "NEW-1": HELD_BACK,  # it was there when it was planned
        "NEW-2": HELD_BACK,  # the row has changed
        "NEW-3": HELD_BACK,  # the row is new
    }
    assert writes(sandbox) == ["POST /cases/create"]


@pytest.mark.parametrize("flow", [bulk_update_cases, update_cases])
def test_a_case_that_has_moved_since_its_change_was_planned_is_left_alone(
    start_sandbox: StartSandbox, flow: Flow[..., Any]
) -> None:
    sandbox = start_sandbox(cases=5)
    for number in range(5):
        put_case(sandbox, number)
    plan = plan_of(flow, *(change(number) for number in range(4)))
    put_case(sandbox, 1, notes="Somebody's")
    put_case(sandbox, 2, notes="New 2")
    rows = [change(0), change(1), change(2), change(3, notes="Other"), change(4)]
    carried = run(flow, *rows, plan=plan)
    assert carried.ends_by_key == {
        "OLD-0": ("updated", None, 1),
        "OLD-1": HELD_BACK,
        "OLD-2": ("unchanged", None, 0),
        "OLD-3": HELD_BACK,
        "OLD-4": HELD_BACK,
    }
    assert len(writes(sandbox)) == 1


def test_a_row_of_which_a_part_is_done_meanwhile_sends_the_rest(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    put_case(sandbox, 0)
    row = change(0, new_ref="OLD-0b", id=f"{0:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa", ref="")
    plan = plan_of(update_cases, row)
    put_case(sandbox, 0, notes="New 0")
    [end] = run(update_cases, row, plan=plan).ends
    assert end == ("updated", None, 1)


def booking(number: int, case_id: str, **cells: str) -> Row:
    times = {"start_time": "2046-07-20 09:00", "end_time": "2046-07-20 10:00"}
    return {"key": f"B-{number}", "case_id": case_id, "adviser_email": ADVISER} | (
        times | {"location": f"Room {number}"} | cells
    )


def test_of_appointments_only_the_steps_that_were_planned_are_taken(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    ids = [put_case(sandbox, number) for number in range(4)]
    made = [booking(number, ids[number]) for number in range(3)]
    assert run(sync_appointments, *made).summary["outcomes"] == {"created": 3}
    sandbox.requests.clear()
    moved = [booking(0, ids[0], location="Hall"), booking(1, ids[1], location="Hall")]
    gone, new = {"key": "B-2", "action": "delete"}, booking(3, ids[3])
    plan = plan_of(sync_appointments, *moved, gone, new)
    assert not writes(sandbox)
    rows = [moved[0], booking(1, ids[1], location="Attic"), gone, new]
    carried = run(sync_appointments, *rows, plan=plan)
    assert carried.ends_by_key == {
        "B-0": ("updated", None, 1),
        "B-1": HELD_BACK,
        "B-2": ("deleted", None, 1),
        "B-3": ("created", None, 1),
    }
    assert len(writes(sandbox)) == 3


def test_an_appointment_that_is_gone_is_not_made_anew_by_a_plan_that_only_changes_it(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    case_id = put_case(sandbox, 0)
    run(sync_appointments, booking(0, case_id))
    row = booking(0, case_id, location="Hall")
    plan = plan_of(sync_appointments, row, recreate=True)
    for appointment in sandbox.appointments.values():
        appointment["deleted_at"] = "2026-01-01 00:00:00"
    sandbox.requests.clear()
    carried = run(sync_appointments, row, plan=plan, recreate=True)
    [end] = carried.ends
    assert end[:2] == HELD_BACK[:2]
    assert not [write for write in writes(sandbox) if write.startswith("POST")]


def test_a_plan_holds_digests_and_no_values(start_sandbox: StartSandbox) -> None:
    start_sandbox(cases=5)
    plan = plan_of(import_cases, new_case(0), new_case(1))
    table = pq.read_table(plan)
    assert table.column_names == ["row", "digest"]
    assert table["row"].to_pylist() == [2, 3]
    assert not [word for word in (b"NEW-0", "Núñez".encode()) if word in Path(plan).read_bytes()]
    assert Path(plan).name == PLAN_NAME
    assert Path(plan).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", ["flow", "account", "form", "missing"])
def test_what_is_no_plan_for_this_flow_and_account_is_refused_and_nothing_sent(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    sandbox = start_sandbox(cases=5)
    put_case(sandbox, 0)
    flow = update_cases if fault == "flow" else bulk_update_cases
    plan = plan_of(flow, change(0))
    if fault == "account":
        monkeypatch.setenv("WILLSUITE_ACCOUNT", "another")
    elif fault == "form":
        Path(plan).write_bytes(b"PAR1 no more")
    elif fault == "missing":
        Path(plan).unlink()
    refused = run(bulk_update_cases, change(0), plan=plan, first_run=True)
    assert refused.state.is_failed()
    assert "plan" in str(refused.state.message)
    assert refused.ends == [("not_attempted", "stopped", 0)]
    assert not writes(sandbox)


def test_asked_for_approval_from_python_a_flow_returns_the_plan_to_be_named_in_a_second_call(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    asked = run(import_cases, new_case(0), approve=True)
    assert asked.state.is_completed()
    assert asked.summary["outcomes"] == {"planned": 1}
    assert f'plan="{asked.summary["plan_file"]}"' in str(asked.state.message)
    assert not writes(sandbox)
    assert run(import_cases, new_case(0), plan=asked.summary["plan_file"]).ends == [
        ("created", None, 1)
    ]


def test_more_rows_than_may_be_sent_without_approval_fail_and_fewer_are_sent(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=5)
    rows = [new_case(number) for number in range(3)]
    refused = run(import_cases, *rows, approve_over=2)
    assert refused.state.is_failed()
    assert isinstance(refused.result, IncompleteRunError)
    assert refused.summary["outcomes"] == {"planned": 3}
    assert not writes(sandbox)
    sandbox.requests.clear()
    small = run(import_cases, *rows, approve_over=3)
    assert small.summary["outcomes"] == {"created": 3}
    folder = Path(small.summary["folder"])
    assert not list(folder.parent.glob(f"*/{PLAN_NAME}"))[1:], "a small file is not planned first"


def test_rows_that_send_nothing_do_not_count_towards_what_needs_approval(
    start_sandbox: StartSandbox,
) -> None:
    start_sandbox(cases=5)
    rows = [new_case(number) for number in range(3)]
    run(import_cases, *rows[:2])
    mostly_there = run(import_cases, *rows, approve_over=1)
    assert mostly_there.summary["outcomes"] == {"created": 1, "existing": 2}


def test_where_nothing_would_be_sent_nobody_is_asked(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=5)
    put_case(sandbox, 0)
    same = run(bulk_update_cases, change(0, notes="Old 0"), approve=True)
    assert same.ends == [("unchanged", None, 0)]
    assert same.summary["plan_file"] is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"plan": "p", "approve": True},
        {"approve_over": -1},
        {"approve_within_hours": 0.0},
    ],
    ids=json.dumps,
)
def test_what_contradicts_itself_is_a_sentence(
    start_sandbox: StartSandbox, parameters: dict[str, Any]
) -> None:
    start_sandbox(cases=1)
    with pytest.raises(RunError, match=next(iter(parameters))):
        asyncio.run(import_cases(source=str(write_csv("rows.csv", [new_case(0)])), **parameters))
