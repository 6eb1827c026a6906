"""The columns of a kind of file as a Markdown table, for `data/samples/README.md`.

Belongs here: their form. Does not: which columns there are (`import_file.py` and its like).
"""

from collections.abc import Mapping

import pandera.pandas as pa

from schemas.columns import META_PREFIX
from schemas.source_table import META


def described_columns(fields: Mapping[str, pa.Column]) -> dict[str, str]:
    """Plain columns, and those of CRM fields, with their descriptions."""
    meta = {f"{META_PREFIX}<field>": str(spec.description) for spec in META.values()}
    return {name: str(spec.description) for name, spec in fields.items()} | meta


def described(fields: Mapping[str, pa.Column]) -> str:
    """The fields of a person in one line."""
    return ", ".join(_described(name, spec) for name, spec in fields.items())


def markdown_table(columns: Mapping[str, str]) -> str:
    """Column names with what they are."""
    rows = [f"| `{name}` | {what} |" for name, what in columns.items()]
    return "\n".join(["| column | |", "| --- | --- |", *rows])


def _described(name: str, spec: pa.Column) -> str:
    limits = [f"up to {check.description}" for check in spec.checks if check.name == "too_long"]
    notes = "; ".join([*([spec.description] if spec.description else []), *limits])
    return f"{name} ({notes})" if notes else name
