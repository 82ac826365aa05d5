"""One example for every operation of the OpenAPI document: what to send, what comes back; a test checks the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.erasure_examples import ERASURE_ANSWERS

_MODEL_ID = "0f8fad5bd9cb469fa16570867728950e"
_TRAINING_ID = "7c9e6679f4b04e8db0a3c1f2d5e6a7b8"
_REQUEST_ID = "5d1f3a0c9b7e4f62a8c4d2e1f0b3a596"
_ITEM: Mapping[str, Any] = {
    "title": "Alien",
    "description": "The crew of a freighter answers a call for help.",
    "genres": ["science fiction", "horror"],
    "tags": ["space"],
    "year": 1979,
    "published_at": None,
    "available": True,
    "available_from": None,
    "available_until": None,
    "attributes": {"studio": "Brandywine"},
    "updated_at": "2026-11-21T08:30:00Z",
}
_USER: Mapping[str, Any] = {"attributes": {"country": "NL", "age": 34}, "updated_at": "2026-11-21T08:30:00Z"}
_MODEL: Mapping[str, Any] = {
    "id": _MODEL_ID,
    "type": "hybrid",
    "version": 12,
    "status": "champion",
    "created_at": "2026-11-21T03:00:00Z",
    "promoted_at": "2026-11-21T03:04:10Z",
    "training_id": _TRAINING_ID,
    "is_loadable": True,
    "metrics": {"ndcg@10": 0.2517},
    "lineage": {"interactions": 25045},
    "notes": None,
}
_TRAINING: Mapping[str, Any] = {
    "training_id": _TRAINING_ID,
    "model_type": "hybrid",
    "status": "running",
    "stage": "selecting",
    "progress": 0.4,
    "created_at": "2026-11-21T03:00:00Z",
    "started_at": "2026-11-21T03:00:01Z",
    "finished_at": None,
    "start_date": None,
    "end_date": None,
    "cancel_requested": False,
    "reason": None,
    "model_id": None,
    "metrics": {},
}
_EXPERIMENT_BODY: Mapping[str, Any] = {
    "name": "More variety",
    "hypothesis": "Variety keeps people watching.",
    "share": 0.2,
    "arms": [{"name": "control", "share": 0.5}, {"name": "variety", "share": 0.5, "diversity": 0.3}],
    "primary_metric": "hit_rate",
    "guardrail_metrics": ["empty_share"],
}
_EXPERIMENT: Mapping[str, Any] = {
    "id": "9b2d7c1e-5a64-4f0b-8e3d-2f1a6c7b8d90",
    "name": "More variety",
    "hypothesis": "Variety keeps people watching.",
    "layer": "lists",
    "status": "running",
    "share": 0.2,
    "arms": [
        {"name": "control", "share": 0.5, "type": None, "diversity": None, "model_id": None, "rules": []},
        {"name": "variety", "share": 0.5, "type": None, "diversity": 0.3, "model_id": None, "rules": []},
    ],
    "primary_metric": "hit_rate",
    "guardrail_metrics": ["empty_share"],
    "created_at": "2026-11-21T08:00:00Z",
    "started_at": "2026-11-21T08:30:00Z",
    "planned_end": None,
    "stopped_at": None,
    "revision": 2,
}
_COMPARISON: Mapping[str, Any] = {
    "arm": "variety",
    "metric": "hit_rate",
    "control": 0.31,
    "treatment": 0.33,
    "difference": 0.02,
    "relative": 0.0645,
    "standard_error": 0.005,
    "variance_kept": 0.71,
    "fixed_horizon": {"low": 0.0102, "high": 0.0298, "p_value": 0.0001},
    "always_valid": {"low": 0.0036, "high": 0.0364, "p_value": 0.009},
    "corrected_p_value": 0.009,
}
_RESULTS: Mapping[str, Any] = {
    "experiment": _EXPERIMENT,
    "as_of": "2026-11-28T08:30:00Z",
    "sample_ratio_p_value": 0.42,
    "is_split_broken": False,
    "arms": [
        {
            "name": "control",
            "users": 4980,
            "lists": 20110,
            "items_shown": 612,
            "metrics": {"hit_rate": 0.31, "empty_share": 0.0},
        },
        {
            "name": "variety",
            "users": 5020,
            "lists": 20402,
            "items_shown": 855,
            "metrics": {"hit_rate": 0.33, "empty_share": 0.0},
        },
    ],
    "comparisons": [_COMPARISON],
}
_CANARY: Mapping[str, Any] = {
    "model_id": _MODEL_ID,
    "model_type": "hybrid",
    "champion_id": "2b1f6d0a-5f1c-4f0b-9d57-0d4a3c1e7b10",
    "status": "running",
    "share": 0.25,
    "steps": [0.05, 0.25, 1.0],
    "hours": 24.0,
    "started_at": "2026-11-21T08:30:00Z",
    "step_started_at": "2026-11-22T08:30:00Z",
    "reason": None,
    "figures": {"users": {"champion": 18977, "candidate": 1023}},
    "revision": 2,
}
_LAST_PAGE: Mapping[str, Any] = {"limit": 50, "has_more": False, "next_cursor": None}
_LIST: Mapping[str, Any] = {
    "user_id": None,
    "item_id": None,
    "recommendations": [
        {
            "item_id": "v7",
            "rank": 1,
            "score": 0.83,
            "title": "Alien",
            "metadata": {"genres": ["science fiction", "horror"], "year": 1979},
            "source": "collaborative",
            "reasons": [{"kind": "because_you_watched", "item_id": "v2", "title": "Moon", "contribution": 0.61}],
            "propensity": None,
        }
    ],
    "pagination": {"total": 100, "limit": 1, "offset": 0, "has_more": True, "next_cursor": "AbCdEf012345_-"},
    "model": {"id": _MODEL_ID, "type": "hybrid", "version": 12},
    "experiment": None,
    "is_fallback": False,
    "fallback_reason": None,
    "as_of": "2026-11-21T08:30:01Z",
    "request_id": _REQUEST_ID,
}
_ONE_PAGE: Mapping[str, Any] = {"total": 1, "limit": 10, "offset": 0, "has_more": False, "next_cursor": None}
_BULK: Mapping[str, Any] = {"received": 1, "written": 1, "request_id": _REQUEST_ID}
_HEALTH: Mapping[str, Any] = {"status": "ready", "version": "0.1.0", "checks": {"database": "up", "cache": "up"}}

REQUESTS: Mapping[str, Any] = {
    "recommendForSession": {"history": ["v2", {"item_id": "v5", "weight": 2.0}], "limit": 10},
    "recommendByRules": {
        "rules": [{"kind": "pin", "name": "premiere", "select": {"items": ["v7"]}, "position": 1}],
        "limit": 10,
    },
    "sendEvents": [
        {
            "event_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "user_id": "u1",
            "video_id": "v7",
            "rating": 4.5,
            "timestamp": "2026-11-21T08:30:00Z",
        }
    ],
    "putItem": {"title": "Alien", "genres": ["science fiction", "horror"], "year": 1979},
    "patchItem": {"available": False},
    "putItems": {"items": [{"item_id": "v7", "title": "Alien", "genres": ["horror"], "year": 1979}]},
    "putUser": {"attributes": {"country": "NL", "age": 34}},
    "putUsers": {"users": [{"user_id": "u1", "attributes": {"country": "NL"}}]},
    "replayDeadLetters": {"ids": [17]},
    "startTraining": {"model_type": "hybrid"},
    "rollbackModel": {"model_type": "hybrid"},
    "startCanary": {"steps": [0.05, 0.25, 1.0], "hours": 24},
    "createExperiment": _EXPERIMENT_BODY,
    "changeExperiment": {"status": "running", "revision": 1},
}
"""Operation → a body that it takes."""

ANSWERS: Mapping[str, Any] = {
    "recommendForUser": {**_LIST, "user_id": "u1"},
    "recommendByRules": {**_LIST, "user_id": "u1"},
    "streamList": 'retry: 1500\n\nid: 9f2c41d07ab35e6688c1f0d2\nevent: list\ndata: {"user_id":"u1",…}\n\n',
    "recommendForSession": {**_LIST, "pagination": _ONE_PAGE},
    "listPopularItems": {**_LIST, "pagination": _ONE_PAGE},
    "listSimilarItems": {**_LIST, "item_id": "v2", "pagination": _ONE_PAGE},
    "sendEvents": {
        "accepted": 1,
        "duplicates": 0,
        "rejected": 0,
        "results": [
            {
                "index": 0,
                "outcome": "accepted",
                "event_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
                "reason": None,
                "field": None,
            }
        ],
        "request_id": _REQUEST_ID,
    },
    "listItems": {"items": [{"item_id": "v7", **_ITEM}], "pagination": _LAST_PAGE},
    "getItem": {"item_id": "v7", **_ITEM},
    "putItem": {"item_id": "v7", **_ITEM},
    "patchItem": {"item_id": "v7", **_ITEM, "available": False},
    "putItems": _BULK,
    "listUsers": {"users": [{"user_id": "u1", **_USER}], "pagination": _LAST_PAGE},
    "getUser": {"user_id": "u1", **_USER},
    "putUser": {"user_id": "u1", **_USER},
    "putUsers": _BULK,
    **ERASURE_ANSWERS,
    "getUserHistory": {
        "user_id": "u1",
        "history": [{"item_id": "v2", "title": "Moon", "weight": 1.0, "at": "2026-11-20T19:04:00Z"}],
    },
    "listDeadLetters": {
        "waiting": 1,
        "dead_letters": [
            {
                "id": 17,
                "received_at": "2026-11-21T08:30:00Z",
                "source": "kafka",
                "topic": "profile-service.video-rated",
                "partition": 2,
                "offset": 40112,
                "reason": "decode",
                "replayed_at": None,
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "payload": "{",
            }
        ],
    },
    "replayDeadLetters": {"replayed": [17], "refused": {}, "stale_lists": 0},
    "listReports": {
        "reports": [
            {
                "slot": "2026-11-21T00:15:00Z",
                "made_at": "2026-11-21T00:15:02Z",
                "model_id": None,
                "figures": {"active_users": 812, "watch_through": 0.71},
            }
        ]
    },
    "getCredential": {"subject": "console", "is_service": True, "scopes": ["recs:admin", "recs:read"]},
    "startTraining": {**_TRAINING, "status": "queued", "stage": "queued", "progress": 0.0, "started_at": None},
    "listTrainings": {"trainings": [_TRAINING], "pagination": {**_LAST_PAGE, "limit": 20}},
    "getTraining": _TRAINING,
    "cancelTraining": {**_TRAINING, "cancel_requested": True},
    "listModels": {"models": [_MODEL]},
    "getModel": {**_MODEL, "notes": {}},
    "promoteModel": {"model": _MODEL, "epoch": 12},
    "rollbackModel": {"model": {**_MODEL, "version": 11}, "epoch": 13},
    "startCanary": {**_CANARY, "share": 0.05, "figures": {}, "revision": 1},
    "getCanary": _CANARY,
    "stopCanary": {**_CANARY, "status": "stopped", "share": 0.0, "reason": "stopped by hand", "revision": 3},
    "createExperiment": {**_EXPERIMENT, "status": "draft", "started_at": None, "revision": 1},
    "listExperiments": {"experiments": [_EXPERIMENT], "pagination": {**_LAST_PAGE, "limit": 20}},
    "getExperiment": _EXPERIMENT,
    "changeExperiment": _EXPERIMENT,
    "getExperimentResults": _RESULTS,
    "isAlive": {"status": "alive"},
    "isReady": _HEALTH,
    "getHealth": _HEALTH,
    "getWelcome": {
        "name": "encore",
        "version": "0.1.0",
        "status": "ready",
        "model": {"id": _MODEL_ID, "type": "hybrid", "version": 12},
        "links": {"/docs": "every operation"},
    },
    "getOpenApi": {"openapi": "3.1.0", "info": {"title": "Encore", "version": "0.1.0"}, "paths": {}},
    "getMetrics": "# TYPE encore_http_requests_in_flight gauge\nencore_http_requests_in_flight 0.0\n",
    "getDocs": "<!doctype html>…",
    "getRedoc": "<!doctype html>…",
}
"""Operation → an answer of success, for every operation that answers with a body."""


def add_examples(operation: dict[str, Any]) -> None:
    """Put the examples of this operation into its part of the document."""
    name = operation["operationId"]
    body = operation.get("requestBody")
    if body is not None and name in REQUESTS:
        for content in body["content"].values():
            content["example"] = REQUESTS[name]
    for status, answer in operation["responses"].items():
        if status.startswith("2") and name in ANSWERS:
            for content in answer.get("content", {}).values():
                content["example"] = ANSWERS[name]
