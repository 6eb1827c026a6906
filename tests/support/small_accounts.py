"""Small accounts that are written to at random, and whether what is said of them is so.

Belongs here: rows for every flow, of few cases so that they meet again; what rows claim beside what
the account has; what is there twice. Does not: in which order things happen (the tests).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ended_runs import EndedRun, Row

from sandbox.people import case_of
from sandbox.server import Sandbox
from sandbox.store import Store

Said = Mapping[str, Any]
"""A row of outcomes."""
OURS = "Zq"
"""The last names of the people whom we add begin so, and nobody else's."""
DONE = ("created", "existing", "updated", "unchanged")


def new_case(number: int) -> Row:
    """A row of an import; the same number, the same case."""
    person = {
        "title": "Ms", "first_names": "Amara", "last_name": f"{OURS}or {number}",
        "date_of_birth": f"{number % 28 + 1:02d}/11/1931", "postcode": "QX1 1ZZ",
    }  # fmt: skip
    cells = {f"customer_1_{name}": cell for name, cell in person.items()}
    return {"ref": f"NEW-{number}", "notes": f"Note {number}"} | cells


def change(case_id: str, notes: str, person: int | None = None) -> Row:
    """A row of an update, which may add somebody."""
    if person is None:
        return {"id": case_id, "notes": notes}
    cells = {key: cell for key, cell in new_case(person).items() if key.startswith("customer_")}
    return {"id": case_id, "notes": notes} | cells


def booking(number: int, case_id: str, minute: int = 0, *, is_gone: bool = False) -> Row:
    """A row of appointments; the location tells the server's apart, every other one writes."""
    key = f"B-{number}"
    writes = {"sms_recipient": "07700900123", "sms_confirmation": "yes"} if number % 2 else {}
    return {
        "key": key, "action": "delete" if is_gone else "", "case_id": case_id,
        "adviser_email": "adviser@example.org", "start_time": f"2099-07-20 09:{minute:02d}",
        "end_time": "2099-07-20 10:00", "location": key,
    } | writes  # fmt: skip


def made_by_a_person(number: int) -> dict[str, Any]:
    """A case that somebody makes in WillSuite."""
    case_id = f"{number:08d}-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
    return case_of(case_id, ref=f"THEIRS-{number}", notes=None, meta={}, is_active=1, customers=[])


def false_claims(
    flow: str, sandbox: Sandbox, rows: Sequence[Row], ended: EndedRun
) -> Iterator[str]:
    """Of which rows something else is said than the account has; nothing is under way any more."""
    by_row = ended.by_row
    for number, row in enumerate(rows, start=2):
        said = by_row[number]
        if (has := _CHECKS[flow](sandbox, row, said)) is not None:
            yield f"{said['key']} is said to be {said['outcome']} ({said['code']}), and {has}"


def there_twice(sandbox: Sandbox) -> Iterator[str]:
    """References, people, appointments and messages of ours that are there more than once."""
    refs = Counter(str(case["ref"]) for case in _cases(sandbox.store))
    yield from (f"{ref} is there {n} times" for ref, n in refs.items() if n > 1)
    for case in _cases(sandbox.store):
        names = Counter(str(each["last_name"]) for each in case["customers"])
        for name, count in names.items():
            if count > 1 and name.startswith(OURS):
                yield f"a person of ours is {count} times in {case['id']}"
    live = Counter(each["location"] for each in _live(sandbox))
    yield from (f"{key} has {n} appointments" for key, n in live.items() if n > 1)
    sent = Counter((message.appointment_id, message.kind) for message in sandbox.messages)
    yield from (f"{kind} of {id_} was sent {n} times" for (id_, kind), n in sent.items() if n > 1)


def _cases(store: Store) -> Iterator[dict[str, Any]]:
    return (case for case_id in store.ids if (case := store.case(case_id)) is not None)


def _live(sandbox: Sandbox) -> Iterator[dict[str, Any]]:
    return (each for each in sandbox.appointments.values() if not each["deleted_at"])


def _of_import(sandbox: Sandbox, row: Row, said: Said) -> str | None:
    store = sandbox.store
    ids = store.listing(ref=row["ref"])
    if said["outcome"] == "failed":
        return "it is there" if ids else None
    if said["outcome"] not in DONE:
        return None
    if ids != [said["case_id"]]:
        return f"there are {ids}"
    case = store.case(ids[0])
    assert case is not None
    if not _has_person(case, row):
        return "its customer isn't there"
    is_other = said["outcome"] == "created" and case["notes"] != row["notes"]
    return "its notes are others" if is_other else None


def _of_change(sandbox: Sandbox, row: Row, said: Said) -> str | None:
    case = sandbox.store.case(row["id"])
    has_notes = case is not None and case["notes"] == row["notes"]
    if said["outcome"] == "failed":
        return "it is done" if has_notes else None
    if said["outcome"] not in DONE:
        return None
    if case is None:
        return "the case isn't there"
    if not has_notes:
        return "its notes are others"
    return None if _has_person(case, row) else "its customer isn't there"


def _has_person(case: Mapping[str, Any], row: Row) -> bool:
    name = row.get("customer_1_last_name")
    return name is None or name in [each["last_name"] for each in case["customers"]]


def _of_booking(sandbox: Sandbox, row: Row, said: Said) -> str | None:
    found = [each for each in _live(sandbox) if each["location"] == row["key"]]
    if row["action"] == "delete":
        is_gone = said["outcome"] in ("deleted", "unchanged")
        return "it is there" if is_gone and found else None
    if said["outcome"] not in DONE:
        return None
    if [each["id"] for each in found] != [said["appointment_id"]]:
        return f"there are {len(found)}"
    is_other = found[0]["start_time"] != f"{row['start_time']}:00"
    return "it is at another time" if is_other else None


_CHECKS: Mapping[str, Callable[[Sandbox, Row, Said], str | None]] = {
    "import-cases": _of_import,
    "bulk-update-cases": _of_change,
    "update-cases": _of_change,
    "sync-appointments": _of_booking,
}
