"""The walk through two servers behind HAProxy, with the configuration that docs/scaling.md prints."""

import concurrent.futures
import contextlib
import io
import random
import re
import signal
import socket
import subprocess
import threading

import pytest
import requests
from conftest import ROOT, Server, wait_until
from PIL import Image
from test_nodes import JOB, LONG, accepted, database, events, job, picture, start  # noqa: F401


def configuration(front: int, servers: list[str]) -> str:
    """What the page prints, with our addresses in the place of its own; the front is an open socket."""
    page = (ROOT / "docs/scaling.md").read_text()
    text, = re.findall(r"```haproxy\n(.*?)```", page, re.DOTALL)
    text, binds = re.subn(r"^( *bind) .*$", rf"\1 fd@{front}", text, flags=re.MULTILINE)
    addresses = iter(servers)
    text, named = re.subn(r"^( *server \w+) \S+", lambda match: f"{match[1]} {next(addresses)}", text, flags=re.MULTILINE)
    assert (binds, named) == (1, len(servers))
    return text


def delay() -> str:
    """For how long a server that is to end goes on, as the page has it."""
    seconds, = re.findall(r"--drain-delay (\d+)\n```", (ROOT / "docs/scaling.md").read_text())
    return seconds


@contextlib.contextmanager
def haproxy(tmp_path, servers):
    """HAProxy before the servers: what clients talk to."""
    file = tmp_path / "haproxy.cfg"
    with socket.create_server(("127.0.0.1", 0)) as front:
        file.write_text(configuration(front.fileno(), [server.url.removeprefix("http://") for server in servers]))
        process = subprocess.Popen(["haproxy", "-db", "-f", str(file)], pass_fds=[front.fileno()], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        front = Server(process, f"http://127.0.0.1:{front.getsockname()[1]}", [])
    try:
        wait_until(lambda: process.poll() is not None or answers(front), 60)
        assert process.poll() is None, process.stdout.read()
        yield front
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def balanced(start, tmp_path):  # noqa: F811
    """What clients talk to, and the two servers behind it."""
    servers = [start("--drain-delay", delay()), start("--drain-delay", delay())]
    with haproxy(tmp_path, servers) as front:
        yield front, servers


def answers(front) -> bool:
    try:
        return front.get("/readyz").status_code == 200
    except requests.ConnectionError:
        return False


def test_one_address_for_all_servers(balanced):
    front, servers = balanced
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        jobs = [item["id"] for item in clients.map(lambda seed: accepted(front, {**JOB, "seed": seed}), range(8))]
        done = list(clients.map(lambda job_id: list(events(front, job_id))[-1]["job"], jobs))
    assert {item["status"] for item in done} == {"completed"}
    assert len({picture(front, item) for item in done}) == 8
    assert {item["id"] for item in front.get("/v1/images/jobs").json()["data"]} == set(jobs)
    waited = front.post({"prompt": "a red balloon", "num_inference_steps": 2, "size": "64x64"})
    assert waited.status_code == 200
    accepted_by_each = [re.findall(r'requests_total{code="202".*generations', server.get("/metrics").text) for server in servers]
    assert all(accepted_by_each)


def test_a_server_that_dies_takes_nothing_with_it(balanced):
    front, (one, other) = balanced
    jobs = [accepted(front, {**LONG, "seed": seed})["id"] for seed in range(3)]
    wait_until(lambda: any(job(front, job_id)["status"] == "in_progress" for job_id in jobs), 60)
    one.stop(signal.SIGKILL)
    for job_id in jobs:
        wait_until(lambda job_id=job_id: job(front, job_id)["status"] == "completed", 120)
    assert len({picture(front, job(front, job_id)) for job_id in jobs}) == 3
    assert front.post({**JOB, "background_job": False}).status_code == 200


def answered(front, body) -> bool:
    """As clients of OpenAI do it: what is refused for the moment is asked again."""
    def made() -> bool:
        status = front.post({**body, "background_job": False}).status_code
        assert status in (200, 503)
        return status == 200
    wait_until(made, 60)
    return True


def test_a_server_that_ends_in_order_breaks_no_request(balanced):
    front, (one, _) = balanced
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        waiting = [clients.submit(answered, front, {**JOB, "num_inference_steps": 40}) for _ in range(6)]
        wait_until(lambda: one.get("/health").json()["checks"]["jobs_running"] > 0 or all(each.done() for each in waiting), 60)
        assert one.stop(signal.SIGTERM) == 0
        assert all(each.result() for each in waiting)
    assert answered(front, JOB)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def noise() -> bytes:
    """A picture that is larger than the buffer in which HAProxy could keep a request for a second try."""
    file = io.BytesIO()
    Image.frombytes("RGB", (128, 128), random.Random(7).randbytes(128 * 128 * 3)).save(file, "PNG")
    return file.getvalue()


def test_no_request_fails_while_servers_are_restarted_in_turn(start, tmp_path):  # noqa: F811
    ports = [free_port(), free_port()]
    servers = [start("--drain-delay", delay(), port=port) for port in ports]
    done, failed, picture_file = threading.Event(), [], noise()

    def ask(front, number: int) -> int:
        body = {"prompt": "a red balloon", "num_inference_steps": 1, "size": "64x64", "seed": number}
        match number % 8:
            case 0:
                edit = {**body, "num_inference_steps": 2, "strength": 0.9}
                return requests.post(front.url + "/v1/images/edits", data=edit, files={"image": picture_file}, timeout=120).status_code
            case 1:
                return front.post(body, headers={"Idempotency-Key": f"key-{number}"}).status_code
            case 2:
                return 200 if front.post({**body, "background_job": True}).status_code == 202 else 0
            case 3:
                return front.post({"prompt": "x", "steps": 1, "width": 64, "height": 64}, "/sdapi/v1/txt2img").status_code
        return front.post({**body, "response_format": "b64_json"}).status_code

    def client(front, first: int) -> int:
        number = first
        while not done.is_set() or number < 500 + first:
            if (status := ask(front, number)) != 200:
                failed.append((number, status))
            number += 1
        return number - first

    with haproxy(tmp_path, servers) as front, concurrent.futures.ThreadPoolExecutor(4) as clients:
        running = [clients.submit(client, front, 10_000 * index) for index in range(4)]
        try:
            for turn in range(10):
                old = servers[turn % 2]
                assert old.stop(signal.SIGTERM) == 0
                fresh = servers[turn % 2] = start("--drain-delay", delay(), port=ports[turn % 2])
                wait_until(lambda fresh=fresh: 'route="/v1/images/generations"' in fresh.get("/metrics").text, 60)  # it is used again
        finally:
            done.set()
        assert sum(each.result() for each in running) >= 2000
    assert failed == []
