"""A PostgreSQL and its synchronous standby, each in a network namespace of its own; servers in a third that write jobs to them. The two
are cut off from each other, the first crashes and comes back alone, the standby is promoted, and the first is cut off from the servers
as well, which then find the other one by themselves. No job that was accepted may be lost.

    ./dev bench partition [--seconds 6] [--seed 1]
    ./dev bench partition --asynchronous        the same without the standby's word, which does lose jobs

It needs root, for namespaces; all its traffic stays in them, and they end with it.
"""
# builds: stub_server

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time

import cluster
import faults
from nodes import ENDED, STUB, Node, ask

# The links by name: which places, and the network between them; the place named first has its address 1, the other 2.
LINKS = {"near": ("servers", "first", "10.99.1"), "far": ("servers", "standby", "10.99.2"), "between": ("first", "standby", "10.99.3")}


def shell(*words: str) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


# An answer whose job is written down already may be this late: servers wait 5 s for a database that stands still.
LATE_SECONDS = 6


class Network:
    """Places that are linked with each other. This program itself is in "servers"; the others are namespaces in a folder that only it
    sees."""

    def __init__(self):
        namespaces = pathlib.Path("/run/netns")
        namespaces.mkdir(exist_ok=True)
        shell("mount", "-t", "tmpfs", "tmpfs", str(namespaces))
        for place in ("first", "standby"):
            shell("ip", "netns", "add", place)
        for place in ("servers", "first", "standby"):
            self.ip(place, "link", "set", "lo", "up")
        for link, (left, right, network) in LINKS.items():
            self.ip(left, "link", "add", link, "type", "veth", "peer", "name", link, "netns", right)
            for place, number in ((left, 1), (right, 2)):
                self.ip(place, "address", "add", f"{network}.{number}/24", "dev", link)
                self.ip(place, "link", "set", link, "up")

    def ip(self, place: str, *words: str):
        shell("ip", *(() if place == "servers" else ("-n", place)), *words)

    def cut(self, link: str):
        self.ip(LINKS[link][0], "link", "set", link, "down")


class Machine(cluster.Cluster):
    """A PostgreSQL at a place of the network. `copy_of`: the address of the one whose standby it is to be."""

    def __init__(self, place: str, folder: pathlib.Path, settings: str, copy_of: str | None = None):
        self.place, self.copy_of = place, copy_of
        super().__init__(folder, f"listen_addresses = '*'\n{settings}")

    def run(self, program: str, *arguments: str) -> str:
        if self.as_user[0] != "ip":  # it is part of every start from here on
            self.as_user = ["ip", "netns", "exec", self.place, *self.as_user]
        if program != "initdb":
            return super().run(program, *arguments)
        if self.copy_of:
            return super().run("pg_basebackup", "-D", str(self.data), "-d", f"host={self.copy_of} user=postgres", "-R", "--checkpoint=fast")
        answer = super().run(program, *arguments)
        with (self.data / "pg_hba.conf").open("a") as access:
            access.write("host all,replication all 10.99.0.0/16 trust\n")
        return answer


