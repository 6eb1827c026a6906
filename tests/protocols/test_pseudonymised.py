"""Copies of exports without people."""

import json
import stat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_exports import OURS, publish_export

from protocols.exports import changes_since, export_views, read_export
from protocols.pseudonymised import write_pseudonymised
from protocols.reading.past_exports import PastExports
from schemas.case_tables import FORMER_SCHEMAS
from tasks.policy import OutputError
from tasks.snapshot_tables import file_hash
from tasks.snapshots import open_output
from willsuite.errors import ConfigurationError

CASES = [{"id": "a", "ref": "Quill-1", "notes": "Mr Quill rang."}, {"id": "b"}]
MANY = [{"id": f"c{number:02}"} for number in range(40)]
CUSTOMERS = [{"id": "p", "case_id": "a", "last_name": "Quill", "postcode": "QX1 1ZZ"}]
META = [
    {"case_id": "a", "field_id": "f", "field_label": "Source", "value": "Web"},
    {"case_id": "a", "field_id": "g", "field_label": "Remarks", "value": "Quill"},
]
OPTIONS = {"f": ["Web"]}
PRIVATE, OF_THE_GROUP = (0o700, 0o600), (0o750, 0o640)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILLSUITE_PSEUDONYM_KEY", "k" * 32)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    publish_export(folder, CASES, CUSTOMERS, META, crm_field_options=OPTIONS)
    return folder


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "here"


def modes(folder: Path) -> set[tuple[bool, int]]:
    paths = [path for path in [folder, *folder.rglob("*")] if not path.is_symlink()]
    paths = [path for path in paths if path.name != ".lock"]
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in paths}


def test_a_copy_is_read_as_an_export_is_and_is_what_the_profile_gives(out: Path, to: Path) -> None:
    publish_export(out, CASES + MANY, CUSTOMERS, META, crm_field_options=OPTIONS)
    made = write_pseudonymised(str(out), str(to))
    assert Path(made) == (to / "latest").resolve()
    for name in ("cases", "customers", "case_meta"):
        copy = read_export(name, str(to), check=True)
        assert copy.equals(read_export(name, str(out), profile="pseudonymised", check=True))
        # what has no people any more stays as it is
        assert copy.equals(read_export(name, str(to), profile="pseudonymised"))
    wide = read_export("cases", str(out), profile="pseudonymised", wide_meta=True)
    assert wide.equals(read_export("cases", str(to), wide_meta=True))
    assert {*wide["meta:Source"].to_pylist()} == {None, "Web"}
    assert "cases_wide" in export_views(str(to))


