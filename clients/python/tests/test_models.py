"""The generated types are those of the committed document."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .conftest import ROOT

MODELS = ROOT / "clients" / "python" / "src" / "encore_client" / "models.py"


def test_the_types_are_generated_from_the_committed_document(tmp_path: Path) -> None:
    made = tmp_path / "models.py"
    script = ROOT / "clients" / "python" / "generate"
    subprocess.run([str(script), str(made)], check=True, env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    assert made.read_text() == MODELS.read_text(), "run: clients/python/generate"
