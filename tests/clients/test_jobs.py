"""A background job from its acceptance to its deletion; the wire holds every answer and event against /openapi.json."""

import requests
from contract import events_of

REQUEST = {"prompt": "a red balloon at the beach", "size": "128x96", "num_inference_steps": 4, "seed": 7, "partial_images": 1}
JOBS = "/v1/images/jobs"


def post(served, body, **headers):
    return requests.post(served.url + "/v1/images/generations", json=body, headers=headers, timeout=60)


def events(served, job, **headers):
    return requests.get(f"{served.url}{JOBS}/{job}/events", headers=headers, timeout=60)


def test_a_job_is_accepted_watched_shown_and_deleted(served):
    accepted = post(served, REQUEST, Prefer="respond-async")
    assert (accepted.status_code, accepted.headers["preference-applied"]) == (202, "respond-async")
    job = accepted.json()["id"]
    assert accepted.headers["location"] == f"{JOBS}/{job}"
    names = [name for name, _ in events_of(events(served, job).content)]
    assert names[-1] == "image.job.done" and {"image.job.step", "image.job.preview"} <= set(names)
    assert events(served, job, **{"Last-Event-ID": "done"}).status_code == 204
    shown = requests.get(f"{served.url}{JOBS}/{job}", timeout=60).json()
    assert shown["status"] == "completed" and shown["seeds"] == [7]
    picture = requests.get(shown["result"]["data"][0]["url"], timeout=60)
    assert picture.headers["content-type"] == "image/png"
    listed = requests.get(served.url + JOBS, params={"limit": 1, "order": "desc"}, timeout=60).json()
    assert [each["id"] for each in listed["data"]] == [job]
    assert requests.delete(f"{served.url}{JOBS}/{job}", timeout=60).json()["deleted"] is True
    assert requests.get(f"{served.url}{JOBS}/{job}", timeout=60).status_code == 404


def test_a_job_is_cancelled(served):
    job = post(served, {**REQUEST, "size": "512x512", "num_inference_steps": 200, "background_job": True}).json()["id"]
    assert requests.delete(f"{served.url}{JOBS}/{job}", timeout=60).status_code == 409
    assert requests.post(f"{served.url}{JOBS}/{job}/cancel", timeout=60).json()["status"] == "cancelled"


def test_a_request_that_is_sent_twice_is_one_job(served):
    body, key = {**REQUEST, "background_job": True}, {"Idempotency-Key": "twice"}
    first, second = post(served, body, **key), post(served, body, **key)
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["id"] == first.json()["id"] and second.headers["idempotent-replayed"] == "true"
    assert post(served, {**body, "seed": 8}, **key).status_code == 409


def test_a_request_that_is_wrong_is_no_job(served):
    refused = post(served, {**REQUEST, "background_job": True, "size": "100x"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "size")
    assert requests.get(f"{served.url}{JOBS}?limit=0", timeout=60).json()["error"]["param"] == "limit"
