"""The WillSuite API client: connection, authentication, pacing, paging, errors.

No Prefect and no pandas in here; httpx only in `transport.py`.
"""

from willsuite.answers import Effect, WriteResult
from willsuite.bodies import BulkUpdate, CaseUpdate, NewCase, bulk_update, case_update, new_case
from willsuite.client import CaseFilters, WillSuiteClient
from willsuite.records import ApiJob, Case, CasesPage, CrmField, Customer
from willsuite.settings import Settings, load_settings

__all__ = [
    "ApiJob",
    "BulkUpdate",
    "Case",
    "CaseFilters",
    "CaseUpdate",
    "CasesPage",
    "CrmField",
    "Customer",
    "Effect",
    "NewCase",
    "Settings",
    "WillSuiteClient",
    "WriteResult",
    "bulk_update",
    "case_update",
    "load_settings",
    "new_case",
]
