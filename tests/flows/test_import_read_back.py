"""What an import says of cases that are there, and of values that a server keeps or doesn't."""

import json
from collections.abc import Callable

import pytest
from ended_runs import EndedRun, Row, write_csv

from flows.import_cases import import_cases
from sandbox.faults import Change, Fault
from sandbox.people import case_of
from sandbox.server import Sandbox
from sandbox.views import Losses, Views

pytestmark = pytest.mark.usefixtures("prefect_server", "quick")

StartSandbox = Callable[..., Sandbox]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_account_from_outside: None) -> None:
    """No wait is longer than a test needs it."""
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "0")


def run_import(rows: list[Row], name: str = "cases.csv") -> EndedRun:
    return EndedRun.of(import_cases, write_csv(name, rows), "runs")


def row_of(ref: str, *people: str, **cells: str) -> Row:
    """A row with people like `Tom | Hill | 01/02/1960 | QX1 1ZZ`."""
    row = {"ref": ref, "notes": "Call back"} | cells
    fields = ("first_names", "last_name", "date_of_birth", "postcode")
    for number, person in enumerate(people, 1):
        values = zip(fields, [cell.strip() for cell in person.split("|")], strict=True)
        row |= {f"customer_{number}_title": "Mx"}
        row |= {f"customer_{number}_{name}": value for name, value in values}
    return row


def put_case(sandbox: Sandbox, ref: str, *people: str, number: int = 1) -> str:
    """A case of the account; its id."""
    empty = sandbox.store.case(sandbox.store.ids[0])
    assert empty is not None
    case_id = f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
    customers = []
    for place, person in enumerate(people):
        first, last, born, postcode = (cell.strip() or None for cell in person.split("|"))
        known = {"first_names": first, "last_name": last, "postcode": postcode}
        iso = "-".join(reversed(born.split("/"))) if born else None
        blank = dict.fromkeys(empty["customers"][0])
        ids = {"id": f"p-{number}-{place}", "customer_case_id": case_id, "title": "Mx"}
        customers.append(blank | known | ids | {"date_of_birth": iso})
    made = case_of(case_id, ref=ref, notes=None, meta={}, is_active=1, customers=customers)
    sandbox.store.put(made)
    return case_id


def posts(sandbox: Sandbox) -> list[str]:
    return [
        json.loads(seen.body)["ref"] for seen in sandbox.requests if seen.path == "/cases/create"
    ]


# -- existing is earned --------------------------------------------------------------------------

TOM, ZOE = "Tom | Hill | 01/02/1960 | QX1 1ZZ", "Zoë | Ng | 05/06/1961 | QX1 1ZZ"
THERE = [
    # who is in the row, who in the case, and what is said of how many
    ("same", [TOM, ZOE], [ZOE, TOM], "existing", None, ""),
    ("more there", [TOM], [ZOE, TOM], "existing", None, ""),
    ("married", [ZOE], ["Zoë | Hill | 05/06/1961 | QX7 7ZZ"], "existing", None, ""),
    ("moved", ["Tom|Hill||QX1 1ZZ"], ["Tom|Hill||QX9 9ZZ"], "existing", None, ""),
    ("one first name", ["Zoë|Ng|01/02/1950|QX1 1ZZ"], ["Zoë|Ali|03/04/1981|QX5 5ZZ"],
     "conflict", "other_people", "customer(s) none"),
    ("couples", [TOM, ZOE], ["Wei|Ali|03/04/1981|QX5 5ZZ", "Zoë|Ali|03/05/1981|QX5 5ZZ"],
     "conflict", "other_people", "the row's 2 customer(s) none"),
    ("one of two", [TOM, ZOE], [TOM, "Wei|Ali|03/04/1981|QX5 5ZZ"],
     "partial", "customers_missing", "2 customer(s) 1 are in the case"),
    ("father and son", [TOM], ["Tom|Hill|03/04/1985|QX1 1ZZ"],
     "conflict", "customers_unsure", "0 are in the case"),
    ("father with son", [TOM, "Tom|Hill|03/04/1985|QX1 1ZZ"], [TOM],
     "partial", "customers_missing", "1 are not"),
    ("twins", [TOM, "Tim|Hill|01/02/1960|QX1 1ZZ"], [TOM], "partial", "customers_missing", "1 are"),
]  # fmt: skip


