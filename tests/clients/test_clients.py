"""Programs that nobody here wrote use the server as they use OpenAI's, and get what they asked for."""

import pytest
import requests
from client import CLIENTS, able, picture

from tests.e2e.conftest import wait_until

SMALL = {"model": "demo", "prompt": "a red balloon at the beach", "size": "128x96"}
EXTRA = {"num_inference_steps": 2, "seed": 7}
B64 = {"response_format": "b64_json"}
LONG = {"request": {**SMALL, "size": "1024x1024", "prompt": "a slow picture"}, "extra": {"num_inference_steps": 200}}


def clients(*features):
    return able(CLIENTS, *features)


def plain(served, path="/v1/images/generations", **options) -> list[str]:
    """The same request without any client: what the picture has to be."""
    reply = requests.post(served.server.url + path, timeout=60, **options)
    assert reply.status_code == 200, reply.text
    return [item["b64_json"] for item in reply.json()["data"]]


def plain_edit(served, files, fields, mask=False) -> list[str]:
    uploads = [("image", (files / "image.png").read_bytes())] + mask * [("mask", (files / "mask.png").read_bytes())]
    return plain(served, "/v1/images/edits", data=fields, files=uploads)


@clients()
def test_pictures_of_the_size_and_number_asked_for_arrive(client, served):
    got = client("generate", server=served.url, request={**SMALL, **B64, "n": 2}, extra={})["pictures"]
    assert [(image.format, image.size, image.mode) for image in map(picture, got)] == [("PNG", (128, 96), "RGB")] * 2
    assert got[0] != got[1]


@clients("seed")
def test_the_picture_is_that_of_a_plain_request(client, served):
    got = client("generate", server=served.url, request={**SMALL, **B64}, extra=EXTRA)["pictures"]
    assert got == plain(served, json={**SMALL, **B64, **EXTRA})


@clients("url", "seed")
def test_a_picture_by_url_is_fetched(client, served):
    got = client("generate", server=served.url, request={**SMALL, "response_format": "url"}, extra=EXTRA)["pictures"]
    assert got == plain(served, json={**SMALL, **B64, **EXTRA})


@clients()
@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1"])
def test_a_name_of_openais_brings_the_kind_of_answer_that_clients_expect_of_it(client, served, model):
    if model == "dall-e-3" and "url" in client.client.cannot:
        model = "gpt-image-1"
    got = client("generate", server=served.url, request={**SMALL, "model": model}, extra=EXTRA)["pictures"]
    assert [picture(each).size for each in got] == [(128, 96)]


@clients("format")
@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_formats_and_compression_are_obeyed(client, served, name):
    request = {**SMALL, **B64, "output_format": name}
    got = [client("generate", server=served.url, request={**request, "output_compression": quality}, extra=EXTRA)["pictures"][0]
           for quality in (90, 10)]
    assert [(image.format, image.size) for image in map(picture, got)] == [(name.upper(), (128, 96))] * 2
    assert len(got[0]) > len(got[1])


# An edit's answer is what the model's name stands for: not every client says which it takes.
EDIT = {**SMALL, "model": "gpt-image-1"}


@clients("edit")
@pytest.mark.parametrize("mask", [False, True], ids=["whole", "masked"])
def test_an_edit_has_the_size_asked_for(client, served, files, mask):
    options = {"mask": str(files / "mask.png")} if mask else {}
    got = client("edit", server=served.url, request=EDIT, extra=EXTRA, images=[str(files / "image.png")], **options)["pictures"]
    assert [picture(each).size for each in got] == [(128, 96)]
    if "seed" not in client.client.cannot:
        assert got == plain_edit(served, files, {**EDIT, **EXTRA}, mask)


@clients("edit", "chunked")
def test_an_upload_without_a_length_is_taken(client, served, files):
    got = client("edit", server=served.url, request=EDIT, extra=EXTRA, images=[str(files / "image.png")], chunked=True)["pictures"]
    assert got == plain_edit(served, files, {**EDIT, **EXTRA})
    assert [exchange.request_headers.get("transfer-encoding") for exchange in served.wire.exchanges()] == ["chunked"]


@clients("vary")
def test_a_variation_has_the_size_asked_for(client, served, files):
    got = client("vary", server=served.url, request={"model": "demo", "size": "128x96", **B64}, images=[str(files / "image.png")])
    assert picture(got["pictures"][0]).size == (128, 96)


def assert_stream(events, kind, expected) -> None:
    assert [event["type"] for event in events] == [f"{kind}.partial_image"] * 2 + [f"{kind}.completed"]
    assert [event["partial_image_index"] for event in events[:-1]] == [0, 1]
    assert events[-1]["b64_json"] == expected
    shown = [picture(event["b64_json"]) for event in events]
    assert [(image.format, image.size, image.mode) for image in shown] == [("PNG", (128, 96), "RGB")] * 3
    assert len({image.tobytes() for image in shown}) == 3, "a partial picture was the finished one"


@clients("stream")
def test_a_stream_has_partial_pictures_and_then_the_picture(client, served):
    request, extra = {**SMALL, "partial_images": 2}, {**EXTRA, "num_inference_steps": 6}
    events = client("stream", server=served.url, request=request, extra=extra)["events"]
    assert_stream(events, "image_generation", plain(served, json={**SMALL, **B64, **extra})[0])


@clients("stream", "edit")
def test_an_edit_streams_in_the_same_way(client, served, files):
    request, extra = {**SMALL, "partial_images": 2}, {**EXTRA, "num_inference_steps": 8}
    events = client("stream_edit", server=served.url, request=request, extra=extra, images=[str(files / "image.png")])["events"]
    assert_stream(events, "image_edit", plain_edit(served, files, {**SMALL, **B64, **extra})[0])


@clients("list")
def test_models_are_listed(client, served):
    assert "demo" in client("models", server=served.url)


@clients("list", "one_model")
@pytest.mark.parametrize("name", ["demo", "gpt-image-1"])
def test_a_model_is_shown_by_each_of_its_names(client, served, name):
    assert client("model", server=served.url, name=name)["object"] == "model"


@clients("abort")
@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
def test_a_client_that_gives_up_frees_its_place(client, served, stream):
    if stream and "stream" in client.client.cannot:
        stream = False
    client("begin", server=served.url, stream=stream, **LONG)
    wait_until(lambda: served.server.metric("diffused_requests_running") == 1)
    assert client("abort") != "answered"
    wait_until(lambda: served.server.metric("diffused_requests_running") == 0, seconds=5)
