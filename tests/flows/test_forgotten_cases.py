"""What becomes of exports and runs after a case was forgotten, with the real flows."""

import asyncio
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ended_runs import EndedRun, write_csv
from read_texts import texts_in
from test_export_cases import export, latest, manifest_of

from commands.forget import forget
from flows.bulk_update_cases import bulk_update_cases
from flows.import_cases import import_cases
from flows.undo import undo_bulk_update
from sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("prefect_server")


def forget_in(data: Path, ref: str) -> None:
    forget(
        Namespace(
            ref=ref, case_id="", exports=str(data / "exports"), runs=str(data / "runs"),
            journal=str(data / "journal"), bookings=False, apply=True,
        )
    )  # fmt: skip


def ids_in(output: Path) -> set[str]:
    table = pq.read_table(output / latest(output)["snapshot"] / "cases.parquet")
    return set(table["id"].to_pylist())


def test_exports_go_on_from_one_without_the_case_and_bring_it_back_while_the_crm_has_it(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox, output = start_sandbox(cases=30), tmp_path / "exports"
    store = sandbox.store
    export(output)
    store.change(store.ids[4], notes="changed since")
    assert export(output, mode="incremental")["mode"] == "incremental"
    gone = store.case(store.ids[7])
    assert gone is not None
    forget_in(tmp_path, gone["ref"])
    assert gone["id"] not in texts_in(output)

    # the CRM still has it
    assert export(output, mode="incremental")["mode"] == "full"
    assert "WillSuite counts 30 cases, 1 more than" in manifest_of(output)["reason"]
    assert gone["id"] in ids_in(output)

    forget_in(tmp_path, gone["ref"])
    store.delete(gone["id"])
    store.change(store.ids[3], notes="changed since")
    summary = export(output, mode="incremental")
    assert (summary["mode"], summary["changed"], summary["cases"]) == ("incremental", 1, 29)
    assert ids_in(output) == set(store.ids)


def test_the_way_back_from_an_update_has_the_case_no_more_and_holds_for_the_others(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_JOB_POLL_SECONDS", "0.05")
    sandbox = start_sandbox(cases=5)
    store, runs = sandbox.store, str(tmp_path / "runs")
    refs = [store.change(case_id, notes=f"Vexquib {case_id}")["ref"] for case_id in store.ids]
    source = write_csv("rows.csv", [{"ref": ref, "notes": "New"} for ref in refs])
    updated = EndedRun.of(bulk_update_cases, source, runs)
    planned = asyncio.run(undo_bulk_update(updated.summary["outcomes_file"], runs))
    gone, *kept = store.ids[1:] + store.ids[:1]
    forget_in(tmp_path, refs[1])
    assert gone not in texts_in(tmp_path / "runs")
    assert kept[0] in texts_in(tmp_path / "runs")

    back = EndedRun.of(
        bulk_update_cases, planned["source"], runs, plan=planned["plan_file"], blank_words=[]
    )
    assert back.summary["outcomes"] == {"updated": 4}
    assert store.case(gone)["notes"] == "New"  # type: ignore[index]
    assert all(store.case(each)["notes"] == f"Vexquib {each}" for each in kept)  # type: ignore[index]
    forget_in(tmp_path, refs[0])
    forget_in(tmp_path, refs[2])
    forget_in(tmp_path, refs[3])
    forget_in(tmp_path, refs[4])
    assert not Path(planned["source"]).exists()


def test_of_an_import_no_file_names_the_case_any_more(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=5)
    source = tmp_path / "cases.csv"
    header = "ref,notes,customer_1_title,customer_1_first_names,customer_1_last_name"
    good, bad = "Vexquib-1,,Ms,Vexquibina,Vexquib", "Vexquib-2,,,Vexquibello,Vexquibber"
    source.write_text("\n".join([header, good, bad, "R-3,,,Ann,Onymous"]))
    ended = EndedRun.of(import_cases, source, str(tmp_path / "runs"))
    assert ended.summary["outcomes"] == {"created": 1, "rejected": 2}
    (made,) = sandbox.store.listing(ref="Vexquib-1")
    forget_in(tmp_path, "vexquib-1")
    forget_in(tmp_path, "Vexquib-2")
    said = texts_in(tmp_path / "runs")
    assert "vexquib" not in said.casefold()
    assert made not in said
    assert "Onymous" in said
