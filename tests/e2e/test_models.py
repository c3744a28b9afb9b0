"""Several models in one server, by name, alias and percent-encoded id."""

import pytest
from conftest import DEMO, run_program, serve

GOOD = {"prompt": "a red balloon", "num_inference_steps": 1, "size": "64x64"}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("two"), f"org/other:tag={DEMO}", "--alias", "dall-e-3", "--alias", "gpt-image-1=org/other:tag",
               "--b64-model-prefix", "org/") as running:
        yield running


def test_each_is_listed_with_its_aliases(two):
    ids = [model["id"] for model in two.get("/v1/models").json()["data"]]
    assert ids == ["demo", "dall-e-3", "org/other:tag", "gpt-image-1"]


@pytest.mark.parametrize("path", ["org%2Fother:tag", "org/other:tag", "org%2Fother%3Atag"])
def test_an_id_may_be_percent_encoded(two, path):
    assert two.get("/v1/models/" + path).json()["id"] == "org/other:tag"


@pytest.mark.parametrize(("asked", "used"), [(None, "demo"), ("demo", "demo"), ("dall-e-3", "demo"), ("org/other:tag", "org/other:tag"),
                                             ("gpt-image-1", "org/other:tag")])
def test_a_request_names_its_model(two, asked, used):
    reply = two.post({**GOOD, "model": asked})
    assert reply.json()["model"] == used
    assert ("b64_json" if asked == "org/other:tag" else "url") in reply.json()["data"][0]


def test_an_unknown_name_is_answered_with_what_there_is(two):
    reply = two.post({**GOOD, "model": "dall-e-9"})
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"
    assert "demo" in reply.json()["error"]["message"] and "org/other:tag" in reply.json()["error"]["message"]


def test_an_unknown_name_is_the_only_models(server):
    assert server.post({**GOOD, "model": "dall-e-9"}).json()["model"] == "demo"


@pytest.mark.parametrize("options", [[str(DEMO)], ["--alias", "x=nobody"]])
def test_names_that_do_not_fit_are_refused_at_the_start(options):
    refused = run_program("serve", DEMO, "--port", "0", *options)
    assert refused.returncode == 2 and refused.stderr.splitlines()[-1].startswith("diffused: ")
