"""From the rows of a file to the appointments wanted, and the rows of which none can be made."""

# ruff: noqa: DTZ001 - what a clock on the wall shows has no zone

import random
import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_sheets import Record, found, sheet
from rich.pretty import pretty_repr

import schemas.appointment_file
from schemas.appointment_file import (
    APPOINTMENT_FIELDS,
    FLAGS,
    IDENTITY_FIELDS,
    RECIPIENTS,
    VALUE_FIELDS,
    AppointmentPlan,
    WantedAppointment,
    appointment_column_table,
    is_appointment_column,
    plan_appointments,
)
from schemas.files.source import Sheet, read_sheet
from schemas.issues import Issue, SourceError
from schemas.texts import canonical, clean, visible
from schemas.wall_times import TIME_SENTENCES, time_problems, wire_time
from willsuite import new_appointment

LONDON = ZoneInfo("Europe/London")
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DESIGNED = [  # written down from the design's fixed interface, not computed
    "key", "action", "case_id", "case_ref", "appointment_id", "adviser_email", "start_time",
    "end_time", "location", "notes", "email_recipient", "email_confirmation",
    "email_notification", "sms_recipient", "sms_confirmation", "sms_notification", "zoom_meeting",
]  # fmt: skip
TIMES = {"start_time": "2026-07-20 09:00", "end_time": "2026-07-20 10:00"}
PLAIN: Record = {"key": "B-1", "case_id": "c-1", "adviser_email": "adviser@example.org", **TIMES}


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr(schemas.appointment_file, "_now", lambda: NOW)


def plan(
    *records: Record, header: list[str] | None = None, zone: ZoneInfo = LONDON, **options: Any
) -> AppointmentPlan:
    return plan_appointments(sheet(records, header=header), timezone=zone, **options)


def codes(record: Record, **options: Any) -> list[tuple[str | None, str]]:
    return [(column, code) for _, column, code in found(plan(record, **options))]


def with_cells(**cells: str | None) -> Record:
    return PLAIN | cells


def only(made: AppointmentPlan) -> WantedAppointment:
    assert found(made) == []
    (wanted,) = made.wanted
    return wanted


# -- columns ---------------------------------------------------------------------------------


def test_a_row_becomes_what_it_gives_and_nothing_else():
    full = with_cells(
        action="Upsert", case_ref="R-1", appointment_id="a-1", location="Our office\n2nd floor",
        notes="Bring the deeds", email_recipient="client@example.org", email_confirmation="Yes",
        email_notification="no", sms_recipient="+44 7700 900123", sms_confirmation="0",
        sms_notification="TRUE", zoom_meeting="n",
    )  # fmt: skip
    made = plan(full, {"key": "B-2", "case_ref": "R-2"} | dict(list(PLAIN.items())[2:]))
    assert found(made) == []
    assert made.wanted == [
        WantedAppointment(
            2, "B-1", "upsert", "c-1", "R-1", "a-1",
            {
                "adviser_email": "adviser@example.org", "start_time": "2026-07-20 09:00:00",
                "end_time": "2026-07-20 10:00:00", "location": "Our office\n2nd floor",
                "notes": "Bring the deeds", "email_recipient": "client@example.org",
                "email_confirmation": True, "email_notification": False,
                "sms_recipient": "+44 7700 900123", "sms_confirmation": False,
                "sms_notification": True, "zoom_meeting": False,
            },
        ),
        WantedAppointment(
            3, "B-2", "upsert", None, "R-2", None,
            {
                "adviser_email": "adviser@example.org", "start_time": "2026-07-20 09:00:00",
                "end_time": "2026-07-20 10:00:00",
            },
        ),
    ]  # fmt: skip
    assert made.keys == {2: "B-1", 3: "B-2"}
    assert made.rows == [2, 3]
    for wanted in made.wanted:
        new_appointment(wanted.given)


def test_the_columns_are_those_of_the_design():
    assert list(APPOINTMENT_FIELDS) == DESIGNED
    assert list(IDENTITY_FIELDS | VALUE_FIELDS) == DESIGNED
    assert RECIPIENTS == {  # the vendor's page
        "email_confirmation": "email_recipient",
        "email_notification": "email_recipient",
        "sms_confirmation": "sms_recipient",
        "sms_notification": "sms_recipient",
    }
    assert {*FLAGS} == {name for name in DESIGNED if re.search("confirm|notif|zoom", name)}


def test_the_table_of_columns_has_each_of_them_once():
    names = re.findall(r"^\| `(\w+)` \| ", appointment_column_table(), re.MULTILINE)
    assert names == DESIGNED
    assert appointment_column_table().startswith("| column | |\n| --- | --- |\n| `key` | required")


@pytest.mark.parametrize("name", DESIGNED)
def test_a_column_is_known_however_it_is_written(name):
    for header in (name, name.upper(), name.replace("_", " ").title(), f" {name}\u200b"):
        assert is_appointment_column(header)
    whole = {name: None for name in DESIGNED} | PLAIN
    renamed = {
        (key.replace("_", "-").upper() if key == name else key): cell
        for key, cell in whole.items()
    }  # fmt: skip
    assert only(plan(renamed)) == only(plan(PLAIN))


