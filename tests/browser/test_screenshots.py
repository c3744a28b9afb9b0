"""The pictures in README.md. DIFFUSED_SCREENSHOTS=docs/images ./dev test browser makes them anew."""

import os
import pathlib

import pytest
from conftest import ROOT, expect, fill_fields, make, open_first, open_make, pictures
from PIL import Image
from test_edit import drag
from test_watch import press_make

PROMPTS = ["a kitten in front of a fireplace", "a red boat on the sea at sunset", "a white rabbit in the snow",
           "a blue robot in the city at night", "a yellow balloon over a meadow", "a green house in the forest"]


@pytest.fixture
def shots(visitor, server):
    one = visitor(viewport={"width": 1280, "height": 860}, color_scheme="light")
    page = open_make(one, server.url)
    fill_fields(page, steps=12)
    for seed, prompt in enumerate(PROMPTS):
        fill_fields(page, prompt=prompt, seed=seed)
        make(page)
    return page


def keep(page, name, tmp_path):
    """Writes the screenshot, and holds the README's against it in size."""
    folder = pathlib.Path(os.environ.get("DIFFUSED_SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / name, type="jpeg", quality=85)
    shown = ROOT / "docs/images" / name
    assert f"docs/images/{name}" in (ROOT / "README.md").read_text()
    assert Image.open(shown).size == Image.open(folder / name).size
    assert shown.stat().st_size < 250_000


def test_the_page_while_a_picture_forms(shots, tmp_path):
    fill_fields(shots, prompt="a brown puppy on the beach", seed=42, steps=60, n=3)
    press_make(shots)
    expect(shots.locator(".strip img")).to_have_count(3)
    keep(shots, "page_make.jpg", tmp_path)
    shots.get_by_role("button", name="Cancel").click()
    expect(shots.locator(".told")).to_have_text("Cancelled.")


def test_a_mask_and_what_became_of_it(shots, tmp_path):
    open_first(shots).get_by_role("button", name="Edit").click()
    expect(shots.locator(".stage canvas")).to_be_visible()
    fill_fields(shots, prompt="a red house in the forest", seed=3, strength=1)
    shots.get_by_role("button", name="Rectangle").click()
    drag(shots, (0.15, 0.33), (0.95, 0.94))
    make_edit = shots.get_by_role("button", name="Change the picture")
    make_edit.click()
    expect(pictures(shots)).to_have_count(len(PROMPTS) + 1)
    make_edit.scroll_into_view_if_needed()
    keep(shots, "page_edit.jpg", tmp_path)
