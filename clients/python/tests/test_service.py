"""Both clients against the real service."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import encore_client as ec
import pytest
from encore_client import AsyncEncore, BatcherOptions, Encore, EventBatcher, LiveUpdate, RetryPolicy, ops
from encore_client.models import VideoRated

from .conftest import Service

ONCE = RetryPolicy(retries=0)


def now() -> str:
    return datetime.now(UTC).isoformat()


@pytest.fixture
def as_user(service: Service) -> Iterator[Encore]:
    with Encore(service.offer["address"], lambda: service.offer["user_token"]) as encore:
        yield encore


@pytest.fixture
def as_admin(service: Service) -> Iterator[Encore]:
    with Encore(service.offer["address"], service.offer["admin_token"]) as encore:
        yield encore


def rated(service: Service, item_id: str, rating: float) -> VideoRated:
    return {"user_id": service.offer["user_id"], "video_id": item_id, "rating": rating, "timestamp": now()}


def test_lists_of_every_kind(service: Service, as_user: Encore) -> None:
    user_id = service.offer["user_id"]
    page = as_user.run(ops.user_list(user_id, limit=3, explain=True))
    assert [line["rank"] for line in page["recommendations"]] == [1, 2, 3]
    ids = [line["item_id"] for line in as_user.each(ops.user_list_entries(user_id, limit=7))]
    assert len(ids) > 14
    assert len(set(ids)) == len(ids)
    session = as_user.run(ops.session_list(["crime-01", {"item_id": "crime-02", "weight": 2.0}], limit=4))
    assert len(session["recommendations"]) == 4
    assert len(as_user.run(ops.similar_items("crime-01", limit=2))["recommendations"]) == 2
    popular = as_user.run(ops.popular_items(genre="Comedy", limit=1))
    assert popular["recommendations"][0]["item_id"].startswith("comedy")
    with Encore(service.offer["address"], service.offer["api_key"]) as as_service:
        pin = {"kind": "pin", "name": "premiere", "position": 1, "select": {"items": ["comedy-19"]}}
        assert as_service.run(ops.list_by_rules(user_id, [pin]))["recommendations"][0]["item_id"] == "comedy-19"


def test_an_unchanged_list_comes_from_memory(service: Service, as_user: Encore) -> None:
    op = ops.user_list(service.offer["user_id"], limit=2)
    first = as_user.run(op)
    assert as_user.run(op) == first  # the very answer, request id included: the service said 304


def test_an_experiment_is_drafted_started_and_stopped(as_admin: Encore) -> None:
    arms = [{"name": "control", "share": 0.5}, {"name": "variety", "share": 0.5, "diversity": 0.5}]
    draft = as_admin.run(ops.create_experiment("From Python", 1.0, arms))
    assert draft["status"] == "draft"
    started = as_admin.run(ops.change_experiment(draft["id"], status="running", revision=draft["revision"]))
    assert started["status"] == "running"
    with pytest.raises(ec.ConflictError):
        as_admin.run(ops.change_experiment(draft["id"], status="paused", revision=draft["revision"]))
    results = as_admin.run(ops.experiment_results(draft["id"]))
    assert [arm["name"] for arm in results["arms"]] == ["control", "variety"]
    assert as_admin.run(ops.change_experiment(draft["id"], status="stopped"))["status"] == "stopped"
    assert as_admin.run(ops.get_experiment(draft["id"]))["status"] == "stopped"
    assert draft["id"] in [one["id"] for one in as_admin.each(ops.experiments(limit=1))]


def items_of(update: LiveUpdate) -> list[str]:
    return [line["item_id"] for line in update.list["recommendations"]]


def test_a_live_list_comes_again_when_it_changes_and_resumes_after_a_kill(service: Service) -> None:
    with Encore(service.offer["address"], service.offer["api_key"]) as encore:

        def rate(item_id: str) -> None:
            event: VideoRated = {"user_id": "live-p", "video_id": item_id, "rating": 5.0, "timestamp": now()}
            encore.run(ops.send_events([event]))

        lists = encore.live_list("live-p", limit=5)
        first = next(lists)
        rate(items_of(first)[0])
        second = next(lists)
        assert items_of(first)[0] not in items_of(second)
        service.ask("kill")
        service.ask("start")
        rate(items_of(second)[0])
        assert items_of(second)[0] not in items_of(next(lists))
    with Encore(service.offer["address"], "x") as nobody, pytest.raises(ec.AuthenticationError):
        next(nobody.live_list("live-p"))


def test_a_live_list_with_asyncio(service: Service) -> None:
    async def watch() -> None:
        async with AsyncEncore(service.offer["address"], service.offer["api_key"]) as encore:
            lists = encore.live_list("live-a", limit=5)
            first = await anext(lists)
            seen = items_of(first)[0]
            event: VideoRated = {"user_id": "live-a", "video_id": seen, "rating": 5.0, "timestamp": now()}
            await encore.run(ops.send_events([event]))
            second = await anext(lists)
            assert seen not in items_of(second)
            resumed = encore.live_list("live-a", limit=5, last_id=second.id)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(resumed)
        async with AsyncEncore(service.offer["address"], "x") as nobody:
            with pytest.raises(ec.AuthenticationError):
                await anext(nobody.live_list("live-a"))

    asyncio.run(watch())


def test_catalog_and_users(as_admin: Encore) -> None:
    assert as_admin.run(ops.put_item("p1", {"title": "New"}))["title"] == "New"
    assert as_admin.run(ops.patch_item("p1", {"title": "Newer"}))["title"] == "Newer"
    assert as_admin.run(ops.put_items([{"item_id": "p2"}]))["written"] == 1
    assert "p2" in [item["item_id"] for item in as_admin.each(ops.items(limit=10))]
    as_admin.run(ops.delete_item("p1"))
    with pytest.raises(ec.NotFoundError) as missing:
        as_admin.run(ops.get_item("p1"))
    assert missing.value.document["resource"] == "item"
    as_admin.run(ops.put_user("q1", {"attributes": {"country": "NL"}}))
    assert as_admin.run(ops.put_users([{"user_id": "q2"}]))["written"] == 1
    assert as_admin.run(ops.get_user("q1"))["attributes"] == {"country": "NL"}
    assert {"q1", "q2"} <= {user["user_id"] for user in as_admin.each(ops.users(limit=1))}
    ordered = as_admin.run(ops.delete_user("q1"))
    assert as_admin.run(ops.erasure(ordered["erasure_id"]))["people"] == 1


def test_trainings_and_models(as_admin: Encore) -> None:
    started = as_admin.run(ops.start_training("popular", idempotency_key="p"))
    assert as_admin.run(ops.start_training("popular", idempotency_key="p"))["training_id"] == started["training_id"]
    as_admin.run(ops.cancel_training(started["training_id"]))
    assert as_admin.run(ops.get_training(started["training_id"]))["model_type"] == "popular"
    assert started["training_id"] in [found["training_id"] for found in as_admin.each(ops.trainings())]
    [champion, *_] = as_admin.run(ops.list_models(type="hybrid"))["models"]
    assert as_admin.run(ops.get_model(champion["id"]))["status"] == "champion"
    with pytest.raises(ec.NotFoundError):
        as_admin.run(ops.promote_model("nobody"))
    with pytest.raises(ec.ProblemError):
        as_admin.run(ops.rollback_model("sequential"))
    assert as_admin.run(ops.health())["status"] == "ready"


def refusal(encore: Encore) -> ec.ProblemError | None:
    try:
        encore.run(ops.popular_items())
    except ec.ProblemError as error:
        return error
    return None


def test_problems_are_typed(service: Service, as_user: Encore) -> None:
    offer = service.offer
    with Encore(offer["address"], "nonsense") as stranger, pytest.raises(ec.AuthenticationError):
        stranger.run(ops.user_list("u1"))
    with pytest.raises(ec.PermissionDeniedError):
        as_user.run(ops.user_list("somebody-else"))
    event: VideoRated = {**rated(service, "crime-07", 4), "event_id": str(uuid.uuid4())}
    as_user.run(ops.send_events([event]))
    changed: VideoRated = {**event, "rating": 1}
    with pytest.raises(ec.ConflictError):
        as_user.run(ops.send_events([changed]))
    with pytest.raises(ec.InvalidRequestError) as invalid:
        as_user.run(ops.user_list(offer["user_id"], limit=1000))
    assert invalid.value.errors == [{"in": "query", "pointer": "#/limit", "code": "less_than_equal"}]
    with Encore(offer["limited_address"], offer["user_token"], retry=ONCE) as limited:
        refused = [error for error in (refusal(limited) for _ in range(12)) if error is not None]
        assert {type(error) for error in refused} == {ec.RateLimitedError}
        assert all((error.retry_after_seconds or 0) > 0 for error in refused)
    with Encore(offer["away_address"], offer["admin_token"], retry=ONCE) as away, pytest.raises(ec.UnavailableError):
        away.run(ops.get_item("x"))
    with Encore("http://127.0.0.1:1", "x", retry=ONCE) as nowhere, pytest.raises(ec.ConnectionFailedError):
        nowhere.run(ops.health())


async def test_the_same_with_asyncio(service: Service) -> None:
    async with AsyncEncore(service.offer["address"], service.offer["user_token"]) as encore:
        ids = [line["item_id"] async for line in encore.each(ops.user_list_entries(service.offer["user_id"], limit=7))]
        assert len(set(ids)) == len(ids) > 14
        with pytest.raises(ec.PermissionDeniedError):
            await encore.run(ops.user_list("somebody-else"))


async def test_a_bad_event_is_told_apart_from_the_good_ones_beside_it(service: Service) -> None:
    async with AsyncEncore(service.offer["address"], service.offer["user_token"]) as encore:
        batcher = ec.AsyncEventBatcher(encore, BatcherOptions(linger=0.02))
        about_another: VideoRated = {**rated(service, "crime-09", 5), "user_id": "somebody-else"}
        good, bad, foreign = await asyncio.gather(
            batcher.send(rated(service, "crime-09", 5)),
            batcher.send(rated(service, "crime-09", 99)),
            batcher.send(about_another),
            return_exceptions=True,
        )
        assert not isinstance(good, BaseException)
        assert good["outcome"] == "accepted"
        assert isinstance(bad, ec.EventRejectedError)
        assert bad.reason == "rating_range"
        assert isinstance(foreign, ec.PermissionDeniedError)
        assert await batcher.close() == []


def test_killed_and_started_again_under_load_nothing_acknowledged_is_lost_and_nothing_counts_twice(
    service: Service,
) -> None:
    user_id = f"python-{uuid.uuid4().hex[:8]}"
    acknowledged: list[str] = []
    batcher = EventBatcher(
        lambda: AsyncEncore(service.offer["address"], service.offer["admin_token"]),
        BatcherOptions(max_batch=20, max_queue=40, linger=0.005, max_delay=0.3),
    )

    def load(worker: int) -> None:
        for number in range(50):
            event_id = str(uuid.uuid4())
            item = f"crime-{number % 20:02}"
            batcher.send(
                {
                    "event_id": event_id,
                    "user_id": user_id,
                    "item_id": item,
                    "kind": "view",
                    "value": worker * 100 + number,
                    "timestamp": now(),
                }
            )
            acknowledged.append(event_id)
            time.sleep(0.01)

    workers = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    time.sleep(0.4)
    service.ask("kill")
    service.ask("start")
    for worker in workers:
        worker.join()
    batcher.flush()
    assert batcher.close() == []
    assert len(acknowledged) == 400
    assert sorted(service.ask(f"stored {user_id}")["event_ids"]) == sorted(acknowledged)
