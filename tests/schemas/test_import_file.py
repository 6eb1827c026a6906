"""The columns of a file of new cases, and what is wrong with single rows."""

import re
from collections.abc import Iterator

import pandas as pd
import pytest

import schemas.import_file
from schemas.columns import MetaField
from schemas.files.source import Sheet
from schemas.import_file import (
    ADDRESS_BOOK_FIELDS,
    CASE_FIELDS,
    CUSTOMER_FIELDS,
    IMPORT_CASES,
    ImportTable,
    column_issues,
    in_column_order,
    is_import_column,
    issue_of,
    matched_columns,
    meta_issues,
    option_of,
    people_issues,
    person_column,
)
from schemas.issues import Issue, SourceError
from willsuite.bodies import NewAddressBookEntry, NewCase, NewCustomer


def sheet(*records: dict[str, str | None], header: list[str] | None = None) -> Sheet:
    """A file with these rows, the first of which is row 2."""
    names = header or list(dict.fromkeys(name for record in records for name in record))
    cells = [[record.get(name) for name in names] for record in records]
    frame = pd.DataFrame(cells, columns=pd.Index(names, dtype=str), dtype=str)
    return Sheet(frame, list(range(2, 2 + len(records))), [], {}, 0, "a test")


def table(*records: dict[str, str | None], header: list[str] | None = None) -> ImportTable:
    file = sheet(*records, header=header)
    return ImportTable(file, matched_columns(file, "forbid", ()))


def found(issues: Iterator[Issue]) -> list[tuple[int, str | None, str]]:
    return [(issue.row, issue.column, issue.code) for issue in issues]


# -- columns ---------------------------------------------------------------------------------


def test_a_file_may_have_what_may_be_sent_and_nothing_else():
    """But `meta`, which has columns of its own, and lists of people."""
    assert set(CASE_FIELDS) == set(NewCase.__struct_fields__) - {
        "meta", "customers", "address_book",
    }  # fmt: skip
    assert set(CUSTOMER_FIELDS) == set(NewCustomer.__struct_fields__)
    assert set(ADDRESS_BOOK_FIELDS) == set(NewAddressBookEntry.__struct_fields__)


@pytest.mark.parametrize("number", ["", "1_", "2_", "10_", "99_"])
@pytest.mark.parametrize(
    ("kind", "fields"), [("customer", CUSTOMER_FIELDS), ("address_book", ADDRESS_BOOK_FIELDS)]
)
def test_every_field_of_a_person_has_a_column_with_and_without_a_number(kind, fields, number):
    for name in fields:
        header = f"{kind}_{number}{name}"
        assert is_import_column(header)
        assert is_import_column(header.replace("_", " ").title())
        person = person_column(header)
        assert (person["entry"], person["kind"], person["number"] or "", person["field"]) == (
            f"{kind}_{number}", kind, number, name,
        )  # fmt: skip


@pytest.mark.parametrize(
    "header",
    ["", "Ann", "customer_1", "customer_100_title", "customer_1_known_as", "address_book_1_tel_3",
     "xcustomer_1_title", "customer_1_title_x", "meta:", "id", "new_ref"],
)  # fmt: skip
def test_other_headers_are_no_columns_of_this_file(header):
    assert not is_import_column(header)


@pytest.mark.parametrize("header", ["Ref", "NOTES", "Adviser Email", "meta:X"])
def test_columns_of_the_case_are_known(header):
    assert is_import_column(header)


@pytest.mark.parametrize("name", ["ref", "customer_title", "meta:X", "customer_id", "customer_x"])
def test_columns_of_no_person_are_told_apart(name):
    assert bool(person_column(name)) == (name == "customer_title")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("customer_1_title", "customer_last_name"),
        ("address_book_title", "customer_1_title"),
        ("address_book_2_title", "customer_title"),
        ("address_book_1_name", "address_book_name"),
    ],
)
def test_people_with_and_without_numbers_are_not_mixed(one, other):
    with pytest.raises(SourceError, match="use one way throughout"):
        matched_columns(sheet({"ref": "R", one: "x", other: "x"}), "forbid", ())


def test_identity_columns_are_known_besides():
    file = sheet({"Customer ID": "7", "Source-Id": "8", "ref": None})
    assert matched_columns(file, "forbid", ["customer_id", "source_id"]) == {
        "Customer ID": "customer_id", "Source-Id": "source_id", "ref": "ref",
    }  # fmt: skip
    with pytest.raises(SourceError, match="Unknown"):
        matched_columns(file, "forbid", ["customer_id"])


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
def test_an_identity_column_that_is_not_in_the_file_is_refused(extra):
    with pytest.raises(SourceError, match=r"derive_ref_from names 1 column\(s\)"):
        matched_columns(sheet({"ref": None}), extra, ["ref", "customer_id"])


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
def test_bookkeeping_columns_are_no_identity(extra):
    with pytest.raises(SourceError, match="hasn't got"):
        matched_columns(sheet({"ref": None, "rejected_row": "3"}), extra, ["rejected_row"])


