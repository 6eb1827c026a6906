"""From columns of cases to the three published tables, and what is refused on the way."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case_tables import (
    CASE_META,
    CASES,
    CUSTOMERS,
    FETCH_NUMBER,
    NESTED,
    SCHEMA_VERSION,
    SCHEMAS,
    SEEN,
    CaseColumns,
    CaseTables,
    TableError,
    check_tables,
    flat_tables,
    latest_cases,
    nested_cases,
)
from willsuite.records import Case, Customer

CASE_FIELDS = [name for name in Case.__struct_fields__ if name not in ("customers", "meta")]
CUSTOMER_FIELDS = list(Customer.__struct_fields__)
FLAGS = ("is_active", "is_deceased")
OURS = "date_of_birth_date"
"""The one column that isn't the vendor's."""


def columns(*cases: dict[str, Any]) -> CaseColumns:
    """Cases as dicts in the shape of the API, as columns; what a case leaves out is null."""
    people = [person for case in cases for person in case.get("customers", ())]
    return CaseColumns(
        cases={name: [case.get(name) for case in cases] for name in CASE_FIELDS},
        customers={name: [person.get(name) for person in people] for name in CUSTOMER_FIELDS},
        customer_counts=[len(case.get("customers", ())) for case in cases],
        metas=[case.get("meta", {}) for case in cases],
    )


def nested(*cases: dict[str, Any], fetch_number: int = 1) -> pa.Table:
    return nested_cases(columns(*cases), fetch_number)[0]


def tables(*cases: dict[str, Any], labels: dict[str, str | None] | None = None) -> CaseTables:
    return flat_tables(latest_cases(nested(*cases)), labels or {}, {})


def full_case(case_id: str = "case-1") -> dict[str, Any]:
    person = {name: f"{name} of a person" for name in CUSTOMER_FIELDS if name not in FLAGS}
    return {
        **{name: f"{name} of the case" for name in CASE_FIELDS if name not in FLAGS},
        "id": case_id,
        "is_active": 1,
        "customers": [{**person, "id": "person-1", "is_deceased": 0}],
        "meta": {"field-1": "a value"},
    }


# -- the schemas -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([], id="no cases"),
        pytest.param([{"id": "a"}, {"id": "b"}], id="cases without anything"),
        pytest.param([{"id": "a", "customers": [{"id": "p"}], "meta": {"f": None}}], id="all null"),
        pytest.param([full_case()], id="full"),
    ],
)
def test_tables_have_the_same_schemas_whatever_is_in_them(cases):
    waiting = nested(*cases)
    flat = flat_tables(latest_cases(waiting), {"field-1": "Label"}, {})

    assert waiting.schema.equals(NESTED, check_metadata=True)
    for table, schema in zip(flat, SCHEMAS, strict=True):
        assert table.schema.equals(schema, check_metadata=True)
        table.validate(full=True)
    check_tables(flat)


def test_columns_that_were_never_sent_are_the_same_as_columns_of_nothing():
    no_columns = CaseColumns(cases={}, customers={}, customer_counts=[], metas=[])
    table, unread = nested_cases(no_columns, 1)

    assert table.equals(nested())
    assert not unread


def test_an_empty_nested_table_without_chunks_gives_empty_tables():
    flat = flat_tables(latest_cases(NESTED.empty_table()), {}, {})

    assert [table.num_rows for table in flat] == [0, 0, 0]
    assert [table.schema for table in flat] == list(SCHEMAS)


def test_case_columns_are_the_fields_of_the_record_under_their_wire_names():
    assert set(CASES.names) == set(Case.__struct_fields__) - {"customers", "meta"} | {*SEEN}
    assert len(CASES.names) == len(set(CASES.names))


def test_customer_columns_are_the_fields_of_the_record_under_their_wire_names():
    wire = set(Customer.__struct_fields__) - {"customer_case_id"} | {"case_id", OURS}
    assert set(CUSTOMERS.names) == wire
    assert len(CUSTOMERS.names) == len(wire)


def test_columns_stand_in_the_order_that_readers_of_a_snapshot_know():
    assert CASES.names == [
        "id", "ref", "first_names", "last_names", "full_names", "email", "postcode", "notes",
        "is_active", "extra", "first_seen", "last_changed",
    ]  # fmt: skip
    assert CUSTOMERS.names == [
        "id", "case_id", "title", "first_names", "middle_names", "last_name", "date_of_birth",
        "gender", "tel_1", "tel_2", "email", "occupation", "marital_status", "address_1",
        "address_2", "address_3", "postcode", "is_deceased", OURS, "extra",
    ]  # fmt: skip
    assert CASE_META.names == ["case_id", "field_id", "field_label", "value"]


def test_all_columns_are_text_but_the_flags_and_our_date_and_times():
    times = dict.fromkeys(SEEN, pa.timestamp("us", "UTC"))
    kinds = dict.fromkeys(FLAGS, pa.bool_()) | {OURS: pa.date32()} | times
    for schema in SCHEMAS:
        for field in schema:
            assert field.type == kinds.get(field.name, pa.string()), field.name


def test_only_keys_are_declared_as_never_null():
    keys = [[field.name for field in schema if not field.nullable] for schema in SCHEMAS]
    assert keys == [["id"], ["id", "case_id"], ["case_id", "field_id"]]


def test_every_schema_names_its_version():
    for schema in SCHEMAS:
        assert schema.metadata == {b"willsuite_schema_version": SCHEMA_VERSION.encode()}


def test_every_field_of_a_full_case_arrives_in_its_own_column():
    case = full_case()
    flat = tables(case, labels={"field-1": "Label"})

    assert flat.cases.to_pylist() == [
        {**{name: case[name] for name in CASE_FIELDS}, "is_active": True, **dict.fromkeys(SEEN)}
    ]
    [person] = case["customers"]
    expected = {**person, "case_id": "case-1", "is_deceased": False, OURS: None}
    del expected["customer_case_id"]
    assert flat.customers.to_pylist() == [expected]
    assert flat.case_meta.to_pylist() == [
        {
            "case_id": "case-1",
            "field_id": "field-1",
            "field_label": "Label",
            "value": "a value",
        }
    ]


# -- values ----------------------------------------------------------------------------------

READ_FLAGS = [
    (0, False),
    (1, True),
    ("0", False),
    ("1", True),
    (False, False),
    (True, True),
    ("false", False),
    ("true", True),
    (None, None),
]
UNREAD_FLAGS = [2, -1, "", "yes", "2", "TRUE ", "null"]


@pytest.mark.parametrize(("sent", "stored"), READ_FLAGS)
def test_a_flag_is_stored_as_true_false_or_null_however_it_was_sent(sent, stored):
    case = {"id": "a", "is_active": sent, "customers": [{"id": "p", "is_deceased": sent}]}
    table, unread = nested_cases(columns(case), 1)
    flat = flat_tables(table, {}, {})

    assert flat.cases["is_active"].to_pylist() == [stored]
    assert flat.customers["is_deceased"].to_pylist() == [stored]
    assert not unread


@pytest.mark.parametrize("sent", UNREAD_FLAGS)
def test_a_flag_that_says_neither_is_null_and_counted(sent):
    case = {"id": "a", "is_active": sent, "customers": [{"id": "p", "is_deceased": sent}]}
    table, unread = nested_cases(columns(case), 1)
    flat = flat_tables(table, {}, {})

    assert flat.cases["is_active"].to_pylist() == [None]
    assert flat.customers["is_deceased"].to_pylist() == [None]
    assert unread == {"case.is_active": 1, "customer.is_deceased": 1}


def test_unread_flags_are_counted_apart_from_missing_ones():
    sent = [None, 1, "maybe", None, 7, 0]
    table, unread = nested_cases(
        columns(*({"id": str(n), "is_active": flag} for n, flag in enumerate(sent))), 1
    )

    assert table["is_active"].to_pylist() == [None, True, None, None, None, False]
    assert unread == {"case.is_active": 2}


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "None", "NA", "N/A", "Null", "NULL", "null", "nan", "NaN", "<NA>", "True", "0",
        "007", "=1+1", "O'Brien", "Łukasz Żółć", "two\nlines\r\n", "😀", "a\x00b",
    ],
)  # fmt: skip
def test_a_text_is_stored_exactly_as_sent(text):
    case = {
        "id": "a",
        "notes": text,
        "customers": [{"id": "p", "last_name": text, "tel_1": text, "date_of_birth": text}],
        "meta": {"f": text},
    }
    flat = tables(case, labels={"f": text})

    check_tables(flat)
    assert flat.cases["notes"].to_pylist() == [text]
    for name in ("last_name", "tel_1", "date_of_birth"):
        assert flat.customers[name].to_pylist() == [text]
    assert flat.case_meta["value"].to_pylist() == [text]
    assert flat.case_meta["field_label"].to_pylist() == [text]


def test_an_empty_text_and_null_stay_apart():
    flat = tables(
        {"id": "a", "notes": "", "meta": {"f": ""}, "customers": [{"id": "p", "tel_1": ""}]},
        {"id": "b", "notes": None, "meta": {"f": None}, "customers": [{"id": "q", "tel_1": None}]},
    )

    assert flat.cases["notes"].to_pylist() == ["", None]
    assert flat.customers["tel_1"].to_pylist() == ["", None]
    assert flat.case_meta["value"].to_pylist() == ["", None]


def test_a_null_value_of_a_crm_field_keeps_its_row():
    flat = tables({"id": "a", "meta": {"f": None, "g": "x"}})

    assert flat.case_meta.select(["field_id", "value"]).to_pylist() == [
        {"field_id": "f", "value": None},
        {"field_id": "g", "value": "x"},
    ]


def test_labels_are_looked_up_and_null_where_nobody_knows_the_field():
    labels = {"h": "Not used", "f": "Lead source", "n": None}
    flat = tables(
        {"id": "a", "meta": {"g": "1", "f": "2"}},
        {"id": "b", "meta": {"n": "3", "f": "4"}},
        labels=labels,
    )

    rows = zip(
        *(flat.case_meta[name].to_pylist() for name in ("value", "field_label")), strict=True
    )
    assert dict(rows) == {"1": None, "2": "Lead source", "3": None, "4": "Lead source"}


def test_without_any_labels_all_labels_are_null():
    flat = tables({"id": "a", "meta": {"f": "1", "g": "2"}}, labels={})

    assert flat.case_meta["field_label"].to_pylist() == [None, None]


# -- which copy, which order -----------------------------------------------------------------


def test_cases_are_sorted_by_id_however_they_came():
    flat = tables(*({"id": case_id} for case_id in ("b", "é", "a", "B", "0", "aa")))

    assert flat.cases["id"].to_pylist() == ["0", "B", "a", "aa", "b", "é"]


def test_customers_keep_the_servers_order_below_their_sorted_cases():
    flat = tables(
        {"id": "b", "customers": [{"id": "9"}, {"id": "1"}, {"id": "5"}]},
        {"id": "c"},
        {"id": "a", "customers": [{"id": "7"}, {"id": "2"}]},
    )

    ordered = zip(*(flat.customers[name].to_pylist() for name in ("case_id", "id")), strict=True)
    assert list(ordered) == [("a", "7"), ("a", "2"), ("b", "9"), ("b", "1"), ("b", "5")]


def test_the_case_a_customer_came_in_counts_and_not_what_it_says_itself():
    flat = tables({"id": "a", "customers": [{"id": "p", "customer_case_id": "elsewhere"}]})

    assert flat.customers["case_id"].to_pylist() == ["a"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_copy_with_the_highest_fetch_number_wins_with_its_customers_and_meta(order):
    pages = [
        nested(
            {"id": "x", "ref": "old", "customers": [{"id": "p"}, {"id": "q"}], "meta": {"f": "1"}},
            {"id": "y", "ref": "only"},
            fetch_number=8,
        ),
        nested(
            {"id": "w", "ref": "other"},
            {"id": "x", "ref": "new", "customers": [{"id": "r"}], "meta": {"g": "2", "h": None}},
            fetch_number=10,
        ),
        nested(
            {"id": "x", "ref": "older", "customers": [{"id": "s"}], "meta": {"i": "3"}},
            fetch_number=9,
        ),
    ]
    latest = latest_cases(pa.concat_tables([pages[position] for position in order]))
    flat = flat_tables(latest, {}, {})

    assert latest[FETCH_NUMBER].to_pylist() == [10, 10, 8]
    assert flat.cases["id"].to_pylist() == ["w", "x", "y"]
    assert flat.cases["ref"].to_pylist() == ["other", "new", "only"]
    assert flat.customers["id"].to_pylist() == ["r"]
    assert flat.case_meta["field_id"].to_pylist() == ["g", "h"]


def test_a_later_copy_without_customers_and_meta_takes_those_of_the_earlier_away():
    before = nested({"id": "x", "customers": [{"id": "p"}], "meta": {"f": "1"}}, fetch_number=1)
    after = nested({"id": "x"}, fetch_number=2)
    flat = flat_tables(latest_cases(pa.concat_tables([before, after])), {}, {})

    assert [table.num_rows for table in flat] == [1, 0, 0]


def test_a_filtered_or_sliced_table_gives_only_the_rows_it_has():
    whole = nested(
        {"id": "a", "customers": [{"id": "p"}, {"id": "q"}], "meta": {"f": "1"}},
        {"id": "b", "customers": [{"id": "r"}], "meta": {"g": "2"}},
        {"id": "c", "customers": [{"id": "s"}], "meta": {"h": "3"}},
    )
    for part in (whole.slice(1, 1), whole.filter(pa.array([False, True, False]))):
        flat = flat_tables(part, {}, {})
        assert flat.cases["id"].to_pylist() == ["b"]
        assert flat.customers.select(["id", "case_id"]).to_pylist() == [{"id": "r", "case_id": "b"}]
        assert flat.case_meta["field_id"].to_pylist() == ["g"]


pages_of_ids = st.lists(st.lists(st.sampled_from(["", "a", "b", "ab", "ż", "B"]), max_size=5))


@settings(deadline=None)
@given(pages=pages_of_ids, data=st.data())
def test_latest_cases_keeps_one_row_per_id_the_one_with_the_highest_fetch_number(pages, data):
    numbers = data.draw(st.permutations(range(1, len(pages) + 1)))
    copies: dict[str, list[tuple[int, str]]] = {}
    fetched = [NESTED.empty_table()]
    for number, ids in zip(numbers, pages, strict=True):
        cases = []
        for place, case_id in enumerate(ids):
            name = f"{number}/{place}"
            copies.setdefault(case_id, []).append((number, name))
            people = [{"id": f"{name}/{person}"} for person in range(place)]
            cases.append({"id": case_id, "ref": name, "customers": people, "meta": {name: name}})
        fetched.append(nested(*cases, fetch_number=number))

    latest = latest_cases(pa.concat_tables(fetched))

    assert latest.schema.equals(NESTED, check_metadata=True)
    assert latest["id"].to_pylist() == sorted(copies)
    for row in latest.to_pylist():
        newest, _ = max(copies[row["id"]])
        assert row[FETCH_NUMBER] == newest
        # a page with an id twice has two copies of one number: either may stay, but whole
        assert (newest, row["ref"]) in copies[row["id"]]
        assert row["meta"] == [{"field_id": row["ref"], "value": row["ref"]}]
        place = int(row["ref"].partition("/")[2])
        people = [person["id"] for person in row["customers"]]
        assert people == [f"{row['ref']}/{person}" for person in range(place)]
    again = latest_cases(latest)
    assert again.equals(latest)


# -- what is refused -------------------------------------------------------------------------

SECRET = "Ottilie Featherstonehaugh"


def case_with_a_secret(case_id: str) -> dict[str, Any]:
    return {
        "id": case_id,
        "notes": SECRET,
        "customers": [{"id": f"{case_id}-{SECRET}", "last_name": SECRET}],
        "meta": {"f": SECRET},
    }


def refusal_of(broken: CaseTables) -> str:
    with pytest.raises(TableError) as refused:
        check_tables(broken)
    # a chained pandera error would print the cells
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    return str(refused.value)


def test_a_case_that_comes_twice_is_refused_without_naming_anyone():
    twice = nested(
        case_with_a_secret(f"id {SECRET}"), case_with_a_secret(f"id {SECRET}"), {"id": "other"}
    )
    message = refusal_of(flat_tables(twice, {}, {}))

    assert "cases" in message
    assert SECRET not in message
    assert "Ottilie" not in message


def test_a_case_with_an_empty_id_is_refused_without_naming_anyone():
    message = refusal_of(tables({"id": "", "notes": SECRET, "ref": SECRET}))

    assert "cases" in message
    assert "empty key: 1" in message
    assert SECRET not in message


def test_a_refusal_counts_the_rows_that_break_the_rule():
    message = refusal_of(
        tables(
            {"id": "a", "customers": [{"id": ""}, {"id": "p"}]},
            {"id": "b", "customers": [{"id": ""}]},
        )
    )

    assert message == "Table customers breaks its schema (empty key: 2)."


@pytest.mark.parametrize(
    ("case", "table"),
    [
        ({"id": "a", "customers": [{"id": ""}]}, "customers"),
        ({"id": "a", "meta": {"": "value"}}, "case_meta"),
    ],
)
def test_an_empty_key_is_refused_in_every_table(case, table):
    assert f"Table {table} " in refusal_of(tables(case))


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        (CASES, "id"),
        (CUSTOMERS, "id"),
        (CUSTOMERS, "case_id"),
        (CASE_META, "case_id"),
        (CASE_META, "field_id"),
    ],
)
def test_a_missing_key_is_refused_in_every_table(schema, key):
    row = {field.name: None if field.nullable else "key" for field in schema} | {key: None}
    # Arrow itself doesn't mind a null where the schema says there is none
    arrays = [pa.array([row[field.name]], field.type) for field in schema]
    broken = pa.Table.from_arrays(arrays, schema=schema)
    parts = [broken if own is schema else own.empty_table() for own in SCHEMAS]

    message = refusal_of(CaseTables(*parts))
    name = CaseTables._fields[[own is schema for own in SCHEMAS].index(True)]
    assert f"Table {name} " in message


def test_a_crm_field_that_comes_twice_in_one_case_is_refused():
    row = {"case_id": "a", "field_id": "f", "field_label": None, "value": SECRET}
    twice = pa.Table.from_pylist([row, row], CASE_META)
    message = refusal_of(CaseTables(CASES.empty_table(), CUSTOMERS.empty_table(), twice))

    assert "case_meta" in message
    assert SECRET not in message


def test_two_cases_may_share_a_customer_id_and_a_crm_field():
    flat = tables(
        {"id": "a", "customers": [{"id": "p"}], "meta": {"f": "1"}},
        {"id": "b", "customers": [{"id": "p"}], "meta": {"f": "1"}},
    )
    check_tables(flat)

    assert flat.customers["id"].to_pylist() == ["p", "p"]


@pytest.mark.parametrize("extra", ["a column too many", "a column missing"])
def test_a_table_with_other_columns_is_refused(extra):
    flat = tables({"id": "a"})
    cases = (
        flat.cases.append_column("surplus", pa.array([SECRET]))
        if extra == "a column too many"
        else flat.cases.drop_columns(["notes"])
    )
    message = refusal_of(flat._replace(cases=cases))

    assert "cases" in message
    assert SECRET not in message
