"""From the rows of a file to the changes wanted, and the rows of which none can be made."""

import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sheets import Record, found, sheet
from rich.pretty import pretty_repr

from schemas.columns import MetaField
from schemas.issues import Issue, SourceError
from schemas.source_files import Sheet, read_sheet
from schemas.texts import canonical, clean
from schemas.update_file import (
    BULK_UPDATE,
    UpdatePlan,
    WantedChange,
    plan_updates,
    same_text,
)
from willsuite import bulk_update

CRM = [
    MetaField("id-source", "Lead source", ["Referral", "Website", "Seminar"]),
    MetaField("id-plan", "Funeral plan", ["YES", "NO", "no", "No"]),
    MetaField("id-storage", "Storage reference", None),
    MetaField("id-free", "Free", []),
]


def plan(*records: Record, header: list[str] | None = None, **options: Any) -> UpdatePlan:
    return plan_updates(sheet(records, header=header), BULK_UPDATE, **options)


def body(change: WantedChange, case_id: str) -> dict[str, Any]:
    """What a flow sends once it knows the case."""
    values = {"id": case_id, "notes": change.notes, "meta": dict(change.meta)}
    return {name: value for name, value in values.items() if value}


# -- columns ---------------------------------------------------------------------------------


def test_a_change_has_what_its_row_gives_and_nothing_else():
    made = plan(
        {"id": "c-1", "ref": "R-1", "notes": "both", "meta:Storage reference": "0417"},
        {"id": "c-2", "ref": None, "notes": "by id", "meta:Storage reference": None},
        {"id": None, "ref": "R-3", "notes": None, "meta:Storage reference": "by ref"},
        crm_fields=CRM,
    )
    assert found(made) == []
    assert made.changes == [
        WantedChange(2, "c-1", "R-1", "both", {"id-storage": "0417"}),
        WantedChange(3, "c-2", None, "by id", {}),
        WantedChange(4, None, "R-3", None, {"id-storage": "by ref"}),
    ]
    assert [change.key for change in made.changes] == ["c-1", "c-2", "R-3"]
    assert made.keys == {2: "c-1", 3: "c-2", 4: "R-3"}
    assert made.rows == [2, 3, 4]


@pytest.mark.parametrize(
    ("header", "name"),
    [("id", "id"), (" ID ", "id"), ("Ref", "ref"), ("NOTES", "notes"), ("Notes\u200b", "notes"),
     ("META: Lead source", "meta"), ("meta:id-source", "meta")],
)  # fmt: skip
def test_a_column_is_known_however_it_is_written(header, name):
    assert BULK_UPDATE.has_column(header)
    others = {"id": "c", "notes": "x"}
    record = {key: value for key, value in others.items() if key != name} | {header: "Website"}
    made = plan(record, crm_fields=CRM)
    (change,) = made.changes
    has = {"id": change.case_id, "ref": change.ref, "notes": change.notes,
           "meta": change.meta.get("id-source")}  # fmt: skip
    assert has[name] == "Website"


@pytest.mark.parametrize(
    "header",
    ["", "case_id", "ids", "meta", "meta:", "note", "email", "customer_1_title", "rejected_row",
     "Rejected because", "WS-000001", "adviser_email"],
)  # fmt: skip
def test_other_headers_are_no_columns_of_this_kind_of_file(header):
    assert not BULK_UPDATE.has_column(header)


@pytest.mark.parametrize("key", ["id", "ref"])
def test_one_of_the_two_key_columns_is_enough(key):
    assert len(plan({key: "K", "notes": "x"}).changes) == 1


@pytest.mark.parametrize("header", [["notes"], ["meta:Lead source", "notes"], ["rejected_row"]])
def test_a_file_without_a_key_column_is_refused(header):
    with pytest.raises(SourceError, match="needs a column id or ref"):
        plan(dict.fromkeys(header, "x"), crm_fields=CRM)


def test_an_unknown_column_is_refused_by_its_letter_with_the_nearest_name():
    with pytest.raises(SourceError, match=r'column B "Note" \(nearest known name: notes\)'):
        plan({"id": "c", "Note": "x"})


@pytest.mark.parametrize("column", ["email", "customer_1_title", "adviser_email", "status"])
def test_columns_of_other_files_are_unknown_here(column):
    with pytest.raises(SourceError, match="Unknown: column C"):
        plan({"id": "c", "notes": "x", column: "y"})


