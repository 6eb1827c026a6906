"""The cases that are in a file, and what is wrong with the rows of which none can be made.

Belongs here: rules over several rows (references, rows of one case), and the way from rows to
planned requests. All of it without the network: what the account holds already is looked at
later. Does not: columns (`import_file.py`), people (`source_people.py`), or reading files
(`files/source.py`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandera.pandas as pa

from schemas.columns import META_PREFIX, MetaField, resolve_meta
from schemas.derived_refs import derived_ref
from schemas.files.source import Sheet
from schemas.identifiers import NUMBER_CHECKS
from schemas.import_file import IMPORT_CASES, is_import_column, matched_columns
from schemas.issues import Issue, issue_of
from schemas.person_columns import person_column
from schemas.source_people import people_in, people_issues, places, repeated_customers
from schemas.source_table import (
    SourceTable,
    column_issues,
    in_column_order,
    meta_issues,
    option_of,
)
from schemas.texts import canonical, collision_key
from schemas.values import column

MAX_PEOPLE = 20
"""More customers in a case than this are more likely one reference too often in a file."""
SENTENCES = {
    "ref_missing": (
        "ref is missing: without it a second run could not know the case again; fill it in, or "
        "name identity columns with derive_ref_from."
    ),
    "identity_missing": "ref and one of the columns of derive_ref_from are blank; fill in one.",
    "identity_repeated": (
        "Row {other} has the same values in the columns of derive_ref_from; they must tell any two "
        "cases apart."
    ),
    "ref_repeated": "The same ref is in row {other}; a ref names one case.",
    "ref_alike": (
        "ref differs from that of row {other} only by what databases often pass over (accents, "
        "ß for ss, one emoji for another), so WillSuite may take the two for the "
        "same; change one of them."
    ),
    "ref_spelling": "ref is written differently in row {other} of the same case.",
    "rows_differ": "{column} differs from that of row {other} of the same case.",
    "only_a_ref": (
        "The row has a ref and no customer, like a total or a remark below a table; remove it, or "
        "fill in its customer."
    ),
    "too_many_people": (
        "The case would have {count} customers, more than {limit}; if this ref is right in all its "
        "rows, allow them with max_people={count}."
    ),
    "case_rejected": "Row {other} of the same case was rejected; correct it there.",
}
"""What a person is told, by code. No sentence repeats a cell."""
_TOTAL = re.compile(r"(?:(?:grand|sub)[ -]?)?totals?\b", re.IGNORECASE)
_NUMBER = re.compile(r"[£$€]? ?-?[0-9][0-9,. ]*%?")
_issue = partial(issue_of, SENTENCES)


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One case to be created, from one row or several."""

    ref: str
    rows: tuple[int, ...]
    """The rows of the file it comes from, as a spreadsheet shows them."""
    body: Mapping[str, Any] = field(repr=False)
    """The request, under the wire names of `POST /cases/create`; absent values are left out."""
    customer_columns: tuple[str, ...] = ()
    """What the columns of each of its customers begin with: `customer_1_`."""


@dataclass(frozen=True)
class ImportPlan:
    """Every row of a file: in exactly one case, or with at least one issue."""

    rows: Sequence[int]
    refs: Mapping[int, str]
    """The ref of each row that has one, given or derived."""
    cases: Sequence[PlannedCase]
    issues: Mapping[int, Sequence[Issue]]
    meta_columns: Sequence[str]
    """Columns that need the account's CRM fields to be understood."""
    headers: Mapping[str, str]
    """Column to its header in the file; of CRM fields by `meta:<field id>`."""
    notes: Mapping[int, str]
    """By row: what is sent otherwise than the file has it."""


