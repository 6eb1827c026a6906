"""The sandbox answers reads as the vendor's pages show them, and our parser reads such answers."""

import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.server import CLIENT_ID, CLIENT_SECRET
from willsuite.decoding import decode_case, decode_crm_fields, decode_page
from willsuite.records import CrmField, Customer

# Written down from the vendor page "Cases" (and "CRM Fields"), not computed from the sandbox.
PAGE_KEYS = {
    "current_page", "data", "first_page_url", "from", "last_page", "last_page_url", "links",
    "next_page_url", "path", "per_page", "prev_page_url", "to", "total",
}  # fmt: skip
CASE_KEYS = {
    "id", "ref", "first_names", "last_names", "full_names", "email", "postcode", "meta", "notes",
    "is_active", "customers",
}  # fmt: skip
CUSTOMER_KEYS = {
    "id", "title", "first_names", "middle_names", "last_name", "date_of_birth", "gender", "tel_1",
    "tel_2", "email", "occupation", "marital_status", "address_1", "address_2", "address_3",
    "postcode", "customer_case_id", "is_deceased",
}  # fmt: skip
LINK_KEYS = {"url", "label", "active"}
CRM_FIELD_KEYS = {"id", "field_label", "options"}
LINKS_START = "http://willsuite-v2.test/engine/api/cases"

GRANT = {
    "grant_type": "client_credentials",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
}


