"""What an answer means.

Belongs here: one function per kind of call that sorts an answer, or its absence, for the caller:
`read_error` for reads, `write_result` for writes. Does not: sending, waiting, or the records.

Source: the vendor lists 200, 201, 400, 404 and 500 only; the others are Laravel's habits
(facts.md 1.1) and what HTTP libraries do (reliability.md 2.1).

For a write each status is asked which layer may have sent it, and whether the application had
run by then:

- *Not applied*, so it may be sent again: no connection was made; 401, from Laravel's guard, and
  429, from its throttle or a proxy's, both before the controller.
- *Rejected*, with JSON or without a body: 403, 404, 405 and 410 come from the gate, the router or
  the look-up of the models, before the work; 406, 411, 413, 414, 415 and 431 from a server that has
  read no more than the head; 400, 409 and 422 from validation, before the work, or as the echo of a
  first copy, for which an import looks (`is_ref_taken`). With a web page instead any of them may be
  a firewall's, which looks at answers, too: ambiguous.
- *Applied*: 2xx with the record, which only the application has. 2xx with anything else is a log-in
  page, a firewall's or a cut answer: ambiguous.
- *Ambiguous*: 3xx, since a framework redirects before the work (to its log-in) and after it
  (`redirect()->back()`); the run stops, for the settings are wrong. 5xx, from the application at
  any point or a proxy that has given up. 408, 425, 499, 1xx and all others, from a proxy that may
  have passed the request on. No answer at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from willsuite.errors import (
    ConfigurationError,
    ContractError,
    NotFoundError,
    NotJsonError,
    RejectedError,
    ServerError,
    UnreachableError,
    WillSuiteError,
)
from willsuite.transport import Answer

Record = TypeVar("Record")

REFUSING_STATUSES = frozenset({400, 403, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431})
"""Given with JSON, or with nothing: the server has read the request and not carried it out."""
PASSING_STATUSES = frozenset({408, 425})
"""Refusals of a read that say "try again": too slow in arriving, too early."""
CONFLICT = "status_409"
MAX_COMPLAINT_CHARACTERS = 500
_REF = re.compile(r"\bref(erence)?\b", re.IGNORECASE)
_TAKEN = re.compile(r"taken|exist|unique|duplicate|already|in use", re.IGNORECASE)


def read_error(answer: Answer, call: str) -> WillSuiteError | None:
    """The error in the answer to a read, or None for a success.

    `call` is the method and path template ("GET /cases/{caseId}"). 401 and 429 are settled
    before by the client.
    """
    status = answer.status
    if status == 200:
        return None
    if status >= 500 or status in PASSING_STATUSES:
        return ServerError(f"{call} keeps failing with status {status}; try again later.", status)
    if 300 <= status < 400:
        return _redirected(call, status)
    if status == 404:
        return NotFoundError(
            f"{call} found nothing (status 404); check the id and the base URL.", 404
        )
    return RejectedError(f"{call} was refused with status {status}.", status)


class Effect(StrEnum):
    """What a write did to the account, as far as one answer tells."""

    APPLIED = "applied"
    NOT_APPLIED = "not applied"
    """Certainly never carried out: it may be sent again."""
    REJECTED = "rejected"
    """Read and refused: sending it again changes nothing."""
    AMBIGUOUS = "ambiguous"
    """It may have been carried out, or may still be; look before sending it again."""


@dataclass(frozen=True, slots=True)
class WriteResult(Generic[Record]):
    """The effect of one write, and what is known about it."""

    effect: Effect
    code: str
    """Stable, for counting and logs: `applied`, `unreachable`, `answer_lost`, `not_json`,
    `unreadable` or `status_<number>`."""
    record: Record | None = None
    """What the server says it stored; only where applied."""
    fields: tuple[str, ...] = ()
    """Names of the fields that a refusal complains about, dotted ("customers.0.title")."""
    complaint: str = field(default="", repr=False)
    """The server's own words for a refusal, cut short; may repeat a value, so never logged."""
    stops_run: str | None = None
    """A sentence where the next request would fare no better: the settings are wrong."""

    @property
    def is_about_ref(self) -> bool:
        """Whether a refusal is about the case's reference, as far as can be told."""
        is_said = "ref" in self.fields or _REF.search(self.complaint) is not None
        return is_said or self.code == CONFLICT

    @property
    def is_ref_taken(self) -> bool:
        """Whether it says that the reference belongs to another case."""
        is_said = self.is_about_ref and _TAKEN.search(self.complaint) is not None
        return is_said or self.code == CONFLICT


def write_result(
    signal: Answer | WillSuiteError, call: str, decode: Callable[[bytes], Record]
) -> WriteResult[Record]:
    """What the answer to a write, or its absence, means (reliability.md 2.1).

    401 and 429, which mean "not applied", are settled before by the client. The table at the top
    of this module has the reasons.
    """
    if isinstance(signal, UnreachableError):
        return WriteResult(Effect.NOT_APPLIED, "unreachable")
    if isinstance(signal, WillSuiteError):
        is_there = isinstance(signal, ContractError)
        return WriteResult(Effect.AMBIGUOUS, "unreadable" if is_there else "answer_lost")
    status = signal.status
    if 200 <= status < 300:
        return _accepted(signal.body, decode)
    code = f"status_{status}"
    if 300 <= status < 400:
        # a framework redirects after the work, too
        return WriteResult(Effect.AMBIGUOUS, code, stops_run=str(_redirected(call, status)))
    if status in REFUSING_STATUSES and (said := _said(signal.body)) is not None:
        fields, complaint = said
        return WriteResult(Effect.REJECTED, code, None, fields, complaint)
    return WriteResult(Effect.AMBIGUOUS, code)


def _accepted(body: bytes, decode: Callable[[bytes], Record]) -> WriteResult[Record]:
    try:
        return WriteResult(Effect.APPLIED, "applied", decode(body))
    except NotJsonError:
        return WriteResult(Effect.AMBIGUOUS, "not_json")
    except ContractError:
        return WriteResult(Effect.AMBIGUOUS, "unreadable")


def _redirected(call: str, status: int) -> ConfigurationError:
    return ConfigurationError(
        f"{call} was redirected (status {status}), which is refused because the token would "
        "go elsewhere; check WILLSUITE_BASE_URL."
    )


def _said(body: bytes) -> tuple[tuple[str, ...], str] | None:
    """The fields and the words of a refusal; None where it isn't the API that speaks.

    The shape isn't documented: Laravel's `message` and `errors`, of texts or of lists of texts,
    is the likely one.
    """
    if not body.strip():
        return (), ""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return (), " ".join(_texts(raw))[:MAX_COMPLAINT_CHARACTERS]
    if not raw.keys() & {"errors", "message", "error"}:
        raw = {"errors": raw}  # the bare field map: `response()->json($validator->errors(), 400)`
    errors = raw["errors"] if isinstance(raw.get("errors"), dict) else {}
    fields = tuple(map(str, errors))
    found = (_texts(raw.get(name)) for name in ("errors", "message", "error"))
    words = " ".join(next((texts for texts in found if texts), []))
    return fields, words[:MAX_COMPLAINT_CHARACTERS]


def _texts(raw: Any) -> list[str]:
    """A text, or the texts three levels down; anything deeper is nobody's error message."""
    flat = [text for item in _items(raw) for each in _items(item) for text in _items(each)]
    return [text for text in flat if isinstance(text, str) and text]


def _items(raw: Any) -> list[Any]:
    if isinstance(raw, dict):
        return list(raw.values())
    return raw if isinstance(raw, list) else [raw]
