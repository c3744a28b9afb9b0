"""A server without models: what it is asked for is made by workers on its store, and looks as if it had made it itself."""

import base64
import concurrent.futures
import contextlib
import io
import json
import os
import pathlib
import re
import signal

import pytest
import requests
from conftest import DEMO, run_program, send_raw, serve, wait_until
from PIL import Image
from test_nodes import LEASE, cluster, database, events, schema_of  # noqa: F401

GOOD = {"prompt": "a red balloon", "num_inference_steps": 2, "size": "64x64", "seed": 7}
LONG = {**GOOD, "num_inference_steps": 120, "size": "256x256"}
ENDLESS = {**GOOD, "num_inference_steps": 200, "size": "256x256", "n": 8}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


class Fleet:
    """Gateways and workers that share a schema and a folder."""

    def __init__(self, running, schema, folder, stack):
        self.running, self.schema, self.folder, self.stack = running, schema, folder, stack
        running.ask(f"CREATE SCHEMA {schema}")
        (folder / "blobs").mkdir()
        self.shared = ("--store", f"{running.url}&options=-csearch_path%3D{schema}", "--blobs", str(folder / "blobs"), "--job-lease", LEASE)

    def gateway(self, *options):
        return self.stack.enter_context(serve(self.folder / "own", "--role", "gateway", *self.shared, *options, model=None))

    def worker(self, *options):
        return self.stack.enter_context(serve(self.folder / "own", "--role", "worker", *self.shared, "--dtype", "fp32", *options, environment=ONE_THREAD))

    def full(self, name, *options):
        return self.stack.enter_context(serve(self.folder / "own", *self.shared, "--dtype", "fp32", *options, model=f"{name}={DEMO}", environment=ONE_THREAD))

    def rows(self, condition="true") -> int:
        return int(self.running.ask(f"SELECT count(*) FROM {self.schema}.job WHERE {condition}"))

    def pictures(self) -> int:
        return sum(1 for file in (self.folder / "blobs").rglob("*") if file.is_file() and not file.name.startswith("."))


@contextlib.contextmanager
def fleet_in(running, tmp_path):
    with contextlib.ExitStack() as stack:
        yield Fleet(running, schema_of(tmp_path), tmp_path, stack)


