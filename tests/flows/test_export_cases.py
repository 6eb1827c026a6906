"""The export through the real engine, against a server on a socket."""

import asyncio
import itertools
import json
import random
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from prefect.client.schemas.objects import State

from flows.export_cases import ShrunkenExportError, UnverifiedExportError, export_cases
from protocols.pseudonymised import write_pseudonymised
from sandbox.faults import Action, Change, Drip, Drop, Fault, Html, Status, Truncate
from sandbox.people import CRM_FIELDS, case_of
from sandbox.server import Sandbox
from sandbox.store import Store
from sandbox.views import Views
from schemas.case_tables import SCHEMAS, SEEN
from tasks.policy import OutputError, RunError
from tasks.snapshots import LocalOutput
from willsuite import load_settings
from willsuite.errors import (
    AuthenticationError,
    ConfigurationError,
    ServerError,
    TokenUnavailableError,
)

pytestmark = pytest.mark.usefixtures("prefect_server")

StartSandbox = Callable[..., Sandbox]
LABELS = {field["id"]: field["field_label"] for field in CRM_FIELDS}


def export(output: Path, **parameters: Any) -> dict[str, Any]:
    return dict(asyncio.run(export_cases(output=str(output), **parameters)))


def end_of(output: Path, **parameters: Any) -> State[Any]:
    state: State[Any] = asyncio.run(
        export_cases(output=str(output), return_state=True, **parameters)
    )
    return state


def latest(output: Path) -> dict[str, str]:
    return dict(json.loads((output / "latest.json").read_text()))


def manifest_of(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / latest(output)["manifest"]).read_text()))


def published(output: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables that latest.json names, as rows, without the times of our own."""
    folder = output / latest(output)["snapshot"]
    read = {name: pq.read_table(folder / f"{name}.parquet") for name in SCHEMAS._fields}
    read["cases"] = read["cases"].drop_columns([*SEEN])
    return {name: table.to_pylist() for name, table in read.items()}


def expected(store: Store) -> dict[str, list[dict[str, Any]]]:
    """The same tables made from the server's own data, the plain way."""
    tables: dict[str, list[dict[str, Any]]] = {"cases": [], "customers": [], "case_meta": []}
    for case_id in store.ids:
        case = store.case(case_id)
        assert case is not None
        row = {name: case.get(name) for name in SCHEMAS.cases.names if name not in SEEN}
        tables["cases"].append(row | {"is_active": bool(case["is_active"])})
        for person in case["customers"]:
            row = {name: person.get(name) for name in SCHEMAS.customers.names}
            flag = person.get("is_deceased")
            row |= {"case_id": case_id, "is_deceased": None if flag is None else bool(flag)}
            born = row["date_of_birth"]
            row["date_of_birth_date"] = date.fromisoformat(born) if born else None
            tables["customers"].append(row)
        tables["case_meta"] += [
            {
                "case_id": case_id,
                "field_id": field_id,
                "field_label": LABELS.get(field_id),
                "value": value,
            }
            for field_id, value in case["meta"].items()
        ]
    return tables


def newcomer(number: int) -> dict[str, Any]:
    """A case that somebody adds while the export runs."""
    case_id = f"{random.Random(number).getrandbits(128):032x}"
    return case_of(case_id, ref=f"NEW-{number}", notes=None, meta={}, is_active=1, customers=[])


def everything_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the lock apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != ".lock"
    }


def test_every_value_of_every_case_arrives_unchanged(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=250)
    summary = export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    assert summary["cases"] == 250
    assert summary["verification"] == manifest_of(tmp_path / "out")["verification"] == "quiet"


def test_a_quiet_export_asks_for_each_page_once_and_for_four_things_more(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=250)
    export(tmp_path / "out")
    asked = [(seen.path, seen.query) for seen in sandbox.requests]
    pages = [query["page"] for _, query in asked if query.get("perPage") == "100"]
    plain = [q["page"] for _, q in asked if q.get("perPage") == "100" and "updatedAfter" not in q]
    assert sorted(plain) == ["1", "2", "3", "4"]  # 4 is empty, which proves the end
    assert len(pages) == 5  # and one page of recent changes
    others = sorted(path for path, query in asked if query.get("perPage") != "100")
    assert others == ["/cases", "/crm-fields", "/oauth/token"]


