"""What a new export respects of those that are there already."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocols.reading.past_exports import PastExport, PastExports
from schemas.case_tables import SCHEMAS
from tasks.policy import OutputError
from tasks.snapshots import LATEST, Output, open_output

OURS, THEIRS = "00000000000000aa", "00000000000000bb"
FILTER = {"ref": "R-1"}
NUMBERS = count(100_000)


@pytest.fixture(params=["local", "mock://bucket/out"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    """A folder, or pyarrow's in-memory file system through the same calls as s3://."""
    return open_output(str(tmp_path / "out") if request.param == "local" else request.param)


def publish(
    output: Output,
    filters: dict[str, str] | None = None,
    account: str | None = OURS,
    name: str = "",
    **others: Any,
) -> PastExport:
    """Tables and a manifest; `latest.json` stays as it is."""
    number = next(NUMBERS)
    name = name or f"20260102T{number}Z-1"
    manifest = {
        "snapshot": f"snapshots/{name}",
        "watermark": f"watermark of {name}",
        "filters": filters or {},
        "verification": "quiet",
        "finished_at": f"2026-01-02T{number}",
        "rows": {"cases": number},
        **({"account": account} if account else {}),
        **others,
    }
    with output.workspace() as workspace:
        tables = workspace / "tables"
        tables.mkdir()
        for table in SCHEMAS._fields:
            (tables / f"{table}.parquet").write_bytes(b"rows")
        output.publish(tables, name, manifest)
    return msgspec.convert(manifest, PastExport)


def ours(output: Output) -> PastExports:
    return PastExports(output, OURS)


def point(output: Output, export: PastExport, account: str | None = OURS) -> None:
    pointer = ours(output).pointer_to(export)
    output.point(pointer | {"account": account} if account else without_account(pointer))


def without_account(pointer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in pointer.items() if name != "account"}


def refused(output: Output, account: str = OURS) -> str:
    """What is said to the account; empty where nothing is refused."""
    try:
        PastExports(output, account).refuse_another_account("go elsewhere")
    except OutputError as error:
        return str(error)
    return ""


# -- whose they are ----------------------------------------------------------------------------


def test_another_account_is_told_whose_they_are_and_what_to_do(output: Output) -> None:
    point(output, publish(output))
    assert refused(output) == ""
    said = refused(output, THEIRS)
    assert output.location("").rstrip("/") in said
    for words in ("go elsewhere", f"set WILLSUITE_ACCOUNT={OURS} ", "`account` in the connection"):
        assert words in said
    assert said.count(". ") == 0


def test_without_a_pointer_the_newest_manifest_with_an_account_says_whose_they_are(
    output: Output,
) -> None:
    publish(output, account=THEIRS)
    publish(output, account=None)
    assert THEIRS in refused(output)
    assert refused(output, THEIRS) == ""


@pytest.mark.parametrize("content", ["", "{", "[]", '{"account": 7}', '{"snapshot": "x"}'])
def test_a_damaged_pointer_hands_the_folder_to_nobody(tmp_path: Path, content: str) -> None:
    output = open_output(str(tmp_path))
    publish(output, account=THEIRS)
    (tmp_path / LATEST).write_text(content)
    assert THEIRS in refused(output)


def test_an_empty_folder_and_one_from_before_accounts_were_noted_are_anybodys(
    output: Output,
) -> None:
    assert refused(output) == ""
    point(output, publish(output, account=None), account=None)
    assert refused(output) == refused(output, THEIRS) == ""


# -- the last verified one ---------------------------------------------------------------------


def test_the_newest_full_export_that_was_verified_is_what_the_next_is_measured_by(
    output: Output,
) -> None:
    assert ours(output).last_verified_full() is None
    point(output, publish(output))
    converged = publish(output, verification="converged")
    publish(output, verification="unconverged")
    publish(output, FILTER)
    publish(output, account=THEIRS)
    assert ours(output).last_verified_full() == converged


def test_one_from_before_accounts_were_noted_counts_and_so_does_one_whose_tables_are_gone(
    output: Output,
) -> None:
    old = publish(output, account=None)
    output.remove_snapshot(old.name)
    assert ours(output).last_verified_full() == old


def test_of_one_second_the_one_that_ended_last_is_the_newest(output: Output) -> None:
    publish(output, name="20260102T030405Z-c")
    newest = publish(output, name="20260102T030405Z-a", finished_at="2026-01-03")
    publish(output, name="20260102T030405Z-b")
    publish(output, name="20260102T030404Z-d", finished_at="2026-01-04")
    assert ours(output).last_verified_full() == newest


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"rows": {"cases": "many"}}'])
def test_a_manifest_that_cannot_be_read_counts_for_nothing(tmp_path: Path, content: str) -> None:
    output = open_output(str(tmp_path))
    good, damaged = publish(output), publish(output)
    (tmp_path / "manifests" / f"{damaged.name}.json").write_text(content)
    assert ours(output).last_verified_full() == good
    assert ours(output).prune(1, "") == 0


# -- what is pruned ----------------------------------------------------------------------------


def test_full_and_filtered_exports_are_counted_apart(output: Output) -> None:
    full = [publish(output).name for _ in range(3)]
    filtered = [publish(output, {"ref": f"R-{number}"}).name for number in range(4)]
    assert ours(output).prune(2, filtered[-1]) == 3
    assert output.snapshots() == [*full[1:], *filtered[2:]]
    assert len(output.manifests()) == 7


