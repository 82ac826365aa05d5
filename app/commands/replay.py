"""`encore replay-evaluate`: a model judged by logged lists, before anybody sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app.commands.shared import JsonFlag, fail, output, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.application.reporting.replay_evaluation import ReplayResult
    from app.bootstrap import Container

DEFAULT_DAYS = 14


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay-evaluate")(replay_evaluate)


def replay_evaluate(
    model: Annotated[str, typer.Option(help="The id of a model: `encore models list` shows it.")],
    since: Annotated[
        datetime | None, typer.Option(help="Lists from here on (UTC); by default from the model's newest event on.")
    ] = None,
    max_lists: Annotated[
        int, typer.Option("--lists", min=1, max=1_000_000, help="The newest so many drawn places are judged.")
    ] = 20_000,
    as_json: JsonFlag = False,
) -> None:
    """What a model would earn in the explored place of lists: replay, IPS, SNIPS and doubly robust, from the log."""

    async def work(container: Container) -> tuple[ReplayResult, bool]:
        from app.application.training.training_records import read_lineage
        from app.bootstrap import make_registry, open_candidate
        from app.bootstrap_evidence import make_replay_evaluator
        from app.domain.entities import Champion
        from app.domain.exceptions import TrainingError

        version = await make_registry(container).show(model)
        try:
            learnt_until = datetime.fromtimestamp(read_lineage(Champion(version, 0)).window.last_event, UTC)
        except TrainingError:  # safe: a row that does not say what it has learnt from has learnt it before it was made
            learnt_until = version.created_at
        now = container.clock()
        start = max(learnt_until, now - timedelta(days=DEFAULT_DAYS)) if since is None else since.replace(tzinfo=UTC)
        if start >= now:
            fail("--since lies in the future")
        serving = await open_candidate(container, model)
        found = await make_replay_evaluator(container).evaluate(serving, start, now, max_lists=max_lists)
        return found, start < learnt_until

    found, has_learnt_from_it = run(work)
    out = output(as_json)
    if has_learnt_from_it:
        out.note("the model has learnt from part of this time: it will look better than it is")
    out.note(
        f"{found.judged:,} drawn places of {found.lists:,} lists since {found.since.isoformat()}; effective sample "
        f"{found.value.estimates.effective_sample_size:,.0f}, support {found.value.support:.2f}"
    )
    value = found.value
    rows = [
        (name, f"{one.value:.4f}", f"{one.low:.4f} to {one.high:.4f}")
        for name, one in (
            ("doubly robust", value.estimates.doubly_robust),
            ("SNIPS", value.estimates.snips),
            ("IPS", value.estimates.ips),
            (f"replay ({value.matched:,} matches)", value.replay),
            ("the logging policy itself", value.logging_policy),
        )
    ]
    data = {**msgspec.to_builtins(found), "model": model, "has_learnt_from_it": has_learnt_from_it}
    out.table(data, ("estimate", "outcomes per place", "95 %"), rows)
