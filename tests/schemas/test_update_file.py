"""From the rows of a file to the changes wanted, and the rows of which none can be made."""

import random
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sheets import Record, found, sheet
from rich.pretty import pretty_repr

from schemas.columns import MetaField
from schemas.files.source import Sheet, read_sheet
from schemas.issues import Issue, SourceError
from schemas.texts import canonical, clean, visible
from schemas.update_file import (
    BULK_UPDATE,
    UPDATE_CASES,
    UpdateKind,
    UpdatePlan,
    WantedChange,
    plan_updates,
    same_text,
)
from willsuite import bulk_update, case_update

CRM = [
    MetaField("id-source", "Lead source", ["Referral", "Website", "Seminar"]),
    MetaField("id-plan", "Funeral plan", ["YES", "NO", "no", "No"]),
    MetaField("id-storage", "Storage reference", None),
    MetaField("id-free", "Free", []),
]


def plan(*records: Record, header: list[str] | None = None, **options: Any) -> UpdatePlan:
    return plan_updates(sheet(records, header=header), BULK_UPDATE, **options)


def single(*records: Record, header: list[str] | None = None, **options: Any) -> UpdatePlan:
    """The plan of a file for single updates."""
    return plan_updates(sheet(records, header=header), UPDATE_CASES, **options)


def body(change: WantedChange) -> dict[str, Any]:
    """What a flow sends, but for the case's id."""
    values = {"notes": change.notes, "meta": dict(change.meta)}
    values |= {"ref": change.new_ref, "customers": list(change.customers)}
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


def test_blank_cells_are_not_given_and_a_row_of_them_wants_no_change():
    made = plan(
        {"id": "a", "notes": None, "meta:Free": None},
        {"id": "b", "notes": None, "meta:Free": "x"},
        {"id": "c", "notes": "x", "meta:Free": None},
        {"id": None, "notes": None, "meta:Free": None},
        crm_fields=CRM,
    )
    assert found(made) == [(5, None, "key_missing")]
    assert [(change.notes, change.meta) for change in made.changes] == [
        (None, {}), (None, {"id-free": "x"}), ("x", {}),
    ]  # fmt: skip


def test_a_file_without_a_column_to_change_has_nothing_to_do_in_any_row():
    assert found(plan({"id": "a"}, {"id": "b"})) == [
        (2, None, "nothing_given"), (3, None, "nothing_given"),
    ]  # fmt: skip


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
    assert made.keys == {2: "Ref 1", 3: "another", 4: visible(other)}


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


@pytest.mark.parametrize("other", ["01", "1-0", "l", "a-1", "á"])
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
    assert made.changes == [
        WantedChange(2, None, "R-1", "Zoë", {"id-source": "Website"}),
        WantedChange(4, None, "R-2", None, {}),
    ]
    assert found(made) == []


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


# -- single updates: new references, and people to be added -------------------------------------

ZOE = {
    "customer_1_title": "Ms", "customer_1_first_names": "Zoë", "customer_1_last_name": "Núñez",
}  # fmt: skip
TOM = {
    "customer_2_title": "Mr", "customer_2_first_names": "Tom", "customer_2_last_name": "O'Brien",
}  # fmt: skip


def test_a_single_change_has_its_new_reference_and_its_people_by_number():
    made = single(
        {"id": "c-1", "new_ref": "N-1", "notes": "n", "meta:id-free": "x", **TOM, **ZOE},
        {"id": "c-2", **ZOE, "customer_1_postcode": "QX1 1ZZ"},
        {"id": "c-3", "new_ref": "N-3"},
        crm_fields=CRM,
    )
    zoe = {"title": "Ms", "first_names": "Zoë", "last_name": "Núñez"}
    tom = {"title": "Mr", "first_names": "Tom", "last_name": "O'Brien"}
    assert found(made) == []
    assert made.changes == [
        WantedChange(2, "c-1", None, "n", {"id-free": "x"}, "N-1", (zoe, tom)),
        WantedChange(3, "c-2", None, None, {}, None, (zoe | {"postcode": "QX1 1ZZ"},)),
        WantedChange(4, "c-3", None, None, {}, "N-3", ()),
    ]


