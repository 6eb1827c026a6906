"""The journal's file: what is put into it stays there, and shows nothing of a person."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocols.account.journal import (
    PENDING,
    Booking,
    BookingState,
    Journal,
    journal_path,
    open_journal,
)
from tasks.policy import RunError

ROOT = Path(__file__).resolve().parents[3]
MADE = Booking(
    BookingState.EXISTS,
    "case-1",
    "appointment-1",
    former_ids=("appointment-0",),
    fields={"notes": "0f" * 16, "start_time": PENDING},
    creations=2,
    doubts=3,
    has_message_in_doubt=True,
)

HOLD = """
import sys
from pathlib import Path
from protocols.account.journal import Booking, BookingState, open_journal

with open_journal(Path(sys.argv[1]), writing=True) as journal:
    for number in range(20):
        journal.put(f"B-{number}", Booking(BookingState.CREATING, "case-1"))
    journal.begin_generation()
    print("put", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(str(tmp_path / "journal"), "account")


def put(path: Path, key: str, booking: Booking | None) -> None:
    with open_journal(path, writing=True) as journal:
        journal.put(key, booking)


def read(path: Path, key: str) -> Booking | None:
    with open_journal(path, writing=False) as journal:
        return journal.booking(key)


def all_bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


# -- remembering -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "booking",
    [
        MADE,
        Booking(BookingState.CREATING, "case-1"),
        replace(MADE, state=BookingState.DELETING, has_message_in_doubt=False),
        Booking(BookingState.DELETED, "case-1", "appointment-1", creations=1),
    ],
)
def test_a_record_comes_back_as_it_was_put_in_this_run_and_in_the_next(
    path: Path, booking: Booking
) -> None:
    with open_journal(path, writing=True) as journal:
        assert journal.booking("B-1") is None
        journal.put("B-1", Booking(BookingState.DELETED, "another"))
        journal.put("B-1", booking)
        journal.put("B-2", MADE)
        assert journal.booking("B-1") == booking
    assert read(path, "B-1") == booking
    put(path, "B-1", None)
    assert (read(path, "B-1"), read(path, "B-2")) == (None, MADE)


def test_keys_that_differ_in_any_sign_are_two(path: Path) -> None:
    keys = [
        "AAMkAGI0w=",
        "AAMkAGI0W=",
        "AAMkAGI0w",
        "\uff21",
        "A",
        "a b",
        "a  b",
        "ß",
        "ss",
        "é",
        "e",
    ]
    for number, key in enumerate(keys):
        put(path, key, replace(MADE, creations=number))
    for number, key in enumerate(keys):
        assert read(path, key) == replace(MADE, creations=number)


def test_what_is_uncertain_is_counted_but_for_what_is_named(path: Path) -> None:
    records = {
        "lost": Booking(BookingState.CREATING, "c"),
        "Lost Too": Booking(BookingState.CREATING, "c"),
        "message": Booking(BookingState.EXISTS, "c", "a", has_message_in_doubt=True),
        "deleted": Booking(BookingState.DELETED, "c", "a", has_message_in_doubt=True),
        "deleting": Booking(BookingState.DELETING, "c", "a"),
        "fine": Booking(BookingState.EXISTS, "c", "a"),
    }
    with open_journal(path, writing=True) as journal:
        assert journal.uncertain_besides([]) == 0
        for key, booking in records.items():
            journal.put(key, booking)
        assert journal.uncertain_besides([]) == 4
        assert journal.uncertain_besides(["Lost Too", "fine", "nobody"]) == 3
        assert journal.uncertain_besides(["lost too", "fine", "nobody"]) == 4
        assert journal.uncertain_besides(records) == 0


