"""`encore`: one command per task. Command modules are imported only when their command runs, so help is fast."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from app.commands.shared import exit_on_error


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """Where a command lives, and the line that `encore --help` shows for it."""

    module: str
    summary: str


COMMANDS: Mapping[str, CommandEntry] = {
    "demo": CommandEntry("demo", "Generate a small catalog, train, serve, and print what to try."),
    "serve": CommandEntry("serve", "Serve lists over HTTP."),
    "consume": CommandEntry("consume", "Take in events from Kafka."),
    "worker": CommandEntry("workers", "Run trainings and scheduled work for Celery."),
    "beat": CommandEntry("workers", "Send the ticks that scheduled work hangs on."),
    "migrate": CommandEntry("data", "Bring the database schema up to date."),
    "import": CommandEntry("data", "Take in interactions, items or users from files."),
    "export": CommandEntry("data", "Write interactions, items or users to a file."),
    "train": CommandEntry("train", "Train, judge and, if it is better, promote a model."),
    "evaluate": CommandEntry("evaluate", "Measure a model, or the default pipeline on anybody's data."),
    "precompute": CommandEntry("precompute", "Make the lists of active users before they ask."),
    "kpis": CommandEntry("kpis", "Show what people did in the last days."),
    "models": CommandEntry("models", "List, show, promote and roll back models."),
    "experiments": CommandEntry("experiments", "Compare arms: create, start, pause, stop, results."),
    "requests": CommandEntry("experiments", "Show a list as it was shown."),
    "recommend": CommandEntry("recommend", "Show a user's list."),
    "similar": CommandEntry("recommend", "Show what is like an item."),
    "token": CommandEntry("credentials", "Make a token for a user or an operator (HS256 secrets only)."),
    "api-keys": CommandEntry("credentials", "Create, list and revoke service credentials."),
    "audit": CommandEntry("audit", "List, verify and export the record of administrators' acts."),
    "dead-letters": CommandEntry("dead_letters", "List, show and replay what could not be taken in."),
    "outbox": CommandEntry("consume", "Show, or send, what waits to go out."),
    "openapi": CommandEntry("serve", "Print the OpenAPI document of the HTTP interface."),
    "asyncapi": CommandEntry("consume", "Print the AsyncAPI document of the topics."),
    "config": CommandEntry("ops", "Show the settings in force, secrets masked."),
    "doctor": CommandEntry("ops", "Try every dependency and say what to do."),
}


class LazyGroup(TyperGroup):
    """Lists commands from the table; imports the module of the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=entry.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """Import the command's module, let it register, and return the command."""
    commands = typer.Typer(add_completion=False)
    import_module(f"app.commands.{COMMANDS[name].module}").register(commands)
    return typer.main.get_group(commands).commands[name]


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Print the installed version and end."""
    if wanted:
        typer.echo(f"encore {installed_version('encore-recs')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Encore: a recommendation service. Every setting is an ENCORE_* variable; `encore config` shows them."""


def main() -> None:
    """The console script. Exit 0: done; 1: refused or failed, with one clear line; 2: wrong usage; 130: Ctrl-C."""
    try:
        with exit_on_error():
            app(prog_name="encore")
    except typer.Exit as done:
        sys.exit(done.exit_code)


if __name__ == "__main__":
    main()