def listed(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get("/cases", params=query)
    assert answer.status_code == 200
    return answer.json()


def all_cases(client: httpx.Client) -> list[dict[str, Any]]:
    """Every case of the account, from all pages."""
    cases: list[dict[str, Any]] = []
    for number in itertools.count(1):
        page = listed(client, page=number, perPage=100)
        cases += page["data"]
        if number == page["last_page"]:
            return cases
    raise AssertionError


def ids(page: dict[str, Any]) -> list[str]:
    return [case["id"] for case in page["data"]]


def labels(page: dict[str, Any]) -> list[str]:
    return [link["label"] for link in page["links"]]


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


# -- the vendor's own examples ---------------------------------------------------------------


def test_the_vendors_curl_example_for_get_cases_gets_the_documented_keys(serve, stranger):
    client = stranger(serve(cases=40).url)
    token = client.post("/oauth/token/", json=GRANT).json()["access_token"]

    answer = client.get(
        "/cases/", headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 200
    assert answer.url.path == "/engine/api/cases/"
    assert answer.headers["content-type"].startswith("application/json")
    page = answer.json()
    assert page.keys() == PAGE_KEYS
    assert {frozenset(link) for link in page["links"]} == {frozenset(LINK_KEYS)}
    assert {frozenset(case) for case in page["data"]} == {frozenset(CASE_KEYS)}
    customers = [customer for case in page["data"] for customer in case["customers"]]
    assert {frozenset(customer) for customer in customers} == {
        frozenset(CUSTOMER_KEYS),
        frozenset(CUSTOMER_KEYS - {"is_deceased"}),
    }


def test_the_vendors_curl_example_for_get_case_gets_the_documented_keys(serve, connect):
    client = connect(serve(cases=3).url)
    wanted = ids(listed(client))[1]

    answer = client.get(f"/cases/{wanted}")

    assert answer.status_code == 200
    case = answer.json()
    assert case["id"] == wanted
    assert case.keys() == CASE_KEYS
    for customer in case["customers"]:
        assert customer.keys() | {"is_deceased"} == CUSTOMER_KEYS
        assert customer["customer_case_id"] == wanted


def test_the_first_of_160_pages_is_numbered_and_linked_as_in_the_vendors_example(serve, connect):
    page = listed(connect(serve(cases=1600).url))

    numbers = {name: page[name] for name in ("current_page", "from", "to", "last_page", "total")}
    assert numbers == {"current_page": 1, "from": 1, "to": 10, "last_page": 160, "total": 1600}
    assert page["per_page"] == 10
    assert page["path"] == LINKS_START
    assert page["first_page_url"] == f"{LINKS_START}?page=1"
    assert page["last_page_url"] == f"{LINKS_START}?page=160"
    assert page["next_page_url"] == f"{LINKS_START}?page=2"
    assert page["prev_page_url"] is None
    assert labels(page) == [
        "&laquo; Previous", *map(str, range(1, 11)), "...", "159", "160", "Next &raquo;",
    ]  # fmt: skip
    by_label = {link["label"]: link for link in page["links"]}
    assert by_label["&laquo; Previous"] == {
        "url": None,
        "label": "&laquo; Previous",
        "active": False,
    }
    assert by_label["..."] == {"url": None, "label": "...", "active": False}
    assert by_label["1"] == {"url": f"{LINKS_START}?page=1", "label": "1", "active": True}
    assert by_label["2"] == {"url": f"{LINKS_START}?page=2", "label": "2", "active": False}
    assert by_label["Next &raquo;"]["url"] == f"{LINKS_START}?page=2"


def test_single_case_and_list_show_a_case_alike(serve, connect):
    client = connect(serve(cases=12).url)
    for case in listed(client, perPage=12)["data"]:
        assert client.get(f"/cases/{case['id']}").json() == case


def test_crm_fields_come_as_a_bare_list_with_the_documented_keys(serve, connect):
    client = connect(serve(cases=50).url)
    fields = client.get("/crm-fields").json()

    assert {frozenset(field) for field in fields} == {frozenset(CRM_FIELD_KEYS)}
    assert None in [field["options"] for field in fields]
    known = {field["id"] for field in fields}
    used = {key for case in all_cases(client) if case["meta"] for key in case["meta"]}
    assert used
    assert used <= known


# -- pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "per_page", "rows", "first", "last", "pages"),
    [
        (1, 10, 10, 1, 10, 3),
        (2, 10, 10, 11, 20, 3),
        (3, 10, 3, 21, 23, 3),
        (1, 23, 23, 1, 23, 1),
        (23, 1, 1, 23, 23, 23),
        (4, 7, 2, 22, 23, 4),
    ],
)
def test_every_page_counts_its_rows_up_to_the_last(
    serve, connect, number, per_page, rows, first, last, pages
):
    page = listed(connect(serve(cases=23).url), page=number, perPage=per_page)

    assert len(page["data"]) == rows
    assert (page["current_page"], page["per_page"], page["total"]) == (number, per_page, 23)
    assert (page["from"], page["to"], page["last_page"]) == (first, last, pages)
    before = f"{LINKS_START}?page={number - 1}" if number > 1 else None
    after = f"{LINKS_START}?page={number + 1}" if number < pages else None
    assert (page["prev_page_url"], page["next_page_url"]) == (before, after)
    assert (page["links"][0]["url"], page["links"][-1]["url"]) == (before, after)


def test_a_page_past_the_end_is_an_empty_page(serve, connect):
    page = listed(connect(serve(cases=23).url), page=4)

    assert page["data"] == []
    assert (page["from"], page["to"]) == (None, None)
    assert (page["current_page"], page["last_page"], page["total"]) == (4, 3, 23)
    assert page["next_page_url"] is None


def test_an_account_without_cases_has_one_empty_page(serve, connect):
    page = listed(connect(serve(cases=0).url))

    assert (page["data"], page["total"], page["last_page"]) == ([], 0, 1)
    assert (page["from"], page["to"]) == (None, None)
    assert labels(page) == ["&laquo; Previous", "1", "Next &raquo;"]


def test_ten_cases_come_without_per_page_and_never_more_than_a_hundred(serve, connect):
    client = connect(serve(cases=120).url)

    assert (len(listed(client)["data"]), listed(client)["per_page"]) == (10, 10)
    assert len(listed(client, perPage=100)["data"]) == 100
    beyond = listed(client, perPage=101)
    assert (len(beyond["data"]), beyond["per_page"], beyond["last_page"]) == (100, 100, 2)


@pytest.mark.parametrize("per_page", [7, 10, 100])
def test_the_pages_together_hold_every_case_once_in_order_of_id(serve, connect, per_page):
    box = serve(cases=123)
    client = connect(box.url)
    last = listed(client, perPage=per_page)["last_page"]
    seen = [
        case_id
        for number in range(1, last + 1)
        for case_id in ids(listed(client, page=number, perPage=per_page))
    ]
    assert len(seen) == 123
    assert seen == sorted(set(seen))
    assert seen == box.store.ids


@pytest.mark.parametrize("name", ["page", "perPage"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "ten", "", "²"])
def test_a_page_that_is_no_positive_whole_number_is_refused(serve, connect, name, value):
    answer = connect(serve(cases=3).url).get("/cases", params={name: value})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [name]


def test_links_carry_no_more_than_the_page_whatever_was_asked(serve, connect):
    page = listed(
        connect(serve(cases=40).url), page=2, perPage=5, updatedAfter="2020-01-01 00:00:00"
    )
    urls = [page[name] for name in ("first_page_url", "last_page_url", "next_page_url")]
    urls += [link["url"] for link in page["links"] if link["url"]]

    assert len(urls) == 3 + 10  # previous, eight pages, next
    for url in urls:
        start, _, query = url.partition("?")
        assert start == LINKS_START
        assert query.removeprefix("page=").isdigit()


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (7, [*range(1, 11), "...", 39, 40]),
        (8, [1, 2, "...", *range(5, 12), "...", 39, 40]),
        (33, [1, 2, "...", *range(30, 37), "...", 39, 40]),
        (34, [1, 2, "...", *range(31, 41)]),
        (40, [1, 2, "...", *range(31, 41)]),
    ],
)
def test_the_pager_shows_both_ends_and_the_neighbours(serve, connect, number, shown):
    page = listed(connect(serve(cases=40).url), page=number, perPage=1)

    assert labels(page)[1:-1] == [str(label) for label in shown]
    assert [link["label"] for link in page["links"] if link["active"]] == [str(number)]


