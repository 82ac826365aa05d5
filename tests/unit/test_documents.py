"""What the documents say about settings, commands and files is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.cli import COMMANDS
from app.config import Settings
from app.config_names import FILE_SUFFIX, may_come_from_a_file, setting_name
from scripts.requirements_in_step import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown(default: object) -> str:
    if default is None or default == "":
        return "none" if default is None else "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(ENCORE_\w+)` \| (.+?) \| .+ \|$", text, re.MULTILINE))
    real = {setting_name(name): shown(field.default) for name, field in Settings.model_fields.items()}
    assert documented == real, f"docs/configuration.md: {set(documented.items()) ^ set(real.items())}"


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"encore {name}" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_every_setting_that_the_documents_name_exists() -> None:
    known = {setting_name(name) for name in Settings.model_fields} | {"ENCORE_CONFIG_FILE", "ENCORE_BENCH_DATA"}
    known |= {setting_name(name) + FILE_SUFFIX for name in Settings.model_fields if may_come_from_a_file(name)}
    for document in DOCUMENTS:
        named = set(re.findall(r"\bENCORE_[A-Z0-9_]+\b", document.read_text(encoding="utf-8")))
        unknown = {name for name in named - known if not name.startswith("ENCORE_TEST_")}  # addresses for tests
        assert unknown <= {"ENCORE_SERVICE_HOST", "ENCORE_URL", "ENCORE_TOKEN"}, document  # of callers


LAST = {"E": 11, "T": 6, "C": 7, "D": 5, "M": 8, "V": 24}
PROMISES = {f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)} | {"O3", "O6", "A1"}


def exists(witness: str) -> bool:
    """Whether a test (`folder/test_x.py::TestY::test_z`), a command or a target of make is there."""
    if witness.startswith("make "):
        return f"\n{witness.removeprefix('make ')}: " in (ROOT / "Makefile").read_text(encoding="utf-8")
    if witness.startswith("python -m "):
        return (ROOT / (witness.removeprefix("python -m ").replace(".", "/") + ".py")).exists()
    path, *names = witness.split("::")
    file = ROOT / "tests" / path
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return bool(text) and all(re.search(rf"^ *(async def|def|class) {name}\b", text, re.MULTILINE) for name in names)


def test_every_promise_names_tests_and_commands_that_exist() -> None:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]\d+) \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    shown = {promise: re.findall(r"`([^`]+)`", cell) for promise, cell in rows}
    assert shown.keys() == PROMISES
    assert all(shown.values())
    named = {witness for witnesses in shown.values() for witness in witnesses if "ENCORE_TEST_" not in witness}
    assert [witness for witness in sorted(named) if not exists(witness)] == []


def test_every_document_that_the_code_cites_is_in_the_repository() -> None:
    for folder in ("app", "benchmarks", "scripts", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            for cited in re.findall(r"\bdocs/[\w/-]+\.md\b", text):
                assert (ROOT / cited).exists(), (path, cited)
            for number in re.findall(r"\b(?:ADR |adr/)(\d{4})\b", text):
                assert any((ROOT / "docs" / "adr").glob(f"{number}-*.md")), (path, number)
            assert not re.search(r"(?<![\w/])(design|reliability|performance)( §|\.md| bars?\b)", text), path
