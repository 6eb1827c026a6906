"""The three tables of an export, and the way from records to them.

Belongs here: Arrow schemas (the one list of columns), records to Arrow, nested to flat, and the
pandera check before anything is published. Does not: reading or writing files.

Columns are the vendor's fields under their wire names, with these decisions:

- texts are stored exactly as sent; an empty text stays an empty text, null stays null;
- `date_of_birth` is text too: the vendor never shows one in an answer, so its format is unknown,
  and a day guessed wrong in a will is worse than a text; `date_of_birth_date` is the day that it
  means, null where that can't be told (`birth_dates.py`);
- `is_active` and `is_deceased` are booleans, whether 0/1, "0"/"1" or true/false came; null where
  the field was missing or unreadable;
- `customers.case_id` is the id of the case the customer came in, `case_meta.value` is text;
- `extra` is a JSON object of the fields that aren't documented, null where there are none;
- `first_seen` and `last_changed` are times of our exports (`case_changes.dated`), not the vendor's:
  an answer has none.

The schemas are constants: a table without rows, or a column without values, has the same types.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from schemas.birth_dates import birth_days, birth_forms

SCHEMA_VERSION = "4"
FORMER_VERSION = "3"
"""Its exports, which lack `SEEN` only, are carried on from."""

METADATA = {"willsuite_schema_version": SCHEMA_VERSION}
"""Of every published table."""
_CASE_TEXTS = (
    "ref", "first_names", "last_names", "full_names", "email", "postcode", "notes",
)  # fmt: skip
_CUSTOMER_TEXTS = (
    "title", "first_names", "middle_names", "last_name", "date_of_birth", "gender", "tel_1",
    "tel_2", "email", "occupation", "marital_status", "address_1", "address_2", "address_3",
    "postcode",
)  # fmt: skip


def _key(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


def _texts(names: Iterable[str]) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in names]


MOMENT = pa.timestamp("us", "UTC")
SEEN = ("first_seen", "last_changed")
_CASE = pa.schema(
    [_key("id"), *_texts(_CASE_TEXTS), pa.field("is_active", pa.bool_()), *_texts(("extra",))]
)
CASES = pa.schema([*_CASE, *(pa.field(name, MOMENT) for name in SEEN)], metadata=METADATA)
CUSTOMERS = pa.schema(
    [
        _key("id"),
        _key("case_id"),
        *_texts(_CUSTOMER_TEXTS),
        pa.field("is_deceased", pa.bool_()),
        pa.field("date_of_birth_date", pa.date32()),
        *_texts(("extra",)),
    ],
    metadata=METADATA,
)
CASE_META = pa.schema(
    [_key("case_id"), _key("field_id"), *_texts(("field_label", "value"))], metadata=METADATA
)

_PERSON = pa.struct(
    [field for field in CUSTOMERS if field.name not in ("case_id", "date_of_birth_date")]
)
_META_ENTRY = pa.struct([CASE_META.field("field_id"), CASE_META.field("value")])
FETCH_NUMBER = "_fetch_number"
NESTED = pa.schema(
    [
        *_CASE,
        pa.field("customers", pa.list_(_PERSON)),
        pa.field("meta", pa.list_(_META_ENTRY)),
        pa.field(FETCH_NUMBER, pa.int64()),
    ]
)
"""How cases wait on disk until they are published: one row a case, whole."""

# True == 1 and False == 0, so the booleans are in here too
_FLAGS: dict[Any, bool | None] = {
    None: None,
    0: False,
    1: True,
    "0": False,
    "1": True,
    "false": False,
    "true": True,
}


class CaseTables(NamedTuple):
    """The tables of one export, or of a part of it."""

    cases: pa.Table
    customers: pa.Table
    case_meta: pa.Table


SCHEMAS = CaseTables(CASES, CUSTOMERS, CASE_META)
FORMER_SCHEMAS = SCHEMAS._replace(cases=_CASE)


class TableError(Exception):
    """A table breaks its schema; says which table, which rule and how many rows, no values."""


class CaseColumns(NamedTuple):
    """Cases as columns of Python values, by wire name; one entry a case or a customer."""

    cases: Mapping[str, Sequence[Any]]
    customers: Mapping[str, Sequence[Any]]
    customer_counts: Sequence[int]
    """How many of `customers` belong to each case, in order."""
    metas: Sequence[Mapping[str, str | None]]
    """The CRM values of each case, by field id."""


def nested_cases(columns: CaseColumns, fetch_number: int) -> tuple[pa.Table, Counter[str]]:
    """The cases of one page as a `NESTED` table.

    Of two rows with one id the one with the higher `fetch_number` is the later one.

    Returns:
        The table, and how many flags were neither 0, 1, true nor false, by column.
    """
    unread: Counter[str] = Counter()
    count = len(columns.metas)
    people = [_array(columns.customers, field, unread, "customer") for field in _PERSON]
    entries = [entry for meta in columns.metas for entry in meta.items()]
    field_ids, values = zip(*entries, strict=True) if entries else ((), ())
    entry_arrays = [pa.array(field_ids, pa.string()), pa.array(values, pa.string())]
    arrays = [
        *(_array(columns.cases, field, unread, "case") for field in _CASE),
        _lists(columns.customer_counts, people, _PERSON),
        _lists([len(meta) for meta in columns.metas], entry_arrays, _META_ENTRY),
        pa.array([fetch_number] * count, pa.int64()),
    ]
    return pa.Table.from_arrays(arrays, schema=NESTED), unread


NAMES_JOINED_BY = " & "


def lacking_people(nested: pa.Table) -> dict[str, int]:
    """The cases whose `full_names` have more people than `customers`: how many these are, by id.

    `full_names` is the names of all, joined (facts.md, Cases).
    """
    shown = people_counts(nested)
    joins = pc.count_substring(pc.fill_null(nested["full_names"], ""), NAMES_JOINED_BY)
    has_names = pc.not_equal(pc.fill_null(nested["full_names"], ""), "")
    named = pc.if_else(has_names, pc.add(joins, 1), 0)
    lacking = pc.greater(named, shown)
    if not pc.any(lacking).as_py():
        return {}
    ids, counts = nested["id"].filter(lacking), shown.filter(lacking)
    return dict(zip(ids.to_pylist(), counts.to_pylist(), strict=True))


def people_counts(nested: pa.Table) -> pa.ChunkedArray:
    """How many people each case is shown with."""
    return pc.fill_null(pc.list_value_length(nested["customers"]), 0)


def most_people(nested: pa.Table) -> int:
    """How many people the case has that is shown with the most."""
    return pc.max(people_counts(nested)).as_py() or 0


def latest_cases(nested: pa.Table) -> pa.Table:
    """`nested` sorted by id, each id once, in its latest copy."""
    order = pc.sort_indices(nested, sort_keys=[("id", "ascending"), (FETCH_NUMBER, "ascending")])
    ordered = nested.take(order).combine_chunks()
    ids = ordered["id"].combine_chunks()
    if len(ids) < 2:
        return ordered
    last_of_its_id = pc.not_equal(ids[:-1], ids[1:])
    if pc.all(last_of_its_id).as_py():
        return ordered
    return ordered.filter(pa.concat_arrays([last_of_its_id, pa.array([True])]))


def birth_forms_in(nested: pa.Table) -> Counter[str]:
    """In which forms the customers of `nested` have their dates of birth."""
    _, people = _flattened(nested["customers"])
    return birth_forms(people.field("date_of_birth"))


def flat_tables(
    nested: pa.Table, field_labels: Mapping[str, str | None], forms: Mapping[str, int]
) -> CaseTables:
    """The three tables of `nested`, without the times of `SEEN`.

    `field_labels` maps CRM field ids to labels, `forms` are the account's of dates of birth.
    """
    nested = nested.combine_chunks()
    ids = nested["id"]
    parents, people = _flattened(nested["customers"])
    person = dict(zip([field.name for field in _PERSON], people.flatten(), strict=True))
    person["case_id"] = ids.take(parents)
    person["date_of_birth_date"] = birth_days(person["date_of_birth"], forms)
    meta_parents, entries = _flattened(nested["meta"])
    field_ids, values = entries.flatten()
    return CaseTables(
        cases=with_null_columns(nested.select(_CASE.names), CASES),
        customers=pa.table([person[name] for name in CUSTOMERS.names], schema=CUSTOMERS),
        case_meta=pa.table(
            [ids.take(meta_parents), field_ids, _labels(field_ids, field_labels), values],
            schema=CASE_META,
        ),
    )


def with_null_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table`, which has the first columns of `schema`, with all of them."""
    for field in list(schema)[table.num_columns :]:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.cast(schema)