# -- the table -------------------------------------------------------------------------------


def test_a_table_speaks_of_columns_as_the_file_does():
    read = table({"Ref": "R", "Customer 1 Last Names": "Null"})
    assert read.names == ["ref", "customer_1_last_name"]
    assert read.header("customer_1_last_name") == "Customer 1 Last Names"
    assert read.header("customer_1_title") == "customer_1_title"
    assert (read.cell("ref", 0), read.cell("notes", 0)) == ("R", None)
    assert read.entry("customer_1_", 0) == {"last_name": "Null"}
    assert not read.rows_are_people


@pytest.mark.parametrize("header", ["customer_title", "address_book_title"])
def test_rows_are_people_where_people_have_no_numbers(header):
    assert table({"ref": "R", header: "Mr"}).rows_are_people
    assert not table({"ref": "R"}).rows_are_people


PLACEHOLDERS = ["N/A", "None", "NULL", "-", "unknown"]


@pytest.mark.parametrize(
    "name",
    ["email"]
    + [f"{kind}{field}" for kind in ("customer_", "customer_2_", "address_book_1_")
       for field in ("tel_1", "tel_2", "email", "postcode")]
    + ["customer_date_of_birth", "address_book_1_dob"],
)  # fmt: skip
def test_placeholders_are_refused_in_columns_of_phones_emails_postcodes_and_dates(name):
    read = table(*({"ref": "R", name: text} for text in PLACEHOLDERS))
    rows = range(2, 2 + len(PLACEHOLDERS))
    assert found(iter(read.file_issues)) == [(row, name, "blank_word") for row in rows]
    assert found(column_issues(read)) == []


def test_placeholders_are_texts_in_all_other_columns():
    """Null and None are surnames, and NA is a reference."""
    refused = ("tel_1", "tel_2", "email", "postcode", "date_of_birth", "dob")
    others = ["ref", "notes", "meta:X"] + [
        f"{kind}_1_{field}"
        for kind, fields in (("customer", CUSTOMER_FIELDS), ("address_book", ADDRESS_BOOK_FIELDS))
        for field in fields
        if field not in refused
    ]
    file = sheet(*(dict.fromkeys(others, text) for text in PLACEHOLDERS))
    read = ImportTable(file, matched_columns(file, "forbid", ()), blank_words=[])
    for name in others:
        assert read.cells[name] == PLACEHOLDERS


# -- cells -----------------------------------------------------------------------------------

LIMITS = {
    "customer_1_tel_1": 25, "customer_1_tel_2": 25, "customer_1_address_1": 100,
    "customer_1_address_2": 100, "customer_1_address_3": 100, "customer_1_postcode": 100,
    "customer_1_occupation": 150, "customer_1_preferred_name": 150,
}  # fmt: skip


def test_limits_are_the_vendors_for_each_column_counted_in_characters():
    at, above = (
        {name: "é" * (limit + extra) for name, limit in LIMITS.items()} for extra in (0, 1)
    )
    issues = list(column_issues(table(at, above, at)))
    assert sorted(found(issues)) == sorted((3, name, "too_long") for name in LIMITS)
    for issue in issues:
        assert f"more than {LIMITS[issue.column]} characters" in issue.message


def test_everything_else_may_be_as_long_as_it_is():
    free = ["ref", "notes", "meta:X"] + [
        f"{kind}_1_{field}"
        for kind, fields in (("customer", CUSTOMER_FIELDS), ("address_book", ADDRESS_BOOK_FIELDS))
        for field, spec in fields.items()
        if not spec.checks
    ]
    assert found(column_issues(table(dict.fromkeys(free, "x" * 10_000)))) == []


CHECKED = {
    "date": ["customer_date_of_birth", "address_book_dob"],
    "email": ["email", "adviser_email", "customer_email", "address_book_email"],
    "phone_zero_lost": [
        "customer_tel_1", "customer_tel_2", "address_book_tel_1", "address_book_tel_2",
    ],
    "marital_status": ["customer_marital_status"],
    "yes_or_no": ["address_book_is_charity"],
    "entity_id": ["address_book_entity_id"],
}  # fmt: skip
BROKEN = {"date": "x", "phone_zero_lost": "7700900123"}


def test_each_check_is_made_of_the_columns_it_is_for():
    cells = {name: BROKEN.get(code, "?") for code, names in CHECKED.items() for name in names}
    assert sorted(found(column_issues(table({"ref": "R"} | cells)))) == sorted(
        (2, name, "date_unreadable" if code == "date" else code)
        for code, names in CHECKED.items()
        for name in names
    )


