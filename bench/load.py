"""A bounded load on one server on loopback: closed-loop clients, a health prober beside them, and what they saw."""

import asyncio
import contextlib
import dataclasses
import os
import platform
import re
import signal
import statistics
import subprocess
import threading
import time

import aiohttp


@dataclasses.dataclass
class Outcome:
    """What the clients of one run saw. Latencies in seconds."""

    latencies: list[float] = dataclasses.field(default_factory=list)
    statuses: dict[int, int] = dataclasses.field(default_factory=dict)
    errors: int = 0
    health_latencies: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def pictures_per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def median(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


async def post(session: aiohttp.ClientSession, address: str, body: dict, outcome: Outcome) -> int:
    """One generation; its latency counts when it succeeds. Returns the status, 0 for a broken connection."""
    started = time.perf_counter()
    try:
        async with session.post(f"{address}/v1/images/generations", json=body) as reply:
            await reply.read()
            status = reply.status
            if status == 429:
                await asyncio.sleep(min(float(reply.headers.get("retry-after-ms", "500")) / 1000, 1.0))
    except (aiohttp.ClientError, asyncio.TimeoutError):
        outcome.errors += 1
        return 0
    outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
    if status == 200:
        outcome.latencies.append(time.perf_counter() - started)
    return status


async def probe_health(session: aiohttp.ClientSession, address: str, outcome: Outcome, every_seconds: float) -> None:
    """Asks /health at a steady rate until cancelled."""
    while True:
        started = time.perf_counter()
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{address}/health") as reply:
                await reply.read()
                outcome.health_latencies.append(time.perf_counter() - started)
        await asyncio.sleep(every_seconds)


async def closed_loop(address: str, clients: int, make_body, *, requests: int | None = None, seconds: float | None = None) -> Outcome:
    """`clients` clients, each asking again as soon as it is answered, until `requests` are sent in all or `seconds` have passed.

    make_body(number) makes the request number 0, 1, 2 …; the same numbers make the same requests on every server.
    """
    outcome = Outcome()
    numbers = iter(range(requests if requests is not None else 1_000_000_000))
    stop_at = time.perf_counter() + (seconds if seconds is not None else 3600)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def client() -> None:
            while time.perf_counter() < stop_at:
                number = next(numbers, None)
                if number is None:
                    return
                await post(session, address, make_body(number), outcome)

        prober = asyncio.create_task(probe_health(session, address, outcome, every_seconds=0.05))
        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        outcome.seconds = time.perf_counter() - started
        prober.cancel()
    return outcome


@contextlib.contextmanager
def server(command: list[str], ready: str, seconds: float = 120):
    """Starts a server that prints a line matching `ready` (one group: its address or port) and ends it afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process, _wait_for(process, ready, seconds)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen, ready: str, seconds: float) -> str:
    seen = []
    overdue = threading.Timer(seconds, process.kill)  # ends the wait for a line that does not come
    overdue.start()
    try:
        for line in process.stdout:
            seen.append(line)
            if match := re.search(ready, line):
                # Later output is drained so that the server never blocks on a full pipe.
                drain_output(process)
                return match[1]
    finally:
        overdue.cancel()
    raise RuntimeError(f"{process.args[0]} did not become ready:\n{''.join(seen)}")


def drain_output(process: subprocess.Popen) -> None:
    """Reads the rest of a server's output on a thread of its own, and drops it."""
    threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()


def machine() -> str:
    """The line that stands above every figure: processor, cores, load, commit."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = re.findall(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, commit {commit or 'unknown'}"