def relabelled(case_meta: pa.Table, field_labels: Mapping[str, str | None]) -> pa.Table:
    """`case_meta` with these labels instead of the ones it has."""
    place = CASE_META.get_field_index("field_label")
    labels = _labels(case_meta["field_id"], field_labels)
    return case_meta.set_column(place, CASE_META.field(place), labels)


def _labels(
    field_ids: pa.Array | pa.ChunkedArray, field_labels: Mapping[str, str | None]
) -> pa.Array | pa.ChunkedArray:
    labels = pa.array(list(field_labels.values()), pa.string())
    known = pa.array(list(field_labels), pa.string())
    return pc.take(labels, pc.index_in(field_ids, value_set=known))


def check_tables(tables: CaseTables) -> None:
    """Validate with pandera what is about to be published.

    Raises:
        TableError: a key is missing or empty, or a case comes twice.
    """
    for name, table, model in zip(CaseTables._fields, tables, _MODELS, strict=True):
        frame = table.to_pandas(types_mapper=PANDAS_TYPES.get)
        try:
            model.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as failed:
            rules = Counter(str(rule) for rule in failed.failure_cases["check"])
            counts = ", ".join(f"{rule}: {count}" for rule, count in sorted(rules.items()))
            raise TableError(f"Table {name} breaks its schema ({counts}).") from None


