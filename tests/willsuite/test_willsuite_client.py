"""The client against the sandbox, and against raw servers for what the sandbox can't do."""

import asyncio
import logging
import pickle
import traceback
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.faults import Drip, Drop, Fault, Html, Status, Truncate
from sandbox.server import Options, Sandbox, running
from willsuite import CaseFilters, WillSuiteClient
from willsuite.errors import (
    AnswerLostError,
    AuthenticationError,
    ConfigurationError,
    ContractError,
    NotFoundError,
    NotJsonError,
    RateLimitedError,
    RejectedError,
    ServerError,
    TokenUnavailableError,
    UnreachableError,
    WillSuiteError,
)
from willsuite.retrying import MAX_ATTEMPTS
from willsuite.session import RATE_LIMIT_PATIENCE_SECONDS

POSTCODE = "QX9 9ZZ"
WRONG_SECRET = "wr0ng-value"


@pytest.fixture
def ask(settings_for, fake_time):
    """`await ask(url, lambda client: client.get_case(...))` with a client that never waits."""

    async def asking(url, use, **settings):
        async with WillSuiteClient(
            settings_for(url, **settings), clock=fake_time.clock, sleep=fake_time.sleep
        ) as client:
            return await use(client)

    return asking


def counted(sandbox, path) -> int:
    return sum(seen.path == path for seen in sandbox.requests)


async def first_page(client):
    return await client.get_cases_page(1)


async def crm_fields(client):
    return await client.get_crm_fields()


async def all_pages(client, **options):
    return [page async for page in client.iter_case_pages(**options)]


# -- what the endpoints give -------------------------------------------------------------------


def test_a_page_carries_its_cases_and_what_the_server_says_about_it(sandbox, ask):
    page = asyncio.run(ask(sandbox.url, lambda client: client.get_cases_page(2, per_page=20)))
    assert [case.id for case in page.cases] == sandbox.store.ids[20:40]
    assert (page.page, page.per_page, page.last_page, page.total) == (2, 20, 3, 50)
    assert page.unknown_fields == {}
    assert page.server_date.utcoffset() == timedelta(0)
    assert abs(page.server_date - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_page_past_the_end_is_empty(sandbox, ask):
    page = asyncio.run(ask(sandbox.url, lambda client: client.get_cases_page(4, per_page=20)))
    assert page.cases == []
    assert page.total == 50


def test_pages_are_asked_for_a_hundred_rows_at_a_time_unless_told_otherwise(sandbox, ask):
    asyncio.run(ask(sandbox.url, first_page))
    assert sandbox.requests[-1].query == {"page": "1", "perPage": "100"}


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        (CaseFilters(), {}),
        (CaseFilters(ref="WS 1&x=/ü"), {"ref": "WS 1&x=/ü"}),
        (CaseFilters(ref=""), {"ref": ""}),
        (CaseFilters(postcode=POSTCODE), {"postcode": POSTCODE}),
        (
            CaseFilters("a", "b", "2025-01-31 23:59:59"),
            {"ref": "a", "postcode": "b", "updatedAfter": "2025-01-31 23:59:59"},
        ),
    ],
)
def test_filters_go_out_under_their_wire_names_and_only_if_they_are_set(
    filters, query, sandbox, ask
):
    asyncio.run(ask(sandbox.url, lambda client: client.get_cases_page(1, filters=filters)))
    assert sandbox.requests[-1].path == "/cases"
    assert sandbox.requests[-1].query == {"page": "1", "perPage": "100", **query}


def test_a_filter_narrows_what_comes(sandbox, ask):
    filters = CaseFilters(ref="WS-000007")
    page = asyncio.run(ask(sandbox.url, lambda client: client.get_cases_page(1, filters=filters)))
    assert [case.ref for case in page.cases] == ["WS-000007"]


def test_the_pages_of_an_account_end_after_the_first_empty_one(sandbox, ask):
    pages = asyncio.run(ask(sandbox.url, lambda client: all_pages(client, per_page=20)))
    assert [len(page.cases) for page in pages] == [20, 20, 10]
    assert [case.id for page in pages for case in page.cases] == sandbox.store.ids
    assert counted(sandbox, "/cases") == 4


def test_a_full_last_page_is_not_taken_for_the_middle(sandbox, ask):
    pages = asyncio.run(ask(sandbox.url, lambda client: all_pages(client, per_page=25)))
    assert [len(page.cases) for page in pages] == [25, 25]


