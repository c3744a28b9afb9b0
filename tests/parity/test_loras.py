"""Pictures with LoRAs over HTTP against real Diffusers: load_lora_weights and set_adapters, on tiny folders of each family.

The LoRAs are drawn here (tools/golden/lora_files.py), in every format and with every kind of layer that Diffusers takes.
"""

import base64
import concurrent.futures
import contextlib
import functools
import io
import json
import shutil
import sys

import diffusers
import numpy
import pytest
import requests
import torch
from comparing import MADE, PROMPT, ROOT, STEPS, assert_same, differences
from PIL import Image

import flux2_folders
import flux_folders
import folders
import lora_files
import unet_folders
import z_image_folders
from tiny_pictures import mask, picture

sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import serve  # noqa: E402

SAVED = ["saved/attention", "saved/everything", "saved/stabilised", "saved/older"]
KOHYA = ["kohya", "kohya_plain", "kohya_mixed", "twice"]
PEFT = ["saved/dora", "saved/biases"]
ODD = ["twice", "extraction", "xlabs", "guided"]
# The folders, and the LoRAs that there are for each.
MODELS = {
    ("unet", "plain"): [*SAVED, *PEFT, *KOHYA],
    ("unet", "linear"): SAVED + KOHYA,
    ("unet", "kernels"): SAVED + KOHYA,
    ("unet", "xl"): [*SAVED, *KOHYA, "twice_ldm", "ldm"],
    ("unet", "xl_kernels"): [*SAVED, *PEFT, *KOHYA, "twice_ldm", "ldm"],
    ("unet", "xl_asymmetric"): [*SAVED, *KOHYA, "ldm"],
    ("sd3", "plain"): [*SAVED, "kohya"],
    ("sd3", "t5"): [*SAVED, "kohya"],
    ("sd3", "dual"): [*SAVED, *PEFT, "kohya"],
    ("flux", "schnell"): [*SAVED, "kohya", "comfy", "alphas", *ODD, "fused"],
    ("flux", "dev"): [*SAVED, *PEFT, "kohya", "comfy", "alphas", *ODD, "fused"],
    ("flux2", "base"): [*SAVED, "kohya", "comfy", "wrapped", "mixed"],
    ("flux2", "three_heads"): [*SAVED, "kohya", "comfy", "wrapped", "mixed"],
    ("z_image", "base"): [*SAVED, "kohya", "comfy", "default", "dots", "fused"],
    ("z_image", "three_heads"): [*SAVED, "kohya", "comfy", "default", "dots", "fused"],
}
MAKERS = {"unet": unet_folders, "sd3": folders, "flux": flux_folders, "flux2": flux2_folders, "z_image": z_image_folders}
# What a family's requests have besides, or in place of a guidance scale.
OWN = {"flux": {"true_cfg_scale": 2.0, "max_sequence_length": 64}, "flux2": {"guidance_scale": 4.0, "max_sequence_length": 96}}
ALONE = [(model, name) for model, names in MODELS.items() for name in names]
SEED = 1
REQUEST = {"prompt": PROMPT, "negative_prompt": "blurry", "num_inference_steps": STEPS, "width": 64, "height": 64}
EDITS = {
    "image": {"image": picture(64, 64), "strength": 0.75},
    "mask": {"image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.9},
}
EDITED = [("unet", "plain"), ("unet", "xl"), ("sd3", "plain"), ("flux", "dev")]
# In bfloat16 as well: the shapes that the kernels take, and the other families.
ROUNDED = [("unet", "kernels"), ("unet", "xl_kernels"), ("sd3", "plain"), ("flux", "dev")]


class Model:
    """A folder with its LoRAs, in real Diffusers and on a server."""

    def __init__(self, kind: str, name: str):
        home = MADE / "loras" / f"{kind}_{name}"
        shutil.rmtree(home, ignore_errors=True)
        MAKERS[kind].build_folder(home / "model", name)
        self.home, self.kind, self.name = home, kind, name
        self.pipeline = self.load(torch.float32)
        self.files = lora_files.build_loras(self.pipeline, home / "loras")
        self.request = REQUEST | OWN.get(kind, {"guidance_scale": 4.0})
        if kind == "flux2":
            del self.request["negative_prompt"]

    def load(self, dtype: torch.dtype):
        """Not as the other suites load it: their clip_skip makes Diffusers look for a text_model in LoRAs."""
        absent = folders.NO_T5 if self.kind == "sd3" and folders.FOLDERS[self.name].t5 is None else {}
        pipeline = diffusers.DiffusionPipeline.from_pretrained(self.home / "model", torch_dtype=dtype, **absent)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @functools.cached_property
    def rounded_pipeline(self):
        return self.load(torch.bfloat16)

    def their_picture(self, loras: dict[str, float], edit: dict | None = None, pipeline=None) -> numpy.ndarray:
        pipeline = pipeline or self.pipeline
        pipeline.unload_lora_weights()
        for name in loras:
            pipeline.load_lora_weights(self.files[name], adapter_name=name.replace("/", "_"))
        if loras:
            pipeline.set_adapters([name.replace("/", "_") for name in loras], list(loras.values()))
        generator = torch.Generator().manual_seed(SEED)
        if edit:
            return self.their_edit(pipeline, edit, generator)
        return numpy.asarray(pipeline(**self.request, generator=generator).images[0])

    def their_edit(self, pipeline, edit: dict, generator) -> numpy.ndarray:
        masked = "mask" in edit
        kind = diffusers.AutoPipelineForInpainting if masked else diffusers.AutoPipelineForImage2Image
        editor = kind.from_pipe(pipeline)
        editor.set_progress_bar_config(disable=True)
        request = self.request | {"mask_image" if key == "mask" else key: value for key, value in edit.items()}
        if self.kind == "unet" and not masked:  # it takes its picture's size
            del request["width"], request["height"]
        if self.kind != "sd3":
            return numpy.asarray(editor(**request, generator=generator).images[0])
        latents = editor(**request, generator=generator, output_type="latent").images
        return numpy.asarray(editor.image_processor.postprocess(folders.decode(editor, latents))[0])

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
        def start(kind: str, name: str, dtype: str = "fp32"):
            home = model_of(kind, name).home
            options = ["--loras", str(home / "loras"), "--dtype", dtype]
            return stack.enter_context(serve(tmp_path_factory.mktemp("server"), *options, model=home / "model"))

        yield start


def as_png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def edited(server, body: dict, edit: dict):
    """A form, as clients of the edits send it."""
    files = {name: (f"{name}.png", as_png(edit[name]), "image/png") for name in ("image", "mask") if name in edit}
    fields = {key: json.dumps(value) if key == "loras" else value for key, value in body.items()}
    fields |= {key: value for key, value in edit.items() if key not in files}
    return requests.post(server.url + "/v1/images/edits", data=fields, files=files, timeout=120)


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


@pytest.mark.parametrize("edit_name", EDITS)
@pytest.mark.parametrize("at", EDITED, ids="-".join)
def test_edits(server_of, at, edit_name: str) -> None:
    server, model, edit = server_of(*at), model_of(*at), EDITS[edit_name]
    first, second = MODELS[at][1], MODELS[at][-1]
    for loras in ({first: 0.8}, {first: 0.6, second: -0.7}):
        theirs = model.their_picture(loras, edit)
        change = numpy.abs(theirs.astype(int) - model.their_picture({}, edit))
        assert change.mean() > 1, "the LoRAs change nothing, so nothing is compared"
        assert_same([pixels(edited(server, model.body(loras), edit))], [theirs])


@pytest.mark.parametrize("at", ROUNDED, ids="-".join)
def test_bf16(server_of, at) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal. A mean difference of
    2 of 255 is a fifth of what the LoRAs change."""
    server, model = server_of(*at, "bf16"), model_of(*at)
    plain = model.their_picture({}, pipeline=model.rounded_pipeline)
    for loras in ({MODELS[at][1]: 0.8}, {MODELS[at][0]: 0.6, MODELS[at][-1]: -0.7}):
        theirs = model.their_picture(loras, pipeline=model.rounded_pipeline)
        assert numpy.abs(theirs.astype(int) - plain).mean() > 9
        assert differences([pixels(server.post(model.body(loras)))], [theirs])[0].mean() < 2


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


@pytest.mark.parametrize("at", [("unet", "plain"), ("unet", "xl_kernels"), ("sd3", "plain"), ("flux", "dev"), ("flux2", "base"), ("z_image", "base")], ids="-".join)
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