def plan_import(
    sheet: Sheet,
    *,
    extra: str = "forbid",
    derive_ref_from: Sequence[str] = (),
    crm_fields: Sequence[MetaField] | None = None,
    max_people: int = MAX_PEOPLE,
    blank_words: Sequence[str] | None = None,
) -> ImportPlan:
    """All cases of a file that can be sent, and all problems of the rows that can't.

    Args:
        sheet: the file as text.
        extra: "forbid" refuses unknown columns, "ignore" leaves them out.
        derive_ref_from: identity columns; rows without a ref get one made from these. They may
            be columns that are otherwise unknown.
        crm_fields: the account's; without them the `meta:` columns stay unchecked, and a plan
            that has such columns is not to be sent.
        max_people: the most customers that a case may have.
        blank_words: words that are blank in this file; none of them, if it is an empty list.

    Raises:
        SourceError: the columns can't be understood.
    """
    matched = matched_columns(sheet, extra, derive_ref_from)
    table = SourceTable(sheet, matched, blank_words)
    if crm_fields is not None:
        table.meta = resolve_meta(table.meta_columns, crm_fields)
    refs = _refs(table, derive_ref_from)
    issues = [
        *table.file_issues,
        *column_issues(table, _with_identity(derive_ref_from)),
        *meta_issues(table),
        *_ref_issues(table, refs, derive_ref_from),
        *people_issues(table),
        *_only_refs(table, derive_ref_from),
    ]
    groups = _groups(refs)
    issues += _group_issues(table, groups, refs)
    issues += _crowds(table, groups, max_people)
    by_row: defaultdict[int, list[Issue]] = defaultdict(list)
    for issue in issues:
        by_row[issue.row].append(issue)
    cases = []
    for group in groups:
        rows = [table.rows[index] for index in group]
        broken = next((row for row in rows if row in by_row), None)
        if broken is not None:
            for row in rows:
                if row not in by_row:
                    by_row[row].append(_issue("case_rejected", row, None, other=broken))
        else:
            cases.append(_planned(table, group, refs))
    plan = ImportPlan(
        rows=table.rows,
        refs={table.rows[index]: ref for index, ref in refs.items()},
        cases=cases,
        issues={row: sorted(by_row[row], key=in_column_order(table)) for row in sorted(by_row)},
        meta_columns=table.meta_columns,
        headers=table.headers
        | {f"{META_PREFIX}{each.id}": table.header(name) for name, each in table.meta.items()},
        notes=table.notes,
    )
    taken = sum(len(case.rows) for case in cases)
    assert taken + len(plan.issues) == len(plan.rows), "each row is in a case or has an issue"
    return plan


def _with_identity(names: Sequence[str]) -> pa.DataFrameSchema:
    """The contract with identity columns of another system: what a program has made of its
    numbers would make other references of them.
    """
    others = [name for name in names if not is_import_column(name)]
    return IMPORT_CASES.add_columns({name: column("", *NUMBER_CHECKS) for name in others})


# -- references -------------------------------------------------------------------------------


def _refs(table: SourceTable, identity: Sequence[str]) -> dict[int, str]:
    """The ref of each row by index, given or derived; rows that have neither are absent."""
    refs = {}
    for index in range(len(table.rows)):
        ref = table.cell("ref", index)
        if ref is None and identity:
            values = {name: table.cell(name, index) for name in identity}
            ref = None if None in values.values() else derived_ref(values)
        if ref is not None:
            refs[index] = ref
    return refs


def _ref_issues(
    table: SourceTable, refs: Mapping[int, str], identity: Sequence[str]
) -> Iterator[Issue]:
    code = "identity_missing" if identity else "ref_missing"
    for index, row in enumerate(table.rows):
        if index not in refs:
            yield _issue(code, row, table.header("ref"))
    first: dict[str, int] = {}
    alike: dict[int, int] = {}
    for index, ref in refs.items():
        other = first.setdefault(collision_key(ref), index)
        if canonical(ref) != canonical(refs[other]):
            alike[index] = other
            alike.setdefault(other, index)
    for here, there in alike.items():
        yield _issue("ref_alike", table.rows[here], table.header("ref"), other=table.rows[there])


# -- rows that make one case ------------------------------------------------------------------


def _groups(refs: Mapping[int, str]) -> list[list[int]]:
    """Row indexes by case, in the order of the file; a row without a ref is in none."""
    groups: dict[str, list[int]] = {}
    for index, ref in refs.items():
        groups.setdefault(canonical(ref), []).append(index)
    return list(groups.values())


