"""The real program on a free port with the demo model and a folder of its own."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import numpy
import pytest
import requests
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = pathlib.Path(os.environ.get("DIFFUSED_BUILD", ROOT / "build/release")) / "diffused"
DEMO = ROOT / "models/demo"


class Server:
    """A running `diffused serve`. `log` grows with what it writes."""

    def __init__(self, process: subprocess.Popen, url: str, log: list[str]):
        self.process = process
        self.url = url
        self.log = log

    def post(self, body, path="/v1/images/generations", **options):
        return requests.post(self.url + path, json=body, timeout=120, **options)

    def get(self, path, **options):
        return requests.get(self.url + path, timeout=60, **options)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels, as /metrics has it now."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}({{|\s)", line))

    def stop(self, how=signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


@contextlib.contextmanager
def serve(data_dir, *options, model=DEMO, environment=None, port=0, prepare=None):
    """Starts the program and waits for the line that says where it listens. `prepare` is called in the new process before it."""
    models = [str(model)] if model else []
    command = [str(PROGRAM), "serve", *models, "--port", str(port), "--data-dir", str(data_dir), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **(environment or {})}, preexec_fn=prepare)
    log: list[str] = []
    threading.Thread(target=lambda: log.extend(iter(process.stderr.readline, "")), daemon=True).start()
    try:
        url = None
        for line in process.stdout:
            if match := re.match(r"listening on (https?://\S+)", line):
                url = match[1]
                break
        assert url, f"the server ended with status {process.wait(10)}: {''.join(log)}"
        threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
        yield Server(process, url, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it as they found it."""
    with serve(tmp_path_factory.mktemp("data"), "--dtype", "fp32") as running:
        yield running


def run_program(*arguments, timeout=120, **options):
    return subprocess.run([str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **options)


def write_lora(file: pathlib.Path) -> None:
    """For one layer of the demo model."""
    width, layer = 192, "transformer.transformer_blocks.0.attn.to_q"
    draw = numpy.random.default_rng(1).standard_normal
    matrices = {"lora_A": draw((2, width)) / width**0.5, "lora_B": draw((width, 2))}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{layer}.{name}.weight": matrix.astype("float32") for name, matrix in matrices.items()}, file)


def make_key(file, name, *options):
    """Adds a user to a file of keys and returns the key."""
    made = run_program("key", name, *options)
    assert made.returncode == 0, made.stderr
    with file.open("a") as lines:
        lines.write(made.stdout)
    return made.stderr.splitlines()[-1]


def send_raw(server, body, path="/v1/images/generations") -> socket.socket:
    """Sends a request and returns the open connection without reading the answer."""
    data = requests.Request("POST", server.url + path, json=body).prepare()
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data.body)}\r\n\r\n"
    connection.sendall(head.encode() + data.body)
    return connection


def wait_until(condition, seconds=20.0) -> float:
    """Polls a server from outside until the condition holds; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it never happened"
        time.sleep(0.01)
    return time.monotonic() - started
