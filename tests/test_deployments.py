"""prefect.yaml says what Prefect reads. That it runs: tests/test_roads.py."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import DeploymentConfig
from prefect.events.schemas.automations import EventTrigger

from commands.deploy import FORMER_NAMES, SILENCE, dead_runs_automation, full_name
from flows.forms import FIELDS

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / "prefect.yaml").read_text())
NOT_SCHEDULED = {
    "export-nightly": set(),
    "export-hourly": set(),
    "export-account": {"connection"},
    "export-all": {"connections"},
    "import-file": {"source"},
    "bulk-update-file": {"source"},
    "update-file": {"source"},
    "sync-file": {"source"},
}
"""What a person has to fill in before a deployment can run."""
DEPLOYMENTS = [
    pytest.param(item, id=f"{item['entrypoint'].split(':')[1]}/{item['name']}")
    for item in CONFIG["deployments"]
]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    path, name = deployment["entrypoint"].split(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    flow = getattr(module, name)
    assert isinstance(flow, Flow)
    return flow


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_deployment_has_only_keys_that_prefect_reads(deployment: dict[str, Any]) -> None:
    assert set(deployment) <= set(DeploymentConfig.model_fields)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_deployments_flow_can_be_imported_and_takes_its_parameters(
    deployment: dict[str, Any],
) -> None:
    flow = flow_of(deployment)
    assert full_name(deployment) == f"{flow.name}/{deployment['name']}"
    known = flow.parameters.properties
    assert set(deployment["parameters"]) <= set(known)
    assert set(flow.parameters.required) <= NOT_SCHEDULED[deployment["name"]]
    described = {name for name, field in known.items() if field.get("description")}
    assert described == set(known), "every field of the form has a description"


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_schedules_are_in_the_firms_zone_and_nothing_secret_is_in_the_file(
    deployment: dict[str, Any],
) -> None:
    schedules = deployment.get("schedules", [])
    assert {schedule["timezone"] for schedule in schedules} <= {"Europe/London"}
    assert bool(schedules) == (not NOT_SCHEDULED[deployment["name"]])
    text = json.dumps(deployment).lower()
    assert "secret" not in text
    assert "password" not in text


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_runs_give_signs_of_life_often_enough_for_the_automation_that_looks_for_them(
    deployment: dict[str, Any],
) -> None:
    assert deployment["work_pool"]["name"] == "willsuite"
    pace = deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
    assert int(pace) * 3 <= SILENCE.seconds
    assert "willsuite" in deployment["tags"], "by which it knows them"


def test_a_run_that_waits_for_an_answer_is_not_taken_for_one_whose_process_is_gone() -> None:
    trigger = dead_runs_automation().trigger
    assert isinstance(trigger, EventTrigger)
    assert "prefect.flow-run.Suspended" in trigger.expect


def test_what_a_deployment_was_called_before_is_known_to_make_deploy() -> None:
    assert set(FORMER_NAMES) <= {item["name"] for item in CONFIG["deployments"]}


def test_every_field_of_the_forms_is_a_parameter_and_every_parameter_has_its_field() -> None:
    known = {name for each in CONFIG["deployments"] for name in flow_of(each).parameters.properties}
    assert known == set(FIELDS)


def test_runs_that_write_are_not_queued_by_the_engine_since_plans_never_wait() -> None:
    limited = [item["name"] for item in CONFIG["deployments"] if "concurrency_limit" in item]
    assert limited == ["export-nightly", "export-hourly", "export-all"]


def test_the_export_form_offers_its_modes_as_choices() -> None:
    flow = flow_of({"entrypoint": "flows/export_cases.py:export_cases"})
    assert flow.parameters.properties["mode"]["enum"] == ["full", "incremental", "auto"]
