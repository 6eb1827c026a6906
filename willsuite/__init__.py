"""The WillSuite API client: connection, authentication, pacing, paging, errors.

No Prefect and no pandas in here; httpx only in `transport.py`.
"""

from willsuite.answers import Effect, WriteResult
from willsuite.bodies import (
    AppointmentUpdate,
    BulkUpdate,
    CaseUpdate,
    NewAppointment,
    NewCase,
    appointment_update,
    bulk_update,
    case_update,
    new_appointment,
    new_case,
)
from willsuite.client import CaseFilters, WillSuiteClient
from willsuite.records import ApiJob, Appointment, Case, CasesPage, CrmField, Customer
from willsuite.settings import Settings, load_pseudonym_key, load_settings
from willsuite.times import ServerTime, read_time

__all__ = [
    "ApiJob",
    "Appointment",
    "AppointmentUpdate",
    "BulkUpdate",
    "Case",
    "CaseFilters",
    "CaseUpdate",
    "CasesPage",
    "CrmField",
    "Customer",
    "Effect",
    "NewAppointment",
    "NewCase",
    "ServerTime",
    "Settings",
    "WillSuiteClient",
    "WriteResult",
    "appointment_update",
    "bulk_update",
    "case_update",
    "load_pseudonym_key",
    "load_settings",
    "new_appointment",
    "new_case",
    "read_time",
]