def test_unknown_columns_can_be_left_out():
    made = plan({"Sheet": "x", "id": "c", "notes": "n", "customer_1_title": "Mr"}, extra="ignore")
    assert made.changes == [WantedChange(2, "c", None, "n", {})]


def test_a_row_that_gives_only_what_is_left_out_gives_nothing():
    assert found(plan({"id": "c", "Sheet": "x"}, extra="ignore")) == [(2, None, "nothing_given")]


def test_what_is_wrong_with_a_column_that_is_left_out_does_not_matter():
    issues = [Issue(2, "Sheet", "damaged_text", "x"), Issue(2, "Rejected because", "error", "x")]
    record = {"id": "c", "notes": "n", "Sheet": "Ã©", "Rejected because": "#REF!"}
    made = plan_updates(sheet([record], issues=issues), BULK_UPDATE, extra="ignore")
    assert (found(made), len(made.changes)) == ([], 1)


def test_a_file_of_rejected_rows_can_be_fed_back_in():
    record = {"Rejected row": "7", "rejected_because": "was wrong", "ref": "R", "notes": "n"}
    assert plan(record).changes == [WantedChange(2, None, "R", "n", {})]


@pytest.mark.parametrize(
    "headers", [("id", "ID"), ("ref", "Ref "), ("notes", "NOTES"), ("meta:X", "Meta: X")]
)
def test_two_columns_that_mean_the_same_are_refused(headers):
    record = {"id": "c"} | dict.fromkeys(headers, "x")
    with pytest.raises(SourceError, match="mean the same"):
        plan(record)


def test_a_file_without_rows_gives_an_empty_plan():
    for header in (["id"], ["ref", "notes"], ["id", "ref", "notes", "meta:Lead source"]):
        made = plan(header=header, crm_fields=CRM)
        assert (made.rows, made.keys, made.changes, made.issues) == ([], {}, [], {})


# -- rows ------------------------------------------------------------------------------------


def test_a_row_that_names_no_case_is_refused():
    made = plan({"id": None, "ref": None, "notes": "x"}, {"id": "c", "ref": None, "notes": "x"})
    assert found(made) == [(2, None, "key_missing")]
    assert made.keys == {3: "c"}


def test_a_row_that_gives_nothing_is_refused_and_blank_cells_are_not_given():
    made = plan(
        {"id": "a", "notes": None, "meta:Free": None},
        {"id": "b", "notes": None, "meta:Free": "x"},
        {"id": "c", "notes": "x", "meta:Free": None},
        {"id": None, "notes": None, "meta:Free": None},
        crm_fields=CRM,
    )
    assert found(made) == [
        (2, None, "nothing_given"), (5, None, "key_missing"), (5, None, "nothing_given"),
    ]  # fmt: skip
    assert [(change.notes, change.meta) for change in made.changes] == [
        (None, {"id-free": "x"}), ("x", {}),
    ]  # fmt: skip
    assert found(plan({"id": "a"})) == [(2, None, "nothing_given")]


SAME = ["Ref 1", "ref 1", "REF  1", "ref\xa01", "Ｒef １"]  # noqa: RUF001


@pytest.mark.parametrize("key", ["id", "ref"])
@pytest.mark.parametrize("other", SAME, ids=ascii)
def test_the_same_case_in_two_rows_is_refused_however_it_is_written(other, key):
    made = plan(
        {key.upper(): "Ref 1", "notes": "x"},
        {key.upper(): "another", "notes": "x"},
        {key.upper(): other, "notes": "x"},
    )
    assert found(made) == [(2, key.upper(), "case_repeated"), (4, key.upper(), "case_repeated")]
    assert [change.key for change in made.changes] == ["another"]
    assert made.keys == {2: "Ref 1", 3: "another", 4: other}


def test_rows_of_the_same_case_name_each_other():
    made = plan(*({"ref": ref, "notes": "x"} for ref in ("a", "b", "A", "a")))
    said = {row: issues[0].message for row, issues in made.issues.items()}
    assert ["row 4" in said[2], "row 2" in said[4], "row 2" in said[5]] == [True] * 3
    assert list(said) == [2, 4, 5]


