"""Edit: a picture is chosen, dropped or pasted, a mask is painted, and the result stands beside what it came from."""

import io

import numpy
import pytest
from conftest import expect, fill_fields, make, open_first, open_make, parts_of_last_form, pictures, sent_by
from PIL import Image
from test_keep import drop, png

SIZE = (128, 96)


@pytest.fixture
def edit(page):
    """A page with a picture to start from."""
    page.locator("input[type=file]").first.set_input_files({"name": "start.png", "mimeType": "image/png", "buffer": png(SIZE)})
    expect(page.locator(".stage canvas")).to_be_visible()
    fill_fields(page, steps=2)
    page.get_by_label("Feather").fill("0")
    return page


def send_edit(page):
    """The parts of the form that pressing the button sends."""
    count = pictures(page).count()
    sent_by(page, lambda: page.get_by_role("button", name="Change the picture").click(), "**/v1/images/edits")
    expect(pictures(page)).to_have_count(count + 1)
    return parts_of_last_form(page)


def mask_of(parts):
    image = Image.open(io.BytesIO(parts["mask"]))
    assert image.size == SIZE
    return numpy.asarray(image.convert("L"))


def drag(page, *places):
    """Moves the pressed pointer over places, in shares of the picture's sides."""
    canvas = page.locator(".stage canvas")
    canvas.evaluate("element => element.scrollIntoView({ block: 'center' })")
    box = canvas.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def test_a_mask_that_is_brushed_is_found_in_the_request(edit):
    drag(edit, (0.25, 0.5), (0.75, 0.5))
    mask = mask_of(send_edit(edit))
    assert mask[48, 32:96].min() == 255, "along the stroke"
    assert mask[:30].max() == 0 and mask[66:].max() == 0, "beside it"
    assert 0.03 < (mask > 127).mean() < 0.2


def test_without_a_mask_none_is_sent_and_strength_is(edit):
    edit.locator("#f-strength").fill("0.4")
    parts = send_edit(edit)
    assert "mask" not in parts and parts["strength"] == b"0.4"
    assert Image.open(io.BytesIO(parts["image[]"])).size == SIZE


def test_rectangle_eraser_inversion_and_undo(edit):
    edit.get_by_role("button", name="Rectangle").click()
    drag(edit, (0.02, 0.02), (0.5, 0.98))
    edit.get_by_role("button", name="Eraser").click()
    drag(edit, (0.05, 0.5), (0.45, 0.5))
    edit.get_by_role("button", name="Invert").click()
    mask = mask_of(send_edit(edit))
    assert mask[10, 20] == 0 and mask[48, 32] == 255 and mask[10, 100] == 255
    for _ in range(2):
        edit.get_by_role("button", name="Undo").click()
    mask = mask_of(send_edit(edit))
    assert mask[10, 20] == 255 and mask[48, 32] == 255 and mask[10, 100] == 0
    edit.get_by_role("button", name="Redo").click()
    assert mask_of(send_edit(edit))[48, 32] == 0
    edit.get_by_role("button", name="Clear").click()
    assert "mask" not in send_edit(edit)


def test_feather_softens_the_edge(edit):
    edit.get_by_label("Feather").fill("16")
    edit.get_by_role("button", name="Rectangle").click()
    drag(edit, (0.02, 0.02), (0.5, 0.98))
    row = mask_of(send_edit(edit))[48].astype(int)
    assert row[32] > 250 and row[120] == 0 and 100 < row[64] < 155
    assert len({value for value in row if 0 < value < 255}) > 5


def test_what_the_mask_keeps_is_kept_to_the_pixel(edit):
    fill_fields(edit, width=SIZE[0], height=SIZE[1])
    drag(edit, (0.6, 0.5), (0.8, 0.5))
    send_edit(edit)
    pixels = numpy.array(edit.evaluate(PIXELS_OF_FIRST)).reshape(SIZE[1], SIZE[0], 4)
    assert (pixels[:, :60, :3] == (200, 30, 30)).all(), "beside the stroke"
    assert (pixels[48, 80:100, :3] != (200, 30, 30)).any(), "under it"
    with edit.expect_download() as download:
        open_first(edit).get_by_role("link", name="Download").click()
    assert "diffused" in Image.open(download.value.path()).text


