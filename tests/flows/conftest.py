"""What the tests of flows share: looking for words in all that a run shows, or leaves behind."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import Log
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL


def database_bytes() -> bytes:
    """The Prefect server's SQLite files, write-ahead log included."""
    path = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).split("///")[1])
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


async def recorded_logs() -> str:
    logs: list[Log] = []
    async with get_client() as client:
        while page := await client.read_logs(LogFilter(), offset=len(logs)):
            logs += page
    return "\n".join(log.message for log in logs)


@pytest.fixture
def leaked(
    recording_server: None,
    no_account_from_outside: None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    run_log: list[str],
) -> Callable[..., list[str]]:
    """Which of some words the runs of a flow have shown, or left with Prefect or in folders.

    In folders the names of files count too.
    """
    for logger in ("", "prefect", "prefect.flow_runs", "prefect.task_runs"):
        caplog.set_level(logging.DEBUG, logger=logger)

    def look(words: Sequence[str], flow: str, *folders: Path) -> list[str]:
        out, err = capfd.readouterr()
        shown = "\n".join([caplog.text, *run_log, out, err, asyncio.run(recorded_logs())])
        homes = PREFECT_HOME.value(), *folders
        files = [file for home in homes for file in home.rglob("*") if file.is_file()]
        kept = database_bytes() + b"".join(bytes(file) + file.read_bytes() for file in files)
        # it is the right log, and the right database
        assert "Finished in state" in shown
        assert f"{flow}-result".encode() in kept
        return [word for word in words if word in shown or word.encode() in kept]

    return look
