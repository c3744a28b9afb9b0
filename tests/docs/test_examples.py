"""The examples in the documentation run, and the files it names are there."""

import json
import pathlib
import re
import subprocess
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import serve, write_lora  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shell_blocks(page: pathlib.Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    loras = tmp_path_factory.mktemp("loras")
    for name in ("ink", "style/paper"):
        write_lora(loras / f"{name}.safetensors")
    with serve(tmp_path_factory.mktemp("docs"), "--loras", str(loras)) as running:
        yield running


CURLS = [(page.name, block) for page in PAGES for block in shell_blocks(page) if "curl" in block]


def test_there_are_examples_to_run():
    assert any(name == "README.md" for name, _ in CURLS)


@pytest.mark.parametrize(("page", "block"), CURLS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CURLS)])
def test_a_curl_line_is_answered_with_pictures(server, page, block):
    command = block.replace("http://localhost:8000", server.url).replace("curl ", "curl --silent --fail ", 1)
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["data"], page


def test_the_dev_commands_that_the_pages_name_exist():
    known = subprocess.run([str(ROOT / "dev"), "help"], capture_output=True, text=True, check=True).stdout
    named = {match for page in PAGES for match in re.findall(r"`?\./dev (\w+)", page.read_text())}
    assert named and all(re.search(rf"\b{command}\b", known) for command in named), named


def test_the_source_files_that_the_pages_name_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:src|tests|tools|bench|docs|models)/[\w/.]+\.(?:h|cpp|py|md))`", page.read_text()):
            assert "X" in pathlib.Path(name).stem or (ROOT / name).exists(), f"{page.name} names {name}"