PIXELS_OF_FIRST = """async () => {
  const image = document.querySelector(".pictures img");
  await image.decode();
  const context = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
  context.drawImage(image, 0, 0);
  return Array.from(context.getImageData(0, 0, image.naturalWidth, image.naturalHeight).data);
}"""


def test_the_keyboard_alone_paints(edit):
    canvas = edit.locator(".stage canvas")
    canvas.focus()
    for _ in range(4):
        edit.keyboard.press("ArrowLeft")
    edit.keyboard.press("Space")
    for _ in range(3):
        edit.keyboard.press("Shift+ArrowDown")
    edit.keyboard.press("Enter")
    mask = mask_of(send_edit(edit))
    assert mask[48, 41] == 255 and mask[48, 80] == 0
    canvas.focus()
    edit.keyboard.press("e")
    expect(edit.get_by_role("button", name="Eraser")).to_have_attribute("aria-pressed", "true")
    edit.keyboard.press("Control+z")
    edit.keyboard.press("Control+z")
    assert "mask" not in send_edit(edit)


def test_fingers_paint_and_pinch(visitor, server):
    one = visitor(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = open_make(one, server.url)
    fill_fields(page, steps=2, width=64, height=64)
    page.locator("input[type=file]").first.set_input_files({"name": "start.png", "mimeType": "image/png", "buffer": png(SIZE)})
    canvas = page.locator(".stage canvas")
    expect(canvas).to_be_visible()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    touch = one.context.new_cdp_session(page)

    def fingers(kind, *places):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i} for i, (x, y) in enumerate(places)]})

    fingers("touchStart", (0.2, 0.5))
    fingers("touchMove", (0.5, 0.5))
    fingers("touchMove", (0.8, 0.5))
    fingers("touchEnd")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    fingers("touchStart", (0.4, 0.5))
    fingers("touchStart", (0.4, 0.5), (0.6, 0.5))
    fingers("touchMove", (0.3, 0.5), (0.7, 0.5))
    fingers("touchEnd")
    assert float(page.get_by_label("Zoom").input_value()) > 1.5
    mask = mask_of(send_edit(page))
    assert mask[48, 64] > 200 and mask[10].max() == 0


def test_a_pasted_picture_is_taken(page):
    page.evaluate("""async () => {
      const blob = await new Promise((done) => document.createElement("canvas").toBlob(done));
      const data = new DataTransfer();
      data.items.add(new File([blob], "pasted.png", { type: "image/png" }));
      dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    }""")
    expect(page.locator(".source")).to_contain_text("300×150")


def test_the_result_stands_beside_the_original_with_a_slider(edit):
    send_edit(edit)
    viewer = open_first(edit)
    slider = viewer.get_by_label("Before and after")
    slider.fill("20")
    assert viewer.locator(".compare").evaluate("element => element.style.getPropertyValue('--at')") == "20%"
    expect(viewer.get_by_alt_text("Before", exact=True)).to_be_visible()
    expect(viewer.locator("#code")).to_contain_text("image=@picture.png")


def test_a_picture_of_the_gallery_is_edited(page):
    fill_fields(page, steps=2)
    make(page)
    open_first(page).get_by_role("button", name="Edit").click()
    expect(page.locator(".stage canvas")).to_be_visible()
    drag(page, (0.4, 0.4), (0.6, 0.6))
    parts = send_edit(page)
    assert parts["mask"] and parts["mask_mode"] == b"luminance"


def test_another_picture_begins_a_new_mask(edit):
    drag(edit, (0.25, 0.5), (0.75, 0.5))
    drop(edit, png((64, 64), (0, 0, 200)))
    expect(edit.locator(".source")).to_contain_text("64×64")
    expect(edit.get_by_role("button", name="Undo")).to_be_disabled()
    edit.get_by_role("button", name="Without a picture").click()
    expect(edit.get_by_role("button", name="Make a picture")).to_be_visible()
