"""Lists that lie about their length, or have none: how many requests they cost."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from made_changes import in_a_run

from protocols.reading.listing import CLOSING_ATTEMPTS, Listing, list_cases
from protocols.reading.verification import MAX_SWEEPS, Verification
from protocols.reading.walk import (
    PAGES_PER_TASK,
    TASKS_AT_ONCE,
    Walk,
    _batches,
    walk,
)
from sandbox.server import CLIENT_ID, CLIENT_SECRET
from willsuite import CaseFilters
from willsuite.errors import ContractError, WillSuiteError

pytestmark = pytest.mark.usefixtures("prefect_server")

Page = dict[str, Any]
Shown = Callable[[int], Page]
"""A list: what each of its pages, by number, is."""
Walks = Callable[..., list["Seen"]]
ROWS = 5
MILLION = 1_000_000
FIRST_BATCHES = 1 + TASKS_AT_ONCE * PAGES_PER_TASK
"""Pages that are asked for before anything but the first one is known."""
MAX_WALKS = MAX_SWEEPS * (2 + CLOSING_ATTEMPTS)
"""Of a listing: its sweeps, and the catch-ups after each."""


@dataclass
class Account:
    """A server with one list."""

    page: Shown = dict
    asked: list[int] = field(default_factory=list)
    """Numbers of pages."""


@dataclass
class Seen:
    """What has become of a walk."""

    end: Walk | Exception
    requests: int

    @property
    def rows(self) -> int:
        """Cases, each counted once."""
        assert isinstance(self.end, Walk), self.end
        return len(self.end.hashes)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    account = Account()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._answer({"access_token": "t"})

        def do_GET(self) -> None:
            number = int(parse_qs(urlsplit(self.path).query)["page"][0])
            account.asked.append(number)
            self._answer(account.page(number))

        def _answer(self, body: Page) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WILLSUITE_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WILLSUITE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", CLIENT_SECRET)
    yield account
    server.shutdown()
    server.server_close()


@pytest.fixture
def walks(account: Account, tmp_path: Path) -> Walks:
    """`walks(list, ...)`: a walk over each of the lists, all in one run."""

    def run(*lists: Shown) -> list[Seen]:
        async def work(_: object) -> list[Seen]:
            seen = []
            for account.page in lists:
                account.asked.clear()
                listing = Listing(CaseFilters(), tmp_path)
                end: Walk | Exception
                try:
                    end = await walk(ROWS, listing.filters, listing.next_part)
                except WillSuiteError as error:
                    end = error
                seen.append(Seen(end, len(account.asked)))
            return seen

        return in_a_run(work)

    return run


def rows(number: int, count: int = ROWS) -> list[Page]:
    return [{"id": f"c-{number}-{row}"} for row in range(count)]


def page(data: list[Page], last_page: int | None, total: int | None) -> Page:
    return {"data": data, "per_page": ROWS, "last_page": last_page, "total": total}


def short(last_page: int | None, total: int | None) -> Shown:
    """Three pages and nothing behind."""
    return lambda number: page(rows(number) if number <= 3 else [], last_page, total)


def test_an_empty_page_ends_a_walk_however_many_are_announced(walks: Walks) -> None:
    many = MILLION * ROWS
    announced = [(MILLION, 3 * ROWS), (MILLION, many), (MILLION, None), (None, many)]
    for seen in walks(*(short(*each) for each in announced)):
        assert seen.rows == 3 * ROWS
        # what is under way when the empty page comes is all that is too much
        assert seen.requests < 3 + 2 * 8 * TASKS_AT_ONCE


def test_what_is_there_is_read_however_little_is_announced(walks: Walks) -> None:
    announced = [(1, 1), (1, None), (None, 0), (None, None), (3, ROWS), (2, 3 * ROWS)]
    for seen in walks(*(short(*each) for each in announced)):
        assert seen.rows == 3 * ROWS
        assert seen.requests < 10


GROWING: list[Callable[[int], tuple[int | None, int | None]]] = [
    lambda _: (MILLION, MILLION * ROWS),
    lambda number: (number + 1, (number + 1) * ROWS),
    lambda number: (number + 1, 3 * ROWS),
    lambda number: (number + 1, None),
    lambda _: (None, None),
]


@pytest.mark.parametrize(
    "shown",
    [lambda _: rows(1), lambda number: rows(min(number, 3)), lambda number: rows(number % 7)],
    ids=["one page for ever", "its last page for ever", "its pages in turn"],
)
def test_a_list_that_repeats_itself_is_given_up(
    walks: Walks, shown: Callable[[int], list[Page]]
) -> None:
    for seen in walks(*(_announcing(shown, each) for each in GROWING)):
        if isinstance(seen.end, ContractError):
            assert "the same cases again and again" in str(seen.end)
        else:
            assert 0 < seen.rows <= 7 * ROWS
        assert seen.requests <= 2 * FIRST_BATCHES


def test_a_server_that_shows_its_last_page_behind_the_end_is_believed(walks: Walks) -> None:
    for pages in (1, 3):
        (seen,) = walks(
            lambda number, pages=pages: page(rows(min(number, pages)), pages, pages * ROWS)
        )
        assert seen.rows == pages * ROWS
        assert seen.requests <= pages + 3


def _announcing(
    shown: Callable[[int], list[Page]], announced: Callable[[int], tuple[int | None, int | None]]
) -> Shown:
    return lambda number: page(shown(number), *announced(number))


def test_new_cases_for_ever_end_with_a_sentence(
    walks: Walks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.reading.walk.MAX_PAGES_WITHOUT_COUNT", 100)
    monkeypatch.setattr("protocols.reading.walk.MAX_PAGES_PAST_THE_END", 100)
    lists = [_announcing(rows, each) for each in GROWING[1:]]
    for seen in walks(*lists, _announcing(rows, lambda _: (MILLION, 3 * ROWS))):
        assert isinstance(seen.end, ContractError)
        assert "no last page" in str(seen.end)
        assert seen.requests <= 2 * 3 + 100


def listed(tmp_path: Path) -> Listing:
    return in_a_run(lambda progress: list_cases(tmp_path, CaseFilters(), progress))


def test_a_list_that_counts_what_no_account_has_and_repeats_itself_is_an_error(
    account: Account, tmp_path: Path
) -> None:
    account.page = lambda _: page(rows(1), MILLION, 2**70)
    with pytest.raises(ContractError, match=r"^\D*$"):
        listed(tmp_path)
    assert len(account.asked) <= FIRST_BATCHES


def test_a_listing_with_fewer_cases_than_are_counted_is_bounded_and_unverified(
    account: Account, tmp_path: Path
) -> None:
    account.page = lambda number: page(rows(min(number, 2)), 3, 3 * ROWS)
    listing = listed(tmp_path)
    assert (listing.counted, listing.rows) == (3 * ROWS, 2 * ROWS)
    assert listing.verification is Verification.UNCONVERGED
    assert len(account.asked) < MAX_WALKS * 10


@pytest.mark.parametrize("pages", [1, 50, 51, 501, 7_000, 100_000])
def test_batches_hold_each_page_once_and_are_few(pages: int) -> None:
    batches = list(_batches(2, pages + 1))
    assert [n for first, last in batches for n in range(first, last + 1)] == [*range(2, pages + 2)]
    assert len(batches) <= 400, "Prefect's server loses task runs of longer rows"
    assert max(last - first + 1 for first, last in batches) <= max(PAGES_PER_TASK, pages // 300)
    assert batches[0][1] <= 1 + PAGES_PER_TASK
