"""AUTOMATIC1111's dialect, asked the way its clients ask it."""

import base64
import concurrent.futures
import io
import json

import numpy
import PIL.Image
import pytest

from tests.e2e.conftest import run_program, serve, wait_until

SMALL = {"prompt": "a red balloon at the beach", "steps": 2, "width": 64, "height": 64, "seed": 5, "cfg_scale": 4.5,
         "sampler_name": "Euler", "scheduler": "Automatic", "negative_prompt": "", "restore_faces": False, "styles": []}


def images_of(reply):
    assert reply.status_code == 200, reply.text
    return [PIL.Image.open(io.BytesIO(base64.b64decode(image))) for image in reply.json()["images"]]


def png_of(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def distance(a, b):
    return numpy.abs(numpy.asarray(a).astype(int) - numpy.asarray(b).astype(int)).mean()


def test_a_picture_and_its_account(server):
    reply = server.post({**SMALL, "batch_size": 2}, "/sdapi/v1/txt2img")
    images, info = images_of(reply), json.loads(reply.json()["info"])
    assert [image.size for image in images] == [(64, 64)] * 2
    assert info["all_seeds"] == [5, 6] and info["sampler_name"] == "Euler" and info["width"] == 64
    assert images[0].text["parameters"] == info["infotexts"][0]
    assert "\nSteps: 2, Sampler: Euler, Schedule type: Automatic, CFG scale: 4.5, Seed: 5, Size: 64x64, Model: demo" in info["infotexts"][0]
    assert reply.json()["parameters"]["prompt"] == SMALL["prompt"]


def test_the_same_seed_is_the_same_picture_in_both_dialects(server):
    one = images_of(server.post(SMALL, "/sdapi/v1/txt2img"))[0]
    two = server.post({"prompt": SMALL["prompt"], "seed": 5, "steps": 2, "size": "64x64", "guidance_scale": 4.5, "response_format": "b64_json"})
    assert one.tobytes() == PIL.Image.open(io.BytesIO(base64.b64decode(two.json()["data"][0]["b64_json"]))).tobytes()


def test_words_have_weights_where_that_is_asked_for(server):
    prompts = ["a red balloon at the beach", "a (red:1.5) balloon at the beach", "a red balloon BREAK at the beach, " * 4]
    plain, weighted, long = (images_of(server.post({**SMALL, "prompt": prompt, "prompt_syntax": "a1111"}, "/sdapi/v1/txt2img"))[0] for prompt in prompts)
    assert plain.tobytes() == images_of(server.post(SMALL, "/sdapi/v1/txt2img"))[0].tobytes()
    assert len({picture.tobytes() for picture in (plain, weighted, long)}) == 3


def test_a_picture_becomes_another(server):
    first = server.post(SMALL, "/sdapi/v1/txt2img").json()["images"][0]
    changed = server.post({**SMALL, "init_images": [first], "denoising_strength": 0.6, "steps": 4}, "/sdapi/v1/img2img")
    assert images_of(changed)[0].size == (64, 64)
    assert json.loads(changed.json()["info"])["denoising_strength"] == 0.6
    found = server.post({"image": "data:image/png;base64," + first}, "/sdapi/v1/png-info").json()
    assert found["parameters"]["Seed"] == "5" and found["items"]["parameters"] == found["info"]


def test_a_second_pass_is_larger(server):
    assert images_of(server.post({**SMALL, "enable_hr": True, "hr_scale": 2}, "/sdapi/v1/txt2img"))[0].size == (128, 128)


def test_the_lists_and_options_that_clients_ask_for_first(server):
    options = server.get("/sdapi/v1/options").json()
    assert options["sd_model_checkpoint"] == "demo"
    assert server.post({**options, "sd_model_checkpoint": "demo"}, "/sdapi/v1/options").json() is None
    assert [model["title"] for model in server.get("/sdapi/v1/sd-models").json()] == ["demo"]
    samplers = [sampler["name"] for sampler in server.get("/sdapi/v1/samplers").json()]
    classes = {name.partition(":")[0] for name in server.get("/v1/models/demo").json()["schedulers"]}
    nameless = {"DEISMultistepScheduler", "SASolverScheduler"}  # A1111 has no word for them
    assert "Euler" in samplers and len(samplers) == len(classes - nameless)
    assert [each["label"] for each in server.get("/sdapi/v1/schedulers").json()] == ["Automatic", "Karras", "Exponential", "Beta"]
    assert server.get("/sdapi/v1/upscalers").json()[0]["name"] == "None"
    for name in ("latent-upscale-modes", "sd-vae"):
        assert server.get("/sdapi/v1/" + name).json() == []


def test_progress_is_shown_and_an_interrupt_answers(server):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(server.post, {**SMALL, "steps": 200, "width": 256, "height": 256}, "/sdapi/v1/txt2img")
        seen = {}
        while not running.done() and not seen.get("current_image"):
            seen = server.get("/sdapi/v1/progress").json()
        assert 0 < seen["progress"] < 1 and seen["state"]["job_count"] == 1 and seen["state"]["sampling_steps"] == 200
        assert PIL.Image.open(io.BytesIO(base64.b64decode(seen["current_image"]))).size[0] > 0
        assert server.post({}, "/sdapi/v1/interrupt").json() == {}
        assert [image.size for image in images_of(running.result(30))] == [(256, 256)]  # as it is
    idle = server.get("/sdapi/v1/progress").json()
    assert idle["progress"] == 0 and idle["state"]["job_count"] == 0


def test_a_skipped_batch_comes_as_it_is_and_the_next_goes_on(server):
    long = {**SMALL, "steps": 60, "n_iter": 3}
    whole = images_of(server.post(long, "/sdapi/v1/txt2img"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(server.post, long, "/sdapi/v1/txt2img")
        wait_until(lambda: server.get("/sdapi/v1/progress?skip_current_image=True").json()["state"]["sampling_step"] > 0)
        assert server.post({}, "/sdapi/v1/skip").json() == {}
        skipped = images_of(running.result(60))
    assert [a.tobytes() == b.tobytes() for a, b in zip(skipped, whole, strict=True)] == [False, True, True]


def made_again(server, image_base64):
    """What A1111's clients make of a picture's text."""
    found = server.post({"image": image_base64}, "/sdapi/v1/png-info").json()["parameters"]
    body = {"prompt": found["Prompt"], "negative_prompt": found["Negative prompt"], "seed": found["Seed"], "steps": found["Steps"],
            "cfg_scale": found["CFG scale"], "sampler_name": found["Sampler"], "scheduler": found["Schedule type"],
            "width": found["Size-1"], "height": found["Size-2"]}
    names = {"Clip skip": "clip_skip", "Denoising strength": "denoising_strength", "Hires upscale": "hr_scale", "Hires steps": "hr_second_pass_steps",
             "Hires resize-1": "hr_resize_x", "Hires resize-2": "hr_resize_y", "Variation seed": "subseed", "Variation seed strength": "subseed_strength"}
    body |= {field: found[name] for name, field in names.items() if name in found}
    return server.post({**body, "enable_hr": any(name.startswith("Hires") for name in found)}, "/sdapi/v1/txt2img").json()["images"][0]


@pytest.mark.parametrize("more", [
    {"clip_skip": 2}, {"override_settings": {"CLIP_stop_at_last_layers": 2}}, {"clip_skip": 1}, {"sampler_name": "DPM++ 2M Karras"},
    {"enable_hr": True}, {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 3, "denoising_strength": 0.4},
    {"enable_hr": True, "hr_resize_x": 96}, {"enable_hr": True, "hr_resize_x": 128, "hr_resize_y": 96, "denoising_strength": 0},
    {"subseed": 9, "subseed_strength": 0.3}, {"enable_hr": True, "subseed": 9, "subseed_strength": 0.3}], ids=str)  # fmt: skip
def test_a_picture_can_be_made_again_from_its_text(server, more):
    made = server.post({**SMALL, "steps": 4, "negative_prompt": "dogs", **more}, "/sdapi/v1/txt2img").json()["images"][0]
    assert made_again(server, made) == made


def test_a_clip_skip_of_openais_route_is_written_in_a1111s_count(server):
    asked = {"prompt": SMALL["prompt"], "seed": 5, "steps": 2, "size": "64x64", "guidance_scale": 4.5, "clip_skip": 1, "response_format": "b64_json"}
    made = server.post(asked).json()["data"][0]["b64_json"]
    assert "Clip skip: 2," in server.post({"image": made}, "/sdapi/v1/png-info").json()["info"]
    again, first = (PIL.Image.open(io.BytesIO(base64.b64decode(each))).tobytes() for each in (made_again(server, made), made))
    assert again == first


def test_one_seed_is_varied_towards_another(server):
    picture = lambda **more: images_of(server.post({**SMALL, "steps": 4, **more}, "/sdapi/v1/txt2img"))[0]  # noqa: E731
    own, other = picture(), picture(seed=9)
    assert picture(subseed=9, subseed_strength=0).tobytes() == own.tobytes()
    nearest = [distance(picture(subseed=9, subseed_strength=strength), own) for strength in (0.05, 0.2, 0.5)]
    assert nearest == sorted(nearest) and nearest[0] > 0
    # All the way it is the other one, but for the last bits of the arc.
    assert distance(picture(subseed=9, subseed_strength=1), other) < 0.01


def test_strength_0_leaves_the_picture_as_it_is(server):
    noise = PIL.Image.effect_noise((64, 64), 90).convert("RGB")
    first = png_of(noise)
    made = server.post({**SMALL, "init_images": [first], "denoising_strength": 0}, "/sdapi/v1/img2img")
    assert images_of(made)[0].tobytes() == noise.tobytes()
    reply = server.post({"prompt": "x", "image": first, "strength": 0, "response_format": "b64_json"}, "/v1/images/edits")
    assert PIL.Image.open(io.BytesIO(base64.b64decode(reply.json()["data"][0]["b64_json"]))).tobytes() == noise.tobytes()


def test_several_pictures_are_a_batch_of_edits(server):
    starts = [png_of(PIL.Image.new("RGB", (64, 64), colour)) for colour in ("red", "blue")]
    ask = {**SMALL, "denoising_strength": 0.4, "steps": 4}
    both = images_of(server.post({**ask, "init_images": starts, "batch_size": 2}, "/sdapi/v1/img2img"))
    one_by_one = [images_of(server.post({**ask, "init_images": [start], "seed": 5 + i}, "/sdapi/v1/img2img"))[0] for i, start in enumerate(starts)]
    assert [image.tobytes() for image in both] == [image.tobytes() for image in one_by_one]


def test_pictures_come_in_the_format_asked_for_with_their_text(server):
    for name, expected in (("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")):
        reply = server.post({**SMALL, "override_settings": {"samples_format": name}}, "/sdapi/v1/txt2img")
        image = images_of(reply)[0]
        assert image.format == expected
        text = json.loads(reply.json()["info"])["infotexts"][0]
        if name != "png":
            # As A1111 writes it, and as everybody reads it.
            comment = image.getexif().get_ifd(0x8769)[0x9286]
            assert comment[:8] == b"UNICODE\0" and comment[8:].decode("utf-16-be") == text
        assert server.post({"image": reply.json()["images"][0]}, "/sdapi/v1/png-info").json()["info"] == text


def test_what_is_not_served_is_named(server):
    reply = server.post({**SMALL, "tiling": True, "alwayson_scripts": {"ADetailer": {"args": [True]}}, "prompt": "x<lora:nowhere:1>"}, "/sdapi/v1/txt2img")
    assert len(images_of(reply)) == 1
    assert ["ADetailer" in reply.json()["warnings"][0], *reply.json()["warnings"][1:]] == [True, "tiling is not served", 'there is no LoRA "nowhere"']
    assert server.post({**SMALL, "script_name": "X/Y/Z plot"}, "/sdapi/v1/txt2img").status_code == 400


def test_errors_have_their_own_form(server):
    reply = server.post({**SMALL, "steps": 0}, "/sdapi/v1/txt2img")
    assert reply.status_code == 400 and set(reply.json()) == {"error", "detail", "body", "errors"}


def test_styles_and_the_syntax_of_prompts_are_the_servers(tmp_path):
    styles = tmp_path / "styles.csv"
    styles.write_text("name,prompt,negative_prompt\nballoon,\"a red balloon, {prompt}\",dogs\n")
    with serve(tmp_path / "data", "--dtype", "fp32", "--styles", str(styles), "--sdapi-prompt-syntax", "a1111") as server:
        assert [style["name"] for style in server.get("/sdapi/v1/prompt-styles").json()] == ["balloon"]
        reply = server.post({**SMALL, "prompt": "at the (beach:1.4)", "styles": ["balloon"]}, "/sdapi/v1/txt2img").json()
        plain = server.post({**SMALL, "prompt": "a red balloon, at the (beach:1.4)", "negative_prompt": "dogs"}, "/sdapi/v1/txt2img").json()
        assert reply["images"] == plain["images"] and json.loads(reply["info"])["prompt"] == "a red balloon, at the (beach:1.4)"
        as_words = server.post({**SMALL, "prompt": "a red balloon, at the (beach:1.4)", "negative_prompt": "dogs", "prompt_syntax": "diffusers"}, "/sdapi/v1/txt2img")
        assert as_words.json()["images"] != plain["images"]
    styles.write_text("name,prompt\n,x\n")
    refused = run_program("serve", "models/demo", "--styles", styles)
    assert refused.returncode != 0 and "styles.csv: line 2: a style has no name" in refused.stderr
