"""What a file of new cases must look like.

Belongs here: the pandera model of its columns, and which headers it may have. Does not: what files
of all kinds have in common (`source_table.py`), columns of people (`person_columns.py`), rules over
several rows and what is made of them (`import_plan.py`).

Customers (and address-book entries) come in one of two shapes: numbered columns
(`customer_1_title`, `customer_2_title`, one row a case), or columns without a number
(`customer_title`, one row a customer; the rows of one `ref` make one case).
"""

from collections.abc import Sequence

import pandera.pandas as pa

from schemas.column_tables import described, described_columns, markdown_table
from schemas.columns import META_PREFIX, match_columns
from schemas.files.source import Sheet
from schemas.identifiers import IDENTIFIER_CHECKS
from schemas.issues import SourceError
from schemas.person_columns import PEOPLE, person_column
from schemas.source_table import META
from schemas.values import EMAIL_CHECK, column

CASE_FIELDS = {
    "ref": column(
        "the case's reference, unique; by it a second run knows the case again", *IDENTIFIER_CHECKS
    ),
    "notes": column("notes on the case"),
    "adviser_email": column("the WillSuite user who is to own the case", EMAIL_CHECK),
    "email": column("the API user's e-mail, not the client's", EMAIL_CHECK),
}


def _person_columns() -> dict[str, pa.Column]:
    return {
        rf"^{kind}_(?:\d{{1,2}}_)?{name}$": spec
        for kind, fields in PEOPLE.items()
        for name, spec in fields.items()
    }


IMPORT_CASES = pa.DataFrameSchema(
    {**CASE_FIELDS, **META, **_person_columns()},
    name="import-cases",
    description="One row a case (numbered people) or one row a customer (people without numbers).",
    strict=True,
    unique_column_names=True,
)
"""The contract of the columns, after their headers were normalised; cells are cleaned texts."""


def column_table() -> str:
    """The columns as a Markdown table, for `data/samples/README.md`, which is tested against it."""
    people = {f"{kind}_1_*": described(fields) for kind, fields in PEOPLE.items()}
    return markdown_table({**described_columns(CASE_FIELDS), **people})


def is_import_column(header: str) -> bool:
    """Whether a header is one of the columns of this kind of file."""
    try:
        return bool(match_columns([header], CASE_FIELDS, patterns=_PATTERNS, extra="ignore"))
    except SourceError:
        return False


_PATTERNS = {f"{META_PREFIX}.+": "meta:<field label>"} | {
    rf"{kind}_(?:\d{{1,2}}_)?{name}": f"{kind}_1_{name}"
    for kind, fields in PEOPLE.items()
    for name in fields
}


def matched_columns(sheet: Sheet, extra: str, identity: Sequence[str]) -> dict[str, str]:
    """Header to name of the columns to be used; `identity` names columns known besides.

    Raises:
        SourceError: unknown columns, missing identity columns, or both shapes of people.
    """
    headers = list(sheet.frame.columns)
    known = {*CASE_FIELDS, *identity}
    matched = match_columns(headers, known, patterns=_PATTERNS, extra=extra)
    if missing := set(identity) - set(matched.values()):
        raise SourceError(
            f"derive_ref_from names {len(missing)} column(s) that the file hasn't got; write them "
            "in lower case, with _ between words."
        )
    people = [found for name in matched.values() if (found := person_column(name))]
    if len({bool(found["number"]) for found in people}) > 1:
        raise SourceError(
            "Some columns of people are numbered (customer_1_title) and some are not "
            "(customer_title); use one way throughout."
        )
    return matched
