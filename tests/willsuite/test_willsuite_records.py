"""Bodies that follow the documents, bodies that bend them, and what is refused."""

import json
import traceback
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.people import invent_cases
from willsuite.decoding import decode_case, decode_crm_fields, decode_page
from willsuite.errors import ContractError, NotJsonError, WillSuiteError
from willsuite.records import Case, Customer

PERSON = {"id": "p-1", "title": "Mr", "first_names": "Tom", "last_name": "Okafor"}
CASE = {"id": "c-1", "ref": "WS-1", "is_active": 1, "meta": {"f": "x"}, "customers": [PERSON]}


def page_of(*cases, **around):
    body = {"data": list(cases), "per_page": 10, "last_page": 3, "total": 21, **around}
    return decode_page(json.dumps(body).encode(), page=2, server_date=None, fetch_number=9)


def one(**fields) -> Case:
    return decode_case(json.dumps(CASE | fields).encode())


def leniently(case: dict) -> Case:
    """The same case read by the lenient route, which an unknown field forces."""
    people = case.get("customers")
    if people:
        people = [person | {"surprise": 1} for person in people]
    read = decode_case(
        json.dumps(case | {"surprise": 1} | ({"customers": people} if people else {})).encode()
    )
    for record in (read, *(read.customers or ())):
        assert record.extra == '{"surprise":1}'
        record.extra = None
    return read


def plain(case: Case) -> dict:
    return json.loads(msgspec.json.encode(case))


def assert_both_routes_agree(case: dict) -> None:
    fast, lenient = decode_case(json.dumps(case).encode()), leniently(case)
    assert isinstance(fast, Case)
    for name in Case.__struct_fields__:
        if name != "customers":
            left, right = getattr(fast, name), getattr(lenient, name)
            assert (left, type(left)) == (right, type(right)), name
    assert (fast.customers is None) == (lenient.customers is None), "customers"
    for one_fast, one_lenient in zip(fast.customers or [], lenient.customers or [], strict=True):
        for name in Customer.__struct_fields__:
            left, right = getattr(one_fast, name), getattr(one_lenient, name)
            assert (left, type(left)) == (right, type(right)), name


@pytest.mark.parametrize("words_as_flags", [False, True])
def test_both_routes_read_an_ordinary_account_alike(words_as_flags):
    for case in invent_cases(200, seed=3, words_as_flags=words_as_flags):
        assert_both_routes_agree(case)
        assert plain(leniently(case)) == plain(one(**case))


@pytest.mark.parametrize(
    "case",
    [
        {"id": "c-1"},
        {"id": "c-1", "customers": None},
        {"id": "c-1", "customers": []},
        *(CASE | {"meta": meta} for meta in ([], {}, None, {"f": None}, {"f": ""})),
        *(CASE | {"is_active": flag} for flag in (0, 1, True, False, "0", "1", "", None, 1.0)),
        CASE | {"customers": [PERSON | {"is_deceased": flag} for flag in (0, True, "1", None)]},
        CASE | {name: None for name in ("ref", "first_names", "email", "postcode", "notes")},
        CASE | {name: "" for name in ("ref", "first_names", "email", "postcode", "notes")},
    ],
    ids=lambda case: json.dumps(case)[:60],
)
def test_both_routes_read_the_documented_variants_alike(case):
    assert_both_routes_agree(case)


texts = st.none() | st.text(max_size=8)
flags = st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from(["0", "1"])
customers = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=5)},
    optional={"is_deceased": flags}
    | {
        name: texts
        for name in Customer.__struct_fields__
        if name not in ("id", "is_deceased", "extra")
    },
)
documented = st.fixed_dictionaries(
    {
        "id": st.from_regex("[A-Za-z0-9]{1,5}", fullmatch=True),
        "customers": st.lists(customers, max_size=2),
    },
    optional={"is_active": flags, "meta": st.just([]) | st.dictionaries(st.text(), texts)}
    | {
        name: texts
        for name in Case.__struct_fields__
        if name not in ("id", "customers", "meta", "is_active", "extra")
    },
)


@given(case=documented)
def test_both_routes_read_any_documented_case_alike(case):
    assert_both_routes_agree(case)


def test_fields_that_are_not_documented_are_kept_in_an_order_of_their_own():
    person = PERSON | {"zebra": None, "last_names": "of the table", "last_name": "of the example"}
    case = one(extra={"b": [1]}, Ape="ö", customers=[person])
    assert case.extra == '{"Ape":"ö","extra":{"b":[1]}}'
    assert case.customers[0].extra == '{"last_names":"of the table","zebra":null}'
    assert one().extra is None


@pytest.mark.parametrize("meta", [[], {}, None])
def test_an_empty_meta_is_empty_however_it_is_written(meta):
    assert not one(meta=meta).meta
    assert not leniently(CASE | {"meta": meta}).meta
    assert not page_of(CASE | {"meta": meta}).cases[0].meta


