"""The document is true (A1): Schemathesis makes requests from it, valid and not, and checks every answer against it.

`python -m benchmarks.fuzz [--cases 10000] [--seed 1]`. A service of its own on disk; rounds with new seeds until so
many requests were made. One line; exit 1 if an answer was not as documented, or the service fell over.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.machine import report
from tests.integration.api.processes import Process, serving
from tests.integration.api.running_service import ADMIN, build

EXCLUDED = "positive_data_acceptance"
"""JSON Schema calls 1.0 an integer and knows nothing of "not in the future" or "start before end"; we do (H14)."""

PATIENCE_SECONDS = 1_800.0
COUNT = re.compile(r"([\d,]+) generated")


@dataclass(frozen=True, slots=True)
class Round:
    """One run of Schemathesis: how many requests, whether all was well, and what it printed."""

    cases: int
    is_clean: bool
    told: str


def fuzz(server: Process, folder: Path, seed: int, examples: int, phases: str, timeout_seconds: int = 60) -> Round:
    """Up to `examples` requests of each operation, and as many again that break its rules.

    The document promises no time for an answer, and a busy machine may stand still for a while: hence the timeout.
    """
    options = {
        "--checks": "all",
        "--exclude-checks": EXCLUDED,
        # A training starts processes, one after the other, for as long as we ask; the others stay open.
        "--exclude-operation-id-regex": "^(startTraining|streamList|openListSocket)$",
        "--phases": phases,
        "--max-examples": str(examples),
        "--request-timeout": str(timeout_seconds),
        "--seed": str(seed),
        "--header": f"Authorization: {ADMIN['Authorization']}",
    }
    arguments = [part for option in options.items() for part in option]
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", address, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    found = COUNT.search(run.stdout)
    cases = int(found[1].replace(",", "")) if found else 0
    told = run.stdout[-6_000:] + run.stderr[-2_000:] + server.log.read_text(errors="replace")[-2_000:]
    return Round(cases, run.returncode == 0 and server.is_alive(), told)


def prove(cases: int, seed: int, examples: int) -> bool:
    """Rounds until there were enough requests, or one was answered wrongly."""
    began, done, rounds, is_clean = perf_counter(), 0, 0, True
    with tempfile.TemporaryDirectory(prefix="encore-fuzz-") as name:
        folder = Path(name)
        build(folder)
        with serving(folder, ENCORE_LOG_LEVEL="WARNING", ENCORE_MAX_CONCURRENT_REQUESTS="200") as server:
            while done < cases and is_clean:
                # boundaries and examples are the same in every round
                phases = "fuzzing" if rounds else "examples,coverage,fuzzing,stateful"
                one = fuzz(server, folder, seed + rounds, examples, phases)
                assert one.cases, f"Schemathesis did not say how much it did:\n{one.told}"
                done, rounds, is_clean = done + one.cases, rounds + 1, one.is_clean
                if not is_clean:
                    print(one.told, file=sys.stderr)
    took = round(perf_counter() - began)
    report("fuzz", "requests answered as documented", done, "requests", rounds=rounds, took_s=took, is_clean=is_clean)
    return is_clean


def main() -> int:
    """Exit 0 if every answer was as documented."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=100, help="of each operation and round")
    given = parser.parse_args()
    return 0 if prove(given.cases, given.seed, given.examples) else 1


if __name__ == "__main__":
    sys.exit(main())
