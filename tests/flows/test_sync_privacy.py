"""Nobody's personal data or secret leaves a run but into the run's own folder."""

import asyncio
import csv
import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ended_runs import EndedRun, summary_of

from flows.sync_appointments import sync_appointments
from sandbox.faults import Applied, Change, Drop, Fault, Html, Status, Truncate
from sandbox.server import Options, Sandbox

pytestmark = pytest.mark.leaks

StartSandbox = Callable[..., Sandbox]
Leaks = Callable[[Sequence[str]], list[str]]

CASES = Sandbox(Options(cases=30)).store.ids
PERSON = {
    "key": "Vexquib-Key-{}",
    "action": "",
    "case_id": "",
    "case_ref": "",
    "adviser_email": "vexquib.user@example.org",
    "start_time": "2031-11-23 09:17",
    "end_time": "2031-11-23 10:19",
    "location": "Vexquib Hospice, QX9 9QX",
    "notes": "Vexquib illness {}",
    "email_recipient": "vexquib@example.org",
    "email_confirmation": "yes",
    "sms_recipient": "07700900987",
    "sms_notification": "yes",
}
"""Every cell that has a word is one to be looked for, but for the flags."""
BAD = {
    "key": "",
    "action": "Vexquib-move",
    "adviser_email": "vexquib at example",
    "start_time": "Vexquib morning",
    "end_time": "2031-11-23 08:11",
    "sms_recipient": "7700900987",
    "email_confirmation": "Vexquib-maybe",
}
"""Of each a row that is rejected for it."""
WORDS = json.dumps(
    {"message": "Vexquib message", "errors": {"notes": ["Vexquib illness, said Vexquib."]}}
)
# no bare time of day: it would be found once a day in the time of a log line
CANARIES = ["exquib", "EXQUIB", "7700900987", "QX9 9QX", "2031-11-23", "23/11/2031"]


def people(*numbers: int, **cells: str) -> list[dict[str, str]]:
    rows = [{name: cell.format(number) for name, cell in PERSON.items()} for number in numbers]
    return [row | {"case_id": CASES[n % 30]} | cells for n, row in zip(numbers, rows, strict=True)]


def write_rows(path: str, rows: Sequence[dict[str, str]], header: Sequence[str] = ()) -> str:
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header or list(rows[0]))
        writer.writerows(row.values() for row in rows)
    return path


def run(rows: Sequence[dict[str, str]] | str, **parameters: Any) -> Any:
    """What the flow gives back, or the error with which it ends."""
    source = rows if isinstance(rows, str) else write_rows("appointments.csv", rows)
    accepting = {"accept_swapped_recipients": True} | parameters
    return EndedRun.of(sync_appointments, source, **accepting).result


def outcomes_of(result: Any) -> dict[str, int]:
    return dict(summary_of(result)["outcomes"])


