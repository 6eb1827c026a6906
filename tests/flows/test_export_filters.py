"""Filters from a file, which Prefect doesn't store."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from test_export_cases import end_of, export, manifest_of

from sandbox.server import Sandbox
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server")


async def stored_runs() -> str:
    """The newest ones: a server doesn't show all at once."""
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC)
    return "\n".join(run.model_dump_json() for run in runs)


def test_filters_from_a_file_reach_the_server_and_are_not_stored_by_prefect(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox, output, file = start_sandbox(cases=30), tmp_path / "out", tmp_path / "f.json"
    case = sandbox.store.case(sandbox.store.ids[7])
    assert case is not None
    file.write_text(json.dumps({"ref": case["ref"], "updated_after": "2001-02-03"}))
    assert export(output, filters_file=str(file))["cases"] == 1
    filters = {"ref": case["ref"], "updatedAfter": "2001-02-03 00:00:00"}
    assert manifest_of(output)["filters"] == filters
    stored = asyncio.run(stored_runs())
    assert str(file) in stored
    assert case["ref"] not in stored


def test_a_filter_that_came_twice_is_refused(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox, file = start_sandbox(cases=3), tmp_path / "f.json"
    file.write_text('{"ref": "Quill", "updated_after": "yesterday"}')
    state = end_of(tmp_path / "out", filters_file=str(file), ref="Quill-2")
    assert state.message == "ref came twice, in filters_file too; leave one out."
    with pytest.raises(RunError, match="updated_after must be a time like"):
        export(tmp_path / "out", filters_file=str(file))
    assert sandbox.requests == []
