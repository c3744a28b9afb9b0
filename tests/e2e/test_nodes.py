"""Several servers on one PostgreSQL and one folder of pictures: whichever is asked, the jobs are the same."""

import base64
import contextlib
import io
import json
import os
import signal
import sys

import pytest
import requests
from conftest import ROOT, run_program, serve, wait_until
from PIL import Image

sys.path.insert(0, str(ROOT / "bench"))
import cluster  # noqa: E402

JOB = {"prompt": "a red balloon", "num_inference_steps": 2, "size": "64x64", "background_job": True}
# Some seconds of work, and one that no machine ends before it is cancelled.
LONG = {**JOB, "num_inference_steps": 60, "size": "256x256"}
ENDLESS = {**JOB, "num_inference_steps": 200, "size": "256x256", "n": 8}
LEASE = "3"


@pytest.fixture(scope="module")
def database():
    with cluster.cluster("fsync = off") as running:
        yield running


def schema_of(tmp_path) -> str:
    return f"test_{abs(hash(tmp_path))}"


@pytest.fixture
def start(database, tmp_path):
    """Starts servers that share their jobs; each test has a schema and a folder of its own."""
    schema = schema_of(tmp_path)
    database.ask(f"CREATE SCHEMA {schema}")
    url = f"{database.url}&options=-csearch_path%3D{schema}"
    (tmp_path / "blobs").mkdir()
    with contextlib.ExitStack() as servers:
        def one(*options, port=0):
            return servers.enter_context(serve(tmp_path / "own", "--store", url, "--blobs", str(tmp_path / "blobs"), "--job-lease", LEASE,
                                               "--dtype", "fp32", *options, port=port,
                                               environment={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}))
        yield one


def accepted(server, body=None, **options) -> dict:
    reply = server.post(body or JOB, **options)
    assert reply.status_code == 202, reply.text
    return reply.json()


