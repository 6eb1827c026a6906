"""Tasks around `GET /cases` and `GET /cases/{caseId}`.

Belongs here: one task per endpoint, each around one client call per page or case.
Does not: deciding which pages to ask for, or whether they are all (`protocols/reading/listing.py`).
"""

import asyncio
from collections import ChainMap, Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
from prefect.logging import get_run_logger

from schemas.case_tables import (
    CaseColumns,
    birth_forms_in,
    lacking_people,
    most_people,
    nested_cases,
)
from tasks.connection import connected
from tasks.policy import read_task, write_task
from tasks.progress import add_progress
from tasks.spool import write_part
from willsuite import Case, CaseFilters, CasesPage, Customer, WriteResult, case_update, new_case
from willsuite.client import MAX_PER_PAGE, NO_FILTERS
from willsuite.errors import (
    AnswerLostError,
    ContractError,
    NotJsonError,
    RejectedError,
    ServerError,
    WillSuiteError,
)

ONE_CASES_ERRORS: tuple[type[WillSuiteError], ...] = (
    ServerError,
    AnswerLostError,
    NotJsonError,
    ContractError,
)
"""Failures of a read that may be its alone: a server may stumble over one case's data."""
LACKING_TO_TELL = 5
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PagesSeen:
    """What a batch of pages held; the cases themselves are in `part`.

    Numbers and names of fields only: this is what crosses the task boundary.
    """

    first: int
    last: int
    """The last one asked for: none is after an empty one."""
    part: Path
    rows: int
    totals: frozenset[int | None]
    """Every `total` the pages gave: more than one means that the list changed meanwhile."""
    per_page: int | None
    last_page: int | None
    """As the latest of these answers had it; so has `total`."""
    total: int | None
    ends_empty: bool
    """Whether a page had no cases, which is the only proof of the end."""
    in_id_order: bool
    server_date: datetime | None
    """The `Date` of the first answer."""
    unknown_fields: dict[str, int]
    unread_values: dict[str, int]
    birth_forms: dict[str, int]
    """How many dates of birth came in which form."""
    lacking_people: dict[str, int]
    """Some cases whose `full_names` have more people than they are shown with: how many these
    are, by id."""
    most_people: int
    """Of the case that is shown with the most."""


@read_task(name="get-cases-pages", task_run_name="cases pages {first}-{last}, {per_page} a page")
async def get_cases_pages(
    first: int,
    last: int,
    part: Path,
    per_page: int = MAX_PER_PAGE,
    filters: CaseFilters = NO_FILTERS,
) -> PagesSeen:
    """Pages `first` to `last` of `GET /cases`, fetched concurrently into the file `part`.

    After an empty page no more are asked for.

    Source: vendor page "Cases", Get Cases. Each page becomes Arrow as soon as it is here.

    Raises:
        WillSuiteError: a page could not be had; `part` is not written then.
    """
    async with connected() as client:
        numbers = iter(range(first, last + 1))
        pages: list[_PageSeen] = []
        empty: list[int] = []

        async def fetch() -> None:
            for number in numbers:
                if empty and number > min(empty):
                    return
                page = await client.get_cases_page(number, per_page=per_page, filters=filters)
                await add_progress(len(page.cases), page.total)
                pages.append(_see(page))
                if not page.cases:
                    empty.append(number)

        at_once = min(client.settings.max_concurrency, last - first + 1)
        await together(fetch() for _ in range(at_once))
    pages.sort(key=lambda seen: seen.page.page)
    # here and not in a thread: 10 ms of small writes, each of which would fight for the GIL
    write_part(part, [page.table for page in pages])
    seen = _summed(part, pages)
    get_run_logger().info("Pages %s to %s: %s cases.", first, last, f"{seen.rows:,}")
    return seen


@dataclass(frozen=True, slots=True)
class NotRead:
    """Ids of cases that were asked for and not had."""

    absent: list[str]
    broken: list[str]
    """WillSuite fails each time when it is asked for one of these."""


@read_task(name="get-cases", task_run_name="look up single cases")
async def get_cases(
    case_ids: Sequence[str], part: Path, *, may_be_no_ids: bool = False, max_broken: int = 0
) -> NotRead:
    """Each case by its id (`GET /cases/{caseId}`) into the file `part`.

    Args:
        case_ids: of the cases.
        part: where to.
        may_be_no_ids: somebody has typed them, so a refusal (400, 422) is about the id too.
        max_broken: how many may fail each time they are asked for.

    Returns:
        The ids that are no longer there (404), and those that fail.

    Raises:
        WillSuiteError: more than `max_broken` can't be had; `part` is not written then.
    """
    absent_statuses = {404, 400, 422} if may_be_no_ids else {404}
    absent: list[str] = []
    broken: list[str] = []
    async with connected() as client:

        async def fetch(case_id: str) -> pa.Table | None:
            try:
                case = await client.get_case(case_id)
            except RejectedError as error:
                if error.status not in absent_statuses:
                    raise
                absent.append(case_id)
            except ONE_CASES_ERRORS:
                if len(broken) >= max_broken:
                    raise
                broken.append(case_id)
            else:
                return nested_cases(case_columns([case]), client.next_fetch_number())[0]
            return None

        tables = await together(fetch(case_id) for case_id in case_ids)
    there = [table for table in tables if table is not None]
    write_part(part, there)
    asked = len(case_ids)
    get_run_logger().info("Asked for %s case(s) by id: %s there.", f"{asked:,}", f"{len(there):,}")
    return NotRead(absent, broken)


