"""Appointments kept in step, through the real engine and against a server on a socket."""

import asyncio
import csv
import json
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from accounts import forget_in_prefect
from ended_runs import EndedRun, Row, write_csv
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from python_calamine import CalamineWorkbook

from flows.sync_appointments import sync_appointments
from flows.writing import IncompleteRunError
from protocols.account import journal as journals
from protocols.account.journal import Journal, open_journal
from sandbox.faults import (
    Action,
    Applied,
    Change,
    Drip,
    Drop,
    Fault,
    Html,
    Late,
    Partial,
    Status,
    Truncate,
)
from sandbox.server import Options, Sandbox
from sandbox.store import Store
from schemas.issues import SourceError
from tasks.policy import RunError
from willsuite import load_settings
from willsuite.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]

CASES = Sandbox(Options(cases=30)).store.ids
"""Ids of the cases that every sandbox of these tests has."""
ADVISER, OTHER_ADVISER = "adviser@example.org", "second.adviser@example.org"
SMS = {"sms_recipient": "07700900123", "sms_confirmation": "yes"}


NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""Before all times of the files, about which messages may thus be sent."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("protocols.reading.lookup.probe_ref_filter.retry_delay_seconds", 0)
    monkeypatch.setattr("schemas.appointment_file._now", lambda: NOW)


@pytest.fixture
def sandbox(start_sandbox: StartSandbox) -> Sandbox:
    return start_sandbox(cases=30)


class Run(EndedRun):
    """What one run of the flow left."""

    @property
    def outcomes(self) -> dict[str, int]:
        """Rows by outcome; they are all rows."""
        found = self.summary["outcomes"]
        assert sum(found.values()) == self.summary["rows"] == self.table.num_rows
        return found

    @property
    def only(self) -> dict[str, Any]:
        """The one row."""
        [row] = self.table.to_pylist()
        return row

    @property
    def end(self) -> tuple[str, str | None]:
        """Outcome and code of the one row."""
        return self.only["outcome"], self.only["code"]


def sync(*rows: Row, **parameters: Any) -> Run:
    return sync_file(write_csv("appointments.csv", rows), **parameters)


def sync_file(source: Path | str, output: str = "runs", **parameters: Any) -> Run:
    return Run.of(sync_appointments, source, output, **parameters)


def row_of(number: int, **cells: str) -> Row:
    """A plain good row; the location tells the server's appointments apart."""
    key = f"B-{number:03d}"
    return {
        "key": key,
        "case_id": CASES[number],
        "adviser_email": ADVISER,
        "start_time": "2026-07-20 09:00",
        "end_time": "2026-07-20 10:00",
        "location": key,
    } | cells


def rows_of(*numbers: int, **cells: str) -> list[Row]:
    return [row_of(number, **cells) for number in numbers]


def deletion_of(number: int, **cells: str) -> Row:
    return {"key": f"B-{number:03d}", "action": "delete"} | cells


