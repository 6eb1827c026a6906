"""Bulk updates, which are accepted at once and carried out later.

Belongs here: a job from its acceptance to its end, and the answer to a question about it. Does
not: HTTP, what a batch may hold and what it changes (`writes.py`), the cases (`store.py`).
"""

import asyncio
import dataclasses
import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.faults import ATTEMPTED, FAILED_MESSAGE, JobFault
from sandbox.store import Store
from sandbox.writes import MetaUpdate, changed_fields, exceeds_columns


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(slots=True)
class Job:
    """One accepted batch.

    `submitted` and `finished` count the acceptances and ends of all jobs in the order in which
    they came, so that of two numbers the smaller was earlier; a job that is stuck never finishes.
    """

    id: str
    batch: list[dict[str, Any]]
    submitted: int
    fault: JobFault = field(default_factory=JobFault)
    status: str = "pending"
    effected_records: int = 0
    message: str | None = None
    finished: int | None = None
    polls: int = 0
    created_at: datetime = field(default_factory=_now)
    updated_at: datetime = field(default_factory=_now)
    end_time: datetime | None = None

    @property
    def ids(self) -> list[str]:
        """The case ids of the batch in its order, as often as they are in it."""
        return [row["id"] for row in self.batch]

    def beside(self, other: "Job") -> bool:
        """Whether this job and another one were under way at the same time."""
        first, second = sorted((self, other), key=lambda job: job.submitted)
        return first is not second and (first.finished is None or second.submitted < first.finished)

    def hidden(self) -> bool:
        """Whether nobody sees it yet."""
        hidden_polls = self.fault.hidden_polls
        return hidden_polls is None or self.polls <= hidden_polls

    def move(self, status: str) -> None:
        """Give it another status, now."""
        self.status, self.updated_at = status, _now()

    def shown(self) -> dict[str, Any]:
        """The job as it would be sent."""
        answer = {
            "id": self.id,
            "status": self.fault.words.get(self.status, self.status),
            "total_records": len(self.batch),
            "effected_records": self.effected_records,
            "message": self.message,
            "end_time": self.end_time and f"{self.end_time:%Y-%m-%d %H:%M:%S}",
            "created_at": f"{self.created_at:%Y-%m-%dT%H:%M:%S.000000Z}",
            "updated_at": f"{self.updated_at:%Y-%m-%dT%H:%M:%S.000000Z}",
        }
        return {name: value for name, value in answer.items() if name not in self.fault.lacks}


class Jobs:
    """All jobs of the account. Each runs for itself, `seconds` from its acceptance to its end."""

    def __init__(self, store: Store, *, seconds: float, meta_update: MetaUpdate) -> None:
        self.all: dict[str, Job] = {}
        self._store = store
        self._seconds = seconds
        self._meta_update: MetaUpdate = meta_update
        self._events = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many jobs are neither finished nor where they are stuck."""
        return len(self._tasks)

    def accept(self, job_id: str, batch: list[dict[str, Any]], fault: JobFault) -> Job:
        """A new job for rows that nothing is wrong with; returns before it has begun."""
        job = self.all[job_id] = Job(job_id, batch, next(self._events), fault)
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def answer(self, job_id: str) -> dict[str, Any] | None:
        """The answer to a question about a job; None if there is nothing to see."""
        job = self.all.get(job_id.lower())
        if job is None:
            return None
        job.polls += 1
        return None if job.hidden() else job.shown()

    async def cancel(self) -> None:
        """End what is under way, as it is."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        seconds = self._seconds if job.fault.seconds is None else job.fault.seconds
        await asyncio.sleep(seconds / 2)
        if job.fault.ends != "pending":
            job.move("failed" if job.fault.told_failed else "processing")
        if job.fault.told_failed:
            job.message, job.end_time = ATTEMPTED, job.updated_at
        await asyncio.sleep(seconds / 2)
        unknown = self._apply(job)
        if job.fault.ends in {"pending", "processing"}:
            return
        messages = [job.fault.message] if job.fault.message else []
        if job.fault.ends == "failed":
            messages = messages or [FAILED_MESSAGE]
        elif unknown:
            messages.append(f"No cases with these ids: {', '.join(unknown)}")
        job.message = " ".join(messages) or job.message
        job.move(job.fault.ends)
        job.end_time = job.updated_at
        job.finished = next(self._events)

    def _apply(self, job: Job) -> list[str]:
        """Make the changes of the rows that are applied; returns the ids that no case has."""
        last = {row["id"]: number for number, row in enumerate(job.batch)}
        rng = random.Random(f"skipped in {job.submitted}")
        applied = job.fault.applied(len(job.batch), rng)
        unknown = []
        for case_id, number in last.items():
            if number not in applied:
                continue
            if exceeds_columns((), job.batch[number].get("notes")):
                # what it has to say quotes the notes, so it can't be stored either
                job.fault = dataclasses.replace(job.fault, ends="processing")
                break
            case = self._store.case(case_id)
            if case is None:
                unknown.append(case_id)
            elif fields := changed_fields(case, job.batch[number], self._meta_update):
                self._store.change(case["id"], **fields)
                job.effected_records += 1
        return unknown
