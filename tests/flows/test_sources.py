"""What a flow works off besides one file: several of them, and tables of a Python program."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from ended_runs import EndedRun

from flows.import_cases import import_cases
from flows.update_cases import update_cases
from sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("prefect_server", "no_account_from_outside")

HEADER = ["ref", "notes", "customer_1_title", "customer_1_first_names", "customer_1_last_name"]


def person(ref: str | None, last_name: str | None = "Okafor") -> list[str | None]:
    return [ref, "A note", "Ms", "Amara", last_name]


@pytest.fixture
def sandbox(start_sandbox, monkeypatch) -> Sandbox:
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")
    return start_sandbox(cases=3)


def test_a_table_is_worked_off_and_its_rows_count_from_0(sandbox: Sandbox) -> None:
    rows = [person(None), person("T-1"), [None] * 5, person("T-2", None), person("T-3")]
    run = EndedRun.of(import_cases, pd.DataFrame(rows, columns=HEADER, index=[5, 5, 5, 5, 5]))
    assert {row["row"]: row["outcome"] for row in run.rows} == {
        0: "rejected", 1: "created", 3: "rejected", 4: "created",
    }  # fmt: skip
    again = EndedRun.of(import_cases, pa.Table.from_pandas(pd.DataFrame(rows[1:2], columns=HEADER)))
    assert [(row["row"], row["outcome"]) for row in again.rows] == [(0, "existing")]
    assert len(sandbox.store) == 5


def test_several_files_are_worked_off_as_one_and_each_row_says_whose_it_is(
    sandbox: Sandbox, run_log: list[str]
) -> None:
    refs = [str(sandbox.store.case(case_id)["ref"]) for case_id in sandbox.store.ids]
    Path("january.csv").write_text(f"ref,notes\n{refs[0]},one\n{refs[1]},two\n")
    Path("okafor.csv").write_text(f"Notes;Ref\nthree;{refs[2]}\nfour;{refs[0]}\n")
    run = EndedRun.of(update_cases, ["january.csv", "okafor.csv"], outcomes_csv=True)
    assert [(row["file"], row["row"], row["outcome"]) for row in run.rows] == [
        ("january.csv", 2, "rejected"),
        ("january.csv", 3, "updated"),
        ("okafor.csv", 2, "updated"),
        ("okafor.csv", 3, "rejected"),
    ]
    assert "row 3 of file 2" in run.rows[0]["message"]
    rejected = pd.read_excel(run.summary["rejected_file"], dtype=str, engine="calamine")
    assert rejected["rejected_row"].tolist() == ["2 of january.csv", "3 of okafor.csv"]
    assert "okafor" not in "\n".join(run_log)

    Path("else.csv").write_text("ref,new_ref\nA,B\n")
    refused = EndedRun.of(update_cases, ["january.csv", "else.csv"])
    assert str(refused.state.message).startswith("File 2 of the list: It has not the columns")


@pytest.mark.parametrize("source", [17, None, [pd.DataFrame()], {"ref": ["A"]}])
def test_what_is_no_source_is_a_sentence(sandbox: Sandbox, source: object) -> None:
    ended = EndedRun.of(import_cases, source)
    assert str(ended.state.message).startswith("source must be a path or a URL, a list of these")
    assert not sandbox.requests
