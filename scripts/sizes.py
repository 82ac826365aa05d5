"""How long modules and functions are (docs/architecture.md has the targets). Exits 1 where one is far too long."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.requirements_in_step import ROOT

MAX_MODULE_LINES, MAX_FUNCTION_LINES = 300, 60
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Size:
    """Something with a name and a number of lines."""

    name: str
    lines: int


def functions(path: Path, tree: ast.Module) -> Iterator[Size]:
    """Every function of a module: the lines of its body after the docstring, comments and blank lines included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
            length = (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1
            yield Size(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", length)


def measure(package: Path) -> tuple[Sequence[Size], Sequence[Size]]:
    """(modules, functions) below a folder; modules that hold nothing but a docstring are left out."""
    modules: list[Size] = []
    found: list[Size] = []
    for path in sorted(package.rglob("*.py")):
        if "versions" in path.parts:  # a migration says in one place what one step does, however much that is
            continue
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if len(tree.body) > 1:
            modules.append(Size(str(path.relative_to(ROOT)), len(text.splitlines())))
        found += functions(path, tree)
    return modules, found


def describe(what: str, sizes: Sequence[Size]) -> Iterator[str]:
    """Median, 95th percentile and the longest few."""
    lengths = sorted(size.lines for size in sizes)
    yield f"{len(sizes)} {what}: median {statistics.median(lengths):.0f}, 95 % {lengths[int(len(lengths) * 0.95)]}"
    yield from (f"  {size.lines:4} {size.name}" for size in sorted(sizes, key=lambda size: -size.lines)[:SHOWN])


def main() -> int:
    """Print the sizes of app/."""
    modules, found = measure(ROOT / "app")
    sys.stdout.writelines(f"{line}\n" for line in (*describe("modules", modules), *describe("functions", found)))
    too_long = [size for size in modules if size.lines > MAX_MODULE_LINES]
    too_long += [size for size in found if size.lines >= MAX_FUNCTION_LINES]
    for size in too_long:
        sys.stderr.write(f"too long: {size.name} ({size.lines} lines)\n")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
