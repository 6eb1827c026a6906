"""What is left of a table for people who may not see clients."""

import hashlib
import hmac
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from schemas.case_changes import CHANGES
from schemas.case_tables import FORMER_SCHEMAS, SCHEMAS
from schemas.pseudonyms import pseudonymised

KEY = b"k" * 32
SEEN_AT = datetime(2026, 1, 2, tzinfo=UTC)
CANARY = "Zebedee Quill"


def hashed(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def left_of(name: str, *rows: dict[str, Any], **options: list[str]) -> list[dict[str, Any]]:
    """What is left of these rows, in whose other columns there is somebody's name."""
    schema = {**SCHEMAS._asdict(), "changes": CHANGES}[name]
    names = [field.name if field.type == pa.string() else "" for field in schema]
    full = [dict.fromkeys(filter(None, names), CANARY) | row for row in rows]
    return list(pseudonymised(name, pa.Table.from_pylist(full, schema), KEY, options).to_pylist())


def test_of_a_case_its_hashes_its_outward_postcode_and_its_times_are_left() -> None:
    row = {"id": "a", "ref": "R-1", "postcode": "qx1 1zz", "is_active": True}
    times = {"first_seen": SEEN_AT, "last_changed": SEEN_AT}
    assert left_of("cases", row | times) == [
        {"id": hashed("a"), "ref": hashed("R-1"), "outward_postcode": "QX1", "is_active": True}
        | times
    ]


def test_of_a_customer_the_year_of_birth_and_words_of_closed_lists_are_left() -> None:
    row = {"id": "p", "case_id": "a", "date_of_birth_date": date(1950, 3, 4), "gender": "Female",
           "marital_status": "Widowed", "postcode": "QX22 1ZZ", "is_deceased": False}  # fmt: skip
    assert left_of("customers", row) == [
        {"id": hashed("p"), "case_id": hashed("a"), "year_of_birth": 1950, "gender": "female",
         "marital_status": "widowed", "outward_postcode": "QX22", "is_deceased": False}
    ]  # fmt: skip


def test_what_was_typed_into_a_field_for_something_else_is_not_left() -> None:
    (case,) = left_of("cases", {"id": "a"})
    (person,) = left_of("customers", {"id": "p", "case_id": "a"})
    assert CANARY not in str([case, person])
    assert {person[name] for name in ("gender", "marital_status", "outward_postcode")} == {None}


@pytest.mark.parametrize(
    ("postcode", "outward"),
    [
        ("SW1A 1AA", "SW1A"), (" m1  1ae ", "M1"), ("cr26xh", "CR2"), ("SW1A", None), ("", None),
        (None, None), ("1 QX1 1ZZ", None), ("QX1 1ZZ Quill", None),
    ],
)  # fmt: skip
def test_the_outward_half_is_told_of_whole_postcodes_only(
    postcode: str | None, outward: str | None
) -> None:
    (case,) = left_of("cases", {"id": "a", "postcode": postcode})
    assert case["outward_postcode"] == outward


def test_references_that_are_not_there_or_blank_stay_nothing() -> None:
    rows = left_of("cases", {"id": "a", "ref": None}, {"id": "b", "ref": ""})
    assert [row["ref"] for row in rows] == [None, None]


def test_crm_values_are_left_where_they_are_words_of_their_fields_closed_list() -> None:
    rows = [
        {"case_id": "a", "field_id": "f1", "field_label": "Source", "value": "Web"},
        {"case_id": "a", "field_id": "f2", "field_label": "Remarks", "value": "Web"},
        {"case_id": "b", "field_id": "f1", "field_label": "Source", "value": "his wife"},
        {"case_id": "c", "field_id": "f1", "field_label": "Source", "value": None},
    ]
    left = [{"case_id": hashed("a"), "field_id": "f1", "field_label": "Source", "value": "Web"}]
    assert left_of("case_meta", *rows, f1=["Web", "Fair"]) == left
    assert left_of("case_meta", *rows) == []


def test_changes_name_their_cases_by_the_same_hashes() -> None:
    row = {"table": "cases", "id": "a", "change": "changed", "columns": ["notes"]}
    assert left_of("changes", row) == [row | {"id": hashed("a")}]


def test_the_order_of_the_rows_tells_nothing_of_the_order_of_the_ids() -> None:
    ids = [f"{number:03}" for number in range(50)]
    cases = left_of("cases", *({"id": each} for each in ids))
    people = left_of("customers", *({"id": each, "case_id": each} for each in ids))
    assert [row["id"] for row in cases] == sorted(map(hashed, ids))
    assert [row["case_id"] for row in people] == sorted(map(hashed, ids))


@pytest.mark.parametrize("name", ["cases", "customers", "case_meta"])
def test_empty_tables_have_the_same_columns_and_say_what_they_are(name: str) -> None:
    schema = getattr(SCHEMAS, name)
    row = {field.name: "x" if field.type == pa.string() else None for field in schema}
    full = pseudonymised(name, pa.Table.from_pylist([row], schema), KEY, {"x": ["x"]})
    empty = pseudonymised(name, schema.empty_table(), KEY, {})
    assert full.schema.equals(empty.schema, check_metadata=True)
    assert empty.schema.metadata == {b"willsuite_profile": b"pseudonymised"}


def test_a_table_from_before_there_were_times_has_none() -> None:
    table = pseudonymised("cases", FORMER_SCHEMAS.cases.empty_table(), KEY, {})
    assert table.column_names == ["id", "ref", "outward_postcode", "is_active"]
