"""One drill: a fault under servers that run, while a client goes on asking; and what it must see, for `./dev bench drills`."""

import collections
import dataclasses
import io
import random
import statistics
import threading
import time
from collections.abc import Callable

from nodes import ENDED, Node, ask
from PIL import Image

REFUSAL_MS_MAX = 100.0
BACK_SECONDS_MAX = 30.0
STEPS = 4
# Jobs that wait or run when the fault comes, each of so many steps.
BACKLOG = 30
LONG_STEPS = 40


@dataclasses.dataclass
class Answer:
    """What one request of the client came to. `code`: the error's, or what /health says of the thing under test."""

    kind: str
    at: float
    status: int
    code: str
    ms: float
    retry_after: bool


@dataclasses.dataclass
class Drill:
    """A fault and what clients must see of it."""

    break_it: Callable[[], None]
    mend_it: Callable[[], None]
    refusals: set  # what may be answered to a new job meanwhile
    health: str  # which of /health's checks has to say so
    seconds: float
    url_goes_on: bool = True  # pictures by URL are made all the same


class Client(threading.Thread):
    """Sends a backlog of long jobs, then jobs and requests of each kind in turn until it is told that it is over."""

    def __init__(self, servers: list[Node], health: str, seed: int):
        super().__init__()
        self.servers, self.health, self.chance = servers, health, random.Random(seed)
        self.answers: list[Answer] = []
        self.accepted: dict[str, list[int]] = {}  # job → its seeds
        self.over = threading.Event()
        self.backlog_sent = threading.Event()

    def run(self):
        for number in range(1, 1_000_000):
            if self.over.is_set():
                return
            server = self.chance.choice(self.servers)
            body = {"prompt": f"kitten {number} " + "x" * 600, "seed": number, "size": "64x64", "num_inference_steps": STEPS}
            if number <= BACKLOG:
                self.send("job", server, {**body, "background_job": True, "num_inference_steps": LONG_STEPS})
                continue
            self.backlog_sent.set()
            self.send("job", server, {**body, "background_job": True})
            self.send("b64_json", server, {**body, "response_format": "b64_json"})
            self.send("url", server, {**body, "response_format": "url"})
            self.send("health", server, None)

    def send(self, kind: str, server: Node, body: dict | None):
        at = time.monotonic()
        if body is None:
            reply = ask("GET", server.url + "/health")
        else:
            reply = ask("POST", server.url + "/v1/images/generations", json=body)
        ms = 1000 * (time.monotonic() - at)
        if reply is None:
            self.answers.append(Answer(kind, at, 0, "no answer", ms, False))
            return
        code = ""
        if kind == "health":
            code = reply.json()["checks"].get(self.health, "")
        elif reply.status_code >= 400:
            code = reply.json()["error"]["code"]
        elif kind == "job":
            self.accepted[reply.json()["id"]] = reply.json()["seeds"]
        self.answers.append(Answer(kind, at, reply.status_code, code, ms, "Retry-After" in reply.headers))

    def wait_for_acceptance(self, since: float, patience: float) -> float | None:
        """Seconds from `since` to the answer to the first job that was accepted after it."""
        while time.monotonic() < since + patience:
            for answer in list(self.answers):
                if answer.kind == "job" and answer.at >= since and answer.status == 202:
                    return answer.at + answer.ms / 1000 - since
            time.sleep(0.02)
        return None

    def end(self):
        self.over.set()
        self.join()


def check_job(servers: list[Node], chance: random.Random, job_id: str, seeds: list[int], deadline: float) -> str | None:
    """What is wrong with an accepted job in the end."""
    shown = None
    while time.monotonic() < deadline:
        reply = ask("GET", f"{chance.choice(servers).url}/v1/images/jobs/{job_id}")
        shown = reply.json() if reply is not None and reply.status_code == 200 else None
        if shown is not None and shown["status"] in ENDED:
            break
        time.sleep(0.05)
    if shown is None or shown["status"] != "completed":
        return f"{job_id}: {'lost' if shown is None else shown['status']} {shown and shown['error']}"
    for item in shown["result"]["data"]:
        url = chance.choice(servers).url + item["url"][item["url"].index("/images/"):]
        picture = ask("GET", url)
        if item["seed"] not in seeds or picture is None or picture.status_code != 200:
            return f"{job_id}: its picture is not served, or of another seed"
        Image.open(io.BytesIO(picture.content)).load()
    return None