def _group_issues(
    table: SourceTable, groups: Iterable[Sequence[int]], refs: Mapping[int, str]
) -> Iterator[Issue]:
    for group in groups:
        if len(group) > 1 and not table.rows_are_people:
            yield from _repeated(table, group)
            continue
        yield from _differing(table, group, refs)
        yield from repeated_customers(table, group)


def _only_refs(table: SourceTable, identity: Sequence[str]) -> Iterator[Issue]:
    """Totals and remarks below a table, which would become cases without customers."""
    if not any(prefix.startswith("customer") for prefix in table.entries):
        return
    of_people = [name for name in table.names if person_column(name)]
    others = {*table.names} - {*of_people, "ref", *identity}
    for index in (~table.frame[of_people].notna().any(axis=1)).to_numpy().nonzero()[0].tolist():
        ref = table.cell("ref", index) or ""
        if not ref and not any(table.cell(name, index) for name in identity):
            continue
        given = filter(None, (table.cell(name, index) for name in others))
        if _TOTAL.match(ref) or all(_NUMBER.fullmatch(text) for text in given):
            yield _issue("only_a_ref", table.rows[index], table.header("ref"))


def _crowds(
    table: SourceTable, groups: Iterable[Sequence[int]], max_people: int
) -> Iterator[Issue]:
    columns = sum(prefix.startswith("customer") for prefix in table.entries)
    for group in groups:
        if len(group) * columns <= max_people:
            continue
        count = len(list(places(table, "customer", group)))
        for index in group if count > max_people else ():
            details = {"count": count, "limit": max_people}
            yield _issue("too_many_people", table.rows[index], table.header("ref"), **details)


def _repeated(table: SourceTable, group: Sequence[int]) -> Iterator[Issue]:
    for index in group:
        other = group[0] if index != group[0] else group[1]
        row, other_row = table.rows[index], table.rows[other]
        code = "ref_repeated" if table.cell("ref", index) else "identity_repeated"
        yield _issue(code, row, table.header("ref"), other=other_row)


def _differing(
    table: SourceTable, group: Sequence[int], refs: Mapping[int, str]
) -> Iterator[Issue]:
    """Case columns of the rows of one case: a blank agrees with everything."""
    if len(group) == 1:
        return
    for index in group[1:]:
        if refs[index] != refs[group[0]]:
            other = table.rows[group[0]]
            yield _issue("ref_spelling", table.rows[index], table.header("ref"), other=other)
    for name in [name for name in table.names if name != "ref" and not person_column(name)]:
        given = [index for index in group if table.cells[name][index] is not None]
        for index in given[1:]:
            if table.cells[name][index] != table.cells[name][given[0]]:
                other = table.rows[given[0]]
                yield _issue("rows_differ", table.rows[index], table.header(name), other=other)


# -- requests ---------------------------------------------------------------------------------


def _planned(table: SourceTable, group: Sequence[int], refs: Mapping[int, str]) -> PlannedCase:
    columns = tuple(prefix for index, prefix in places(table, "customer", group))
    body = _body(table, group, refs)
    return PlannedCase(refs[group[0]], tuple(table.rows[index] for index in group), body, columns)


def _body(table: SourceTable, group: Sequence[int], refs: Mapping[int, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"ref": refs[group[0]]}
    for name in ("email", "adviser_email", "notes"):
        if (value := _first_given(table, name, group)) is not None:
            body[name] = value
    meta = {
        crm_field.id: option_of(value, crm_field.options or ()) or value
        for name, crm_field in table.meta.items()
        if (value := _first_given(table, name, group)) is not None
    }
    if meta:
        body["meta"] = meta
    for kind, key in (("customer", "customers"), ("address_book", "address_book")):
        if people := list(people_in(table, kind, group)):
            body[key] = people
    return body


def _first_given(table: SourceTable, name: str, group: Sequence[int]) -> str | None:
    values = (table.cell(name, index) for index in group)
    return next((value for value in values if value is not None), None)