def there(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """The appointments that aren't deleted, by their location, which they don't share."""
    kept = [each for each in sandbox.appointments.values() if not each["deleted_at"]]
    by_location = {each["location"]: each for each in kept}
    assert len(by_location) == len(kept)
    return by_location


def asked(sandbox: Sandbox) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, key and body of all writes that came since it was asked for last."""
    writes = [
        (seen.method, key_of(sandbox, seen.method, seen.path, seen.body), seen.body)
        for seen in sandbox.requests
        if seen.method != "GET" and seen.path != "/oauth/token"
    ]
    sandbox.requests.clear()
    return [(method, key, json.loads(body or b"{}")) for method, key, body in writes]


def key_of(sandbox: Sandbox, method: str, path: str, body: bytes) -> str:
    """The location of the appointment that a request is about."""
    if method == "POST":
        return str(json.loads(body).get("location"))
    appointment = sandbox.appointments.get(path.rpartition("/")[2], {})
    return str(appointment.get("location"))


def told(sandbox: Sandbox) -> list[tuple[str, str]]:
    """The messages that went out, with what caused them."""
    return [(message.kind, message.cause) for message in sandbox.messages]


class Aimed:
    """Faults aimed at keys: the n-th such request about a key gets the n-th of its actions.

    For a sandbox without latency, which looks for a fault as soon as a request is there.
    """

    def __init__(
        self, sandbox: Sandbox, method: str, script: Mapping[str, Sequence[Action | None]]
    ) -> None:
        self._sandbox = sandbox
        self._method = method
        self._left = {key: list(actions) for key, actions in script.items()}
        self.action: Action
        sandbox.faults.append(self)  # type: ignore[arg-type]

    def matches(self, method: str, path: str, _page: str | None) -> bool:
        if method != self._method or path == "/oauth/token":
            return False
        left = self._left.get(key_of(self._sandbox, method, path, self._sandbox.requests[-1].body))
        action = left.pop(0) if left else None
        if action is not None:
            self.action = action
        return action is not None


def journal_file() -> Path:
    [path] = Path("data/journal").glob("*.sqlite3")
    return path


# -- what arrives ------------------------------------------------------------------------------


RICH = {
    "Key": "CAL/2026-17",
    "action": "",
    "case_id": CASES[3],
    "Adviser Email": "Adviser@Example.org",
    "start_time": "20/07/2026 9:05",
    "end_time": "20/07/2026 10:35",
    "location": "1 Nowhere Lane",
    "notes": "Line one\nline two, with a comma",
    "email_recipient": "sian@example.org",
    "email_confirmation": "Yes",
    "email_notification": "1",
    "sms_recipient": "+44 7700 900123",
    "sms_confirmation": "TRUE",
    "sms_notification": "no",
    "zoom_meeting": "yes",
}
RICH_BODY = {
    "adviser_email": "Adviser@Example.org",
    "start_time": "2026-07-20 09:05:00",
    "end_time": "2026-07-20 10:35:00",
    "location": "1 Nowhere Lane",
    "notes": "Line one\nline two, with a comma",
    "email_recipient": "sian@example.org",
    "email_confirmation": True,
    "email_notification": True,
    "sms_recipient": "+44 7700 900123",
    "sms_confirmation": True,
    "sms_notification": False,
    "zoom_meeting": True,
}


def test_every_cell_of_a_row_is_in_the_appointment_and_its_messages_go_out_once(
    sandbox: Sandbox,
) -> None:
    run = sync(RICH)
    assert asked(sandbox) == [("POST", "1 Nowhere Lane", RICH_BODY)]
    [made] = sandbox.appointments.values()
    assert {name: made[name] for name in RICH_BODY if name != "zoom_meeting"} == {
        name: value for name, value in RICH_BODY.items() if name != "zoom_meeting"
    }
    assert made["join_url"]
    assert (run.only["case_id"], run.only["appointment_id"]) == (CASES[3], made["id"])
    messages = ["email_confirmation", "email_notification", "sms_confirmation"]
    assert told(sandbox) == [(kind, "POST") for kind in messages]


def test_nobody_is_written_to_about_what_has_begun_already_unless_that_is_allowed(
    sandbox: Sandbox,
) -> None:
    past = {"start_time": "2009-07-20 09:00", "end_time": "2009-07-20 10:00"}
    run = sync(row_of(1, **past, **SMS))
    assert run.end == ("rejected", "in_the_past")
    assert asked(sandbox) == told(sandbox) == []
    assert sync(row_of(1, **past, **SMS), allow_past=True).end == ("created", None)
    assert told(sandbox) == [("sms_confirmation", "POST")]
    assert sync(row_of(1, **past, **SMS)).end == ("unchanged", None)


WITH_MESSAGES = {"email_recipient": "sian@example.org", "email_confirmation": "yes", **SMS}


@pytest.mark.parametrize(
    ("server", "ours", "code", "sent"),
    [
        # in winter the two are alike, so that those rows show nothing
        ("UTC", "Europe/London", "read_as_utc", 2),
        ("America/New_York", "Europe/London", "shifted", 1),
        ("Europe/London", "America/New_York", "read_as_utc", 1),
    ],
)
def test_the_first_time_that_comes_back_as_another_one_is_the_last_that_is_sent(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    ours: str,
    code: str,
    sent: int,
) -> None:
    sandbox = start_sandbox(cases=30, appointment_zone=server)
    monkeypatch.setenv("WILLSUITE_TIMEZONE", ours)
    winter = {"start_time": "2026-01-20 09:00", "end_time": "2026-01-20 10:00"}
    rows = [*rows_of(1, **winter, **SMS), *rows_of(*range(2, 13), **SMS)]
    rows += rows_of(13, 14, **winter)
    run = sync(*rows)
    assert len(sandbox.appointments) == len(sandbox.messages) == sent
    assert run.outcomes["not_attempted"] == 14 - sent
    odd = run.by_key[f"B-{sent:03d}"]
    assert (odd["outcome"], odd["code"]) == ("partial", code)
    assert "look at" in odd["message"]
    assert odd["message"] in run.by_key["B-012"]["message"]
    assert run.state.is_failed()
    assert f"Nothing was sent after row {sent + 1}. WillSuite gives" in str(run.state.message)
    # run again as it is: the same one shows it again, and nobody is told anything
    again = sync(*rows)
    assert again.outcomes.get("partial") == 1
    assert len(sandbox.appointments) == len(sandbox.messages) == sent
    # where it is so for good, the setting says so, and nothing is said
    monkeypatch.setenv("WILLSUITE_TIMEZONE", server)
    settled = sync(*rows)
    assert settled.state.is_completed()
    assert settled.outcomes["created"] == 14 - sent
    assert len(told(sandbox)) == 12
    times = {key: each["start_time"] for key, each in there(sandbox).items()}
    assert times["B-001"] == "2026-01-20 09:00:00"
    assert times["B-012"] == "2026-07-20 09:00:00"


def test_a_change_whose_time_comes_back_as_another_one_stops_the_run_before_anything_is_made(
    start_sandbox: StartSandbox,
) -> None:
    winter = {"start_time": "2026-01-20 09:00", "end_time": "2026-01-20 10:00"}
    sandbox = start_sandbox(cases=30, appointment_zone="UTC")
    sync(*rows_of(*range(1, 10), **winter))
    asked(sandbox)
    run = sync(*rows_of(*range(1, 10)), *rows_of(*range(10, 20), **SMS))
    assert run.outcomes == {"partial": 1, "not_attempted": 18}
    assert len(asked(sandbox)) == 1
    assert told(sandbox) == []


@pytest.mark.parametrize("swapped", ["in_answers", "really"])
def test_the_first_answer_that_takes_the_adviser_for_the_recipient_is_the_last(
    start_sandbox: StartSandbox, swapped: str
) -> None:
    sandbox = start_sandbox(cases=30, swapped_emails=swapped)
    rows = rows_of(*range(1, 13), **WITH_MESSAGES)
    run = sync(*rows)
    assert len(sandbox.messages) == 2
    assert run.ends_by_key["B-001"] == ("partial", "swapped", 1)
    assert "accept_swapped_recipients=True" in run.by_key["B-001"]["message"]
    assert "accept_swapped_recipients=True" in str(run.state.message)
    assert (run.outcomes["not_attempted"], len(sandbox.appointments)) == (11, 1)
    accepted = sync(*rows, accept_swapped_recipients="yes")
    assert accepted.state.is_completed()
    assert len(there(sandbox)) == 12
    assert len(sandbox.messages) == 24


def test_answers_that_show_what_was_sent_are_not_remarked_on(sandbox: Sandbox) -> None:
    run = sync(*rows_of(*range(1, 13), **WITH_MESSAGES))
    assert run.outcomes == {"created": 12}
    assert run.summary["codes"] == {}


# -- keys --------------------------------------------------------------------------------------


def test_keys_that_differ_in_case_are_two_bookings_and_the_right_one_is_deleted(
    sandbox: Sandbox,
) -> None:
    monday, tuesday = (
        row_of(1, key="AAMkAGI0w=", location="Monday"),
        row_of(1, key="AAMkAGI0W=", location="Tuesday"),
    )
    assert sync(monday).outcomes == {"created": 1}
    assert sync(tuesday).outcomes == {"created": 1}
    assert set(there(sandbox)) == {"Monday", "Tuesday"}
    assert sync(monday, tuesday).outcomes == {"unchanged": 2}
    assert sync(deletion_of(1, key="AAMkAGI0W=")).outcomes == {"deleted": 1}
    assert set(there(sandbox)) == {"Monday"}
    assert sync(deletion_of(1, key="aamkagi0w=")).end == ("unchanged", "never_made")
    assert set(there(sandbox)) == {"Monday"}


def test_a_journal_that_took_such_keys_for_one_makes_nothing_twice(sandbox: Sandbox) -> None:
    monday = row_of(1, key="AAMkAGI0w=", location="Monday")
    tuesday = row_of(1, key="AAMkAGI0W=", location="Tuesday")
    sync(monday)
    with open_journal(journal_file(), writing=True) as journal:
        names = [journal._folded_key("AAMkAGI0w="), journal._key("AAMkAGI0w=")]
        with journal._connection as connection:
            connection.execute("UPDATE booking SET key = ? WHERE key = ?", names)
            connection.execute("PRAGMA user_version = 1")
    both = sync(monday, tuesday)
    assert {end[:2] for end in both.ends} == {("conflict", "key_ambiguous")}
    assert sync(monday, dry_run=True).end == ("unchanged", None)
    assert sync(monday).end == ("unchanged", None)
    assert sync(monday, tuesday).outcomes == {"unchanged": 1, "created": 1}
    assert set(there(sandbox)) == {"Monday", "Tuesday"}


# -- redirects and passing 404s ----------------------------------------------------------------

REDIRECT = Status(302, {"Location": "/login"}, body="")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_appointment_that_was_made_and_answered_with_a_redirect_is_not_made_again(
    sandbox: Sandbox, status: int
) -> None:
    sandbox.faults = [Fault(Applied(Status(status, {"Location": "/"})), path="/cases/*", times=1)]
    rows = rows_of(1, 2, 3, **SMS)
    run = sync(*rows)
    assert run.ends[0] == ("unknown", "creation_unsure", 1)
    assert run.outcomes == {"unknown": 1, "not_attempted": 2}
    assert "was redirected" in str(run.state.message)
    again = sync(*rows)
    assert again.outcomes == {"unknown": 1, "created": 2}
    assert len(sandbox.appointments) == len(sandbox.messages) == 3


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_redirected_change_or_deletion_stops_the_run_and_is_repeated_by_the_next(
    sandbox: Sandbox, method: str
) -> None:
    sync(*rows_of(1, 2))
    rows = rows_of(1, 2, notes="New") if method == "PATCH" else [deletion_of(1), deletion_of(2)]
    sandbox.faults = [Fault(Applied(REDIRECT), method=method)]
    run = sync(*rows, row_of(3))
    assert run.outcomes["unknown"] == 1
    assert "was redirected" in str(run.state.message)
    done = sync(*rows, row_of(3))
    assert done.state.is_completed()
    assert len(there(sandbox)) == (3 if method == "PATCH" else 1)


NOT_FOUND = Status(404, body='{"message": "Not Found"}')


@pytest.mark.parametrize("recreate", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_a_404_that_passes_is_not_believed(sandbox: Sandbox, recreate: bool, times: int) -> None:
    """As long as it lasts; a server that is being updated doesn't know the case, either."""
    sync(*rows_of(1, 2, **SMS))
    sandbox.faults = [
        Fault(NOT_FOUND, "/cases/*", method="PATCH", times=times),
        Fault(NOT_FOUND, "/cases/*", method="DELETE", times=times),
        Fault(NOT_FOUND, "/cases/*", method="GET", times=None if times == 2 else 0),
    ]
    rows = [row_of(1, notes="New", **SMS), deletion_of(2)]
    run = sync(*rows, recreate=recreate)
    assert len(sandbox.appointments) == len(sandbox.messages) == 2
    if times == 1:
        assert run.outcomes == {"updated": 1, "deleted": 1}
    sandbox.faults = []
    sync(*rows, recreate=recreate)
    assert len(sandbox.appointments) == len(sandbox.messages) == 2
    assert there(sandbox)["B-001"]["notes"] == "New"
    assert set(there(sandbox)) == {"B-001"}


@pytest.mark.parametrize("recreate", [False, True])
def test_where_nothing_is_found_any_more_it_is_not_known_what_became_of_a_row(
    sandbox: Sandbox, recreate: bool
) -> None:
    sync(*rows_of(1, 2))
    sandbox.faults = [Fault(NOT_FOUND, "/cases/*", times=None)]
    run = sync(row_of(1, notes="New"), deletion_of(2), recreate=recreate)
    assert {end[:2] for end in run.ends} == {("unknown", "case_missing")}
    assert len(there(sandbox)) == len(sandbox.appointments) == 2


def test_a_run_in_which_all_was_done_though_answers_were_lost_is_completed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(*rows_of(1, 2, 3))
    sandbox.faults = [Fault(Applied(Status(500)), method="DELETE", times=3)]
    run = sync(*[deletion_of(number) for number in (1, 2, 3)])
    assert run.outcomes == {"deleted": 3}
    assert run.state.is_completed()
    assert "failed" not in str(run.state.message)


def test_each_row_has_an_outcome_and_the_counts_are_in_the_summary_and_the_state(
    sandbox: Sandbox,
) -> None:
    sync(*rows_of(1, 2, 3, 4))
    rows = [
        row_of(1),
        row_of(2, notes="New"),
        deletion_of(3),
        row_of(4, adviser_email=OTHER_ADVISER),
        row_of(5),
        row_of(6, start_time="at nine"),
        deletion_of(7),
    ]
    run = sync(*rows)
    assert [(field.name, str(field.type)) for field in run.table.schema] == [
        ("row", "int64"),
        ("key", "string"),
        ("action", "string"),
        ("outcome", "string"),
        ("case_id", "string"),
        ("code", "string"),
        ("message", "string"),
        ("attempts", "int32"),
        ("appointment_id", "string"),
    ]
    ids = {each["location"]: each["id"] for each in sandbox.appointments.values()}
    assert [
        [cell for name, cell in row.items() if name != "message"] for row in run.table.to_pylist()
    ] == [
        [2, "B-001", "none", "unchanged", CASES[1], None, 0, ids["B-001"]],
        [3, "B-002", "update", "updated", CASES[2], None, 1, ids["B-002"]],
        [4, "B-003", "delete", "deleted", CASES[3], None, 1, ids["B-003"]],
        [5, "B-004", "none", "conflict", CASES[4], "fixed", 0, ids["B-004"]],
        [6, "B-005", "create", "created", CASES[5], None, 1, ids["B-005"]],
        [7, "B-006", "none", "rejected", None, "time_unreadable", 0, None],
        [8, "B-007", "none", "unchanged", None, "never_made", 0, None],
    ]
    assert run.summary["rows"] == 7
    assert run.outcomes == {
        "created": 1, "updated": 1, "unchanged": 2, "deleted": 1, "rejected": 1, "conflict": 1,
    }  # fmt: skip
    assert run.state.is_completed()
    assert "7 rows: 1 created, 1 updated, 2 unchanged, 1 deleted" in str(run.state.message)
    assert str(run.summary["rejected_file"]) in str(run.state.message)
    assert sync(*rows, on_reject="fail").state.is_failed()


def test_a_run_leaves_private_files_and_artifacts_and_nothing_temporary(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    run = sync(*rows_of(1, 2), row_of(3, adviser_email=""))
    folder = Path(run.summary["folder"])
    assert {path.name for path in folder.iterdir()} == {"outcomes.parquet", "rejected.xlsx"}
    assert {path.name for path in Path("runs").iterdir()} == {folder.name}
    assert folder.name.startswith("sync-appointments-2")
    sync(*rows_of(1, 2), dry_run=True)  # whoever only reads the journal leaves its files private
    account = load_settings().account_name
    assert journal_file().name == f"appointments-{account}.sqlite3"
    for place in ("runs", "data/journal", "state"):
        for path in [tmp_path / place, *(tmp_path / place).rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path

    async def artifacts() -> dict[str, Any]:
        flow_run = {"any_": [run.state.state_details.flow_run_id]}
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=flow_run)  # type: ignore[arg-type]
            )
        return {str(artifact.key): artifact.data for artifact in found}

    data = asyncio.run(artifacts())
    assert data["sync-appointments-progress"] == 100
    assert "| created | 2 |" in data["sync-appointments-result"]
    assert run.summary["outcomes_file"] in data["sync-appointments-result"]


# -- again, and what has changed ---------------------------------------------------------------


def test_the_same_bookings_in_whatever_form_of_file_change_nothing_and_write_to_nobody(
    sandbox: Sandbox,
) -> None:
    rows = rows_of(1, 2, 3, email_recipient="sian@example.org", email_confirmation="yes", **SMS)
    assert sync(*rows).outcomes == {"created": 3}
    told_once = told(sandbox)
    assert len(told_once) == 6
    asked(sandbox)
    other_way = [
        dict(reversed(row.items()))
        | {
            "key": f" {row['key']} ",
            "adviser_email": "Adviser@Example.ORG",
            "email_recipient": "SIAN@example.org",
            "start_time": "20/07/2026 09:00",
            "end_time": "20/07/2026 10:00:00",
            "email_confirmation": "TRUE",
            "sms_notification": "no",
            "zoom_meeting": "",
        }
        for row in reversed(rows)
    ]
    pq.write_table(pa.Table.from_pylist(rows), "appointments.parquet")
    with xlsxwriter.Workbook("appointments.xlsx") as workbook:
        sheet = workbook.add_worksheet()
        for index, cells in enumerate([list(rows[0]), *(list(row.values()) for row in rows)]):
            sheet.write_row(index, 0, cells)
    for source in (
        write_csv("excel.csv", other_way, delimiter=";"),
        "appointments.parquet",
        "appointments.xlsx",
        "appointments.csv",
    ):
        run = sync_file(source)
        assert run.outcomes == {"unchanged": 3}, source
        assert run.state.is_completed()
    assert asked(sandbox) == []
    assert told(sandbox) == told_once


def test_a_changed_row_sends_what_changed_alone_and_blank_cells_leave_what_there_is(
    sandbox: Sandbox,
) -> None:
    sync(row_of(1, notes="Old", **SMS), row_of(2))
    asked(sandbox)
    blank = {"notes": "", "sms_recipient": "", "sms_confirmation": ""}
    moved = row_of(1, start_time="2026-07-20 09:15", **blank)
    run = sync(moved, row_of(2, notes="Added", email_recipient="sian@example.org"))
    assert run.outcomes == {"updated": 2}
    assert sorted(asked(sandbox)) == [
        ("PATCH", "B-001", {"start_time": "2026-07-20 09:15:00"}),
        ("PATCH", "B-002", {"notes": "Added", "email_recipient": "sian@example.org"}),
    ]
    first = there(sandbox)["B-001"]
    assert (first["notes"], first["sms_recipient"]) == ("Old", "07700900123")
    assert told(sandbox) == [("sms_confirmation", "POST")]
    # a column that isn't in the file is a blank cell, too; the row's own values are still known
    bare = {name: cell for name, cell in moved.items() if name != "notes"}
    assert sync(bare).end == ("unchanged", None)
    assert sync(bare | {"notes": "Old"}).end == ("unchanged", None)
    assert asked(sandbox) == []


def test_a_message_goes_out_when_a_row_begins_to_ask_for_it_and_at_no_other_change(
    sandbox: Sandbox,
) -> None:
    silent = row_of(1, sms_recipient="07700900123")
    steps = [
        ("nothing asked for", silent, None, 0),
        ("asked for", silent | {"sms_confirmation": "yes"}, {"sms_confirmation": True}, 1),
        ("moved", silent | {"sms_confirmation": "yes", "notes": "x"}, {"notes": "x"}, 1),
        ("taken back", silent | {"sms_confirmation": "no"}, {"sms_confirmation": False}, 1),
        ("still taken back", silent | {"sms_confirmation": "no"}, None, 1),
        ("asked for again", silent | {"sms_confirmation": "yes"}, {"sms_confirmation": True}, 2),
    ]
    for what, row, body, messages in steps:
        run = sync(row)
        sent = [sent for method, _, sent in asked(sandbox) if method == "PATCH"]
        assert sent == ([body] if body else []), what
        assert run.end == ("created" if what == steps[0][0] else "updated" if body else "unchanged",
                           None), what  # fmt: skip
        assert len(told(sandbox)) == messages, what
    # a flag that was never sent is off, so there is nothing to turn off
    assert sync(steps[-1][1] | {"email_notification": "no"}).end == ("unchanged", None)


def test_deleted_rows_are_deleted_once_and_can_be_made_again(sandbox: Sandbox) -> None:
    sync(*rows_of(1, 2))
    first = there(sandbox)["B-001"]["id"]
    asked(sandbox)
    # whatever else the row has, right or wrong, doesn't matter any more
    bad = row_of(1, action="Delete", start_time="long ago", case_id="", adviser_email="none")
    assert sync(bad, deletion_of(9), row_of(2)).ends_by_key == {
        "B-001": ("deleted", None, 1),
        "B-009": ("unchanged", "never_made", 0),
        "B-002": ("unchanged", None, 0),
    }
    assert asked(sandbox) == [("DELETE", "B-001", {})]
    assert sync(deletion_of(1), deletion_of(9)).outcomes == {"unchanged": 2}
    assert asked(sandbox) == []
    again = sync(row_of(1))
    assert again.end == ("created", None)
    assert again.only["appointment_id"] == there(sandbox)["B-001"]["id"] != first
    assert sync(deletion_of(1)).end == ("deleted", None)
    assert set(there(sandbox)) == {"B-002"}


def test_what_somebody_else_deleted_is_deleted_or_a_conflict_until_it_is_to_be_made_anew(
    sandbox: Sandbox,
) -> None:
    sync(*rows_of(1, 2, **SMS))
    for appointment in sandbox.appointments.values():
        appointment["deleted_at"] = "2026-01-01T00:00:00.000000Z"
    changed = row_of(2, notes="New", **SMS)
    run = sync(deletion_of(1), changed)
    assert run.ends_by_key == {
        "B-001": ("deleted", "was_gone", 2),
        "B-002": ("conflict", "gone", 2),
    }
    assert "recreate=True" in run.by_key["B-002"]["message"]
    assert run.state.is_completed()
    assert sync(changed).end == ("conflict", "gone")
    assert there(sandbox) == {}
    assert sync(changed, recreate=True).only["outcome"] == "created"
    assert there(sandbox)["B-002"]["notes"] == "New"
    assert sync(changed, recreate=True).end == ("unchanged", None)


# -- made outside ------------------------------------------------------------------------------


@pytest.fixture
def outside(sandbox: Sandbox) -> str:
    """The id of an appointment that somebody made by hand, of the eighth case."""
    row = {name: cell for name, cell in row_of(8).items() if name != "key"}
    sync(row | {"key": "by hand"}, journal="elsewhere")
    shutil.rmtree("elsewhere")
    shutil.rmtree("state")
    forget_in_prefect(load_settings().account_name)
    asked(sandbox)
    [made] = sandbox.appointments
    return made


def test_an_appointment_made_outside_is_changed_once_and_then_known(
    sandbox: Sandbox, outside: str
) -> None:
    row = row_of(8, appointment_id=outside, notes="Ours", zoom_meeting="yes", **SMS)
    assert sync(row).end == ("updated", None)
    [(method, key, body)] = asked(sandbox)
    assert (method, key) == ("PATCH", "B-008")
    # of its values nothing is known, so all go that can go
    assert body == {
        "start_time": "2026-07-20 09:00:00",
        "end_time": "2026-07-20 10:00:00",
        "location": "B-008",
        "notes": "Ours",
        "sms_recipient": "07700900123",
        "sms_confirmation": True,
    }
    assert told(sandbox) == [("sms_confirmation", "PATCH")]
    assert sync(row).end == ("unchanged", None)
    without_id = {name: cell for name, cell in row.items() if name != "appointment_id"}
    assert sync(without_id | {"notes": "New"}).end == ("updated", None)
    other = sync(row | {"appointment_id": "another-1"})
    assert other.end == ("conflict", "other_appointment")
    assert outside in other.only["message"]
    assert len(asked(sandbox)) == 1
    assert sync(deletion_of(8)).end == ("deleted", None)
    assert there(sandbox) == {}


def test_an_appointment_made_outside_is_deleted_where_its_case_is_given(
    sandbox: Sandbox, outside: str
) -> None:
    row = deletion_of(8, appointment_id=outside)
    lacking = sync(row)
    assert lacking.end == ("rejected", "case_of_deletion")
    assert asked(sandbox) == []
    ref = str((sandbox.store.case(CASES[8]) or {})["ref"])
    assert sync(row | {"case_ref": ref}).end == ("deleted", None)
    assert there(sandbox) == {}
    assert sync(row | {"case_ref": ref}).end == ("unchanged", None)
    assert len(asked(sandbox)) == 1


def test_an_appointment_id_that_nobody_knows_is_rejected_and_forgotten(
    sandbox: Sandbox, outside: str
) -> None:
    wrong = row_of(8, appointment_id="nowhere-1")
    run = sync(wrong, deletion_of(7, appointment_id="nowhere-2", case_id=CASES[7]))
    assert set(run.ends_by_key.values()) == {("rejected", "not_found", 2)}
    assert run.state.is_completed()
    assert sync(wrong | {"appointment_id": outside}).end == ("updated", None)


def test_a_deletion_with_the_id_of_another_appointment_deletes_neither(sandbox: Sandbox) -> None:
    sync(*rows_of(1, 2))
    asked(sandbox)
    run = sync(deletion_of(1, appointment_id=there(sandbox)["B-002"]["id"]))
    assert run.end == ("conflict", "other_key")
    assert asked(sandbox) == []


# -- which case --------------------------------------------------------------------------------


def test_a_case_is_found_by_its_reference_and_looked_for_only_once(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, unique_refs=False)
    first, second = (sandbox.store.case(CASES[n]) or {} for n in (1, 2))
    sandbox.store.put(second | {"id": CASES[2].replace("a", "b").replace("1", "2"), "ref": "Twice"})
    sandbox.store.change(CASES[2], ref="Twice")
    rows = [
        row_of(1, case_id="", case_ref=f" {first['ref'].lower()} "),
        row_of(2, case_id="", case_ref="Twice"),
        row_of(3, case_id="", case_ref="Nowhere"),
        row_of(4, case_id="00000000-0000-4000-8000-000000000000"),
        row_of(5, case_id=CASES[5], case_ref="Nowhere"),
    ]
    run = sync(*rows)
    assert run.ends_by_key == {
        "B-001": ("created", None, 1),
        "B-002": ("conflict", "case_ref_twice", 0),
        "B-003": ("rejected", "no_case", 0),
        "B-004": ("rejected", "not_found", 1),
        "B-005": ("created", None, 1),
    }
    assert CASES[2] in run.by_key["B-002"]["message"]
    assert there(sandbox)["B-001"]["customer_case_id"] == CASES[1]
    sandbox.requests.clear()
    assert sync(rows[0] | {"notes": "New"}).end == ("updated", None)
    assert [seen.path for seen in sandbox.requests if seen.method == "GET"] == []
    # the same case, named in the other way, is no change; of a deletion it isn't asked for at all
    by_id = {name: cell for name, cell in row_of(1, notes="New").items() if name != "case_ref"}
    assert sync(by_id).end == ("unchanged", None)
    assert sync(row_of(5, case_id="", case_ref=second["ref"])).ends_by_key["B-005"][0] == "rejected"
    sandbox.requests.clear()
    assert sync(deletion_of(1, case_ref="Nowhere")).end == ("deleted", None)
    assert [seen.method for seen in sandbox.requests] == ["POST", "DELETE"]
    again = sync(rows[0])
    assert (again.end, again.only["case_id"]) == (("created", None), CASES[1])


# -- what can't be changed ---------------------------------------------------------------------


def test_what_cannot_be_changed_is_a_conflict_or_made_anew_if_that_is_wanted(
    sandbox: Sandbox,
) -> None:
    sync(*rows_of(1, 2, 3, 4, 5, **SMS))
    old = there(sandbox)
    asked(sandbox)
    rows = [
        row_of(1, notes="New", adviser_email=OTHER_ADVISER, **SMS),
        row_of(2, zoom_meeting="yes", **SMS),
        row_of(3, case_id=CASES[9], **SMS),
        row_of(4, adviser_email=OTHER_ADVISER, case_id=CASES[9], **SMS),
        row_of(5, zoom_meeting="no", **SMS),
    ]
    run = sync(*rows)
    keys = [row["key"] for row in rows[:4]]
    same = {"B-005": ("unchanged", None, 0)}
    assert run.ends_by_key == dict.fromkeys(keys, ("conflict", "fixed", 0)) | same
    whats = ["The adviser", "The Zoom meeting", "The case", "The adviser and the case"]
    for key, what in zip(keys, whats, strict=True):
        message = run.by_key[key]["message"]
        assert message.startswith(f"{what} of an appointment can't be changed; run with recreate=")
    assert asked(sandbox) == []

    anew = sync(*rows, recreate=True)
    assert anew.ends_by_key == dict.fromkeys(keys, ("created", None, 2)) | same
    steps = [(method, key) for method, key, _ in asked(sandbox)]
    assert sorted(steps) == sorted((m, key) for m in ("DELETE", "POST") for key in keys)
    assert all(steps.index(("DELETE", key)) < steps.index(("POST", key)) for key in keys)
    made = there(sandbox)
    for row in rows[:4]:
        key, appointment = row["key"], made[row["key"]]
        assert appointment["id"] != old[key]["id"]
        assert appointment["adviser_email"] == row["adviser_email"]
        assert anew.by_key[key]["appointment_id"] == appointment["id"]
        assert anew.by_key[key]["case_id"] == row["case_id"] == appointment["customer_case_id"]
        assert bool(appointment["join_url"]) is ("zoom_meeting" in row)
    assert made["B-001"]["notes"] == "New"
    assert sync(*rows, recreate=True).outcomes == {"unchanged": 5}
    assert told(sandbox) == [("sms_confirmation", "POST")] * 9


def test_an_appointment_that_was_deleted_and_not_made_anew_says_so(sandbox: Sandbox) -> None:
    sync(*rows_of(1, 2, 3))
    script = {"B-001": [Drop()], "B-002": [Status(422)], "B-003": [Status(401)] * 9}
    Aimed(sandbox, "POST", script)
    rows = rows_of(1, 2, 3, adviser_email=OTHER_ADVISER)
    run = sync(*rows, recreate=True)
    assert run.ends_by_key == {
        "B-001": ("unknown", "creation_unsure", 2),
        "B-002": ("rejected", "status_422", 2),
        "B-003": ("not_attempted", "stopped", 1),
    }
    words = ["It isn't known whether this", "Server Error", "The run stopped before"]
    for row, message in zip(run.table.to_pylist(), words, strict=True):
        assert row["message"].startswith(f"The old appointment is deleted. {message}")
    assert there(sandbox) == {}
    sandbox.faults = []
    # there is nothing to be deleted any more
    assert sync(*rows).outcomes == {"created": 2, "unknown": 1}


# -- rejected ----------------------------------------------------------------------------------


def test_refused_rows_are_in_the_file_of_rejects_which_can_be_corrected_and_used_as_it_is(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30, recipients="customers")
    words = '{"message": "Invalid.", "errors": {"notes": ["Canary words."]}}'
    Aimed(sandbox, "POST", {"B-003": [Status(400, body=words)], "B-005": [Status(409, body="{}")]})
    rows = [
        row_of(1),
        row_of(2, adviser_email="nobody@example.org", notes="=1+1"),
        row_of(3),
        row_of(4, email_recipient="stranger@example.org"),
        row_of(5),
        row_of(6, end_time="2026-07-20 08:00"),
    ]
    run = sync(*rows)
    assert run.ends_by_key == {
        "B-001": ("created", None, 1),
        "B-002": ("rejected", "status_422", 1),
        "B-003": ("rejected", "status_400", 1),
        "B-004": ("rejected", "status_422", 1),
        "B-005": ("rejected", "status_409", 1),
        "B-006": ("rejected", "end_before_start", 0),
    }
    assert run.state.is_completed()
    rejected = Path(str(run.summary["rejected_file"]))
    cells = CalamineWorkbook.from_path(rejected).get_sheet_by_index(0).to_python()
    names = dict.fromkeys(name for row in rows for name in row)
    assert cells[0] == ["rejected_row", "rejected_because", *names]
    because = {row[0]: row[1] for row in cells[1:]}
    assert because.keys() == {"3", "4", "5", "6", "7"}
    assert because["3"] == "The selected adviser_email is invalid."
    assert because["4"] == "Canary words."
    assert because["6"] == "WillSuite refused the row (status_409)."
    assert "Canary words" not in "\n".join(run_log)
    with xlsxwriter.Workbook("corrected.xlsx") as workbook:
        sheet = workbook.add_worksheet()
        for index, row in enumerate(cells):
            for column, cell in enumerate(row):
                corrected = {
                    "nobody@example.org": ADVISER,
                    "stranger@example.org": "",
                    "2026-07-20 08:00": "2026-07-20 10:00",
                }.get(str(cell), str(cell))
                sheet.write_string(index, column, corrected)
    assert sync_file("corrected.xlsx").outcomes == {"created": 5}
    assert there(sandbox)["B-002"]["notes"] == "=1+1"


# -- a plan ------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_log: list[str]
) -> None:
    plan = sync(*rows_of(1, 2), dry_run=True)
    assert plan.ends_by_key == dict.fromkeys(["B-001", "B-002"], ("planned", None, 0))
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "state").exists()
    Aimed(sandbox, "POST", {"B-005": [Drop()]})
    assert sync(*rows_of(1, 2, 3, 4, 5)).outcomes == {"created": 4, "unknown": 1}
    journal = journal_file().read_bytes()
    asked(sandbox)
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "90")
    rows = [
        row_of(1),
        row_of(2, notes="New"),
        row_of(3, adviser_email=OTHER_ADVISER),
        deletion_of(4),
        row_of(5),
        row_of(6),
        row_of(7, case_id="", case_ref="Nowhere"),
        row_of(8, action="move"),
    ]
    plan = sync(*rows, dry_run=True)
    assert [
        (row["action"], row["outcome"], row["code"]) for row in plan.table.to_pylist()
    ] == [
        ("none", "unchanged", None),
        ("update", "planned", None),
        ("none", "conflict", "fixed"),
        ("delete", "planned", None),
        ("none", "unknown", "creation_unsure"),
        ("create", "planned", None),
        ("none", "rejected", "no_case"),
        ("none", "rejected", "action"),
    ]  # fmt: skip
    assert plan.summary["dry_run"]
    assert plan.state.is_failed()  # there is an uncertain one
    anew = sync(rows[2], dry_run=True, recreate=True).only
    assert (anew["action"], anew["outcome"]) == ("recreate", "planned")
    assert asked(sandbox) == []
    assert journal_file().read_bytes() == journal