def test_nothing_in_the_folder_of_copies_tells_who_somebody_is(out: Path, to: Path) -> None:
    write_pseudonymised(str(out), str(to))
    for path in [path for path in to.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert not any(word in content for word in (b"Quill", b"QX1 1ZZ", b"rang"))
    tables = [read_export(name, str(to)).to_pylist() for name in ("cases", "customers")]
    assert "Quill" not in str(tables)


def test_columns_that_are_not_left_cannot_be_asked_for(out: Path) -> None:
    columns = read_export("cases", str(out), profile="pseudonymised", columns=["ref"])
    assert columns.column_names == ["ref"]
    with pytest.raises(ValueError, match="no column notes"):
        read_export("cases", str(out), profile="pseudonymised", columns=["ref", "notes"])
    with pytest.raises(ValueError, match="no profile 'anonymous'"):
        read_export("cases", str(out), profile="anonymous")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad_key", [None, "", "k" * 31])
def test_without_a_long_key_nothing_is_written(
    out: Path, to: Path, monkeypatch: pytest.MonkeyPatch, bad_key: str | None
) -> None:
    monkeypatch.delenv("WILLSUITE_PSEUDONYM_KEY")
    if bad_key is not None:
        monkeypatch.setenv("WILLSUITE_PSEUDONYM_KEY", bad_key)
    said = "must have at least 32 characters" if bad_key else "must be set"
    with pytest.raises(ConfigurationError, match=f"^WILLSUITE_PSEUDONYM_KEY {said}.*\\.$"):
        write_pseudonymised(str(out), str(to))
    with pytest.raises(ConfigurationError):
        read_export("cases", str(out), profile="pseudonymised")
    assert not to.exists()


@pytest.mark.parametrize(("group", "folder_and_file"), [(False, PRIVATE), (True, OF_THE_GROUP)])
def test_the_group_may_read_copies_where_it_shall_and_never_the_exports(
    out: Path, to: Path, group: bool, folder_and_file: tuple[int, int]
) -> None:
    write_pseudonymised(str(out), str(to), group_readable=group)
    assert modes(to) == {(True, folder_and_file[0]), (False, folder_and_file[1])}
    assert stat.S_IMODE(to.parent.stat().st_mode) == folder_and_file[0]
    assert stat.S_IMODE(out.stat().st_mode) == PRIVATE[0]


def test_a_folder_with_exports_in_it_takes_no_copy(out: Path, to: Path) -> None:
    publish_export(to, CASES, account=None)
    (to / "latest.json").unlink()
    before = sorted(to.rglob("*"))
    for other in (out, to):
        with pytest.raises(OutputError, match="has other exports in it; name a new folder"):
            write_pseudonymised(str(out), str(other))
    assert [path for path in sorted(to.rglob("*")) if path.name != ".lock"] == [
        path for path in before if path.name != ".lock"
    ]


def test_a_copy_is_never_taken_for_an_export(out: Path, to: Path) -> None:
    write_pseudonymised(str(out), str(to))
    past = PastExports(open_output(str(to)), OURS)
    with pytest.raises(OutputError, match="are pseudonymised copies: name another folder"):
        past.refuse_another_account("name another folder")
    assert past.current() is None
    with pytest.raises(OutputError, match="is no export of all cases"):
        write_pseudonymised(str(to), str(to.with_name("copy of a copy")))
    with pytest.raises(OutputError):
        changes_since(None, str(to))


def test_a_filtered_or_damaged_export_is_not_copied(tmp_path: Path, out: Path, to: Path) -> None:
    publish_export(tmp_path / "some", CASES, filters={"ref": "Quill-1"})
    with pytest.raises(OutputError, match="no export of all cases"):
        write_pseudonymised(str(tmp_path / "some"), str(to))
    path = out / "latest" / "cases.parquet"
    path.write_bytes((out / "latest" / "customers.parquet").read_bytes())
    with pytest.raises(OutputError, match="isn't what was exported"):
        write_pseudonymised(str(out), str(to))
    assert not (to / "latest.json").exists()


def test_an_export_from_before_cases_had_times_is_copied_without_them(out: Path, to: Path) -> None:
    export = publish_export(out, CASES, started_at="2026-02-01T00:00:00+00:00")
    path, manifest = (out / "latest" / "cases.parquet", out / "manifests" / f"{export.name}.json")
    former = pq.read_table(path).select(FORMER_SCHEMAS.cases.names)
    pq.write_table(former, path)
    content = json.loads(manifest.read_text())
    content["files"]["cases.parquet"]["sha256"] = file_hash(path)
    manifest.write_text(json.dumps(content))
    write_pseudonymised(str(out), str(to))
    copy = read_export("cases", str(to))
    assert copy.column_names == ["id", "ref", "outward_postcode", "is_active"]
    assert copy.equals(read_export("cases", str(out), profile="pseudonymised"))


def test_old_copies_are_removed_and_the_hashes_stay_the_same(out: Path, to: Path) -> None:
    made = [write_pseudonymised(str(out), str(to), keep_last=2) for _ in range(3)]
    assert [Path(each).exists() for each in made] == [False, True, True]
    ids = [read_export("cases", path)["id"].to_pylist() for path in (str(to),)]
    publish_export(out, [*CASES, {"id": "c"}], started_at="2026-02-01T00:00:00+00:00")
    write_pseudonymised(str(out), str(to))
    assert set(ids[0]) < set(read_export("cases", str(to))["id"].to_pylist())
    with pytest.raises(OutputError, match="keep_last"):
        write_pseudonymised(str(out), str(to), keep_last=0)


def test_the_manifest_of_a_copy_says_what_it_is(out: Path, to: Path) -> None:
    write_pseudonymised(str(out), str(to))
    pointer: dict[str, Any] = json.loads((to / "latest.json").read_text())
    manifest = json.loads((to / pointer["manifest"]).read_text())
    source = json.loads((out / "latest.json").read_text())
    assert (manifest["profile"], manifest["copy_of"]) == ("pseudonymised", source["snapshot"])
    assert manifest["rows"] == {"cases": 2, "customers": 1, "case_meta": 1}
    assert pointer["account"] == manifest["account"] == f"{OURS}-pseudonymised"
    assert len(read_export("cases", str(to), account=pointer["account"])) == 2
