"""Brokers go away, move their partitions and answer with errors (E3): what they acknowledged is taken in, once.

`python -m benchmarks.broker_faults [--faults 100] [--seed 3] [--tree .]`. Three mock brokers of librdkafka, one
consumer process, PostgreSQL; a producer at a steady rate meanwhile. A fault every two seconds, of fourteen kinds, a
quarter of them outages. One line; exit 1 if something acknowledged was lost, or had an effect twice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.chaos.judging import Judge, Verdict
from benchmarks.chaos.ledger import TOPICS, Ledger
from benchmarks.chaos.producing import produce
from benchmarks.chaos.rig import ROOT, Rig, has_ended, rig_on
from benchmarks.machine import report
from tests.servers.mock_kafka import BROKERS, FETCH, HEARTBEAT, JOIN, OFFSET_COMMIT, PRODUCE, MockCluster
from tests.servers.process import ServerProcess
from tests.servers.server import Server

GROUP = "encore"
PARTITIONS = 2
"""Of each topic."""

RATE, LINGER_MS = 300, 400
"""The mock answers a fetch with one batch of each partition, so batches must be large for the consumer to keep up."""

SETTLE_SECONDS = 3.0
GAP_SECONDS = (0.5, 2.0)
SESSION = {"ENCORE_CONSUME_SESSION_SECONDS": "2", "ENCORE_CONSUME_HEARTBEAT_SECONDS": "0.3"}
"""The mock ends a rebalance one second before the session is over: during a long one nothing would hit us."""

NOT_LEADER, LOADING, NOT_COORDINATOR, ILLEGAL_GENERATION, UNKNOWN_MEMBER, REBALANCING = 6, 14, 16, 22, 25, 27
"""Error codes, https://kafka.apache.org/protocol.html#protocol_error_codes."""

REFUSED: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "heartbeat: not the coordinator": (HEARTBEAT, (NOT_COORDINATOR,)),
    "heartbeat: illegal generation": (HEARTBEAT, (ILLEGAL_GENERATION,)),
    "heartbeat: unknown member": (HEARTBEAT, (UNKNOWN_MEMBER,)),
    "heartbeat: rebalancing": (HEARTBEAT, (REBALANCING,)),
    "fetch: not the leader": (FETCH, (NOT_LEADER,) * 3),
    "produce: not the leader": (PRODUCE, (NOT_LEADER,) * 3),
    "commit: illegal generation": (OFFSET_COMMIT, (ILLEGAL_GENERATION,)),
    "join: loading, then unknown member": (JOIN, (LOADING, UNKNOWN_MEMBER)),
}
"""Fault → the requests that are refused, and how. A refused join takes effect at the next rebalance."""

AWAY, ALL_AWAY, LEADER, COORDINATOR, SLOW, HELD = (
    "broker away",
    "all brokers away",
    "leader moved",
    "coordinator moved",
    "broker slow",
    "rebalancing with a batch in hand",
)

DECK = (*[AWAY] * 5, ALL_AWAY, *[LEADER] * 3, *[COORDINATOR] * 2, SLOW, *[HELD] * 2, *REFUSED)
"""Twenty-two faults; shuffled anew when they are used up, so that every kind has its share."""


