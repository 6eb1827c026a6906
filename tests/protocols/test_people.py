"""Whether two records are of one person, and who of a row is in a case."""

# ruff: noqa: RUF001 - signs that look like others are what is tested

import html
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.people import Presence, likest, made_of, missing_people, presence
from schemas.people import Sameness, sameness
from willsuite import Customer

Person = dict[str, Any]

# -- pairs, each with the verdict and why ----------------------------------------------------------

WIRE_NAMES = ("title", "first_names", "middle_names", "last_name", "date_of_birth", "postcode")


def record(text: str) -> Person:
    """`Mr | Tom | Paul | O'Brien | 01/02/1960 | QX1 1ZZ`; a blank is none."""
    cells = [cell.strip() or None for cell in text.split("|")]
    return dict(zip(WIRE_NAMES, cells, strict=True))


SAME, PERHAPS, RENAMED = Sameness.SAME, Sameness.PERHAPS, Sameness.RENAMED
CLASH, ELSEWHERE, OTHER = Sameness.CLASH, Sameness.ELSEWHERE, Sameness.OTHER

PAIRS: list[tuple[str, str, Sameness, str]] = [
    # one person
    ("Mr|Tom||Hill|01/02/1960|QX1 1ZZ", "Mr|Tom||Hill|1960-02-01|QX1 1ZZ", SAME, "all the same"),
    ("Mr|Tom||Hill|01/02/1960|QX1 1ZZ", "Mr|Tom||Hill|01/02/1960|QX9 9ZZ", SAME, "he moved"),
    ("Mr|Tom||Hill||QX1 1ZZ", "Mr|Tom||Hill|01/02/1960|qx11zz", SAME, "postcode, one date unknown"),
    ("Mr|Tom||Hill|01/02/1960|", "Dr|Tom||Hill|01/02/1960|", SAME, "a title is earned"),
    ("|Dr. Tom||Hill|01/02/1960|", "Mr|Tom||Hill|01/02/1960|", SAME, "a title among the names"),
    ("|Mary|Ann|Hill|01/02/1960|", "|Mary||Hill|01/02/1960|", SAME, "middle name left out"),
    ("|Mary Ann||Hill|01/02/1960|", "|Mary|Ann|Hill|01/02/1960|", SAME, "middle name elsewhere"),
    ("|Mary Ann||Hill|01/02/1960|", "|Mary||Hill|01/02/1960|", SAME, "second name left out"),
    ("|Mary|A.|Hill|01/02/1960|", "|Mary|Ann|Hill|01/02/1960|", SAME, "middle initial"),
    ("|Mary|Ann|Hill|01/02/1960|", "|Mary|Jane|Hill|01/02/1960|", SAME, "wrong middle name"),
    ("|Zoë||Núñez|01/02/1960|", "|Zoe||Nunez|01/02/1960|", SAME, "accents"),
    ("|Łukasz||Żółć|01/02/1960|", "|Lukasz||Zolc|01/02/1960|", SAME, "letters without the keys"),
    ("|Tom||O'Brien|01/02/1960|", "|Tom||O’Brien|01/02/1960|", SAME, "apostrophes"),
    ("|Tom||O'Brien|01/02/1960|", "|Tom||O&#039;Brien|01/02/1960|", SAME, "an entity"),
    ("|Tom||O'Brien|01/02/1960|", "|Tom||O&amp;#039;Brien|01/02/1960|", SAME, "escaped twice"),
    ("|Tom||O'Brien|01/02/1960|", "|TOM||OBRIEN|01/02/1960|", SAME, "capitals, no apostrophe"),
    ("|Ann||Smith-Jones|01/02/1960|", "|Ann||Smith Jones|01/02/1960|", SAME, "hyphen as a space"),
    ("|Jean-Luc||Hill|01/02/1960|", "|Jean Luc||Hill|01/02/1960|", SAME, "hyphen in a first name"),
    ("|Tom||Hill|18/10/1963|", "|Tom||Hill|1963-10-17T23:00:00.000000Z|", SAME, "London's cast"),
    ("|Tom||Hill|18/01/1963|", "|Tom||Hill|1963-01-18T00:00:00.000000Z|", SAME, "and in winter"),
    # same names, and nothing else to go by
    ("|Tom||Hill||", "|Tom||Hill||", PERHAPS, "names are all there is"),
    ("|Tom||Hill|01/02/1960|QX1 1ZZ", "|Tom||Hill||", PERHAPS, "nothing known there"),
    ("|Tom||Hill|01/02/1960|", "|Tom||Hill||QX1 1ZZ", PERHAPS, "nothing known of both"),
    ("|Tom||Hill|01/02/1960|", "|Tom||Hill|0000-00-00|", PERHAPS, "MySQL's date of zeros"),
    # the same, under another name
    ("|Zoë||Hill|01/02/1960|QX1 1ZZ", "|Zoë||Ng|01/02/1960|QX9 9ZZ", RENAMED, "she married"),
    ("|Zoë||Hill||QX1 1ZZ", "|Zoë||Ng||QX1 1ZZ", RENAMED, "she married and stayed"),
    ("|Zoë||Hill|01/02/1960|QX1 1ZZ", "|Zoë||Ng||QX1 1ZZ", RENAMED, "the same, one date unknown"),
    ("|Zoë||Hill|01/02/1960|", "|Zoë||Hill-Ng|01/02/1960|", RENAMED, "both surnames"),
    ("|Ann||van der Berg|01/02/1960|", "|Ann||Berg|01/02/1960|", RENAMED, "particles left out"),
    ("|J.||Hill|01/02/1960|", "|John||Hill|01/02/1960|", RENAMED, "an initial"),
    ("|Tim||Hill|01/02/1960|", "|Timothy||Hill|01/02/1960|", RENAMED, "a short form"),
    ("|Mary|Ann|Hill|01/02/1960|", "|Ann||Hill|01/02/1960|", RENAMED, "goes by her middle name"),
    # uncertain: nobody is added, and a person has to look
    ("|Tom||Hill|03/02/1960|", "|Tom||Hill|02/03/1960|", CLASH, "day and month swapped"),
    ("|Tom||Hill|18/10/1963|", "|Tom||Hill|1963-10-17|", CLASH, "one day off"),
    ("|Zoë||Hill|03/02/1960|QX1 1ZZ", "|Zoë||Ng|02/03/1960|QX1 1ZZ", CLASH, "date swapped"),
    ("|Tom||Hill|01/02/1960|QX1 1ZZ", "|Tom||Hill|03/04/1985|QX1 1ZZ", CLASH, "father and son"),
    ("|Tom|Paul|Hill||QX1 1ZZ", "|Tom|Peter|Hill||QX1 1ZZ", CLASH, "father and son, no dates"),
    ("|Tom|Paul|Hill||", "|Tom|Peter|Hill||", CLASH, "other middle names"),
    ("|Tom||Hill|01/02/1960|QX1 1ZZ", "|Tom|||01/02/1960|QX1 1ZZ", CLASH, "a lost surname"),
    ("|Tom||Hill|01/02/1960|", "|||Hill|01/02/1960|", CLASH, "lost first names"),
    ("|Zoë||Hill||", "|Zoë||Hill-Ng||", CLASH, "a part of the surname, and nothing else"),
    ("|J.||Hill||QX1 1ZZ", "|John||Hill||QX1 1ZZ", CLASH, "an initial, and only an address"),
    ("|Wei||Ng|01/02/1960|", "|Ng||Wei|01/02/1960|", CLASH, "surname first"),
    # same names, elsewhere
    ("|Tom||Hill||QX1 1ZZ", "|Tom||Hill||QX9 9ZZ", ELSEWHERE, "moved, or a namesake"),
    ("|Tom||Hill|01/02/1960|QX1 1ZZ", "|Tom||Hill||QX9 9ZZ", ELSEWHERE, "the same, a date unknown"),
    # two people
    ("|Ann||Hill|01/02/1960|QX1 1ZZ", "|Sue||Hill|01/02/1960|QX1 1ZZ", OTHER, "twins"),
    ("|Tim||Hill|01/02/1960|QX1 1ZZ", "|Tom||Hill|01/02/1960|QX1 1ZZ", OTHER, "twins, one letter"),
    ("|Mary Ann||Hill|1/2/1960|QX1", "|Mary Beth||Hill|1/2/1960|QX1", OTHER, "twins, second names"),
    ("|Zoë||Hill||", "|Zoë||Ng||", OTHER, "one shared first name alone"),
    ("|Zoë||Hill|01/02/1960|", "|Zoë||Ng|01/02/1981|", OTHER, "one first name, other dates"),
    ("|Zoë||Hill|01/02/1950|QX1 1ZZ", "|Zoë||Ng|01/02/1981|QX1 1ZZ", OTHER, "and one address"),
    ("|Zoë||Hill|03/02/1960|", "|Zoë||Ng|02/03/1960|", OTHER, "one first name, a date only alike"),
    ("|Tom||Hill|01/02/1960|", "|Tom||Hill|03/04/1985|", OTHER, "namesakes"),
    ("|Tom||Hill|01/02/1960|QX1 1ZZ", "|Tom||Hill|03/04/1985|QX9 9ZZ", OTHER, "namesakes, apart"),
    ("|Tom||Hill|03/02/1960|", "|Tom||Hill|02/03/1961|", OTHER, "swapped, and another year"),
    ("|Tom||Hill|01/02/1960|", "|Tom||Hill|03/02/1960|", OTHER, "two days off"),
    ("|Tom|Paul|Hill||QX1 1ZZ", "|Tom|Peter|Hill||QX9 9ZZ", OTHER, "other middle names, apart"),
    ("|Ann||Hill||QX1 1ZZ", "|Tom||Hill||QX1 1ZZ", OTHER, "husband and wife"),
    ("|J.||Hill|01/02/1960|", "|John||Hill|03/04/1985|", OTHER, "an initial, other dates"),
    ("|J.||Hill||QX1 1ZZ", "|John||Hill||QX9 9ZZ", OTHER, "an initial, elsewhere"),
    ("|||Hill||", "|Tom||Hill||", OTHER, "a surname alone"),
    ("|Tom||Ng||", "|Tom||Nguyen||", OTHER, "one surname begins the other"),
    ("|Tom||Hill|01/02/1960|", "|Tom|||03/04/1985|", OTHER, "no surname, and another date"),
]  # fmt: skip


