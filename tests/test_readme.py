"""The README says what is there."""

import inspect
import re
from pathlib import Path

import tasks.policy
import willsuite.errors
from flows.export_cases import UnverifiedExportError, export_cases
from flows.import_cases import import_cases
from flows.writing import IncompleteRunError
from schemas.import_file import column_table
from schemas.issues import SourceError
from schemas.outcomes import Outcome
from tasks.verification import MAX_SWEEPS
from willsuite import Settings
from willsuite.retrying import MAX_ATTEMPTS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)", README)) <= targets


def test_every_variable_it_names_is_a_setting_with_that_default() -> None:
    rows = re.findall(r"^\| (`WILLSUITE_[^|]+) \| ([^|]*) \|", README, re.M)
    for names, default in rows:
        for name in re.findall(r"WILLSUITE_([A-Z_]+)", names):
            field = Settings.model_fields[name.lower()]
            if default.startswith("`") and "<" not in default:
                assert str(field.default) == default.strip("` ")
    assert rows


def test_the_parameters_it_names_are_those_of_the_flows() -> None:
    for flow, what in ((export_cases, "export"), (import_cases, "import")):
        section = README.split(f"Parameters of the {what}:")[1].split("##")[0]
        named = set(re.findall(r"`([a-z_]+)(?:=\"\w+\")?`", section)) - {"ref"}
        assert named == set(inspect.signature(flow).parameters) - {"ref"}


def test_the_errors_and_numbers_it_names_are_those_of_the_code() -> None:
    section = README.split("## When it fails")[1].split("##")[0]
    known = {
        **vars(willsuite.errors),
        **vars(tasks.policy),
        "UnverifiedExportError": UnverifiedExportError,
        "IncompleteRunError": IncompleteRunError,
        "SourceError": SourceError,
    }
    named = re.findall(r"`(\w+Error)`", section)
    assert named
    assert all(issubclass(known[name], Exception) for name in named)
    assert f"{MAX_ATTEMPTS} times a request" in section
    assert f"after {MAX_SWEEPS} sweeps" in README


def test_its_table_of_columns_is_that_of_the_schema() -> None:
    assert column_table() in README


def test_the_outcomes_it_explains_are_those_an_import_can_have() -> None:
    section = README.split("| outcome |")[1].split("Running a file again")[0]
    explained = {name for line in section.splitlines() for name in _first_cell(line)}
    others = {Outcome.UPDATED, Outcome.UNCHANGED, Outcome.DELETED}
    assert explained == {outcome.value for outcome in Outcome if outcome not in others}


def _first_cell(line: str) -> list[str]:
    return re.findall(r"`(\w+)`", line.split("|")[1]) if line.startswith("| `") else []


def test_every_file_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).is_file(), target