def test_people_stand_in_the_order_of_their_numbers_as_numbers():
    names = {f"customer_{n}_{name}": f"{name} {n}" for n in (10, 2, 33, 1)
             for name in ("title", "first_names", "last_name")}  # fmt: skip
    (change,) = single({"id": "c", **names}).changes
    assert [person["title"] for person in change.customers] == [
        "title 1", "title 2", "title 10", "title 33",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "header",
    ["id", "Ref", "notes", "Meta: x", "new_ref", "New Ref", "NEW-REF", "customer_1_title",
     "Customer 1 First Names", "CUSTOMER_12_date-of-birth", "customer_01_last_names",
     "customer_9_email", "customer_2_preferred_name"],
)  # fmt: skip
def test_columns_of_single_updates_are_known_however_they_are_written(header):
    assert UPDATE_CASES.has_column(header)


@pytest.mark.parametrize(
    "header",
    ["customer_title", "customer_100_title", "customer_1_ref", "customer_1_name", "customer_1_",
     "customer__title", "customer_1_is_deceased", "customer_1_id", "address_book_1_title", "email",
     "adviser_email", "newref", "new ref 2", "customer_1_title_2"],
)  # fmt: skip
def test_what_an_update_cannot_change_is_no_column_of_single_updates(header):
    assert not UPDATE_CASES.has_column(header)


@pytest.mark.parametrize("header", ["new_ref", "customer_1_title"])
def test_bulk_updates_have_neither_new_references_nor_people(header):
    assert not BULK_UPDATE.has_column(header)


def test_people_without_a_number_are_refused_with_the_numbered_name():
    record = {"ref": "R", "customer_title": "Ms", "customer_first_names": "Zoë"}
    with pytest.raises(SourceError) as refused:
        single(record)
    assert "column B " in str(refused.value)
    assert "nearest known name: customer_1_title" in str(refused.value)
    assert "nearest known name: customer_1_first_names" in str(refused.value)


def test_columns_of_one_person_written_in_two_ways_are_refused():
    with pytest.raises(SourceError, match="mean the same"):
        single({"id": "c", "customer_1_title": "Ms", "Customer 01 Title": "Ms"})


def test_a_new_reference_alone_names_no_case():
    with pytest.raises(SourceError, match="needs a column id or ref"):
        single({"new_ref": "N", **ZOE})
    assert found(single({"ref": None, "new_ref": "N"})) == [(2, None, "key_missing")]


@pytest.mark.parametrize("given", [{"new_ref": "N"}, ZOE, {"notes": "x"}], ids=str)
def test_any_of_what_can_be_changed_is_enough(given):
    made = single({"id": "c", **given})
    assert found(made) == []
    assert [change.row for change in made.changes] == [2]


@pytest.mark.parametrize(
    ("written", "sent"),
    [("1/2/1960", "01/02/1960"), ("01/02/1960", "01/02/1960"), ("1960-02-01", "01/02/1960"),
     ("1960-02-01 00:00:00", "01/02/1960")],
)  # fmt: skip
def test_birth_dates_are_sent_as_the_examples_have_them(written, sent):
    (change,) = single({"id": "c", **ZOE, "customer_1_date_of_birth": written}).changes
    assert [person["date_of_birth"] for person in change.customers] == [sent]


