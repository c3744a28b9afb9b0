"""Programs made for AUTOMATIC1111's API, and for stable-diffusion.cpp's copy of it, use the server as they use those."""

import base64
import json

import pytest
import requests
from client import SD_CLIENTS, ClientError, able, picture
from PIL import Image

from tests.e2e.conftest import wait_until

SMALL = {"prompt": "a red balloon at the beach", "negative_prompt": "", "width": 128, "height": 96, "steps": 2, "seed": 7, "cfg_scale": 4.0,
         "sampler_name": "Euler", "scheduler": "Automatic"}
UPSCALER = "R-ESRGAN 4x+"
LONG = {**SMALL, "width": 512, "height": 512, "steps": 100}


def clients(*features):
    return able(SD_CLIENTS, *features)


def pixels(pictures) -> list[bytes]:
    return [picture(each).tobytes() for each in pictures]


@clients("ping")
def test_a_sign_of_life(client, served):
    assert client("ping", server=served.url) == "OK"


@clients()
def test_pictures_are_those_of_openais_route(client, served):
    made = client("generate", server=served.url, request={**SMALL, "batch_size": 2})
    assert [(picture(each).size, picture(each).mode) for each in made["pictures"]] == [((128, 96), "RGB")] * 2
    assert made["info"]["all_seeds"] == [7, 8] and made["info"]["sampler_name"] == "Euler"
    same = {"prompt": SMALL["prompt"], "size": "128x96", "num_inference_steps": 2, "guidance_scale": 4.0, "seed": 7, "n": 2}
    plain = requests.post(served.server.url + "/v1/images/generations", json={**same, "response_format": "b64_json"}, timeout=60).json()
    assert pixels(made["pictures"]) == pixels(item["b64_json"] for item in plain["data"])


def plain(server, prompt, negative="") -> list[bytes]:
    """The same picture without any client, from a prompt that is said to be A1111's."""
    request = {"prompt": prompt, "negative_prompt": negative, "prompt_syntax": "a1111", "size": "128x96", "num_inference_steps": 2, "guidance_scale": 4.0, "seed": 7}
    reply = requests.post(server.url + "/v1/images/generations", json={**request, "response_format": "b64_json"}, timeout=60)
    return pixels(item["b64_json"] for item in reply.json()["data"])


@clients()
def test_prompts_have_weights_where_the_server_says_so(client, a1111_server, on_a_wire):
    prompt = "a (red:1.6) balloon at the [beach]"
    made = client("generate", server=on_a_wire(a1111_server).url, request={**SMALL, "prompt": prompt})
    assert pixels(made["pictures"]) == plain(a1111_server, prompt) != plain(a1111_server, "a red balloon at the beach")


@clients("settings")
def test_prompts_are_put_into_styles(client, a1111_server, on_a_wire):
    made = client("generate", server=on_a_wire(a1111_server).url, request={**SMALL, "styles": ["wet"]})
    assert pixels(made["pictures"]) == plain(a1111_server, SMALL["prompt"] + ", (rain:1.4)", "sun")


