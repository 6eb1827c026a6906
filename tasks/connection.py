"""From settings to an open client, once a run.

Belongs here: the Prefect block of an account, and sharing one client (connections, token, pace)
among all tasks of a run. A client never crosses a task boundary as an argument.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from willsuite import Settings, WillSuiteClient, load_settings
from willsuite.errors import ConfigurationError
from willsuite.settings import DEFAULT_BASE_URL

_current: ContextVar[WillSuiteClient | None] = ContextVar("willsuite_client", default=None)


class WillSuiteConnection(Block):
    """One WillSuite account, stored in Prefect and named by a flow's `connection` parameter."""

    _block_type_name = "WillSuite connection"
    _block_type_slug = "willsuite-connection"

    client_id: str = Field(description="From Admin Settings > API Settings, or from support.")
    client_secret: SecretStr = Field(description="The secret that belongs to the client id.")
    base_url: str = Field(default=DEFAULT_BASE_URL, description="The API's base URL.")
    token_url: str = Field(default="", description="Only if not <base URL>/oauth/token.")
    max_concurrency: int = Field(default=8, description="Requests in flight at once.")

    def settings(self) -> Settings:
        """The block as client settings; the rest comes from the environment.

        Raises:
            ConfigurationError: a field can't be right.
        """
        return load_settings(
            client_id=self.client_id,
            client_secret=self.client_secret,
            base_url=self.base_url,
            token_url=self.token_url or None,
            max_concurrency=self.max_concurrency,
        )


async def settings_of(connection: str | None) -> Settings:
    """Settings from the block named `connection`, or from the environment where none is named.

    Raises:
        ConfigurationError: no such block, or settings that can't work.
    """
    if connection is None:
        return load_settings()
    try:
        block: WillSuiteConnection = await WillSuiteConnection.aload(connection)
    except ValueError:
        raise ConfigurationError(
            f"There is no block 'willsuite-connection/{connection}'; create it in the Prefect UI "
            "under Blocks, or leave `connection` out to use the environment."
        ) from None
    return block.settings()


@asynccontextmanager
async def connected(connection: str | None = None) -> AsyncIterator[WillSuiteClient]:
    """The client of this run; opens one where none is open yet, for the time of the block."""
    if connection is None and (client := _current.get()) is not None:
        yield client
        return
    async with WillSuiteClient(await settings_of(connection)) as client:
        before = _current.set(client)
        try:
            yield client
        finally:
            _current.reset(before)
