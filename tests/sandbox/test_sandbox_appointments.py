"""Appointments: what the vendor's examples get, the rules, the messages, and their faults."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from sandbox.appointments import Message
from sandbox.faults import SERVER_ERROR, Applied, Drip, Drop, Fault, Html, Late, Partial, Truncate
from sandbox.server import Sandbox

ADVISER, RECIPIENT = "adviser@example.org", "client@example.org"
# Written down from the vendor page "Case Appointments", not computed from the sandbox.
VENDORS_CREATION = {
    "adviser_email": ADVISER,
    "start_time": "2024-01-12 09:00:00",
    "end_time": "2024-01-12 10:00:00",
    "email_recipient": RECIPIENT,
}
VENDORS_UPDATE = {
    "start_time": "2024-01-12 11:00:00",
    "end_time": "2024-01-12 12:00:00",
    "email_recipient": RECIPIENT,
}
UPDATE_KEYS = [
    "id", "customer_case_id", "type", "notes", "start_time", "sms_recipient", "sms_notification",
    "sms_day_before", "sms_confirmation", "attended", "cancelled", "deleted_at", "created_at",
    "updated_at", "location", "email_confirmation", "email_notification", "email_day_before",
    "email_recipient", "end_time", "zoom_id", "join_url",
]  # fmt: skip
FLAGS = ["email_confirmation", "email_notification", "sms_confirmation", "sms_notification"]
ALL_FLAGS = dict.fromkeys(FLAGS, True) | {"sms_recipient": "07700900123"}
SUMMER = {"start_time": "2024-07-12 09:00:00", "end_time": "2024-07-12 10:00:00"}


@pytest.fixture
def stranger(open_until_the_end):
    # nothing here is encrypted, and to load certificates takes longer than most of these tests
    def connect(url: str) -> httpx.Client:
        client = httpx.Client(base_url=url, timeout=10, verify=False)
        return open_until_the_end.enter_context(client)

    return connect


Start = Callable[..., tuple[Sandbox, httpx.Client, str]]


@pytest.fixture
def start(serve, connect) -> Start:
    """`start(...)` is a sandbox, a client, and the path of the appointments of one case."""

    def with_one_path(**options: Any) -> tuple[Sandbox, httpx.Client, str]:
        box = serve(**{"cases": 3, **options})
        return box, connect(box.url), f"/cases/{box.store.ids[1]}/appointments"

    return with_one_path


def create(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    """The answer to a creation that is accepted."""
    answer = client.post(path, json=VENDORS_CREATION | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def change(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.patch(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def errors(answer: httpx.Response, status: int = 422) -> dict[str, list[str]]:
    assert answer.status_code == status
    assert answer.json().keys() == {"message", "errors"}
    assert answer.json()["message"] == "The given data was invalid."
    return answer.json()["errors"]


def told(box: Sandbox) -> list[tuple[str, str, str]]:
    return [(message.kind, message.recipient, message.cause) for message in box.messages]


def is_now(text: str) -> bool:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.000000Z").replace(tzinfo=UTC)
    return abs((datetime.now(UTC) - moment).total_seconds()) < 60


# -- the vendor's examples -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("swapped", "adviser", "recipient"),
    [("never", ADVISER, RECIPIENT), ("in_answers", RECIPIENT, ADVISER),
     ("really", RECIPIENT, ADVISER)],
)  # fmt: skip
def test_the_vendors_curl_example_for_a_creation_gets_the_vendors_answer(
    start, swapped, adviser, recipient
):
    box, client, path = start(swapped_emails=swapped)
    answer = client.post(path, json=VENDORS_CREATION)
    shown = answer.json()

    assert answer.status_code == 200
    assert is_now(shown["created_at"])
    assert list(shown.items()) == [
        ("notes", None),
        ("start_time", "2024-01-12T09:00:00.000000Z"),
        ("end_time", "2024-01-12 10:00:00"),
        ("sms_recipient", None),
        ("sms_confirmation", None),
        ("sms_notification", None),
        ("sms_day_before", 0),
        ("email_recipient", recipient),
        ("email_confirmation", None),
        ("email_notification", None),
        ("email_day_before", 0),
        ("location", None),
        ("customer_case_id", box.store.ids[1]),
        ("id", next(iter(box.appointments))),
        ("updated_at", shown["created_at"]),
        ("created_at", shown["created_at"]),
        ("adviser_email", adviser),
    ]


@pytest.mark.parametrize("swapped", ["never", "in_answers", "really"])
def test_the_vendors_curl_example_for_an_update_gets_the_vendors_answer(start, swapped):
    box, client, path = start(swapped_emails=swapped)
    made = create(client, path)
    box.appointments[made["id"]] |= dict.fromkeys(
        ("created_at", "updated_at"), "2024-01-12T14:43:11.000000Z"
    )
    shown = change(client, f"{path}/{made['id']}", **VENDORS_UPDATE)

    assert list(shown) == UPDATE_KEYS
    assert is_now(shown.pop("updated_at"))
    given = {
        "id": made["id"],
        "customer_case_id": box.store.ids[1],
        "start_time": "2024-01-12T11:00:00.000000Z",
        "end_time": "2024-01-12 12:00:00",
        "email_recipient": RECIPIENT,
        "created_at": "2024-01-12T14:43:11.000000Z",
        **dict.fromkeys(("sms_day_before", "email_day_before", "attended", "cancelled"), 0),
    }
    assert shown == dict.fromkeys(set(UPDATE_KEYS) - {"updated_at"}) | given


def test_the_vendors_curl_example_for_a_deletion_gets_a_status_and_nothing_else(start):
    box, client, path = start()
    made = create(client, path)
    answer = client.delete(f"{path}/{made['id']}")

    assert (answer.status_code, answer.content) == (200, b"")
    assert is_now(box.appointments[made["id"]]["deleted_at"])
    assert box.appointments.keys() == {made["id"]}


def test_without_the_content_type_or_a_token_nothing_is_done(start, stranger):
    box, client, path = start()
    made = create(client, path)
    nobody = stranger(box.url)
    nobody.headers["Content-Type"] = "application/json"
    for method, at in (("POST", path), ("PATCH", f"{path}/x"), ("DELETE", f"{path}/{made['id']}")):
        assert nobody.request(method, at, json=VENDORS_CREATION).status_code == 401
        plain = {"Content-Type": "text/plain"}
        assert client.request(method, at, content="{}", headers=plain).status_code == 400
    assert [each["deleted_at"] for each in box.appointments.values()] == [None]


# -- what is kept and shown ------------------------------------------------------------------


def test_all_that_is_sent_is_kept_and_shown_with_flags_as_sent_and_later_as_numbers(start):
    box, client, path = start()
    sent = ALL_FLAGS | {"notes": "Bring the deeds", "location": "Café", "sms_notification": False}
    made = create(client, path, **sent, id="mine", attended=1, type="x")
    later = change(client, f"{path}/{made['id']}")

    assert {name: made[name] for name in sent} == sent
    assert {name: later[name] for name in sent} == sent | {
        "email_confirmation": 1, "email_notification": 1, "sms_confirmation": 1,
        "sms_notification": 0,
    }  # fmt: skip
    assert type(later["sms_notification"]) is int
    assert (later["attended"], later["type"]) == (0, None)
    assert box.appointments.keys() == {made["id"]} != {"mine"}
    kept = box.appointments[made["id"]]
    assert {name: kept[name] for name in sent} == sent
    assert (kept["adviser_email"], kept["start_time"]) == (ADVISER, "2024-01-12 09:00:00")


def test_appointments_have_ids_of_their_own_even_if_they_are_equal(start):
    box, client, path = start()
    ids = [create(client, path)["id"] for _ in range(3)]
    assert list(box.appointments) == ids
    assert len(set(ids)) == 3


def test_the_link_of_a_zoom_meeting_is_in_the_answer_to_an_update_only(start):
    box, client, path = start()
    with_link, without = create(client, path, zoom_meeting=True), create(client, path)

    assert with_link.keys() == without.keys()
    assert not with_link.keys() & {"zoom_id", "join_url", "zoom_meeting"}
    shown = change(client, f"{path}/{with_link['id']}")
    assert shown["join_url"].startswith("https://")
    assert shown["zoom_id"] in shown["join_url"]
    shown = change(client, f"{path}/{without['id']}", zoom_meeting=True, adviser_email="nobody")
    assert (shown["zoom_id"], shown["join_url"]) == (None, None)
    assert box.appointments[without["id"]]["adviser_email"] == ADVISER


def test_what_is_left_out_of_an_update_stays_and_null_clears_all_but_times(start):
    box, client, path = start()
    made = create(client, path, notes="old", location="here", **ALL_FLAGS)
    at = f"{path}/{made['id']}"
    before = dict(box.appointments[made["id"]])

    assert change(client, at, notes="new")["location"] == "here"
    assert box.appointments[made["id"]] == before | {"notes": "new"} | {
        "updated_at": box.appointments[made["id"]]["updated_at"]
    }
    nothing = dict.fromkeys([*VENDORS_UPDATE, "notes", "location", "sms_recipient", *FLAGS])
    change(client, at, **nothing | {"location": " \n"})
    kept = box.appointments[made["id"]]
    assert [kept[name] for name in nothing if kept[name] is not None] == [
        "2024-01-12 09:00:00", "2024-01-12 10:00:00",
    ]  # fmt: skip


def test_only_an_update_that_changes_something_is_one(start):
    box, client, path = start()
    made = create(client, path, notes="old", email_confirmation=True)
    box.appointments[made["id"]]["updated_at"] = "then"
    at = f"{path}/{made['id']}"

    assert change(client, at)["updated_at"] == "then"
    assert change(client, at, **VENDORS_CREATION | {"notes": "old"})["updated_at"] == "then"
    assert is_now(change(client, at, notes="new")["updated_at"])


def test_the_case_is_not_touched(start):
    _, client, path = start()
    before = client.get("/cases").json()
    at = f"{path}/{create(client, path, **ALL_FLAGS)['id']}"
    change(client, at, notes="new")
    client.delete(at)

    assert client.get("/cases").json() == before
    today = datetime.now(UTC).strftime("%Y-%m-%d 00:00:00")
    assert client.get("/cases", params={"updatedAfter": today}).json()["data"] == []


# -- times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "sent", "shown"),
    [
        ("UTC", "2024-01-12 09:00:00", "2024-01-12T09:00:00.000000Z"),
        ("UTC", "2024-07-12 09:00:00", "2024-07-12T09:00:00.000000Z"),
        ("Europe/London", "2024-01-12 09:00:00", "2024-01-12T09:00:00.000000Z"),
        ("Europe/London", "2024-07-12 09:00:00", "2024-07-12T08:00:00.000000Z"),
        ("Europe/London", "2024-07-12 00:30:00", "2024-07-11T23:30:00.000000Z"),
        ("Europe/London", "2024-03-31 01:30:00", "2024-03-31T01:30:00.000000Z"),
        ("Europe/London", "2024-10-27 01:30:00", "2024-10-27T00:30:00.000000Z"),
    ],
)
def test_a_start_comes_back_in_utc_from_the_servers_zone_and_an_end_as_it_was_sent(
    start, zone, sent, shown
):
    box, client, path = start(appointment_zone=zone)
    times = {"start_time": sent, "end_time": "2030-07-01 10:00:00"}
    made = create(client, path, **times)
    for answer in (made, change(client, f"{path}/{made['id']}", **times)):
        assert (answer["start_time"], answer["end_time"]) == (shown, "2030-07-01 10:00:00")
    assert box.appointments[made["id"]]["start_time"] == sent


# -- rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adviser_email", "start_time", "end_time"])
@pytest.mark.parametrize("nothing", [{}, None, "", "  "], ids=repr)
def test_the_three_required_fields_are_required_in_a_creation_only(start, name, nothing):
    box, client, path = start()
    body = {key: value for key, value in VENDORS_CREATION.items() if key != name}
    body |= {} if nothing == {} else {name: nothing}

    assert errors(client.post(path, json=body)) == {name: [f"The {name} field is required."]}
    assert box.appointments == {}
    change(client, f"{path}/{create(client, path)['id']}", **body)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("adviser_email", "nobody@example.org", "The selected adviser_email is invalid."),
        ("adviser_email", 7, "The adviser_email must be a string."),
        ("start_time", "2024-01-12T09:00:00", "does not match the format Y-m-d H:i:s."),
        ("start_time", "2024-01-12 09:00", "does not match the format Y-m-d H:i:s."),
        ("end_time", "2024-1-12 9:00:00", "does not match the format Y-m-d H:i:s."),
        ("end_time", "2024-02-30 09:00:00", "does not match the format Y-m-d H:i:s."),
        ("end_time", "2024-01-12 24:00:00", "does not match the format Y-m-d H:i:s."),
        ("end_time", 20240112, "The end_time must be a string."),
        ("end_time", "2024-01-12 09:00:00", "The end_time must be a date after start_time."),
        ("start_time", "2024-01-12 10:00:01", "The end_time must be a date after start_time."),
        *((name, wrong, "must be true or false.")
          for name, wrong in zip([*FLAGS, "zoom_meeting"], [1, 0, "true", "yes", []], strict=True)),
        ("email_recipient", 7, "must be a string."),
        ("sms_recipient", 7700900123, "must be a string."),
        ("notes", ["x"], "must be a string."),
        ("location", True, "must be a string."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name_and_nothing_is_made_or_changed(
    start, name, value, complaint
):
    box, client, path = start()
    refused = errors(client.post(path, json=VENDORS_CREATION | ALL_FLAGS | {name: value}))
    at = "end_time" if "after start" in complaint else name
    assert list(refused) == [at]
    assert complaint in refused[at][0]
    assert (box.appointments, box.messages) == ({}, [])

    made = create(client, path)
    before = dict(box.appointments[made["id"]])
    answer = client.patch(f"{path}/{made['id']}", json={name: value})
    if name in {"adviser_email", "zoom_meeting"}:
        assert answer.status_code == 200
    else:
        assert list(errors(answer)) == [at]
    assert (box.appointments[made["id"]], box.messages) == (before, [])


def test_the_vendors_status_for_a_refusal_can_be_chosen(start):
    _, client, path = start(validation_status=400)
    assert list(errors(client.post(path, json={}), 400)) == [
        "start_time", "end_time", "adviser_email",
    ]  # fmt: skip


@pytest.mark.parametrize("adviser", ["ADVISER@example.org", " second.adviser@example.org "])
def test_an_adviser_may_be_written_in_any_case(start, adviser):
    _, client, path = start()
    assert create(client, path, adviser_email=adviser)["adviser_email"] == adviser.strip()


def test_by_option_only_customers_of_the_case_may_be_written_to(start):
    box, client, path = start(recipients="customers")
    case_id, other_id = box.store.ids[1], box.store.ids[0]
    customer = box.store.case(case_id)["customers"][0]
    box.store.change(case_id, customers=[customer | {"email": "Me@example.org"}])
    box.store.change(other_id, customers=[customer | {"email": RECIPIENT}])

    refused = client.post(path, json=VENDORS_CREATION)
    assert errors(refused) == {"email_recipient": ["The selected email_recipient is invalid."]}
    made = create(client, path, email_recipient="mE@example.org", sms_recipient="anyone's")
    at = f"{path}/{made['id']}"
    assert list(errors(client.patch(at, json=VENDORS_UPDATE))) == ["email_recipient"]
    change(client, at, email_recipient=None)
    assert create(client, f"/cases/{other_id}/appointments")["email_recipient"] == RECIPIENT


def test_an_appointment_is_found_in_any_case_of_the_letters_of_its_id(start):
    box, client, path = start()
    appointment_id = create(client, path)["id"]
    change(client, f"{path}/{appointment_id.upper()}", notes="new")

    assert box.appointments[appointment_id]["notes"] == "new"


def test_an_appointment_too_long_for_a_column_is_a_500_and_not_made(start):
    box, client, path = start()
    at = f"{path}/{create(client, path)['id']}"
    for beyond in ({"location": "x" * 256}, {"notes": "x" * 65_536}):
        assert client.post(path, json=VENDORS_CREATION | beyond).status_code == 500
        assert client.patch(at, json=beyond).status_code == 500
    assert len(box.appointments) == 1


def test_a_body_that_is_no_object_lacks_what_is_required_and_changes_nothing(start):
    box, client, path = start()
    at = f"{path}/{create(client, path)['id']}"
    before = dict(box.appointments)
    for content in ("", "[", "null", "[]", '"x"'):
        refused = client.post(path, content=content)
        assert list(refused.json()["errors"]) == ["start_time", "end_time", "adviser_email"]
        assert client.patch(at, content=content).status_code == 200
    assert box.appointments == before


# -- what is there ---------------------------------------------------------------------------


def test_only_the_documented_methods_are_there(start):
    box, client, path = start()
    at = f"{path}/{create(client, path)['id']}"
    refused = client.post(at, json=VENDORS_UPDATE)

    assert refused.status_code == 405
    assert set(refused.headers["Allow"].split(",")) == {"PATCH", "DELETE"}
    assert [client.get(each).status_code for each in (path, at)] == [405, 405]
    assert client.delete(path).status_code == 405
    assert client.post(f"{path}/", json=VENDORS_CREATION).status_code == 404
    assert len(box.appointments) == 1


def test_an_unknown_case_or_appointment_is_a_404_before_the_body_is_looked_at(start):
    box, client, path = start()
    made = create(client, path)
    for at in (f"{path}/nobody", f"/cases/nobody/appointments/{made['id']}",
               f"/cases/{box.store.ids[0]}/appointments/{made['id']}"):  # fmt: skip
        for method in ("PATCH", "DELETE"):
            answer = client.request(method, at, content="[")
            assert answer.status_code == 404
            assert answer.json()["message"].startswith("No query results for model [")
    assert client.post("/cases/nobody/appointments", content="[").status_code == 404
    assert box.appointments[made["id"]]["deleted_at"] is None


def test_what_was_deleted_is_gone_for_updates_and_for_a_second_deletion(start):
    box, client, path = start()
    at = f"{path}/{create(client, path)['id']}"
    other = f"{path}/{create(client, path)['id']}"
    statuses = [client.delete(at).status_code, client.delete(at).status_code,
                client.patch(at, json=VENDORS_UPDATE | ALL_FLAGS).status_code]  # fmt: skip

    assert statuses == [200, 404, 404]
    assert box.messages == []
    assert change(client, other, notes="still here")["notes"] == "still here"


# -- messages --------------------------------------------------------------------------------


def test_nobody_is_written_to_unless_a_flag_says_so(start):
    box, client, path = start()
    silent = dict.fromkeys(FLAGS, False) | {"sms_recipient": "07700900123"}
    made = create(client, path, **silent)
    change(client, f"{path}/{made['id']}", **VENDORS_UPDATE | silent)
    client.delete(f"{path}/{made['id']}")

    assert box.messages == []


@pytest.mark.parametrize("kind", FLAGS)
def test_each_flag_sends_its_message_to_its_recipient(start, kind):
    box, client, path = start()
    made = create(client, path, sms_recipient="07700900123", **{kind: True})

    to = RECIPIENT if kind.startswith("email") else "07700900123"
    assert box.messages == [Message(kind, to, made["id"], "POST")]


def test_without_a_recipient_there_is_no_message(start):
    box, client, path = start()
    made = create(client, path, **ALL_FLAGS | {"email_recipient": None, "sms_recipient": None})
    assert box.messages == []
    later = {"email_recipient": RECIPIENT, "sms_recipient": "07700900123"}
    change(client, f"{path}/{made['id']}", **later)
    assert box.messages == []


@pytest.mark.parametrize("patch_sends", [True, False])
def test_an_update_sends_what_its_own_flags_ask_for_each_time_or_by_option_nothing(
    start, patch_sends
):
    box, client, path = start(patch_sends=patch_sends)
    made = create(client, path, **ALL_FLAGS)
    at = f"{path}/{made['id']}"
    assert told(box) == [
        ("email_confirmation", RECIPIENT, "POST"),
        ("email_notification", RECIPIENT, "POST"),
        ("sms_confirmation", "07700900123", "POST"),
        ("sms_notification", "07700900123", "POST"),
    ]
    box.messages.clear()

    change(client, at, **VENDORS_UPDATE)
    assert box.messages == []
    for recipient in ("first@example.org", "second@example.org"):
        change(client, at, email_recipient=recipient, email_confirmation=True)
    change(client, at, sms_notification=True, email_confirmation=False)
    assert told(box) == patch_sends * [
        ("email_confirmation", "first@example.org", "PATCH"),
        ("email_confirmation", "second@example.org", "PATCH"),
        ("sms_notification", "07700900123", "PATCH"),
    ]


@pytest.mark.parametrize(
    ("swapped", "to"), [("never", RECIPIENT), ("in_answers", RECIPIENT), ("really", ADVISER)]
)
def test_only_where_they_are_really_swapped_the_adviser_gets_the_message(start, swapped, to):
    box, client, path = start(swapped_emails=swapped)
    create(client, path, email_confirmation=True)
    assert told(box) == [("email_confirmation", to, "POST")]


def test_a_swap_without_a_recipient_leaves_no_adviser(start):
    _, client, path = start(swapped_emails="in_answers")
    made = create(client, path, email_recipient=None)
    assert (made["adviser_email"], made["email_recipient"]) == (None, ADVISER)


# -- faults ----------------------------------------------------------------------------------

REPLIES = [(SERVER_ERROR, 500), (Html(), 200), (Drop(), "ReadError")]


def outcome(client: httpx.Client, method: str, path: str, body: Any = None) -> int | str:
    try:
        return client.request(method, path, json=body).status_code
    except httpx.TransportError as error:
        return type(error).__name__


def settle(box: Sandbox) -> None:
    end = time.monotonic() + 10
    while box.pending_late:
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("action", "expected", "applied"),
    [
        *((action, expected, False) for action, expected in REPLIES),
        *((Applied(action), expected, True) for action, expected in REPLIES),
        (Truncate(), "RemoteProtocolError", True),
        (Truncate(announced=False), 200, True),
        (Drip(100_000), 200, True),
        (Late(0.0), 504, True),
    ],
    ids=repr,
)
def test_every_fault_of_a_write_meets_appointments(start, action, expected, applied):
    box, client, path = start()
    there = f"{path}/{create(client, path)['id']}"
    gone = f"{path}/{create(client, path)['id']}"
    for method, at, body in (
        ("POST", path, VENDORS_CREATION | ALL_FLAGS),
        ("PATCH", there, {"notes": "new"} | ALL_FLAGS),
        ("DELETE", gone, None),
    ):
        box.faults.append(Fault(action, f"{path}*", method))
        # of a body that is empty nothing can be cut
        nothing_to_cut = method == "DELETE" and isinstance(action, Truncate)
        assert outcome(client, method, at, body) == (200 if nothing_to_cut else expected)
        settle(box)
    first, second, *new = box.appointments.values()
    assert (first["notes"], second["deleted_at"] is not None) == (
        "new" if applied else None, applied,
    )  # fmt: skip
    assert len(new) == applied
    assert [message.cause for message in box.messages] == applied * (["POST"] * 4 + ["PATCH"] * 4)


def test_of_what_breaks_off_nobody_is_told(start):
    box, client, path = start()
    box.faults.append(Fault(Partial(), times=3, path=f"{path}*"))
    body = VENDORS_CREATION | ALL_FLAGS | {"zoom_meeting": True}

    assert outcome(client, "POST", path, body) == 500
    [made] = box.appointments.values()
    at = f"{path}/{made['id']}"
    assert outcome(client, "PATCH", at, {"notes": "new"} | ALL_FLAGS) == 500
    assert (made["notes"], made["zoom_id"], box.messages) == ("new", None, [])
    assert outcome(client, "DELETE", at) == 500
    assert made["deleted_at"]


def test_a_late_update_overwrites_a_newer_one_and_a_late_creation_comes_all_the_same(start):
    box, client, path = start()
    made = create(client, path)
    at = f"{path}/{made['id']}"
    box.faults += [Fault(Late(0.3), method="PATCH"), Fault(Late(0.3), method="POST")]

    assert outcome(client, "PATCH", at, {"notes": "first"}) == 504
    assert outcome(client, "POST", path, VENDORS_CREATION) == 504
    change(client, at, notes="second")
    assert (box.appointments[made["id"]]["notes"], len(box.appointments)) == ("second", 1)
    settle(box)
    assert (box.appointments[made["id"]]["notes"], len(box.appointments)) == ("first", 2)
