"""What a server kept of what was sent to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from protocols.kept import (
    Echo,
    echo_of,
    echo_of_case,
    is_kept,
    lacking_of_person,
    lost_of_case,
    lost_values,
    paths_of,
)
from protocols.reading.found import FoundCase
from willsuite import Case, Customer

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
    return FoundCase.of("c-1", people, meta or {}, notes)


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


# -- single values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sent", "shown"),
    [
        ("email", "Tom@Example.org", "tom@example.org"),
        ("occupation", "Lift  engineer", " Lift engineer "),
        ("last_name", "O'Brien & Sons", "O&#039;Brien &amp; Sons"),
        ("last_name", "O'Brien", "O&amp;#039;Brien"),
        ("last_name", "Núñez", "Nu\u0301n\u0303ez"),
        ("postcode", "QX1 1ZZ", "qx11zz"),
        ("title", "Mr", "MR."),
        ("gender", "male", "M"),
        ("marital_status", "civil", "Civil Partnership"),
        ("tel_1", "07700 900461", "07700900461"),
        ("tel_1", "07700900461", "+44 (0)7700 900461"),
        ("date_of_birth", "18/10/1963", "1963-10-18"),
        ("date_of_birth", "18/10/1963", "1963-10-17T23:00:00.000000Z"),
        ("date_of_birth", "18/10/1963", "in a form nobody knows"),
        ("", "YES", "Yes"),
        ("", "1", "true"),
        ("", "0", "false"),
        ("", "31/01/2020", "2020-01-31"),
        ("", "2020-06-01", "2020-05-31T23:00:00Z"),
        ("", "R&D", "R&amp;D"),
        ("tel_1", None, None),
        ("tel_1", "", "07700900461"),
    ],
)
def test_another_form_of_a_value_is_no_loss(name: str, sent: str | None, shown: str | None) -> None:
    assert is_kept(name, sent, shown)


@pytest.mark.parametrize(
    ("name", "sent", "shown"),
    [
        ("tel_1", "07700900461", None),
        ("tel_1", "07700900461", " "),
        ("tel_1", "07700900461", "0770090046"),
        ("tel_1", "07700900461", "447700900462"),
        ("last_name", "Núñez", "Nunez"),
        ("last_name", "Núñez", "N??ez"),
        ("email", "tom@example.org", "tom@example"),
        ("address_1", "1 Nowhere Lane", "1 Nowhere"),
        ("postcode", "QX1 1ZZ", "QX1 1ZY"),
        ("title", "Mr", "Mrs"),
        ("gender", "male", "female"),
        ("marital_status", "widowed", "single"),
        ("occupation", "Baker", "0000-00-00"),
        ("date_of_birth", "03/02/1960", "1960-03-02"),
        ("date_of_birth", "18/10/1963", "1963-10-17"),
        ("date_of_birth", "18/10/1963", "0000-00-00"),
        ("date_of_birth", "18/10/1963", None),
        ("", "YES", "NO"),
        ("", "1", "false"),
        ("", "0", None),
        ("", "00042", "42"),
        ("", "31/01/2020", "2020-01-30"),
    ],
)
def test_another_value_is_a_loss(name: str, sent: str, shown: str | None) -> None:
    assert not is_kept(name, sent, shown)


# -- a new case ------------------------------------------------------------------------------------

BODY = sent(
    ZOE | {"tel_1": "07700900461", "preferred_name": "Zo"},
    TOM,
    notes="Line one\nline two 😀",
    meta={"f-1": "YES"},
)
KEPT_ZOE = ZOE | {"tel_1": "07700 900461"}


@pytest.mark.parametrize(
    ("case", "lost"),
    [
        (found(KEPT_ZOE, TOM, notes="Line one\r\nline two 😀", meta={"f-1": "Yes"}), []),
        (found(TOM, KEPT_ZOE, WEI, notes="Line one line two 😀. Rang.", meta={"f-1": "YES"}), []),
        (found(KEPT_ZOE, TOM, notes="Line one\nline two ", meta={"f-1": "YES"}), ["notes"]),
        (found(KEPT_ZOE, TOM, notes="Line one", meta={}), ["notes", "meta.f-1"]),
        (
            found(KEPT_ZOE | {"tel_1": None}, notes=BODY["notes"], meta={"f-1": "NO"}),
            ["customers.0.tel_1", "customers.1", "meta.f-1"],
        ),
        (
            found(KEPT_ZOE, TOM | {"last_name": ""}, notes=BODY["notes"], meta={"f-1": "YES"}),
            ["customers.1.last_name"],
        ),
        (found(notes=BODY["notes"], meta={"f-1": "1"}), ["customers.0", "customers.1"]),
    ],
)
def test_what_of_a_new_case_was_not_kept_is_named(case: FoundCase, lost: Sequence[str]) -> None:
    assert lost_of_case(BODY, case) == lost
    assert set(lost) <= set(paths_of(BODY))


# -- a customer who was added ----------------------------------------------------------------------

Person = dict[str, Any]


def person(first: str = "Tom", last: str = "O'Brien", **values: Any) -> Person:
    """Somebody of a file: what isn't given isn't there."""
    names = {"born": "date_of_birth", "lives": "postcode"}
    given = {names.get(name, name): value for name, value in values.items()}
    return {"title": "Mr", "first_names": first, "last_name": last, **given}


CUSTOMER_FIELDS = list(Customer.__struct_fields__)


def customer(first: str | None = "Tom", last: str | None = "O'Brien", **values: Any) -> Person:
    """Somebody of a case: every field is there, mostly as null."""
    given = {"id": "p-1"} | person("", "", **values) | {"first_names": first, "last_name": last}
    return dict.fromkeys(CUSTOMER_FIELDS) | given


TOM_60 = person(born="01/02/1960", lives="QX1 1ZZ")
SON = person(born="03/04/1985", lives="QX1 1ZZ")
WHOLE = person(born="01/02/1960", lives="QX1 1ZZ", gender="male", marital_status="single",
               tel_1="07700900461", preferred_name="Tommy")  # fmt: skip


def made(**values: Any) -> Person:
    """The customer that comes of `WHOLE`."""
    kept = {name: value for name, value in WHOLE.items() if name in CUSTOMER_FIELDS}
    return dict.fromkeys(CUSTOMER_FIELDS) | kept | {"id": "p-2"} | values


@pytest.mark.parametrize(
    ("values", "lost"),
    [
        ({}, []),
        ({"date_of_birth": "1960-02-01", "postcode": "QX11ZZ", "tel_1": "+447700900461"}, []),
        ({"title": "MR", "marital_status": "Single", "gender": "M"}, []),
        ({"date_of_birth": "1960-01-31T23:00:00Z"}, []),
        ({"gender": None, "marital_status": ""}, ["gender", "marital_status"]),
        ({"tel_1": " "}, ["tel_1"]),
        ({"date_of_birth": None}, ["date_of_birth"]),
        ({"date_of_birth": "1960-01-02"}, ["date_of_birth"]),
        ({"date_of_birth": "1960-01-02", "title": None}, ["title", "date_of_birth"]),
        # in a form nobody knows it is there all the same
        ({"date_of_birth": "1 Feb 1960"}, []),
    ],
    ids=str,
)
def test_what_was_sent_and_is_not_so_in_the_new_customer_is_lost(
    values: Person, lost: list[str]
) -> None:
    assert lost_values(WHOLE, [made(**values)], frozenset()) == lost
    assert lost_values(WHOLE, [customer("Ann", "Ng"), made(**values)], {"p-1"}) == lost


@pytest.mark.parametrize("text", ["0000-00-00", "0000-00-00 00:00:00", "00/00/0000"])
def test_a_birth_date_of_zeros_is_a_lost_one(text: str) -> None:
    assert lost_values(WHOLE, [made(date_of_birth=text)], frozenset()) == ["date_of_birth"]


def test_what_was_not_sent_or_is_never_shown_cannot_be_lost() -> None:
    assert "preferred_name" not in CUSTOMER_FIELDS
    assert lost_values(person(), [made(gender=None, tel_1=None)], frozenset()) == []


def test_who_was_there_before_or_has_another_name_lost_nothing() -> None:
    bare = customer(id="p-2", title=None)
    assert lost_values(WHOLE, [bare], {"p-2"}) == []
    assert lost_values(WHOLE, [bare | {"first_names": "Ann"}], frozenset()) == []
    assert lost_values(WHOLE, [], frozenset()) == []


@pytest.mark.parametrize("order", [1, -1])
def test_of_father_and_son_each_is_compared_with_himself(order: int) -> None:
    both = [
        dict.fromkeys(CUSTOMER_FIELDS) | {"id": "p-2"} | TOM_60,
        dict.fromkeys(CUSTOMER_FIELDS) | {"id": "p-3"} | SON | {"title": None},
    ][::order]
    assert lost_values(TOM_60, both, frozenset()) == []
    assert lost_values(SON, both, frozenset()) == ["title"]


def test_a_customer_with_a_surname_is_rather_the_one_than_one_without() -> None:
    nameless, whole = customer(last="", id="p-2"), customer(id="p-3")
    for both in ([nameless, whole], [whole, nameless]):
        assert lost_values(person(), both, frozenset()) == []


@pytest.mark.parametrize(
    ("has", "lacking"),
    [
        ({"tel_1": None, "date_of_birth": None}, ["tel_1", "date_of_birth"]),
        ({"tel_1": " ", "date_of_birth": "0000-00-00"}, ["tel_1", "date_of_birth"]),
        ({"tel_1": "07700 90", "date_of_birth": "1963-10-18"}, ["tel_1"]),
        ({"tel_1": "01632 960001", "date_of_birth": "1981-01-02"}, []),
        ({"tel_1": "0", "date_of_birth": "18/10/1963"}, ["tel_1"]),
        ({"date_of_birth": "1963-10-18"}, []),
    ],
    ids=str,
)
def test_a_customer_lacks_what_is_blank_or_cut_and_another_value_is_somebodys_own(
    has: dict[str, str | None], lacking: list[str]
) -> None:
    sent = {"tel_1": "07700 900123", "date_of_birth": "18/10/1963"}
    assert lacking_of_person(sent, has) == lacking