@pytest.mark.parametrize("pages", [1, 13])
def test_a_short_pager_has_no_dots(serve, connect, pages):
    page = listed(connect(serve(cases=pages).url), perPage=1)

    assert labels(page)[1:-1] == [str(number) for number in range(1, pages + 1)]


@pytest.mark.parametrize(("order", "place"), [("newest", 0), ("oldest", -1)])
def test_the_order_can_follow_the_last_change(serve, connect, order, place):
    box = serve(cases=9, order=order)
    touched = box.store.ids[4]
    box.store.change(touched, notes="changed")

    assert ids(listed(connect(box.url)))[place] == touched


# -- values ----------------------------------------------------------------------------------


def test_meta_is_an_empty_list_or_an_object_with_entries(serve, connect):
    metas = [case["meta"] for case in all_cases(connect(serve(cases=100).url))]

    assert {type(meta) for meta in metas} == {list, dict}
    for meta in metas:
        assert meta == [] or (isinstance(meta, dict) and meta)


@pytest.mark.parametrize(
    ("words", "kind", "values"), [(False, int, {0, 1}), (True, bool, {False, True})]
)
def test_flags_are_numbers_as_in_the_examples_or_words_as_in_the_schemas(
    serve, connect, words, kind, values
):
    cases = all_cases(connect(serve(cases=200, words_as_flags=words).url))
    flags = [case["is_active"] for case in cases]
    deceased = [
        customer["is_deceased"]
        for case in cases
        for customer in case["customers"]
        if "is_deceased" in customer
    ]

    assert {type(flag) for flag in (*flags, *deceased)} == {kind}
    assert set(flags) == values
    assert set(deceased) == values


