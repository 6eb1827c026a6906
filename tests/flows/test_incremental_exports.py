"""Exports of what has changed, through the real engine, against a server on a socket."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.client.schemas.objects import State
from test_export_cases import expected, export, latest, manifest_of, newcomer, published

from flows.export_cases import export_cases
from sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("prefect_server")

StartSandbox = Callable[..., Sandbox]


def message_of(output: Path, **parameters: Any) -> str:
    state: State[Any] = asyncio.run(
        export_cases(output=str(output), return_state=True, **parameters)
    )
    assert state.is_completed(), state.message
    return str(state.message)


def changes_of(output: Path) -> list[tuple[str, str, str, list[str]]]:
    rows = pq.read_table(output / latest(output)["snapshot"] / "changes.parquet").to_pylist()
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def listed(sandbox: Sandbox) -> list[dict[str, str]]:
    return [seen.query for seen in sandbox.requests if seen.path == "/cases"]


def test_an_incremental_export_reads_what_changed_and_has_all_but_the_deletions(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox, output = start_sandbox(cases=450), tmp_path / "out"
    first = export(output, mode="incremental")
    assert (first["mode"], first["added"]) == ("full", 450)
    assert "no export of all cases before it" in manifest_of(output)["reason"]
    watermark = latest(output)["watermark"]

    store = sandbox.store
    one, two, gone = store.ids[3], store.ids[400], store.ids[77]
    person = store.case(two)["customers"][0]  # type: ignore[index]
    store.change(one, notes="changed since")
    store.change(two, meta={}, customers=[{**person, "tel_1": "0123"}])
    store.put(newcomer(1))
    kept = expected(store)
    store.delete(gone)
    sandbox.requests.clear()
    said = message_of(output, mode="incremental")

    assert published(output) == kept
    assert "+1 cases, 2 changed, 0 gone" in said
    assert ("cases", one, "changed", ["notes"]) in changes_of(output)
    manifest = manifest_of(output)
    assert (manifest["mode"], manifest["reason"]) == ("incremental", None)
    assert manifest["changes"]["compared_with"] == Path(first["snapshot"]).name
    assert manifest["changed_since"] == watermark
    assert manifest["full_at"] == json.loads(Path(first["manifest"]).read_text())["started_at"]
    assert latest(output)["watermark"] == manifest["watermark"]
    of_all = [query for query in listed(sandbox) if "updatedAfter" not in query]
    assert [query["perPage"] for query in of_all] == ["1"]

    assert "+0 cases, 0 changed, 1 gone" in message_of(output, mode="auto", full_after=0)
    assert published(output) == expected(store)
    assert "the last time was 0 days ago or more" in manifest_of(output)["reason"]
    assert manifest_of(output)["missed_by_incremental"] == 0
    assert export(output, mode="auto")["mode"] == "incremental"