def test_filters_are_sent_with_every_page(sandbox, ask):
    filters = CaseFilters(updated_after="2000-01-01 00:00:00")
    pages = asyncio.run(
        ask(sandbox.url, lambda client: all_pages(client, per_page=25, filters=filters))
    )
    assert len(pages) == 2
    queries = [seen.query for seen in sandbox.requests if seen.path == "/cases"]
    assert [query["updatedAfter"] for query in queries] == ["2000-01-01 00:00:00"] * 3


def test_a_server_that_gives_fewer_rows_than_asked_for_is_read_to_the_end(ask):
    with running(Sandbox(Options(cases=50, max_per_page=15))) as sandbox:
        pages = asyncio.run(ask(sandbox.url, all_pages))
    assert [len(page.cases) for page in pages] == [15, 15, 15, 5]
    assert {page.per_page for page in pages} == {15}


def test_an_account_without_cases_has_no_pages(ask):
    with running(Sandbox(Options(cases=0))) as sandbox:
        assert asyncio.run(ask(sandbox.url, all_pages)) == []


def test_a_server_that_repeats_a_page_is_detected(raw_api, reply, ask):
    asked = []

    def respond(request):
        asked.append(request.target)
        return reply(200, {"data": [{"id": "c-1"}, {"id": "c-2"}]})

    async def scenario():
        pages = []

        async def use(client):
            async for page in client.iter_case_pages():
                pages.append(page)

        async with raw_api(respond) as url:
            with pytest.raises(ContractError, match="pages 1 and 2 alike"):
                await ask(url, use)
        return pages

    assert len(asyncio.run(scenario())) == 1
    assert len(asked) == 2


def test_a_case_comes_with_its_customers(sandbox, ask):
    wanted = sandbox.store.case(sandbox.store.ids[3])
    case = asyncio.run(ask(sandbox.url, lambda client: client.get_case(wanted["id"])))
    assert (case.id, case.ref, case.notes) == (wanted["id"], wanted["ref"], wanted["notes"])
    assert [person.last_name for person in case.customers] == [
        person["last_name"] for person in wanted["customers"]
    ]


def test_the_crm_fields_come_in_the_servers_order(sandbox, ask):
    fields = asyncio.run(ask(sandbox.url, crm_fields))
    assert [field.field_label for field in fields] == [
        "Lead source",
        "Will signed on",
        "Funeral plan",
        "Storage reference",
    ]
    assert fields[0].options == ["Referral", "Website", "Seminar"]
    assert fields[1].options is None


def test_fetch_numbers_rise_with_every_answer(sandbox, ask):
    pages = asyncio.run(ask(sandbox.url, lambda client: all_pages(client, per_page=10)))
    numbers = [page.fetch_number for page in pages]
    assert numbers == sorted(set(numbers))


# -- what is sent, and where -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "target"),
    [
        (first_page, "/cases?page=1&perPage=100"),
        (lambda client: client.get_case("c-1"), "/cases/c-1"),
        (crm_fields, "/crm-fields"),
    ],
    ids=["page", "case", "fields"],
)
def test_a_read_is_a_get_with_the_headers_the_vendor_demands(use, target, raw_api, reply, ask):
    seen = []

    def respond(request):
        seen.append(request)
        if request.target.startswith("/cases?"):
            return reply(200, {"data": []})
        return reply(200, [] if request.target == "/crm-fields" else {"id": "c-1"})

    async def scenario():
        async with raw_api(respond) as url:
            await ask(url, use)

    asyncio.run(scenario())
    (request,) = seen
    assert (request.method, request.target, request.body) == ("GET", target, b"")
    assert request.headers["authorization"] == "Bearer raw-token"
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-type"] == "application/json"


