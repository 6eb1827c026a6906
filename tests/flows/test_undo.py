"""The way back from a bulk update: planned, and only where the case still is as it was left."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ended_runs import EndedRun, Row, write_csv

from flows.bulk_update_cases import bulk_update_cases
from flows.undo import undo_bulk_update
from sandbox.people import CRM_FIELDS, case_of
from sandbox.server import Sandbox
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]
SOURCE = CRM_FIELDS[0]
LABEL = f"meta:{SOURCE['field_label']}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")


def id_of(number: int) -> str:
    return f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def put_case(sandbox: Sandbox, number: int, **fields: Any) -> None:
    known = {"ref": f"OLD-{number}", "notes": f"Old {number}", "meta": {}, "is_active": 1}
    sandbox.store.put(case_of(id_of(number), customers=[], **known) | fields)


def notes(sandbox: Sandbox) -> list[Any]:
    return [sandbox.store.case(id_of(number))["notes"] for number in range(3)]  # type: ignore[index]


def updated(*rows: Row) -> str:
    run = EndedRun.of(bulk_update_cases, write_csv("rows.csv", rows))
    assert run.state.is_completed()
    return str(run.summary["outcomes_file"])


def carried_out(planned: Any) -> EndedRun:
    return EndedRun.of(
        bulk_update_cases, planned["source"], plan=planned["plan_file"], blank_words=[]
    )


def test_what_was_updated_goes_back_but_for_what_somebody_has_changed_since(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=1)
    awkward = 'Old\n"quoted", n/a'
    put_case(sandbox, 0, notes=awkward)
    put_case(sandbox, 1)
    put_case(sandbox, 2)
    outcomes = updated(*({"ref": f"OLD-{number}", "notes": "New"} for number in range(3)))
    put_case(sandbox, 1, notes="Somebody's")
    sandbox.requests.clear()
    planned = asyncio.run(undo_bulk_update(outcomes))
    assert planned["outcomes"] == {"planned": 2, "conflict": 1}
    assert planned["not_undone"] == 0
    assert all(seen.method == "GET" for seen in sandbox.requests if "oauth" not in seen.path)
    put_case(sandbox, 2, notes="Somebody's, too")
    back = carried_out(planned)
    assert [end[0] for end in back.ends] == ["updated", "conflict", "conflict"]
    assert notes(sandbox) == [awkward, "Somebody's", "Somebody's, too"]


def test_a_field_that_was_blank_is_counted_and_left(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=1)
    option = SOURCE["options"][0] if SOURCE["options"] else "Web"
    put_case(sandbox, 0)
    folder = str(Path(updated({"ref": "OLD-0", "notes": "New", LABEL: option})).parent)
    planned = asyncio.run(undo_bulk_update(folder))
    assert planned["not_undone"] == 1
    assert carried_out(planned).ends == [("updated", None, 1)]
    assert sandbox.store.case(id_of(0))["notes"] == "Old 0"  # type: ignore[index]


def test_what_has_nothing_to_undo_is_a_sentence(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=1)
    put_case(sandbox, 0)
    same = updated({"ref": "OLD-0", "notes": "Old 0"})
    with pytest.raises(RunError, match="no change that can be undone"):
        asyncio.run(undo_bulk_update(same))
    with pytest.raises(RunError, match="not the outcomes of an update"):
        asyncio.run(undo_bulk_update("missing"))
