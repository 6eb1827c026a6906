"""The two engines, and what the tests ask them with."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from engines import Engine, postgres_engine, sqlite_engine
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

DATABASES = {"sqlite": sqlite_engine, "postgresql": postgres_engine}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Engine]]]:
    """Both are started at once; one that doesn't start fails its own tests alone."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:

        def start(database: str, home: Path) -> Engine:
            return stack.enter_context(DATABASES[database](home))

        yield {
            database: pool.submit(start, database, tmp_path_factory.mktemp(database))
            for database in DATABASES
        }


@pytest.fixture(scope="module", params=DATABASES)
def engine(request: pytest.FixtureRequest, engines: dict[str, Future[Engine]]) -> Engine:
    return engines[request.param].result()


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[SyncPrefectClient]:
    """The way to the engine, for this client and for all that the test calls."""
    with (
        temporary_settings({PREFECT_API_URL: engine.url}),
        get_client(sync_client=True) as client,
    ):
        yield client
