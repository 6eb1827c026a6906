"""The endpoints that write cases: creations, updates, bulk updates.

Belongs here: what depends on the other cases of the account. Does not: the rules for the fields
and what becomes of them (`writes.py`), what is carried out later (`jobs.py`).
"""

from typing import Any

from aiohttp import web

from sandbox.account import BREAKS_OFF, Account
from sandbox.bodies import json_object, sent_json
from sandbox.faults import JobFault
from sandbox.people import USERS, new_id
from sandbox.refusals import no_results, refusal, server_error
from sandbox.writes import (
    CREATED_FIELDS,
    Errors,
    answer_to_update,
    case_exceeds_columns,
    changed_fields,
    errors_of_batch,
    errors_of_case,
    errors_of_update,
    new_case,
    new_customers,
    new_entries,
)

MAX_BATCH = 2500
"""Rows of one bulk update; documented."""


class CaseWrites(Account):
    """The account, as far as its cases can be written."""

    async def _create_case(self, request: web.Request) -> web.Response:
        sent = json_object(await request.read())
        # nothing is awaited from here on, so that of two requests with one ref the second is late
        ref = self._ref_of(sent)
        if BREAKS_OFF.get():
            sent = sent | {"customers": None, "address_book": None}
        options = self.options
        kept = options.losses.of(sent)
        if case_exceeds_columns(kept, options.surname_key):
            raise server_error()
        case = new_case(
            kept,
            self._rng,
            ref=ref,
            surname_key=options.surname_key,
            words_as_flags=options.words_as_flags,
        )
        self.store.put(case)
        self.store.address_books[case["id"]] = new_entries(sent, self._rng)
        answer = {name: case[name] for name in CREATED_FIELDS}
        return web.json_response(answer | {"meta": case["meta"] or []})

    def _ref_of(self, sent: dict[str, Any]) -> str:
        """The reference of the new case if all that was sent is accepted."""
        errors = errors_of_case(sent, self.options.surname_key)
        self._refuse_if(errors | self._error_of_ref(sent.get("ref")))
        for name in ("email", "adviser_email"):
            if sent.get(name) and sent[name].casefold() not in USERS:
                raise refusal(400, f"The {name} does not belong to a user of this account.")
        return sent.get("ref") or self.store.unused_ref()

    def _error_of_ref(self, ref: Any, *, besides: str | None = None) -> Errors:
        """Whether another case than `besides` has the reference, where that is forbidden."""
        if not (self.options.unique_refs and ref and isinstance(ref, str)):
            return {}
        taken = self.store.has_ref(ref, besides=besides)
        return {"ref": ["The ref has already been taken."]} if taken else {}

    async def _update_case(self, request: web.Request) -> web.Response:
        body = await request.read()
        # nothing is awaited from here on, so that what is compared is what is changed
        case_id = self._known_case(request)
        sent = json_object(body)
        errors = errors_of_update(sent, self.options.surname_key)
        self._refuse_if(errors | self._error_of_ref(sent.get("ref"), besides=case_id))
        if case_exceeds_columns(sent, self.options.surname_key):
            raise server_error()
        case = self.store.case(case_id)
        assert case is not None
        fields = changed_fields(case, sent, self.options.meta_update)
        added = [] if BREAKS_OFF.get() else self._customers_to_add(sent, case_id)
        if added:  # the case's own names stay as they are (Q19)
            fields["customers"] = case["customers"] + added
        if fields:
            case = self.store.change(case_id, **fields)
        return web.json_response(answer_to_update(case))

    def _customers_to_add(self, sent: dict[str, Any], case_id: str) -> list[dict[str, Any]]:
        options = self.options
        return new_customers(
            sent,
            self._rng,
            case_id,
            surname_key=options.surname_key,
            words_as_flags=options.words_as_flags,
            loses=options.update_loses,
        )

    async def _bulk_update(self, request: web.Request) -> web.Response:
        batch = self._batch_of(await request.read())
        fault = self.job_faults.pop(0) if self.job_faults else None
        if BREAKS_OFF.get():
            fault = JobFault(ends="pending")
        job = self._jobs.accept(new_id(self._rng), batch, fault or JobFault())
        return web.json_response({"apiJobId": job.id}, status=201)

    def _batch_of(self, body: bytes) -> list[dict[str, Any]]:
        """The rows of a bulk update if all of them are accepted, with what is looked at."""
        sent = sent_json(body)
        if not isinstance(sent, list) or not sent:
            raise refusal(400, "The body must be an array of cases.")
        if len(sent) > MAX_BATCH:
            raise refusal(400, f"The body must not have more than {MAX_BATCH} cases.")
        self._refuse_if(errors_of_batch(sent))
        if self.options.bulk_unknown_ids == "refuse" and any(
            row["id"] not in self.store for row in sent
        ):
            raise no_results("CustomerCase")
        return [
            {name: row[name] for name in ("id", "notes", "meta") if name in row} for row in sent
        ]
