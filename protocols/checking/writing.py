"""The questions that only a change answers, asked of one case that was made for it.

Belongs here: two changes that are taken back. Does not: questions that reading answers
(`questions.py`).

A case is changed in its notes and CRM values and set back; a process that is killed in between
leaves it changed. So it must be a case of nobody.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from protocols.checking.asking import Asking, Finding
from willsuite.errors import AnswerLostError, TooLongError, UnreachableError
from willsuite.ids import checked_id

ADDED_TO_NOTES = " (make check-account)"
_QUARTER = timedelta(minutes=15)


async def ask_by_writing(asking: Asking, case_id: str) -> list[Finding]:
    """What becomes of CRM values that an update doesn't name, and in which zone changes are listed.

    Raises:
        WillSuiteError: the case can't be had, or `case_id` can't be an id.
    """
    path = f"/cases/{checked_id(case_id)}"
    case = await asking.case(case_id)
    findings = []
    for ask in (_meta_update, _change_listed):
        try:
            findings.append(await ask(asking, path, case))
        except (AnswerLostError, UnreachableError, TooLongError) as error:
            answer = f"Not answered: {type(error).__name__}; look whether the case is as before."
            findings.append(Finding(f"{(ask.__doc__ or '').rstrip('.')}?", answer))
    return findings


async def _meta_update(asking: Asking, path: str, case: Mapping[str, Any]) -> Finding:
    """Whether CRM values stay that an update doesn't name."""
    question = "Do CRM values stay that an update doesn't name?"
    meta = case.get("meta")
    filled = {key: value for key, value in meta.items() if value} if isinstance(meta, dict) else {}
    if len(filled) < 2:
        return Finding(question, "Not answered: the case needs two CRM fields with values.")
    name = min(filled)
    # its own value: where the others stay, nothing is changed at all
    lost = True
    try:
        status = await asking.patch(path, {"meta": {name: filled[name]}})
        after = (await asking.case(case["id"])).get("meta")
        after = after if isinstance(after, dict) else {}
        lost = any(after.get(key) != value for key, value in filled.items())
    finally:
        if lost:
            await asking.patch(path, {"meta": filled})
    values = {"status": status, "merges": not lost and status < 300}
    if not 200 <= status < 300:
        return Finding(question, f"Not answered: the change was refused ({status}).", values)
    if lost:
        answer = "No: they are lost (and were set again)."
        return Finding(question, answer, values, "Nothing: updates send them along.")
    return Finding(question, "Yes.", values, "Nothing: updates find it out by themselves.")


async def _change_listed(asking: Asking, path: str, case: Mapping[str, Any]) -> Finding:
    """In which zone updatedAfter is read, by a change."""
    question = "In which zone is updatedAfter read, and is it inclusive? (by a change)"
    notes = case.get("notes")
    if not notes or not isinstance(notes, str) or not case.get("ref"):
        return Finding(question, "Not answered: the case needs notes and a reference.")
    try:
        status = await asking.patch(path, {"notes": notes + ADDED_TO_NOTES})
        changed_at = asking.server_now
        listed = await asking.last_change(case) if 200 <= status < 300 else None
    finally:
        await asking.patch(path, {"notes": notes})
    if not 200 <= status < 300:
        return Finding(question, f"Not answered: the change was refused ({status}).")
    if listed is None:
        return Finding(question, "Not answered: the filters don't show the change.")
    offset = round((listed - changed_at) / _QUARTER) * _QUARTER
    seconds = round((listed - offset - changed_at).total_seconds())
    hours = offset / timedelta(hours=1)
    values = {"zone_offset_hours": hours, "listed_seconds_after_change": seconds}
    inclusive = "it is" if seconds >= 0 else "it may not be, or changes are stamped earlier"
    return Finding(
        question,
        f"Now {hours:+g} h from UTC (in winter London is UTC, too: ask in summer); inclusive: "
        f"{inclusive} (listed until {seconds:+d} s from the change).",
        values,
        "Where it is 0 h in summer too, overlap_hours=1 is enough for incremental exports."
        if not hours
        else "Leave overlap_hours at 26.",
    )
