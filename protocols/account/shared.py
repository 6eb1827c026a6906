"""What all machines see of an account: Prefect variables, the one store that every run can reach.

Belongs here: creating, reading and replacing variables, and patience with a server that is away.
Does not: what is in them (`turns.py`, `known.py`).

To create a variable is the engine's one atomic step: of several runs that create the same name,
one succeeds (a unique index of its database). Everything that must not happen twice is made of it.
It is the quick step, too: on SQLite a change or removal is refused for a moment after each burst of
task runs, and Prefect's client then waits for two seconds. So what a run has to say on its way it
creates, and what is out of date is removed by the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError

from tasks.policy import RunError

Value = dict[str, Any]
AccountVariables = dict[str, dict[str, Value]]
"""By kind and the rest of the name."""
Result = TypeVar("Result")
KINDS = ("account", "turn", "ticket", "job")
"""What is said of an account: what is known, whose turn it is, who waits, its open jobs."""
PATIENCE_SECONDS = 300.0
"""How long a Prefect server may be away before a run that has to tell it something gives up."""
RETRY_SECONDS = 3.0
PAGE = 200
NOT_FOUND = 404


class ServerAwayError(RunError):
    """Prefect's server doesn't answer, or not as it should."""


async def create(name: str, value: Value) -> bool:
    """Make a variable; False where there is one of that name already."""

    async def make(client: PrefectClient) -> bool:
        try:
            await client.create_variable(VariableCreate(name=name, value=value))
        except ObjectAlreadyExists:
            # where the answer to our own attempt was lost, the client has repeated it
            held = await client.read_variable_by_name(name)
            return held is not None and held.value == value
        return True

    return await _asked(make)


async def replace(name: str, value: Value) -> bool:
    """Give a variable this value; False where there is none of that name."""

    async def update(client: PrefectClient) -> bool:
        try:
            await client.update_variable(VariableUpdate(name=name, value=value))
        except PrefectHTTPStatusError as error:
            if error.response.status_code != NOT_FOUND:
                raise
            return False
        return True

    return await _asked(update)


async def put(name: str, value: Value) -> None:
    """Give a variable this value, whether there is one or not."""
    if not await replace(name, value) and not await create(name, value):
        await replace(name, value)


async def remove(name: str) -> None:
    """Remove a variable, if there is one."""

    async def delete(client: PrefectClient) -> None:
        with suppress(ObjectNotFound):
            await client.delete_variable_by_name(name)

    await _asked(delete)


async def read(name: str) -> Value | None:
    """A variable's value; an empty one where it is no object; None where there is no variable."""

    async def get(client: PrefectClient) -> Value | None:
        found = await client.read_variable_by_name(name)
        return None if found is None else _object(found.value)

    return await _asked(get)


async def read_all(prefix: str) -> dict[str, Value]:
    """All variables whose names begin so, by the rest of the name."""
    return _beginning(prefix, await _named_like(prefix))


async def read_account(account: str) -> AccountVariables:
    """All variables of an account, in one request."""
    found = await _named_like(f"_{account}_")
    return {kind: _beginning(name_of(kind, account), found) for kind in KINDS}


def name_of(kind: str, account: str, rest: object = "") -> str:
    """Of a variable; without `rest`, how the names of all of this kind begin."""
    return f"willsuite_{kind}_{account}_{rest}"


async def _named_like(text: str) -> dict[str, Value]:
    async def get(client: PrefectClient) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for offset in range(0, 100 * PAGE, PAGE):
            body = {
                "variables": {"name": {"like_": text}}, "offset": offset, "limit": PAGE,
            }  # fmt: skip
            response = await client.request("POST", "/variables/filter", json=body)
            page: list[dict[str, Any]] = response.json()
            found |= {each["name"]: _object(each["value"]) for each in page}
            if len(page) < PAGE:
                break
        return found

    return await _asked(get)


def _beginning(prefix: str, found: Mapping[str, Value]) -> dict[str, Value]:
    # in the filter, _ stands for any sign and the text may be anywhere
    return {
        name.removeprefix(prefix): value
        for name, value in sorted(found.items())
        if name.startswith(prefix)
    }


async def patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """Make a call again and again while the server is away, up to `PATIENCE_SECONDS`.

    Raises:
        ServerAwayError: it stayed away.
    """
    began_at = time.monotonic()
    while True:
        try:
            return await call()
        except ServerAwayError:
            if time.monotonic() - began_at >= PATIENCE_SECONDS:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def _object(value: Any) -> Value:
    return dict(value) if isinstance(value, Mapping) else {}


async def _asked(ask: Callable[[PrefectClient], Awaitable[Result]]) -> Result:
    try:
        async with get_client() as client:
            return await ask(client)
    except PrefectHTTPStatusError as error:
        if 400 <= error.response.status_code < 500:
            raise
        raise _away(error) from None
    except Exception as error:  # noqa: BLE001 - errors of httpx, which only the client imports
        raise _away(error) from None


def _away(error: Exception) -> ServerAwayError:
    return ServerAwayError(
        f"Prefect's server can't be asked ({type(error).__name__}); runs on other machines see "
        "there what this one does. Run it again when the server answers."
    )