def test_awkward_people_are_among_200_cases(serve, connect):
    cases = all_cases(connect(serve(cases=200).url))
    people = [customer for case in cases for customer in case["customers"]]

    assert {"Null", "O'Brien", "None", "NA"} <= {person["last_name"] for person in people}
    assert any((person["tel_1"] or "").startswith("0") for person in people)
    assert any(not person["first_names"].isascii() for person in people)
    assert any(not person["last_name"].isascii() for person in people)
    notes = [case["notes"] for case in cases]
    assert any("\n" in note for note in notes if note)
    assert None in notes
    assert "" in notes


def test_the_same_seed_gives_the_same_people_and_another_seed_others(serve, connect):
    first, again, other = (all_cases(connect(serve(cases=60, seed=seed).url)) for seed in (5, 5, 6))

    assert first == again
    assert not {case["id"] for case in first} & {case["id"] for case in other}
    assert [case["full_names"] for case in first] != [case["full_names"] for case in other]


# -- who may ask -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic c2FuZDpib3g="]
)
def test_without_a_valid_bearer_token_nothing_is_shown(serve, stranger, authorization):
    client = stranger(serve(cases=3).url)
    headers = {"Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization

    for path in ("/cases", "/cases/", "/crm-fields", "/cases/some-id"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json() == {"message": "Unauthenticated."}


def test_a_valid_token_counts_only_as_a_bearer_token(serve, connect):
    client = connect(serve(cases=3).url)
    token = client.headers["Authorization"].removeprefix("Bearer ")

    for authorization in (f"Basic {token}", token):
        answer = client.get("/cases", headers={"Authorization": authorization})
        assert answer.status_code == 401


def test_an_expired_token_is_refused(serve, connect):
    answer = connect(serve(cases=3, token_seconds=0).url).get("/cases")

    assert answer.status_code == 401
    assert answer.json() == {"message": "Unauthenticated."}


def test_a_token_of_another_account_is_refused(serve, connect):
    mine, theirs = connect(serve(cases=3).url), connect(serve(cases=3).url)
    mine.headers["Authorization"] = theirs.headers["Authorization"]

    assert theirs.get("/cases").status_code == 200
    assert mine.get("/cases").status_code == 401


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/token/"])
def test_a_token_comes_with_and_without_a_trailing_slash(serve, stranger, path):
    client = stranger(serve(cases=3, token_seconds=1200).url)
    answer = client.post(path, json=GRANT)

    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"token_type", "expires_in", "access_token"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 1200)
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {body['access_token']}",
    }
    assert client.get("/cases", headers=headers).status_code == 200


def test_a_second_token_leaves_the_first_valid(serve, connect, stranger):
    box = serve(cases=3)
    client = connect(box.url)
    second = stranger(box.url).post("/oauth/token", json=GRANT).json()["access_token"]

    assert client.headers["Authorization"] != f"Bearer {second}"
    assert client.get("/cases").status_code == 200


@pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "somebody-else"}])
def test_wrong_credentials_get_no_token(serve, stranger, wrong):
    answer = stranger(serve(cases=3).url).post("/oauth/token", json=GRANT | wrong)

    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    assert "access_token" not in answer.json()


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(GRANT | {"grant_type": "password"}),
        json.dumps({name: GRANT[name] for name in ("client_id", "client_secret")}),
        "{}",
        "{",
        "",
        "[]",
        "null",
    ],
)
def test_a_token_call_without_the_right_grant_is_a_bad_request(serve, stranger, body):
    answer = stranger(serve(cases=3).url).post(
        "/oauth/token", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.json()["error"] in {"unsupported_grant_type", "invalid_request"}


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_read_without_the_json_content_type_is_a_bad_request(serve, connect, kind):
    client = connect(serve(cases=3).url)
    del client.headers["Content-Type"]
    headers = {} if kind is None else {"Content-Type": kind}

    for path in ("/cases", "/crm-fields"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 400
        assert "Content-Type" in answer.json()["message"]


def test_a_content_type_may_name_its_charset(serve, connect):
    client = connect(serve(cases=3).url)
    client.headers["Content-Type"] = "application/json; charset=utf-8"

    assert client.get("/cases").status_code == 200


# -- filters ---------------------------------------------------------------------------------


def test_the_ref_filter_takes_the_whole_ref_in_any_case(serve, connect):
    client = connect(serve(cases=30).url)
    wanted = all_cases(client)[7]

    for ref in (wanted["ref"], wanted["ref"].lower()):
        assert ids(listed(client, ref=ref)) == [wanted["id"]]
    assert listed(client, ref=wanted["ref"][:-1])["total"] == 0
    assert listed(client, ref="no such ref")["data"] == []


def test_the_postcode_filter_looks_at_the_customers_and_not_at_the_case(serve, connect):
    box = serve(cases=30)
    client = connect(box.url)
    case = next(case for case in all_cases(client) if len(case["customers"]) > 1)
    first, *others = case["customers"]
    moved = {**others[0], "postcode": "QX9 9QQ"}
    box.store.change(case["id"], postcode="QX8 8QQ", customers=[first, moved, *others[1:]])

    for spelling in ("QX9 9QQ", "qx99qq", "Q X99Q Q"):
        assert ids(listed(client, postcode=spelling)) == [case["id"]]
    assert listed(client, postcode="QX8 8QQ")["total"] == 0
    assert listed(client, postcode="QX9 9Q")["total"] == 0


def test_the_postcode_filter_gives_all_cases_with_it_in_the_usual_order(serve, connect):
    client = connect(serve(cases=200).url)
    cases = all_cases(client)
    postcodes = [
        customer["postcode"] for case in cases for customer in case["customers"]
        if customer["postcode"]
    ]  # fmt: skip
    common = max(set(postcodes), key=postcodes.count)
    having = [
        case["id"]
        for case in cases
        if common in [customer["postcode"] for customer in case["customers"]]
    ]

    assert len(having) > 1
    assert ids(listed(client, postcode=common, perPage=100)) == having


def test_updated_after_includes_the_second_itself(serve, connect):
    box = serve(cases=30)
    client = connect(box.url)
    touched = box.store.ids[12]
    while True:  # until the change falls into a second we know
        second = datetime.now(UTC).replace(microsecond=0)
        box.store.change(touched, notes="changed just now")
        if datetime.now(UTC).replace(microsecond=0) == second:
            break

    assert ids(listed(client, updatedAfter=stamp(second))) == [touched]
    assert ids(listed(client, updatedAfter=stamp(second - timedelta(seconds=1)))) == [touched]
    assert listed(client, updatedAfter=stamp(second + timedelta(seconds=1)))["data"] == []


def test_the_account_has_a_history_that_updated_after_divides(serve, connect):
    client = connect(serve(cases=100).url)
    now = datetime.now(UTC)
    counts = [
        listed(client, updatedAfter=stamp(now - timedelta(days=days)))["total"]
        for days in (1, 250, 500, 750, 1001)
    ]

    assert counts[0] == 0
    assert counts[-1] == 100
    assert counts == sorted(set(counts))


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-20",
        "2024-07-20T10:00:00",
        "2024-07-20 10:00:00Z",
        "20/07/2024 10:00:00",
        "2024-02-30 10:00:00",
        "2024-07-20 24:00:00",
        "2024-7-20 1:00:00",
        "yesterday",
        "",
    ],
)
def test_a_moment_in_another_format_than_the_vendors_is_refused(serve, connect, text):
    answer = connect(serve(cases=3).url).get("/cases", params={"updatedAfter": text})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["updatedAfter"]


def test_filters_narrow_each_other(serve, connect):
    client = connect(serve(cases=60).url)
    here, there, *_ = (case for case in all_cases(client) if case["postcode"])

    assert ids(listed(client, ref=here["ref"], postcode=here["postcode"])) == [here["id"]]
    assert here["postcode"] != there["postcode"]
    assert listed(client, ref=here["ref"], postcode=there["postcode"])["data"] == []
    today = stamp(datetime.now(UTC) - timedelta(days=1))
    assert listed(client, ref=here["ref"], updatedAfter=today)["data"] == []


