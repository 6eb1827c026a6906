"""Plain values as a request: the documented limits, and what goes over the wire."""

import contextlib
import itertools
import json
import traceback
from datetime import date
from enum import StrEnum
from types import MappingProxyType

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from sandbox.writes import MARITAL_STATUSES, cleaned, errors_of_case
from willsuite import NewCase, new_case
from willsuite.bodies import NewAddressBookEntry, NewCustomer
from willsuite.errors import InvalidRecordError

CANARY = "Okafor"
PERSON = {"title": "Mr", "first_names": "Tom", "last_name": CANARY}
LIMITS = {
    **dict.fromkeys(("tel_1", "tel_2"), 25),
    **dict.fromkeys(("address_1", "address_2", "address_3", "postcode"), 100),
    **dict.fromkeys(("occupation", "preferred_name"), 150),
}
UNLIMITED = ("title", "first_names", "last_name", "middle_names", "gender", "email")
ENTRY_TEXTS = (
    "title", "first_names", "middle_names", "last_name", "known_as", "preferred_name", "alias",
    "tel_1", "tel_2", "email", "gender", "occupation", "address_1", "address_2", "address_3",
    "postcode", "name", "reg_no",
)  # fmt: skip
NOT_TEXT = [5, 1.5, True, b"Okafor", ["Okafor"], {"Okafor": "Okafor"}, date(1950, 1, 31)]


def sent(values) -> dict:
    """What goes over the wire for `values`."""
    return json.loads(msgspec.json.encode(new_case(values)))


def of_person(**fields) -> dict:
    return {"ref": "WS-1", "customers": [PERSON | fields]}


def of_entry(**fields) -> dict:
    return {"ref": "WS-1", "address_book": [{"entity_id": "person"} | fields]}


def refused(values) -> str:
    """The sentence of the refusal, which holds no value anywhere."""
    with pytest.raises(InvalidRecordError) as raised:
        new_case(values)
    shown = "".join(traceback.format_exception(raised.value, limit=0)) + repr(raised.value)
    assert CANARY not in shown
    assert "nothing was sent" in shown
    return str(raised.value)


# -- what is sent ------------------------------------------------------------------------------


def test_everything_documented_is_sent_as_it_was_given_under_its_wire_name():
    values = {
        "ref": "WS-1",
        "email": "user@example.org",
        "adviser_email": "adviser@example.org",
        "notes": "Line one\nLine two, “quoted”",
        "meta": {"b7a9": "Referral", "c0de": "2025-01-31"},
        "customers": [
            PERSON
            | {
                "middle_names": "Ife",
                "date_of_birth": "31/01/1950",
                "gender": "male",
                "marital_status": "civil",
                **{name: f"{name} 1" for name in LIMITS},
                "email": "tom@example.org",
            },
            PERSON,
        ],
        "address_book": [
            {"entity_id": "person", "dob": "31/01/1950"},
            {"entity_id": "organisation", "is_charity": "yes"},
            {"entity_id": "organisation", "is_charity": "no"},
            {"entity_id": "person"} | {name: f"{name} 1" for name in ENTRY_TEXTS},
        ],
    }
    assert sent(values) == values


def test_a_customers_surname_goes_out_as_last_name():
    (person,) = sent(of_person())["customers"]
    assert person == {"title": "Mr", "first_names": "Tom", "last_name": CANARY}


def test_nothing_given_is_nothing_sent():
    assert msgspec.json.encode(new_case({})) == b"{}"


OPTIONAL = {
    "case": ("ref", "email", "adviser_email", "notes"),
    "customer": tuple(NewCustomer.__struct_fields__[3:]),
    "entry": tuple(NewAddressBookEntry.__struct_fields__[1:]),
}


BUILD = {"case": lambda **fields: fields, "customer": of_person, "entry": of_entry}


@pytest.mark.parametrize("kind", OPTIONAL)
def test_an_absent_value_is_left_out(kind):
    build = BUILD[kind]
    for name in OPTIONAL[kind]:
        assert sent(build(**{name: None})) == build()
    body = msgspec.json.encode(new_case(build(**dict.fromkeys(OPTIONAL[kind]))))
    assert b"null" not in body
    assert b'""' not in body


