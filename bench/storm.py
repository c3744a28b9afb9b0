"""`./dev bench storm`: storm after storm over one server, at rest in between: then it holds no exchange, no job, and no more memory or
descriptors than before.

    ./dev bench storm [--seconds 3600] [--program stub] [--seed 1]
"""

import argparse
import asyncio
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/storm"))
from programs import PROGRAMS, Figures  # noqa: E402
from driver import Storm  # noqa: E402

# Cases between two looks; the first looks are not counted, as caches and the allocator's arenas fill.
CASES, WARM_SHARE, GROWTH_MAX = 2000, 0.25, 0.05


def growth(values: list[float]) -> float:
    """Of the median of the last third over that of the first, once it is warm."""
    warm = values[int(WARM_SHARE * len(values)):]
    third = max(1, len(warm) // 3)
    return statistics.median(warm[-third:]) / statistics.median(warm[:third]) - 1


def report(looks: list[Figures]) -> bool:
    good = True
    for name in ("resident_mb", "descriptors"):
        values = [getattr(look, name) for look in looks]
        grown = growth(values)
        good &= abs(grown) <= GROWTH_MAX
        print(f"  {name:<14}{values[0]:>9.1f} at first{values[len(values) // 2]:>9.1f} half way{values[-1]:>9.1f} at last   {grown:+.1%}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--program", choices=PROGRAMS, default="stub")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=48)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PROGRAMS[chosen.program](chosen.build, pathlib.Path(folder)) as program:
        storm = Storm(program, f"python tests/storm/driver.py {chosen.program}", chosen.seed, chosen.clients, 2 if chosen.program == "real" else 8)
        looks, until = [], time.monotonic() + chosen.seconds
        while time.monotonic() < until and not storm.wrong:
            asyncio.run(storm.blow(CASES * len(looks), CASES))
            if not storm.settle():
                looks.append(program.figures())
        wrong = storm.wrong or [found for found in [program.end()] if found]
    print(f"{sum(storm.outcomes.values())} cases, {len(looks)} looks: {dict(sorted(storm.outcomes.items()))}")
    good = bool(looks) and report(looks)
    print("\n".join(wrong[:5]))
    raise SystemExit(0 if good and not wrong else 1)


if __name__ == "__main__":
    main()
