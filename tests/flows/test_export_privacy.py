"""Nobody's personal data or secret leaves through logs, the Prefect database or its storage."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL

from flows.export_cases import export_cases
from sandbox.faults import Fault, Status
from sandbox.server import Sandbox

CANARIES = ["Canaria-Wren", "canary@example.org", "07700900999", "Her illness", "QX9 9QX"]


def database_bytes() -> bytes:
    """The Prefect server's SQLite files, write-ahead log included."""
    path = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).split("///")[1])
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


async def recorded_logs() -> str:
    async with get_client() as client:
        logs = await client.read_logs(LogFilter())
    return "\n".join(log.message for log in logs)


def test_no_personal_data_and_no_secret_reaches_prefect_or_a_log(
    prefect_server: None,
    start_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    run_log: list[str],
) -> None:
    sandbox = start_sandbox(cases=120)
    case = sandbox.store.case(sandbox.store.ids[0])
    assert case is not None
    case["notes"] = "Her illness"
    person = case["customers"][0]
    person |= {
        "last_name": "Canaria-Wren",
        "email": "canary@example.org",
        "tel_1": "07700900999",
        "postcode": "QX9 9QX",
    }
    case["shoe_size"] = "Canaria-Wren"  # also where a value makes the strict reader give up
    caplog.set_level(logging.DEBUG)
    asyncio.run(export_cases(output=str(tmp_path / "fine")))
    monkeypatch.setattr("tasks.cases.get_cases_pages.retry_delay_seconds", 0)
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    names = '{"data": [{"id": "", "last_names": "Canaria-Wren", "notes": "Her illness"}]}'
    for status in (200, 422, 500):  # a contract broken, a refusal and an error, each with a body
        sandbox.faults = [Fault(Status(status, body=names), path="/cases", page=2, times=None)]
        asyncio.run(export_cases(output=str(tmp_path / "bad"), return_state=True))
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "canary-secret-1")
    asyncio.run(export_cases(output=str(tmp_path / "bad"), return_state=True))

    seen = "\n".join([caplog.text, *run_log, asyncio.run(recorded_logs())])
    stored = database_bytes() + b"".join(
        path.read_bytes() for path in PREFECT_HOME.value().rglob("*") if path.is_file()
    )
    assert "Finished in state" in seen  # it is the right log, and the right database
    assert b"export-cases-result" in stored
    secrets = [*CANARIES, "canary-secret-1", "sandbox-secret", *sandbox.tokens]
    assert [word for word in secrets if word in seen] == []
    assert [word for word in secrets if word.encode() in stored] == []