@pytest.mark.parametrize(("here", "there", "verdict", "why"), PAIRS, ids=[p[3] for p in PAIRS])
def test_two_records_are_of_one_person_or_of_two(
    here: str, there: str, verdict: Sameness, why: str
) -> None:
    assert sameness(record(here), record(there)) is verdict, why
    assert sameness(record(there), record(here)) is verdict, f"{why}, the other way round"


# -- however it is written -------------------------------------------------------------------------


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
def test_a_name_that_a_server_writes_differently_is_the_same_name(retold: str) -> None:
    for names in NAMES:
        there = customer(*map(RETOLD[retold], names))
        assert sameness(person(*names), there) is Sameness.PERHAPS, names
        assert missing_people([person(*names)], [there]) == [], names


def test_names_without_a_letter_are_compared_as_they_are() -> None:
    assert sameness(person("-", "?"), customer("-", "?")) is Sameness.PERHAPS
    assert sameness(person("-", "?"), customer("?", "-")) is Sameness.OTHER


@pytest.mark.parametrize("last", ["--", "Ng", "王", "O"])
def test_other_letters_are_another_surname(last: str) -> None:
    for here in ("-", "李", "O'Brien"):
        assert sameness(person(last=here), customer(last=last)) is Sameness.OTHER


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
    # two would be added if both lost it
    assert missing_people([TOM_60, SON], [new], frozenset()) == [SON]
    assert missing_people([TOM_60, SON], [new, new | {"id": "p-3"}], frozenset()) == []


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


