"""The check that compiled requirements belong to pyproject.toml finds every way in which they may not."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from scripts.requirements_in_step import APART, CONSOLE, DIRECT, ROOT, SERVING, examine

HASH = "    --hash=sha256:" + "0" * 64


def compiled(*pins: str) -> str:
    return "".join(f"{pin} \\\n{HASH}\n    # via {DIRECT})\n" for pin in pins)


GOOD = {
    "runtime.txt": compiled("alpha==1.2", "beta-gamma==3.0 ; python_full_version < '3.12'"),
    "dev.txt": compiled("alpha==1.2", "beta-gamma==3.0", "delta==0.1"),
    "serving.txt": compiled("alpha==1.2"),
    "console.txt": compiled("alpha==1.2"),
}
PROJECT: dict[str, object] = {
    "project": {
        "dependencies": ["alpha>=1"],
        "optional-dependencies": {"x": ["Beta_Gamma[y]>=2"], "torch": ["torch>=2"]},
    },
    "dependency-groups": {"dev": ["delta"]},
}


def test_files_in_step_have_no_problem() -> None:
    assert examine(PROJECT, GOOD) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("runtime.txt", "alpha==1.2", "other==1.2", "alpha is not pinned"),
        ("runtime.txt", "alpha==1.2", "alpha==0.9", "alpha 0.9 is not >=1"),
        ("runtime.txt", HASH, "", "alpha has no hash"),
        ("dev.txt", "alpha==1.2", "alpha==1.3", "alpha differs from the 1.2"),
        ("serving.txt", "alpha==1.2", "alpha==1.1", "alpha differs from the 1.1"),
        ("console.txt", "alpha==1.2", "alpha==1.1", "alpha differs from the 1.1"),
        (
            "serving.txt",
            "alpha==1.2",
            "alpha==1.2 \\\n" + HASH + f"\n    # via {DIRECT})\nbeta==1",
            "nobody asks for it",
        ),
        ("dev.txt", "delta==0.1", "epsilon==0.1", "epsilon is pinned, but nobody asks for it"),
        ("dev.txt", "alpha==1.2", "--index-url https://packages.test/simple\nalpha==1.2", "records a download address"),
    ],
)
def test_every_way_to_be_out_of_step_is_found(name: str, old: str, new: str, problem: str) -> None:
    files = {**GOOD, name: GOOD[name].replace(old, new, 1)}
    assert any(problem in line for line in examine(PROJECT, files)), examine(PROJECT, files)


def test_the_makefile_locks_the_same_extras_as_the_check_expects() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lists = {name: extras.split() for name, extras in re.findall(r"^([A-Z]+) := ([a-z0-9 ]+)$", makefile, re.MULTILINE)}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert sorted([*lists["LOCKED"], *lists["CONSOLE"], *APART]) == sorted(extras)
    assert lists["SERVING"] == list(SERVING)
    assert lists["CONSOLE"] == list(CONSOLE)


@pytest.mark.parametrize(
    ("package", "floor", "why"),
    [
        ("pyjwt", "2.13.0", "CVE-2026-48526: HMAC with a public key"),
        ("starlette", "0.49.1", "quadratic Range header"),
        ("h11", "0.16", "CVE-2025-43859: request smuggling"),
        ("redis", "4.5.5", "answers of cancelled commands reached other callers"),
        ("aiokafka", "0.14", "a consumer that stalled stayed deaf"),
        ("kombu", "5.4", "a worker that reconnected stayed deaf"),
    ],
)
def test_packages_with_known_faults_are_above_them(package: str, floor: str, why: str) -> None:
    assert Version(version(package)) >= Version(floor), why


def test_the_bootstrap_file_pins_everything_by_hash() -> None:
    lines = Path(ROOT / "requirements" / "bootstrap.txt").read_text().split("\n")
    pins = [line for line in lines if re.match(r"[a-z]", line)]
    assert pins
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
