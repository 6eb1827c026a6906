"""Each scripted fault over the socket, which requests it meets, and starting the sandbox."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.faults import Change, Drip, Drop, Fault, Html, Status, Truncate
from sandbox.server import CLIENT_ID, CLIENT_SECRET, Options, Sandbox

REPOSITORY = Path(__file__).parents[2]


def statuses(client: httpx.Client, *paths: str) -> list[int]:
    return [client.get(path).status_code for path in paths]


class Wire:
    """One request, byte by byte, on a connection of its own."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        url = urlsplit(str(client.base_url))
        self._socket = socket.create_connection((url.hostname, url.port), timeout=10)
        self._socket.sendall(
            f"GET {url.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            f"Content-Type: application/json\r\n"
            f"Authorization: {client.headers.get('Authorization', '')}\r\n\r\n".encode()
        )

    def to_the_end(self) -> tuple[list[bytes], str]:
        """What arrived, piece by piece, and how it ended: `closed` or `reset`."""
        pieces: list[bytes] = []
        with self._socket:
            while True:
                try:
                    piece = self._socket.recv(65_536)
                except ConnectionResetError:
                    return pieces, "reset"
                if not piece:
                    return pieces, "closed"
                pieces.append(piece)


def headers_and_body(pieces: list[bytes]) -> tuple[dict[str, str], bytes]:
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body


def plain_connection(client: httpx.Client) -> http.client.HTTPConnection:
    url = urlsplit(str(client.base_url))
    return http.client.HTTPConnection(url.hostname, url.port, timeout=10)


# -- what a fault does -----------------------------------------------------------------------


def test_a_status_comes_instead_of_the_answer(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(503, {"Retry-After": "7"})))
    answer = client.get("/cases")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"message": "Server Error"}


def test_a_status_can_bring_a_page_for_people(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(502, body="<h1>Bad Gateway</h1>")))
    answer = client.get("/cases")

    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text == "<h1>Bad Gateway</h1>"


def test_html_is_a_log_in_page_with_status_200(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Html()))
    answer = client.get("/cases")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!doctype html>")
    assert "log in" in answer.text


def test_drop_resets_the_connection_before_any_byte_of_an_answer(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Drop()))
    pieces, end = Wire(client, "/cases").to_the_end()

    assert pieces == []
    assert end == "reset"