@pytest.mark.parametrize("surprise", [{}, {"surprise": 1}], ids=["fast", "lenient"])
@pytest.mark.parametrize(
    ("meta", "kept"),
    [
        (["x", "y"], {"0": "x", "1": "y"}),  # of PHP, which had {"0": "x", "1": "y"}
        ([None], {"0": None}),
        ([{"a": 1}], {"0": '{"a":1}'}),
        ("text", {"0": "text"}),
        (5, {"0": "5"}),
    ],
)
def test_a_meta_that_is_no_object_is_kept_and_counted_and_stops_nothing(meta, kept, surprise):
    assert one(meta=meta, **surprise).meta == kept
    page = page_of(CASE, CASE | {"meta": meta, **surprise})
    assert page.cases[1].meta == kept
    assert page.unread_values == {"case.meta": 1}


@pytest.mark.parametrize("flag", [0, 1, True, False, "0", "1", None])
def test_flags_are_kept_as_they_came(flag):
    case = one(is_active=flag, customers=[PERSON | {"is_deceased": flag}])
    for kept in (case.is_active, case.customers[0].is_deceased):
        assert kept == flag
        assert type(kept) is type(flag)


@pytest.mark.parametrize("surprise", [{}, {"surprise": 1}], ids=["fast", "lenient"])
def test_missing_customers_are_none_and_an_empty_list_stays_a_list(surprise):
    body = {"id": "c-1", **surprise}
    assert decode_case(json.dumps(body).encode()).customers is None
    assert decode_case(json.dumps(body | {"customers": []}).encode()).customers == []


def test_fields_nobody_documented_are_counted_by_name_and_the_rest_is_read():
    new = {"created_at": "2025-01-01", "adviser": {"id": 1}}
    page = page_of(
        CASE | new,
        CASE | {"id": "c-2", "adviser": None, "customers": [PERSON | {"age": 3}, PERSON]},
        CASE | {"id": "c-3"},
    )
    assert page.unknown_fields == {
        "case.created_at": 1,
        "case.adviser": 2,
        "customer.age": 1,
    }
    assert [case.id for case in page.cases] == ["c-1", "c-2", "c-3"]
    assert page.cases[1].customers[0].last_name == "Okafor"


def test_without_surprises_no_field_is_counted():
    assert page_of(CASE).unknown_fields == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (10**25, str(10**25)),
        (["a", 1], '["a",1]'),
        ({"a": "é"}, '{"a":"é"}'),
    ],
)
def test_what_should_be_text_and_is_not_becomes_text(value, text):
    case = one(
        ref=value, meta={"f": value}, customers=[PERSON | {"tel_1": value, "postcode": value}]
    )
    assert case.ref == text
    assert case.meta == {"f": text}
    assert (case.customers[0].tel_1, case.customers[0].postcode) == (text, text)


def test_an_id_that_is_a_number_becomes_text():
    case = one(id=12, customers=[PERSON | {"id": 34}])
    assert (case.id, case.customers[0].id) == ("12", "34")


@pytest.mark.parametrize("surprise", [{}, {"surprise": 1}], ids=["fast", "lenient"])
@pytest.mark.parametrize("case", [{}, {"id": None}, {"id": ""}, {"ref": "WS-1"}])
def test_a_case_without_an_id_is_refused(case, surprise):
    with pytest.raises(ContractError, match="without an id"):
        decode_case(json.dumps(case | surprise).encode())
    with pytest.raises(ContractError, match="without an id"):
        page_of(CASE, case | surprise)


@pytest.mark.parametrize(
    "fields",
    [
        {"customers": [{"last_name": "Okafor"}]},
        {"customers": [{"id": None}]},
        {"customers": ["p-1"]},
        {"customers": [None]},
        {"customers": {"0": PERSON}},
        {"customers": "p-1"},
    ],
)
def test_customers_that_cannot_be_people_are_refused_without_naming_anyone(fields):
    with pytest.raises(ContractError) as refused:
        one(**fields)
    assert "Okafor" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("case", ["text", 5, None, []])
def test_an_element_that_is_no_object_is_refused(case):
    with pytest.raises(ContractError):
        page_of(CASE, case)


WHOLE = json.dumps({"data": [CASE | {"notes": "é"}]}, ensure_ascii=False).encode()

