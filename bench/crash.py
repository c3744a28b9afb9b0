"""Kills a server with SIGKILL at random moments, over and over on one data folder, and holds what clients were promised
against what is left: every job that was accepted ends in exactly one state, its picture is whole and is that of its seed.

    ./dev bench crash [--rounds 200] [--seed 1] [--program "build/release/diffused serve models/demo"]
"""
# builds: stub_server

import argparse
import dataclasses
import hashlib
import io
import pathlib
import random
import shlex
import signal
import statistics
import subprocess
import tempfile
import threading
import time
import uuid

import requests
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
STUB = f"{ROOT}/build/release/stub_server --step-ms 4"
# From the start of the process to "listening", without loading a model.
READY_SECONDS_MAX = 2.0
ENDED = ("completed", "failed", "cancelled")


@dataclasses.dataclass
class Promises:
    """What clients were told, over all rounds."""

    accepted: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # job → its seeds
    ended: dict[str, str] = dataclasses.field(default_factory=dict)  # job → the status it was seen to end with
    ready_seconds: list[float] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)


class Server:
    """One life of the server, from its start to its kill."""

    def __init__(self, program: list[str], data_dir: pathlib.Path):
        started = time.monotonic()
        self.process = subprocess.Popen([*program, "--port", "0", "--data-dir", str(data_dir)], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.url = ""
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                break
        self.ready_seconds = time.monotonic() - started
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def ask(method: str, url: str, **options):
    """The answer, or nothing when the server died under it."""
    try:
        return requests.request(method, url, timeout=30, **options)
    except requests.RequestException:
        return None


def check_picture(promises: Promises, job: dict, url: str):
    reply = ask("GET", url)
    if reply is None:
        return
    if reply.status_code != 200:
        promises.faults.append(f"{job['id']}: completed, but its picture answers {reply.status_code}")
        return
    try:
        Image.open(io.BytesIO(reply.content)).load()
    except Exception as error:  # whatever Pillow finds wrong with it
        promises.faults.append(f"{job['id']}: its picture is damaged: {error}")


def check_job(promises: Promises, job: dict):
    """One job as the server shows it, against what was said of it before."""
    known = promises.accepted.get(job["id"])
    if known is not None and known != job["seeds"]:
        promises.faults.append(f"{job['id']}: seeds {known} became {job['seeds']}")
    if job["status"] not in ENDED:
        return
    before = promises.ended.setdefault(job["id"], job["status"])
    if before != job["status"]:
        promises.faults.append(f"{job['id']}: ended as {before}, then as {job['status']}")
    if job["status"] == "completed":
        if [item["seed"] for item in job["result"]["data"]] != job["seeds"]:
            promises.faults.append(f"{job['id']}: pictures of other seeds")
        for item in job["result"]["data"]:
            check_picture(promises, job, item["url"])


def client(server: Server, promises: Promises, seed: int):
    """Sends jobs and looks at them until the server is gone."""
    chance = random.Random(seed)
    while server.process.poll() is None:
        key = uuid.UUID(int=chance.getrandbits(128)).hex
        body = {"prompt": f"kitten {key}", "background_job": True, "n": chance.randint(1, 2), "size": "64x64",
                "num_inference_steps": chance.randint(1, 4)}
        reply = ask("POST", server.url + "/v1/images/generations", json=body, headers={"Idempotency-Key": key})
        if reply is None:
            return
        if reply.status_code in (200, 202):
            promises.accepted[reply.json()["id"]] = reply.json()["seeds"]
        for job_id in chance.sample(sorted(promises.accepted), min(2, len(promises.accepted))):
            shown = ask("GET", f"{server.url}/v1/images/jobs/{job_id}")
            if shown is None:
                return
            if shown.status_code != 200:
                promises.faults.append(f"{job_id}: accepted, then answered with {shown.status_code}")
            else:
                check_job(promises, shown.json())


def check_files(promises: Promises, data_dir: pathlib.Path):
    """Every file that can be served has the hash that its name says."""
    for file in (data_dir / "images").iterdir():
        parts = file.name.split(".")
        if len(parts) == 4 and hashlib.sha256(file.read_bytes()).hexdigest() != parts[2]:
            promises.faults.append(f"{file.name}: a half file")


def settle(server: Server, promises: Promises, seconds: float):
    """Waits for the end of all jobs and looks at each."""
    deadline = time.monotonic() + seconds
    waiting = sorted(promises.accepted)
    while waiting and time.monotonic() < deadline:
        for job_id in list(waiting):
            reply = ask("GET", f"{server.url}/v1/images/jobs/{job_id}")
            if reply is None or reply.status_code != 200:
                promises.faults.append(f"{job_id}: lost")
                waiting.remove(job_id)
            elif reply.json()["status"] in ENDED:
                check_job(promises, reply.json())
                waiting.remove(job_id)
        time.sleep(0.05 if waiting else 0)
    promises.faults.extend(f"{job_id}: has not ended" for job_id in waiting)


def run(program: list[str], data_dir: pathlib.Path, rounds: int, seed: int, life_seconds: float) -> Promises:
    chance = random.Random(seed)
    promises = Promises()
    for number in range(rounds):
        server = Server(program, data_dir)
        promises.ready_seconds.append(server.ready_seconds)
        clients = [threading.Thread(target=client, args=(server, promises, seed * 1_000_003 + number * 101 + i)) for i in range(3)]
        for thread in clients:
            thread.start()
        time.sleep(chance.uniform(0.02, life_seconds))
        server.kill()
        for thread in clients:
            thread.join()
        check_files(promises, data_dir)
    server = Server(program, data_dir)
    settle(server, promises, seconds=120)
    server.kill()
    return promises


def report(promises: Promises, rounds: int) -> str:
    counts = {status: sum(1 for s in promises.ended.values() if s == status) for status in ENDED}
    return (f"{rounds} kills: {len(promises.accepted)} jobs accepted, {counts['completed']} completed, {counts['failed']} failed, "
            f"{len(promises.faults)} faults; ready after {statistics.median(promises.ready_seconds):.3f} s (median), "
            f"{max(promises.ready_seconds):.3f} s (longest)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life-seconds", type=float, default=0.6, help="the longest life of a server")
    parser.add_argument("--program", default=STUB)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        promises = run(shlex.split(arguments.program), pathlib.Path(folder), arguments.rounds, arguments.seed, arguments.life_seconds)
    print(report(promises, arguments.rounds))
    for fault in promises.faults[:20]:
        print(" ", fault)
    if max(promises.ready_seconds) > READY_SECONDS_MAX and arguments.program == STUB:
        print(f"  not ready within {READY_SECONDS_MAX} s")
        raise SystemExit(1)
    raise SystemExit(1 if promises.faults else 0)


if __name__ == "__main__":
    main()
