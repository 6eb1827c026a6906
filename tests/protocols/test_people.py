"""What a case of the account says about the row that wanted it."""

import html
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.people import (
    Echo,
    Likeness,
    Sameness,
    echo_of,
    echo_of_case,
    lacking,
    likeness_of,
    likest,
    lost_values,
    missing_people,
    sameness,
)
from protocols.reading.lookup import FoundCase
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


# -- whether two records are of one person -------------------------------------------------------

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


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        pytest.param({"born": "01/02/1960"}, {"born": "1960-02-01"}, Sameness.SAME, id="born"),
        pytest.param(
            {"born": "01/02/1960", "lives": "QX1 1ZZ"},
            {"born": "1960-02-01", "lives": "QX9 9ZZ"},
            Sameness.SAME,
            id="moved",
        ),
        pytest.param({"born": "01/02/1960"}, {"born": "1962-02-01"}, Sameness.OTHER, id="year"),
        pytest.param({"born": "01/02/1960"}, {"born": "1960-03-01"}, Sameness.OTHER, id="month"),
        # what a server may make of a date
        pytest.param({"born": "03/02/1960"}, {"born": "1960-03-02"}, Sameness.CLASH, id="swapped"),
        pytest.param({"born": "01/03/1960"}, {"born": "1960-02-29"}, Sameness.CLASH, id="day off"),
        pytest.param(
            {"born": "01/03/1960", "lives": "QX1 1ZZ"},
            {"born": "1960-03-02", "lives": "QX9 9ZZ"},
            Sameness.CLASH,
            id="day off and moved",
        ),
        pytest.param({"born": "03/02/1960"}, {"born": "1961-03-02"}, Sameness.OTHER, id="more off"),
        pytest.param({"born": "03/03/1960"}, {"born": "1960-03-05"}, Sameness.OTHER, id="2 days"),
        pytest.param(
            {"born": "01/02/1960", "lives": "QX1 1ZZ"},
            {"born": "1985-03-04", "lives": "QX1 1ZZ"},
            Sameness.CLASH,
            id="father and son",
        ),
        pytest.param(
            {"born": "01/02/1960", "lives": "QX1 1ZZ"},
            {"born": "1985-03-04", "lives": "QX2 1ZZ"},
            Sameness.OTHER,
            id="namesakes",
        ),
        pytest.param(
            {"born": "01/02/1960", "lives": "QX1 1ZZ"},
            {"born": "1985-03-04"},
            Sameness.OTHER,
            id="one postcode unknown",
        ),
        pytest.param({"lives": "QX1 1ZZ"}, {"lives": "qx11zz "}, Sameness.SAME, id="lives"),
        pytest.param({"lives": "QX1 1ZZ"}, {"lives": "QX1 1ZY"}, Sameness.OTHER, id="elsewhere"),
        pytest.param(
            {"born": "01/02/1960", "lives": "QX1 1ZZ"}, {"lives": "QX1 1ZZ"}, Sameness.SAME, id="d"
        ),
        pytest.param(
            {"lives": "QX1 1ZZ"},
            {"born": "1960-02-01", "lives": "QX2 2ZZ"},
            Sameness.OTHER,
            id="elsewhere, and one date unknown",
        ),
        pytest.param({}, {}, Sameness.PERHAPS, id="names only"),
        pytest.param({"born": "01/02/1960"}, {}, Sameness.PERHAPS, id="no date there"),
        pytest.param({"lives": "QX1 1ZZ"}, {}, Sameness.PERHAPS, id="no postcode there"),
        pytest.param({"born": "01/02/1960"}, {"lives": "QX1 1ZZ"}, Sameness.PERHAPS, id="nothing"),
        pytest.param({"born": ""}, {"born": " ", "lives": ""}, Sameness.PERHAPS, id="blanks"),
    ],
)
def test_who_has_the_same_names_is_told_apart_by_birth_date_or_else_by_postcode(
    here: Person, there: Person, expected: Sameness
) -> None:
    assert sameness(person(**here), customer(**there)) is expected
    assert sameness(person(**there), customer(**here)) is expected


