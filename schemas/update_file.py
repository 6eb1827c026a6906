"""What files of changes to cases must look like, and the changes that are in them.

Belongs here: the pandera models of update files, the rules over their columns and rows, and
comparing what a row wants with what a case has. Does not: reading files (`source_files.py`), what
they have in common with files of new cases (`import_file.py`), or the network.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandera.pandas as pa

from schemas.columns import META_PREFIX, MetaField, match_columns, resolve_meta
from schemas.import_file import META, ImportTable, column_issues, issue_of, meta_issues, option_of
from schemas.issues import Issue, SourceError
from schemas.source_files import Sheet
from schemas.texts import canonical, clean
from schemas.values import column

KEY_FIELDS = {
    "id": column("the case's id"),
    "ref": column("or its reference; one of the two"),
}
BULK_FIELDS = {**KEY_FIELDS, "notes": column("the new notes")}
BULK_UPDATE = pa.DataFrameSchema(
    {**BULK_FIELDS, **META},
    name="bulk-update-cases",
    description="One row a case.",
    strict=True,
    unique_column_names=True,
)
"""The contract of the columns, after their headers were normalised; cells are cleaned texts."""
_META_PATTERNS = {f"{META_PREFIX}.+": "meta:<field label>"}


@dataclass(frozen=True, slots=True)
class WantedChange:
    """What one row wants a case to have; only what was given."""

    row: int
    case_id: str | None
    ref: str | None
    notes: str | None = field(repr=False)
    meta: Mapping[str, str] = field(repr=False)
    """By CRM field id."""

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


def is_bulk_column(header: str) -> bool:
    """Whether a header is one of the columns of a bulk update file."""
    return bool(match_columns([header], BULK_FIELDS, patterns=_META_PATTERNS, extra="ignore"))


def plan_bulk_update(
    sheet: Sheet, *, extra: str = "forbid", crm_fields: Sequence[MetaField] | None = None
) -> UpdatePlan:
    """All changes of a file that can be made, and all problems of the rows that can't.

    Args:
        sheet: the file as text.
        extra: "forbid" refuses unknown columns, "ignore" leaves them out.
        crm_fields: the account's; without them the `meta:` columns stay unchecked, and a plan
            that has such columns is not to be sent.

    Raises:
        SourceError: the columns can't be understood.
    """
    headers = list(sheet.frame.columns)
    matched = match_columns(headers, BULK_FIELDS, patterns=_META_PATTERNS, extra=extra)
    if not {"id", "ref"} & set(matched.values()):
        raise SourceError("The file needs a column id or ref that says which case a row changes.")
    table = ImportTable(sheet, matched)
    if crm_fields is not None:
        table.meta = resolve_meta(table.meta_columns, crm_fields)
    by_row: defaultdict[int, list[Issue]] = defaultdict(list)
    for issue in [*table.file_issues, *column_issues(table, BULK_UPDATE), *_all_issues(table)]:
        by_row[issue.row].append(issue)
    wanted = [_wanted(table, index) for index in range(len(table.rows))]
    return UpdatePlan(
        rows=table.rows,
        keys={change.row: change.key for change in wanted if change.key},
        changes=[change for change in wanted if change.row not in by_row],
        issues=dict(sorted(by_row.items())),
        meta_columns=table.meta_columns,
    )


def _all_issues(table: ImportTable) -> Iterator[Issue]:
    yield from meta_issues(table)
    given = [name for name in table.names if name not in KEY_FIELDS]
    for index, row in enumerate(table.rows):
        if not any(table.cell(name, index) for name in KEY_FIELDS):
            yield issue_of("key_missing", row, None)
        if not any(table.cell(name, index) for name in given):
            yield issue_of("nothing_given", row, None)
    for name in KEY_FIELDS:
        yield from _repeated(table, name)


def _repeated(table: ImportTable, name: str) -> Iterator[Issue]:
    """The same case in two rows: which of them would come last is anybody's guess."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(table.rows):
        if value := table.cell(name, index):
            rows[canonical(value)].append(row)
    for same in rows.values():
        for row in same if len(same) > 1 else ():
            other = same[0] if row != same[0] else same[1]
            yield issue_of("case_repeated", row, table.header(name), other=other)


def _wanted(table: ImportTable, index: int) -> WantedChange:
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
    )


def same_text(wanted: str, has: str | None) -> bool:
    """Whether a case has a value already: ends trimmed and line ends alike, as the server does."""
    return clean(wanted).replace("\r\n", "\n") == clean(has or "").replace("\r\n", "\n")
