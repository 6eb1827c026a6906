"""Which appointments were made, changed and deleted: the memory that the API hasn't got.

Belongs here: the journal's SQLite file, one record a booking. Does not: deciding what follows from
a record (`appointments/bookings.py`), sending (`appointments/sync.py`), or whether it is the right
file (`journal_marks.py`).

No endpoint reads an appointment (facts.md 6), so what isn't in here can't be known any more. A
record is on the disk before its request leaves (WAL, full sync). It holds ids and digests: keys
and values are hashed with a secret of the file, so that it shows no name, time or note.

Keys are another system's, so they are told apart by every sign (`AAMkAGI0w=` and `AAMkAGI0W=` are
two events of a calendar). Version 1 of the file folded case and width; its records are taken over
one by one, by the files that name them (`Journal.adopt`).
"""

import contextlib
import errno
import hmac
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import filelock

from schemas.texts import canonical
from tasks.files import private_folder, private_path, sync_folder
from tasks.policy import RunError

SCHEMA_VERSION = 2
FOLDING_VERSION = 1
"""Of the program that took keys for equal that differ in case or width."""
PENDING = "?"
"""Instead of a digest: a change of the field was sent, and it isn't known whether it was made."""
_TABLES = """
CREATE TABLE journal (id TEXT NOT NULL, secret BLOB NOT NULL, generation INTEGER NOT NULL);
CREATE TABLE booking (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    case_id TEXT NOT NULL,
    appointment_id TEXT,
    former_ids TEXT NOT NULL,
    fields TEXT NOT NULL,
    creations INTEGER NOT NULL,
    doubts INTEGER NOT NULL,
    has_message_in_doubt INTEGER NOT NULL
) WITHOUT ROWID;
"""
_INDEX = """
CREATE INDEX IF NOT EXISTS booking_of_appointment ON booking (appointment_id COLLATE NOCASE)
"""
_DISK_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}
"""What SQLite says of the disk, and not of the journal, as the operating system says it."""


class BookingState(StrEnum):
    """How far an appointment is."""

    CREATING = "creating"
    """Sent, or about to be; without an answer it isn't known whether it exists."""
    EXISTS = "exists"
    DELETING = "deleting"
    """Sent, or about to be; repeating it does no harm."""
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Booking:
    """What is known of the appointment of one key."""

    state: BookingState
    case_id: str
    appointment_id: str | None = None
    former_ids: Sequence[str] = ()
    """Of appointments that were made for the key before this one, and deleted."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Wire name to the digest of the value that was sent last, or `PENDING`."""
    creations: int = 0
    """How often one was sent to be created."""
    doubts: int = 0
    """How often it was not known whether a message went out."""
    has_message_in_doubt: bool = False
    """Whether an e-mail or SMS went out with a change isn't known."""


_COLUMNS = [each.name for each in dataclass_fields(Booking)]


def _storable(value: Any) -> Any:
    """A value of a record as SQLite takes it."""
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    return json.dumps(list(value)) if isinstance(value, tuple) else value


class Journal:
    """The journal of one account; open, and held by this run alone if it may be written to."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        row = connection.execute("SELECT id, secret, generation FROM journal").fetchone()
        self.id: str = row[0]
        self._secret: bytes = row[1]
        self.generation: int = row[2]
        """Counts the runs that may have written to it."""

    def digest(self, name: str, value: str | bool) -> str:
        """A value of a field, comparable with another one and with nothing else."""
        text = json.dumps([name, value], ensure_ascii=False)
        return hmac.new(self._secret, text.encode(), "sha256").hexdigest()[:32]

    def booking(self, key: str) -> Booking | None:
        """What is known of a booking."""
        row = self._connection.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM booking WHERE key = ?",  # noqa: S608 - constants
            [self._key(key)],
        ).fetchone()
        if row is None:
            return None
        stored = dict(zip(_COLUMNS, row, strict=True))
        stored["state"] = BookingState(stored["state"])
        stored["former_ids"] = tuple(json.loads(stored["former_ids"]))
        stored["fields"] = json.loads(stored["fields"])
        stored["has_message_in_doubt"] = bool(stored["has_message_in_doubt"])
        return Booking(**stored)

    def put(self, key: str, booking: Booking | None) -> None:
        """Remember this of a booking, or nothing; on the disk when it returns."""
        with self._connection:
            if booking is None:
                self._connection.execute("DELETE FROM booking WHERE key = ?", [self._key(key)])
                return
            row = [getattr(booking, name) for name in _COLUMNS]
            places = ", ".join("?" * (len(_COLUMNS) + 1))
            self._connection.execute(
                f"INSERT OR REPLACE INTO booking VALUES ({places})",  # noqa: S608 - as above
                [self._key(key), *(_storable(value) for value in row)],
            )

    def uncertain_besides(self, keys: Iterable[str]) -> int:
        """How many bookings a person has to settle, besides those of these keys."""
        named = {self._key(key) for key in keys}
        found = self._connection.execute(
            "SELECT key FROM booking WHERE state = ? OR has_message_in_doubt",
            [BookingState.CREATING],
        )
        return sum(key not in named for (key,) in found)

    def is_anothers(self, key: str, appointment_id: str) -> bool:
        """Whether an appointment is there for another key."""
        found = self._connection.execute(
            "SELECT key FROM booking WHERE appointment_id = ? COLLATE NOCASE AND state != ?",
            [appointment_id, BookingState.DELETED],
        )
        return any(other != self._key(key) for (other,) in found)

    def count_of_case(self, case_id: str) -> int:
        """How many bookings of a case there are."""
        found = self._connection.execute(
            "SELECT count(*) FROM booking WHERE case_id = ? COLLATE NOCASE", [case_id]
        )
        return int(found.fetchone()[0])

    def forget_case(self, case_id: str) -> None:
        """Remove the bookings of a case, so that nothing of them is left in the file's free pages:
        whoever asks for one of them again gets a second appointment."""
        self._connection.execute("PRAGMA secure_delete = ON")
        with self._connection:
            self._connection.execute(
                "DELETE FROM booking WHERE case_id = ? COLLATE NOCASE", [case_id]
            )
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator["Journal"]:
        """A copy in memory, to see what would become of it."""
        with contextlib.closing(sqlite3.connect(":memory:")) as copy:
            self._connection.backup(copy)
            copy.execute(_INDEX)
            yield Journal(copy, self.path)

    def adopt(self, keys: Iterable[str]) -> None:
        """Take the records that version 1 kept for these keys over, each for its key alone.

        One that may belong to several of the keys stays as it is: `is_ambiguous`.
        """
        known = {key: self._folded_key(key) for key in set(keys)}
        claims = Counter(known.values())
        with self._connection:
            self._connection.executemany(
                "UPDATE OR IGNORE booking SET key = ? WHERE key = ?",
                [(self._key(key), old) for key, old in known.items() if claims[old] == 1],
            )

    def is_ambiguous(self, key: str) -> bool:
        """Whether version 1 has kept a record that may be this key's, or that of one like it."""
        found = self._connection.execute(
            "SELECT key FROM booking WHERE key IN (?, ?)", [self._key(key), self._folded_key(key)]
        )
        return [other for (other,) in found] == [self._folded_key(key)]

    def begin_generation(self) -> None:
        """A run begins that may write."""
        self.generation += 1
        with self._connection:
            self._connection.execute("UPDATE journal SET generation = ?", [self.generation])

    def _key(self, key: str) -> str:
        return self.digest("exact key", key)

    def _folded_key(self, key: str) -> str:
        """As version 1 has kept it."""
        return self.digest("key", canonical(key))


