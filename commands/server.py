"""The Prefect server that a command talks to, or one line that says how to get one."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL


@asynccontextmanager
async def server() -> AsyncIterator[PrefectClient]:
    """A client of the server at PREFECT_API_URL; ends the command where there is none.

    Without that variable Prefect would start a server of its own for the time of the command,
    and whatever is put into it would be gone from the user's sight.
    """
    url = PREFECT_API_URL.value()
    if not url:
        sys.exit("PREFECT_API_URL is not set. Use the make target, which sets it, or export it.")
    async with get_client() as client:
        if await client.api_healthcheck() is not None:
            sys.exit(f"There is no Prefect server at {url}. {_advice(url)}")
        await _refuse_strangers(client)
        yield client


async def _refuse_strangers(client: PrefectClient) -> None:
    """End the command where the server wants a name and a password that it wasn't given."""
    try:
        await client.read_work_pools(limit=1)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != HTTPStatus.UNAUTHORIZED:
            raise
        sys.exit(
            "The Prefect server wants its password: export PREFECT_API_AUTH_STRING=user:password, "
            "as it was given to the server (PREFECT_SERVER_API_AUTH_STRING)."
        )


def _advice(url: str) -> str:
    parts = urlsplit(url)
    if parts.hostname in ("127.0.0.1", "localhost"):
        return (
            f"Start one in another terminal (make server PORT={parts.port}), or export the "
            "PREFECT_API_URL of yours."
        )
    return "Check the PREFECT_API_URL that is exported."
