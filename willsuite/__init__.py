"""The WillSuite API client: connection, authentication, pacing, paging, errors.

No Prefect and no pandas in here; httpx only in `transport.py`.
"""

from willsuite.client import CaseFilters, WillSuiteClient
from willsuite.records import Case, CasesPage, CrmField, Customer
from willsuite.settings import Settings, load_settings

__all__ = [
    "Case",
    "CaseFilters",
    "CasesPage",
    "CrmField",
    "Customer",
    "Settings",
    "WillSuiteClient",
    "load_settings",
]
