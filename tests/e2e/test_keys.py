"""API keys from the file to the request, and who may reach a server that has none."""

import base64
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess

import pytest
import requests
from conftest import DEMO, PROGRAM, make_key, run_program, serve, wait_until

GOOD = {"prompt": "a red balloon", "num_inference_steps": 1, "size": "64x64"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A server with keys, and the key of one user."""
    folder = tmp_path_factory.mktemp("keyed")
    key = make_key(folder / "keys", "anna")
    make_key(folder / "keys", "berta")
    assert key not in (folder / "keys").read_text()
    with serve(folder / "data", "--api-keys", str(folder / "keys")) as running:
        yield running, key


def test_work_needs_a_key_and_its_picture_does_not(keyed):
    server, key = keyed
    refused = server.post(GOOD)
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert server.post(GOOD, headers={"Authorization": f"Bearer {key}x"}).status_code == 401
    made = server.post(GOOD, headers={"Authorization": f"Bearer {key}"})
    assert made.status_code == 200, made.text
    assert requests.get(made.json()["data"][0]["url"], timeout=10).headers["content-type"] == "image/png"
    assert server.get("/v1/models", headers={"api-key": key}).status_code == 200
    basic = base64.b64encode(f"me:{key}".encode()).decode()
    assert server.get("/v1/models", headers={"Authorization": f"Basic {basic}"}).status_code == 401


@pytest.mark.parametrize("path", ["/v1/models", "//v1/models", "/models", "/v1/./models", "/v1/models?key=x", "/v1/models/demo", "/metrics"])
def test_no_spelling_of_a_path_gets_past_the_key(keyed, path):
    server, _ = keyed
    with requests.Session() as session:
        request = requests.Request("GET", server.url + "/x").prepare()
        request.url = server.url + path
        assert session.send(request, timeout=10).status_code in (400, 401, 404)


@pytest.mark.parametrize("path", ["/", "/livez", "/health"])
def test_pages_and_signs_of_life_are_open(keyed, path):
    assert keyed[0].get(path).status_code == 200


def test_keys_are_not_logged(keyed):
    server, key = keyed
    server.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert key not in "".join(server.log)


def test_the_key_file_is_read_again_at_a_signal(tmp_path):
    """A key that is added counts, one that is taken out does not; of a damaged file nothing is taken."""
    old = make_key(tmp_path / "keys", "anna")
    with serve(tmp_path / "data", "--api-keys", str(tmp_path / "keys")) as server:
        def statuses(*keys):
            return [server.get("/v1/models", headers={"api-key": key}).status_code for key in keys]

        def reload(event):
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: any(f'"{event}"' in line for line in server.log))

        assert statuses(old) == [200]
        (tmp_path / "keys").write_text("no keys\n")
        reload("keys_kept")
        assert statuses(old) == [200]
        (tmp_path / "keys").unlink()
        new = make_key(tmp_path / "keys", "berta")
        reload("keys_reloaded")
        assert statuses(old, new) == [401, 200]


def test_a_key_file_that_cannot_be_read_leaves_the_old_keys(tmp_path):
    file = tmp_path / "keys"
    key = make_key(file, "anna")
    whole = file.read_text()
    with serve(tmp_path / "data", "--api-keys", str(file)) as server:
        def hang_up(event):
            before = len([line for line in server.log if f'"{event}"' in line])
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len([line for line in server.log if f'"{event}"' in line]) > before)

        spoilt = [lambda: None, file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to("/dev/zero"),
                  lambda: file.write_text(whole[:-1]), lambda: file.write_text(whole[:40] + "\n"), lambda: file.write_text("")]
        for spoil in spoilt:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
            spoil()
            hang_up("keys_kept")
            assert server.get("/v1/models", headers={"api-key": key}).status_code == 200
        file.write_text(whole)
        hang_up("keys_reloaded")
        assert server.stop() == 0


def test_a_signal_while_a_model_is_loading_is_kept_for_later(tmp_path):
    old = make_key(tmp_path / "keys", "anna")
    process = subprocess.Popen([str(PROGRAM), "serve", str(DEMO), "--port", "0", "--data-dir", str(tmp_path / "data"), "--api-keys",
                                str(tmp_path / "keys")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        log = iter(process.stderr.readline, "")
        # It is told of once the program does not die of it.
        wait_until(lambda: int(re.search(r"SigCgt:\s+(\w+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1], 16) & 1)
        (tmp_path / "keys").unlink()
        new = make_key(tmp_path / "keys", "berta")
        process.send_signal(signal.SIGHUP)
        url = next(line.split()[-1] for line in process.stdout if line.startswith("listening on "))
        assert next(line for line in log if '"keys_reloaded"' in line)
        assert [requests.get(url + "/v1/models", headers={"api-key": key}, timeout=10).status_code for key in (old, new)] == [401, 200]
    finally:
        process.kill()
        process.wait()


def test_a_new_certificate_is_served_after_a_signal_and_half_of_one_is_not(tmp_path):
    def make(name):
        run = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost",
               "-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.crt")]
        subprocess.run(run, check=True, capture_output=True)

    make("used")
    make("next")
    with serve(tmp_path / "data", "--tls-cert", str(tmp_path / "used.crt"), "--tls-key", str(tmp_path / "used.key")) as server:
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))

        def signal_and_look(event):
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: any(f'"{event}"' in line for line in server.log))
            return ssl.get_server_certificate(address)

        before = ssl.get_server_certificate(address)
        shutil.copy(tmp_path / "next.crt", tmp_path / "used.crt")
        assert signal_and_look("certificate_kept") == before
        shutil.copy(tmp_path / "next.key", tmp_path / "used.key")
        assert signal_and_look("certificate_reloaded") == (tmp_path / "next.crt").read_text()


def test_a_keys_priority_puts_its_background_jobs_first(tmp_path):
    low, high = (make_key(tmp_path / "keys", name, "--priority", priority) for name, priority in [("night", "-1"), ("boss", "1")])
    with serve(tmp_path / "data", "--api-keys", str(tmp_path / "keys"), "--background-running-max", "1") as server:
        def job(key, **fields):
            reply = server.post({**GOOD, "background_job": True, **fields}, headers={"api-key": key})
            assert reply.status_code == 202, reply.text
            return reply.json()

        def show(key, shown):
            return server.get(f"/v1/images/jobs/{shown['id']}", headers={"api-key": key}).json()

        busy = job(low, num_inference_steps=200, size="256x256", n=8)
        wait_until(lambda: show(low, busy)["status"] == "in_progress", 60)
        waiting = job(low)
        first = job(high)
        assert (show(high, first)["queue_position"], show(low, waiting)["queue_position"]) == (0, 1)
        cancelled = server.post({}, f"/v1/images/jobs/{busy['id']}/cancel", headers={"api-key": low})
        assert cancelled.status_code == 200
        wait_until(lambda: show(low, waiting)["status"] == "completed", 60)
        assert show(high, first)["completed_at"] <= show(low, waiting)["started_at"]


def test_a_priority_that_is_none_is_refused(tmp_path):
    assert run_program("key", "anna", "--priority", "101").returncode == 2
    key = run_program("key", "anna", "--priority", "100")
    assert key.stdout.endswith(" priority=100\n")
    (tmp_path / "keys").write_text(key.stdout.replace("100", "1e2"))
    refused = run_program("serve", DEMO, "--port", "0", "--api-keys", tmp_path / "keys")
    assert refused.returncode == 2 and "line 1" in refused.stderr


@pytest.mark.parametrize("options", [
    ["--host", "0.0.0.0"], ["--host", "::"], ["--tls-cert", "x.pem"], ["--api-keys", "/nonexistent"], ["--public-url", "example.com"],
    ["--any-host"], ["--any-host", "--host", "0.0.0.0", "--allow-anonymous"],
])
def test_a_server_that_would_not_be_safe_does_not_start(options):
    refused = run_program("serve", DEMO, "--port", "0", *options)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "diffused: " in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr


def test_a_key_file_with_a_plain_key_is_refused_without_printing_it(tmp_path):
    (tmp_path / "keys").write_text("anna sk-secret\n")
    refused = run_program("serve", DEMO, "--port", "0", "--api-keys", tmp_path / "keys")
    assert refused.returncode == 2 and "line 1" in refused.stderr and "sk-secret" not in refused.stderr


def test_anonymous_users_from_elsewhere_are_a_choice(tmp_path):
    with serve(tmp_path, "--host", "0.0.0.0", "--allow-anonymous") as server:
        assert server.post(GOOD).status_code == 200


NAMES = ["nas.local:8000", "diffused", "host.docker.internal:8000"]


def test_a_name_that_is_not_allowed_is_named(server):
    for name in NAMES:
        for path in ("/v1/models", "/sdapi/v1/options"):
            reply = server.get(path, headers={"Host": name})
            assert reply.status_code == 403 and f"--allowed-host {name.partition(':')[0]}" in reply.text


def test_any_name_will_do_where_keys_are_needed(tmp_path):
    key = make_key(tmp_path / "keys", "anna")
    with serve(tmp_path / "data", "--api-keys", str(tmp_path / "keys"), "--any-host") as server:
        for name in NAMES:
            assert server.get("/v1/models", headers={"Host": name, "Authorization": f"Bearer {key}"}).status_code == 200
            assert server.get("/v1/models", headers={"Host": name}).status_code == 401


def test_pages_of_other_sites_cannot_use_the_server(server):
    for headers in [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"},
                    {"Origin": server.url + ".evil.example"}]:
        reply = server.post(GOOD, headers=headers)
        assert reply.status_code == 403, headers
        assert reply.json()["error"]["type"] == "invalid_request_error"
        assert "access-control-allow-origin" not in reply.headers
    own = server.post(GOOD, headers={"Origin": server.url, "Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 200 and own.headers["access-control-allow-origin"] == server.url


def test_pages_of_an_allowed_origin_and_of_the_public_url_can(tmp_path):
    with serve(tmp_path, "--allowed-origin", "https://app.example", "--public-url", "https://pictures.example:8443/ai/") as server:
        for headers in [{"Origin": "https://app.example"}, {"Origin": "https://pictures.example:8443", "Host": "pictures.example:8443"}]:
            reply = server.post(GOOD, headers=headers)
            assert reply.status_code == 200, reply.text
            assert reply.headers["access-control-allow-origin"] == headers["Origin"]
            assert reply.json()["data"][0]["url"].startswith("https://pictures.example:8443/ai/images/img_")
        asked = requests.options(server.url + "/v1/images/generations", timeout=10, headers={
            "Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"})
        assert asked.status_code == 204 and "POST" in asked.headers["access-control-allow-methods"]
