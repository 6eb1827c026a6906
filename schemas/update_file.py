"""What files of changes to cases must look like, and the changes that are in them.

Belongs here: the pandera models of update files, the rules over their columns and rows, and
comparing what a row wants with what a case has. Does not: reading files (`files/source.py`), what
all kinds of files have in common (`source_table.py`), or the network.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pandera.pandas as pa

from schemas.column_tables import described, described_columns, markdown_table
from schemas.columns import META_PREFIX, MetaField, match_columns, resolve_meta
from schemas.files.source import Sheet
from schemas.identifiers import IDENTIFIER_CHECKS
from schemas.issues import Issue, SourceError, issue_of
from schemas.person_columns import CUSTOMER_FIELDS
from schemas.source_people import people_in, people_issues, repeated_customers
from schemas.source_table import (
    META,
    SourceTable,
    column_issues,
    in_column_order,
    meta_issues,
    option_of,
    repeated,
)
from schemas.texts import clean, collision_key, unescaped
from schemas.values import column

KEY_FIELDS = {
    "id": column("the case's id", *IDENTIFIER_CHECKS),
    "ref": column("or its reference; one of the two", *IDENTIFIER_CHECKS),
}
BULK_FIELDS = {**KEY_FIELDS, "notes": column("the new notes")}
UPDATE_FIELDS = {**BULK_FIELDS, "new_ref": column("the new reference", *IDENTIFIER_CHECKS)}
CUSTOMERS = {rf"^customer_\d{{1,2}}_{name}$": spec for name, spec in CUSTOMER_FIELDS.items()}
_META_PATTERNS = {f"{META_PREFIX}.+": "meta:<field label>"}
_CUSTOMER_PATTERNS = {
    pattern: f"customer_1_{name}" for pattern, name in zip(CUSTOMERS, CUSTOMER_FIELDS, strict=True)
}
SENTENCES = {
    "key_missing": "id and ref are blank; one of them must say which case the row changes.",
    "nothing_given": "The file has no column that says what to change, such as notes.",
    "case_repeated": "The same case is in row {other}; give all its changes in one row.",
    "new_ref_repeated": "The same new_ref is in row {other}; a reference names one case.",
}
"""What a person is told, by code. No sentence repeats a cell."""
_issue = partial(issue_of, SENTENCES)


def _model(name: str, columns: Mapping[str, pa.Column]) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {**columns, **META},
        name=name,
        description="One row a case.",
        strict=True,
        unique_column_names=True,
    )


@dataclass(frozen=True, slots=True)
class UpdateKind:
    """A kind of file: its contract, and how its headers are recognised."""

    model: pa.DataFrameSchema
    """Of the columns, after their headers were normalised; cells are cleaned texts."""
    names: Mapping[str, pa.Column]
    patterns: Mapping[str, str]

    def has_column(self, header: str) -> bool:
        """Whether a header is one of the columns of this kind of file."""
        return bool(match_columns([header], self.names, patterns=self.patterns, extra="ignore"))


BULK_UPDATE = UpdateKind(_model("bulk-update-cases", BULK_FIELDS), BULK_FIELDS, _META_PATTERNS)
UPDATE_CASES = UpdateKind(
    _model("update-cases", {**UPDATE_FIELDS, **CUSTOMERS}),
    UPDATE_FIELDS,
    {**_META_PATTERNS, **_CUSTOMER_PATTERNS},
)


def bulk_column_table() -> str:
    """The columns as a Markdown table, for `data/samples/README.md`, which is tested against it."""
    return markdown_table(described_columns(BULK_FIELDS))


def update_column_table() -> str:
    """The columns as a Markdown table, for `data/samples/README.md`, which is tested against it."""
    people = {"customer_1_*": described(CUSTOMER_FIELDS)}
    return markdown_table({**described_columns(UPDATE_FIELDS), **people})


@dataclass(frozen=True, slots=True)
class WantedChange:
    """What one row wants a case to have; only what was given."""

    row: int
    case_id: str | None
    ref: str | None
    notes: str | None = field(repr=False)
    meta: Mapping[str, str] = field(repr=False)
    """By CRM field id."""
    new_ref: str | None = field(default=None, repr=False)
    customers: Sequence[Mapping[str, str | None]] = field(default=(), repr=False)
    """People to be added, under their wire names."""

    @property
    def key(self) -> str:
        """How the row names its case."""
        return self.case_id or self.ref or ""


@dataclass(frozen=True)
class UpdatePlan:
    """Every row of a file: a wanted change, or at least one issue."""

    rows: Sequence[int]
    keys: Mapping[int, str]
    changes: Sequence[WantedChange]
    issues: Mapping[int, Sequence[Issue]]
    meta_columns: Sequence[str]
    """Columns that need the account's CRM fields to be understood."""
    meta_headers: Mapping[str, str]
    """CRM field id to the header of its column."""
    notes: Mapping[int, str]
    """By row: what is sent otherwise than the file has it."""
    field_ids: frozenset[str] | None = None
    """Of the CRM fields that there are; None where nobody asked."""