def test_pages_of_a_filtered_list_count_only_what_matches(serve, connect):
    client = connect(serve(cases=100).url)
    since = stamp(datetime.now(UTC) - timedelta(days=300))
    total = listed(client, updatedAfter=since)["total"]
    page = listed(client, updatedAfter=since, perPage=7, page=2)

    assert 7 < total < 100
    assert page["last_page"] == -(-total // 7)
    assert (page["from"], page["to"]) == (8, min(14, total))


# -- what isn't there ------------------------------------------------------------------------


def test_an_unknown_case_is_not_found_in_laravels_words(serve, connect):
    answer = connect(serve(cases=3).url).get("/cases/d57bc3b7-0000-4846-9741-000000000000")

    assert answer.status_code == 404
    assert answer.json().keys() == {"message"}
    assert answer.json()["message"].startswith("No query results for model [")


def test_a_deleted_case_vanishes_from_the_list_and_by_its_id(serve, connect):
    box = serve(cases=8)
    client = connect(box.url)
    gone = box.store.ids[3]
    assert client.get(f"/cases/{gone}").status_code == 200
    box.store.delete(gone)

    assert client.get(f"/cases/{gone}").status_code == 404
    page = listed(client)
    assert page["total"] == 7
    assert gone not in ids(page)


@pytest.mark.parametrize("path", ["/nowhere", "/crm-fields/", "/cases/some-id/", "/case"])
def test_an_unknown_path_is_not_found_without_a_word_whoever_asks(serve, stranger, path):
    answer = stranger(serve(cases=3).url).get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"message": ""}


def test_a_method_the_path_has_not_is_refused_in_json_with_those_it_has(serve, connect):
    answer = connect(serve(cases=3).url).put("/cases", json={})

    assert answer.status_code == 405
    assert "message" in answer.json()
    assert "GET" in answer.headers["allow"]


# -- the rate limit --------------------------------------------------------------------------


def test_a_rate_limit_counts_down_and_then_turns_away(serve, connect):
    client = connect(serve(cases=3, requests_per_minute=3).url)
    within = [client.get("/cases") for _ in range(3)]
    asked_at = time.time()
    beyond = client.get("/cases")

    assert [answer.status_code for answer in within] == [200, 200, 200]
    assert [answer.headers["x-ratelimit-limit"] for answer in within] == ["3", "3", "3"]
    assert [answer.headers["x-ratelimit-remaining"] for answer in within] == ["2", "1", "0"]
    assert beyond.status_code == 429
    assert beyond.json() == {"message": "Too Many Attempts."}
    assert beyond.headers["x-ratelimit-remaining"] == "0"
    wait_seconds = int(beyond.headers["retry-after"])
    assert 1 <= wait_seconds <= 60
    assert asked_at < int(beyond.headers["x-ratelimit-reset"]) <= asked_at + 62


def test_the_rate_limit_holds_for_all_reads_together_but_not_for_tokens(serve, connect):
    box = serve(cases=3, requests_per_minute=2)
    client, other = connect(box.url), connect(box.url)

    assert client.get("/crm-fields").status_code == 200
    assert other.get("/cases").status_code == 200
    assert client.get("/cases").status_code == 429
    assert client.post("/oauth/token", json=GRANT).status_code == 200


