"""Cases go to disk in any order and come back sorted, each once, in the latest copy."""

import random
import stat
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case_tables import NESTED
from tasks import spool


def rows(ids: list[str], fetch_number: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"id": i, "notes": f"{i}@{fetch_number}", "customers": [], "meta": [],
             "_fetch_number": fetch_number}
            for i in ids
        ],
        schema=NESTED,
    )  # fmt: skip


def read(parts: list[Path], **options: list[str]) -> list[str]:
    return [n for table in spool.merged(parts, **options) for n in table["notes"].to_pylist()]


ids = st.one_of(st.uuids().map(str), st.text(min_size=1, max_size=8), st.integers(0, 30).map(str))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ids, max_size=20), min_size=1, max_size=5), st.sampled_from([1, 7, 500]))
def test_of_every_id_the_latest_copy_comes_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, pages: list[list[str]], rows_at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    parts = []
    newest: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "ROWS_AT_ONCE", rows_at_once)
        patch.setattr(spool, "LEAST_ROWS_A_BATCH", 2)
        patch.setattr(spool, "LEAST_ROWS_A_RANGE", 1)
        for number, page in enumerate(pages):
            parts.append(folder / f"{number}.arrow")
            spool.write_part(parts[-1], [rows(page, number)])
            newest.update(dict.fromkeys(page, number))
        random.Random(0).shuffle(parts)
        wanted = sorted(newest, key=lambda text: text.encode())
        assert read(parts) == [f"{i}@{newest[i]}" for i in wanted]


RANDOM = [f"{number:08x}" for number in random.Random(1).sample(range(16**8), 4000)]
OF_THE_TIME = [f"01932c07-{number:08x}" for number in range(4000)]


@pytest.mark.parametrize("many", [RANDOM, sorted(RANDOM), OF_THE_TIME, OF_THE_TIME[::-1]])
def test_tables_come_in_pieces_of_bounded_size_whatever_the_ids_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: list[str]
) -> None:
    monkeypatch.setattr(spool, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(spool, "LEAST_ROWS_A_BATCH", 4)
    monkeypatch.setattr(spool, "LEAST_ROWS_A_RANGE", 4)
    parts = [tmp_path / str(number) for number in range(4)]
    for number, part in enumerate(parts):
        spool.write_part(part, [rows(many[number * 1000 : number * 1000 + 1000], 1)])
    pieces = [table["id"].to_pylist() for table in spool.merged(parts)]
    assert [case_id for piece in pieces for case_id in piece] == sorted(many)
    assert max(map(len, pieces)) < 250


def test_ids_that_are_gone_are_left_out_and_no_case_at_all_gives_an_empty_table(
    tmp_path: Path,
) -> None:
    spool.write_part(tmp_path / "a", [rows(["b", "a", "c"], 1)])
    assert read([tmp_path / "a"], without=["b"]) == ["a@1", "c@1"]
    spool.write_part(tmp_path / "none", [])
    tables = list(spool.merged([tmp_path / "none"]))
    assert [table.schema.equals(NESTED) for table in tables] == [True]
    assert read([tmp_path / "none"]) == []


def test_ids_are_found_again_by_their_hashes(tmp_path: Path) -> None:
    spool.write_part(tmp_path / "a", [rows(["b", "a", "b"], 1)])
    assert sorted(spool.part_ids(tmp_path / "a")) == ["a", "b", "b"]
    assert spool.ids_with_hashes([tmp_path / "a"], spool.id_hashes(["b", "z"])) == ["b"]


def test_a_part_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    spool.write_part(tmp_path / "a", [rows(["a"], 1)])
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