@pytest.mark.parametrize("kind", OPTIONAL)
def test_an_empty_text_is_refused_or_left_out_but_never_sent(kind):
    build = BUILD[kind]
    wrong = []
    for name in OPTIONAL[kind]:
        with contextlib.suppress(InvalidRecordError):
            if sent(build(**{name: ""})) != build():
                wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize("name", ["meta", "customers", "address_book"])
def test_an_empty_collection_is_left_out(name):
    assert sent({"ref": "WS-1", name: {} if name == "meta" else []}) == {"ref": "WS-1"}


def test_a_crm_field_without_a_value_is_not_sent_empty():
    try:
        body = sent({"ref": "WS-1", "meta": {"b7a9": ""}})
    except InvalidRecordError:
        return
    assert body == {"ref": "WS-1"}


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=25)
people = st.fixed_dictionaries(
    {name: texts.filter(bool) for name in PERSON},
    optional=dict.fromkeys(set(LIMITS) | {"middle_names", "gender", "email"}, texts)
    | {
        "date_of_birth": st.none()
        | st.dates().map(lambda day: day.strftime("%d/%m/") + f"{day.year:04}"),
        "marital_status": st.none() | st.sampled_from(MARITAL_STATUSES),
    },
)
entries = st.fixed_dictionaries(
    {"entity_id": st.sampled_from(["person", "organisation"])},
    optional=dict.fromkeys(ENTRY_TEXTS, texts)
    | {"is_charity": st.none() | st.sampled_from(["yes", "no"])},
)
new_cases = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(OPTIONAL["case"], texts)
    | {
        "customers": st.lists(people, max_size=2),
        "address_book": st.lists(entries, max_size=2),
    },
)


def without_nothing(value):
    if isinstance(value, dict):
        kept = {key: without_nothing(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, [])}
    return [without_nothing(inner) for inner in value] if isinstance(value, list) else value


@given(values=new_cases)
def test_any_request_is_what_was_given_without_what_was_not(values):
    body = sent(values)
    assert body == without_nothing(values)
    assert sent(body) == body


@given(values=new_cases)
def test_whatever_we_send_passes_the_documented_rules(values):
    body = cleaned(sent(values))
    blank = [
        name
        for number, person in enumerate(body.get("customers", []))
        for name in (f"customers.{number}.{key}" for key in PERSON if person[key] is None)
    ]  # a title of blanks is refused by the server, not by us
    assert set(errors_of_case(body, "last_name")) == set(blank)


def test_numbers_of_a_table_are_not_turned_into_text():
    for name, wrong in itertools.product(("ref", "email", "adviser_email", "notes"), NOT_TEXT):
        assert f"at {name};" in refused({name: wrong})


def test_any_kind_of_mapping_and_sequence_will_do():
    values = MappingProxyType({"ref": "WS-1", "customers": (MappingProxyType(PERSON),)})
    assert sent(values) == {"ref": "WS-1", "customers": [PERSON]}


class Word(StrEnum):
    REF = "WS-1"


@pytest.mark.parametrize(
    "ref",
    [
        pytest.param(
            numpy.str_("WS-1"),
            id="numpy",
        ),
        pytest.param(Word.REF, id="enum"),
    ],
)
def test_a_text_of_another_class_is_sent_as_the_text_it_is(ref):
    assert sent({"ref": ref, "meta": {"b7a9": ref}}) == {"ref": "WS-1", "meta": {"b7a9": "WS-1"}}


def test_what_was_given_is_not_changed():
    values = of_person(tel_1=None)
    before = json.dumps(values)
    new_case(values)
    assert json.dumps(values) == before


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["a", "é", "名", "😀"], ids=ascii)
@pytest.mark.parametrize("name", LIMITS)
def test_a_text_may_be_as_long_as_its_limit_in_characters_and_no_longer(name, letter):
    longest = letter * LIMITS[name]
    assert sent(of_person(**{name: longest}))["customers"][0][name] == longest
    assert f"at customers[0].{name};" in refused(of_person(**{name: longest + letter}))


@pytest.mark.parametrize("name", UNLIMITED)
def test_a_text_without_a_documented_limit_may_be_long(name):
    assert sent(of_person(**{name: "x" * 10_000}))["customers"][0][name] == "x" * 10_000