@pytest.fixture
def leaks(leaked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> Leaks:
    """Which words a run has shown, or Prefect, the state or the journal's folder keeps."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("sandbox.appointments.USERS", ("vexquib.user@example.org",))

    def look(words: Sequence[str]) -> list[str]:
        assert list(Path("data").rglob("*.sqlite3"))
        return leaked(words, "sync-appointments", Path("data"), Path("state"))

    return look


def test_no_cell_of_any_row_and_no_word_of_the_server_is_shown_or_kept(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    leaks: Leaks,
) -> None:
    monkeypatch.setattr("protocols.appointments.sync.Syncer.failures_in_a_row", 30)
    # an answer that is swapped and shifted: what is said of it is said without the values
    sandbox = start_sandbox(cases=30, swapped_emails="in_answers", appointment_zone="Europe/London")
    ref = "Vexquib-Ref"
    sandbox.store.change(CASES[5], ref=ref)
    good = [*people(*range(5)), *people(5, case_id="", case_ref=ref)]
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("WILLSUITE_TIMEZONE", "America/New_York")
        assert outcomes_of(run(good)) == {"partial": 1, "not_attempted": 5}
    unaware = run(good, accept_swapped_recipients=False)
    assert outcomes_of(unaware) == {"updated": 1, "partial": 1, "not_attempted": 4}
    assert outcomes_of(run(good)) == {"created": 4, "updated": 1, "unchanged": 1}
    assert outcomes_of(run(good)) == {"unchanged": 6}
    nowhere = people(6, case_id="", case_ref="Vexquib-Nowhere")
    assert outcomes_of(run(nowhere)) == {"rejected": 1}
    bad = [
        row | {name: cell} for (name, cell), row in zip(BAD.items(), people(*[9] * 7), strict=True)
    ]
    for number, row in enumerate(bad[1:]):
        row["key"] += f"-{number}"
    assert outcomes_of(run(bad)) == {"rejected": len(BAD)}
    run(people(7, 8), dry_run=True)

    bodies = [Status(422, body=WORDS), Status(400, body=WORDS), Status(409, body=WORDS),
              Status(500, body=WORDS), Status(403, body=WORDS), Status(200, body=WORDS),
              Status(404, body=WORDS), Applied(Status(502, body=WORDS)), Truncate(0.9),
              Html(), Drop()]  # fmt: skip
    sandbox.faults = [Fault(body, method="POST", path="/cases/*") for body in bodies]
    result = run(people(*range(10, 27)))
    assert outcomes_of(result).keys() == {"created", "rejected", "unknown"}
    sandbox.faults = [Fault(body, method="PATCH") for body in bodies]
    changed = people(*range(6), notes="Vexquib worse", sms_confirmation="yes")
    assert outcomes_of(run(changed)).keys() >= {"unknown"}
    sandbox.faults = [Fault(body, method="DELETE") for body in bodies]
    assert outcomes_of(run(people(*range(5), action="delete"))).keys() >= {"rejected"}

    assert leaks([*CANARIES, "sandbox-secret", *sandbox.tokens]) == []
    # it is all there for the person, in the folder of the run
    files = list(Path("runs").glob("*/*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    tables = [pq.read_table(file).to_pylist() for file in files if file.suffix == ".parquet"]
    assert any("Vexquib illness, said Vexquib" in str(table) for table in tables)
    assert any("Vexquib-Key-5" in str(table) for table in tables)


def test_neither_a_file_that_cannot_be_used_nor_a_fault_of_ours_nor_a_wrong_word_shows_a_cell(
    start_sandbox: StartSandbox,
    monkeypatch: pytest.MonkeyPatch,
    leaks: Leaks,
) -> None:
    sandbox = start_sandbox(cases=30)
    run(people(1))
    [row] = people(2)
    half_known = [*list(row)[:-1], "Vexquib column"]
    header = list(row)
    unfit = [
        write_rows("headerless.csv", [row], list(row.values())),
        write_rows("double.csv", [row], [*header[:-1], "key"]),
        write_rows("nul.csv", [{name: f"{cell}\0" for name, cell in row.items()}]),
    ]
    for source in unfit:
        result = run(source)
        assert isinstance(result, Exception) or outcomes_of(result) == {"rejected": 1}, source
        assert "exquib" not in str(result), source
    run(write_rows("half.csv", [row], half_known), extra="ignore")

    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "vexquib-secret-1")
    assert "refused the client id and secret" in str(run(people(3)))
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "sandbox-secret")

    # whatever breaks in the middle of a row, it breaks as it would with that row at hand
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise KeyError("a key")

    for number, place in enumerate(
        ["protocols.appointments.sync.end_in_step", "protocols.appointments.sync.creating"]
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, broken)
            assert isinstance(run(people(10 + number)), KeyError)
    assert leaks([*CANARIES, "vexquib-secret-1", "sandbox-secret"]) == []
    assert sandbox.requests


def test_a_run_that_is_cancelled_shows_no_cell(start_sandbox: StartSandbox, leaks: Leaks) -> None:
    sandbox = start_sandbox(cases=30)
    source = write_rows("cancelled.csv", people(*range(1, 20)))

    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(sync_appointments(source=source, output="runs"))
        stop = Change(lambda _store: loop.call_soon_threadsafe(task.cancel))
        sandbox.faults = [Fault(stop, method="POST", path="/cases/*", skip=4)]
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    again = outcomes_of(run(source))
    assert again.keys() == {"created", "unchanged", "unknown"}
    assert len(sandbox.appointments) <= 19
    assert leaks([*CANARIES, "sandbox-secret"]) == []


def test_the_journal_shows_no_key_and_no_value_while_it_is_written_either(
    start_sandbox: StartSandbox, leaks: Leaks
) -> None:
    sandbox = start_sandbox(cases=30)
    seen: list[bytes] = []

    def look(_store: object) -> None:
        files = list(Path("data/journal").iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert any(file.name.endswith("-wal") and file.stat().st_size for file in files)
        seen.append(b"".join(file.read_bytes() for file in files))

    sandbox.faults = [Fault(Change(look), method="POST", path="/cases/*", times=None)]
    assert outcomes_of(run(people(*range(1, 6)))) == {"created": 5}
    assert len(seen) == 5
    assert stat.S_IMODE(Path("data/journal").stat().st_mode) == 0o700
    assert [word for word in CANARIES if word.encode() in b"".join(seen)] == []
    ids = [each["id"].encode() for each in sandbox.appointments.values()]
    [path] = Path("data/journal").glob("*.sqlite3")
    assert all(each in path.read_bytes() for each in ids)  # it is the right file
    assert leaks(CANARIES) == []
