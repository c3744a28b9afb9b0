"""Many clients at once over one server: every route, in every manner. Afterwards the server must still answer, hold nothing, and end in order.

    python tests/storm/driver.py stub --build build/tsan [--seed 1] [--first 0] [--count 5000] [--clients 48] [--tls]
"""

import argparse
import asyncio
import collections
import json
import pathlib
import random
import sys
import tempfile
import time

from manners import EXPECT_AN_ANSWER, MANNERS, Case, Site
from programs import PROGRAMS, Program
from routes import Names, read_routes
from wire import Wrong

REST_SECONDS = 60.0
GOOD_SHARE = 0.5  # of the answers that are read


class Storm:
    """Case after case over one program, as its clients come free."""

    def __init__(self, program: Program, name: str, seed: int, clients: int = 48, steps_max: int = 8):
        self.program, self.name, self.seed, self.clients = program, name, seed, clients
        description = json.loads(program.get("/openapi.json"))
        models = [model["id"] for model in json.loads(program.get("/v1/models"))["data"]]
        self.site = Site(program.address, read_routes(description), Names(models), program.headers, steps_max, program.tls)
        self.begun: collections.deque[int] = collections.deque(maxlen=2 * clients)  # the last ones
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    @property
    def ending(self) -> bool:
        """The server was told to end: connections may be refused and cut."""
        return self.program.told_to_end

    def case(self, number: int) -> tuple:
        """Number after number takes every route in every manner; how often before decides where it is cut."""
        routes = self.site.routes
        manner = MANNERS[number // len(routes) % len(MANNERS)]
        of_manner = number // (len(routes) * len(MANNERS)) * len(routes) + number % len(routes)
        choose = random.Random(f"{self.seed}/{number}")
        return manner, Case(self.site, routes[number % len(routes)], of_manner, choose)

    def repeat(self, first: int, count: int) -> str:
        return (f"{self.name} --seed {self.seed} --first {first} --count {count} --clients {self.clients}"
                f"{' --tls' if self.site.tls else ''}")

    async def carry_out(self, number: int):
        manner, case = self.case(number)
        self.begun.append(number)
        outcome = "done"
        try:
            await manner(case)
        except (ConnectionError, OSError) as error:
            outcome = "cut off"
            if manner in EXPECT_AN_ANSWER and not self.ending and not isinstance(error, TimeoutError):
                outcome = f"no answer: {error!r}"
            if isinstance(error, TimeoutError):
                outcome = "hung"
        except Wrong as error:
            outcome = str(error)
        self.outcomes[f"{manner.__name__} {outcome if outcome in ('done', 'cut off') else 'wrong'}"] += 1
        if outcome not in ("done", "cut off") and self.program.alive:
            self.wrong.append(f"case {number}, {manner.__name__} of {case.route}: {outcome}\n  again: {self.repeat(number, 1)}")

    async def blow(self, first: int, count: int, seconds: float = 1e9):
        """The cases from `first` on, until there have been `count`, the time is over, or the server is no more."""
        numbers = iter(range(first, first + count))
        until = time.monotonic() + seconds

        async def client():
            for number in numbers:
                if not self.program.alive or self.ending or time.monotonic() > until:
                    return
                await self.carry_out(number)
        await asyncio.gather(*(client() for _ in range(self.clients)))
        if not self.program.alive and not self.ending:
            low, high = min(self.begun), max(self.begun) + 1
            self.wrong.append(f"the server ended with status {self.program.process.returncode} within cases {low} to {high}\n"
                              f"  again: {self.repeat(low, high - low)}\n{self.program.faults()}")

    def settle(self) -> list[str]:
        """What is wrong with the server after a storm."""
        if self.wrong:
            return self.wrong
        figures = self.program.rest(REST_SECONDS)
        if not figures.at_rest:
            self.wrong.append(f"{REST_SECONDS} s after the storm the server still holds {figures}")
        good = sum(count for status, count in self.site.statuses.items() if status < 300)
        if good < GOOD_SHARE * sum(self.site.statuses.values()):
            self.wrong.append(f"a storm of requests that are mostly refused tests little: {dict(self.site.statuses)}")
        if faults := self.program.faults():
            self.wrong.append(f"{self.repeat(0, 0)}: the log tells of\n{faults}")
        return self.wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/release"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--tls", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PROGRAMS[chosen.program](chosen.build, pathlib.Path(folder), chosen.tls) as program:
        name = f"python {sys.argv[0]} {chosen.program} --build {chosen.build}"
        storm = Storm(program, name, chosen.seed, chosen.clients)
        started = time.monotonic()
        asyncio.run(storm.blow(chosen.first, chosen.count))
        seconds = time.monotonic() - started
        wrong = storm.settle()
        ended = program.end()
        wrong += [ended] if ended and not wrong else []
    print(f"{sum(storm.outcomes.values())} cases in {seconds:.1f} s over {len(storm.site.routes)} routes: {dict(sorted(storm.outcomes.items()))}; "
          f"answers {dict(sorted(storm.site.statuses.items()))}")
    print("\n".join(wrong[:10]))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
