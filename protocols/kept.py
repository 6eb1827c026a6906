"""What a server kept of what was sent to it.

Belongs here: comparing a request, value by value, with the answer or with the case that was read
back, and the changes of form that lose nothing; plain functions without network. Does not: who is
who (`people.py`), reading, or what a person is told (`importing/`, `updating/`).

`preferred_name` and the address book are in no answer (facts.md 3.2), so they can't be compared.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from protocols.people import made_of
from protocols.reading.found import FoundCase
from schemas.people import Person, birth_date, letters, may_be_made_of, sameness, surname_words
from schemas.texts import canonical, unescaped
from schemas.values import YES_NO, marital_status
from willsuite import Case


class Echo(StrEnum):
    """What the answer to a creation proves."""

    PROVEN = "proven"
    OTHER_REF = "other_ref"
    """The case has another reference, so a second run would not find it."""
    NO_SURNAME = "no_surname"
    """None of the surnames that were sent came back."""
    NO_PEOPLE = "no_people"
    """The case has no customers at all, which says nothing of surnames."""


def echo_of(sent: Mapping[str, Any], answer: Case) -> Echo:
    """Whether the answer to `POST /cases/create` shows the reference and a surname (F6, F7).

    The answer has no customers, only their names joined; a case without customers proves itself
    by its reference.
    """
    if canonical(answer.ref or "") != canonical(sent["ref"]):
        return Echo.OTHER_REF
    joined = f"{unescaped(answer.last_names)} & {unescaped(answer.full_names)}"
    names = [surname_words(name) for name in joined.split("&")]
    surnames = [surname_words(person["last_name"]) for person in sent.get("customers", ())]
    if surnames and not any(_ends_with(name, surname) for name in names for surname in surnames):
        return Echo.NO_SURNAME
    return Echo.PROVEN


def _ends_with(name: Sequence[str], surname: Sequence[str]) -> bool:
    return len(surname) <= len(name) and name[len(name) - len(surname) :] == surname


def echo_of_case(sent: Mapping[str, Any], case: Case) -> Echo:
    """The same from the whole case, which has its customers."""
    if canonical(case.ref or "") != canonical(sent["ref"]):
        return Echo.OTHER_REF
    surnames = {letters(person["last_name"]) for person in sent.get("customers", ())}
    kept = {letters(person.last_name) for person in case.customers or ()}
    if surnames and not case.customers:
        return Echo.NO_PEOPLE
    return Echo.NO_SURNAME if surnames and not surnames & kept else Echo.PROVEN


def lost_of_case(sent: Mapping[str, Any], case: FoundCase) -> list[str]:
    """What was sent of a new case and isn't so in it, as `notes`, `meta.<field id>`,
    `customers.0.tel_1`, or `customers.0` for a whole person; empty where all was kept."""
    return [*_lost(sent, case)]


def paths_of(sent: Mapping[str, Any]) -> Iterator[str]:
    """All that `lost_of_case` could name of a request."""
    for position, person in enumerate(sent.get("customers", ())):
        yield f"customers.{position}"
        yield from (f"customers.{position}.{name}" for name in person)
    yield from (f"meta.{key}" for key in sent.get("meta", {}))
    if sent.get("notes"):
        yield "notes"


def _lost(sent: Mapping[str, Any], case: FoundCase) -> Iterator[str]:
    people = sent.get("customers", ())
    made = made_of(people, case.customers)
    for position, person in enumerate(people):
        if position not in made:
            yield f"customers.{position}"
            continue
        for name in lost_of_person(person, made[position]):
            yield f"customers.{position}.{name}"
    if (notes := _plain(sent.get("notes"))) and notes not in _plain(case.notes):
        yield "notes"  # what somebody has written beside them loses nothing
    meta = case.meta
    for key, value in sent.get("meta", {}).items():
        if not is_kept("", value, meta.get(key)):
            yield f"meta.{key}"


def lost_values(sent: Person, customers: Sequence[Person], known_ids: Collection[str]) -> list[str]:
    """Wire names of what was sent of a person and isn't so in the customer that it made (Q18).

    Empty as well where there is no such customer.
    """
    made = [
        other for other in customers if other["id"] not in known_ids and may_be_made_of(sent, other)
    ]
    if not made:
        return []
    return lost_of_person(sent, max(made, key=lambda other: sameness(sent, other)))


def lost_of_person(sent: Person, made: Person) -> list[str]:
    """Wire names of what was sent of a person and isn't so in a customer."""
    return [name for name in sent if name in made and not is_kept(name, sent[name], made[name])]


def lacking_of_person(sent: Person, has: Person) -> list[str]:
    """Wire names of what was sent of a person and a customer hasn't got, or only the beginning of;
    what is another value is somebody's own."""
    lost = lost_of_person(sent, has)
    return [name for name in lost if _is_beginning(name, sent[name], has[name])]


def _is_beginning(name: str, sent: str | None, has: str | None) -> bool:
    shown = canonical(unescaped(has))
    is_blank = not shown.strip(_ZEROS) if name == "date_of_birth" else not shown
    return is_blank or canonical(unescaped(sent)).startswith(shown)


_ZEROS = "0-/:t.z "
"""Of such signs is MySQL's date for none."""


def is_kept(name: str, sent: str | None, shown: str | None) -> bool:
    """Whether a value is the same but for its form: blanks, entities, case, the form of a date.

    `name` is the wire name of a person's field, "" of any other value.
    """
    wanted, has = canonical(unescaped(sent)), canonical(unescaped(shown))
    if wanted == has or not wanted:
        return True
    is_date_of_zeros = name == "date_of_birth" and not has.strip(_ZEROS)
    return bool(has) and not is_date_of_zeros and _has_same_form(name, wanted, has)


def _has_same_form(name: str, wanted: str, has: str) -> bool:
    """Whether two values that aren't equal, nor blank, say the same."""
    if name == "date_of_birth":
        births = birth_date(wanted.upper()), birth_date(has.upper())
        return births[1] is None or births[0] == births[1]  # unread is there all the same
    if name == "gender":
        return wanted.startswith(has) or has.startswith(wanted)
    form = _FORMS.get(name)
    return form is not None and form(wanted) == form(has)


def _any_value(text: str) -> object:
    return birth_date(text.upper()) or YES_NO.get(text, text)


def _digits(phone: str) -> str:
    """A phone number's digits; Britain's code is the leading zero."""
    digits = "".join(filter(str.isdigit, phone.replace("(0)", "")))
    is_british = phone.strip().startswith(("+44", "0044"))
    return "0" + digits.removeprefix("00").removeprefix("44") if is_british else digits


_FORMS: Mapping[str, Callable[[str], object]] = {
    "": _any_value,
    "title": letters,
    "postcode": letters,
    "tel_1": _digits,
    "tel_2": _digits,
    "marital_status": lambda text: marital_status(text) or text,
}
"""What of a value has to stay, where that isn't all of it."""


def _plain(text: str | None) -> str:
    """Notes with each run of blanks and line ends as one space."""
    return " ".join(unescaped(text).split())
