"""Exports of several accounts: a run for each, which this process carries out."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deployed_runs import carry_out_next, deploy
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from flows.export_accounts import AccountsError, export_accounts
from flows.export_cases import export_cases
from sandbox.server import CLIENT_ID, CLIENT_SECRET, Sandbox
from tasks.connection import WillSuiteConnection
from tasks.policy import RunError

pytestmark = pytest.mark.usefixtures("prefect_server")

StartSandbox = Callable[..., Sandbox]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setattr("flows.export_accounts.POLL_SECONDS", 0.1)
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)


async def save_block(name: str, sandbox: Sandbox, secret: str = CLIENT_SECRET) -> None:
    block = WillSuiteConnection(
        client_id=CLIENT_ID, client_secret=SecretStr(secret), base_url=sandbox.url
    )
    await block.asave(name, overwrite=True)


def exported(output: Path, *blocks: tuple[str, Sandbox, str]) -> Any:
    """What the flow returns for these blocks, or raises."""

    async def run() -> Any:
        for block in blocks:
            await save_block(*block)
        async with get_client() as client:
            deployment, name = await deploy(client, export_cases)

            async def worker() -> None:
                for _ in blocks:
                    await carry_out_next(client, deployment, export_cases)

            work = asyncio.create_task(worker())
            try:
                return await export_accounts(
                    connections=[name for name, _, _ in blocks],
                    output=str(output),
                    at_once=1,
                    deployment=name,
                )
            finally:
                await work

    return asyncio.run(run())


def test_each_account_is_exported_into_a_folder_of_its_own(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    first, second = start_sandbox(cases=3, seed=1), start_sandbox(cases=5, seed=2)
    summary = exported(tmp_path, ("north", first, CLIENT_SECRET), ("south", second, CLIENT_SECRET))
    assert summary["failed"] == 0
    assert [(each["connection"], each["cases"]) for each in summary["accounts"]] == [
        ("north", 3),
        ("south", 5),
    ]
    for each, sandbox in zip(summary["accounts"], (first, second), strict=True):
        assert Path(each["snapshot"]).is_relative_to(tmp_path / each["connection"])
        ids = pq.read_table(f"{each['snapshot']}/cases.parquet")["id"].to_pylist()
        assert set(ids) == set(sandbox.store.ids)


def test_an_account_that_fails_leaves_the_others_alone_and_is_named(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=3)
    with pytest.raises(AccountsError, match=r"1 of 2 accounts exported\. north: Failed\.") as error:
        exported(tmp_path, ("north", sandbox, "wrong"), ("south", sandbox, CLIENT_SECRET))
    assert error.value.summary["failed"] == 1
    assert error.value.summary["accounts"][1]["cases"] == 3


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"connections": []}, "connections is empty"),
        ({"connections": ["a", "a"]}, "names a block twice"),
        ({"connections": ["a"], "at_once": 0}, "at_once must be at least 1"),
        ({"connections": ["a"], "deployment": "no/such"}, "There is no deployment no/such"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=said):
        asyncio.run(export_accounts(**parameters))
