"""The columns of people, in whatever file they are: customers and address-book entries.

Belongs here: their fields, each with its checks, and telling whose column of which field one is.
Does not: what a row's people lack, and what is made of them (`source_people.py`).
"""

import re

from schemas.values import (
    DATE_CHECK,
    EMAIL_CHECK,
    ENTITY_CHECK,
    MARITAL_STATUS_CHECK,
    MARITAL_STATUSES,
    NAME_CHECK,
    PERSON_CHECK,
    PHONE_CHECKS,
    YES_NO_CHECK,
    column,
    up_to,
)

CUSTOMER_FIELDS = {
    "title": column("required", PERSON_CHECK),
    "first_names": column("required", PERSON_CHECK),
    "middle_names": column("", PERSON_CHECK),
    "last_name": column("required", PERSON_CHECK),
    "date_of_birth": column("DD/MM/YYYY, or YYYY-MM-DD throughout", DATE_CHECK),
    "gender": column(""),
    "marital_status": column(", ".join(MARITAL_STATUSES), MARITAL_STATUS_CHECK),
    "tel_1": column("with its 0 or +", up_to(25), *PHONE_CHECKS),
    "tel_2": column("", up_to(25), *PHONE_CHECKS),
    "address_1": column("", up_to(100)),
    "address_2": column("", up_to(100)),
    "address_3": column("", up_to(100)),
    "postcode": column("", up_to(100)),
    "occupation": column("", up_to(150)),
    "preferred_name": column("", up_to(150), PERSON_CHECK),
    "email": column("", EMAIL_CHECK),
}
ADDRESS_BOOK_FIELDS = {
    "entity_id": column("person, or organisation", ENTITY_CHECK),
    "title": column("", PERSON_CHECK),
    "first_names": column("", PERSON_CHECK),
    "middle_names": column("", PERSON_CHECK),
    "last_name": column("", PERSON_CHECK),
    "known_as": column("", PERSON_CHECK),
    "preferred_name": column("", PERSON_CHECK),
    "alias": column("", PERSON_CHECK),
    "tel_1": column("", *PHONE_CHECKS),
    "tel_2": column("", *PHONE_CHECKS),
    "email": column("", EMAIL_CHECK),
    "gender": column(""),
    "dob": column("as date_of_birth", DATE_CHECK),
    "occupation": column(""),
    "address_1": column(""),
    "address_2": column(""),
    "address_3": column(""),
    "postcode": column(""),
    "name": column("of an organisation, which needs it", NAME_CHECK),
    "reg_no": column("of an organisation"),
    "is_charity": column("of an organisation: yes, or no", YES_NO_CHECK),
}
PEOPLE = {"customer": CUSTOMER_FIELDS, "address_book": ADDRESS_BOOK_FIELDS}
REQUIRED_OF_CUSTOMERS = ("title", "first_names", "last_name")
OF_ORGANISATIONS = ("name", "reg_no", "is_charity")
_PERSON = re.compile(
    r"(?P<entry>(?P<kind>customer|address_book)_(?P<number>\d{1,2}_)?)(?P<field>.+)"
)


def person_column(name: str) -> re.Match[str] | None:
    """`entry` ("customer_1_"), `kind`, `number` and `field` of a column about a person."""
    found = _PERSON.fullmatch(name)
    return found if found and found["field"] in PEOPLE[found["kind"]] else None
