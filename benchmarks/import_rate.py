"""A million generated ratings through `encore import`, from a CSV file into SQLite: rows a second and peak memory."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import report
from benchmarks.processes import Home

BENCHMARK = "import_rate"
ROWS, USERS, ITEMS = 1_000_000, 20_000, 5_000
FIRST_SECOND = 1_700_000_000


def write(path: Path, rows: int = ROWS) -> None:
    """`rows` ratings by chance, the same every time."""
    chance = random.Random(5)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["userId", "movieId", "rating", "timestamp"])
        for number in range(rows):
            writer.writerow(
                [chance.randrange(USERS), chance.randrange(ITEMS), chance.randrange(1, 11) / 2, FIRST_SECOND + number]
            )


def wait_for(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Wait for a process to end; (the most bytes it held, seconds of processor time it took)."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}")
    return usage.ru_maxrss * 1_024, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the rate of the first import and of the second, which finds every row there already."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder)
        home.run("migrate")
        write(folder / "ratings.csv", rows)
        columns = "user_id=userId,item_id=movieId,value=rating"
        for figure, accepted in (("first import", rows), ("second import", 0)):
            with (folder / "result.json").open("w") as out:
                command = ("import", "interactions", "ratings.csv", "--map", columns, "--kind", "rating", "--json")
                peak, cpu = wait_for(home.start(*command, stdout=out))
            result = _parsed(folder / "result.json")
            if result["accepted"] != accepted:
                raise SystemExit(f"{figure}: {result['accepted']} rows accepted, expected {accepted}")
            report(
                BENCHMARK,
                figure,
                rows / result["seconds"],
                "rows/s",
                rows=rows,
                peak_mib=round(peak / 1_048_576),
                cpu_s=round(cpu, 1),
            )


def _parsed(path: Path) -> dict[str, float]:

    content = json.loads(path.read_text())
    return {"accepted": content["interactions"]["accepted"], "seconds": content["seconds"]}


if __name__ == "__main__":
    main()