def test_no_other_host_is_asked_although_the_body_names_one(raw_api, raw_server, reply, ask):
    async def scenario():
        elsewhere = []
        async with raw_server(elsewhere.append) as other:

            def respond(request):
                number = int(request.target.split("page=")[1].split("&")[0])
                link = f"{other}/cases?page={number + 1}"
                return reply(
                    200,
                    {
                        "data": [{"id": f"c-{number}"}] if number < 3 else [],
                        "path": f"{other}/cases",
                        "next_page_url": link,
                        "links": [{"url": link, "label": "Next", "active": False}],
                    },
                    link=f'<{link}>; rel="next"',
                )

            async with raw_api(respond) as url:
                pages = await ask(url, all_pages)
        assert [page.cases[0].id for page in pages] == ["c-1", "c-2"]
        assert elsewhere == []

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_matter_of_configuration_and_is_not_followed(
    status, raw_api, raw_server, reply, ask
):
    async def scenario():
        elsewhere, asked = [], []
        async with raw_server(elsewhere.append) as other:

            def respond(request):
                asked.append(request)
                return reply(status, location=f"{other}/login")

            async with raw_api(respond) as url:
                with pytest.raises(ConfigurationError, match="WILLSUITE_BASE_URL"):
                    await ask(url, lambda client: client.get_case("c-1"))
        assert len(asked) == 1
        assert elsewhere == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "case_id",
    [
        *("", ".", "..", "../x", "a/b", "%2e%2e", "a%2Fb", "a?b", "a#b", "a b", "a\n", "-a", "é"),
        *("a.b", "x" * 65, "http://elsewhere.example"),
    ],
)
def test_an_id_that_could_lead_elsewhere_is_refused_before_any_request(case_id, sandbox, ask):
    with pytest.raises(ContractError):
        asyncio.run(ask(sandbox.url, lambda client: client.get_case(case_id)))
    assert sandbox.requests == []


def test_the_token_is_fetched_from_the_configured_address(sandbox, raw_server, reply, ask):
    async def scenario():
        async with raw_server(lambda _: reply(200, {"access_token": "elsewhere"})) as other:
            sandbox.tokens["elsewhere"] = float("inf")
            await ask(sandbox.url, crm_fields, token_url=f"{other}/token")

    asyncio.run(scenario())
    assert [seen.path for seen in sandbox.requests] == ["/crm-fields"]


# -- faults that pass --------------------------------------------------------------------------

READS = {
    "page": ("/cases", lambda client, _id: client.get_cases_page(1)),
    "case": ("/cases/*", lambda client, case_id: client.get_case(case_id)),
    "fields": ("/crm-fields", lambda client, _id: client.get_crm_fields()),
}

PASSING = [
    Status(500),
    Status(500, body="<h1>Whoops</h1>"),
    Status(502),
    Status(503, {"Retry-After": "3"}),
    Status(504),
    Status(429),
    Status(429, {"Retry-After": "3"}),
    Status(401),
    Drop(),
    Truncate(),
    Truncate(share=0.0),
    Truncate(announced=False),
    Truncate(share=0.0, announced=False),
    Html(),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("action", PASSING, ids=repr)
def test_a_fault_that_passes_is_healed_by_one_more_request(action, read, sandbox, ask):
    path, use = READS[read]
    sandbox.faults.append(fault := Fault(action, path=path))
    case_id = sandbox.store.ids[0]
    healed = asyncio.run(ask(sandbox.url, lambda client: use(client, case_id)))
    assert healed
    assert fault.played == 1
    reads = [seen for seen in sandbox.requests if seen.method == "GET"]
    assert len(reads) == 2
    assert reads[0] == reads[1]


@pytest.mark.parametrize("action", PASSING, ids=repr)
def test_every_case_arrives_whatever_happens_to_one_page(action, sandbox, ask):
    sandbox.faults.append(fault := Fault(action, path="/cases", page=3))
    pages = asyncio.run(ask(sandbox.url, lambda client: all_pages(client, per_page=10)))
    assert [case.id for page in pages for case in page.cases] == sandbox.store.ids
    assert fault.played == 1


def test_an_answer_that_drips_past_the_deadline_is_asked_for_again(sandbox, ask):
    sandbox.faults.append(fault := Fault(Drip(bytes_per_second=100), path="/crm-fields"))
    fields = asyncio.run(ask(sandbox.url, crm_fields, read_timeout_seconds=0.25))
    assert len(fields) == 4
    assert fault.played == 1


def test_a_page_cut_without_an_announced_length_is_asked_for_again(raw_api, reply, ask):
    answers = iter([b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"id"', b""])

    def respond(request):
        if cut := next(answers):
            request.writer.write(cut)
            return None
        return reply(200, {"data": [{"id": "c-1"}]})

    async def scenario():
        async with raw_api(respond) as url:
            return await ask(url, first_page)

    assert [case.id for case in asyncio.run(scenario()).cases] == ["c-1"]


def test_the_wait_a_503_asks_for_is_kept(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(503, {"Retry-After": "7"}), path="/crm-fields"))
    asyncio.run(ask(sandbox.url, crm_fields))
    (wait,) = fake_time.slept
    assert wait >= 7


def test_more_429s_than_attempts_are_waited_out(sandbox, ask, fake_time):
    times = MAX_ATTEMPTS + 3
    sandbox.faults.append(Fault(Status(429, {"Retry-After": "5"}), path="/cases", times=times))
    page = asyncio.run(ask(sandbox.url, first_page))
    assert len(page.cases) == 50
    assert counted(sandbox, "/cases") == times + 1
    assert len(fake_time.slept) == times
    assert min(fake_time.slept) >= 5


# -- faults that stay --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (Status(500), ServerError),
        (Status(503, body=""), ServerError),
        (Drop(), AnswerLostError),
        (Truncate(), AnswerLostError),
        (Truncate(announced=False), NotJsonError),
        (Html(), NotJsonError),
    ],
    ids=repr,
)
def test_a_fault_that_stays_ends_after_the_last_attempt(action, error, sandbox, ask, fake_time):
    sandbox.faults.append(Fault(action, path="/cases", times=None))
    with pytest.raises(WillSuiteError) as raised:
        asyncio.run(ask(sandbox.url, first_page))
    assert type(raised.value) is error
    assert counted(sandbox, "/cases") == MAX_ATTEMPTS
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1
    assert min(fake_time.slept) > 0