@pytest.mark.parametrize(
    "header",
    ["", "id", "ref", "case", "start", "adviser", "email", "sms", "meta:x", "customer_1_title",
     "rejected_row", "Rejected because", "B-1", "keys"],
)  # fmt: skip
def test_other_headers_are_no_columns_of_this_kind_of_file(header):
    assert not is_appointment_column(header)


def test_an_unknown_column_is_refused_by_its_letter_with_the_nearest_name():
    with pytest.raises(SourceError, match=r'column F "Locations" \(nearest known name: location\)'):
        plan(with_cells(Locations="x"))


def test_unknown_columns_can_be_left_out_with_what_is_wrong_in_them():
    issues = [Issue(2, "Sheet", "damaged_text", "x")]
    record = with_cells(Sheet="Ã©")
    made = plan_appointments(sheet([record], issues=issues), timezone=LONDON, extra="ignore")
    assert only(made) == only(plan(PLAIN))


def test_a_file_of_rejected_rows_can_be_fed_back_in():
    record = {"Rejected row": "7", "rejected_because": "was wrong", **PLAIN}
    assert only(plan(record)) == only(plan(PLAIN))


def test_a_file_without_the_column_of_keys_is_refused():
    for record in ({"case_id": "c"}, {"action": "delete", "appointment_id": "a"}):
        with pytest.raises(SourceError, match="needs a column key"):
            plan(record)


def test_two_columns_that_mean_the_same_are_refused():
    with pytest.raises(SourceError, match="mean the same"):
        plan(with_cells(**{"Start-Time": "x"}))


def test_a_file_without_rows_gives_an_empty_plan():
    for header in (["key"], ["key", "action"], DESIGNED):
        made = plan(header=header)
        assert (made.rows, made.keys, made.wanted, made.issues) == ([], {}, [], {})


# -- which appointment -----------------------------------------------------------------------


def test_a_row_without_a_key_is_refused():
    made = plan(with_cells(key=None), with_cells(key="B-2"))
    assert found(made) == [(2, "key", "booking_key_missing")]
    assert made.keys == {3: "B-2"}


@pytest.mark.parametrize("other", ["key 1", "KEY 1", "Key  1", "key\xa01"], ids=ascii)
def test_keys_of_another_system_that_differ_in_any_sign_are_two_bookings(other):
    made = plan(with_cells(key="Key 1"), with_cells(key=other))
    assert [wanted.key for wanted in made.wanted] == ["Key 1", visible(other)]


def test_the_same_key_in_two_rows_is_refused():
    made = plan(
        with_cells(key="Key 1"), with_cells(key="another"), with_cells(key="Key 1", action="delete")
    )
    assert found(made) == [(2, "key", "booking_key_repeated"), (4, "key", "booking_key_repeated")]
    assert "row 4" in made.issues[2][0].message
    assert "row 2" in made.issues[4][0].message
    assert [wanted.key for wanted in made.wanted] == ["another"]
    assert made.keys == {2: "Key 1", 3: "another", 4: "Key 1"}


@pytest.mark.parametrize("other", ["01", "1.5", "a-1", "á"])
def test_other_keys_are_other_bookings(other):
    assert found(plan(*(with_cells(key=key) for key in ("1", "a", other)))) == []


def test_two_bookings_cannot_share_an_appointment():
    made = plan(
        with_cells(key="1", appointment_id="a-1"), with_cells(key="2", appointment_id=None),
        with_cells(key="3", appointment_id=None), with_cells(key="4", appointment_id="A-1"),
    )  # fmt: skip
    assert found(made) == [
        (2, "appointment_id", "appointment_repeated"),
        (5, "appointment_id", "appointment_repeated"),
    ]


@pytest.mark.parametrize("word", ["upsert", "UPSERT", "Upsert", None])
def test_an_appointment_is_wanted_unless_the_row_says_otherwise(word):
    assert only(plan(with_cells(action=word))).action == "upsert"


@pytest.mark.parametrize("word", ["delete", "DELETE", "Delete"])
def test_a_row_can_say_delete(word):
    assert only(plan(with_cells(action=word))).action == "delete"


@pytest.mark.parametrize("word", ["cancel", "deleted", "update", "create", "yes", "-", "up sert"])
def test_any_other_action_is_refused_and_nothing_else_is_said_of_the_row(word):
    assert codes({"key": "B-1", "action": word, "start_time": None}) == [("action", "action")]


@pytest.mark.parametrize("given", [{"case_id": "c"}, {"case_ref": "R 1/2"}])
def test_one_of_case_id_and_case_ref_is_enough(given):
    others = {"case_id": None, "case_ref": None} | given
    wanted = only(plan(with_cells(**others)))
    assert (wanted.case_id, wanted.case_ref) == (others["case_id"], others["case_ref"])


@pytest.mark.parametrize("columns", [(), ("case_id",), ("case_ref",), ("case_id", "case_ref")])
def test_an_appointment_wanted_without_a_case_is_refused(columns):
    record = {name: cell for name, cell in PLAIN.items() if name != "case_id"}
    assert codes(record | dict.fromkeys(columns)) == [(None, "case_missing")]