def test_each_birth_date_column_has_one_form_of_its_own():
    forms = [("01/02/1960", "1961-03-04"), ("02/02/1960", "1961-03-05"), ("1960-02-03", None)]
    made = single(
        *(
            {"id": str(n), **ZOE, **TOM, "customer_1_date_of_birth": one,
             "customer_2_date_of_birth": other}
            for n, (one, other) in enumerate(forms)
        )
    )  # fmt: skip
    assert found(made) == [(4, "customer_1_date_of_birth", "date_mixed")]
    assert [[person.get("date_of_birth") for person in c.customers] for c in made.changes] == [
        ["01/02/1960", "04/03/1961"], ["02/02/1960", "05/03/1961"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "sent"),
    [("marital_status", "Married", "married"), ("marital_status", "Civil Partnership", "civil"),
     ("marital_status", "CO-HABITING", "cohabiting"), ("gender", "Female", "female"),
     ("gender", "Non-binary", "Non-binary"), ("tel_1", "07700 900461", "07700 900461"),
     ("email", "a@example.org", "a@example.org")],
)  # fmt: skip
def test_values_of_people_are_sent_in_the_words_of_the_api(name, text, sent):
    (change,) = single({"id": "c", **ZOE, f"customer_1_{name}": text}).changes
    assert [person[name] for person in change.customers] == [sent]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("date_of_birth", "31/02/1960", "date_impossible"), ("date_of_birth", "1960", "date_serial"),
     ("date_of_birth", "01/02/2960", "date_out_of_range"),
     ("marital_status", "it's complicated", "marital_status"), ("email", "a@", "email"),
     ("tel_1", "7700900461", "phone_zero_lost"), ("tel_2", "0" * 26, "too_long"),
     ("postcode", "x" * 101, "too_long"), ("occupation", "x" * 151, "too_long"),
     ("preferred_name", "x" * 151, "too_long")],
)  # fmt: skip
def test_what_the_api_would_refuse_of_a_person_is_refused_here(name, text, code):
    made = single({"id": "c", "notes": "x", **ZOE, f"customer_1_{name}": text})
    assert (2, f"customer_1_{name}", code) in found(made)
    assert made.changes == []
    assert text not in made.issues[2][0].message


def test_limits_are_of_characters_and_belong_to_their_field():
    limits = {"address_1": 100, "postcode": 100, "occupation": 150, "tel_2": 25}
    longest = {f"customer_1_{name}": "é" * limit for name, limit in limits.items()}
    longest["customer_1_tel_2"] = "0123456789" + " " * 14 + "0"
    assert found(single({"id": "c", **ZOE, **longest})) == []
    longer = {name: text + "1" for name, text in longest.items()}
    made = single({"id": "c", **ZOE, **longer})
    assert [column for _, column, code in found(made) if code == "too_long"] == list(longer)
    said = {issue.column: issue.message for issue in made.issues[2] if issue.code == "too_long"}
    for name, limit in limits.items():
        assert f" {limit} characters" in said[f"customer_1_{name}"]


@pytest.mark.parametrize("name", ["tel_1", "tel_2", "postcode", "email"])
def test_a_placeholder_is_refused_or_if_that_is_said_not_given(name):
    column = f"customer_1_{name}"
    record = {"id": "c", **ZOE, column: "N/A"}
    assert found(single(record)) == [(2, column, "blank_word")]
    (change,) = single(record, blank_words=["n/a"]).changes
    assert set(change.customers[0]) == {"title", "first_names", "last_name"}


def test_surnames_that_look_like_placeholders_are_surnames():
    for name in ("Null", "NA", "None"):
        (change,) = single({"id": "c", **ZOE, "customer_1_last_name": name}).changes
        assert change.customers[0]["last_name"] == name


@pytest.mark.parametrize("missing", list(ZOE))
@pytest.mark.parametrize("as_blank", [True, False])
def test_each_person_needs_title_first_names_and_surname(missing, as_blank):
    zoe = {name: text for name, text in ZOE.items() if name != missing}
    if as_blank:
        zoe[missing] = None
    made = single({"id": "c", "notes": "x", **zoe, **TOM})
    assert found(made) == [(2, missing, "required")]
    assert missing in made.issues[2][0].message