def test_only_the_given_host_is_asked_although_the_links_name_another(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=250)
    export(tmp_path / "out")
    assert {seen.host for seen in sandbox.requests} == {sandbox.url.split("/")[2]}


@pytest.mark.parametrize(
    "behaviour",
    [{"max_per_page": 37}, {"words_as_flags": True}, {"order": "newest"}, {"order": "oldest"}],
)
def test_documented_liberties_of_the_server_change_nothing(
    start_sandbox: StartSandbox, tmp_path: Path, behaviour: dict[str, Any]
) -> None:
    sandbox = start_sandbox(cases=120, **behaviour)
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    assert manifest_of(tmp_path / "out")["verification"] == "quiet"


def test_every_kind_of_passing_fault_is_survived(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=900, token_seconds=2)
    sandbox.faults = [
        Fault(Status(429, {"Retry-After": "1"}), path="/cases", page=2),
        Fault(Status(500), path="/cases", page=3),
        Fault(Status(503, body="<h1>down</h1>"), path="/cases", page=4),
        Fault(Truncate(), path="/cases", page=5),
        Fault(Truncate(announced=False), path="/cases", page=6),
        Fault(Drop(), path="/cases", page=7),
        Fault(Html(), path="/cases", page=8),
        Fault(Status(401), path="/cases", page=9),
        Fault(Status(500), path="/oauth/token"),
    ]
    export(tmp_path / "out")
    assert all(fault.played for fault in sandbox.faults)
    assert published(tmp_path / "out") == expected(sandbox.store)


def test_a_dripping_page_is_given_up_and_asked_for_again(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILLSUITE_READ_TIMEOUT_SECONDS", "1")
    sandbox = start_sandbox(cases=150)
    sandbox.faults = [Fault(Drip(), path="/cases", page=2)]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)


def test_a_rate_limit_costs_one_refusal_and_no_case(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.gate.WINDOW_SECONDS", 3.0)
    sandbox = start_sandbox(cases=1000, requests_per_minute=9)
    refused = []
    monkeypatch.setattr(
        "willsuite.pacing.Pacer._refused",
        _counting(refused, __import__("willsuite.pacing").pacing.Pacer._refused),
    )
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    windows = len([s for s in sandbox.requests if s.path != "/oauth/token"]) // 9 + 1
    assert 1 <= len(refused) <= windows


def _counting(calls: list[int], real: Callable[..., None]) -> Callable[..., None]:
    def counted(*args: Any) -> None:
        calls.append(1)
        real(*args)

    return counted


def test_cases_that_slip_between_pages_are_found_by_another_sweep(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=400)
    first_ids = sandbox.store.ids[:3]
    leave = Change(lambda store: [store.delete(case_id) for case_id in first_ids])
    sandbox.faults = [Fault(leave, path="/cases", page=3)]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    manifest = manifest_of(tmp_path / "out")
    assert manifest["verification"] == "converged"
    assert [sweep["page_size"] for sweep in manifest["sweeps"]][:2] == [100, 97]
    assert manifest["gone"] == 3


def test_a_change_behind_the_cursor_is_caught_up_with_without_another_sweep(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=400)
    first_id = sandbox.store.ids[0]
    change = Change(lambda store: store.change(first_id, notes="changed behind the cursor"))
    sandbox.faults = [Fault(change, path="/cases", page=3)]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    manifest = manifest_of(tmp_path / "out")
    assert (manifest["verification"], manifest["caught_up"]) == ("quiet", 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ["id", "newest"])
def test_whatever_moves_while_pages_are_read_the_export_is_what_the_server_has(
    start_sandbox: StartSandbox, tmp_path: Path, seed: int, order: str
) -> None:
    sandbox = start_sandbox(cases=300, seed=seed, order=order)
    rng = random.Random(seed)

    def disturb(store: Store) -> None:
        victim = rng.choice(store.ids)
        rng.choice(
            [
                lambda: store.delete(victim),
                lambda: store.put(newcomer(rng.getrandbits(40))),
                lambda: store.change(victim, notes="changed meanwhile"),
            ]
        )()

    sandbox.faults = [Fault(Change(disturb), path="/cases", skip=1, times=5)]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)


