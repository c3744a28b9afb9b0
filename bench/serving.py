"""`./dev bench serving`: many users at once, beside the server of Diffusers' guide in the same run, and alone under a crowd.

Everything stays on loopback, is bounded in time and count and ends its servers. Parts can be chosen: `./dev bench serving guide crowd`.
"""
# builds: diffused stub_server

import argparse
import asyncio
import random
import re
import tempfile
import time

import aiohttp

import load
import picture

SUBJECTS = ["kitten", "puppy", "rabbit", "bird", "car", "boat", "house", "tree", "balloon", "mug", "robot"]
COLOURS = ["red", "blue", "green", "orange", "purple", "white"]
SCENES = ["in front of a fireplace", "at the beach", "in a forest", "in the snow", "in the city"]


def make_body(number: int, *, steps: int = 28, size: str = "256x256") -> dict:
    """Request `number`: the same words, seed and settings on every server."""
    choose = random.Random(number).choice
    return {"model": "demo", "prompt": f"a {choose(COLOURS)} {choose(SUBJECTS)} {choose(SCENES)}", "size": size,
            "num_inference_steps": steps, "guidance_scale": 4.0, "seed": number, "response_format": "url"}


def describe(name: str, outcome: load.Outcome) -> str:
    return (f"{name:<22}{outcome.pictures_per_second:>8.2f}/s   p50 {load.percentile(outcome.latencies, 0.5):>7.3f} s"
            f"   p99 {load.percentile(outcome.latencies, 0.99):>7.3f} s   /health p99"
            f" {1000 * load.percentile(outcome.health_latencies, 0.99):>6.1f} ms, worst {1000 * max(outcome.health_latencies, default=0):>6.1f} ms"
            f"   {outcome.statuses}{f' broken {outcome.errors}' if outcome.errors else ''}")


def beside_the_guide(arguments: argparse.Namespace) -> None:
    """Throughput, latency and /health of both servers with 1, 4 and 16 closed-loop clients; one server works at a time."""
    options = ("--engine", arguments.engine, "--dtype", picture.best_dtype())
    with picture.ours(arguments.model, *options) as (_, ours), picture.guide(arguments.model) as (_, guide):
        for address in (ours, guide):
            asyncio.run(load.closed_loop(address, 1, make_body, requests=2))
        for clients, requests in ((1, 6), (4, 16), (16, 48)):
            theirs = asyncio.run(load.closed_loop(guide, clients, make_body, requests=requests))
            own = asyncio.run(load.closed_loop(ours, clients, make_body, requests=requests))
            print(f"\n{clients} clients, {requests} requests")
            print(describe("  the guide's server", theirs))
            print(describe("  diffused", own))
            print(f"  ratio: throughput {own.pictures_per_second / theirs.pictures_per_second:.2f},"
                  f" p50 {load.percentile(own.latencies, 0.5) / load.percentile(theirs.latencies, 0.5):.2f},"
                  f" p99 {load.percentile(own.latencies, 0.99) / load.percentile(theirs.latencies, 0.99):.2f}")


def crowd(arguments: argparse.Namespace) -> None:
    """200 clients at once: every request gets exactly one reply, and /health answers all the while."""
    with picture.ours(arguments.model) as (process, address):
        outcome = asyncio.run(load.closed_loop(address, 200, lambda n: make_body(n, steps=8), seconds=arguments.seconds))
        print(f"\n200 clients for {arguments.seconds:.0f} s, 8 steps")
        print(describe("  diffused", outcome))
        print(f"  requests {sum(outcome.statuses.values())}, connections broken {outcome.errors},"
              f" resident memory {picture.resident_mb(process.pid):.0f} MB")