def judge(drill: Drill, client: Client, broken: float, mended: float) -> list[str]:
    """What clients saw during the fault that they should not have seen."""
    wrong = []
    during = [a for a in client.answers if broken <= a.at and a.at + a.ms / 1000 <= mended]
    refused = [a for a in during if a.kind == "job" and a.status != 202]
    if not refused:
        return ["the fault was never noticed"]
    noticed = refused[0].at + refused[0].ms / 1000
    if noticed - broken > drill.seconds / 2:
        wrong.append(f"noticed only after {noticed - broken:.1f} s")
    wrong += [f"a job was answered with {a.status} {a.code}" for a in refused if (a.status, a.code) not in drill.refusals]
    wrong += ["a refusal without Retry-After" for a in refused if not a.retry_after]
    if statistics.median(a.ms for a in refused) > REFUSAL_MS_MAX:
        wrong.append(f"jobs were refused only after {statistics.median(a.ms for a in refused):.0f} ms")
    wrong += [f"a request for b64_json was answered with {a.status} {a.code}" for a in during if a.kind == "b64_json" and a.status != 200]
    urls = [a for a in during if a.kind == "url" and a.at > noticed]
    allowed = {(200, "")} if drill.url_goes_on else drill.refusals
    wrong += [f"a request for a URL was answered with {a.status} {a.code}" for a in urls if (a.status, a.code) not in allowed]
    said = [a for a in during if a.kind == "health" and a.at > noticed]
    # What still fits on a full disk is a success, and said to be one.
    if not said or sum(a.status == 200 and a.code in ("failing", "full") for a in said) < 0.75 * len(said):
        wrong.append(f"/health said {dict(collections.Counter(a.code for a in said))} of {drill.health}")
    return wrong


def figures(client: Client, broken: float, mended: float) -> str:
    refused = [a for a in client.answers if a.kind == "job" and broken <= a.at < mended and a.status != 202]
    ms = [a.ms for a in refused] or [float("nan")]
    fitted = sum(1 for a in client.answers if a.kind == "job" and broken <= a.at < mended and a.status == 202)
    others = {kind: dict(collections.Counter(a.status for a in client.answers if a.kind == kind and broken <= a.at < mended))
              for kind in ("b64_json", "url")}
    health = dict(collections.Counter(a.code for a in client.answers if a.kind == "health" and broken <= a.at < mended))
    return (f"refused {dict(collections.Counter(f'{a.status} {a.code}' for a in refused))} in {statistics.median(ms):.1f} ms (median),"
            f" {max(ms):.0f} ms (worst); accepted meanwhile {fitted}; b64_json {others['b64_json']}, url {others['url']}, /health {health}")


def run(drill: Drill, servers: list[Node], seed: int) -> list[str]:
    """One drill on servers that run; what went wrong."""
    client = Client(servers, drill.health, seed)
    client.start()
    try:
        if not client.backlog_sent.wait(BACK_SECONDS_MAX) or not client.accepted:
            return ["no job was accepted before the fault"]
        broken = time.monotonic()
        drill.break_it()
        time.sleep(drill.seconds)
        mended = time.monotonic()
        drill.mend_it()
        back = client.wait_for_acceptance(mended, BACK_SECONDS_MAX)
        time.sleep(1)
    finally:
        client.end()
    wrong = judge(drill, client, broken, mended)
    if back is None:
        wrong.append(f"no job was accepted within {BACK_SECONDS_MAX} s after the fault")
    chance, deadline = random.Random(seed), time.monotonic() + 60
    ends = [check_job(servers, chance, job_id, seeds, deadline) for job_id, seeds in client.accepted.items()]
    wrong += [end for end in ends if end]
    if any(server.process.poll() is not None for server in servers):
        wrong.append("a server ended")
    print(f"  {figures(client, broken, mended)}\n  back after {back if back is None else round(back, 2)} s;"
          f" {len(client.accepted)} jobs accepted, {ends.count(None)} completed")
    return wrong
