"""Runs of deployments without a worker: this process carries them out, as a worker's would.

Belongs here: a deployment of a flow, and taking its runs from the server. Does not: workers and
their processes (`engines.py`).
"""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async
from prefect.states import Pending

_DUE = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))


async def deploy(client: PrefectClient, flow: Flow[..., Any], **options: Any) -> tuple[UUID, str]:
    """A new deployment of `flow`, with its form, and what it is called."""
    name = f"test-{uuid4().hex}"
    made = await client.create_deployment(
        await client.create_flow(flow),
        name,
        parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
        **options,
    )
    return made, f"{flow.name}/{name}"


async def carry_out_next(client: PrefectClient, deployment: UUID, flow: Flow[..., Any]) -> None:
    """Wait for a run of `deployment` that is due, and carry it out to its end or suspension."""
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    while not (
        due := await client.read_flow_runs(
            deployment_filter=of_it, flow_run_filter=FlowRunFilter(state=_DUE), limit=1
        )
    ):
        await asyncio.sleep(0.05)
    [run] = due
    await client.set_flow_run_state(run.id, Pending())
    run = await client.read_flow_run(run.id)
    try:
        await run_flow_async(flow, flow_run=run, parameters=run.parameters, return_type="state")
    except Pause:
        return
