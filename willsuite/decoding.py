"""Reading the records from bodies that bend the documentation.

Belongs here: one function per kind of body. Does not: the records (`records.py`), requests, or
what an answer means (`answers.py`).

Two routes lead to the same records. The fast one decodes straight into the structs and
succeeds on bodies as the vendor's examples show them. Where it fails (a new field, a number
where text is documented), the lenient one reads the body again value by value, counts and keeps the
fields it doesn't know, and refuses only what can't be a case at all.
"""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any

import msgspec

from willsuite.errors import ContractError, NotJsonError
from willsuite.ids import is_id
from willsuite.records import ApiJob, Appointment, Case, CasesPage, CrmField, Customer, Flag

MAX_COUNT = 1_000_000_000
"""No account has as many cases, pages or records: a higher number is taken for none."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class _Paginator(msgspec.Struct):
    data: list[Case]
    per_page: _Count | None = None
    last_page: _Count | None = None
    total: _Count | None = None


_page_decoder = msgspec.json.Decoder(_Paginator)
_case_decoder = msgspec.json.Decoder(Case)


def decode_page(
    body: bytes, *, page: int, server_date: datetime | None, fetch_number: int
) -> CasesPage:
    """A page of cases from the body of `GET /cases`.

    Raises:
        NotJsonError: the body isn't JSON, or was cut.
        ContractError: JSON, but no paginator of cases.
    """
    unknown: Counter[str] = Counter()
    try:
        paginator = _page_decoder.decode(body)
        cases = paginator.data
        per_page, last_page, total = paginator.per_page, paginator.last_page, paginator.total
    except (msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        raw = _json(body)
        if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
            raise ContractError("GET /cases answered without a list of cases in it.") from None
        cases = [_case(item, unknown) for item in raw["data"]]
        per_page, last_page, total = (
            _integer(raw.get(name)) for name in ("per_page", "last_page", "total")
        )
    except msgspec.DecodeError:
        raise _not_json() from None
    unread: Counter[str] = Counter()
    for case in cases:
        _check(case, unread)
    return CasesPage(
        cases, page, per_page, last_page, total, server_date, fetch_number, dict(unknown),
        dict(unread),
    )  # fmt: skip


def decode_case(body: bytes) -> Case:
    """A case from the body of `GET /cases/{caseId}`, or of the answer to a write.

    Raises as `decode_page` does, and a ContractError for an id that could not be asked for.
    """
    try:
        case = _case_decoder.decode(body)
    except (msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        case = _case(_json(body), Counter())
    except msgspec.DecodeError:
        raise _not_json() from None
    if not is_id(_check(case, Counter()).id):
        raise ContractError("A case came with an id that no WillSuite id can be.")
    return case


def decode_crm_fields(body: bytes) -> list[CrmField]:
    """The custom fields from the body of `GET /crm-fields`; options may be objects."""
    raw = _json(body)
    if not isinstance(raw, list):
        raise ContractError("GET /crm-fields answered without a list of fields.")
    fields = []
    for item in raw:
        if not isinstance(item, dict) or not (field_id := _text(item.get("id"))):
            raise ContractError("GET /crm-fields answered with a field that has no id.")
        options = item.get("options")
        fields.append(
            CrmField(
                field_id,
                _text(item.get("field_label")),
                [_option(option) for option in options] if isinstance(options, list) else None,
            )
        )
    return fields


def decode_job(body: bytes, job_id: str) -> ApiJob:
    """A job from the body of `GET /api-jobs/{apiJobID}`, of which the vendor shows no example."""
    raw = _json(body)
    if not isinstance(raw, dict) or not {"status", "end_time"} & raw.keys():
        raise ContractError("GET /api-jobs/{apiJobID} answered without a status.")
    effected = raw.get("effected_records")
    if effected is None:
        effected = raw.get("affected_records")
    return ApiJob(
        job_id,
        (_text(raw.get("status")) or "").strip().lower() or None,
        _integer(raw.get("total_records")),
        _integer(effected),
        _text(raw.get("message")),
        (_text(raw.get("end_time") or None) or "").strip() or None,
    )


def decode_job_id(body: bytes) -> str:
    """The id of the job that a bulk request has become (`apiJobId`, Q28)."""
    raw = _json(body)
    job_id = raw.get("apiJobId") if isinstance(raw, dict) else None
    if not isinstance(job_id, str) or not job_id:
        raise ContractError("PATCH /cases-bulk-update answered without an apiJobId.")
    return job_id


def decode_appointment(body: bytes) -> Appointment:
    """The appointment from the answer to its creation or to an update; fields may be missing."""
    raw = _json(body)
    if not isinstance(raw, dict) or not _is_id(raw.get("id")) or raw["id"] == "":
        raise ContractError("An appointment came without an id.")
    if not is_id(str(raw["id"])):
        raise ContractError("An appointment came with an id that no WillSuite id can be.")
    return Appointment(
        **{name: _text(raw.get(name)) for name in _APPOINTMENT_TEXTS},  # type: ignore[arg-type]
        **{name: _tri_state(raw.get(name)) for name in _APPOINTMENT_FLAGS},  # type: ignore[arg-type]
        **{name: _integer(raw.get(name)) for name in _APPOINTMENT_COUNTS},  # type: ignore[arg-type]
    )


def _check(case: Case, unread: Counter[str]) -> Case:
    """What even the most lenient reader can't do without; counts what it keeps as it is."""
    if not case.id:
        raise ContractError("A case came without an id.")
    if not isinstance(case.meta, dict | None):
        case.meta = _meta_of_list(case.meta) or None
        if case.meta:
            unread["case.meta"] += 1
    return case


