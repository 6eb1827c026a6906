"""What may be written, and what becomes of it.

Belongs here: the documented rules for the fields of new and updated cases, in Laravel's words, and
what comes of accepted ones. Does not: HTTP, jobs, and what depends on the other cases of the
account.
"""

import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from typing import Any, Literal

from sandbox.people import CRM_FIELDS, case_of, flag, new_id

SurnameKey = Literal["last_name", "last_names"]
"""What a new customer's surname is called: the vendor's examples and table disagree (Q1)."""
MetaUpdate = Literal["merge", "replace"]
"""Whether CRM fields that an update doesn't name stay; the vendor doesn't say (3.6)."""
Errors = dict[str, list[str]]
"""What is wrong, by the dotted name of the field."""

MARITAL_STATUSES = (
    "married", "civil", "cohabiting", "widowed", "divorced", "dissolved", "separated", "single",
    "other",
)  # fmt: skip
CREATED_FIELDS = (
    "id", "ref", "first_names", "last_names", "full_names", "email", "postcode", "meta", "notes",
)  # fmt: skip
"""The documented answer to a creation."""
UPDATED_FIELDS = (
    "id", "ref", "first_names", "last_names", "email", "postcode", "notes", "meta", "full_names",
    "customers",
)  # fmt: skip
"""The documented answer to an update."""

COLUMN_CHARACTERS = 255
NOTES_BYTES = 65_535
"""Of Laravel's `string` and `text` on MySQL and MariaDB."""

Rule = Callable[[Any], str | None]
"""What is wrong with a value, with `{name}` for the field; None if nothing."""
Rules = Mapping[str, tuple[Rule, ...]]


