"""A client's mistake is answered with what is wrong and where; the next good request works."""

import json
import socket

import pytest
import requests

GOOD = {"prompt": "a red balloon at the beach", "num_inference_steps": 1, "response_format": "b64_json"}

MISTAKES = [
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": "a" * 100_000}, "prompt"),
    ({"prompt": 7}, "prompt"),
    *[({**GOOD, "n": n}, "n") for n in (0, -1, "2", 10**9, 1.5)],
    *[({**GOOD, "size": size}, "size") for size in ("axb", "0x0", "99999x99999", "257x256", "256", 256)],
    *[({**GOOD, "num_inference_steps": steps}, "num_inference_steps") for steps in (0, -4, 10**6, "many")],
    ({"prompt": "x", "steps": 0}, "steps"),
    ({**GOOD, "guidance_scale": "strong"}, "guidance_scale"),
    ({**GOOD, "seed": -5}, "seed"),
    ({**GOOD, "seed": "x"}, "seed"),
    ({**GOOD, "response_format": "fax"}, "response_format"),
    ({**GOOD, "output_format": "bmp"}, "output_format"),
    ({**GOOD, "scheduler": "NoSuchScheduler"}, "scheduler"),
    ({**GOOD, "prompt_syntax": "compel"}, "prompt_syntax"),
    ({**GOOD, "prompt_syntax": "a1111", "prompt": "a (kitten:1000)"}, "prompt"),
    ({**GOOD, "prompt_syntax": "a1111", "prompt": "(" * 3000 + "a"}, "prompt"),
    ({**GOOD, "prompt_syntax": "a1111", "negative_prompt": "(" * 3000 + "a"}, "negative_prompt"),
    ({**GOOD, "prompt_syntax": "a1111", "prompt": "BREAK " * 100}, "prompt"),
]


def assert_error(reply, status, param):
    assert reply.status_code == status, (reply.status_code, reply.text)
    assert reply.headers["content-type"].startswith("application/json")
    error = reply.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"} and error["message"]
    if param is not None:
        assert error["param"] == param, error


@pytest.mark.parametrize(("body", "param"), MISTAKES, ids=[json.dumps(body)[:60] for body, _ in MISTAKES])
def test_a_wrong_field_is_named(server, body, param):
    assert_error(server.post(body), 400, param)


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"text"', b'{"prompt": "a", }', b'{"prompt": "\xff\xfe"}', b"[" * 10_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"prompt": "a", "guidance_scale": NaN}',
], ids=["empty", "cut off", "array", "text", "trailing comma", "invalid UTF-8", "deep array", "deep object", "NaN"])
def test_a_body_that_is_no_json_object_is_refused(server, body):
    reply = requests.post(server.url + "/v1/images/generations", data=body, headers={"content-type": "application/json"}, timeout=30)
    assert_error(reply, 400, None)


def test_routes_methods_and_sizes_are_refused_in_the_same_form(server):
    assert_error(server.get("/v1/nothing"), 404, None)
    assert_error(requests.delete(server.url + "/v1/images/generations", timeout=10), 405, None)
    assert_error(server.get("/images/img_00000000000000000000000000000000.png"), 404, None)
    assert_error(server.get("/images/..%2f..%2fetc%2fpasswd"), 400 if "%2f" else 404, None)
    big = requests.post(server.url + "/v1/images/generations", data=b" " * (3 << 20), headers={"content-type": "application/json"}, timeout=30)
    assert_error(big, 413, None)


def test_text_plain_is_not_json(server):
    reply = requests.post(server.url + "/v1/images/generations", data=json.dumps(GOOD), headers={"content-type": "text/plain"}, timeout=10)
    assert_error(reply, 415, None)


def test_unknown_fields_are_ignored_and_null_is_absent(server):
    reply = server.post({**GOOD, "nonsense": {"a": 1}, "size": None, "n": None, "seed": None, "style": "vivid", "user": "me"})
    assert reply.status_code == 200, reply.text


def test_after_all_mistakes_a_good_request_works(server):
    for body, _ in MISTAKES:
        server.post(body)
    with socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=5) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00\x01nonsense\r\n\r\n")
        raw.recv(1000)
    assert server.post(GOOD).status_code == 200
    assert server.process.poll() is None
