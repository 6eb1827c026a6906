"""Invented people and their cases, the same for the same seed.

Names are ordinary or awkward on purpose; phone numbers come from Ofcom's ranges for drama, and
postcodes from areas that don't exist. Nobody here is real.
"""

import random
import uuid
from collections.abc import Iterator
from typing import Any

API_USER = "api.user@example.org"
"""The WillSuite user behind the API's credentials."""
USERS = (API_USER, "adviser@example.org", "second.adviser@example.org")
"""All users of the account; nothing in the API lists them."""

CRM_FIELDS: list[dict[str, Any]] = [
    {
        "id": "0b0f3a52-6f5d-4d7c-9a43-5a1e6f2f7a01",
        "field_label": "Lead source",
        "options": ["Referral", "Website", "Seminar"],
    },
    {
        "id": "2c7c9d0e-93a4-4c55-8a3b-6b6f4de0a102",
        "field_label": "Will signed on",
        "options": None,
    },
    {
        "id": "5e1f5b7a-1c8e-4a08-b7c2-98a2d3c4b203",
        "field_label": "Funeral plan",
        "options": ["YES", "NO"],
    },
    {
        "id": "9a6d2f40-7e1b-4b9f-8d55-10f3e5a6c304",
        "field_label": "Storage reference",
        "options": None,
    },
]

_FIRST = {
    "female": ["Zoë", "Siân", "Amara", "Chloe", "Niamh", "Priya", "Renée", "Ottilie", "Mary-Jane"],
    "male": ["Łukasz", "José", "Tom", "Björn", "Dafydd", "Omar", "Seán", "Jean-Luc", "Wei"],
}
_TITLES = {"female": ["Mrs", "Miss", "Ms", "Dr"], "male": ["Mr", "Dr", "Rev"]}
_LAST = [
    "O'Brien", "Null", "NA", "None", "Smith-Jones", "Núñez", "van der Berg", "Müller", "Ng",
    "D’Arcy", "Okafor", "Siddiqui", "MacLeòd", "Żółć", "Test", "Featherstonehaugh",
]  # fmt: skip
_STREETS = ["Nowhere Lane", "Château Mews", "Imaginary Row", "St. Elsewhere's Close"]
_TOWNS = ["Borchester", "Trumpton", "Llanfair Ficsiwn", "Ambridge"]
_OCCUPATIONS = ["Baker", "Lift engineer", "Teacher (retired)", "Surveyor; self-employed", None]
_MARITAL = ["married", "civil", "cohabiting", "widowed", "divorced", "single", None]
_NOTES = [
    None,
    "",
    "Rang twice.\nPrefers mornings,\nno e-mail.",
    'Said: "call me back", then hung up.',
    "=1+1 is not a formula here",
    "Café visit — see file №7 😀",
]


def invent_cases(
    count: int, seed: int, *, words_as_flags: bool = False
) -> Iterator[dict[str, Any]]:
    """`count` cases in the form of `GET /cases/{caseId}`.

    With `words_as_flags` the flags are true/false as in the vendor's schemas, otherwise 0/1 as
    in the vendor's examples.
    """
    rng = random.Random(seed)
    for number in range(1, count + 1):
        case_id = new_id(rng)
        customers = [
            _customer(rng, case_id, last_name=None, words_as_flags=words_as_flags)
            for _ in range(rng.choice((1, 2, 2, 2, 3)))
        ]
        yield case_of(
            case_id,
            ref=f"WS-{number:06d}",
            notes=rng.choice(_NOTES),
            meta=_meta(rng),
            is_active=flag(rng.random() > 0.1, words_as_flags),
            customers=customers,
        )


def case_of(
    case_id: str,
    *,
    ref: str,
    notes: str | None,
    meta: dict[str, str],
    is_active: bool | int,
    customers: list[dict[str, Any]],
) -> dict[str, Any]:
    """A case whose own names and postcode are made from its customers, as the server does."""
    lasts = list(dict.fromkeys(customer["last_name"] for customer in customers))
    return {
        "id": case_id,
        "ref": ref,
        "first_names": " & ".join(customer["first_names"] for customer in customers),
        "last_names": " & ".join(lasts),
        "full_names": " & ".join(
            f"{customer['title']} {customer['first_names']} {customer['last_name']}"
            for customer in customers
        ),
        "email": (customers[0].get("email") or "") if customers else "",
        "postcode": (customers[0].get("postcode") or "") if customers else "",
        "meta": meta,
        "notes": notes,
        "is_active": is_active,
        "customers": customers,
    }


def _customer(
    rng: random.Random, case_id: str, *, last_name: str | None, words_as_flags: bool
) -> dict[str, Any]:
    gender = rng.choice(("female", "male"))
    first = rng.choice(_FIRST[gender])
    last = last_name or rng.choice(_LAST)
    known = rng.random() < 0.8
    person: dict[str, Any] = {
        "id": new_id(rng),
        "title": rng.choice(_TITLES[gender]),
        "first_names": first,
        "middle_names": rng.choice((None, "Ann", "de la", "X Æ")),
        "last_name": last,
        "date_of_birth": _birth_date(rng) if known else None,
        "gender": gender,
        "tel_1": f"07700900{rng.randrange(1000):03d}" if known else None,
        "tel_2": f"+44 20 7946 0{rng.randrange(1000):03d}" if rng.random() < 0.2 else None,
        "email": f"person{rng.randrange(10**6)}@example.org" if rng.random() < 0.5 else None,
        "occupation": rng.choice(_OCCUPATIONS),
        "marital_status": rng.choice(_MARITAL),
        "address_1": f"{rng.randrange(1, 200)} {rng.choice(_STREETS)}" if known else None,
        "address_2": rng.choice(_TOWNS) if known else None,
        "address_3": None,
        "postcode": f"QX{rng.randrange(1, 10)} {rng.randrange(1, 10)}ZZ" if known else None,
        "customer_case_id": case_id,
    }
    if rng.random() < 0.7:  # the vendor's list example leaves it out of one customer (Q3)
        person["is_deceased"] = flag(rng.random() < 0.05, words_as_flags)
    return person


def _birth_date(rng: random.Random) -> str:
    return f"{rng.randrange(1930, 2005)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"


def _meta(rng: random.Random) -> dict[str, str]:
    if rng.random() < 0.4:
        return {}
    values = {
        CRM_FIELDS[0]["id"]: rng.choice(CRM_FIELDS[0]["options"]),
        CRM_FIELDS[1]["id"]: _birth_date(rng),
        CRM_FIELDS[3]["id"]: f"00{rng.randrange(1000)}",
    }
    return {key: value for key, value in values.items() if rng.random() < 0.6}


def flag(value: bool, words: bool) -> bool | int:
    """A flag as the schemas have it (true, false), or as the examples do (1, 0)."""
    return value if words else int(value)


def new_id(rng: random.Random) -> str:
    """An id as the server gives them."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
