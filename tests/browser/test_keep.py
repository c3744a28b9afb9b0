"""Keep: the gallery, what can be done with a picture, and what a dropped one says of itself."""

import base64
import io
import json
import subprocess
import sys
import zlib

import pytest
from conftest import body_of, expect, fill_fields, make, node, open_first, open_make, pictures, sent_by
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DROP = """([type, name, base64, size]) => {
  const bytes = base64 ? Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)) : new Uint8Array(size);
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  document.querySelector("main").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def drop(page, content=b"", name="picture.png", media_type="image/png", size=0):
    page.evaluate(DROP, [media_type, name, base64.b64encode(content).decode(), size])


def png(size=(64, 64), color=(200, 30, 30), **text):
    info = PngInfo()
    for keyword, value in text.items():
        if value.isascii():
            info.add_text(keyword, value, zip=len(value) > 200)
        else:
            info.add_itxt(keyword, value)
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def test_a_picture_opens_large_with_what_made_it(page):
    fill_fields(page, steps=4, seed=11, negative_prompt="rain")
    make(page)
    fill_fields(page, seed=12)
    make(page)
    viewer = open_first(page)
    for fact in ("12", "rain", "4"):
        expect(viewer.locator("dl")).to_contain_text(fact)
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("dl")).to_contain_text("11")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(pictures(page)).to_have_count(2)


def test_seed_and_settings_are_used_again(visitor, server):
    one = visitor(permissions=["clipboard-read", "clipboard-write"])
    page = open_make(one, server.url)
    fill_fields(page, steps=4, seed=123456789012345, guidance=2)
    make(page)
    viewer = open_first(page)
    viewer.get_by_role("button", name="Copy seed").click()
    expect(viewer.get_by_role("status")).to_have_text("The seed is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "123456789012345"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Back to the model's defaults").click()
    open_first(page).get_by_role("button", name="Use settings").click()
    for name, value in {"steps": "4", "seed": "123456789012345", "guidance": "2"}.items():
        expect(page.locator(f"#f-{name}")).to_have_value(value)


def test_a_variation_has_the_settings_and_another_seed(page):
    fill_fields(page, steps=4, seed=5)
    make(page)
    request = body_of(sent_by(page, lambda: open_first(page).get_by_role("button", name="Vary").click()))
    assert request["num_inference_steps"] == 4 and "seed" not in request
    expect(pictures(page)).to_have_count(2)


def test_a_download_is_the_file_with_its_parameters(page, tmp_path):
    fill_fields(page, steps=3, seed=9)
    make(page)
    with page.expect_download() as download:
        open_first(page).get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "picture.png")
    assert download.value.suggested_filename == "a-kitten-in-front-of-a-fireplace-9.png"
    assert json.loads(Image.open(tmp_path / "picture.png").text["diffused"])["seed"] == 9


def test_the_gallery_outlives_a_reload_and_forgets_what_is_deleted(page):
    fill_fields(page, steps=2, n=2)
    make(page, 2)
    expect(page.get_by_text("2 pictures,")).to_contain_text("of 500 MB")
    page.reload()
    expect(pictures(page)).to_have_count(2)
    open_first(page).get_by_role("button", name="Delete").click()
    expect(pictures(page)).to_have_count(1)
    page.reload()
    expect(pictures(page)).to_have_count(1)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Empty it").click()
    expect(pictures(page)).to_have_count(0)


def test_the_oldest_picture_makes_room(visitor, server):
    one = visitor()
    page = open_make(one, server.url)
    fill_fields(page, steps=2)
    make(page)
    # A picture that nearly fills the bound.
    page.evaluate("""async () => {
      const { add } = await import("./pages/gallery_store.js");
      await add({ blob: new Blob([new Uint8Array(499999000)], { type: "image/png" }), request: { prompt: "large" }, seed: 1, model: "m" });
    }""")
    expect(pictures(page)).to_have_count(1)
    expect(pictures(page)).to_have_attribute("alt", "large")


FULL = """
  const add = IDBObjectStore.prototype.add;
  IDBObjectStore.prototype.add = function () { throw new DOMException("full", "QuotaExceededError"); };
