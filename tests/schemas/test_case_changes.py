"""What is told of two exports: which cases differ, and in what."""

from typing import Any

import pyarrow as pa
import pytest

from schemas.case_changes import CHANGES, changes_between, count_changes, net_changes
from schemas.case_tables import SCHEMAS, CaseTables

Row = tuple[str, str, str, list[str]]


def tables(
    cases: list[dict[str, Any]],
    customers: list[dict[str, Any]] | None = None,
    case_meta: list[dict[str, Any]] | None = None,
) -> CaseTables:
    rows = CaseTables(cases, customers or [], case_meta or [])
    return CaseTables(
        *(
            pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in each], schema)
            for each, schema in zip(rows, SCHEMAS, strict=True)
        )
    )


def told(old: CaseTables, new: CaseTables) -> list[Row]:
    changes = changes_between(old, new)
    assert changes.schema.equals(CHANGES)
    return [tuple(row.values()) for row in changes.to_pylist()]  # type: ignore[misc]


NOTHING = tables([])
ANNA = {"id": "p-1", "case_id": "a", "last_name": "Anna", "is_deceased": False}
BERT = {"id": "p-2", "case_id": "a", "last_name": "Bert"}
RED = {"case_id": "a", "field_id": "f-1", "field_label": "Colour", "value": "red"}
SIZE = {"case_id": "a", "field_id": "f-2", "field_label": "Size", "value": None}


def test_the_first_export_has_added_all_and_the_same_again_nothing() -> None:
    all_of_it = tables([{"id": "a"}, {"id": "b"}], [ANNA, BERT], [RED])
    assert told(NOTHING, all_of_it) == [
        ("cases", "a", "added", []),
        ("cases", "b", "added", []),
        ("customers", "a", "added", []),
        ("case_meta", "a", "added", []),
    ]
    assert [change for _, _, change, _ in told(all_of_it, NOTHING)] == ["removed"] * 4
    assert told(all_of_it, all_of_it) == told(NOTHING, NOTHING) == []


def test_a_changed_case_is_told_with_its_columns_and_null_is_not_empty() -> None:
    before = tables([{"id": "a", "notes": None, "ref": "R"}, {"id": "b"}, {"id": "c"}])
    after = tables([{"id": "a", "notes": "", "ref": "r"}, {"id": "b"}, {"id": "d"}])
    assert told(before, after) == [
        ("cases", "a", "changed", ["ref", "notes"]),
        ("cases", "c", "removed", []),
        ("cases", "d", "added", []),
    ]


@pytest.mark.parametrize(
    ("before", "after", "columns"),
    [
        ([ANNA], [{**ANNA, "is_deceased": True}], ["is_deceased"]),
        ([ANNA], [ANNA, BERT], ["id"]),
        ([ANNA, BERT], [{**BERT, "tel_1": "1"}], ["id", "tel_1"]),
    ],
)
def test_people_who_come_go_or_change_are_their_cases_change(
    before: list[dict[str, Any]], after: list[dict[str, Any]], columns: list[str]
) -> None:
    case = [{"id": "a"}]
    assert told(tables(case, before), tables(case, after)) == [
        ("customers", "a", "changed", columns)
    ]


def test_another_order_of_people_and_another_label_are_no_change() -> None:
    case = [{"id": "a"}]
    before = tables(case, [ANNA, BERT], [RED])
    after = tables(case, [BERT, ANNA], [{**RED, "field_label": "Hue"}])
    assert told(before, after) == []


def test_of_crm_values_the_fields_are_named() -> None:
    other = {**RED, "case_id": "b"}
    cases = [{"id": "a"}, {"id": "b"}]
    before = tables(cases, [], [RED, SIZE, other])
    after = tables(cases, [], [{**SIZE, "value": "9"}, other])
    assert told(before, after) == [("case_meta", "a", "changed", ["f-1", "f-2"])]
    assert told(before, tables(cases, [], [RED, SIZE])) == [("case_meta", "b", "removed", [])]


def test_a_case_is_counted_once_however_many_of_its_tables_changed() -> None:
    before = tables([{"id": "a"}, {"id": "b"}], [ANNA], [RED])
    after = tables([{"id": "a", "ref": "x"}, {"id": "c"}], [BERT], [{**RED, "case_id": "c"}])
    counts = count_changes(changes_between(before, after))
    assert counts == {"added": 1, "changed": 1, "removed": 1}


@pytest.mark.parametrize(
    ("steps", "net"),
    [
        (["added", "changed"], "added"),
        (["added", "removed"], None),
        (["changed", "removed"], "removed"),
        (["removed", "added"], "changed"),
        (["changed", "changed"], "changed"),
        (["added", "removed", "added"], "added"),
    ],
)
def test_changes_of_several_exports_are_told_as_one(steps: list[str], net: str | None) -> None:
    tables_of_steps = [
        pa.Table.from_pylist(
            [{"table": "cases", "id": "a", "change": step, "columns": [f"c{number}"]}], CHANGES
        )
        for number, step in enumerate(steps)
    ]
    rows = net_changes(tables_of_steps).to_pylist()
    names = [f"c{number}" for number in range(len(steps))] if net == "changed" else []
    wanted = {"table": "cases", "id": "a", "change": net, "columns": names}
    assert rows == ([wanted] if net else [])
