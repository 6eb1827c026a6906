"""Which cases an export is of: its filters, from parameters or from a file.

Belongs here: putting both together. Does not: the form of the file (`schemas/files/filters.py`),
or exporting (`export_cases.py`).
"""

from datetime import UTC, datetime

from protocols.reading.listing import WIRE_TIME
from schemas.files.filters import read_filters
from tasks.policy import RunError
from willsuite import CaseFilters


def filters_of(
    ref: str | None, postcode: str | None, updated_after: str | None, file: str | None
) -> CaseFilters:
    """The filters as WillSuite takes them, from parameters and a file.

    Raises:
        SourceError: the file can't be used.
        RunError: one filter came twice, or isn't a time.
    """
    given = {"ref": ref, "postcode": postcode, "updated_after": updated_after}
    filters = {name: value for name, value in given.items() if value}
    from_file = read_filters(str(file)) if file else {}
    if twice := sorted(filters.keys() & from_file.keys()):
        raise RunError(f"{' and '.join(twice)} came twice, in filters_file too; leave one out.")
    filters |= from_file
    updated_after = _wire_time(filters.get("updated_after"))
    return CaseFilters(filters.get("ref"), filters.get("postcode"), updated_after)


def _wire_time(value: str | datetime | None) -> str | None:
    """A filter time in the vendor's format; an offset is converted to UTC, none is left as is."""
    if not value:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        raise RunError(
            "updated_after must be a time like 2026-01-31 09:00:00 (or a date like 2026-01-31)."
        ) from None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime(WIRE_TIME)
