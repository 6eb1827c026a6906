"""An account is asked what it does, in whatever variant it is; and nobody is in the report."""

import asyncio
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands.check_account import check
from sandbox.faults import Drop, Fault, Status
from sandbox.people import CRM_FIELDS
from sandbox.server import Sandbox
from sandbox.views import Views
from tasks.policy import RunError
from willsuite.errors import AuthenticationError, ConfigurationError

StartSandbox = Callable[..., Sandbox]


def asked(tmp_path: Path, write: str = "") -> dict[str, dict[str, Any]]:
    """The findings, by the beginning of their questions."""
    given = Namespace(connection="", output=str(tmp_path / "report"), write=write)
    files = asyncio.run(check(given))
    findings = json.loads(files[1].read_text())["findings"]
    markdown = files[0].read_text()
    assert all(f"## {each['question']}\n\n{each['answer']}" in markdown for each in findings)
    return {each["question"].partition("?")[0]: each for each in findings}


def found(findings: dict[str, dict[str, Any]], words: str) -> dict[str, Any]:
    (finding,) = [each for question, each in findings.items() if words in question]
    return finding


def test_an_account_as_the_documents_have_it_is_asked_by_reading_alone(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=120)
    findings = asked(tmp_path)
    assert {request.method for request in sandbox.requests if "token" not in request.path} == {
        "GET"
    }
    assert found(findings, "order")["values"] == {
        "order": "by id, ascending", "is_same_twice": True
    }  # fmt: skip
    sizes = found(findings, "perPage")["values"]
    assert sizes["perPage 101"] == {"status": 200, "rows": 100, "per_page": 100}
    assert sizes["page 0"]["status"] == 400
    matched = found(findings, "filter ref")["values"]
    assert [form for form, is_found in matched.items() if is_found] == [
        "whole", "in other case", "with blanks around"
    ]  # fmt: skip
    assert found(findings, "filter postcode")["values"]["without the blank"]
    assert found(findings, "all customers")["values"]["with_fewer_people"] == 0
    assert set(found(findings, "dates of birth")["values"]) == {"YYYY-MM-DD", "none"}
    assert found(findings, "crm-fields")["values"]["fields"] == len(CRM_FIELDS)
    assert found(findings, "capital letters")["values"]["in_capitals"] == 200
    assert found(findings, "flags")["values"]["is_active"] == {"number": 100}
    assert "No: " in found(findings, "rate limit")["answer"]
    assert found(findings, "have a Date")["values"]["has_date"]


