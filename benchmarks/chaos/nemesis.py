"""Faults, drawn from the seed, one every 0.3 to 1.5 s."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from benchmarks.chaos.rig import Rig, is_at_work
from tests.servers.process import ServerProcess

KILL, DATABASE, BROKER, ZOMBIE = "consumer killed", "database crashed", "broker frozen", "consumer frozen"
WEIGHTS = {KILL: 80, DATABASE: 7, BROKER: 6, ZOMBIE: 7}
FROZEN_SECONDS = 9.0
"""Longer than the session, so that the frozen consumer comes back as a zombie with a batch in its hands."""

ANYBODY_SHARE, PATIENCE_SECONDS, LOOK_SECONDS = 0.2, 10.0, 0.1


class Nemesis:
    """Breaks things until told to stop, and leaves everything running.

    Four faults in five wait until some consumer is at work, and hit one that is: a process that is still being loaded
    has nothing to lose, and killing it over and over shows only how fast Python starts. The fifth hits anybody.
    """

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        self._dice = random.Random(seed)
        self._frozen: dict[str, asyncio.Task[None]] = {}
        self.faults: Counter[str] = Counter()
        self.crashes = 0

    async def run(self, seconds: float, faults: int) -> None:
        """One fault after the other, for at least so long and so many.

        A consumer that ends by itself is counted against us, and started again.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until or self.faults.total() < faults:
            await asyncio.sleep(self._dice.uniform(0.3, 1.5))
            self.crashes += await asyncio.to_thread(self._rig.revive)
            [fault] = self._dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
            await self._break(fault, await self._victim())
            self.faults[fault] += 1
        await asyncio.gather(*self._frozen.values())
        self.crashes += await asyncio.to_thread(self._rig.revive)

    async def _victim(self) -> ServerProcess:
        busy: list[ServerProcess] = []
        turns = 0 if self._dice.random() < ANYBODY_SHARE else int(PATIENCE_SECONDS / LOOK_SECONDS)
        for _ in range(turns):
            busy = [one for one in self._rig.consumers if one.name not in self._frozen and is_at_work(one)]
            if busy:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return self._dice.choice(busy or self._rig.consumers)

    async def _break(self, fault: str, victim: ServerProcess) -> None:
        if fault == DATABASE:
            await self._rig.database_outage(self._dice.uniform(0.5, 4), victim)
        elif fault == BROKER:
            self._rig.kafka.control.pause()
            await asyncio.sleep(self._dice.uniform(1, 8))
            self._rig.kafka.control.resume()
        elif fault == ZOMBIE and victim.name not in self._frozen:
            # beside the other faults: its peer must be hit, too, while it takes over
            self._frozen[victim.name] = asyncio.create_task(self._freeze(victim))
        else:
            await asyncio.to_thread(victim.restart)

    async def _freeze(self, victim: ServerProcess) -> None:
        victim.pause()
        await asyncio.sleep(FROZEN_SECONDS)
        victim.resume()
        del self._frozen[victim.name]