def test_what_was_put_is_there_after_a_kill_and_the_file_is_free(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "put\n"
        with pytest.raises(RunError, match="Another run writes to the journal"):
            put(path, "B-1", None)
        assert read(path, "B-19") == Booking(BookingState.CREATING, "case-1")  # a plan may look
        process.send_signal(signal.SIGKILL)
        process.wait()
    copied = path.parent.parent / "copy" / path.name
    shutil.copytree(path.parent, copied.parent)
    for place in (path, copied):
        with open_journal(place, writing=True) as journal:
            assert journal.uncertain_besides([]) == 20
            assert journal.generation == 1


def test_each_record_is_written_through_to_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **named: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **named))
        return opened[-1]

    monkeypatch.setattr("protocols.account.journal.sqlite3.connect", noted)
    for _first_and_later in range(2):
        with open_journal(path, writing=True):
            assert opened[-1].execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert opened[-1].execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_record_is_there_for_others_as_soon_as_it_is_put(path: Path) -> None:
    with open_journal(path, writing=True) as journal:
        journal.put("B-1", MADE)
        assert read(path, "B-1") == MADE
        journal.put("B-1", None)
        assert read(path, "B-1") is None


def test_runs_that_may_write_are_counted(path: Path) -> None:
    for number in range(1, 4):
        with open_journal(path, writing=True) as journal:
            assert journal.generation == number - 1
            journal.begin_generation()
            assert journal.generation == number
    with open_journal(path, writing=False) as journal:
        assert journal.generation == 3


# -- one writer --------------------------------------------------------------------------------


def test_one_run_writes_at_a_time_to_one_journal_and_whatever_ends_it_frees_it(path: Path) -> None:
    other = path.with_name("appointments-other.sqlite3")
    with open_journal(path, writing=True), open_journal(other, writing=True):
        with pytest.raises(RunError, match="Another run writes to the journal"):
            put(path, "B-1", MADE)
        with pytest.raises(RunError, match=r"appointments-account\.sqlite3"):
            put(path, "B-1", MADE)

    def break_off() -> None:
        with open_journal(path, writing=True):
            raise KeyError("ours")

    with pytest.raises(KeyError):
        break_off()
    put(path, "B-1", MADE)


def test_whoever_only_reads_can_write_nothing_and_makes_no_journal(path: Path) -> None:
    with pytest.raises(RunError), open_journal(path, writing=False):
        pass
    assert not path.parent.exists()
    put(path, "B-1", MADE)
    before = path.read_bytes()

    def write() -> None:
        with open_journal(path, writing=False) as journal:
            journal.put("B-2", MADE)

    with pytest.raises(OSError, match="Read-only"):
        write()
    assert path.read_bytes() == before


# -- the file ----------------------------------------------------------------------------------


