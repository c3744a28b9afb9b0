"""Running servers, each behind a wire that remembers what was said, and the drivers of the clients."""

import contextlib
import json
import math
import random
import struct

import pytest
from client import CLIENTS, SD_CLIENTS, Driver
from contract import Contract
from PIL import Image
from wire import Wire

from tests.e2e.conftest import make_key, send_raw, serve, wait_until

# Names that applications write into their requests, whatever the server has.
ALIASES = ("dall-e-2", "dall-e-3", "gpt-image-1")


class Served:
    """A server as clients reach it (`url`), by a wire of this test's own, and as the test looks at it (`server`)."""

    def __init__(self, server):
        self.server = server
        self.wire = Wire(server.url)
        self.url = self.wire.url


def write_upscaler(path) -> None:
    """A network of Real-ESRGAN's kind, as small as can be, of random weights."""
    noise, header, data = random.Random(3), {}, bytearray()
    dense = [(f"body.0.rdb{block}.conv{k + 1}", 8 + 8 * k, 8) for block in (1, 2, 3) for k in range(5)]
    ends = [(name, 8, 8) for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr")]
    for name, into, out in [("conv_first", 3, 8), *dense, *ends, ("conv_last", 8, 3)]:
        for leaf, shape in (("weight", [out, into, 3, 3]), ("bias", [out])):
            values = struct.pack(f"<{math.prod(shape)}f", *(noise.gauss(0, 0.15) for _ in range(math.prod(shape))))
            header[f"{name}.{leaf}"] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
            data += values
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


@pytest.fixture(scope="session")
def serve_names(tmp_path_factory):
    """Starts a server that has the demo model under the names which clients send, and no other, and an upscaler."""
    upscalers = tmp_path_factory.mktemp("upscalers")
    write_upscaler(upscalers / "RealESRGAN_x4plus.safetensors")

    @contextlib.contextmanager
    def start(*options):
        aliases = [word for name in ALIASES for word in ("--alias", name)]
        with serve(tmp_path_factory.mktemp("data"), "--dtype", "fp32", "--upscalers", str(upscalers), *aliases, "--unknown-model", "reject", *options) as running:
            yield running

    return start


@pytest.fixture(scope="session")
def server(serve_names):
    with serve_names() as running:
        yield running


@pytest.fixture(scope="session")
def keyed_server(tmp_path_factory, serve_names):
    """A server with keys; `key` is one, whose holder means the demo model by `painter`."""
    folder = tmp_path_factory.mktemp("keys")
    key = make_key(folder / "keys", "anna", "--alias", "painter=demo")
    with serve_names("--api-keys", str(folder / "keys")) as running:
        running.key = key
        yield running


@pytest.fixture(scope="session")
def a1111_server(tmp_path_factory, serve_names):
    """A server that reads prompts as A1111 does, and has a style."""
    styles = tmp_path_factory.mktemp("styles") / "styles.csv"
    styles.write_text('name,prompt,negative_prompt\nwet,"{prompt}, (rain:1.4)",sun\n')
    with serve_names("--sdapi-prompt-syntax", "a1111", "--styles", str(styles)) as running:
        yield running


# Longer than the tests of a module take.
ENDLESS = {"prompt": "a red balloon at the beach", "size": "512x512", "num_inference_steps": 200, "n": 10}


@pytest.fixture(scope="module")
def full_server(serve_names):
    """One picture is being made, one waits, and that is all that may."""
    with serve_names("--queue-jobs-max", "1", "--rows-max", "1") as running:
        busy = send_raw(running, ENDLESS)
        wait_until(lambda: running.metric("diffused_requests_running") == 1)
        waiting = send_raw(running, ENDLESS)
        wait_until(lambda: running.metric("diffused_requests_waiting") == 1)
        yield running
        busy.close()
        waiting.close()


@pytest.fixture(scope="module")
def draining_server(serve_names):
    """Told to end, and not there yet."""
    with serve_names("--drain-timeout", "600") as running:
        busy = send_raw(running, ENDLESS)
        wait_until(lambda: running.metric("diffused_requests_running") == 1)
        running.process.terminate()
        wait_until(lambda: any('"draining"' in line for line in running.log))
        yield running
        busy.close()


@pytest.fixture(scope="session")
def contract(server):
    return Contract(server.get("/openapi.json").json())


@pytest.fixture
def on_a_wire(contract):
    """Puts a wire of this test's own before a server. What was said there is held against /openapi.json afterwards."""
    with contextlib.ExitStack() as wires:
        said = []

        def connect(server) -> Served:
            served = Served(server)
            wires.callback(served.wire.close)
            said.append(served.wire)
            return served

        yield connect
        for exchange in [exchange for wire in said for exchange in wire.exchanges() if exchange.whole]:
            contract.check(exchange)


@pytest.fixture
def served(server, on_a_wire):
    return on_a_wire(server)


@pytest.fixture(scope="session")
def drivers():
    running: dict[str, Driver] = {}
    yield running
    for driver in running.values():
        driver.close()


@pytest.fixture
def client(request, drivers):
    """The driver of the client that is the test's parameter; started once."""
    name = request.param.name
    request.node.user_properties.append(("client", name))
    if name not in drivers:
        drivers[name] = Driver(request.param)
    return drivers[name]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Pictures to upload: a photograph's worth of noise, larger than the 1 MB from which curl asks first, and a mask."""
    folder = tmp_path_factory.mktemp("files")
    noise = random.Random(7)
    Image.frombytes("RGB", (768, 576), noise.randbytes(768 * 576 * 3)).save(folder / "image.png")
    mask = Image.new("RGBA", (768, 576), (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 384, 576))
    mask.save(folder / "mask.png")
    return folder


def pytest_terminal_summary(terminalreporter):
    """Which client passed how many tests, and what could not be asked of it. Nothing is left out without a word."""
    passed = [dict(report.user_properties).get("client") for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    terminalreporter.section("clients")
    for client in (*CLIENTS, *SD_CLIENTS):
        terminalreporter.write_line(f"{client.name}: {passed.count(client.name)} passed")
        for feature, reason in client.cannot.items():
            terminalreporter.write_line(f"    without {feature}: {reason}")
