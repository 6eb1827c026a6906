"""The notebooks, carried out in real kernels from a folder that isn't the project's."""

import ast
import asyncio
import importlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ended_runs import write_csv
from nbclient import NotebookClient
from prefect.settings import PREFECT_API_URL

from flows.export_cases import export_cases
from flows.import_cases import import_cases
from sandbox.people import CRM_FIELDS
from sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TIMEOUT_SECONDS = 100
LEAD_SOURCE = CRM_FIELDS[0]
PERSON = {"customer_1_title": "Ms", "customer_1_first_names": "Zoë", "customer_1_last_name": "Ng"}

StartSandbox = Callable[..., Sandbox]
Outputs = dict[str, list[Any]]
"""Of the cells, by their ids."""


@pytest.fixture
def carry_out(
    prefect_server: None, no_account_from_outside: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outputs]:
    """Run a notebook with the account and the Prefect server of the test, and other parameters."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")

    def run(name: str, **parameters: object) -> Outputs:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        # as papermill does it
        at = [is_parameters(cell) for cell in notebook.cells].index(True) + 1
        given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(at, nbformat.v4.new_code_cell(f"DATA = Path('data')\n{given}"))
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": PREFECT_API_URL.value(),
            "IPYTHONDIR": str(Path("ipython").absolute()),
        }  # fmt: skip
        here = {"metadata": {"path": str(Path.cwd())}}
        NotebookClient(notebook, timeout=TIMEOUT_SECONDS, resources=here).execute(env=environment)
        return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    return run


def is_parameters(cell: Any) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def text_of(outputs: list[Any]) -> str:
    return "\n".join(
        output.text if output.output_type == "stream" else output.data.get("text/plain", "")
        for output in outputs
    )


def noise(outputs: Outputs) -> list[str]:
    """What cells have written to stderr, where logs and warnings go."""
    every = [output for of_cell in outputs.values() for output in of_cell]
    return [output.text for output in every if output.get("name") == "stderr"]


def lead_sources(sandbox: Sandbox) -> list[str | None]:
    cases = [sandbox.store.case(case_id) for case_id in sandbox.store.ids]
    return [case["meta"].get(LEAD_SOURCE["id"]) for case in cases if case and case["is_active"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_and_imports_what_is_there(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count] == []
    assert [is_parameters(cell) for cell in cells].count(True) == 1
    tree = ast.parse("\n".join(cell.source for cell in cells))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [each.name for each in node.names if not hasattr(module, each.name)] == []
        elif isinstance(node, ast.Import):
            assert [each.name for each in node.names if find_spec(each.name) is None] == []


def test_a_kernel_of_the_virtual_environment_finds_the_package_from_any_folder(
    no_account_from_outside: None, tmp_path: Path
) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    find = "import importlib.util as u; assert u.find_spec('willsuite_flows'), 'run make setup'"
    subprocess.run([sys.executable, "-c", find], cwd=tmp_path, env=environment, check=True)


@pytest.mark.soak
def test_the_export_is_made_and_shows_what_is_new_since_the_one_before(
    start_sandbox: StartSandbox, carry_out: Callable[..., Outputs]
) -> None:
    start_sandbox(cases=60)
    asyncio.run(export_cases(output="data/exports"))
    source = write_csv("rows.csv", [{"ref": "NEW-1", **PERSON}])
    asyncio.run(import_cases(source=str(source), output="runs"))
    outputs = carry_out("1_export.ipynb")
    assert text_of(outputs["read-tables"]).startswith("61 cases")
    new = text_of(outputs["changes-this-week"]).splitlines()
    assert [line.split() for line in new if line.startswith("cases")] == [["cases", "1"]]
    charts = [name for name in outputs if name.endswith("-chart")]
    assert len(charts) == 4
    assert all("image/png" in outputs[name][-1].data for name in charts)
    assert noise(outputs) == []


@pytest.mark.soak
def test_what_is_planned_is_imported_and_found_again_and_the_rest_is_rejected(
    start_sandbox: StartSandbox, carry_out: Callable[..., Outputs]
) -> None:
    sandbox = start_sandbox(cases=3)
    outputs = carry_out("2_import.ipynb", CARRY_OUT=True)
    made = {f"SAMPLE-{number:03d}" for number in range(1, 9)} | {"GOOD-15", "BAD-01", "BAD-16"}
    refs = [sandbox.store.case(case_id)["ref"] for case_id in sandbox.store.ids]  # type: ignore[index]
    assert made == {ref for ref in refs if not ref.startswith("WS-")}
    assert text_of(outputs["again"]).split() == ["rows", "existing", "10", "rejected", "13"]
    assert noise(outputs) == []


@pytest.mark.soak
def test_a_bulk_update_of_a_query_is_carried_out_proven_and_taken_back(
    start_sandbox: StartSandbox, carry_out: Callable[..., Outputs]
) -> None:
    sandbox = start_sandbox(cases=60)
    before = lead_sources(sandbox)
    old = before.count("Seminar")
    assert old > 0
    outputs = carry_out("3_bulk_update.ipynb", CARRY_OUT=True, UNDO=True)
    assert text_of(outputs["carry-out"]).split() == ["rows", "updated", str(old)]
    assert text_of(outputs["prove"]).startswith(f"{old} cases had 'Seminar'; 0 have it now.")
    assert f"{{'updated': {old}}}" in text_of(outputs["undo"])
    assert lead_sources(sandbox) == before
    assert noise(outputs) == []


@pytest.mark.soak
def test_the_appointments_of_next_week_are_made_once_and_moved_and_cancelled(
    start_sandbox: StartSandbox, carry_out: Callable[..., Outputs]
) -> None:
    sandbox = start_sandbox(cases=20)
    outputs = carry_out("4_appointments.ipynb", CARRY_OUT=True)
    sent = Counter(seen.method for seen in sandbox.requests if "appointments" in seen.path)
    assert sent == {"POST": 6, "PATCH": 1, "DELETE": 1}
    assert sandbox.messages == []
    assert text_of(outputs["again"]).split() == ["rows", "unchanged", "6"]
    assert noise(outputs) == []


@pytest.mark.soak
@pytest.mark.parametrize("name", ["2_import", "3_bulk_update", "4_appointments"])
def test_nothing_is_sent_unless_it_is_asked_for(
    start_sandbox: StartSandbox, carry_out: Callable[..., Outputs], name: str
) -> None:
    sandbox = start_sandbox(cases=60)
    outputs = carry_out(f"{name}.ipynb")
    assert "planned" in text_of(outputs["carry-out"])
    assert {seen.method for seen in sandbox.requests if "oauth" not in seen.path} == {"GET"}
    assert noise(outputs) == []
