"""Run benchmarks, each in a process of its own, and pass on what they print: one JSON line per figure.

python -m benchmarks                 all of them
python -m benchmarks training_time   some of them
"""

from __future__ import annotations

import subprocess
import sys

ALL = ("import_rate", "training_time", "cached_lists", "miss_path", "freshness")
TIMEOUT_SECONDS = 900


def main() -> int:
    """Exit 1 if one of them failed; the others still run."""
    names = sys.argv[1:] or ALL
    failed = []
    for name in names:
        try:
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, timeout=TIMEOUT_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            sys.stderr.write(f"benchmarks.{name}: {error}\n")
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