def test_a_list_that_never_settles_fails_and_publishes_nothing(
    start_sandbox: StartSandbox, tmp_path: Path, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=60)
    numbers = iter(range(10_000))
    grow = Change(lambda store: store.put(newcomer(next(numbers))))
    sandbox.faults = [Fault(grow, path="/cases", times=None)]
    with pytest.raises(UnverifiedExportError, match="could not be verified"):
        export(tmp_path / "out")
    assert not (tmp_path / "out" / "latest.json").exists()
    export(tmp_path / "out", allow_unverified=True)
    assert manifest_of(tmp_path / "out")["verification"] == "unconverged"


def test_an_account_without_cases_gives_empty_tables_with_the_same_schemas(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=0)
    export(tmp_path / "out")
    folder = tmp_path / "out" / latest(tmp_path / "out")["snapshot"]
    for name, schema in SCHEMAS._asdict().items():
        table = pq.read_table(folder / f"{name}.parquet")
        assert table.schema.equals(schema)
        assert len(table) == 0


def test_pandas_pyarrow_duckdb_and_polars_open_a_snapshot(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=130)
    summary = export(tmp_path / "out")
    folder = Path(summary["snapshot"])
    for name in SCHEMAS._fields:
        path = folder / f"{name}.parquet"
        counts = {
            len(pd.read_parquet(path)),
            pads.dataset(path).count_rows(),
            len(pl.read_parquet(path)),
            len(duckdb.sql(f"select * from '{path}'").fetchall()),
        }
        assert counts == {summary[name]}
    assert len(pl.read_parquet(folder / "cases*.parquet")) == 130
    assert len(pd.read_parquet(tmp_path / "out" / "latest" / "cases.parquet")) == 130


@pytest.mark.parametrize(
    ("filters", "wire"),
    [
        ({"ref": "WS-000007"}, {"ref": "WS-000007"}),
        ({"postcode": "QX1 1ZZ"}, {"postcode": "QX1 1ZZ"}),
        ({"updated_after": "2020-01-31"}, {"updatedAfter": "2020-01-31 00:00:00"}),
        ({"updated_after": "2020-01-31T10:00:00+02:00"}, {"updatedAfter": "2020-01-31 08:00:00"}),
    ],
)
def test_filters_reach_the_server_and_the_manifest(
    start_sandbox: StartSandbox, tmp_path: Path, filters: dict[str, str], wire: dict[str, str]
) -> None:
    sandbox = start_sandbox(cases=120)
    summary = export(tmp_path / "out", **filters)
    first = next(seen for seen in sandbox.requests if seen.path == "/cases")
    assert first.query == {"page": "1", "perPage": "100", **wire}
    assert manifest_of(tmp_path / "out")["filters"] == wire
    ids = sandbox.store.listing(ref=filters.get("ref"), postcode=filters.get("postcode"))
    assert summary["cases"] == len(ids)


def test_a_filtered_export_does_not_take_the_place_of_the_full_one(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=120)
    export(tmp_path / "out")
    before = latest(tmp_path / "out")
    summary = export(tmp_path / "out", ref="WS-000007")
    assert latest(tmp_path / "out") == before
    assert not summary["is_latest"]
    assert len(pq.read_table(Path(summary["snapshot"]) / "cases.parquet")) == 1


