"""What a stranger does first: a prompt over HTTP becomes a picture."""

import base64
import io
import json
import os
import pathlib

import pytest
import requests
from conftest import DEMO, PROGRAM, run_program, serve
from PIL import Image

KITTEN = {"model": "something", "prompt": "a kitten in front of a fireplace"}
QUICK = {**KITTEN, "num_inference_steps": 2}


def picture(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_the_request_of_the_readme_gives_a_url_that_shows_a_picture(server):
    reply = server.post(KITTEN)
    assert reply.status_code == 200, reply.text
    item = reply.json()["data"][0]
    assert reply.json()["created"] > 1_700_000_000
    assert item["url"].startswith(server.url + "/images/img_") and item["url"].endswith(".png")
    assert "b64_json" not in item
    shown = requests.get(item["url"], timeout=30)
    assert shown.headers["content-type"] == "image/png"
    image = picture(shown.content)
    assert image.size == (256, 256) and image.mode == "RGB"
    # A picture, not one flat colour.
    assert all(high - low > 100 for low, high in image.getextrema())
    assert f"Seed: {item['seed']}" in image.text["parameters"]
    assert json.loads(image.text["diffused"])["prompt"] == KITTEN["prompt"]


def test_the_seed_that_is_returned_gives_the_same_bytes_again(server):
    first = server.post({**QUICK, "response_format": "b64_json"}).json()["data"][0]
    again = server.post({**QUICK, "response_format": "b64_json", "seed": first["seed"]}).json()["data"][0]
    other = server.post({**QUICK, "response_format": "b64_json", "seed": first["seed"] + 1}).json()["data"][0]
    assert again == first
    assert other["b64_json"] != first["b64_json"]


def test_n_pictures_are_those_of_the_following_seeds(server):
    several = server.post({**QUICK, "n": 3, "seed": 40, "response_format": "b64_json"}).json()["data"]
    assert [item["seed"] for item in several] == [40, 41, 42]
    for item in several:
        alone = server.post({**QUICK, "seed": item["seed"], "response_format": "b64_json"}).json()["data"][0]
        assert alone["b64_json"] == item["b64_json"]


def test_generate_makes_the_bytes_that_the_server_makes(server, tmp_path):
    served = server.post({**QUICK, "model": "demo", "seed": 7, "response_format": "b64_json"}).json()["data"][0]
    made = run_program("generate", DEMO, QUICK["prompt"], "-o", tmp_path / "out.png", "--steps", 2, "--seed", 7, "--dtype", "fp32")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "out.png").read_bytes() == base64.b64decode(served["b64_json"])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_generate_works_on_the_plain_paths(dtype, tmp_path):
    """As on processors without AVX-512; one with AMX must not take half of them."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2"}
    made = run_program("generate", DEMO, QUICK["prompt"], "-o", tmp_path / "out.png", "--steps", 2, "--size", "64x64", "--dtype", dtype, env=environment)
    assert made.returncode == 0, made.stderr
    assert picture((tmp_path / "out.png").read_bytes()).size == (64, 64)


def test_1024_by_1024_which_many_clients_ask_for_runs(server):
    reply = server.post({**QUICK, "size": "1024x1024", "num_inference_steps": 1, "response_format": "b64_json"})
    assert picture(base64.b64decode(reply.json()["data"][0]["b64_json"])).size == (1024, 1024)


def test_gpt_image_models_get_base64_when_they_do_not_say(server):
    item = server.post({**QUICK, "model": "gpt-image-1"}).json()["data"][0]
    assert picture(base64.b64decode(item["b64_json"])).size == (256, 256)
    assert "url" not in item


def test_models_health_and_the_page_answer(server):
    models = server.get("/v1/models").json()
    assert models["object"] == "list" and models["data"][0]["id"] == "demo"
    assert server.get("/v1/models/demo").json()["object"] == "model"
    assert server.get("/health").status_code == 200
    assert server.get("/livez").status_code == 200
    assert server.get("/readyz").status_code == 200
    page = server.get("/")
    assert page.headers["content-type"].startswith("text/html") and "diffused" in page.text
    assert requests.options(server.url + "/v1/images/generations", timeout=10).status_code in (200, 204)


def test_inspect_tells_what_the_folder_holds():
    told = run_program("inspect", DEMO)
    assert told.returncode == 0
    assert "StableDiffusion3Pipeline" in told.stdout and "SD3Transformer2DModel" in told.stdout


def test_inspect_tells_the_defaults_that_models_are_listed_with(server):
    (line,) = [line for line in run_program("inspect", DEMO).stdout.splitlines() if line.startswith("defaults: ")]
    listed = server.get("/v1/models").json()["data"][0]
    assert line == (
        f"defaults: {listed['default_steps']} steps, guidance {listed['default_guidance_scale']:g}, {listed['default_size']},"
        f" {listed['schedulers'][0]}"
    )


def test_version_and_help_need_no_model():
    assert run_program("--version").stdout.startswith("diffused ")
    assert "serve" in run_program("--help").stdout
    assert PROGRAM.exists()


def told_to_wait(monkeypatch, folder, **environment) -> tuple[list[str], str]:
    """What a server's environment says of waiting threads when it is started with this one, and its name."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    with serve(folder, environment=environment) as server:
        of_process = pathlib.Path(f"/proc/{server.process.pid}")
        lines = (of_process / "environ").read_text().split("\0")
        told = [line for line in lines if line.startswith(("GOMP_SPINCOUNT=", "OMP_WAIT_POLICY="))]
        return told, (of_process / "comm").read_text().strip()


def test_threads_that_wait_sleep_soon(monkeypatch, tmp_path):
    assert told_to_wait(monkeypatch, tmp_path) == (["GOMP_SPINCOUNT=3000"], "diffused")


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "passive")])
def test_who_has_said_how_threads_wait_is_obeyed(name, value, monkeypatch, tmp_path):
    assert told_to_wait(monkeypatch, tmp_path, **{name: value}) == ([f"{name}={value}"], "diffused")
