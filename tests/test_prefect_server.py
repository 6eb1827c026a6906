"""The installed Prefect, FastAPI and friends fit together."""

import asyncio

from prefect.client.orchestration import get_client


def test_the_prefect_server_of_the_lock_file_starts_and_answers(prefect_server: None) -> None:
    """prefect 3.8.8 with fastapi >= 0.151 doesn't start; see the constraint in pyproject.toml."""

    async def health() -> Exception | None:
        async with get_client() as client:
            return await client.api_healthcheck()

    assert asyncio.run(health()) is None
