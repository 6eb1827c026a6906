"""Nobody's personal data or secret leaves through logs, the Prefect database or its storage."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.export_cases import export_cases
from sandbox.faults import Fault, Status
from sandbox.server import Sandbox

pytestmark = pytest.mark.leaks

CANARIES = ["Canaria-Wren", "canary@example.org", "07700900999", "Her illness", "QX9 9QX"]


def test_no_personal_data_and_no_secret_reaches_prefect_or_a_log(
    leaked: Callable[..., list[str]],
    start_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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
    asyncio.run(export_cases(output=str(tmp_path / "fine")))
    monkeypatch.setattr("tasks.cases.get_cases_pages.retry_delay_seconds", 0)
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    names = '{"data": [{"id": "", "last_names": "Canaria-Wren", "notes": "Her illness"}]}'
    for status in (200, 422, 500):  # a contract broken, a refusal and an error, each with a body
        sandbox.faults = [Fault(Status(status, body=names), path="/cases", page=2, times=None)]
        asyncio.run(export_cases(output=str(tmp_path / "bad"), return_state=True))
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "canary-secret-1")
    asyncio.run(export_cases(output=str(tmp_path / "bad"), return_state=True))

    secrets = [*CANARIES, "canary-secret-1", "sandbox-secret", *sandbox.tokens]
    assert leaked(secrets, "export-cases") == []
