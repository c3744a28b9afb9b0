"""What a service manager hears, what asks after the server's health, and which program it is."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from conftest import PROGRAM, run_program, serve


@contextlib.contextmanager
def manager(address: str):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listening.settimeout(30)
        yield listening


@pytest.fixture(params=["file", "abstract"])
def address(request, tmp_path):
    return str(tmp_path / "notify") if request.param == "file" else f"@diffused-test-{os.getpid()}"


def test_the_manager_hears_of_the_start_the_pulse_and_the_end(address, tmp_path):
    with manager(address) as heard:
        with serve(tmp_path / "data", environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}) as server:
            assert heard.recv(4096) == b"READY=1"
            assert server.get("/readyz").status_code == 200
            assert [heard.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            server.process.send_signal(signal.SIGTERM)
            said = b""
            while said != b"STOPPING=1":
                said = heard.recv(4096)
                assert said in (b"WATCHDOG=1", b"STOPPING=1")
            assert server.process.wait(60) == 0


def test_the_pulse_of_another_process_is_not_this_ones(tmp_path):
    address = str(tmp_path / "notify")
    with manager(address) as heard:
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
        with serve(tmp_path / "data", environment=environment) as server:
            assert heard.recv(4096) == b"READY=1"
            assert server.stop() == 0
            assert heard.recv(4096) == b"STOPPING=1"


def test_the_manager_hears_of_a_reload(tmp_path):
    address = str(tmp_path / "notify")
    (tmp_path / "x.toml").write_text("n-max = 2\n")
    with manager(address) as heard:
        with serve(tmp_path / "data", "--config", str(tmp_path / "x.toml"), environment={"NOTIFY_SOCKET": address}) as server:
            assert heard.recv(4096) == b"READY=1"
            server.process.send_signal(signal.SIGHUP)
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+", heard.recv(4096))
            assert heard.recv(4096) == b"READY=1"


def test_a_device_that_hangs_has_no_pulse(tmp_path):
    """A step counts as hanging after a twentieth of its two seconds; when it ends after all, the pulse is back."""
    address = str(tmp_path / "notify")
    stub = [PROGRAM.parent / "stub_server", "--port", "0", "--data-dir", tmp_path / "data", "--step-ms", "2000", "--overdue-factor", "0.05"]
    environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000"}
    with manager(address) as heard, subprocess.Popen(stub, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            url = process.stdout.readline().split()[-1]
            assert heard.recv(4096) == b"READY=1" and heard.recv(4096) == b"WATCHDOG=1"
            asked = threading.Thread(target=requests.post, args=[f"{url}/v1/images/generations"],
                                     kwargs={"json": {"prompt": "x", "n": 1, "size": "256x256", "num_inference_steps": 1}, "timeout": 60})
            asked.start()
            silence, last = 0.0, time.monotonic()
            while asked.is_alive():
                assert heard.recv(4096) == b"WATCHDOG=1"
                silence, last = max(silence, time.monotonic() - last), time.monotonic()
            assert silence > 1
        finally:
            process.terminate()


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/socket", "/" + "x" * 200])
def test_a_manager_that_is_not_there_is_no_matter(address, tmp_path):
    with serve(tmp_path / "data", environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}) as server:
        assert server.get("/readyz").status_code == 200 and server.stop() == 0


def test_health_is_told_by_the_status(server):
    well = run_program("health", server.url)
    assert well.returncode == 0 and '"job_store":"ok"' in well.stdout.replace(" ", "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = run_program("health", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert away.returncode == 1 and away.stderr.count("\n") == 1


def test_the_version_names_commit_libtorch_and_instruction_sets():
    said = run_program("--version").stdout
    assert re.fullmatch(r"diffused \d+\.\d+\.\d+\ncommit ([0-9a-f]{40}(, modified)?|unknown: .+)\nlibtorch \d+\.\d+\S*\ninstruction sets in use: \S.*\n", said)


def test_a_host_name_that_is_refused_is_told_with_the_option_that_allows_it(server):
    reply = server.get("/v1/models", headers={"Host": "pictures.example"})
    assert reply.status_code == 403 and "--allowed-host pictures.example" in reply.json()["error"]["message"]
