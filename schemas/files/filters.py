"""The filters of an export from a file, since Prefect stores parameters as they are given.

Belongs here: its form, and refusing what is none. Does not: what a filter means
(`willsuite/client.py`), or a time's own form (`flows/export_cases.py`).
"""

from collections.abc import Mapping

import msgspec

from schemas.columns import normalised
from schemas.files.content import content_of
from schemas.files.source import read_sheet
from schemas.issues import SourceError
from schemas.texts import clean

FILTERS = ("ref", "postcode", "updated_after")
MAX_BYTES = 1_000_000
_FORM = (
    'write it like {"ref": "...", "postcode": "...", "updated_after": "2026-01-31"}, or as a table '
    "with these columns and one row"
)


def read_filters(source: str) -> dict[str, str]:
    """What a file filters by, blank values left out: JSON, or a table (CSV, Excel, Parquet).

    Raises:
        SourceError: it can't be read, or names something else, or nothing.
    """
    content = content_of(source, MAX_BYTES)
    is_json = content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))
    given = _of_json(content) if is_json else _of_table(source)
    if set(given) - set(FILTERS):
        raise SourceError(f"The file with filters has others than {', '.join(FILTERS)}; {_FORM}.")
    filters = {name: clean(value) for name, value in given.items() if value and clean(value)}
    if not filters:
        raise SourceError(f"The file with filters names none, and would export all; {_FORM}.")
    return filters


def _of_json(content: bytes) -> Mapping[str, str | None]:
    try:
        # a string first: some programs put a byte order mark before it
        return msgspec.json.decode(content.decode("utf-8-sig"), type=dict[str, str | None])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise SourceError(f"The file with filters isn't a JSON object of texts; {_FORM}.") from None


def _of_table(source: str) -> Mapping[str, str | None]:
    sheet = read_sheet(source, is_known=lambda name: normalised(name) in FILTERS)
    if len(sheet.rows) != 1 or sheet.surplus:
        raise SourceError(f"The file with filters has {len(sheet.rows):,} rows; {_FORM}.")
    cells = sheet.frame.iloc[0].to_dict()
    return {
        normalised(str(name)): cell if isinstance(cell, str) else None
        for name, cell in cells.items()
    }