def test_the_status_of_a_server_error_is_kept(sandbox, ask):
    sandbox.faults.append(Fault(Status(502), path="/crm-fields", times=None))
    with pytest.raises(ServerError, match="502") as raised:
        asyncio.run(ask(sandbox.url, crm_fields))
    assert raised.value.status == 502


def test_a_case_that_is_not_there_is_not_asked_for_twice(sandbox, ask):
    with pytest.raises(NotFoundError, match=r"GET /cases/\{caseId\}") as raised:
        asyncio.run(ask(sandbox.url, lambda client: client.get_case("no-such-case")))
    assert raised.value.status == 404
    assert counted(sandbox, "/cases/no-such-case") == 1


@pytest.mark.parametrize("status", [400, 403, 405, 409, 422])
def test_a_refused_request_is_not_sent_again_and_its_body_is_not_repeated(status, sandbox, ask):
    body = '{"message": "Mrs Okafor is not yours"}'
    sandbox.faults.append(Fault(Status(status, body=body), path="/cases", times=None))
    with pytest.raises(RejectedError, match=f"status {status}") as raised:
        asyncio.run(ask(sandbox.url, first_page))
    assert raised.value.status == status
    assert "Okafor" not in "".join(traceback.format_exception(raised.value))
    assert counted(sandbox, "/cases") == 1


@pytest.mark.parametrize("status", [201, 202, 203])
def test_a_success_that_is_not_the_documented_one_is_no_case(status, sandbox, ask):
    sandbox.faults.append(Fault(Status(status, body='{"id": "c-1"}'), path="/cases/*"))
    with pytest.raises(WillSuiteError):
        asyncio.run(ask(sandbox.url, lambda client: client.get_case(sandbox.store.ids[0])))


def test_a_server_that_refuses_connections_is_unreachable(ask, unused_tcp_port, fake_time, sandbox):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with pytest.raises(UnreachableError):
        asyncio.run(ask(url, crm_fields, token_url=f"{sandbox.url}/oauth/token"))
    assert len(fake_time.slept) == MAX_ATTEMPTS - 1
    assert counted(sandbox, "/oauth/token") == 1


def test_a_429_that_asks_for_a_day_ends_the_run_at_once(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(429, {"Retry-After": "86400"}), path="/cases", times=None))
    with pytest.raises(RateLimitedError, match="86400 seconds"):
        asyncio.run(ask(sandbox.url, first_page))
    assert counted(sandbox, "/cases") == 1
    assert fake_time.slept == []


@pytest.mark.parametrize(("header", "most"), [({"Retry-After": "100"}, 12), ({}, 250)])
def test_429s_without_end_are_given_up_when_patience_is(header, most, sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(429, header), path="/crm-fields", times=None))
    started = fake_time.now
    with pytest.raises(RateLimitedError, match="start the run later"):
        asyncio.run(ask(sandbox.url, crm_fields))
    waited = fake_time.now - started
    assert RATE_LIMIT_PATIENCE_SECONDS < waited < RATE_LIMIT_PATIENCE_SECONDS + 125
    assert 2 < counted(sandbox, "/crm-fields") < most