def test_anything_given_of_a_person_is_a_person():
    made = single({"id": "c", "customer_3_occupation": "Baker"})
    assert sorted(found(made)) == [
        (2, "customer_3_first_names", "required"), (2, "customer_3_last_name", "required"),
        (2, "customer_3_title", "required"),
    ]  # fmt: skip


def test_a_person_whose_cells_are_blank_is_none():
    (first, second) = single(
        {"id": "a", **ZOE, **dict.fromkeys(TOM)}, {"id": "b", "notes": "x", **dict.fromkeys(ZOE)}
    ).changes
    assert (len(first.customers), len(second.customers)) == (1, 0)


def two(first: Record, second: Record) -> UpdatePlan:
    """A row with two people."""
    both = {f"customer_1_{name}": text for name, text in first.items()}
    both |= {f"customer_2_{name}": text for name, text in second.items()}
    return single({"id": "c", **both})


PERSON: Record = {
    "title": "Mr", "first_names": "Tom", "last_name": "O'Brien", "date_of_birth": "1/2/1960",
}  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [{}, {"first_names": "TOM"}, {"last_name": "o'brien"}, {"title": "Dr"}, {"postcode": "QX1"},
     {"date_of_birth": "01/02/1960"}, {"date_of_birth": "1960-02-01"}],
    ids=str,
)  # fmt: skip
def test_a_person_twice_in_one_row_is_refused_however_written(other):
    made = two(PERSON, PERSON | other)
    assert found(made) == [(2, "customer_2_last_name", "customer_repeated")]
    assert "row 2" in made.issues[2][0].message


@pytest.mark.parametrize(
    "other", [{"first_names": "Thomas"}, {"last_name": "Brien"}, {"date_of_birth": "2/1/1960"}],
    ids=str,
)  # fmt: skip
def test_father_and_son_or_another_name_are_two_people(other):
    made = two(PERSON, PERSON | other)
    assert (found(made), len(made.changes[0].customers)) == ([], 2)


def test_a_person_in_two_rows_is_in_two_cases():
    assert found(single({"id": "a", **ZOE}, {"id": "b", **ZOE})) == []


@pytest.mark.parametrize("other", SAME, ids=ascii)
def test_one_new_reference_for_two_cases_is_refused_however_it_is_written(other):
    made = single(
        {"id": "a", "New ref": "Ref 1"}, {"id": "b", "New ref": "2"}, {"id": "c", "New ref": other}
    )
    assert found(made) == [(2, "New ref", "new_ref_repeated"), (4, "New ref", "new_ref_repeated")]
    said = [made.issues[row][0].message for row in (2, 4)]
    assert ["row 4" in said[0], "row 2" in said[1]] == [True, True]
    assert [change.new_ref for change in made.changes] == ["2"]


def test_a_new_reference_that_is_a_rows_old_one_is_not_repeated():
    made = single({"ref": "A", "new_ref": "a"}, {"ref": "B", "new_ref": "C"},
                  {"ref": "D", "new_ref": "B"})  # fmt: skip
    assert found(made) == []


@pytest.mark.parametrize("kind", [BULK_UPDATE, UPDATE_CASES], ids=["bulk", "single"])
def test_the_header_of_each_crm_column_is_known_by_the_fields_id(kind):
    record = {"id": "c", "META: lead source": "Website", "meta:id-free": "x"}
    made = plan_updates(sheet([record]), kind, crm_fields=CRM)
    assert made.meta_headers == {"id-source": "META: lead source", "id-free": "meta:id-free"}
    assert plan_updates(sheet([record]), kind).meta_headers == {}


