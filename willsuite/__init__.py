"""The WillSuite API client: connection, authentication, pacing, paging, errors.

No Prefect and no pandas in here; httpx only in `transport.py`.
"""

from willsuite.answers import Effect, WriteResult
from willsuite.client import CaseFilters, WillSuiteClient
from willsuite.new_cases import NewCase, new_case
from willsuite.records import Case, CasesPage, CrmField, Customer
from willsuite.settings import Settings, load_settings

__all__ = [
    "Case",
    "CaseFilters",
    "CasesPage",
    "CrmField",
    "Customer",
    "Effect",
    "NewCase",
    "Settings",
    "WillSuiteClient",
    "WriteResult",
    "load_settings",
    "new_case",
]
