"""What is known of an account between runs: whether all that was sent has had its effect, which
jobs are open, and which journal of appointments is its own.

Belongs here: keeping that on this machine and in Prefect, and reading it from both before anything
is sent. Does not: one run at a time (`lock.py`, `turns.py`), waiting for what is open (the
protocols), or the file of a job (`job_records.py`).

Each is said in both places before it becomes true (a request leaves, a job is asked about), so
that a run that was killed is known of wherever the next one starts. What this machine alone knows
counts as well: its earlier runs may have used another Prefect server.
"""

import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from prefect.logging import get_run_logger

from protocols.account import shared
from protocols.account.job_records import JobRecord, JobRecords
from tasks.files import private_folder, write_atomically


def state_folder() -> Path:
    """This user's folder for state of this machine (the XDG convention)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "willsuite-flows"


@dataclass(frozen=True, slots=True)
class JournalMark:
    """The journal that was written to last."""

    journal_id: str
    generation: int


class Marks(msgspec.Struct, frozen=True):
    """What one place remembers of the account."""

    is_settled: bool
    """Whether all that was sent has certainly had its effect."""
    journal_id: str | None = None
    generation: int = 0
    merges_meta: bool | None = None
    """Whether CRM values that an update doesn't name stay; None where nobody has seen it."""

    @property
    def journal(self) -> JournalMark | None:
        """The journal it names, if any."""
        return None if self.journal_id is None else JournalMark(self.journal_id, self.generation)


OVER = "over"
"""Ends the name of a variable that says that nothing of a batch is open any more."""
UNREADABLE = Marks(is_settled=False, journal_id="")
"""Stands for marks that can't be read: nothing is settled, and the journal is an unknown one."""


class KnownAccount:
    """What is known of one account; open to changes by the run that has the account's lock."""

    def __init__(self, name: str, here: Marks | None, records: Mapping[int, Marks]) -> None:
        self._name = name
        self._here = here
        self._records = records
        """In Prefect, by number; the newest counts."""
        self._number = max(records, default=0)
        self._elsewhere = records.get(self._number)
        self.jobs = OpenJobs(name)
        """The account's bulk requests that may be under way."""

    @property
    def is_settled(self) -> bool:
        """Whether every request of earlier runs has certainly had its effect, as far as is known.

        A request of a run that was killed may still be under way in the server. Where Prefect has
        no record, nobody can know what ran elsewhere.
        """
        marks = [self._elsewhere, self._here or self._elsewhere]
        return all(mark is not None and mark.is_settled for mark in marks)

    @property
    def is_new(self) -> bool:
        """Whether nothing at all is known: its first run, or this is all new."""
        return self._here is None and self._elsewhere is None

    @property
    def journals(self) -> list[JournalMark]:
        """The journals that are remembered, here and elsewhere."""
        marks = (self._elsewhere, self._here)
        return [mark.journal for mark in marks if mark is not None and mark.journal is not None]

    @property
    def merges_meta(self) -> bool | None:
        """Whether CRM values stay that an update of one case doesn't name, as far as was seen.

        Where one place says that they don't, they go along: that loses nothing.
        """
        seen = {mark.merges_meta for mark in (self._elsewhere, self._here) if mark is not None}
        return False if False in seen else True if True in seen else None

    async def keep_merging(self, merges: bool) -> None:
        """That was seen.

        Raises:
            ServerAwayError: other machines can't be told.
        """
        await self._remember(lambda marks: msgspec.structs.replace(marks, merges_meta=merges))

    def begin_anew(self) -> None:
        """Somebody says that nothing was ever sent to this account."""
        self._here = self._elsewhere = Marks(is_settled=True)

    async def begin_writing(self) -> None:
        """From now on, until `settle`, a killed run leaves the account unsettled.

        Raises:
            ServerAwayError: other machines can't be told.
        """
        await self._remember(lambda marks: msgspec.structs.replace(marks, is_settled=False))

    async def settle(self) -> None:
        """Nothing that was sent is uncertain any more."""
        try:
            await self._remember(lambda marks: msgspec.structs.replace(marks, is_settled=True))
        except shared.ServerAwayError:
            get_run_logger().warning(
                "Prefect's server can't be told that nothing is under way any more; the next run "
                "waits once more before it sends anything."
            )

    async def keep_journal(self, mark: JournalMark) -> None:
        """This is the account's journal from now on.

        Raises:
            ServerAwayError: other machines can't be told.
        """
        await self._remember(
            lambda marks: msgspec.structs.replace(
                marks, journal_id=mark.journal_id, generation=mark.generation
            )
        )

    async def _remember(self, change: Callable[[Marks], Marks]) -> None:
        # what only the other place knows goes in, too
        self._here = change(self._here or self._elsewhere or Marks(is_settled=False))
        self._elsewhere = change(self._elsewhere or self._here)
        private_folder(state_folder())
        write_atomically(_file(self._name), msgspec.json.encode(self._here))
        value = msgspec.to_builtins(self._elsewhere)
        while not await shared.patiently(self._create(value)):
            pass

    def _create(self, value: shared.Value) -> Callable[[], Awaitable[bool]]:
        self._number += 1
        return partial(shared.create, shared.name_of("account", self._name, self._number), value)

    async def tidy(self) -> None:
        """Remove what is out of date."""
        for number in sorted(self._records)[:-1]:
            await shared.remove(shared.name_of("account", self._name, number))


