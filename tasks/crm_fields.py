"""The task around `GET /crm-fields`."""

from prefect.logging import get_run_logger

from tasks.connection import connected
from tasks.policy import read_task
from willsuite import CrmField


@read_task(name="get-crm-fields", task_run_name="read CRM fields")
async def get_crm_fields() -> list[CrmField]:
    """The account's custom fields: id (the key of `meta`), label, allowed values.

    Source: vendor page "CRM Fields" (facts.md 5); a bare list, not paginated.
    """
    async with connected() as client:
        fields = await client.get_crm_fields()
    get_run_logger().info("Read %s CRM field(s).", f"{len(fields):,}")
    return fields
