"""From settings to an open client, once a run.

Belongs here: the Prefect block of an account, and sharing one client (connections, token, pace)
among all tasks of a run. A client never crosses a task boundary as an argument.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated

from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from pydantic import Field, SecretStr, ValidationError, WithJsonSchema

from willsuite import Settings, WillSuiteClient, load_settings
from willsuite.errors import ConfigurationError
from willsuite.settings import DEFAULT_BASE_URL

_EMPTY = "Empty: as the worker's environment says."
_MANNERS = (
    "timezone", "case_url", "max_concurrency", "requests_per_minute", "settle_seconds",
    "read_timeout_seconds", "max_body_mb", "job_poll_seconds", "job_timeout_seconds",
)  # fmt: skip

# the UI has a field for a number, and two tabs for a number or nothing; left empty, it is nothing
WholeNumber = Annotated[int | None, WithJsonSchema({"type": "integer"})]
Number = Annotated[float | None, WithJsonSchema({"type": "number"})]

_current: ContextVar[WillSuiteClient | None] = ContextVar("willsuite_client", default=None)


class WillSuiteConnection(Block):
    """One WillSuite account: where it is, its API keys, and how hard to press it.

    A flow uses it by its name, in the parameter `connection`.
    """

    _block_type_name = "WillSuite connection"
    _block_type_slug = "willsuite-connection"
    # Prefect's UI puts the block's name in place of BLOCK_NAME
    _code_example = """\
        ```python
        import asyncio

        from flows.export_cases import export_cases

        # from the folder of willsuite-flows; so do all flows
        asyncio.run(export_cases(connection="BLOCK_NAME"))
        ```"""

    client_id: str = Field(
        title="Client id", description="From Admin Settings > API Settings, or from support."
    )
    client_secret: SecretStr = Field(
        title="Client secret", description="The secret that belongs to the client id."
    )
    base_url: str = Field(
        default=DEFAULT_BASE_URL, title="Base URL", description="Where the API is."
    )
    token_url: str = Field(
        default="", title="Token URL", description="Only if it isn't <base URL>/oauth/token."
    )
    account: str = Field(
        default="",
        title="Account name",
        description="A name that outlives the API keys. Empty: these keys are the account. After a "
        "change of keys: the 16 digits that the account's files bear.",
    )
    timezone: str = Field(
        default="",
        title="Time zone",
        description=f"Of the times in files of appointments, such as Europe/London. {_EMPTY}",
    )
    case_url: str = Field(
        default="",
        title="Address of a case",
        description="In WillSuite, with {case_id} in it; for the links in attention.xlsx. "
        f"{_EMPTY}",
    )
    max_concurrency: WholeNumber = Field(
        default=None, title="Requests at once", description=f"1 to 64. {_EMPTY}"
    )
    requests_per_minute: Number = Field(
        default=None,
        title="Requests per minute",
        description=f"A ceiling of your own, below what WillSuite allows. {_EMPTY}",
    )
    settle_seconds: Number = Field(
        default=None,
        title="Settle seconds",
        description="After a lost answer, or a run that was killed: until WillSuite has surely "
        f"finished. {_EMPTY}",
    )
    read_timeout_seconds: Number = Field(
        default=None, title="Request timeout, seconds", description=f"Of one request. {_EMPTY}"
    )
    max_body_mb: Number = Field(
        default=None,
        title="Longest answer, MB",
        description=f"A longer one is given up. {_EMPTY}",
    )
    job_poll_seconds: Number = Field(
        default=None,
        title="Job poll, seconds",
        description=f"How often a bulk job is asked about; WillSuite wants 300 to 600. {_EMPTY}",
    )
    job_timeout_seconds: Number = Field(
        default=None,
        title="Job timeout, seconds",
        description=f"After it a bulk job counts as stuck. {_EMPTY}",
    )

    def settings(self) -> Settings:
        """The block as client settings.

        Which account it is, the block alone says. Of the manners towards it, those left empty
        come from the environment.

        Raises:
            ConfigurationError: a field can't be right.
        """
        which = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "base_url": self.base_url or DEFAULT_BASE_URL,
            "token_url": self.token_url or None,
            "account": self.account,
        }
        manners = {name: getattr(self, name) for name in _MANNERS}
        given = {name: value for name, value in manners.items() if value not in (None, "")}
        return load_settings(**which, **given)


async def settings_of(connection: str | None) -> Settings:
    """Settings from the block named `connection`, or from the environment where none is named.

    Raises:
        ConfigurationError: no such block, or settings that can't work.
    """
    if not connection:
        return load_settings()
    name = f"willsuite-connection/{connection}"
    try:
        block: WillSuiteConnection = await WillSuiteConnection.aload(connection)
        return block.settings()
    except ConfigurationError as error:
        raise ConfigurationError(f"The block '{name}' can't be used: {error}") from None
    except ValidationError:
        raise ConfigurationError(
            f"The block '{name}' has fields that can't be right; open it in the Prefect UI under "
            "Blocks, and save it anew."
        ) from None
    except ValueError:
        raise ConfigurationError(
            f"There is no block '{name}'. Make one in the Prefect UI under Blocks, of the type "
            '"WillSuite connection" (which `make deploy` puts there), or leave `connection` out '
            "to use the environment."
        ) from None


@asynccontextmanager
async def connected(connection: str | None = None) -> AsyncIterator[WillSuiteClient]:
    """The client of this run; opens one where none is open yet, for the time of the block."""
    if not connection and (client := _current.get()) is not None:
        yield client
        return
    async with WillSuiteClient(await settings_of(connection), say=_say) as client:
        before = _current.set(client)
        try:
            yield client
        finally:
            _current.reset(before)


def _say(message: str) -> None:
    """In the log of the run, where there is one."""
    try:
        get_run_logger().warning("%s", message)
    except MissingContextError:
        logging.getLogger(__name__).warning("%s", message)