@pytest.mark.parametrize("filters", [{}, FILTER])
def test_neither_the_one_that_latest_names_nor_the_one_just_published_is_pruned(
    output: Output, filters: dict[str, str]
) -> None:
    first, second, third, fourth = (publish(output, filters) for _ in range(4))
    point(output, second)
    assert ours(output).prune(1, first.name) == 1
    assert output.snapshots() == [first.name, second.name, fourth.name]
    assert third.name not in output.snapshots()


def test_of_another_account_or_without_a_manifest_nothing_is_pruned(tmp_path: Path) -> None:
    output = open_output(str(tmp_path))
    theirs, unknown = publish(output, account=THEIRS), publish(output)
    (tmp_path / "manifests" / f"{unknown.name}.json").unlink()
    renamed = publish(output)
    (tmp_path / "snapshots" / renamed.name).rename(tmp_path / "snapshots" / "by hand")
    old, new = publish(output, account=None), publish(output)
    assert ours(output).prune(1, new.name) == 1
    assert set(output.snapshots()) == {theirs.name, unknown.name, "by hand", new.name}
    assert old.name not in output.snapshots()


def test_a_manifest_under_another_name_prunes_nothing(tmp_path: Path) -> None:
    output = open_output(str(tmp_path))
    first, second, third = (publish(output) for _ in range(3))
    manifests = tmp_path / "manifests"
    (manifests / f"{first.name}.json").write_bytes((manifests / f"{second.name}.json").read_bytes())
    point(output, third)
    assert ours(output).prune(2, third.name) == 0


# -- what latest.json says beside a filtered export --------------------------------------------


def pointed(output: Output, filtered: PastExport) -> str:
    return str(ours(output).pointer_beside(filtered).get("snapshot", "")).rpartition("/")[2]


def test_it_goes_on_naming_the_full_one(output: Output) -> None:
    full, _newer = publish(output), publish(output)
    point(output, full)
    assert ours(output).pointer_beside(publish(output, FILTER)) == output.latest()


def test_a_pointer_from_before_accounts_were_noted_is_marked(output: Output) -> None:
    full = publish(output, account=None)
    point(output, full, account=None)
    before = output.latest()
    after = ours(output).pointer_beside(publish(output, FILTER))
    assert after == before | {"account": OURS}
    assert "account" not in before


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"snapshot": 1}'])
def test_a_damaged_or_missing_one_is_repaired_to_the_newest_full_one_that_is_there(
    tmp_path: Path, content: str | None
) -> None:
    output = open_output(str(tmp_path))
    publish(output)
    full, gone = publish(output, account=None), publish(output)
    publish(output, account=THEIRS)
    output.remove_snapshot(gone.name)
    if content is not None:
        (tmp_path / LATEST).write_text(content)
    assert ours(output).pointer_beside(publish(output, FILTER)) == ours(output).pointer_to(full)


def named_is_filtered(output: Output) -> None:
    point(output, publish(output, FILTER))


def named_is_another_accounts(output: Output) -> None:
    point(output, publish(output, account=THEIRS), account=None)
    publish(output, FILTER)


def named_is_gone(output: Output) -> None:
    gone = publish(output)
    point(output, gone)
    output.remove_snapshot(gone.name)


@pytest.mark.parametrize("spoil", [named_is_filtered, named_is_another_accounts, named_is_gone])
def test_it_names_the_full_one_again_where_it_names_what_it_should_not(
    output: Output, spoil: Callable[[Output], None]
) -> None:
    full = publish(output)
    spoil(output)
    assert pointed(output, publish(output, FILTER)) == full.name


def test_half_a_pointer_to_a_full_one_is_made_whole(output: Output) -> None:
    full = publish(output)
    output.point({"snapshot": full.snapshot, "note": "of a later version"})
    whole = ours(output).pointer_to(full) | {"note": "of a later version"}
    assert ours(output).pointer_beside(publish(output, FILTER)) == whole


def test_where_its_manifest_is_lost_the_pointer_is_believed(tmp_path: Path) -> None:
    output = open_output(str(tmp_path))
    publish(output)
    named = publish(output)
    point(output, named)
    (tmp_path / "manifests" / f"{named.name}.json").unlink()
    assert pointed(output, publish(output, FILTER)) == named.name


def test_a_filtered_one_is_not_named_although_no_full_one_is_left(output: Output) -> None:
    gone = publish(output)
    output.remove_snapshot(gone.name)
    assert ours(output).pointer_beside(publish(output, FILTER)) == {}


def test_where_there_was_never_a_full_one_a_filtered_one_is_named_and_gives_way_to_its_like(
    output: Output,
) -> None:
    first, again, other = (publish(output, filters) for filters in (FILTER, FILTER, {"ref": "2"}))
    assert pointed(output, first) == first.name
    point(output, first)
    assert pointed(output, again) == again.name
    assert pointed(output, other) == first.name


def test_the_pointer_is_a_files_content(tmp_path: Path) -> None:
    output = open_output(str(tmp_path))
    full = publish(output)
    output.point(ours(output).pointer_to(full))
    assert json.loads((tmp_path / LATEST).read_text()) == {
        "snapshot": f"snapshots/{full.name}",
        "manifest": f"manifests/{full.name}.json",
        "watermark": f"watermark of {full.name}",
        "account": OURS,
    }
    assert (tmp_path / "latest").resolve() == tmp_path / "snapshots" / full.name
