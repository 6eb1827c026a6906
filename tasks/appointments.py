"""The tasks around `/cases/{caseId}/appointments`.

Belongs here: creating, changing and deleting an appointment, one call each.
Does not: remembering which were made (no endpoint reads them), or deciding what is sent again.

What is made, changed or deleted so, the journal of `sync_appointments` doesn't know. From a
notebook give that flow a DataFrame of one row: it waits its turn, keeps the journal, and sends no
message twice.
"""

from collections.abc import Mapping
from typing import Any

from tasks.connection import connected
from tasks.policy import write_task
from willsuite import Appointment, WriteResult, appointment_update, new_appointment


@write_task(name="create-appointment")
async def create_appointment(
    case_id: str, appointment: Mapping[str, Any]
) -> WriteResult[Appointment]:
    """Create an appointment of a case (`POST /cases/{caseId}/appointments`).

    Keep the id of its record: no endpoint finds an appointment again. Each of the flags for
    e-mail and SMS that is true sends a message to a real person.
    Source: vendor page "Case Appointments", Create Case Appointment.

    Args:
        case_id: the case's id.
        appointment: adviser_email, start_time and end_time ("YYYY-MM-DD HH:mm:ss"), and what
            else is wanted, under their wire names (`willsuite/bodies.py`).

    Returns:
        What is known of the effect. After `ambiguous` don't send it again before a person has
        looked into the adviser's diary.

    Raises:
        InvalidRecordError: the values break a documented limit.
        WillSuiteError: credentials, configuration or rate limit; nothing was created.
    """
    request = new_appointment(appointment)
    async with connected() as client:
        return await client.create_appointment(case_id, request)


@write_task(name="update-appointment")
async def update_appointment(
    case_id: str, appointment_id: str, update: Mapping[str, Any]
) -> WriteResult[Appointment]:
    """Change an appointment (`PATCH /cases/{caseId}/appointments/{appointmentID}`).

    The adviser can't be changed. A flag for e-mail or SMS in it may send its message again:
    leave it out where the person has heard already.
    Source: vendor page "Case Appointments", Update Case Appointment.

    Args:
        case_id: the case's id.
        appointment_id: the appointment's id.
        update: what is to change, under the wire names (`willsuite/bodies.py`).

    Returns:
        What is known of the effect; the code `status_404` says that the case has no such
        appointment (any more).

    Raises:
        InvalidRecordError: the values break a documented limit.
        WillSuiteError: credentials, configuration or rate limit; nothing was changed.
    """
    request = appointment_update(update)
    async with connected() as client:
        return await client.update_appointment(case_id, appointment_id, request)


@write_task(name="delete-appointment")
async def delete_appointment(case_id: str, appointment_id: str) -> WriteResult[None]:
    """Delete an appointment (`DELETE /cases/{caseId}/appointments/{appointmentID}`).

    Source: vendor page "Case Appointments", Delete Case Appointment.

    Args:
        case_id: the case's id.
        appointment_id: the appointment's id.

    Returns:
        What is known of the effect. After `ambiguous` it may be sent again; `status_404` then
        says that it was deleted the first time.

    Raises:
        WillSuiteError: credentials, configuration or rate limit; nothing was deleted.
    """
    async with connected() as client:
        return await client.delete_appointment(case_id, appointment_id)
