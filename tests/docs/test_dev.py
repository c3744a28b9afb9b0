"""`./dev` on machines that lack something: one sentence that says what to do. The machines are a folder of programs, some of them faked."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TOOLS = ("awk bash cat cp cut df dirname env grep id ls mkdir mktemp nproc paste rm sed sh sha256sum sleep sort tail touch tr").split()


class Machine:
    """A clone with nothing installed, and a PATH with the commonest tools alone."""

    def __init__(self, folder: pathlib.Path):
        self.clone, self.programs = folder / "clone", folder / "programs"
        self.clone.mkdir()
        self.programs.mkdir()
        for name in ("dev", "packages.txt", "requirements.in", "requirements.txt"):
            shutil.copy(ROOT / name, self.clone)
        pages = self.clone / "src/api/pages"
        pages.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / "src/api/pages" / name, pages)
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))
        self.fake("dpkg-query", "echo install ok installed")
        self.fake("id", "echo 0")
        self.fake("python3", f'exec {sys.executable} "$@"')
        self.fake("npm", "exit 0")

    def fake(self, name: str, script: str) -> None:
        (self.programs / name).unlink(missing_ok=True)
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def refusal(self, *command: str, **environment: str) -> str:
        done = subprocess.run([self.clone / "dev", *(command or ["build"])], capture_output=True, text=True, timeout=60,
                              env={"PATH": str(self.programs), "HOME": os.environ["HOME"], **environment})
        assert done.returncode == 1, done.stderr
        return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_that_is_not_debian(machine):
    (machine.programs / "dpkg-query").unlink()
    assert "needs Debian 12" in machine.refusal()


def test_without_sudo_says_what_root_should_run(machine):
    machine.fake("dpkg-query", "exit 1")
    machine.fake("id", "echo 1000")
    assert "let root run `apt-get install" in machine.refusal()


def test_without_a_network_names_it_and_shows_what_apt_said(machine):
    machine.fake("dpkg-query", "exit 1")
    machine.fake("apt-get", "echo 'E: Temporary failure resolving'; exit 100")
    assert "most often the network" in machine.refusal()


def test_with_python_3_8_names_both_versions(machine):
    machine.fake("python3", 'if [ "$1" = -V ]; then echo Python 3.8.10; else exit 1; fi')
    refusal = machine.refusal()
    assert "3.10 or newer" in refusal and "3.8.10" in refusal


def test_with_a_full_disk_says_how_much_is_wanted(machine):
    machine.fake("df", "printf 'Filesystem\\nroot 1000 900 100 90%% /\\n'")
    assert "MB must be free" in machine.refusal()


def test_without_packages_for_python_names_the_network(machine):
    machine.fake("python3", 'if [ "$1" = -m ] && [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0.pip" "$3/bin/python"; fi')
    machine.fake("python3.pip", "echo 'ERROR: No matching distribution found'; exit 1")
    assert "pip could not install them" in machine.refusal()


@pytest.mark.parametrize("version, says", [("2.1.0+cpu", "has torch 2.1.0"), (None, "is no folder `torch`")])
def test_with_another_torch_says_which_is_needed(machine, tmp_path, version, says):
    if version:
        (tmp_path / "version.py").write_text(f"__version__ = '{version}'\n")
    assert says in machine.refusal(DIFFUSED_TORCH_DIR=str(tmp_path))


def test_without_modules_for_the_pages_names_the_network(machine, tmp_path):
    (tmp_path / "version.py").write_text("__version__ = '2.13.0+cpu'\n")
    machine.fake("npm", "echo 'npm error network'; exit 1")
    assert "npm could not install them" in machine.refusal(DIFFUSED_TORCH_DIR=str(tmp_path))


def test_without_a_compiler_says_how_to_get_one(machine, tmp_path):
    (tmp_path / "version.py").write_text("__version__ = '2.13.0+cpu'\n")
    assert "there is no compiler g++" in machine.refusal(DIFFUSED_TORCH_DIR=str(tmp_path))


def test_bench_of_another_name_lists_those_there_are(machine):
    shutil.copytree(ROOT / "bench", machine.clone / "bench")
    assert "picture" in machine.refusal("bench", "nothing")
