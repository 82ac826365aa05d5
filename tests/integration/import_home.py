"""`encore import` in this process, on a folder of files and a database of its own."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from app.commands import data
from app.domain.entities import Interaction, Item, User
from app.domain.stores import Database
from app.infrastructure.database import open_database

CLI = typer.Typer()
data.register(CLI)


@dataclass(frozen=True, slots=True)
class Home:
    """A folder of files and a database of its own."""

    folder: Path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, line: str) -> tuple[int, dict[str, Any], str]:
        """(exit code, the JSON on stdout, stderr) of `encore import LINE --json`, names of files within the folder."""
        arguments = [str(self.folder / one) if (self.folder / one).exists() else one for one in shlex.split(line)]
        result = CliRunner().invoke(CLI, ["import", *arguments, "--json"])
        return result.exit_code, json.loads(result.stdout or "{}"), result.stderr

    def words(self, line: str) -> list[str]:
        """A line as a shell takes it apart."""
        return shlex.split(line)

    def take(self, line: str) -> dict[str, Any]:
        """What became of the rows of an import that went well."""
        code, found, err = self.run(line)
        assert code == 0, err
        tally: dict[str, Any] = found[line.split()[0]]
        return tally

    def refuse(self, line: str) -> str:
        """What an import that is refused says."""
        code, _, err = self.run(line)
        assert code == 1
        assert err.startswith("encore: ")
        assert "internal" not in err
        return err

    async def _stored(self) -> tuple[Sequence[Interaction], Sequence[Item], Sequence[User]]:
        database: Database = await open_database(url(self.folder), pool_size=1, timeout_seconds=5, lease_seconds=60)
        try:
            events = [event async for batch in database.interactions.export() for event in batch]
            return events, await database.catalog.list_items(None, 100), await database.catalog.list_users(None, 100)
        finally:
            await database.close()

    def events(self) -> Sequence[Interaction]:
        return asyncio.run(self._stored())[0]

    def items(self) -> Mapping[str, Item]:
        return {item.item_id: item for item in asyncio.run(self._stored())[1]}

    def users(self) -> Mapping[str, User]:
        return {user.user_id: user for user in asyncio.run(self._stored())[2]}


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/encore.db"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
