"""Uploads that are damaged, hostile or unusual: refused by name, at once and without memory; what is only unusual is taken."""

import base64
import io
import struct
import time
import zlib

import pytest
import requests
from conftest import ROOT, serve
from PIL import Image, ImageDraw
from test_bad_input import GOOD, assert_error

FORM = {**GOOD, "strength": 0.5, "size": "64x64"}
SECONDS_MAX = 0.1
BYTES_MAX = 32 << 20
DATA = ROOT / "tests/image/data"


def encoded(image, format="PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def drawing(width=64, height=64, mode="RGB") -> Image.Image:
    """Light above, dark below, and a red corner: it shows which way it is turned."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, height // 2, width, height], fill="black")
    draw.rectangle([0, 0, width // 4, height // 4], fill="red")
    return image.convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side: int) -> bytes:
    """A PNG of a hundred kilobytes that says it has side x side pixels: 7.5 GB of them for 50,000."""
    squeezer = zlib.compressobj(9)
    row = bytes(1 + side * 3)
    rows = b"".join(squeezer.compress(row) for _ in range(side // 100)) + squeezer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animation() -> bytes:
    frames = [drawing(), drawing().rotate(90)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100)


PNG = encoded(drawing())
PHOTOGRAPH = encoded(Image.effect_noise((512, 512), 50).convert("RGB"))

# Each with the files of the form, the error's param and its code.
BAD_FORMS = {
    "17 images": ([("image[]", PNG)] * 17, "image[]", "invalid_value"),
    "0 bytes": ([("image", b"")], "image", "invalid_image_file"),
    "cut off": ([("image", PHOTOGRAPH[: len(PHOTOGRAPH) // 2])], "image", "invalid_image_file"),
    "cut off in the header": ([("image", PNG[:20])], "image", "invalid_image_file"),
    "50,000 x 50,000": ([("image", bomb(50_000))], "image", "image_too_large"),
    "a JPEG of endless scans": ([("image", (DATA / "bomb_scans.jpg").read_bytes())], "image", "invalid_image_file"),
    "animated WebP": ([("image", animation())], "image", "invalid_image_file"),
    "no picture": ([("image", b"GIF89a\x10\0\x10\0 but not really")], "image", "invalid_image_file"),
    "text": ([("image", b"Example data")], "image", "invalid_image_file"),
    "mask of another size": ([("image", PNG), ("mask", encoded(drawing(32, 64, "L")))], "mask", "invalid_value"),
    "mask of 50,000 x 50,000": ([("image", PNG), ("mask", bomb(50_000))], "mask", "image_too_large"),
    "mask that is damaged": ([("image", PNG), ("mask", b"\x89PNG")], "mask", "invalid_image_file"),
    "no image": ([("mask", PNG)], "image", "missing_required_parameter"),
    "nothing": ([], "image", "missing_required_parameter"),
}


def as_url(data: bytes, media_type="image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


BAD_JSON = {
    "a data URL that holds no picture": ({"image": as_url(b"hello")}, "image", "invalid_image_file"),
    "a data URL of text": ({"image": as_url(b"hello", "text/plain")}, "image", "invalid_image_file"),
    "a data URL that is no base64": ({"image": "data:image/png;base64,@@@@"}, "image", "invalid_base64"),
    "a data URL without base64": ({"images": ["data:image/png,abc"]}, "images", "invalid_base64"),
    "an address": ({"image": "http://127.0.0.1:1/a.png"}, "image", "invalid_value"),
    "an address among images": ({"images": [{"image_url": "https://example.com/a.png"}]}, "images", "invalid_value"),
    "an address of a file": ({"images": [{"image_url": "file:///etc/passwd"}]}, "images", "invalid_value"),
    "an uploaded file's id": ({"images": [{"file_id": "file-1"}]}, "images", "unsupported_value"),
    "a bomb": ({"image": as_url(bomb(50_000))}, "image", "image_too_large"),
    "a bomb without an address": ({"images": [base64.b64encode(bomb(50_000)).decode()]}, "images", "image_too_large"),
    "17 images": ({"images": [{"image_url": as_url(PNG)}] * 17}, "images", "invalid_value"),
}

BAD_BODIES = {
    "a key twice": (b'{"prompt": "a", "n": 1, "n": 2, "image": "x"}', "n", "duplicate_key"),
    "a lone surrogate": (rb'{"prompt": "a \ud800 b", "image": "x"}', None, "invalid_json"),
    "a lone surrogate in a key": (rb'{"prompt": "a", "\udc00": 1}', None, "invalid_json"),
}


def memory(server, name) -> int:
    """Bytes that are resident (VmRSS), or were at most (VmHWM)."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A server that has decoded, made and encoded pictures, so that what it takes from now on is for the request."""
    with serve(tmp_path_factory.mktemp("pictures"), "--dtype", "fp32") as running:
        assert edit(running, [("image", PHOTOGRAPH), ("mask", encoded(Image.new("L", (512, 512))))]).status_code == 200
        yield running


def edit(server, files, fields=FORM):
    parts = [(name, (None, str(value))) for name, value in fields.items()]
    uploads = [(name, ("blob", data, "application/octet-stream")) for name, data in files]
    return requests.post(server.url + "/v1/images/edits", files=[*parts, *uploads], timeout=30)


def assert_cheap_refusal(server, send, param, code) -> None:
    """Refused by name, and quickly: the best of three, since others use this machine too."""
    # Writing 5 to clear_refs makes the peak what is resident now.
    with open(f"/proc/{server.process.pid}/clear_refs", "w") as clear:
        clear.write("5")
    before = memory(server, "VmRSS")
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        reply = send()
        seconds.append(time.monotonic() - started)
        assert_error(reply, 400, param)
        assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == (code, param), reply.text
    assert min(seconds) <= SECONDS_MAX
    assert memory(server, "VmHWM") - before <= BYTES_MAX


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_form_is_refused(warm, name):
    files, param, code = BAD_FORMS[name]
    assert_cheap_refusal(warm, lambda: edit(warm, files), param, code)


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_is_refused(warm, name):
    fields, param, code = BAD_JSON[name]
    assert_cheap_refusal(warm, lambda: warm.post({**FORM, **fields}, path="/v1/images/edits"), param, code)


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("route", ["generations", "edits"])
def test_a_body_is_refused(warm, route, name):
    body, param, code = BAD_BODIES[name]
    headers = {"content-type": "application/json"}
    assert_cheap_refusal(warm, lambda: requests.post(f"{warm.url}/v1/images/{route}", data=body, headers=headers, timeout=30), param, code)


def test_a_form_cut_off_in_a_picture_is_refused(warm):
    form = requests.Request("POST", warm.url + "/v1/images/edits", data=FORM, files={"image": PNG}).prepare()
    form.prepare_body(form.body[: form.body.rindex(b"--") - 30], None)
    assert_cheap_refusal(warm, lambda: requests.Session().send(form, timeout=30), None, "invalid_multipart")


@pytest.mark.parametrize("whole", [b"", b"\r\n", b"\r\n--edge", b"\r\n--edg--\r\n"], ids=["data", "line", "no end", "other"])
def test_a_form_without_its_final_boundary_is_refused(warm, whole):
    part = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + PNG
    headers = {"content-type": "multipart/form-data; boundary=edge"}
    url = warm.url + "/v1/images/edits"
    assert_cheap_refusal(warm, lambda: requests.post(url, data=part + whole, headers=headers, timeout=30), None, "invalid_multipart")


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


HALVES = Image.frombytes("L", (64, 64), b"\xff" * 2048 + bytes(2048))
DEEP_HALVES = Image.frombytes("I;16", (64, 64), b"\xff\xff" * 2048 + bytes(4096))

UNUSUAL = {
    "16 bits": (encoded(DEEP_HALVES), HALVES),
    "grey": (encoded(drawing(mode="L")), drawing(mode="L")),
    "palette": (encoded(drawing(mode="P")), drawing()),
    "CMYK JPEG": (encoded(drawing(mode="CMYK"), "JPEG", quality=95), drawing()),
    "turned by EXIF": (encoded(drawing().rotate(90, expand=True), "JPEG", quality=95, exif=exif(6)), drawing()),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_picture_is_seen_as_pillow_sees_it(warm, name):
    """With no strength to speak of, the edit of both is the same picture, but for what JPEG loses."""
    data, usual = UNUSUAL[name]
    fields = {**FORM, "strength": 0.1, "num_inference_steps": 10, "seed": 3}
    got, expected = (shown(edit(warm, [("image", each)], fields)) for each in (data, encoded(usual)))
    assert mean_difference(got, expected) < 6
    assert mean_difference(got, expected.rotate(90)) > 40


@pytest.mark.parametrize("name", ["png_sixteen_bit.png", "jpeg_cmyk.jpg", "jpeg_exif_6.jpg", "webp_alpha.webp", "png_grey.png", "bomb_text.png"])
def test_a_file_of_other_programs_is_taken(warm, name):
    assert edit(warm, [("image", (DATA / name).read_bytes())]).status_code == 200


def shown(reply) -> Image.Image:
    assert reply.status_code == 200, reply.text
    return Image.open(io.BytesIO(base64.b64decode(reply.json()["data"][0]["b64_json"])))


def mean_difference(one, other) -> float:
    pairs = list(zip(one.convert("RGB").tobytes(), other.convert("RGB").tobytes()))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def test_after_all_of_it_a_good_request_works(warm):
    assert warm.post(GOOD).status_code == 200
    assert warm.process.poll() is None
    assert not any('"handler_fault"' in line for line in warm.log)
