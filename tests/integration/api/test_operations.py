"""Probes, pages and figures; dependencies that are away, and overload (docs/design.md §10; O1, O6, C7)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.api import examples
from app.application.recommending.recommendation_service import RecommendationService
from app.config import Settings
from app.domain.exceptions import ConfigurationError
from app.main import create_app
from tests.integration.api.running_service import (
    ADMIN,
    RunningService,
    bearer,
    is_problem,
    opened_copy,
    rated,
    settings_of,
)

FAN, OTHER_FAN = "crime-fan-3", "crime-fan-4"
LIST = f"/api/v1/recs/{FAN}"
NOWHERE = "127.0.0.1:1"


def test_probes_say_what_is_there(shared: RunningService) -> None:
    assert shared.get("/health/live", {}).json() == {"status": "alive"}
    for path in ("/health", "/health/ready"):
        body = shared.get(path, {}).json()
        assert body["status"] == "ready"
        assert body["checks"]["model"]["type"] == "hybrid"
        assert (body["checks"]["database"], body["checks"]["cache"]) == ("up", "up")


def test_the_first_page_is_html_for_people_and_json_for_programs(shared: RunningService) -> None:
    program = shared.get("/", {})
    assert program.json()["links"]["/docs"]
    person = shared.get("/", {"Accept": "text/html,application/xhtml+xml"})
    assert person.headers["content-type"].startswith("text/html")
    assert "hybrid version 1" in person.text


def test_the_first_page_loads_nothing_from_anywhere(shared: RunningService) -> None:
    page = shared.get("/", {"Accept": "text/html"})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for outside in ("<script", "src=", "@import", "url(", "<link"):
        assert outside not in page.text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_reference_pages_load_their_own_files_and_run_only_scripts_named_by_hash(
    shared: RunningService, path: str
) -> None:
    page = shared.get(path, {})
    directives = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert directives["default-src"] == "'none'"
    allowed = set(directives["script-src"].split())
    assert "unsafe" not in page.headers["content-security-policy"]
    loaded = re.findall(r'<script src="([^"]+)" integrity="([^"]+)"></script>', page.text)
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert (len(loaded), len(inline)) == (1, 1)
    hashes = {integrity for _, integrity in loaded} | {_sha256(text.encode()) for text in inline}
    assert {f"'{found}'" for found in hashes} == allowed
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert "//" not in name
        file = shared.get(f"/{name}", {})
        assert file.status_code == 200
        if name.endswith(".js"):
            assert _sha256(file.content) == loaded[0][1]
            assert shared.get(f"/{name}", {"If-None-Match": file.headers["etag"]}).status_code == 304


def test_reference_pages_serve_their_files_and_no_others(shared: RunningService) -> None:
    for name in ("swagger-ui.css.map", "core.py", "..%2fcore.py", "%2e%2e", "redoc.standalone.js/x", ""):
        assert is_problem(shared.get(f"/docs/assets/{name}", {}), 404), name


def _sha256(content: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()


def test_the_document_is_openapi_3_1_with_stable_names_and_documented_problems(shared: RunningService) -> None:
    document = shared.get("/openapi.json", {}).json()
    assert document["openapi"].startswith("3.1")
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        if operation["security"]:
            assert {"401", "403", "422", "429", "503"} <= set(operation["responses"])
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in answer["content"]
    references = set(_references(document))
    assert references <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_operation_on_a_named_thing_documents_that_there_may_be_none(shared: RunningService) -> None:
    """Found by fuzzing: a backslash in the name is refused before anybody asks what is to be done to it."""
    paths = shared.get("/openapi.json", {}).json()["paths"]
    named = [(path, method, paths[path][method]) for path in paths if "{" in path for method in paths[path]]
    assert len(named) > 10
    for path, method, operation in named:
        answer = shared.client.request(method, re.sub(r"\{\w+\}", "%5C", path), headers=ADMIN, json={})
        assert str(answer.status_code) in operation["responses"], (path, method, answer.text)
        assert "404" in operation["responses"], (path, method)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rsplit("/", 1)[-1]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_figures_come_in_both_formats(shared: RunningService) -> None:
    shared.get(LIST)
    plain = shared.get("/metrics", {})
    assert plain.headers["content-type"].startswith("text/plain")
    assert "encore_http_requests_total" in plain.text
    modern = shared.get("/metrics", {"Accept": "application/openmetrics-text;version=1.0.0"})
    assert modern.text.rstrip().endswith("# EOF")


def test_without_the_cache_lists_go_on_counted_here_and_training_is_closed(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, cache_url=f"redis://{NOWHERE}/0", rate_limit_per_minute=4) as running:
        for _ in range(4):
            assert running.get(LIST, bearer(FAN)).status_code == 200
        assert is_problem(running.get(LIST, bearer(FAN)), 429)
        health = running.get("/health/ready", {})
        assert (health.status_code, health.json()["status"], health.json()["checks"]["cache"]) == (
            200,
            "degraded",
            "down",
        )
        train = running.client.post("/api/v1/recs/train", json={"model_type": "hybrid"}, headers=ADMIN)
        assert is_problem(train, 503, "unavailable")
        assert int(train.headers["retry-after"]) >= 1
        promote = running.client.post("/api/v1/recs/models/rollback", headers=ADMIN)
        assert is_problem(promote, 503)
        one, theirs = rated(OTHER_FAN, "comedy-01"), bearer(OTHER_FAN, "events:write")
        sent = [running.client.post("/api/v1/events", json=one, headers=theirs).status_code for _ in range(5)]
        assert sent == [202] * 4 + [429]  # the limit is each caller's own: the other fan's is spent


def test_without_the_database_a_fresh_process_lives_and_is_not_ready(built: Path, tmp_path: Path) -> None:
    away = {"database_url": f"postgresql+asyncpg://u:{'p' * 12}@{NOWHERE}/x", "database_timeout_seconds": 1}
    with opened_copy(built, tmp_path, **away) as running:
        assert running.get("/health/live", {}).status_code == 200
        for path in ("/health", "/health/ready"):
            answer = running.get(path, {})
            assert is_problem(answer, 503, "not-ready")
            assert answer.json()["checks"]["database"] == "down"
        body = running.get(LIST, bearer(FAN)).json()
        assert (body["recommendations"], body["is_fallback"], body["fallback_reason"]) == ([], True, "no_model")
        for path in ("/api/v1/items/crime-00", "/api/v1/recs/train", "/api/v1/recs/models"):
            answer = running.get(path)
            assert is_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "pppp" not in answer.text


class Slow:
    """Makes every list take a while, as a stuck thread pool would; nothing of ours is that slow by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        answer = RecommendationService.answer

        async def slowly(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(seconds)
            return await answer(*arguments, **named)

        monkeypatch.setattr(RecommendationService, "answer", slowly)


@pytest.mark.usefixtures("way")
def test_an_answer_that_takes_too_long_is_given_up(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slow(monkeypatch, 3_600.0)
    with opened_copy(built, tmp_path, request_deadline_seconds=0.2) as running:
        answer = running.get(LIST, bearer(FAN))
        assert is_problem(answer, 503, "deadline-exceeded")
        assert answer.headers["retry-after"]


def test_more_than_it_can_hold_is_shed_at_once_and_probes_get_through(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slow(monkeypatch, 0.5)
    with opened_copy(built, tmp_path, max_concurrent_requests=2) as running:
        answers: list[Any] = []
        threads = [threading.Thread(target=lambda: answers.append(running.get(LIST, bearer(FAN)))) for _ in range(12)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        assert running.get("/health/ready", {}).status_code == 200
        for thread in threads:
            thread.join()
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) >= 2
        assert set(statuses) == {200, 503}
        for answer in answers:
            if answer.status_code == 503:
                assert is_problem(answer, 503, "overloaded")
                assert 1 <= int(answer.headers["retry-after"]) <= 3


def test_a_mistake_of_ours_says_nothing_and_is_logged_once(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_stream: io.StringIO
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ValueError("the secret is hunter2-hunter2")

    monkeypatch.setattr(RecommendationService, "similar", broken)
    monkeypatch.setattr(RecommendationService, "answer", broken)
    with opened_copy(built, tmp_path) as running:
        for path in ("/api/v1/items/crime-00/similar", LIST):
            log_stream.truncate(log_stream.seek(0))
            answer = running.get(path)
            assert is_problem(answer, 500, "internal-error")
            assert "hunter2" not in answer.text
            lines = [json.loads(line) for line in log_stream.getvalue().splitlines()]
            failed = [line for line in lines if line["event"] == "request_failed"]
            assert len(failed) == 1
            assert failed[0]["request_id"] == answer.headers["x-request-id"]
            assert failed[0]["level"] == "error"


def test_hostile_text_breaks_no_log_line(
    built: Path, tmp_path: Path, log_stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: whatever comes in, every line is one JSON object without control characters."""
    monkeypatch.setattr(RecommendationService, "answer", None)
    with opened_copy(built, tmp_path) as running:
        for evil in ("a%0d%0a%7b%22level%22", "%1b[31mred", "%e2%80%a8x", "u1"):
            running.get(f"/api/v1/recs/{evil}")
        running.get(LIST, {**ADMIN, "X-Request-Id": "a\x1b[31m", "User-Agent": "x\u2028y".encode()})  # type: ignore[dict-item]  # bytes pass what text may not hold
        lines = log_stream.getvalue().splitlines()
        assert lines
        for line in lines:
            json.loads(line)
            assert line.isprintable()


@pytest.mark.parametrize(
    "missing",
    [
        {"jwt_secret": None},
        {"jwt_jwks_url": "https://keys.example/jwks"},
        {"jwt_secret": None, "jwt_jwks_url": "http://x/"},
    ],
    ids=["nothing", "two sources", "plain http"],
)
def test_without_one_way_to_check_credentials_it_does_not_start(tmp_path: Path, missing: dict[str, Any]) -> None:
    settings: Settings = settings_of(tmp_path, **missing)
    with pytest.raises(ConfigurationError) as refused:
        create_app(settings)
    assert refused.value.setting.startswith("ENCORE_JWT")


def test_every_operation_has_examples_that_its_schemas_accept(shared: RunningService) -> None:
    document = shared.get("/openapi.json", {}).json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            name = operation["operationId"]
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    assert parameter["schema"]["examples"], (path, parameter["name"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                _holds(document, content["schema"], content["example"], f"{name}: body")
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    assert status == "204" or answer["content"]
                    for content in answer.get("content", {}).values():
                        _holds(document, content["schema"], content["example"], f"{name}: {status}")
            assert name in examples.ANSWERS or {"101", "204"} & set(operation["responses"])
    names = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
    assert set(examples.ANSWERS) | set(examples.REQUESTS) <= names


def _holds(document: Any, schema: Any, example: Any, where: str) -> None:
    whole = {**schema, "components": document["components"]}
    errors = [error.message for error in Draft202012Validator(whole).iter_errors(example)]
    assert errors == [], where
