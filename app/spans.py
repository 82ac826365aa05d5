"""Spans: where a trace enters this process, what happens within it, and how it leaves for the next process.

While nobody collects (`ENCORE_TRACES_URL` is not set) each of these is one comparison. While somebody does, a request
is decided about before the SDK is touched, and what is not sampled makes no spans (docs/adr/0029). Names and attributes
are OpenTelemetry's stable semantic conventions, without those that hold paths, queries, addresses or statements: no
attribute may name a person.
"""

from __future__ import annotations

import contextvars
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import ParamSpec, TypeVar

from opentelemetry import context, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

P = ParamSpec("P")
T = TypeVar("T")

Attributes = Mapping[str, str | int | float | bool]

MAX_LINKS = 64
"""Further traces that one batch belongs to are not named."""

_PROPAGATOR = TraceContextTextMapPropagator()
NO_SPAN: AbstractContextManager[None] = nullcontext()
"""Entered where nothing is recorded."""


class _Collecting:
    """What the process is told once, at its start: who makes spans, and which share of requests begins a trace."""

    tracer: trace.Tracer | None = None
    share: float = 0.0


def collect(tracer: trace.Tracer, share: float) -> None:
    """From now on make spans; a request without a caller's trace begins one with this probability."""
    _Collecting.tracer, _Collecting.share = tracer, share


def stop_collecting(tracer: trace.Tracer) -> None:
    """Make no more spans, unless another tracer has taken over."""
    if _Collecting.tracer is tracer:
        _Collecting.tracer = None


def is_collecting() -> bool:
    """Whether anybody wants spans."""
    return _Collecting.tracer is not None


# ── within a trace ───────────────────────────────────────────────────────────────────────────────────────────────────


def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[Span | None]:
    """A part of what is being recorded; nothing where nothing is. Never begins a trace."""
    tracer = _Collecting.tracer
    if tracer is None or not trace.get_current_span().is_recording():
        return NO_SPAN
    return _entered(tracer.start_span(name, kind=kind, attributes=attributes))


def begun(name: str, kind: SpanKind, attributes: Attributes) -> Span | None:
    """As `span`, for what ends in another function: the caller ends it."""
    tracer = _Collecting.tracer
    if tracer is None or not trace.get_current_span().is_recording():
        return None
    return tracer.start_span(name, kind=kind, attributes=attributes)


