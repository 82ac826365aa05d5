"""What a figure is printed with: one JSON object a line, and the facts of the machine that made it."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


@cache
def facts() -> Mapping[str, object]:
    """Processor, cores this process may use, memory, Python and day."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    return {
        "cpu": _found(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo") or platform.processor() or "unknown",
        "cores": len(cores),
        "memory_gb": round(int(_found(r"^MemTotal:\s*(\d+) kB", "/proc/meminfo") or 0) / 1_048_576, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def report(benchmark: str, figure: str, value: float, unit: str, **more: object) -> None:
    """Print one figure. `more` are what it was measured with (sizes, connections, ratios)."""
    rounded = float(f"{value:.4g}")
    line = {"benchmark": benchmark, "figure": figure, "value": rounded, "unit": unit, **more, "machine": facts()}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def resident_bytes(pid: int) -> int:
    """The memory a process holds now (Linux: VmRSS)."""
    return int(_found(r"^VmRSS:\s*(\d+) kB", f"/proc/{pid}/status") or 0) * 1_024


def processor_seconds(pid: int) -> float:
    """Processor time of a process and of its living and ended children (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        families = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for family in families for child in family.read_text().split()]
    except OSError:
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime, cutime, cstime
    return own + sum(map(processor_seconds, children))


def _found(pattern: str, path: str) -> str | None:
    try:
        match = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return match[1].strip() if match else None
