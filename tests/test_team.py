"""The files for a team's server name what there is."""

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
GUIDE = (ROOT / "docs" / "team.md").read_text()


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda path: path.stem)
def test_a_unit_starts_what_the_makefile_starts(unit: Path) -> None:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(unit)
    command = read["Service"]["ExecStart"].split(".venv/bin/")[1]
    program = re.sub(r" --(host|port) \S+", "", command)
    assert program in (ROOT / "Makefile").read_text().replace("$(BIN)/", "")
    assert read["Service"]["NoNewPrivileges"] == "yes"


def test_a_worker_has_time_to_end_its_runs() -> None:
    from commands.worker import GRACE_SECONDS

    [seconds] = re.findall(
        r"TimeoutStopSec=(\d+)", (DEPLOY / "willsuite-worker.service").read_text()
    )
    assert int(seconds) > GRACE_SECONDS


def test_every_file_the_guide_links_to_is_there_and_every_target_too() -> None:
    for link in re.findall(r"\]\(\.\./([^)]+)\)", GUIDE):
        assert (ROOT / link).is_file()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", GUIDE)) <= targets


def test_the_image_is_where_the_units_and_clones_are() -> None:
    folders = {
        re.findall(r"(?m)^(?:WORKDIR |WorkingDirectory=)(\S+)", path.read_text())[0]
        for path in (DEPLOY / "Dockerfile", *DEPLOY.glob("*.service"))
    }
    assert folders == {"/opt/willsuite-flows"}


def test_the_image_takes_no_data_and_no_secret_along() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", "data/exports", "data/runs", "data/journal"} <= set(ignored)
