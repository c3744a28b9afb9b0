"""What a gateway adds to a request that waits, and whether those who wait are all answered while servers behind it are killed.

    ./dev bench gateway [--requests 200] [--kill-ms 500] [--seconds 30] [--clients 16]

The servers behind it have a model that only sleeps (bench/stub_server.cpp): one step of a 64x64 picture takes a millisecond or two.
"""
# builds: stub_server diffused-gateway

import argparse
import collections
import concurrent.futures
import contextlib
import pathlib
import random
import statistics
import tempfile
import threading
import time

import cluster
import requests
from nodes import ROOT, STUB, Node

GATEWAY = ROOT / "build/release/diffused-gateway"
BODY = {"prompt": "a kitten", "size": "64x64", "num_inference_steps": 4, "response_format": "b64_json"}


def ask(node: Node, number: int, steps: int) -> int:
    reply = requests.post(node.url + "/v1/images/generations", json={**BODY, "num_inference_steps": steps, "seed": number}, timeout=120)
    return reply.status_code if reply.status_code != 200 or reply.json()["data"][0]["seed"] == number else 0


def latency(nodes: dict[str, Node], count: int) -> None:
    """In turn, so that the machine's other load meets all alike."""
    taken = {name: [] for name in nodes}
    for number in range(count):
        for name, node in nodes.items():
            started = time.monotonic()
            assert ask(node, number, 1) == 200
            taken[name].append(1000 * (time.monotonic() - started))
    for name, times in taken.items():
        print(f"{name:<12} p50 {statistics.median(times):6.1f} ms   p90 {statistics.quantiles(times, n=10)[-1]:6.1f} ms")


def trouble(workers: list[Node], every: float, over: threading.Event, kills: list[int]) -> None:
    chance = random.Random(1)
    while not over.wait(every):
        worker = chance.choice(workers)
        worker.kill()
        worker.start()
        kills[0] += 1


def under_kills(gateways: list[Node], workers: list[Node], database, arguments) -> bool:
    over, kills = threading.Event(), [0]
    killer = threading.Thread(target=trouble, args=(workers, arguments.kill_ms / 1000, over, kills))
    killer.start()
    deadline = time.monotonic() + arguments.seconds

    def client(index: int) -> collections.Counter:
        statuses: collections.Counter = collections.Counter()
        number = index * 1_000_000
        while time.monotonic() < deadline:
            number += 1
            statuses[ask(gateways[number % len(gateways)], number, 40)] += 1
        return statuses
    with concurrent.futures.ThreadPoolExecutor(arguments.clients) as pool:
        statuses = sum(pool.map(client, range(arguments.clients)), collections.Counter())
    over.set()
    killer.join()
    left = 1
    for _ in range(100):
        left = int(database.ask("SELECT count(*) FROM job"))
        if left == 0:
            break
        time.sleep(0.1)
    print(f"{arguments.clients} clients, {len(gateways)} gateways, {len(workers)} servers behind them, {kills[0]} killed in {arguments.seconds} s: "
          f"{dict(statuses)}, {left} rows left")
    return set(statuses) == {200} and left == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--kill-ms", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16)
    arguments = parser.parse_args()
    with cluster.cluster() as database, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        (pathlib.Path(folder) / "blobs").mkdir()
        shared = ["--store", database.url, "--blobs", f"{folder}/blobs", "--job-lease", "2", "--job-attempts", "1000"]

        def start(program: pathlib.Path, *options: str) -> Node:
            node = Node([str(program)], list(options))
            stack.callback(node.kill)
            return node
        workers = [start(STUB, *shared) for _ in range(3)]
        gateways = [start(GATEWAY, *shared) for _ in range(2)]
        while not requests.get(gateways[1].url + "/v1/models", timeout=10).json()["data"]:
            time.sleep(0.1)
        latency({"alone": start(STUB, "--data-dir", f"{folder}/own"), "gateway": gateways[0]}, arguments.requests)
        with (pathlib.Path("/proc") / str(gateways[0].process.pid) / "status").open() as status:
            print(next(line for line in status if line.startswith("VmRSS")).strip())
        if not under_kills(gateways, workers, database, arguments):
            raise SystemExit("somebody was not answered as he should have been")


if __name__ == "__main__":
    main()
