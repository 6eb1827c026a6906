"""What people lack in the rows of a file."""

import pytest
from made_sheets import found_in, import_table

from schemas.source_people import people_issues

# -- people ----------------------------------------------------------------------------------

NAMES = {"customer_1_title": "Mr", "customer_1_first_names": "Tom", "customer_1_last_name": "Null"}


@pytest.mark.parametrize("missing", sorted(NAMES))
@pytest.mark.parametrize("has_column", [True, False])
def test_each_customer_needs_title_first_names_and_last_name(missing, has_column):
    header = list(NAMES) if has_column else [name for name in NAMES if name != missing]
    read = import_table(NAMES | {missing: None}, header=["ref", *header])
    [issue] = people_issues(read)
    assert (issue.row, issue.column, issue.code) == (2, missing, "required")
    assert issue.message.startswith(f"{missing} is missing; ")


def test_whoever_has_any_field_is_a_customer_and_whoever_has_none_is_not():
    read = import_table(
        NAMES | {"customer_2_email": "a@example.org", "customer_3_title": None},
        {"customer_2_email": None},
    )
    assert found_in(people_issues(read)) == [
        (2, f"customer_2_{name}", "required") for name in ("title", "first_names", "last_name")
    ]


def test_a_customer_without_a_number_needs_the_same():
    read = import_table({"Customer Title": "Mr"}, {"Customer Title": None})
    assert found_in(people_issues(read)) == [
        (2, "customer_first_names", "required"), (2, "customer_last_name", "required"),
    ]  # fmt: skip


def test_a_placeholder_alone_makes_no_customer():
    assert found_in(people_issues(import_table({"customer_1_email": "N/A"}))) == []


ORGANISATION = {"address_book_1_entity_id": "Organisation", "address_book_1_name": "Cat Rescue"}


def test_people_of_the_address_book_need_nothing():
    assert found_in(people_issues(import_table({"address_book_1_tel_1": "07700 900123"}))) == []


@pytest.mark.parametrize("entity", ["organisation", "ORGANISATION"])
def test_an_organisation_needs_a_name(entity):
    read = import_table(
        {**ORGANISATION, "address_book_1_entity_id": entity},
        {"address_book_1_entity_id": entity, "address_book_1_reg_no": "1"},
    )
    assert found_in(people_issues(read)) == [(3, "address_book_1_name", "organisation_name")]


@pytest.mark.parametrize("entity", [None, "person", "Person"])
@pytest.mark.parametrize("field", ["name", "reg_no", "is_charity"])
def test_what_only_organisations_have_is_refused_for_a_person(entity, field):
    read = import_table({"address_book_entity_id": entity, f"address_book_{field}": "yes"})
    assert found_in(people_issues(read)) == [(2, f"address_book_{field}", "not_an_organisation")]


def test_each_entry_of_a_row_is_looked_at():
    read = import_table({**ORGANISATION, "address_book_2_name": "x", "customer_2_title": "Mr"})
    assert sorted(found_in(people_issues(read))) == [
        (2, "address_book_2_name", "not_an_organisation"),
        (2, "customer_2_first_names", "required"),
        (2, "customer_2_last_name", "required"),
    ]
