"""How the parameters of a flow look in the form of Prefect's UI, and what the form refuses.

Belongs here: the order, titles and limits of the fields. Does not: what each of them means (the
docstring of its flow, which the form shows), or checking them (`flows/parameters.py`, which a call
from Python passes through as well).

What everybody needs comes first, and what hardly anybody does at the end. A field that may stay
empty is a plain one: Prefect would make two tabs of it, "str" and "None".
"""

from dataclasses import dataclass, field
from typing import Any

from prefect import Flow
from prefect.utilities.callables import ParameterSchema

from willsuite.client import MAX_BATCH


@dataclass(frozen=True)
class Field:
    """One field: its title, and limits in the words of JSON schema."""

    title: str
    limits: dict[str, Any] = field(default_factory=dict)


_ABOVE_0 = {"exclusiveMinimum": 0}
FIELDS = {
    "source": Field("File"),
    "connections": Field("WillSuite connections"),
    "mode": Field("How much is read"),
    "dry_run": Field("Only plan"),
    "approve": Field("Ask before anything is sent"),
    "connection": Field("WillSuite connection"),
    "ref": Field("Only this reference"),
    "postcode": Field("Only this postcode"),
    "updated_after": Field("Only what was changed since"),
    "filters_file": Field("File with filters"),
    "recreate": Field("Make anew what can't be changed"),
    "resolve": Field("What became of uncertain rows"),
    "verify": Field("Read back"),
    "on_reject": Field("When rows are rejected"),
    "outcomes_csv": Field("Outcomes for Excel, too"),
    "output": Field("Folder for results"),
    "extra": Field("Unknown columns"),
    "sheet": Field("Sheet"),
    "hidden": Field("Hidden rows and columns"),
    "encoding": Field("Encoding of a CSV file"),
    "blank_words": Field("Words for nothing"),
    "derive_ref_from": Field("Columns to make references of"),
    "max_people": Field("Most customers of a case", {"minimum": 1}),
    "max_hours": Field("Longest appointment, hours", _ABOVE_0),
    "allow_past": Field("Messages about what has begun"),
    "compare_to": Field("Compare with"),
    "exports": Field("Folder of exports"),
    "journal": Field("Folder of the journal"),
    "new_journal": Field("Begin a new journal"),
    "accept_swapped_recipients": Field("Recipients are shown swapped"),
    "at_once": Field("Accounts at once", {"minimum": 1}),
    "deployment": Field("Deployment for one account"),
    "keep_last": Field("Snapshots to keep", {"minimum": 1}),
    "full_after": Field("A full export after, days", {"minimum": 0}),
    "overlap_hours": Field("Overlap, hours", {"minimum": 0, "maximum": 24 * 365}),
    "allow_unverified": Field("Publish what never settled"),
    "allow_shrink": Field("Publish with far fewer cases"),
    "group_readable": Field("Readable for the group"),
    "batch_size": Field("Cases in a job", {"minimum": 1, "maximum": MAX_BATCH}),
    "job_poll_seconds": Field("Ask about a job every, seconds", _ABOVE_0),
    "job_timeout_seconds": Field("A job is stuck after, seconds", _ABOVE_0),
    "abandon_jobs": Field("Jobs that never end"),
    "approve_over": Field("Ask where more rows would be sent than", {"minimum": 0}),
    "approve_within_hours": Field("Wait for an answer, hours", _ABOVE_0),
    "plan": Field("Approved plan"),
    "wait_seconds": Field("Wait for other runs, seconds", {"minimum": 0}),
    "first_run": Field("Nothing was ever sent"),
}
"""By parameter, in the order of the form; those that aren't here come last, under their names."""


def as_form(flow: Flow[..., Any]) -> ParameterSchema:
    """The schema of the flow's parameters, from which Prefect makes the form, in our shape."""
    schema = flow.parameters.model_copy(deep=True)
    order = [*FIELDS, *schema.properties]
    for name, shown in schema.properties.items():
        shown["position"] = order.index(name)
        _leave_nothing_out(shown)
        if name in FIELDS:
            title = FIELDS[name].title
            # messages call a parameter by its name
            is_name = title.casefold() == name
            shown["title"] = title if is_name else f"{title} \N{MIDDLE DOT} {name}"
            shown.update(FIELDS[name].limits)
    return schema


def _leave_nothing_out(shown: dict[str, Any]) -> None:
    """Make a plain field of one that may be nothing; left empty, it still is (null is accepted)."""
    kinds = [kind for kind in shown.get("anyOf", ()) if kind.get("type") != "null"]
    if shown.get("default", "") is None:
        del shown["default"]
        if len(kinds) == 1:
            del shown["anyOf"]
            shown.update(kinds[0])
