"""One table decides which problem an error becomes, and nothing of the request gets into it."""

from __future__ import annotations

import json

import pytest

from app.api import problems
from app.api.problems import BY_ERROR, Problem, invalid, problem_of, problem_type, render
from app.domain import exceptions as domain

CANARY = "canary-5f3a"


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (domain.InputError(CANARY, "title"), 422, "invalid-request"),
        (domain.CursorError(), 400, "invalid-cursor"),
        (domain.NotFoundError("item"), 404, "not-found"),
        (domain.ConflictError(CANARY), 409, "conflict"),
        (domain.TrainingRunningError("t1"), 409, "training-running"),
        (domain.IdempotencyError(CANARY), 409, "idempotency-key-reused"),
        (domain.ObjectExistsError(CANARY), 409, "conflict"),
        (domain.AuthenticationError(), 401, "invalid-token"),
        (domain.PermissionDeniedError(CANARY), 403, "forbidden"),
        (domain.RateLimitedError(3.2), 429, "rate-limited"),
        (domain.DatabaseUnavailableError(CANARY), 503, "unavailable"),
        (domain.OverloadedError(CANARY), 503, "overloaded"),
        (domain.ArtifactDamagedError("x", CANARY), 409, "unservable-model"),
        (domain.ConfigurationError("X", CANARY), 500, "internal-error"),
        (ValueError(CANARY), 500, "internal-error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_fixed_problems_that_quote_nothing(error: Exception, status: int, slug: str) -> None:
    headers, body = render(problem_of(error), "r1")
    document = json.loads(body)
    assert (document["status"], document["type"]) == (status, "urn:problem-type:encore:" + slug)
    assert document["request_id"] == "r1"
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert CANARY.encode() not in body + repr(headers).encode()


def test_errors_that_mean_come_back_say_when() -> None:
    assert (b"retry-after", b"4") in problem_of(domain.RateLimitedError(3.2)).headers
    assert (b"retry-after", b"1") in problem_of(domain.UnavailableError("x")).headers


def test_a_running_training_is_named() -> None:
    assert problem_of(domain.TrainingRunningError("t1")).extra == {"training_id": "t1"}


def test_unauthenticated_answers_carry_a_challenge() -> None:
    assert dict(problem_of(domain.AuthenticationError()).headers)[b"www-authenticate"].startswith(b"Bearer")


def test_every_error_of_ours_has_an_entry_of_its_own_or_of_a_parent() -> None:
    def below(cls: type[Exception]) -> set[type[Exception]]:
        return {cls} | {deeper for sub in cls.__subclasses__() for deeper in below(sub)}

    internal = {cls for cls in below(domain.EncoreError) if problem_type(cls.__new__(cls)) is problems.INTERNAL}
    assert internal == {domain.EncoreError, domain.ConfigurationError}
    assert Exception in BY_ERROR


def test_pointers_name_our_fields_and_never_the_senders() -> None:
    problem = invalid(
        [
            {"loc": ("query", "limit"), "type": "less_than_equal", "input": CANARY, "msg": CANARY},
            {"loc": ("body", CANARY), "type": "extra_forbidden", "input": CANARY, "msg": CANARY},
            {"loc": ("body", "items", 3, CANARY), "type": "extra_forbidden", "input": CANARY, "msg": CANARY},
            {"loc": ("body", "attributes", CANARY, "str"), "type": "string_type", "input": CANARY, "msg": CANARY},
        ]
    )
    body = json.loads(render(problem, "r1")[1])
    assert body["errors"] == [
        {"in": "query", "pointer": "#/limit", "code": "less_than_equal"},
        {"in": "body", "pointer": "#", "code": "extra_forbidden"},
        {"in": "body", "pointer": "#/items/3", "code": "extra_forbidden"},
        {"in": "body", "pointer": "#/attributes", "code": "string_type"},
    ]


def test_a_thousand_mistakes_are_reported_as_ten() -> None:
    assert len(invalid([{"loc": ("body", n), "type": "x"} for n in range(1_000)]).fields) == 10


def test_slugs_are_unique() -> None:
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.ProblemType)]
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert Problem(problems.NOT_FOUND).status == 404
