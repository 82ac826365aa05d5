"""`encore precompute`: lists of active users, made before they ask."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.shared import JsonFlag, output, run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("precompute")(precompute)


def precompute(
    users: Annotated[int | None, typer.Option(min=1, help="At most so many, the most recently active first.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make the lists of active users with the present champion, and leave them in the shared cache."""
    from app.precomputing import precompute_lists

    found = run(lambda container: precompute_lists(container, users, seconds))
    rows = [(name.replace("_", " "), str(value)) for name, value in found.facts().items()]
    output(as_json).table(found.facts(), ("figure", "value"), rows)
