"""Published exports as scripts and notebooks read them."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from made_exports import OURS, publish_export

from protocols.exports import changes_since, export_views, read_export
from schemas.case_changes import CHANGES
from schemas.case_tables import SCHEMAS
from tasks.policy import OutputError

ROOT = Path(__file__).resolve().parents[2]
CASES = [{"id": "a", "ref": "R-1", "is_active": True}, {"id": "b"}, {"id": "c"}]
CUSTOMERS = [{"id": "p", "case_id": "a", "last_name": "Quill"}]
META = [
    {"case_id": "a", "field_id": "f-1", "field_label": "Colour", "value": "red"},
    {"case_id": "a", "field_id": "f-2", "field_label": "Size", "value": "9"},
    {"case_id": "c", "field_id": "f-1", "field_label": "Colour", "value": None},
    {"case_id": "c", "field_id": "f-3", "field_label": "Size", "value": "10"},
    {"case_id": "c", "field_id": "f-4", "field_label": None, "value": "x"},
]
DAYS = [f"2026-01-0{day}T05:00:00+00:00" for day in range(1, 5)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "exports"


def change(case_id: str, what: str, *columns: str) -> dict[str, Any]:
    return {"table": "cases", "id": case_id, "change": what, "columns": list(columns)}


def watermark_of(day: str) -> str:
    return f"{pd.Timestamp(day) - pd.Timedelta(hours=26):%Y-%m-%d %H:%M:%S}"


def test_each_table_of_the_latest_export_is_read(out: Path) -> None:
    publish_export(out, [{"id": "old"}], started_at=DAYS[0])
    publish_export(out, CASES, CUSTOMERS, META, [change("a", "added")], started_at=DAYS[1])
    for name, rows in zip(SCHEMAS._fields, (CASES, CUSTOMERS, META), strict=True):
        table = read_export(name, str(out), check=True)
        assert isinstance(table, pa.Table)
        assert len(table) == len(rows)
    assert read_export("changes", str(out)).schema.equals(CHANGES)
    frame = read_export("cases", f"file://{out}", columns=["id", "is_active"], as_pandas=True)
    assert list(frame["id"]) == ["a", "b", "c"]
    assert frame["is_active"].dtype == pd.BooleanDtype()
    assert list(frame["is_active"].isna()) == [False, True, True]


def test_an_earlier_export_is_read_as_of_its_time(out: Path) -> None:
    publish_export(out, CASES[:1], started_at=DAYS[0])
    publish_export(out, CASES[:2], started_at=DAYS[2])
    publish_export(out, CASES, started_at="2026-01-02T00:00:00+00:00", filters={"ref": "R"})
    for as_of, count in (("2026-01-03", 1), ("2026-01-03 06:00+01:00", 2), (DAYS[3], 2)):
        assert len(read_export("cases", str(out), as_of=as_of)) == count
    with pytest.raises(OutputError, match="no export of all cases from before that time"):
        read_export("cases", str(out), as_of="2025-12-31")


def test_where_there_is_only_a_filtered_export_it_is_read(out: Path) -> None:
    publish_export(out, CASES[:1], filters={"ref": "R-1"})
    assert len(read_export("cases", str(out))) == 1


def test_where_the_pointer_is_lost_the_newest_full_export_is_read(out: Path) -> None:
    publish_export(out, CASES, started_at=DAYS[0])
    publish_export(out, CASES[:1], started_at=DAYS[1], filters={"ref": "R-1"})
    (out / "latest.json").write_text("{")
    assert len(read_export("cases", str(out))) == 3


def test_wide_cases_have_a_column_for_each_crm_field(out: Path) -> None:
    publish_export(out, CASES, CUSTOMERS, META)
    wide = read_export("cases", str(out), wide_meta=True, check=True)
    columns = ["id", "meta:Colour", "meta:Size (f-2)", "meta:Size (f-3)", "meta:f-4"]
    assert wide.column_names == [*SCHEMAS.cases.names, *columns[1:]]
    assert read_export("cases", str(out), wide_meta=True, columns=columns).to_pylist() == [
        dict(zip(columns, row, strict=True))
        for row in (
            ("a", "red", "9", None, None),
            ("b", None, None, None, None),
            ("c", None, None, "10", "x"),
        )
    ]


def test_what_there_is_not_is_refused_with_what_to_do(out: Path) -> None:
    with pytest.raises(OutputError, match="run export-cases first"):
        read_export("cases", str(out))
    export = publish_export(out, CASES)
    with pytest.raises(ValueError, match="there are cases, customers, case_meta, changes"):
        read_export("people", str(out))
    with pytest.raises(ValueError, match="no column notices in this table"):
        read_export("cases", str(out), columns=["ref", "notices", "id"])
    assert read_export("cases", str(out), columns=["ref", "id"]).column_names == ["ref", "id"]
    with pytest.raises(ValueError, match="wide_meta"):
        read_export("customers", str(out), wide_meta=True)
    assert len(read_export("cases", str(out), account=OURS)) == 3
    with pytest.raises(OutputError, match="another WillSuite account"):
        read_export("cases", str(out), account="00000000000000bb")
    (out / export.snapshot / "changes.parquet").unlink()
    with pytest.raises(OutputError, match="can't be read"):
        read_export("changes", str(out))


def test_a_file_that_is_not_what_was_exported_is_noticed_on_demand(out: Path) -> None:
    export, other = publish_export(out, CASES[:1]), publish_export(out.with_name("other"), CASES)
    path = other.snapshot + "/cases.parquet"
    content = (out.with_name("other") / path).read_bytes()
    (out / export.snapshot / "cases.parquet").write_bytes(content)
    assert len(read_export("cases", str(out))) == 3
    with pytest.raises(OutputError, match="isn't what was exported"):
        read_export("cases", str(out), check=True)


def chain(out: Path, steps: list[list[dict[str, Any]]]) -> list[str]:
    """Exports on one day after the other, each with these changes; returns their names."""
    names: list[str] = []
    for day, changes in zip(DAYS, steps, strict=False):
        before = names[-1] if names else None
        export = publish_export(out, changes=changes, started_at=day, compared_with=before)
        names.append(export.name)
    return names


STEPS = [
    [change("a", "added"), change("b", "added")],
    [change("a", "changed", "notes"), change("c", "added")],
    [change("a", "changed", "ref"), change("b", "removed"), change("c", "removed")],
]


def test_changes_since_a_watermark_are_those_of_all_exports_after_it(out: Path) -> None:
    chain(out, STEPS)
    since = [changes_since(watermark_of(day), str(out)) for day in DAYS[:3]]
    assert {each.watermark for each in since} == {watermark_of(DAYS[2])}
    a_changed = change("a", "changed", "notes", "ref")
    assert [each.changes.to_pylist() for each in since] == [
        [a_changed, change("b", "removed")],
        [change("a", "changed", "ref"), change("b", "removed"), change("c", "removed")],
        [],
    ]
    everything = changes_since(None, str(out), as_pandas=True).changes
    assert everything.to_dict("records")[0]["change"] == "added"
    assert list(everything["id"]) == ["a"]


def test_a_time_between_two_exports_gives_the_changes_of_both(out: Path) -> None:
    chain(out, STEPS)
    between = changes_since("2026-01-01 12:00:00", str(out)).changes
    assert [row["id"] for row in between.to_pylist()] == ["a", "b", "c"]


def test_of_two_exports_with_one_watermark_the_later_ones_changes_are_told_again(
    out: Path,
) -> None:
    first = publish_export(out, changes=STEPS[0])
    publish_export(out, changes=STEPS[1], compared_with=first.name)
    told = changes_since(first.watermark, str(out)).changes
    assert [row["id"] for row in told.to_pylist()] == ["a", "c"]


def prune_the_middle(out: Path, names: list[str]) -> None:
    for path in (out / "snapshots" / names[1]).iterdir():
        path.unlink()


def forget_what_it_was_compared_with(out: Path, names: list[str]) -> None:
    path = out / "manifests" / f"{names[2]}.json"
    manifest = json.loads(path.read_text()) | {"changes": {"compared_with": None}}
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("spoil", [prune_the_middle, forget_what_it_was_compared_with])
def test_changes_that_cannot_be_told_whole_are_not_told(out: Path, spoil: Any) -> None:
    names = chain(out, STEPS)
    spoil(out, names)
    with pytest.raises(OutputError, match="read the whole export again"):
        changes_since(watermark_of(DAYS[0]), str(out))


def test_cases_can_be_counted_by_the_month_in_which_they_were_first_seen(out: Path) -> None:
    moments = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 2)]
    rows = [{"id": f"c-{n}", "first_seen": moment} for n, moment in enumerate(moments)]
    publish_export(out, rows)
    by_month = {moments[0]: 1, moments[1]: 2}
    frame = read_export("cases", str(out), as_pandas=True)
    assert frame["first_seen"].value_counts().to_dict() == by_month
    path = out / "latest" / "cases.parquet"
    month = pl.col("first_seen").dt.truncate("1mo")
    assert dict(pl.read_parquet(path).group_by(month).len().iter_rows()) == by_month
    query = f"select strftime(first_seen, '%Y-%m') m, count(*) from '{path}' group by m order by m"
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        assert database.sql(query).fetchall() == [("2026-01", 1), ("2026-02", 2)]


ODD_META = [
    {"case_id": "a", "field_id": "it's", "field_label": 'The "best" Colour', "value": "red"},
    {"case_id": "a", "field_id": "f-5", "field_label": "size", "value": "L"},
]


@pytest.mark.parametrize("meta", [[], META + ODD_META])
def test_views_for_duckdb_show_the_tables_and_the_wide_cases(
    tmp_path: Path, meta: list[dict[str, Any]]
) -> None:
    out = tmp_path / "it's here"
    publish_export(out, CASES, CUSTOMERS, meta, [change("a", "added")])
    with duckdb.connect() as database:
        for _ in range(2):
            database.execute(export_views(str(out)))
        for name in (*SCHEMAS._fields, "changes"):
            seen = database.sql(f"from {name}").to_arrow_table()
            assert seen.num_rows == len(read_export(name, str(out)))
        wide = read_export("cases", str(out), wide_meta=True)
        seen = database.sql("from cases_wide order by id")
        assert seen.columns == wide.column_names
        assert seen.fetchall() == [tuple(row.values()) for row in wide.to_pylist()]


def test_views_are_of_the_export_that_is_meant(out: Path) -> None:
    publish_export(out, CASES[:1], started_at=DAYS[0])
    publish_export(out, CASES, started_at=DAYS[2], filters={"ref": "R"})
    assert len(re.findall(r"/2026\w+-\d+/cases.parquet", export_views(str(out)))) == 1
    assert "20260101T" in export_views(str(out), as_of=DAYS[1])
    with pytest.raises(OutputError, match="another WillSuite account"):
        export_views(str(out), account="00000000000000bb")


def test_the_examples_of_the_page_on_reading_exports_work(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parents[1])
    monkeypatch.setenv("WILLSUITE_PSEUDONYM_KEY", "k" * 32)
    chain(out, STEPS)
    publish_export(out, CASES, CUSTOMERS, META, started_at=DAYS[3])
    (out.parents[1] / "watermark.txt").write_text(watermark_of(DAYS[3]))
    page = (ROOT / "docs" / "reading-exports.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 4
    for example in examples:
        exec(compile(example, "docs/reading-exports.md", "exec"), {})
