"""Many servers on one PostgreSQL and one folder of pictures; servers are killed and stopped, the database crashes, and what clients
were promised is held against what is left: every job that was accepted is there once, ends in exactly one state, and its
pictures have the bytes they were stored with.

    ./dev bench nodes [--nodes 4] [--jobs 1500] [--kill-ms 250] [--crashes 2] [--seed 1]
    ./dev bench nodes --scaling        how much faster more servers are, without any fault
"""
# builds: stub_server

import argparse
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time

import cluster
import requests

ROOT = pathlib.Path(__file__).parents[1]
STUB = ROOT / "build/release/stub_server"
ENDED = ("completed", "failed", "cancelled")


class Node:
    """One place for a server: it is started, killed, and started again. `log`: where its log goes, a file."""

    def __init__(self, program: list[str], options: list[str], log: pathlib.Path | None = None):
        self.command = [*program, "--port", "0", *options]
        self.log = log or pathlib.Path("/dev/null")
        self.url = ""
        self.process = None
        self.start()

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.url = next((line.split()[-1] for line in self.process.stdout if line.startswith("listening on ")), "")
        threading.Thread(target=lambda stream=self.process.stdout: collections.deque(stream, maxlen=0), daemon=True).start()

    def kill(self):
        self.process.kill()
        self.process.wait()


def ask(method: str, url: str, **options):
    """The answer, or nothing when there was none."""
    try:
        return requests.request(method, url, timeout=10, **options)
    except requests.RequestException:
        return None


def accept(nodes: list[Node], chance: random.Random, number: int, steps: int) -> dict:
    """Sends a job until some server says 202 or, to a repetition, 200."""
    body = {"prompt": f"kitten {number}", "seed": number, "background_job": True, "size": "64x64", "num_inference_steps": steps}
    while True:
        reply = ask("POST", chance.choice(nodes).url + "/v1/images/generations", json=body, headers={"Idempotency-Key": f"job-{number}"})
        if reply is not None and reply.status_code in (200, 202):
            return reply.json()
        time.sleep(0.05)


def wait_for_end(nodes: list[Node], chance: random.Random, job_id: str, deadline: float) -> dict | None:
    while time.monotonic() < deadline:
        reply = ask("GET", f"{chance.choice(nodes).url}/v1/images/jobs/{job_id}")
        if reply is not None and reply.status_code == 200 and reply.json()["status"] in ENDED:
            return reply.json()
        if reply is not None and reply.status_code == 404:
            return None
        time.sleep(0.05)
    return None


def client(nodes, seed, numbers, steps, deadline):
    """The jobs of these numbers as they ended; nothing for those that were lost."""
    chance = random.Random(seed)
    accepted = [accept(nodes, chance, number, steps) for number in numbers]
    return {job["id"]: wait_for_end(nodes, chance, job["id"], deadline) for job in accepted}


class Trouble:
    """Kills a server every so often, lets one sleep past its lease now and then, and crashes the database."""

    def __init__(self, nodes, database, arguments):
        self.nodes, self.database, self.arguments = nodes, database, arguments
        self.chance = random.Random(arguments.seed)
        self.kills = self.sleeps = self.crashes = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.kill_servers), threading.Thread(target=self.crash_database)]
        for thread in self.threads:
            thread.start()

    def kill_servers(self):
        while not self.over.wait(self.arguments.kill_ms / 1000):
            node = self.chance.choice(self.nodes)
            if self.chance.random() < 0.03:
                self.sleeps += 1
                node.process.send_signal(signal.SIGSTOP)
                self.over.wait(2.5 * self.arguments.lease)
                node.process.send_signal(signal.SIGCONT)
                continue
            self.kills += 1
            node.kill()
            node.start()
            while not node.url and not self.over.wait(0.1):  # it came up while the database was down
                node.kill()
                node.start()

    def crash_database(self):
        for _ in range(self.arguments.crashes):
            if self.over.wait(5):
                return
            self.crashes += 1
            self.database.stop()
            self.database.start()

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def check(database, nodes, blobs: pathlib.Path, jobs: dict) -> list[str]:
    faults = [f"{job_id}: lost, or it has not ended" for job_id, job in jobs.items() if job is None]
    rows = json.loads(database.ask("SELECT coalesce(json_agg(json_build_array(id, state, outcome)), '[]') FROM job"))
    if len(rows) != len(jobs):
        faults.append(f"{len(jobs)} jobs were accepted, {len(rows)} are there")
    words = {"succeeded": "completed"}
    for job_id, state, _ in rows:
        shown = jobs.get(job_id)
        if shown is not None and words.get(state, state) != shown["status"]:
            faults.append(f"{job_id}: was seen to end as {shown['status']}, is {state}")
    for file in (blobs / "images").rglob("*.png"):
        if hashlib.sha256(file.read_bytes()).hexdigest() != file.name.split(".")[2]:
            faults.append(f"{file.name}: other bytes than were stored")
    for job_id, job in jobs.items():
        if job is None or job["status"] != "completed":
            continue
        for item in job["result"]["data"]:
            reply = ask("GET", nodes[hash(job_id) % len(nodes)].url + item["url"][item["url"].index("/images/"):])
            if reply is None or reply.status_code != 200:
                faults.append(f"{job_id}: its picture is not served")
            elif item["seed"] != job["seeds"][0]:
                faults.append(f"{job_id}: a picture of another seed")
    return faults


