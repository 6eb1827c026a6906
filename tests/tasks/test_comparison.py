"""What a case of the account says about the row that wanted it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from tasks.comparison import Echo, Likeness, echo_of, echo_of_case, lacking, likeness_of
from tasks.existing import FoundCase
from willsuite import Case

ZOE = {"title": "Ms", "first_names": "Zoë", "last_name": "Núñez"}
TOM = {"title": "Mr", "first_names": "Tom", "last_name": "O'Brien"}
WEI = {"title": "Mr", "first_names": "Wei", "last_name": "Ng"}


def sent(*people: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"ref": "A-1", "customers": list(people)} if people else {"ref": "A-1"}
    return body | fields


def answer(**fields: Any) -> Case:
    people = [{"id": "p-1"} | person for person in fields.pop("customers", ())]
    return msgspec.convert({"id": "c-1", "ref": "A-1", "customers": people} | fields, Case)


def found(
    *people: Mapping[str, Any], meta: Mapping[str, str | None] | None = None, notes: str = ""
) -> FoundCase:
    return FoundCase("c-1", people, meta or {}, notes)


@pytest.mark.parametrize(
    ("body", "echo", "verdict"),
    [
        (sent(ZOE), {"last_names": "Núñez"}, Echo.PROVEN),
        (sent(ZOE), {"last_names": "NÚÑEZ"}, Echo.PROVEN),
        (sent(ZOE), {"full_names": "Ms Zoë Núñez"}, Echo.PROVEN),
        (sent(ZOE, TOM), {"last_names": "O'Brien"}, Echo.PROVEN),
        (sent(ZOE), {"ref": " a-1 ", "last_names": "Núñez"}, Echo.PROVEN),
        (sent(ZOE), {"last_names": ""}, Echo.NO_SURNAME),
        (sent(ZOE), {"last_names": None, "full_names": "Ms Zoë"}, Echo.NO_SURNAME),
        (sent(ZOE), {"ref": "A-2", "last_names": "Núñez"}, Echo.OTHER_REF),
        (sent(ZOE), {"ref": None, "last_names": "Núñez"}, Echo.OTHER_REF),
        (sent(), {}, Echo.PROVEN),
        (sent(), {"ref": "A-2"}, Echo.OTHER_REF),
    ],
)
def test_an_answer_proves_the_reference_and_a_surname(
    body: dict[str, Any], echo: dict[str, Any], verdict: Echo
) -> None:
    assert echo_of(body, answer(**echo)) is verdict


@pytest.mark.parametrize(
    ("body", "case", "verdict"),
    [
        (sent(ZOE, TOM), {"customers": [TOM]}, Echo.PROVEN),
        (sent(ZOE), {"customers": [ZOE | {"last_name": " núñez"}]}, Echo.PROVEN),
        (sent(ZOE), {"customers": [ZOE | {"last_name": ""}]}, Echo.NO_SURNAME),
        (sent(ZOE), {"customers": [ZOE | {"last_name": None}]}, Echo.NO_SURNAME),
        (sent(ZOE), {"customers": []}, Echo.NO_PEOPLE),
        (sent(ZOE), {"ref": "A-2", "customers": [ZOE]}, Echo.OTHER_REF),
        (sent(), {}, Echo.PROVEN),
    ],
)
def test_a_whole_case_proves_the_same_by_its_customers(
    body: dict[str, Any], case: dict[str, Any], verdict: Echo
) -> None:
    assert echo_of_case(body, answer(**case)) is verdict


@pytest.mark.parametrize(
    ("body", "case", "missing"),
    [
        (sent(ZOE, TOM), found(TOM, ZOE), []),
        (sent(ZOE), found(ZOE | {"first_names": "ZOË", "last_name": "núñez "}), []),
        (sent(ZOE), found(ZOE, TOM), []),
        (sent(ZOE, TOM), found(ZOE), ["customers"]),
        (sent(ZOE, ZOE), found(ZOE), ["customers"]),
        (sent(ZOE), found(ZOE | {"last_name": None}), ["customers"]),
        (sent(notes="Call back"), found(notes="Call back, please"), []),
        (sent(notes="Call back"), found(notes="  "), ["notes"]),
        (sent(meta={"f-1": "YES"}), found(meta={"f-1": "Yes", "f-2": "x"}), []),
        (sent(meta={"f-1": "YES"}), found(meta={"f-1": None}), ["meta"]),
        (
            sent(ZOE, notes="x", meta={"f-1": "YES"}),
            found(meta={"f-2": "YES"}),
            ["customers", "notes", "meta"],
        ),
    ],
)
def test_what_did_not_arrive_is_named_and_what_was_added_is_not(
    body: dict[str, Any], case: FoundCase, missing: Sequence[str]
) -> None:
    assert lacking(body, case) == missing


@pytest.mark.parametrize(
    ("body", "case", "likeness"),
    [
        (sent(ZOE), found(ZOE), Likeness.SAME),
        (sent(ZOE), found(ZOE | {"last_name": "O'Brien"}), Likeness.SAME),  # she married
        (sent(ZOE), found(ZOE | {"first_names": "Zoe Maria"}), Likeness.SAME),
        (sent(ZOE), found(TOM, ZOE), Likeness.SAME),
        (sent(ZOE, TOM), found(WEI, TOM), Likeness.SAME),
        (sent(ZOE, TOM), found(ZOE), Likeness.INCOMPLETE),
        (sent(ZOE), found(), Likeness.INCOMPLETE),
        (sent(ZOE), found(WEI), Likeness.OTHER_PEOPLE),
        (sent(ZOE, TOM), found(WEI), Likeness.OTHER_PEOPLE),
        (sent(ZOE), found({"first_names": None, "last_name": None}), Likeness.OTHER_PEOPLE),
        # a first name is no surname
        (sent(ZOE), found({"first_names": "Núñez", "last_name": "Zoë"}), Likeness.OTHER_PEOPLE),
        (sent(), found(WEI), Likeness.SAME),
    ],
)
def test_a_case_that_was_there_before_is_compared_by_who_is_in_it(
    body: dict[str, Any], case: FoundCase, likeness: Likeness
) -> None:
    assert likeness_of(body, case) is likeness