@pytest.mark.parametrize("name", ["case_id", "appointment_id"])
@pytest.mark.parametrize(
    "bad",
    ["a/b", "..", "a.b", "a b", "a?x=1", "a%2Fb", "-a", "_a", "é", "x" * 65, "\uff11"],
    ids=ascii,
)
@pytest.mark.parametrize("action", ["upsert", "delete"])
def test_an_id_with_characters_that_no_id_has_is_refused(name, bad, action):
    assert codes(with_cells(**{name: bad, "action": action})) == [(name, "not_an_id")]


@pytest.mark.parametrize("good", ["7", "A", "a-b_c", "x" * 64])
def test_any_other_id_is_taken_as_it_is(good):
    wanted = only(plan(with_cells(case_id=good, appointment_id=good)))
    assert (wanted.case_id, wanted.appointment_id) == (good, good)


# -- what a new one needs, and a deletion doesn't --------------------------------------------


@pytest.mark.parametrize("name", ["adviser_email", "start_time", "end_time"])
def test_each_of_the_three_is_required(name):
    expected = [(name, "required_of_appointment")]
    assert codes(with_cells(**{name: None})) == expected
    assert codes({key: cell for key, cell in PLAIN.items() if key != name}) == expected
    assert codes(with_cells(**{name: None, "appointment_id": "a-1"})) == expected


def test_a_deletion_needs_only_its_key():
    assert only(plan({"key": "B-1", "action": "delete"})) == WantedAppointment(
        2, "B-1", "delete", None, None, None, {}
    )
    assert codes({"key": None, "action": "delete"}) == [("key", "booking_key_missing")]


def test_what_else_a_deletion_has_is_not_looked_at_and_not_kept():
    wrong = {
        "adviser_email": "nobody", "start_time": "20/07/2026 9am", "end_time": "2026-02-30 09:00",
        "email_recipient": "x", "email_confirmation": "maybe", "sms_notification": "yes",
        "sms_recipient": "7700900123.0", "notes": "Ã©", "zoom_meeting": "2",
    }  # fmt: skip
    reader = [Issue(3, "notes", "damaged_text", "x"), Issue(2, "notes", "damaged_text", "x")]
    gone = wrong | {"key": "B-2", "action": "DELETE", "case_ref": "R", "appointment_id": "a"}
    records = [with_cells(action=None, **dict.fromkeys(wrong.keys() - PLAIN.keys())), gone]
    made = plan_appointments(sheet(records, issues=reader), timezone=LONDON)
    assert found(made) == [(2, "notes", "damaged_text")]
    assert made.wanted == [WantedAppointment(3, "B-2", "delete", None, "R", "a", {})]


def test_the_form_of_a_column_is_not_that_of_its_deletions():
    gone = {"start_time": "20/07/2026 09:00", "end_time": "20/07/2026 10:00", "action": "delete"}
    made = plan(
        with_cells(key="1", action=None), *(with_cells(key=key, **gone) for key in ("2", "3"))
    )
    assert found(made) == []
    assert [len(wanted.given) for wanted in made.wanted] == [3, 0, 0]


def test_what_is_wrong_with_the_whole_row_refuses_a_deletion_too():
    reader = [Issue(2, None, "too_few_cells", "x"), Issue(2, "key", "damaged_text", "x")]
    record: Record = {"key": "B-1", "action": "delete", "notes": "x"}
    made = plan_appointments(sheet([record], issues=reader), timezone=LONDON)
    assert found(made) == [(2, None, "too_few_cells"), (2, "key", "damaged_text")]


# -- single values ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", True), ("Y", True), ("TRUE", True), ("1", True), ("No", False), ("n", False),
     ("false", False), ("0", False)],
)  # fmt: skip
def test_a_flag_is_a_boolean_however_it_is_written(name, text, value):
    people = {"email_recipient": "c@example.org", "sms_recipient": "07700900123"}
    wanted = only(plan(with_cells(**people, **{name: text})))
    assert wanted.given[name] is value


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("text", ["2", "maybe", "on", "ja", "1.0", "-", "yes please"])
def test_a_flag_that_is_neither_is_refused(name, text):
    people = {"email_recipient": "c@example.org", "sms_recipient": "07700900123"}
    assert codes(with_cells(**people, **{name: text})) == [(name, "yes_or_no")]


@pytest.mark.parametrize(("name", "recipient"), RECIPIENTS.items())
def test_a_message_to_nobody_is_refused(name, recipient):
    header = recipient.replace("_", " ")
    made = plan(with_cells(**{name: "yes", header: None}))
    assert found(made) == [(2, name, "recipient_missing")]
    assert header in made.issues[2][0].message
    assert codes(with_cells(**{name: "1"})) == [(name, "recipient_missing")]
    assert codes(with_cells(**{name: "no", recipient: None})) == []


def test_the_recipient_of_the_other_kind_of_message_will_not_do():
    record = with_cells(email_recipient="c@example.org", sms_recipient=None, email_confirmation="y")
    assert codes(record) == []
    assert codes(record | {"sms_confirmation": "y"}) == [("sms_confirmation", "recipient_missing")]
    assert codes(with_cells(zoom_meeting="yes")) == []


