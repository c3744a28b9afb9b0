"""Rows of one model take turns, and leave where they are, without a trace in each other's pictures."""

import threading

import diffusers
import pytest
from diffused_worker.model import Model
from diffused_worker.refusal import Refusal

REQUEST = {"prompt": "a red fox", "num_inference_steps": 3, "width": 64, "height": 64}
# One plain, one that changes the networks that rows share.
NAMES = ["StableDiffusionXLPipeline", "StableDiffusionXLPAGPipeline"]


@pytest.fixture(params=NAMES)
def model(request, folder_of):
    return Model(folder_of(request.param), "fp32")


def begin(model, seed, **more):
    return model.begin(REQUEST | {"seed": seed} | more, None, None)


def finish(row):
    while row.next != "done":
        row.advance()
    return row.picture().tobytes()


def test_rows_that_take_turns_are_as_they_are_alone(model):
    alone = [finish(begin(model, seed, num_inference_steps=steps)) for seed, steps in ((1, 3), (2, 4), (3, 2))]
    rows = [begin(model, seed, num_inference_steps=steps) for seed, steps in ((1, 3), (2, 4), (3, 2))]
    while any(row.next != "done" for row in rows):
        for row in rows:
            if row.next != "done":
                row.advance()
    assert [row.picture().tobytes() for row in rows] == alone


@pytest.mark.parametrize("units", [0, 1, 2, 4])
def test_a_row_is_left_where_it_is(model, units):
    alone = finish(begin(model, 1))
    threads = threading.active_count()
    left, stays = begin(model, 2), begin(model, 1)
    for _ in range(units):
        left.advance()
    stays.advance()
    left.drop()
    assert finish(stays) == alone
    assert threading.active_count() == threads
    assert finish(begin(model, 1)) == alone


def test_steps_are_counted_and_units_are_named(model):
    row, seen = begin(model, 1), []
    assert (row.next, row.step, row.steps) == ("encode", 0, 3)
    while row.next != "done":
        row.advance()
        seen.append((row.next, row.step, row.steps))
    assert seen == [("step", 0, 3), ("step", 1, 3), ("step", 2, 3), ("decode", 3, 3), ("done", 3, 3)]


def test_another_scheduler_is_for_its_row_alone(folder_of):
    folder = folder_of("StableDiffusionXLPipeline")
    model = Model(folder, "fp32")
    own = finish(begin(model, 1))
    other, beside = begin(model, 1, scheduler="DDIMScheduler"), begin(model, 1)
    other.advance()
    beside.advance()
    assert finish(beside) == own
    changed = finish(other)
    assert changed != own
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    import torch

    assert changed == pipeline(**REQUEST, generator=torch.Generator().manual_seed(1)).images[0].tobytes()


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prompt_3": "b"}, "prompt_3"),
        ({"scheduler": "NoScheduler"}, "scheduler"),
        ({"callback_on_step_end": "b"}, "callback_on_step_end"),
        ({"latents": [1.0]}, "latents"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
    ],
)
def test_what_the_call_does_not_take_is_refused_by_name(model, more, field):
    with pytest.raises(Refusal) as refused:
        begin(model, 1, **more)
    assert refused.value.kind == "invalid_argument" and refused.value.field == field


def test_what_the_pipeline_refuses_is_the_requests_fault(model):
    row = begin(model, 1, width=60)
    with pytest.raises(Refusal) as refused:
        finish(row)
    assert refused.value.kind == "invalid_argument" and "divisible by 8" in refused.value.message
    assert finish(begin(model, 1))


def test_a_picture_for_a_class_that_takes_none_is_refused(folder_of, picture, mask):
    model = Model(folder_of("SanaPipeline"), "fp32")
    for given, field in (((picture, None), "image"), ((picture, mask), "mask")):
        with pytest.raises(Refusal) as refused:
            model.begin(REQUEST | {"seed": 1}, *given)
        assert refused.value.field == field
    follows = Model(folder_of("StableDiffusionControlNetPipeline"), "fp32")
    with pytest.raises(Refusal) as refused:
        follows.begin(REQUEST | {"seed": 1}, None, None)
    assert refused.value.field == "image"
