"""What the rules over the rows of any file work on."""

import pytest
from made_sheets import found_in, import_table, sheet

from schemas.columns import MetaField
from schemas.import_file import IMPORT_CASES, matched_columns
from schemas.issues import Issue
from schemas.person_columns import ADDRESS_BOOK_FIELDS, CUSTOMER_FIELDS
from schemas.source_table import (
    SourceTable,
    column_issues,
    in_column_order,
    meta_issues,
    option_of,
)

# -- the table -------------------------------------------------------------------------------


def test_a_table_speaks_of_columns_as_the_file_does():
    read = import_table({"Ref": "R", "Customer 1 Last Names": "Null"})
    assert read.names == ["ref", "customer_1_last_name"]
    assert read.header("customer_1_last_name") == "Customer 1 Last Names"
    assert read.header("customer_1_title") == "customer_1_title"
    assert (read.cell("ref", 0), read.cell("notes", 0)) == ("R", None)
    assert read.entry("customer_1_", 0) == {"last_name": "Null"}
    assert not read.rows_are_people


@pytest.mark.parametrize("header", ["customer_title", "address_book_title"])
def test_rows_are_people_where_people_have_no_numbers(header):
    assert import_table({"ref": "R", header: "Mr"}).rows_are_people
    assert not import_table({"ref": "R"}).rows_are_people


PLACEHOLDERS = ["N/A", "None", "NULL", "-", "unknown"]


@pytest.mark.parametrize(
    "name",
    ["email"]
    + [f"{kind}{field}" for kind in ("customer_", "customer_2_", "address_book_1_")
       for field in ("tel_1", "tel_2", "email", "postcode")]
    + ["customer_date_of_birth", "address_book_1_dob"],
)  # fmt: skip
def test_placeholders_are_refused_in_columns_of_phones_emails_postcodes_and_dates(name):
    read = import_table(*({"ref": "R", name: text} for text in PLACEHOLDERS))
    rows = range(2, 2 + len(PLACEHOLDERS))
    assert found_in(iter(read.file_issues)) == [(row, name, "blank_word") for row in rows]
    assert found_in(column_issues(read, IMPORT_CASES)) == []


def test_placeholders_are_texts_in_all_other_columns():
    """Null and None are surnames, and NA is a reference."""
    refused = ("tel_1", "tel_2", "email", "postcode", "date_of_birth", "dob")
    others = ["ref", "notes", "meta:X"] + [
        f"{kind}_1_{field}"
        for kind, fields in (("customer", CUSTOMER_FIELDS), ("address_book", ADDRESS_BOOK_FIELDS))
        for field in fields
        if field not in refused
    ]
    file = sheet(dict.fromkeys(others, text) for text in PLACEHOLDERS)
    read = SourceTable(file, matched_columns(file, "forbid", ()), blank_words=[])
    for name in others:
        assert read.cells[name] == PLACEHOLDERS


# -- CRM fields ------------------------------------------------------------------------------


def with_options(options: list[str] | None, *values: str | None) -> SourceTable:
    read = import_table(*({"Meta: Source": value} for value in values))
    read.meta = {"meta:Source": MetaField("id-1", "Source", options)}
    return read


def test_a_value_must_be_one_of_its_fields_options_in_any_case():
    read = with_options(["Referral", "Web site"], "Referral", "WEB  SITE", None, "Billboard", "Web")
    issues = list(meta_issues(read))
    assert found_in(issues) == [
        (5, "Meta: Source", "meta_option"),
        (6, "Meta: Source", "meta_option"),
    ]
    assert "Referral, Web site" in issues[0].message


def test_a_field_without_options_takes_every_value():
    assert found_in(meta_issues(with_options(None, "x", None))) == []


def test_a_field_with_an_empty_list_of_options_takes_every_value():
    assert found_in(meta_issues(with_options([], "x", None))) == []


def test_of_options_that_differ_in_case_only_the_very_one_is_meant():
    options = ["YES", "Yes", "No"]
    assert option_of("Yes", options) == "Yes"
    assert option_of("YES", options) == "YES"
    assert option_of("yes", options) is None
    assert option_of("NO", options) == "No"
    assert option_of("x", []) is None


# -- issues ----------------------------------------------------------------------------------


def test_issues_are_sorted_from_left_to_right_and_those_of_the_row_come_first():
    read = import_table({"notes": "x", "Ref": "R", "email": "x"})
    columns = ["email", None, "Ref", "notes", "customer_1_title"]
    issues = [Issue(2, name, "b", "") for name in columns] + [Issue(2, "Ref", "a", "")]
    ordered = sorted(issues, key=in_column_order(read))
    assert [(issue.column, issue.code) for issue in ordered] == [
        (None, "b"), ("customer_1_title", "b"), ("notes", "b"), ("Ref", "a"), ("Ref", "b"),
        ("email", "b"),
    ]  # fmt: skip
