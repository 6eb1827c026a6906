"""The questions that reading answers.

Belongs here: what is asked, and what the answer means. Does not: asking itself (`asking.py`), those
that need a change (`writing.py`), or the report (`report.py`).

An answer has counts, statuses and words of ours: never a value of a case, nor its id.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pyarrow as pa

from protocols.checking.asking import Asking, Finding, content_of
from schemas.birth_dates import birth_forms
from willsuite.client import MAX_PER_PAGE
from willsuite.errors import AnswerLostError, TooLongError, UnreachableError

Row = dict[str, Any]
COMPARED = 5
"""So many cases are read by their ids, to be compared with the list."""
CLOCKS_DIFFER = timedelta(minutes=5)


async def order_of_list(asking: Asking) -> Finding:
    """By what it is sorted, and whether it comes in the same order twice."""
    question = "In which order does the list come?"
    again = await asking.page(perPage=MAX_PER_PAGE)
    rows = asking.sample
    ids, refs = [str(row.get("id")) for row in rows], [str(_ref(row) or "") for row in rows]
    is_same = ids == [str(row.get("id")) for row in again.rows]
    order = _order(ids, "id")
    if order is None and len(rows) >= 3:
        # references are often given in the order of time
        by_ref = _order([ref.casefold() for ref in refs], "ref")
        by_time = await _order_by_time(asking, [rows[0], rows[len(rows) // 2], rows[-1]])
        order = ", or ".join(filter(None, (by_time, by_ref))) or None
    twice = "in the same order twice" if is_same else "in another order the second time"
    answer = f"Sorted {order or 'by nothing that shows'}; {twice}."
    return Finding(question, answer, {"order": order, "is_same_twice": is_same})


def _order(keys: Sequence[str], what: str) -> str | None:
    if len(set(keys)) < 3:
        return None
    if all(before <= after for before, after in pairwise(keys)):
        return f"by {what}, ascending"
    if all(before >= after for before, after in pairwise(keys)):
        return f"by {what}, descending"
    return None


async def _order_by_time(asking: Asking, rows: Sequence[Row]) -> str | None:
    times = [await asking.last_change(row) for row in rows]
    known = [time for time in times if time is not None]
    if len(known) < len(rows) or len(set(known)) < len(known):
        return None
    if known == sorted(known):
        return "by the last change, oldest first"
    return "by the last change, newest first" if known == sorted(known, reverse=True) else None


async def ref_filter(asking: Asking) -> Finding:
    """What `ref` matches."""
    question = "What does the filter ref match?"
    case = _sample(asking.sample, _ref, lambda ref: len(ref) > 3 and ref.swapcase() != ref)
    if case is None:
        return Finding(question, "Not answered: no case has a reference with letters.")
    ref = case["ref"]
    forms = {
        "whole": ref, "in other case": ref.swapcase(), "with blanks around": f" {ref} ",
        "its beginning": ref[:-1], "its end": ref[1:], "with % for its end": f"{ref[:-1]}%",
    }  # fmt: skip
    values = {form: (await asking.page(ref=text)).has(case["id"]) for form, text in forms.items()}
    return Finding(question, _matched(values), values)


async def postcode_filter(asking: Asking) -> Finding:
    """What `postcode` matches."""
    question = "What does the filter postcode match?"
    case = _sample(asking.sample, _postcode, lambda code: " " in code)
    if case is None:
        return Finding(question, "Not answered: no listed customer has a postcode with a blank.")
    code = _postcode(case) or ""
    forms = {
        "whole": code, "in small letters": code.lower(), "without the blank": code.replace(" ", ""),
        "its beginning": code.partition(" ")[0],
    }  # fmt: skip
    values = {
        form: (await asking.page(postcode=text, perPage=MAX_PER_PAGE)).has(case["id"])
        for form, text in forms.items()
    }
    return Finding(question, _matched(values), values)


def _matched(values: dict[str, bool]) -> str:
    matched = [form for form, is_found in values.items() if is_found]
    missed = [form for form, is_found in values.items() if not is_found]
    return f"Found: {', '.join(matched) or 'nothing'}. Not found: {', '.join(missed) or 'nothing'}."


def _sample(
    rows: Iterable[Row], value: Callable[[Row], Any], is_fit: Callable[[str], bool]
) -> Row | None:
    for row in rows:
        text = value(row)
        if isinstance(text, str) and text.strip() == text and is_fit(text) and row.get("id"):
            return row
    return None


def _ref(row: Row) -> Any:
    return row.get("ref")


def _postcode(row: Row) -> str | None:
    codes = (person.get("postcode") for person in _people(row))
    return next((code for code in codes if isinstance(code, str) and code), None)


def _people(row: Row) -> list[Row]:
    people = row.get("customers")
    return [each for each in people if isinstance(each, dict)] if isinstance(people, list) else []


async def page_sizes(asking: Asking) -> Finding:
    """Whether perPage is followed, and what becomes of odd pages."""
    question = "Is perPage followed, up to which size, and what becomes of pages that aren't there?"
    asked: dict[str, dict[str, str | int]] = {
        "perPage 3": {"perPage": 3}, "perPage 100": {"perPage": 100},
        "perPage 101": {"perPage": 101}, "perPage 0": {"perPage": 0}, "no perPage": {},
        "page 0": {"page": 0, "perPage": 3}, "a page past the end": {"page": 10**6, "perPage": 3},
    }  # fmt: skip
    values = {}
    for what, params in asked.items():
        page = await asking.page(**params)
        values[what] = {"status": page.status, "rows": len(page.rows), "per_page": page.per_page}
    told = [
        f"{what}: {each['rows']} rows" if each["status"] == 200 else f"{what}: {each['status']}"
        for what, each in values.items()
    ]
    return Finding(question, f"{'; '.join(told)}.", values)


async def rate_limit(asking: Asking) -> Finding:
    """Whether answers tell of a rate limit; after all other questions, to have seen many."""
    question = "Do answers tell of a rate limit?"
    if not asking.headers:
        answer = f"No: {asking.count} answers had no header about one."
        advice = (
            "Where WillSuite's support names a limit, set WILLSUITE_REQUESTS_PER_MINUTE to it; "
            "without one a 429 is waited for."
        )
        return Finding(question, answer, {}, advice)
    told = ", ".join(f"{name}: {value[:20]}" for name, value in sorted(asking.headers.items()))
    return Finding(question, f"Yes, last {told}.", dict(asking.headers),
                   "Nothing: the pace is learned from these.")  # fmt: skip


async def people_in_lists(asking: Asking) -> Finding:
    """Whether the list shows what the case itself does."""
    question = "Does the list show all customers, and all their fields?"
    fewer, hidden, compared = 0, Counter[str](), 0
    for row in asking.sample[:: max(1, len(asking.sample) // COMPARED)][:COMPARED]:
        case = await asking.case(str(row.get("id")))
        compared += bool(case)
        people = {person.get("id"): person for person in _people(row)}
        fewer += any(person.get("id") not in people for person in _people(case))
        for person in _people(case):
            listed = people.get(person.get("id"), person)
            hidden.update(name for name, value in person.items() if value and not listed.get(name))
    values = {"compared": compared, "with_fewer_people": fewer, "hidden_fields": dict(hidden)}
    answer = f"Of {compared} cases {fewer} are listed with fewer people than they have."
    if hidden:
        answer += f" The list leaves empty what the case has: {', '.join(sorted(hidden))}."
    advice = "Nothing: exports read such cases by their ids, which takes longer." if fewer else ""
    return Finding(question, answer, values, advice)


async def birth_dates(asking: Asking) -> Finding:
    """Whether birth dates are shown, and in which form."""
    question = "Are dates of birth shown in the list, and in which form?"
    dates = [person.get("date_of_birth") for row in asking.sample for person in _people(row)]
    texts = [date if isinstance(date, str) and date else None for date in dates]
    forms = birth_forms(pa.array(texts, pa.string()))
    forms["none"] = texts.count(None)
    told = ", ".join(f"{form} {count}" for form, count in forms.items() if count)
    return Finding(question, f"Of {len(dates)} customers: {told or 'nothing'}.", dict(forms))


async def forms_of_values(asking: Asking) -> Finding:
    """How flags and CRM values come."""
    question = "In which forms do flags and CRM values come?"
    kinds = {
        name: Counter(_kind(row.get(name)) for row in asking.sample)
        for name in ("is_active", "meta")
    }
    told = [
        f"{name}: {', '.join(f'{kind} {count}' for kind, count in counted.items())}"
        for name, counted in kinds.items()
    ]
    values = {name: dict(counted) for name, counted in kinds.items()}
    return Finding(question, f"{'; '.join(told)}.", values)


async def crm_fields(asking: Asking) -> Finding:
    """The shape of `/crm-fields`, and whether all keys of `meta` are among them."""
    question = "What does /crm-fields look like?"
    answer = await asking.get("/crm-fields")
    body = content_of(answer)
    fields = body.get("data") if isinstance(body, dict) else body
    if not isinstance(fields, list):
        return Finding(question, f"Not answered: status {answer.status}, and no list.")
    records = [field for field in fields if isinstance(field, dict)]
    keys = sorted({key for record in records for key in record})
    options = Counter(_kind(record.get("options")) for record in records)
    ids = {record.get("id") for record in records}
    metas = [row["meta"] for row in asking.sample if isinstance(row.get("meta"), dict)]
    unknown = sum(key not in ids for meta in metas for key in meta)
    values = {
        "is_wrapped": isinstance(body, dict), "fields": len(records), "keys": keys,
        "options": dict(options), "values_of_unknown_fields": unknown,
    }  # fmt: skip
    told = ", ".join(f"{kind} {count}" for kind, count in options.items())
    shape = "an object with data" if isinstance(body, dict) else "a list"
    return Finding(
        question,
        f"{shape[0].upper()}{shape[1:]} of {len(records)} fields with the keys {', '.join(keys)}; "
        f"options: {told or 'nothing'}. Listed values of fields that aren't there: {unknown}.",
        values,
    )


async def ids_and_refusals(asking: Asking) -> Finding:
    """In which form ids are found, and how what isn't there is refused."""
    question = "Are ids found in capital letters, and how is what isn't there refused?"
    absent = await asking.get(f"/cases/{uuid4()}")
    values: dict[str, Any] = {
        "absent": absent.status,
        "absent_is_json": absent.body.lstrip()[:1] in (b"{", b"["),
        "no_id": (await asking.get("/cases/no-such-case")).status,
        "odd_time": (await asking.page(updatedAfter="yesterday")).status,
    }
    if case := _sample(asking.sample, lambda row: row.get("id"), lambda text: text.upper() != text):
        upper = case["id"].upper()
        values["in_capitals"] = (await asking.get(f"/cases/{upper}")).status
    form = "JSON" if values["absent_is_json"] else "no JSON"
    return Finding(
        question,
        f"In capital letters: {values.get('in_capitals', 'not asked')}; an id that isn't there: "
        f"{values['absent']} ({form}); what is no id: {values['no_id']}; an updatedAfter that is "
        f"no time: {values['odd_time']}.",
        values,
    )


