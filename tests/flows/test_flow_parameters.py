"""What the flows take for their flags and numbers when they are called from Python."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from prefect import Flow
from prefect.utilities.schema_tools import validation as schema_validation

from flows.bulk_update_cases import bulk_update_cases
from flows.export_cases import export_cases
from flows.import_cases import import_cases
from flows.parameters import with_checked_parameters
from flows.sync_appointments import sync_appointments
from flows.update_cases import update_cases
from tasks.policy import RunError

CANARY = "B-17 Okafor"
FLOWS: list[Flow[..., Any]] = [
    export_cases, import_cases, update_cases, bulk_update_cases, sync_appointments,
]  # fmt: skip
PLAIN = {"boolean", "integer", "number", "array", "object"}


def given(function: Any, **parameters: Any) -> dict[str, Any]:
    """What `function` gets of these parameters."""
    return asyncio.run(with_checked_parameters(function)(**parameters))  # type: ignore[no-any-return]


async def takes_all(
    flag: bool = False,
    count: int = 1,
    seconds: float | None = None,
    names: list[str] | None = None,
    source: str = "x",
) -> dict[str, Any]:
    return {"flag": flag, "count": count, "seconds": seconds, "names": names, "source": source}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flag", "False", False),
        ("flag", "no", False),
        ("flag", "true", True),
        ("flag", 0, False),
        ("flag", 1, True),
        ("count", "500", 500),
        ("count", 500.0, 500),
        ("seconds", "2.5", 2.5),
        ("seconds", 3, 3.0),
        ("seconds", None, None),
        ("names", ("a", "b"), ["a", "b"]),
        ("source", 17, 17),
    ],
)
def test_a_value_is_taken_for_what_it_means(name: str, value: Any, expected: Any) -> None:
    assert given(takes_all, **{name: value})[name] == expected
    assert type(given(takes_all, **{name: value})[name]) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("flag", CANARY, "flag must be true or false."),
        ("flag", None, "flag must be true or false."),
        ("flag", 2, "flag must be true or false."),
        ("flag", ["no"], "flag must be true or false."),
        ("count", CANARY, "count must be a whole number."),
        ("count", 2.5, "count must be a whole number."),
        ("count", True, "count must be a whole number."),
        ("seconds", CANARY, "seconds must be a number."),
        ("seconds", float("inf"), "seconds must be a number."),
        ("seconds", float("nan"), "seconds must be a number."),
        ("seconds", False, "seconds must be a number."),
        ("names", CANARY, "names must be a list of texts."),
        ("names", [CANARY, 1], "names must be a list of texts."),
    ],
)
def test_what_means_nothing_is_a_sentence_without_the_value(
    name: str, value: Any, sentence: str
) -> None:
    state = given(takes_all, **{name: value})
    assert (state.type.value, state.message) == ("FAILED", sentence)  # type: ignore[attr-defined]
    assert isinstance(state.data, RunError)  # type: ignore[attr-defined]
    assert state.data.__cause__ is None  # type: ignore[attr-defined]


def typed(flow: Flow[..., Any]) -> list[str]:
    """The flow's parameters that are no plain texts."""
    found = []
    for name, field in flow.parameters.properties.items():
        kinds = {each.get("type") for each in [field, *field.get("anyOf", [])]}
        if (kinds & PLAIN and "string" not in kinds) or "enum" in field:
            found.append(name)
    return found


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_flow_takes_anything_for_a_flag_a_number_a_choice_or_a_list(
    flow: Flow[..., Any], run_log: list[str]
) -> None:
    names = typed(flow)
    assert len(names) >= 3
    others = {"source": "nothing.csv"} if "source" in flow.parameters.properties else {}

    async def run() -> Any:
        return await flow(**others, **{names[0]: CANARY}, return_state=True)

    states = {name: asyncio.run(flow.fn(**others, **{name: CANARY})) for name in names}
    states[names[0]] = asyncio.run(run())  # the others without the engine, which is the same to all
    for name, state in states.items():
        assert state.is_failed()
        assert str(state.message).startswith(f"{name} must be ")
        assert CANARY not in str(state.message)
    assert CANARY not in "\n".join(run_log)
    assert "Traceback" not in "\n".join(run_log)


