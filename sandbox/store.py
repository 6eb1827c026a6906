"""The sandbox's state: cases in the server's order, and when each was last touched.

Belongs here: what a database would do. Does not: HTTP, tokens, faults.
"""

import bisect
import json
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sandbox.views import Views

Order = Literal["id", "newest", "oldest"]
"""By id, or by the time of the last change; the vendor documents no order."""


Collation = Literal["accents count", "unicode_ci"]
"""Which references are one: the stricter half of what is usual, or what was measured of
`utf8mb4_unicode_ci`."""


def ref_key(ref: str | None, collation: Collation = "accents count") -> str:
    """What two references have in common that the server takes for the same one."""
    text = (ref or "").strip().casefold()
    if collation == "accents count":
        return text
    text = unicodedata.normalize("NFKD", text.replace("œ", "oe")).casefold()
    signs = ("\ufffd" if ord(sign) > 0xFFFF else sign for sign in text)
    return "".join(sign for sign in signs if unicodedata.category(sign) not in ("Mn", "Cf")).strip()


def _as_stored(case: dict[str, Any]) -> dict[str, Any]:
    """A table of its own has the customers: they come in order of id, not as they were sent."""
    return case | {"customers": sorted(case["customers"], key=lambda customer: customer["id"])}


class Store:
    """All cases of the account; every change stamps the case with the time of the change.

    Cases are found by reference without a look at all of them. `address_books` has the entries
    that came with a case, by its id; no documented answer about cases shows them.
    """

    def __init__(
        self,
        cases: Iterable[dict[str, Any]],
        *,
        order: Order = "id",
        collation: Collation = "accents count",
        views: Views | None = None,
    ) -> None:
        self.order = order
        self._collation = collation
        self._views = views or Views()
        self._cases = {case["id"]: _as_stored(case) for case in cases}
        self._ids = sorted(self._cases)
        self._rendered: dict[str, dict[bool, bytes]] = {}
        self.address_books: dict[str, list[dict[str, Any]]] = {}
        self._ref_keys: dict[str, str] = {}
        self._ids_by_ref: dict[str, set[str]] = {}
        for case in self._cases.values():
            self._index(case)
        self._next_number = len(self._cases) + 1
        # the account has a history: nothing changed in the last two days
        start = datetime.now(UTC) - timedelta(days=1000)
        step = timedelta(days=998) / max(1, len(self._ids))
        self._updated_at = {
            case_id: (start + step * number).replace(microsecond=0)
            for number, case_id in enumerate(self._cases)
        }

    def __len__(self) -> int:
        return len(self._cases)

    def __contains__(self, case_id: str) -> bool:
        return self.case(case_id) is not None

    @property
    def ids(self) -> list[str]:
        """All case ids, sorted."""
        return list(self._ids)

    def case(self, case_id: str) -> dict[str, Any] | None:
        """The case as it would be sent, or None; its id is found in any case of its letters."""
        return self._cases.get(case_id) or self._cases.get(case_id.lower())

    def put(self, case: dict[str, Any], *, unseen: bool = False) -> None:
        """Insert or replace a case, now; `unseen` as in `change`."""
        if case["id"] not in self._cases:
            bisect.insort(self._ids, case["id"])
        self._cases[case["id"]] = _as_stored(case)
        self._index(case)
        self._touch(case["id"], unseen=unseen)

    def change(self, case_id: str, *, unseen: bool = False, **fields: Any) -> dict[str, Any]:
        """Set fields of a case, now; returns it as it is then.

        A change that is `unseen` leaves its time as it is, so `updatedAfter` doesn't show it.
        """
        self._cases[case_id] = _as_stored({**self._cases[case_id], **fields})
        self._index(self._cases[case_id])
        self._touch(case_id, unseen=unseen)
        return self._cases[case_id]

    def delete(self, case_id: str) -> None:
        """Take a case out, as a person can on the vendor's screens."""
        del self._cases[case_id], self._updated_at[case_id]
        self._rendered.pop(case_id, None)
        self.address_books.pop(case_id, None)
        self._unindex(case_id)
        del self._ids[bisect.bisect_left(self._ids, case_id)]

    def has_ref(self, ref: str, *, besides: str | None = None) -> bool:
        """Whether a case (another than `besides`) has this reference, as `ref_key` compares."""
        return any(case_id != besides for case_id in self._ids_by_ref.get(self._key(ref), ()))

    def unused_ref(self) -> str:
        """A reference that no case has, for a case that came without one."""
        while self.has_ref(ref := f"WS-{self._next_number:06d}"):
            self._next_number += 1
        return ref

    def listing(
        self,
        *,
        ref: str | None = None,
        postcode: str | None = None,
        updated_after: datetime | None = None,
    ) -> list[str]:
        """Ids of the matching cases in the server's order."""
        ids = self._ids
        if ref is not None:
            ids = sorted(self._ids_by_ref.get(self._key(ref), ()))
        if postcode is not None:
            ids = [key for key in ids if self._has_postcode(key, postcode)]
        if updated_after is not None:
            ids = [key for key in ids if self._updated_at[key] >= updated_after]
        if self.order != "id":
            ids = sorted(ids, key=lambda key: self._updated_at[key], reverse=self.order == "newest")
        return ids

    def rendered(self, case_id: str, *, in_list: bool = False) -> bytes:
        """The case as JSON; an empty meta is an empty list, as PHP has it (Q5)."""
        bodies = self._rendered.setdefault(case_id, {})
        if in_list not in bodies:
            shown = self._views.shown(self._cases[case_id], in_list=in_list)
            bodies[in_list] = json.dumps(shown).encode()
        return bodies[in_list]

    def _key(self, ref: str | None) -> str:
        return ref_key(ref, self._collation)

    def _index(self, case: dict[str, Any]) -> None:
        self._unindex(case["id"])
        key = self._ref_keys[case["id"]] = self._key(case["ref"])
        self._ids_by_ref.setdefault(key, set()).add(case["id"])

    def _unindex(self, case_id: str) -> None:
        # the key is kept by id, since whoever replaces a case may have altered it in place
        key = self._ref_keys.pop(case_id, None)
        if key is None:
            return
        self._ids_by_ref[key].discard(case_id)
        if not self._ids_by_ref[key]:
            del self._ids_by_ref[key]

    def _touch(self, case_id: str, *, unseen: bool) -> None:
        self._rendered.pop(case_id, None)
        now = datetime.now(UTC).replace(microsecond=0)
        if unseen:
            self._updated_at.setdefault(case_id, now - timedelta(days=500))
        else:
            self._updated_at[case_id] = now

    def _has_postcode(self, case_id: str, postcode: str) -> bool:
        wanted = postcode.replace(" ", "").lower()
        return any(
            (customer["postcode"] or "").replace(" ", "").lower() == wanted
            for customer in self._cases[case_id]["customers"]
        )