def test_after_a_drop_the_next_request_is_answered(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Drop()))
    dropped = plain_connection(client)
    dropped.request("GET", "/engine/api/cases", headers=dict(client.headers))
    with pytest.raises(ConnectionError):  # RemoteDisconnected is one
        dropped.getresponse()

    assert client.get("/cases").status_code == 200
    assert [seen.path for seen in box.requests] == ["/oauth/token", "/cases", "/cases"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_truncate_sends_less_than_it_announced(serve, connect, share):
    box = serve(cases=3)
    client = connect(box.url)
    whole = client.get("/cases").content
    box.faults.append(Fault(Truncate(share)))
    connection = plain_connection(client)
    connection.request("GET", "/engine/api/cases", headers=dict(client.headers))
    answer = connection.getresponse()

    assert answer.status == 200
    assert answer.getheader("Content-Length") == str(len(whole))
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert cut.value.partial == whole[: int(len(whole) * share)]


def test_truncate_without_a_length_looks_like_a_whole_answer_to_http(serve, connect):
    # reliability.md, row 9: only the reader of the body can notice this one
    box = serve(cases=3)
    client = connect(box.url)
    whole = client.get("/cases").content
    box.faults.append(Fault(Truncate(announced=False)))
    pieces, end = Wire(client, "/cases").to_the_end()
    headers, body = headers_and_body(pieces)

    assert end == "closed"
    assert "content-length" not in headers
    assert "transfer-encoding" not in headers
    assert body == whole[: len(whole) // 2]
    with pytest.raises(ValueError, match=r"."):
        json.loads(body)


def test_an_http_client_reads_a_cut_answer_without_a_length_and_sees_no_error(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    whole = client.get("/cases").content
    box.faults.append(Fault(Truncate(announced=False)))
    answer = client.get("/cases")

    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]


def test_drip_sends_the_whole_answer_at_the_given_pace(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    whole = client.get("/crm-fields").content
    box.faults.append(Fault(Drip(bytes_per_second=2000)))
    started = time.monotonic()
    answer = client.get("/crm-fields")
    took_seconds = time.monotonic() - started

    assert answer.status_code == 200
    assert answer.content == whole
    assert took_seconds >= (len(whole) - 20) / 2000


def test_drip_sends_a_few_bytes_at_a_time(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    whole = client.get("/cases/" + box.store.ids[0]).content
    box.faults.append(Fault(Drip(bytes_per_second=5000)))
    arrivals = []
    with client.stream("GET", "/cases/" + box.store.ids[0]) as answer:
        for piece in answer.iter_raw():
            arrivals.append(piece)

    assert b"".join(arrivals) == whole
    assert len(arrivals) > 5


@pytest.mark.parametrize("action", [Truncate(1.0), Drip(1_000_000)])
def test_a_disturbed_answer_keeps_the_status_it_would_have_had(serve, connect, action):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(action))
    answer = client.get("/cases/no-such-case")

    assert answer.status_code == 404
    assert answer.json()["message"].startswith("No query results")


@pytest.mark.parametrize("action", [Truncate(1.0), Drip(1_000_000)])
def test_a_disturbed_answer_keeps_its_headers(serve, connect, action):
    box = serve(cases=3, requests_per_minute=10)
    client = connect(box.url)
    box.faults.append(Fault(action))
    answer = client.get("/cases")

    assert answer.headers["x-ratelimit-remaining"] == "9"


def test_change_alters_the_data_before_the_answer_is_made(serve, connect):
    box = serve(cases=5)
    client = connect(box.url)
    first, second, *_ = box.store.ids
    box.faults.append(Fault(Change(lambda store: store.delete(first)), path="/cases"))
    box.faults.append(Fault(Change(lambda store: store.change(second, notes="now")), path="/cases"))
    before, after = (client.get("/cases").json() for _ in range(2))

    assert (before["total"], before["data"][0]["id"]) == (4, second)
    assert before["data"][0]["notes"] != "now"
    assert after["data"][0]["notes"] == "now"
    assert client.get(f"/cases/{first}").status_code == 404


def test_a_changed_case_counts_as_updated_now(serve, connect):
    box = serve(cases=5)
    client = connect(box.url)
    touched = box.store.ids[2]
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - 60))
    box.faults.append(Fault(Change(lambda store: store.change(touched, ref="NEW")), skip=1))

    assert client.get("/cases", params={"updatedAfter": since}).json()["total"] == 0
    [case] = client.get("/cases", params={"updatedAfter": since}).json()["data"]
    assert (case["id"], case["ref"]) == (touched, "NEW")


def test_a_case_put_in_meanwhile_takes_its_place_in_the_order(serve, connect):
    box = serve(cases=5)
    client = connect(box.url)
    new = {**box.store.case(box.store.ids[0]), "id": "00000000-new", "ref": "NEW", "meta": {}}
    box.faults.append(Fault(Change(lambda store: store.put(new))))
    page = client.get("/cases").json()

    assert page["total"] == 6
    assert page["data"][0] == {**new, "meta": []}


# -- which request a fault meets -------------------------------------------------------------


def test_a_fault_is_played_once_unless_told_otherwise(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500)))

    assert statuses(client, "/cases", "/cases", "/cases") == [500, 200, 200]
    assert box.faults[0].played == 1


def test_times_says_how_often_a_fault_is_played(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500), times=3))

    assert statuses(client, *["/cases"] * 5) == [500, 500, 500, 200, 200]


def test_without_times_a_fault_never_ends(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500), times=None))

    assert statuses(client, *["/cases"] * 20) == [500] * 20


def test_skip_lets_the_first_requests_through(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500), skip=2, times=2))

    assert statuses(client, *["/cases"] * 6) == [200, 200, 500, 500, 200, 200]


def test_skip_counts_only_requests_that_the_fault_would_meet(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500), path="/cases", skip=1))

    paths = ["/crm-fields", "/crm-fields", "/cases", "/crm-fields", "/cases", "/cases"]
    assert statuses(client, *paths) == [200, 200, 200, 200, 500, 200]


def test_page_picks_the_requests_for_that_page(serve, connect):
    box = serve(cases=30)
    client = connect(box.url)
    box.faults.append(Fault(Status(500), page=2, times=None))

    paths = [
        "/cases",
        "/cases?page=1",
        "/cases?perPage=5&page=2",
        "/cases?page=20",
        "/cases?page=2",
    ]
    assert statuses(client, *paths) == [200, 200, 500, 200, 500]


def test_path_is_a_shell_pattern_below_the_base_path(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    one = f"/cases/{box.store.ids[0]}"
    for pattern, hit in {
        "/cases": [500, 200, 200],
        "/cases/*": [200, 500, 200],
        "/cases*": [500, 500, 200],
        "/crm-fields": [200, 200, 500],
        "*": [500, 500, 500],
        "/engine/api/cases": [200, 200, 200],
    }.items():
        box.faults[:] = [Fault(Status(500), path=pattern, times=None)]
        assert statuses(client, "/cases", one, "/crm-fields") == hit, pattern


def test_method_picks_the_requests_with_that_method(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500), method="POST", times=None))

    assert client.get("/cases").status_code == 200
    assert client.post("/oauth/token", json={}).status_code == 500
    box.faults[:] = [Fault(Status(500), method="GET", times=None)]
    assert client.get("/cases").status_code == 500
    assert client.post("/oauth/token", json={}).status_code == 400


