"""Jobs that outlive their requests, with the real program: kills, a full disk, an orderly end."""

import io
import json
import pathlib
import resource
import signal
import sys
import time

import requests
from conftest import DEMO, PROGRAM, ROOT, serve
from PIL import Image

sys.path.insert(0, str(ROOT / "bench"))
import crash  # noqa: E402

QUICK = {"prompt": "a red balloon", "num_inference_steps": 1, "size": "64x64"}
JOB = {**QUICK, "background_job": True}


def accepted(server, body=JOB, **options) -> dict:
    reply = server.post(body, **options)
    assert reply.status_code == 202, reply.text
    return reply.json()


def pixels(reply) -> bytes:
    return Image.open(io.BytesIO(reply.content)).tobytes()


def events(server, job_id: str) -> list[dict]:
    """All events up to the job's end."""
    with server.get(f"/v1/images/jobs/{job_id}/events", stream=True) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in reply.iter_lines(decode_unicode=True) if line.startswith("data: ")]


def test_a_job_goes_from_202_over_its_events_to_the_picture_of_its_seed(server):
    job = accepted(server, {**JOB, "num_inference_steps": 3, "seed": 7})
    seen = events(server, job["id"])
    assert seen[-1]["type"] == "image.job.done"
    assert [event["step"] for event in seen if event["type"] == "image.job.step"] in ([1, 2, 3], [2, 3], [3])
    done = server.get(f"/v1/images/jobs/{job['id']}").json()
    assert done["status"] == "completed" and done["seeds"] == [7]
    made = pixels(requests.get(done["result"]["data"][0]["url"], timeout=30))
    assert made == pixels(server.post({**QUICK, "num_inference_steps": 3, "seed": 7}, headers={"Accept": "image/png"}))


def test_no_accepted_job_is_lost_however_often_the_server_is_killed(tmp_path):
    promises = crash.run([str(PROGRAM), "serve", str(DEMO)], tmp_path, rounds=3, seed=5, life_seconds=1.0)
    assert promises.accepted
    assert promises.faults == []


def test_what_waits_at_shutdown_is_made_after_the_next_start(tmp_path):
    with serve(tmp_path, "--drain-timeout", "0") as server:
        jobs = [accepted(server, {**JOB, "size": "256x256", "num_inference_steps": 8})["id"] for _ in range(2)]
        assert server.stop(signal.SIGTERM) == 0
    with serve(tmp_path) as server:
        for job_id in jobs:
            events(server, job_id)
            done = server.get(f"/v1/images/jobs/{job_id}").json()
            assert done["status"] == "completed"
            assert done["attempts"] == 1  # an orderly end uses up no attempt


def test_a_full_disk_is_told_at_once_and_gone_when_there_is_room_again(tmp_path):
    # A file that may not grow looks like a full disk.
    with serve(tmp_path) as server:
        before = accepted(server)
        events(server, before["id"])
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        started = time.monotonic()
        refused = server.post(JOB)
        assert time.monotonic() - started < 1
        assert (refused.status_code, refused.json()["error"]["code"]) in ((507, "storage_full"), (503, "storage_failed"))
        assert "Retry-After" in refused.headers
        assert server.post({**QUICK, "response_format": "b64_json"}).status_code == 200
        assert server.post({**QUICK, "response_format": "url"}).json()["error"]["code"] == "storage_full"
        assert server.get(f"/v1/images/jobs/{before['id']}").json()["status"] == "completed"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        after = accepted(server)
        assert events(server, after["id"])[-1]["job"]["status"] == "completed"
    assert (pathlib.Path(tmp_path) / "jobs.db").exists()


def test_nothing_is_made_that_could_not_be_kept(tmp_path):
    with serve(tmp_path, "--free-bytes-min", str(1 << 62)) as server:
        for body in (JOB, {**QUICK, "response_format": "url"}):
            refused = server.post(body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage_full")
        assert server.post({**QUICK, "response_format": "b64_json"}).status_code == 200
        assert server.post(QUICK, headers={"Accept": "image/png"}).status_code == 200
        assert server.get("/health").status_code == 200
