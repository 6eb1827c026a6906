"""Real Prefect servers, started by the command that the README gives, on either database.

Belongs here: starting and stopping a server, its database and its workers, each with a home of its
own. Does not: what the server is asked to do (`tests/engine/`).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
QUICK = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.2",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
    "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
}
"""The same services as ever, looking more often, so that nobody waits for a minute."""


def until(what: str, look: Callable[[], T | None], seconds: float = 120.0) -> T:
    """Look again and again; what was seen at last, or a failure that says what wasn't."""
    end = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(process_id: int) -> list[int]:
    """What a process has started; a worker gives each run a process group of its own."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            after_the_name = stat.read_text().rpartition(")")[2]
            parents[int(stat.parent.name)] = int(after_the_name.split()[1])
    found = [process_id]
    for known in found:  # grows on the way
        found += [own for own, parent in parents.items() if parent == known]
    return found[1:]


@dataclass
class Process:
    """A command, running."""

    command: list[str]
    environment: dict[str, str]
    home: Path
    running: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, env=self.environment, cwd=ROOT, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.home / f"{self.command[1]}.log"

    def kill(self) -> None:
        """At once, with all that it started, as a machine that loses its power."""
        for process_id in [self.running.pid, *descendants(self.running.pid)]:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self.running.wait()


class Engine:
    """A Prefect server with its own home, database and port."""

    def __init__(self, home: Path, database: str | None, dump: Callable[[], bytes]) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.stored = dump
        """All that is in the database, as bytes."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "WILLSUITE_"))}
        self.environment = {
            **ours, **QUICK, "HOME": str(home), "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url, "PREFECT_SERVER_API_PORT": str(self.port),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        if database is not None:
            self.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
        self._server: Process | None = None
        self._workers: list[Process] = []

    def start(self) -> None:
        server = self._server = self._prefect(
            "server", "start", "--host", "127.0.0.1", "--port", str(self.port)
        )

        def healthy() -> bool:
            if server.running.poll() is not None:
                pytest.fail(f"the server ended: {server.log.read_text()[-2000:]}")
            try:
                return httpx.get(f"{self.url}/health").is_success
            except httpx.TransportError:
                return False

        until("the server answers", healthy, seconds=240)

    def restart(self) -> None:
        """Killed, and started again."""
        self._kill_server()
        self.start()

    def start_worker(self, pool: str) -> None:
        """A process worker; ends with the engine."""
        self._workers.append(self._prefect("worker", "start", "--pool", pool, "--type", "process"))

    def kill_workers(self) -> None:
        """With the runs that they have under way."""
        while self._workers:
            self._workers.pop().kill()

    def close(self) -> None:
        self.kill_workers()
        self._kill_server()

    def _kill_server(self) -> None:
        if self._server is not None:
            self._server.kill()

    def _prefect(self, *arguments: str) -> Process:
        """Started in this project's folder, whose `pyproject.toml` has settings for the server."""
        return Process([str(BIN / "prefect"), *arguments], self.environment, self.home)


@contextmanager
def sqlite_engine(home: Path) -> Iterator[Engine]:
    def dump() -> bytes:
        return b"".join(part.read_bytes() for part in sorted(home.glob("prefect.db*")))

    engine = Engine(home, None, dump)
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


@contextmanager
def postgres_engine(home: Path) -> Iterator[Engine]:
    with postgres() as (database, dump):
        engine = Engine(home, database, dump)
        try:
            engine.start()
            yield engine
        finally:
            engine.close()


def postgres_programs() -> Path:
    """The folder of PostgreSQL's server programs; Debian keeps them out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if elsewhere := shutil.which("initdb"):
        found.append(Path(elsewhere).resolve())
    if not found:
        pytest.fail(
            "There is no PostgreSQL to test with: apt-get install postgresql", pytrace=False
        )
    return found[-1].parent


@contextmanager
def postgres() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """An empty PostgreSQL: its address for Prefect, and what dumps it."""
    programs, port = postgres_programs(), free_port()
    # not below pytest's folder, which only its owner may enter: PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")

    def call(program: str, *arguments: str) -> bytes:
        return subprocess.run(
            [str(programs / program), *arguments],
            cwd=folder, check=True, stdout=subprocess.PIPE, **owner,
        ).stdout  # fmt: skip

    data, address = str(folder / "data"), ["-h", "127.0.0.1", "-p", str(port), "-U", "prefect"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        call(
            "initdb",
            "-D",
            data,
            "-U",
            "prefect",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        )
        call("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        try:
            yield (
                f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres",
                lambda: call("pg_dump", *address, "postgres"),
            )
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
