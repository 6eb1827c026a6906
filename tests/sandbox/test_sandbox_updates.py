"""Updates of one case and of many, the jobs that carry the latter out, and their faults."""

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.__main__ import main
from sandbox.faults import (
    ATTEMPTED,
    FAILED_MESSAGE,
    SERVER_ERROR,
    Applied,
    Drip,
    Drop,
    Fault,
    Html,
    JobFault,
    Late,
    Partial,
    RandomFaults,
    Status,
    Truncate,
)
from sandbox.jobs import Job, Jobs
from sandbox.people import CRM_FIELDS
from sandbox.server import Options, Sandbox, running

BULK = "/cases-bulk-update"
LEAD_SOURCE, SIGNED_ON, FUNERAL_PLAN, STORAGE = (field["id"] for field in CRM_FIELDS)

# Written down from the vendor page "Cases" and our facts on jobs, not computed from the sandbox.
ANSWER_KEYS = {
    "id", "ref", "first_names", "last_names", "email", "postcode", "notes", "meta", "full_names",
    "customers",
}  # fmt: skip
JOB_KEYS = [
    "id", "status", "total_records", "effected_records", "message", "end_time", "created_at",
    "updated_at",
]  # fmt: skip
VENDORS_EXAMPLE = {  # with a CRM field that this account has
    "ref": "FSFOOS",
    "notes": "New data, check with client",
    "meta": {FUNERAL_PLAN: "NO"},
    "customers": [
        {
            "title": "Mr",
            "first_names": "Steve",
            "middle_names": "Danial",
            "last_name": "Smith",
            "gender": "male",
            "marital_status": "single",
            "address_1": "607 Kenton Rd",
            "address_2": "Kenton",
            "postcode": "HA3 9RT",
        }
    ],
}


@pytest.fixture
def stranger(open_until_the_end):
    # nothing here is encrypted, and to load certificates takes longer than most of these tests
    def connect(url: str) -> httpx.Client:
        client = httpx.Client(base_url=url, timeout=10, verify=False)
        return open_until_the_end.enter_context(client)

    return connect


Start = Callable[..., tuple[Sandbox, httpx.Client, list[str]]]


@pytest.fixture
def start(serve, connect) -> Start:
    """`start(cases=4, ...)` is a sandbox, a client, and the ids of its cases.

    Their notes are "old", and each has one CRM field and one customer.
    """

    def with_plain_cases(**options: Any) -> tuple[Sandbox, httpx.Client, list[str]]:
        box = serve(**{"cases": 4, **options})
        for case_id in box.store.ids:
            case = box.store.case(case_id)
            case |= {"notes": "old", "meta": {STORAGE: "007"}, "customers": case["customers"][:1]}
        return box, connect(box.url), box.store.ids

    return with_plain_cases


def person(**fields: Any) -> dict[str, Any]:
    return {"title": "Ms", "first_names": "Ada", "last_name": "Null", **fields}