def test_of_several_faults_the_first_that_matches_and_is_not_used_up_is_played(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults += [
        Fault(Status(501), path="/crm-fields"),
        Fault(Status(502), path="/cases"),
        Fault(Status(503), times=2),
    ]

    paths = ["/cases", "/cases", "/crm-fields", "/crm-fields", "/cases"]
    assert statuses(client, *paths) == [502, 503, 501, 503, 200]


def test_a_fault_needs_no_token(serve, stranger):
    box = serve(cases=3)
    box.faults.append(Fault(Status(503)))

    assert statuses(stranger(box.url), "/cases", "/cases") == [503, 401]


def test_the_sandbox_remembers_the_requests_it_has_seen(serve, connect):
    box = serve(cases=3)
    client = connect(box.url)
    box.faults.append(Fault(Status(500)))
    client.get("/cases", params={"page": 2, "ref": "a b"})

    token, page = box.requests
    assert (token.method, token.path) == ("POST", "/oauth/token")
    assert (page.method, page.path) == ("GET", "/cases")
    assert page.query == {"page": "2", "ref": "a b"}
    assert page.host == urlsplit(box.url).netloc


def test_latency_comes_before_every_answer(serve, connect):
    client = connect(serve(cases=3, latency_ms=60).url)
    started = time.monotonic()
    assert client.get("/cases").status_code == 200
    assert time.monotonic() - started >= 0.06


# -- python -m sandbox -----------------------------------------------------------------------


class Served:
    """`python -m sandbox` in a process of its own, and the three lines it has printed."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", *arguments],
            cwd=REPOSITORY,
            # the lines must come at once also where Python holds output back
            env={name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = [self.process.stdout.readline().rstrip("\n") for _ in range(3)]

    @property
    def printed(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.lines)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[type[Served]]:
    started: list[Served] = []

    def begin(*arguments: str) -> Served:
        started.append(Served(*arguments))
        return started[-1]

    yield begin
    for served in started:
        served.end()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def token_of(client: httpx.Client, printed: dict[str, str]) -> dict[str, str | int]:
    answer = client.post(
        "/oauth/token",
        json={
            "grant_type": "client_credentials",
            "client_id": printed["WILLSUITE_CLIENT_ID"],
            "client_secret": printed["WILLSUITE_CLIENT_SECRET"],
        },
    )
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_what_it_prints_until_a_signal_ends_it(start, number):
    port = free_port()
    served = start("--port", str(port), "--cases", "20")

    assert served.printed == {
        "WILLSUITE_BASE_URL": f"http://127.0.0.1:{port}/engine/api",
        "WILLSUITE_CLIENT_ID": CLIENT_ID,
        "WILLSUITE_CLIENT_SECRET": CLIENT_SECRET,
    }
    with httpx.Client(base_url=served.printed["WILLSUITE_BASE_URL"]) as client:
        token = token_of(client, served.printed)["access_token"]
        page = client.get(
            "/cases",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        assert page.status_code == 200
        assert (page.json()["total"], len(page.json()["data"])) == (20, 10)
        served.process.send_signal(number)  # while the client's connection is still open
        assert served.process.wait(timeout=5) == 0
    rest, complaints = served.process.communicate()
    assert rest == ""
    assert complaints == ""


def test_port_0_takes_a_free_port_and_prints_it(start):
    served = start("--port", "0", "--cases", "1")
    url = served.printed["WILLSUITE_BASE_URL"]

    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/engine/api", url)
    assert httpx.post(f"{url}/oauth/token", json={}).status_code == 400


def test_the_commands_options_reach_the_sandbox(start):
    served = start(
        *("--port", "0", "--cases", "4", "--seed", "7", "--latency-ms", "30"),
        *("--requests-per-minute", "9", "--token-seconds", "60"),
    )
    with httpx.Client(base_url=served.printed["WILLSUITE_BASE_URL"]) as client:
        token = token_of(client, served.printed)
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        client.headers["Content-Type"] = "application/json"
        started = time.monotonic()
        page = client.get("/cases")
        took_seconds = time.monotonic() - started

    assert token["expires_in"] == 60
    assert page.headers["x-ratelimit-limit"] == "9"
    assert took_seconds >= 0.03
    expected = Sandbox(Options(cases=4, seed=7)).store.ids
    assert [case["id"] for case in page.json()["data"]] == expected


def test_a_port_in_use_is_said_in_one_line_and_ends_with_code_1(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = start("--port", str(port), "--cases", "1")
        _, complaint = served.process.communicate(timeout=20)

    assert served.process.returncode == 1
    assert served.lines == ["", "", ""]
    assert len(complaint.splitlines()) == 1
    assert f"port {port}: " in complaint
    assert "address already in use" in complaint.lower()
    assert "--port" in complaint


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_cannot_be_is_refused_without_a_traceback(start, port):
    served = start("--port", port, "--cases", "1")
    _, complaint = served.process.communicate(timeout=20)

    assert served.process.returncode in {1, 2}
    assert "Traceback" not in complaint
    assert port in complaint
