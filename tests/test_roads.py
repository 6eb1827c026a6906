"""The README's road to scheduled runs, pasted on a bare machine: server, deploy, worker, run.

Real processes on a copy of the repository, with a home that never had Prefect and a port of the
test's own; the server's make has a terminal, the others have none, and once the other way round.
"""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from flows.endings import run_with_file
from flows.import_cases import import_cases
from sandbox.server import CLIENT_ID, CLIENT_SECRET, Sandbox

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Command:
    """A line of the README in a shell of its own; what it says is read all the time."""

    def __init__(self, line: str, *, terminal: bool, **options: Any) -> None:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            **options,
        )
        os.close(theirs)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(ours,))
        self._reader.start()

    def _read(self, ours: int) -> None:
        # a terminal says by an error that its other end is closed
        with os.fdopen(ours, errors="replace") as said, contextlib.suppress(OSError):
            self._lines.extend(said)

    @property
    def so_far(self) -> str:
        return "".join(self._lines)

    def wait_for(self, text: str) -> None:
        while text not in self.so_far:
            assert self.process.poll() is None, self.so_far
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and all that it has said."""
        code = self.process.wait()
        self._reader.join()
        return code, self.so_far

    def signal(self, number: signal.Signals) -> None:
        """As a terminal sends it: to make and to what make has started."""
        os.killpg(self.process.pid, number)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
        try:
            self.process.wait(90)
        finally:
            if self.process.poll() is None:
                self.signal(signal.SIGKILL)


@dataclass(frozen=True)
class Machine:
    """A copy of the repository, a home without anything, a port."""

    repository: Path
    home: Path
    port: int

    def start(
        self, line: str, *, terminal: bool = False, folder: Path | None = None, **environment: str
    ) -> Command:
        """A line of the README, with the port."""
        own = {"HOME": str(self.home), "PREFECT_WORKER_QUERY_SECONDS": "1", "NO_COLOR": "1"}
        return Command(
            f"{line} PORT={self.port}",
            terminal=terminal,
            cwd=folder or self.repository,
            env={"PATH": os.environ["PATH"], **own, **environment},
        )

    def say(self, line: str, **how: Any) -> tuple[int, str]:
        """The exit code of a line, and what it says."""
        return self.start(line, **how).end()

    def api(self, method: str, path: str, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        answer = httpx.request(method, url, json=body, timeout=60)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> Any:
        return self.api("GET", f"deployments/name/{name}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    repository = folder / "willsuite-flows"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "__pycache__", "exports", "runs")
    shutil.copytree(ROOT, repository, ignore=ignored)
    (repository / ".venv").symlink_to(ROOT / ".venv")
    (folder / "home").mkdir()
    return Machine(repository, folder / "home", free_port())


@pytest.fixture(scope="module")
def server(machine: Machine) -> Iterator[Machine]:
    """`make server` in a terminal, and `make deploy` in another."""
    with machine.start("make server", terminal=True) as command:
        while True:
            try:
                machine.api("GET", "health")
                break
            except httpx.TransportError:
                assert command.process.poll() is None, command.so_far
                time.sleep(0.1)
        code, said = machine.say("make deploy", terminal=True)
        assert code == 0, said
        assert "8 deployments are in Prefect" in said
        yield machine


@pytest.fixture
def account(server: Machine, start_sandbox: Callable[..., Sandbox]) -> Callable[..., Sandbox]:
    """Starts a WillSuite, which the worker knows by the block "branch" alone."""

    def start(**options: Any) -> Sandbox:
        sandbox = start_sandbox(cases=12, **options)
        kind = server.api("GET", "block_types/slug/willsuite-connection")
        filters = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        [schema] = server.api("POST", "block_schemas/filter", filters)
        for old in server.api("GET", "block_types/slug/willsuite-connection/block_documents"):
            server.api("DELETE", f"block_documents/{old['id']}")
        fields = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "base_url": sandbox.url,
            "settle_seconds": 0,
        }
        block = {
            "name": "branch",
            "block_type_id": kind["id"],
            "block_schema_id": schema["id"],
            "data": fields,
        }
        server.api("POST", "block_documents/", block)
        return sandbox

    return start


@pytest.mark.parametrize(
    ("line", "terminal", "exported"),
    [
        ("make deploy", True, ""),
        ("make worker", False, ""),
        ("make run FLOW=export-cases/export-nightly", False, "http://[::1]:9/api"),
    ],
)
def test_without_a_server_a_line_says_what_to_do(
    machine: Machine, line: str, terminal: bool, exported: str
) -> None:
    elsewhere = Machine(machine.repository, machine.home, free_port())
    code, said = elsewhere.say(line, terminal=terminal, PREFECT_API_URL=exported)
    assert code != 0
    lines = [line for line in said.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1, said
    url = exported or f"http://127.0.0.1:{elsewhere.port}/api"
    assert lines[0].startswith(f"There is no Prefect server at {url}.")
    assert f"(make server PORT={elsewhere.port})" in lines[0] or exported


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Which file?"),
        ([""], "Which file?"),
        (["nowhere.csv", "--plan"], "There is no file /"),
    ],
)
def test_a_flow_that_lacks_its_file_says_so_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["import_cases", *arguments])
    with pytest.raises(SystemExit, match=said):
        run_with_file(import_cases)


def test_the_server_asks_nothing_writes_no_profile_and_its_ui_knows_its_port(
    server: Machine,
) -> None:
    settings = httpx.get(f"http://127.0.0.1:{server.port}/ui-settings").json()
    assert settings["api_url"] == f"http://127.0.0.1:{server.port}/api"
    assert not list(server.home.rglob("profiles.toml"))


def test_what_was_paused_or_added_in_the_ui_survives_the_next_deploy(server: Machine) -> None:
    nightly = server.deployment("export-cases/export-nightly")
    place = f"deployments/{nightly['id']}"
    [own] = nightly["schedules"]
    server.api("PATCH", f"{place}/schedules/{own['id']}", {"active": False})
    weekly = {"cron": "30 6 * * 1", "timezone": "Europe/London"}
    server.api("POST", f"{place}/schedules", [{"schedule": weekly, "active": True}])
    parameters = {**nightly["parameters"], "connection": "branch"}
    server.api("PATCH", place, {"parameters": parameters, "paused": True})

    code, said = server.say("make deploy")
    assert code == 0, said
    assert "It stays paused." in said
    assert "Its schedule 30 6 * * 1 (Europe/London), added by hand, stays." in said
    assert "Its schedule nightly stays off." in said
    assert "Its parameter connection stays 'branch'." in said
    after = server.deployment("export-cases/export-nightly")
    assert after["paused"]
    assert after["parameters"] == parameters
    assert {(each["schedule"]["cron"], each["active"]) for each in after["schedules"]} == {
        ("0 3 * * *", False),
        ("30 6 * * 1", True),
    }
    assert not server.deployment("update-cases/update-file")["paused"]
    automations = server.api("POST", "automations/filter", {})
    assert [each["enabled"] for each in automations] == [True]


def test_a_run_is_followed_to_its_last_word(
    server: Machine, account: Callable[..., Sandbox]
) -> None:
    account()
    export = server.start(
        "make run FLOW=export-cases/export-nightly CONNECTION=branch", terminal=True
    )
    export.wait_for("No worker is polling; start one with make worker")
    export.signal(signal.SIGINT)
    code, said = export.end()
    assert code != 0
    [again] = re.findall(r"the run goes on. Follow it again: (make run RUN=\S+)", said)
    export = server.start(again)
    with server.start("make worker"):
        code, said = export.end()
        assert code == 0, said
        last = said.strip().splitlines()[-1]
        snapshot = last.split(" exported to ")[1].split(",")[0]
        assert Path(snapshot).is_relative_to(server.repository / "data" / "exports")
        assert len(pq.read_table(f"{snapshot}/cases.parquet")) == 12

        folder = server.home / "my files"
        folder.mkdir()
        shutil.copy(ROOT / "data" / "samples" / "cases.csv", folder)
        plan = (
            f"make -C {server.repository} run FLOW=import-cases/import-file FILE=cases.csv PLAN=1"
        )
        code, said = server.say(f"{plan} CONNECTION=branch", folder=folder)
        assert code == 0, said
        [outcomes] = re.findall(r"Completed: .* Every row's outcome: (.*)", said)
        assert set(pq.read_table(outcomes)["outcome"].to_pylist()) == {"planned"}


def answer_to(server: Machine, run: str, **said: Any) -> str:
    """Wait until the run asks, answer with another worker, and wait for its last word."""

    def state() -> Any:
        return server.api("GET", f"flow_runs/{run}")["state"]

    with server.start("make worker"):
        while state()["name"] != "Suspended":
            time.sleep(0.2)
    with server.start("make worker"):
        server.api("POST", f"flow_runs/{run}/resume", {"run_input": said})
        while not state()["timestamp"] or state()["type"] in (
            "PAUSED",
            "SCHEDULED",
            "PENDING",
            "RUNNING",
        ):
            time.sleep(0.2)
    return f"{state()['name']}: {state()['message']}"


def test_a_plan_is_carried_out_when_it_is_approved_and_ends_without_a_word_sent_when_not(
    server: Machine, account: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = account()
    source = tmp_path / "cases.csv"
    columns = "ref,customer_title,customer_first_names,customer_last_name"
    source.write_text(f"{columns}\nA1,Mrs,Ann,Lee\nA2,Mrs,Ann,Lee\n")
    deployment = server.deployment("import-cases/import-file")["id"]

    def start(**more: Any) -> str:
        parameters = {"source": str(source), "connection": "branch", "approve": True, **more}
        started = {"parameters": parameters}
        return str(server.api("POST", f"deployments/{deployment}/create_flow_run", started)["id"])

    def created() -> int:
        return sum(seen.path == "/cases/create" for seen in sandbox.requests)

    said = answer_to(server, start(), approve=False, approved_by="Bo")
    assert said.startswith("Cancelled: ")
    assert "was rejected by Bo; nothing was sent" in said
    assert created() == 0
    said = answer_to(server, start(), approve=True, approved_by="Bo", remark="as agreed")
    assert said.startswith("Completed: 2 rows: 2 created.")
    assert created() == 2
    plans = server.repository.glob("data/runs/import-cases-*/approval.json")
    assert sorted(json.loads(plan.read_text())["approve"] for plan in plans) == [False, True]
    source.write_text(f"{columns}\nA3,Mrs,Ann,Lee\n")
    late = start(approve_within_hours=0.0001)
    with server.start("make worker"):
        while server.api("GET", f"flow_runs/{late}")["state"]["name"] != "Failed":
            time.sleep(0.2)
    assert created() == 2


def test_a_stopped_worker_ends_its_runs_in_order(
    server: Machine, account: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = account(latency_ms=300)
    source = tmp_path / "cases.csv"
    people = [f"A{number},Mrs,Ann,Lee" for number in range(500)]
    columns = "ref,customer_title,customer_first_names,customer_last_name"
    source.write_text("\n".join([columns, *people]))
    with server.start("make worker") as worker:
        run = server.start(
            f"make run FLOW=import-cases/import-file FILE={source} CONNECTION=branch"
        )
        while not any(seen.method == "POST" and "case" in seen.path for seen in sandbox.requests):
            assert run.process.poll() is None, run.so_far
            time.sleep(0.05)
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGTERM)  # as make passes it on, beside the supervisor's own
        code, said = run.end()
        assert code != 0
        assert "\nCrashed: " in said
        assert "Stopping: 1 run(s) are told to end" in worker.end()[1]
    assert "the outcomes so far are in " in said, said
    folder = said.split("the outcomes so far are in ")[1].splitlines()[0].rstrip(".")
    outcomes = pq.read_table(f"{folder}/outcomes.parquet")["outcome"].to_pylist()
    assert len(outcomes) == 500
    assert "not_attempted" in outcomes
