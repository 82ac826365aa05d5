"""What the README shows works when pasted: its shell blocks are run in order, in one shell, on the demo's data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import ROOT, free_port

SECTIONS = ("Your data", "Serve", "HTTP", "Events")
WAIT_UNTIL_READY = "for _ in $(seq 300); do curl -sf {address}/health/ready > /dev/null && break; sleep 0.2; done"


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    return [block for name in SECTIONS for block in re.findall(r"```bash\n(.*?)```", sections[name], re.DOTALL)]


def script(port: int) -> str:
    """The blocks, with the server in the background and on a free port."""
    address = f"http://127.0.0.1:{port}"
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"]
    for line in "\n".join(blocks()).replace("http://127.0.0.1:8080", address).splitlines():
        if line.startswith("encore serve"):
            lines += ["encore serve > serve.log 2>&1 &", WAIT_UNTIL_READY.format(address=address)]
        else:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("openssl") is None, reason="curl or openssl is missing"
)
def test_the_shell_blocks_of_the_readme_work_when_pasted(tmp_path: Path) -> None:
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    environment = {**inherited, "PATH": path, "OMP_NUM_THREADS": "1", "ENCORE_TRAIN_TIME_BUDGET_SECONDS": "5"}

    def shell(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", text],
            cwd=tmp_path,
            env={**environment, "ENCORE_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    prepared = shell("encore demo --no-serve")
    assert prepared.returncode == 0, prepared.stderr
    done = shell(script(port))
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    assert 'is_fallback":false' in done.stdout.replace(" ", "")
    assert '"accepted":1' in done.stdout.replace(" ", "")
