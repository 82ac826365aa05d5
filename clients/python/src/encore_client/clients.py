"""The two clients: the same rules, with and without asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from encore_client import ops, rules
from encore_client.errors import ProblemError, problem_of
from encore_client.live import LiveState, LiveUpdate, time_limits
from encore_client.ops import Op, Pages
from encore_client.rules import KnownAnswers, Outcome, RetryPolicy

T = TypeVar("T")
Token = str | Callable[[], str]
"""A token or an API key, or what gives one: asked before every request, so that it may be renewed."""


def _value(token: Token) -> str:
    return token if isinstance(token, str) else token()


def _arguments(op: Op[Any], token: str, condition: Mapping[str, str]) -> dict[str, Any]:
    query = {name: value for name, value in op.params.items() if value is not None}
    headers = {"Authorization": f"Bearer {token}", **op.headers, **condition}
    return {"method": op.method, "url": op.path, "params": _texts(query), "json": op.json, "headers": headers}


def _texts(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}


def _live_arguments(state: LiveState, token: str, timeout: float) -> dict[str, Any]:
    query = _texts({name: value for name, value in state.op.params.items() if value is not None})
    limits = time_limits(timeout)
    return {"method": "GET", "url": state.op.path, "params": query, "headers": state.headers(token), "timeout": limits}


class Encore:
    """Without asyncio. Threads may share one. `timeout`: seconds for each try; `etag_entries`: answers remembered."""

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        etag_entries: int = 100,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout, transport=transport)
        self._token = token
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._known = KnownAnswers(etag_entries)
        self._sleep = sleep

    def run(self, op: Op[T], *, retry: RetryPolicy | None = None) -> T:
        """The answer of one operation. Raises what is in errors.py."""
        policy, attempt = retry or self._retry, 0
        while True:
            outcome = self._once(op)
            delay = rules.wait_before(attempt, outcome, op, policy)
            if delay is None:
                return rules.result(outcome)  # type: ignore[no-any-return]  # an operation knows what it answers
            self._sleep(delay)
            attempt += 1

    def _once(self, op: Op[Any]) -> Outcome:
        token = _value(self._token)
        try:
            response = self._http.request(**_arguments(op, token, self._known.condition(op, token)))
        except httpx.TransportError as error:
            return rules.failure(error)
        return self._known.completed(op, token, response)

    def each(self, pages: Pages[T]) -> Iterator[T]:
        """Every entry of a listing, a page at a time."""
        page: Any = self.run(pages.first)
        yield from pages.entries(page)
        while cursor := page["pagination"]["next_cursor"]:
            page = self.run(pages.after(cursor))
            yield from pages.entries(page)

    def live_list(self, user_id: str, *, last_id: str | None = None, **query: Any) -> Iterator[LiveUpdate]:
        """A user's list now, and again each time it changes, for ever: connections that end are opened again.

        `last_id`: of the list that is shown already. Raises what another try would not help (401, 403, 422).
        """
        state = LiveState(ops.live_list(user_id, **query), self._retry, last_id)
        while True:
            error: Exception | None = None
            try:
                yield from self._live_connection(state)
            except (ProblemError, httpx.TransportError) as caught:
                error = caught
            self._sleep(state.wait(error))

    def _live_connection(self, state: LiveState) -> Iterator[LiveUpdate]:
        request = _live_arguments(state, _value(self._token), self._timeout)
        with self._http.stream(**request) as response:
            if not response.is_success:
                response.read()
                raise problem_of(response)
            for line in response.iter_lines():
                yield from state.line(line)
                if state.is_ended:
                    return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class AsyncEncore:
    """With asyncio. A cancelled task ends its request and its waiting at once."""

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        etag_entries: int = 100,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, timeout=timeout, transport=transport)
        self._token = token
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._known = KnownAnswers(etag_entries)

    async def run(self, op: Op[T], *, retry: RetryPolicy | None = None) -> T:
        """The answer of one operation. Raises what is in errors.py."""
        policy, attempt = retry or self._retry, 0
        while True:
            outcome = await self._once(op)
            delay = rules.wait_before(attempt, outcome, op, policy)
            if delay is None:
                return rules.result(outcome)  # type: ignore[no-any-return]  # an operation knows what it answers
            await asyncio.sleep(delay)
            attempt += 1

    async def _once(self, op: Op[Any]) -> Outcome:
        token = _value(self._token)
        try:
            response = await self._http.request(**_arguments(op, token, self._known.condition(op, token)))
        except httpx.TransportError as error:
            return rules.failure(error)
        return self._known.completed(op, token, response)

    async def each(self, pages: Pages[T]) -> AsyncIterator[T]:
        """Every entry of a listing, a page at a time."""
        page: Any = await self.run(pages.first)
        for entry in pages.entries(page):
            yield entry
        while cursor := page["pagination"]["next_cursor"]:
            page = await self.run(pages.after(cursor))
            for entry in pages.entries(page):
                yield entry

    async def live_list(self, user_id: str, *, last_id: str | None = None, **query: Any) -> AsyncIterator[LiveUpdate]:
        """A user's list now, and again each time it changes, for ever: connections that end are opened again.

        `last_id`: of the list that is shown already. Raises what another try would not help (401, 403, 422).
        """
        state = LiveState(ops.live_list(user_id, **query), self._retry, last_id)
        while True:
            error: Exception | None = None
            try:
                request = _live_arguments(state, _value(self._token), self._timeout)
                async with self._http.stream(**request) as response:
                    if not response.is_success:
                        await response.aread()
                        raise problem_of(response)
                    async for line in response.aiter_lines():
                        for update in state.line(line):
                            yield update
                        if state.is_ended:
                            break
            except (ProblemError, httpx.TransportError) as caught:
                error = caught
            await asyncio.sleep(state.wait(error))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()
