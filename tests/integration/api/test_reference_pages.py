"""`/docs` and `/redoc` as somebody with a browser meets them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.integration.api.processes import FAN, serving
from tests.integration.api.running_service import build, token

PATIENCE_MS = 30_000


@dataclass
class Visit:
    """A page that has been opened, what its console said, and every address it asked."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`encore serve` with two tastes and a model."""
    folder = tmp_path_factory.mktemp("pages")
    build(folder)
    with serving(folder) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A tab that hears everything."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    found = Visit(page)
    page.on("console", lambda said: found.complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: found.addresses.append(request.url))
    yield found
    page.close()


def kept(page: Page, name: str) -> None:
    """Leave a picture in ENCORE_SCREENSHOTS, where somebody wants to look."""
    if folder := os.environ.get("ENCORE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / name)


def test_somebody_authorizes_in_swagger_ui_and_gets_a_list(address: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{address}/docs")
    page.get_by_text("/api/v1/recs/session").first.wait_for()
    kept(page, "docs.png")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").fill(token(FAN))
    page.locator(".auth-btn-wrapper button[type=submit]").click()
    page.locator(".auth-btn-wrapper .btn-done").click()
    operation = page.locator("#operations-lists-recommendForUser")
    operation.locator(".opblock-summary-control").click()
    operation.locator("tr[data-param-name=user_id] input").fill(FAN)
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response")
    answer.wait_for()
    kept(page, "docs-list.png")
    assert answer.locator(".response-col_status").inner_text().split()[0] == "200"
    assert "crime-" in answer.inner_text()
    assert visit.complaints == []
    assert {urlsplit(asked).netloc or "data" for asked in visit.addresses} <= {urlsplit(address).netloc, "data"}


def test_swagger_ui_without_a_token_is_told_so(address: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{address}/docs#/lists/recommendForUser")
    operation = page.locator("#operations-lists-recommendForUser")
    operation.locator("tr[data-param-name=user_id] input").fill(FAN)
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response")
    answer.wait_for()
    assert answer.locator(".response-col_status").inner_text().split()[0] == "401"


def test_redoc_shows_every_operation(address: str, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{address}/redoc")
    page.get_by_role("heading", name="Encore").first.wait_for()
    page.locator("[id='tag/lists/operation/recommendForUser']").wait_for()
    kept(page, "redoc.png")
    document = page.request.get(f"{address}/openapi.json").json()
    for methods in document["paths"].values():
        for operation in methods.values():
            tag, name = operation["tags"][0], operation["operationId"]
            assert page.locator(f"[id='tag/{tag}/operation/{name}']").count() == 1, name
    assert visit.complaints == []
    assert {urlsplit(asked).netloc or "data" for asked in visit.addresses} <= {urlsplit(address).netloc, "data"}


def test_nothing_else_may_run_in_the_page(address: str, visit: Visit) -> None:
    """What a hole in either program could let in: the policy stops it."""
    page = visit.page
    page.goto(f"{address}/docs")
    page.get_by_text("/api/v1/recs/session").first.wait_for()
    for name, value in (("text", "window.broken = 1"), ("src", "/docs/assets/redoc.standalone.js")):
        page.evaluate(
            "([name, value]) => {"
            " const added = document.createElement('script'); added[name] = value; document.body.append(added); }",
            [name, value],
        )
    page.wait_for_function("() => document.querySelectorAll('body > script').length >= 4")
    assert page.evaluate("() => window.broken === undefined && window.Redoc === undefined")
    assert sum("Content Security Policy" in said for said in visit.complaints) == 2
