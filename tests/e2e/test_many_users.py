"""Many requests at the same time over one model: each gets the bytes it would get alone, and nobody is left waiting."""

import base64
import concurrent.futures
import io
import random
import re
import time

import pytest
from conftest import send_raw, serve, wait_until
from PIL import Image

PROMPTS = ["a red kitten at the beach", "a blue car in the city", "a green bird in the snow", "a white boat at sea", "", "a mug"]
SCHEDULERS = ["FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"]


def mixed_request(number: int) -> dict:
    """Request `number` of a seeded mix: sizes, steps, guidance on and off, negative prompts, several pictures, samplers,
    and edits with and without a mask."""
    choose = random.Random(number)
    body = {
        "prompt": choose.choice(PROMPTS) or "x",
        "size": choose.choice(["256x256", "128x128", "256x128", "192x320"]),
        "num_inference_steps": choose.randint(1, 6),
        "guidance_scale": choose.choice([1.0, 1.0, 3.0, 5.5]),
        "n": choose.choice([1, 1, 2, 3, 4]),
        "seed": choose.randrange(2**32),
        "response_format": "b64_json",
    }
    if choose.random() < 0.4:
        body["negative_prompt"] = choose.choice(PROMPTS)
    if choose.random() < 0.3:
        body["scheduler"] = choose.choice(SCHEDULERS)
    if choose.random() < 0.4:
        body |= {"image": data_url(choose, "RGB"), "strength": choose.choice([0.5, 0.8, 1.0])}
        if choose.random() < 0.5:
            body["mask"] = data_url(choose, "L")
    return body


def data_url(choose: random.Random, mode: str) -> str:
    """A small picture of large pixels."""
    file = io.BytesIO()
    size = choose.choice([(4, 4), (5, 3)])
    pixels = bytes(choose.randrange(256) for _ in range(size[0] * size[1] * len(mode)))
    Image.frombytes(mode, size, pixels).resize((96, 80), Image.Resampling.NEAREST).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def path_of(body) -> str:
    return "/v1/images/edits" if "image" in body else "/v1/images/generations"


def pictures(server, body):
    reply = server.post(body, path_of(body))
    assert reply.status_code == 200, reply.text
    return [item["b64_json"] for item in reply.json()["data"]]


@pytest.mark.parametrize("dtype", ["fp32", "default"])
def test_a_pictures_bytes_depend_on_its_request_alone(tmp_path, dtype):
    options = ["--queue-seconds-max", "36000", *([] if dtype == "default" else ["--dtype", dtype])]
    bodies = [mixed_request(number) for number in range(72)]
    with serve(tmp_path, *options) as server:
        with concurrent.futures.ThreadPoolExecutor(72) as clients:
            leaving = [clients.submit(give_up_soon, server, bodies[i], 0.02 * i) for i in range(8)]
            together = list(clients.map(lambda body: pictures(server, body), bodies[8:]))
            [future.result() for future in leaving]
        assert server.metric("diffused_batch_size_sum") > server.metric("diffused_batch_size_count"), "nothing shared a step"
        for body, at_once in zip(bodies[8:], together):
            assert pictures(server, body) == at_once, body


def give_up_soon(server, body, seconds: float) -> None:
    """A client that goes away without reading its answer."""
    with send_raw(server, body, path_of(body)) as connection:
        connection.settimeout(seconds + 0.01)
        try:
            connection.recv(1)
        except TimeoutError:
            pass


LONG = {"prompt": "a slow picture", "size": "512x512", "num_inference_steps": 200, "guidance_scale": 4}


def test_a_client_that_goes_away_frees_its_place_at_once(tmp_path):
    with serve(tmp_path) as server:
        connection = send_raw(server, LONG)
        wait_until(lambda: server.metric("diffused_requests_running") == 1)
        connection.close()
        wait_until(lambda: server.metric("diffused_requests_running") == 0, seconds=5)
        assert server.metric("diffused_images_total") == 0
        assert 'reason="' in server.get("/metrics").text
        assert server.post({"prompt": "x", "num_inference_steps": 1}).status_code == 200


def test_every_stage_of_a_picture_is_timed(tmp_path):
    with serve(tmp_path) as server:
        assert server.post({"prompt": "x", "num_inference_steps": 1}).status_code == 200
        metrics = server.get("/metrics").text
        for stage in ("text_encode", "denoise", "decode", "encode_image", "store"):
            assert re.search(rf'diffused_stage_seconds_count{{model="[^"]+",stage="{stage}"}} 1\n', metrics), (stage, metrics)


def test_a_deadline_ends_a_request_in_time(server):
    started = time.monotonic()
    reply = server.post(LONG, headers={"X-Request-Timeout": "1"})
    assert reply.status_code in (408, 504) and reply.json()["error"]["message"]
    assert time.monotonic() - started < 10


def test_a_full_queue_says_when_to_come_back(tmp_path):
    with serve(tmp_path, "--queue-jobs-max", "1", "--rows-max", "1") as server:
        connections = [send_raw(server, LONG)]
        wait_until(lambda: server.metric("diffused_requests_running") == 1)
        connections.append(send_raw(server, LONG))
        wait_until(lambda: server.metric("diffused_requests_waiting") == 1)
        started = time.monotonic()
        reply = server.post({"prompt": "x"})
        assert time.monotonic() - started < 1
        assert reply.status_code == 429 and reply.json()["error"]["code"] == "queue_full"
        assert 1 <= float(reply.headers["Retry-After"]) <= 60 and float(reply.headers["retry-after-ms"]) > 0
        for connection in connections:
            connection.close()


def test_sigterm_lets_running_pictures_finish_and_turns_the_rest_away(tmp_path):
    with serve(tmp_path, "--rows-max", "1") as server, concurrent.futures.ThreadPoolExecutor(2) as clients:
        running = clients.submit(server.post, {"prompt": "x", "num_inference_steps": 60, "size": "512x512"})
        wait_until(lambda: server.metric("diffused_requests_running") == 1)
        waiting = clients.submit(server.post, {"prompt": "y"})
        wait_until(lambda: server.metric("diffused_requests_waiting") == 1)
        server.process.terminate()
        assert waiting.result(30).status_code == 503 and "Retry-After" in waiting.result().headers
        assert running.result(60).status_code == 200
        assert server.process.wait(30) == 0


def test_a_second_signal_ends_the_server_now(tmp_path):
    with serve(tmp_path) as server:
        connection = send_raw(server, LONG)
        wait_until(lambda: server.metric("diffused_requests_running") == 1)
        server.process.terminate()
        wait_until(lambda: any('"draining"' in line for line in server.log))
        server.process.terminate()
        assert server.process.wait(10) != 0
        connection.close()


def test_a_second_server_on_the_same_data_folder_is_refused(tmp_path):
    with serve(tmp_path):
        with pytest.raises(AssertionError, match="status"):
            with serve(tmp_path):
                pass