def test_the_files_are_private_at_every_moment(path: Path) -> None:
    def modes() -> set[int]:
        return {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    with open_journal(path, writing=True) as journal:
        journal.put("B-1", MADE)
        names = {file.name for file in path.parent.iterdir()}
        assert {f"{path.name}-wal", f"{path.name}-shm", path.with_suffix(".lock").name} <= names
        assert modes() == {0o600}
    read(path, "B-1")
    assert modes() == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_key_and_no_value_can_be_read_from_the_file_or_be_compared_with_another_ones(
    tmp_path: Path,
) -> None:
    words = ["Canary-Key", "Canary Lane", "canary@example.org"]
    digests = []
    for name in ("one", "two"):
        path = tmp_path / name / "journal.sqlite3"
        with open_journal(path, writing=True) as journal:
            fields = {word: journal.digest("notes", word) for word in words[1:]}
            named = dict(zip(("location", "notes"), fields.values(), strict=True))
            journal.put(words[0], replace(MADE, fields=named))
            shown = all_bytes(path).lower()
            digests.append(journal.digest("notes", words[1]))
        shown += all_bytes(path).lower()
        assert b"appointment-1" in shown  # it is the right file
        assert [word for word in words if word.lower().encode() in shown] == []
    assert digests[0] != digests[1]


def test_a_digest_tells_fields_and_kinds_apart_and_stays_the_same(path: Path) -> None:
    def taken(journal: Journal) -> list[str]:
        values = [("notes", "x"), ("location", "x"), ("notes", "X"), ("notes", "true"),
                  ("notes", True), ("notes", False), ("notes", ""), ("key", "x")]  # fmt: skip
        return [journal.digest(name, value) for name, value in values]

    with open_journal(path, writing=True) as journal:
        first = taken(journal)
    assert len(set(first)) == len(first)
    assert PENDING not in first
    with open_journal(path, writing=True) as journal:
        assert taken(journal) == first


def test_two_journals_are_told_apart(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        for _again in range(2):
            with open_journal(tmp_path / name / "journal.sqlite3", writing=True) as journal:
                ids.add(journal.id)
    assert len(ids) == 2


def test_a_new_journal_takes_nothing_over_from_what_an_old_one_left_beside_it(path: Path) -> None:
    with open_journal(path, writing=True) as journal:
        old = journal.id
        journal.put("B-1", MADE)
        beside = {
            file.name: file.read_bytes()
            for file in path.parent.iterdir()
            if file.name.endswith(("-wal", "-shm"))
        }
    assert beside[f"{path.name}-wal"]
    path.unlink()
    for name, content in beside.items():
        (path.parent / name).write_bytes(content)
    with open_journal(path, writing=True) as journal:
        assert journal.id != old
        assert journal.booking("B-1") is None
        journal.put("B-2", MADE)
    assert read(path, "B-2") == MADE


def test_a_journal_that_cannot_be_made_whole_is_not_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_randomness(_count: int) -> bytes:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("protocols.account.journal.secrets.token_bytes", no_randomness)
        with pytest.raises(OSError, match="No space"):
            put(path, "B-1", MADE)
    assert [file.name for file in path.parent.iterdir()] == [path.with_suffix(".lock").name]
    put(path, "B-1", MADE)
    names = {path.name, path.with_suffix(".lock").name}
    assert {file.name for file in path.parent.iterdir()} == names


def with_version(path: Path, version: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def without_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE journal")
    connection.close()


def with_a_bad_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xff" * 4096
    path.write_bytes(content)


SPOILED: dict[str, Callable[[Path], Any]] = {
    "no database": lambda path: path.write_bytes(b"no database at all" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"S"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-4096]),
    "cut in a page": lambda path: path.write_bytes(path.read_bytes()[:6000]),
    "first page alone": lambda path: path.write_bytes(path.read_bytes()[:4096]),
    "a bad page": with_a_bad_page,
    "another database": without_table,
    "a version of nobody": lambda path: with_version(path, 0),
}


@pytest.fixture
def good(path: Path) -> Path:
    with open_journal(path, writing=True) as journal:
        for number in range(100):
            journal.put(f"B-{number}", MADE)
    return path


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize("how", SPOILED)
def test_a_journal_that_cannot_be_read_is_refused_with_a_sentence_and_left_as_it_is(
    good: Path, how: str, writing: bool
) -> None:
    SPOILED[how](good)
    spoiled = good.read_bytes()
    with (
        pytest.raises(RunError) as raised,
        open_journal(good, writing=writing) as journal,
    ):
        journal.booking("B-1")
    assert str(raised.value) == (
        f"The journal {good} can't be read or written; restore it from a backup. Without it every "
        "appointment would be made a second time."
    )
    assert raised.value.__cause__ is None
    assert good.read_bytes() == spoiled


@pytest.mark.parametrize("writing", [True, False])
def test_a_journal_of_a_newer_program_is_refused_and_named_as_such(
    good: Path, writing: bool
) -> None:
    with_version(good, 3)
    with (
        pytest.raises(RunError, match="has version 3, and this program knows version 2"),
        open_journal(good, writing=writing),
    ):
        pass


# -- of the former version, which took keys for equal that differ in case or width ---------------


def of_version_1(path: Path, *keys: str) -> None:
    """A journal as the former program has left it."""
    with open_journal(path, writing=True) as journal:
        for number, key in enumerate(keys):
            journal.put(f"new {number}", replace(MADE, appointment_id=f"a-{number}"))
            old, new = journal._folded_key(key), journal._key(f"new {number}")
            with journal._connection as connection:
                connection.execute("UPDATE booking SET key = ? WHERE key = ?", [old, new])
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX booking_of_appointment")
    connection.close()
    with_version(path, 1)


def ids(journal: Journal, *keys: str) -> list[str | None]:
    found = [journal.booking(key) for key in keys]
    return [booking.appointment_id if booking else None for booking in found]


def test_a_record_of_the_former_version_is_its_keys_and_from_then_on_no_other_ones(
    path: Path,
) -> None:
    of_version_1(path, "AAMkAGI0w=", "b-2")
    with open_journal(path, writing=True) as journal:
        journal.adopt(["AAMkAGI0w=", "B-2", "new"])
        assert ids(journal, "AAMkAGI0w=", "B-2", "new") == ["a-0", "a-1", None]
    with open_journal(path, writing=True) as journal:
        journal.adopt(["AAMkAGI0W=", "b-2"])
        assert ids(journal, "AAMkAGI0W=", "b-2") == [None, None]
        assert not journal.is_ambiguous("AAMkAGI0W=")
        assert ids(journal, "AAMkAGI0w=", "B-2") == ["a-0", "a-1"]


def test_a_former_record_that_may_be_either_ones_is_nobodys_until_a_file_names_one_alone(
    path: Path,
) -> None:
    of_version_1(path, "AAMkAGI0w=")
    pair = ["AAMkAGI0w=", "AAMkAGI0W="]
    with open_journal(path, writing=True) as journal:
        journal.adopt([*pair, *pair])
        assert ids(journal, *pair) == [None, None]
        assert [journal.is_ambiguous(key) for key in [*pair, "other"]] == [True, True, False]
        journal.adopt(pair[:1])
        assert ids(journal, *pair) == ["a-0", None]
        assert [journal.is_ambiguous(key) for key in pair] == [False, False]


def test_a_plan_reads_a_journal_of_the_former_version_and_leaves_it_as_it_is(path: Path) -> None:
    of_version_1(path, "b-1")
    before = path.read_bytes()
    with open_journal(path, writing=False) as journal, journal.rehearsal() as copy:
        copy.adopt(["B-1"])
        assert ids(copy, "B-1") == ["a-0"]
        assert copy.is_anothers("B-2", "A-0")
    assert path.read_bytes() == before


def test_the_former_program_does_not_write_to_a_journal_whose_records_it_would_not_find(
    path: Path,
) -> None:
    of_version_1(path, "b-1")
    with open_journal(path, writing=True):
        pass
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_whose_appointment_it_is_is_found_by_an_index_in_former_journals_too(path: Path) -> None:
    of_version_1(path, "b-1")
    with open_journal(path, writing=True) as journal:
        steps: list[str] = []
        journal._connection.set_trace_callback(steps.append)
        journal.is_anothers("B-1", "A-0")
        journal._connection.set_trace_callback(None)
        [plan] = journal._connection.execute(f"EXPLAIN QUERY PLAN {steps[0]}").fetchall()
        assert "USING INDEX booking_of_appointment (appointment_id=?)" in plan[3]


# -- the disk ----------------------------------------------------------------------------------


def test_a_full_disk_is_said_to_be_full_and_nothing_is_to_be_restored(path: Path) -> None:
    put(path, "B-0", MADE)

    def fill() -> None:
        with open_journal(path, writing=True) as journal:
            # what SQLite then says is what it says of a full disk
            [pages] = journal._connection.execute("PRAGMA page_count").fetchone()
            journal._connection.execute(f"PRAGMA max_page_count = {pages}")
            for number in range(1000):
                journal.put(f"B-{number}", replace(MADE, former_ids=("x" * 100,) * 10))

    with pytest.raises(OSError, match="No space left on device") as raised:
        fill()
    assert raised.value.filename == str(path)
    assert read(path, "B-0") is not None


NO_ROOM = """
import resource, sys
from pathlib import Path
from protocols.account.journal import open_journal

resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
try:
    with open_journal(Path(sys.argv[1]), writing=True):
        pass
except OSError as error:
    print("OSError", error.strerror)
"""


def test_a_journal_that_the_disk_has_no_room_for_is_not_made_and_the_disk_is_to_blame(
    path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("OSError")
    assert not path.exists()


def test_a_journal_is_in_a_folder_of_this_machine(tmp_path: Path) -> None:
    assert journal_path("some/where", "abc") == Path("some/where/appointments-abc.sqlite3")
    with pytest.raises(RunError, match="in a folder of this machine, not at a URL"):
        journal_path("s3://bucket/journal", "abc")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError), open_journal(tmp_path / "file" / "x.sqlite3", writing=True):  # noqa: PT011
        pass
