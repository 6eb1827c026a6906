"""Snapshots are written, merged with what has changed, and compared, a range of cases at a time."""

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case_tables import FORMER_SCHEMAS, NESTED, SCHEMAS, SEEN
from tasks import snapshot_tables, spool
from tasks.snapshot_tables import CaseFiles, Listed, Written, _merge, _write

Account = Mapping[str, int]
"""Cases by id; the number stands for what is in them."""
DAYS = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(4)]


def part_of(account: Account, path: Path) -> Path:
    rows = [
        {
            "id": case_id,
            "notes": f"note {version}",
            "customers": [
                {"id": f"{case_id}-{number}", "last_name": f"name {version}"}
                for number in range(version % 3)
            ],
            "meta": [{"field_id": "f", "value": str(version)}] if version % 2 else [],
            "_fetch_number": 1,
        }
        for case_id, version in account.items()
    ]
    spool.write_part(path, [pa.Table.from_pylist(rows, schema=NESTED)])
    return path


def listed(
    account: Account,
    folder: Path,
    gone: Iterable[str] = (),
    label: str = "Label",
    at: datetime = DAYS[0],
) -> Listed:
    return Listed([part_of(account, folder / "part.arrow")], list(gone), {"f": label}, {}, at)


def seen(folder: Path) -> dict[str, tuple[int, int]]:
    """On which of `DAYS` each case was first seen, and last seen changed."""
    rows = pq.read_table(folder / "cases.parquet").to_pylist()
    return {row["id"]: tuple(DAYS.index(row[name]) for name in SEEN) for row in rows}  # type: ignore[misc]


def content(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in SCHEMAS._fields}


