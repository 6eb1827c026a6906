"""The layout of an output folder, on this machine and on an object store."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from schemas.case_tables import SCHEMAS
from tasks.files import sync_folder, write_atomically
from tasks.policy import OutputError
from tasks.snapshots import LATEST, LocalOutput, Output, RemoteOutput, open_output


def local(tmp_path: Path) -> Output:
    return open_output(str(tmp_path / "out"))


def remote(_tmp_path: Path) -> Output:
    """pyarrow's in-memory file system, through the same calls as s3://."""
    return open_output("mock://bucket/out")


both_kinds = pytest.mark.parametrize("kind", [local, remote])


def publish(output: Output, name: str, *, point: bool = True) -> None:
    with output.workspace() as workspace:
        tables = workspace / "tables"
        tables.mkdir()
        for table in SCHEMAS._fields:
            (tables / f"{table}.parquet").write_bytes(name.encode())
        output.publish(tables, name, {"rows": 1})
        if point:
            output.point({"snapshot": f"snapshots/{name}"})


@both_kinds
def test_a_snapshot_its_manifest_and_the_pointer_are_published(kind: type, tmp_path: Path) -> None:
    output: Output = kind(tmp_path)
    assert output.latest() == {}
    assert (output.snapshots(), output.manifests()) == ([], [])
    publish(output, "1")
    assert output.latest() == {"snapshot": "snapshots/1"}
    assert output.read("snapshots/1/cases.parquet") == b"1"
    assert json.loads(output.read("manifests/1.json") or b"") == {"rows": 1}
    assert output.read("manifests/2.json") is None
    publish(output, "2", point=False)
    assert output.latest() == {"snapshot": "snapshots/1"}
    assert output.snapshots() == ["1", "2"]


@both_kinds
def test_a_removed_snapshot_leaves_its_manifest(kind: type, tmp_path: Path) -> None:
    output: Output = kind(tmp_path)
    for name in "12":
        publish(output, name)
    assert output.has_tables("1")
    output.remove_snapshot("1")
    assert not output.has_tables("1")
    assert output.has_tables("2")
    assert output.snapshots() == ["2"]
    assert output.manifests() == ["1", "2"]


def test_a_snapshot_without_one_of_its_tables_is_not_there(tmp_path: Path) -> None:
    output = local(tmp_path)
    publish(output, "1")
    (tmp_path / "out" / "snapshots" / "1" / "customers.parquet").unlink()
    assert not output.has_tables("1")


def test_a_damaged_pointer_counts_as_none(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path)
    (tmp_path / LATEST).write_bytes(b'{"snapsh')
    assert output.latest() == {}


def test_an_unknown_kind_of_url_is_refused_with_a_sentence() -> None:
    with pytest.raises(OutputError, match="is it complete"):
        open_output("carrier-pigeon://roof")


def test_a_location_shows_no_credentials() -> None:
    url = "s3://somebody:canary@bucket/out?endpoint_override=127.0.0.1:9&scheme=http"
    assert RemoteOutput(url).location("latest.json") == "s3://bucket/out/latest.json"


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "x", b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_put_up_with_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", refuse_folders)
    monkeypatch.setattr("tasks.files._SAID", set())
    publish(local(tmp_path), "1")
    assert local(tmp_path).latest() == {"snapshot": "snapshots/1"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "can't sync folders" in caplog.text


def modes_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))[2:]
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def test_what_is_published_for_the_group_can_be_read_by_it_whatever_the_umask(
    tmp_path: Path,
) -> None:
    (tmp_path / "out").mkdir(mode=0o2700)
    (tmp_path / "out").chmod(0o2700)
    publish(local(tmp_path), "1")
    before = os.umask(0o077)
    try:
        publish(open_output(str(tmp_path / "out"), group_readable=True), "2")
        publish(open_output(str(tmp_path / "a" / "b"), group_readable=True), "3")
    finally:
        os.umask(before)
    modes = modes_below(tmp_path)
    assert (modes["out"], modes["a"], modes["a/b"]) == ("2750", "750", "750")
    for folder, name in (("out", "2"), ("a/b", "3")):
        assert modes[f"{folder}/snapshots"][-3:] == modes[f"{folder}/manifests"][-3:] == "750"
        assert modes[f"{folder}/snapshots/{name}"][-3:] == "750"
        assert modes[f"{folder}/snapshots/{name}/cases.parquet"] == "640"
        assert modes[f"{folder}/manifests/{name}.json"] == modes[f"{folder}/latest.json"] == "640"
    assert modes["out/manifests/1.json"] == "600"
    publish(local(tmp_path), "4")
    assert modes_below(tmp_path)["out/latest.json"] == "600"


def test_a_bucket_has_no_group() -> None:
    with pytest.raises(OutputError, match="group_readable is for folders"):
        open_output("mock://bucket/out", group_readable=True)


def test_a_disk_that_fails_to_sync_a_folder_is_no_such_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
