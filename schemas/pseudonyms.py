"""The tables of an export as somebody may see them who may not see the people.

Belongs here: which columns are left, and what becomes of their values. Does not: where the key
comes from (`willsuite/settings.py`), reading and writing exports (`protocols/`).

It is a list of what is allowed: a column that isn't in it, one that the vendor adds included, is
not read. Of texts only words of closed lists are left, and what is worked out of them: a name typed
into a field for something else must not get through.
"""

import hmac
from collections.abc import Callable, Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from schemas.values import marital_status

PSEUDONYMISED = "pseudonymised"
_METADATA = {"willsuite_profile": PSEUDONYMISED}
_SOURCES = {
    "cases": {
        "id": "id",
        "ref": "ref",
        "outward_postcode": "postcode",
        "is_active": "is_active",
        "first_seen": "first_seen",
        "last_changed": "last_changed",
    },
    "customers": {
        "id": "id",
        "case_id": "case_id",
        "year_of_birth": "date_of_birth_date",
        "gender": "gender",
        "marital_status": "marital_status",
        "outward_postcode": "postcode",
        "is_deceased": "is_deceased",
    },
    "case_meta": {
        "case_id": "case_id",
        "field_id": "field_id",
        "field_label": "field_label",
        "value": "value",
    },
    "changes": {"table": "table", "id": "id", "change": "change", "columns": "columns"},
}
"""By table: the columns that are left, and which one of the export each is made of."""
SOURCE_COLUMNS = {table: [*columns.values()] for table, columns in _SOURCES.items()}
_HASHED = ("id", "ref", "case_id")
_GENDERS = ("male", "female")
_WHOLE_POSTCODE = "^[A-Z]{1,2}[0-9][A-Z0-9]?[0-9][A-Z]{2}$"
_INWARD_LETTERS = 3


def pseudonymised(
    name: str, table: pa.Table, key: bytes, options: Mapping[str, Collection[str]]
) -> pa.Table:
    """The table `name` of an export, in another order, without what tells who somebody is.

    Args:
        name: "cases", "customers", "case_meta" or "changes".
        table: its `SOURCE_COLUMNS`, or more.
        key: of the hashes.
        options: the words that CRM fields with a closed list have, by field id.
    """
    if name == "case_meta":
        table = _of_closed_lists(table, options)
    columns = {}
    for column, source in _SOURCES[name].items():
        if source not in table.column_names:
            continue  # of an export from before there was one
        values = table[source].combine_chunks()
        if column in _HASHED:
            columns[column] = _hashed(values, key)
        else:
            columns[column] = _CHANGED.get(column, _as_it_is)(values)
    return in_order_of_hashes(pa.table(columns).replace_schema_metadata(_METADATA))


def in_order_of_hashes(table: pa.Table) -> pa.Table:
    """Sorted by its pseudonyms.

    The order of the ids themselves would tell who is who where they are numbers, or begin with the
    time.
    """
    keys = [name for name in table.column_names if name in (*_HASHED, "field_id")]
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in keys]))


def _hashed(texts: pa.Array, key: bytes) -> pa.Array:
    """HMAC-SHA256 in hex: the same text is the same hash in every table and export."""
    encoded = texts.dictionary_encode()
    hashes = [
        hmac.digest(key, text.encode(), "sha256").hex() if text else None
        for text in encoded.dictionary.to_pylist()
    ]
    return pa.array(hashes, pa.string()).take(encoded.indices)


def _outward(postcodes: pa.Array) -> pa.Array:
    """The first half of each whole British postcode; null of anything else."""
    plain = pc.replace_substring_regex(pc.utf8_upper(postcodes), r"\s", "")
    is_whole = pc.match_substring_regex(plain, _WHOLE_POSTCODE)
    outward = pc.utf8_slice_codeunits(plain, 0, -_INWARD_LETTERS)
    return pc.if_else(is_whole, outward, pa.scalar(None, pa.string()))


def _year(days: pa.Array) -> pa.Array:
    return pc.year(days).cast(pa.int16())


def _known_words(word_of: Callable[[str], str | None]) -> Callable[[pa.Array], pa.Array]:
    def known(texts: pa.Array) -> pa.Array:
        encoded = texts.dictionary_encode()
        words = [word_of(text) for text in encoded.dictionary.to_pylist()]
        return pa.array(words, pa.string()).take(encoded.indices)

    return known


def _gender(text: str) -> str | None:
    word = text.strip().casefold()
    return word if word in _GENDERS else None


def _as_it_is(values: pa.Array) -> pa.Array:
    return values


_CHANGED: Mapping[str, Callable[[pa.Array], pa.Array]] = {
    "outward_postcode": _outward,
    "year_of_birth": _year,
    "gender": _known_words(_gender),
    "marital_status": _known_words(marital_status),
}


def _of_closed_lists(case_meta: pa.Table, options: Mapping[str, Collection[str]]) -> pa.Table:
    """The rows whose value is one of its field's options."""
    pairs = pc.binary_join_element_wise(case_meta["field_id"], case_meta["value"], "\0")
    allowed = [f"{field_id}\0{word}" for field_id, words in options.items() for word in words]
    return case_meta.filter(pc.is_in(pairs, value_set=pa.array(allowed, pa.string())))
