"""Every class of which there is a tiny folder: the worker's pictures are, byte for byte, those of the same call in one go."""

import diffusers
import numpy
import pytest
import torch
import worker_folders
from diffused_worker import signature
from diffused_worker.model import Model
from diffusers.pipelines import auto_pipeline

SEED = 11


def forms(name: str) -> list[str]:
    return list(signature.forms_of(getattr(diffusers, name)))


CASES = [(name, form) for name in worker_folders.BUILDERS for form in forms(name)]


def arguments_for(name: str, kind: type) -> dict:
    """A small request, as far as this class takes it; edits leave steps out."""
    taken = signature.parameters_of(kind)
    small = worker_folders.small_request(name)
    if "strength" in taken:
        small["num_inference_steps"] = 4
    return {key: value for key, value in small.items() if value is not None and key in taken}


def in_one_go(folder, name: str, form: str, arguments: dict, pictures: dict) -> bytes:
    """What Diffusers makes of it, called as its documentation says."""
    kind = signature.forms_of(getattr(diffusers, name))[form][0]
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    if type(pipeline) is not kind:
        pipeline = kind.from_pipe(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(SEED)  # what a few draw without the generator
    made = pipeline(**arguments, **pictures, generator=torch.Generator().manual_seed(SEED)).images[0]
    return made.convert("RGB").tobytes()


def finish(row):
    units = []
    while row.next != "done":
        row.advance()
        units.append(row.next)
    return row.picture(), units


def test_there_are_as_many_as_promised():
    every = set(auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values())
    assert len({name for name, _ in CASES if getattr(diffusers, name) in every}) >= 45
    assert sum(form == "image" for _, form in CASES) >= 15
    assert sum(form == "inpaint" for _, form in CASES) >= 8


@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{name}-{form}" for name, form in CASES])
def test_a_picture_is_diffusers_own(folder_of, picture, mask, name, form):
    folder = folder_of(name)
    kind, picture_parameter, mask_parameter = signature.forms_of(getattr(diffusers, name))[form]
    arguments = arguments_for(name, kind)
    pictures = {picture_parameter: picture} if picture_parameter else {}
    pictures |= {mask_parameter: mask} if mask_parameter else {}

    row = Model(folder, "fp32").begin(arguments | {"seed": SEED}, picture if picture_parameter else None, mask if mask_parameter else None)
    made, units = finish(row)
    assert made.tobytes() == in_one_go(folder, name, form, arguments, pictures)
    assert numpy.asarray(made).std() > 1, "a flat picture would compare with anything"
    if waits := signature.Call(None, signature.parameters_of(kind)).waits:
        assert units.count("step") >= 1 and units[-1] == "done" and row.step == row.steps
        # The older callback does not say how many steps an edit's strength leaves.
        assert units[-2] == "decode" or waits == "callback"
    else:
        assert units == ["done"]


@pytest.mark.parametrize("name", ["StableDiffusionPAGPipeline", "FluxPipeline", "PixArtSigmaPipeline", "IFPipeline"])
def test_a_picture_without_a_size_has_the_default_size(folder_of, name):
    model = Model(folder_of(name), "fp32")
    arguments = {key: value for key, value in arguments_for(name, getattr(diffusers, name)).items() if key not in ("width", "height")}
    made, _ = finish(model.begin(arguments | {"seed": 1, "num_inference_steps": 1}, None, None))
    assert list(made.size) == model.description()["default_size"]
