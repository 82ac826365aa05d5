"""The wheel and the sdist work away from this folder: built, installed, and `encore demo` is run with them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from benchmarks.processes import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def run(command: list[str], folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ENCORE_", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as an installer would where there is no wheel."""
    folder = tmp_path_factory.mktemp("built")
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], ROOT)
    [sdist] = folder.glob("*.tar.gz")
    run(["tar", "xzf", str(sdist)], folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], source)
    [built] = folder.glob("*.whl")
    return built


def test_the_installed_wheel_runs_the_demo_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    assert VERSION in wheel.name
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    [packages] = home.glob("lib/python*/site-packages")
    run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)], tmp_path)
    # What it depends on is what the tests run with; a path in a .pth file brings no editable install along.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    where = run([str(python), "-c", "import app; print(app.__file__)"], tmp_path).strip()
    assert where.startswith(str(packages))
    outside = tmp_path / "outside"
    outside.mkdir()
    ready = json.loads(run([str(home / "bin" / "encore"), "demo", "--no-serve", "--json"], outside))
    assert (outside / ready["folder"] / "encore.db").exists()
    config = {"ENCORE_CONFIG_FILE": str(outside / ready["folder"] / "encore.yaml")}
    listed = subprocess.run(
        [str(home / "bin" / "encore"), "recommend", "user-002", "--json"],
        cwd=outside,
        env={"PATH": os.environ["PATH"], **config},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert len(json.loads(listed.stdout)["recommendations"]) == 10


def test_the_version_of_every_package_is_that_of_the_service() -> None:
    found = {"service": VERSION}
    for name in ("typescript", "nestjs"):
        package = json.loads((ROOT / "clients" / name / "package.json").read_text(encoding="utf-8"))
        found[name] = package["version"]
        for of_ours, version in package["dependencies"].items():
            if of_ours.startswith("@encore-recs/"):
                found[f"{name} → {of_ours}"] = version
    client = tomllib.loads((ROOT / "clients" / "python" / "pyproject.toml").read_text(encoding="utf-8"))
    found["python"] = client["project"]["version"]
    assert set(found.values()) == {VERSION}, found


def test_no_lock_file_says_where_packages_are_downloaded_from() -> None:
    lock = (ROOT / "clients" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved": "http' not in lock
    assert re.search(r'"integrity": "sha512-', lock)
