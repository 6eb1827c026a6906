"""References made from columns that identify a case, for rows that have none.

Belongs here: what of an identity column counts, and the reference that comes of it. Does not:
which columns those are, or what is wrong with a row that lacks one (`import_plan.py`).

A second run finds its cases by these references alone: whoever changes what they are made of makes
every case of such a file a second time.
"""

import base64
import hashlib
import re
from collections.abc import Mapping

from schemas.people import letters
from schemas.texts import clean, without_invisible
from schemas.values import wire_date

_OF = r"(?:(?:customer|address_book|client|person)_(?:\d{1,2}_)?)?"
_NAMES_AND_POSTCODES = re.compile(
    rf"{_OF}(?:(?:(?:first|middle|last|full|preferred|family|given)_?)?names?"
    r"|surname|forenames?|known_as|alias|post_?code)"
)
_BIRTH_DATES = re.compile(r"(?:.*_)?(?:date_of_birth|birth_?date|dob)")


def derived_ref(identity: Mapping[str, str | None]) -> str:
    """A ref made from identity columns: the same for the same values, however they are written.

    80 bits of a SHA-256; the order of the columns doesn't matter. Of names and postcodes of people
    their letters count (`people.letters`), of dates of birth the day. All else is taken for an
    identifier of another system, which may tell `w` from `W`: it counts as it stands, but for
    blanks around it, how many are in it, and invisible signs.
    """
    parts = [
        f"{name}\x1f{_identity_value(name, identity[name] or '')}" for name in sorted(identity)
    ]
    digest = hashlib.sha256("\x1e".join(["willsuite-flows ref 1", *parts]).encode()).digest()
    return f"WF-{base64.b32encode(digest)[:16].decode()}"


def _identity_value(name: str, text: str) -> str:
    if _NAMES_AND_POSTCODES.fullmatch(name):
        return letters(text)
    exact = " ".join(clean(without_invisible(text)).split())
    return wire_date(exact) or exact if _BIRTH_DATES.fullmatch(name) else exact
