"""Make: from a newcomer's one click to every setting that a model has."""

import pytest
from conftest import body_of, expect, fill_fields, make, open_make, pictures, program, sent_by, serve, write_lora

ALL = {"width": 128, "height": 64, "steps": 5, "guidance": 3.5, "seed": 7, "n": 2, "shift": 2.5, "format": "webp",
       "prompt": "a red ball\non grass", "negative_prompt": "dogs", "syntax": "a1111"}


def test_a_newcomer_has_the_first_picture_in_one_click(visitor, server):
    page = open_make(visitor(), server.url)
    make(page)
    assert pictures(page).first.evaluate("image => image.naturalWidth") > 0
    assert pictures(page).first.get_attribute("alt") == "a kitten in front of a fireplace"


def test_control_enter_in_the_prompt_sends(page):
    page.locator("#f-prompt").press("Control+Enter")
    expect(pictures(page)).to_have_count(1)


def test_every_setting_reaches_the_request(page):
    fill_fields(page, **ALL)
    sampler = page.locator("#f-scheduler option").nth(1).get_attribute("value")
    fill_fields(page, scheduler=sampler)
    request = body_of(sent_by(page, lambda: page.get_by_role("button", name="Make a picture").click()))
    expect(pictures(page)).to_have_count(2)
    wanted = {"prompt": "a red ball\non grass", "negative_prompt": "dogs", "width": 128, "height": 64, "num_inference_steps": 5,
              "guidance_scale": 3.5, "scheduler": sampler, "seed": 7, "n": 2, "flow_shift": 2.5, "output_format": "webp",
              "prompt_syntax": "a1111", "stream": True, "partial_images": 3}
    assert {name: request.get(name) for name in wanted} == wanted


def test_defaults_are_the_models_and_are_shown(visitor, server):
    page = open_make(visitor(), server.url)
    model = server.get("/v1/models").json()["data"][0]
    assert page.locator("#f-steps").get_attribute("placeholder") == str(model["default_steps"])
    assert page.locator("#f-guidance").get_attribute("placeholder") == f"{model['default_guidance_scale']:g}"
    assert "x".join(page.locator(f"#f-{side}").get_attribute("placeholder") for side in ("width", "height")) == model["default_size"]
    request = body_of(sent_by(page, lambda: page.get_by_role("button", name="Make a picture").click()))
    assert not {"width", "num_inference_steps", "guidance_scale", "seed", "negative_prompt"} & set(request)


def test_a_shape_sets_the_size_and_the_sides_can_be_swapped(page, server):
    multiple = server.get("/v1/models").json()["data"][0]["size_multiple"]
    page.locator("#f-shape").select_option(label=page.locator("#f-shape option").nth(1).inner_text())
    width, height = (int(page.locator(f"#f-{side}").input_value()) for side in ("width", "height"))
    assert width > height and width % multiple == 0 and height % multiple == 0
    page.get_by_role("button", name="Swap width and height").click()
    assert [page.locator(f"#f-{side}").input_value() for side in ("width", "height")] == [str(height), str(width)]


def test_a_fixed_seed_makes_the_same_picture_again(page):
    fill_fields(page, seed=18446744073709551615, steps=3)
    make(page)
    make(page)
    first, second = page.evaluate(PIXELS)
    assert first == second


PIXELS = """() => Promise.all([...document.querySelectorAll(".pictures img")].map(async (image) => {
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL();
}))"""


def test_a_new_seed_makes_another_picture(page):
    fill_fields(page, steps=3)
    make(page)
    make(page)
    first, second = page.evaluate(PIXELS)
    assert first != second


@pytest.mark.parametrize("field, value", [("steps", 9999), ("width", 7), ("n", 0), ("guidance", "much"), ("seed", "x"), ("prompt", "")])
def test_a_field_that_the_server_refuses_is_marked_with_its_words(page, field, value):
    fill_fields(page, **{field: value})
    with page.expect_response("**/v1/images/generations") as answer:
        page.get_by_role("button", name="Make a picture").click()
    said = answer.value.json()["error"]
    control = page.locator(f"#f-{field}")
    expect(control).to_have_attribute("aria-invalid", "true")
    expect(page.locator(f"#e-{field}")).to_have_text(said["message"])
    assert control.get_attribute("aria-describedby") == f"e-{field}"
    expect(control).to_be_focused()


def test_settings_outlive_a_reload_and_go_back_to_the_defaults(page):
    fill_fields(page, steps=9, negative_prompt="rain")
    page.reload()
    expect(page.locator("#f-steps")).to_have_value("9")
    page.get_by_role("button", name="Back to the model's defaults").click()
    expect(page.locator("#f-steps")).to_have_value("")
    expect(page.locator("#f-negative_prompt")).to_have_value("")


def test_words_of_a_prompt_are_never_run(page):
    evil = '<img src=x onerror="window.violations.push(1)"><script>window.violations.push(2)</script>'
    fill_fields(page, prompt=evil, steps=2)
    make(page)
    assert pictures(page).first.get_attribute("alt") == evil


def open_as(visitor, server, **facts):
    """The first page of a server whose model is another in these respects."""
    one = visitor()

    def answer(route):
        listed = server.get("/v1/models").json()
        for model in listed["data"]:
            model.update(facts)
        route.fulfill(json=listed)

    one.context.route("**/v1/models", answer)
    return open_make(one, server.url)


def test_a_model_without_a_negative_prompt_shows_none(visitor, server):
    page = open_as(visitor, server, true_cfg_scale=True)
    expect(page.locator("#f-steps")).to_be_visible()
    expect(page.locator("#f-negative_prompt")).to_have_count(0)
    fill_fields(page, true_cfg=2)
    fill_fields(page, negative_prompt="dogs", steps=2, width=64, height=64)
    request = body_of(sent_by(page, lambda: page.get_by_role("button", name="Make a picture").click()))
    assert request["true_cfg_scale"] == 2 and request["negative_prompt"] == "dogs"
    expect(pictures(page)).to_have_count(1)
    fill_fields(page, true_cfg="")
    expect(page.locator("#f-negative_prompt")).to_have_count(0)
    request = body_of(sent_by(page, lambda: page.get_by_role("button", name="Make a picture").click()))
    assert not {"true_cfg_scale", "negative_prompt"} & set(request)


def test_a_model_that_works_without_guidance_has_a_negative_prompt_with_it(visitor, server):
    page = open_as(visitor, server, default_guidance_scale=0)
    expect(page.locator("#f-steps")).to_be_visible()
    expect(page.locator("#f-negative_prompt")).to_have_count(0)
    fill_fields(page, guidance=4)
    expect(page.locator("#f-negative_prompt")).to_be_visible()
    expect(page.locator("#f-true_cfg")).to_have_count(0)


def test_models_and_loras_are_offered_where_there_are_several(visitor, tmp_path):
    for name in ("ink", "paper"):
        write_lora(tmp_path / "loras" / f"{name}.safetensors")
    second = f"second={program.DEMO}"
    with serve(tmp_path / "data", second, "--loras", str(tmp_path / "loras"), model=f"first={program.DEMO}") as server:
        page = open_make(visitor(), server.url)
        fill_fields(page, model="second", steps=2)
        page.get_by_role("button", name="Add a LoRA").click()
        page.get_by_label("LoRA 1", exact=True).select_option("paper")
        page.get_by_label("Weight of LoRA 1").fill("0.6")
        request = body_of(sent_by(page, lambda: page.get_by_role("button", name="Make a picture").click()))
        assert request["model"] == "second" and request["loras"] == [{"name": "paper", "weight": 0.6}]
        expect(pictures(page)).to_have_count(1)
