"""A machine on which everything fails in turn, in the manner of SQLite's tests: the n-th allocation, write, sync, accept or thread start
fails once under a mixed load, for n = 1, 2, 3 …; then each so-manieth of them for a while. After each failure the server must live and
serve everybody again, and each job that was accepted must end. A sync that fails may end it, with a word in the log and a status.

    ./dev bench failing [malloc …] [--seconds 1800] [--bytes-min 4096] [--program "build/release/diffused serve models/demo"]

The failures come from build/release/libfailing_machine.so (tests/support/failing_machine.cpp), which is preloaded.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import itertools
import json
import mmap
import os
import pathlib
import re
import shlex
import signal
import struct
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
BUILD = pathlib.Path(os.environ.get("DIFFUSED_BUILD", ROOT / "build/release"))
SHIM = BUILD / "libfailing_machine.so"
KINDS = ("malloc", "write", "sync", "accept", "thread")
FOR_EVER = 2**62
QUICK = {"prompt": "a red balloon", "size": "64x64", "num_inference_steps": 1}
ENDED = ("completed", "failed", "cancelled")
# From the first request after a failure to the answer, on a machine that does other things as well.
BACK_SECONDS_MAX = 15.0


class Orders:
    """What the machine is told to fail; the layout is that of failing_machine.cpp."""

    def __init__(self, file: pathlib.Path):
        self.file = file
        file.write_bytes(bytes(8 * (5 * len(KINDS) + 1)))
        with file.open("r+b") as opened:
            self.memory = mmap.mmap(opened.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(SHIM), "DIFFUSED_FAULTS": str(file)}

    def put(self, place: int, number: int):
        struct.pack_into("<q", self.memory, 8 * place, number)

    def fail(self, kind: str, every: int, times: int = 1, bytes_min: int = 0):
        """From now on each `every`-th call fails, `times` in all."""
        start = 5 * KINDS.index(kind)
        for place, number in ((start + 1, bytes_min), (start + 2, times), (start + 3, 0), (start + 4, 0), (start, every)):
            self.put(place, number)

    def rest(self):
        for kind in range(len(KINDS)):
            self.put(5 * kind, 0)

    def failed(self, kind: str) -> int:
        return struct.unpack_from("<q", self.memory, 8 * (5 * KINDS.index(kind) + 4))[0]

    def set_clock(self, seconds: int):
        """How far the machine's clock has jumped from the true time."""
        self.put(5 * len(KINDS), seconds)


class Server:
    """A server on a machine that fails as told."""

    def __init__(self, program: list[str], folder: pathlib.Path, orders: Orders):
        self.log = (folder / "log").open("ab")
        self.log_start = self.log.tell()
        self.process = subprocess.Popen([*program, "--port", "0", "--data-dir", str(folder / "data")], stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, env={**os.environ, **orders.environment, "OMP_NUM_THREADS": "1"})
        self.folder, self.url = folder, ""
        for line in self.process.stdout:
            if match := re.match(r"listening on (http://\S+)", line):
                self.url = match[1]
                break
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def said(self) -> str:
        return (self.folder / "log").read_bytes()[self.log_start:].decode()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