def batching(arguments: argparse.Namespace) -> None:
    """The same requests sent one after the other and by 16 clients at once, in turn."""
    with picture.ours(arguments.model) as (_, address):
        asyncio.run(load.closed_loop(address, 16, make_body, requests=32))
        ratios = []
        for _ in range(3):
            alone = asyncio.run(load.closed_loop(address, 1, make_body, requests=16))
            together = asyncio.run(load.closed_loop(address, 16, make_body, requests=48))
            ratios.append(together.pictures_per_second / alone.pictures_per_second)
        print("\n16 clients against one after the other")
        print(describe("  one after the other", alone))
        print(describe("  16 clients", together))
        print(f"  throughput ratio: median {load.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


async def _small_beside_large(address: str, large: dict, small_count: int) -> tuple[float, list[float]]:
    """Small jobs one after the other while large ones run; the large jobs' median time and the small ones' times."""
    async with aiohttp.ClientSession() as session:
        larges, smalls = load.Outcome(), load.Outcome()
        stop = asyncio.Event()

        async def keep_large_running() -> None:
            while not stop.is_set():
                await load.post(session, address, large, larges)

        running = asyncio.create_task(keep_large_running())
        await asyncio.sleep(0.2)  # the first large job is under way
        for number in range(small_count):
            await load.post(session, address, make_body(number, steps=4), smalls)
        stop.set()
        await running
        return load.median(larges.latencies), smalls.latencies


def large_and_small(arguments: argparse.Namespace) -> None:
    """A 1024x1024 job of 28 steps running while 4-step 256x256 jobs come in."""
    large = make_body(1, size="1024x1024")
    with picture.ours(arguments.model) as (_, address):
        small_alone = asyncio.run(load.closed_loop(address, 1, lambda n: make_body(n, steps=4), requests=24)).latencies[4:]
        large_alone = load.median([asyncio.run(picture.one_picture(address, large)) for _ in range(3)])
        large_seconds, small = asyncio.run(_small_beside_large(address, large, 40))
        print("\na 1024x1024 job of 28 steps running, 4-step 256x256 jobs arriving")
        print(f"  small: alone p99 {load.percentile(small_alone, 0.99):.3f} s, beside p50 {load.percentile(small, 0.5):.3f} s"
              f" p99 {load.percentile(small, 0.99):.3f} s, ratio of p99 {load.percentile(small, 0.99) / load.percentile(small_alone, 0.99):.2f}")
        print(f"  large: alone {large_alone:.3f} s, beside {large_seconds:.3f} s, ratio {large_seconds / large_alone:.2f}")


def stub(data_dir: str, step_ms: float, *options: str):
    """The server with a model that only sleeps."""
    command = [str(picture.PROGRAM.parent / "stub_server"), "--port", "0", "--data-dir", data_dir, "--step-ms", str(step_ms), *options]
    return load.server(command, picture.READY_OURS)


def overhead(arguments: argparse.Namespace) -> None:
    """What a request costs outside the device thread: a lone client, a tiny picture, a model that takes no time."""
    with tempfile.TemporaryDirectory() as data_dir, stub(data_dir, 0) as (_, address):
        outcome = asyncio.run(load.closed_loop(address, 1, lambda n: make_body(n, steps=1, size="64x64"), requests=2000))
        print("\noverhead of a request (64x64, no model time, PNG encoding and storing included)")
        print(f"  p50 {1000 * load.percentile(outcome.latencies, 0.5):.2f} ms   p99 {1000 * load.percentile(outcome.latencies, 0.99):.2f} ms")


def jobs_beside(arguments: argparse.Namespace) -> None:
    """What background jobs cost a request that is none: the requests of `overhead` to a server that looks for jobs as usual and to one
    that never does, in turn."""
    times: dict[str, list[float]] = {"never looks for jobs": [], "looks for jobs": []}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, \
            stub(one, 0, "--quiet-jobs") as (_, quiet), stub(other, 0) as (_, usual):
        for _ in range(10):
            for name, address in zip(times, (quiet, usual)):
                outcome = asyncio.run(load.closed_loop(address, 1, lambda n: make_body(n, steps=1, size="64x64"), requests=400))
                times[name].append(1000 * load.percentile(outcome.latencies, 0.5))
    print("\na request beside the machinery of background jobs, p50 of each of 10 rounds of 400")
    for name, rounds in times.items():
        print(f"  {name:<22}{load.median(rounds):.2f} ms ({min(rounds):.2f}–{max(rounds):.2f})")
    differences = [usual - quiet for quiet, usual in zip(*times.values())]
    print(f"  difference            {load.median(differences):.2f} ms ({min(differences):.2f}–{max(differences):.2f})")


def memory(arguments: argparse.Namespace) -> None:
    """Resident memory over 40,000 requests, the first half to warm up: of pictures that expire at once, and that are all kept."""
    for lifetime_seconds, kept in ((1, "none"), (3600, "every picture")):
        sizes = _resident_sizes(lifetime_seconds)
        later = sizes[len(sizes) // 2:]
        middle = (max(later) + min(later)) / 2
        print(f"\nresident memory after each 1,000 of {len(sizes)},000 requests, {kept} kept, MB")
        print("  " + " ".join(f"{size:.1f}" for size in sizes))
        print(f"  over the last {len(later)},000: ±{100 * (max(later) - middle) / middle:.1f} %, {(later[-1] - later[0]) * 2**20 / (1000 * (len(later) - 1)):.0f} bytes a request")


def _resident_sizes(lifetime_seconds: int) -> list[float]:
    with tempfile.TemporaryDirectory() as data_dir, stub(data_dir, 0, "--image-lifetime", str(lifetime_seconds)) as (process, address):
        sizes = []
        for _ in range(40):
            asyncio.run(load.closed_loop(address, 16, lambda n: make_body(n, steps=1, size="64x64"), requests=1000))
            sizes.append(picture.resident_mb(process.pid))
        return sizes


async def _cancel_once(address: str, step_seconds: float) -> float:
    """Starts an endless job, goes away while it runs, and returns the seconds until a second job has the device."""
    async with aiohttp.ClientSession() as first, aiohttp.ClientSession() as second:
        endless = asyncio.create_task(first.post(f"{address}/v1/images/generations", json=make_body(0, steps=200)))
        await asyncio.sleep(20 * step_seconds)
        endless.cancel()
        await asyncio.gather(endless, return_exceptions=True)
        await first.close()
        started = time.perf_counter()
        while True:
            async with second.get(f"{address}/metrics") as reply:
                if re.search(r"^diffused_requests_running\{[^}]*\} 0$", await reply.text(), re.MULTILINE):
                    return time.perf_counter() - started


def cancelling(arguments: argparse.Namespace) -> None:
    """From a client's going away to the freed place, on a model whose step takes 50 ms."""
    step_seconds = 0.05
    with tempfile.TemporaryDirectory() as data_dir, stub(data_dir, 1000 * step_seconds) as (_, address):
        times = [asyncio.run(_cancel_once(address, step_seconds)) for _ in range(20)]
        print("\na client goes away in the middle of a 200-step job (steps of 50 ms)")
        print(f"  place free after: median {1000 * load.median(times):.0f} ms, worst {1000 * max(times):.0f} ms")


async def _watched(address: str, watchers: int) -> list[float]:
    """What /health takes while 8 clients make pictures and so many people look at /status as its page does, ten times as often."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def watch() -> None:
            while True:
                for path in ("/status", "/pages/status.js", "/v1/status", "/v1/status/history"):
                    async with session.get(address + path) as reply:
                        await reply.read()
                await asyncio.sleep(0.2)

        watching = [asyncio.create_task(watch()) for _ in range(watchers)]
        outcome = await load.closed_loop(address, 8, make_body, seconds=5)
        for one in watching:
            one.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        return outcome.health_latencies


def pages(arguments: argparse.Namespace) -> None:
    """/health under load, alone and beside the pages of ten people, in turn."""
    times: dict[int, list[float]] = {0: [], 10: []}
    with tempfile.TemporaryDirectory() as data_dir, stub(data_dir, 1) as (_, address):
        for _ in range(6):
            for watchers, found in times.items():
                found.append(1000 * load.percentile(asyncio.run(_watched(address, watchers)), 0.99))
    print("\n/health p99 of each of 6 rounds of 5 s, 8 clients making pictures")
    for watchers, rounds in times.items():
        print(f"  {watchers:>2} people at /status   {load.median(rounds):.1f} ms ({min(rounds):.1f}–{max(rounds):.1f})")
    ratios = [beside / alone for alone, beside in zip(*times.values())]
    print(f"  ratio                 {load.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


PARTS = {"guide": beside_the_guide, "crowd": crowd, "batching": batching, "large": large_and_small,
         "overhead": overhead, "jobs": jobs_beside, "cancelling": cancelling, "pages": pages, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--model", default="models/demo")
    parser.add_argument("--engine", default="auto", help="of the part guide: native, or diffusers in a process of its own")
    parser.add_argument("--seconds", type=float, default=60, help="how long the crowd stays")
    arguments = parser.parse_args()
    print(load.machine())
    for part in arguments.parts:
        PARTS[part](arguments)


if __name__ == "__main__":
    main()