@pytest.mark.parametrize("other", [("Tom", "Brien"), ("Thomas", "O'Brien"), ("O'Brien", "Tom")])
def test_another_name_is_another_person_whatever_else_is_the_same(other: tuple[str, str]) -> None:
    rest = {"born": "01/02/1960", "lives": "QX1 1ZZ", "tel_1": "07700900461"}
    assert sameness(person(**rest), customer(*other, **rest)) is Sameness.OTHER


def test_title_middle_names_and_the_rest_say_nothing() -> None:
    here = person(born="01/02/1960", middle_names="Ann", gender="male", tel_1="1", email="a@b.c")
    there = customer(born="1960-02-01", title="Dr", middle_names=None, gender="female", tel_1="2")
    assert sameness(here, there) is Sameness.SAME


NAMES = [
    ("Zoë", "Núñez"), ("Mary-Jane", "van der Berg"), ("Seán", "O'Brien"), ("Tom", "D\u2019Arcy"),
    ("Jean Luc", "Smith-Jones"), ("Łukasz", "Żółć"), ("Null", "None"), ("Æthel", "Strauß"),
    ("Ali", "al-Ḥasan"), ("Ng", "李"), ("X Æ", "MacLeòd"), ("Nora & Kim", "St. <Elsewhere>"),
]  # fmt: skip

RETOLD: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "small letters": str.lower,
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "without accents": lambda text: "".join(
        letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter)
    ),
    "without the keys": lambda text: RETOLD["without accents"](
        text.translate(str.maketrans({"Ł": "L", "ł": "l", "Æ": "AE", "ß": "ss"}))
    ),
    "entities": lambda text: html.escape(text, quote=True),
    "numbered entities": lambda text: "".join(
        letter if letter.isascii() else f"&#{ord(letter)};" for letter in html.escape(text)
    ),
    "other apostrophes": lambda text: text.translate(str.maketrans({"'": "\u2019", "\u2019": "'"})),
    "without apostrophes": lambda text: text.replace("'", "").replace("\u2019", ""),
    "hyphens as spaces": lambda text: text.replace("-", " "),
    "other hyphens": lambda text: text.replace("-", "\u2010"),
    "without spaces": lambda text: text.replace(" ", ""),
    "spaces": lambda text: f" {text.replace(' ', '  ')}\xa0",
    "full width": lambda text: "".join(
        chr(ord(letter) + 0xFEE0) if letter.isascii() and letter.isalpha() else letter
        for letter in text
    ),
}


@pytest.mark.parametrize("retold", RETOLD)
@pytest.mark.parametrize("names", NAMES, ids=ascii)
def test_a_name_that_a_server_writes_differently_is_the_same_name(
    names: tuple[str, str], retold: str
) -> None:
    there = [RETOLD[retold](name) for name in names]
    assert sameness(person(*names), customer(*there)) is Sameness.PERHAPS
    assert missing_people([person(*names)], [customer(*there)]) == []


@pytest.mark.parametrize(
    ("here", "there"),
    [("Ng", "Nguyen"), ("李", "王"), ("Ali", "Alí2"), ("-", "--"), ("-", "Ng"), ("O'Brien", "O"),
     ("Müller", "Mueller")],
    ids=ascii,
)  # fmt: skip
def test_other_letters_are_another_name(here: str, there: str) -> None:
    assert sameness(person(last=here), customer(last=there)) is Sameness.OTHER
    assert sameness(person(first=here), customer(first=there)) is Sameness.OTHER


def test_names_without_a_letter_are_compared_as_they_are() -> None:
    assert sameness(person("-", "?"), customer("-", "?")) is Sameness.PERHAPS
    assert sameness(person("-", "?"), customer("?", "-")) is Sameness.OTHER


NONE = pytest.mark.parametrize("none", ["", " ", "\xa0", None], ids=ascii)


@NONE
@pytest.mark.parametrize("rest", [{}, {"born": "01/02/1960", "lives": "QX1 1ZZ"}], ids=str)
def test_who_has_no_surname_may_be_anybody_with_these_first_names(
    none: str | None, rest: Person
) -> None:
    assert sameness(person(**rest), customer(last=none, **rest)) is Sameness.CLASH
    assert sameness(person(**rest), customer("Ann", none, **rest)) is Sameness.OTHER


