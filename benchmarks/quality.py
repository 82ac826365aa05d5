"""`make bench-quality`: the rows Q1–Q7, each in a process of its own so that its peak memory is its own.

    python -m benchmarks.quality [Q1 Q2 …] [--seeds 3]

One JSON line per row, then a table. Data: ENCORE_BENCH_DATA.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

ROWS = ("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")


def main() -> int:
    """Exit 1 if any bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=ROWS, choices=[*ROWS, []])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    results = [measure(row, given.seeds) for row in given.rows or ROWS]
    print()
    for result in results:
        show(result)
    return 0 if all(result["passed"] for result in results) else 1


def measure(row: str, seeds: int) -> dict[str, object]:
    """Run one row in a fresh process and print its JSON line."""
    command = [sys.executable, "-m", "app.cli", "evaluate", "--benchmark", row, "--seeds", str(seeds), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=3_600)
    lines = done.stdout.strip().splitlines()
    result: dict[str, object] = (
        json.loads(lines[-1])
        if lines
        else {"benchmark": row, "passed": False, "missed": [f"exit {done.returncode}"], "measured": {}}
    )
    print(json.dumps(result), flush=True)
    return result


def show(result: dict[str, object]) -> None:
    """One row for people."""
    state = "passed" if result["passed"] else f"MISSED {result['missed']}"
    print(f"{result['benchmark']}  {state}  {result.get('what', '')}")
    for label in ("measured", "must", "moonshot"):
        print(f"    {label:9} {result.get(label)}")
    for name, figures in dict(result.get("beside", {})).items():  # type: ignore[call-overload] # JSON made by us
        print(f"    {name:9} {figures}")
    print(f"    seconds {result.get('seconds')} (limit {result.get('seconds_limit')})", end="")
    print(f"  peak {result.get('peak_megabytes')} MB (limit {result.get('megabytes_limit')})")


if __name__ == "__main__":
    sys.exit(main())
