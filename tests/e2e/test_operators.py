"""What whoever runs the servers sees and can do: figures, log lines that can be joined, names, the queue."""

import base64
import concurrent.futures
import contextlib
import json
import re

import pytest
import requests
import s3_store
from conftest import ROOT, make_key, run_program, serve, wait_until
from test_gateway import ENDLESS, GOOD, LONG, ONE_THREAD, fleet, fleet_in  # noqa: F401
from test_nodes import LEASE, accepted, database, events, job, schema_of  # noqa: F401

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lines(server, event: str) -> list[dict]:
    return [line for line in map(json.loads, list(server.log)) if line["event"] == event]


def said(server, event: str, **fields) -> dict:
    """Waits for the line of the log that has these fields."""
    def found():
        return [line for line in lines(server, event) if fields.items() <= line.items()]
    wait_until(found)
    return found()[0]


def test_a_request_can_be_followed_from_the_gateway_to_the_worker(fleet, tmp_path):  # noqa: F811
    keys = tmp_path / "keys.txt"
    bearer = {"Authorization": f"Bearer {make_key(keys, 'anna')}"}
    worker, gateway = fleet.worker(), fleet.gateway("--api-keys", str(keys))
    wait_until(lambda: gateway.get("/readyz").status_code == 200)
    for number, more in enumerate(({}, {"background_job": True})):
        request_id = f"follow-{number}"
        reply = gateway.post({**GOOD, **more}, headers={**bearer, "X-Request-Id": request_id, "traceparent": TRACE})
        assert reply.status_code in (200, 202), reply.text
        told = said(gateway, "request", request_id=request_id)
        assert (told["key"], told["route"], told["code"], told["traceparent"]) == ("anna", "/v1/images/generations", reply.status_code, TRACE)
        assert told["ms"] > 0 and "prompt" not in told
        made = said(worker, "job_ended", job=told["job"])
        assert (made["request_id"], made["traceparent"], made["outcome"], made["model"]) == (request_id, TRACE, "completed", "demo")
        assert made["worker"] == said(worker, "listening")["worker"]
    assert fleet.rows(f"request_id = 'follow-1' AND trace = '{TRACE}' AND worker = '{made['worker']}'") == 1
    assert not any(line["route"] in ("/livez", "/readyz", "/metrics") for line in lines(gateway, "request"))


def test_every_server_has_a_name_of_its_own(fleet):  # noqa: F811
    names = {said(server, "listening")["worker"] for server in (fleet.worker(), fleet.worker(), fleet.gateway())}
    assert len(names) == 3
    assert all(re.fullmatch(r"[^:]+:\d+:[0-9a-f]{6}", name) for name in names)
    connected = fleet.running.ask("SELECT string_agg(application_name, ' ') FROM pg_stat_activity")
    assert all(f"diffused {name}" in connected for name in names)


def test_a_lost_worker_is_named_with_its_job(fleet):  # noqa: F811
    lost = fleet.worker()
    gateway = fleet.gateway()
    wait_until(lambda: gateway.get("/readyz").status_code == 200)
    waiting = accepted(gateway, {**LONG, "background_job": True}, headers={"X-Request-Id": "lost-1"})["id"]
    wait_until(lambda: job(gateway, waiting)["status"] == "in_progress", 60)
    lost.stop(9)
    told = said(gateway, "worker_lost", job=waiting)
    assert (told["request_id"], told["worker"], told["state"]) == ("lost-1", said(lost, "listening")["worker"], "queued")
    assert gateway.metric("diffused_background_leases_expired_total") == 1
    assert gateway.metric("diffused_background_worker_lost_total") == 0


def test_a_gateway_is_ready_when_it_can_have_pictures_made(tmp_path, database):  # noqa: F811
    with fleet_in(database, tmp_path) as fleet:  # noqa: F811
        gateway = fleet.gateway()
        nobody = gateway.get("/readyz")
        assert (nobody.status_code, nobody.json()["checks"]["models"]) == (503, {})
        worker = fleet.worker()
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        assert gateway.get("/readyz").json()["checks"]["models"] == {"demo": "served"}
        worker.stop()
        wait_until(lambda: gateway.get("/readyz").status_code == 503, 30)
        assert gateway.get("/readyz").json()["checks"]["models"] == {"demo": "away"}


