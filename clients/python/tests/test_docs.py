"""What docs/clients.md shows in Python works when pasted."""

from __future__ import annotations

import re

import pytest

from .conftest import ROOT, Service

TEXT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_snippet(number: int, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_URL", service.offer["address"])
    monkeypatch.setenv("ENCORE_TOKEN", service.offer["api_key"])
    exec(compile(BLOCKS[number], f"docs/clients.md, Python block {number}", "exec"), {"__name__": "__main__"})


def test_there_are_snippets() -> None:
    assert len(BLOCKS) >= 3
