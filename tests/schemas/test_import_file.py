"""The columns of a file of new cases, and what may stand in them."""

import re

import pytest
from made_sheets import found_in, import_table, sheet

from schemas.import_file import CASE_FIELDS, IMPORT_CASES, is_import_column, matched_columns
from schemas.issues import SourceError
from schemas.person_columns import ADDRESS_BOOK_FIELDS, CUSTOMER_FIELDS, person_column
from schemas.source_people import people_issues
from schemas.source_table import SourceTable, column_issues, meta_issues
from willsuite.bodies import NewAddressBookEntry, NewCase, NewCustomer

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
        matched_columns(sheet([{"ref": "R", one: "x", other: "x"}]), "forbid", ())


def test_identity_columns_are_known_besides():
    file = sheet([{"Customer ID": "7", "Source-Id": "8", "ref": None}])
    assert matched_columns(file, "forbid", ["customer_id", "source_id"]) == {
        "Customer ID": "customer_id", "Source-Id": "source_id", "ref": "ref",
    }  # fmt: skip
    with pytest.raises(SourceError, match="Unknown"):
        matched_columns(file, "forbid", ["customer_id"])


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
def test_an_identity_column_that_is_not_in_the_file_is_refused(extra):
    with pytest.raises(SourceError, match=r"derive_ref_from names 1 column\(s\)"):
        matched_columns(sheet([{"ref": None}]), extra, ["ref", "customer_id"])


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
def test_bookkeeping_columns_are_no_identity(extra):
    with pytest.raises(SourceError, match="hasn't got"):
        matched_columns(sheet([{"ref": None, "rejected_row": "3"}]), extra, ["rejected_row"])


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
    issues = list(column_issues(import_table(at, above, at), IMPORT_CASES))
    assert sorted(found_in(issues)) == sorted((3, name, "too_long") for name in LIMITS)
    for issue in issues:
        assert f"more than {LIMITS[issue.column]} characters" in issue.message


def test_everything_else_may_be_as_long_as_it_is():
    free = ["ref", "notes", "meta:X"] + [
        f"{kind}_1_{field}"
        for kind, fields in (("customer", CUSTOMER_FIELDS), ("address_book", ADDRESS_BOOK_FIELDS))
        for field, spec in fields.items()
        if not spec.checks
    ]
    assert (
        found_in(column_issues(import_table(dict.fromkeys(free, "x" * 10_000)), IMPORT_CASES)) == []
    )


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
BROKEN = {"date": "x", "phone_zero_lost": "7700900123", "email": "x"}


def test_each_check_is_made_of_the_columns_it_is_for():
    cells = {name: BROKEN.get(code, "?") for code, names in CHECKED.items() for name in names}
    assert sorted(
        found_in(column_issues(import_table({"ref": "R"} | cells), IMPORT_CASES))
    ) == sorted(
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
    read = import_table(*records, header=header)
    assert found_in(column_issues(read, IMPORT_CASES)) == []
    assert found_in(people_issues(read)) == []
    assert found_in(meta_issues(read)) == []


def test_every_broken_cell_of_a_long_file_is_found_in_one_pass():
    broken = {"email": "x", "customer_tel_1": "7700900123", "customer_date_of_birth": "x"}
    records = [broken if row % 3 else {"email": "a@example.org"} for row in range(2, 3002)]
    expected = {
        (row, name, code)
        for row in range(2, 3002)
        if row % 3
        for name, code in zip(broken, ("email", "phone_zero_lost", "date_unreadable"), strict=True)
    }
    issues = found_in(column_issues(import_table(*records), IMPORT_CASES))
    assert len(issues) == len(expected) == 6000
    assert set(issues) == expected


def test_a_cell_with_several_faults_has_each_once():
    tel = "7700900123 or 07700900124, 1E+9"
    read = import_table({"customer_tel_1": tel})
    assert sorted(found_in(column_issues(read, IMPORT_CASES))) == [
        (2, "customer_tel_1", "too_long"),
        (2, "customer_tel_1", "two_phones"),
    ]


def test_dates_of_each_column_have_their_own_form():
    read = import_table(
        {"customer_1_date_of_birth": "1960-02-01", "customer_2_date_of_birth": "01/02/1960"},
        {"customer_1_date_of_birth": "1960-02-01", "customer_2_date_of_birth": "1960-02-01"},
        {"customer_1_date_of_birth": "01/02/1960", "customer_2_date_of_birth": None},
        {"customer_1_date_of_birth": None, "customer_2_date_of_birth": "1/2/1960"},
    )
    assert sorted(found_in(column_issues(read, IMPORT_CASES))) == [
        (3, "customer_2_date_of_birth", "date_mixed"),
        (4, "customer_1_date_of_birth", "date_mixed"),
    ]


def test_identity_columns_are_not_checked():
    file = sheet([{"ref": "R", "email_id": "x", "tel_1": "7700900123"}])
    read = SourceTable(file, matched_columns(file, "forbid", ["email_id", "tel_1"]))
    assert found_in(column_issues(read, IMPORT_CASES)) == []


def test_the_models_own_words_never_leave():
    """pandera's error holds cells, also as the context of another error."""
    read = import_table({"email": "canary"})
    [issue] = column_issues(read, IMPORT_CASES)
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


def test_dates_that_contradict_each_other_are_all_refused_with_both_rows_named():
    dates = ["01/02/1960", None, "12/31/1961", "13/05/1962", "03/04/1963"]
    issues = list(
        column_issues(
            import_table(*({"customer_date_of_birth": each} for each in dates)), IMPORT_CASES
        )
    )
    assert [(issue.row, issue.code) for issue in issues] == [
        (row, "date_contradiction") for row in (2, 4, 5, 6)
    ]
    assert all("row 4" in issue.message and "row 5" in issue.message for issue in issues)


def test_dates_of_a_workbook_beside_texts_that_it_could_not_read_are_all_refused():
    dates = ["1960-03-04", "1961-05-06", None, "1962-07-08", "13/05/1963", "25/12/1964"]
    issues = list(
        column_issues(
            import_table(*({"customer_date_of_birth": each} for each in dates)), IMPORT_CASES
        )
    )
    assert [(issue.row, issue.code) for issue in issues] == [
        (row, "date_swapped") for row in (2, 3, 5, 6, 7)
    ]
    assert all("row 2" in issue.message and "row 6" in issue.message for issue in issues)
