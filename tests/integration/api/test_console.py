"""Every page of `encore dashboard` in a real browser, against the running service. One start of each for all."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from app.application.credentials import SCOPES
from app.bootstrap import open_container
from app.connecting import utc_now
from app.domain.entities import DeadLetter, ModelStatus, ModelVersion
from app.domain.reports import Report
from tests.integration.api.processes import FAN, Process, environment_of, serving
from tests.integration.api.running_service import ADMIN, api_key, build, rated, settings_of
from tests.servers.browser import chromium
from tests.servers.console import Tab, console, open_tab
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError

MEAN = {"mean": 0.31, "low": 0.28, "high": 0.34}
JUDGED = {"metrics": {"ndcg@10": MEAN}, "slices": {"few events": {"users": 12, "metrics": {"ndcg@10": MEAN}}}}
VERDICT = {"promote": False, "reasons": ["ndcg@10 is no better than the champion's"], "details": {}}


@dataclass(frozen=True)
class Stage:
    """The service, its consoles for an administrator and for a reader, and a browser."""

    server: Process
    admin: Tab
    reader: Tab

    def get(self, path: str) -> Any:
        """What the service itself says."""
        request = Request(f"http://127.0.0.1:{self.server.port}{path}", headers=ADMIN)
        with urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("console")
    build(folder)
    asyncio.run(prepare(folder))
    everything, reading = api_key(folder, "console", SCOPES), api_key(folder, "reader", ["recs:read"])
    with serving(folder) as server:
        url = f"http://127.0.0.1:{server.port}"
        with (
            console(url, everything, folder / "admin.log") as ours,
            console(url, reading, folder / "reader.log") as theirs,
        ):
            try:
                with chromium() as browser:
                    yield Stage(server, open_tab(browser, ours), open_tab(browser, theirs))
            except ServerMissingError as exc:
                missing(exc)
                raise


async def prepare(folder: Path) -> None:
    """Figures of a day, a rejected candidate with its verdict, a letter that is acceptable by now."""
    async with open_container(settings_of(folder)) as container:
        now, database = utc_now().replace(second=0, microsecond=0), container.database
        assert await database.reports.claim("kpis", now, now)
        await database.reports.finish(Report("kpis", now, now, now, None, {"active_users": 812.0, "mean_rating": 4.2}))
        metrics = {"quality": {"ndcg@10": 0.31}, "candidate": JUDGED, "verdict": VERDICT}
        lineage = {"recipe": {"name": "hybrid"}}
        await database.models.add(
            ModelVersion(
                "b" * 32, "hybrid", 0, ModelStatus.REJECTED, now, None, None, None, metrics=metrics, lineage=lineage
            )
        )
        payload = json.dumps(rated("crime-fan-1", "crime-19")).encode()
        letter = DeadLetter("kafka", "unknown_item", payload, sha256(payload).hexdigest(), now, "a.topic", 0, 1)
        await database.dead_letters.add([letter])


def test_health_names_every_part_and_what_waits(stage: Stage) -> None:
    page = stage.admin.open("", "Health")

    page.get_by_text(re.compile("The service is (ready|degraded)")).wait_for()
    for words in ("database", "cache", "Dead letters", "Messages to send (outbox)"):
        page.get_by_text(words, exact=True).first.wait_for()


def test_kpis_are_shown_with_a_plot(stage: Stage) -> None:
    page = stage.admin.open("kpis", "KPIs")

    page.get_by_role("cell", name="812", exact=True).wait_for()
    page.locator("canvas, svg.marks").first.wait_for()


def test_versions_stand_side_by_side_with_the_verdict(stage: Stage) -> None:
    page = stage.admin.open("models", "Models")

    page.get_by_role("heading", name="hybrid 2").wait_for()
    page.get_by_role("heading", name="hybrid 1").wait_for()
    page.get_by_text(VERDICT["reasons"][0]).wait_for()  # type: ignore[index]  # a table of mixed values
    page.get_by_role("cell", name="0.2800 to 0.3400").first.wait_for()
    page.get_by_role("cell", name="few events").wait_for()


def test_a_refused_promotion_is_said_in_the_words_of_the_service(stage: Stage) -> None:
    page = stage.admin.open("models", "Models")

    page.get_by_role("button", name="Promote hybrid 2").click()
    page.get_by_text(re.compile(r"Not done: .*\(409\)")).wait_for()
    models = stage.get("/api/v1/recs/models?type=hybrid")["models"]
    assert {model["version"]: model["status"] for model in models} == {1: "champion", 2: "rejected"}


def test_a_version_is_promoted(stage: Stage) -> None:
    page = stage.admin.open("models", "Models")

    page.get_by_role("button", name="Promote hybrid 1").click()
    page.get_by_text("Promoted. Servers follow within seconds.").wait_for()


def test_a_training_is_started_and_watched_until_it_has_ended(stage: Stage) -> None:
    page = stage.admin.open("trainings", "Trainings")

    page.get_by_role("combobox", name="Model type").click()
    page.get_by_role("option", name="popular").click()
    page.get_by_role("button", name="Start training").click()
    page.get_by_text("Queued.", exact=True).wait_for()
    page.get_by_role("cell", name=re.compile("promoted|rejected|failed")).first.wait_for()
    assert stage.get("/api/v1/recs/train")["trainings"][0]["model_type"] == "popular"


def test_an_experiment_is_created_started_and_stopped(stage: Stage) -> None:
    page = stage.admin.open("experiments", "Experiments")

    page.get_by_text("New experiment").click()
    page.get_by_label("Name").fill("More variety")
    page.get_by_label("Name").press("Enter")
    stage.admin.settle()
    page.get_by_role("button", name="Create experiment").click()
    page.get_by_role("heading", name="More variety").wait_for()
    page.get_by_role("button", name="Start experiment").click()
    page.get_by_role("button", name="Stop experiment").wait_for()
    page.get_by_role("cell", name="control").first.wait_for()
    assert stage.get("/api/v1/recs/experiments")["experiments"][0]["status"] == "running"
    page.get_by_role("button", name="Stop experiment").click()
    page.get_by_role("button", name="Stop experiment").wait_for(state="detached")
    assert stage.get("/api/v1/recs/experiments")["experiments"][0]["status"] == "stopped"


def test_a_user_is_tried_with_reasons_and_a_what_if_that_leaves_nothing_behind(stage: Stage) -> None:
    before = stage.get(f"/api/v1/users/{FAN}/history")
    page = stage.admin.open("try-a-user", "Try a user")

    page.get_by_label("User id").fill(FAN)
    page.get_by_label("User id").press("Enter")
    page.get_by_role("heading", name="What if").wait_for()
    page.get_by_role("cell", name=re.compile("because you watched|history|popular")).first.wait_for()
    page.get_by_label("Pin this item id to the top").fill("comedy-11")
    page.get_by_label("Pin this item id to the top").press("Enter")
    page.get_by_role("cell", name="pinned", exact=True).wait_for()
    page.get_by_label("Add an event on this item id").fill("comedy-12")
    page.get_by_label("Add an event on this item id").press("Enter")
    page.get_by_role("cell", name="new", exact=True).nth(1).wait_for()
    assert stage.get(f"/api/v1/users/{FAN}/history") == before


def test_an_item_is_found_and_taken_out_of_lists(stage: Stage) -> None:
    page = stage.admin.open("catalogue", "Catalogue")

    page.get_by_label("Words of a title or id").fill("co13")
    page.get_by_label("Words of a title or id").press("Enter")
    page.get_by_role("heading", name="Comedy Co13").wait_for()
    page.get_by_role("button", name="Make unavailable").click()
    page.get_by_role("button", name="Make available").wait_for()
    assert stage.get("/api/v1/items/comedy-13")["available"] is False


def test_a_letter_is_looked_at_and_replayed(stage: Stage) -> None:
    page = stage.admin.open("dead-letters", "Dead letters")

    page.get_by_role("cell", name="a.topic/0@1").wait_for()
    page.get_by_role("button", name="Replay").click()
    page.get_by_text("1 went in.").wait_for()
    assert stage.get("/api/v1/dead-letters")["waiting"] == 0


def test_a_key_that_only_reads_is_shown_what_it_may_see_and_can_do_nothing(stage: Stage) -> None:
    page = stage.reader.open("catalogue", "Catalogue")

    page.get_by_text("Read only: this key lacks the scope recs:admin.").wait_for()
    assert page.get_by_role("button", name=re.compile("Make (un)?available")).is_disabled()
    page = stage.reader.open("models", "Models")
    page.get_by_text(re.compile(r"Models cannot be shown: .*\(403\)")).wait_for()


def test_no_page_asked_anybody_but_the_console(stage: Stage) -> None:
    """Of all that the tests above have opened."""
    for tab in (stage.admin, stage.reader):
        own = urlsplit(tab.address).netloc
        assert len(tab.asked) > 10
        assert {urlsplit(address).netloc for address in tab.asked if urlsplit(address).scheme != "data"} == {own}
        assert tab.complaints == []


def test_without_a_key_the_command_says_what_is_missing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "dashboard"],
        env=environment_of(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "ENCORE_DASHBOARD_API_KEY" in ended.stderr
