"""The program itself, over its socket: a whole conversation, what is no message, the end, and no network."""

import json
import pickle
import socket
import struct
import subprocess
import sys

import pytest
import torch
from diffused_worker import PROTOCOL
from diffused_worker.protocol import Channel, ProtocolError
from process import PROGRAM, Process


@pytest.fixture(scope="module")
def worker():
    started = Process()
    yield started
    assert started.end() == 0


def test_it_greets_with_what_it_is(worker):
    assert worker.greeting["protocol"] == PROTOCOL and worker.greeting["torch"] == torch.__version__


def test_a_picture_from_a_picture(worker, folder_of, picture):
    import diffusers

    folder = folder_of("StableDiffusionPipeline")
    described = worker.ask("load", folder=str(folder), dtype="fp32", threads=1).header
    assert described["class"] == "StableDiffusionPipeline" and described["resident_bytes"] > 1 << 20
    assert set(described["forms"]) == {"text", "image", "inpaint"}
    request = {"prompt": "a fox", "num_inference_steps": 4, "strength": 0.5, "seed": 2**64 - 1}
    assert worker.ask("begin", picture.tobytes(), row=1, request=request, picture=[64, 64]).header == {}
    units = []
    while (answer := worker.ask("run", row=1)).header["next"] != "done":
        units.append((answer.header["next"], answer.header["step"], answer.header["steps"]))
    assert units == [("step", 0, 4), ("step", 1, 2), ("decode", 2, 2)]
    pipeline = diffusers.AutoPipelineForImage2Image.from_pipe(diffusers.StableDiffusionPipeline.from_pretrained(folder))
    generator = torch.Generator().manual_seed(2**64 - 1)
    wanted = pipeline("a fox", image=picture, num_inference_steps=4, strength=0.5, generator=generator).images[0]
    assert answer.blob == wanted.tobytes() and (answer.header["width"], answer.header["height"]) == wanted.size


def test_a_row_is_dropped_and_what_is_unknown_is_an_error(worker, folder_of):
    worker.ask("load", folder=str(folder_of("StableDiffusionPipeline")), dtype="fp32")
    worker.ask("begin", row=7, request={"prompt": "a", "num_inference_steps": 2, "seed": 1})
    worker.ask("run", row=7)
    assert worker.ask("drop", row=7).header == {} and worker.ask("drop", row=7).header == {}
    assert worker.ask("run", row=7).header["error"]["kind"] == "internal"
    assert worker.ask("dance").header["error"]["kind"] == "internal"
    assert worker.ask("load", folder="/nowhere", dtype="fp32").header["error"]["kind"] == "not_found"


@pytest.mark.parametrize("bytes_", [struct.pack("<II", 2, 0) + b"[]", struct.pack("<II", 1 << 30, 0), pickle.dumps({"ask": "load"})])
def test_what_is_no_message_is_refused(bytes_):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(bytes_)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(ProtocolError):
            Channel(theirs).receive()


def test_it_has_no_network():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom diffused_worker import seclusion; seclusion.enter()\n"
        "import socket, os, json\nrefused = []\n"
        "for name, call in {'connect': lambda: socket.create_connection(('127.0.0.1', 9)), 'resolve': lambda: socket.getaddrinfo('localhost', 80),\n"
        "                   'listen': lambda: socket.socket().bind(('127.0.0.1', 0))}.items():\n"
        "    try: call()\n"
        "    except PermissionError: refused.append(name)\n"
        "    except OSError: pass\n"
        "print(json.dumps([refused, os.environ['HF_HUB_OFFLINE'], os.environ['TRANSFORMERS_OFFLINE']]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(PROGRAM.parent)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["connect", "resolve", "listen"], "1", "1"]


def test_a_python_without_diffusers_says_so(tmp_path):
    """An interpreter that sees no packages."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-S", "-B", str(PROGRAM), str(theirs.fileno())]
        subprocess.run(command, pass_fds=[theirs.fileno()], env={"PATH": "/usr/bin"}, cwd=tmp_path, check=True, timeout=60)
        said = Channel(ours).receive().header["error"]
    assert said["kind"] == "unsupported" and "cannot run Diffusers" in said["message"] and "\n" not in said["message"]


@pytest.mark.parametrize(("version", "word"), [("0.12.0", "0.35 or newer")])
def test_an_old_diffusers_is_refused(tmp_path, version, word):
    for package in ("diffusers", "torch", "transformers"):
        (tmp_path / f"{package}.py").write_text(f"__version__ = '{version}'\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-S", "-B", str(PROGRAM), str(theirs.fileno())]
        environment = {"PATH": "/usr/bin", "PYTHONPATH": str(tmp_path)}
        subprocess.run(command, pass_fds=[theirs.fileno()], env=environment, cwd="/", check=True, timeout=60)
        said = Channel(ours).receive().header["error"]
    assert said["kind"] == "unsupported" and word in said["message"] and version in said["message"]


def test_it_ends_with_its_server_in_the_middle_of_a_step(folder_of):
    started = Process()
    started.ask("load", folder=str(folder_of("StableDiffusionPipeline")), dtype="fp32")
    started.ask("begin", row=1, request={"prompt": "a", "num_inference_steps": 1000, "width": 512, "height": 512, "seed": 1})
    started.channel.send({"ask": "run", "row": 1})  # and no word after that
    assert started.end() == 0
