"""A person looks at the plan before anything is sent, and nothing else than that plan is sent.

Belongs here: the parameters `dry_run`, `approve`, `approve_over` and `plan` of all flows that
write, and waiting for somebody's answer. Does not: what a plan is made of
(`protocols/rows/approved.py`), or making and carrying one out (each flow).

A run of a deployment is suspended while it waits: its process ends, whatever is stopped meanwhile
stops nothing, and when it is resumed a new process begins where this one ended. What it has to
know, Prefect keeps with the run: the path of the plan, and the answer.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import msgspec
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field

from flows.endings import EXPECTED_ERRORS, failed
from flows.runs import leave_summary
from flows.writing import IncompleteRunError, RunSummary, Step
from protocols.rows.run_files import APPROVAL_NAME
from protocols.rows.stop_signal import cancelled_by_sigterm
from schemas.outcomes import Outcome
from tasks.files import write_atomically
from tasks.policy import RunError, log_for_people

KEY = "approval"
"""Of the suspension: resumed, the run is not suspended a second time."""
PLAN_KEY = "plan-file"
APPROVE_WITHIN_HOURS = 72.0


class Approval(RunInput):
    """What somebody says of a plan; the form in the UI."""

    approve: bool = Field(
        default=False,
        title="Approve",
        description="On: this plan is carried out. Off: the run ends, and nothing is sent.",
    )
    approved_by: str = Field(default="", title="Who says so", description="Your name.")
    remark: str = Field(
        default="", title="Remark", description="For the record; nothing about clients, please."
    )


class _Plan(msgspec.Struct, frozen=True):
    """What Prefect keeps with a run that waits for an answer."""

    path: str
    described: str
    """In counts."""


@dataclass(frozen=True)
class Asked:
    """What the caller wants to see, or has seen, before anything is sent."""

    dry_run: bool
    approve: bool
    approve_over: int | None
    plan: str | None
    within_hours: float

    def __post_init__(self) -> None:
        if self.plan is not None and self.approve:
            raise RunError("plan= carries out a plan that was approved; leave approve off.")
        if self.approve_over is not None and self.approve_over < 0:
            raise RunError("approve_over must be 0 rows or more.")
        if not self.within_hours > 0:
            raise RunError("approve_within_hours must be above 0.")

    @property
    def is_plan_needed(self) -> bool:
        """Whether a plan decides on how it goes on."""
        return self.plan is None and (self.approve or self.approve_over is not None)

    def must_be_approved(self, rows: int) -> bool:
        """Whether somebody has to look at a plan of so many rows to be sent."""
        return rows > 0 and (self.approve or rows > (self.approve_over or 0))


async def plan_first(
    make_asked: Callable[[], Asked], carry_out: Callable[[Step], Awaitable[State]]
) -> State:
    """Carry out a file as it is asked for: the plan, the work, or the work after the plan.

    Raises:
        Pause: the run is suspended until somebody has answered; Prefect takes care of it.
    """
    log_for_people()
    try:
        asked = make_asked()
        state = (
            await _with_plan(asked, carry_out)
            if asked.is_plan_needed and not asked.dry_run
            else await _pass(carry_out, Step(asked.dry_run, asked.plan))
        )
    except EXPECTED_ERRORS as error:
        return failed(error)
    left = state.data
    if left is not None:
        await leave_summary(left.summary if isinstance(left, IncompleteRunError) else left)
    return state


async def _with_plan(asked: Asked, carry_out: Callable[[Step], Awaitable[State]]) -> State:
    """Plan, ask where somebody has to be asked, and carry the plan out."""
    run = _this_run()
    plan = await _plan_of(run) if run is not None else None
    if plan is None:
        free_rows = None if asked.approve else asked.approve_over
        state = await _pass(carry_out, Step(is_plan=True, free_rows=free_rows))
        summary: RunSummary = state.data  # type: ignore[assignment]
        if not state.is_completed() or not summary["dry_run"]:
            return state
        rows = summary["outcomes"].get(Outcome.PLANNED, 0)
        plan = _Plan(str(summary["plan_file"]), _described(summary))
        if not asked.must_be_approved(rows):
            return await _pass(carry_out, Step(is_plan=False, plan=plan.path))
        if run is None:
            return _to_be_named(asked, summary, rows)
        await _keep(run, plan)
    answer = await _answer(plan, asked)
    if not answer.approve:
        by = f" by {answer.approved_by}" if answer.approved_by else ""
        return Cancelled(message=f"The plan {plan.path} was rejected{by}; nothing was sent.")
    get_run_logger().info("The plan is approved; nothing else than it is sent.")
    return await _pass(carry_out, Step(is_plan=False, plan=plan.path))


async def _pass(carry_out: Callable[[Step], Awaitable[State]], step: Step) -> State:
    with cancelled_by_sigterm():
        return await carry_out(step)


def _to_be_named(asked: Asked, summary: RunSummary, rows: int) -> State:
    """Where nobody can be asked in between, the caller names the plan in a second call."""
    plan = summary["plan_file"]
    message = (
        f"{rows:,} row(s) would be sent, and nothing was. Look at {summary['outcomes_file']}, "
        f'then run it again with plan="{plan}".'
    )
    if asked.approve:
        return Completed(message=message, data=summary)
    message = f"{message} (approve_over is {asked.approve_over:,} rows.)"
    return Failed(message=message, data=IncompleteRunError(message, summary))


def _described(summary: RunSummary) -> str:
    """The plan in counts, for the form."""
    counted = [f"{count:,} {outcome}" for outcome, count in summary["outcomes"].items()]
    differing = [f"{column} in {count:,} row(s)" for column, count in summary["columns"].items()]
    differs = f" It changes {', '.join(differing)}." if differing else ""
    return f"{summary['rows']:,} rows: {', '.join(counted)}.{differs}"


def _this_run() -> FlowRun | None:
    """The run, if Prefect can suspend it: it starts a run anew only where it knows how."""
    run = FlowRunContext.get().flow_run  # type: ignore[union-attr]
    if run is None or run.deployment_id is None or run.parent_task_run_id is not None:
        return None
    return run


async def _plan_of(run: FlowRun) -> _Plan | None:
    """The plan that the run was suspended for, if it was."""
    async with get_client() as client:
        try:
            return msgspec.json.decode(
                await client.read_flow_run_input(run.id, PLAN_KEY), type=_Plan
            )
        except PrefectHTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
            return None


async def _keep(run: FlowRun, plan: _Plan) -> None:
    async with get_client() as client:
        await client.create_flow_run_input(run.id, PLAN_KEY, msgspec.json.encode(plan).decode())


async def _answer(plan: _Plan, asked: Asked) -> Approval:
    """What somebody has said of the plan; without an answer the run is suspended here."""
    folder = Path(plan.path).parent
    form = Approval.with_initial_data(
        description=(
            f"{plan.described}\n\nThe artifacts of the run have more, and every row is in "
            f"`{folder / 'outcomes.parquet'}`.\n\nApproved, this plan is carried out and nothing "
            "else; what has changed since is left alone and ends as `conflict`. Without an answer "
            f"the run ends after {asked.within_hours:g} hours, and nothing is sent."
        )
    )
    seconds = max(1, round(asked.within_hours * 3600))
    answer = await asuspend_flow_run(form, timeout=seconds, key=KEY)
    assert answer is not None
    if folder.exists():
        at = f"{datetime.now(UTC):%FT%TZ}"
        said = {"approve": answer.approve, "by": answer.approved_by, "remark": answer.remark}
        write_atomically(folder / APPROVAL_NAME, msgspec.json.encode({**said, "at": at}))
    return answer