@pytest.fixture
def fleet(database, tmp_path):  # noqa: F811
    with fleet_in(database, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def pair(database, tmp_path_factory):  # noqa: F811
    """A fleet, its gateway before one worker, and a server of its own to compare them with."""
    with fleet_in(database, tmp_path_factory.mktemp("pair")) as made:
        made.worker()
        gateway = made.gateway()
        with serve(tmp_path_factory.mktemp("alone"), "--dtype", "fp32", environment=ONE_THREAD) as alone:
            yield made, gateway, alone


def read_stream(reply):
    assert reply.status_code == 200, reply.text
    for line in reply.iter_lines(decode_unicode=True):
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def png(colour, size=(64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def test_a_gateway_has_no_torch_in_it_and_is_small(pair):
    _, gateway, alone = pair
    process = pathlib.Path("/proc") / str(gateway.process.pid)
    assert "torch" not in (process / "maps").read_text()
    assert "torch" in (pathlib.Path("/proc") / str(alone.process.pid) / "maps").read_text()
    assert gateway.post(GOOD).status_code == 200
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())[1])
    assert resident < 64 * 1024


@pytest.mark.parametrize("more", [
    {}, {"response_format": "b64_json", "n": 2}, {"output_format": "jpeg", "output_compression": 80}, {"negative_prompt": "dogs", "guidance_scale": 3},
    {"scheduler": "FlowMatchHeunDiscreteScheduler"}, {"quality": "low", "num_inference_steps": None},
])
def test_pictures_are_byte_for_byte_those_of_a_server_alone(pair, more):
    made, gateway, alone = pair

    def ask(server):
        reply = server.post({**GOOD, **more})
        assert reply.status_code == 200, reply.text
        body = reply.json()
        pictures = [requests.get(item["url"], timeout=30).content if "url" in item else base64.b64decode(item["b64_json"])
                    for item in body["data"]]
        told = {name: value for name, value in body.items() if name not in ("data", "created", "id", "timings")}
        return pictures, [item["seed"] for item in body["data"]], told, set(body["timings"])
    assert ask(gateway) == ask(alone)
    wait_until(lambda: made.rows() == 0)


def test_raw_pictures_edits_and_other_dialects_too(pair):
    made, gateway, alone = pair

    def ask(server):
        raw = server.post(GOOD, headers={"Accept": "image/webp"})
        files = {"image": png("red"), "mask": png("white")}
        edits = [requests.post(server.url + "/v1/images/edits", files=files, timeout=60, data={**GOOD, "strength": "0.8", "response_format": "b64_json"})]
        edits.append(requests.post(server.url + "/v1/images/variations", files={"image": png("blue")}, timeout=60,
                                   data={"size": "64x64", "seed": "3", "response_format": "b64_json", "num_inference_steps": "4"}))
        for reply in [raw, *edits]:
            assert reply.status_code == 200, reply.text
        old = server.post({"prompt": "a red balloon", "seed": 7, "steps": 2, "width": 64, "height": 64}, "/sdapi/v1/txt2img")
        assert old.status_code == 200, old.text
        return [raw.content, *(reply.json()["data"][0]["b64_json"] for reply in edits), old.json()["images"]]
    assert ask(gateway) == ask(alone)
    wait_until(lambda: made.rows() == 0 and not list((made.folder / "blobs/inputs").rglob("in_*")))


def test_models_and_the_description_of_the_api_are_the_same(pair):
    _, gateway, alone = pair

    def models(server):
        return [{**model, "created": 0} for model in server.get("/v1/models").json()["data"]]
    assert models(gateway) == models(alone)
    description, whole = (server.get("/openapi.json").json() for server in (gateway, alone))
    # A gateway has no device and no model of its own to tell of.
    own = {path: whole["paths"].pop(path) for path in ("/v1/models/{id}/{change}", "/v1/status", "/v1/status/history")}
    assert description == whole and not own.keys() & description["paths"].keys()
    for path in ("/sdapi/v1/samplers", "/sdapi/v1/sd-models"):
        assert gateway.get(path).json() == alone.get(path).json()
    assert gateway.get("/readyz").status_code == 200


def test_steps_and_previews_are_streamed_as_they_come(pair):
    _, gateway, alone = pair
    body = {**GOOD, "num_inference_steps": 30, "size": "128x128", "stream": True, "partial_images": 2, "progress_events": True}

    def ask(server):
        with server.post(body, stream=True) as reply:
            return list(read_stream(reply))
    streamed, expected = ask(gateway), ask(alone)
    assert [event["type"] for event in streamed] == [event["type"] for event in expected]
    kinds = {event["type"] for event in streamed}
    assert kinds == {"image_generation.progress", "image_generation.partial_image", "image_generation.completed"}
    assert [event.get("b64_json") for event in streamed] == [event.get("b64_json") for event in expected]


@pytest.mark.parametrize("more, status, field", [
    ({"size": "60x64"}, 400, "size"), ({"size": "64x100000"}, 400, "size"), ({"scheduler": "None"}, 400, "scheduler"),
    ({"num_inference_steps": 0}, 400, "num_inference_steps"), ({"loras": [{"name": "none"}]}, 400, "loras"), ({"prompt": ""}, 400, "prompt"),
    # What only the worker knows:
    ({"prompt": "(a:1000)", "prompt_syntax": "a1111"}, 400, "prompt"), ({"max_sequence_length": 100000}, 400, "max_sequence_length"),
])
def test_what_is_wrong_is_said_in_the_same_words(pair, more, status, field):
    made, gateway, alone = pair
    refused, expected = gateway.post({**GOOD, **more}), alone.post({**GOOD, **more})
    assert (refused.status_code, refused.json()) == (expected.status_code, expected.json())
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, field)
    wait_until(lambda: made.rows() == 0)