def past(name: str, start_ns: int, end_ns: int) -> None:
    """A part that is over, between two Unix times in nanoseconds."""
    tracer = _Collecting.tracer
    if tracer is not None and trace.get_current_span().is_recording():
        tracer.start_span(name, start_time=start_ns).end(end_ns)


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """`work` for another thread, with the trace of this one."""
    if _Collecting.tracer is None or not trace.get_current_span().is_recording():
        return work
    return partial(contextvars.copy_context().run, work)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Within the same trace, but without spans: for what is repeated all the time."""
    inside = trace.get_current_span().get_span_context()
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(inside)))
    try:
        yield
    finally:
        context.detach(token)


def exemplar() -> dict[str, str] | None:
    """The labels by which a figure in /metrics points at the trace it was measured in; None outside a recorded one."""
    if _Collecting.tracer is None:
        return None
    found = trace.get_current_span().get_span_context()
    if not found.trace_flags.sampled:
        return None
    return {"trace_id": trace.format_trace_id(found.trace_id), "span_id": trace.format_span_id(found.span_id)}


# ── into this process ────────────────────────────────────────────────────────────────────────────────────────────────


def request(parent: str | None) -> AbstractContextManager[Span | None]:
    """The span of one HTTP request: of the caller's trace, or of a new one for a share of those who bring none.

    Decided before the SDK is asked, whose own sampler costs more than a cached list (docs/adr/0029).
    """
    tracer = _Collecting.tracer
    if tracer is None:
        return _attached(parent) if parent else NO_SPAN
    caller = _parsed(parent)
    if caller is None:
        if random.random() >= _Collecting.share:  # noqa: S311 - which requests are traced is no secret
            return NO_SPAN
    elif not _is_sampled(caller):
        return _attached(parent)
    return _entered(tracer.start_span("HTTP", caller or context.Context(), SpanKind.SERVER))


@contextmanager
def traced(parent: str | None, name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span | None]:
    """Do the body as part of the trace that a W3C traceparent names, or of a new one where there is none.

    Without an SDK no span is made: the ids go on unchanged, as the recommendation asks of who only hands them on.
    """
    tracer = _Collecting.tracer
    entered: AbstractContextManager[Span | None] = (
        _attached(parent)
        if tracer is None
        else _entered(tracer.start_span(name, _parsed(parent) or context.Context(), kind))
    )
    with entered as made:
        yield made


@contextmanager
def batch(
    name: str, parents: Sequence[str], decoding: tuple[int, int], attributes: Attributes
) -> Iterator[Span | None]:
    """What is done at once for messages of several traces: part of the first, linked to the others.

    It began with `decoding` (Unix times in nanoseconds), its first stage. Nothing where no message brought a sampled
    trace.
    """
    tracer = _Collecting.tracer
    found = [caller for parent in parents[: 1 + MAX_LINKS] if (caller := _parsed(parent)) and _is_sampled(caller)]
    if tracer is None or not found:
        yield None
        return
    links = [Link(trace.get_current_span(caller).get_span_context()) for caller in found[1:]]
    made = tracer.start_span(name, found[0], SpanKind.CONSUMER, attributes, links, start_time=decoding[0])
    with _entered(made):
        past("decode", *decoding)
        yield made


# ── out of this process ──────────────────────────────────────────────────────────────────────────────────────────────


def traceparent() -> str | None:
    """The current span as W3C Trace Context (https://www.w3.org/TR/trace-context/), to travel with a message.

    None outside a trace.
    """
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def sending(name: str, parent: str | None, attributes: Attributes) -> Span | None:
    """The span of one message on its way, to be ended by the caller; None where its trace is not recorded."""
    tracer = _Collecting.tracer
    if tracer is None or parent is None:
        return None
    caller = _parsed(parent)
    if caller is None or not _is_sampled(caller):
        return None
    return tracer.start_span(name, caller, SpanKind.PRODUCER, attributes)


def traceparent_of(made: Span) -> str:
    """A span as W3C Trace Context."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(made, context.Context()))
    return carrier["traceparent"]


def with_trace(parent: str | None) -> dict[str, str]:
    """The environment of a process that goes on with a trace: it finds it in TRACEPARENT, as is the custom.

    https://opentelemetry.io/docs/specs/otel/context/env-carriers/
    """
    inherited = {name: value for name, value in os.environ.items() if name != "TRACEPARENT"}
    return {**inherited, "TRACEPARENT": parent} if parent else inherited


def failed(made: Span, error_type: str) -> None:
    """Mark a span as failed. The error's text is left out: it may quote what a person sent."""
    made.set_attribute("error.type", error_type)
    made.set_status(Status(StatusCode.ERROR))


def now_ns() -> int:
    """Unix time in nanoseconds, as spans have it."""
    return time.time_ns()


@contextmanager
def _entered(made: Span) -> Iterator[Span]:
    token = context.attach(trace.set_span_in_context(made))
    try:
        yield made
    except BaseException as error:
        failed(made, type(error).__name__)
        raise
    finally:
        context.detach(token)
        made.end()


@contextmanager
def _attached(parent: str | None) -> Iterator[None]:
    """The ids of a trace that is not recorded here; of a new one where `parent` names none."""
    caller = _parsed(parent)
    token = context.attach(caller or trace.set_span_in_context(trace.NonRecordingSpan(_new_trace()), context.Context()))
    try:
        yield
    finally:
        context.detach(token)


def _parsed(parent: str | None) -> context.Context | None:
    """The context a traceparent names; None where it names none."""
    if not parent:
        return None
    found = _PROPAGATOR.extract({"traceparent": parent}, context.Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def _is_sampled(caller: context.Context) -> bool:
    return trace.get_current_span(caller).get_span_context().trace_flags.sampled


def _new_trace() -> trace.SpanContext:
    return trace.SpanContext(secrets.randbits(127) + 1, secrets.randbits(63) + 1, is_remote=False)
