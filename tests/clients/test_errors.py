"""An error reaches each client's user as that client's own exception, with the server's words in it."""

import pytest
from client import ClientError
from test_clients import EDIT, EXTRA, LONG, SMALL, clients

# What the official clients call these, and litellm where it has its own words; the other clients have one class for all.
KINDS = {400: {"BadRequestError"}, 401: {"AuthenticationError"}, 404: {"NotFoundError"}, 413: {"APIError"}, 429: {"RateLimitError"},
         503: {"InternalServerError", "ServiceUnavailableError"}, 504: {"InternalServerError", "Timeout"}}
ANY_STATUS = {"APICallError", "CurlError"}

MISTAKES = {
    "size": ({"size": "100x"}, 400, "invalid_value"),
    "prompt": ({"prompt": ""}, 400, "invalid_value"),
    "model": ({"model": "nothing"}, 404, "model_not_found"),
    None: ({"prompt": "long " * 500_000}, 413, "request_too_large"),
}


def assert_raises(client, action, status, code, params=(None,), **options) -> None:
    with pytest.raises(ClientError) as raised:
        client(action, **options)
    error = raised.value
    assert error.status == status, error
    assert (KINDS[status] | ANY_STATUS) & set(error.kinds), error.kinds
    if "code" not in client.client.cannot:
        assert error.code == code and error.param in params, vars(error)


@clients()
@pytest.mark.parametrize("param", MISTAKES, ids=lambda param: param or "body")
def test_a_mistake(client, served, param):
    wrong, status, code = MISTAKES[param]
    assert_raises(client, "generate", status, code, [param], server=served.url, request={**SMALL, **wrong}, extra=EXTRA)


@clients("edit")
def test_an_upload_that_is_no_picture(client, served, files):
    (files / "text.png").write_text("no picture")
    assert_raises(client, "edit", 400, "invalid_image_file", ["image", "image[]"], server=served.url, request=EDIT, extra=EXTRA,
                  images=[str(files / "text.png")])


@clients("list", "one_model")
def test_a_model_that_is_not_served(client, served):
    assert_raises(client, "model", 404, "model_not_found", ["model"], server=served.url, name="nothing")


@clients()
def test_a_wrong_key(client, keyed_server, on_a_wire):
    assert_raises(client, "generate", 401, "invalid_api_key", server=on_a_wire(keyed_server).url, key="sk-wrong", request=SMALL, extra={})


@clients()
def test_a_name_that_the_keys_holder_has_for_a_model(client, keyed_server, on_a_wire):
    request = {**SMALL, "model": "painter"}
    got = client("generate", server=on_a_wire(keyed_server).url, key=keyed_server.key, request=request, extra=EXTRA)
    assert len(got["pictures"]) == 1


@clients("url")
def test_the_right_key_and_a_picture_whose_url_needs_none(client, keyed_server, on_a_wire):
    request = {**SMALL, "response_format": "url"}
    got = client("generate", server=on_a_wire(keyed_server).url, key=keyed_server.key, request=request, extra=EXTRA)
    assert len(got["pictures"]) == 1


@clients("no_retry")
def test_a_full_queue(client, full_server, on_a_wire):
    assert_raises(client, "generate", 429, "queue_full", server=on_a_wire(full_server).url, request=SMALL, extra={})


@pytest.fixture(scope="module")
def hasty_server(serve_names):
    with serve_names("--request-timeout", "1") as running:
        yield running


@clients()
def test_a_deadline(client, hasty_server, on_a_wire):
    served = on_a_wire(hasty_server)
    assert_raises(client, "generate", 504, "deadline_exceeded", server=served.url, **LONG)
    assert [exchange.headers["x-should-retry"] for exchange in served.wire.exchanges()] == ["false"]


@clients("stream")
def test_an_error_in_the_middle_of_a_stream(client, hasty_server, on_a_wire):
    served = on_a_wire(hasty_server)
    with pytest.raises(ClientError) as raised:
        client("stream", server=served.url, **LONG)
    assert (raised.value.type, raised.value.code) == ("server_error", "deadline_exceeded"), raised.value
    assert [exchange.status for exchange in served.wire.exchanges()] == [200]


@clients("no_retry")
def test_a_server_that_is_about_to_end(client, draining_server, on_a_wire):
    assert_raises(client, "generate", 503, "draining", server=on_a_wire(draining_server).url, request=SMALL, extra={})