def test_no_value_of_any_case_is_in_the_report(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox = start_sandbox(cases=60)
    asked(tmp_path)
    report = "".join(path.read_text() for path in (tmp_path / "report").iterdir())
    for case_id in sandbox.store.ids:
        case: Any = sandbox.store.case(case_id)
        words = [case_id, case["ref"], case["full_names"], case["postcode"], case["notes"]]
        for person in case["customers"]:
            words += [person[name] for name in ("id", "tel_1", "email", "last_name", "address_1")]
        assert [word for word in words if word and len(word) > 3 and word in report] == []


@pytest.mark.parametrize(
    ("order", "said"), [("newest", "by the last change, newest first"),
                        ("oldest", "by the last change, oldest first")],
)  # fmt: skip
def test_an_order_by_time_is_told(
    start_sandbox: StartSandbox, tmp_path: Path, order: str, said: str
) -> None:
    sandbox = start_sandbox(cases=40, order=order)
    sandbox.store.change(sandbox.store.ids[20], notes="changed")  # so references come otherwise
    assert found(asked(tmp_path), "order")["values"]["order"] == said


def test_a_list_that_leaves_people_and_fields_out_is_told(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    hidden = Views(listed_people="first", list_hides=("tel_1",), birth_dates="day first")
    start_sandbox(cases=60, views=hidden, max_per_page=50, words_as_flags=True)
    findings = asked(tmp_path)
    people = found(findings, "all customers")
    assert people["values"]["with_fewer_people"] > 0
    assert "tel_1" in people["values"]["hidden_fields"]
    assert "read such cases by their ids" in people["setting"]
    assert "DD/MM/YYYY" in found(findings, "dates of birth")["values"]
    assert found(findings, "perPage")["values"]["perPage 100"]["rows"] == 50
    assert "true" in found(findings, "flags")["values"]["is_active"]


def test_a_rate_limit_that_is_announced_is_told(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=20, requests_per_minute=900)
    limit = found(asked(tmp_path), "rate limit")
    assert limit["values"]["x-ratelimit-limit"] == "900"
    assert limit["setting"].startswith("Nothing")


def test_a_zone_ahead_of_utc_shows_where_somebody_has_changed_a_case_just_now(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=20, updated_zone="Asia/Tokyo")
    sandbox.store.change(sandbox.store.ids[3], notes="changed")
    zone = found(asked(tmp_path), "zone is updatedAfter")
    assert "Ahead of UTC by about 9 h" in zone["answer"]


@pytest.mark.parametrize(
    ("update", "zone", "merges", "offset"),
    [("merge", "UTC", True, 0.0), ("replace", "Asia/Tokyo", False, 9.0)],
)
def test_a_case_made_for_it_shows_what_only_a_change_can_and_is_set_back(
    start_sandbox: StartSandbox, tmp_path: Path, update: str, zone: str, merges: bool, offset: float
) -> None:
    sandbox = start_sandbox(cases=20, meta_update=update, updated_zone=zone)
    case_id = sandbox.store.ids[3]
    values = {CRM_FIELDS[1]["id"]: "2020-01-31", CRM_FIELDS[3]["id"]: "009"}
    sandbox.store.change(case_id, meta=values, notes="A case of nobody")
    before = sandbox.store.case(case_id)
    findings = asked(tmp_path, write=case_id)
    assert sandbox.store.case(case_id) == before
    assert found(findings, "CRM values stay")["values"] == {"status": 200, "merges": merges}
    listed = found(findings, "is it inclusive")["values"]
    assert listed["zone_offset_hours"] == offset
    assert abs(listed["listed_seconds_after_change"]) <= 2
    assert {request.path.rpartition("/")[2] for request in sandbox.requests
            if request.method == "PATCH"} == {case_id}  # fmt: skip


def test_a_change_that_is_refused_is_a_finding_and_no_more(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=20)
    case_id = sandbox.store.ids[3]
    values = {CRM_FIELDS[1]["id"]: "2020-01-31", CRM_FIELDS[3]["id"]: "009"}
    sandbox.store.change(case_id, meta=values, notes="A case of nobody")
    sandbox.faults = [Fault(Status(403), method="PATCH", times=None)]
    findings = asked(tmp_path, write=case_id)
    assert "the change was refused (403)" in found(findings, "CRM values stay")["answer"]
    assert "the change was refused (403)" in found(findings, "is it inclusive")["answer"]
    absent = asked(tmp_path, write="no-such-case")
    assert "needs two CRM fields" in found(absent, "CRM values stay")["answer"]


def test_a_case_is_set_back_though_an_answer_was_lost(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=20, meta_update="replace")
    case_id = sandbox.store.ids[3]
    values = {CRM_FIELDS[1]["id"]: "2020-01-31", CRM_FIELDS[3]["id"]: "009"}
    sandbox.store.change(case_id, meta=values, notes="A case of nobody")
    before = sandbox.store.case(case_id)
    sandbox.faults = [Fault(Drop(), path=f"/cases/{case_id}", method="GET", skip=1)]
    findings = asked(tmp_path, write=case_id)
    assert "look whether the case is as before" in found(findings, "CRM values stay")["answer"]
    assert sandbox.store.case(case_id) == before


def test_a_question_without_an_answer_does_not_stop_the_others(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=20)
    sandbox.faults = [Fault(Drop(), path="/crm-fields")]
    findings = asked(tmp_path)
    answers = [each["answer"] for each in findings.values()]
    assert answers.count("Not answered: AnswerLostError.") == 1
    assert len(findings) == 12


def test_what_keeps_everything_from_being_asked_is_one_sentence(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="WILLSUITE_CLIENT_ID"):
        asked(tmp_path)
    start_sandbox(cases=0)
    with pytest.raises(RunError, match="WillSuite lists no case"):
        asked(tmp_path)
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "wrong")
    with pytest.raises(AuthenticationError):
        asked(tmp_path)
    assert not (tmp_path / "report").exists()
