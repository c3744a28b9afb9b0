"""More models than the memory budget has room for, and the command that lists what there is."""

import shutil
import threading
import time

import pytest
from conftest import DEMO, run_program, serve

GOOD = {"prompt": "a red balloon", "num_inference_steps": 2, "size": "64x64", "seed": 3, "response_format": "b64_json"}


def fine_tune(folder, bit, components=None):
    """A copy of the demo model in which one weight of each of these components (None: of all) is a little different."""
    shutil.copytree(DEMO, folder)
    for file in folder.rglob("*.safetensors"):
        if components is None or file.parent.name in components:
            data = bytearray(file.read_bytes())
            data[-4] ^= bit
            file.write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three models that share nothing, room for one."""
    folder = tmp_path_factory.mktemp("small")
    two, three = fine_tune(folder / "tuned_two", 1), fine_tune(folder / "tuned_three", 2)
    with serve(folder / "data", f"two={two}", f"three={three}", "--memory-budget", "60MB", "--dtype", "fp32", model=f"one={DEMO}") as running:
        yield running


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Three models that differ in the autoencoder only, room for two autoencoders and one of everything else."""
    folder = tmp_path_factory.mktemp("family")
    two, three = (fine_tune(folder / f"tuned_{bit}", bit, ["vae"]) for bit in (1, 2))
    with serve(folder / "data", f"two={two}", f"three={three}", "--memory-budget", "70MB", "--dtype", "fp32", model=f"one={DEMO}") as running:
        yield running


def held(server):
    lines = server.get("/metrics").text.splitlines()
    return sorted(line.split('"')[1] for line in lines if line.startswith("diffused_model_weight_bytes{") and not line.endswith(" 0"))


def ask(server, model, **more):
    """A client that comes back when told to."""
    for _ in range(60):
        reply = server.post({**GOOD, "model": model, **more})
        if reply.status_code != 503:
            return reply
        assert reply.json()["error"]["code"] == "model_loading" and 1 <= int(reply.headers["Retry-After"]) <= 60
        time.sleep(0.2)
    raise AssertionError("the model never came")


def test_all_are_listed_and_the_first_is_there(small):
    assert [model["id"] for model in small.get("/v1/models").json()["data"]] == ["one", "two", "three"]
    assert held(small) == ["one"]


def test_each_is_loaded_when_asked_for_and_makes_the_same_picture(small):
    pictures = set()
    for model in ("one", "two", "three", "one"):
        reply = ask(small, model)
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == model and held(small) == [model]
        pictures.add(reply.json()["data"][0]["b64_json"])
    # The file's own text differs in the model's name; the picture's pixels are compared in the unit tests.
    assert len(pictures) == 3


def test_a_running_picture_is_not_cut(small):
    assert ask(small, "one").status_code == 200
    long = {}
    runner = threading.Thread(target=lambda: long.update(reply=small.post({**GOOD, "model": "one", "num_inference_steps": 150})))
    runner.start()
    started = time.monotonic()
    while small.metric("diffused_requests_running") < 1:
        assert time.monotonic() - started < 20
        time.sleep(0.01)
    refused = small.post({**GOOD, "model": "two"})
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "model_loading"
    runner.join()
    assert long["reply"].status_code == 200
    assert ask(small, "two").status_code == 200


def test_what_models_share_is_in_memory_once(family):
    assert held(family) == ["one", "two"]
    alone, together = family.metric("diffused_model_weight_bytes") / 2, family.metric("diffused_weight_bytes")
    assert alone < together < 70e6 < 2 * alone
    for used, wanted in (("one", "three"), ("three", "two"), ("two", "one")):
        assert ask(family, used).status_code == 200 and ask(family, wanted).status_code == 200
        assert held(family) == sorted([used, wanted])
        assert family.metric("diffused_weight_bytes") == together


@pytest.mark.parametrize("options", [["--memory-budget", "1MB"], ["--pin", "nobody"], ["--memory-budget", "lots"], ["--keep-alive", "-1"]])
def test_what_cannot_be_is_refused_at_the_start(options, tmp_path):
    refused = run_program("serve", DEMO, "--port", "0", "--data-dir", tmp_path, *options)
    assert refused.returncode != 0 and options[0].strip("-") in refused.stderr.replace("diffused: ", "")


def test_models_are_listed(tmp_path):
    shown = run_program("models", DEMO.parent, env={"HF_HUB_CACHE": str(tmp_path)})
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) == 2 and all(word in lines[1] for word in ("demo", "StableDiffusion3Pipeline", "MB", str(DEMO)))
    assert run_program("models", tmp_path / "nowhere").returncode == 2