@NONE
def test_who_has_no_first_names_is_another_person(none: str | None) -> None:
    assert sameness(person(), customer(first=none)) is Sameness.OTHER
    assert sameness(person(), customer(none, none)) is Sameness.OTHER


# -- birth dates in every shape -------------------------------------------------------------------

SUMMER, WINTER = date(1960, 5, 1), date(1960, 2, 1)
LONDON = ZoneInfo("Europe/London")

SHAPES: dict[str, Callable[[date], str]] = {
    "ISO": date.isoformat,
    "day first": lambda day: f"{day:%d/%m/%Y}",
    "day first, short": lambda day: f"{day.day}/{day.month}/{day.year}",
    "blanks": lambda day: f" {day} ",
    "midnight": lambda day: f"{day} 00:00:00",
    "midnight with T": lambda day: f"{day}T00:00:00",
    "midnight, a zone of its own": lambda day: f"{day}T00:00:00.000000Z",
    "midnight in London": lambda day: datetime.combine(
        day, datetime.min.time(), LONDON
    ).isoformat(),
    "midnight in London as an instant": lambda day: (
        datetime.combine(day, datetime.min.time(), LONDON)
        .astimezone(UTC)
        .strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    ),
    "the same without a zone": lambda day: (
        datetime.combine(day, datetime.min.time(), LONDON)
        .astimezone(UTC)
        .strftime("%Y-%m-%d %H:%M:%S")
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("day", [SUMMER, WINTER, date(1968, 12, 25), date(2000, 2, 29)], ids=str)
def test_a_birth_date_is_the_same_day_in_whichever_shape(shape: str, day: date) -> None:
    here = person(born=f"{day:%d/%m/%Y}")
    assert sameness(here, customer(born=SHAPES[shape](day))) is Sameness.SAME
    expected = {1: Sameness.CLASH, 2: Sameness.OTHER}
    for days in (-2, -1, 1, 2):
        there = customer(born=SHAPES[shape](day + timedelta(days=days)))
        assert sameness(here, there) is expected[abs(days)]


def test_summer_times_of_the_shapes_really_fall_on_the_day_before() -> None:
    assert SHAPES["midnight in London as an instant"](SUMMER) == "1960-04-30T23:00:00.000000Z"
    assert SHAPES["the same without a zone"](SUMMER) == "1960-04-30 23:00:00"
    assert SHAPES["midnight in London"](WINTER) == "1960-02-01T00:00:00+00:00"


def test_a_birth_date_at_noon_is_of_its_day() -> None:
    here = person(born="01/05/1960")
    assert sameness(here, customer(born="1960-05-01T12:00:00Z")) is Sameness.SAME
    assert sameness(here, customer(born="1960-04-29T12:00:00Z")) is Sameness.OTHER


UNREADABLE = [
    "May 1960", "1 May 1960", "19600501", "1960", "-0001-11-30T00:00:00.000000Z", "unknown", "0",
    "1960-05", "1960-05-01Tnoon", "01.05.1960", "1960/05/01",
]  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_birth_date_that_cannot_be_read_is_not_known(text: str) -> None:
    here = person(born="02/05/1960")
    assert sameness(here, customer(born=text)) is Sameness.PERHAPS
    assert sameness(here | {"postcode": "A"}, customer(born=text, lives="a")) is Sameness.SAME
    assert missing_people([here], [customer(born=text)]) == []


@pytest.mark.parametrize(
    "text", ["0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "1960-02-30", "30/02/1960"]
)
def test_a_day_that_does_not_exist_is_no_birth_date(text: str) -> None:
    assert sameness(person(born="02/05/1960"), customer(born=text)) is Sameness.PERHAPS


@pytest.mark.parametrize("text", ["9999-12-31", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_day_at_the_end_of_all_days_is_no_reason_to_stop(text: str) -> None:
    assert sameness(person(born="02/05/1960"), customer(born=text)) is not Sameness.SAME


# -- who is missing in a case --------------------------------------------------------------------

TOM_60 = person(born="01/02/1960", lives="QX1 1ZZ")
SON = person(born="03/04/1985", lives="QX1 1ZZ")
ANN = person("Ann", "Ng", born="05/06/1961")


def test_the_likest_customer_counts_whatever_their_order() -> None:
    others = [customer(), customer(born="1985-03-04", lives="QX1 1ZZ"), customer("Ann", "Ng")]
    assert likest(TOM_60, others) is Sameness.PERHAPS
    assert likest(TOM_60, others[::-1]) is Sameness.PERHAPS
    assert likest(TOM_60, [*others, customer(born="1960-02-01")]) is Sameness.SAME
    assert likest(TOM_60, others[1:]) is Sameness.CLASH
    assert likest(TOM_60, others[2:]) is Sameness.OTHER
    assert likest(TOM_60, []) is Sameness.OTHER


@pytest.mark.parametrize(
    ("customers", "missing"),
    [
        ([], [TOM_60, ANN]),
        ([customer("Ann", "Ng", born="1961-06-05")], [TOM_60]),
        ([customer("Ann", "Ng"), customer(born="1960-02-01")], []),
        ([customer(born="1960-02-01"), customer(born="1960-02-01")], [ANN]),
        # in doubt somebody is there: who was added twice stays twice
        ([customer(last="")], [ANN]),
        ([customer(born="1960-01-02")], [ANN]),
        ([customer(born="1985-03-04", lives="QX1 1ZZ")], [ANN]),
        ([customer()], [ANN]),
        ([customer(born="1985-03-04", lives="QX2 2ZZ")], [TOM_60, ANN]),
    ],
)
def test_who_is_not_in_the_case_is_missing_in_the_order_of_the_row(
    customers: list[Person], missing: list[Person]
) -> None:
    assert missing_people([TOM_60, ANN], customers) == missing


def test_nobody_is_missing_where_nobody_is_wanted() -> None:
    assert missing_people([], [customer()]) == missing_people([], [], frozenset()) == []


@pytest.mark.parametrize(
    "kept",
    [{}, {"born": "1960-02-01"}, {"born": "1959-01-31"}, {"born": "1960-01-31", "lives": "QX9"},
     {"lives": "QX9"}],
    ids=str,
)  # fmt: skip
def test_a_new_customer_of_the_name_is_the_one_that_was_added_whatever_was_kept(
    kept: Person,
) -> None:
    new = customer(id="p-2", **kept)
    assert missing_people([TOM_60, ANN], [new], frozenset()) == [ANN]
    assert missing_people([TOM_60, ANN], [customer("Wei", "Ng"), new], {"p-1"}) == [ANN]


def test_a_customer_who_is_one_of_the_wanted_is_no_other_of_them() -> None:
    father = dict.fromkeys(CUSTOMER_FIELDS) | TOM_60 | {"id": "p-1"}
    assert likest(SON, [father]) is likest(SON, [father], [SON]) is Sameness.CLASH
    assert likest(SON, [father], [TOM_60, SON]) is Sameness.OTHER
    assert likest(TOM_60, [father], [TOM_60, SON]) is Sameness.SAME
    assert missing_people([TOM_60, SON], [father]) == [SON]
    assert missing_people([SON], [father]) == []
    # one of whom it isn't sure that he is the father may be either
    unsure = customer()
    assert likest(SON, [unsure], [TOM_60, SON]) is Sameness.PERHAPS
    assert missing_people([TOM_60, SON], [unsure]) == []
    assert missing_people([TOM_60, SON], [father, unsure]) == []


def test_without_knowing_who_was_there_before_a_namesake_born_elsewhere_is_somebody_else() -> None:
    new = customer(id="p-2", born="1959-01-31", lives="QX9")
    assert missing_people([TOM_60], [new]) == [TOM_60]
    assert missing_people([TOM_60], [new], {"p-2"}) == [TOM_60]


@NONE
def test_a_new_customer_who_lost_the_surname_is_the_one_that_was_added(none: str | None) -> None:
    new = customer(last=none, id="p-2")
    assert missing_people([TOM_60, ANN], [new], frozenset()) == [ANN]
    assert lost_values(person(), [new], frozenset()) == ["last_name"]
    # two would be added if both lost it
    assert missing_people([TOM_60, SON], [new], frozenset()) == [SON]
    assert missing_people([TOM_60, SON], [new, new | {"id": "p-3"}], frozenset()) == []


def test_a_customer_with_a_surname_is_rather_the_one_than_one_without() -> None:
    nameless, whole = customer(last="", id="p-2"), customer(id="p-3", title="Dr")
    for both in ([nameless, whole], [whole, nameless]):
        assert lost_values(person(), both, frozenset()) == []


def test_a_new_customer_of_another_name_is_not_the_one() -> None:
    new = customer("Ann", "O'Brien", id="p-2", born="1960-02-01", lives="QX1 1ZZ")
    assert missing_people([TOM_60], [new], frozenset()) == [TOM_60]


@pytest.mark.parametrize(
    "wanted", [[TOM_60, SON], [SON, TOM_60]], ids=["father first", "son first"]
)
@pytest.mark.parametrize("there", [TOM_60, SON], ids=["father", "son"])
def test_of_father_and_son_the_one_who_was_added_does_not_stand_for_the_other(
    wanted: list[Person], there: Person
) -> None:
    absent = [each for each in wanted if each is not there]
    added = dict.fromkeys(CUSTOMER_FIELDS) | there | {"id": "p-2"}
    assert missing_people(wanted, [added], frozenset()) == absent
    assert missing_people(wanted, [customer("Wei", "Ng"), added], {"p-1"}) == absent
    both = [added, dict.fromkeys(CUSTOMER_FIELDS) | absent[0] | {"id": "p-3"}]
    assert missing_people(wanted, both, frozenset()) == []
    assert missing_people(wanted, both[::-1], frozenset()) == []


def test_of_two_of_one_name_who_lost_their_birth_dates_each_counts_once() -> None:
    one, other = customer(id="p-2"), customer(id="p-3")
    assert missing_people([TOM_60, SON], [one], frozenset()) == [SON]
    assert missing_people([TOM_60, SON], [one, other], frozenset()) == []
    assert missing_people([TOM_60, SON], [one, other], {"p-2", "p-3"}) == []


@st.composite
def retold_people(draw: st.DrawFn) -> tuple[Person, Person]:
    """Somebody of a file, and the customer that a server makes of them."""
    letters = st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="&")
    first, last = draw(st.sampled_from(NAMES) | st.tuples(*[st.text(letters, min_size=1)] * 2))
    born = draw(st.dates(date(1890, 1, 1), date(2026, 1, 1)) | st.none())
    lives = draw(st.sampled_from(["QX1 1ZZ", "qx11zz", None]))
    here = person(first, last)
    there = customer(id=draw(st.sampled_from(["p-1", "p-2"])))
    way = RETOLD[draw(st.sampled_from(["as it is", "decomposed", "entities", "spaces"]))]
    there |= {"first_names": way(first), "last_name": way(last)}
    if born is not None:
        here["date_of_birth"] = f"{born:%d/%m/%Y}"
        there["date_of_birth"] = draw(st.sampled_from(list(SHAPES.values())))(born)
    if lives is not None:
        here["postcode"], there["postcode"] = lives, draw(st.sampled_from(["QX1 1ZZ", "QX1  1zz "]))
    lost = draw(st.sets(st.sampled_from(["date_of_birth", "postcode", "title"])))
    return here, there | dict.fromkeys(lost)


@given(retold_people(), st.sampled_from([None, frozenset(), frozenset({"p-1"})]))
def test_nobody_is_missing_in_a_case_that_has_them_written_differently(
    people: tuple[Person, Person], known_ids: frozenset[str] | None
) -> None:
    here, there = people
    assert missing_people([here], [there], known_ids) == []
    assert missing_people([here], [customer("Else", "Body"), there], known_ids) == []


# -- what a customer lost on the way -------------------------------------------------------------

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