@pytest.mark.parametrize("name", ENTRY_TEXTS)
def test_the_address_book_has_no_documented_limits(name):
    assert sent(of_entry(**{name: "x" * 1_000}))["address_book"][0][name] == "x" * 1_000


@pytest.mark.parametrize("name", PERSON)
def test_a_person_has_title_first_names_and_surname(name):
    person = {key: value for key, value in PERSON.items() if key != name}
    assert "at customers[0]" in refused({"customers": [person]})
    assert f"at customers[0].{name};" in refused(of_person(**{name: None}))
    assert f"at customers[0].{name};" in refused(of_person(**{name: ""}))


@pytest.mark.parametrize("name", PERSON)
def test_a_missing_field_is_named(name):
    person = {key: value for key, value in PERSON.items() if key != name}
    assert name in refused({"customers": [person]})


def test_a_case_needs_no_person_and_an_entry_only_its_kind():
    assert sent({"ref": "WS-1"}) == {"ref": "WS-1"}
    assert sent(of_entry()) == of_entry()
    assert "at address_book[0]" in refused({"address_book": [{"name": CANARY}]})


@pytest.mark.parametrize("status", MARITAL_STATUSES)
def test_marital_statuses_are_the_documented_ones_in_their_own_case(status):
    assert sent(of_person(marital_status=status))["customers"][0]["marital_status"] == status
    for other in (status.upper(), status.title(), f"{status} ", f" {status}", status[:-1]):
        assert "at customers[0].marital_status;" in refused(of_person(marital_status=other))


@pytest.mark.parametrize("status", ["Okafor", "engaged", ""])
def test_no_other_marital_status_is_sent(status):
    assert "at customers[0].marital_status;" in refused(of_person(marital_status=status))


@pytest.mark.parametrize("kind", ["Person", "organization", "Okafor", "", None])
def test_an_entry_is_a_person_or_an_organisation(kind):
    assert "at address_book[0].entity_id;" in refused(of_entry(entity_id=kind))


@pytest.mark.parametrize("answer", ["Yes", "NO", "y", "true", "", True, 1])
def test_a_charity_is_yes_or_no(answer):
    assert "at address_book[0].is_charity;" in refused(of_entry(is_charity=answer))


DATES = {"date_of_birth": of_person, "dob": of_entry}
PLACES = {"date_of_birth": "customers[0].date_of_birth", "dob": "address_book[0].dob"}


@pytest.mark.parametrize("name", DATES)
@pytest.mark.parametrize(
    "text",
    [
        *("1950-01-31", "31.01.1950", "31-01-1950", "31/1/1950", "1/01/1950", "31/01/50"),
        *("31/01/19500", " 31/01/1950", "31/01/1950 ", "x31/01/1950", "31/01/1950x"),
        *("31/01/1950 00:00", "31/ 1/1950", "+1/01/1950", "\n31/01/1950"),
        *("Okafor", "", "//", "31011950"),
    ],
)  # fmt: skip
def test_a_date_that_is_not_dd_mm_yyyy_is_refused(name, text):
    assert f"at {PLACES[name]};" in refused(DATES[name](**{name: text}))


@pytest.mark.parametrize("name", DATES)
@pytest.mark.parametrize(
    "text",
    [
        "31/01/1950\n",
        "\uff13\uff11/01/1950",
        "31/\uff10\uff11/1950",
        "31/01/\u0661\u0669\u0665\u0660",
    ],
    ids=ascii,
)
def test_a_date_has_ascii_digits_and_nothing_after_them(name, text):
    assert f"at {PLACES[name]};" in refused(DATES[name](**{name: text}))


@pytest.mark.parametrize("name", DATES)
@pytest.mark.parametrize("text", ["31/01/1950", "01/12/2025", "29/02/2024"])
def test_a_date_in_the_vendors_form_is_sent(name, text):
    body = sent(DATES[name](**{name: text}))
    assert text in json.dumps(body)


