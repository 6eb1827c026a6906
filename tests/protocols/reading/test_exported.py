"""Cases as the latest export has them."""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.export_cases import export_cases
from protocols.reading.exported import exported_cases
from protocols.reading.found import Found, FoundCase
from sandbox.server import Sandbox
from schemas.case_tables import SCHEMAS
from tasks.policy import OutputError
from willsuite import load_settings

ACCOUNT = "00000000000000aa"
WATERMARK = "2026-01-02 03:04:05"
CASES = [
    {"id": "c-1", "ref": "R-1", "notes": "Rang.\nTwice."},
    {"id": "c-2", "ref": "Ref  2", "notes": None},
    {"id": "c-3", "ref": None, "notes": ""},
    {"id": "c-4", "ref": "r-1", "notes": "x"},
]
META = [
    {"case_id": "c-1", "field_id": "f-1", "value": "YES"},
    {"case_id": "c-1", "field_id": "f-2", "value": None},
    {"case_id": "c-4", "field_id": "f-1", "value": ""},
]


def publish(
    output: Path,
    cases: Sequence[dict[str, Any]] = CASES,
    meta: Sequence[dict[str, Any]] = META,
    name: str = "20260102T030405Z-1",
    account: str | None = ACCOUNT,
) -> Path:
    """An export with these cases; returns its snapshot's folder."""
    folder = output / "snapshots" / name
    folder.mkdir(parents=True)
    for kind, rows in (("cases", cases), ("case_meta", meta), ("customers", [])):
        schema = getattr(SCHEMAS, kind)
        table = pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema)
        pq.write_table(table, folder / f"{kind}.parquet")
    pointer = {"snapshot": f"snapshots/{name}", "watermark": WATERMARK}
    pointer |= {"account": account} if account else {}
    (output / "latest.json").write_text(json.dumps(pointer))
    return folder


def exported(
    output: Path | str,
    ids: Collection[str] = (),
    refs: Collection[str] = (),
    account: str = ACCOUNT,
) -> tuple[Found, str]:
    return asyncio.run(exported_cases.fn(str(output), account, ids, refs))


def test_cases_are_found_by_id_or_reference_with_their_notes_and_crm_values(tmp_path: Path) -> None:
    publish(tmp_path)
    found, watermark = exported(tmp_path, ["c-1", "c-3"], ["REF 2"])
    one = FoundCase.of("c-1", (), {"f-1": "YES", "f-2": None}, "Rang.\nTwice.", "R-1")
    assert found.with_id("c-1") == one
    assert found.with_id("c-3") == FoundCase.of("c-3", (), {}, "", None)
    assert found.with_ref("Ref 2") == [FoundCase.of("c-2", (), {}, None, "Ref  2")]
    assert watermark == WATERMARK


def test_what_was_not_asked_for_is_not_in_the_answer(tmp_path: Path) -> None:
    publish(tmp_path)
    by_id, _ = exported(tmp_path, ["c-1"])
    assert (by_id.with_ref("R-1"), by_id.with_id("c-2")) == ((), None)
    by_ref, _ = exported(tmp_path, (), ["nowhere", "R-1"])
    assert (by_ref.with_id("c-1"), by_ref.with_ref("nowhere")) == (None, ())
    assert exported(tmp_path)[0] == Found()


def test_all_cases_of_a_reference_are_found_and_ids_in_other_letters(tmp_path: Path) -> None:
    publish(tmp_path, [*CASES, {"id": "C-5"}])
    found, _ = exported(tmp_path, ["C-1", "c-5"], ["R-1"])
    assert [each.id for each in found.with_ref("r-1")] == ["c-1", "c-4"]
    assert [each.id for each in map(found.with_id, ["C-1", "c-5"]) if each] == ["c-1", "C-5"]


def test_a_case_without_a_reference_is_found_by_none(tmp_path: Path) -> None:
    publish(tmp_path, [{"id": "c-1", "ref": None}, {"id": "c-2", "ref": ""}], [])
    found, _ = exported(tmp_path, ["c-1", "c-2"], ["R-1"])
    assert found.with_ref("") == ()
    assert [each.id for each in map(found.with_id, ["c-1", "c-2"]) if each] == ["c-1", "c-2"]


