"""`./dev bench overload`: ten times as many requests as can be served, for a while. What is still made, and how the rest is refused.

The model only sleeps, so that the machine's other work hardly counts. First as many clients as keep it busy ask, each again as soon as it is
answered: the capacity. Then requests arrive at `--times` that rate whatever becomes of those before them, and nobody tries again. Everything
stays on loopback, is bounded in time and ends its server. `--seconds 600` is ten minutes.
"""
# builds: stub_server

import argparse
import asyncio
import collections
import dataclasses
import tempfile
import time

import aiohttp

import load
import picture

BODY = {"prompt": "a red kitten", "size": "256x256", "num_inference_steps": 4, "response_format": "b64_json"}


@dataclasses.dataclass
class Answers:
    made_at: list[float] = dataclasses.field(default_factory=list)
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    refused_in: list[float] = dataclasses.field(default_factory=list)
    without_retry_after: int = 0
    broken: int = 0

    def made_between(self, begin: float, end: float) -> float:
        """Pictures a second."""
        return sum(begin <= at < end for at in self.made_at) / (end - begin)


async def ask(session: aiohttp.ClientSession, address: str, answers: Answers) -> None:
    started = time.perf_counter()
    try:
        async with session.post(f"{address}/v1/images/generations", json=BODY) as reply:
            await reply.read()
    except (aiohttp.ClientError, asyncio.TimeoutError):
        answers.broken += 1
        return
    answers.statuses[reply.status] += 1
    now = time.perf_counter()
    if reply.status == 200:
        answers.made_at.append(now)
        return
    answers.refused_in.append(now - started)
    answers.without_retry_after += "Retry-After" not in reply.headers


async def keep_busy(session: aiohttp.ClientSession, address: str, clients: int, seconds: float) -> float:
    """The capacity: pictures a second in the second half of this time."""
    answers, begin = Answers(), time.perf_counter()

    async def client() -> None:
        while time.perf_counter() < begin + seconds:
            await ask(session, address, answers)

    await asyncio.gather(*(client() for _ in range(clients)))
    if set(answers.statuses) != {200} or answers.broken:
        raise RuntimeError(f"not all were served while nobody asked for too much: {answers.statuses}, {answers.broken} broken")
    return answers.made_between(begin + seconds / 2, begin + seconds)


async def overload(session: aiohttp.ClientSession, address: str, per_second: float, seconds: float) -> tuple[Answers, float, float, float]:
    """Also when the queue was full, when the last one came, and how many came a second."""
    answers, begin = Answers(), time.perf_counter()
    asked: set[asyncio.Task] = set()
    sent = 0
    while (now := time.perf_counter()) < begin + seconds:
        for _ in range(sent, int((now - begin) * per_second)):
            task = asyncio.create_task(ask(session, address, answers))
            asked.add(task)
            task.add_done_callback(asked.discard)
            sent += 1
        await asyncio.sleep(0.01)
    end = time.perf_counter()
    await asyncio.gather(*asked)
    return answers, begin + min(seconds / 4, 20), end, sent / (end - begin)


async def measure(address: str, pid: int, arguments: argparse.Namespace) -> bool:
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        capacity = await keep_busy(session, address, arguments.clients, arguments.unloaded_seconds)
        before = picture.resident_mb(pid)
        answers, full, end, came = await overload(session, address, arguments.times * capacity, arguments.seconds)
    goodput = answers.made_between(full, end)
    print(f"capacity {capacity:.1f} pictures/s; {came / capacity:.1f} times as many asked for, for {arguments.seconds:.0f} s: goodput {goodput / capacity:.3f} of it; "
          f"answers {dict(answers.statuses)}, {answers.without_retry_after} refusals without Retry-After, {answers.broken} broken; "
          f"refused within p50 {1000 * load.median(answers.refused_in):.0f} ms, p99 {1000 * load.percentile(answers.refused_in, 0.99):.0f} ms; "
          f"memory {picture.resident_mb(pid) - before:+.0f} MB")
    return goodput >= 0.9 * capacity and not answers.without_retry_after and not answers.broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--unloaded-seconds", type=float, default=10)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32, help="that keep it busy")
    parser.add_argument("--step-ms", type=float, default=20)
    arguments = parser.parse_args()
    print(load.machine())
    stub = picture.PROGRAM.with_name("stub_server")
    with tempfile.TemporaryDirectory() as folder:
        command = [str(stub), "--port", "0", "--data-dir", folder, "--step-ms", str(arguments.step_ms)]
        with load.server(command, picture.READY_OURS) as (process, address):
            good = asyncio.run(measure(address, process.pid, arguments))
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
