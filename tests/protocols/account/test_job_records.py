"""What is kept of bulk requests, so that a run that was killed leaves no job behind unknown."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.account.job_records import JobRecord, JobRecords

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "account.jobs"


# -- from the request to the job's end -----------------------------------------------------------


def test_a_record_is_found_again_from_before_the_request_until_nothing_is_open(
    folder: Path,
) -> None:
    before = datetime.now(UTC)
    intended = JobRecords(folder).intend(2500)
    assert before <= intended.submitted_at <= datetime.now(UTC)
    assert (intended.rows, intended.job_id) == (2500, None)
    assert JobRecords(folder).open() == [intended]

    accepted = JobRecords(folder).accepted(intended, "job-1")
    assert accepted == JobRecord(intended.path, intended.submitted_at, 2500, "job-1")
    assert JobRecords(folder).open() == [accepted]

    JobRecords(folder).forget(accepted)
    assert JobRecords(folder).open() == []
    assert list(folder.iterdir()) == []


def test_what_is_forgotten_twice_is_forgotten_and_nothing_else(folder: Path) -> None:
    records = JobRecords(folder)
    one, other = records.intend(1), records.intend(2)
    records.forget(one)
    records.forget(one)
    assert records.open() == [other]


def test_a_record_tells_nothing_but_the_job_its_time_and_its_rows(folder: Path) -> None:
    records = JobRecords(folder)
    record = records.accepted(records.intend(7), "job-1")
    content = msgspec.json.decode(record.path.read_bytes())
    assert datetime.fromisoformat(content.pop("submitted_at")) == record.submitted_at
    assert content == {"rows": 7, "job_id": "job-1"}
    assert "job-1" not in record.path.name
    assert [path.name for path in folder.iterdir()] == [record.path.name]


def test_each_account_has_its_own_records(folder: Path) -> None:
    other = folder.with_name("other.jobs")
    one = JobRecords(folder).intend(1)
    assert JobRecords(other).open() == []
    assert JobRecords(folder).open() == [one]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9), st.text(max_size=40) | st.none())
def test_whatever_is_kept_comes_back_as_it_was(
    tmp_path: Path, rows: int, job_id: str | None
) -> None:
    records = JobRecords(tmp_path / "jobs")
    record = records.intend(rows)
    if job_id is not None:
        record = records.accepted(record, job_id)
    assert records.open() == [record]
    records.forget(record)


# -- order and age -------------------------------------------------------------------------------


def written(folder: Path, name: str, content: bytes | str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def stored(folder: Path, name: str, submitted_at: str, job_id: str | None = None) -> Path:
    content = {"submitted_at": submitted_at, "rows": 1, "job_id": job_id}
    return written(folder, name, msgspec.json.encode(content))


def test_the_oldest_comes_first_whatever_the_files_are_called(folder: Path) -> None:
    stored(folder, "b.json", "2026-01-02T00:00:00+00:00", "second")
    stored(folder, "c.json", "2026-01-02T00:30:00+01:00", "first")
    stored(folder, "a.json", "2026-01-02T00:00:01.5+00:00", "third")
    assert [each.job_id for each in JobRecords(folder).open()] == ["first", "second", "third"]


def test_the_age_of_a_record_counts_from_its_request_and_is_never_negative(folder: Path) -> None:
    now = datetime.now(UTC)
    hour_old = JobRecord(folder, now - timedelta(hours=1), 1)
    assert 3600 <= hour_old.age_seconds() < 7200
    # another clock, or one that was put back
    assert JobRecord(folder, now + timedelta(hours=1), 1).age_seconds() == 0.0


# -- what a kill leaves --------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from protocols.account.job_records import JobRecords

folder, call, kill_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
records, sync, syncs = JobRecords(folder), os.fsync, []

def killing(descriptor):
    syncs.append(descriptor)
    if len(syncs) == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)

before = records.intend(5) if call != "intend" else None
os.fsync = killing
{"intend": lambda: records.intend(5), "accepted": lambda: records.accepted(before, "job-1"),
 "forget": lambda: records.forget(before)}[call]()
os.kill(os.getpid(), signal.SIGKILL)  # the moment it returns
"""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("call", "kill_at", "left"),
    [
        # the request leaves after `intend` has returned: no record, no request
        ("intend", 1, []),
        ("intend", 2, [None]),
        ("intend", 9, [None]),
        # until the job is on the disk, the batch counts as one whose job nobody knows
        ("accepted", 1, [None]),
        ("accepted", 2, ["job-1"]),
        ("accepted", 9, ["job-1"]),
        ("forget", 1, []),
        ("forget", 9, []),
    ],
)
def test_a_kill_at_any_moment_leaves_a_whole_record_or_the_one_before(
    call: str, kill_at: int, left: list[str | None], folder: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), call, str(kill_at)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    records = JobRecords(folder)
    assert [(each.job_id, each.rows) for each in records.open()] == [(each, 5) for each in left]
    # and the next run goes on from there
    records.accepted(records.intend(6), "job-2")
    assert [each.job_id for each in records.open()] == [*left, "job-2"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """What reaches the disk, in its order; a spy, since only a power cut would show it."""
    done: list[str] = []
    sync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def syncing(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_whole = path.is_file() and bool(msgspec.json.decode(path.read_bytes()))
        done.append("sync folder" if path == folder else f"sync whole file {is_whole}")
        sync(descriptor)

    def replacing(self: Path, target: Path) -> Path:
        done.append("into place")
        return replace(self, target)

    def unlinking(self: Path, missing_ok: bool = False) -> None:
        if self.exists():
            done.append("remove")
        unlink(self, missing_ok)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    monkeypatch.setattr(Path, "unlink", unlinking)
    return done


def test_a_record_is_on_the_disk_before_the_call_returns(steps: list[str], folder: Path) -> None:
    whole = ["sync whole file True", "into place", "sync folder"]
    records = JobRecords(folder)
    record = records.intend(1)
    assert steps == whole
    record = records.accepted(record, "job-1")
    assert steps == whole * 2
    records.forget(record)
    assert steps == [*whole * 2, "remove", "sync folder"]


def test_a_disk_that_refuses_is_an_error_and_the_record_before_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = JobRecords(folder)
    record = records.intend(1)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for call in (lambda: records.intend(2), lambda: records.accepted(record, "job-1")):
        with pytest.raises(OSError, match="No space left"):
            call()
    assert records.open() == [record]
    assert len(list(folder.iterdir())) == 1


# -- records that can't be read ------------------------------------------------------------------

BROKEN: list[bytes | str] = [
    b"", b"{", b"\xff\xfe\x00", b'{"submitted_at": "\xff"}', "[]", '"job-1"', "null", "{}", "5",
    '{"rows": 1, "job_id": "job-1"}',
    '{"submitted_at": "2026-01-02T00:00:00+00:00", "job_id": "job-1"}',
    '{"submitted_at": "2026-01-02T00:00:00+00:00", "rows": 1}',
    '{"submitted_at": "yesterday", "rows": 1, "job_id": "job-1"}',
    '{"submitted_at": "2026-01-02T00:00:00", "rows": 1, "job_id": "job-1"}',
    '{"submitted_at": 1767312000, "rows": 1, "job_id": "job-1"}',
    '{"submitted_at": "2026-01-02T00:00:00+00:00", "rows": "many", "job_id": "job-1"}',
    '{"submitted_at": "2026-01-02T00:00:00+00:00", "rows": null, "job_id": "job-1"}',
    '{"submitted_at": "2026-01-02T00:00:00+00:00", "rows": 1, "job_id": 5}',
    '{"submitted_at": "2026-01-02T00:00:00+00:00", "rows": 1, "job_id": ["job-1"]}',
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN, ids=ascii)
def test_of_a_record_that_cannot_be_read_it_is_known_when_it_was_written(
    content: bytes | str, folder: Path
) -> None:
    path = written(folder, "a.json", content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    stored(folder, "0.json", "2023-11-14T22:13:19+00:00", "older")
    stored(folder, "b.json", "2023-11-14T22:13:21+00:00", "newer")
    records = JobRecords(folder)
    older, unread, newer = records.open()
    assert (older.job_id, newer.job_id) == ("older", "newer")
    assert unread == JobRecord(path, datetime.fromtimestamp(1_700_000_000, UTC), 0, None)
    assert unread.age_seconds() > 0
    # it is one that a job may be behind, until somebody says otherwise
    records.forget(unread)
    assert [each.job_id for each in records.open()] == ["older", "newer"]


@pytest.mark.parametrize("name", [".a.json.0f0f0f0f", "a.json.bak", "README", "a.jsonl", "json"])
def test_other_files_are_no_records(name: str, folder: Path) -> None:
    stored(folder, name, "2026-01-02T00:00:00+00:00", "job-1")
    assert JobRecords(folder).open() == []


# -- privacy -------------------------------------------------------------------------------------


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_records_are_their_owners_alone_whatever_the_umask(folder: Path) -> None:
    records = JobRecords(folder)
    modes: list[int] = []
    for call in (records.intend, lambda rows: records.accepted(records.intend(rows), "job-1")):
        made: JobRecord = call(1)
        modes.append(stat.S_IMODE(made.path.stat().st_mode))
    assert modes == [0o600, 0o600]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_the_calls_of_several_batches_do_not_get_into_each_others_way(folder: Path) -> None:
    records = JobRecords(folder)
    intended = [records.intend(rows) for rows in range(8)]
    for record in intended[::2]:
        records.accepted(record, f"job-{record.rows}")
    assert sorted((each.rows, each.job_id) for each in records.open() if each.job_id) == [
        (0, "job-0"), (2, "job-2"), (4, "job-4"), (6, "job-6"),
    ]  # fmt: skip
    assert sorted(each.rows for each in records.open() if not each.job_id) == [1, 3, 5, 7]
