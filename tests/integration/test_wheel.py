"""An installed wheel migrates: it holds the migrations that the repository has at its top level."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.requirements_in_step import ROOT


def test_the_wheel_holds_every_migration(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    inside = "app/infrastructure/database/migrations/"
    held = {name.removeprefix(inside) for name in zipfile.ZipFile(wheel).namelist() if name.startswith(inside)}
    wanted = {str(path.relative_to(ROOT / "alembic")) for path in (ROOT / "alembic").rglob("*.py")}
    assert {"env.py", "versions/0001_first_tables.py"} <= wanted <= held
