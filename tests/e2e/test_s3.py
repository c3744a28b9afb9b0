"""Pictures in a bucket: several servers on one PostgreSQL and one store that speaks S3, and what it does wrong."""

import contextlib
import hashlib

import pytest
import requests
import s3_store
from conftest import DEMO, run_program, serve, wait_until
from test_nodes import JOB, LONG, accepted, database, events, job, schema_of  # noqa: F401

QUICK = {key: value for key, value in JOB.items() if key != "background_job"}


@pytest.fixture(scope="module")
def store():
    with s3_store.running() as running:
        yield running


@pytest.fixture
def start(store, tmp_path):
    """Starts servers whose pictures lie below a prefix of the test's own."""
    environment = {**store.environment, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with contextlib.ExitStack() as servers:
        def one(*options):
            return servers.enter_context(serve(tmp_path / "own", "--blobs", f"s3://{s3_store.BUCKET}/{schema_of(tmp_path)}",
                                               "--dtype", "fp32", *options, environment=environment))
        yield one


def fetch(server, url) -> requests.Response:
    return requests.get(server.url + url[url.index("/images/"):], timeout=60)


def url_of(result) -> str:
    return result["data"][0]["url"]


def refused(reply) -> bool:
    return reply.status_code == 503 and reply.json()["error"]["code"] == "storage_failed" and "Retry-After" in reply.headers


def test_a_job_accepted_on_one_server_has_its_picture_on_the_other(start, store, database, tmp_path):  # noqa: F811
    schema = schema_of(tmp_path)
    database.ask(f"CREATE SCHEMA {schema}")
    jobs = ("--store", f"{database.url}&options=-csearch_path%3D{schema}")
    one, other = start(*jobs), start(*jobs)
    done = [list(events(other, accepted(one)["id"]))[-1]["job"] for _ in range(3)]
    kept = store.objects(f"{schema}/images/")
    assert len(kept) == 3
    for item in done:
        assert item["status"] == "completed"
        url = url_of(item["result"])
        bytes_of_both = {fetch(server, url).content for server in (one, other)}
        assert len(bytes_of_both) == 1
        name, = (name for name in kept if url.rsplit("/", 1)[1].split(".")[0] in name)
        assert name.split(".")[2] == hashlib.sha256(bytes_of_both.pop()).hexdigest()
    assert requests.delete(f"{other.url}/v1/images/jobs/{done[0]['id']}", timeout=60).status_code == 200
    assert len(store.objects(f"{schema}/images/")) == 2
    assert fetch(one, url_of(done[0]["result"])).status_code == 404


def test_a_damaged_picture_is_never_served(start, store, tmp_path):
    server = start()
    url = url_of(server.post({**QUICK, "response_format": "url"}).json())
    name, = store.objects(f"{schema_of(tmp_path)}/images/")
    store.s3.put_object(Bucket=s3_store.BUCKET, Key=name, Body=b"another picture")
    assert fetch(server, url).status_code == 500
    assert fetch(server, url).status_code == 404
    assert not store.objects(f"{schema_of(tmp_path)}/images/")


def test_a_store_that_is_away_is_told_and_nothing_is_lost_when_it_is_back(start, store):
    server = start("--background-running-max", "1")
    before = url_of(server.post({**QUICK, "response_format": "url"}).json())
    running = accepted(server, LONG)["id"]
    wait_until(lambda: job(server, running)["status"] == "in_progress", 60)
    store.stop()
    try:
        assert refused(fetch(server, before))
        assert refused(server.post(JOB))
        assert refused(server.post({**QUICK, "response_format": "url"}))
        assert server.post({**QUICK, "response_format": "b64_json"}).status_code == 200
        wait_until(lambda: job(server, running)["progress"] == 100, 60)
        assert job(server, running)["status"] == "in_progress"  # made, and waits to be kept
        assert server.get("/health").json()["checks"]["picture_store"] == "failing"
        assert any("storage_failed" in line and store.url in line for line in server.log)
    finally:
        store.start()
    wait_until(lambda: fetch(server, before).status_code == 200, 60)
    done = list(events(server, running))[-1]["job"]
    assert done["status"] == "completed" and done["attempts"] == 1
    assert fetch(server, url_of(done["result"])).status_code == 200
    assert list(events(server, accepted(server)["id"]))[-1]["job"]["status"] == "completed"


def test_a_bucket_that_vanishes_may_come_back(start, store):
    server = start()
    store.delete_bucket()
    try:
        assert refused(server.post({**QUICK, "response_format": "url"}))
        wait_until(lambda: any("NoSuchBucket" in line for line in server.log))
        assert refused(server.post(JOB))
    finally:
        store.s3.create_bucket(Bucket=s3_store.BUCKET)
    wait_until(lambda: server.post({**QUICK, "response_format": "url"}).status_code == 200, 60)


def test_keys_in_a_file_may_be_replaced_while_the_server_runs(store, tmp_path):
    keys = tmp_path / "credentials"

    def write(secret):
        (tmp_path / "new").write_text(f"[default]\naws_access_key_id = {store.environment['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {secret}\n")
        (tmp_path / "new").rename(keys)
    right = store.environment["AWS_SECRET_ACCESS_KEY"]
    write(right)
    environment = {**store.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": str(keys),
                   "OMP_NUM_THREADS": "1"}
    wanted = {**QUICK, "response_format": "url"}
    with serve(tmp_path / "own", "--blobs", f"s3://{s3_store.BUCKET}/keys", "--dtype", "fp32", environment=environment) as server:
        assert server.post(wanted).status_code == 200
        write("expired")
        assert refused(server.post(wanted))
        wait_until(lambda: any("SignatureDoesNotMatch" in line for line in server.log), 10)
        write(right)
        wait_until(lambda: server.post(wanted).status_code == 200, 60)
        keys.write_text("damaged")
        assert server.post(wanted).status_code == 200
        wait_until(lambda: any('"s3_keys_kept"' in line for line in server.log))


def test_a_store_that_cannot_be_used_is_said_at_the_start(store, tmp_path):
    def said(blobs="s3://pictures/x", **environment):
        done = run_program("serve", DEMO, "--dtype", "fp32", "--port", "0", "--data-dir", tmp_path, "--blobs", blobs,
                           env={**store.environment, "PATH": "/usr/bin", "OMP_NUM_THREADS": "1", **environment})
        assert done.returncode != 0
        return done.stderr
    assert "InvalidAccessKeyId" in said(AWS_ACCESS_KEY_ID="AKIAOTHER")
    wrong = said(AWS_SECRET_ACCESS_KEY="wrong-secret")
    assert "SignatureDoesNotMatch" in wrong and "wrong-secret" not in wrong
    assert "NoSuchBucket" in said("s3://other-bucket")
    assert "127.0.0.1:1" in said(AWS_ENDPOINT_URL="http://127.0.0.1:1")
