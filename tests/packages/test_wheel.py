"""The wheel in a fresh virtual environment."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import make, make_picture, started


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """Its folder of programs; torch comes with it."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wheel, = wheels.glob("*.whl")
    done = subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", wheel], capture_output=True, text=True)
    if "No matching distribution found for torch" in done.stderr and "Temporary failure" in done.stderr:
        pytest.skip("torch could not be fetched")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.mark.parametrize("command", [["diffused"], ["python", "-m", "diffused"]])
def test_it_serves_the_demo_model(installed, tmp_path, command):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with started([installed / command[0], *command[1:], "serve", "--port", "0"], env=environment) as url:
        make_picture(url)


def test_it_brings_its_libraries_and_takes_torchs(installed, source):
    program = next(installed.parent.rglob("diffused/bin/diffused"))
    bundled = {library.file.name for library in source.libraries}
    for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines():
        name, _, where = line.strip().partition(" => ")
        if name in bundled:
            assert str(program.parents[1]) in where, line
        if "torch" in name or name.startswith("libc10"):
            assert str(program.parents[2] / "torch") in os.path.realpath(where.split(" ")[0]), line


def test_without_torch_says_what_to_do(wheels, tmp_path):
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wheel, = wheels.glob("*.whl")
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    refused = subprocess.run([folder / "bin/diffused", "serve"], capture_output=True, text=True)
    assert refused.returncode == 1 and "pip install torch" in refused.stderr and refused.stderr.count("\n") == 1


def test_it_says_what_is_in_it(wheels):
    wheel, = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name, = (name for name in archive.namelist() if name.endswith(".spdx.json"))
        document = json.loads(archive.read(name))
        assert b"Requires-Dist: torch (==2." in archive.read(name.replace("sboms/diffused.spdx.json", "METADATA"))
        bundled = {file.rpartition("/")[2] for file in archive.namelist() if "/lib/" in file}
    assert document["spdxVersion"] == "SPDX-2.3"
    assert {"torch", "libboost-json1.81.0", "libcurl4"} <= {package["name"] for package in document["packages"]}
    assert bundled and bundled <= {file["fileName"].rpartition("/")[2] for file in document["files"]}
    assert not any(name.startswith(("libtorch", "libc10", "libc.")) for name in bundled)


def test_made_twice_it_is_the_same(wheels, tmp_path):
    again = make("wheel", tmp_path / "again")
    for file in wheels.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
