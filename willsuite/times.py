"""Times as the API writes them, read with lenience.

Belongs here: one reader for the forms in which a time comes back, and for the one in which it
is sent. Does not: zones (the server names none, facts.md 10), or times as people type them
(`schemas/`).
"""

import re
from dataclasses import dataclass
from datetime import datetime

_FORM = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,6})[0-9]*)?(?P<utc>Z|[+-]00:?00)?"
)


@dataclass(frozen=True, slots=True)
class ServerTime:
    """A time of an answer, as far as the answer tells."""

    wall: datetime
    """What a clock on the wall would show; naive."""
    is_utc: bool
    """Whether it is marked as such. That doesn't tell in which zone the server has read what was
    sent (Q35): compare the two."""


def read_time(text: str | None) -> ServerTime | None:
    """`2024-01-27T09:00:00.000000Z` or `2024-01-27 09:00:00`, of which one answer has both (Q34).

    None for a missing time, and for any other form: what is unknown is not guessed at.
    """
    found = _FORM.fullmatch(text or "")
    if found is None:
        return None
    fraction = (found["fraction"] or "").ljust(6, "0")
    try:
        wall = datetime.strptime(  # noqa: DTZ007 - the zone is what isn't known
            f"{found['date']} {found['time']}.{fraction}", "%Y-%m-%d %H:%M:%S.%f"
        )
    except ValueError:
        return None
    return ServerTime(wall, found["utc"] is not None)