@contextlib.contextmanager
def running_nodes(count: int, database, blobs, arguments):
    options = ["--store", database.url, "--blobs", str(blobs), "--job-lease", str(arguments.lease), "--job-attempts", "1000"]
    nodes: list[Node] = []
    try:
        for _ in range(count):
            nodes.append(Node(arguments.program, options))
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def work(nodes, arguments, deadline) -> dict:
    jobs: dict = {}
    with concurrent.futures.ThreadPoolExecutor(arguments.clients) as pool:
        parts = [range(i, arguments.jobs, arguments.clients) for i in range(arguments.clients)]
        for done in pool.map(lambda i: client(nodes, arguments.seed * 1000 + i, parts[i], arguments.steps, deadline), range(arguments.clients)):
            jobs.update(done)
    return jobs


def chaos(arguments) -> bool:
    with cluster.cluster() as database, tempfile.TemporaryDirectory() as folder:
        blobs = pathlib.Path(folder)
        with running_nodes(arguments.nodes, database, blobs, arguments) as nodes:
            started = time.monotonic()
            trouble = Trouble(nodes, database, arguments)
            try:
                jobs = work(nodes, arguments, started + arguments.patience)
            finally:
                trouble.end()
            seconds = time.monotonic() - started
            faults = check(database, nodes, blobs, jobs)
            attempts = database.ask("SELECT max(attempt) || ' at most, ' || sum(attempt) || ' in all' FROM job")
    states = collections.Counter("lost" if job is None else job["status"] for job in jobs.values())
    print(f"{arguments.nodes} servers, {len(jobs)} jobs accepted, {trouble.kills} kills, {trouble.sleeps} slept past their lease, "
          f"{trouble.crashes} database crashes, {seconds:.0f} s: {dict(states)}, attempts {attempts}, {len(faults)} faults")
    for fault in faults[:20]:
        print(" ", fault)
    return not faults


def scaling(arguments) -> bool:
    rates = {}
    for count in (1, 2, 4):
        with cluster.cluster() as database, tempfile.TemporaryDirectory() as folder:
            with running_nodes(count, database, pathlib.Path(folder), arguments) as nodes:
                started = time.monotonic()
                jobs = work(nodes, arguments, started + arguments.patience)
                rates[count] = len(jobs) / (time.monotonic() - started)
            print(f"{count} servers: {rates[count]:.1f} jobs/s, {rates[count] / rates[1]:.2f} times one")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--step-ms", type=float, default=400, help="one step of one 256x256 picture; the jobs have a sixteenth of the pixels")
    parser.add_argument("--kill-ms", type=float, default=250)
    parser.add_argument("--crashes", type=int, default=2)
    parser.add_argument("--lease", type=float, default=1.0, help="seconds")
    parser.add_argument("--patience", type=float, default=400, help="seconds for all of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scaling", action="store_true")
    arguments = parser.parse_args()
    arguments.program = [str(STUB), "--step-ms", str(arguments.step_ms)]
    raise SystemExit(0 if (scaling if arguments.scaling else chaos)(arguments) else 1)


if __name__ == "__main__":
    main()