def test_a_case_repeated_by_one_of_its_keys_is_refused_even_where_the_other_differs():
    made = plan(
        {"id": "i-1", "ref": "R-1", "notes": "x"},
        {"id": "I-1", "ref": None, "notes": "x"},
        {"id": "i-3", "ref": "r-1", "notes": "x"},
    )
    assert found(made) == [
        (2, "id", "case_repeated"), (2, "ref", "case_repeated"), (3, "id", "case_repeated"),
        (4, "ref", "case_repeated"),
    ]  # fmt: skip


def test_an_id_and_a_ref_that_are_alike_are_not_compared():
    made = plan({"id": "a", "ref": None, "notes": "x"}, {"id": None, "ref": "a", "notes": "x"})
    assert found(made) == []
    assert made.keys == {2: "a", 3: "a"}


def test_rows_without_a_case_are_no_case_together():
    made = plan(*({"id": None, "notes": "x"} for _ in range(3)))
    assert {code for *_, code in found(made)} == {"key_missing"}


@pytest.mark.parametrize("other", ["01", "1.0", "l", "a-1", "á"])
def test_other_keys_are_other_cases(other):
    made = plan(
        {"ref": "1", "notes": "x"}, {"ref": "a", "notes": "x"}, {"ref": other, "notes": "x"}
    )
    assert found(made) == []


def test_issues_of_the_reader_reject_their_rows():
    issues = [Issue(2, "notes", "damaged_text", "x"), Issue(3, None, "too_few_cells", "y")]
    made = plan_updates(
        sheet([{"id": name, "notes": "x"} for name in "abc"], issues=issues), BULK_UPDATE
    )
    assert made.issues == {2: [issues[0]], 3: [issues[1]]}
    assert [change.case_id for change in made.changes] == ["c"]
    assert made.keys == {2: "a", 3: "b", 4: "c"}


def test_rows_are_those_of_the_file_where_blank_ones_were_left_out():
    file = sheet([{"id": "a", "notes": "x"}, {"id": None, "notes": "x"}, {"id": "A", "notes": "x"}])
    file.rows[:] = [3, 7, 20]
    made = plan_updates(file, BULK_UPDATE)
    assert list(made.issues) == list(made.rows) == [3, 7, 20]
    assert "row 20" in made.issues[3][0].message


def test_a_row_keeps_every_issue_it_has_and_each_once():
    record = {"id": None, "ref": None, "notes": None, "meta:Lead source": "Billboard"}
    again = {"id": "c", "ref": "r", "notes": None, "meta:Lead source": "?"}
    reader = [Issue(2, "notes", "error_cell", "x")]
    made = plan_updates(sheet([record, again, again], issues=reader), BULK_UPDATE, crm_fields=CRM)
    assert sorted(found(made), key=str) == sorted(
        [
            (2, "notes", "error_cell"),
            (2, None, "key_missing"),
            (2, "meta:Lead source", "meta_option"),
        ]
        + [(row, name, "case_repeated") for row in (3, 4) for name in ("id", "ref")]
        + [(row, "meta:Lead source", "meta_option") for row in (3, 4)],
        key=str,
    )
    assert made.changes == []


@pytest.mark.timeout(20)
def test_a_long_file_of_bad_rows_has_each_reported_once():
    made = plan(
        *({"id": f"c{n // 2}", "meta:Lead source": "?"} for n in range(5000)), crm_fields=CRM
    )
    assert (len(made.changes), len(made.issues), len(found(made))) == (0, 5000, 10_000)


def test_csv_text_is_read_and_planned(tmp_path):
    path = tmp_path / "changes.csv"
    path.write_text("Ref,Notes,Meta: lead SOURCE\nR-1, Zoë ,website\n\nR-2,,\n", encoding="utf-8")
    made = plan_updates(
        read_sheet(path, is_known=BULK_UPDATE.has_column), BULK_UPDATE, crm_fields=CRM
    )
    assert made.changes == [WantedChange(2, None, "R-1", "Zoë", {"id-source": "Website"})]
    assert found(made) == [(4, None, "nothing_given")]


# -- CRM fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["meta:Lead source", "Meta: lead SOURCE", "META:id-source"], ids=str
)
@pytest.mark.parametrize("text", ["Website", "WEBSITE", "wEBsite"])
def test_an_option_is_sent_as_the_account_spells_it(header, text):
    (change,) = plan({"id": "c", header: text}, crm_fields=CRM).changes
    assert change.meta == {"id-source": "Website"}


