"""Which bulk requests of an account may be under way, kept so that a killed run's are found again.

Belongs here: one small file a batch that was handed in, written before the request leaves. Does
not: waiting for a job (`tasks/api_jobs.py`), or what its end means (`updating/bulk.py`).

A record holds a job's id, its time and its number of rows; nothing of a case. It is on the disk
before the request is sent, holds the job's id before the job is first asked about, and goes when
nothing of the batch is open any more.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import msgspec

from tasks.files import private_folder, sync_folder, write_atomically


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A batch that was handed in, or was about to be."""

    path: Path
    submitted_at: datetime
    """UTC, by this machine's clock."""
    rows: int
    job_id: str | None = None
    """None where no answer has said it (yet)."""
    stood_at: int | None = None
    """How many rows it had changed when it was taken for dead; None where it wasn't."""

    def age_seconds(self) -> float:
        """How long ago it was handed in."""
        return max(0.0, (datetime.now(UTC) - self.submitted_at).total_seconds())


class JobRecords:
    """The records of one account, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def intend(self, rows: int) -> JobRecord:
        """A batch of so many rows is about to be handed in."""
        path = self._folder / f"{uuid4().hex}.json"
        return _written(JobRecord(path, datetime.now(UTC), rows))

    def accepted(self, record: JobRecord, job_id: str) -> JobRecord:
        """The batch has become this job."""
        return _written(replace(record, job_id=job_id))

    def taken_for_dead(self, record: JobRecord, stood_at: int) -> JobRecord:
        """The job is said to be at work, and has got no further than so many rows for long."""
        return _written(replace(record, stood_at=stood_at))

    def forget(self, record: JobRecord) -> None:
        """Nothing of the batch is open any more."""
        if record.path.exists():  # else it is another machine's
            record.path.unlink(missing_ok=True)
            sync_folder(self._folder)

    def open(self) -> list[JobRecord]:
        """What earlier runs left open, oldest first."""
        found = [_read(path) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda record: record.submitted_at)


class _Stored(msgspec.Struct, omit_defaults=True):
    submitted_at: Annotated[datetime, msgspec.Meta(tz=True)]
    rows: int
    job_id: str | None
    stood_at: int | None = None


def _written(record: JobRecord) -> JobRecord:
    private_folder(record.path.parent)  # which isn't there for the record of another machine
    content = _Stored(record.submitted_at, record.rows, record.job_id, record.stood_at)
    write_atomically(record.path, msgspec.json.encode(content))
    return record


def _read(path: Path) -> JobRecord:
    """A record; of one that can't be read only when it was written is known."""
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
    except (msgspec.DecodeError, ValueError):
        return JobRecord(path, datetime.fromtimestamp(path.stat().st_mtime, UTC), 0)
    return JobRecord(path, stored.submitted_at, stored.rows, stored.job_id, stored.stood_at)
