"""`encore demo` does what its first screen says, and the lines it prints work when pasted."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.processes import ROOT, free_port

OFFER_TIMEOUT_SECONDS = 180


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "app.cli", "demo", "--json", "--folder", str(folder / "demo"), *options]
    with (folder / "demo.log").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], OFFER_TIMEOUT_SECONDS)
        line = process.stdout.readline() if ready else ""
        assert line, (folder / "demo.log").read_text()[-2_000:]
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def paste(line: str) -> dict[str, Any]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_first_run_offers_lines_that_work_and_a_second_run_reuses_what_is_there(tmp_path: Path) -> None:
    with demo(tmp_path, "--port", str(free_port())) as (process, offer):
        shown, sent, changed = (paste(line) for line in offer["curl"])
        first = shown["recommendations"][0]
        assert shown["is_fallback"] is False
        assert first["reasons"]
        assert first["title"]
        assert "accepted" in json.dumps(sent)
        assert first["item_id"] not in [entry["item_id"] for entry in changed["recommendations"]]
        # Ctrl-C in a terminal reaches the whole group.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0

    settings = yaml.safe_load((tmp_path / "demo" / "encore.yaml").read_text())
    assert stat.S_IMODE((tmp_path / "demo" / "encore.yaml").stat().st_mode) == 0o600
    assert len(settings["jwt_secret"]) >= 43

    with demo(tmp_path) as (process, again):
        assert again["first_list"]["model"]["version"] == 1
        assert again["first_list"]["recommendations"][0]["item_id"] == changed["recommendations"][0]["item_id"]
        process.terminate()
        assert process.wait(30) == 0
    assert "found" not in (tmp_path / "demo.log").read_text(), "remarks are for people, not for --json"


def test_a_port_that_was_asked_for_and_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "app.cli", "demo", "--port", str(port), "--folder", str(tmp_path / "d")]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"encore: ENCORE_PORT: port {port} is in use; give another with --port"
