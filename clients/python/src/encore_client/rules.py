"""What both clients decide alike: what to repeat, how long to wait, what is known already. No I/O."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from encore_client.errors import ConnectionFailedError, NoAnswerInTimeError, problem_of, retry_after
from encore_client.ops import Op, Repeatable

TRANSIENT = frozenset({429, 500, 502, 503, 504})
MAX_KEPT_BYTES = 65_536
"""No larger answer is kept."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retries`: tries after the first. Delays in seconds: the first one, doubled each time; the longest."""

    retries: int = 3
    base_delay: float = 0.2
    max_delay: float = 10.0
    random: Callable[[], float] = random.random


Outcome = httpx.Response | ConnectionFailedError


def may_repeat(outcome: Outcome, repeatable: Repeatable) -> bool:
    """Whether sending the same request again is safe and may help. 429 is said before anything is done."""
    if isinstance(outcome, ConnectionFailedError):
        return repeatable == "always"
    return outcome.status_code in TRANSIENT if repeatable == "always" else outcome.status_code == 429


def delay_before(attempt: int, outcome: Outcome, policy: RetryPolicy) -> float | None:
    """Seconds until the next try: at least `Retry-After`, with full jitter; None if that is longer than we wait.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    asked = None if isinstance(outcome, ConnectionFailedError) else retry_after(outcome)
    if asked is None:
        return policy.random() * min(policy.max_delay, policy.base_delay * 2.0**attempt)
    return None if asked > policy.max_delay else asked + policy.random() * policy.base_delay


def wait_before(attempt: int, outcome: Outcome, op: Op[Any], policy: RetryPolicy) -> float | None:
    """Seconds until this request is tried again, None if it is not."""
    if attempt >= policy.retries or not may_repeat(outcome, op.repeatable):
        return None
    return delay_before(attempt, outcome, policy)


def failure(error: httpx.TransportError) -> ConnectionFailedError:
    """Our error of a transport's."""
    if isinstance(error, httpx.TimeoutException):
        return NoAnswerInTimeError("no answer in time")
    return ConnectionFailedError("no answer")


def result(outcome: Outcome) -> Any:
    """What an answer holds; raises what went wrong."""
    if isinstance(outcome, ConnectionFailedError):
        raise outcome
    if not outcome.is_success:
        raise problem_of(outcome)
    return outcome.json() if outcome.content else None


class KnownAnswers:
    """The newest answers with an ETag, to ask only whether they have changed."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[tuple[str, str, str], tuple[str, httpx.Response]] = OrderedDict()

    def condition(self, op: Op[Any], token: str) -> Mapping[str, str]:
        """The header that asks for a change only."""
        known = self._kept.get(self._key(op, token)) if op.method == "GET" else None
        return {} if known is None else {"If-None-Match": known[0]}

    def completed(self, op: Op[Any], token: str, response: httpx.Response) -> httpx.Response:
        """The answer itself, or for a 304 the one that is known; remembers new ones."""
        key = self._key(op, token)
        if response.status_code == 304 and key in self._kept:
            return self._kept[key][1]
        etag = response.headers.get("etag")
        if op.method == "GET" and etag and response.is_success and len(response.content) <= MAX_KEPT_BYTES:
            self._kept[key] = (etag, response)
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
        return response

    @staticmethod
    def _key(op: Op[Any], token: str) -> tuple[str, str, str]:
        return op.path, repr(sorted(op.params.items())), token