def journal_path(folder: str, account: str) -> Path:
    """Where the journal of an account is; `account` is its hash.

    Raises:
        RunError: it isn't a folder of this machine.
    """
    if "://" in folder:
        raise RunError("The journal must be in a folder of this machine, not at a URL.")
    return Path(folder) / f"appointments-{account}.sqlite3"


@contextlib.contextmanager
def open_journal(path: Path, *, writing: bool) -> Iterator[Journal]:
    """Open the journal for the time of the block; one that isn't there is made.

    Raises:
        RunError: another run holds it, or it can't be read.
        OSError: the disk refuses.
    """
    with contextlib.ExitStack() as stack:
        if writing:
            private_folder(path.parent)
            stack.enter_context(_held(path))
        try:
            if writing and not path.exists():
                _make(path)
            mode = "rw" if writing else "ro"
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)
            stack.callback(connection.close)
            yield _checked(connection, path, writing=writing)
        except sqlite3.DatabaseError as error:
            raise _explained(error, path) from None


def _explained(error: sqlite3.DatabaseError, path: Path) -> OSError | RunError:
    """A full disk is no reason to restore anything."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of its bits are details
    number = _DISK_ERRORS.get(code)
    # one that isn't there can't be opened, either
    if number is not None and (path.exists() or code != sqlite3.SQLITE_CANTOPEN):
        return OSError(number, os.strerror(number), str(path))
    return RunError(
        f"The journal {path} can't be read or written; restore it from a backup. Without it every "
        "appointment would be made a second time."
    )


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path.with_suffix(".lock"), timeout=0, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(
            f"Another run writes to the journal {path}; start this one again when it has ended."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _make(path: Path) -> None:
    """A new journal, whole or not there: made aside and moved to its place."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        connection = sqlite3.connect(private_path(temporary))
        with contextlib.closing(connection):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
            connection.execute(_INDEX)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            with connection:
                connection.execute(
                    "INSERT INTO journal VALUES (?, ?, 0)", [uuid4().hex, secrets.token_bytes(32)]
                )
        for left in ("-wal", "-shm"):  # of a journal that was taken away; SQLite would play it back
            with contextlib.suppress(FileNotFoundError):
                beside = path.with_name(path.name + left)
                beside.replace(beside.with_name(f"{beside.name}.{uuid4().hex[:8]}"))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _checked(connection: sqlite3.Connection, path: Path, *, writing: bool) -> Journal:
    """The journal of an open connection, set to full sync."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not version:  # an empty file is a database to SQLite
        raise sqlite3.DatabaseError
    if version not in (FOLDING_VERSION, SCHEMA_VERSION):
        raise RunError(
            f"The journal {path} has version {version}, and this program knows version "
            f"{SCHEMA_VERSION}; use the program that wrote it, or a newer one."
        )
    if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError
    connection.execute("PRAGMA synchronous = FULL")
    journal = Journal(connection, path)
    if writing:
        connection.execute(_INDEX)
        if version != SCHEMA_VERSION:  # the former program would not find what is taken over
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return journal