def job(server, job_id) -> dict:
    reply = server.get(f"/v1/images/jobs/{job_id}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def events(server, job_id):
    """Each event as it comes, up to the job's end."""
    with server.get(f"/v1/images/jobs/{job_id}/events", stream=True) as reply:
        for line in reply.iter_lines(decode_unicode=True):
            if line.startswith("data: "):
                yield json.loads(line[6:])


def picture(server, done) -> bytes:
    url = done["result"]["data"][0]["url"]
    reply = requests.get(server.url + url[url.index("/images/"):], timeout=30)
    assert reply.status_code == 200, reply.text
    return Image.open(io.BytesIO(reply.content)).tobytes()


def test_any_server_shows_lists_and_cancels_what_any_other_accepted(start):
    one, other = start(), start()
    first = accepted(one, {**JOB, "seed": 7}, headers={"Idempotency-Key": "k"})
    assert list(events(other, first["id"]))[-1]["type"] == "image.job.done"
    done = job(other, first["id"])
    assert done["status"] == "completed" and done["attempts"] == 1
    assert picture(one, done) == picture(other, done)
    again = other.post({**JOB, "seed": 7}, headers={"Idempotency-Key": "k"})
    assert again.status_code == 200 and again.json()["id"] == first["id"]
    running = accepted(one, ENDLESS)
    wait_until(lambda: job(other, running["id"])["status"] == "in_progress", 60)
    assert other.post({}, f"/v1/images/jobs/{running['id']}/cancel").json()["status"] == "cancelled"
    assert job(one, running["id"])["status"] == "cancelled"
    listed = other.get("/v1/images/jobs").json()["data"]
    assert [item["id"] for item in listed] == [running["id"], first["id"]]
    assert other.get(f"/v1/images/jobs/{first['id']}").status_code == 200
    assert requests.delete(f"{other.url}/v1/images/jobs/{first['id']}", timeout=30).status_code == 200
    assert one.get(f"/v1/images/jobs/{first['id']}").status_code == 404


def test_what_happens_on_one_server_is_seen_by_those_who_ask_the_other(start):
    one = start("--background-running-max", "1")
    running = accepted(one, {**ENDLESS, "partial_images": 3})["id"]
    wait_until(lambda: job(one, running)["status"] == "in_progress", 60)
    other = start()  # it came too late to have claimed the job
    progress = []
    for event in events(other, running):
        if event["type"] == "image.job.step":
            progress.append(event["progress"])
        if event["type"] == "image.job.preview":
            assert Image.open(io.BytesIO(base64.b64decode(event["b64_json"]))).size
            assert one.post({}, f"/v1/images/jobs/{running}/cancel").status_code == 200
    assert event["type"] == "image.job.done" and event["job"]["status"] == "cancelled"
    assert progress and progress == sorted(progress)


def test_what_one_user_has_waiting_is_limited_on_all_servers_together(start):
    limit = ("--background-queued-per-user-max", "2", "--background-running-max", "1")
    one = start(*limit)
    running = accepted(one, ENDLESS)["id"]
    wait_until(lambda: job(one, running)["status"] == "in_progress", 60)
    other = start(*limit)
    busy = accepted(other, ENDLESS)["id"]
    wait_until(lambda: job(one, busy)["status"] == "in_progress", 60)
    waiting = [accepted(server)["id"] for server in (one, other)]
    for server in (one, other):
        refused = server.post(JOB)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert "Retry-After" in refused.headers
    assert other.post({}, f"/v1/images/jobs/{waiting[0]}/cancel").status_code == 200
    accepted(one)
    for job_id in (running, busy):
        assert one.post({}, f"/v1/images/jobs/{job_id}/cancel").status_code == 200


def test_a_job_whose_server_is_killed_is_finished_by_another_once(start, database, tmp_path):
    servers = [start("--background-running-max", "1") for _ in range(3)]
    jobs = [accepted(servers[0], {**LONG, "num_inference_steps": 120, "seed": seed})["id"] for seed in range(4)]

    def worker() -> str:
        return database.ask(f"SELECT coalesce(max(worker), '') FROM {schema_of(tmp_path)}.job WHERE state = 'running'")
    wait_until(worker, 60)
    running = worker()
    victim = next(server for server in servers if f":{server.process.pid}:" in running)
    victim.stop(signal.SIGKILL)
    one, other = (server for server in servers if server is not victim)
    for job_id in jobs:
        assert list(events(one, job_id))[-1]["job"]["status"] == "completed"
    done = [job(other, job_id) for job_id in jobs]
    assert [item["seeds"] for item in done] == [[0], [1], [2], [3]]
    assert max(item["attempts"] for item in done) == 2
    assert len({picture(other, item) for item in done}) == 4


def test_a_server_that_ends_in_order_gives_its_jobs_to_the_others(start):
    leaving = start("--drain-timeout", "0", "--background-running-max", "1")
    running = accepted(leaving, LONG)["id"]
    wait_until(lambda: job(leaving, running)["status"] == "in_progress", 60)
    staying = start()
    assert leaving.stop(signal.SIGTERM) == 0
    done = list(events(staying, running))[-1]["job"]
    assert done["status"] == "completed" and done["attempts"] == 1


def test_a_worker_makes_what_others_accept_and_answers_no_requests(start):
    worker = start("--role", "worker")
    other = start("--background-running-max", "1")
    for path in ("/v1/models", "/v1/images/jobs", "/", "/images/img_1.png", "/sdapi/v1/options"):
        assert worker.get(path).status_code == 404, path
    assert worker.post(JOB).status_code == 404
    assert worker.get("/health").status_code == 200
    busy = accepted(other, ENDLESS)["id"]
    wait_until(lambda: job(other, busy)["status"] == "in_progress", 60)
    jobs = [accepted(other)["id"] for _ in range(3)]
    for job_id in jobs:
        assert list(events(other, job_id))[-1]["job"]["status"] == "completed"
    assert other.post({}, f"/v1/images/jobs/{busy}/cancel").status_code == 200
    done = 'diffused_background_runs_total{model="demo",outcome="completed"} '

    def made() -> float:
        return sum(float(line.removeprefix(done)) for server in (worker, other)
                   for line in server.get("/metrics").text.splitlines() if line.startswith(done))
    wait_until(lambda: made() == 3)
    assert other.metric("diffused_job_store_up") == 1


def test_a_store_that_cannot_be_used_is_said_at_the_start(tmp_path):
    def said(*options):
        done = run_program("serve", ROOT / "models/demo", "--port", "0", "--data-dir", tmp_path / "own", *options,
                           env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode != 0
        return done.stderr
    assert "--blobs" in said("--store", "postgresql:///postgres?host=/nowhere")
    assert "/nowhere" in said("--store", "postgresql:///postgres?host=/nowhere", "--blobs", tmp_path)
    assert "postgresql://user@host/name" in said("--store", "mysql://x", "--blobs", tmp_path)
    assert "--store" in said("--role", "worker")
    assert "--store" in said("--require-sync")


def test_migrate_says_what_it_did_and_a_standby_may_be_required(database, tmp_path):
    schema = schema_of(tmp_path)
    database.ask(f"CREATE SCHEMA {schema}")
    url = f"{database.url}&options=-csearch_path%3D{schema}"
    made = run_program("migrate", "--store", url)
    assert made.returncode == 0 and made.stdout.startswith("made the tables, version "), made.stderr
    again = run_program("migrate", env={"DIFFUSED_STORE": url})
    assert again.returncode == 0 and again.stdout.endswith("nothing to do\n"), again.stderr
    refused = run_program("serve", ROOT / "models/demo", "--port", "0", "--data-dir", tmp_path / "own", "--blobs", tmp_path / "blobs",
                          "--store", url, "--require-sync", env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert refused.returncode != 0 and "synchronous_standby_names" in refused.stderr
    database.ask(f"INSERT INTO {schema}.diffused_schema VALUES (1000)")
    newer = run_program("migrate", "--store", url)
    assert newer.returncode != 0 and "newer version" in newer.stderr
