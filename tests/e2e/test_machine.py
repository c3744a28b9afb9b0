"""What the machine does to a server that runs: descriptors run out; what is named is no file."""

import contextlib
import json
import resource
import socket

import pytest
import requests
from conftest import DEMO, ROOT, run_program, serve, wait_until
from requests.adapters import HTTPAdapter

QUICK = {"prompt": "a red balloon", "num_inference_steps": 1, "size": "64x64"}
URL = {**QUICK, "response_format": "url"}


def said(server, event) -> list[dict]:
    return [line for line in map(json.loads, filter(lambda text: text.startswith("{"), server.log)) if line["event"] == event]


class FromAddress(HTTPAdapter):
    """Sends from another address of this machine."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=("127.0.0.2", 0), **options)


def test_idle_connections_leave_descriptors_for_others_and_for_files(tmp_path):
    with serve(tmp_path, prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))) as server:
        wait_until(lambda: said(server, "descriptors"))  # another thread reads the log
        [line] = said(server, "descriptors")
        assert line["limit"] == 400 and line["open"] + line["connections_max"] <= 300, line
        host, port = server.url.removeprefix("http://").split(":")
        with contextlib.ExitStack() as idle:
            for _ in range(500):
                idle.enter_context(socket.create_connection((host, int(port)), timeout=5))
            refused = server.get("/livez")
            assert refused.status_code == 503, "one address must not have them all"
            with requests.Session() as other:
                other.mount("http://", FromAddress())
                made = other.post(server.url + "/v1/images/generations", json=URL, timeout=60)
                assert made.status_code == 200, made.text
                assert other.get(made.json()["data"][0]["url"], timeout=10).status_code == 200
        wait_until(lambda: server.get("/livez").status_code == 200)
        assert not said(server, "accept_paused")


@pytest.mark.parametrize("option", ["--image", "--mask"])
def test_a_folder_is_no_picture(tmp_path, option):
    image = [] if option == "--image" else ["--image", ROOT / "docs/images/demo_contact_sheet.jpg"]
    refused = run_program("generate", DEMO, "x", *image, option, tmp_path)
    assert refused.returncode == 2 and "is a folder" in refused.stderr
