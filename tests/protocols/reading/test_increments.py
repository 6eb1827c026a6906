"""Whether an export can be built upon, and what is read then."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_exports import OURS, publish_export

from protocols.reading.increments import (
    Base,
    ChangedCases,
    NotIncremental,
    find_base,
    refuse_fewer,
)
from protocols.reading.listing import Listing
from protocols.reading.past_exports import PastExports
from schemas.case_tables import CASES, FORMER_SCHEMAS
from tasks.snapshot_tables import file_hash
from tasks.snapshots import Output, open_output
from willsuite import CaseFilters

CASE_ROWS = [{"id": "a"}, {"id": "b"}, {"id": "c"}]


def found(place: Path | Output, workspace: Path, account: str = OURS) -> Base | str:
    output = open_output(str(place)) if isinstance(place, Path) else place
    workspace.mkdir(exist_ok=True)
    return asyncio.run(find_base.fn(output, PastExports(output, account), workspace))


def base(place: Path, workspace: Path) -> Base:
    it = found(place, workspace)
    assert isinstance(it, Base), it
    return it


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.mark.parametrize("place", ["local", "mock://bucket/out"])
def test_the_export_that_latest_names_is_had_with_its_files(
    place: str, out: Path, work: Path
) -> None:
    where = open_output(str(out) if place == "local" else place)
    publish_export(where, CASE_ROWS, started_at="2026-01-01T00:00:00+00:00")
    newest = publish_export(where, CASE_ROWS[:1])
    it = found(where, work)
    assert isinstance(it, Base)
    assert (it.export.name, it.watermark) == (
        newest.name,
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    assert pq.read_table(it.folder / "cases.parquet")["id"].to_pylist() == ["a"]


def test_where_the_pointer_is_lost_it_is_the_newest_full_one_that_is_there(
    out: Path, work: Path
) -> None:
    full = publish_export(out, CASE_ROWS, started_at="2026-01-01T00:00:00+00:00")
    publish_export(out, filters={"ref": "R"}, started_at="2026-01-04T00:00:00+00:00")
    (out / "latest.json").write_text("{")
    assert base(out, work).export.name == full.name


def test_where_there_is_none_or_only_anothers_it_is_said(out: Path, work: Path) -> None:
    assert "no export of all cases" in str(found(out, work))
    publish_export(out, filters={"ref": "R"})
    assert "no export of all cases" in str(found(out, work))
    publish_export(out, CASE_ROWS)
    assert "no export of all cases" in str(found(out, work, account="00000000000000bb"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def overwrite(path: Path) -> None:
    """Whole, and not what was published."""
    pq.write_table(pq.read_table(path).slice(1), path)


@pytest.mark.parametrize("table", ["cases", "customers", "case_meta"])
@pytest.mark.parametrize("damage", [cut, overwrite])
def test_a_damaged_file_is_noticed(
    out: Path, work: Path, damage: Callable[[Path], None], table: str
) -> None:
    rows = {"customers": [{"id": "p", "case_id": "a"}],
            "case_meta": [{"case_id": "a", "field_id": "f"}]}  # fmt: skip
    export = publish_export(out, CASE_ROWS, **rows)
    damage(out / export.snapshot / f"{table}.parquet")
    assert found(out, work) == f"{table}.parquet of the last export is damaged"


def test_one_whose_files_are_not_listed_or_of_another_version_is_not_built_upon(
    out: Path, work: Path
) -> None:
    export = publish_export(out, CASE_ROWS)
    manifest = out / "manifests" / f"{export.name}.json"
    content = json.loads(manifest.read_text())
    for change, said in (({"files": {}}, "damaged"), ({"schema_version": "1"}, "other columns")):
        manifest.write_text(json.dumps(content | change))
        assert said in str(found(out, work))


def test_one_of_the_version_before_whose_cases_have_no_times_is_built_upon(
    out: Path, work: Path
) -> None:
    export = publish_export(out, CASE_ROWS, schema_version="3")
    path, manifest = out / "latest" / "cases.parquet", out / "manifests" / f"{export.name}.json"
    pq.write_table(pq.read_table(path).select(FORMER_SCHEMAS.cases.names), path)
    content = json.loads(manifest.read_text())
    content["files"]["cases.parquet"]["sha256"] = file_hash(path)
    manifest.write_text(json.dumps(content))
    assert base(out, work).export.name == export.name


def test_a_table_with_other_columns_cannot_be_read(out: Path, work: Path) -> None:
    assert CASES.names[0] == "id"
    export = publish_export(out, CASE_ROWS)
    path = out / export.snapshot / "cases.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    manifest = out / "manifests" / f"{export.name}.json"
    content = json.loads(manifest.read_text())
    content["files"]["cases.parquet"]["sha256"] = file_hash(path)
    manifest.write_text(json.dumps(content))
    assert found(out, work) == "the last export can't be read"


@pytest.mark.parametrize(
    ("latest", "manifest", "said"),
    [
        ({"watermark": "2026-01-02 03:04:06"}, {}, "disagree"),
        ({"watermark": "soon"}, {"watermark": "soon"}, "no watermark that can be read"),
    ],
)
def test_a_watermark_that_cannot_be_relied_on_is_not_read_from(
    out: Path, work: Path, latest: dict[str, Any], manifest: dict[str, Any], said: str
) -> None:
    publish_export(out, CASE_ROWS, **manifest)
    pointer = json.loads((out / "latest.json").read_text())
    (out / "latest.json").write_text(json.dumps(pointer | latest))
    with pytest.raises(NotIncremental, match=said):
        assert base(out, work).watermark


@pytest.mark.parametrize(
    "of_the_future",
    [{"watermark": "2030-01-01 00:00:00"}, {"started_at": "2030-01-01T00:00:00+00:00"}],
)
def test_a_watermark_of_the_future_is_not_read_from(
    out: Path, work: Path, of_the_future: dict[str, Any]
) -> None:
    publish_export(out, CASE_ROWS, **of_the_future)
    it = base(out, work)
    with pytest.raises(NotIncremental, match="in the future"):
        it.refuse_future(datetime(2029, 12, 31, 23, 50, tzinfo=UTC))
    it.refuse_future(datetime(2030, 1, 1, tzinfo=UTC))


def test_an_unverified_export_is_not_built_upon(out: Path, work: Path) -> None:
    publish_export(out, CASE_ROWS, verification="unconverged")
    with pytest.raises(NotIncremental, match="not verified"):
        base(out, work).refuse_unverified()


def test_the_time_of_the_last_full_export_counts_and_not_of_the_last_one(
    out: Path, work: Path
) -> None:
    week_ago = datetime.now(UTC) - timedelta(days=7)
    for began, is_older in ((week_ago, True), (week_ago + timedelta(hours=1), False)):
        publish_export(out, CASE_ROWS, mode="incremental", full_at=began.isoformat())
        assert base(out, work).full_is_older_than(7) == is_older
    publish_export(out, CASE_ROWS, full_at=None)
    assert base(out, work).full_is_older_than(7)


def test_more_cases_by_willsuites_count_than_were_merged_show_that_some_are_missing() -> None:
    listing = Listing(CaseFilters(), Path())
    for counted in (None, 9, 10):
        refuse_fewer(10, ChangedCases(listing, {}, counted))  # type: ignore[arg-type]
    with pytest.raises(NotIncremental, match="counts 12 cases, 2 more than"):
        refuse_fewer(10, ChangedCases(listing, {}, 12))  # type: ignore[arg-type]
