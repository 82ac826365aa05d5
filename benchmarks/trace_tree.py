"""Two traces of the whole topology as a collector receives them: `python -m benchmarks.trace_tree`.

A rating through Kafka until the list it changes, and a training from the request to the promotion: HTTP → Celery → a
process of its own → outbox → Kafka. Starts the stack of docker-compose.yml on local servers (tests.servers.stack);
prints each tree and one line of figures; exit 1 where a step or a process is missing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from app import spans
from app.infrastructure.tracing import open_tracing
from benchmarks.machine import report
from tests.servers.collector import Collector, SeenSpan, collecting, tree
from tests.servers.generated_ratings import taste_ratings
from tests.servers.scenario import StepError, fresh, store, train
from tests.servers.stack import Stack

EVENT_STEPS = (
    "process profile-service.video-rated",
    "decode",
    "store",
    "invalidate",
    "GET /api/v1/recs/{user_id}",
    "rank",
)
TRAINING_STEPS = (
    "POST /api/v1/recs/train",
    "send encore.trainings",
    "process encore.trainings",
    "training",
    "promote",
    "S3 PutObject",
    "send recommendation-service.model-training-completed",
)


def main() -> int:
    """Run both; 1 if a tree lacks a step, or fewer processes than promised took part."""
    with collecting() as collector:
        tracing = open_tracing(collector.url, "0", "client", 1.0)
        assert tracing is not None
        stack = Stack({"ENCORE_TRACES_URL": collector.url, "ENCORE_TRAIN_TIME_BUDGET_SECONDS": "5"})
        try:
            stack.start(lambda line: print(line, file=sys.stderr, flush=True))
            ratings = taste_ratings()
            store(stack, ratings)
            with spans.traced(None, "client: train"):
                training = spans.traceparent()
                train(stack)
            with spans.traced(None, "client: rate and look"):
                event = spans.traceparent()
                fresh(stack, ratings[0].user_id)
            tracing.shut_down()
            time.sleep(6)  # the processes export every five seconds
        finally:
            stack.stop()
        shown = [show(collector, event, EVENT_STEPS, 3), show(collector, training, TRAINING_STEPS, 4)]
    return 0 if all(shown) else 1


def show(collector: Collector, traceparent: str | None, steps: Sequence[str], processes: int) -> bool:
    """Print a tree and what it consists of; whether it is whole."""
    found = collector.trace((traceparent or "").split("-")[1])
    problem = incomplete(found, steps, processes)
    print(tree(found) + "\n", flush=True)
    report("trace_tree", "spans", len(found), "spans", processes=len({each.process for each in found}), problem=problem)
    return problem is None


def incomplete(found: Sequence[SeenSpan], steps: Sequence[str], processes: int) -> str | None:
    """What a trace lacks; None if it is one tree with every step and as many processes."""
    names, ids = {each.name for each in found}, {each.span_id for each in found}
    missing = [step for step in steps if step not in names]
    outside = {each.parent_id for each in found if each.parent_id not in ids}
    if missing:
        return f"no span: {json.dumps(missing)}"
    if len(outside) != 1:
        return f"{len(outside)} trees"
    took_part = len({each.process for each in found})
    return None if took_part >= processes else f"only {took_part} processes"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StepError as error:
        sys.exit(str(error))