class Nemesis:
    """Breaks one thing after the other. Outages are over when `one` returns."""

    def __init__(self, cluster: MockCluster, database: ServerProcess, seed: int) -> None:
        self._cluster = cluster
        self._database = database
        self._dice = random.Random(seed)
        self._deck: list[str] = []
        self.faults: Counter[str] = Counter()

    async def one(self) -> None:
        """The next fault of the deck."""
        if not self._deck:
            self._deck = self._dice.sample(DECK, len(DECK))
        fault = self._deck.pop()
        await self._break(fault, self._dice.randint(1, BROKERS))
        self.faults[fault] += 1

    async def _break(self, fault: str, broker: int) -> None:
        topic = self._dice.choice([*TOPICS])
        if fault == AWAY:
            await self._outage([broker])
        elif fault == ALL_AWAY:
            await self._outage(range(1, BROKERS + 1))
        elif fault == LEADER:
            self._cluster.move_leader(topic, self._dice.randrange(PARTITIONS), broker)
        elif fault == COORDINATOR:
            self._cluster.move_coordinator(GROUP, broker)
        elif fault == SLOW:
            self._cluster.slow_down(broker, 400)
            await asyncio.sleep(1.0)
            self._cluster.slow_down(broker, 0)
        elif fault == HELD:
            await self._hold()
        else:
            self._cluster.fail_next(*REFUSED[fault])

    async def _hold(self) -> None:
        """What was read cannot be written, and belongs to nobody when it can."""
        self._database.pause()
        await asyncio.sleep(0.7)
        self._cluster.fail_next(HEARTBEAT, (REBALANCING,))
        await asyncio.sleep(1.0)
        self._database.resume()

    async def _outage(self, brokers: range | list[int]) -> None:
        for broker in brokers:
            self._cluster.take_down(broker)
        await asyncio.sleep(self._dice.uniform(0.3, 2.0))
        for broker in brokers:
            self._cluster.bring_up(broker)


def holds(verdict: Verdict) -> bool:
    """Nothing lost, no effect twice. The mock's log may hold a record twice, so offsets and poison are lower bounds."""
    wrong = verdict.lost + verdict.phantom + verdict.duplicated + verdict.double_counted + verdict.wrong_states
    return wrong == 0 and verdict.dead_letters >= verdict.poison


async def prove(rig: Rig, cluster: MockCluster, faults: int, seed: int) -> bool:
    """Produce and break, stop breaking, wait until all is in, judge and report."""
    ledger, nemesis, stopping = Ledger(seed), Nemesis(cluster, rig.postgres.control, seed), asyncio.Event()
    dice = random.Random(seed)
    producing = asyncio.create_task(produce(rig.brokers, ledger, RATE, stopping, LINGER_MS))
    await asyncio.sleep(SETTLE_SECONDS)
    for _ in range(faults):
        await nemesis.one()
        await asyncio.sleep(dice.uniform(*GAP_SECONDS))
    stopping.set()
    await producing
    judge = Judge(rig.database_url, rig.brokers, ledger)
    verdict = await judge.judge(await judge.drained())
    is_alive = not any(has_ended(consumer) for consumer in rig.consumers)
    report(
        "broker_faults",
        "nothing lost, no effect twice",
        float(holds(verdict) and is_alive),
        "ratio",
        faults=nemesis.faults.total(),
        outages=nemesis.faults[AWAY] + nemesis.faults[ALL_AWAY],
        kinds=dict(nemesis.faults.most_common()),
        consumer_is_alive=is_alive,
        positioned=sum(consumer.log.read_bytes().count(b'"partition_positioned"') for consumer in rig.consumers),
        verdict=verdict.line(),
    )
    return holds(verdict) and is_alive


def run(faults: int, seed: int, tree: Path = ROOT) -> bool:
    """Start everything, prove, stop everything. Raises ServerMissingError."""
    cluster = MockCluster()
    try:
        for topic in TOPICS:
            cluster.create_topic(topic, PARTITIONS)
            cluster.create_topic(f"{topic}.dlq", 1)  # the mock has no requests for administration
        with rig_on(Server("kafka", f"kafka://{cluster.servers}", "librdkafka"), 1, tree, **SESSION) as rig:
            return asyncio.run(prove(rig, cluster, faults, seed))
    finally:
        cluster.close()


def main() -> int:
    """Exit 0 if the promise holds."""
    parser = argparse.ArgumentParser(prog="broker_faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--tree", type=Path, default=ROOT, help="source tree whose consumer is tested")
    given = parser.parse_args()
    # the producer's driver describes every fault, which is what we ordered
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return 0 if run(given.faults, given.seed, given.tree.resolve()) else 1


if __name__ == "__main__":
    sys.exit(main())
