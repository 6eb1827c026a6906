"""Waiting for a job, by a clock that is moved by the waiting itself, and what people see of it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from made_changes import in_a_run
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from rich.pretty import pretty_repr

from protocols.updating.open_jobs import seen_seconds
from sandbox.faults import (
    ATTEMPTED,
    FAILED_MESSAGE,
    Action,
    Drop,
    Fault,
    Html,
    JobFault,
    Status,
    Truncate,
)
from sandbox.jobs import Job
from sandbox.server import Sandbox
from tasks.api_jobs import (
    JITTER,
    JobBoard,
    JobEnd,
    JobPace,
    JobWait,
    job_pace,
    wait_for_api_job,
)
from willsuite import ApiJob, load_settings
from willsuite.client import MAX_ODD_ANSWERS
from willsuite.errors import AuthenticationError, ConfigurationError
from willsuite.retrying import MAX_ATTEMPTS

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]
PACE = JobPace(poll_seconds=300, timeout_seconds=7200, patience_seconds=690)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)


@dataclass
class Clock:
    """Sleeps at once, and then does the next thing of a script; chance is what it is told."""

    slept: list[float] = field(default_factory=list)
    script: list[Callable[[], Any]] = field(default_factory=list)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    drawn: Callable[[float, float], float] = lambda low, high: (low + high) / 2

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        assert len(self.slept) < 200, "for ever"
        if self.script:
            self.script.pop(0)()

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.slept)

    def uniform(self, low: float, high: float) -> float:
        self.bounds.append((low, high))
        return self.drawn(low, high)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("tasks.api_jobs.asyncio", SimpleNamespace(sleep=made.sleep))
    monkeypatch.setattr("tasks.api_jobs.time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr("tasks.api_jobs.random", SimpleNamespace(uniform=made.uniform))
    return made


@pytest.fixture
def sandbox(start_sandbox: StartSandbox) -> Sandbox:
    return start_sandbox(cases=0)


def under_way(sandbox: Sandbox, job_id: str = "job-1", rows: int = 2, **fault: Any) -> Job:
    """A job that WillSuite works on until a test says otherwise."""
    batch = [{"id": str(number)} for number in range(rows)]
    job = sandbox.jobs[job_id] = Job(job_id, batch, 1, JobFault(**fault), "processing")
    return job


def end(job: Job, status: str = "completed") -> None:
    job.effected_records = len(job.batch)
    job.move(status)
    job.end_time = job.updated_at


def nothing() -> None:
    pass


def polls(sandbox: Sandbox) -> int:
    return sum(seen.path.startswith("/api-jobs/") for seen in sandbox.requests)


def wait(
    job_id: str = "job-1", *, age_seconds: float = 0.0, pace: JobPace | None = PACE
) -> JobWait:
    return in_a_run(lambda _progress: wait_for_api_job(job_id, pace, age_seconds))


# -- when it is asked ----------------------------------------------------------------------------


def test_a_small_job_is_seen_to_have_ended_after_a_tenth_of_the_usual_time(
    sandbox: Sandbox, clock: Clock
) -> None:
    end(under_way(sandbox))
    waited = wait()
    assert (clock.slept, polls(sandbox)) == ([30.0], 1)
    assert waited.end is JobEnd.COMPLETED
    assert waited.seconds >= 30
    assert waited.job == ApiJob(
        "job-1", "completed", 2, 2, None, waited.job and waited.job.end_time
    )
    assert (waited.was_running, waited.is_new) == (False, True)


@pytest.mark.parametrize(
    ("drawn", "delay"), [(min, 270.0), (max, 330.0), (lambda low, high: low + high - 1, 300.0)]
)
def test_later_questions_come_at_the_usual_time_give_or_take_a_tenth(
    drawn: Callable[[float, float], float], delay: float, sandbox: Sandbox, clock: Clock
) -> None:
    job = under_way(sandbox)
    clock.drawn = drawn
    clock.script = [nothing] * 4 + [lambda: end(job)]
    waited = wait()
    assert clock.slept == pytest.approx([30.0, *[delay] * 4])
    assert clock.bounds == [(1 - JITTER, 1 + JITTER)] * 4
    assert (waited.end, waited.was_running, polls(sandbox)) == (JobEnd.COMPLETED, True, 5)
    assert waited.seconds >= sum(clock.slept)


def test_chance_makes_the_questions_of_several_jobs_drift_apart(
    sandbox: Sandbox, clock: Clock
) -> None:
    under_way(sandbox)
    clock.drawn = random.Random(1).uniform
    wait()
    usual = clock.slept[1:-1]
    assert len(usual) > 15
    assert all(270 <= delay <= 330 for delay in usual)
    assert len(set(usual)) == len(usual)


def test_a_job_of_an_earlier_run_is_asked_about_at_once_and_its_age_counts(
    sandbox: Sandbox, clock: Clock
) -> None:
    job = under_way(sandbox)
    clock.script = [nothing, lambda: end(job)]
    waited = wait(age_seconds=5000)
    assert clock.slept == [0.0, 300.0]
    assert (waited.end, waited.is_new) == (JobEnd.COMPLETED, False)
    assert 5300 <= waited.seconds < 7200


def test_the_settings_say_how_often_and_how_long_unless_the_run_does(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "50")
    monkeypatch.setenv("WILLSUITE_JOB_TIMEOUT_SECONDS", "200")
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "7")
    settings = load_settings()
    assert job_pace(settings) == JobPace(50, 200, 107)
    assert job_pace(settings, 10, 20) == JobPace(10, 20, 27)
    assert job_pace(settings, None, 20) == JobPace(50, 20, 107)
    under_way(sandbox)
    assert wait(pace=None).end is JobEnd.STUCK
    assert clock.slept[:2] == [5.0, 50.0]
    assert sum(clock.slept) <= 200


# -- until when ----------------------------------------------------------------------------------


def test_a_job_that_has_not_ended_by_the_deadline_is_stuck_and_asked_about_then(
    sandbox: Sandbox, clock: Clock
) -> None:
    under_way(sandbox)
    waited = wait(pace=JobPace(300, 1000, 690))
    assert clock.slept[:4] == [30.0, 300.0, 300.0, 300.0]
    # the last question is not later than the deadline, and not one poll earlier
    assert 930 < sum(clock.slept) <= 1000
    assert polls(sandbox) == len(clock.slept)
    assert (waited.end, waited.was_running) == (JobEnd.STUCK, True)
    assert waited.seconds >= 1000
    assert waited.job is not None
    assert (waited.job.status, waited.job.total_records) == ("processing", 2)


def test_a_job_that_ends_with_the_deadline_has_ended(sandbox: Sandbox, clock: Clock) -> None:
    job = under_way(sandbox)
    clock.script = [nothing] * 4 + [lambda: end(job)]
    assert wait(pace=JobPace(300, 1000, 690)).end is JobEnd.COMPLETED
    assert polls(sandbox) == 5


def test_a_job_older_than_the_deadline_is_asked_about_once(sandbox: Sandbox, clock: Clock) -> None:
    job = under_way(sandbox)
    assert wait(age_seconds=7200).end is JobEnd.STUCK
    assert clock.slept == [0.0]
    end(job)
    assert wait(age_seconds=7200).end is JobEnd.COMPLETED
    assert polls(sandbox) == 2


# -- what it says --------------------------------------------------------------------------------


def test_a_job_has_ended_with_an_end_time_or_a_last_word_and_any_other_word_runs_on(
    sandbox: Sandbox, clock: Clock
) -> None:
    expected: dict[str, JobEnd] = {}

    def job(name: str, status: str, ends: JobEnd, *, has_end: bool = True, **fault: Any) -> None:
        made = under_way(sandbox, name, **fault)
        made.move(status)
        made.end_time = made.updated_at if has_end else None
        expected[name] = ends

    no_end = {"has_end": False}
    job("completed", "completed", JobEnd.COMPLETED)
    job("completed-without-time", "completed", JobEnd.COMPLETED, **no_end)
    job("completed-in-capitals", "completed", JobEnd.COMPLETED, words={"completed": " Completed "})
    job("failed", "failed", JobEnd.FAILED)
    job("failed-without-time", "failed", JobEnd.FAILED, **no_end)
    job("another-last-word", "completed", JobEnd.FAILED, words={"completed": "done"})
    job("no-word", "completed", JobEnd.FAILED, lacks=["status"])
    job("processing-with-time", "processing", JobEnd.FAILED)
    job("pending", "pending", JobEnd.STUCK, **no_end)
    job("processing", "processing", JobEnd.STUCK, **no_end)
    job("another-word", "processing", JobEnd.STUCK, words={"processing": "queued"}, **no_end)
    job("a-word-like-an-end", "completed", JobEnd.STUCK, words={"completed": "done"}, **no_end)
    job("no-word-yet", "pending", JobEnd.STUCK, lacks=["status"], **no_end)
    job("neither", "pending", JobEnd.STUCK, lacks=["status", "end_time"], **no_end)

    async def wait_for_all(_progress: object) -> dict[str, JobEnd]:
        pace, found = JobPace(300, 100, 690), {}
        for name in expected:
            clock.slept.clear()
            found[name] = (await wait_for_api_job(name, pace)).end
        return found

    assert in_a_run(wait_for_all) == expected


def test_a_word_that_is_not_documented_is_waited_through_to_the_end(
    sandbox: Sandbox, clock: Clock
) -> None:
    job = under_way(sandbox, words={"processing": "queued"})
    clock.script = [nothing, nothing, lambda: end(job)]
    assert wait().end is JobEnd.COMPLETED
    assert polls(sandbox) == 3


def test_what_a_job_counts_and_says_comes_with_its_end(sandbox: Sandbox, clock: Clock) -> None:
    job = under_way(sandbox, rows=3)
    end(job, "failed")
    job.effected_records, job.message = 1, FAILED_MESSAGE
    waited = wait()
    assert waited.end is JobEnd.FAILED
    assert waited.job is not None
    assert (waited.job.total_records, waited.job.effected_records) == (3, 1)
    assert waited.job.message == FAILED_MESSAGE
    for text in (repr(waited), pretty_repr(waited)):
        assert "Quillfeather" not in text


# -- jobs that nobody sees -----------------------------------------------------------------------


def test_a_job_may_not_be_there_yet(sandbox: Sandbox, clock: Clock) -> None:
    end(under_way(sandbox, hidden_polls=3))
    waited = wait()
    assert clock.slept == [30.0, 300.0, 300.0, 300.0]
    assert waited.end is JobEnd.COMPLETED


def test_a_job_that_never_shows_is_missing_once_patience_ends(
    sandbox: Sandbox, clock: Clock
) -> None:
    waited = wait("nobody")
    # 630 s are less than the patience of 690, 930 are more
    assert clock.slept == [30.0, 300.0, 300.0, 300.0]
    assert (waited.end, waited.job, waited.was_running) == (JobEnd.MISSING, None, False)


def test_a_job_that_vanishes_is_given_the_same_time_from_when_it_was_first_denied(
    sandbox: Sandbox, clock: Clock
) -> None:
    job = under_way(sandbox)

    def vanish() -> None:
        job.fault = JobFault(hidden_polls=None)

    clock.script = [nothing, nothing, nothing, vanish]
    waited = wait()
    # seen at 630 s, denied at 930; at 1,530 it is gone for less than 690, at 1,830 for more.
    # From when it was last seen wouldn't do: after a suspended machine one 404 would be the end.
    assert sum(clock.slept) == 1830
    assert (waited.end, waited.was_running) == (JobEnd.MISSING, True)
    assert waited.job is not None
    assert waited.job.status == "processing"


def test_a_job_that_comes_back_is_waited_for(sandbox: Sandbox, clock: Clock) -> None:
    job = under_way(sandbox)

    def hide(polls: int | None) -> Callable[[], None]:
        def then() -> None:
            job.fault = JobFault(hidden_polls=polls)

        return then

    clock.script = [nothing, hide(None), nothing, hide(0), hide(None), nothing, hide(0)]
    clock.script += [lambda: end(job)]
    assert wait().end is JobEnd.COMPLETED
    assert len(clock.slept) == 8


def test_an_answer_that_cannot_be_read_says_nothing_of_whether_the_job_is_there(
    sandbox: Sandbox, clock: Clock
) -> None:
    fault = Fault(Status(503), path="/api-jobs/*", times=None)
    sandbox.faults.append(fault)
    clock.script = [nothing, nothing, nothing, nothing, sandbox.faults.clear]
    waited = wait("nobody")
    # can't be read until 930 s, denied at 1,230; at 1,830 for less than 690, at 2,130 for more
    assert sum(clock.slept) == 2130
    assert waited.end is JobEnd.MISSING


def test_a_job_of_long_ago_that_is_not_there_is_missing_at_once(
    sandbox: Sandbox, clock: Clock
) -> None:
    assert wait("nobody", age_seconds=691).end is JobEnd.MISSING
    assert clock.slept == [0.0]
    clock.slept.clear()
    assert wait("nobody", age_seconds=300).end is JobEnd.MISSING
    assert len(clock.slept) == 3


def test_a_refused_question_is_as_good_as_no_job(sandbox: Sandbox, clock: Clock) -> None:
    end(under_way(sandbox))

    async def each(_progress: object) -> list[tuple[JobEnd, float]]:
        seen = []
        for status in (400, 403, 410, 422):
            for times in (2, None):
                clock.slept.clear()
                sandbox.faults[:] = [Fault(Status(status), path="/api-jobs/*", times=times)]
                waited = await wait_for_api_job("job-1", PACE)
                seen.append((waited.end, sum(clock.slept)))
        return seen

    assert in_a_run(each) == [(JobEnd.COMPLETED, 630), (JobEnd.MISSING, 930)] * 4


# -- failures ------------------------------------------------------------------------------------

MAY_PASS: list[Action] = [
    Status(500), Status(503), Status(408), Drop(), Html(), Truncate(), Status(200, body="[1]"),
    Status(200, body='{"message": "Mrs Quillfeather"}'),
]  # fmt: skip


def test_failures_that_may_pass_are_waited_through(sandbox: Sandbox, clock: Clock) -> None:
    end(under_way(sandbox))

    async def each(_progress: object) -> list[tuple[JobEnd, list[float], int]]:
        seen = []
        for action in MAY_PASS:
            clock.slept.clear()
            clock.script = [nothing, nothing, nothing, sandbox.faults.clear]
            fault = Fault(action, path="/api-jobs/*", times=None)
            sandbox.faults.append(fault)
            waited = await wait_for_api_job("job-1", PACE)
            seen.append((waited.end, clock.slept.copy(), fault.played))
        return seen

    delays = [30.0, 300.0, 300.0, 300.0]
    assert in_a_run(each) == [
        (JobEnd.COMPLETED, delays, 3 * (MAX_ODD_ANSWERS if is_answer(action) else MAX_ATTEMPTS))
        for action in MAY_PASS
    ]


def is_answer(action: Action) -> bool:
    """Whether the client takes it for one, though for an odd one."""
    return isinstance(action, Status) and action.status == 200


def test_a_job_that_can_never_be_read_is_stuck_and_not_missing(
    sandbox: Sandbox, clock: Clock
) -> None:
    sandbox.faults.append(Fault(Status(503), path="/api-jobs/*", times=None))
    waited = wait(pace=JobPace(300, 1000, 690))
    assert (waited.end, waited.job, waited.was_running) == (JobEnd.STUCK, None, False)
    assert 930 < sum(clock.slept) <= 1000


def test_a_token_that_cannot_be_had_for_a_while_is_waited_for(
    sandbox: Sandbox, clock: Clock
) -> None:
    end(under_way(sandbox))
    sandbox.faults.append(Fault(Status(503), path="/oauth/token", times=2 * MAX_ATTEMPTS))
    assert wait().end is JobEnd.COMPLETED
    assert clock.slept == [30.0, 300.0, 300.0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(Status(401), AuthenticationError), (Status(302, {"Location": "/"}), ConfigurationError)],
    ids=str,
)
def test_credentials_and_configuration_are_no_reason_to_wait(
    status: Status, kind: type[Exception], sandbox: Sandbox, clock: Clock
) -> None:
    end(under_way(sandbox))
    sandbox.faults.append(Fault(status, path="/api-jobs/*", times=None))
    with pytest.raises(kind):
        wait()
    assert clock.slept == [30.0]


def test_prefect_does_not_begin_a_wait_again() -> None:
    assert (wait_for_api_job.retries, wait_for_api_job.retry_condition_fn) == (0, None)


# -- what people see -----------------------------------------------------------------------------


@pytest.fixture
def key() -> str:
    """Of an artifact that no other test has made."""
    return f"jobs-{uuid4().hex}"


async def artifacts(key: str) -> list[Any]:
    async with get_client() as client:
        return list(
            await client.read_artifacts(artifact_filter=ArtifactFilter(key={"any_": [key]}))
        )


def on_a_board(key: str, *steps: Callable[[JobBoard], Awaitable[Any]]) -> list[str]:
    """What the one artifact shows after each step."""

    async def work(_progress: object) -> list[str]:
        board, shown = JobBoard(key), []
        for step in steps:
            await step(board)
            [artifact] = await artifacts(key)
            shown.append(artifact.data)
        return shown

    return in_a_run(work)


def showing(job_id: str, status: str, seconds: float, *numbers: int | None) -> Any:
    job = ApiJob(job_id, status, *numbers) if numbers else None
    return lambda board: board.show(job_id, status, job, seconds)


HEAD = "| job | status | changed | of | elapsed |\n| --- | --- | ---: | ---: | ---: |\n"


def cells(job_id: str, *texts: str) -> str:
    return f"| {' | '.join([job_id, *texts])} |"


def test_one_table_shows_the_latest_of_every_job_and_each_line_is_logged(
    sandbox: Sandbox, key: str, run_log: list[str]
) -> None:
    shown = on_a_board(
        key,
        showing("a", "pending", 30.0, 2500, 0),
        showing("b", "not shown by WillSuite", 59.9),
        showing("a", "processing", 119.7, 2500, 1250),
        showing("a", "completed", 7325.0, 2500, None),
    )
    b = cells("b", "not shown by WillSuite", "?", "?", "0 min 59 s")
    assert shown == [
        HEAD + cells("a", "pending", "0", "2,500", "0 min 30 s"),
        HEAD + cells("a", "pending", "0", "2,500", "0 min 30 s") + f"\n{b}",
        HEAD + cells("a", "processing", "1,250", "2,500", "1 min 59 s") + f"\n{b}",
        HEAD + cells("a", "completed", "?", "2,500", "122 min 5 s") + f"\n{b}",
    ]
    lines = [line for line in run_log if line.startswith("Job ")]
    assert lines == [
        "Job a: pending, 0 of 2,500 changed, 0 min 30 s",
        "Job b: not shown by WillSuite, ? of ? changed, 0 min 59 s",
        "Job a: processing, 1,250 of 2,500 changed, 1 min 59 s",
        "Job a: completed, ? of 2,500 changed, 122 min 5 s",
    ]
    assert sum("among the artifacts of" in line for line in run_log) == 1


def test_jobs_that_are_shown_at_the_same_moment_are_all_in_the_table(
    sandbox: Sandbox, key: str
) -> None:
    names = [f"job-{number}" for number in range(6)]

    async def all_at_once(board: JobBoard) -> None:
        for seconds in (30.0, 330.0):
            await asyncio.gather(
                *(showing(name, "completed", seconds, 2, 2)(board) for name in names)
            )

    [table] = on_a_board(key, all_at_once)
    assert table == HEAD + "\n".join(
        cells(name, "completed", "2", "2", "5 min 30 s") for name in names
    )


def test_a_wait_shows_each_answer_and_what_it_means(
    sandbox: Sandbox, clock: Clock, key: str, run_log: list[str]
) -> None:
    job = under_way(sandbox, hidden_polls=1)
    fault = Fault(Status(503), path="/api-jobs/*", times=MAX_ATTEMPTS)
    clock.script = [nothing, lambda: sandbox.faults.append(fault), nothing, lambda: end(job)]

    async def wait_on_a_board(_progress: object) -> JobWait:
        return await wait_for_api_job("job-1", PACE, board=JobBoard(key))

    assert in_a_run(wait_on_a_board).end is JobEnd.COMPLETED
    said = [line.rpartition(",")[0] for line in run_log if line.startswith("Job ")]
    assert said == [
        "Job job-1: not shown by WillSuite, ? of ? changed",
        "Job job-1: can't be read now, ? of ? changed",
        "Job job-1: processing, 0 of 2 changed",
        "Job job-1: completed, 2 of 2 changed",
    ]
    tables = [artifact.data for artifact in asyncio.run(artifacts(key))]
    assert len(tables) == 1
    assert "| job-1 | completed | 2 | 2 | " in tables[0]


def test_a_table_that_cannot_be_shown_is_said_once_and_the_wait_goes_on(
    sandbox: Sandbox, clock: Clock, run_log: list[str]
) -> None:
    job = under_way(sandbox)
    clock.script = [nothing, nothing, lambda: end(job)]

    async def wait_on_a_board(_progress: object) -> JobWait:
        board = JobBoard("No key that Prefect takes!")
        return await wait_for_api_job("job-1", PACE, board=board)

    assert in_a_run(wait_on_a_board).end is JobEnd.COMPLETED
    assert sum("can't be shown" in line for line in run_log) == 1
    assert sum(line.startswith("Job job-1:") for line in run_log) == 3


WORDS_SHOWN = ["pending", "on_hold", "in-progress", "queued"]
WORDS_HIDDEN = [
    "Mrs Perpetua Quillfeather", "quillfeather@example.org", "07700900461", "x" * 21, "QX1 1ZZ",
    "failed: 12 Nowhere Lane", "Zoë",
]  # fmt: skip


def test_a_status_that_may_be_more_than_a_word_is_not_shown(
    sandbox: Sandbox, clock: Clock, key: str, run_log: list[str]
) -> None:
    words = [*WORDS_SHOWN, *WORDS_HIDDEN]
    for number, word in enumerate(words):
        job = under_way(sandbox, f"job-{number}", words={"processing": word})
        job.message = FAILED_MESSAGE
        job.end_time = datetime.now(UTC)

    async def wait_for_all(_progress: object) -> Sequence[JobWait]:
        board = JobBoard(key)
        return [
            await wait_for_api_job(f"job-{number}", PACE, board=board)
            for number in range(len(words))
        ]

    assert {waited.end for waited in in_a_run(wait_for_all)} == {JobEnd.FAILED}
    [artifact] = asyncio.run(artifacts(key))
    for text in ("\n".join(run_log), artifact.data):
        assert text.count("another word") == len(WORDS_HIDDEN)
        for word in WORDS_SHOWN:
            assert word in text
        for secret in [*WORDS_HIDDEN, "Quillfeather", "SQLSTATE"]:
            assert secret.casefold() not in text.casefold()


def told_failed(sandbox: Sandbox, message: str) -> Job:
    job = under_way(sandbox)
    job.move("failed")
    job.message, job.end_time = message, job.updated_at
    return job


def test_a_job_that_is_told_failed_because_it_was_taken_up_twice_is_waited_for(
    sandbox: Sandbox, clock: Clock
) -> None:
    job = told_failed(sandbox, ATTEMPTED)
    clock.script = [nothing, nothing, lambda: end(job)]
    assert wait().end is JobEnd.COMPLETED
    assert polls(sandbox) == 3


def test_a_job_that_stays_told_failed_has_failed_at_its_deadline(
    sandbox: Sandbox, clock: Clock
) -> None:
    told_failed(sandbox, ATTEMPTED)
    waited = wait()
    assert waited.end is JobEnd.FAILED
    assert PACE.timeout_seconds <= waited.seconds < PACE.timeout_seconds + PACE.poll_seconds
    assert seen_seconds(waited) == 0, "nobody knows how long it took"


def test_a_job_that_failed_for_another_reason_is_over_at_once(
    sandbox: Sandbox, clock: Clock
) -> None:
    told_failed(sandbox, FAILED_MESSAGE)
    assert wait().end is JobEnd.FAILED
    assert len(clock.slept) == 1