@pytest.mark.parametrize(
    "records", [[], [{}], [{}, {}, {}]], ids=["no rows", "a blank row", "blank rows"]
)
def test_blank_files_have_no_broken_cells(records):
    header = [*CASE_FIELDS, "meta:X", *(f"customer_{name}" for name in CUSTOMER_FIELDS)]
    header += [f"address_book_{name}" for name in ADDRESS_BOOK_FIELDS]
    read = table(*records, header=header)
    assert found(column_issues(read)) == []
    assert found(people_issues(read)) == []
    assert found(meta_issues(read)) == []


def test_every_broken_cell_of_a_long_file_is_found_in_one_pass():
    broken = {"email": "x", "customer_tel_1": "7700900123", "customer_date_of_birth": "x"}
    records = [broken if row % 3 else {"email": "a@example.org"} for row in range(2, 3002)]
    expected = {
        (row, name, code)
        for row in range(2, 3002)
        if row % 3
        for name, code in zip(broken, ("email", "phone_zero_lost", "date_unreadable"), strict=True)
    }
    issues = found(column_issues(table(*records)))
    assert len(issues) == len(expected) == 6000
    assert set(issues) == expected


def test_a_cell_with_several_faults_has_each_once():
    tel = "7700900123 or 07700900124, 1E+9"
    assert sorted(found(column_issues(table({"customer_tel_1": tel})))) == [
        (2, "customer_tel_1", "too_long"),
        (2, "customer_tel_1", "two_phones"),
    ]


def test_dates_of_each_column_have_their_own_form():
    read = table(
        {"customer_1_date_of_birth": "1960-02-01", "customer_2_date_of_birth": "01/02/1960"},
        {"customer_1_date_of_birth": "1960-02-01", "customer_2_date_of_birth": "1960-02-01"},
        {"customer_1_date_of_birth": "01/02/1960", "customer_2_date_of_birth": None},
        {"customer_1_date_of_birth": None, "customer_2_date_of_birth": "1/2/1960"},
    )
    assert sorted(found(column_issues(read))) == [
        (3, "customer_2_date_of_birth", "date_mixed"),
        (4, "customer_1_date_of_birth", "date_mixed"),
    ]


def test_identity_columns_are_not_checked():
    file = sheet({"ref": "R", "email_id": "x", "tel_1": "7700900123"})
    read = ImportTable(file, matched_columns(file, "forbid", ["email_id", "tel_1"]))
    assert found(column_issues(read)) == []


def test_the_models_own_words_never_leave():
    """pandera's error holds cells, also as the context of another error."""
    read = table({"email": "canary"})
    [issue] = column_issues(read)
    assert "canary" not in repr(issue)


def test_the_model_has_a_column_for_each_kind_of_column_and_takes_no_others():
    assert len(IMPORT_CASES.columns) == len(CASE_FIELDS) + 1 + len(CUSTOMER_FIELDS) + len(
        ADDRESS_BOOK_FIELDS
    )
    assert IMPORT_CASES.strict
    assert IMPORT_CASES.unique_column_names
    assert not IMPORT_CASES.coerce
    for name, spec in IMPORT_CASES.columns.items():
        assert re.compile(name)
        assert not spec.required


# -- people ----------------------------------------------------------------------------------

NAMES = {"customer_1_title": "Mr", "customer_1_first_names": "Tom", "customer_1_last_name": "Null"}


@pytest.mark.parametrize("missing", sorted(NAMES))
@pytest.mark.parametrize("has_column", [True, False])
def test_each_customer_needs_title_first_names_and_last_name(missing, has_column):
    header = list(NAMES) if has_column else [name for name in NAMES if name != missing]
    read = table(NAMES | {missing: None}, header=["ref", *header])
    [issue] = people_issues(read)
    assert (issue.row, issue.column, issue.code) == (2, missing, "required")
    assert issue.message.startswith(f"{missing} is missing; ")


def test_whoever_has_any_field_is_a_customer_and_whoever_has_none_is_not():
    read = table(
        NAMES | {"customer_2_email": "a@example.org", "customer_3_title": None},
        {"customer_2_email": None},
    )
    assert found(people_issues(read)) == [
        (2, f"customer_2_{name}", "required") for name in ("title", "first_names", "last_name")
    ]


def test_a_customer_without_a_number_needs_the_same():
    read = table({"Customer Title": "Mr"}, {"Customer Title": None})
    assert found(people_issues(read)) == [
        (2, "customer_first_names", "required"), (2, "customer_last_name", "required"),
    ]  # fmt: skip


def test_a_placeholder_alone_makes_no_customer():
    assert found(people_issues(table({"customer_1_email": "N/A"}))) == []


ORGANISATION = {"address_book_1_entity_id": "Organisation", "address_book_1_name": "Cat Rescue"}


