"""AUTOMATIC1111's dialect, asked the way its clients ask it."""

import base64
import concurrent.futures
import io
import json

import PIL.Image

SMALL = {"prompt": "a red balloon at the beach", "steps": 2, "width": 64, "height": 64, "seed": 5, "cfg_scale": 4.5,
         "sampler_name": "Euler", "scheduler": "Automatic", "negative_prompt": "", "restore_faces": False, "styles": []}


def images_of(reply):
    assert reply.status_code == 200, reply.text
    return [PIL.Image.open(io.BytesIO(base64.b64decode(image))) for image in reply.json()["images"]]


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
        assert images_of(running.result(30)) == []
    idle = server.get("/sdapi/v1/progress").json()
    assert idle["progress"] == 0 and idle["state"]["job_count"] == 0


def test_errors_have_their_own_form(server):
    reply = server.post({**SMALL, "steps": 0}, "/sdapi/v1/txt2img")
    assert reply.status_code == 400 and set(reply.json()) == {"error", "detail", "body", "errors"}
