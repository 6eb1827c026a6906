"""Exports of what has changed, through the real engine, against a server on a socket."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from test_export_cases import (
    end_of,
    everything_in,
    expected,
    export,
    latest,
    manifest_of,
    newcomer,
    published,
)

from sandbox.faults import Change, Fault
from sandbox.server import Sandbox
from sandbox.views import Views
from schemas.case_tables import SEEN

pytestmark = pytest.mark.usefixtures("prefect_server")

StartSandbox = Callable[..., Sandbox]


def message_of(output: Path, **parameters: Any) -> str:
    state = end_of(output, **parameters)
    assert state.is_completed(), state.message
    return str(state.message)


def changes_of(output: Path) -> list[tuple[str, str, str, list[str]]]:
    rows = pq.read_table(output / latest(output)["snapshot"] / "changes.parquet").to_pylist()
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def seen(output: Path) -> dict[str, list[str]]:
    """When exports first saw each case, and last saw it changed."""
    rows = pq.read_table(output / latest(output)["snapshot"] / "cases.parquet").to_pylist()
    return {row["id"]: [row[name].isoformat() for name in SEEN] for row in rows}


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
    seen_before = seen(output)
    began = manifest_of(output)["started_at"]
    assert {*map(tuple, seen_before.values())} == {(began, began)}

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
    now = manifest["started_at"]
    news = {one: [began, now], two: [began, now], newcomer(1)["id"]: [now, now]}
    assert seen(output) == seen_before | news
    assert (manifest["mode"], manifest["reason"]) == ("incremental", None)
    assert manifest["changes"]["compared_with"] == Path(first["snapshot"]).name
    assert manifest["changed_since"] == watermark
    assert manifest["full_at"] == json.loads(Path(first["manifest"]).read_text())["started_at"]
    assert latest(output)["watermark"] == manifest["watermark"]
    of_all = [query for query in listed(sandbox) if "updatedAfter" not in query]
    assert [query["perPage"] for query in of_all] == ["1"]

    assert "+0 cases, 0 changed, 1 gone" in message_of(output, mode="auto", full_after=0)
    assert published(output) == expected(store)
    del seen_before[gone]
    assert seen(output) == seen_before | news
    assert "the last time was 0 days ago or more" in manifest_of(output)["reason"]
    assert manifest_of(output)["missed_by_incremental"] == 0
    assert export(output, mode="auto")["mode"] == "incremental"


def test_changes_that_willsuite_does_not_list_are_counted_by_the_next_full_export(
    start_sandbox: StartSandbox, tmp_path: Path, run_log: list[str]
) -> None:
    sandbox, output = start_sandbox(cases=60), tmp_path / "out"
    export(output)
    store = sandbox.store
    store.change(store.ids[5], notes="seen")
    store.change(store.ids[6], notes="unseen", unseen=True)
    assert "0 cases, 1 changed" in message_of(output, mode="incremental")
    store.change(store.ids[7], notes="seen, and not yet exported")
    said = message_of(output)
    assert published(output) == expected(store)
    assert "2 changed" in said
    assert "ATTENTION: 1 case(s) have changed without WillSuite listing them" in said
    assert manifest_of(output)["missed_by_incremental"] == 1
    assert any("ATTENTION: 1 case(s)" in line for line in run_log)


def test_a_case_that_no_list_of_changes_shows_makes_an_incremental_export_a_full_one(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox, output = start_sandbox(cases=60), tmp_path / "out"
    export(output)
    sandbox.store.put(newcomer(1), unseen=True)
    said = message_of(output, mode="incremental")
    assert published(output) == expected(sandbox.store)
    assert "Every case was read, since WillSuite counts 61 cases, 1 more than" in said
    assert manifest_of(output)["mode"] == "full"
    assert not list(output.glob(".run-*"))


def test_a_list_that_begins_to_leave_people_out_makes_an_incremental_export_a_full_one(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, output = start_sandbox(cases=60), tmp_path / "out"
    export(output)
    store = sandbox.store
    monkeypatch.setattr(store, "_views", Views(listed_people="none"))
    store.change(store.ids[5], notes="seen")
    assert "leaves people out, which the base didn't know" in message_of(output, mode="incremental")
    assert published(output) == expected(store)
    assert manifest_of(output)["mode"] == "full"
    assert manifest_of(output)["list_leaves_people_out"]


def test_changes_that_never_settle_are_not_published_and_the_watermark_stays(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox, output = start_sandbox(cases=60), tmp_path / "out"
    export(output)
    before, watermark = everything_in(output), latest(output)["watermark"]
    numbers = iter(range(10_000))
    grow = Change(lambda store: store.put(newcomer(next(numbers))))
    sandbox.faults = [Fault(grow, path="/cases", times=None)]
    state = end_of(output, mode="incremental")
    assert state.is_failed()
    assert "could not be verified" in str(state.message)
    assert everything_in(output) == before
    assert export(output, mode="incremental", allow_unverified=True)["mode"] == "incremental"
    assert latest(output)["watermark"] == watermark
    sandbox.faults = []
    assert "last export is not verified" in message_of(output, mode="incremental")
    assert published(output) == expected(sandbox.store)


def test_a_filtered_export_is_never_merged(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    start_sandbox(cases=60)
    output = tmp_path / "out"
    export(output)
    before = latest(output)
    said = message_of(output, mode="incremental", ref="WS-000007")
    assert said.startswith("1 cases exported")
    assert "changed, " not in said
    assert "of some cases only" in said
    assert latest(output) == before


@pytest.mark.parametrize(("overlap", "seen"), [({}, 1), ({"overlap_hours": 0}, 0)])
def test_a_server_that_keeps_new_york_time_hides_no_change_behind_the_default_overlap(
    start_sandbox: StartSandbox, tmp_path: Path, overlap: dict[str, float], seen: int
) -> None:
    sandbox = start_sandbox(cases=20, updated_zone="America/New_York")
    export(tmp_path / "out", **overlap)
    sandbox.store.change(sandbox.store.ids[3], notes="changed since")
    assert export(tmp_path / "out", mode="incremental")["changed"] == seen


def test_a_case_that_the_list_of_all_leaves_out_is_not_gone_until_it_is_not_there(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=60)
    export(tmp_path / "out")
    store = sandbox.store
    hidden, gone = store.ids[3], store.ids[4]
    every = store.listing
    monkeypatch.setattr(
        store, "listing", lambda **filters: [key for key in every(**filters) if key != hidden]
    )
    store.delete(gone)
    said = message_of(tmp_path / "out")
    assert published(tmp_path / "out") == expected(store)
    assert "+0 cases, 0 changed, 1 gone" in said
    assert manifest_of(tmp_path / "out")["looked_up"] == 2


def test_the_exports_that_are_there_are_shown_as_one_table_newest_first(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox, output = start_sandbox(cases=12), tmp_path / "out"
    export(output)
    sandbox.store.put(newcomer(1))
    export(output, mode="incremental")

    async def shown() -> list[dict[str, Any]]:
        async with get_client() as client:
            of_it = ArtifactFilter(key=ArtifactFilterKey(any_=["export-cases-history"]))
            newest = ArtifactSort.CREATED_DESC
            [artifact] = await client.read_artifacts(artifact_filter=of_it, sort=newest, limit=1)
        rows: list[dict[str, Any]] = json.loads(str(artifact.data))
        return rows

    columns = ("mode", "cases", "added", "changed", "gone", "verification")
    assert [[row[name] for name in columns] for row in asyncio.run(shown())] == [
        ["incremental", 13, 1, 0, 0, "quiet"],
        ["full", 12, 12, 0, 0, "quiet"],
    ]
