"""What the machine does to a server that runs: descriptors run out, folders and files vanish, disks fail, the clock is set."""

import contextlib
import io
import json
import os
import pathlib
import resource
import shutil
import socket
import sqlite3
import sys
import time

import pytest
import requests
from conftest import DEMO, ROOT, run_program, serve, wait_until
from PIL import Image
from requests.adapters import HTTPAdapter

sys.path.insert(0, str(ROOT / "bench"))
import failing  # noqa: E402

QUICK = {"prompt": "a red balloon", "num_inference_steps": 1, "size": "64x64"}
URL = {**QUICK, "response_format": "url"}
BYTES = {**QUICK, "response_format": "b64_json"}
JOB = {**QUICK, "background_job": True}


def code_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


def check(server, name) -> str:
    return server.get("/readyz").json()["checks"][name]


def said(server, event) -> list[dict]:
    return [line for line in map(json.loads, filter(lambda text: text.startswith("{"), server.log)) if line["event"] == event]


def ended(server, job_id):
    wait_until(lambda: server.get(f"/v1/images/jobs/{job_id}").json()["status"] == "completed", 60)


class FromAddress(HTTPAdapter):
    """Sends from another address of this machine."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=("127.0.0.2", 0), **options)


def test_idle_connections_leave_descriptors_for_others_and_for_files(tmp_path):
    with serve(tmp_path, prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))) as server:
        wait_until(lambda: said(server, "descriptors"))  # another thread reads the log
        [line] = said(server, "descriptors")
        assert line["limit"] == 400 and line["open"] + line["connections_max"] <= 300, line
        host, port = server.url.removeprefix("http://").split(":")
        with contextlib.ExitStack() as idle:
            for _ in range(500):
                idle.enter_context(socket.create_connection((host, int(port)), timeout=5))
            refused = server.get("/livez")
            assert refused.status_code == 503, "one address must not have them all"
            with requests.Session() as other:
                other.mount("http://", FromAddress())
                made = other.post(server.url + "/v1/images/generations", json=URL, timeout=60)
                assert made.status_code == 200, made.text
                assert other.get(made.json()["data"][0]["url"], timeout=10).status_code == 200
        wait_until(lambda: server.get("/livez").status_code == 200)
        assert not said(server, "accept_paused")


def test_what_is_kept_is_its_owners_alone(tmp_path):
    with serve(tmp_path / "made" / "data") as server:
        server.post(URL)
        ended(server, server.post(JOB).json()["id"])
        for path in [tmp_path / "made", *(tmp_path / "made").rglob("*")]:
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("how", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("aside"))])
def test_a_folder_of_pictures_that_vanishes_is_made_anew(tmp_path, how):
    with serve(tmp_path) as server:
        old = server.post(URL).json()["data"][0]["url"]
        how(tmp_path / "images")
        new = server.post(URL)
        assert new.status_code == 200, new.text
        assert requests.get(new.json()["data"][0]["url"], timeout=10).status_code == 200
        assert requests.get(old, timeout=10).status_code == 404
        ended(server, server.post(JOB).json()["id"])
        assert said(server, "storage_folder_replaced")


def test_a_folder_that_cannot_be_written_is_said_and_gone_when_it_can_be(tmp_path):
    with serve(tmp_path) as server:
        shutil.rmtree(tmp_path / "images")
        (tmp_path / "images").write_text("a file in the way")
        for body in (URL, URL, JOB):
            refused = server.post(body)
            assert code_of(refused) == (503, "storage_failed") and "Retry-After" in refused.headers
        assert server.post(BYTES).status_code == 200
        assert check(server, "picture_store") == "failing" and server.get("/readyz").json()["status"] == "degraded"
        (tmp_path / "images").unlink()
        wait_until(lambda: check(server, "picture_store") == "ok")
        assert server.post(URL).status_code == 200
        ended(server, server.post(JOB).json()["id"])


def cut(file: pathlib.Path):
    os.truncate(file, 0)


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wal"])
@pytest.mark.parametrize("how", [pathlib.Path.unlink, cut])
def test_a_server_whose_jobs_are_lost_says_so_and_ends(tmp_path, name, how):
    with serve(tmp_path) as server:
        ended(server, server.post(JOB).json()["id"])
        how(tmp_path / name)
        refused = server.post(JOB)
        assert refused.status_code == 503 and code_of(refused)[1] in ("storage_failed", "draining"), refused.text
        assert server.process.wait(60) not in (0, -6, -11)
        wait_until(lambda: said(server, "job_store_lost"))
    if how is pathlib.Path.unlink:
        with serve(tmp_path) as server:
            ended(server, server.post(JOB).json()["id"])


def test_a_row_that_cannot_be_read_fails_alone(tmp_path):
    with serve(tmp_path) as server:
        jobs = [server.post(JOB).json()["id"] for _ in range(4)]
        for job in jobs:
            ended(server, job)
        server.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as rows:
        rows.execute("UPDATE job SET outcome = 'spoilt' WHERE id = ?", [jobs[0]])
        rows.execute("UPDATE job SET spec = 'spoilt' WHERE id = ?", [jobs[1]])
        rows.execute("UPDATE job SET attempt = 99999999999 WHERE id = ?", [jobs[2]])
        rows.execute("UPDATE job SET spec = 'spoilt', state = 'queued', outcome = NULL, finished = NULL, expires = NULL WHERE id = ?", [jobs[3]])
        rows.commit()
    with serve(tmp_path) as server:
        listed = {job["id"]: job for job in server.get("/v1/images/jobs").json()["data"]}
        assert set(listed) == {jobs[0], jobs[1], jobs[3]}
        assert listed[jobs[0]]["error"]["code"] == listed[jobs[1]]["error"]["code"] == "data_loss"
        assert code_of(server.get(f"/v1/images/jobs/{jobs[2]}")) == (500, "data_loss")
        wait_until(lambda: server.get(f"/v1/images/jobs/{jobs[3]}").json()["status"] == "failed")
        assert requests.delete(f"{server.url}/v1/images/jobs/{jobs[0]}", timeout=10).status_code == 200
        ended(server, server.post(JOB).json()["id"])


def test_accepting_and_cancelling_does_not_fill_the_disk(tmp_path):
    with serve(tmp_path, "--jobs-bytes-max", str(4 << 20)) as server, requests.Session() as session:
        for _ in range(300):
            accepted = session.post(server.url + "/v1/images/generations", json={**JOB, "prompt": "a word " * 4_000}, timeout=30)
            assert accepted.status_code == 202, accepted.text
            session.post(f"{server.url}/v1/images/jobs/{accepted.json()['id']}/cancel", timeout=30)
        assert (tmp_path / "jobs.db").stat().st_size < 6 << 20
        ended(server, server.post(JOB).json()["id"])


def test_one_user_leaves_room_for_others(tmp_path):
    """Of all jobs that may wait one address has a quarter, and so of the pictures they start from."""
    options = ("--background-queued-max", "40", "--background-running-max", "1", "--inputs-per-user-bytes-max", "400000")
    endless = {**JOB, "num_inference_steps": 200, "size": "256x256", "n": 8}
    edit = {"prompt": "x", "size": "256x256", "num_inference_steps": "200", "n": "8", "background_job": "true"}
    image = png_of_noise()
    with serve(tmp_path, *options) as server, requests.Session() as other:
        other.mount("http://", FromAddress())

        def edits(session):
            return session.post(server.url + "/v1/images/edits", data=edit, files={"image": ("x.png", image, "image/png")}, timeout=30)

        kept = [edits(requests) for _ in range(6)]
        assert kept[0].status_code == 202, kept[0].text
        assert code_of(kept[-1]) == (429, "queue_full") and "Retry-After" in kept[-1].headers and "pictures" in kept[-1].text
        sent = [server.post(endless) for _ in range(12)]
        assert code_of(sent[-1]) == (429, "queue_full")
        assert other.post(server.url + "/v1/images/generations", json=endless, timeout=30).status_code == 202
        assert edits(other).status_code == 202


def png_of_noise() -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (256, 256), os.urandom(256 * 256 * 3)).save(file, "PNG")
    return file.getvalue()


def test_setting_the_clock_loses_no_picture_and_no_job(tmp_path):
    orders = failing.Orders(tmp_path / "orders")
    options = ("--image-lifetime", "600", "--job-lifetime", "600")
    with serve(tmp_path / "data", *options, environment=orders.environment) as server:
        for seconds in (3600, -3600, 86400, -86400, 10 * 365 * 86400):
            picture = server.post(URL).json()["data"][0]["url"]
            job = server.post(JOB).json()["id"]
            ended(server, job)
            server.log.clear()
            orders.set_clock(seconds)
            # A sweep comes by and says it; its end is not seen, but it takes no time.
            wait_until(lambda: said(server, "clock_jumped"))
            time.sleep(0.1)
            for kept in (picture, server.get(f"/v1/images/jobs/{job}").json()["result"]["data"][0]["url"]):
                assert requests.get(kept, timeout=10).status_code == 200, seconds
        assert server.stop() == 0


def test_a_sync_that_fails_once_ends_the_server_and_loses_no_job(tmp_path):
    orders = failing.Orders(tmp_path / "orders")
    with serve(tmp_path / "data", environment=orders.environment) as server:
        kept = server.post(JOB).json()["id"]
        ended(server, kept)
        orders.fail("sync", 1)
        assert server.post(JOB).status_code == 503
        assert server.process.wait(60) not in (0, -6, -11)
        wait_until(lambda: said(server, "job_store_lost"))
    with serve(tmp_path / "data") as server:
        ended(server, kept)


def test_a_picture_whose_sync_fails_is_refused_and_the_next_is_kept(tmp_path):
    orders = failing.Orders(tmp_path / "orders")
    with serve(tmp_path / "data", environment=orders.environment) as server:
        orders.fail("sync", 1)
        assert code_of(server.post(URL)) == (503, "storage_failed")
        assert server.post(URL).status_code == 200
        assert check(server, "picture_store") == "ok"


@pytest.mark.parametrize("option", ["--image", "--mask"])
def test_a_folder_is_no_picture(tmp_path, option):
    image = [] if option == "--image" else ["--image", ROOT / "docs/images/demo_contact_sheet.jpg"]
    refused = run_program("generate", DEMO, "x", *image, option, tmp_path)
    assert refused.returncode == 2 and "is a folder" in refused.stderr


def campaign(program, folder, seconds):
    with failing.Campaign(program, folder, bytes_min=4096) as run:
        wrong = failing.run(run, list(failing.KINDS), seconds, ordinals_max=12)
        assert run.failures > 30, "hardly anything failed"
        return wrong


def test_the_server_outlives_whatever_fails(tmp_path):
    assert campaign([str(failing.BUILD / "stub_server"), "--step-ms", "1"], tmp_path, 30) == []


def test_the_program_outlives_whatever_fails(tmp_path):
    assert campaign([str(failing.BUILD / "diffused"), "serve", str(DEMO)], tmp_path, 30) == []
