"""What an id of the API can look like.

Belongs here: the one rule for ids, on their way out and back. Does not: references, or what
people type.
"""

import re

from willsuite.errors import ContractError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def is_id(value: str) -> bool:
    """Whether an id can't lead elsewhere in a path: ids are opaque, but never hold / or . ."""
    return _ID.fullmatch(value) is not None


def checked_id(value: str) -> str:
    """An id that may be put into a path.

    Raises:
        ContractError: it can't be one.
    """
    if not is_id(value):
        raise ContractError("An id has characters that no WillSuite id has; nothing was sent.")
    return value