def cleaned(value: Any) -> Any:
    """Texts without blanks around them, and empty ones as null, at any depth; Laravel's habit."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        return {key: cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    return value


def errors_of_case(sent: dict[str, Any], surname_key: SurnameKey) -> Errors:
    """What is wrong with the cleaned body of a creation."""
    errors = _errors_with_meta(sent, _CASE)
    errors |= errors_of_customers(sent.get("customers"), surname_key)
    return errors | _errors_of_each("address_book", sent.get("address_book"), _ENTRY)


def errors_of_update(sent: dict[str, Any], surname_key: SurnameKey) -> Errors:
    """What is wrong with the cleaned body of an update of one case."""
    errors = _errors_with_meta(sent, _UPDATE)
    return errors | errors_of_customers(sent.get("customers"), surname_key)


def exceeds_columns(texts: Iterable[Any], notes: Any) -> bool:
    """Whether a value is too long for the database, of which the rules know nothing."""
    is_long = any(isinstance(text, str) and len(text) > COLUMN_CHARACTERS for text in texts)
    return is_long or len((notes or "").encode()) > NOTES_BYTES


def case_exceeds_columns(sent: dict[str, Any], surname_key: SurnameKey) -> bool:
    """Whether that is so of the accepted body of a creation or an update."""
    people = sent.get("customers") or ()
    texts = [person.get(name) for person in people for name in (*_STORED, surname_key)]
    texts += [entry.get(name) for entry in sent.get("address_book") or () for name in _ENTRY]
    return exceeds_columns([sent.get("ref"), *texts], sent.get("notes"))


def errors_of_batch(sent: list[Any]) -> Errors:
    """What is wrong with the cleaned body of a bulk update."""
    errors: Errors = {}
    for number, row in enumerate(sent):
        if isinstance(row, dict):
            errors |= _errors_with_meta(row, _ROW, f"{number}.")
        else:
            errors[f"{number}"] = [f"The {number} must be an object."]
    return errors


def errors_of_customers(sent: Any, surname_key: SurnameKey) -> Errors:
    """What is wrong with new customers; a missing surname is only where it has its first name."""
    surname = (required, a_text) if surname_key == "last_name" else (a_text,)
    return _errors_of_each("customers", sent, {**_CUSTOMER, surname_key: surname})


def errors_of_meta(sent: dict[str, Any], before: str = "") -> Errors:
    """What is wrong with values of CRM fields; `before` is what their names begin with."""
    errors: Errors = {}
    for field_id, value in sent.items():
        name = f"{before}meta.{field_id}"
        allowed = _OPTIONS.get(field_id)
        if field_id not in _OPTIONS:
            errors[name] = [f"The {name} is not a CRM field."]
        elif isinstance(value, dict | list):
            errors[name] = [f"The {name} must be a string."]
        elif allowed and value is not None and value not in allowed:
            errors[name] = [f"The selected {name} is invalid."]
    return errors


def new_case(
    sent: dict[str, Any],
    rng: random.Random,
    *,
    ref: str,
    surname_key: SurnameKey,
    words_as_flags: bool,
) -> dict[str, Any]:
    """The case that comes of an accepted body."""
    case_id = new_id(rng)
    return case_of(
        case_id,
        ref=ref,
        notes=sent.get("notes"),
        meta=sent.get("meta") or {},
        is_active=flag(True, words_as_flags),
        customers=new_customers(
            sent, rng, case_id, surname_key=surname_key, words_as_flags=words_as_flags
        ),
    )


def new_customers(
    sent: dict[str, Any],
    rng: random.Random,
    case_id: str,
    *,
    surname_key: SurnameKey,
    words_as_flags: bool,
    loses: Collection[str] = (),
) -> list[dict[str, Any]]:
    """The people that come of an accepted body; what is in `loses` is dropped from them."""
    return [
        {
            "id": new_id(rng),
            **{name: customer.get(name) for name in _STORED},
            "last_name": customer.get(surname_key) or "",
            "date_of_birth": _iso_date(customer.get("date_of_birth")),
            **dict.fromkeys(loses),
            "customer_case_id": case_id,
            "is_deceased": flag(False, words_as_flags),
        }
        for customer in sent.get("customers") or []
    ]


def changed_fields(
    case: dict[str, Any], sent: dict[str, Any], meta_update: MetaUpdate
) -> dict[str, Any]:
    """Reference, notes and CRM fields as an accepted update makes them, if that is a change.

    Null clears the notes or a CRM field; a reference or `meta` of null stays as it is.
    """
    fields: dict[str, Any] = {}
    if sent.get("ref") is not None:
        fields["ref"] = sent["ref"]
    if "notes" in sent:
        fields["notes"] = sent["notes"]
    if sent.get("meta") is not None:
        kept = case["meta"] if meta_update == "merge" else {}
        fields["meta"] = kept | sent["meta"]
    return {name: value for name, value in fields.items() if value != case[name]}


def answer_to_update(case: dict[str, Any]) -> dict[str, Any]:
    """The case as an update answers it: `is_active` and `is_deceased` are missing (Q3, Q4)."""
    customers = [
        {name: value for name, value in customer.items() if name != "is_deceased"}
        for customer in case["customers"]
    ]
    shown = case | {"meta": case["meta"] or [], "customers": customers}
    return {name: shown[name] for name in UPDATED_FIELDS}


def new_entries(sent: dict[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    """The address book that comes of an accepted body, in the form in which it can be read."""
    return [
        {
            "id": new_id(rng),
            "entity_id": entry.get("entity_id") or "person",
            "data": {
                name: entry[name]
                for name in _ENTRY
                if name != "entity_id" and entry.get(name) is not None
            },
        }
        for entry in sent.get("address_book") or []
    ]


# -- rules -----------------------------------------------------------------------------------


def required(value: Any) -> str | None:
    """The rule that a field is given; null is not."""
    return "The {name} field is required." if value is None else None


def a_text(value: Any) -> str | None:
    """The rule that a field is a JSON string or null."""
    return None if value is None or isinstance(value, str) else "The {name} must be a string."


def _object(value: Any) -> str | None:
    # PHP takes an empty list for an empty object; refused here so that nobody relies on it
    return None if value is None or isinstance(value, dict) else "The {name} must be an object."


def _list(value: Any) -> str | None:
    return None if value is None or isinstance(value, list) else "The {name} must be an array."


def _date(value: Any) -> str | None:
    if value is None or _iso_date(value) is not None:
        return None
    return "The {name} does not match the format d/m/Y."


def _at_most(length: int) -> Rule:
    def rule(value: Any) -> str | None:
        if value is None or len(value) <= length:
            return None
        return f"The {{name}} must not be greater than {length} characters."

    return rule


def _one_of(*words: str) -> Rule:
    def rule(value: Any) -> str | None:
        return None if value is None or value in words else "The selected {name} is invalid."

    return rule


def _texts(*names: str) -> dict[str, tuple[Rule, ...]]:
    return dict.fromkeys(names, (a_text,))


_CASE: Rules = {
    **_texts("ref", "email", "adviser_email", "notes"),
    "meta": (_object,),
    "customers": (_list,),
    "address_book": (_list,),
}
_UPDATE: Rules = {name: _CASE[name] for name in ("ref", "notes", "meta", "customers")}
_ROW: Rules = {  # the reference is not among the parameters (Q27)
    "id": (required, a_text),
    "notes": _CASE["notes"],
    "meta": _CASE["meta"],
}
_CUSTOMER: Rules = {  # and a surname
    "title": (required, a_text),
    "first_names": (required, a_text),
    **_texts("middle_names", "gender", "email"),
    "date_of_birth": (a_text, _date),
    "marital_status": (a_text, _one_of(*MARITAL_STATUSES)),
    **dict.fromkeys(("tel_1", "tel_2"), (a_text, _at_most(25))),
    **dict.fromkeys(("address_1", "address_2", "address_3", "postcode"), (a_text, _at_most(100))),
    **dict.fromkeys(("occupation", "preferred_name"), (a_text, _at_most(150))),
}
_ENTRY: Rules = {
    "entity_id": (a_text, _one_of("person", "organisation")),
    **_texts("title", "first_names", "middle_names", "last_name", "known_as", "preferred_name"),
    **_texts("alias", "tel_1", "tel_2", "email", "gender", "occupation"),
    "dob": (a_text, _date),
    "relationship": (_object,),
    **_texts("address_1", "address_2", "address_3", "postcode", "name", "reg_no"),
    "is_charity": (a_text, _one_of("yes", "no")),
}
_STORED = (
    "title", "first_names", "middle_names", "last_name", "date_of_birth", "gender", "tel_1",
    "tel_2", "email", "occupation", "marital_status", "address_1", "address_2", "address_3",
    "postcode",
)  # fmt: skip
"""A customer's fields in the order of the vendor's answers; `preferred_name` is in none (3.2)."""
_OPTIONS: dict[str, list[str] | None] = {field["id"]: field["options"] for field in CRM_FIELDS}


def _errors_of_each(name: str, sent: Any, rules: Rules) -> Errors:
    errors: Errors = {}
    for number, item in enumerate(sent if isinstance(sent, list) else ()):
        at = f"{name}.{number}"
        if isinstance(item, dict):
            errors |= errors_of_fields(item, rules, f"{at}.")
        else:
            errors[at] = [f"The {at} must be an object."]
    return errors


def _errors_with_meta(sent: dict[str, Any], rules: Rules, before: str = "") -> Errors:
    errors = errors_of_fields(sent, rules, before)
    if isinstance(sent.get("meta"), dict):
        errors |= errors_of_meta(sent["meta"], before)
    return errors


def errors_of_fields(sent: dict[str, Any], rules: Rules, before: str = "") -> Errors:
    """The first complaint about each field."""
    found = {
        f"{before}{name}": _first(rule(sent.get(name)) for rule in checks)
        for name, checks in rules.items()
    }
    return {name: [text.format(name=name)] for name, text in found.items() if text}


def _first(complaints: Iterable[str | None]) -> str | None:
    return next((complaint for complaint in complaints if complaint), None)


def _iso_date(text: str | None) -> str | None:
    """DD/MM/YYYY as YYYY-MM-DD; None if it is no such date."""
    parts = re.fullmatch(r"([0-9]{2})/([0-9]{2})/([0-9]{4})", text or "")
    if parts is None:
        return None
    day, month, year = map(int, parts.groups())
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None
