"""What every command shares: settings and container, one clear line for errors, results, progress.

    def register(app: typer.Typer) -> None:
        @app.command("count")
        def count(as_json: JsonFlag = False) -> None:
            '''How many interactions there are.'''
            number = run(lambda container: container.database.interactions.count())
            output(as_json).result({"interactions": number}, f"{number:,} interactions")

Results go to stdout, everything else to stderr. Heavy imports belong inside the command.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from app.domain.exceptions import EncoreError

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from rich.progress import TaskID

    from app.bootstrap import Container
    from app.config import Settings

T = TypeVar("T")
FAILED = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
TERMINATED = 143
"""128 + SIGTERM, for commands that handle it by cancelling their work."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def run(work: Callable[[Container], Awaitable[T]], **overrides: object) -> T:
    """Load the settings, open the container, await `work(container)`, close. Errors end the process (see `guarded`).

    `overrides` are settings by field name, for flags such as `--seed`.
    """
    with exit_on_error():
        settings = prepare(**overrides)
        return asyncio.run(_with_container(settings, work))


async def _with_container(settings: Settings, work: Callable[[Container], Awaitable[T]]) -> T:
    from app.bootstrap import open_container

    async with open_container(settings) as container:
        return await work(container)


def prepare(**overrides: object) -> Settings:
    """Load the settings and send logs to stderr; commands log warnings only, unless ENCORE_LOG_LEVEL says more."""
    from app.config import load_settings
    from app.log_format import configure_logging

    settings = load_settings(**overrides)
    level = settings.log_level if "ENCORE_LOG_LEVEL" in os.environ else "WARNING"
    configure_logging(level, settings.log_format)
    return settings


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn errors into one clear line on stderr and exit 1; Ctrl-C into exit 130; a closed pipe into silence."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except EncoreError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except asyncio.CancelledError:
        fail("told to stop", TERMINATED)
    except BrokenPipeError:
        # Python would complain again while flushing at exit: give it somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except OSError as error:
        fail(f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:  # the last line of defence: its text may hold input or secrets
        logging.getLogger(__name__).debug("command failed", exc_info=error)
        fail(f"internal error ({type(error).__name__}); ENCORE_LOG_LEVEL=DEBUG shows where")


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Say why on stderr, in one line, and end the command."""
    from app.domain.masking import masked

    typer.echo("encore: " + " ".join(masked(message).split()), err=True)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's result goes: one JSON object, or text for people."""

    as_json: bool

    def result(self, data: Mapping[str, object], text: str | Callable[[], None]) -> None:
        """Print `data` as JSON, or `text` (or what calling it prints)."""
        if self.as_json:
            typer.echo(json.dumps(data, default=str, ensure_ascii=False, allow_nan=False))
        elif isinstance(text, str):
            typer.echo(text)
        else:
            text()

    def table(self, data: Mapping[str, object], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print `data` as JSON, or `rows` as a table."""
        self.result(data, lambda: print_table(columns, rows))

    def note(self, message: str) -> None:
        """A remark for people, on stderr; not with --json."""
        if not self.as_json:
            typer.echo(message, err=True)


def output(as_json: bool) -> Output:
    """The output of this command."""
    return Output(as_json)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table on stdout; numbers to the right, `None` as a dash."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    console = Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=200)
    console.print(table)


class ProgressBar:
    """A progress bar on stderr, or nothing when stderr is not a terminal. Use `progress(…)`."""

    def __init__(self, bar: Any, task: TaskID | None) -> None:
        self._bar = bar
        self._task = task

    def update(self, stage: str, fraction: float) -> None:
        """Show a stage and how much is done, 0–1. Callable from any thread."""
        if self._bar is not None:
            self._bar.update(self._task, description=stage, completed=fraction)

    def advance_to(self, done: int, total: int | None, unit: str = "rows") -> None:
        """Show a count; with an unknown total the bar only pulses."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{done:,} {unit}", completed=done, total=total)


@contextmanager
def progress(description: str, total: float | None = 1.0) -> Iterator[ProgressBar]:
    """Show long work: `with progress("training") as bar: bar.update("fit", 0.4)`."""
    if not sys.stderr.isatty():
        yield ProgressBar(None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield ProgressBar(bar, bar.add_task(description, total=total))
