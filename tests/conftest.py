"""What all tests share: a clean environment, sandboxes, and one Prefect server for the session."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import certifi
import prefect
import pytest
from accounts import known_from_before
from filelock import FileLock
from hypothesis import settings
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_BLOCKS_REGISTER_ON_START,
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED,
    PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
    temporary_settings,
)
from prefect.settings.legacy import Setting

from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox, running
from willsuite import Settings, load_settings

# how long an example takes says more about the machine than about the code
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

ROOT = Path(__file__).resolve().parent.parent
LEAKS = "leaks"
DRAIN_SECONDS = 20.0
MEMORY_FOR_FILES_BYTES = 4_000_000_000
ONLY_FOR_THE_UI = (
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED,
    PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
)
"""Half of a server's work in a run is to record what only its UI and automations show."""


def pytest_configure() -> None:
    """Temporary files in memory, where there is room: a run syncs a dozen of them to the disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_FOR_FILES_BYTES:
        os.environ.setdefault("TMPDIR", str(memory))


@pytest.fixture(autouse=True)
def no_account_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one_authority: Path
) -> None:
    """No test may reach a real account: neither by environment nor by a .env file."""
    monkeypatch.setenv("SSL_CERT_FILE", str(one_authority))
    for name in [name for name in os.environ if name.startswith("WILLSUITE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")  # not the project's own
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one authority for TLS, which no test uses: loading all takes 45 ms a client."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = Path(certifi.where()).read_text().partition(begin)[2].partition(end)[0]
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    path.write_text(begin + first + end)
    return path


@pytest.fixture(scope="session")
def migrated_database(pytestconfig: pytest.Config) -> Path:
    """An empty SQLite database of this Prefect: to migrate one takes a server ten seconds.

    Made once for all workers, and kept for the next session.
    """
    path = pytestconfig.cache.mkdir("prefect-database") / f"{prefect.__version__}.db"  # type: ignore[union-attr]
    with FileLock(f"{path}.lock"):
        if not path.exists():
            made = path.with_suffix(".new")
            made.unlink(missing_ok=True)
            address = f"sqlite+aiosqlite:///{made}"
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
                env=os.environ | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": address},
                check=True,
                capture_output=True,
            )
            with sqlite3.connect(made) as connection:  # nothing may stay beside the file
                connection.execute("PRAGMA journal_mode = DELETE")
            connection.close()
            made.rename(path)
    return path


@contextmanager
def served(database: Path) -> Iterator[None]:
    """Prefect's own harness, whose server finds a copy of `database` in its folder."""
    # five seconds, which a session without a server needn't wait
    from prefect.testing import utilities

    def folder() -> str:
        made = Path(tempfile.mkdtemp())
        shutil.copy(database, made / "prefect-test.db")
        return str(made)

    # seen once in some runs: the events' thread never says that it is done, and nothing ends
    drain = partial(EventsWorker.drain_all, timeout=DRAIN_SECONDS)
    with (
        patch.object(utilities, "mkdtemp", folder),
        patch.object(EventsWorker, "drain_all", drain),
        utilities.prefect_test_harness(server_startup_timeout=120),
    ):
        yield


@pytest.fixture(scope="session")
def prefect_server(
    migrated_database: Path, one_authority: Path, pytestconfig: pytest.Config
) -> Iterator[None]:
    """A real Prefect server (SQLite) for the session; for `-m leaks` it also records what only the
    UI shows.

    Where TESTS_PREFECT_API_URL names a running one, that is used: quicker while one test is
    written; tests that look into the database need their own.
    """
    if url := os.environ.get("TESTS_PREFECT_API_URL"):
        with temporary_settings({PREFECT_API_URL: url}):
            yield
        return
    how: dict[Setting, bool | str] = {
        **dict.fromkeys(ONLY_FOR_THE_UI, pytestconfig.option.markexpr == LEAKS),
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False,
        PREFECT_API_BLOCKS_REGISTER_ON_START: False,
        PREFECT_API_SSL_CERT_FILE: str(one_authority),
    }
    with temporary_settings(how), served(migrated_database):
        yield


@pytest.fixture
def recording_server(prefect_server: None) -> None:
    """The session's server, for tests that look at what it records.

    One session has one server only: of a second one in the same process Prefect loses the events.
    """
    assert ONLY_FOR_THE_UI[0].value(), f"this server records too little: run it with -m {LEAKS}"


@pytest.fixture
def start_sandbox(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Sandbox]]:
    """Start a sandbox with the given options and point the environment at it."""
    with ExitStack() as stack:

        def start(**options: object) -> Sandbox:
            sandbox = Sandbox(Options(**{"cases": 250, **options}))  # type: ignore[arg-type]
            stack.enter_context(running(sandbox))
            monkeypatch.setenv("WILLSUITE_BASE_URL", sandbox.url)
            monkeypatch.setenv("WILLSUITE_CLIENT_ID", CLIENT_ID)
            monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", CLIENT_SECRET)
            if "prefect_server" in request.fixturenames:
                # ports come again: what an earlier test left is another account's
                known_from_before(load_settings().account_name)
            return sandbox

        yield start


@pytest.fixture
def run_log() -> Iterator[list[str]]:
    """The log of flow and task runs as text, tracebacks included."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    loggers = [logging.getLogger(f"prefect.{kind}") for kind in ("flow_runs", "task_runs")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lines
    for logger in loggers:
        logger.removeHandler(handler)