def plan_updates(
    sheet: Sheet,
    kind: UpdateKind,
    *,
    extra: str = "forbid",
    crm_fields: Sequence[MetaField] | None = None,
    blank_words: Sequence[str] | None = None,
) -> UpdatePlan:
    """All changes of a file that can be made, and all problems of the rows that can't.

    Args:
        sheet: the file as text.
        kind: what the file may have.
        extra: "forbid" refuses unknown columns, "ignore" leaves them out.
        crm_fields: the account's; without them the `meta:` columns stay unchecked, and a plan
            that has such columns is not to be sent.
        blank_words: words that are blank in this file; none of them, if it is an empty list.

    Raises:
        SourceError: the columns can't be understood.
    """
    headers = list(sheet.frame.columns)
    matched = match_columns(headers, kind.names, patterns=kind.patterns, extra=extra)
    if not KEY_FIELDS.keys() & set(matched.values()):
        raise SourceError("The file needs a column id or ref that says which case a row changes.")
    table = SourceTable(sheet, matched, blank_words)
    if crm_fields is not None:
        table.meta = resolve_meta(table.meta_columns, crm_fields)
    by_row: defaultdict[int, list[Issue]] = defaultdict(list)
    for issue in [*table.file_issues, *column_issues(table, kind.model), *_all_issues(table)]:
        by_row[issue.row].append(issue)
    wanted = [_wanted(table, index) for index in range(len(table.rows))]
    return UpdatePlan(
        rows=table.rows,
        keys={change.row: change.key for change in wanted if change.key},
        changes=[change for change in wanted if change.row not in by_row],
        issues={row: sorted(by_row[row], key=in_column_order(table)) for row in sorted(by_row)},
        meta_columns=table.meta_columns,
        meta_headers={field.id: table.header(name) for name, field in table.meta.items()},
        field_ids=None if crm_fields is None else frozenset(field.id for field in crm_fields),
        notes=table.notes,
    )


def _all_issues(table: SourceTable) -> Iterator[Issue]:
    yield from meta_issues(table)
    yield from people_issues(table)
    given = [name for name in table.names if name not in KEY_FIELDS]
    for index, row in enumerate(table.rows):
        if not any(table.cell(name, index) for name in KEY_FIELDS):
            yield _issue("key_missing", row, None)
        if not given:
            yield _issue("nothing_given", row, None)
        yield from repeated_customers(table, [index])
    for name in KEY_FIELDS:
        for row, other in repeated(table, name):
            yield _issue("case_repeated", row, table.header(name), other=other)
    for row, other in repeated(table, "new_ref", collision_key):
        yield _issue("new_ref_repeated", row, table.header("new_ref"), other=other)


def _wanted(table: SourceTable, index: int) -> WantedChange:
    meta = {
        crm_field.id: option_of(value, crm_field.options or ()) or value
        for name, crm_field in table.meta.items()
        if (value := table.cell(name, index)) is not None
    }
    return WantedChange(
        table.rows[index],
        table.cell("id", index),
        table.cell("ref", index),
        table.cell("notes", index),
        meta,
        table.cell("new_ref", index),
        tuple(people_in(table, "customer", [index])),
    )


def same_text(wanted: str, has: str | None) -> bool:
    """Whether a case has a value already: ends trimmed and line ends alike, as the server does,
    and without entities, in which PHP code shows what it has."""
    return _plain(wanted) == _plain(has)


def _plain(text: str | None) -> str:
    return clean(unescaped(text)).replace("\r\n", "\n")