@clients("settings")
@pytest.mark.parametrize(("name", "head"), [("jpg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_pictures_come_in_the_format_asked_for(client, served, name, head):
    made = client("generate", server=served.url, request={**SMALL, "override_settings": {"samples_format": name}})
    sent = json.loads(served.wire.exchanges()[-1].body)["images"][0]
    assert base64.b64decode(sent).startswith(head) and picture(made["pictures"][0]).size == (128, 96)
    info = requests.post(served.server.url + "/sdapi/v1/png-info", json={"image": sent}, timeout=60).json()["info"]
    assert info == made["info"]["infotexts"][0]


@clients("settings")
def test_what_is_not_served_is_named(client, served):
    client("generate", server=served.url, request={**SMALL, "tiling": True, "restore_faces": True})
    assert json.loads(served.wire.exchanges()[-1].body)["warnings"] == ["restore_faces is not served", "tiling is not served"]


@clients("edit")
def test_a_picture_is_changed_where_the_mask_is_white(client, served, tmp_path):
    noise = Image.effect_noise((128, 96), 90).convert("RGB")
    noise.save(tmp_path / "image.png")
    mask = Image.new("L", (128, 96))
    mask.paste(255, (0, 0, 64, 96))
    mask.save(tmp_path / "mask.png")
    request = {**SMALL, "steps": 4, "denoising_strength": 1.0, "mask_blur": 0}
    made = client("edit", server=served.url, request=request, images=[str(tmp_path / "image.png")], mask=str(tmp_path / "mask.png"))
    assert made["info"]["denoising_strength"] == 1.0
    changed, kept = (0, 0, 64, 96), (64, 0, 128, 96)
    shown = picture(made["pictures"][0])
    assert shown.crop(kept).tobytes() == noise.crop(kept).tobytes()
    assert shown.crop(changed).tobytes() != noise.crop(changed).tobytes()


@clients("edit")
def test_a_picture_of_other_proportions_is_fitted(client, served, tmp_path):
    Image.effect_noise((192, 96), 90).convert("RGB").save(tmp_path / "image.png")
    near = {**SMALL, "steps": 6, "denoising_strength": 0.4}  # so near to where it starts from that this is to be seen
    made = [client("edit", server=served.url, request={**near, "resize_mode": mode}, images=[str(tmp_path / "image.png")])["pictures"][0]
            for mode in (0, 1, 2)]
    assert [picture(each).size for each in made] == [(128, 96)] * 3
    assert len(set(pixels(made))) == 3


@clients("edit")
def test_a_mask_may_be_drawn_on_a_transparent_canvas(client, served, tmp_path):
    noise = Image.effect_noise((128, 96), 90).convert("RGB")
    noise.save(tmp_path / "image.png")
    mask = Image.new("RGBA", (128, 96), (0, 0, 0, 0))
    mask.paste((0, 0, 0, 255), (0, 0, 64, 96))
    mask.save(tmp_path / "mask.png")
    request = {**SMALL, "steps": 4, "denoising_strength": 1.0, "mask_blur": 0, "inpaint_full_res": False}
    made = client("edit", server=served.url, request=request, images=[str(tmp_path / "image.png")], mask=str(tmp_path / "mask.png"))
    shown = picture(made["pictures"][0])
    assert shown.crop((64, 0, 128, 96)).tobytes() == noise.crop((64, 0, 128, 96)).tobytes()
    assert shown.crop((0, 0, 64, 96)).tobytes() != noise.crop((0, 0, 64, 96)).tobytes()


@clients()
def test_steps_are_spaced_as_asked(client, served):
    made = {name: client("generate", server=served.url, request={**SMALL, "steps": 4, "scheduler": name}) for name in ("Automatic", "Karras")}
    assert "Schedule type: Karras" in made["Karras"]["info"]["infotexts"][0]
    assert pixels(made["Karras"]["pictures"]) != pixels(made["Automatic"]["pictures"])


@clients("lists")
def test_lists_have_what_the_client_offers_its_user(client, served):
    found = client("lists", server=served.url)
    assert "demo" in found["models"]
    assert {"Euler", "Heun", "DPM++ 2M", "UniPC"} <= set(found["samplers"]) and found["vaes"] == []
    assert found["upscalers"] == ["None", "Lanczos", UPSCALER]
    assert {each.lower() for each in found["schedulers"]} == {"automatic", "karras", "exponential", "beta"}


@clients("choose")
def test_a_model_is_chosen(client, served):
    assert client("choose", server=served.url, model="demo") == "demo"


@clients("read")
def test_a_picture_tells_how_it_was_made(client, served, tmp_path):
    made = requests.post(served.server.url + "/sdapi/v1/txt2img", json=SMALL, timeout=60).json()
    (tmp_path / "made.png").write_bytes(base64.b64decode(made["images"][0]))
    assert client("read", server=served.url, image=str(tmp_path / "made.png")) == json.loads(made["info"])["infotexts"][0]


@clients("settings")
def test_a_variation_of_a_seed_and_a_second_pass(client, served):
    varied = client("generate", server=served.url, request={**SMALL, "subseed": 3, "subseed_strength": 0.2, "batch_size": 2})
    assert (varied["info"]["all_seeds"], varied["info"]["all_subseeds"], varied["info"]["subseed_strength"]) == ([7, 7], [3, 4], 0.2)
    assert len(set(pixels(varied["pictures"]))) == 2
    larger = client("generate", server=served.url, request={**SMALL, "enable_hr": True, "hr_resize_x": 256, "denoising_strength": 0.3})
    assert picture(larger["pictures"][0]).size == (256, 192)
    assert "Size: 128x96" in larger["info"]["infotexts"][0] and "Hires resize: 256x0" in larger["info"]["infotexts"][0]
    by_network = client("generate", server=served.url, request={**SMALL, "enable_hr": True, "hr_resize_x": 256, "hr_upscaler": UPSCALER, "denoising_strength": 0.3})
    assert f"Hires upscaler: {UPSCALER}" in by_network["info"]["infotexts"][0]
    assert pixels(by_network["pictures"]) != pixels(larger["pictures"])


@clients("settings", "edit")
def test_several_pictures_are_changed_at_once(client, served, tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (128, 96), colour).save(tmp_path / f"{name}.png")
    request = {**SMALL, "batch_size": 2, "denoising_strength": 0}
    made = client("edit", server=served.url, request=request, images=[str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    assert [picture(each).getpixel((0, 0)) for each in made["pictures"]] == [(255, 0, 0), (0, 0, 255)]


@clients("enlarge")
def test_pictures_are_made_larger(client, served, tmp_path):
    Image.effect_noise((64, 48), 90).convert("RGB").save(tmp_path / "image.png")
    made = {name: client("enlarge", server=served.url, images=[str(tmp_path / "image.png")] * 2, upscaler=name) for name in ("Lanczos", UPSCALER)}
    for pictures in made.values():
        assert [picture(each).size for each in pictures] == [(128, 96)] * 3 and len(set(pixels(pictures))) == 1
    assert made["Lanczos"] != made[UPSCALER]


@clients("progress")
def test_progress_is_shown_while_a_picture_is_made(client, served):
    client("begin", server=served.url, request=LONG)
    wait_until(lambda: 0 < client("progress", server=served.url)["progress"] < 1)
    assert client("progress", server=served.url)["state"]["job_count"] == 1
    wait_until(lambda: client("progress", server=served.url)["current_image"])
    assert picture(client("progress", server=served.url)["current_image"]).mode == "RGB"
    assert client("abort") == "1 pictures"
    wait_until(lambda: client("progress", server=served.url)["progress"] == 0)


@clients("abort")
def test_a_client_that_gives_up_frees_its_place(client, served):
    client("begin", server=served.url, request=LONG)
    wait_until(lambda: served.server.metric("diffused_requests_running") == 1)
    client("abort")
    wait_until(lambda: served.server.metric("diffused_requests_running") == 0, seconds=5)


def status_of_generation(served) -> int | None:
    """What the server answered to the last request for a picture; some clients send an interrupt after a failure."""
    asked = [exchange for exchange in served.wire.exchanges() if exchange.target.endswith(("/txt2img", "/images/generations"))]
    return asked[-1].status


@clients()
def test_a_size_that_cannot_be(client, served):
    with pytest.raises(ClientError) as raised:
        client("generate", server=served.url, request={**SMALL, "width": 100_000})
    assert status_of_generation(served) == 400
    if "words" not in client.client.cannot:
        assert raised.value.status == 400 and "width" in raised.value.message


@clients("key")
def test_a_key_is_the_password(client, keyed_server, on_a_wire):
    served = on_a_wire(keyed_server)
    assert client("generate", server=served.url, key=keyed_server.key, request=SMALL)["pictures"]
    with pytest.raises(ClientError):
        client("generate", server=served.url, key="sk-wrong", request=SMALL)
    assert status_of_generation(served) == 401


def assert_refused(client, served, status) -> None:
    with pytest.raises(ClientError) as raised:
        client("generate", server=served.url, request=SMALL)
    assert status_of_generation(served) == status
    if "words" not in client.client.cannot:
        assert raised.value.status == status


@clients()
def test_a_full_queue(client, full_server, on_a_wire):
    assert_refused(client, on_a_wire(full_server), 429)


@clients()
def test_a_server_that_is_about_to_end(client, draining_server, on_a_wire):
    assert_refused(client, on_a_wire(draining_server), 503)