# -- tokens ------------------------------------------------------------------------------------


def test_a_401_fetches_one_new_token_and_sends_the_request_once_more(sandbox, ask):
    sandbox.faults.append(Fault(Status(401), path="/crm-fields"))
    asyncio.run(ask(sandbox.url, crm_fields))
    assert [seen.path for seen in sandbox.requests] == [
        "/oauth/token",
        "/crm-fields",
        "/oauth/token",
        "/crm-fields",
    ]


def test_a_fresh_token_that_is_refused_once_too_ends_no_read(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(401), path="/crm-fields", times=2))
    asyncio.run(ask(sandbox.url, crm_fields))
    assert counted(sandbox, "/crm-fields") == 3
    (pause,) = fake_time.slept  # another machine of theirs may not know the token yet
    assert pause > 0


def test_three_401s_in_a_row_mean_that_the_credentials_are_refused(sandbox, ask, fake_time):
    sandbox.faults.append(Fault(Status(401), path="/crm-fields", times=None))
    with pytest.raises(AuthenticationError, match="fresh access token"):
        asyncio.run(ask(sandbox.url, crm_fields))
    assert counted(sandbox, "/crm-fields") == 3
    assert counted(sandbox, "/oauth/token") == 3
    assert len(fake_time.slept) == 1


def test_a_read_refused_under_every_token_ends_although_other_reads_go_well(raw_server, reply, ask):
    async def scenario():
        tokens, refused = [], []
        proven = asyncio.Event()

        async def respond(request):
            if request.target == "/oauth/token":
                tokens.append(f"t-{len(tokens)}")
                proven.clear()
                return reply(200, {"access_token": tokens[-1]})
            if request.target == "/crm-fields":
                proven.set()
                return reply(200, [])
            refused.append(request)
            await asyncio.wait_for(proven.wait(), 5)  # another read has used this token by now
            await asyncio.sleep(0.005)
            return reply(401, {"message": "Unauthenticated."})

        async def use(client):
            bad = asyncio.create_task(client.get_case("bad"))
            while not bad.done() and len(refused) < 20:
                await client.get_crm_fields()
            assert bad.done(), "it still asks for token after token"
            with pytest.raises(AuthenticationError):
                await bad

        async with raw_server(respond) as url:
            await ask(url, use)
        assert len(refused) <= MAX_ATTEMPTS

    asyncio.run(scenario())


def test_a_token_that_worked_and_expired_is_replaced_a_second_time_under_one_read(
    raw_server, reply, ask
):
    async def scenario():
        tokens, asked = [], []

        async def respond(request):
            if request.target == "/oauth/token":
                tokens.append(f"Bearer t-{len(tokens)}")
                return reply(200, {"access_token": tokens[-1].removeprefix("Bearer ")})
            asked.append(request.headers["authorization"])
            if asked[-1] == tokens[0]:
                return reply(401)
            if asked[-1] == tokens[1]:  # it works once, is limited, and has expired after that
                return reply(429, retry_after="5") if asked.count(tokens[1]) == 1 else reply(401)
            return reply(200, {"id": "c-1"})

        async with raw_server(respond) as url:
            case = await ask(url, lambda client: client.get_case("c-1"))
        assert case.id == "c-1"
        assert len(tokens) == 3

    asyncio.run(scenario())


def test_a_token_that_expires_under_sixteen_reads_is_replaced_once(sandbox, ask):
    async def use(client):
        await client.get_crm_fields()
        sandbox.tokens.clear()
        ids = sandbox.store.ids[:16]
        cases = await asyncio.gather(*(client.get_case(case_id) for case_id in ids))
        assert [case.id for case in cases] == ids

    asyncio.run(ask(sandbox.url, use, max_concurrency=16))
    assert counted(sandbox, "/oauth/token") == 2


def test_one_token_serves_a_whole_run(sandbox, ask):
    async def use(client):
        await asyncio.gather(*(client.get_case(case_id) for case_id in sandbox.store.ids))

    asyncio.run(ask(sandbox.url, use))
    assert counted(sandbox, "/oauth/token") == 1


