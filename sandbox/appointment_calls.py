"""The endpoints about appointments; their rules and what becomes of them: `appointments.py`."""

from typing import Any

from aiohttp import web

from sandbox.account import BREAKS_OFF, Account
from sandbox.appointments import errors_of_appointment, errors_of_change
from sandbox.bodies import json_object
from sandbox.refusals import no_results, server_error
from sandbox.writes import Errors, exceeds_columns


class AppointmentCalls(Account):
    """The account, as far as its appointments can be written."""

    async def _create_appointment(self, request: web.Request) -> web.Response:
        case_id = self._known_case(request)
        sent = json_object(await request.read())
        self._refuse_if(errors_of_appointment(sent) or self._error_of_recipient(sent, case_id))
        _fail_if_too_long(sent)
        breaks_off = BREAKS_OFF.get()
        answer = self._appointments.create(case_id, sent, self._rng, breaks_off=breaks_off)
        return web.json_response(answer)

    async def _update_appointment(self, request: web.Request) -> web.Response:
        body = await request.read()
        appointment = self._known_appointment(request)
        sent = json_object(body)
        case_id = appointment["customer_case_id"]
        errors = errors_of_change(sent, appointment)
        self._refuse_if(errors or self._error_of_recipient(sent, case_id))
        _fail_if_too_long(sent)
        answer = self._appointments.change(appointment, sent, breaks_off=BREAKS_OFF.get())
        return web.json_response(answer)

    async def _delete_appointment(self, request: web.Request) -> web.Response:
        self._appointments.delete(self._known_appointment(request))
        return web.Response(body=b"", content_type="text/html")  # Laravel's type for nothing

    def _known_appointment(self, request: web.Request) -> dict[str, Any]:
        appointment_id = request.match_info["appointment_id"]
        found = self._appointments.find(self._known_case(request), appointment_id)
        if found is None:
            raise no_results("Appointment", appointment_id)
        return found

    def _error_of_recipient(self, sent: dict[str, Any], case_id: str) -> Errors:
        """Whether the e-mails would go to a stranger, where that is forbidden."""
        recipient = sent.get("email_recipient")
        case = self.store.case(case_id)
        if self.options.recipients == "anyone" or not recipient or case is None:
            return {}
        known = {(customer["email"] or "").casefold() for customer in case["customers"]}
        if recipient.casefold() in known:
            return {}
        return {"email_recipient": ["The selected email_recipient is invalid."]}


def _fail_if_too_long(sent: dict[str, Any]) -> None:
    texts = [sent.get(name) for name in ("email_recipient", "sms_recipient", "location")]
    if exceeds_columns(texts, sent.get("notes")):
        raise server_error()