def test_background_jobs_go_the_same_way(pair):
    _, gateway, _ = pair
    job = gateway.post({**GOOD, "background_job": True})
    assert job.status_code == 202, job.text
    done = list(events(gateway, job.json()["id"]))[-1]["job"]
    assert done["status"] == "completed"
    assert requests.get(done["result"]["data"][0]["url"], timeout=30).status_code == 200
    keyed = [gateway.post(GOOD, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [reply.status_code for reply in keyed] == [200, 200] and keyed[1].headers["Idempotent-Replayed"] == "true"


def test_who_goes_away_or_runs_out_of_time_leaves_nothing_behind(fleet):
    fleet.worker()
    gateway = fleet.gateway()
    connection = send_raw(gateway, ENDLESS)
    wait_until(lambda: fleet.rows("state = 'running'") == 1, 60)
    connection.close()
    wait_until(lambda: fleet.rows() == 0)
    late = gateway.post(ENDLESS, headers={"X-Request-Timeout": "1"})
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    wait_until(lambda: fleet.rows() == 0)
    assert gateway.post(GOOD).status_code == 200  # the worker is free again
    wait_until(lambda: fleet.pictures() == 1)


def test_a_worker_that_is_killed_is_not_noticed(fleet):
    workers = [fleet.worker() for _ in range(2)]
    gateway = fleet.gateway()
    expected = gateway.post({**LONG, "response_format": "b64_json"}).json()["data"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(gateway.post, {**LONG, "response_format": "b64_json"})
        wait_until(lambda: fleet.rows("state = 'running'") == 1, 60)
        for worker in workers:
            if fleet.rows(f"worker LIKE '%:{worker.process.pid}:%'"):
                worker.stop(signal.SIGKILL)
                break
        wait_until(lambda: fleet.rows("attempt = 2") == 1)
        reply = waiting.result()
    assert reply.status_code == 200, reply.text
    assert reply.json()["data"] == expected


def test_a_database_that_is_started_again_is_waited_for(tmp_path):
    with cluster.cluster("fsync = off") as own, fleet_in(own, tmp_path) as fleet:  # noqa: F811
        fleet.worker()
        gateway = fleet.gateway()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(gateway.post, LONG)
            wait_until(lambda: fleet.rows("state = 'running'") == 1, 60)
            own.stop()
            wait_until(lambda: gateway.get("/health").json()["checks"]["job_store"] == "failing")
            refused = gateway.post(GOOD)
            assert refused.status_code == 503 and "Retry-After" in refused.headers
            own.start()
            assert waiting.result().status_code == 200
        wait_until(lambda: gateway.get("/health").json()["checks"]["job_store"] == "ok")
        assert gateway.post(GOOD).status_code == 200


def test_without_a_worker_requests_are_refused_and_jobs_wait(fleet):
    gateway = fleet.gateway()
    never = gateway.post(GOOD)
    assert never.status_code == 503 and "Retry-After" in never.headers
    worker = fleet.worker()
    wait_until(lambda: gateway.get("/v1/models").json()["data"])
    for body, status in [({**GOOD, "model": "demo"}, 200), ({**GOOD, "model": "dall-e-3"}, 200), ({**GOOD, "model": "whatever"}, 404)]:
        assert gateway.post(body).status_code == status
    worker.stop(signal.SIGTERM)
    wait_until(lambda: gateway.post(GOOD, headers={"X-Request-Timeout": "1"}).status_code == 503, 30)
    away = gateway.post(GOOD)
    assert (away.status_code, away.json()["error"]["code"]) == (503, "model_away") and "Retry-After" in away.headers
    assert [model["id"] for model in gateway.get("/v1/models").json()["data"]] == ["demo"]
    job = gateway.post({**GOOD, "background_job": True})
    assert job.status_code == 202
    fleet.worker()
    assert list(events(gateway, job.json()["id"]))[-1]["job"]["status"] == "completed"


def test_no_model_answers_in_the_place_of_another(fleet):
    one = fleet.full("demo")
    gateway = fleet.gateway()
    wait_until(lambda: gateway.get("/v1/models").json()["data"])
    for server in (one, gateway):
        for more in ({}, {"background_job": True}):
            refused = server.post({**GOOD, **more, "model": "alpha"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    other = fleet.full("alpha")
    for server in (one, gateway):
        wait_until(lambda server=server: len(server.get("/v1/models").json()["data"]) == 2)
        for name, answers in [("alpha", "alpha"), ("demo", "demo"), ("dall-e-3", "demo"), ("", "demo")]:
            reply = server.post({**GOOD, "model": name})
            assert (reply.status_code, reply.json()["model"], reply.headers["x-diffused-model"]) == (200, answers, answers)
            job = server.post({**GOOD, "model": name, "background_job": True}).json()
            done = list(events(server, job["id"]))[-1]["job"]
            assert (done["status"], done["model"], done["result"]["model"]) == ("completed", answers, answers)
    assert other.stop(signal.SIGTERM) == 0
    for server in (one, gateway):
        wait_until(lambda server=server: server.post({**GOOD, "model": "alpha"}).json()["error"]["code"] == "model_away", 30)
        assert server.post({**GOOD, "model": "alpha", "background_job": True}).json()["status"] == "queued"
    fleet.running.ask(f"UPDATE {fleet.schema}.model SET seen = seen - 3700 WHERE name = 'alpha'")
    for server in (one, gateway):
        wait_until(lambda server=server: len(server.get("/v1/models").json()["data"]) == 1)
        for more in ({}, {"background_job": True}):
            refused = server.post({**GOOD, **more, "model": "alpha"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found"), refused.text


def test_who_waits_comes_before_background_jobs(fleet):
    fleet.worker("--background-running-max", "1")
    gateway = fleet.gateway("--unknown-model", "reject")
    assert gateway.post({**GOOD, "model": "none"}).status_code == 404
    jobs = [gateway.post({**LONG, "background_job": True}).json()["id"] for _ in range(3)]
    assert gateway.post({**GOOD, "model": "demo"}).status_code == 200
    assert [gateway.get(f"/v1/images/jobs/{jobs[-1]}").json()["status"]] == ["queued"]
    for job in jobs:
        assert gateway.post({}, f"/v1/images/jobs/{job}/cancel").status_code == 200


def test_a_gateway_that_ends_answers_what_it_has_taken(fleet):
    fleet.worker()
    gateway = fleet.gateway()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(gateway.post, LONG)
        wait_until(lambda: fleet.rows("state = 'running'") == 1, 60)
        assert gateway.stop(signal.SIGTERM) == 0
        assert waiting.result().status_code == 200
    hasty = fleet.gateway("--drain-timeout", "0")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(hasty.post, ENDLESS)
        wait_until(lambda: fleet.rows("state = 'running'") == 1, 60)
        assert hasty.stop(signal.SIGTERM) == 0
        assert waiting.result().status_code == 503
    assert fleet.rows() == 0


def test_a_gateway_says_what_it_needs(tmp_path):
    def said(*options):
        done = run_program("serve", "--role", "gateway", "--port", "0", "--data-dir", tmp_path, *options, env=dict(os.environ))
        assert done.returncode == 2, done.stderr
        return done.stderr
    assert "--store" in said()
    assert "--blobs" in said("--store", "postgresql:///postgres?host=/nowhere")
    assert "--dtype" in said("--dtype", "fp32")
    assert "a_model" in said("a_model")