def test_a_refused_token_counts_and_a_refusal_for_haste_needs_none(serve, stranger):
    client = stranger(serve(cases=3, requests_per_minute=2).url)
    answers = [client.get("/cases") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert client.get("/nowhere").status_code == 404


def test_requests_for_tokens_have_a_limit_of_their_own(serve, connect):
    client = connect(serve(cases=3, requests_per_minute=1).url)
    answers = [client.post("/oauth/token", json=GRANT | {"client_secret": "x"}) for _ in range(60)]

    assert [answer.status_code for answer in answers] == [401] * 59 + [429]
    assert answers[-1].headers["x-ratelimit-limit"] == "60"
    assert client.get("/cases").status_code == 200


def test_without_a_rate_limit_no_header_speaks_of_one(serve, connect):
    answer = connect(serve(cases=3).url).get("/cases")

    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
    assert "retry-after" not in answer.headers


# -- our parser on bodies in the vendor's shape ----------------------------------------------


def documented_customer(case_id: str, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(sorted(CUSTOMER_KEYS - {"is_deceased"}))
    names = {"title": "Ms", "first_names": "Ada", "last_name": "Null", "gender": "female"}
    return {**empty, "id": "c-1", **names, "customer_case_id": case_id, **fields}


def documented_case(**fields: Any) -> dict[str, Any]:
    case_id = "11aa22bb-0000-4000-8000-00000000000z"
    return {
        "id": case_id,
        "ref": "invented-007",
        "first_names": "Bo",
        "last_names": "Null",
        "full_names": "Mr Bo Null",
        "email": "bo@example.org",
        "postcode": "",
        "meta": [],
        "notes": None,
        "is_active": 1,
        "customers": [
            documented_customer(case_id),
            documented_customer(
                case_id,
                id="c-2",
                title="Mr",
                first_names="Bo",
                gender="male",
                email="bo@example.org",
                is_deceased=0,
            ),
        ],
        **fields,
    }


def documented_page(*cases: dict[str, Any]) -> dict[str, Any]:
    def url(number: int) -> str:
        return f"{LINKS_START}?page={number}"

    def link(to: str | None, label: str, active: bool) -> dict[str, Any]:
        return {"url": to, "label": label, "active": active}

    return {
        "current_page": 1,
        "data": list(cases),
        "first_page_url": url(1),
        "from": 1,
        "last_page": 31,
        "last_page_url": url(31),
        "links": [
            link(None, "&laquo; Previous", False),
            link(url(1), "1", True),
            link(None, "...", False),
            link(url(31), "31", False),
            link(url(2), "Next &raquo;", False),
        ],
        "next_page_url": url(2),
        "path": LINKS_START,
        "per_page": 10,
        "prev_page_url": None,
        "to": 10,
        "total": 304,
    }


def decoded(body: dict[str, Any], **more: Any) -> Any:
    about = {"page": 1, "server_date": None, "fetch_number": 5, **more}
    return decode_page(json.dumps(body).encode(), **about)


def test_the_bodies_below_have_exactly_the_documented_keys():
    case = documented_case()
    page = documented_page(case)

    assert page.keys() == PAGE_KEYS
    assert {frozenset(link) for link in page["links"]} == {frozenset(LINK_KEYS)}
    assert case.keys() == CASE_KEYS
    assert [customer.keys() for customer in case["customers"]] == [
        CUSTOMER_KEYS - {"is_deceased"},
        CUSTOMER_KEYS,
    ]


def test_the_client_reads_a_list_in_the_documented_shape():
    page = decoded(documented_page(documented_case()))

    assert (page.page, page.per_page, page.last_page, page.total) == (1, 10, 31, 304)
    assert page.fetch_number == 5
    assert page.unknown_fields == {}
    [case] = page.cases
    assert (case.id, case.ref) == ("11aa22bb-0000-4000-8000-00000000000z", "invented-007")
    assert (case.first_names, case.last_names, case.full_names) == ("Bo", "Null", "Mr Bo Null")
    assert (case.email, case.postcode, case.notes) == ("bo@example.org", "", None)
    assert case.is_active == 1
    assert not case.meta


def test_the_client_tells_a_missing_deceased_flag_from_a_false_one():
    [case] = decoded(documented_page(documented_case())).cases
    first, second = case.customers

    assert first == Customer(
        id="c-1",
        title="Ms",
        first_names="Ada",
        last_name="Null",
        gender="female",
        customer_case_id=case.id,
    )
    assert first.is_deceased is None
    assert second.is_deceased == 0
    assert second.is_deceased is not None
    assert (second.id, second.title, second.email) == ("c-2", "Mr", "bo@example.org")


def test_the_client_reads_a_single_case_in_the_documented_shape():
    body = documented_case(first_names="Bo & Ada", notes="From the API\nin two lines", email="")
    # the get example has its keys in another order, and one customer whose flag is there
    order = ("id", "ref", "first_names", "last_names", "email", "postcode", "notes", "is_active")
    body = {name: body[name] for name in (*order, "meta", "full_names", "customers")}
    body["customers"] = [documented_customer(body["id"], marital_status="married", is_deceased=0)]
    assert body.keys() == CASE_KEYS

    case = decode_case(json.dumps(body).encode())

    assert (case.first_names, case.email) == ("Bo & Ada", "")
    assert case.notes == "From the API\nin two lines"
    assert case.is_active == 1
    assert not case.meta
    [customer] = case.customers
    assert (customer.last_name, customer.marital_status) == ("Null", "married")
    assert customer.is_deceased == 0


def test_the_client_reads_filled_meta_as_texts_by_field_id():
    meta = {"crm-1": "NO", "crm-2": "", "crm-3": "00420"}
    body = documented_case(meta=meta)

    assert decode_case(json.dumps(body).encode()).meta == meta
    assert decoded(documented_page(body)).cases[0].meta == meta


def test_the_client_keeps_meta_that_is_a_list_with_entries():
    body = documented_case(meta=["NO"])

    assert decode_case(json.dumps(body).encode()).meta == {"0": "NO"}
    assert decoded(documented_page(body)).unread_values == {"case.meta": 1}


def test_the_client_reads_words_where_the_schemas_promise_them():
    body = documented_case(is_active=False)
    body["customers"][1]["is_deceased"] = True

    case = decode_case(json.dumps(body).encode())

    assert case.is_active is False
    assert case.customers[1].is_deceased is True


def test_the_client_reads_an_empty_page_whose_from_and_to_are_null():
    empty = documented_page() | {"from": None, "to": None, "total": 0, "last_page": 1}
    page = decoded(empty)

    assert (page.cases, page.total, page.last_page) == ([], 0, 1)


def test_the_client_reads_crm_fields_with_and_without_options():
    body = [
        {"id": "crm-1", "field_label": "Extra telephone", "options": None},
        {"id": "crm-2", "field_label": "Plan", "options": ["YES", "NO"]},
        {"id": "crm-3", "field_label": "", "options": []},
    ]
    assert {frozenset(field) for field in body} == {frozenset(CRM_FIELD_KEYS)}

    assert decode_crm_fields(json.dumps(body).encode()) == [
        CrmField("crm-1", "Extra telephone", None),
        CrmField("crm-2", "Plan", ["YES", "NO"]),
        CrmField("crm-3", "", []),
    ]


def test_the_client_loses_nothing_of_what_the_sandbox_sends(serve, connect):
    client = connect(serve(cases=100).url)
    answer = client.get("/cases", params={"perPage": 100})
    page = decode_page(answer.content, page=1, server_date=None, fetch_number=1)

    assert page.unknown_fields == {}
    assert (page.total, page.per_page, page.last_page) == (100, 100, 1)
    for sent, read in zip(answer.json()["data"], page.cases, strict=True):
        texts = CASE_KEYS - {"meta", "customers"}
        assert {name: getattr(read, name) for name in texts} == {name: sent[name] for name in texts}
        assert (read.meta or []) == sent["meta"]
        for sent_customer, customer in zip(sent["customers"], read.customers, strict=True):
            assert {name: getattr(customer, name) for name in CUSTOMER_KEYS} == {
                "is_deceased": None,
                **sent_customer,
            }