def test_a_value_that_is_no_option_is_refused_with_the_options():
    made = plan({"id": "c", "notes": "x", "Meta:lead source": "Billboard"}, crm_fields=CRM)
    assert found(made) == [(2, "Meta:lead source", "meta_option")]
    assert "Referral, Website, Seminar" in made.issues[2][0].message
    assert "Billboard" not in made.issues[2][0].message


def test_of_options_that_differ_by_case_only_the_exact_one_is_meant():
    made = plan(
        *({"id": str(n), "meta:Funeral plan": text} for n, text in enumerate(["no", "NO", "nO"])),
        crm_fields=CRM,
    )
    assert [change.meta for change in made.changes] == [{"id-plan": "no"}, {"id-plan": "NO"}]
    assert found(made) == [(4, "meta:Funeral plan", "meta_option")]


@pytest.mark.parametrize("name", ["id-storage", "id-free"])
@pytest.mark.parametrize("text", ["0417", "1.0", "N/A", "null", "-", "31/01/2026", "ÀÉ"])
def test_a_field_without_options_takes_any_text_as_it_is(name, text):
    (change,) = plan({"id": "c", f"meta:{name}": text}, crm_fields=CRM).changes
    assert change.meta == {name: text}


def test_crm_columns_without_the_accounts_fields_are_named_and_not_sent():
    made = plan({"id": "c", "Meta: Anything": "x"})
    assert made.meta_columns == ["meta:Anything"]
    assert [change.meta for change in made.changes] == [{}]
    assert plan({"id": "c", "notes": "x"}).meta_columns == []


def test_an_unknown_crm_field_or_one_named_twice_stops_the_plan():
    with pytest.raises(SourceError, match="no CRM field"):
        plan({"id": "c", "meta:Anything": "x"}, crm_fields=CRM)
    with pytest.raises(SourceError, match="the same CRM field"):
        plan({"id": "c", "meta:Lead source": "x", "meta:id-source": "x"}, crm_fields=CRM)


# -- what a case has already -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "has"),
    [
        ("a", "a"),
        ("a\nb", "a\r\nb"),
        ("a\r\nb", "a\nb"),
        (" a ", "a"),
        ("a", "\t a \r\n"),
        ("a\r\n\r\nb\n", "a\n\nb"),
        ("e\u0301", "é"),
        ("", None),
        (" ", ""),
        ("\ufeffa\u200b", "a"),
    ],
    ids=ascii,
)
def test_a_text_that_the_server_would_store_alike_is_the_same(wanted, has):
    assert same_text(wanted, has)
    assert has is None or same_text(has, wanted)


@pytest.mark.parametrize(
    ("wanted", "has"),
    [("a", "A"), ("a", "á"), ("a b", "a  b"), ("a\nb", "a b"), ("a\nb", "a\n\nb"), ("a", None),
     ("a", ""), ("a\n b", "a\nb"), ("1", "1.0"), ("ﬁ", "fi")],
    ids=ascii,
)  # fmt: skip
def test_any_other_text_is_another(wanted, has):
    assert not same_text(wanted, has)
    assert has is None or not same_text(has, wanted)


# -- privacy ---------------------------------------------------------------------------------

CANARY = "Zq7canary"


def test_no_issue_repeats_a_cell():
    meta = {"meta:Lead source": CANARY}
    made = plan(
        {"id": None, "ref": None, "notes": CANARY, **meta},
        {"id": f"{CANARY} 1", "ref": CANARY, "notes": CANARY, **meta},
        {"id": f"{CANARY} 1", "ref": CANARY.upper(), "notes": CANARY, **meta},
        {"id": f"{CANARY} 2", "ref": None, "notes": None, "meta:Lead source": None},
        crm_fields=CRM,
    )
    assert {code for *_, code in found(made)} == {
        "key_missing", "meta_option", "case_repeated", "nothing_given",
    }  # fmt: skip
    for issues in made.issues.values():
        for issue in issues:
            assert CANARY.casefold() not in f"{issue.message}{issue.column}".casefold()


@pytest.mark.parametrize("options", [{}, {"crm_fields": []}], ids=str)
def test_no_refusal_of_a_file_repeats_a_cell_or_a_header_that_may_be_one(options):
    for record in ({"id": CANARY, CANARY: CANARY, "meta:X": CANARY}, {"notes": CANARY}):
        with pytest.raises(SourceError) as refused:
            plan(record, **options)
        assert CANARY not in str(refused.value)


