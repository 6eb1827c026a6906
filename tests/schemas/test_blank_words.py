"""Words for nothing, in the files of every flow: refused, asked about, or blank if that is said."""

from zoneinfo import ZoneInfo

import pytest
from made_sheets import Record, found, sheet

from schemas.appointment_file import plan_appointments
from schemas.import_plan import plan_import
from schemas.issues import Issue, SourceError
from schemas.update_file import BULK_UPDATE, UPDATE_CASES, plan_updates

ANN: Record = {
    "customer_1_title": "Ms", "customer_1_first_names": "Ann", "customer_1_last_name": "Example",
}  # fmt: skip
BOOKING: Record = {
    "case_id": "c-1", "adviser_email": "a@example.org",
    "start_time": "2027-03-01 09:00", "end_time": "2027-03-01 10:00",
}  # fmt: skip
FLOWS = ["import", "update", "bulk", "appointments"]


def planned(flow: str, *notes: str | None, **options):
    """The file of a flow with these notes, and what is planned of it."""
    if flow == "import":
        records = [{"ref": f"R-{at}", **ANN, "notes": text} for at, text in enumerate(notes)]
        return plan_import(sheet(records), **options)
    if flow == "appointments":
        records = [{"key": f"B-{at}", **BOOKING, "notes": text} for at, text in enumerate(notes)]
        return plan_appointments(sheet(records), timezone=ZoneInfo("Europe/London"), **options)
    kind = UPDATE_CASES if flow == "update" else BULK_UPDATE
    records = [{"id": f"c-{at}", "notes": text} for at, text in enumerate(notes)]
    return plan_updates(sheet(records), kind, **options)


def sent_notes(flow: str, made) -> list[str | None]:
    if flow == "import":
        return [case.body.get("notes") for case in made.cases]
    if flow == "appointments":
        return [wanted.given.get("notes") for wanted in made.wanted]
    return [change.notes for change in made.changes]


def asked(*records: Record, **options) -> str:
    """The question that the whole file raises."""
    with pytest.raises(SourceError) as raised:
        plan_import(sheet(records), **options)
    return str(raised.value)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    "words",
    [("nan", "nan"), ("NULL", "null"), ("\\N",), ("<NA>",), ("n/a", "N/A"), ("-", "-"),
     ("None", "None", "nan")],
)  # fmt: skip
def test_words_for_nothing_in_free_text_are_asked_about_and_are_what_is_answered(flow, words):
    notes = ["fine", None, *words]
    with pytest.raises(SourceError, match=rf"notes \(cells: {len(words)}\)"):
        planned(flow, *notes)
    made = planned(flow, *notes, blank_words=list(words))
    assert found(made) == []
    assert sent_notes(flow, made) == ["fine", None, *[None] * len(words)]
    assert sent_notes(flow, planned(flow, *notes, blank_words=[])) == notes


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("word", ["nan", "None", "NULL", "n/a", "-"])
def test_a_single_word_stays_what_it_is(flow, word):
    notes = [word, "none of these", "unknown", "unknown"]
    assert sent_notes(flow, planned(flow, *notes)) == notes


def test_the_question_names_columns_counts_and_the_words_to_be_said_but_no_other_cell():
    said = asked(
        {"ref": "R-1", **ANN, "customer_1_address_2": "\\N", "notes": "NULL"},
        {"ref": "R-2", **ANN, "customer_1_address_2": "nan", "notes": "Secret"},
        {"ref": "R-3", **ANN, "customer_1_occupation": "null"},
        blank_words=["n/a"],
    )
    assert "customer_1_address_2 (cells: 2), notes (cells: 1)" in said
    assert "customer_1_occupation (cells: 1)" in said
    assert 'blank_words=["n/a", "NULL", "\\\\N", "nan", "null"]' in said
    assert "blank_words=[]" in said
    assert "Secret" not in said


@pytest.mark.parametrize("name", ["Null", "None", "NA", "Na"])
def test_people_who_are_called_so_stay_however_many_they_are(name):
    people = [ANN | {"ref": f"R-{at}", "customer_1_last_name": name} for at in range(3)]
    assert found(plan_import(sheet(people))) == []


def test_null_stays_a_surname_where_another_spelling_is_blank_and_missing_ones_are_asked_about():
    people = [ANN | {"ref": f"R-{at}", "customer_1_last_name": "Null"} for at in range(3)]
    people[0]["notes"] = "NULL"
    made = plan_import(sheet(people), blank_words=["NULL"])
    assert [case.body["customers"][0]["last_name"] for case in made.cases] == ["Null"] * 3
    assert "notes" not in made.cases[0].body
    for word in ("NULL", "nan", "-"):
        records = [each | {"customer_1_last_name": word} for each in people]
        assert "customer_1_last_name (cells: 3)" in asked(*records)
        made = plan_import(sheet(records), blank_words=[word])
        assert found(made) == [(row, "customer_1_last_name", "required") for row in (2, 3, 4)]


def test_a_ref_that_is_no_ref_makes_no_case_of_many_people():
    people = [
        {"ref": "nan", "customer_title": "Ms", "customer_first_names": name,
         "customer_last_name": "Example"}
        for name in ("Ann", "Bea")
    ]  # fmt: skip
    assert "ref (cells: 2)" in asked(*people)
    made = plan_import(sheet(people), blank_words=["nan"])
    assert found(made) == [(2, "ref", "ref_missing"), (3, "ref", "ref_missing")]


FIELDS = ["tel_1", "tel_2", "postcode", "email", "date_of_birth"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("word", ["nan", "<NA>", "None", "NULL", "\\N", "-", "n/a", "NaT"])
def test_where_no_word_is_a_value_a_row_with_one_is_refused_and_told_what_to_say(field, word):
    column = f"customer_1_{field}"
    record = {"ref": "R-1", **ANN, column: word}
    made = plan_import(sheet([record, {"ref": "R-2", **ANN}]))
    assert found(made) == [(2, column, "blank_word")]
    assert "blank_words=[" in made.issues[2][0].message
    made = plan_import(sheet([record]), blank_words=[word.swapcase()])
    assert [dict(case.body["customers"][0]) for case in made.cases] == [
        {"title": "Ms", "first_names": "Ann", "last_name": "Example"}
    ]


def test_an_error_that_a_spreadsheet_shows_can_be_said_to_be_blank():
    records = [{"id": "c-1", "notes": "#N/A"}, {"id": "c-2", "notes": "#REF!"}]
    errors = [Issue(row, "notes", "error_cell", "x") for row in (2, 3)]
    made = plan_updates(sheet(records, issues=errors), BULK_UPDATE, blank_words=["#N/A"])
    assert found(made) == [(3, "notes", "error_cell")]
    assert [change.notes for change in made.changes] == [None]
