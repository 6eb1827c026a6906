"""Headers as people write them: which are known, and what is said of the others."""

import pytest

from schemas.columns import MetaField, letters_of, match_columns, normalised, resolve_meta
from schemas.issues import SourceError

KNOWN = {"ref", "notes", "email"}
PATTERNS = {r"customer_(?:\d{1,2}_)?last_name": "customer_1_last_name", "meta:.+": "meta:<label>"}
FIELDS = [
    MetaField("id-1", "Lead source", ["Referral", "Website"]),
    MetaField("id-2", "Storage reference", None),
    MetaField("id-3", "Twice", None),
    MetaField("id-4", "twice ", None),
    MetaField("id-5", None, None),
]


def matched(*headers: str, extra: str = "forbid") -> dict[str, str]:
    return match_columns(headers, KNOWN, patterns=PATTERNS, extra=extra)


def refusal(*headers: str) -> str:
    with pytest.raises(SourceError) as refused:
        matched(*headers)
    return str(refused.value)


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "customer_1_last_name", "Customer 1 Last Name", "CUSTOMER-1-LAST-NAME",
        " customer  1 - last_name\t", "\ufeffcustomer_1_last_name", "Customer\n1\nlast name",
        "customer_1_last_names", "Customer 1 Last Names",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_header_is_known_in_any_case_and_with_any_space_between_its_words(header):
    assert normalised(header) == "customer_1_last_name"
    assert matched(header) == {header: "customer_1_last_name"}


@pytest.mark.parametrize("header", ["meta:Lead Source", "Meta : Lead Source", "META: Lead Source "])
def test_of_a_crm_column_only_the_prefix_is_normalised(header):
    assert normalised(header) == "meta:Lead Source"


def test_a_label_may_have_anything_in_it():
    assert normalised("meta:Has last_names: Yes - No") == "meta:Has last_names: Yes - No"


@pytest.mark.parametrize(
    ("index", "letters"),
    [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")],
)
def test_columns_are_named_as_a_spreadsheet_names_them(index, letters):
    assert letters_of(index) == letters


def test_columns_are_matched_in_the_order_of_the_file():
    assert list(matched("Notes", "meta:X", "REF").items()) == [
        ("Notes", "notes"), ("meta:X", "meta:X"), ("REF", "ref"),
    ]  # fmt: skip


def test_a_name_is_known_as_a_whole_only():
    for header in ("references", "my_ref", "customer_1_last_name_2", "customer_100_last_name"):
        assert "Unknown" in refusal("ref", header)


# -- unknown columns -------------------------------------------------------------------------


def test_an_unknown_column_is_named_with_its_place_and_the_nearest_known_name():
    said = refusal("ref", "notes", "Custmer 1 Last Name")
    assert 'column C "Custmer 1 Last Name" (nearest known name: customer_1_last_name)' in said
    assert 'extra="ignore"' in said


@pytest.mark.parametrize("header", ["Margaret Thistlewood", "07700 900123", "xq@example.org", "B"])
def test_a_header_that_may_be_a_cell_is_never_shown(header):
    """A file without a header row has a person's data there, and the message goes into logs."""
    said = refusal("ref", header)
    assert "column B (nearest known name: " in said
    assert header not in said.replace("column B", "")


def test_of_many_unknown_columns_ten_are_named_and_the_others_counted():
    said = refusal(*(f"unknown number {index}" for index in range(12)))
    assert said.count("nearest known name") == 10
    assert "column J " in said
    assert "column K" not in said
    assert ", and 2 more" in said
    assert "more" not in refusal(*(f"unknown number {index}" for index in range(10)))


@pytest.mark.parametrize("header", ["meta:", "meta: ", "Meta:\u200b"], ids=ascii)
def test_a_crm_column_without_a_label_is_unknown(header):
    assert "Unknown: column A" in refusal(header)


def test_unknown_columns_are_left_out_where_that_is_wished():
    assert matched("ref", "Shoe size", "notes", extra="ignore") == {"ref": "ref", "notes": "notes"}


def test_unknown_columns_that_are_left_out_may_be_alike():
    assert matched("Shoe size", "shoe-size", "ref", extra="ignore") == {"ref": "ref"}


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
def test_columns_of_a_rejects_file_are_ignored(extra):
    headers = ("rejected_row", "Rejected Because", "ref")
    assert matched(*headers, extra=extra) == {"ref": "ref"}


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ref", "Ref"),
        ("customer_1_last_name", "Customer 1 Last-Name"),
        ("customer_last_name", "customer_last_names"),
        ("meta:Lead source", "Meta: Lead source"),
    ],
)
def test_two_columns_that_mean_the_same_are_refused_by_their_places(one, other, extra):
    with pytest.raises(SourceError, match=r"^Columns B and D mean the same; remove one of them\.$"):
        matched("notes", one, "rejected_row", other, extra=extra)


def test_a_number_with_a_zero_before_it_is_the_same_number():
    assert "Columns A and B mean the same" in refusal(
        "customer_1_last_name", "customer_01_last_name"
    )


def test_nothing_but_headers_is_needed():
    assert matched() == {}


# -- CRM fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field_id"),
    [
        ("meta:Lead source", "id-1"),
        ("meta:LEAD SOURCE", "id-1"),
        ("meta:id-1", "id-1"),
        ("meta:id-4", "id-4"),
        ("meta:id-5", "id-5"),
    ],
)
def test_a_crm_field_is_found_by_its_label_in_any_case_or_by_its_id(name, field_id):
    assert resolve_meta([name], FIELDS)[name].id == field_id


def refused_field(*names: str, fields: list[MetaField] = FIELDS) -> str:
    with pytest.raises(SourceError) as refused:
        resolve_meta(names, fields)
    return str(refused.value)


def test_a_label_that_two_fields_have_must_be_given_as_an_id():
    said = refused_field("meta:Twice")
    assert "2 CRM fields have the label" in said
    assert "meta:<field id>" in said


def test_an_unknown_label_is_named_with_the_nearest():
    said = refused_field("meta:Leed source")
    assert 'no CRM field for column "meta:Leed source"; the nearest is meta:Lead source' in said


def test_an_account_without_crm_fields_has_no_nearest():
    assert refused_field("meta:X", fields=[]) == 'The account has no CRM field for column "meta:X".'


def test_an_id_is_not_found_in_another_case():
    assert "no CRM field" in refused_field("meta:ID-1")


@pytest.mark.parametrize("other", ["meta:id-1", "meta:lead SOURCE"])
def test_two_columns_for_one_crm_field_are_refused(other):
    said = refused_field("meta:Lead source", "meta:Storage reference", other)
    assert said == f"The columns meta:Lead source and {other} mean the same CRM field."


def test_fields_are_known_by_the_columns_that_name_them():
    names = ["meta:Storage reference", "meta:id-1"]
    assert {name: field.id for name, field in resolve_meta(names, FIELDS).items()} == {
        "meta:Storage reference": "id-2", "meta:id-1": "id-1",
    }  # fmt: skip
    assert resolve_meta([], FIELDS) == {}
