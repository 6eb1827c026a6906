"""Headers as people write them, matched with the columns a flow knows.

Belongs here: matching of names, the same for every kind of file.
Does not: which columns a kind of file has (`import_file.py` and its like).
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.issues import SourceError
from schemas.texts import clean

REJECTED_ROW = "rejected_row"
REJECTED_BECAUSE = "rejected_because"
BOOKKEEPING = frozenset({REJECTED_ROW, REJECTED_BECAUSE})
"""Columns that a rejects file has beside the person's own; ignored when it is fed back in."""
META_PREFIX = "meta:"
SHOWN_FROM_SIMILARITY = 0.75
"""A header this close to a known name may be shown: a person's name from a file without a header
row may not, since messages go into logs."""


@dataclass(frozen=True, slots=True)
class MetaField:
    """A custom CRM field of the account, as far as a file needs it."""

    id: str
    label: str | None
    options: Sequence[str] | None


def normalised(header: str) -> str:
    """A header as the name of a column: `Customer 1 Last-Name` is `customer_1_last_name`.

    Of a CRM field's column only the prefix is normalised; the label stays as it is.
    """
    header = clean(header)
    prefix, colon, label = header.partition(":")
    if colon and clean(prefix).casefold() == "meta":
        return META_PREFIX + clean(label)
    name = re.sub(r"[\s\-_]+", "_", header.casefold())
    name = re.sub(r"_0+(?=[0-9]+_)", "_", name)  # customer_01_title is customer_1_title
    return name.replace("last_names", "last_name")  # the vendor's own two spellings (Q1)


def letters_of(index: int) -> str:
    """The column as a spreadsheet names it: 0 is "A"."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def match_columns(
    headers: Sequence[str], known: Iterable[str], *, patterns: Mapping[str, str], extra: str
) -> dict[str, str]:
    """The columns of a file that a flow knows: header to name, in the order of the file.

    Args:
        headers: as they stand in the file, all different.
        known: plain names.
        patterns: names that stand for many, as a regular expression each with an example, which
            is what a person is shown as the nearest name.
        extra: "forbid" refuses unknown columns, "ignore" leaves them out.

    Raises:
        SourceError: unknown columns, or two that mean the same.
    """
    known = set(known)
    matched: dict[str, str] = {}
    unknown: list[int] = []
    for index, header in enumerate(headers):
        name = normalised(header)
        if name in BOOKKEEPING:
            continue
        if name in known or any(re.fullmatch(pattern, name) for pattern in patterns):
            matched[header] = name
        else:
            unknown.append(index)
    if unknown and extra != "ignore":
        examples = [*known, *patterns.values()]
        raise SourceError(_unknown(headers, unknown, examples))
    _refuse_twins(list(headers), matched)
    return matched


def _unknown(headers: Sequence[str], unknown: Sequence[int], examples: Sequence[str]) -> str:
    found = []
    for index in unknown[:10]:
        name = normalised(headers[index])
        # compared without numbers, which the examples can only have one of
        near = difflib.get_close_matches(name, examples, n=1, cutoff=0.0)
        close = difflib.SequenceMatcher(None, name, near[0]).ratio() >= SHOWN_FROM_SIMILARITY
        shown = f' "{headers[index]}"' if close else ""
        found.append(f"column {letters_of(index)}{shown} (nearest known name: {near[0]})")
    more = f", and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    return (
        f"Unknown: {'; '.join(found)}{more}. Rename or remove these columns, or leave them out "
        'with extra="ignore".'
    )


def _refuse_twins(headers: list[str], matched: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for header, name in matched.items():
        if name in first:
            here, there = (letters_of(headers.index(text)) for text in (first[name], header))
            raise SourceError(f"Columns {here} and {there} mean the same; remove one of them.")
        first[name] = header


def resolve_meta(names: Iterable[str], fields: Sequence[MetaField]) -> dict[str, MetaField]:
    """The CRM field of each `meta:` column, by label or by id.

    Raises:
        SourceError: no such field, two with that label, or two columns for one field.
    """
    by_id = {field.id: field for field in fields}
    resolved: dict[str, MetaField] = {}
    for name in names:
        label = name.removeprefix(META_PREFIX)
        alike = [
            field for field in fields if clean(field.label or "").casefold() == label.casefold()
        ]
        if label in by_id:
            resolved[name] = by_id[label]
        elif len(alike) == 1:
            resolved[name] = alike[0]
        elif alike:
            raise SourceError(
                f'{len(alike)} CRM fields have the label of column "{name}"; name the field by '
                "its id, as meta:<field id>."
            )
        else:
            labels = [field.label or field.id for field in fields]
            near = difflib.get_close_matches(label, labels, n=1, cutoff=0.0)
            hint = f"; the nearest is meta:{near[0]}" if near else ""
            raise SourceError(f'The account has no CRM field for column "{name}"{hint}.')
    ids = [field.id for field in resolved.values()]
    if twins := [name for name, field in resolved.items() if ids.count(field.id) > 1]:
        raise SourceError(f"The columns {' and '.join(twins)} mean the same CRM field.")
    return resolved