# -- lost answers ------------------------------------------------------------------------------


UNSURE = ("unknown", "creation_unsure", 1)
MADE = ("created", None, 1)
LOST_CREATIONS: list[tuple[list[Action], tuple[str, str | None, int], int]] = [
    # what happens to the request, how its row ends, and how many appointments there are
    ([Status(500)], UNSURE, 0),
    ([Status(503, body="<h1>down</h1>")], UNSURE, 0),
    ([Status(408)], UNSURE, 0),
    ([Status(403, body="<h1>firewall</h1>")], UNSURE, 0),
    ([Drop()], UNSURE, 0),
    ([Html()], UNSURE, 0),
    ([Applied(Status(500))], UNSURE, 1),
    ([Applied(Status(502, body="<h1>502</h1>"))], UNSURE, 1),
    ([Applied(Drop())], UNSURE, 1),
    ([Applied(Html())], UNSURE, 1),
    ([Applied(Status(200, body='{"notes": "no id"}'))], UNSURE, 1),
    ([Applied(Status(200, body='{"id": "../../cases"}'))], UNSURE, 1),
    ([Truncate()], UNSURE, 1),
    ([Truncate(announced=False)], UNSURE, 1),
    ([Drip(10.0)], UNSURE, 1),
    ([Late(0.2)], UNSURE, 1),
    ([Late(0.2, Drop())], UNSURE, 1),
    ([Partial()], UNSURE, 1),
    ([Status(401)], MADE, 1),
    ([Status(429, {"Retry-After": "1"})], MADE, 1),
]