@pytest.mark.parametrize("name", ["adviser_email", "email_recipient"])
@pytest.mark.parametrize("text", ["nobody", "a@b", "a@b.org, c@d.org", "<a@b.org>", "a b@c.org"])
def test_what_is_no_email_address_is_refused(name, text):
    assert codes(with_cells(**{name: text})) == [(name, "email")]


def test_a_placeholder_is_no_recipient_and_no_adviser():
    record = with_cells(email_recipient="n/a", sms_recipient="None", location="-", notes="NA")
    assert codes(record) == [("email_recipient", "blank_word"), ("sms_recipient", "blank_word")]
    assert only(plan(record, blank_words=["N/A", "none"])).given.keys() - set(VALUE_FIELDS) == set()
    assert codes(with_cells(adviser_email="N/A")) == [("adviser_email", "email")]
    assert codes(record | {"action": "delete"}) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [("7700900123.0", "phone_number_format"), ("7.7009E+09", "phone_number_format"),
     ("7700900123", "phone_zero_lost"), ("07700 900123 / 07700 900124", "two_phones")],
)  # fmt: skip
def test_a_phone_number_that_a_spreadsheet_or_a_person_has_spoilt_is_refused(text, code):
    assert codes(with_cells(sms_recipient=text)) == [("sms_recipient", code)]


@pytest.mark.parametrize("text", ["07700 900123", "+447700900123", "(07700) 900-123"])
def test_a_phone_number_is_sent_as_it_is_written(text):
    assert only(plan(with_cells(sms_recipient=text))).given["sms_recipient"] == text


# -- times -----------------------------------------------------------------------------------


def problems(*texts: str, zone: ZoneInfo = LONDON) -> list[str | None]:
    wrong = time_problems(texts, zone)
    return [wrong.get(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("2026-07-20 09:00", "2026-07-20 09:00:00"),
        ("2026-07-20 09:00:30", "2026-07-20 09:00:30"),
        ("2026-07-20T09:00", "2026-07-20 09:00:00"),
        ("2026-07-20T09:00:00", "2026-07-20 09:00:00"),
        ("2026-07-20 09:00:00.000", "2026-07-20 09:00:00"),
        ("20/07/2026 09:00", "2026-07-20 09:00:00"),
        ("20/07/2026 09:00:30", "2026-07-20 09:00:30"),
        ("1/7/2026 9:05", "2026-07-01 09:05:00"),
        ("2028-02-29 00:00", "2028-02-29 00:00:00"),
        ("31/12/2026 23:59:59", "2026-12-31 23:59:59"),
    ],
)
def test_a_time_in_either_form_is_sent_in_the_vendors(text, wire):
    assert problems(text) == [None]
    assert wire_time(text) == wire


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((f"2026-07-20{t}", "time_with_offset") for t in (
            "T09:00:00Z", " 09:00Z", "T09:00:00+01:00", " 09:00:00+0100", " 09:00+01",
            "T09:00:00.000000Z", " 09:00 UTC", " 09:00 gmt", " 09:00 BST", "T09:00:00-05:00",
        )),
        ("20/07/2026 09:00 +01:00", "time_with_offset"),
        ("2026-07-20", "time_of_day_missing"),
        ("20/07/2026", "time_of_day_missing"),
        ("20/07/26 09:00", "date_two_digit_year"),
        ("20.7.26", "date_two_digit_year"),
        ("46223.375", "date_serial"),
        ("46223", "date_serial"),
        ("2026-02-29 09:00", "time_impossible"),
        ("31/06/2026 09:00", "time_impossible"),
        ("2026-13-01 09:00", "time_impossible"),
        ("2026-07-20 24:00", "time_impossible"),
        ("2026-07-20 09:60", "time_impossible"),
        ("2026-07-20 09:00:60", "time_impossible"),
        ("0000-07-20 09:00", "time_impossible"),
        ("1999-12-31 23:59", "time_out_of_range"),
        ("2100-01-01 00:00", "time_out_of_range"),
        ("0206-07-20 09:00", "time_out_of_range"),
        ("2026-03-29 01:00", "time_skipped"),
        ("2026-03-29 01:59:59", "time_skipped"),
        ("2026-10-25 01:00", "time_twice"),
        ("2026-10-25 01:59:59", "time_twice"),
        *((text, "time_unreadable") for text in (
            "09:00", "20/07/2026 9am", "20/07/2026 09:00 AM", "2026-07-20 9:00", "2026-7-20 09:00",
            "2026/07/20 09:00", "20-07-2026 09:00", "2026-07-20  09:00", "2026-07-20 09.00",
            "2026-07-20 09:00:00.5", "20 July 2026 09:00", "Mon 20/07/2026 09:00", "tomorrow",
            "2026-07-20 09:00\n", "20/07/2026T09:00", "\uff12026-07-20 09:00", "1784538000",
        )),
    ],
    ids=lambda each: ascii(each)[:30],
)  # fmt: skip
def test_what_is_no_local_time_is_refused_and_said_why(text, code):
    assert problems(text) == [code]
    assert TIME_SENTENCES.keys() >= {code} or code.startswith("date_")