def test_wrong_credentials_end_before_any_read(sandbox, ask):
    with pytest.raises(AuthenticationError, match="invalid_client") as raised:
        asyncio.run(ask(sandbox.url, crm_fields, client_secret=WRONG_SECRET))
    assert WRONG_SECRET not in "".join(traceback.format_exception(raised.value))
    assert [seen.path for seen in sandbox.requests] == ["/oauth/token"]


def test_a_token_endpoint_that_stays_down_is_not_retried_twice_over(sandbox, ask):
    sandbox.faults.append(Fault(Status(500), path="/oauth/token", times=None))
    with pytest.raises(TokenUnavailableError):
        asyncio.run(ask(sandbox.url, crm_fields))
    assert counted(sandbox, "/oauth/token") == MAX_ATTEMPTS
    assert counted(sandbox, "/crm-fields") == 0


# -- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_no_more_requests_are_under_way_than_max_concurrency(limit, raw_api, reply, ask):
    async def scenario():
        now, peak = 0, 0
        full = asyncio.Event()

        async def respond(request):
            nonlocal now, peak
            now += 1
            peak = max(peak, now)
            if now >= limit:
                full.set()
            await asyncio.wait_for(full.wait(), 5)
            await asyncio.sleep(0.005)  # time for one too many to come
            now -= 1
            return reply(200, {"id": request.target.removeprefix("/cases/")})

        async def use(client):
            await asyncio.gather(*(client.get_case(f"c-{number}") for number in range(24)))

        async with raw_api(respond) as url:
            await ask(url, use, max_concurrency=limit)
        return peak

    assert asyncio.run(scenario()) == limit


def test_a_limit_the_server_announces_is_never_overrun(raw_api, reply, ask):
    async def scenario():
        left, refused, done = 10, 0, 0

        async def respond(_request):
            nonlocal left, refused, done
            if left == 0:
                refused += 1
                left = 10  # the next window
                return reply(429, retry_after="30", x_ratelimit_remaining="0")
            left -= 1
            done += 1
            remaining = left
            await asyncio.sleep(0.002)
            return reply(200, {"id": "c-1"}, x_ratelimit_remaining=str(remaining))

        async def use(client):
            await client.get_case("c-1")
            await asyncio.gather(*(client.get_case("c-1") for _ in range(34)))

        async with raw_api(respond) as url:
            await ask(url, use, max_concurrency=16)
        return done, refused

    # 35 reads need 4 windows of 10: at most one 429 marks the end of each
    done, refused = asyncio.run(scenario())
    assert done == 35
    assert refused <= 4


def test_a_cancelled_read_gives_its_slot_back(raw_api, reply, ask):
    async def scenario():
        arrived = asyncio.Event()

        async def respond(request):
            if request.target == "/cases/stuck":
                arrived.set()
                await asyncio.sleep(60)
            return reply(200, {"id": "c-1"}, x_ratelimit_remaining="0")

        async def use(client):
            await client.get_case("first")  # from now on one request at a time may ask
            stuck = asyncio.create_task(client.get_case("stuck"))
            await arrived.wait()
            queued = asyncio.create_task(client.get_case("queued"))
            await asyncio.sleep(0)
            for task in (stuck, queued):
                task.cancel()
            gathered = await asyncio.gather(stuck, queued, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in gathered)
            return await asyncio.wait_for(client.get_case("c-1"), 5)

        async with raw_api(respond) as url:
            return await ask(url, use, max_concurrency=1)

    assert asyncio.run(scenario()).id == "c-1"


# -- what nobody may read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [Status(500), Status(400), Status(404), Status(302), Status(401), Drop(), Truncate(), Html()],
    ids=repr,
)
def test_no_error_and_no_log_holds_a_filter_or_a_token(action, sandbox, ask, caplog):
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    sandbox.faults.append(Fault(action, path="/cases", times=None))
    filters = CaseFilters(postcode=POSTCODE)
    with pytest.raises(WillSuiteError) as raised:
        asyncio.run(ask(sandbox.url, lambda client: client.get_cases_page(1, filters=filters)))
    text = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert "QX9" not in text
    assert "9ZZ" not in text
    assert sandbox.tokens
    assert not any(token in text for token in sandbox.tokens)


@pytest.mark.parametrize(
    "error", [ServerError("why", 500), NotFoundError("why", 404), AnswerLostError("why")]
)
def test_an_error_survives_the_way_through_another_process(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), "why", vars(error))