# -- what is not documented --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"Okafor": "x"}, ""),
        ({"Ref": "x"}, ""),
        ({"id": "x"}, ""),
        ({"is_active": "1"}, ""),
        (of_person(Okafor="x"), "customers[0]"),
        (of_person(last_names=CANARY), "customers[0]"),
        (of_person(dob="31/01/1950"), "customers[0]"),
        (of_person(is_deceased="1"), "customers[0]"),
        (of_entry(Okafor="x"), "address_book[0]"),
        (of_entry(date_of_birth="31/01/1950"), "address_book[0]"),
        (of_entry(relationship={}), "address_book[0]"),
        (of_entry(relationship={"p-1": CANARY}), "address_book[0]"),
        (of_entry(marital_status="single"), "address_book[0]"),
    ],
)
def test_a_key_that_is_not_documented_is_refused_even_if_empty(values, place):
    assert f"documented limit{f' at {place}' if place else ''};" in refused(values)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        *(({"meta": {CANARY: wrong}}, "meta[...]") for wrong in (None, *NOT_TEXT)),
        *(({"meta": wrong}, "meta") for wrong in (None, [], [CANARY], CANARY, 5, {5: CANARY})),
        *(({"customers": wrong}, "customers") for wrong in (None, CANARY, 5, {"Okafor": PERSON})),
        *(({"customers": [PERSON, wrong]}, "customers[1]") for wrong in (None, CANARY, 5, [])),
        *(({"address_book": wrong}, "address_book") for wrong in (None, CANARY, 5, {})),
        *((of_person(title=wrong), "customers[0].title") for wrong in NOT_TEXT),
        *((of_person(tel_1=wrong), "customers[0].tel_1") for wrong in NOT_TEXT),
        *((of_person(date_of_birth=wrong), "customers[0].date_of_birth") for wrong in NOT_TEXT),
        *((of_person(marital_status=wrong), "customers[0].marital_status") for wrong in NOT_TEXT),
        *((of_entry(known_as=wrong), "address_book[0].known_as") for wrong in NOT_TEXT),
        ({"customers": [PERSON] * 11 + [PERSON | {"tel_2": CANARY * 9}]}, "customers[11].tel_2"),
    ],
    ids=lambda each: each if isinstance(each, str) else ascii(each)[:50],
)
def test_a_refusal_names_the_place_and_never_the_value(values, place):
    assert f"at {place};" in refused(values)


@pytest.mark.parametrize("key", ["x `$.okafor", "x` - at `$.Okafor"])
def test_a_key_that_looks_like_a_place_is_not_taken_for_one(key):
    assert refused({key: "x"}) == "The case breaks a documented limit; nothing was sent."


def test_a_list_within_itself_is_refused():
    around = []
    around.append(around)
    assert "within itself" in refused({"customers": around})


@pytest.mark.parametrize("values", [None, CANARY, [CANARY], 5, [("ref", CANARY)], {5: CANARY}])
def test_what_is_no_case_at_all_is_refused(values):
    assert refused(values) == "The case breaks a documented limit; nothing was sent."


@pytest.mark.parametrize(
    "values",
    [
        {"ref": "Okafor\ud800"},
        {"notes": "\udfff"},
        {"meta": {"b7a9": "\ud800"}},
        {"meta": {"\ud800": "x"}},
        {"Okafor\ud800": "x"},
        {"customers": [PERSON | {"last_name": "Okafor\udc80"}]},
    ],
    ids=ascii,
)
def test_a_text_that_has_no_utf8_is_refused_before_it_is_to_be_sent(values):
    refused(values)


# -- what nobody may read ----------------------------------------------------------------------


@pytest.fixture
def request_of_okafor() -> NewCase:
    values = {"ref": CANARY, "email": CANARY, "notes": CANARY, "meta": {CANARY: CANARY}}
    return new_case(values | of_person(email=CANARY) | of_entry(name=CANARY) | {"ref": CANARY})


def test_a_request_shows_no_person_when_it_is_printed(request_of_okafor):
    (person,), (entry,) = request_of_okafor.customers, request_of_okafor.address_book
    for each in (request_of_okafor, person, entry):
        shown = f"{each!r} {each!s} {each} {[each]} {{'x': each}} %r" % (each,)
        assert type(each).__name__ in shown
        assert CANARY not in shown


def test_a_request_shows_no_person_to_rich_either(request_of_okafor):
    # Prefect's console and many notebooks print by way of rich
    assert CANARY not in pretty_repr(request_of_okafor)


def test_a_request_cannot_be_changed_after_it_was_checked(request_of_okafor):
    with pytest.raises(AttributeError):
        request_of_okafor.ref = "x" * 10
    with pytest.raises(AttributeError):
        request_of_okafor.customers[0].tel_1 = "1" * 26