@pytest.mark.parametrize(
    "text",
    ["2026-03-29 00:59:59", "2026-03-29 02:00", "2026-10-25 00:59:59", "2026-10-25 02:00",
     "2000-01-01 00:00", "2099-12-31 23:59:59"],
)  # fmt: skip
def test_the_times_beside_the_borders_are_times(text):
    assert problems(text) == [None]


def test_which_hours_are_missing_or_come_twice_depends_on_the_zone():
    texts = ["2026-03-08 02:30", "2026-11-01 01:30", "2026-03-29 01:30", "2026-10-25 01:30"]
    skipped, twice = "time_skipped", "time_twice"
    assert problems(*texts, zone=ZoneInfo("America/New_York")) == [skipped, twice, None, None]
    assert problems(*texts) == [None, None, skipped, twice]
    assert problems(*texts, zone=ZoneInfo("UTC")) == [None] * 4
    made = plan(with_cells(start_time=texts[0]), zone=ZoneInfo("America/New_York"))
    assert found(made) == [(2, "start_time", "time_skipped")]
    assert "America/New_York" in made.issues[2][0].message


ISO, OTHER_ISO = "2026-07-20 09:00", "2026-07-21T09:00"
DAY_FIRST, OTHER_DAY_FIRST = "22/07/2026 09:00", "01/02/2026 09:00"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([ISO, OTHER_ISO], [None, None]),
        ([DAY_FIRST, OTHER_DAY_FIRST], [None, None]),
        ([ISO, ISO, DAY_FIRST], [None, None, "time_mixed"]),
        ([ISO, DAY_FIRST, DAY_FIRST], ["time_mixed", None, None]),
        ([ISO, DAY_FIRST], ["time_mixed", "time_mixed"]),
        ([ISO, ISO, DAY_FIRST, OTHER_DAY_FIRST], ["time_mixed"] * 4),
        ([ISO, OTHER_ISO, "31/06/2026 09:00"], [None, None, "time_mixed"]),
        ([ISO, "2026-07-20", "x", DAY_FIRST, DAY_FIRST],
         ["time_mixed", "time_of_day_missing", "time_unreadable", None, None]),
    ],
)  # fmt: skip
def test_a_column_has_one_form_which_is_that_of_most_cells(texts, expected):
    assert problems(*texts) == expected


def test_each_of_the_two_columns_has_its_own_form():
    made = plan(with_cells(end_time="20/07/2026 10:00"))
    assert only(made).given["end_time"] == "2026-07-20 10:00:00"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["07/20/2026 09:00", "01/02/2026 09:00"], ["date_month_first"] * 2),
        (["07/20/2026 09:00", "20/07/2026 09:00", "01/02/2026 09:00"], ["date_contradiction"] * 3),
        (["2026-03-04 09:00", "2026-05-06 09:00", "20/07/2026 09:00"], ["date_swapped"] * 3),
        (["01/02/2026 09:00", "12/12/2026 09:00"], [None, None]),
        (["07/20/2026 09:00", ISO, ISO], ["time_mixed", None, None]),
        (["07/20/2026 09:00", ISO], ["time_mixed"] * 2),
    ],
)
def test_a_column_that_begins_with_the_month_is_refused_as_a_whole(texts, expected):
    assert problems(*texts) == expected


def test_times_that_contradict_each_other_are_refused_with_both_rows_named():
    starts = ["01/02/2026 09:00", "07/20/2026 09:00", "20/07/2026 09:00"]
    made = plan(*(with_cells(key=f"B-{at}", start_time=each) for at, each in enumerate(starts)))
    assert found(made) == [(row, "start_time", "date_contradiction") for row in (2, 3, 4)]
    assert "(row 3)" in made.issues[2][0].message
    assert "(row 4)" in made.issues[2][0].message


@pytest.mark.parametrize(
    ("start", "end", "wrong"),
    [
        ("2026-07-20 09:00", "2026-07-20 09:00", True),
        ("2026-07-20 09:00", "2026-07-20 08:59:59", True),
        ("2026-07-20 23:00", "2026-07-20 01:00", True),
        ("2026-07-20 23:00", "2026-07-21 01:00", False),
        ("2026-07-20 09:00", "2026-07-20 09:00:01", False),
        ("2026-03-29 00:30", "2026-03-29 02:00", False),
        ("2026-10-25 00:30", "2026-10-25 02:00", False),
    ],
)
def test_the_end_must_be_later_than_the_start(start, end, wrong):
    expected = [("end_time", "end_before_start")] if wrong else []
    assert codes(with_cells(start_time=start, end_time=end)) == expected
    expected = [("start_time", "required_of_appointment")]
    assert codes(with_cells(start_time=None, end_time=end)) == expected


@pytest.mark.parametrize("name", ["start_time", "end_time"])
def test_of_a_time_that_is_refused_the_order_is_not_asked(name):
    early, late = "2026-10-25 00:30", "2026-10-25 02:30"
    other = {"start_time": late, "end_time": early}
    assert codes(with_cells(**other | {name: "2026-10-25 01:30"})) == [(name, "time_twice")]
    assert codes(with_cells(start_time="2026-07-21", end_time=TIMES["start_time"])) == [
        ("start_time", "time_of_day_missing")
    ]


