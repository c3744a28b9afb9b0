"""Models that run in Diffusers itself, beside a native one: the same server, its turns, its ends."""

import base64
import io
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest
from conftest import DEMO, ROOT, run_program, send_raw, serve, wait_until
from PIL import Image

SANA, PIXART, CASCADE, EDITS = "SanaPipeline", "PixArtSigmaPipeline", "KandinskyV22CombinedPipeline", "StableDiffusionPAGPipeline"
REQUEST = {"prompt": "a red fox", "size": "64x64", "seed": 5, "num_inference_steps": 3, "response_format": "b64_json"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("folders")
    subprocess.run([sys.executable, ROOT / "tools/golden/worker_folders.py", path, SANA, PIXART, CASCADE, EDITS], check=True)
    return path


@pytest.fixture(scope="module")
def server(folders, tmp_path_factory):
    models = [f"edits={folders / EDITS}", f"cascade={folders / CASCADE}"]
    with serve(tmp_path_factory.mktemp("data"), *models, "--dtype", "fp32", "--threads", "1", model=f"native={DEMO}") as running:
        yield running


def picture_of(reply) -> Image.Image:
    assert reply.status_code == 200, reply.text
    return Image.open(io.BytesIO(base64.b64decode(reply.json()["data"][0]["b64_json"])))


def children_of(process) -> list[int]:
    """Each thread has its own."""
    return [int(pid) for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir() for pid in (task / "children").read_text().split()]


def worker_of(process, name) -> int:
    """The child that has the model of this name; 0: there is none."""
    found = [pid for pid in children_of(process) if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0%s\0" % name.encode())]
    return found[0] if found else 0


def test_the_list_says_which_engine_a_model_runs_in(server):
    models = {model["id"]: model for model in server.get("/v1/models").json()["data"]}
    assert (models["native"]["engine"], models["native"]["turns"]) == ("native", "step")
    assert (models["edits"]["engine"], models["edits"]["turns"]) == ("diffusers", "step")
    assert (models["cascade"]["engine"], models["cascade"]["turns"]) == ("diffusers", "picture")
    assert models["edits"]["pipeline"] == EDITS and models["edits"]["capabilities"] == ["image_generation", "image_edit"]


def test_a_picture_is_diffusers_own(server, folders, tmp_path):
    ours = picture_of(server.post(REQUEST | {"model": "edits", "guidance_scale": 4}))
    code = (
        "import sys, torch, diffusers; torch.set_num_threads(1); p = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1])\n"
        "p('a red fox', width=64, height=64, num_inference_steps=3, guidance_scale=4.0, generator=torch.Generator().manual_seed(5)).images[0].save(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, folders / EDITS, tmp_path / "theirs.png"], check=True, capture_output=True)
    assert ours.convert("RGB").tobytes() == Image.open(tmp_path / "theirs.png").tobytes()


def test_both_dialects_and_edits(server):
    made = server.post({"prompt": "a fox", "steps": 2, "width": 64, "height": 64, "seed": 5, "override_settings": {"sd_model_checkpoint": "edits"}}, "/sdapi/v1/txt2img")
    assert made.status_code == 200, made.text
    png = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(png, "PNG")
    import requests

    for files in ({"image": png.getvalue()}, {"image": png.getvalue(), "mask": png.getvalue()}):
        fields = {"model": "edits", "prompt": "a fox", "num_inference_steps": "4", "response_format": "b64_json"}
        reply = requests.post(server.url + "/v1/images/edits", data=fields, files={name: (f"{name}.png", data, "image/png") for name, data in files.items()}, timeout=60)
        assert picture_of(reply).size == (64, 64)


def test_a_picture_made_in_one_unit(server):
    assert picture_of(server.post(REQUEST | {"model": "cascade"})).size == (64, 64)


@pytest.mark.parametrize(
    ("more", "parameter"),
    [
        ({"model": "edits", "prompt_2": "b"}, "prompt_2"),
        ({"model": "edits", "max_sequence_length": 100}, "max_sequence_length"),
        ({"model": "edits", "scheduler": "NoScheduler"}, "scheduler"),
        ({"model": "edits", "size": "60x64"}, "size"),
        ({"model": "cascade", "clip_skip": 1}, "clip_skip"),
    ],
)
def test_what_a_class_does_not_take_is_refused_by_its_field(server, more, parameter):
    reply = server.post(REQUEST | more)
    assert reply.status_code in (400, 422), reply.text
    assert reply.json()["error"]["param"] == parameter


def test_a_client_that_leaves_frees_the_model_at_the_next_step(server):
    connection = send_raw(server, REQUEST | {"model": "edits", "num_inference_steps": 100, "size": "512x512"})
    wait_until(lambda: server.metric("diffused_requests_running") == 1)
    connection.close()
    assert wait_until(lambda: server.metric("diffused_requests_running") == 0) < 10
    assert server.post(REQUEST | {"model": "edits"}).status_code == 200


def test_small_native_requests_do_not_wait_for_a_long_one(server):
    def small() -> float:
        started = time.monotonic()
        assert server.post(REQUEST | {"model": "native"}).status_code == 200
        return time.monotonic() - started

    def large(steps: int):
        assert server.post(REQUEST | {"model": "edits", "num_inference_steps": steps, "size": "256x256"}).status_code == 200

    small()
    large(1)
    alone = sorted(small() for _ in range(20))
    long = threading.Thread(target=large, args=(100,))
    long.start()
    wait_until(lambda: server.metric("diffused_requests_running") >= 1)
    beside = []
    while long.is_alive() and len(beside) < 100:
        beside.append(small())
    long.join()
    assert len(beside) >= 5
    beside.sort()
    # The long one stands still meanwhile, for half of the time; how long its steps are does not matter.
    print(f"alone p50 {statistics.median(alone):.3f} s, p99 {alone[-1]:.3f} s; beside p50 {statistics.median(beside):.3f} s, p99 {beside[-1]:.3f} s")
    assert statistics.median(beside) <= 3 * alone[-1]


def test_a_killed_worker_costs_its_rows_one_sentence(server):
    child = worker_of(server.process, "edits")
    assert child
    answers = []
    long = threading.Thread(target=lambda: answers.append(server.post(REQUEST | {"model": "edits", "num_inference_steps": 100, "size": "512x512"})))
    long.start()
    wait_until(lambda: server.metric("diffused_requests_running") == 1)
    os.kill(child, signal.SIGKILL)
    long.join()
    error = answers[0].json()["error"]
    assert answers[0].status_code == 503 and error["code"] == "worker_ended" and "\n" not in error["message"]
    assert server.post(REQUEST | {"model": "native"}).status_code == 200
    wait_until(lambda: server.post(REQUEST | {"model": "edits"}).status_code == 200, 90)
    assert worker_of(server.process, "edits") not in (0, child)


def test_the_workers_die_with_their_server(folders, tmp_path):
    with serve(tmp_path / "data", "--threads", "1", model=folders / EDITS) as running:
        children = children_of(running.process)
        assert children
        connection = send_raw(running, REQUEST | {"num_inference_steps": 100, "size": "512x512"})
        wait_until(lambda: running.metric("diffused_requests_running") == 1)
        running.process.kill()
        running.process.wait(10)
        wait_until(lambda: not any(is_alive(pid) for pid in children))
        connection.close()


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_worker_has_no_secrets_and_no_privileges(folders, tmp_path):
    environment = {"HF_TOKEN": "hf_secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    with serve(tmp_path / "data", "--threads", "1", model=folders / SANA, environment=environment) as running:
        (child,) = children_of(running.process)
        assert b"secret" not in pathlib.Path(f"/proc/{child}/environ").read_bytes()
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Max core file size        0" in pathlib.Path(f"/proc/{child}/limits").read_text()


def refused(folder, *options, **more) -> str:
    done = run_program("serve", folder, "--port", "0", *options, timeout=120, **more)
    assert done.returncode == 2, done.stderr
    last = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(last) == 1, done.stderr
    return last[0]


def change_index(folders, tmp_path, **values):
    folder = shutil.copytree(folders / PIXART, tmp_path / "changed")
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return folder


def test_what_cannot_be_served_is_one_sentence(folders, tmp_path):
    data = ["--data-dir", str(tmp_path / "data")]
    assert "cannot run Diffusers" in refused(folders / PIXART, *data, "--python", "/usr/bin/python3")
    assert "No such file" in refused(folders / PIXART, *data, env=os.environ | {"DIFFUSED_PYTHON": "/nowhere/python3"})
    assert "is not one of those served" in refused(folders / PIXART, *data, "--engine", "native")
    assert "remote code is never run" in refused(change_index(folders, tmp_path, transformer=["evil", "Net"]), *data)
    shutil.rmtree(folders / CASCADE / "movq")
    assert "the folder of VQModel is missing" in refused(folders / CASCADE, *data)


def test_the_engines_are_compared(tmp_path):
    done = run_program("compare", DEMO, "a red fox", "--size", "64x64", "--steps", "3", "--threads", "1", timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("native") and lines[1].startswith("diffusers")
    assert int(lines[-1].split()[2]) <= 1, lines[-1]