def _array(
    columns: Mapping[str, Sequence[Any]], field: pa.Field, unread: Counter[str], record: str
) -> pa.Array:
    values = columns.get(field.name, ())
    if field.type != pa.bool_():
        return pa.array(values, field.type)
    flags = [_FLAGS.get(value) for value in values]
    if strange := flags.count(None) - list(values).count(None):
        unread[f"{record}.{field.name}"] += strange
    return pa.array(flags, pa.bool_())


def _lists(counts: Iterable[int], columns: list[pa.Array], item: pa.StructType) -> pa.Array:
    items = pa.StructArray.from_arrays(columns, fields=list(item))
    offsets = pa.array([0, *accumulate(counts)], pa.int32())
    return pa.ListArray.from_arrays(offsets, items, type=pa.list_(item))


def _flattened(lists: pa.ChunkedArray) -> tuple[pa.Array, pa.StructArray]:
    array = lists.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all
        array = pa.array([], lists.type)
    return pc.list_parent_indices(array), pc.list_flatten(array)


PANDAS_TYPES = {
    pa.bool_(): pd.BooleanDtype(),
    pa.date32(): pd.ArrowDtype(pa.date32()),
    MOMENT: pd.DatetimeTZDtype("us", "UTC"),
}


def _model(schema: pa.Schema, *, unique: list[str] | None) -> pandera.DataFrameSchema:
    """The pandera model of an Arrow schema: same columns, and keys that are there."""
    columns = {}
    for field in schema:
        is_key = not field.nullable
        columns[field.name] = pandera.Column(
            PANDAS_TYPES.get(field.type, str),
            nullable=not is_key,
            checks=pandera.Check.str_length(min_value=1, error="empty key") if is_key else None,
        )
    return pandera.DataFrameSchema(columns, strict=True, ordered=True, unique=unique)


_MODELS = (
    _model(CASES, unique=["id"]),
    _model(CUSTOMERS, unique=None),
    _model(CASE_META, unique=["case_id", "field_id"]),
)