def test_of_several_exports_the_latest_is_read(tmp_path: Path) -> None:
    publish(tmp_path, [{"id": "c-1", "notes": "old"}], [], "1")
    publish(tmp_path, [{"id": "c-1", "notes": "new"}], [], "2")
    publish(tmp_path / "elsewhere", [{"id": "c-1", "notes": "elsewhere"}], [], "3")
    for place in (tmp_path, f"file://{tmp_path}"):
        found, _ = exported(place, ["c-1"])
        assert found.with_id("c-1") == FoundCase.of("c-1", (), {}, "new", None)


@pytest.mark.parametrize(
    "pointer",
    [None, "", "{", "[]", "null", "{}", '{"snapshot": 1, "watermark": "x"}',
     '{"snapshot": null, "watermark": "x"}', '{"watermark": "2026-01-02 03:04:05"}',
     '{"snapshot": "snapshots/20260102T030405Z-1"}'],
)  # fmt: skip
def test_where_no_export_is_named_the_person_is_told_to_make_one(
    pointer: str | None, tmp_path: Path
) -> None:
    publish(tmp_path)
    (tmp_path / "latest.json").unlink()
    if pointer is not None:
        (tmp_path / "latest.json").write_text(pointer)
    with pytest.raises(OutputError, match="There is no export in") as refused:
        exported(tmp_path, ["c-1"])
    assert str(tmp_path) in str(refused.value)
    assert "run export-cases first" in str(refused.value)


def test_another_accounts_export_is_refused_with_what_to_do(tmp_path: Path) -> None:
    publish(tmp_path)
    with pytest.raises(OutputError, match="another WillSuite account") as refused:
        exported(tmp_path, ["c-1"], account="00000000000000bb")
    for words in (str(tmp_path), 'compare_to="live"', f"WILLSUITE_ACCOUNT={ACCOUNT} "):
        assert words in str(refused.value)


def test_an_export_from_before_accounts_were_noted_is_read(tmp_path: Path) -> None:
    publish(tmp_path, account=None)
    found, _ = exported(tmp_path, ["c-1"])
    assert found.with_id("c-1") is not None


def test_a_folder_that_is_not_there_has_no_export(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="There is no export in"):
        exported(tmp_path / "nowhere", ["c-1"])


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(bytes(content))


def replace_by_another_table(path: Path) -> None:
    pq.write_table(pa.table({"customer": ["Zq7canary"]}), path)


@pytest.mark.parametrize("name", ["cases", "case_meta"])
@pytest.mark.parametrize("damage", [remove, cut, empty, scramble, replace_by_another_table])
def test_an_export_that_cannot_be_read_is_named_and_no_half_of_it_is_taken(
    damage: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    folder = publish(tmp_path)
    damage(folder / f"{name}.parquet")
    with pytest.raises(OutputError, match="The latest export can't be read") as refused:
        exported(tmp_path, ["c-1"], ["R-1"])
    assert str(folder / f"{name}.parquet") in str(refused.value)
    assert "export again" in str(refused.value)
    assert "Zq7canary" not in str(refused.value)


def test_an_export_whose_snapshot_was_removed_cannot_be_read(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    folder.rename(tmp_path / "moved")
    with pytest.raises(OutputError, match="The latest export can't be read"):
        exported(tmp_path, ["c-1"])


def test_a_real_export_has_every_case_as_the_account_has_it(
    start_sandbox: Callable[..., Sandbox], prefect_server: None, tmp_path: Path
) -> None:
    store = start_sandbox(cases=150).store
    summary = asyncio.run(export_cases(output=str(tmp_path)))
    ids, refs = store.ids[:75], [(store.case(each) or {})["ref"] for each in store.ids[75:]]
    found, watermark = exported(tmp_path, ids, refs, load_settings().account_name)
    cases = [found.with_id(each) for each in ids] + [found.with_ref(each)[0] for each in refs]
    for case_id, case in zip(store.ids, cases, strict=True):
        has = store.case(case_id) or {}
        assert case == FoundCase.of(case_id, (), has["meta"], has["notes"], has["ref"])
    assert watermark == json.loads((tmp_path / "latest.json").read_text())["watermark"]
    assert summary["cases"] == 150