def update(client: httpx.Client, case_id: str, **body: Any) -> dict[str, Any]:
    """The answer to an update that is accepted."""
    answer = client.patch(f"/cases/{case_id}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def read(client: httpx.Client, case_id: str) -> dict[str, Any]:
    return client.get(f"/cases/{case_id}").json()


def errors(answer: httpx.Response) -> dict[str, list[str]]:
    assert answer.status_code == 422
    assert answer.json().keys() == {"message", "errors"}
    assert answer.json()["message"] == "The given data was invalid."
    return answer.json()["errors"]


def just_updated(client: httpx.Client) -> set[str]:
    since = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M:%S")
    answer = client.get("/cases", params={"updatedAfter": since, "perPage": 100})
    return {case["id"] for case in answer.json()["data"]}


def outcome(client: httpx.Client, path: str, body: Any) -> int | str:
    """The status of the answer, or the name of the transport's complaint."""
    try:
        return client.patch(path, json=body).status_code
    except httpx.TransportError as error:
        return type(error).__name__


def submit(client: httpx.Client, rows: list[dict[str, Any]]) -> str:
    """The job of a batch that is accepted."""
    answer = client.patch(BULK, json=rows)
    assert answer.status_code == 201, answer.text
    return answer.json()["apiJobId"]


def noting(ids: list[str], notes: str = "new") -> list[dict[str, Any]]:
    return [{"id": case_id, "notes": notes} for case_id in ids]


def poll(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/api-jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def settle(box: Sandbox) -> None:
    """Wait until every job is where it will stay, and everything late has come."""
    end = time.monotonic() + 10
    while box.pending_late or box.pending_jobs:
        assert time.monotonic() < end
        time.sleep(0.002)


def done(box: Sandbox, client: httpx.Client, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What there is to read about the job of a batch in the end."""
    job_id = submit(client, rows)
    settle(box)
    return poll(client, job_id)


def notes_of(box: Sandbox, ids: list[str]) -> list[str | None]:
    return [box.store.case(case_id)["notes"] for case_id in ids]


# -- one case --------------------------------------------------------------------------------


def test_the_vendors_curl_example_for_an_update_gets_the_vendors_answer(serve, connect):
    box = serve(cases=0, update_loses=("middle_names", "gender", "marital_status"))
    client = connect(box.url)
    john = person(title="Mr", first_names="John", last_name="Doe", gender="male")
    jenny = person(title="Mrs", first_names="Jenny", last_name="Doe")
    people = {"customers": [john | {"marital_status": "married"}, jenny]}
    case_id = client.post("/cases/create", json=people).json()["id"]
    box.store.change(case_id, customers=box.store.case(case_id)["customers"][:1])  # as in Q19
    answer = client.patch(f"/cases/{case_id}", json=VENDORS_EXAMPLE)

    nothing = dict.fromkeys(
        (
            *("middle_names", "date_of_birth", "gender", "tel_1", "tel_2", "email", "occupation"),
            *("marital_status", "address_1", "address_2", "address_3", "postcode"),
        )
    )
    ids = [customer["id"] for customer in answer.json()["customers"]]
    assert answer.status_code == 200
    assert len(set(ids)) == 2
    assert answer.json() == {
        "id": case_id,
        "ref": "FSFOOS",
        "first_names": "John & Jenny",
        "last_names": "Doe",
        "email": "",
        "postcode": "",
        "notes": "New data, check with client",
        "meta": {FUNERAL_PLAN: "NO"},
        "full_names": "Mr John Doe & Mrs Jenny Doe",
        "customers": [
            nothing
            | {"id": ids[0], "title": "Mr", "first_names": "John", "last_name": "Doe"}
            | {"gender": "male", "marital_status": "married", "customer_case_id": case_id},
            nothing
            | {"id": ids[1], "title": "Mr", "first_names": "Steve", "last_name": "Smith"}
            | {"address_1": "607 Kenton Rd", "address_2": "Kenton", "postcode": "HA3 9RT"}
            | {"customer_case_id": case_id},
        ],
    }


def test_an_added_customer_is_kept_as_sent_and_read_with_all_flags(start):
    _, client, [case_id, *_] = start()
    before = read(client, case_id)
    sent = VENDORS_EXAMPLE["customers"][0] | {"date_of_birth": "20/06/1990", "tel_1": "07700900"}
    answer = update(client, case_id, customers=[sent])
    case = read(client, case_id)

    added = {name: value for name, value in case["customers"][1].items() if value is not None}
    assert added == sent | {
        "id": answer["customers"][1]["id"], "date_of_birth": "1990-06-20",
        "customer_case_id": case_id, "is_deceased": 0,
    }  # fmt: skip
    assert case == before | {"customers": [*before["customers"], case["customers"][1]]}


def test_the_answer_is_the_case_without_its_flags(start):
    _, client, [case_id, *_] = start()
    answer = update(client, case_id, notes="new", customers=[person()])
    case = read(client, case_id)

    assert answer.keys() == ANSWER_KEYS == case.keys() - {"is_active"}
    for customer in case["customers"]:
        customer.pop("is_deceased", None)
    assert answer == {name: case[name] for name in ANSWER_KEYS}


@pytest.mark.parametrize(
    "sent", [{"ref": "R-1"}, {"notes": "new"}, {"meta": {STORAGE: "1"}}, {}, {"id": "mine"}]
)
def test_what_is_left_out_or_unknown_stays_as_it_is(start, sent):
    _, client, [case_id, *others] = start()
    before = {key: read(client, key) for key in [case_id, *others]}
    update(client, case_id, is_active=0, email="nobody", adviser_email=7, **sent)

    before[case_id] |= sent | {"id": case_id}
    assert {key: read(client, key) for key in before} == before


def test_an_update_too_long_for_a_column_is_a_500_and_changes_nothing(start):
    _, client, [case_id, *_] = start()
    for beyond in ({"ref": "x" * 256}, {"customers": [person(middle_names="x" * 256)]}):
        answer = client.patch(f"/cases/{case_id}", json={"notes": "new"} | beyond)
        assert (answer.status_code, answer.json()) == (500, {"message": "Server Error"})
    assert just_updated(client) == set()


def test_notes_too_long_for_their_column_stop_a_job_for_ever_behind_what_it_has_done(start):
    box, client, ids = start()
    batch = noting(ids)
    batch[2]["notes"] = "x" * 65_536
    job = done(box, client, batch)

    assert (job["status"], job["effected_records"], job["end_time"]) == ("processing", 2, None)
    assert notes_of(box, ids) == ["new", "new", "old", "old"]


def test_a_repeated_update_adds_the_person_again(start):
    _, client, [case_id, *_] = start()
    for _ in range(2):
        update(client, case_id, customers=[person(), person()])

    customers = read(client, case_id)["customers"]
    assert [customer["first_names"] for customer in customers].count("Ada") == 4
    assert len({customer["id"] for customer in customers}) == 5


def test_customers_come_in_order_of_id_not_in_that_of_their_arrival(start):
    _, client, [case_id, *_] = start()
    answer = update(client, case_id, customers=[person() for _ in range(9)])

    for shown in (answer, read(client, case_id)):
        came = [customer["id"] for customer in shown["customers"]]
        assert len(came) == 10
        assert came == sorted(came)


def test_ids_are_found_in_any_case_of_their_letters(start):
    box, client, [case_id, other, *_] = start()
    answer = update(client, case_id.upper(), notes="new")
    job = done(box, client, [{"id": other.upper(), "notes": "new"}])

    assert answer["id"] == read(client, case_id.upper())["id"] == case_id
    assert notes_of(box, [case_id, other]) == ["new", "new"]
    assert client.get(f"/api-jobs/{job['id'].upper()}").json() == job


def test_an_existing_customer_cannot_be_edited(start):
    _, client, [case_id, *_] = start()
    [there] = read(client, case_id)["customers"]
    update(client, case_id, customers=[person(id=there["id"], customer_case_id="other")])

    first, added = read(client, case_id)["customers"]
    assert first == there
    assert added["id"] != there["id"]
    assert added["customer_case_id"] == case_id


def test_names_postcode_and_e_mail_of_the_case_stay_even_if_it_had_nobody(start):
    _, client, _ = start()
    case = client.post("/cases/create", json={}).json()
    answer = update(client, case["id"], customers=[person(email="a@b", postcode="QX1 1ZZ")])

    names = ("first_names", "last_names", "full_names", "email", "postcode")
    assert {name: answer[name] for name in names} == dict.fromkeys(names, "")
    assert len(answer["customers"]) == 1


def test_by_option_fields_of_customers_are_lost_in_updates_only(start):
    _, client, [case_id, *_] = start(update_loses=("tel_1", "gender"))
    full = person(tel_1="07700900123", gender="female", occupation="Baker")
    new = client.post("/cases/create", json={"customers": [full]}).json()["id"]
    update(client, case_id, customers=[full])
    update(client, new, notes="more")

    def of_last(key: str) -> list[str | None]:
        return [read(client, key)["customers"][-1][n] for n in ("tel_1", "gender", "occupation")]

    assert of_last(case_id) == [None, None, "Baker"]
    assert of_last(new) == ["07700900123", "female", "Baker"]
    refused = client.patch(f"/cases/{case_id}", json={"customers": [person(tel_1="0" * 26)]})
    assert list(errors(refused)) == ["customers.0.tel_1"]


@pytest.mark.parametrize(
    ("how", "after_one", "after_none"),
    [
        ("merge", {STORAGE: "007", SIGNED_ON: "2024-01-27"}, {STORAGE: "007"}),
        ("replace", {SIGNED_ON: "2024-01-27"}, []),
    ],
)
def test_crm_fields_are_merged_or_by_option_replaced(start, how, after_one, after_none):
    box, client, [first, second, third, fourth] = start(meta_update=how)
    one, none = {SIGNED_ON: "2024-01-27"}, {}

    assert update(client, first, meta=one)["meta"] == after_one
    assert update(client, second, meta=none)["meta"] == after_none
    done(box, client, [{"id": third, "meta": one}, {"id": fourth, "meta": none}])
    assert [read(client, key)["meta"] for key in (third, fourth)] == [after_one, after_none]


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_null_and_blanks_clear_notes_and_crm_fields_but_not_the_reference(start, blank):
    box, client, [first, second, *_] = start()
    before = read(client, first)
    update(client, first, ref=blank, notes=blank, meta={STORAGE: blank}, customers=None)
    done(box, client, [{"id": second, "notes": blank, "meta": {STORAGE: blank}}])

    assert read(client, first) == before | {"notes": None, "meta": {STORAGE: None}}
    cleared = read(client, second)
    assert (cleared["notes"], cleared["meta"]) == (None, {STORAGE: None})
    update(client, first, meta=None)
    assert read(client, first)["meta"] == {STORAGE: None}


def test_an_unknown_case_is_not_found_whatever_is_sent(start):
    box, client, [case_id, *_] = start()
    before = len(box.store)
    for path in ("no-such-case", "create", f"{case_id}/"):
        for content in (b'{"notes": "new"}', b"{", b'{"notes": 7}'):
            answer = client.patch(f"/cases/{path}", content=content)
            assert answer.status_code == 404
            assert "errors" not in answer.json()
    assert len(box.store) == before
    assert just_updated(client) == set()


def test_nothing_is_updated_without_token_and_content_type(start):
    box, client, [case_id, *_] = start()
    bodies = {f"/cases/{case_id}": {"notes": "new"}, BULK: noting([case_id])}
    for path, body in bodies.items():
        content = json.dumps(body)
        no_token = client.patch(path, content=content, headers={"Authorization": "Bearer wrong"})
        no_type = client.patch(path, content=content, headers={"Content-Type": "text/plain"})
        assert (no_token.status_code, no_type.status_code) == (401, 400)

    no_token = client.get("/api-jobs/any", headers={"Authorization": "Bearer wrong"})
    assert no_token.status_code == 401
    assert (just_updated(client), box.jobs) == (set(), {})


def test_an_update_that_is_no_json_object_changes_nothing(start):
    _, client, [case_id, *_] = start()
    for content in (b"", b"{", b"null", b"[]", b'[{"notes": "new"}]', b"\xff"):
        answer = client.patch(f"/cases/{case_id}", content=content)
        assert (answer.status_code, answer.json()["id"]) == (200, case_id)
    assert just_updated(client) == set()


def test_an_update_is_checked_like_a_creation_and_refused_as_a_whole(start):
    _, client, [case_id, *_] = start()
    wrong = {
        "ref": 7,
        "notes": ["x"],
        "meta": {"no-such": "x", FUNERAL_PLAN: "no", STORAGE: []},
        "customers": [
            person(title=" "),
            {"last_names": "Null"},
            person(tel_1="0" * 26, date_of_birth="1990-06-20", marital_status="Single"),
            "Ada",
        ],
    }
    answer = client.patch(f"/cases/{case_id}", json=wrong)

    assert errors(answer).keys() == {
        "ref", "notes", "meta.no-such", f"meta.{FUNERAL_PLAN}", f"meta.{STORAGE}",
        "customers.0.title", "customers.1.title", "customers.1.first_names",
        "customers.1.last_name", "customers.2.tel_1", "customers.2.date_of_birth",
        "customers.2.marital_status", "customers.3",
    }  # fmt: skip
    created = client.post("/cases/create", json=wrong)
    assert errors(created) == errors(answer)
    for one in ({"notes": "new", "meta": []}, {"notes": "new", "customers": {}}):
        assert len(errors(client.patch(f"/cases/{case_id}", json=one))) == 1
    assert just_updated(client) == set()


def test_the_options_on_surnames_and_refusals_are_those_of_creations(start):
    _, client, [case_id, *_] = start(surname_key="last_names", validation_status=400)
    answer = update(client, case_id, customers=[person(), person(last_names="Quokka")])
    refused = client.patch(f"/cases/{case_id}", json={"notes": 7})

    assert {customer["last_name"] for customer in answer["customers"]} > {"", "Quokka"}
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["notes"])
    refused = client.patch(BULK, json=[{"id": case_id, "notes": 7}])
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["0.notes"])


def test_flags_of_an_added_customer_are_words_where_all_flags_are(start):
    _, client, [case_id, *_] = start(words_as_flags=True)
    update(client, case_id, customers=[person()])

    assert read(client, case_id)["customers"][1]["is_deceased"] is False


def test_a_reference_is_refused_if_another_case_has_it(start):
    _, client, [first, second, *_] = start()
    mine, taken = read(client, first)["ref"], read(client, second)["ref"]

    for again in (taken, f" {taken.lower()} "):
        answer = client.patch(f"/cases/{first}", json={"ref": again, "notes": "new"})
        assert errors(answer) == {"ref": ["The ref has already been taken."]}
    assert read(client, first)["notes"] == "old"
    for own in (mine, mine.lower(), "R-1"):
        assert update(client, first, ref=own)["ref"] == own
    assert update(client, second, ref=mine)["ref"] == mine
    found = [client.get("/cases", params={"ref": ref}).json()["data"] for ref in ("r-1", mine)]
    assert [[case["id"] for case in cases] for cases in found] == [[first], [second]]


def test_without_unique_references_two_cases_may_share_one(start):
    _, client, [first, second, *_] = start(unique_refs=False)
    taken = read(client, second)["ref"]

    assert update(client, first, ref=taken)["ref"] == taken


def test_only_what_changes_has_just_been_updated(start):
    box, client, [first, second, third, fourth] = start()
    update(client, first, notes="old", meta={STORAGE: "007"}, ref=read(client, first)["ref"])
    update(client, second, customers=[person()])
    done(box, client, [*noting([third], "old"), *noting([fourth])])

    assert just_updated(client) == {second, fourth}


# -- faults of updates -----------------------------------------------------------------------

REPLIES = [(SERVER_ERROR, 500), (Html(), 200), (Drop(), "ReadError")]


@pytest.mark.parametrize(
    ("action", "expected", "applied"),
    [
        *((action, expected, False) for action, expected in REPLIES),
        *((Applied(action), expected, True) for action, expected in REPLIES),
        (Truncate(), "RemoteProtocolError", True),
        (Applied(Truncate()), "RemoteProtocolError", True),
        (Truncate(announced=False), 200, True),
        (Drip(100_000), 200, True),
        (Late(0.0), 504, True),
    ],
)
def test_every_fault_of_a_write_meets_updates_of_one_and_of_many(start, action, expected, applied):
    box, client, [first, second, *_] = start()
    box.faults += [Fault(action, path, "PATCH") for path in ("/cases/*", BULK)]
    bulk = (
        201 if (expected, applied, isinstance(action, Applied)) == (200, True, False) else expected
    )

    assert outcome(client, f"/cases/{first}", {"notes": "new"}) == expected
    assert outcome(client, BULK, noting([second])) == bulk
    settle(box)
    assert notes_of(box, [first, second]) == ["new" if applied else "old"] * 2
    assert len(box.jobs) == applied


def test_of_an_update_that_breaks_off_the_customers_are_missing(start):
    box, client, [case_id, *_] = start()
    box.faults.append(Fault(Partial(), method="PATCH"))

    assert outcome(client, f"/cases/{case_id}", VENDORS_EXAMPLE) == 500
    case = read(client, case_id)
    assert (case["ref"], case["notes"]) == ("FSFOOS", "New data, check with client")
    assert len(case["customers"]) == 1
    assert len(update(client, case_id, customers=[person()])["customers"]) == 2


def test_of_a_bulk_update_that_breaks_off_a_job_is_left_that_stays_pending(start):
    box, client, ids = start()
    box.faults.append(Fault(Partial(), path=BULK))

    assert outcome(client, BULK, noting(ids)) == 500
    settle(box)
    [job] = box.jobs.values()
    assert (job.status, poll(client, job.id)["status"]) == ("pending", "pending")
    assert set(notes_of(box, ids)) == {"old"}


def test_random_faults_can_be_for_updates_of_one_or_of_many(start):
    box, client, [case_id, *_] = start()
    one = RandomFaults(1.0, actions=[Status(503)], method="PATCH", path="/cases/*")
    many = RandomFaults(1.0, actions=[Status(502)], method="PATCH", path=BULK)
    box.faults += [one, many]

    assert outcome(client, f"/cases/{case_id}", {"notes": "new"}) == 503
    assert outcome(client, BULK, noting([case_id])) == 502
    assert read(client, case_id)["notes"] == "old"
    assert (len(one.chosen), len(many.chosen)) == (1, 1)


def test_a_late_update_overwrites_a_newer_one(start):
    box, client, [case_id, *_] = start()
    box.faults.append(Fault(Late(0.3), method="PATCH"))

    assert outcome(client, f"/cases/{case_id}", {"notes": "first"}) == 504
    update(client, case_id, notes="second")
    assert notes_of(box, [case_id]) == ["second"]
    settle(box)
    assert notes_of(box, [case_id]) == ["first"]


# -- many cases ------------------------------------------------------------------------------


def test_the_vendors_curl_example_for_a_bulk_update_gets_the_vendors_answer(start):
    box, client, ids = start()
    signed = {SIGNED_ON: "2024-01-27"}
    answer = client.patch(BULK, json=[{"id": case_id, "meta": signed} for case_id in ids[:2]])
    settle(box)

    assert answer.status_code == 201
    assert answer.json() == {"apiJobId": next(iter(box.jobs))}
    metas = [read(client, case_id)["meta"] for case_id in ids]
    assert metas == [{STORAGE: "007"} | signed] * 2 + [{STORAGE: "007"}] * 2


def test_a_completed_job_says_how_many_and_when(start):
    box, client, ids = start()
    before = datetime.now(UTC).replace(microsecond=0)
    job_id = submit(client, noting(ids[:3]))
    settle(box)
    job = poll(client, job_id)

    assert list(job) == JOB_KEYS
    iso, bare = "%Y-%m-%dT%H:%M:%S.000000Z", "%Y-%m-%d %H:%M:%S"
    times = [
        datetime.strptime(job.pop(name), form).replace(tzinfo=UTC)
        for name, form in (("created_at", iso), ("updated_at", iso), ("end_time", bare))
    ]
    assert all(before <= moment <= datetime.now(UTC) for moment in times)
    assert job == {
        "id": job_id,
        "status": "completed",
        "total_records": 3,
        "effected_records": 3,
        "message": None,
    }
    assert notes_of(box, ids) == ["new"] * 3 + ["old"]


def test_a_body_that_is_no_array_of_cases_is_a_bad_request(start):
    box, client, [case_id, *_] = start()
    row = json.dumps({"id": case_id, "notes": "new"})
    for content in ("", "[", "null", "[]", "{}", row, f'{{"cases": [{row}]}}', '"x"'):
        answer = client.patch(BULK, content=content)
        assert answer.status_code == 400, content
        assert answer.json().keys() == {"message"}
    assert box.jobs == {}


def test_2500_rows_are_accepted_and_2501_refused(start):
    box, client, ids = start(cases=2501)
    refused = client.patch(BULK, json=noting(ids))

    assert refused.status_code == 400
    assert refused.json().keys() == {"message"}
    assert box.jobs == {}
    job = done(box, client, noting(ids[1:]))
    assert (job["total_records"], job["effected_records"]) == (2500, 2500)
    notes = notes_of(box, ids)
    assert (notes[0], set(notes[1:])) == ("old", {"new"})


def test_one_wrong_row_refuses_all_and_is_named_by_its_place(start):
    box, client, ids = start()
    rows = noting(ids)
    rows[1] = {"notes": "new"}
    rows[3] = {"id": ids[3], "notes": 7, "meta": {"no-such": "x", FUNERAL_PLAN: "no"}}
    rows += [{"id": 5}, ["x"], {"id": ids[0], "meta": []}, {"id": " "}, None]
    answer = client.patch(BULK, json=rows)

    assert errors(answer).keys() == {
        "1.id", "3.notes", "3.meta.no-such", f"3.meta.{FUNERAL_PLAN}", "4.id", "5", "6.meta",
        "7.id", "8",
    }  # fmt: skip
    assert errors(answer)["3.notes"] == ["The 3.notes must be a string."]
    assert errors(answer)["1.id"] == ["The 1.id field is required."]
    assert errors(answer)["3.meta.no-such"] == ["The 3.meta.no-such is not a CRM field."]
    assert box.jobs == {}
    assert just_updated(client) == set()


def test_a_reference_and_unknown_keys_of_a_row_are_ignored(start):
    box, client, [case_id, *_] = start()
    before = read(client, case_id)
    extra = {"ref": 7, "customers": [person()], "is_active": 0, "email": "x"}
    job = done(box, client, [{"id": case_id, "notes": "new", **extra}])

    assert job["effected_records"] == 1
    assert read(client, case_id) == before | {"notes": "new"}
    assert box.jobs[job["id"]].batch == [{"id": case_id, "notes": "new"}]


def test_unknown_ids_are_accepted_and_named_in_the_message(start, monkeypatch):
    box, client, ids = start()
    move = Job.move

    def moved(job: Job, status: str) -> None:
        if status == "processing":
            box.store.delete(ids[1])
        move(job, status)

    monkeypatch.setattr(Job, "move", moved)
    job = done(box, client, noting([ids[0], "nobody", ids[1], "no-one", "nobody", ids[2]]))

    assert (job["status"], job["total_records"], job["effected_records"]) == ("completed", 6, 2)
    words = job["message"].replace(",", "").split()
    assert [word for word in words if word in {*ids, "nobody", "no-one"}] == [
        "nobody", ids[1], "no-one",
    ]  # fmt: skip
    assert notes_of(box, [ids[0], ids[2], ids[3]]) == ["new", "new", "old"]


def test_by_option_one_unknown_id_refuses_all_and_is_not_named(start):
    box, client, ids = start(bulk_unknown_ids="refuse")
    answer = client.patch(BULK, json=noting([*ids, "nobody"]))

    assert answer.status_code == 404
    assert answer.json().keys() == {"message"}
    assert "nobody" not in answer.text
    assert box.jobs == {}
    assert done(box, client, noting(ids))["effected_records"] == 4


def test_rows_that_change_nothing_are_not_counted(start):
    box, client, ids = start()
    rows = [
        {"id": ids[0], "notes": "old"},
        {"id": ids[1], "notes": "old", "meta": {STORAGE: "007"}},
        {"id": ids[2]},
        {"id": ids[3], "notes": "old", "meta": {STORAGE: "008"}},
    ]

    assert done(box, client, rows)["effected_records"] == 1
    again = done(box, client, rows)
    assert (again["status"], again["effected_records"]) == ("completed", 0)
    assert (again["total_records"], again["message"]) == (4, None)


def test_of_rows_with_the_same_id_only_the_last_counts(start):
    box, client, [first, second, *_] = start()
    rows = [
        {"id": first, "notes": "earlier", "meta": {STORAGE: "1"}},
        {"id": second, "notes": "new"},
        {"id": first, "notes": "later"},
    ]
    job = done(box, client, rows)

    assert (job["total_records"], job["effected_records"]) == (3, 2)
    case = read(client, first)
    assert (case["notes"], case["meta"]) == ("later", {STORAGE: "007"})
    assert read(client, second)["notes"] == "new"


def test_only_the_documented_methods_are_there(start):
    _, client, [case_id, *_] = start()

    assert client.post(BULK, json=noting([case_id])).status_code == 405
    assert client.get(BULK).status_code == 405
    assert client.put(f"/cases/{case_id}", json={"notes": "new"}).status_code == 405
    assert client.patch(f"{BULK}/", json=noting([case_id])).status_code == 404
    assert client.get("/api-jobs").status_code == 404


# -- jobs ------------------------------------------------------------------------------------


@pytest.fixture
def moves(monkeypatch) -> list[tuple[str, str]]:
    """Status and notes of the first case whenever a job changes its status."""
    seen: list[tuple[str, str]] = []
    move, accept = Job.move, Jobs.accept
    stores = []

    def remembered(jobs: Any, job_id: str, *rest: Any) -> Job:
        stores.append(jobs._store)
        job = accept(jobs, job_id, *rest)
        seen.append((job.status, notes(job)))
        return job

    def moved(job: Job, status: str) -> None:
        move(job, status)
        seen.append((job.status, notes(job)))

    def notes(job: Job) -> str:
        return stores[0].case(job.ids[0])["notes"]

    monkeypatch.setattr(Jobs, "accept", remembered)
    monkeypatch.setattr(Job, "move", moved)
    return seen


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_a_job_is_pending_then_processing_then_completed_with_its_values(start, moves, seconds):
    box, client, ids = start(job_seconds=seconds)
    done(box, client, noting(ids))

    assert moves == [("pending", "old"), ("processing", "old"), ("completed", "new")]


def test_a_job_takes_its_seconds_from_acceptance_to_completion(start, monkeypatch):
    box, client, ids = start(job_seconds=60)
    slept: list[float] = []
    sleep = asyncio.sleep

    def at_once(seconds: float) -> Any:
        slept.append(seconds)
        return sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    done(box, client, noting(ids))
    assert sum(slept) == 60
    box.job_faults.append(JobFault(seconds=0.5))
    done(box, client, noting(ids))
    assert sum(slept) == 60.5


def test_until_then_a_job_can_be_asked_about_and_has_changed_nothing(start):
    box, client, ids = start(job_seconds=60)
    job = poll(client, submit(client, noting(ids)))

    assert list(job) == JOB_KEYS
    assert (job["status"], job["end_time"], job["message"]) == ("pending", None, None)
    assert (job["total_records"], job["effected_records"]) == (4, 0)
    assert box.pending_jobs == 1
    assert just_updated(client) == set()


def test_an_unknown_job_is_not_found(start):
    _, client, ids = start()
    submit(client, noting(ids))
    answer = client.get("/api-jobs/8b609a6d-c42c-4b5c-b0ab-74bdfb0abeb5")

    assert answer.status_code == 404
    assert answer.json().keys() == {"message"}


def test_jobs_of_the_same_length_end_in_order_of_submission(start):
    box, client, ids = start(job_seconds=0.05)
    submitted = [submit(client, noting(ids, f"{number}")) for number in range(8)]
    settle(box)

    assert list(box.jobs) == submitted
    assert [job.submitted for job in box.jobs.values()] == sorted(
        job.submitted for job in box.jobs.values()
    )
    ends = sorted(box.jobs.values(), key=lambda job: job.finished)
    assert [job.id for job in ends] == submitted
    assert set(notes_of(box, ids)) == {"7"}


def test_a_slow_job_is_overtaken_and_overwrites_what_the_next_has_written(start, moves):
    box, client, ids = start()
    box.job_faults.append(JobFault(seconds=0.3))
    slow, quick = submit(client, noting(ids, "first")), submit(client, noting(ids, "second"))
    settle(box)

    ends = [notes for status, notes in moves if status == "completed"]
    assert ends == ["second", "first"]
    assert box.jobs[quick].finished < box.jobs[slow].finished


def test_jobs_that_were_under_way_at_once_can_be_told(start):
    box, client, ids = start()
    one = box.jobs[done(box, client, noting(ids))["id"]]
    box.job_faults += [JobFault(seconds=0.3), None, JobFault(ends="processing")]
    slow, beside, stuck = (box.jobs[submit(client, noting(ids[:2]))] for _ in range(3))
    settle(box)
    after = box.jobs[done(box, client, noting(ids))["id"]]

    together = {
        frozenset(names)
        for names, (first, second) in zip(
            itertools.permutations(["one", "slow", "beside", "stuck", "after"], 2),
            itertools.permutations([one, slow, beside, stuck, after], 2),
            strict=True,
        )
        if first.beside(second)
    }
    assert {frozenset(("slow", "beside")), frozenset(("stuck", "after"))} <= together
    assert not any("one" in names for names in together)
    assert not any({"slow", "beside"} & names and "after" in names for names in together)
    assert not any(job.beside(job) for job in box.jobs.values())
    assert slow.batch == beside.batch == noting(ids[:2])
    assert slow.ids == ids[:2]


def test_what_is_under_way_ends_silently_with_the_sandbox(connect, caplog, recwarn, capfd):
    box = Sandbox(Options(cases=3, job_seconds=60), [Fault(Late(60.0), path=BULK, skip=3)])
    before = notes_of(box, box.store.ids)
    with running(box):
        client = connect(box.url)
        for _ in range(3):
            submit(client, noting(box.store.ids))
        assert outcome(client, BULK, noting(box.store.ids)) == 504
        assert (box.pending_jobs, box.pending_late) == (3, 1)
        started = time.monotonic()
    took_seconds = time.monotonic() - started
    gc.collect()

    assert took_seconds < 5
    assert (box.pending_jobs, box.pending_late) == (0, 0)
    assert notes_of(box, box.store.ids) == before
    assert (caplog.records, list(recwarn), capfd.readouterr().err) == ([], [], "")


# -- faults of jobs --------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "processing"])
@pytest.mark.parametrize(("applies", "applied"), [(None, 0), (0.5, 2), (1.0, 4)])
def test_a_job_can_be_stuck_with_none_some_or_all_of_its_rows_applied(
    start, status, applies, applied
):
    box, client, ids = start()
    box.job_faults.append(JobFault(ends=status, applies=applies))
    job = done(box, client, noting(ids))

    assert (job["status"], job["end_time"], job["message"]) == (status, None, None)
    assert notes_of(box, ids) == ["new"] * applied + ["old"] * (4 - applied)
    assert box.jobs[job["id"]].finished is None


@pytest.mark.parametrize(("applies", "applied"), [(None, 0), (0.5, 2), (1.0, 4)])
def test_a_job_can_fail_with_none_some_or_all_of_its_rows_applied(start, applies, applied):
    box, client, ids = start()
    box.job_faults.append(JobFault(ends="failed", applies=applies))
    job = done(box, client, noting(ids))

    assert (job["status"], job["total_records"]) == ("failed", 4)
    assert job["effected_records"] == applied
    assert job["end_time"] is not None
    assert job["message"] == FAILED_MESSAGE
    assert notes_of(box, ids) == ["new"] * applied + ["old"] * (4 - applied)


def test_the_message_of_a_failure_tells_about_a_person_unless_it_is_given(start):
    box, client, ids = start()
    box.job_faults += [
        JobFault(ends="failed", message="Out of memory"),
        JobFault(message="Mrs Quillfeather was last"),
    ]

    assert "Quillfeather" in FAILED_MESSAGE
    assert done(box, client, noting(ids))["message"] == "Out of memory"
    completed = done(box, client, noting([*ids, "nobody"]))
    assert completed["status"] == "completed"
    assert completed["message"].startswith("Mrs Quillfeather was last ")
    assert completed["message"].endswith(" nobody")


def test_a_job_can_be_told_failed_go_on_and_be_completed_with_the_words_left_in_its_message(start):
    box, client, ids = start(job_seconds=0.6)
    box.job_faults.append(JobFault(told_failed=True))
    job_id = submit(client, noting(ids))
    while (told := poll(client, job_id))["status"] == "pending":
        time.sleep(0.01)
    before = notes_of(box, ids)
    settle(box)
    at_last = poll(client, job_id)

    assert (told["status"], told["effected_records"], before) == ("failed", 0, ["old"] * 4)
    assert (at_last["status"], at_last["effected_records"]) == ("completed", 4)
    assert told["message"] == at_last["message"] == ATTEMPTED
    assert "attempted too many times" in ATTEMPTED
    assert notes_of(box, ids) == ["new"] * 4


def test_a_completed_job_can_have_skipped_rows_silently(start):
    box, client, ids = start()
    box.job_faults.append(JobFault(skips=[0, 2]))
    job = done(box, client, noting(ids))

    assert (job["status"], job["message"]) == ("completed", None)
    assert (job["total_records"], job["effected_records"]) == (4, 2)
    assert notes_of(box, ids) == ["old", "new", "old", "new"]


def test_a_share_of_rows_to_skip_is_drawn_anew_for_each_job_but_repeatably(start):
    def skipped() -> list[list[str | None]]:
        box, client, ids = start(cases=40)
        box.job_faults += [JobFault(skips=0.25)] * 2
        found = []
        for number in range(2):
            assert done(box, client, noting(ids, f"{number}"))["effected_records"] == 30
            found.append([note == f"{number}" for note in notes_of(box, ids)])
        return found

    first, second = skipped()
    assert first.count(False) == second.count(False) == 10
    assert first != second
    assert skipped() == [first, second]


def test_statuses_can_have_other_words(start):
    box, client, ids = start()
    words = {"pending": "queued", "completed": "done"}
    box.job_faults += [JobFault(words=words, ends="pending"), JobFault(words=words)]
    before, after = done(box, client, noting(ids)), done(box, client, noting(ids))

    assert (before["status"], before["end_time"]) == ("queued", None)
    assert after["status"] == "done"
    assert after["end_time"] is not None
    assert set(notes_of(box, ids)) == {"new"}


def test_fields_can_be_missing_from_the_answers_about_a_job(start):
    box, client, ids = start()
    box.job_faults.append(JobFault(lacks=["status", "effected_records"]))

    assert set(JOB_KEYS) - done(box, client, noting(ids)).keys() == {"status", "effected_records"}


@pytest.mark.parametrize(("hidden", "expected"), [(2, [404, 404, 200]), (None, [404] * 3)])
def test_a_job_can_be_hidden_at_first_or_for_ever(start, hidden, expected):
    box, client, ids = start()
    box.job_faults.append(JobFault(hidden_polls=hidden))
    job_id = submit(client, noting(ids))
    settle(box)

    assert [client.get(f"/api-jobs/{job_id}").status_code for _ in range(3)] == expected
    assert box.jobs[job_id].polls == 3
    assert set(notes_of(box, ids)) == {"new"}


def test_faults_of_jobs_are_used_up_by_accepted_batches_in_their_order(start):
    box, client, ids = start()
    box.job_faults += [JobFault(ends="failed"), None, JobFault(ends="processing")]
    box.faults.append(Fault(Drop(), path=BULK))

    assert outcome(client, BULK, noting(ids)) == "ReadError"
    assert outcome(client, BULK, [{"id": 7}]) == 422
    assert len(box.job_faults) == 3
    statuses = [done(box, client, noting(ids))["status"] for _ in range(4)]
    assert statuses == ["failed", "completed", "processing", "completed"]
    assert box.job_faults == []


def test_of_a_batch_sent_again_since_its_answer_was_lost_there_are_two_jobs(start):
    # reliability.md, row 30
    box, client, ids = start(job_seconds=0.1)
    box.faults.append(Fault(Applied(Drop()), path=BULK))

    assert outcome(client, BULK, noting(ids)) == "ReadError"
    submit(client, noting(ids))
    first, again = box.jobs.values()
    settle(box)
    assert first.batch == again.batch
    assert (first.effected_records, again.effected_records) == (4, 0)


# -- connections that are gone ---------------------------------------------------------------


@pytest.fixture
def played(monkeypatch) -> threading.Semaphore:
    """Released whenever a fault has been played to its end."""
    ends = threading.Semaphore(0)
    play = Sandbox._play

    async def counted(*args: Any) -> Any:
        try:
            return await play(*args)
        finally:
            ends.release()

    monkeypatch.setattr(Sandbox, "_play", counted)
    return ends


@pytest.mark.parametrize(
    "action",
    [
        *(Truncate(), Truncate(announced=False), Drip(4000), Drop(), Html()),
        *(Applied(Truncate()), Applied(Drop()), Applied(SERVER_ERROR)),
    ],
)
@pytest.mark.parametrize("first_bytes", [0, 1])
def test_a_client_that_hangs_up_is_not_worth_a_word(
    start, played, caplog, capfd, action, first_bytes
):
    box, client, [case_id, *_] = start(cases=100, latency_ms=0 if first_bytes else 30)
    box.faults.append(Fault(action, method="PATCH"))
    url = client.base_url
    body = json.dumps({"notes": "x" * 100_000})
    head = (
        f"PATCH {url.path}cases/{case_id} HTTP/1.1\r\nHost: {url.host}\r\n"
        f"Authorization: {client.headers['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        # without lingering, closing sends a reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall((head + body).encode())
        if first_bytes:
            with contextlib.suppress(ConnectionResetError):
                connection.recv(1)
        else:
            wait_for_request(box, 2)
    assert played.acquire(timeout=10)
    for _ in range(3):  # by then the server is done with it
        client.get("/crm-fields")

    # python -X dev also warns of slow callbacks
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert capfd.readouterr().err == ""


def wait_for_request(box: Sandbox, number: int) -> None:
    end = time.monotonic() + 10
    while len(box.requests) < number:
        assert time.monotonic() < end
        time.sleep(0.001)


# -- python -m sandbox -----------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "seconds"), [([], 0.0), (["--job-seconds", "2.5"], 2.5)])
def test_the_command_takes_the_seconds_of_a_job(monkeypatch, arguments, seconds):
    made: list[Sandbox] = []

    def not_served(box: Sandbox, *, port: int) -> None:
        made.append(box)
        raise OSError

    monkeypatch.setattr("sandbox.__main__.running", not_served)
    monkeypatch.setattr(sys, "argv", ["sandbox", "--cases=0", *arguments])
    with pytest.raises(SystemExit):
        main()

    assert made[0].options.job_seconds == seconds