async def zone_of_changes(asking: Asking) -> Finding:
    """What reading tells of the zone in which `updatedAfter` is read."""
    question = "In which zone is updatedAfter read? (as far as reading tells)"
    newest = await asking.newest_change()
    if newest is None:
        return Finding(question, "Not answered: the filter shows no last change.")
    ahead = newest - asking.server_now
    values = {"newest_change_after_server_clock_minutes": round(ahead / timedelta(minutes=1))}
    if ahead > CLOCKS_DIFFER:
        hours = -(-ahead // timedelta(hours=1))
        answer = f"Ahead of UTC by about {hours} h: the newest change lies in UTC's future."
    else:
        answer = (
            f"No sign of a zone ahead of UTC: the newest change is {_duration(-ahead)} old, if it "
            "is UTC. Ask soon after somebody has changed a case in summer, or with WRITE=."
        )
    return Finding(question, answer, values, "Nothing: leave overlap_hours at 26.")


def _duration(span: timedelta) -> str:
    minutes = round(span / timedelta(minutes=1))
    return f"{minutes} min" if abs(minutes) < 180 else f"{minutes // 60} h"


async def clock(asking: Asking) -> Finding:
    """Whether answers have a Date, which the watermark of exports is made from."""
    question = "Do answers have a Date?"
    if not asking.has_date:
        return Finding(question, "No.", {"has_date": False},
                       "Keep this machine's clock right: exports go by it.")  # fmt: skip
    apart = round((asking.server_now - datetime.now(UTC)).total_seconds())
    answer = f"Yes; it is {apart} s apart from this machine's clock."
    return Finding(question, answer, {"has_date": True, "seconds_apart": apart})


def _kind(value: Any) -> str:
    """What a value is, without what it says."""
    if isinstance(value, dict | list):
        kind = "object" if isinstance(value, dict) else "list"
        return f"{'filled' if value else 'empty'} {kind}"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return {int: "number", float: "number", str: "text"}.get(type(value), "other")


Question = Callable[[Asking], Awaitable[Finding]]
QUESTIONS: Sequence[Question] = (
    order_of_list, page_sizes, ref_filter, postcode_filter, people_in_lists, birth_dates,
    forms_of_values, crm_fields, ids_and_refusals, zone_of_changes, clock, rate_limit,
)  # fmt: skip
"""In this order; what counts all answers comes last."""


async def ask_all(asking: Asking, say: Callable[[Finding], None]) -> list[Finding]:
    """Ask everything; a question that fails is a finding, too.

    Raises:
        WillSuiteError: not even the list can be had.
    """
    await asking.take_sample()
    findings = []
    for question in QUESTIONS:
        try:
            finding = await question(asking)
        except (AnswerLostError, UnreachableError, TooLongError) as error:
            doc = (question.__doc__ or "").rstrip(".")
            finding = Finding(f"{doc}?", f"Not answered: {type(error).__name__}.")
        say(finding)
        findings.append(finding)
    return findings