def test_people_of_the_address_book_need_nothing():
    assert found(people_issues(table({"address_book_1_tel_1": "07700 900123"}))) == []


@pytest.mark.parametrize("entity", ["organisation", "ORGANISATION"])
def test_an_organisation_needs_a_name(entity):
    read = table(
        {**ORGANISATION, "address_book_1_entity_id": entity},
        {"address_book_1_entity_id": entity, "address_book_1_reg_no": "1"},
    )
    assert found(people_issues(read)) == [(3, "address_book_1_name", "organisation_name")]


@pytest.mark.parametrize("entity", [None, "person", "Person"])
@pytest.mark.parametrize("field", ["name", "reg_no", "is_charity"])
def test_what_only_organisations_have_is_refused_for_a_person(entity, field):
    read = table({"address_book_entity_id": entity, f"address_book_{field}": "yes"})
    assert found(people_issues(read)) == [(2, f"address_book_{field}", "not_an_organisation")]


def test_each_entry_of_a_row_is_looked_at():
    read = table({**ORGANISATION, "address_book_2_name": "x", "customer_2_title": "Mr"})
    assert sorted(found(people_issues(read))) == [
        (2, "address_book_2_name", "not_an_organisation"),
        (2, "customer_2_first_names", "required"),
        (2, "customer_2_last_name", "required"),
    ]


# -- CRM fields ------------------------------------------------------------------------------


def with_options(options: list[str] | None, *values: str | None) -> ImportTable:
    read = table(*({"Meta: Source": value} for value in values))
    read.meta = {"meta:Source": MetaField("id-1", "Source", options)}
    return read


def test_a_value_must_be_one_of_its_fields_options_in_any_case():
    read = with_options(["Referral", "Web site"], "Referral", "WEB  SITE", None, "Billboard", "Web")
    issues = list(meta_issues(read))
    assert found(issues) == [(5, "Meta: Source", "meta_option"), (6, "Meta: Source", "meta_option")]
    assert "Referral, Web site" in issues[0].message


def test_a_field_without_options_takes_every_value():
    assert found(meta_issues(with_options(None, "x", None))) == []


def test_a_field_with_an_empty_list_of_options_takes_every_value():
    assert found(meta_issues(with_options([], "x", None))) == []


def test_of_options_that_differ_in_case_only_the_very_one_is_meant():
    options = ["YES", "Yes", "No"]
    assert option_of("Yes", options) == "Yes"
    assert option_of("YES", options) == "YES"
    assert option_of("yes", options) is None
    assert option_of("NO", options) == "No"
    assert option_of("x", []) is None


# -- issues ----------------------------------------------------------------------------------


def test_every_sentence_can_be_said():
    rows = {"other": 3, "one": 4, "count": 21}
    details = {**rows, "limit": 25, "options": "a, b", "zone": "A/B", "recipient": "Another"}
    details |= {"word": '"nan"'}
    for code in schemas.import_file.ROW_SENTENCES:
        said = issue_of(code, 2, "The Column", **details).message
        assert "{" not in said
        assert said.endswith(".")


def test_issues_are_sorted_from_left_to_right_and_those_of_the_row_come_first():
    read = table({"notes": "x", "Ref": "R", "email": "x"})
    columns = ["email", None, "Ref", "notes", "customer_1_title"]
    issues = [Issue(2, name, "b", "") for name in columns] + [Issue(2, "Ref", "a", "")]
    ordered = sorted(issues, key=in_column_order(read))
    assert [(issue.column, issue.code) for issue in ordered] == [
        (None, "b"), ("customer_1_title", "b"), ("notes", "b"), ("Ref", "a"), ("Ref", "b"),
        ("email", "b"),
    ]  # fmt: skip


def test_dates_that_contradict_each_other_are_all_refused_with_both_rows_named():
    dates = ["01/02/1960", None, "12/31/1961", "13/05/1962", "03/04/1963"]
    issues = list(column_issues(table(*({"customer_date_of_birth": each} for each in dates))))
    assert [(issue.row, issue.code) for issue in issues] == [
        (row, "date_contradiction") for row in (2, 4, 5, 6)
    ]
    assert all("row 4" in issue.message and "row 5" in issue.message for issue in issues)


def test_dates_of_a_workbook_beside_texts_that_it_could_not_read_are_all_refused():
    dates = ["1960-03-04", "1961-05-06", None, "1962-07-08", "13/05/1963", "25/12/1964"]
    issues = list(column_issues(table(*({"customer_date_of_birth": each} for each in dates))))
    assert [(issue.row, issue.code) for issue in issues] == [
        (row, "date_swapped") for row in (2, 3, 5, 6, 7)
    ]
    assert all("row 2" in issue.message and "row 6" in issue.message for issue in issues)