def test_a_plan_shown_in_a_traceback_shows_no_value():
    made = plan({"id": "c-1", "notes": CANARY, "meta:Storage reference": CANARY}, crm_fields=CRM)
    for shown in (repr(made), pretty_repr(made), repr(made.changes)):
        assert "c-1" in shown
        assert CANARY not in shown


# -- any file --------------------------------------------------------------------------------

PLAUSIBLE = {
    "id": ["c-1", "C-1", "c-2", "c-3", "c-4", "c-5"],
    "ref": ["Ref-1", "ref-1", "Ref-2", "R3", "R4", "R5"],
    "notes": ["x", "Rang twice.\nPrefers mornings", "=1+1"],
    "meta:Lead source": ["Referral", "WEBSITE", "Billboard"],
    "meta:id-storage": ["00417", "1.0"],
    "Sheet": ["x"],
    "Rejected because": ["x"],
}
any_cell = (
    st.text(max_size=12)
    | st.integers().map(str)
    | st.sampled_from([" ", "\xa0", "\u200b", "é" * 5000, "\ufeff N/A ", "\0"])
)


@st.composite
def files(draw: st.DrawFn) -> Sheet:
    """Rows under some of the columns, in any order, with some issues of the reader."""
    keys = draw(st.sampled_from([["id"], ["ref"], ["id", "ref"]]))
    others = [name for name in PLAUSIBLE if name not in ("id", "ref")]
    header = draw(st.permutations([*keys, *draw(st.sets(st.sampled_from(others)))]))
    records: list[Record] = []
    for _ in range(draw(st.integers(0, 7))):
        usual = {name: st.sampled_from(PLAUSIBLE[name]) for name in header}
        cells = {name: draw(usual[name] | usual[name] | st.none() | any_cell) for name in header}
        records.append({name: clean(cell or "") or None for name, cell in cells.items()})
    rows = range(2, 2 + len(records))
    issues = [
        Issue(row, draw(st.sampled_from([None, *header])), "damaged_text", "x")
        for row in rows
        if draw(st.integers(0, 9)) == 0
    ]
    return sheet(records, header=list(header), issues=issues)


@settings(max_examples=60, deadline=None)
@given(files(), st.booleans())
def test_whatever_is_in_a_file_each_row_is_a_change_or_has_an_issue(file, with_fields):
    fields = CRM if with_fields else None
    made = plan_updates(file, BULK_UPDATE, extra="ignore", crm_fields=fields)

    assert sorted([*(change.row for change in made.changes), *made.issues]) == file.rows
    assert made.rows == file.rows
    assert all(made.issues.values())
    assert all(issue.row == row for row, issues in made.issues.items() for issue in issues)
    reported = found(made)
    assert len(reported) == len(set(reported))
    for of in ("case_id", "ref"):
        keys = [canonical(key) for change in made.changes if (key := getattr(change, of))]
        assert len(keys) == len(set(keys))
    for change in made.changes:
        assert change.case_id or change.ref
        assert made.keys[change.row] == change.key
        cells = file.frame.iloc[change.row - 2]
        assert change.notes == (None if pd.isna(notes := cells.get("notes")) else notes)
        request = bulk_update(body(change, change.case_id or "found"))
        assert (request.notes, request.meta) == (change.notes, dict(change.meta))
        assert made.meta_columns or change.notes
        assert not with_fields or change.notes or change.meta


@settings(max_examples=15, deadline=None)
@given(files(), st.integers(0, 99))
def test_the_order_of_the_rows_and_columns_does_not_matter(file, seed):
    file.issues.clear()
    made = plan_updates(file, BULK_UPDATE, extra="ignore", crm_fields=CRM)
    order = list(range(len(file.rows)))
    random.Random(seed).shuffle(order)
    headers = random.Random(seed).sample(list(file.frame.columns), len(file.frame.columns))
    frame = file.frame.iloc[order].reset_index(drop=True)[headers]
    shuffled = Sheet(frame, file.rows, [], {}, 0, "a test")
    again = plan_updates(shuffled, BULK_UPDATE, extra="ignore", crm_fields=CRM)
    back = {new: file.rows[old] for new, old in zip(file.rows, order, strict=True)}
    assert {back[row] for row in again.issues} == set(made.issues)
    assert {(c.case_id, c.ref, c.notes, tuple(sorted(c.meta.items()))) for c in again.changes} == {
        (c.case_id, c.ref, c.notes, tuple(sorted(c.meta.items()))) for c in made.changes
    }