class OpenJobs:
    """The bulk requests of an account that may be under way, as all machines know them.

    In Prefect each thing that is said of a batch is a variable of its own, with a number or, at
    the end, `OVER`: to create one is the quick step (`shared.py`).
    """

    def __init__(self, account: str) -> None:
        self._prefix = shared.name_of("job", account)
        self._folder = state_folder() / f"{account}.jobs"
        self._records = JobRecords(self._folder)
        self._said: dict[str, int] = {}
        """How much was said of a batch, by the name of its record."""

    async def intend(self, rows: int) -> JobRecord:
        """A batch of so many rows is about to be handed in.

        Raises:
            ServerAwayError: other machines can't be told, so it must not be sent.
        """
        record = self._records.intend(rows)
        try:
            await self._share(record)
        except BaseException:
            self._records.forget(record)
            raise
        return record

    async def accepted(self, record: JobRecord, job_id: str) -> JobRecord:
        """The batch has become this job."""
        record = self._records.accepted(record, job_id)
        with suppress(shared.ServerAwayError):  # that there is a batch, it knows
            await self._share(record)
        return record

    async def take_for_dead(self, record: JobRecord, stood_at: int) -> JobRecord:
        """As `JobRecords.taken_for_dead`: it stays on record, and is asked about by every run."""
        record = self._records.taken_for_dead(record, stood_at)
        with suppress(shared.ServerAwayError):  # then others wait for it, as for any job
            await self._share(record)
        return record

    async def forget(self, record: JobRecord) -> None:
        """Nothing of the batch is open any more."""
        self._records.forget(record)
        with suppress(shared.ServerAwayError):  # the next run asks once more about an old job
            await self._say(record.path.stem, OVER, {})

    async def open(self) -> list[JobRecord]:
        """What earlier runs left open, on any machine, oldest first; what is over is removed."""
        found = {record.path.stem: record for record in self._records.open()}
        elsewhere: dict[str, dict[str, shared.Value]] = defaultdict(dict)
        for name, value in (await shared.patiently(lambda: shared.read_all(self._prefix))).items():
            stem, _, number = name.partition("_")
            elsewhere[stem][number] = value
        for stem, said in elsewhere.items():
            if OVER in said:
                await self._remove(stem, said)
                continue
            newest = max(said, key=_place)
            self._said[stem] = _place(newest)
            record = _job(self._folder / f"{stem}.json", said[newest])
            here = found.get(stem)
            found[stem] = here if here is not None and here.job_id else record
        return sorted(found.values(), key=lambda record: record.submitted_at)

    async def _remove(self, stem: str, said: Collection[str]) -> None:
        # the end last, and only after all else: without it the batch would be open again
        with suppress(shared.ServerAwayError):
            for number in sorted(said, key=lambda number: number == OVER):
                await shared.remove(self._name(stem, number))

    async def _say(self, stem: str, number: str, value: shared.Value) -> None:
        await shared.patiently(lambda: shared.create(self._name(stem, number), value))

    def _name(self, stem: str, number: str) -> str:
        return f"{self._prefix}{stem}_{number}" if number else self._prefix + stem

    async def _share(self, record: JobRecord) -> None:
        value = {
            "submitted_at": record.submitted_at.isoformat(),
            "rows": record.rows,
            "job_id": record.job_id,
            "stood_at": record.stood_at,
        }
        number = self._said[record.path.stem] = self._said.get(record.path.stem, 0) + 1
        await self._say(record.path.stem, str(number), value)


async def has_open_jobs() -> bool:
    """Whether a bulk request of any account may be under way, as this machine or Prefect knows it.

    Raises:
        ServerAwayError: Prefect's server doesn't say.
    """
    if any(state_folder().glob("*.jobs/*.json")):
        return True
    said = [name.rpartition("_") for name in await shared.read_all("willsuite_job_")]
    ended = {batch for batch, _, number in said if number == OVER}
    return any(batch not in ended for batch, _, _ in said)


def _place(number: str) -> int:
    """In the order of what was said of a batch; 0 of what an earlier version of this said."""
    return int(number) if number.isdecimal() else 0


def _job(path: Path, value: shared.Value) -> JobRecord:
    """A record; of one that can't be read nothing is known but that it was there just now."""
    record = JobRecord(path, datetime.now(UTC), 0)
    with suppress(KeyError, TypeError, ValueError):
        at = datetime.fromisoformat(value["submitted_at"])
        record = replace(record, submitted_at=at if at.tzinfo else at.replace(tzinfo=UTC))
    rows, job_id, stood_at = value.get("rows"), value.get("job_id"), value.get("stood_at")
    return replace(
        record,
        rows=rows if isinstance(rows, int) else 0,
        job_id=job_id if isinstance(job_id, str) else None,
        stood_at=stood_at if isinstance(stood_at, int) else None,
    )


async def known_account(name: str) -> KnownAccount:
    """What is known of the account with this name, here and in Prefect.

    Raises:
        ServerAwayError: Prefect's server doesn't say.
    """
    return known_from(name, await shared.patiently(lambda: shared.read_account(name)))


def known_from(name: str, variables: shared.AccountVariables) -> KnownAccount:
    """The same, from what Prefect said of it."""
    found = variables["account"]
    records = {int(number): _marks(value) for number, value in found.items() if number.isdecimal()}
    return KnownAccount(name, _local(name), records)


def _local(name: str) -> Marks | None:
    try:
        return _marks(msgspec.json.decode(_file(name).read_bytes()))
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return UNREADABLE


def _marks(value: Any) -> Marks:
    try:
        return msgspec.convert(value, Marks)
    except msgspec.ValidationError:
        return UNREADABLE


def _file(name: str) -> Path:
    return state_folder() / f"{name}.json"
