"""prefect.yaml says what Prefect reads, and its deployments run on a worker."""

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import DeploymentConfig
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from protocols.account.lock import CONCURRENCY_LIMIT
from sandbox.server import Sandbox

ROOT = Path(__file__).resolve().parent.parent
CONFIG = yaml.safe_load((ROOT / "prefect.yaml").read_text())
NOT_SCHEDULED = {"nightly": set(), "file": {"source"}}
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
    assert deployment["work_pool"] == {"name": "willsuite"}
    text = json.dumps(deployment).lower()
    assert "secret" not in text
    assert "password" not in text


def test_the_export_form_offers_its_modes_as_choices() -> None:
    flow = flow_of({"entrypoint": "flows/export_cases.py:export_cases"})
    assert flow.parameters.properties["mode"]["enum"] == ["full", "incremental"]


@contextmanager
def worker(environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "willsuite"],
            env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def no_limit_afterwards(prefect_server: None) -> Iterator[None]:
    """Remove the limit that `make deploy` creates.

    The tests share a server, and it doesn't end the lease of a killed run (a test harness's server
    runs without that service): a run killed by a later test would keep all others out for good.
    """

    async def remove() -> None:
        async with get_client() as client:
            await client.delete_global_concurrency_limit_by_name(CONCURRENCY_LIMIT)

    yield
    asyncio.run(remove())


def test_the_nightly_export_deploys_with_one_command_and_runs_on_a_process_worker(
    no_limit_afterwards: None, start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    start_sandbox(cases=30)
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    deployed = subprocess.run(
        ["make", "deploy"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    started = time.monotonic()
    with worker(environment, tmp_path):
        run = subprocess.run(
            [
                sys.executable, "-m", "prefect", "deployment", "run", "export-cases/nightly",
                "--param", f"output={json.dumps(str(tmp_path / 'out'))}", "--watch",
                "--watch-timeout", "90",
            ],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    log = (tmp_path / "worker.log").read_text()
    assert run.returncode == 0, f"{run.stdout}{run.stderr}{log}{time.monotonic() - started}"
    pointer = json.loads((tmp_path / "out" / "latest.json").read_text())
    manifest = json.loads((tmp_path / "out" / pointer["manifest"]).read_text())
    assert manifest["rows"]["cases"] == 30
