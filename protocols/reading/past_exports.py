"""What an output folder holds already: whose exports, and what a new one has to respect.

Belongs here: every decision that rests on the manifests of earlier exports. Does not: reading and
writing the folder (`tasks/snapshots.py`), or the manifest of the export under way (`flows/`).

An export from before accounts were noted belongs to the account that exports into its folder next.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from protocols.reading.verification import Verification
from schemas.pseudonyms import PSEUDONYMISED
from tasks.policy import OutputError
from tasks.snapshots import Output


class _Rows(msgspec.Struct):
    cases: int


class _File(msgspec.Struct):
    sha256: str


class Compared(msgspec.Struct):
    """What its `changes.parquet` says."""

    compared_with: str | None
    """The name of the snapshot before; None where there was none that it could be compared with."""
    added: int | None = None
    changed: int | None = None
    removed: int | None = None
    """Cases, of each kind."""


class PastExport(msgspec.Struct):
    """What counts of an export's manifest."""

    snapshot: str
    watermark: str
    filters: dict[str, str]
    verification: str
    finished_at: str
    rows: _Rows
    account: str | None = None
    mode: str = "full"
    started_at: str = ""
    full_at: str | None = None
    """When the export of all cases began that this one was merged from; its own start, if it is
    one."""
    schema_version: str = ""
    files: dict[str, _File] = {}
    date_of_birth_forms: dict[str, int] = {}
    crm_field_options: dict[str, list[str]] = {}
    """The words of CRM fields with a closed list, by field id."""
    profile: str = "full"
    """pseudonymised in a copy without people (`protocols/pseudonymised.py`)."""
    list_leaves_people_out: bool = False
    changes: Compared | None = None

    @property
    def name(self) -> str:
        """Of its snapshot's folder."""
        return self.snapshot.rpartition("/")[2]

    @property
    def is_full(self) -> bool:
        """Whether it has every case, or only those of a filter."""
        return not self.filters

    @property
    def is_verified(self) -> bool:
        """Whether it was shown that no case is missing."""
        return self.verification in (Verification.QUIET, Verification.CONVERGED)


class PastExports:
    """The exports in an output, as the account `account` may use them; always read afresh."""

    def __init__(self, output: Output, account: str) -> None:
        self._output = output
        self._account = account
        self._manifests: dict[str, PastExport] = {}  # they never change

    def owner(self) -> str | None:
        """The account whose exports they are; None where none says so."""
        said = self._output.latest().get("account")
        if isinstance(said, str):
            return said
        newest_first = self._newest_first(self._output.manifests())
        return next((past.account for past in newest_first if past.account is not None), None)

    def refuse_another_account(self, instead: str) -> None:
        """Refuse to touch or trust another account's exports; `instead` says what else to do.

        Raises:
            OutputError: they are another account's.
        """
        owner, place = self.owner(), self._output.location("").rstrip("/")
        if owner not in (None, self._account):
            if owner.endswith(PSEUDONYMISED):
                raise OutputError(f"The exports in {place} are pseudonymised copies: {instead}.")
            raise OutputError(
                f"The exports in {place} are of another WillSuite "
                f"account ({owner}): {instead}, or, if these are renewed API keys of that account, "
                f"set WILLSUITE_ACCOUNT={owner} (or `account` in the connection block)."
            )

    def last_verified_full(self) -> PastExport | None:
        """The newest export of all cases of which it was shown that it is complete."""
        return next((past for past in self._full() if past.is_verified), None)

    def current(self) -> PastExport | None:
        """The export of all cases that the next one follows: the one that `latest.json` names, or,
        where it names none, the newest that is there."""
        named = self.named()
        return named if named and named.is_full else next(self.published(), None)

    def named(self) -> PastExport | None:
        """The export that `latest.json` names, of all cases or not, if its tables are there."""
        named = self._manifest(_named_by(self._output.latest()))
        return named if named and self._is_own(named) and self._is_there(named) else None

    def published(self) -> Iterator[PastExport]:
        """All exports of all cases whose tables are there, newest first."""
        return filter(self._is_there, self._full())

    def pointed_at(self, export: PastExport) -> dict[str, Any] | None:
        """`latest.json`, if that is what it names."""
        latest = self._output.latest()
        return latest if _named_by(latest) == export.name else None

    def pointer_beside(self, filtered: PastExport) -> dict[str, Any]:
        """What `latest.json` has to say when `filtered` is published.

        It names an export of all cases, if there has ever been one: the one it names already, or,
        where it is damaged or that one is gone, the newest that is there. Else a filtered export
        gives way only to one with the same filters.
        """
        latest = self._output.latest() | {"account": self._account}
        name = _named_by(latest)
        is_there = bool(name) and self._output.has_tables(name)
        named = self._manifest(name) if is_there else None
        if is_there and named is None:
            return latest  # nobody knows better
        if named is not None and named.is_full and self._is_own(named):
            return latest | self.pointer_to(named)
        has_been_full = False
        for past in self._full():
            if self._is_there(past):
                return self.pointer_to(past)
            has_been_full = True
        if has_been_full:
            return self._output.latest()
        if named is not None and named.filters != filtered.filters:
            return latest
        return self.pointer_to(filtered)

    def pointer_to(self, export: PastExport) -> dict[str, Any]:
        """The content of `latest.json` that names `export`."""
        return {
            "snapshot": export.snapshot,
            "manifest": f"manifests/{export.name}.json",
            "watermark": export.watermark,
            "account": self._account,
        }

    def prune(self, keep_last: int, published: str) -> int:
        """Remove all but the newest `keep_last` full snapshots and as many filtered ones.

        Never the one just `published`, nor the one that `latest.json` names, nor one that isn't
        known to be the account's.

        Returns:
            How many were removed.
        """
        named = _named_by(self._output.latest())
        own = list(self._own(self._output.snapshots()))
        full = [past.name for past in own if past.is_full]
        filtered = [past.name for past in own if not past.is_full]
        old = {*full[keep_last:], *filtered[keep_last:]} - {published, named}
        for name in sorted(old):
            self._output.remove_snapshot(name)
        return len(old)

    def _is_there(self, past: PastExport) -> bool:
        return self._output.has_tables(past.name)

    def _full(self) -> Iterator[PastExport]:
        return (past for past in self._own(self._output.manifests()) if past.is_full)

    def _own(self, names: Iterable[str]) -> Iterator[PastExport]:
        return (past for past in self._newest_first(names) if self._is_own(past))

    def _is_own(self, past: PastExport) -> bool:
        return past.account in (None, self._account)

    def _newest_first(self, names: Iterable[str]) -> Iterator[PastExport]:
        """Those with a manifest that can be read; no more of them are read than are looked at."""
        for _, same_second in groupby(sorted(names, reverse=True), key=_started):
            known = [past for past in map(self._manifest, same_second) if past is not None]
            yield from sorted(known, key=lambda past: past.finished_at, reverse=True)

    def _manifest(self, name: str) -> PastExport | None:
        if name not in self._manifests:
            try:
                content = self._output.read(f"manifests/{name}.json") or b""
                manifest = msgspec.json.decode(content, type=PastExport)
            except msgspec.DecodeError:
                return None
            self._manifests[name] = manifest
        manifest = self._manifests[name]
        return manifest if manifest.name == name else None


def _named_by(pointer: dict[str, Any]) -> str:
    return str(pointer.get("snapshot", "")).rpartition("/")[2]


def _started(name: str) -> str:
    return name.partition("-")[0]