# -- who of a row is in the case with its reference ------------------------------------------------

TOM = record("Mr|Tom||Hill|01/02/1960|QX1 1ZZ")
TOMS_SON = record("Mr|Tom||Hill|03/04/1985|QX1 1ZZ")
ZOE = record("Ms|Zoë||Ng|05/06/1961|QX1 1ZZ")
ZOE_HILL = record("Mrs|Zoë||Hill|05/06/1961|QX9 9ZZ")
STRANGER = record("Ms|Zoë||Ali|07/08/1981|QX5 5ZZ")


@pytest.mark.parametrize(
    ("wanted", "customers", "expected"),
    [
        ([], [TOM], (0, 0, 0)),
        ([TOM, ZOE], [ZOE, TOM], (2, 0, 0)),
        ([TOM], [ZOE, TOM], (1, 0, 0)),  # a case may have more people
        ([ZOE], [ZOE_HILL], (1, 0, 0)),
        ([TOM, ZOE], [TOM], (1, 0, 1)),
        ([TOM, ZOE], [], (0, 0, 2)),
        ([ZOE], [STRANGER], (0, 0, 1)),
        ([ZOE, TOM], [STRANGER, TOMS_SON], (0, 1, 1)),
        ([TOM], [TOMS_SON], (0, 1, 0)),
        ([TOM, TOMS_SON], [TOM], (1, 0, 1)),  # one customer is one person
        ([TOMS_SON, TOM], [TOM], (1, 0, 1)),
        ([TOM, TOMS_SON], [TOMS_SON, TOM], (2, 0, 0)),
        # people move, and the reference speaks for them
        ([TOM | {"date_of_birth": None}], [TOM | {"postcode": "QX9 9ZZ"}], (1, 0, 0)),
    ],
)
def test_people_of_a_row_are_in_a_case_perhaps_or_not(
    wanted: list[Person], customers: list[Person], expected: tuple[int, int, int]
) -> None:
    assert presence(wanted, customers) == Presence(*expected)


def test_each_person_has_the_customer_that_was_made_of_them_whatever_was_kept() -> None:
    changed = TOMS_SON | {"date_of_birth": "1970-01-01", "postcode": None}
    nameless = ZOE | {"last_name": ""}
    assert made_of([TOM, TOMS_SON, ZOE], [nameless, changed, TOM]) == {
        0: TOM, 1: changed, 2: nameless,
    }  # fmt: skip
    assert made_of([TOM, ZOE], [STRANGER]) == {}