def changes(folder: Path) -> list[tuple[str, str, str]]:
    rows = pq.read_table(folder / "changes.parquet").to_pylist()
    return [(row["table"], row["id"], row["change"]) for row in rows]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few cases are as many as are in memory at once."""
    pieces(monkeypatch, 3)


def pieces(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(spool, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(spool, "LEAST_ROWS_A_BATCH", 1)
    monkeypatch.setattr(spool, "LEAST_ROWS_A_RANGE", 1)
    monkeypatch.setattr(snapshot_tables, "CASES_A_GROUP", 2 * rows)
    # a tenth of a second a piece, however few rows it has
    monkeypatch.setattr(snapshot_tables, "check_tables", lambda _tables: None)


def full(
    account: Account, folder: Path, before: Path | None = None, **how: Any
) -> tuple[Path, Written]:
    folder.mkdir()
    return folder / "t", _write(listed(account, folder, **how), folder / "t", before, True)


def merge(
    before: Path, changed: Account, folder: Path, gone: Iterable[str] = (), **how: Any
) -> tuple[Path, Written]:
    folder.mkdir()
    return folder / "t", _merge(before, listed(changed, folder, gone, **how), folder / "t", True)


ids = st.text("0123456789abcdef", min_size=1, max_size=3)
accounts = st.dictionaries(ids, st.integers(0, 5), max_size=30)


@settings(max_examples=8)
@given(accounts, accounts, st.sets(ids, max_size=3))
def test_a_merged_snapshot_is_what_a_full_one_would_be_and_tells_the_same_changes(
    tmp_path_factory: pytest.TempPathFactory, before: Account, changed: Account, gone: set[str]
) -> None:
    tmp_path = tmp_path_factory.mktemp("merge")
    after = {key: value for key, value in {**before, **changed}.items() if key not in gone}
    with pytest.MonkeyPatch.context() as patch:
        pieces(patch, 3)
        old, _ = full(before, tmp_path / "old")
        merged, told = merge(old, changed, tmp_path / "merged", gone, at=DAYS[1])
        whole, told_in_full = full(after, tmp_path / "full", old, at=DAYS[1])
    assert content(merged) == content(whole)
    assert sorted(changes(merged)) == sorted(changes(whole))
    assert told.changes == told_in_full.changes
    assert seen(merged) == {
        key: (0, 0 if before[key] == after[key] else 1) if key in before else (1, 1)
        for key in after
    }
    assert told.changes["added"] == len(after.keys() - before.keys())
    assert told.changes["removed"] == len(before.keys() - after.keys())
    rows = {name: file.rows for name, file in told.files.items()}
    assert rows == {name: len(pq.read_table(merged / f"{name}.parquet")) for name in rows}


def test_many_merges_leave_row_groups_of_a_decent_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces(monkeypatch, 50)
    rng = random.Random(1)
    before, _ = full({f"{rng.randrange(16**6):06x}": 1 for _ in range(500)}, tmp_path / "0")
    for number in range(1, 13):
        new = {f"{rng.randrange(16**6):06x}": 2, f"zz{number:03}": 2}
        before, _ = merge(before, new, tmp_path / str(number))
    groups = pq.ParquetFile(before / "cases.parquet").metadata
    sizes = [groups.row_group(number).num_rows for number in range(groups.num_row_groups)]
    assert sum(sizes) == 524
    assert max(sizes) <= 100
    assert len(sizes) < 16


def test_a_renamed_label_reaches_the_cases_that_did_not_change(tmp_path: Path) -> None:
    old, _ = full({"a": 1, "b": 3}, tmp_path / "old")
    merged, told = merge(old, {"a": 1}, tmp_path / "new", label="Renamed")
    assert [row["field_label"] for row in content(merged)["case_meta"]] == ["Renamed"] * 2
    assert not told.changes.total()


def test_a_case_is_first_seen_once_and_changed_when_whatever_of_it_is(
    tmp_path: Path, small_pieces: None
) -> None:
    # of 1, 2 and 4 the case has CRM values, two people, one person
    unchanged = {f"x{number}": 0 for number in range(8)}
    of_unchanged = dict.fromkeys(unchanged, (0, 0))
    old, _ = full({**unchanged, "a": 1, "b": 2, "c": 0}, tmp_path / "0")
    old, _ = merge(old, {"a": 4, "d": 1, "x1": 0}, tmp_path / "1", at=DAYS[1])
    assert seen(old) == {**of_unchanged, "a": (0, 1), "b": (0, 0), "c": (0, 0), "d": (1, 1)}
    old, told = full(
        {**unchanged, "a": 4, "b": 5, "d": 1}, tmp_path / "2", old, label="New", at=DAYS[2]
    )
    assert seen(old) == {**of_unchanged, "a": (0, 1), "b": (0, 2), "d": (1, 1)}
    assert told.changes == {"changed": 1, "removed": 1}
    old, _ = merge(old, {"c": 0}, tmp_path / "3", at=DAYS[3])
    assert seen(old)["c"] == (3, 3)


def test_a_change_in_one_table_only_is_a_change_of_the_case(tmp_path: Path) -> None:
    row = {"id": "a", "customers": [{"id": "p"}], "meta": [], "_fetch_number": 1}
    person = {"customers": [{"id": "p", "tel_1": "0"}]}
    value = {"meta": [{"field_id": "f", "value": "v"}]}
    before = None
    for day, new in enumerate(({}, person, {}, value)):
        spool.write_part(tmp_path / "p", [pa.Table.from_pylist([row | new], schema=NESTED)])
        given = Listed([tmp_path / "p"], [], {}, {}, DAYS[day])
        folder = tmp_path / str(day)
        _write(given, folder, before, True)
        assert seen(folder) == {"a": (0, day)}
        before = folder


@pytest.mark.parametrize("is_merged", [True, False])
def test_a_snapshot_from_before_there_were_times_is_carried_on_from(
    tmp_path: Path, small_pieces: None, is_merged: bool
) -> None:
    account = {f"{number:02x}": number for number in range(0, 256, 20)}
    old, _ = full(account, tmp_path / "old")
    cases = pq.read_table(old / "cases.parquet").select(FORMER_SCHEMAS.cases.names)
    pq.write_table(cases, old / "cases.parquet", row_group_size=4)
    new = (
        merge(old, {"zz": 1}, tmp_path / "new", at=DAYS[1])
        if is_merged
        else full({**account, "zz": 1}, tmp_path / "new", old, at=DAYS[1])
    )
    assert seen(new[0]) == dict.fromkeys([*account, "zz"], (1, 1))
    assert new[1].changes == {"added": 1}


def test_a_filtered_snapshot_tells_neither_changes_nor_times(tmp_path: Path) -> None:
    written = _write(listed({"a": 1}, tmp_path), tmp_path / "t", None, with_changes=False)
    assert [content(tmp_path / "t")["cases"][0][name] for name in SEEN] == [None, None]
    assert set(written.files) == set(SCHEMAS._fields)
    assert {path.stem for path in (tmp_path / "t").iterdir()} == set(SCHEMAS._fields)


def test_ranges_are_read_although_a_file_has_no_statistics(
    tmp_path: Path, small_pieces: None
) -> None:
    account = {f"{number:02x}": number for number in range(0, 256, 20)}
    folder, _ = full(account, tmp_path / "a")
    for name in SCHEMAS._fields:
        table = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(table, folder / f"{name}.parquet", write_statistics=False, row_group_size=4)
    files = CaseFiles(folder)
    pieces = [files.until(bound) for bound in [*files.bounds[:-1], None]]
    assert [len(piece.cases) for piece in pieces] == [4, 4, 4, 1]
    for piece in pieces:
        of_cases = set(piece.cases["id"].to_pylist())
        assert set(piece.customers["case_id"].to_pylist()) <= of_cases
    assert sum(len(piece.customers) for piece in pieces) == len(content(folder)["customers"])
