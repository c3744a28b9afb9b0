"""Packages as `./dev package` makes them, once for all tests, and programs that are started from where they were installed."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest
import requests

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get("DIFFUSED_BUILD", ROOT / "build/release"))
sys.path.insert(0, str(ROOT / "tools/package"))

import built  # noqa: E402
import image  # noqa: E402


@pytest.fixture(scope="session")
def source():
    return built.Built(BUILD)


def make(kind: str, dist: pathlib.Path) -> pathlib.Path:
    """In a process of its own, as `./dev package` does it."""
    done = subprocess.run([sys.executable, ROOT / "tools/package/make.py", BUILD, dist, kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dist


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    return make("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def debs(tmp_path_factory):
    return make("deb", tmp_path_factory.mktemp("deb"))


@contextlib.contextmanager
def started(command, **options):
    """A server that says where it listens; its URL. It must end well."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        for line in process.stdout:
            if match := re.match(r"listening on (http://\S+)", line):
                yield match[1]
                break
        else:
            pytest.fail(f"the server ended with status {process.wait(10)}: {process.stderr.read()}")
        process.terminate()
        assert process.wait(60) == 0, process.stderr.read()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def make_picture(url: str) -> None:
    reply = requests.post(f"{url}/v1/images/generations", timeout=120,
                          json={"prompt": "a red balloon", "n": 1, "size": "64x64", "num_inference_steps": 2, "response_format": "url"})
    assert reply.status_code == 200, reply.text
    picture = requests.get(reply.json()["data"][0]["url"], timeout=30)
    assert picture.content.startswith(b"\x89PNG")


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a Debian of its own needs root")


@pytest.fixture(scope="session")
def small_debian():
    """A Debian 12 as it comes, kept in build/ for the next time. Tests work on copies."""
    needs_root()
    if not shutil.which("debootstrap"):
        pytest.skip("there is no debootstrap")
    kept = ROOT / "build/debian-12"
    if not (kept / "etc/debian_version").exists():
        shutil.rmtree(kept, ignore_errors=True)
        unfinished = kept.with_name("debian-12.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            image.bootstrap(unfinished)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"Debian could not be fetched: {error.stdout[-300:]}")
        unfinished.rename(kept)
    return kept


@pytest.fixture
def debian(small_debian, tmp_path):
    """A copy, with what is installed there removed at the end."""
    root = tmp_path / "debian"
    subprocess.run(["cp", "-a", small_debian, root], check=True)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def wait_until(condition, seconds=20.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never happened"
        time.sleep(0.02)