@dataclasses.dataclass
class Load:
    """One round of requests of every kind, and the jobs that were accepted."""

    url: str
    accepted: list[str] = dataclasses.field(default_factory=list)
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def ask(self, method: str, path: str, **options):
        """The answer, or nothing when the connection was cut: while the machine fails, both will do."""
        with contextlib.suppress(requests.RequestException):
            reply = requests.request(method, self.url + path, timeout=30, **options)
            self.statuses[reply.status_code] += 1
            return reply
        self.statuses["cut"] += 1
        return None

    def make(self, body: dict, **options):
        return self.ask("POST", "/v1/images/generations", json={**QUICK, **body}, **options)

    def small_things(self):
        for path in ("/livez", "/health", "/metrics", "/v1/models", "/openapi.json", "/images/none.png"):
            self.ask("GET", path)
        self.ask("POST", "/v1/images/generations", data="{", headers={"Content-Type": "application/json"})
        self.make({"size": "1x1"})

    def pictures(self):
        self.make({"response_format": "b64_json", "n": 2})
        made = self.make({"response_format": "url"})
        if made is not None and made.status_code == 200:
            self.ask("GET", made.json()["data"][0]["url"].removeprefix(self.url))
        self.make({"stream": True, "partial_images": 1})
        self.ask("POST", "/sdapi/v1/txt2img", json={"prompt": "x", "steps": 1, "width": 64, "height": 64})

    def edits(self):
        image = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(image, "PNG")
        form = {"prompt": "blue", "size": "64x64", "num_inference_steps": "2", "strength": "0.5"}
        for more in ({}, {"background_job": "true"}):
            made = self.ask("POST", "/v1/images/edits", data={**form, **more}, files={"image": ("x.png", image.getvalue(), "image/png")})
            if more:
                self.note(made)

    def jobs(self):
        for _ in range(2):
            self.note(self.make({"background_job": True}))
        self.ask("GET", "/v1/images/jobs?limit=5")
        for job in self.accepted[-1:]:
            self.follow(job)
        cancelled = self.make({"background_job": True, "num_inference_steps": 50})
        self.note(cancelled)
        if cancelled is not None and cancelled.status_code == 202:
            self.ask("POST", f"/v1/images/jobs/{cancelled.json()['id']}/cancel")

    def follow(self, job: str):
        """Reads a job's events for a while: where every so-manieth call fails, it may never end."""
        until = time.monotonic() + 5
        url = f"{self.url}/v1/images/jobs/{job}/events"
        with contextlib.suppress(requests.RequestException), requests.get(url, timeout=30, stream=True) as reply:
            self.statuses[reply.status_code] += 1
            for _ in reply.iter_lines():
                if time.monotonic() > until:
                    return

    def note(self, reply):
        if reply is not None and reply.status_code == 202:
            self.accepted.append(reply.json()["id"])

    def run(self):
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(work) for work in (self.small_things, self.pictures, self.edits, self.jobs)]:
                done.result()


def within(seconds: float, holds) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(requests.RequestException, KeyError, ValueError):
            if holds():
                return True
        time.sleep(0.02)
    return False


def check(server: Server, accepted: list[str]) -> list[str]:
    """What is wrong with a server on a machine that works again."""
    url = server.url

    def made(body):
        return requests.post(url + "/v1/images/generations", json={**QUICK, **body}, timeout=BACK_SECONDS_MAX)

    def ended(job):
        return requests.get(f"{url}/v1/images/jobs/{job}", timeout=BACK_SECONDS_MAX).json()["status"] in ENDED

    wrong = []
    if not within(BACK_SECONDS_MAX, lambda: requests.get(url + "/livez", timeout=2).status_code == 200):
        return ["it is deaf"]
    if not within(BACK_SECONDS_MAX, lambda: made({"response_format": "b64_json"}).status_code == 200):
        wrong.append("it makes no picture")
    if not within(BACK_SECONDS_MAX, lambda: requests.get(made({"response_format": "url"}).json()["data"][0]["url"], timeout=5).status_code == 200):
        wrong.append("it keeps no picture")
    if not within(BACK_SECONDS_MAX, lambda: accepted.append(made({"background_job": True}).json()["id"]) is None):
        wrong.append("it takes no job")
    wrong += ["an accepted job does not end" for job in accepted if not within(2 * BACK_SECONDS_MAX, lambda job=job: ended(job))]
    return wrong


