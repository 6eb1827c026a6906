"""The README says what is there."""

import inspect
import re
from pathlib import Path

import tasks.policy
import willsuite.errors
from flows.export_cases import UnverifiedExportError, export_cases
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


def test_every_parameter_it_names_is_one_of_the_flow() -> None:
    section = README.split("Parameters:")[1].split("##")[0]
    named = set(re.findall(r"`([a-z_]+)`", section))
    assert named == set(inspect.signature(export_cases).parameters) - {"mode"}


def test_the_errors_and_numbers_it_names_are_those_of_the_code() -> None:
    section = README.split("## When it fails")[1].split("##")[0]
    known = {
        **vars(willsuite.errors),
        **vars(tasks.policy),
        "UnverifiedExportError": UnverifiedExportError,
    }
    named = re.findall(r"`(\w+Error)`", section)
    assert named
    assert all(issubclass(known[name], Exception) for name in named)
    assert f"{MAX_ATTEMPTS} times a request" in section
    assert f"after {MAX_SWEEPS} sweeps" in README


def test_every_file_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).is_file(), target
