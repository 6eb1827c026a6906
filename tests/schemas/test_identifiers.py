"""Identifiers that a spreadsheet or a program has spoilt, in the files of every flow."""

from zoneinfo import ZoneInfo

import pytest
from made_sheets import Record, found, sheet

from schemas.appointment_file import plan_appointments
from schemas.identifiers import CLEANED
from schemas.import_plan import plan_import
from schemas.update_file import BULK_UPDATE, UPDATE_CASES, plan_updates

LONDON = ZoneInfo("Europe/London")
BOOKING: Record = {
    "case_id": "c-1", "adviser_email": "a@example.org",
    "start_time": "2027-03-01 09:00", "end_time": "2027-03-01 10:00",
}  # fmt: skip


def planned(column: str, *cells: str):
    """The file of the flow that has such a column, with these cells in it."""
    if column == "ref":
        return plan_import(sheet([{column: cell} for cell in cells]))
    if column == "source_id":
        records = [{"ref": None, column: cell} for cell in cells]
        return plan_import(sheet(records), derive_ref_from=[column])
    if column == "key":
        return plan_appointments(
            sheet([{column: cell, **BOOKING} for cell in cells]), timezone=LONDON
        )
    if column == "new_ref":
        records = [{"id": f"c-{at}", column: cell} for at, cell in enumerate(cells)]
        return plan_updates(sheet(records), UPDATE_CASES)
    return plan_updates(sheet([{column: cell, "notes": "x"} for cell in cells]), BULK_UPDATE)


EACH = pytest.mark.parametrize("column", ["ref", "source_id", "key", "new_ref", "id"])


@EACH
def test_identifiers_that_became_decimal_numbers_are_refused(column):
    made = planned(column, "9001.0", "9002", "A-3")
    assert found(made) == [(2, column, "identifier_decimal")]
    assert found(planned(column, "9001.0", "9002.00")) == [
        (2, column, "identifier_decimal"), (3, column, "identifier_decimal"),
    ]  # fmt: skip


@EACH
def test_identifiers_that_count_by_decimals_stay(column):
    assert found(planned(column, "1.0", "1.1", "2.0", "1.0.0")) == []
    assert found(planned(column, "1.0", "1.1", "1")) == [(2, column, "identifier_decimal")]


@EACH
@pytest.mark.parametrize(
    "text", ["1.59002E+17", "1,59E+17", "1.23457e+11", "1E+05", "2.5E-07", "#####", "##"]
)
def test_what_a_spreadsheet_shows_of_long_numbers_is_refused(column, text):
    made = planned(column, text, "A-1")
    assert found(made) == [(2, column, "identifier_rounded")]


@EACH
@pytest.mark.parametrize("text", ["12,345", "-1,000", "1,234,567"])
def test_a_number_with_commas_between_its_thousands_is_refused(column, text):
    assert found(planned(column, text, "A-1")) == [(2, column, "identifier_grouped")]
    assert found(planned(column, "0,123", "12,34", "1,2345", "A-12,345", "12,345/1")) == []


@EACH
def test_long_numbers_that_are_texts_and_identifiers_that_look_alike_stay(column):
    assert found(planned(column, "159001810629457088", "1E10", "1E-10", "E+1", "#", "00042")) == []


@pytest.mark.parametrize("text", ["ZW-\u200b1001", "ZW-\u00ad1001", "\u200eZW-\u20681001"])
def test_signs_that_nobody_sees_are_left_out_of_a_ref_and_that_is_said(text):
    made = planned("ref", text, "ZW-1002")
    assert [case.ref for case in made.cases] == ["ZW-1001", "ZW-1002"]
    assert made.notes == {2: CLEANED.format(columns="ref")}
    assert found(planned("ref", text, "ZW-1001")) == [
        (2, "ref", "ref_repeated"), (3, "ref", "ref_repeated"),
    ]  # fmt: skip


@pytest.mark.parametrize("sign", ["\u200b", "\u202a", "\u034f", "\ufe0f", "\u3164"])
def test_phones_postcodes_and_e_mails_are_sent_without_signs_that_nobody_sees(sign):
    cells = {"tel_1": "0770\u00a00900123", "postcode": "SW1", "email": "a@example.org"}
    columns = {f"customer_1_{name}": f"{text[:2]}{sign}{text[2:]}" for name, text in cells.items()}
    names = {f"customer_1_{name}": "Ann" for name in ("title", "first_names", "last_name")}
    made = plan_import(sheet([{"ref": f"R{sign}1", **names, **columns}]))
    [case] = made.cases
    assert case.ref == "R1"
    sent = {name: case.body["customers"][0][name] for name in cells}
    assert sent == cells | {"tel_1": "0770 0900123"}
    assert made.notes == {2: CLEANED.format(columns=" and ".join(sorted(["ref", *columns])))}


def test_a_blank_of_another_kind_becomes_a_plain_one_in_keys_ids_and_refs():
    made = plan_appointments(sheet([BOOKING | {"key": "B\u00a07\u200b"}]), timezone=LONDON)
    assert made.wanted[0].key == "B 7"
    assert made.notes == {2: CLEANED.format(columns="key")}
    updates = plan_updates(sheet([{"id": "c\u200b-1", "notes": "a\u200bb"}]), BULK_UPDATE)
    assert (updates.changes[0].case_id, updates.changes[0].notes) == ("c-1", "a\u200bb")
    assert updates.notes == {2: CLEANED.format(columns="id")}


@EACH
@pytest.mark.parametrize(
    "text", ["2024-03-01", "2024-03-01 09:30:00", "01/03/2024", "1-Mar", "TRUE"]
)
def test_dates_and_booleans_are_no_identifiers(column, text):
    made = planned(column, text, "MAR-24")
    assert found(made) == ([] if column == "source_id" else [(2, column, "identifier_type")])
