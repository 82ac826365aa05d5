"""Do the compiled requirements still belong to pyproject.toml? Needs no network; prints what is wrong and exits 1.

Every dependency has a pin that its specifier allows, every pin has a hash, what tests use is what is shipped, nothing
is pinned for a dependency that is gone, and no file says where packages are downloaded from.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DIRECT = "encore-recs (pyproject.toml"
"""How the compiler notes that a pin is there because pyproject.toml asks for it."""

FILES = ("runtime.txt", "dev.txt", "serving.txt", "console.txt")
SERVING = ("postgres", "redis", "kafka", "s3", "celery", "otel")
"""The extras of the image that serves: every adapter, no training library (the Makefile has the same list)."""

CONSOLE = ("dashboard",)
"""The extra of the console's image; tests run with it, servers and trainers without it (the Makefile has the same)."""

APART = ("torch",)
"""Extras that no file pins: torch's wheels for Linux bring gigabytes of CUDA (the Makefile locks all others)."""

_BLOCK = re.compile(r"^(?P<pin>[A-Za-z0-9][^\s;\\]*==[^\s;\\]+)(?P<rest>(?:.*\n?)(?:[ \t]+.*\n?)*)", re.MULTILINE)
_ADDRESS = re.compile(r"^\s*(?:--(?:index-url|extra-index-url|find-links|trusted-host)|.*\w+://)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned package; a package may have several, for different Python versions."""

    name: str
    version: str
    hashes: int
    direct: bool


def read_pins(text: str) -> Sequence[Pin]:
    """The pins of a compiled requirements file."""
    pins = []
    for block in _BLOCK.finditer(text):
        name, _, version = block["pin"].partition("==")
        rest = block["rest"]
        pins.append(Pin(canonicalize_name(name.split("[")[0]), version, rest.count("--hash=sha256:"), DIRECT in rest))
    return pins


def problems(asked: Sequence[str], pins: Sequence[Pin], text: str, where: str) -> Iterator[str]:
    """What is wrong with one compiled file, given the requirements it was compiled from."""
    requirements = [Requirement(line) for line in asked]
    names = {canonicalize_name(requirement.name) for requirement in requirements}
    for requirement in requirements:
        versions = [pin.version for pin in pins if pin.name == canonicalize_name(requirement.name)]
        if not versions:
            yield f"{where}: {requirement.name} is not pinned"
        if not all(requirement.specifier.contains(version, prereleases=True) for version in versions):
            yield f"{where}: {requirement.name} {' '.join(versions)} is not {requirement.specifier}"
    for pin in pins:
        if not pin.hashes:
            yield f"{where}: {pin.name} has no hash"
        if pin.direct and pin.name not in names:
            yield f"{where}: {pin.name} is pinned, but nobody asks for it any more"
    if _ADDRESS.search(text):
        yield f"{where}: records a download address"


def disagreements(part: str, shipped: Sequence[Pin], whole: str, tested: Sequence[Pin]) -> Iterator[str]:
    """Packages that the larger file (what tests run with) has in another version than the smaller one."""
    versions = {(pin.name, pin.version) for pin in tested}
    for pin in shipped:
        if (pin.name, pin.version) not in versions:
            yield f"requirements/{whole}: {pin.name} differs from the {pin.version} of requirements/{part}"


def examine(project: Mapping[str, object], files: Mapping[str, str]) -> Sequence[str]:
    """Everything that is wrong, given the parsed pyproject.toml and the text of the compiled files by name."""
    metadata = project["project"]
    groups = project["dependency-groups"]
    assert isinstance(metadata, dict)
    assert isinstance(groups, dict)
    extras = metadata["optional-dependencies"]
    locked = (line for name, lines in extras.items() if name not in APART + CONSOLE for line in lines)
    runtime = [*metadata["dependencies"], *locked]
    serving = [*metadata["dependencies"], *(line for name in SERVING if name in extras for line in extras[name])]
    console = [*metadata["dependencies"], *(line for name in CONSOLE for line in extras.get(name, ()))]
    tested = dict.fromkeys([*runtime, *console, *groups["dev"]])
    asked = {"runtime.txt": runtime, "dev.txt": list(tested), "serving.txt": serving, "console.txt": console}
    pins = {name: read_pins(files[name]) for name in asked}
    found = [
        p for name, lines in asked.items() for p in problems(lines, pins[name], files[name], f"requirements/{name}")
    ]
    apart = {canonicalize_name(Requirement(line).name) for name in APART for line in extras.get(name, ())}
    found += [
        f"requirements/{name}: {pin.name} is pinned, but its extra is installed by hand"
        for name in asked
        for pin in pins[name]
        if pin.name in apart
    ]
    found += disagreements("runtime.txt", pins["runtime.txt"], "dev.txt", pins["dev.txt"])
    found += disagreements("serving.txt", pins["serving.txt"], "runtime.txt", pins["runtime.txt"])
    found += disagreements("console.txt", pins["console.txt"], "dev.txt", pins["dev.txt"])
    return found


def main() -> int:
    """Check the files of this repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folder = ROOT / "requirements"
    found = examine(project, {name: (folder / name).read_text(encoding="utf-8") for name in FILES})
    for line in found:
        sys.stderr.write(f"{line}\n")
    if found:
        sys.stderr.write("run `make lock`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