@read_task(name="count-cases", task_run_name="count cases")
async def count_cases(filters: CaseFilters = NO_FILTERS) -> int | None:
    """The `total` of `GET /cases` right now, or None where the server gives none."""
    async with connected() as client:
        total = (await client.get_cases_page(1, per_page=1, filters=filters)).total
    counted = "no number" if total is None else f"{total:,}"
    get_run_logger().info("WillSuite's own count of cases: %s.", counted)
    return total


@write_task(name="create-case")
async def create_case(case: Mapping[str, Any]) -> WriteResult[Case]:
    """Create one case (`POST /cases/create`), once and without looking; for flows of your own.

    It waits for no other run's turn and looks for no case that is there: from a notebook, give
    `import_cases` a DataFrame of one row.

    Give it a `ref` of your own: without one nobody can tell later whether it was created.
    Source: vendor page "Cases", Create Case.

    Args:
        case: ref, notes, customers and so on under their wire names (`willsuite/bodies.py`).

    Returns:
        What is known of the effect. After `ambiguous` look for the ref before sending it again.

    Raises:
        InvalidRecordError: the values break a documented limit.
        WillSuiteError: credentials, configuration or rate limit; nothing was created.
    """
    request = new_case(case)
    async with connected() as client:
        return await client.create_case(request)


@write_task(name="update-case")
async def update_case(case_id: str, update: Mapping[str, Any]) -> WriteResult[Case]:
    """Change one case (`PATCH /cases/{caseId}`), and add customers to it.

    Customers are added again each time they are sent: read the case before sending any again, or
    from a notebook give `update_cases` a DataFrame of one row, which does, and waits its turn.
    Source: vendor page "Cases", Update Case.

    Args:
        case_id: the case's id.
        update: ref, notes, meta and customers under their wire names (`willsuite/bodies.py`).

    Returns:
        What is known of the effect.

    Raises:
        InvalidRecordError: the values break a documented limit.
        WillSuiteError: credentials, configuration or rate limit; nothing was changed.
    """
    request = case_update(update)
    async with connected() as client:
        return await client.update_case(case_id, request)


async def together(calls: Iterable[Awaitable[Result]]) -> list[Result]:
    """Results of `calls` in order, made concurrently; the first failure cancels the others.

    The failure is raised as it is, not wrapped in a group.
    """

    async def run(call: Awaitable[Result]) -> Result:
        return await call

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(run(call)) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in running]


@dataclass(frozen=True, slots=True)
class _PageSeen:
    page: CasesPage
    table: pa.Table
    lacking_people: dict[str, int]
    unread: Counter[str]
    first_id: str | None
    last_id: str | None
    in_id_order: bool


def _see(page: CasesPage) -> _PageSeen:
    table, unread = nested_cases(case_columns(page.cases), page.fetch_number)
    unread.update(page.unread_values)
    ids = [case.id for case in page.cases]
    in_order = all(before < after for before, after in pairwise(ids))
    # the records go, their table stays
    light = replace(page, cases=[])
    return _PageSeen(
        light, table, lacking_people(table), unread,
        ids[0] if ids else None, ids[-1] if ids else None, in_order,
    )  # fmt: skip


def case_columns(cases: Sequence[Case]) -> CaseColumns:
    """Records of the client as the columns that `schemas` turns into tables."""
    columns = _by_name(Case, cases)
    groups = [case.customers or () for case in cases]
    people = [person for group in groups for person in group]
    return CaseColumns(
        cases=columns,
        customers=_by_name(Customer, people),
        customer_counts=[len(group) for group in groups],
        metas=[case.meta if isinstance(case.meta, dict) else {} for case in cases],
    )


def _by_name(kind: type[msgspec.Struct], records: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Records as columns; empty where there are none."""
    columns = zip(*map(msgspec.structs.astuple, records), strict=True)
    return dict(zip(kind.__struct_fields__, columns, strict=False))


def _summed(part: Path, pages: Sequence[_PageSeen]) -> PagesSeen:
    latest = max(pages, key=lambda seen: seen.page.fetch_number).page
    unknown: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    forms: Counter[str] = Counter()
    for seen in pages:
        unknown.update(seen.page.unknown_fields)
        unread.update(seen.unread)
        forms.update(birth_forms_in(seen.table))
    edges = [edge for seen in pages for edge in (seen.first_id, seen.last_id) if edge]
    lacking = [seen.lacking_people for seen in pages]
    return PagesSeen(
        first=pages[0].page.page,
        last=pages[-1].page.page,
        part=part,
        rows=sum(len(seen.table) for seen in pages),
        totals=frozenset(seen.page.total for seen in pages),
        per_page=latest.per_page,
        last_page=latest.last_page,
        total=latest.total,
        ends_empty=any(len(seen.table) == 0 for seen in pages),
        in_id_order=all(seen.in_id_order for seen in pages) and edges == sorted(edges),
        server_date=min(
            (seen.page.server_date for seen in pages if seen.page.server_date), default=None
        ),
        unknown_fields=dict(unknown),
        unread_values=dict(unread),
        birth_forms=dict(forms),
        lacking_people=dict(islice(ChainMap(*lacking).items(), LACKING_TO_TELL)),
        most_people=max((most_people(seen.table) for seen in pages), default=0),
    )
