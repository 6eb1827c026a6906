"""The task around `GET /crm-fields`."""

from tasks.connection import connected
from tasks.policy import read_task
from willsuite import CrmField


@read_task(name="get-crm-fields")
async def get_crm_fields() -> list[CrmField]:
    """The account's custom fields: id (the key of `meta`), label, allowed values.

    Source: vendor page "CRM Fields" (facts.md 5); a bare list, not paginated.
    """
    async with connected() as client:
        return await client.get_crm_fields()
