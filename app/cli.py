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

from app.commands.shared import guarded


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and the line that `encore --help` shows for it."""

    module: str
    summary: str


COMMANDS: Mapping[str, Entry] = {
    "demo": Entry("demo", "Generate a small catalogue, train, serve, and print what to try."),
    "serve": Entry("serve", "Serve lists over HTTP."),
    "consume": Entry("consume", "Take in events from Kafka."),
    "worker": Entry("workers", "Run trainings and scheduled work for Celery."),
    "beat": Entry("workers", "Send the ticks that scheduled work hangs on."),
    "migrate": Entry("data", "Bring the database schema up to date."),
    "import": Entry("data", "Take in interactions, items or users from files."),
    "export": Entry("data", "Write interactions, items or users to a file."),
    "train": Entry("train", "Train, judge and, if it is better, promote a model."),
    "evaluate": Entry("evaluate", "Measure a model, or the default pipeline on anybody's data."),
    "kpis": Entry("kpis", "Show what people did in the last days."),
    "models": Entry("models", "List, show, promote and roll back models."),
    "recommend": Entry("recommend", "Show a user's list."),
    "similar": Entry("recommend", "Show what is like an item."),
    "token": Entry("credentials", "Make a token for a user or an operator (HS256 secrets only)."),
    "api-keys": Entry("credentials", "Create, list and revoke service credentials."),
    "dead-letters": Entry("dead_letters", "List, show and replay what could not be taken in."),
    "outbox": Entry("consume", "Show, or send, what waits to go out."),
    "openapi": Entry("serve", "Print the OpenAPI document of the HTTP interface."),
    "asyncapi": Entry("consume", "Print the AsyncAPI document of the topics."),
    "config": Entry("ops", "Show the settings in force, secrets masked."),
    "doctor": Entry("ops", "Try every dependency and say what to do."),
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
        with guarded():
            app(prog_name="encore")
    except typer.Exit as done:
        sys.exit(done.exit_code)


if __name__ == "__main__":
    main()