WRONG = {
    "Customer 2 Marital-Status": "?", "NEW REF": "N", "meta:Lead source": "?",
    "customer_1_email": "?", "Ref": "R", "customer_2_date_of_birth": "?", "id": "i",
    "customer_1_tel_2": "7700900461", "customer_1_date_of_birth": "31/02/1960",
} | ZOE | TOM  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_what_is_wrong_with_a_row_is_told_from_left_to_right(seed):
    headers = random.Random(seed).sample(list(WRONG), len(WRONG))
    record = {header: WRONG[header] for header in headers}
    reader = [Issue(2, header, "damaged_text", "x") for header in headers[:3]]
    file = sheet([record, record], issues=[*reader, Issue(2, None, "too_few_cells", "x")])
    made = plan_updates(file, UPDATE_CASES, crm_fields=CRM)
    columns = [issue.column for issue in made.issues[2]]
    assert columns[0] is None
    places = [headers.index(column) for column in columns[1:] if column]
    assert places == sorted(places)
    assert len(set(places)) >= 8
    assert list(made.issues) == [2, 3]


def test_csv_text_with_people_is_read_and_planned(tmp_path):
    path = tmp_path / "changes.csv"
    path.write_text(
        "Ref;New Ref;Customer 1 Title;Customer 1 First Names;Customer 1 Last Names;"
        "Customer 1 Date of Birth\nR-1;N-1; Ms;Zoë ;Núñez;1960-02-01\nR-2;;;;;\n",
        encoding="utf-8",
    )
    made = plan_updates(read_sheet(path, is_known=UPDATE_CASES.has_column), UPDATE_CASES)
    zoe = {"title": "Ms", "first_names": "Zoë", "last_name": "Núñez", "date_of_birth": "01/02/1960"}
    assert made.changes == [
        WantedChange(2, None, "R-1", None, {}, "N-1", (zoe,)),
        WantedChange(3, None, "R-2", None, {}),
    ]
    assert found(made) == []


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
    assert {code for *_, code in found(made)} == {"key_missing", "meta_option", "case_repeated"}
    for issues in made.issues.values():
        for issue in issues:
            assert CANARY.casefold() not in f"{issue.message}{issue.column}".casefold()