"""


def test_a_full_browser_is_told_and_the_picture_is_there_all_the_same(visitor, server):
    one = visitor()
    one.context.add_init_script(FULL)
    page = open_make(one, server.url)
    fill_fields(page, steps=2)
    make(page)
    expect(page.get_by_text("The browser's storage is full")).to_be_visible()
    expect(open_first(page).get_by_role("link", name="Download")).to_be_visible()


@pytest.mark.parametrize("language, command, file", [("curl", "bash", "run.sh"), ("Python", sys.executable, "run.py"),
                                                     ("JavaScript", node(), "run.mjs")])
def test_the_same_request_from_a_program_runs_as_it_stands(page, tmp_path, language, command, file):
    fill_fields(page, steps=2, seed=18446744073709551615, prompt="it's a \"red\" ball $HOME `x`")
    make(page)
    viewer = open_first(page)
    viewer.get_by_role("tab", name=language).click()
    text = viewer.locator("#code").inner_text()
    if language == "JavaScript":
        text += '\nif (data[0].b64_json.length < 100) process.exit(1);\n'
    (tmp_path / file).write_text(text)
    done = subprocess.run([command, file], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if language == "curl":
        assert json.loads(done.stdout)["data"][0]["seed"] == 18446744073709551615
    if language == "Python":
        assert json.loads(Image.open(tmp_path / "picture.png").text["diffused"])["prompt"] == "it's a \"red\" ball $HOME `x`"


INFOTEXT = """a (red:1.2) ball
Negative prompt: dogs, cats
Steps: 12, Sampler: Euler, CFG scale: 4.5, Seed: 77, Size: 128x64, Model: unknown, Note: "a, b" """
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 8, "cfg": 2.5, "sampler_name": "euler", "denoise": 1,
                                               "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 192, "height": 128, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a blue ball", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "rain", "clip": ["4", 1]}},
}


@pytest.mark.parametrize("text, program_name, fields", [
    ({"diffused": json.dumps({"prompt": "a green ball", "seed": 3, "num_inference_steps": 6, "guidance_scale": 5, "width": 64, "height": 128})},
     "this server", {"prompt": "a green ball", "seed": "3", "steps": "6", "guidance": "5", "height": "128"}),
    ({"parameters": INFOTEXT}, "AUTOMATIC1111", {"prompt": "a (red:1.2) ball", "negative_prompt": "dogs, cats", "steps": "12", "guidance": "4.5",
                                                "seed": "77", "width": "128", "syntax": "a1111"}),
    ({"parameters": INFOTEXT.replace("red", "größe")}, "AUTOMATIC1111", {"prompt": "a (größe:1.2) ball"}),
    ({"prompt": json.dumps(GRAPH)}, "ComfyUI", {"prompt": "a blue ball", "negative_prompt": "rain", "steps": "8", "seed": "5", "width": "192"}),
])
def test_a_dropped_picture_fills_the_form(page, text, program_name, fields):
    drop(page, png(**text))
    expect(page.get_by_text(f"in the words of {program_name}").first).to_be_visible()
    for name, value in fields.items():
        expect(page.locator(f"#f-{name}")).to_have_value(value)


def test_a_dropped_picture_that_says_nothing_is_what_an_edit_starts_from(page):
    drop(page, png())
    expect(page.get_by_text("does not say how it was made").first).to_be_visible()
    expect(page.locator(".stage canvas")).to_be_visible()


def test_a_file_of_200_megabytes_is_refused_in_words(page):
    drop(page, name="huge.png", size=200_000_000)
    expect(page.locator("#e-image")).to_contain_text("The picture has 200 MB; the server takes")
    fill_fields(page, steps=2)
    make(page)


@pytest.mark.parametrize("content, media_type, words", [
    (png()[:60], "image/png", "no picture that the browser can read"),
    (png(parameters="x" * 400)[:120] + b"\xff" * 40, "image/png", "no picture that the browser can read"),
    (b"hello", "text/plain", "is no picture"),
    (png()[:33] + zlib.compress(b"0") * 3, "image/png", "no picture that the browser can read"),
])
def test_a_broken_picture_is_refused_in_words(page, content, media_type, words):
    drop(page, content, media_type=media_type)
    expect(page.locator("#e-image")).to_contain_text(words)
