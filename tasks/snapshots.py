"""Snapshots of the account in Parquet: written aside, published at once, pruned later.

Belongs here: the layout of an output folder and every write to it. The layout, fixed by
design.md, is

    <output>/snapshots/<UTC time>-<id>/{cases,customers,case_meta}.parquet   never changed
                                       changes.parquet        but of filtered exports
    <output>/manifests/<UTC time>-<id>.json
    <output>/latest -> snapshots/<UTC time>-<id>      where there are symbolic links
    <output>/latest.json                              replaced last

Readers start from `latest.json`, which at every moment names a whole snapshot or isn't there.
Does not: the tables' files (`tasks/snapshot_tables.py`), what is in them (`schemas/case_tables.py`)
or in the manifest (`flows/`).
"""

import contextlib
import os
import shutil
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import filelock
import msgspec
import pyarrow as pa
import pyarrow.fs as pafs

from schemas.case_tables import SCHEMAS
from tasks.files import (
    open_to_group,
    private_file,
    private_folder,
    sync_folder,
    write_atomically,
)
from tasks.policy import OutputError
from tasks.workspace import run_workspace

LATEST = "latest.json"
_COPIED_AT_ONCE_BYTES = 1 << 22


class Output(ABC):
    """An output folder, local or remote. Its methods raise OutputError."""

    @abstractmethod
    def workspace(self) -> contextlib.AbstractContextManager[Path]:
        """A private local folder for one run, gone at the end, whatever the end is."""

    @abstractmethod
    def location(self, name: str) -> str:
        """Where `name` below the output is, as an absolute path or URL for a person."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The file `name` below the output, or None where there is none."""

    @abstractmethod
    def open(self, name: str) -> pa.NativeFile | None:
        """The file `name` below the output, to be read here and there; None where there is none."""

    @abstractmethod
    def local_file(self, name: str, folder: Path) -> Path | None:
        """The file `name` on this machine, copied into `folder` where it is elsewhere; None where
        there is none."""

    @abstractmethod
    def publish(self, tables: Path, name: str, manifest: Mapping[str, Any]) -> None:
        """Put the folder `tables` in place as snapshot `name`, then its manifest."""

    @abstractmethod
    def point(self, pointer: Mapping[str, Any]) -> None:
        """Replace `latest.json` by `pointer`, whose `snapshot` is the latest from now on."""

    def for_readers_of(self, name: str) -> "Output":  # noqa: ARG002 - an object store says who
        """The same output, whose group may read from now on what it may read of `name`."""
        return self

    @abstractmethod
    def replace_manifest(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Give the snapshot `name`, which may be a removed one, another manifest, for the same
        readers."""

    @abstractmethod
    def remove_manifest(self, name: str) -> None:
        """Delete the manifest of a snapshot whose tables are removed."""

    @abstractmethod
    def snapshots(self) -> list[str]:
        """Names of the published snapshots, oldest first."""

    @abstractmethod
    def manifests(self) -> list[str]:
        """Names of the snapshots, removed ones too, that have a manifest; oldest first."""

    @abstractmethod
    def has_tables(self, name: str) -> bool:
        """Whether all tables of the snapshot `name` are there."""

    @abstractmethod
    def remove_snapshot(self, name: str) -> None:
        """Delete the tables of a snapshot; its manifest, which has counts only, stays."""

    def latest(self) -> dict[str, Any]:
        """`latest.json`, or an empty dict where there is none that can be read."""
        try:
            content: dict[str, Any] = msgspec.json.decode(self.read(LATEST) or b"{}", type=dict)
        except msgspec.DecodeError:
            return {}
        return content


def open_output(output: str, *, group_readable: bool = False) -> Output:
    """The output at a local path or a URL that pyarrow's file systems know (`s3://…`).

    Args:
        output: path or URL.
        group_readable: let the folder's group read what is published from now on.

    Raises:
        OutputError: it isn't a place that can be written to, or has no groups.
    """
    if "://" in output and not output.startswith("file://"):
        if group_readable:
            raise OutputError(
                "group_readable is for folders; say who may read a bucket where it is administered."
            )
        return RemoteOutput(output)
    return LocalOutput(Path(output.removeprefix("file://")), group_readable=group_readable)


class LocalOutput(Output):
    """A folder of this machine; a lock keeps a second export out.

    What a run has under way stays its owner's, even where the group may read what is published.
    """

    def __init__(self, root: Path, *, group_readable: bool = False) -> None:
        self._root = root
        self._group_readable = group_readable

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """As `Output.workspace`, for one export at a time.

        Beside the snapshots, so that publishing is a rename on one file system.
        """
        with _explained(f"Cannot write to the output folder {self._root}"):
            self._folder(self._root)
            lock = filelock.FileLock(self._root / ".lock", timeout=0, mode=0o600)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise OutputError(
                    f"Another run is writing to {self._root}; wait for it to end, or give this "
                    "one another output folder."
                ) from None
        try:
            with run_workspace(self._root) as folder:
                yield folder
        finally:
            lock.release()

    def location(self, name: str) -> str:
        """As `Output.location`."""
        return str((self._root / name).absolute())

    def read(self, name: str) -> bytes | None:
        """As `Output.read`."""
        with _explained(f"Cannot read {self._root / name}"):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def open(self, name: str) -> pa.NativeFile | None:
        """As `Output.open`."""
        with _explained(f"Cannot read {self._root / name}"):
            try:
                return pa.OSFile(str(self._root / name))
            except FileNotFoundError:
                return None

    def local_file(self, name: str, folder: Path) -> Path | None:  # noqa: ARG002 - no copy needed
        """As `Output.local_file`."""
        path = self._root / name
        return path if path.is_file() else None

    def publish(self, tables: Path, name: str, manifest: Mapping[str, Any]) -> None:
        """As `Output.publish`: renames, each synced before the next step."""
        with _explained(f"Cannot publish the snapshot in {self._root}"):
            if self._group_readable:
                for path in (*tables.iterdir(), tables):
                    open_to_group(path)
            sync_folder(tables)
            snapshots = self._folder(self._root / "snapshots")
            manifests = self._folder(self._root / "manifests")
            tables.rename(snapshots / name)
            sync_folder(snapshots)
            self._write(manifests / f"{name}.json", manifest)

    def point(self, pointer: Mapping[str, Any]) -> None:
        """As `Output.point`."""
        with _explained(f"Cannot name the latest snapshot in {self._root}"):
            self._link(pointer["snapshot"])
            self._write(self._root / LATEST, pointer)

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        write_atomically(path, _json(content), group_readable=self._group_readable)

    def _folder(self, path: Path) -> Path:
        """`path`, made with its parents where they aren't there; the group gets into these."""
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
        private_folder(path)
        if self._group_readable:
            for folder in {path, *new}:
                open_to_group(folder)
        return path

    def for_readers_of(self, name: str) -> "LocalOutput":
        """As `Output.for_readers_of`."""
        mode = (self._root / "manifests" / f"{name}.json").stat().st_mode
        return LocalOutput(self._root, group_readable=bool(mode & stat.S_IRGRP))

    def replace_manifest(self, name: str, manifest: Mapping[str, Any]) -> None:
        """As `Output.replace_manifest`."""
        with _explained(f"Cannot write a manifest in {self._root}"):
            self.for_readers_of(name)._write(self._root / "manifests" / f"{name}.json", manifest)

    def remove_manifest(self, name: str) -> None:
        """As `Output.remove_manifest`."""
        with _explained(f"Cannot remove a manifest in {self._root}"):
            (self._root / "manifests" / f"{name}.json").unlink(missing_ok=True)
            sync_folder(self._root / "manifests")

    def _link(self, snapshot: str) -> None:
        """Swap the convenience link; a file system without links just hasn't got it."""
        link = self._root / "latest"
        temporary = self._root / f".latest-{uuid4().hex[:8]}"
        try:
            temporary.symlink_to(snapshot, target_is_directory=True)
            temporary.replace(link)
        except OSError:
            temporary.unlink(missing_ok=True)

    def snapshots(self) -> list[str]:
        """As `Output.snapshots`."""
        folder = self._root / "snapshots"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def manifests(self) -> list[str]:
        """As `Output.manifests`."""
        return sorted(path.stem for path in (self._root / "manifests").glob("*.json"))

    def has_tables(self, name: str) -> bool:
        """As `Output.has_tables`."""
        folder = self._root / "snapshots" / name
        return all((folder / f"{table}.parquet").is_file() for table in SCHEMAS._fields)

    def remove_snapshot(self, name: str) -> None:
        """As `Output.remove_snapshot`; out of sight first, so that no reader sees half of it."""
        with _explained(f"Cannot remove an old snapshot in {self._root}"):
            doomed = self._root / f".run-pruned-{name}"
            (self._root / "snapshots" / name).rename(doomed)
        # another run may be at it too: it is a leftover like any other
        shutil.rmtree(doomed, ignore_errors=True)


class RemoteOutput(Output):
    """An object store, through pyarrow's file systems. Has no lock: schedule one run at a time."""

    def __init__(self, url: str) -> None:
        with _explained("Cannot open the output URL; is it complete, like s3://bucket/folder?"):
            self._files, self._root = pafs.FileSystem.from_uri(url)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """As `Output.workspace`, in this machine's folder for temporary files."""
        with _explained("Cannot write to the output URL; check its bucket and your credentials"):
            # an early answer to wrong credentials, before hours of reading
            self._files.create_dir(self._root, recursive=True)
            self._put(f"{self._root}/.probe", b"")
            self._files.delete_file(f"{self._root}/.probe")
        with tempfile.TemporaryDirectory(prefix="willsuite-") as folder:
            yield Path(folder)

    def location(self, name: str) -> str:
        """As `Output.location`; without credentials, even if the URL had some."""
        return f"{self._files.type_name}://{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """As `Output.read`."""
        with _explained("Cannot read from the output URL"):
            try:
                with self._files.open_input_stream(f"{self._root}/{name}") as file:
                    content: bytes = file.read()
                    return content
            except FileNotFoundError:
                return None

    def open(self, name: str) -> pa.NativeFile | None:
        """As `Output.open`."""
        with _explained("Cannot read from the output URL"):
            try:
                return self._files.open_input_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None

    def local_file(self, name: str, folder: Path) -> Path | None:
        """As `Output.local_file`."""
        source = self.open(name)
        if source is None:
            return None
        path = folder / name.rpartition("/")[2]
        with _explained("Cannot read from the output URL"), source, private_file(path) as copy:
            shutil.copyfileobj(source, copy, _COPIED_AT_ONCE_BYTES)
        return path

    def publish(self, tables: Path, name: str, manifest: Mapping[str, Any]) -> None:
        """As `Output.publish`: objects appear whole, and nobody looks before the pointer says."""
        with _explained("Cannot publish the snapshot at the output URL"):
            folder = f"{self._root}/snapshots/{name}"
            self._files.create_dir(folder)
            pafs.copy_files(
                str(tables), folder, source_filesystem=pafs.LocalFileSystem(),
                destination_filesystem=self._files,
            )  # fmt: skip
            self._files.create_dir(f"{self._root}/manifests")
            self._put(f"{self._root}/manifests/{name}.json", _json(manifest))

    def point(self, pointer: Mapping[str, Any]) -> None:
        """As `Output.point`; there are no links."""
        with _explained("Cannot name the latest snapshot at the output URL"):
            self._put(f"{self._root}/{LATEST}", _json(pointer))

    def replace_manifest(self, name: str, manifest: Mapping[str, Any]) -> None:
        """As `Output.replace_manifest`."""
        with _explained("Cannot write a manifest at the output URL"):
            self._put(f"{self._root}/manifests/{name}.json", _json(manifest))

    def remove_manifest(self, name: str) -> None:
        """As `Output.remove_manifest`."""
        with _explained("Cannot remove a manifest at the output URL"):
            self._files.delete_file(f"{self._root}/manifests/{name}.json")

    def snapshots(self) -> list[str]:
        """As `Output.snapshots`."""
        return self._names("snapshots")

    def manifests(self) -> list[str]:
        """As `Output.manifests`."""
        names = self._names("manifests")
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]

    def _names(self, folder: str) -> list[str]:
        selector = pafs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        with _explained("Cannot list the output URL"):
            return sorted(info.base_name for info in self._files.get_file_info(selector))

    def has_tables(self, name: str) -> bool:
        """As `Output.has_tables`."""
        folder = f"{self._root}/snapshots/{name}"
        with _explained("Cannot list the output URL"):
            files = self._files.get_file_info([f"{folder}/{t}.parquet" for t in SCHEMAS._fields])
        return all(file.is_file for file in files)

    def remove_snapshot(self, name: str) -> None:
        """As `Output.remove_snapshot`."""
        with _explained("Cannot remove an old snapshot at the output URL"):
            self._files.delete_dir(f"{self._root}/snapshots/{name}")

    def _put(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path) as file:
            file.write(content)


def _json(content: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """An operating system's or file system's refusal as one sentence."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
        raise OutputError(f"{what}{f' ({reason})' if reason else ''}.") from None