def test_no_issue_about_people_or_new_references_repeats_a_cell():
    person = {
        f"customer_{n}_{name}": CANARY
        for n in (1, 2)
        for name in ("first_names", "last_name", "email", "marital_status", "date_of_birth")
    }
    person |= {"customer_1_tel_1": f"{CANARY} 07700900461; 07700900462"}
    made = single(*({"id": str(n), "new_ref": CANARY, **person} for n in range(2)))
    assert {code for *_, code in found(made)} == {
        "new_ref_repeated", "required", "customer_repeated", "email", "marital_status",
        "two_phones", "too_long", "date_unreadable",
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
    people = {name: CANARY for name in ZOE}
    made = single(
        {
            "id": "c-1",
            "notes": CANARY,
            "meta:Storage reference": CANARY,
            "new_ref": CANARY,
            **people,
        },
        crm_fields=CRM,
    )
    assert len(made.changes) == 1
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
OF_PEOPLE = {
    "New ref": ["N-1", "n-1", "N-2", "Ref-1", "R3"],
    "Customer 1 Title": ["Mr", "Dr"],
    "customer_1_first_names": ["Tom", "Zoë"],
    "customer_1_last_name": ["Null", "O'Brien"],
    "customer_1_date_of_birth": ["1/2/1960", "01/02/1960", "1960-02-01", "31/02/1960"],
    "customer_1_marital_status": ["Civil partner", "SINGLE", "?"],
    "customer_1_tel_1": ["07700 900461", "n/a", "0" * 25],
    "customer_2_title": ["Mr", "Dr"],
    "customer_02_first_names": ["Tom", "Zoë"],
    "customer_2_last_names": ["null", "Ng"],
    "customer_2_date_of_birth": ["1960-02-01", "1960-02-02"],
    "customer_2_gender": ["FEMALE", "x"],
    "customer_2_postcode": ["QX1 1ZZ", "-"],
}
FILES = {"bulk": (BULK_UPDATE, PLAUSIBLE), "single": (UPDATE_CASES, PLAUSIBLE | OF_PEOPLE)}
any_cell = (
    st.text(max_size=12)
    | st.integers().map(str)
    | st.sampled_from([" ", "\xa0", "\u200b", "é" * 5000, "\ufeff N/A ", "\0"])
)


@st.composite
def files(draw: st.DrawFn, plausible: dict[str, list[str]]) -> Sheet:
    """Rows under some of the columns, in any order, with some issues of the reader."""
    keys = draw(st.sampled_from([["id"], ["ref"], ["id", "ref"]]))
    others = [name for name in plausible if name not in ("id", "ref")]
    header = draw(st.permutations([*keys, *draw(st.sets(st.sampled_from(others)))]))
    records: list[Record] = []
    for _ in range(draw(st.integers(0, 7))):
        usual = {name: st.sampled_from(plausible[name]) for name in header}
        cells = {name: draw(usual[name] | usual[name] | st.none() | any_cell) for name in header}
        records.append({name: clean(cell or "") or None for name, cell in cells.items()})
    rows = range(2, 2 + len(records))
    issues = [
        Issue(row, draw(st.sampled_from([None, *header])), "damaged_text", "x")
        for row in rows
        if draw(st.integers(0, 9)) == 0
    ]
    return sheet(records, header=list(header), issues=issues)


def file_of_any_kind() -> st.SearchStrategy[tuple[UpdateKind, Sheet]]:
    return st.one_of(
        st.tuples(st.just(kind), files(plausible)) for kind, plausible in FILES.values()
    )


@settings(max_examples=50, deadline=None)
@given(file_of_any_kind(), st.booleans())
def test_whatever_is_in_a_file_each_row_is_a_change_or_has_an_issue(of_kind, with_fields):
    kind, file = of_kind
    fields = CRM if with_fields else None
    made = plan_updates(file, kind, extra="ignore", blank_words=[], crm_fields=fields)

    assert sorted([*(change.row for change in made.changes), *made.issues]) == file.rows
    assert made.rows == file.rows
    assert all(made.issues.values())
    assert all(issue.row == row for row, issues in made.issues.items() for issue in issues)
    reported = found(made)
    assert len(reported) == len(set(reported))
    for of in ("case_id", "ref", "new_ref"):
        keys = [canonical(key) for change in made.changes if (key := getattr(change, of))]
        assert len(keys) == len(set(keys))
    for change in made.changes:
        assert change.case_id or change.ref
        assert made.keys[change.row] == change.key
        cells = file.frame.iloc[change.row - 2]
        assert change.notes == (None if pd.isna(notes := cells.get("notes")) else notes)
        assert change.new_ref == (
            None if kind is BULK_UPDATE or pd.isna(ref := cells.get("New ref")) else ref
        )
        # whatever is planned can be sent
        request = case_update(body(change))
        assert (request.notes, request.meta) == (change.notes, dict(change.meta))
        assert len(request.customers) == len(change.customers) <= 2
        if kind is BULK_UPDATE:
            assert bulk_update({"id": "found", **body(change)}).notes == change.notes


@settings(max_examples=12, deadline=None)
@given(file_of_any_kind(), st.integers(0, 99))
def test_the_order_of_the_rows_and_columns_does_not_matter(of_kind, seed):
    kind, file = of_kind
    file.issues.clear()
    made = plan_updates(file, kind, extra="ignore", blank_words=[], crm_fields=CRM)
    order = list(range(len(file.rows)))
    random.Random(seed).shuffle(order)
    headers = random.Random(seed).sample(list(file.frame.columns), len(file.frame.columns))
    frame = file.frame.iloc[order].reset_index(drop=True)[headers]
    shuffled = Sheet(frame, file.rows, [], {}, 0, "a test")
    again = plan_updates(shuffled, kind, extra="ignore", blank_words=[], crm_fields=CRM)
    back = {new: file.rows[old] for new, old in zip(file.rows, order, strict=True)}
    assert {back[row] for row in again.issues} == set(made.issues)
    restored = [replace(change, row=back[change.row]) for change in again.changes]
    assert sorted(restored, key=lambda change: change.row) == made.changes