walls = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(
    lambda moment: moment.replace(microsecond=0)
)
zones = st.sampled_from(["Europe/London", "UTC", "America/New_York", "Australia/Lord_Howe"]).map(
    ZoneInfo
)
near_changes = st.sampled_from(
    [datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 3, 8), datetime(2026, 4, 5),
     datetime(2080, 3, 31), datetime(2080, 10, 27)]
).flatmap(
    lambda day: st.builds(day.replace, hour=st.integers(0, 3), minute=st.integers(0, 59))
)  # fmt: skip
FORMS = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%d/%m/%Y %H:%M:%S"]


@given(st.lists(walls, min_size=1, max_size=8), st.sampled_from(FORMS))
def test_a_time_comes_through_unchanged_in_any_form(moments, form):
    texts = [moment.strftime(form) for moment in moments]
    wrong = time_problems(texts, ZoneInfo("UTC"))
    assert [wire_time(text) for text in texts] == [moment.isoformat(" ") for moment in moments]
    unless_months = {"date_month_first"} if form.startswith("%d") else set()
    assert set(wrong.values()) <= unless_months
    days = {moment.day for moment in moments}
    assert not (wrong and max(days) > 12)


@given(walls | near_changes, zones)
@example(datetime(2026, 4, 5, 1, 45), ZoneInfo("Australia/Lord_Howe"))
def test_a_local_time_is_refused_exactly_where_it_is_not_one_moment(wall, zone):
    """Counted from the other side: how many moments show this time on a clock there."""
    hours = range(-14, 15)
    guesses = {
        wall.replace(tzinfo=UTC).timestamp() - 3600 * hour + 60 * minute
        for hour in hours
        for minute in (0, 30)
    }
    moments = {
        guess
        for guess in guesses
        if datetime.fromtimestamp(guess, zone).replace(tzinfo=None) == wall
    }
    (code,) = problems(wall.isoformat(" "), zone=zone)
    assert code == {0: "time_skipped", 1: None}.get(len(moments), "time_twice")


@settings(deadline=None)
@given(walls | near_changes, walls | near_changes, zones)
def test_the_end_is_later_as_a_moment_too(start, end, zone):
    texts = [start.isoformat(" "), end.isoformat(" ")]
    record = with_cells(start_time=texts[0], end_time=texts[1])
    if problems(*texts, zone=zone) == [None, None]:
        moments = [each.replace(tzinfo=zone).astimezone(UTC) for each in (start, end)]
        later = moments[1] > moments[0]
        assert (codes(record, zone=zone, max_hours=1e6) == []) is later


@pytest.mark.parametrize(
    ("end", "options", "hours"),
    [
        ("2026-07-21 09:00", {}, None),
        ("2026-07-21 09:01", {}, 25),
        ("2027-06-20 10:00", {}, 8041),
        ("2027-06-20 10:00", {"max_hours": 8041}, None),
        ("2026-07-20 09:31", {"max_hours": 0.5}, 1),
    ],
)
def test_an_appointment_of_many_hours_is_refused_unless_that_is_said(end, options, hours):
    made = plan(with_cells(end_time=end), **options)
    assert found(made) == ([(2, "end_time", "too_many_hours")] if hours else [])
    if hours:
        assert f"max_hours={hours}." in made.issues[2][0].message


@pytest.mark.parametrize(
    ("start", "zone", "is_past"),
    [
        ("2009-07-20 09:00", LONDON, True),
        ("2026-06-15 12:59", LONDON, True),
        ("2026-06-15 13:00", LONDON, False),
        ("15/06/2026 13:00", LONDON, False),
        ("2026-06-15 07:59", ZoneInfo("America/New_York"), True),
        ("2026-06-15 08:00", ZoneInfo("America/New_York"), False),
    ],
)
def test_what_has_begun_by_the_clock_of_the_zone_is_past_unless_that_is_allowed(
    start, zone, is_past
):
    record = with_cells(start_time=start, end_time="2026-06-15 23:00")
    options = {"zone": zone, "max_hours": 1e6}
    assert only(plan(record, **options)).is_past is is_past
    assert only(plan(record, **options, allow_past=True)).is_past is False
    assert only(plan(record | {"action": "delete"}, **options)).is_past is False


# -- files -----------------------------------------------------------------------------------


def read(path) -> Sheet:
    return read_sheet(path, is_known=is_appointment_column)


def test_csv_text_is_read_and_planned(tmp_path):
    path = tmp_path / "bookings.csv"
    path.write_text(
        "Key;Case ref;Adviser email;Start time;End time;SMS recipient\n"
        "B-1;R-1;adviser@example.org;20/07/2026 09:00;20/07/2026 10:00;07700 900123\n\n"
        "B-2;R-2;adviser@example.org;20/07/2026 11:00;;\n",
        encoding="utf-8",
    )
    made = plan_appointments(read(path), timezone=LONDON)
    (wanted,) = made.wanted
    assert (wanted.row, wanted.case_ref) == (2, "R-1")
    assert wanted.given["start_time"] == "2026-07-20 09:00:00"
    assert wanted.given["sms_recipient"] == "07700 900123"
    assert found(made) == [(4, "End time", "required_of_appointment")]