def _meta_of_list(raw: Any) -> dict[str, str | None]:
    """What is no object, by place: PHP makes a list of an object with the keys 0, 1, 2 ..."""
    values = raw if isinstance(raw, list) else [raw]
    return {str(place): _text(value) for place, value in enumerate(values)}


def _not_json() -> NotJsonError:
    return NotJsonError("The answer is not JSON, or it was cut.")


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_json() from None


_CASE_TEXTS = tuple(
    name
    for name in Case.__struct_fields__
    if name not in ("is_active", "customers", "meta", "extra")
)
_CUSTOMER_TEXTS = tuple(
    name for name in Customer.__struct_fields__ if name not in ("is_deceased", "extra")
)
_CASE_FIELDS = {*_CASE_TEXTS, "is_active", "customers", "meta"}
_CUSTOMER_FIELDS = {*_CUSTOMER_TEXTS, "is_deceased"}

_APPOINTMENT_FLAGS = (
    "email_confirmation", "email_notification", "sms_confirmation", "sms_notification",
    "attended", "cancelled",
)  # fmt: skip
_APPOINTMENT_COUNTS = ("email_day_before", "sms_day_before")
_APPOINTMENT_TEXTS = tuple(
    name
    for name in Appointment.__struct_fields__
    if name not in _APPOINTMENT_FLAGS + _APPOINTMENT_COUNTS
)
_TRUE_OR_FALSE = {"1": True, "true": True, "0": False, "false": False}


def _is_id(raw: Any) -> bool:
    return isinstance(raw, str | int) and not isinstance(raw, bool)


def _case(raw: Any, unknown: Counter[str]) -> Case:
    if not isinstance(raw, dict) or not _is_id(raw.get("id")):
        raise ContractError("A case came without an id.")
    unknown.update(f"case.{name}" for name in raw.keys() - _CASE_FIELDS)
    customers = raw.get("customers")
    if customers is not None and not isinstance(customers, list):
        raise ContractError(f"The customers of case {_text(raw['id'])} are not a list.")
    return Case(
        **{name: _text(raw.get(name)) for name in _CASE_TEXTS},  # type: ignore[arg-type]
        is_active=_flag(raw.get("is_active")),
        customers=None if customers is None else [_customer(item, unknown) for item in customers],
        meta=_meta(raw.get("meta")),
        extra=_extra(raw, _CASE_FIELDS),
    )


def _customer(raw: Any, unknown: Counter[str]) -> Customer:
    if not isinstance(raw, dict) or not _is_id(raw.get("id")):
        raise ContractError("A customer came without an id.")
    unknown.update(f"customer.{name}" for name in raw.keys() - _CUSTOMER_FIELDS)
    extra = _extra(raw, _CUSTOMER_FIELDS)
    if raw.get("last_name") is None and "last_names" in raw:  # as the vendor's table has it (Q1)
        raw = {**raw, "last_name": raw["last_names"]}
    return Customer(
        **{name: _text(raw.get(name)) for name in _CUSTOMER_TEXTS},  # type: ignore[arg-type]
        is_deceased=_flag(raw.get("is_deceased")),
        extra=extra,
    )


def _extra(raw: dict[str, Any], known: set[str]) -> str | None:
    """What isn't documented, in an order of its own, since two answers are compared by it."""
    others = {name: raw[name] for name in sorted(raw.keys() - known)}
    return msgspec.json.encode(others).decode() if others else None


def _meta(raw: Any) -> Any:
    """An object with its values as text; what is no object is for `_check`."""
    return {key: _text(value) for key, value in raw.items()} if isinstance(raw, dict) else raw


def _flag(raw: Any) -> Flag:
    return raw if raw is None or isinstance(raw, bool | int | str) else str(raw)


def _tri_state(raw: Any) -> bool | None:
    """0, 1, true, false, as numbers or as texts; None for anything else, which says neither."""
    return _TRUE_OR_FALSE.get((_text(raw) or "").strip().lower())


def _text(raw: Any) -> str | None:
    """A scalar as text; anything nested as compact JSON, so that nothing is dropped."""
    if raw is None or isinstance(raw, str):
        return raw
    return msgspec.json.encode(raw).decode()


def _integer(raw: Any) -> int | None:
    try:
        number = int(raw)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= MAX_COUNT else None


def _option(raw: Any) -> str:
    """An option's text; the element type isn't documented, so objects are looked into."""
    if isinstance(raw, dict):
        for name in ("value", "label", "name", "option"):
            if name in raw:
                return _text(raw[name]) or ""
    return _text(raw) or ""
