"""`python -m benchmarks.chaos --seed 7 --seconds 540`: one verdict line; exit 0 only if nothing is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.judging import Judge, Verdict, summary
from benchmarks.chaos.ledger import TOPICS, Ledger
from benchmarks.chaos.nemesis import Nemesis
from benchmarks.chaos.producing import produce
from benchmarks.chaos.rig import ROOT, Rig, started_rig

SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do."""

    seed: int
    seconds: float
    faults: int
    rate: int
    consumers: int
    tree: Path


def main() -> None:
    """Run the procedure and print the verdict."""
    plan = arguments()
    with started_rig(TOPICS, plan.consumers, plan.tree) as rig:
        nemesis, verdict = asyncio.run(run(rig, plan))
    faults = sum(nemesis.faults.values())
    word = "CLEAN" if verdict.is_clean and not nemesis.crashes else "BROKEN"
    print(f"faults: {summary(nemesis.faults)}; consumers that ended by themselves: {nemesis.crashes}", file=sys.stderr)
    print(f"{word} seed={plan.seed} seconds={plan.seconds:g} faults={faults} {verdict.line()}")
    sys.exit(word != "CLEAN")


def arguments() -> Plan:
    """The plan of the command line."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--faults", type=int, default=0, help="go on until there were so many")
    parser.add_argument("--rate", type=int, default=1_800, help="records a second")
    parser.add_argument("--consumers", type=int, default=2)
    parser.add_argument("--tree", type=Path, default=ROOT, help="source tree whose consumers are tested")
    given = parser.parse_args()
    return Plan(given.seed, given.seconds, given.faults, given.rate, given.consumers, given.tree.resolve())


async def run(rig: Rig, plan: Plan) -> tuple[Nemesis, Verdict]:
    """Produce and break, stop breaking, wait until all is in, judge."""
    ledger, nemesis, stopping = Ledger(plan.seed), Nemesis(rig, plan.seed), asyncio.Event()
    producing = asyncio.create_task(produce(rig.brokers, ledger, plan.rate, stopping))
    await asyncio.sleep(SETTLE_SECONDS)
    await nemesis.run(plan.seconds, plan.faults)
    stopping.set()
    await producing
    judge = Judge(rig.database_url, rig.brokers, ledger)
    return nemesis, await judge.judge(await judge.drained())


if __name__ == "__main__":
    main()
