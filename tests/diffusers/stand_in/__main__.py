"""Speaks the worker's protocol without Diffusers; what it does is in the name of the folder it is to load."""

import os
import socket
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3] / "python")

from diffused_worker import PROTOCOL
from diffused_worker.protocol import Channel

FORM = {"class": "StandInPipeline", "turns": "steps", "takes": {"width": None, "height": None, "num_inference_steps": 3, "guidance_scale": 5.0}}
DESCRIPTION = {
    "class": "StandInPipeline", "dtype": "fp32", "device": "cpu", "parameters": 1000, "step_parameters": 500, "resident_bytes": 12345,
    "default_size": [16, 8], "size_multiple": 8, "side_max": 64, "schedulers": ["OneScheduler", "OtherScheduler"], "forms": {"text": FORM},
}  # fmt: skip


def main(descriptor: int) -> None:
    channel = Channel(socket.socket(fileno=descriptor))
    channel.send({"protocol": PROTOCOL, "diffusers": "0", "torch": "0", "python": "3"})
    rows, name = {}, ""
    while message := channel.receive():
        asked = message.header
        row = asked.get("row")
        if asked["ask"] == "load":
            name = Path(asked["folder"]).name
            print("loading", name, file=sys.stderr)
            if name == "refused":
                channel.send({"error": {"kind": "unsupported", "message": "it is refused", "field": ""}})
            elif name == "dies_at_load":
                os._exit(1)
            elif name == "other_shape":
                channel.send({"class": 7})
            else:
                channel.send(DESCRIPTION)
        elif asked["ask"] == "begin":
            rows[row] = 0
            channel.send({})
        elif asked["ask"] == "drop":
            rows.pop(row)
            channel.send({})
        elif asked["ask"] == "run":
            if name == "crashes" or (name == "crashes_once" and not Path(asked_marker()).exists()):
                Path(asked_marker()).touch()
                os._exit(1)
            if name == "hangs":
                time.sleep(3600)
            if name == "fails":
                channel.send({"error": {"kind": "invalid_argument", "message": "no such size", "field": "width"}})
                continue
            rows[row] += 1
            answer = {"next": "step" if rows[row] < 3 else "done", "step": rows[row], "steps": 3}
            blob = b""
            if answer["next"] == "done":
                answer |= {"width": 2, "height": 1}
                blob = bytes([1, 2, 3, 4, 5, len(rows)])
            channel.send(answer, blob)


def asked_marker() -> str:
    """A file of the test that started this: it crashes as long as it is not there."""
    return os.environ["PYTHON_STAND_IN_MARKER"]


if __name__ == "__main__":
    main(int(sys.argv[1]))