def parquet(tmp_path, **columns: Any) -> Sheet:
    path = tmp_path / "bookings.parquet"
    frame = pd.DataFrame({"key": ["B-1"], "case_id": ["c-1"], "adviser_email": ["a@example.org"]})
    frame.assign(**columns).to_parquet(path)
    return read(path)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_and_flags_of_a_typed_file_are_taken(tmp_path, unit):
    times = pd.to_datetime(pd.Series(["2026-07-20 09:00:00", "2026-07-20 10:00:30"])).dt.as_unit(
        unit
    )
    file = parquet(
        tmp_path, start_time=times[:1], end_time=times[1:].to_numpy(), zoom_meeting=[True]
    )
    values = only(plan_appointments(file, timezone=LONDON)).given
    assert (values["start_time"], values["end_time"]) == (
        "2026-07-20 09:00:00", "2026-07-20 10:00:30",
    )  # fmt: skip
    assert values["zoom_meeting"] is True


@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "America/New_York"])
def test_a_typed_time_with_a_zone_is_never_taken_for_a_local_one(tmp_path, zone):
    times = pd.to_datetime(pd.Series(["2026-07-20 09:00", "2026-07-20 10:00"])).dt.tz_localize(zone)
    file = parquet(tmp_path, start_time=times[:1], end_time=times[1:].reset_index(drop=True))
    made = plan_appointments(file, timezone=LONDON)
    assert found(made) == [
        (2, "start_time", "time_with_offset"), (2, "end_time", "time_with_offset"),
    ]  # fmt: skip
    assert "Europe/London" in made.issues[2][0].message


def test_midnight_of_a_typed_file_is_not_taken_for_a_time_of_day(tmp_path):
    times = pd.to_datetime(pd.Series(["2026-07-20", "2026-07-21"]))
    file = parquet(tmp_path, start_time=times[:1], end_time=times[1:].to_numpy())
    assert {code for *_, code in found(plan_appointments(file, timezone=LONDON))} == {
        "time_of_day_missing"
    }


# -- issues ----------------------------------------------------------------------------------


def test_a_row_keeps_every_issue_it_has_and_each_once():
    record = with_cells(
        key=None, case_id=None, adviser_email="x", start_time="2026-07-20", end_time=None,
        email_confirmation="yes", sms_confirmation="?", zoom_meeting="?",
    )  # fmt: skip
    reader = [Issue(2, "notes", "error_cell", "x"), Issue(2, None, "too_few_cells", "x")]
    file = sheet([record | {"notes": "#REF!"}], issues=reader)
    made = plan_appointments(file, timezone=LONDON)
    assert sorted(found(made), key=str) == sorted(
        [
            (2, "notes", "error_cell"), (2, None, "too_few_cells"),
            (2, "key", "booking_key_missing"), (2, None, "case_missing"),
            (2, "adviser_email", "email"), (2, "start_time", "time_of_day_missing"),
            (2, "end_time", "required_of_appointment"),
            (2, "email_confirmation", "recipient_missing"),
            (2, "sms_confirmation", "yes_or_no"), (2, "zoom_meeting", "yes_or_no"),
        ],
        key=str,
    )  # fmt: skip
    assert (made.wanted, made.keys) == ([], {})


def test_rows_are_those_of_the_file_where_blank_ones_were_left_out():
    file = sheet([with_cells(key="a"), with_cells(key=None), with_cells(key="a")])
    file.rows[:] = [3, 7, 20]
    made = plan_appointments(file, timezone=LONDON)
    assert list(made.issues) == list(made.rows) == [3, 7, 20]
    assert "row 20" in made.issues[3][0].message


@pytest.mark.timeout(20)
def test_a_long_file_of_bad_rows_has_each_reported_once():
    times = {"start_time": "2026-03-29 01:30", "end_time": "x"}
    made = plan(*(with_cells(key=f"k{n // 2}", **times) for n in range(5000)))
    assert (len(made.wanted), len(made.issues), len(found(made))) == (0, 5000, 15_000)


def test_the_sheet_that_was_read_is_not_changed():
    file = sheet([with_cells(action="delete", email_recipient="n/a", notes="x")])
    before = file.frame.copy()
    plan_appointments(file, timezone=LONDON)
    pd.testing.assert_frame_equal(file.frame, before)


# -- privacy ---------------------------------------------------------------------------------

CANARY = "Zq7canary"


def test_no_issue_repeats_a_cell():
    cells = dict.fromkeys(DESIGNED, CANARY)
    bad_ids = {"case_id": f"{CANARY}/1", "appointment_id": f"{CANARY}/1"}
    made = plan(
        cells | bad_ids,
        cells | bad_ids | {"action": None},
        cells | {"action": "upsert", "sms_recipient": None, "sms_confirmation": "yes"},
        {name: None for name in DESIGNED} | {"notes": CANARY},
    )
    assert len(made.issues) == 4
    assert {code for *_, code in found(made)} == {
        "action", "not_an_id", "booking_key_repeated", "appointment_repeated", "email",
        "time_unreadable", "yes_or_no", "recipient_missing", "booking_key_missing",
        "case_missing", "required_of_appointment",
    }  # fmt: skip
    for issues in made.issues.values():
        for issue in issues:
            assert CANARY.casefold() not in f"{issue.message}{issue.column}".casefold()
            assert issue.message.endswith(".")