@pytest.mark.usefixtures("prefect_server", "no_account_from_outside")
@pytest.mark.parametrize("flow", FLOWS[1:], ids=lambda flow: flow.name)
def test_each_flow_with_a_file_asks_about_words_for_nothing_until_it_is_told(
    flow: Flow[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("BASE_URL", "TOKEN_URL"):
        monkeypatch.setenv(f"WILLSUITE_{name}", "http://127.0.0.1:1")
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"WILLSUITE_{name}", "x")
    source = tmp_path / "words.csv"
    source.write_text("ref,id,key,notes\na,a,a,nan\nb,b,b,nan\n")

    def said(words: list[str]) -> str:
        run = flow(source=str(source), extra="ignore", blank_words=words, dry_run=True,
                   return_state=True)  # fmt: skip
        return str(asyncio.run(run).message)

    assert 'notes (cells: 2). If nothing is given there, say blank_words=["none", "nan"]' in said(
        ["none"]
    )
    assert "Words for nothing" not in said(["nan"])


# -- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_the_form_has_a_title_for_each_field_and_plain_fields_where_nothing_need_be_given(
    flow: Flow[..., Any],
) -> None:
    for form in (flow.parameters, flow.with_options(name="another").parameters):
        for name, shown in form.properties.items():
            assert shown["title"].endswith(name) or shown["title"].casefold() == name
            assert shown.get("default", "") is not None
            kinds = [kind.get("type") for kind in shown.get("anyOf", ())]
            assert "null" not in kinds or name == "resolve"


@pytest.mark.parametrize("flow", FLOWS[1:], ids=lambda flow: flow.name)
def test_the_form_begins_with_the_file_and_whether_it_is_only_a_plan(
    flow: Flow[..., Any],
) -> None:
    properties = flow.parameters.properties
    order = sorted(properties, key=lambda name: properties[name]["position"])
    assert order[:4] == ["source", "dry_run", "approve", "connection"]
    assert len({shown["position"] for shown in properties.values()}) == len(properties)


@pytest.mark.parametrize(
    ("flow", "name", "value"),
    [
        (bulk_update_cases, "batch_size", 2501),
        (bulk_update_cases, "batch_size", 0),
        (bulk_update_cases, "job_poll_seconds", 0),
        (bulk_update_cases, "approve_over", -1),
        (sync_appointments, "approve_within_hours", 0),
        (import_cases, "wait_seconds", -1),
        (export_cases, "keep_last", 0),
        (export_cases, "overlap_hours", -1),
        (export_cases, "mode", "all"),
    ],
)
def test_the_server_refuses_a_number_beyond_its_limits_before_a_worker_has_it(
    flow: Flow[..., Any], name: str, value: Any
) -> None:
    schema = flow.parameters.model_dump_for_openapi()
    with pytest.raises(schema_validation.ValidationError, match=name):
        schema_validation.validate({"source": "x", name: value}, schema, raise_on_error=True)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_caller_may_still_give_none_where_nothing_is_the_default(flow: Flow[..., Any]) -> None:
    """What the form doesn't show."""
    optional = {
        name: None
        for name, parameter in inspect.signature(flow.fn).parameters.items()
        if parameter.default is None
    }
    schema = flow.parameters.model_dump_for_openapi()
    given = {"source": "x"} if "source" in schema["properties"] else {}
    schema_validation.validate(given | optional, schema, raise_on_error=True)


def test_a_field_that_was_emptied_again_is_one_that_was_never_filled_in() -> None:
    async def takes(sheet: str | None = None, output: str = "runs") -> dict[str, Any]:
        return {"sheet": sheet, "output": output}

    assert given(takes, sheet=" ") == {"sheet": None, "output": "runs"}
    state: Any = given(takes, output="")
    assert state.message == "output is empty; fill it in."


# -- tables as a source ----------------------------------------------------------------------

FRAME = pd.DataFrame({"ref": [CANARY]})


@pytest.mark.parametrize("flow", FLOWS[1:], ids=lambda flow: flow.name)
@pytest.mark.parametrize("table", [FRAME, pa.Table.from_pandas(FRAME)], ids=["pandas", "Arrow"])
@pytest.mark.parametrize("wrapped", [lambda table: table, lambda table: [table]])
def test_of_a_table_prefect_stores_only_what_it_is(
    flow: Flow[..., Any], table: Any, wrapped: Any
) -> None:
    for each in (flow, flow.with_options(name="another"), flow.with_options().with_options()):
        stored = each.serialize_parameters({"source": wrapped(table), "dry_run": True})
        assert stored == {"source": f"<{type(wrapped(table)).__name__}>", "dry_run": True}


@pytest.mark.parametrize("flow", FLOWS[1:], ids=lambda flow: flow.name)
def test_files_are_stored_by_name_and_a_form_asks_for_one_or_for_several(
    flow: Flow[..., Any],
) -> None:
    for source in ("cases.csv", ["a.csv", "b.csv"]):
        assert flow.serialize_parameters({"source": source}) == {"source": source}
    assert flow.serialize_parameters({"source": Path("a.csv")}) == {"source": "a.csv"}
    assert flow.parameters.properties["source"]["anyOf"] == [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
    ]
