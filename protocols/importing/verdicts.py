"""What a case that was found does to an entry of an import.

Belongs here: from a case, or several, to the outcome of the row that wants it. Does not: finding
them (`importing/exactly_once.py`, `importing/reading_back.py`), comparing people or values
(`people.py`, `kept.py`).
"""

from collections.abc import Sequence

from protocols.importing.entries import NewCaseEntry
from protocols.kept import lost_of_case
from protocols.people import Presence, presence
from protocols.reading.found import Found, FoundCase
from schemas.identifiers import whole_form
from schemas.outcomes import Outcome


def cases_of(entry: NewCaseEntry, found: Found) -> Sequence[FoundCase]:
    """The cases with its reference, or with one that the server takes for it."""
    return found.with_ref(entry.case.ref) or found.spelled_otherwise(entry.case.ref)


def presence_in(entry: NewCaseEntry, case: FoundCase) -> Presence:
    """Who of the row is in the case."""
    return presence(entry.case.body.get("customers", ()), case.customers)


def compare_existing(entry: NewCaseEntry, found: Found) -> None:
    """The case was there before us; by who is in it, since people work on the rest."""
    entry.action = "none"
    cases = cases_of(entry, found)
    ids = ids_of(cases)
    if len(cases) > 1:
        entry.end(Outcome.CONFLICT, "ref_twice", ids=ids)
        return
    case = cases[0]
    people = presence_in(entry, case)
    if not found.with_ref(entry.case.ref) and (not people.wanted or people.there < people.wanted):
        entry.end(Outcome.CONFLICT, "ref_spelled_otherwise", ids=ids, case_id=case.id)
    elif people.there == people.wanted:
        entry.end(Outcome.EXISTING, case_id=case.id)
    elif not people.there and not people.unsure and case.customers:
        _end_with_people(entry, Outcome.CONFLICT, "other_people", people, case)
    else:
        is_anybody_there = people.there or not case.customers
        outcome = Outcome.PARTIAL if is_anybody_there else Outcome.CONFLICT
        code = "customers_missing" if is_anybody_there and people.missing else "customers_unsure"
        _end_with_people(entry, outcome, code, people, case)


def refuse_decimal(entry: NewCaseEntry, found: Found) -> bool:
    """Reject a row whose reference (9001.0) a case has as a whole number (9001)."""
    whole = whole_form(entry.case.ref)
    cases = found.with_ref(whole) if whole is not None else ()
    if cases:
        entry.end(Outcome.REJECTED, "ref_decimal", ids=ids_of(cases))
    return bool(cases)


def confirm(
    entry: NewCaseEntry,
    cases: Sequence[FoundCase],
    code: str | None,
    unshown: frozenset[str] = frozenset(),
) -> None:
    """The case is ours, unless it is somebody else's; `code` says how that is known.

    Of `unshown` fields nothing is said.
    """
    if len(cases) > 1:
        entry.end(Outcome.CONFLICT, "duplicate_case", ids=ids_of(cases))
        return
    case = cases[0]
    lost = lost_in(entry, case, unshown)
    people = presence_in(entry, case)
    nobody = [f"customers.{number}" for number in range(people.wanted)]
    if case.customers and nobody and set(nobody) <= set(lost):
        entry.is_created = False
        _end_with_people(entry, Outcome.CONFLICT, "other_people", people, case)
        return
    entry.is_created = True
    if lost:
        what = ", ".join(entry.columns_of(lost))
        entry.end(Outcome.PARTIAL, "lacking", what=what, case_id=case.id)
    else:
        entry.end(Outcome.CREATED, code, case_id=case.id)


def lost_in(
    entry: NewCaseEntry, case: FoundCase, unshown: frozenset[str] = frozenset()
) -> list[str]:
    """What the case that was made of the row lacks, as `kept.lost_of_case` names it."""
    lost = lost_of_case(entry.case.body, case)
    return [path for path in lost if path.rpartition(".")[2] not in unshown]


def confirm_refusal(entry: NewCaseEntry) -> None:
    """The case isn't there, so the refusal was meant."""
    refusal = entry.refusal
    assert refusal is not None
    if refusal.is_ref_taken:
        entry.end(Outcome.CONFLICT, "ref_taken")
    else:
        entry.end(Outcome.REJECTED, refusal.code, refusal.words)


def _end_with_people(
    entry: NewCaseEntry, outcome: Outcome, code: str, people: Presence, case: FoundCase
) -> None:
    unsure = f", {people.unsure} may be under another birth date or name" if people.unsure else ""
    entry.end(
        outcome,
        code,
        case_id=case.id,
        ids=case.id,
        wanted=people.wanted,
        there=people.there,
        missing=people.missing,
        but_unsure=unsure,
    )


def ids_of(cases: Sequence[FoundCase]) -> str:
    """The ids of cases, for a sentence."""
    return ", ".join(case.id for case in cases)