def test_no_refusal_of_a_file_repeats_a_cell_or_a_header_that_may_be_one():
    for record in ({"key": CANARY, CANARY: CANARY}, {"notes": CANARY}):
        with pytest.raises(SourceError) as refused:
            plan(record)
        assert CANARY not in str(refused.value)


def test_a_plan_shown_in_a_traceback_shows_no_value():
    made = plan(with_cells(notes=CANARY, location=CANARY, email_recipient=f"{CANARY}@example.org"))
    for shown in (repr(made), pretty_repr(made), repr(made.wanted)):
        assert "B-1" in shown
        assert [word for word in (CANARY, "adviser@", "09:00") if word in shown] == []


# -- any file --------------------------------------------------------------------------------

PLAUSIBLE = {
    "key": ["B-1", "b-1", "B-2", "B-3", "B-4", "B-5"],
    "action": ["upsert", "Delete", "DELETE", "cancel"],
    "case_id": ["c-1", "c-2", "c/3"],
    "case_ref": ["R-1", "R-2"],
    "appointment_id": ["a-1", "A-1", "a-2", "a 3"],
    "adviser_email": ["adviser@example.org", "adviser"],
    "start_time": ["2026-07-20 09:00", "2026-07-20T11:30:00", "20/07/2026 09:00", "2026-07-20"],
    "end_time": ["2026-07-20 12:00", "2026-07-20 10:00", "20/07/2026 10:00", "2026-03-29 01:30"],
    "notes": ["x", "=1+1"],
    "location": ["Office"],
    "email_recipient": ["client@example.org", "n/a"],
    "sms_recipient": ["07700 900123", "7700900123"],
    **{name: ["yes", "no", "1", "maybe"] for name in FLAGS},
    "Sheet": ["x"],
}
any_cell = (
    st.text(max_size=12)
    | st.integers().map(str)
    | st.datetimes().map(str)
    | st.sampled_from([" ", "\xa0", "\u200b", "é" * 5000, "\ufeff N/A ", "\0"])
)


@st.composite
def files(draw: st.DrawFn) -> Sheet:
    """Rows under some of the columns, in any order, with some issues of the reader."""
    needed = ["key", "case_id", "adviser_email", "start_time", "end_time"]
    others = [name for name in PLAUSIBLE if name not in needed]
    header = draw(st.permutations([*needed, *draw(st.sets(st.sampled_from(others)))]))
    records: list[Record] = []
    for _ in range(draw(st.integers(0, 7))):
        usual = {name: st.sampled_from(PLAUSIBLE[name]) for name in header}
        cells = {
            name: draw(usual[name] | usual[name] | usual[name] | st.none() | any_cell)
            for name in header
        }
        records.append({name: clean(cell or "") or None for name, cell in cells.items()})
    rows = range(2, 2 + len(records))
    issues = [
        Issue(row, draw(st.sampled_from([None, *header])), "damaged_text", "x")
        for row in rows
        if draw(st.integers(0, 9)) == 0
    ]
    return sheet(records, header=list(header), issues=issues)


@settings(max_examples=60, deadline=None)
@given(files())
def test_whatever_is_in_a_file_each_row_is_wanted_or_has_an_issue(file):
    made = plan_appointments(file, timezone=LONDON, extra="ignore", blank_words=[])

    assert sorted([*(wanted.row for wanted in made.wanted), *made.issues]) == file.rows
    assert made.rows == file.rows
    assert all(made.issues.values())
    assert all(issue.row == row for row, issues in made.issues.items() for issue in issues)
    reported = found(made)
    assert len(reported) == len(set(reported))
    for of in ("key", "appointment_id"):
        names = [canonical(name) for wanted in made.wanted if (name := getattr(wanted, of))]
        assert len(names) == len(set(names))
    for wanted in made.wanted:
        assert made.keys[wanted.row] == wanted.key
        if wanted.action == "delete":
            assert wanted.given == {}
            continue
        assert wanted.case_id or wanted.case_ref
        new_appointment(wanted.given)
        for flag, recipient in RECIPIENTS.items():
            assert recipient in wanted.given or not wanted.given.get(flag)


@settings(max_examples=15, deadline=None)
@given(files(), st.integers(0, 99))
def test_the_order_of_the_rows_and_columns_does_not_matter(file, seed):
    file.issues.clear()
    made = plan_appointments(file, timezone=LONDON, extra="ignore", blank_words=[])
    order = list(range(len(file.rows)))
    random.Random(seed).shuffle(order)
    headers = random.Random(seed).sample(list(file.frame.columns), len(file.frame.columns))
    frame = file.frame.iloc[order].reset_index(drop=True)[headers]
    shuffled = Sheet(frame, file.rows, [], {}, 0, "a test")
    again = plan_appointments(shuffled, timezone=LONDON, extra="ignore", blank_words=[])
    back = {new: file.rows[old] for new, old in zip(file.rows, order, strict=True)}
    assert {back[row] for row in again.issues} == set(made.issues)

    def plain(planned: AppointmentPlan) -> set[str]:
        return {f"{w.key} {w.action} {list(w.given.items())}" for w in planned.wanted}

    assert plain(again) == plain(made)
