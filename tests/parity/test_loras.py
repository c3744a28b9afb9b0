"""Pictures with LoRAs over HTTP against real Diffusers: load_lora_weights and set_adapters, on tiny folders of each family.

The LoRAs are drawn here (tools/golden/lora_files.py), in every format and with every kind of layer that Diffusers takes.
"""

import base64
import concurrent.futures
import contextlib
import functools
import io
import shutil
import sys

import diffusers
import numpy
import pytest
import torch
from comparing import BUILD, PROMPT, ROOT, STEPS, assert_same
from PIL import Image

import flux_folders
import folders
import lora_files
import unet_folders

sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import serve  # noqa: E402

SAVED = ["saved/attention", "saved/everything", "saved/stabilised", "saved/older"]
KOHYA = ["kohya", "kohya_plain", "kohya_mixed"]
# The folders, and the LoRAs that there are for each.
MODELS = {
    ("unet", "plain"): SAVED + KOHYA,
    ("unet", "linear"): SAVED + KOHYA,
    ("unet", "kernels"): SAVED + KOHYA,
    ("unet", "xl"): [*SAVED, *KOHYA, "ldm"],
    ("unet", "xl_kernels"): [*SAVED, *KOHYA, "ldm"],
    ("unet", "xl_asymmetric"): [*SAVED, *KOHYA, "ldm"],
    ("sd3", "plain"): [*SAVED, "kohya"],
    ("sd3", "t5"): [*SAVED, "kohya"],
    ("sd3", "dual"): [*SAVED, "kohya"],
    ("flux", "schnell"): [*SAVED, "kohya", "comfy", "alphas", "fused"],
    ("flux", "dev"): [*SAVED, "kohya", "comfy", "alphas", "fused"],
}
ALONE = [(model, name) for model, names in MODELS.items() for name in names]
SEED = 1
REQUEST = {"prompt": PROMPT, "negative_prompt": "blurry", "num_inference_steps": STEPS, "width": 64, "height": 64}


class Model:
    """A folder with its LoRAs, in real Diffusers and on a server."""

    def __init__(self, kind: str, name: str):
        home = BUILD / "parity/loras" / f"{kind}_{name}"
        shutil.rmtree(home, ignore_errors=True)
        maker = {"unet": unet_folders, "sd3": folders, "flux": flux_folders}[kind]
        maker.build_folder(home / "model", name)
        # Not as the other suites load it: their clip_skip makes Diffusers look for a text_model in LoRAs.
        absent = folders.NO_T5 if kind == "sd3" and folders.FOLDERS[name].t5 is None else {}
        self.pipeline = diffusers.DiffusionPipeline.from_pretrained(home / "model", **absent)
        self.pipeline.set_progress_bar_config(disable=True)
        self.files = lora_files.build_loras(self.pipeline, home / "loras")
        self.home = home
        self.request = REQUEST | ({"true_cfg_scale": 2.0, "max_sequence_length": 64} if kind == "flux" else {"guidance_scale": 4.0})

    def their_picture(self, loras: dict[str, float]) -> numpy.ndarray:
        self.pipeline.unload_lora_weights()
        for name in loras:
            self.pipeline.load_lora_weights(self.files[name], adapter_name=name.replace("/", "_"))
        if loras:
            self.pipeline.set_adapters([name.replace("/", "_") for name in loras], list(loras.values()))
        generator = torch.Generator().manual_seed(SEED)
        return numpy.asarray(self.pipeline(**self.request, generator=generator).images[0])

    @functools.cached_property
    def plain_picture(self) -> numpy.ndarray:
        return self.their_picture({})

    def body(self, loras: dict[str, float], **more) -> dict:
        chosen = [{"name": name, "weight": weight} for name, weight in loras.items()]
        return self.request | {"seed": SEED, "response_format": "b64_json", "loras": chosen} | more


@functools.cache
def model_of(kind: str, name: str) -> Model:
    return Model(kind, name)


@pytest.fixture(scope="module")
def server_of(tmp_path_factory):
    """Servers are started when they are first asked for."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(kind: str, name: str):
            home = model_of(kind, name).home
            options = ["--loras", str(home / "loras"), "--dtype", "fp32"]
            return stack.enter_context(serve(tmp_path_factory.mktemp("server"), *options, model=home / "model"))

        yield start


def pixels(answer) -> numpy.ndarray:
    assert answer.status_code == 200, answer.text
    return numpy.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))))


def compare(server, model: Model, loras: dict[str, float]) -> None:
    theirs = model.their_picture(loras)
    change = numpy.abs(theirs.astype(int) - model.plain_picture)
    assert change.mean() > 2, "the LoRAs change nothing, so nothing is compared"
    assert_same([pixels(server.post(model.body(loras)))], [theirs])


@pytest.mark.parametrize(("at", "name"), ALONE, ids=["-".join([*at, name]) for at, name in ALONE])
def test_one_lora(server_of, at, name: str) -> None:
    compare(server_of(*at), model_of(*at), {name: 0.8})


@pytest.mark.parametrize("at", MODELS, ids="-".join)
def test_several_at_once_and_negative_weights(server_of, at) -> None:
    names = MODELS[at]
    compare(server_of(*at), model_of(*at), {names[1]: 0.6, names[-1]: -0.7})
    compare(server_of(*at), model_of(*at), {names[0]: -1.0, names[2]: 0.3, names[3]: 0.3})


@pytest.mark.parametrize("at", MODELS, ids="-".join)
def test_a_weight_of_zero_is_no_lora(server_of, at) -> None:
    server, model = server_of(*at), model_of(*at)
    ours = [pixels(server.post(model.body(loras))) for loras in ({}, {MODELS[at][1]: 0.0})]
    assert_same(ours, [model.plain_picture] * 2)


@pytest.mark.parametrize("at", [("unet", "plain"), ("unet", "xl_kernels"), ("sd3", "plain"), ("flux", "dev")], ids="-".join)
def test_rows_of_different_loras_do_not_change_each_other(server_of, at) -> None:
    server, model = server_of(*at), model_of(*at)
    first, second, *others = MODELS[at]
    choices = [{}, {first: 1.0}, {second: 1.0}, {others[-1]: -1.0}, {first: 0.5, second: -0.5}, {first: 0.0}]
    bodies = [model.body(loras, num_inference_steps=STEPS + i % 3) for i, loras in enumerate(choices)]
    alone = [server.post(body).json()["data"] for body in bodies]
    assert len({data[0]["b64_json"] for data in alone}) == len(bodies)
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as clients:
        together = [answer.json()["data"] for answer in clients.map(server.post, bodies)]
    assert together == alone


def test_names_are_told_and_looked_up(server_of) -> None:
    at = ("unet", "plain")
    server, model = server_of(*at), model_of(*at)
    names = sorted(MODELS[at])
    assert server.get("/v1/models").json()["data"][0]["loras"] == names
    assert [lora["name"] for lora in server.get("/sdapi/v1/loras").json()] == names
    refused = server.post(model.body({"../kohya_mixed_reference": 1.0}))
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "loras"


def test_a_tag_is_a_lora(server_of) -> None:
    at = ("unet", "plain")
    server, model = server_of(*at), model_of(*at)
    body = {"prompt": f"<lora:kohya:0.8>{PROMPT}", "negative_prompt": "blurry", "steps": STEPS, "cfg_scale": 4.0, "seed": SEED,
            "width": 64, "height": 64}  # fmt: skip
    answer = server.post(body, path="/sdapi/v1/txt2img")
    assert answer.status_code == 200, answer.text
    picture = numpy.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]))))
    assert_same([picture], [model.their_picture({"kohya": 0.8})])
