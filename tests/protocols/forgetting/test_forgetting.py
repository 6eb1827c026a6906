"""A case is removed from exports, outcomes and the journal, and nothing else is."""

import hashlib
import json
import re
import sqlite3
from argparse import Namespace
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_exports import OURS, publish_export
from read_texts import texts_in

from commands.forget import forget
from protocols.account.journal import Booking, BookingState, journal_path, open_journal
from protocols.account.known import state_folder
from protocols.exports import changes_since, read_export
from protocols.forgetting.of_exports import forget_in_exports
from protocols.forgetting.of_runs import find_in_runs
from protocols.forgetting.traces import Traces, traces_of
from protocols.reading.past_exports import PastExports
from protocols.rows.run_files import run_folder, write_run_files
from schemas.files.source import read_sheet
from schemas.issues import Issue
from schemas.outcomes import (
    APPOINTMENT_OUTCOMES,
    CHANGE_OUTCOMES,
    AppointmentOutcome,
    ChangeOutcome,
    Outcome,
    RowOutcome,
)
from tasks.policy import OutputError, RunError
from tasks.snapshots import open_output
from tasks.workspace import run_workspace

DAYS = [f"2026-01-0{day}T05:00:00+00:00" for day in range(1, 5)]
GONE = "Quill-Case"
CASES = [
    {"id": "a", "ref": "R-1"},
    {"id": GONE, "ref": "Quill 7", "notes": "Quill notes"},
    {"id": "c", "ref": "R-3"},
]
PEOPLE = [{"id": "p", "case_id": "a"}, {"id": "Quill-Person", "case_id": GONE, "title": "Quill"}]
META = [{"case_id": GONE, "field_id": "f", "field_label": "Colour", "value": "Quill red"}]


def change(case_id: str, what: str) -> dict[str, object]:
    return {"table": "cases", "id": case_id, "change": what, "columns": []}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def exports(data: Path) -> Path:
    """Three in a row, the case in the first two, and one by its reference."""
    out = data / "exports"
    first = publish_export(
        out, CASES, PEOPLE, META, [change(each["id"], "added") for each in CASES],
        started_at=DAYS[0],
    )  # fmt: skip
    second = publish_export(
        out, CASES, PEOPLE, META, [change(GONE, "changed"), change("c", "changed")],
        started_at=DAYS[1], compared_with=first.name,
    )  # fmt: skip
    publish_export(out, CASES[1:2], PEOPLE[1:], META, filters={"ref": "quill  7"})
    publish_export(
        out, [CASES[0], CASES[2]], PEOPLE[:1], (), [change(GONE, "removed")],
        started_at=DAYS[3], compared_with=second.name,
    )  # fmt: skip
    return out


def forget_in(data: Path, ref: str = "", case_id: str = "", *, plan: bool = False) -> None:
    forget(
        Namespace(
            ref=ref, case_id=case_id, exports=str(data / "exports"), runs=str(data / "runs"),
            journal=str(data / "journal"), bookings=True, apply=not plan,
        )
    )  # fmt: skip


def test_an_export_without_the_case_is_published_in_the_place_of_each(
    data: Path, exports: Path
) -> None:
    before = {path.stem: json.loads(path.read_text()) for path in exports.glob("manifests/*")}
    forget_in(data, ref="QUILL 7")
    assert "quill" not in texts_in(exports).casefold()
    assert len(list(exports.glob("snapshots/*"))) == len(list(exports.glob("manifests/*"))) == 4
    past = PastExports(open_output(str(exports)), OURS)
    for export, as_of in zip(reversed([*past.published()]), DAYS[:2] + DAYS[3:], strict=True):
        for table in ("cases", "customers", "case_meta", "changes"):
            read_export(table, str(exports), as_of=as_of, check=True)
        assert list(read_export("cases", str(exports), as_of=as_of)["id"].to_pylist()) == ["a", "c"]
        manifest = json.loads((exports / "manifests" / f"{export.name}.json").read_text())
        assert manifest["rows"]["cases"] == 2
        old = manifest["rewritten_from"]
        for kept in ("watermark", "started_at", "finished_at", "account", "schema_version"):
            assert manifest[kept] == before[old][kept]
        sizes = {
            name: (exports / export.snapshot / name).stat().st_size for name in manifest["files"]
        }
        assert {name: file["bytes"] for name, file in manifest["files"].items()} == sizes
    # the exports follow one another as before
    assert changes_since(None, str(exports)).changes["id"].to_pylist() == ["a", "c"]
    latest = json.loads((exports / "latest.json").read_text())
    assert (exports / latest["manifest"]).is_file()
    assert (exports / "latest").resolve() == (exports / latest["snapshot"]).resolve()