def test_old_snapshots_go_and_the_newest_stay(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_sandbox(cases=5)
    # within one second the random part of a name orders them
    ids = (UUID(int=number << 96) for number in itertools.count())
    monkeypatch.setattr("flows.export_cases.uuid4", lambda: next(ids))
    names = [Path(export(tmp_path / "out", keep_last=2)["snapshot"]).name for _ in range(4)]
    left = {path.name for path in (tmp_path / "out" / "snapshots").iterdir()}
    assert len(left) == 2
    assert names[-1] in left
    assert latest(tmp_path / "out")["snapshot"] == f"snapshots/{names[-1]}"


def test_another_account_is_refused_before_anything_is_asked_and_touches_nothing(
    start_sandbox: StartSandbox, tmp_path: Path, run_log: list[str]
) -> None:
    start_sandbox(cases=40)
    for _ in range(2):
        export(tmp_path / "out")
    before, account = everything_in(tmp_path / "out"), load_settings().account_name
    assert latest(tmp_path / "out")["account"] == manifest_of(tmp_path / "out")["account"]
    assert latest(tmp_path / "out")["account"] == account
    other = start_sandbox(cases=5)
    for parameters in ({"keep_last": 1}, {"ref": "WS-000001"}, {"allow_shrink": True}):
        state = end_of(tmp_path / "out", **parameters)
        assert state.is_failed()
        assert f"are of another WillSuite account ({account})" in str(state.message)
        assert "another output folder" in str(state.message)
    assert other.requests == []
    assert everything_in(tmp_path / "out") == before
    assert "Traceback" not in "\n".join(run_log)


def test_another_accounts_export_that_was_published_meanwhile_stays(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    """Where an output has no lock."""
    sandbox = start_sandbox(cases=150)
    theirs = {"snapshot": "snapshots/1", "account": "0123456789abcdef"}
    (tmp_path / "out").mkdir()
    arrive = Change(lambda _: (tmp_path / "out" / "latest.json").write_text(json.dumps(theirs)))
    sandbox.faults = [Fault(arrive, path="/cases", page=2)]
    assert "another WillSuite account" in str(end_of(tmp_path / "out").message)
    assert latest(tmp_path / "out") == theirs
    assert not (tmp_path / "out" / "snapshots").exists()


def test_renewed_keys_go_on_under_the_accounts_old_name(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_sandbox(cases=5)
    export(tmp_path / "out")
    account = latest(tmp_path / "out")["account"]
    start_sandbox(cases=5)
    monkeypatch.setenv("WILLSUITE_ACCOUNT", account)
    assert export(tmp_path / "out")["is_latest"]
    assert latest(tmp_path / "out")["account"] == account


def unmark(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["account"]
    path.write_text(json.dumps(content))


def test_exports_from_before_accounts_were_noted_are_adopted_once(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=5)
    output = tmp_path / "out"
    export(output)
    for path in (output / "latest.json", *output.glob("manifests/*.json")):
        unmark(path)
    summary = export(output, keep_last=1)
    assert (summary["is_latest"], summary["pruned"]) == (True, 1)
    start_sandbox(cases=5)
    assert "another WillSuite account" in str(end_of(output).message)


def test_an_export_with_far_fewer_cases_is_not_published_unless_that_is_allowed(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=120)
    output = tmp_path / "out"
    export(output)
    export(output, ref="WS-000007")  # fewer by nature, and nothing to measure by
    for case_id in sandbox.store.ids[:10]:
        sandbox.store.delete(case_id)
    before = everything_in(output)
    with pytest.raises(ShrunkenExportError) as refused:
        export(output)
    said = str(refused.value)
    assert "110 cases" in said
    assert f"({latest(output)['snapshot']}) has 120;" in said
    assert "allow_shrink=True" in said
    assert everything_in(output) == before
    assert export(output, allow_shrink=True)["is_latest"]
    assert export(output)["cases"] == 110


@pytest.mark.parametrize(("cases", "gone"), [(120, 9), (240, 12)])
def test_a_few_cases_less_are_published(
    start_sandbox: StartSandbox, tmp_path: Path, cases: int, gone: int
) -> None:
    sandbox = start_sandbox(cases=cases)
    export(tmp_path / "out")
    for case_id in sandbox.store.ids[:gone]:
        sandbox.store.delete(case_id)
    assert export(tmp_path / "out")["cases"] == cases - gone


def test_filtered_exports_neither_prune_a_full_one_nor_take_its_place_when_the_pointer_is_lost(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=120)
    output = tmp_path / "out"
    export(output)
    full = latest(output)
    (output / "latest.json").write_text("{")
    (output / "latest").unlink()
    for number in range(3):
        assert not export(output, ref=f"WS-00000{number}", keep_last=1)["is_latest"]
    assert latest(output) == full
    assert (output / "latest").resolve() == output / full["snapshot"]
    assert len(list((output / "snapshots").iterdir())) == 2


def test_files_are_for_their_owner_only_and_nothing_temporary_is_left(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=30)
    output = tmp_path / "out"
    export(output)
    for path in [output, *output.rglob("*")]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
    assert {path.name for path in output.iterdir()} == {
        ".lock", "latest", "latest.json", "manifests", "snapshots",
    }  # fmt: skip


def test_a_group_may_read_an_export_where_it_shall_or_a_copy_without_the_people(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_sandbox(cases=60)
    output, to = tmp_path / "out", tmp_path / "copies"
    export(output, group_readable=True)
    for path in [output, *output.rglob("*")]:
        if not path.is_symlink() and path.name != ".lock":
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o750 if path.is_dir() else 0o640), path

    monkeypatch.setenv("WILLSUITE_PSEUDONYM_KEY", "k" * 32)
    write_pseudonymised(str(output), str(to))
    told = {(row["field_label"], row["value"]) for row in published_meta(to)}
    lists = {field["field_label"]: field["options"] for field in CRM_FIELDS if field["options"]}
    assert told
    assert all(value in lists.get(label, ()) for label, value in told)
    state = end_of(to)
    assert state.is_failed()
    assert "are pseudonymised copies: give this export one another" in str(state.message)


def published_meta(output: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(output / "latest" / "case_meta.parquet").to_pylist())


def test_the_watermark_is_26_hours_before_the_servers_own_start(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    start_sandbox(cases=5)
    export(tmp_path / "out")
    manifest = manifest_of(tmp_path / "out")
    started = pd.Timestamp(manifest["started_at"])
    assert manifest["clock"] == "server"
    assert pd.Timestamp(manifest["watermark"], tz="UTC") == started - pd.Timedelta(hours=26)
    assert latest(tmp_path / "out")["watermark"] == manifest["watermark"]


def test_fields_the_documents_do_not_know_are_kept_counted_and_named(
    start_sandbox: StartSandbox, tmp_path: Path, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=20)
    for case_id in sandbox.store.ids[:3]:
        sandbox.store.case(case_id)["shoe_size"] = 9  # type: ignore[index]
    sandbox.store.case(sandbox.store.ids[4])["is_active"] = "perhaps"  # type: ignore[index]
    export(tmp_path / "out")
    manifest = manifest_of(tmp_path / "out")
    assert manifest["unknown_fields"] == {"case.shoe_size": 3}
    assert manifest["unread_values"] == {"case.is_active": 1}
    extras = {row["id"]: row["extra"] for row in published(tmp_path / "out")["cases"]}
    assert {key for key, extra in extras.items() if extra} == set(sandbox.store.ids[:3])
    assert extras[sandbox.store.ids[0]] == '{"shoe_size":9}'
    assert any("(case.shoe_size); they are kept in the column `extra`" in line for line in run_log)


@pytest.mark.parametrize("shown", ["first", "none"])
def test_people_whom_the_list_leaves_out_are_exported_and_it_is_said(
    start_sandbox: StartSandbox, tmp_path: Path, shown: Literal["first", "none"]
) -> None:
    sandbox = start_sandbox(cases=120, views=Views(listed_people=shown))
    state = end_of(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    of_several = 0 if shown == "none" else 1
    cases = [sandbox.store.case(case_id) for case_id in sandbox.store.ids]
    lacking = sum(len(case["customers"]) > of_several for case in cases if case)
    assert manifest_of(tmp_path / "out")["completed"] == lacking > 20
    assert f"left people of {lacking} case(s) out" in str(state.message)


@pytest.mark.parametrize("names", ["those of one", "none"])
def test_people_whom_neither_the_list_nor_the_names_show_are_exported(
    start_sandbox: StartSandbox, tmp_path: Path, names: str
) -> None:
    sandbox = start_sandbox(cases=40, views=Views(listed_people="first"))
    cases = [sandbox.store.case(case_id) for case_id in sandbox.store.ids]
    for case in cases:
        case["full_names"] = case["full_names"].split(" & ")[0] if names != "none" else ""  # type: ignore[index]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)


def test_people_added_to_a_case_of_nobody_are_exported_though_its_names_stay(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=40, views=Views(listed_people="none"))
    sandbox.store.case(sandbox.store.ids[-1])["full_names"] = ""  # type: ignore[index]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    sandbox.store.case(sandbox.store.ids[7])["full_names"] = ""  # type: ignore[index]
    sandbox.store.change(sandbox.store.ids[7], notes="seen")
    export(tmp_path / "out", mode="incremental")
    assert published(tmp_path / "out") == expected(sandbox.store)


def test_names_of_people_who_are_in_a_case_no_more_cost_a_few_questions(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=60)
    for case_id in sandbox.store.ids[:40]:
        sandbox.store.case(case_id)["full_names"] += " & Ms Once There"  # type: ignore[index]
    export(tmp_path / "out")
    assert published(tmp_path / "out") == expected(sandbox.store)
    assert manifest_of(tmp_path / "out")["completed"] == 0
    by_id = [seen for seen in sandbox.requests if seen.path.startswith("/cases/")]
    assert len(by_id) == 5


def test_a_case_with_people_left_out_that_cannot_be_read_is_counted(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = start_sandbox(cases=60, views=Views(listed_people="none"))
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr("tasks.cases.get_cases.retry_delay_seconds", 0)
    broken = sandbox.store.ids[7]
    sandbox.faults = [Fault(Status(500), path=f"/cases/{broken}", times=None)]
    state = end_of(tmp_path / "out")
    manifest = manifest_of(tmp_path / "out")
    assert manifest["incomplete"] == 1
    assert "1 case(s) can't be read by their ids and lack people" in str(state.message)
    lost = sandbox.store.case(broken)["customers"]  # type: ignore[index]
    assert manifest["rows"]["customers"] == len(expected(sandbox.store)["customers"]) - len(lost)


def test_a_date_of_birth_that_is_an_instant_is_its_day_in_london(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=60, views=Views(birth_dates="London"))
    export(tmp_path / "out")
    days = [row["date_of_birth_date"] for row in published(tmp_path / "out")["customers"]]
    assert days == [row["date_of_birth_date"] for row in expected(sandbox.store)["customers"]]
    assert manifest_of(tmp_path / "out")["date_of_birth_forms"] == {
        "instant": sum(day is not None for day in days)
    }


def wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "canary-wrong-secret")


def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILLSUITE_BASE_URL", "http://willsuite.example/engine/api")


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILLSUITE_ACCOUNT", load_settings().account_name)
    monkeypatch.setenv("WILLSUITE_BASE_URL", "http://127.0.0.1:9/engine/api")


def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WILLSUITE_CLIENT_ID")


def nothing(_monkeypatch: pytest.MonkeyPatch) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "parameters", "error", "advice"),
    [
        (wrong_secret, {}, AuthenticationError, "check WILLSUITE_CLIENT_ID and"),
        (plain_http, {}, ConfigurationError, "must start with https://"),
        (unreachable, {}, TokenUnavailableError, "Check WILLSUITE_BASE_URL"),
        (no_credentials, {}, ConfigurationError, "WILLSUITE_CLIENT_ID must be set"),
        (nothing, {"mode": "partial"}, RunError, 'mode must be "full", "incremental" or "auto"'),
        (nothing, {"overlap_hours": -1}, RunError, "overlap_hours must be a number from 0"),
        (nothing, {"updated_after": "soon"}, RunError, "must be a time like"),
        (nothing, {"keep_last": 0}, RunError, "at least 1"),
        (nothing, {"connection": "nowhere"}, ConfigurationError, "There is no block"),
    ],
)
def test_a_run_that_cannot_work_says_what_to_do_and_leaves_the_last_export_alone(
    start_sandbox: StartSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_log: list[str],
    spoil: Callable[[pytest.MonkeyPatch], None],
    parameters: dict[str, Any],
    error: type[Exception],
    advice: str,
) -> None:
    start_sandbox(cases=20)
    export(tmp_path / "out")
    before = everything_in(tmp_path / "out")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    spoil(monkeypatch)
    run_log.clear()
    state = end_of(tmp_path / "out", **parameters)
    assert state.is_failed()
    assert advice in str(state.message)
    assert "\n" not in str(state.message)
    assert isinstance(asyncio.run(state.aresult(raise_on_failure=False)), error)
    assert advice.replace('"', "") in run_log[-1].replace('\\"', "").replace('"', "")
    log = "\n".join(run_log)
    assert "Traceback" not in log
    assert "canary-wrong-secret" not in log
    assert everything_in(tmp_path / "out") == before


@pytest.mark.parametrize("place", ["file/out", "/proc/willsuite-exports"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_asked(
    start_sandbox: StartSandbox, tmp_path: Path, run_log: list[str], place: str
) -> None:
    sandbox = start_sandbox(cases=20)
    (tmp_path / "file").write_text("not a folder")
    state = end_of(tmp_path / place)
    assert state.is_failed()
    assert "Cannot write to the output folder" in str(state.message)
    assert sandbox.requests == []
    assert "Traceback" not in "\n".join(run_log)


def test_a_page_that_always_fails_ends_the_run_and_leaves_no_temporary_file(
    start_sandbox: StartSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_log: list[str],
) -> None:
    sandbox = start_sandbox(cases=350)
    export(tmp_path / "out")
    before = everything_in(tmp_path / "out")
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr("tasks.cases.get_cases_pages.retry_delay_seconds", 0)
    sandbox.faults = [Fault(Status(500), path="/cases", page=3, times=None)]
    sandbox.requests.clear()
    with pytest.raises(ServerError, match="500"):
        export(tmp_path / "out")
    # five times in the client, twice in the engine: the product that tasks/policy.py states
    assert [seen.query.get("page") for seen in sandbox.requests].count("3") == 10
    assert everything_in(tmp_path / "out") == before
    assert "Traceback" not in "\n".join(run_log)


def test_a_second_run_into_the_same_output_is_refused(
    start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox = start_sandbox(cases=20)
    with (
        LocalOutput(tmp_path / "out").workspace(),
        pytest.raises(OutputError, match="Another run is writing"),
    ):
        export(tmp_path / "out")
    assert sandbox.requests == []
    assert export(tmp_path / "out")["cases"] == 20


@pytest.mark.parametrize(
    ("action", "note"),
    [
        (Status(403), "status 403"),
        (Status(500), "status 500"),
        (Status(200, body="null"), "ContractError"),
        (Html(), "NotJsonError"),
    ],
    ids=repr,
)
def test_an_account_whose_crm_fields_cannot_be_read_is_exported_without_labels(
    start_sandbox: StartSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_log: list[str],
    action: Action,
    note: str,
) -> None:
    monkeypatch.setattr("willsuite.retrying.FIRST_DELAY_SECONDS", 0.001)
    monkeypatch.setattr("tasks.crm_fields.get_crm_fields.retry_delay_seconds", 0)
    sandbox = start_sandbox(cases=60)
    sandbox.faults = [Fault(action, path="/crm-fields", times=None)]
    export(tmp_path / "out")
    rows = published(tmp_path / "out")["case_meta"]
    assert len(rows) == len(expected(sandbox.store)["case_meta"])
    assert {row["field_label"] for row in rows} == {None}
    assert manifest_of(tmp_path / "out")["crm_fields"] == note
    assert any(f"GET /crm-fields: {note}; labels stay empty" in line for line in run_log)


def test_an_export_stands_although_prefect_can_show_neither_progress_nor_result(
    start_sandbox: StartSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_log: list[str],
) -> None:
    start_sandbox(cases=30)

    async def refuse(**_details: Any) -> None:
        raise RuntimeError("the server is busy")

    monkeypatch.setattr("tasks.progress.acreate_progress_artifact", refuse)
    monkeypatch.setattr("tasks.progress.acreate_markdown_artifact", refuse)
    assert export(tmp_path / "out")["cases"] == 30
    log = "\n".join(run_log)
    assert "Progress can't be shown (RuntimeError)" in log
    assert "The result can't be shown (RuntimeError)" in log


def test_a_block_can_name_the_account(
    start_sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.connection import WillSuiteConnection

    sandbox = start_sandbox(cases=7)
    block = WillSuiteConnection(
        client_id="sandbox", client_secret="sandbox-secret", base_url=sandbox.url
    )
    asyncio.run(block.asave("head-office", overwrite=True))
    monkeypatch.setenv("WILLSUITE_BASE_URL", "http://127.0.0.1:9/engine/api")
    assert export(tmp_path / "out", connection="head-office")["cases"] == 7
