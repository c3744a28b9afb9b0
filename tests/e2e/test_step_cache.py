"""Steps that are not made, and small decoders, as clients ask for them."""

import base64
import io
import json

import pytest
from PIL import Image

GOOD = {"prompt": "a fox", "seed": 1, "num_inference_steps": 20, "size": "64x64", "response_format": "b64_json"}


def picture(server, **fields) -> Image.Image:
    reply = server.post({**GOOD, **fields})
    assert reply.status_code == 200, reply.text
    return Image.open(io.BytesIO(base64.b64decode(reply.json()["data"][0]["b64_json"])))


def test_a_picture_with_steps_left_out_can_be_made_again_from_its_text(server):
    first = picture(server, cache={"mode": "easy", "threshold": 1})
    text = json.loads(first.text["diffused"])
    assert text["cache"] == {"mode": "easy", "threshold": 1}
    assert picture(server, cache=text["cache"]).tobytes() == first.tobytes()
    assert picture(server, cache={"mode": "none"}).tobytes() == picture(server).tobytes() != first.tobytes()
    skipped = next(line for line in server.get("/metrics").text.splitlines() if line.startswith("diffused_steps_skipped_total{"))
    assert float(skipped.split()[-1]) > 0


@pytest.mark.parametrize("cache", [3, {}, {"mode": "lazy"}, {"mode": "easy", "threshold": 0}, {"mode": "easy", "threshold": "much"}])
def test_a_cache_that_is_none_is_refused(server, cache):
    reply = server.post({**GOOD, "cache": cache})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "cache"


def test_a_decoder_that_the_model_lacks_is_refused(server):
    reply = server.post({**GOOD, "decoder": "tiny"})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "decoder"
    assert picture(server, decoder="full").tobytes() == picture(server).tobytes()