def test_a_case_is_existing_where_everybody_of_the_row_is_in_it(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=3)
    rows = []
    for number, (ref, wanted, people, *_) in enumerate(THERE):
        put_case(sandbox, ref, *people, number=number)
        rows.append(row_of(ref, *wanted))
    run = run_import(rows)
    assert run.ends_by_key == {ref: (outcome, code, 0) for ref, _, _, outcome, code, _ in THERE}
    for ref, *_, said in THERE:
        assert said in (run.by_key[ref]["message"] or ""), ref
    assert posts(sandbox) == []


def test_nobody_is_called_missing_who_is_only_left_out_of_the_list(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, views=Views(listed_people="first"))
    put_case(sandbox, "there", ZOE, TOM)
    rows = [row_of("there", TOM, ZOE), row_of("new", TOM, ZOE)]
    assert run_import(rows).ends == [("existing", None, 0), ("created", None, 1)]
    assert run_import(rows).ends == [("existing", None, 0)] * 2


# -- created is earned ---------------------------------------------------------------------------


def test_what_a_server_does_not_keep_makes_the_row_partial_by_its_column(
    start_sandbox: StartSandbox,
) -> None:
    losses = Losses(("tel_1",), swaps_birth_dates=True, notes_limit=20, notes_end_at_emoji=True)
    sandbox = start_sandbox(cases=30, losses=losses)
    rows = [
        row_of("whole", "Tom | Hill | 25/02/1960 | QX1 1ZZ"),
        row_of("swapped", "Tom | Hill | 03/02/1960 | QX1 1ZZ"),
        row_of("no phone", "Tom | Hill | | QX1 1ZZ", customer_1_tel_1="07700 900461"),
        row_of("cut", notes="More than twenty signs of it"),
        row_of("emoji", notes="Rang 😀 twice"),
    ]
    run = run_import(rows)
    lost = {
        "swapped": "customer_1_date_of_birth",
        "no phone": "customer_1_tel_1",
        "cut": "notes",
        "emoji": "notes",
    }
    ends = {ref: ("partial", "lacking", 1) for ref in lost} | {"whole": ("created", None, 1)}
    assert run.ends_by_key == ends
    for ref, column in lost.items():
        assert f"did not keep {column} as it is in the file" in run.by_key[ref]["message"]
    assert run.state.is_completed()
    assert len(sandbox.store) == 35


def test_a_column_that_is_lost_in_each_of_the_first_rows_stops_the_run(
    start_sandbox: StartSandbox, run_log: list[str]
) -> None:
    sandbox = start_sandbox(cases=30, losses=Losses(("postcode",)))
    rows = [row_of(f"R{n}", f"Tom | Hill {n} || QX1 {n}ZZ") for n in range(60)]
    run = run_import(rows)
    assert len(posts(sandbox)) == 20
    assert run.summary["outcomes"] == {"partial": 20, "not_attempted": 40}
    assert run.state.is_failed()
    message = str(run.state.message)
    assert "did not keep customer_1_postcode in any of the first 20 new cases" in message
    assert "QX1" not in message + "\n".join(run_log)


