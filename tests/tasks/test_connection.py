"""The block of an account: which settings it makes, and what is said where it can't."""

import asyncio
import re

import pytest

from sandbox.server import CLIENT_ID, CLIENT_SECRET
from tasks.connection import WillSuiteConnection, settings_of
from willsuite import Settings
from willsuite.errors import ConfigurationError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another account than the block's, and manners of the worker."""
    monkeypatch.setenv("WILLSUITE_CLIENT_ID", "head office")
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "its secret")
    monkeypatch.setenv("WILLSUITE_ACCOUNT", "head office")
    monkeypatch.setenv("WILLSUITE_BASE_URL", "https://head-office.example/api")
    monkeypatch.setenv("WILLSUITE_TOKEN_URL", "https://head-office.example/token")
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "33")


def block(**fields: object) -> WillSuiteConnection:
    return WillSuiteConnection(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, **fields)  # type: ignore[arg-type]


def test_a_block_has_every_setting_with_a_title_and_a_description() -> None:
    fields = WillSuiteConnection.model_fields
    assert set(fields) == set(Settings.model_fields)
    for field in fields.values():
        assert field.title
        assert field.description


def test_which_account_it_is_the_block_alone_says() -> None:
    settings = block().settings()
    assert (
        settings.account_name
        == Settings(
            client_id=CLIENT_ID,
            client_secret="x",
            account="",
            base_url=block().base_url,
            token_url=None,
        ).account_name
    )
    assert settings.token_endpoint == f"{settings.base_url}/oauth/token"


def test_manners_that_a_block_leaves_empty_come_from_the_environment() -> None:
    assert block().settings().settle_seconds == 33
    assert block(settle_seconds=0).settings().settle_seconds == 0
    given = {"timezone": "Europe/Dublin", "max_concurrency": 3, "job_poll_seconds": 400}
    settings = block(**given).settings()
    assert {name: getattr(settings, name) for name in given} == given


def test_an_empty_name_is_none() -> None:
    assert asyncio.run(settings_of("")) == asyncio.run(settings_of(None))


def test_the_snippet_in_the_ui_is_python_that_this_repository_has() -> None:
    example = WillSuiteConnection.get_code_example()
    assert example is not None
    [snippet] = re.findall(r"```python([\s\S]*?)```", example)  # as the UI takes it out
    compile(snippet.replace("BLOCK_NAME", "branch"), "snippet", "exec")
    [line] = [line for line in snippet.splitlines() if line.startswith("from flows")]
    exec(line)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (None, "There is no block 'willsuite-connection/branch'."),
        ({"base_url": "http://elsewhere.example/api"}, "The block 'willsuite-connection/branch'"),
        ({"timezone": "London"}, "The block 'willsuite-connection/branch'"),
    ],
)
def test_a_block_that_cannot_be_used_is_named(
    prefect_server: None, fields: dict[str, object] | None, said: str
) -> None:
    if fields is not None:
        asyncio.run(block(**fields).asave("branch", overwrite=True))
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(settings_of("branch"))
    assert str(refused.value).startswith(said)
    assert "secret" not in str(refused.value)