class Clients:
    """Threads that send jobs, each again and again under its key until it is accepted."""

    def __init__(self, servers: list[Node], count: int, seed: int):
        self.servers, self.over = servers, threading.Event()
        self.accepted: dict[str, tuple[int, float]] = {}  # job → its seed, when it was accepted
        self.threads = [threading.Thread(target=self.send, args=(seed * 1009 + i, range(i, 1_000_000, count))) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def send(self, seed: int, numbers: range):
        chance = random.Random(seed)
        for number in numbers:
            body = {"prompt": f"kitten {number}", "seed": number, "background_job": True, "size": "64x64", "num_inference_steps": 4}
            while not self.over.is_set():
                server = chance.choice(self.servers)
                reply = ask("POST", server.url + "/v1/images/generations", json=body, headers={"Idempotency-Key": f"job-{number}"})
                if reply is not None and reply.status_code in (200, 202):
                    self.accepted[reply.json()["id"]] = (number, time.monotonic())
                    break
                time.sleep(0.1)
            if self.over.wait(chance.uniform(0, 0.05)):
                return

    def accepted_since(self, when: float) -> int:
        return sum(1 for _, at in list(self.accepted.values()) if at >= when)

    def wait_for_acceptance(self, since: float, patience: float) -> float | None:
        while time.monotonic() < since + patience:
            times = [at for _, at in list(self.accepted.values()) if at >= since]
            if times:
                return min(times) - since
            time.sleep(0.05)
        return None

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def fail_over(network: Network, first: Machine, standby: Machine, clients: Clients, seconds: float) -> float | None:
    """The story of the page's head; how long it took until jobs were accepted again."""
    time.sleep(seconds)
    network.cut("between")
    cut = time.monotonic()
    time.sleep(LATE_SECONDS)
    # In a crash it forgets who waits for the standby's word; what they wrote is there for all to see.
    first.stop(signal.SIGQUIT)
    first.start()
    time.sleep(seconds)
    print(f"{clients.accepted_since(0)} jobs accepted, {clients.accepted_since(cut + LATE_SECONDS)} of them without the standby", flush=True)
    standby.ask("SELECT pg_promote()")
    network.cut("near")
    promoted = time.monotonic()
    back = clients.wait_for_acceptance(promoted, 60)
    time.sleep(seconds)
    return back


def faults_of(servers: list[Node], standby: Machine, clients: Clients, deadline: float) -> list[str]:
    there = {job_id: number for job_id, number in json.loads(standby.ask(
        "SELECT coalesce(json_agg(json_build_array(id, idempotency_key)), '[]') FROM job"))}
    wrong = [f"{job_id}: lost" for job_id, (number, _) in clients.accepted.items() if there.get(job_id) != f"job-{number}"]
    for job_id, (number, _) in clients.accepted.items():
        shown = None
        while job_id in there and time.monotonic() < deadline:
            reply = ask("GET", f"{servers[number % len(servers)].url}/v1/images/jobs/{job_id}")
            shown = reply.json() if reply is not None and reply.status_code == 200 else None
            if shown is not None and shown["status"] in ENDED:
                break
            time.sleep(0.05)
        if job_id in there and (shown is None or shown["status"] != "completed" or shown["seeds"] != [number]):
            wrong.append(f"{job_id}: ended as {shown and shown['status']}")
    return wrong


def run(arguments) -> list[str]:
    network = Network()
    with contextlib.ExitStack() as stack:
        folders = [pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diffused_pg_"))) for _ in range(3)]
        word = "" if arguments.asynchronous else "*"
        first = Machine("first", folders[0], f"synchronous_standby_names = '{word}'")
        stack.callback(first.stop)
        standby = Machine("standby", folders[1], "synchronous_standby_names = ''", copy_of="10.99.3.1")
        stack.callback(standby.stop)
        url = "postgresql://postgres@10.99.2.2,10.99.1.2/postgres"
        options = ["--store", url, "--blobs", str(folders[2] / "blobs"), "--job-lease", "3", "--job-attempts", "100"]
        servers: list[Node] = []
        for _ in range(arguments.servers):
            servers.append(Node([str(STUB), "--step-ms", "80"], options, folders[2] / "log"))
            stack.callback(servers[-1].kill)
        clients = Clients(servers, arguments.clients, arguments.seed)
        try:
            back = fail_over(network, first, standby, clients, arguments.seconds)
        finally:
            clients.end()
        wrong = faults_of(servers, standby, clients, time.monotonic() + 120)
        rows = [set(machine.ask("SELECT id FROM job").split()) for machine in (first, standby)]
        if back is None or any(server.process.poll() is not None for server in servers):
            wrong.append("the servers did not find the other database")
        print(f"jobs accepted again {back if back is None else round(back, 1)} s after the promotion; {len(clients.accepted)} accepted in all,"
              f" {len(rows[0] - rows[1])} that only the first one has, {len(wrong)} faults")
        return wrong


def main():
    faults.with_private_mounts("--net")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6, help="how long each part of the story takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--asynchronous", action="store_true")
    arguments = parser.parse_args()
    if not faults.can_mount():
        print("skipped: it makes network namespaces, which needs root and `unshare --net`")
        return
    print(f"load {os.getloadavg()[0]:.0f}", flush=True)
    wrong = run(arguments)
    for fault in wrong[:20]:
        print(" ", fault)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
