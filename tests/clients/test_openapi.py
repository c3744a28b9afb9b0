"""schemathesis makes requests of every kind out of /openapi.json: no answer is a fault of the server's, and each has the form described."""

import pathlib
import subprocess
import sys

import pytest

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance", "unsupported_method"]


@pytest.fixture(scope="module")
def small_server(serve_names):
    """What it may be asked for at most is made quickly: the requests are many, and some are right."""
    with serve_names("--steps-max", "2", "--side-max", "64", "--n-max", "2") as running:
        yield running


def test_whatever_is_asked_is_answered_as_described(small_server):
    schemathesis = pathlib.Path(sys.executable).with_name("schemathesis")
    settings = pathlib.Path(__file__).with_name("schemathesis.toml")
    done = subprocess.run([schemathesis, "--config-file", settings, "run", small_server.url + "/openapi.json", "--checks", ",".join(CHECKS),
                           "--max-examples", "40", "--seed", "7", "--generation-database", "none", "--request-timeout", "60", "--no-color"],
                          capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert small_server.post({"prompt": "a red balloon", "size": "64x64", "num_inference_steps": 1}).status_code == 200
    assert not any('"handler_fault"' in line for line in small_server.log)
