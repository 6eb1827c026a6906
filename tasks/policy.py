"""How our tasks run: the one place for retries, caching and what is not logged.

Retry layers, all told: the client sends a read at most 5 times; a read task that still failed for
a reason that may pass runs once more after 10 s; so 10 requests at worst. Writes have neither.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeAlias, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from willsuite.errors import (
    RateLimitedError,
    TokenUnavailableError,
    TransientError,
    WillSuiteError,
)

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction: TypeAlias = Callable[P, Coroutine[Any, Any, R]]
AsyncTask: TypeAlias = Task[P, Coroutine[Any, Any, R]]


class RunError(Exception):
    """The run can't go on, for a reason outside the API; the message is for the person.

    One sentence that says what to do, without personal data and without secrets.
    """


class OutputError(RunError):
    """The output can't be written or read."""


def is_transient(_task: Any, _task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed read may succeed in a moment; a wrong secret or a 404 never does.

    Nor does a rate limit that the client has waited for already, or a token that can't be had.
    """
    error = state.data
    return isinstance(error, TransientError) and not isinstance(
        error, RateLimitedError | TokenUnavailableError
    )


# Arguments say nothing about the remote state, so nothing is cached; results are paths and
# counts, but even they are not persisted: what must survive a crash we write ourselves.


def read_task(
    name: str, task_run_name: str | None = None
) -> Callable[[AsyncFunction[P, R]], AsyncTask[P, R]]:
    """Decorate a function that only reads from the API."""
    return task(
        name=name,
        task_run_name=task_run_name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=1,
        retry_delay_seconds=10,
        retry_condition_fn=is_transient,
    )


def write_task(
    name: str, task_run_name: str | None = None
) -> Callable[[AsyncFunction[P, R]], AsyncTask[P, R]]:
    """Decorate a function that writes to the API; never run again by itself, whatever happens."""
    return task(
        name=name,
        task_run_name=task_run_name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=0,  # said outright: PREFECT_TASK_DEFAULT_RETRIES is for tasks that don't say
    )


def file_task(name: str) -> Callable[[AsyncFunction[P, R]], AsyncTask[P, R]]:
    """Decorate a function that reads or writes files; never run again by itself."""
    return task(name=name, cache_policy=NO_CACHE, persist_result=False, retries=0)


class _ForPeople(logging.Filter):
    """Prefect logs a traceback with every failed task, though the message of our errors says it
    all, and a line with each that is done, though it has said itself what it did."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, WillSuiteError | RunError):
            record.exc_info = None
            record.exc_text = None
        return record.getMessage() != "Finished in state Completed()"


_FILTER = _ForPeople()


def log_for_people() -> None:
    """Keep out of the run's log what says nothing to a person."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_FILTER)
