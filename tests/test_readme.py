"""The README says what is there."""

import inspect
import re
from pathlib import Path

import tasks.policy
import willsuite.errors
from commands.parameters import FLOWS, parameters_page
from commands.parameters import PAGE as PARAMETERS
from flows.export_cases import ShrunkenExportError, UnverifiedExportError
from flows.writing import IncompleteRunError
from protocols.reading.verification import MAX_SWEEPS
from schemas.appointment_file import appointment_column_table
from schemas.import_file import column_table
from schemas.issues import SourceError
from schemas.outcomes import Outcome
from schemas.update_file import bulk_column_table, update_column_table
from willsuite import Settings
from willsuite.retrying import MAX_ATTEMPTS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


def test_every_variable_it_names_is_a_setting_with_that_default() -> None:
    rows = re.findall(r"^\| (`WILLSUITE_[^|]+) \| ([^|]*) \|", README, re.M)
    for names, default in rows:
        for name in re.findall(r"WILLSUITE_([A-Z_]+)", names):
            field = Settings.model_fields[name.lower()]
            if default.startswith("`") and "<" not in default:
                assert str(field.default) == default.strip("` ")
    assert rows


def test_the_parameters_it_names_are_those_of_the_flows() -> None:
    """What README calls a parameter is one, and the page of all parameters is of today."""
    assert PARAMETERS.read_text(encoding="utf-8") == parameters_page(), "run make pages"
    known = {name for flow in FLOWS for name in inspect.signature(flow).parameters}
    named = set(re.findall(r"`([a-z_]+)=(?:True|\"\w+\")`", README))
    assert named
    assert named <= known


def test_the_errors_and_numbers_it_names_are_those_of_the_code() -> None:
    section = README.split("## When it fails")[1].split("##")[0]
    known = {
        **vars(willsuite.errors),
        **vars(tasks.policy),
        "UnverifiedExportError": UnverifiedExportError,
        "ShrunkenExportError": ShrunkenExportError,
        "IncompleteRunError": IncompleteRunError,
        "SourceError": SourceError,
    }
    named = re.findall(r"`(\w+Error)`", section)
    assert named
    assert all(issubclass(known[name], Exception) for name in named)
    assert f"{MAX_ATTEMPTS} times a request" in section
    assert f"after {MAX_SWEEPS} sweeps" in README


def test_the_tables_of_columns_are_those_of_the_schemas() -> None:
    said = (ROOT / "data" / "samples" / "README.md").read_text()
    for flow, table in (
        ("import-cases", column_table()),
        ("bulk-update-cases", bulk_column_table()),
        ("update-cases", update_column_table()),
        ("sync-appointments", appointment_column_table()),
    ):
        assert table in said.split(f"## {flow}\n")[1].split("## ")[0]


def test_the_outcomes_it_explains_are_those_that_there_are() -> None:
    section = README.split("| outcome |")[1].split("Of updates")[0]
    explained = {name for line in section.splitlines() for name in _first_cell(line)}
    assert explained == {outcome.value for outcome in Outcome}


def _first_cell(line: str) -> list[str]:
    return re.findall(r"`(\w+)`", line.split("|")[1]) if line.startswith("| `") else []


def test_every_file_it_links_to_is_there() -> None:
    for folder in (ROOT, ROOT / "data" / "samples"):
        for target in re.findall(r"\]\((?!http)([^)]+)\)", (folder / "README.md").read_text()):
            assert (folder / target).is_file(), target