def test_figures_have_the_models_and_the_wait_is_from_acceptance(fleet):  # noqa: F811
    gateway = fleet.gateway()
    other = fleet.full("alpha")
    wait_until(lambda: gateway.get("/readyz").status_code == 200)
    assert other.stop() == 0
    wait_until(lambda: gateway.get("/readyz").status_code == 503, 30)
    waiting = [accepted(gateway, {**GOOD, "model": "alpha", "background_job": True})["id"] for _ in range(2)]

    def figure(name, model):
        found = re.search(rf'^{name}{{[^}}]*model="{model}"[^}}]*}} (\S+)$', gateway.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else None
    # Whole seconds, of two rounded times: the jobs are one younger at most.
    wait_until(lambda: figure("diffused_background_oldest_queued_seconds", "alpha") >= 4, 30)
    assert figure("diffused_model_servers", "alpha") == 0
    assert figure("diffused_background_queued_cost", "alpha") > 0
    assert gateway.post({**GOOD, "model": "alpha"}).status_code == 503
    assert figure("diffused_rejected_total", "alpha") == 1
    again = fleet.full("alpha")
    done = [list(events(gateway, one))[-1]["job"] for one in waiting]
    assert all(item["result"]["timings"]["queue_seconds"] >= 3 for item in done)
    assert again.metric("diffused_background_queue_seconds_sum") >= 6
    wait_until(lambda: figure("diffused_model_servers", "alpha") == 1)
    wait_until(lambda: gateway.get("/readyz").status_code == 200)  # another question to the store than that figure's
    assert gateway.post({**GOOD, "model": "alpha"}).status_code == 200
    text = gateway.get("/metrics").text
    for name in ("diffused_job_queue_seconds_count", "diffused_job_run_seconds_count", "process_cpu_seconds_total", "process_open_fds",
                 "diffused_job_store_seconds_count", "diffused_job_store_dead_rows", "diffused_picture_store_bytes"):
        assert re.search(rf"^{name}[ {{]", text, re.MULTILINE), name


def test_a_background_job_of_a_full_server_makes_the_same_bytes(fleet):  # noqa: F811
    server = fleet.full("demo")
    for more in ({}, {"guidance_scale": 3, "negative_prompt": "dogs"}, {"scheduler": "FlowMatchHeunDiscreteScheduler"}):
        body = {**GOOD, **more, "response_format": "b64_json"}
        done = list(events(server, accepted(server, {**body, "background_job": True})["id"]))[-1]["job"]
        assert done["result"]["data"][0]["b64_json"] == server.post(body).json()["data"][0]["b64_json"]


def test_figures_need_no_key_at_a_port_of_their_own(tmp_path):
    keys = tmp_path / "keys.txt"
    make_key(keys, "anna")
    with serve(tmp_path / "own", "--dtype", "fp32", "--api-keys", str(keys), "--metrics-port", "0") as server:
        assert server.get("/metrics").status_code == 401
        watched = f"http://127.0.0.1:{said(server, 'watched')['port']}"
        assert "diffused_build_info" in requests.get(watched + "/metrics", headers={"Host": "worker-1"}, timeout=30).text
        assert requests.get(watched + "/readyz", timeout=30).status_code == 200
        assert requests.get(watched + "/v1/models", timeout=30).status_code == 404


def test_the_default_model_is_who_was_named(fleet):  # noqa: F811
    gateway, named = fleet.gateway(), fleet.gateway("--default-model", "beta")
    fleet.full("zebra")
    for server in (gateway, named):
        wait_until(lambda server=server: server.get("/readyz").status_code == 200)
    assert named.post(GOOD).json()["error"]["code"] == "model_away"
    fleet.running.ask(f"UPDATE {fleet.schema}.model SET added = added - 60")
    fleet.full("beta")
    for server, model in ((gateway, "zebra"), (named, "beta")):
        wait_until(lambda server=server: len(server.get("/v1/models").json()["data"]) == 2)
        assert server.post(GOOD).json()["model"] == model
    alone = run_program("serve", ROOT / "models/demo", "--dtype", "fp32", "--default-model", "none")
    assert alone.returncode == 2 and "--default-model" in alone.stderr


def test_the_queue_is_seen_and_changed_from_the_command_line(fleet):  # noqa: F811
    worker, gateway = fleet.worker("--background-running-max", "1"), fleet.gateway()
    wait_until(lambda: gateway.get("/readyz").status_code == 200)

    def jobs(*arguments) -> str:
        done = run_program("jobs", arguments[0], "--store", fleet.shared[1], *arguments[1:])
        assert done.returncode == 0, done.stderr
        return done.stdout
    busy = accepted(gateway, {**ENDLESS, "background_job": True})["id"]
    wait_until(lambda: job(gateway, busy)["status"] == "in_progress", 60)
    waiting = accepted(gateway, {**GOOD, "background_job": True})["id"]
    assert [json.loads(line)["id"] for line in jobs("list", "--json").splitlines()] == [waiting]
    running, = map(json.loads, jobs("list", "--state", "running", "--json").splitlines())
    assert (running["id"], running["worker"]) == (busy, said(worker, "listening")["worker"])
    assert re.search(r"^demo +1 +1 +1 ", jobs("list"), re.MULTILINE)
    jobs("pause", "demo")
    jobs("cancel", busy)
    assert job(gateway, busy)["status"] == "cancelled"
    assert said(worker, "job_ended", job=busy)["outcome"] == "cancelled"
    assert job(gateway, waiting)["status"] == "queued" and "paused: demo" in jobs("list")
    jobs("resume", "demo")
    assert list(events(gateway, waiting))[-1]["job"]["status"] == "completed"
    jobs("requeue", busy)
    wait_until(lambda: job(gateway, busy)["status"] == "in_progress", 60)
    jobs("cancel", busy)
    assert run_program("jobs", "cancel", "--store", fleet.shared[1], "job_none").returncode == 2


def test_jobs_that_wait_too_long_end(fleet):  # noqa: F811
    worker, gateway = fleet.worker(), fleet.gateway("--queued-lifetime", "2")
    wait_until(lambda: gateway.get("/readyz").status_code == 200)
    assert worker.stop() == 0
    late = accepted(gateway, {**GOOD, "background_job": True})["id"]
    wait_until(lambda: job(gateway, late)["status"] == "failed", 30)
    assert job(gateway, late)["error"]["code"] == "queued_too_long"
    assert said(gateway, "job_given_up", job=late)
    assert gateway.metric("diffused_background_given_up_total") == 1


def test_pictures_that_had_to_leave_are_said_to_be_gone(tmp_path):
    with serve(tmp_path / "own", "--dtype", "fp32", "--images-bytes-max", "30000") as server:
        first = accepted(server, {**GOOD, "background_job": True})["id"]
        done = list(events(server, first))[-1]["job"]
        assert requests.get(done["result"]["data"][0]["url"], timeout=30).status_code == 200
        for seed in range(8):
            list(events(server, accepted(server, {**GOOD, "seed": seed, "background_job": True})["id"]))
        assert job(server, first)["result"]["data"][0]["url"] is None
        assert server.metric("diffused_picture_store_evicted_total") >= 1


@pytest.fixture
def with_bucket(database, tmp_path):  # noqa: F811
    """A gateway and a worker whose pictures are in a bucket, and the bucket's server."""
    with s3_store.running() as store, contextlib.ExitStack() as stack:
        schema = schema_of(tmp_path)
        database.ask(f"CREATE SCHEMA {schema}")
        shared = ("--store", f"{database.url}&options=-csearch_path%3D{schema}", "--blobs", f"s3://{s3_store.BUCKET}/{schema}", "--job-lease", LEASE)
        environment = {**store.environment, **ONE_THREAD}
        stack.enter_context(serve(tmp_path / "own", "--role", "worker", "--dtype", "fp32", *shared, environment=environment))
        gateway = stack.enter_context(serve(tmp_path / "own", "--role", "gateway", *shared, model=None, environment=environment))
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        yield gateway, store


def test_a_gateway_goes_on_with_bytes_while_the_bucket_is_away(with_bucket):
    gateway, store = with_bucket
    wanted = {**GOOD, "response_format": "b64_json"}
    before = gateway.post(wanted).json()["data"][0]["b64_json"]
    store.stop()
    try:
        wait_until(lambda: gateway.get("/health").json()["checks"]["picture_store"] == "failing", 30)
        for body in ({**GOOD, "background_job": True}, {**GOOD, "response_format": "url"}):
            refused = gateway.post(body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_failed") and "Retry-After" in refused.headers
        with concurrent.futures.ThreadPoolExecutor(4) as clients:
            during = list(clients.map(lambda _: gateway.post(wanted), range(4)))
        assert [reply.status_code for reply in during] == [200] * 4
        assert {reply.json()["data"][0]["b64_json"] for reply in during} == {before}
        assert base64.b64decode(before)[1:4] == b"PNG"
    finally:
        store.start()
    wait_until(lambda: gateway.post({**GOOD, "response_format": "url"}).status_code == 200, 60)
