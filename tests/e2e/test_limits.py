"""What a request may become, and how long it may hold the device: refused with a word, while others are served."""

import base64
import io
import json
import time

import pytest
import requests
from PIL import Image, PngImagePlugin

from conftest import DEMO, make_key, run_program, serve

SMALL = {"prompt": "a kitten", "size": "64x64", "num_inference_steps": 1, "seed": 1, "response_format": "b64_json"}
JSON = {"content-type": "application/json"}


def picture(side, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (side, side), "white").save(file, "PNG")
    return file.getvalue()


def resident_mb(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024


@pytest.mark.parametrize("values", [b"{},", b"0,", b'"",'], ids=["objects", "numbers", "strings"])
def test_json_of_too_many_values_is_refused_as_it_is_read(server, values):
    before = resident_mb(server.process)
    body = b'{"prompt":"x","image":[' + values * (30_000_000 // len(values)) + b"0]}"
    reply = requests.post(server.url + "/v1/images/edits", data=body, headers=JSON, timeout=60)
    assert reply.status_code == 413 and reply.json()["error"]["code"] == "json_too_large", reply.text
    # The body and what it grew from: not fifty times as much.
    assert resident_mb(server.process) - before < 150
    assert server.post(SMALL).status_code == 200


def test_memory_is_shared_out_and_says_so(tmp_path):
    with serve(tmp_path, "--memory-max", "48MiB") as server:
        large = requests.post(server.url + "/v1/images/edits", data={"prompt": "x", "size": "64x64"}, timeout=60,
                              files={"image": picture(3000)})
        assert large.status_code == 413 and large.json()["error"]["code"] == "request_too_large", large.text
        assert large.json()["error"]["param"] == "image" and "25 MB" in large.json()["error"]["message"]
        assert requests.post(server.url + "/v1/images/edits", data={"prompt": "x", "size": "64x64", "num_inference_steps": 2}, timeout=60,
                             files={"image": picture(1000)}).status_code == 200


def test_a_step_that_would_take_long_is_refused_with_its_size_and_the_bound(tmp_path):
    with serve(tmp_path, "--unit-seconds-max", "0.001") as server:
        refused = server.post({**SMALL, "size": "1024x1024"})
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "request_too_costly", refused.text
        assert refused.json()["error"]["param"] == "size" and "1024x1024" in refused.json()["error"]["message"]
        job = server.post({**SMALL, "size": "1024x1024", "background_job": True})
        assert job.status_code == 400, job.text
        # The model's own size is made whatever it takes.
        assert server.post({key: value for key, value in SMALL.items() if key != "size"}).status_code == 200


def test_a_deadline_is_kept_while_a_long_request_holds_the_device(server):
    started = time.monotonic()
    reply = server.post({**SMALL, "num_inference_steps": 200, "size": "512x512"}, headers={"X-Request-Timeout": "0.5"})
    assert reply.status_code == 504 and time.monotonic() - started < 5


@pytest.mark.parametrize("option", ["--batch-rows-max", "--rows-max", "--queue-jobs-max", "--queue-seconds-max", "--n-max", "--steps-max",
                                    "--side-max", "--unit-seconds-max", "--memory-max"])
def test_a_bound_of_nothing_is_refused_at_the_start(option, tmp_path):
    done = run_program("serve", DEMO, "--port", "0", "--data-dir", tmp_path, option, "0")
    assert done.returncode not in (0, -6) and option in done.stderr, done


def test_pictures_can_be_kept_from_telling_their_prompt(tmp_path):
    with serve(tmp_path, "--plain-pictures") as server:
        url = server.post({**SMALL, "prompt": "a secret kitten", "response_format": "url"}).json()["data"][0]["url"]
        png = requests.get(url, timeout=30).content
        assert Image.open(io.BytesIO(png)).text == {} and b"secret" not in png


def test_strangers_see_no_list_of_jobs(tmp_path):
    """Without keys a list is an address's. It is there where only this machine reaches the server, or when it is asked for."""
    anonymous = ("--host", "0.0.0.0", "--allow-anonymous")
    for options, status in (((), 200), (("--job-list", "off"), 404), (anonymous, 404), ((*anonymous, "--job-list", "on"), 200)):
        with serve(tmp_path / str(len(list(tmp_path.iterdir()))), *options) as server:
            url = server.url.replace("0.0.0.0", "localhost")
            assert requests.get(url + "/v1/images/jobs", timeout=30).status_code == status, options
    keys = tmp_path / "keys"
    key = make_key(keys, "anna")
    with serve(tmp_path / "keyed", "--host", "0.0.0.0", "--api-keys", str(keys)) as server:
        url = server.url.replace("0.0.0.0", "localhost")
        reply = requests.get(url + "/v1/images/jobs", headers={"Authorization": f"Bearer {key}"}, timeout=30)
        assert reply.status_code == 200 and reply.json()["data"] == []


def test_text_of_a_picture_is_bounded_and_utf8(server):
    def info_of(*texts):
        info = PngImagePlugin.PngInfo()
        for text in texts:
            info.add_text("parameters", text, zip=True)
        file = io.BytesIO()
        Image.new("RGB", (1, 1)).save(file, "PNG", pnginfo=info)
        body = json.dumps({"image": base64.b64encode(file.getvalue()).decode()})
        return requests.post(server.url + "/sdapi/v1/png-info", data=body, headers=JSON, timeout=60)

    before = resident_mb(server.process)
    refused = info_of(*["\1" * 400_000] * 100)
    assert refused.status_code == 413, refused.text[:200]
    assert resident_mb(server.process) - before < 100
    assert info_of("a kitten\nSteps: 3").json()["info"] == "a kitten\nSteps: 3"