def test_a_column_that_is_lost_here_and_there_stops_nothing(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox(cases=30, losses=Losses(notes_end_at_emoji=True))
    rows = [row_of(f"R{n}", notes=f"Note {'😀' if n else ''} {n}") for n in range(24)]
    assert run_import(rows).summary["outcomes"] == {"created": 1, "partial": 23}
    assert len(sandbox.store) == 54


@pytest.mark.parametrize(
    "views",
    [Views(hides=("date_of_birth", "occupation")), Views(list_hides=("date_of_birth", "tel_1"))],
    ids=["nowhere", "not in lists"],
)
def test_a_server_that_shows_a_field_of_nobody_has_not_lost_it(
    start_sandbox: StartSandbox, run_log: list[str], views: Views
) -> None:
    start_sandbox(cases=30, views=views)
    given = {"customer_1_occupation": "Baker", "customer_1_tel_1": "07700900461"}
    rows = [row_of(f"R{n}", f"Tom | Hill {n} | 03/02/1960 |", **given) for n in range(22)]
    assert run_import(rows).summary["outcomes"] == {"created": 22}
    said = "shows date_of_birth, occupation of nobody" in "\n".join(run_log)
    assert said is bool(views.hides)


@pytest.mark.parametrize("birth_dates", ["London", "day first"])
def test_another_form_of_what_was_sent_is_no_loss(
    start_sandbox: StartSandbox, birth_dates: str
) -> None:
    start_sandbox(cases=30, views=Views(birth_dates=birth_dates, entities=True))
    row = row_of(
        "A-1",
        "Tom | O'Brien | 18/10/1963 | QX1 1ZZ",
        notes='"R&D" <now>\nand more',
        customer_1_address_1="St. Elsewhere's Close",
    )
    assert run_import([row]).ends == [("created", None, 1)]
    assert run_import([row]).ends == [("existing", None, 0)]


# -- references that the server takes for one ------------------------------------------------------


@pytest.mark.parametrize("others", [0, 30], ids=["looked up", "swept"])
def test_a_reference_that_the_server_takes_for_the_same_names_its_case(
    start_sandbox: StartSandbox, others: int
) -> None:
    sandbox = start_sandbox(cases=30, collation="unicode_ci", unique_refs=False)
    stranger = put_case(sandbox, "Ünï/165", "Wei|Ali|03/04/1981|QX5 5ZZ", number=1)
    same = put_case(sandbox, "Œuvre 7", TOM, number=2)
    rows = [row_of("uni/165", TOM), row_of("oeuvre 7", TOM), row_of("Łb", TOM)]
    rows += [row_of(f"R{n}", TOM) for n in range(others)]
    run = run_import(rows)
    assert run.ends_by_key["uni/165"] == ("conflict", "ref_spelled_otherwise", 0)
    assert run.by_key["uni/165"]["case_id"] == stranger
    assert stranger in run.by_key["uni/165"]["message"]
    assert run.ends_by_key["oeuvre 7"] == ("existing", None, 0)
    assert run.by_key["oeuvre 7"]["case_id"] == same
    assert run.ends_by_key["Łb"] == ("created", None, 1)
    assert len(sandbox.store) == 32 + 1 + others


def test_where_the_server_tells_two_references_apart_they_are_two(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30)
    put_case(sandbox, "Ünï/165", "Wei|Ali|03/04/1981|QX5 5ZZ")
    run = run_import([row_of("uni/165", TOM), *(row_of(f"R{n}", TOM) for n in range(30))])
    assert run.summary["outcomes"] == {"created": 31}


def test_a_refusal_of_a_taken_reference_names_the_case_that_has_it_in_another_spelling(
    start_sandbox: StartSandbox,
) -> None:
    sandbox = start_sandbox(cases=30, collation="unicode_ci")
    stranger: list[str] = []
    between = Change(lambda _store: stranger.append(put_case(sandbox, "Ünï/165", ZOE)))
    sandbox.faults = [Fault(between, path="/cases/create")]
    run = run_import([row_of("uni/165", TOM)])
    assert run.ends == [("conflict", "ref_spelled_otherwise", 1)]
    assert run.rows[0]["case_id"] == stranger[0]
    assert len(sandbox.store) == 31