NOT_JSON = [
    b"",
    b" ",
    b"<!doctype html><title>Log in</title>",
    b"Service Unavailable",
    b"\xff\xfe",
    b"{'data': []}",
    WHOLE[:-1],
    WHOLE[: len(WHOLE) // 2],
    WHOLE.replace("é".encode(), b"\xe9"),
    WHOLE.replace(b'"ref"', b'"surprise": 1, "ref"')[:-1],
    WHOLE + b"x",
]


@pytest.mark.parametrize("body", NOT_JSON)
@pytest.mark.parametrize(
    "decode",
    [
        lambda body: decode_page(body, page=1, server_date=None, fetch_number=1),
        decode_case,
        decode_crm_fields,
    ],
    ids=["page", "case", "fields"],
)
def test_what_is_not_json_or_was_cut_is_said_to_be_so_without_being_quoted(decode, body):
    with pytest.raises(NotJsonError) as raised:
        decode(body)
    text = "".join(traceback.format_exception(raised.value))
    assert "Okafor" not in text
    assert "Log in" not in text


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_page_cut_anywhere_is_never_taken_for_a_page(cut):
    with pytest.raises(NotJsonError):
        decode_page(WHOLE[:cut], page=1, server_date=None, fetch_number=1)


@pytest.mark.parametrize("start", [b"[", b'{"data":[', b'{"id":"c-1","x":['])
def test_a_body_nested_without_end_is_an_error_of_ours(start):
    body = start + b"[" * 100_000
    for decode in (
        lambda body: decode_page(body, page=1, server_date=None, fetch_number=1),
        decode_case,
        decode_crm_fields,
    ):
        with pytest.raises(WillSuiteError):
            decode(body)


@pytest.mark.parametrize(
    "body", [[], {}, {"data": None}, {"data": {}}, {"data": "x"}, {"message": "x"}, None, 5, "x"]
)
def test_json_that_is_no_page_of_cases_is_a_broken_contract(body):
    with pytest.raises(ContractError):
        decode_page(json.dumps(body).encode(), page=1, server_date=None, fetch_number=1)


@pytest.mark.parametrize("body", [[], [CASE], None, 5, "x", {"data": CASE}])
def test_json_that_is_no_case_is_a_broken_contract(body):
    with pytest.raises(ContractError):
        decode_case(json.dumps(body).encode())


def test_a_page_carries_what_the_paginator_and_the_caller_say():
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    body = {"data": [CASE], "per_page": 10, "last_page": 3, "total": 21, "path": "http://else"}
    page = decode_page(json.dumps(body).encode(), page=2, server_date=moment, fetch_number=9)
    assert (page.page, page.per_page, page.last_page, page.total) == (2, 10, 3, 21)
    assert (page.server_date, page.fetch_number) == (moment, 9)


@pytest.mark.parametrize(
    ("value", "read"), [("21", 21), (None, None), ("many", None), ([], None), ({}, None)]
)
def test_counts_of_the_paginator_are_read_from_text_and_else_unknown(value, read):
    page = page_of(CASE, per_page=value, last_page=value, total=value)
    assert (page.per_page, page.last_page, page.total) == (read, read, read)


def test_an_empty_page_is_a_page():
    page = page_of(total=0, last_page=1)
    assert (page.cases, page.total) == ([], 0)


@pytest.mark.parametrize(
    ("options", "read"),
    [
        (None, None),
        ([], []),
        (["YES", "NO"], ["YES", "NO"]),
        ([1, None, True], ["1", "", "true"]),
        ([{"value": "a", "label": "A"}, {"label": "B"}], ["a", "B"]),
        ([{"name": "c"}, {"option": 4}, {"value": None}], ["c", "4", ""]),
        ([{"colour": "red"}], ['{"colour":"red"}']),
        ("YES,NO", None),
    ],
)
def test_options_of_a_crm_field_are_read_as_strings_or_from_objects(options, read):
    body = json.dumps([{"id": "f-1", "field_label": "Lead", "options": options}])
    (field,) = decode_crm_fields(body.encode())
    assert (field.id, field.field_label, field.options) == ("f-1", "Lead", read)


def test_crm_fields_keep_their_order_and_may_have_no_label_and_new_keys():
    body = b'[{"id": 7, "type": "text"}, {"id": "a", "field_label": null, "options": null}]'
    assert [(field.id, field.field_label) for field in decode_crm_fields(body)] == [
        ("7", None),
        ("a", None),
    ]


@pytest.mark.parametrize(
    "body", [{}, {"data": []}, [{}], [{"id": ""}], [{"id": None}], ["x"], [None], 5, None]
)
def test_crm_fields_without_ids_or_without_a_list_are_refused(body):
    with pytest.raises(ContractError):
        decode_crm_fields(json.dumps(body).encode())


def test_the_text_of_a_record_shows_its_id_and_nobody():
    page = page_of(CASE | {"notes": "secret note", "postcode": "QX1 1ZZ"})
    (case,) = page.cases
    assert repr(case) == "Case(id='c-1')"
    assert repr(case.customers) == "[Customer(id='p-1')]"
    for text in (repr(page), str(page), f"{case}"):
        assert "Okafor" not in text
        assert "secret note" not in text
        assert "QX1" not in text


def test_a_surname_under_the_vendors_other_name_is_a_surname():
    people = [{"id": "p1", "last_names": "Null"}, {"id": "p2", "last_name": "NA"}]
    customers = one(customers=people).customers
    assert [person.last_name for person in customers] == ["Null", "NA"]
