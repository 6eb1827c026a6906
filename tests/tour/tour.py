"""`make tour`: what a data team does in Prefect's UI, in a real browser; takes pictures of it.

Belongs here: filling forms, approving a plan, looking at results, cancelling. Does not: what runs
do (tests/flows/), or that workers run them (tests/test_roads.py, whose machine this uses).

It isn't collected with the other tests, since it needs Chromium and playwright.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from test_roads import ROOT, Machine, account, machine, server

from sandbox.server import Sandbox

pytestmark = pytest.mark.timeout(400)
PICTURES = ROOT / "docs" / "tour"
SIZE = {"width": 1300, "height": 900}
SLOW_MS = 60_000
"""A page of the UI on a small machine beside everything else."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    opened = browser.new_page(viewport=SIZE)
    opened.set_default_timeout(SLOW_MS)
    yield opened
    opened.close()


def picture(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # what fades in
    page.screenshot(path=PICTURES / f"{name}.png")


def open_form(server: Machine, page: Page, deployment: str) -> None:
    made = server.deployment(deployment)
    page.goto(f"http://127.0.0.1:{server.port}/v2/deployments/deployment/{made['id']}/run")
    page.get_by_text("· source").wait_for()


def submitted(server: Machine, page: Page) -> str:
    """Submit the form; the id of the run that it starts."""
    before = {run["id"] for run in server.api("POST", "flow_runs/filter", {})}
    page.get_by_role("button", name="Submit").click()
    while True:
        for run in server.api("POST", "flow_runs/filter", {}):
            if run["id"] not in before and not run["auto_scheduled"]:
                return str(run["id"])
        time.sleep(0.2)


def wait_for(server: Machine, run: str, *names: str) -> dict[str, Any]:
    while True:
        state: dict[str, Any] = server.api("GET", f"flow_runs/{run}")["state"]
        if state["name"] in names:
            return state
        time.sleep(0.2)


def open_run(server: Machine, page: Page, run: str, tab: str = "Logs") -> None:
    page.goto(f"http://127.0.0.1:{server.port}/v2/runs/flow-run/{run}?tab={tab}")
    page.get_by_role("button", name="Open menu").wait_for()


def choose(page: Page, item: str) -> None:
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name=item).click()


def test_a_form_is_filled_a_plan_approved_and_its_result_found(
    server: Machine,
    account: Callable[..., Sandbox],
    page: Page,
) -> None:
    sandbox = account()
    page.goto(f"http://127.0.0.1:{server.port}/v2/deployments")
    page.get_by_text("import-file").first.wait_for()
    picture(page, "deployments")
    open_form(server, page, "import-cases/import-file")
    texts, switches = page.locator("textarea"), page.get_by_role("switch")
    texts.nth(0).fill(str(ROOT / "data" / "samples" / "cases.csv"))
    texts.nth(1).fill("branch")
    switches.nth(1).click()
    picture(page, "form")
    run = submitted(server, page)
    with server.start("make worker"):
        wait_for(server, run, "Suspended")
        assert not any(seen.path == "/cases/create" for seen in sandbox.requests)
        open_run(server, page, run, "Artifacts")
        picture(page, "plan")
        choose(page, "Resume")
        page.get_by_text("Who says so").wait_for()
        picture(page, "approval")
        form = page.get_by_role("dialog")
        form.get_by_role("switch").click()
        form.locator("textarea").nth(0).fill("Ann Example")
        form.get_by_role("button", name="Resume").click()
        state = wait_for(server, run, "Completed", "Failed", "Cancelled", "Crashed")
        assert state["message"].startswith("8 rows: 8 created.")
        open_run(server, page, run, "Artifacts")
        page.get_by_text("import-cases-result").first.click()
        page.get_by_text("Import of 8 rows").first.wait_for()
        picture(page, "result")


def test_a_number_beyond_its_limit_is_refused_by_the_form(
    server: Machine,
    page: Page,
) -> None:
    open_form(server, page, "bulk-update-cases/bulk-update-file")
    page.locator("textarea").nth(0).fill("/data/changes.csv")
    page.locator("input[type=number]").nth(0).fill("9999")
    runs = len(server.api("POST", "flow_runs/filter", {}))
    page.get_by_role("button", name="Submit").click()
    valid = page.locator("input[type=number]").nth(0).evaluate("field => field.validity.valid")
    assert valid is False
    assert len(server.api("POST", "flow_runs/filter", {})) == runs


def test_a_run_that_is_cancelled_says_so_and_keeps_its_outcomes(
    server: Machine,
    account: Callable[..., Sandbox],
    page: Page,
    tmp_path: Path,
) -> None:
    sandbox = account(latency_ms=300)
    people = [f"T{number},Mrs,Ann,Lee" for number in range(1200)]
    source = tmp_path / "cases.csv"
    columns = "ref,customer_title,customer_first_names,customer_last_name"
    source.write_text("\n".join([columns, *people]))
    open_form(server, page, "import-cases/import-file")
    page.locator("textarea").nth(0).fill(str(source))
    page.locator("textarea").nth(1).fill("branch")
    run = submitted(server, page)
    with server.start("make worker"):
        wait_for(server, run, "Running")
        while not any(seen.path == "/cases/create" for seen in sandbox.requests):
            time.sleep(0.1)
        open_run(server, page, run)
        picture(page, "running")
        choose(page, "Cancel")
        page.get_by_role("button", name="Cancel Flow Run").click()
        wait_for(server, run, "Cancelled")
        open_run(server, page, run)
        page.get_by_text("Cancelled", exact=True).first.wait_for()
        picture(page, "cancelled")
    logs = server.api("POST", "logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    assert any("the outcomes so far are in" in log["message"] for log in logs)