class Campaign:
    """Failures of one machine under one program."""

    def __init__(self, program: list[str], folder: pathlib.Path, bytes_min: int):
        self.program, self.folder, self.bytes_min = program, folder, bytes_min
        self.orders = Orders(folder / "orders")
        self.server = Server(program, folder, self.orders)
        self.owed: list[str] = []  # jobs that were accepted when the server ended
        self.tried, self.failures, self.ends = 0, 0, 0
        self.statuses: collections.Counter = collections.Counter()

    def close(self):
        self.server.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start_again(self):
        self.server.kill()
        self.server = Server(self.program, self.folder, self.orders)

    def trial(self, kind: str, every: int, times: int = 1, rounds: int = 1) -> tuple[list[str], int]:
        """What went wrong when calls of one kind failed, and how many of them did."""
        load = Load(self.server.url)
        self.orders.fail(kind, every, times, self.bytes_min if kind == "malloc" else 0)
        for _ in range(rounds):
            load.run()
        self.orders.rest()
        failed = self.orders.failed(kind)
        self.tried, self.failures = self.tried + 1, self.failures + failed
        self.statuses += load.statuses
        wrong = self.verdict(kind, self.owed + load.accepted)
        return [f"{kind} {every}x{times}: {text}" for text in wrong], failed

    def verdict(self, kind: str, accepted: list[str]) -> list[str]:
        if self.server.process.poll() is None and kind == "sync":
            # It may be about to end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.process.wait(1 if "job_store_lost" in self.server.said() else 0.2)
        status = self.server.process.poll()
        if status is None and "job_store_lost" not in self.server.said():
            wrong = check(self.server, accepted)
            if self.server.process.poll() is not None or "it is deaf" in wrong:
                wrong.append(f"it ended with status {self.server.process.poll()}: {self.server.said()[-600:]}")
                self.start_again()
            return wrong
        # Nothing can be promised any more once the disk has not confirmed a write: it says so and ends.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.server.process.wait(70)
        said = self.server.said()
        self.ends += 1
        self.start_again()
        if kind != "sync" or status is None or status <= 0 or "job_store_lost" not in said:
            return [f"it ended with status {status}: {said[-600:]}"]
        return check(self.server, accepted)


def ordinals(most: int | None):
    """1, 2, 3 …, or some of them that grow."""
    if most is None:
        yield from itertools.count(1)
    number = 1
    for _ in range(most or 0):
        yield number
        number = max(number + 1, int(number * 1.6))


def run(campaign: Campaign, kinds: list[str], seconds: float, ordinals_max: int | None = None) -> list[str]:
    """All kinds in turn, each until its calls are used up or its share of the time is."""
    wrong = []
    for kind in kinds:
        until = time.monotonic() + seconds / len(kinds)
        for number in ordinals(ordinals_max):
            found, failed = campaign.trial(kind, number)
            wrong += found
            if failed == 0 or time.monotonic() > until:
                break
        for every in (50, 7):
            if kind != "sync":
                wrong += campaign.trial(kind, every, FOR_EVER)[0]
        print(f"  {kind}: up to the {number}th call", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--bytes-min", type=int, default=4096, help="smaller allocations do not fail")
    parser.add_argument("--program", default=f"{BUILD}/stub_server --step-ms 1")
    arguments = parser.parse_args()
    subprocess.run(["ninja", "-C", str(BUILD), "--quiet", "failing_machine"], check=True)
    with tempfile.TemporaryDirectory() as name, Campaign(shlex.split(arguments.program), pathlib.Path(name), arguments.bytes_min) as campaign:
        wrong = run(campaign, list(arguments.kinds), arguments.seconds)
        print(f"{campaign.tried} trials, {campaign.failures} failures; ended by a lost sync and started again {campaign.ends} times")
        print("answers:", json.dumps({str(status): count for status, count in sorted(campaign.statuses.items(), key=str)}))
        if campaign.server.process.poll() is None:
            campaign.server.process.send_signal(signal.SIGTERM)
            if (status := campaign.server.process.wait(70)) != 0:
                wrong.append(f"its end: status {status}")
    for text, count in collections.Counter(wrong).most_common(20):
        print(f"WRONG: {text}" + (f" ({count} times)" if count > 1 else ""))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
