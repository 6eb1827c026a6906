"""What `benchmarks/export.py` compares with: the same pages, the same Parquet, nothing else.

A bare asyncio + httpx loop: one token, all pages at a fixed concurrency, each decoded and turned
into Arrow as it arrives (with the product's own functions, so that only what the product adds
differs), written to the three tables in order of arrival. No Prefect, no retries, no pacing, no
verification, no sorting, no checks, no manifest, no atomic publish.
"""

import asyncio
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.case_tables import NESTED, SCHEMAS, flat_tables, nested_cases
from tasks.cases import case_columns
from willsuite.decoding import decode_crm_fields, decode_page

ROW_GROUP_ROWS = 20_000


async def bare_export(base_url: str, client_id: str, secret: str, folder: Path, n: int) -> int:
    """Export with `n` connections into `folder`; returns the number of cases."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = httpx.Limits(max_connections=n, max_keepalive_connections=n)
    async with httpx.AsyncClient(limits=limits, timeout=75) as http:
        answer = await http.post(
            f"{base_url}/oauth/token",
            json={
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": secret,
            },
        )
        http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        http.headers["content-type"] = "application/json"
        fields = decode_crm_fields((await http.get(f"{base_url}/crm-fields")).content)
        labels = {field.id: field.field_label for field in fields}
        slots = asyncio.Semaphore(n)

        async def page(number: int):
            async with slots:
                params = {"page": number, "perPage": 100}
                body = (await http.get(f"{base_url}/cases", params=params)).content
            return decode_page(body, page=number, server_date=None, fetch_number=number)

        writers = {
            name: pq.ParquetWriter(
                folder / f"{name}.parquet", schema, compression="zstd", compression_level=1
            )
            for name, schema in SCHEMAS._asdict().items()
        }
        rows = 0
        first = await page(1)
        waiting = [nested_cases(case_columns(first.cases), 1)[0]]

        def flush() -> None:
            tables = flat_tables(pa.concat_tables([NESTED.empty_table(), *waiting]), labels, {})
            for name, table in tables._asdict().items():
                writers[name].write_table(table)
            waiting.clear()

        for coming in asyncio.as_completed([page(k) for k in range(2, (first.last_page or 1) + 1)]):
            done = await coming
            waiting.append(nested_cases(case_columns(done.cases), done.page)[0])
            rows += len(done.cases)
            if sum(map(len, waiting)) >= ROW_GROUP_ROWS:
                flush()
        flush()
        for writer in writers.values():
            writer.close()
    return rows + len(first.cases)