def test_an_appointment_whose_answer_is_lost_is_unknown_and_never_sent_again_by_itself(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_READ_TIMEOUT_SECONDS", "1")
    # a good row before each of the others: so many faults would look like a server that is ill
    rows = rows_of(*range(1, 1 + len(LOST_CREATIONS)), **SMS)
    good = [row_of(0, key=f"G-{n}", location=f"G-{n}") for n in range(len(rows))]
    monkeypatch.setattr("protocols.appointments.sync.Syncer.failures_in_a_row", len(rows))
    Aimed(
        sandbox, "POST",
        {row["key"]: lost[0] for row, lost in zip(rows, LOST_CREATIONS, strict=True)},
    )  # fmt: skip
    run = sync(*rows, *good)
    expected = {row["key"]: lost[1] for row, lost in zip(rows, LOST_CREATIONS, strict=True)}
    assert run.ends_by_key == expected | {row["key"]: MADE for row in good}
    unknown = [row for row in rows if expected[row["key"]] == UNSURE]
    assert run.state.is_failed()
    assert f"{len(unknown)} unknown" in str(run.state.message)
    message = run.by_key["B-001"]["message"]
    assert 'resolve={"B-001": "not created"}' in message
    sandbox.faults = []
    before = Counter(key for method, key, _ in asked(sandbox) if method == "POST")
    assert {row["key"]: before[row["key"]] for row in unknown} == {r["key"]: 1 for r in unknown}
    while sandbox.pending_late:
        pass
    # whatever the file says: changed, deleted, or the same
    moved = [row | {"notes": "New"} for row in rows]
    removed = [{"key": row["key"], "action": "delete"} for row in unknown]
    for again in (rows, removed, [row for row in moved if row["key"] in expected]):
        later = sync(*[row for row in again if expected[row["key"]] == UNSURE], recreate=True)
        assert set(later.ends_by_key.values()) == {("unknown", "creation_unsure", 0)}
        assert later.state.is_failed()
    assert asked(sandbox) == []
    present = Counter(each["location"] for each in sandbox.appointments.values())
    assert {row["key"]: present[row["key"]] for row in rows} == {
        row["key"]: lost[2] for row, lost in zip(rows, LOST_CREATIONS, strict=True)
    }
    assert max(Counter(message.appointment_id for message in sandbox.messages).values()) == 1


def test_a_person_says_what_became_of_an_uncertain_creation(sandbox: Sandbox) -> None:
    Aimed(sandbox, "POST", {"B-001": [Applied(Drop())], "B-002": [Drop()], "B-003": [Drop()]})
    rows = rows_of(1, 2, 3, **SMS)
    assert sync(row_of(9), *rows).outcomes == {"created": 1, "unknown": 3}
    made = there(sandbox)["B-001"]["id"]
    asked(sandbox)
    resolve = {" B-001": made, "B-002": "Not  Created"}
    plan = sync(*rows, resolve=resolve, dry_run=True)
    assert plan.ends_by_key == {
        "B-001": ("unchanged", None, 0),
        "B-002": ("planned", None, 0),
        "B-003": ("unknown", "creation_unsure", 0),
    }
    # which has settled nothing
    assert sync(*rows, dry_run=True).outcomes == {"unknown": 3}
    run = sync(*rows, resolve=resolve)
    assert run.ends_by_key == {
        "B-001": ("unchanged", None, 0),
        "B-002": ("created", None, 1),
        "B-003": ("unknown", "creation_unsure", 0),
    }
    assert run.by_key["B-001"]["appointment_id"] == made
    assert [(method, key) for method, key, _ in asked(sandbox)] == [("POST", "B-002")]
    # of what is known by its id nothing is lost: it is changed and deleted as any other
    assert sync(rows[0] | {"notes": "New"}).end == ("updated", None)
    assert there(sandbox)["B-001"]["notes"] == "New"
    assert sync(deletion_of(1)).end == ("deleted", None)
    # said of a deletion: it isn't there, so there is nothing to delete
    assert sync(deletion_of(3), resolve={"B-003": "not created"}).end == ("unchanged", None)
    assert Counter(told(sandbox)) == {("sms_confirmation", "POST"): 2}


def test_what_a_person_writes_into_the_file_of_what_needs_attention_settles_it(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_CASE_URL", "https://crm.example.org/cases/{case_id}")
    Aimed(sandbox, "POST", {"B-001": [Applied(Drop())], "B-002": [Drop()]})
    rows = rows_of(1, 2)
    unsure = sync(row_of(9), *rows)
    assert f"Look at {unsure.summary['attention_file']}." in str(unsure.state.message)
    workbook = CalamineWorkbook.from_path(unsure.summary["attention_file"])
    header, *lines = workbook.get_sheet_by_index(0).to_python()
    assert [line[header.index("key")] for line in lines] == ["B-001", "B-002"]
    words = {"B-001": there(sandbox)["B-001"]["id"], "B-002": "not created"}
    filled = [
        {name: str(cell) for name, cell in zip(header, line, strict=True)}
        | {"resolution": words[line[header.index("key")]]}
        for line in lines
    ]
    run = sync(*rows, resolve=str(write_csv("filled.csv", filled)), outcomes_csv=True)
    assert run.outcomes == {"unchanged": 1, "created": 1}
    assert run.summary["attention_file"] is None
    with (Path(run.summary["folder"]) / "outcomes.csv").open(encoding="utf-8-sig") as file:
        assert [(line["key"], line["outcome"]) for line in csv.DictReader(file)] == [
            ("B-001", "unchanged"),
            ("B-002", "created"),
        ]


def test_a_run_that_is_repeated_with_old_words_does_not_send_a_second_uncertain_creation(
    sandbox: Sandbox, run_log: list[str]
) -> None:
    Aimed(sandbox, "POST", {"B-001": [Drop(), Applied(Drop())]})
    assert sync(row_of(1)).end == ("unknown", "creation_unsure")
    old = {"B-001": "not created"}
    second = sync(row_of(1), resolve=old)
    assert second.ends_by_key["B-001"] == ("unknown", "creation_unsure", 1)
    assert 'resolve={"B-001": "not created 2"}' in second.only["message"]
    assert "left alone" not in "\n".join(run_log)
    asked(sandbox)
    repeated = sync(row_of(1), resolve=old)  # as a retry of the flow run has it
    assert repeated.ends_by_key["B-001"] == ("unknown", "creation_unsure", 0)
    assert "resolve names 1 key(s) that aren't uncertain" in "\n".join(run_log)
    assert asked(sandbox) == []
    third = sync(row_of(1), resolve={"B-001": there(sandbox)["B-001"]["id"]})
    assert third.end == ("unchanged", None)
    # and of what is settled nothing is said any more
    for word in ("not created", "not created 2", "another-1"):
        assert sync(row_of(1), resolve={"B-001": word}).end == ("unchanged", None)
    assert len(there(sandbox)) == 1


def test_the_id_of_an_appointment_that_was_deleted_is_no_answer_for_the_next_one(
    sandbox: Sandbox,
) -> None:
    Aimed(sandbox, "POST", {"B-001": [Applied(Drop()), Applied(Drop())]})
    sync(row_of(1))
    first = there(sandbox)["B-001"]["id"]
    row = row_of(1, adviser_email=OTHER_ADVISER)
    parameters: dict[str, Any] = {"resolve": {"B-001": first}, "recreate": True}
    assert sync(row, **parameters).end == ("unknown", "creation_unsure")
    again = sync(row, **parameters)
    assert again.end == ("unknown", "creation_unsure")
    assert again.only["appointment_id"] is None
    second = there(sandbox)["B-001"]["id"]
    assert second != first
    assert sync(row, resolve={"B-001": second}).end == ("unchanged", None)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_resolution_that_says_nothing_usable_stops_the_run_with_a_sentence(
    sandbox: Sandbox, dry_run: bool
) -> None:
    run = sync(row_of(1), resolve={"B-777": "not created"}, dry_run=dry_run, journal="empty")
    assert "resolve has a key that the journal doesn't know" in str(run.state.message)
    Aimed(sandbox, "POST", {"B-001": [Drop()]})
    sync(row_of(1), new_journal=True)
    asked(sandbox)
    for resolve, sentence in [
        ({"B-001": "missing"}, 'must be the appointment\'s id, "not created" or "message settled"'),
        ({"B-777": "not created"}, "resolve has a key that the journal doesn't know"),
    ]:
        run = sync(row_of(1), row_of(2), resolve=resolve, dry_run=dry_run)
        assert run.outcomes == {"not_attempted": 2}
        assert sentence in str(run.state.message)
        assert "B-777" not in str(run.state.message)
    assert asked(sandbox) == []


LOST_CHANGES: list[tuple[list[Action | None], tuple[str, str | None, int]]] = [
    ([Status(500)], ("updated", None, 2)),
    ([Drop()], ("updated", None, 2)),
    ([Html()], ("updated", None, 2)),
    ([Applied(Status(500))], ("updated", None, 2)),
    ([Applied(Drop())], ("updated", None, 2)),
    ([Truncate()], ("updated", None, 2)),
    ([Late(0.2)], ("updated", None, 2)),
    ([Drop(), Applied(Drop())], ("updated", None, 3)),
    ([Status(500)] * 4, ("unknown", "value_fails", 4)),
    ([Applied(Drop())] * 4, ("unknown", "change_unsure", 4)),
    ([Status(422)], ("rejected", "status_422", 1)),
    ([Status(404)], ("updated", None, 2)),
    ([Status(404)] * 2, ("conflict", "gone", 2)),
    ([Applied(Drop()), Status(404)], ("updated", None, 3)),
]


def test_a_change_whose_answer_is_lost_is_sent_again_when_the_server_has_surely_finished(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    numbers = range(1, 1 + len(LOST_CHANGES))
    sync(*rows_of(*numbers))
    rows = rows_of(*numbers, notes="New", start_time="2026-07-20 09:45")
    keys = [row["key"] for row in rows]
    monkeypatch.setattr("protocols.appointments.sync.Syncer.failures_in_a_row", len(rows))
    Aimed(sandbox, "PATCH", {k: lost[0] for k, lost in zip(keys, LOST_CHANGES, strict=True)})
    run = sync(*rows)
    assert run.ends_by_key == {key: lost[1] for key, lost in zip(keys, LOST_CHANGES, strict=True)}
    for key, row in there(sandbox).items():
        assert run.ends_by_key[key][0] != "updated" or row["notes"] == "New", key
    assert "change(s) may or may not be made; waiting" in "\n".join(run_log)
    asked(sandbox)
    sandbox.faults = []
    again = sync(*rows)
    unknown = {key for key in keys if run.ends_by_key[key][0] == "unknown"}
    refused = {key for key in keys if run.ends_by_key[key][0] in ("rejected", "conflict")}
    assert again.ends_by_key == dict.fromkeys(keys, ("unchanged", None, 0)) | dict.fromkeys(
        unknown | refused, ("updated", None, 1)
    )
    assert {key for _, key, _ in asked(sandbox)} == unknown | refused
    assert {(each["notes"], each["start_time"]) for each in there(sandbox).values()} == {
        ("New", "2026-07-20 09:45:00")
    }


def test_values_that_come_late_are_not_the_last_word_after_a_run_that_was_stopped(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "1.2")
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    numbers = range(1, 6)
    sync(*rows_of(*numbers))
    sandbox.faults = [Fault(Late(0.8), method="PATCH", times=4)]
    stopped = sync(*rows_of(*numbers, notes="Old"))
    assert stopped.outcomes == {"unknown": 4, "not_attempted": 1}
    assert "failed 3 times in a row" in str(stopped.state.message)
    run_log.clear()
    assert sync(*rows_of(*numbers, notes="New")).outcomes == {"updated": 5}
    while sandbox.pending_late:
        pass
    assert {each["notes"] for each in there(sandbox).values()} == {"New"}
    assert "It isn't known that the last run here ended cleanly" in "\n".join(run_log)
    run_log.clear()
    sync(*rows_of(*numbers, notes="Newer"))
    assert "ended cleanly" not in "\n".join(run_log)


LOST_MESSAGES: dict[str, tuple[list[Action | None], int, int]] = {
    # what happens to the change, how often it is sent, and whether the message went out
    "B-001": ([Applied(Drop())], 2, 1),
    "B-002": ([Drop()], 2, 0),
    "B-003": ([Partial()], 2, 0),
    "B-004": ([Applied(Status(500)), Applied(Drop()), Status(500), Drop()], 4, 1),
}


def test_a_message_whose_answer_is_lost_is_asked_for_once_and_unknown_until_a_person_asked(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.appointments.sync.Syncer.failures_in_a_row", 9)
    sync(*rows_of(1, 2, 3, 4))
    asked(sandbox)
    Aimed(sandbox, "PATCH", {key: script for key, (script, _, _) in LOST_MESSAGES.items()})
    rows = rows_of(1, 2, 3, 4, notes="New", **SMS)
    run = sync(*rows)
    unsure = ("unknown", "message_unsure")
    assert {key: end[:2] for key, end in run.ends_by_key.items()} == {
        **dict.fromkeys(["B-001", "B-002", "B-003"], unsure),
        "B-004": ("unknown", "change_unsure"),
    }
    requests = asked(sandbox)
    for key, (_, times, _) in LOST_MESSAGES.items():
        values = {"notes": "New", "sms_recipient": "07700900123"}
        bodies = [body for _, about, body in requests if about == key]
        assert bodies == [values | {"sms_confirmation": True}, *[values] * (times - 1)], key
    again = sync(*rows)
    for key, appointment in there(sandbox).items():
        assert again.ends_by_key[key][:2] == unsure
        assert appointment["notes"] == "New"
        message = again.by_key[key]["message"]
        assert "(sms_confirmation) went out" in message
        assert f'resolve={{"{key}": "message settled"}}' in message
    # it stays so, whatever else is changed, and whatever doesn't answer the question is said
    later = rows_of(1, 2, 3, 4, notes="Newer", sms_confirmation="no")
    ids = {key: each["id"] for key, each in there(sandbox).items()}
    words = {"B-001": "not created", "B-002": ids["B-002"], "B-003": "message settled 2"}
    run = sync(*later, resolve=words)
    assert {end[:2] for end in run.ends_by_key.values()} == {unsure}
    assert {each["notes"] for each in there(sandbox).values()} == {"Newer"}
    settled = dict.fromkeys(ids, "Message-settled")
    assert sync(*later, resolve=settled).outcomes == {"unchanged": 4}
    assert sync(*later).outcomes == {"unchanged": 4}
    sent = Counter(message.appointment_id for message in sandbox.messages)
    assert {key: sent[ids[key]] for key in ids} == {k: m for k, (_, _, m) in LOST_MESSAGES.items()}


def test_a_run_that_is_repeated_with_old_words_settles_no_second_doubt_about_a_message(
    sandbox: Sandbox,
) -> None:
    sync(row_of(1))
    Aimed(sandbox, "PATCH", {"B-001": [Applied(Drop()), None, Applied(Drop())]})
    sync(row_of(1, **SMS))
    old = {"B-001": "message settled"}
    row = row_of(1, email_recipient="sian@example.org", email_confirmation="yes", **SMS)
    run = sync(row, resolve=old)
    assert run.end == ("unknown", "message_unsure")
    assert 'resolve={"B-001": "message settled 2"}' in run.only["message"]
    assert sync(row, resolve=old).end == ("unknown", "message_unsure")
    assert sync(row, resolve={"B-001": "message settled 2"}).end == ("unchanged", None)
    assert sorted(told(sandbox)) == [("email_confirmation", "PATCH"), ("sms_confirmation", "PATCH")]


def test_what_is_uncertain_is_said_whatever_else_becomes_of_its_row(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.appointments.sync.Syncer.failures_in_a_row", 9)
    assert sync(*rows_of(1, 2, 3, 4, 5)).outcomes == {"created": 5}
    Aimed(
        sandbox, "PATCH",
        {"B-001": [Drop(), Status(422)], "B-002": [Drop(), *[Status(404)] * 2],
         "B-003": [Drop()]},
    )  # fmt: skip
    Aimed(sandbox, "POST", {"B-006": [Drop()], "B-007": [Drop()]})
    rows = [*rows_of(1, 2, 3, notes="New", **SMS), *rows_of(4, 5, 6, 7)]
    run = sync(*rows)
    unsure = {"unknown": 5, "unchanged": 2}
    assert run.outcomes == unsure
    assert run.by_key["B-001"]["message"].startswith("Server Error It isn't known whether a")
    assert run.by_key["B-002"]["message"].startswith("WillSuite has no such appointment any more")
    sandbox.faults = []
    # rows that can't be planned, rows that are gone from the file, and a file that has other rows
    others = [
        row_of(1, start_time="at nine"),
        row_of(2, case_id="", case_ref="Nowhere", notes="New", **SMS),
        row_of(3, adviser_email=OTHER_ADVISER),
        row_of(6, case_id="", case_ref="Nowhere"),
        row_of(4),
    ]
    run = sync(*others)
    assert run.state.is_failed()
    ends = {key: end[0] for key, end in run.ends_by_key.items()}
    assert ends == {
        "B-001": "rejected", "B-002": "unknown", "B-003": "unknown", "B-006": "unknown",
        "B-004": "unchanged",
    }  # fmt: skip
    assert "The journal has 2 more uncertain booking(s)" in str(run.state.message)
    alone = sync(row_of(4))
    assert alone.state.is_failed()
    assert "The journal has 5 more uncertain booking(s)" in str(alone.state.message)
    settled = {f"B-00{n}": "message settled" for n in (1, 2, 3)}
    settled |= {f"B-00{n}": "not created" for n in (6, 7)}
    assert sync(row_of(4), resolve=settled).state.is_completed()


def test_a_change_that_meets_a_404_is_made_anew_only_if_the_old_one_is_really_gone(
    sandbox: Sandbox,
) -> None:
    sync(row_of(1))
    # the vendor's "not found" may be about something else that the change names
    Aimed(sandbox, "PATCH", {"B-001": [Status(404)] * 2})
    run = sync(row_of(1, notes="New"), recreate=True)
    assert run.only["outcome"] == "created"
    assert there(sandbox)["B-001"]["id"] == run.only["appointment_id"]
    assert there(sandbox)["B-001"]["notes"] == "New"


def test_a_refused_change_asked_for_no_message_and_asks_for_it_when_it_is_corrected(
    sandbox: Sandbox,
) -> None:
    sync(row_of(1), row_of(2))
    Aimed(sandbox, "PATCH", {"B-001": [Status(422)], "B-002": [Status(401)] * 9})
    rows = rows_of(1, 2, notes="New", **SMS)
    assert sync(rows[0]).end == ("rejected", "status_422")
    assert sync(rows[1]).end == ("not_attempted", "stopped")
    sandbox.faults = []
    assert sync(*rows).outcomes == {"updated": 2}
    assert told(sandbox) == [("sms_confirmation", "PATCH")] * 2


LOST_DELETIONS: list[tuple[list[Action | None], tuple[str, str | None, int], bool]] = [
    ([Drop()], ("deleted", None, 2), False),
    ([Applied(Drop())], ("deleted", None, 3), False),
    ([Applied(Status(500))], ("deleted", None, 3), False),
    ([Applied(Drop()), Status(500)], ("deleted", None, 4), False),
    ([Late(0.2)], ("deleted", None, 3), False),
    ([Status(200, body="{")], ("deleted", None, 1), True),
    ([Status(204, body="")], ("deleted", None, 1), True),
    ([Status(500)] * 4, ("unknown", "deletion_unsure", 4), True),
    ([Applied(Drop()), Status(500), Status(500)], ("unknown", "missing_unsure", 4), False),
    ([Status(400)], ("rejected", "status_400", 1), True),
]


def test_a_deletion_whose_answer_is_lost_is_repeated_and_gone_is_deleted(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0.5")
    numbers = range(1, 1 + len(LOST_DELETIONS))
    sync(*rows_of(*numbers))
    rows = [deletion_of(number) for number in numbers]
    keys = [row["key"] for row in rows]
    monkeypatch.setattr("protocols.appointments.sync.Syncer.failures_in_a_row", len(rows))
    Aimed(sandbox, "DELETE", {k: lost[0] for k, lost in zip(keys, LOST_DELETIONS, strict=True)})
    run = sync(*rows)
    assert run.ends_by_key == {key: lost[1] for key, lost in zip(keys, LOST_DELETIONS, strict=True)}
    assert set(there(sandbox)) == {
        key for key, lost in zip(keys, LOST_DELETIONS, strict=True) if lost[2]
    }
    sandbox.faults = []
    again = sync(*rows)
    assert {key: end[:2] for key, end in again.ends_by_key.items()} == {
        key: ("unchanged", None) if run.ends_by_key[key][0] == "deleted" else ("deleted", None)
        for key in keys
    }


def test_an_appointment_whose_deletion_is_uncertain_is_made_anew_where_it_is_wanted_again(
    sandbox: Sandbox,
) -> None:
    sync(*rows_of(1, 2))
    Aimed(sandbox, "DELETE", {"B-001": [Applied(Drop())] * 4, "B-002": [Status(500)] * 4})
    assert sync(deletion_of(1)).end == ("unknown", "deletion_unsure")
    assert sync(deletion_of(2)).end == ("unknown", "deletion_unsure")
    sandbox.faults = []
    assert sync(*rows_of(1, 2)).outcomes == {"created": 2}
    assert set(there(sandbox)) == {"B-001", "B-002"}
    assert len(sandbox.appointments) == 4


# -- stopping for good reason ------------------------------------------------------------------


def test_creations_go_one_after_another_until_one_is_answered(sandbox: Sandbox) -> None:
    sick: list[Action] = [Status(500), Html(), Truncate(0.9), Drop()]
    sandbox.faults = [Fault(action, "/cases/*", method="POST") for action in sick]
    run = sync(*rows_of(1, 2, 3, 4, 5, 6, 7))
    # three alone, one from elsewhere, and then enough of it: not one of the others was sent
    assert run.outcomes == {"unknown": 4, "not_attempted": 3}
    assert [key for _, key, _ in asked(sandbox)][:3] == ["B-001", "B-002", "B-003"]
    assert "WillSuite failed 3 times in a row, so nothing more was sent" in str(run.state.message)
    assert sync(*rows_of(1, 2, 3, 4, 5, 6, 7)).outcomes == {"created": 3, "unknown": 4}


def test_three_bookings_that_always_fail_do_not_keep_the_others_from_being_made(
    sandbox: Sandbox,
) -> None:
    Aimed(sandbox, "POST", {f"B-00{n}": [Status(500)] for n in (1, 2, 3)})
    assert sync(*rows_of(*range(1, 21))).outcomes == {"created": 17, "unknown": 3}


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_server_that_is_ill_is_left_alone_after_three_failures_in_a_row(
    sandbox: Sandbox, method: str
) -> None:
    numbers = range(1, 25)
    if method != "POST":
        sync(*rows_of(*numbers))
    asked(sandbox)
    sandbox.faults = [
        Fault(Status(500), method=method, path="/cases/*", skip=6, times=None),
    ]
    rows = [deletion_of(n) if method == "DELETE" else row_of(n, notes=f"New {n}") for n in numbers]
    run = sync(*rows)
    sent = len(asked(sandbox))
    # as many may be under way when the third fails, and one more is tried
    assert 9 + 1 <= sent <= 6 + 3 + 7 + 1
    done = {"POST": "created", "PATCH": "updated", "DELETE": "deleted"}[method]
    assert run.outcomes == {done: 6, "unknown": sent - 6, "not_attempted": 24 - sent}
    assert run.state.is_failed()
    assert "WillSuite failed 3 times in a row" in str(run.state.message)
    sandbox.faults = []
    again = sync(*rows)
    unsure = sent - 6 if method == "POST" else 0
    assert again.outcomes.get("unknown", 0) == unsure
    assert again.outcomes["unchanged"] == 6
    assert again.outcomes[done] == 18 - unsure


def test_failures_between_answers_do_not_stop_a_run(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "1")
    sick = {f"B-{n:03d}": [Drop()] for n in (2, 3, 5, 6, 8, 9)}
    Aimed(sandbox, "POST", sick)
    assert sync(*rows_of(*range(1, 11))).outcomes == {"created": 4, "unknown": 6}


@pytest.mark.parametrize(
    ("fault", "sentence", "refused"),
    [
        (Fault(Status(401), skip=9, times=None), "refused the client id and secret", set()),
        (Fault(Status(401), path="/cases/*", skip=8, times=None), "check that the API keys", set()),
        (Fault(Status(302, {"Location": "/x"}), path="/cases/*", skip=8, times=None),
         "was redirected", {("unknown", "creation_unsure", 1)}),
        (Fault(Status(403), path="/cases/*", skip=8, times=None), "failed 3 times in a row",
         {("rejected", "status_403", 1)}),
    ],
)  # fmt: skip
def test_a_right_that_is_lost_under_way_stops_the_run_and_leaves_nothing_uncertain(
    sandbox: Sandbox,
    run_log: list[str],
    fault: Fault,
    sentence: str,
    refused: set[tuple[str, str, int]],
) -> None:
    sandbox.faults = [fault]
    rows = rows_of(*range(1, 26), **SMS)
    run = sync(*rows)
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    assert run.outcomes["created"] == len(there(sandbox)) == 8
    assert set(run.ends_by_key.values()) - {MADE} == {("not_attempted", "stopped", 0), *refused}
    assert "Traceback" not in "\n".join(run_log)
    sandbox.faults = []
    unsure = run.outcomes.get("unknown", 0)
    assert sync(*rows).outcomes.get("unknown", 0) == unsure
    assert len(there(sandbox)) == len(told(sandbox)) == 25 - unsure


def test_a_server_that_cannot_be_reached_leaves_rows_failed_and_nothing_uncertain(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(row_of(1), row_of(2))
    with monkeypatch.context() as patch:
        # the token is there, the rest of the server isn't
        patch.setenv("WILLSUITE_TOKEN_URL", f"{sandbox.url}/oauth/token")
        patch.setenv("WILLSUITE_BASE_URL", "http://127.0.0.1:9/engine/api")
        run = sync(*rows_of(1, 2, notes="New"), row_of(3), new_journal=True)
    assert run.outcomes.get("unknown", 0) == 0
    assert set(run.outcomes) <= {"failed", "not_attempted"}
    assert run.outcomes["failed"] >= 1
    assert {end[1] for end in run.ends_by_key.values() if end[0] == "failed"} == {"unreachable"}
    assert sync(*rows_of(1, 2, notes="New"), row_of(3)).outcomes == {"created": 1, "updated": 2}


# -- the right journal -------------------------------------------------------------------------


def forget_here(_account: str) -> None:
    """Another machine: only Prefect knows."""
    shutil.rmtree("state")


@pytest.mark.parametrize("forget", [forget_here, forget_in_prefect])
def test_without_the_journal_that_there_was_nothing_is_sent_until_a_new_one_is_begun(
    sandbox: Sandbox, forget: Callable[[str], None]
) -> None:
    sync(row_of(1))
    account = load_settings().account_name
    forget(account)
    asked(sandbox)
    for dry_run in (False, True):
        run = sync(row_of(1), journal="elsewhere", dry_run=dry_run)
        assert run.outcomes == {"not_attempted": 1}
        sentence = (
            "Earlier runs kept a journal of this account's appointments, and there is none at "
            f"elsewhere/appointments-{account}.sqlite3."
        )
        assert sentence in str(run.state.message)
        assert "new_journal=True" in str(run.state.message)
    assert not Path("elsewhere").exists()
    assert asked(sandbox) == []
    anew = sync(row_of(1), journal="elsewhere", new_journal=True)
    assert anew.end == ("created", None)


def test_another_journal_or_an_older_copy_is_refused_until_it_is_wanted(sandbox: Sandbox) -> None:
    sync(row_of(1))
    shutil.copytree("data/journal", "backup")
    sync(row_of(1), row_of(2))
    asked(sandbox)
    for parameters in ({}, {"dry_run": True}):
        older = sync(*rows_of(1, 2), journal="backup", **parameters)
        assert older.outcomes == {"not_attempted": 2}
        assert "is an older copy" in str(older.state.message)
    # begun anew elsewhere on purpose: from then on that is the journal
    assert sync(row_of(3), journal="elsewhere", new_journal=True).end == ("created", None)
    other = sync(*rows_of(1, 2))
    assert other.outcomes == {"not_attempted": 2}
    assert "is not the one that earlier runs of this account wrote to" in str(other.state.message)
    assert [key for _, key, _ in asked(sandbox)] == ["B-003"]
    assert sync(*rows_of(1, 2), new_journal=True).outcomes == {"unchanged": 2}
    assert sync(*rows_of(1, 2)).outcomes == {"unchanged": 2}
    assert "not the one" in str(sync(row_of(3), journal="elsewhere").state.message)


def test_a_copy_of_the_latest_journal_is_as_good_as_the_journal(sandbox: Sandbox) -> None:
    sync(*rows_of(1, 2))
    shutil.move("data/journal", "moved")
    assert sync(*rows_of(1, 2), journal="moved").outcomes == {"unchanged": 2}


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_journal_that_cannot_be_read_is_a_sentence_and_nothing_is_sent(
    sandbox: Sandbox, run_log: list[str], dry_run: bool
) -> None:
    sync(row_of(1))
    shutil.copytree("data/journal", "good")
    asked(sandbox)
    for spoil, sentence in [
        (spoil_cut, "can't be read or written; restore it from a backup"),
        (spoil_version, "has version 3, and this program knows version 2"),
    ]:
        shutil.rmtree("data/journal")
        shutil.copytree("good", "data/journal")
        spoil(journal_file())
        run = sync(row_of(1), row_of(2), dry_run=dry_run, new_journal=True)
        assert run.outcomes == {"not_attempted": 2}, spoil
        assert sentence in str(run.state.message), spoil
        assert "\n" not in str(run.state.message)
    assert asked(sandbox) == []
    assert "Traceback" not in "\n".join(run_log)
    shutil.rmtree("data/journal")
    shutil.move("good", "data/journal")
    assert sync(row_of(1)).end == ("unchanged", None)


def test_accounts_that_share_a_folder_have_a_journal_each_once_that_is_wanted(
    start_sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start_sandbox(cases=30)
    assert sync(row_of(1)).end == ("created", None)
    here = first.url
    second = start_sandbox(cases=30)
    for dry_run in (False, True):
        run = sync(row_of(1), dry_run=dry_run)
        assert run.outcomes == {"not_attempted": 1}
        assert "has the journal of other API keys" in str(run.state.message)
    assert sync(row_of(1), new_journal=True).end == ("created", None)
    assert sync(row_of(1)).end == ("unchanged", None)
    monkeypatch.setenv("WILLSUITE_BASE_URL", here)
    assert sync(row_of(1), row_of(2)).ends_by_key["B-001"] == ("unchanged", None, 0)
    assert len(list(Path("data/journal").glob("*.sqlite3"))) == 2
    assert (set(there(first)), set(there(second))) == ({"B-001", "B-002"}, {"B-001"})


def test_an_account_whose_api_keys_were_renewed_goes_on_with_its_journal_when_it_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(row_of(1))
    before = load_settings().account_name
    monkeypatch.setattr("sandbox.gate.CLIENT_ID", "renewed")
    monkeypatch.setenv("WILLSUITE_CLIENT_ID", "renewed")
    run = sync(row_of(1))
    assert run.outcomes == {"not_attempted": 1}
    assert f"set WILLSUITE_ACCOUNT={before}" in str(run.state.message)
    monkeypatch.setenv("WILLSUITE_ACCOUNT", before)
    assert sync(row_of(1)).end == ("unchanged", None)
    assert len(there(sandbox)) == 1


def test_a_disk_that_refuses_the_journal_keeps_the_request_from_being_sent(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, run_log: list[str]
) -> None:
    sync(row_of(1))
    asked(sandbox)
    Path("data/journal/file").write_text("no folder")
    nowhere = sync(row_of(2), journal="data/journal/file", new_journal=True)
    assert nowhere.outcomes == {"not_attempted": 1}
    assert "This machine refused a file operation" in str(nowhere.state.message)
    checked = journals._checked

    def on_a_full_disk(connection: sqlite3.Connection, path: Path, *, writing: bool) -> Journal:
        journal = checked(connection, path, writing=writing)
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return journal

    monkeypatch.setattr("protocols.account.journal._checked", on_a_full_disk)
    rows = rows_of(*range(2, 30))
    full = sync(*rows)
    # what was under way when the disk was full has its intent in the journal
    unknown = full.outcomes.get("unknown", 0)
    assert full.outcomes["created"] <= len(asked(sandbox)) <= full.outcomes["created"] + unknown
    assert "No space left on device" in str(full.state.message)
    assert "restore" not in str(full.state.message)
    monkeypatch.setattr("protocols.account.journal._checked", checked)
    assert sync(*rows).outcomes.get("unknown", 0) == unknown
    assert 29 - unknown <= len(there(sandbox)) <= 29


# -- two at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["the same machine", "another machine"])
def test_of_two_runs_at_once_one_is_refused_and_nothing_is_made_twice(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    source = write_csv("appointments.csv", rows_of(*range(1, 13), **SMS))
    second: list[Run] = []

    def sync_too(_store: Store) -> None:
        with monkeypatch.context() as patch, ThreadPoolExecutor() as pool:
            if place == "another machine":
                patch.setenv("XDG_STATE_HOME", str(tmp_path / "other-state"))
            second.append(pool.submit(sync_file, source, wait_seconds=0).result())

    sandbox.faults = [Fault(Change(sync_too), path="/cases/*", method="POST", skip=3)]
    assert sync_file(source).outcomes == {"created": 12}
    assert second[0].outcomes == {"not_attempted": 12}
    assert "writes to this WillSuite account" in str(second[0].state.message)
    assert sync_file(source).outcomes == {"unchanged": 12}
    assert len(sandbox.appointments) == len(sandbox.messages) == 12


def test_a_plan_can_be_made_while_a_run_is_writing(sandbox: Sandbox) -> None:
    source = write_csv("appointments.csv", rows_of(*range(1, 6)))
    plans: list[Run] = []

    def plan_too(_store: Store) -> None:
        with ThreadPoolExecutor() as pool:
            plans.append(pool.submit(sync_file, source, dry_run=True).result())

    sandbox.faults = [Fault(Change(plan_too), path="/cases/*", method="POST", skip=1)]
    assert sync_file(source).outcomes == {"created": 5}
    # the first is made; what is under way could be the end of a run that was killed
    assert plans[0].outcomes["unchanged"] == 1
    assert plans[0].outcomes["unknown"] >= 1


# -- parameters --------------------------------------------------------------------------------


def test_options_do_what_they_say(sandbox: Sandbox) -> None:
    rows = rows_of(1, 2, shoe_size="9", notes="Zoë")
    rows[1]["adviser_email"] = ""
    path = write_csv("appointments.csv", rows)
    path.write_bytes(path.read_text().encode("mac_roman"))
    run = sync_file(path, extra="ignore", encoding="mac_roman", on_reject="fail")
    assert run.outcomes == {"created": 1, "rejected": 1}
    assert there(sandbox)["B-001"]["notes"] == "Zoë"
    assert isinstance(run.result, IncompleteRunError)
    assert sync_file(path, extra="ignore", encoding="mac_roman").state.is_completed()


@pytest.mark.parametrize(
    ("rows", "parameters", "error", "sentence"),
    [
        ([{"name": "Ann"}], {}, SourceError, "header missing"),
        ([{"case_id": "c-1", "start_time": "x"}], {}, SourceError, "needs a column key"),
        ([row_of(1, nots="x")], {}, SourceError, "nearest known name: notes"),
        ([row_of(1)], {"extra": "allow"}, RunError, 'extra must be "forbid" or "ignore".'),
        ([row_of(1)], {"on_reject": "stop"}, RunError, 'on_reject must be "complete" or "fail".'),
        (
            [row_of(1)],
            {"resolve": ["B-1"]},
            RunError,
            "resolve must be an object of texts by name.",
        ),
        ([row_of(1)], {"connection": "nowhere"}, ConfigurationError, "There is no block"),
        ([row_of(1)], {"output": "s3://bucket/runs"}, RunError, "must be a folder of this machine"),
    ],
)
def test_a_run_that_cannot_begin_says_why_in_one_sentence_and_sends_nothing(
    sandbox: Sandbox,
    run_log: list[str],
    rows: list[Row],
    parameters: dict[str, Any],
    error: type[Exception],
    sentence: str,
) -> None:
    run = sync(*rows, **parameters)
    assert run.state.is_failed()
    assert sentence in str(run.state.message)
    assert "\n" not in str(run.state.message)
    assert isinstance(run.result, error)
    assert sandbox.requests == []
    assert not Path("runs").exists()
    assert not Path("data").exists()
    assert "Traceback" not in "\n".join(run_log)


def test_a_journal_at_a_url_is_refused(sandbox: Sandbox) -> None:
    run = sync(row_of(1), journal="s3://bucket/journal")
    assert run.outcomes == {"not_attempted": 1}
    assert "must be in a folder of this machine, not at a URL" in str(run.state.message)
    assert sandbox.requests == []


def test_of_a_file_of_bad_rows_nothing_is_asked_and_what_is_uncertain_is_said_all_the_same(
    sandbox: Sandbox,
) -> None:
    bad = rows_of(*range(1, 25), start_time="2026-07-20T09:00:00Z")
    run = sync(*bad)
    assert run.summary["codes"] == {"time_with_offset": 24}
    assert run.outcomes == {"rejected": 24}
    assert run.state.is_completed()
    assert sandbox.requests == []
    Aimed(sandbox, "POST", {"B-001": [Drop()]})
    sync(row_of(1))
    unsure = sync(*bad)
    assert unsure.outcomes == {"rejected": 24}
    assert "The journal has 1 more uncertain booking(s)" in str(unsure.state.message)
    assert sync(*bad, resolve={"B-001": "not created"}).state.is_completed()