def test_the_counts_of_changes_are_those_of_the_file_that_is_left(
    data: Path, exports: Path
) -> None:
    forget_in(data, ref="Quill 7")
    export = [*PastExports(open_output(str(exports)), OURS).published()][1]
    manifest = json.loads((exports / "manifests" / f"{export.name}.json").read_text())
    counts = {name: manifest["changes"][name] for name in ("added", "changed", "removed")}
    assert counts == {"added": 0, "changed": 1, "removed": 0}


def test_exports_that_have_not_got_the_case_stay_as_they_are(data: Path, exports: Path) -> None:
    untouched = publish_export(exports, CASES[:1], PEOPLE[:1], started_at="2026-01-05T00:00:00Z")
    files = {path: path.read_bytes() for path in (exports / untouched.snapshot).iterdir()}
    pointer = (exports / "latest.json").read_bytes()
    forget_in(data, ref="Quill 7")
    assert all(path.read_bytes() == content for path, content in files.items())
    assert (exports / "latest.json").read_bytes() == pointer


def modes_in(folder: Path) -> dict[str, int]:
    """Of files and folders, without the names that exports have of their own."""
    return {
        re.sub(r"-\w+", "", str(path.relative_to(folder))): path.stat().st_mode & 0o777
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.mark.parametrize("group_reads_first", [True, False])
def test_the_group_may_read_what_it_could_before_and_nothing_else(
    data: Path, group_reads_first: bool
) -> None:
    exports = data / "exports"
    first = publish_export(
        open_output(str(exports), group_readable=group_reads_first), CASES, started_at=DAYS[0]
    )
    publish_export(
        open_output(str(exports), group_readable=not group_reads_first), CASES,
        started_at=DAYS[1], compared_with=first.name,
    )  # fmt: skip
    before = modes_in(exports)
    assert set(before.values()) >= {0o600, 0o640, 0o700, 0o750}
    forget_in(data, ref="Quill 7")
    assert "quill" not in texts_in(exports).casefold()
    assert modes_in(exports) == before


def test_exports_in_an_object_store_are_replaced_as_well() -> None:
    output = open_output("mock://bucket/out")
    first = publish_export(output, CASES, PEOPLE, META, started_at=DAYS[0])
    second = publish_export(output, CASES, compared_with=first.name, started_at=DAYS[1])
    forget_in_exports(output, Traces(frozenset({GONE.casefold()}), frozenset({"quill 7"})))
    assert not {first.name, second.name} & {*output.snapshots(), *output.manifests()}
    past = PastExports(output, OURS)
    newest, oldest = past.published()
    assert output.latest()["snapshot"] == newest.snapshot
    assert newest.changes is not None
    assert newest.changes.compared_with == oldest.name
    for export in (newest, oldest):
        file = output.open(f"{export.snapshot}/cases.parquet")
        assert file is not None
        with file:
            content = file.read()
        assert export.files["cases.parquet"].sha256 == hashlib.sha256(content).hexdigest()
        assert pq.read_table(pa.BufferReader(content))["id"].to_pylist() == ["a", "c"]


def test_a_plan_says_where_it_is_and_changes_nothing(
    data: Path, exports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data)
    before = texts_in(data)
    forget_in(data, ref="Quill 7", plan=True)
    assert texts_in(data) == before
    said = capsys.readouterr().out
    assert said.count("rows of cases 1, customers 1, case_meta 1") == 3
    assert "the reference, as its filter" in said
    assert "outcomes.parquet: 2 row(s), 1 mention(s) in rows of others" in said
    assert "rejected.xlsx: 1 row(s)" in said
    assert "Nothing was changed; APPLY=1 removes it." in said
    assert "Quill 7" not in said


def test_while_an_export_or_a_run_is_under_way_nothing_is_rewritten(
    data: Path, exports: Path
) -> None:
    run(data)
    before = texts_in(data / "runs")
    with open_output(str(exports)).workspace(), pytest.raises(OutputError, match="Another run is"):
        forget_in(data, ref="Quill 7")
    assert "Quill-Case" in texts_in(exports)
    with (
        run_workspace(data / "runs") as own,
        pytest.raises(OutputError, match="start this again when it has ended"),
    ):
        forget_in(data, ref="Quill 7")
    assert not own.exists()
    assert texts_in(data / "runs") == before
    assert "Quill-Case" not in texts_in(exports)


def test_what_names_the_case_by_its_id_alone_is_found_after_a_run_that_was_stopped(
    data: Path, exports: Path
) -> None:
    folder = run_folder(str(data / "runs"), "update-cases")
    source = data / "c.csv"
    source.write_text(f"id\n{GONE}")
    sheet = read_sheet(source, is_known=bool)
    source.unlink()
    outcome = ChangeOutcome(2, GONE, "update", Outcome.FAILED, GONE)
    write_run_files(folder, [outcome], sheet, {}, CHANGE_OUTCOMES)
    with run_workspace(data / "runs"), pytest.raises(OutputError):
        forget_in(data, ref="Quill 7")
    assert "Quill-Case" not in texts_in(exports)
    forget_in(data, ref="Quill 7")
    assert "quill" not in texts_in(data).casefold()
    # and of the case nothing is written down any more
    assert "quill" not in texts_in(state_folder()).casefold()


def test_tables_of_an_export_that_never_came_to_its_end_are_removed(
    data: Path, exports: Path
) -> None:
    name = publish_export(exports, CASES, started_at=DAYS[2]).name
    publish_export(exports, CASES, started_at="2026-01-06T00:00:00+00:00")
    (exports / "manifests" / f"{name}.json").unlink()
    forget_in(data, ref="Quill 7")
    assert not (exports / "snapshots" / name).exists()
    assert "quill" not in texts_in(exports).casefold()


def test_a_snapshot_that_cannot_be_read_stops_it_with_what_to_do(data: Path, exports: Path) -> None:
    next(exports.glob("snapshots/*/customers.parquet")).write_bytes(b"PAR1")
    with pytest.raises(OutputError, match="it isn't known whether the case is in it"):
        forget_in(data, ref="Quill 7")


def run(data: Path, *, as_csv: bool = True) -> Path:
    """An import of six rows; the case is in the second and the fifth, and named in the last."""
    path = data / "cases.csv"
    path.parent.mkdir(exist_ok=True)
    lines = ["R-1,", "Quill 7,Quill", "1,Quill 7 High Street", "R-9,", " quill 7,Quill", "R-8,"]
    path.write_text("\n".join(["ref,notes", *lines]))
    outcomes = [
        RowOutcome(2, "R-1", "create", Outcome.CREATED, "a"),
        RowOutcome(3, "Quill 7", "create", Outcome.EXISTING, GONE),
        RowOutcome(4, "1", "none", Outcome.REJECTED, None, "x", "Correct it."),
        RowOutcome(5, "R-9", "create", Outcome.FAILED, None, "y", "Later."),
        RowOutcome(6, "quill 7", "none", Outcome.REJECTED, None, "x", "Correct it."),
        RowOutcome(7, "R-8", "none", Outcome.REJECTED, None, "x", "Not like Quill  7: correct it."),
    ]
    folder = run_folder(str(data / "runs"), "import-cases")
    sheet = read_sheet(path, is_known=lambda name: name in ("ref", "notes"))
    issues = {row: [Issue(row, "ref", "x", "Correct it.")] for row in (4, 6, 7)}
    write_run_files(folder, outcomes, sheet, issues, as_csv=as_csv)
    path.unlink()
    return folder


def test_the_rows_of_a_case_go_out_of_all_files_of_a_run(data: Path) -> None:
    folder = run(data)
    forget_in(data, ref="Quill 7")
    table = pq.read_table(folder / "outcomes.parquet")
    assert table["row"].to_pylist() == [2, 4, 5, 7]
    assert table["message"].to_pylist()[-1] == "Not like (forgotten): correct it."
    text = texts_in(folder)
    # somebody else's cell stays as it is: the file may be fed back in
    assert "Quill 7 High Street" in text
    assert "quill 7" not in text.casefold().replace("quill 7 high street", "")
    assert GONE not in text
    rejected = read_sheet(folder / "rejected.xlsx", is_known=lambda name: name == "ref")
    assert rejected.frame["ref"].to_list() == ["1", "R-8"]
    assert "R-9" in (folder / "outcomes.csv").read_text("utf-8-sig")
    assert "R-9" in text.partition("attention.xlsx")[2]


def test_what_a_killed_run_has_left_half_written_is_removed(data: Path) -> None:
    folder = run(data)
    left = folder / ".rejected.xlsx.0123abcd"
    left.write_text("Quill 7")
    forget_in(data, ref="R-9")
    assert not left.exists()


def test_a_file_of_which_nothing_is_left_is_removed(data: Path) -> None:
    outcomes = [RowOutcome(2, "Quill 7", "create", Outcome.FAILED, None, "y", "Later.")]
    folder = run_folder(str(data / "runs"), "import-cases")
    source = data / "c.csv"
    data.mkdir()
    source.write_text("ref\nQuill 7\n")
    write_run_files(folder, outcomes, read_sheet(source, is_known=bool), {})
    assert (folder / "attention.xlsx").exists()
    forget_in(data, ref="Quill 7")
    assert [path.name for path in folder.iterdir()] == ["outcomes.parquet"]


def test_what_somebody_said_of_a_plan_names_the_case_no_more(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(data) / "approval.json"
    path.write_text('{"approve": true, "by": "Ann", "remark": "but for quill 7", "at": "now"}')
    forget_in(data, ref="Quill 7")
    assert json.loads(path.read_text()) == {
        "approve": True, "by": "Ann", "remark": "but for (forgotten)", "at": "now",
    }  # fmt: skip
    assert "somebody's own" not in capsys.readouterr().out


def test_a_row_that_names_another_case_by_its_id_stays(data: Path) -> None:
    folder = run_folder(str(data / "runs"), "update-cases")
    data.mkdir()
    source = data / "c.csv"
    source.write_text("ref\nQuill 7\nq-2\nR-2")
    outcomes = [
        ChangeOutcome(2, "Quill 7", "update", Outcome.UPDATED, GONE),
        ChangeOutcome(3, "Q-2", "update", Outcome.UPDATED, GONE, before='{"ref": "Quill 7"}'),
        ChangeOutcome(4, "R-2", "update", Outcome.CONFLICT, "b", after='{"ref": "Quill 7"}'),
    ]
    sheet = read_sheet(source, is_known=bool)
    write_run_files(folder, outcomes, sheet, {}, CHANGE_OUTCOMES)
    forget_in(data, case_id="QUILL-CASE")
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    assert [(row["row"], row["after"]) for row in rows] == [(4, '{"ref": "(forgotten)"}')]


def test_keys_of_another_system_are_no_references(data: Path) -> None:
    folder = run_folder(str(data / "runs"), "sync-appointments")
    data.mkdir()
    source = data / "c.csv"
    source.write_text("key,case_ref\nQuill 7,R-1\nk-2,Quill 7\nk-3,R-1")
    outcomes = [
        AppointmentOutcome(2, "Quill 7", "upsert", Outcome.REJECTED),
        AppointmentOutcome(3, "k-2", "upsert", Outcome.REJECTED),
        AppointmentOutcome(4, "k-3", "upsert", Outcome.UNKNOWN, GONE),
    ]
    sheet = read_sheet(source, is_known=bool)
    write_run_files(folder, outcomes, sheet, {}, APPOINTMENT_OUTCOMES)
    traces = Traces(frozenset({GONE.casefold()}), frozenset({"quill 7"}))
    found = {file.path.name: file.rows for file in find_in_runs(data / "runs", traces)}
    assert found == {"rejected.xlsx": 1, "attention.xlsx": 1, "outcomes.parquet": 1}


def test_bookings_go_only_where_that_is_wanted_and_leave_no_byte(data: Path) -> None:
    path = journal_path(str(data / "journal"), OURS)
    case_ids = [GONE, "other", "third"]
    with open_journal(path, writing=True) as journal:
        for number in range(600):
            case_id = case_ids[number % 3]
            booking = Booking(BookingState.EXISTS, case_id, f"{case_id}-appointment-{number}")
            journal.put(f"key {number}", booking)
    given = Namespace(
        ref="", case_id=GONE, exports=str(data / "exports"), runs=str(data / "runs"),
        journal=str(data / "journal"), bookings=False, apply=True,
    )  # fmt: skip
    forget(given)
    with open_journal(path, writing=False) as journal:
        assert journal.count_of_case(GONE) == 200
    forget_in(data, case_id=GONE.lower())
    with open_journal(path, writing=False) as journal:
        assert journal.booking("key 0") is None
        assert journal.booking("key 1") is not None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM booking").fetchone() == (400,)
    assert GONE.encode() not in b"".join(each.read_bytes() for each in path.parent.iterdir())


def test_where_two_cases_have_had_a_reference_the_one_that_is_meant_has_to_be_said() -> None:
    known = [("a", "R-1"), ("b", "r-1 "), ("b", "R-2"), ("a", "R-3")]
    with pytest.raises(RunError, match="2 cases have had this reference"):
        traces_of("R-1", "", known)
    traces = traces_of("", "B", known)
    assert traces.ids == {"b"}
    assert traces.refs == {"r-2"}
    assert traces_of("r-2", "", known).ids == {"b"}
    assert not traces.is_row("a", "R-2")
    assert traces.is_row(None, "R-2")
    assert traces.is_row("B", "R-1")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It is R-1's.", "It is (forgotten)'s."),
        ("R-1 and r-1", "(forgotten) and (forgotten)"),
        ("R-12, R-1-2, XR-1", "R-12, R-1-2, XR-1"),
        (None, None),
    ],
)
def test_a_reference_is_found_in_a_sentence_only_as_a_whole(
    sentence: str | None, expected: str | None
) -> None:
    assert Traces(frozenset(), frozenset({"r-1"})).without_mentions(sentence) == expected
