"""Rows, cases and entries as the update flows make them, and a run in which an account is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from prefect import flow

from protocols.reading.found import FoundCase
from protocols.updating.changes import ChangeEntry, change_entry
from sandbox.people import CRM_FIELDS
from sandbox.server import Sandbox
from schemas.update_file import WantedChange
from tasks.connection import connected
from tasks.progress import Progress

Result = TypeVar("Result")

SOURCE, SIGNED, PLAN, STORAGE = (field["id"] for field in CRM_FIELDS)
HEADERS = {SOURCE: "meta:Lead source", STORAGE: "Meta: Storage reference"}
ZOE = {"title": "Ms", "first_names": "Zoë", "last_name": "Núñez", "date_of_birth": "01/02/1960"}
TOM = {"title": "Mr", "first_names": "Tom", "last_name": "O'Brien"}


def row(number: int = 2, **values: Any) -> WantedChange:
    """A row that wants these values; it names the case R-1 unless it names one itself."""
    if not {"id", "ref"} & values.keys():
        values["ref"] = "R-1"
    return WantedChange(
        number,
        values.get("id"),
        values.get("ref"),
        values.get("notes"),
        values.get("meta", {}),
        values.get("new_ref"),
        tuple(values.get("customers", ())),
    )


def entry(number: int = 2, **values: Any) -> ChangeEntry:
    """The entry of such a row, about which nothing was done."""
    return change_entry(row(number, **values), HEADERS)


def customer(person: dict[str, Any] = ZOE, person_id: str = "p-1", **values: Any) -> dict[str, Any]:
    """Somebody in a case, with the fields that are compared."""
    fields = {"date_of_birth": None, "postcode": None, **person, "id": person_id}
    return fields | values


def case(case_id: str = "c-1", ref: str | None = "R-1", **values: Any) -> FoundCase:
    """A case of the account."""
    return FoundCase.of(
        case_id, values.get("customers", ()), values.get("meta", {}), values.get("notes"), ref
    )


def ends(*entries: ChangeEntry) -> list[tuple[str, str | None]]:
    """The outcome and code of each."""
    return [(each.outcome.value, each.code) for each in entries]


def in_a_run(work: Callable[[Progress], Awaitable[Result]]) -> Result:
    """What `work` gives or raises, awaited in a flow run with one open client."""
    given: list[Result] = []

    @flow(name="small", persist_result=False)
    async def small() -> None:
        async with connected():
            given.append(await work(Progress("small-progress")))

    asyncio.run(small())
    return given[0]


def asked(sandbox: Sandbox) -> list[str]:
    """The reads in their order: `count`, `/cases 2 ref=R-1`, `/cases/<id>`."""
    shown = []
    for seen in sandbox.requests:
        if seen.method == "GET":
            query = dict(seen.query)
            is_count = query.pop("perPage", "") == "1"
            page = query.pop("page", "")
            parts = ["count"] if is_count else [seen.path, *filter(None, [page])]
            shown.append(" ".join([*parts, *(f"{name}={value}" for name, value in query.items())]))
    return shown


def left_in(folder: Path) -> list[Path]:
    """Files that something forgot to remove."""
    return [path for path in folder.rglob("*") if path.is_file()]
