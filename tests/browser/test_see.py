"""See: what the server is doing, for those with a key and for operators; and the documentation that can be tried."""

import re

from conftest import expect, fill_fields, make, open_make, program, serve, slow
from test_watch import open_with_key, press_make


def test_status_shows_models_work_and_the_last_hour(visitor, server):
    one = visitor()
    page = open_make(one, server.url)
    fill_fields(page, steps=8)
    make(page)
    slow(page)
    press_make(page)
    expect(page.locator(".told")).to_contain_text("Step")
    status = one.open(server.url, "/status")
    expect(status.get_by_role("region", name="Models")).to_contain_text("loaded")
    expect(status.get_by_role("region", name="Work of everybody").get_by_role("progressbar")).to_be_visible()
    expect(status.get_by_role("figure", name=re.compile("Steps a second: at most [1-9]"))).to_be_visible()
    expect(status.get_by_role("region", name="Now")).to_contain_text("a request takes")
    expect(status.get_by_role("region", name="Checks")).to_contain_text("picture store")
    page.get_by_role("button", name="Cancel").click()
    expect(status.get_by_role("region", name="Work of everybody")).to_contain_text("Nothing runs")


def test_a_key_shows_ones_own_work_and_an_operators_key_everybodys(visitor, tmp_path):
    keys = tmp_path / "keys"
    anna, berta, boss = program.make_key(keys, "anna"), program.make_key(keys, "berta"), program.make_key(keys, "boss", "--operator")
    with serve(tmp_path / "data", "--api-keys", str(keys)) as server:
        page = open_with_key(visitor(), server.url, anna)
        slow(page)
        press_make(page)
        expect(page.locator(".told")).to_contain_text("Step")
        hers = open_with_key(visitor(), server.url, berta, "/status")
        expect(hers.get_by_role("region", name="Your work")).to_contain_text("Nothing runs")
        everybodys = open_with_key(visitor(), server.url, boss, "/status")
        expect(everybodys.get_by_role("region", name="Work of everybody")).to_contain_text("anna")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".told")).to_have_text("Cancelled.")


def test_an_operator_unloads_loads_and_pins_a_model(visitor, tmp_path):
    with serve(tmp_path, "--memory-budget", "1GB") as server:
        page = visitor().open(server.url, "/status")
        models = page.get_by_role("region", name="Models")
        models.get_by_role("button", name=re.compile("^Unload")).click()
        expect(models).to_contain_text("unloaded")
        models.get_by_role("button", name=re.compile("^Load")).click()
        expect(models.get_by_role("button", name=re.compile("^Unload"))).to_be_visible()
        models.get_by_role("button", name=re.compile("^Pin")).click()
        expect(models).to_contain_text("loaded, pinned")
        models.get_by_role("button", name=re.compile("^Unload")).click()
        expect(page.get_by_role("status")).to_have_text("the model is pinned: unpin it first")


def test_an_endpoint_is_tried_from_its_documentation(visitor, server):
    page = visitor().open(server.url, "/docs")
    form = page.get_by_role("form", name="Try post /v1/images/generations")
    page.locator("[id='post/v1/images/generations'] > summary").click()
    form.get_by_label("Body").fill('{"prompt": "a ball", "num_inference_steps": 2, "response_format": "b64_json"}')
    form.get_by_role("button", name="Try it").click()
    expect(form.get_by_role("status")).to_contain_text("200")
    expect(form.get_by_alt_text("The picture that was answered")).to_be_visible()
    form.get_by_label("Body").fill('{"prompt": "a ball", "stream": true, "num_inference_steps": 2}')
    form.get_by_role("button", name="Try it").click()
    expect(form.locator("pre").last).to_contain_text("image_generation.completed")
    form.get_by_label("Body").fill('{"prompt": ""}')
    form.get_by_role("button", name="Try it").click()
    expect(form.get_by_role("status")).to_contain_text("400")


def test_every_endpoint_has_a_form_to_try_it(visitor, server):
    page = visitor().open(server.url, "/docs")
    page.locator(".operation").first.wait_for()
    count = page.locator(".operation").count()
    described = server.get("/openapi.json").json()["paths"]
    assert count == sum(len(methods) for methods in described.values())
    page.evaluate("for (const one of document.querySelectorAll('.operation')) one.open = true")
    expect(page.get_by_role("button", name="Try it")).to_have_count(count)


def test_every_endpoint_answers_when_it_is_tried_as_it_stands(visitor, tmp_path):
    """Nothing is filled in but what a path names; what the forms hold is enough for the rest."""
    with serve(tmp_path, "--memory-budget", "1GB") as server:
        picture = server.post({"prompt": "a ball", "num_inference_steps": 2, "response_format": "url"}).json()["data"][0]["url"]
        done, long = (server.post({"prompt": "a ball", "num_inference_steps": steps, "background_job": True, "n": n}).json()["id"]
                      for steps, n in ((2, 1), (200, 4)))
        program.wait_until(lambda: server.get(f"/v1/images/jobs/{done}").json()["status"] == "completed")
        model = server.get("/v1/models").json()["data"][0]["id"]
        named = {"/v1/images/jobs/{id}/cancel": {"id": long}, "/images/{file}": {"file": picture.rsplit("/", 1)[1]}, "/pages/{path}": {"path": "make.js"}}
        page = visitor().open(server.url, "/docs")
        page.locator(".operation").first.wait_for()
        page.evaluate("for (const one of document.querySelectorAll('.operation')) one.open = true")
        operations = [(method, path) for path, methods in server.get("/openapi.json").json()["paths"].items() for method in methods]
        refused = []
        for method, path in sorted(operations, key=lambda one: one[0] == "delete"):
            form = page.get_by_role("form", name=f"Try {method} {path}", exact=True)
            values = named.get(path, {"id": done if "/jobs/" in path else model, "change": "load"})
            for name in re.findall(r"{(\w+)}", path):
                form.locator(f"[name='path {name}']").fill(values[name])
            form.get_by_role("button", name="Try it").click()
            said = form.get_by_role("status")
            expect(said).to_contain_text(re.compile(r"^(\d|No answer)"))
            if not said.inner_text().startswith("2"):
                refused.append(f"{method} {path}: {said.inner_text()} {form.locator('pre').last.inner_text()[:200]}")
        assert not refused, "\n".join(refused)


def test_a_parameter_of_a_path_is_filled_in(visitor, server):
    page = visitor().open(server.url, "/docs#get/v1/models/{id}")
    form = page.get_by_role("form", name="Try get /v1/models/{id}")
    form.get_by_label(re.compile("^id")).fill("nobody/nothing")
    form.get_by_role("button", name="Try it").click()
    expect(form.get_by_role("status")).to_contain_text("404")
