"""The worker's side of the conversation. The server asks, one question at a time, and each has one answer.

    → (at the start)                        {protocol, diffusers, torch, python}, or an error: then the worker ends
    load   folder dtype device variant? threads?   → the model's description (model.py)
    begin  row request picture? mask?       → {}            request: parameters; picture, mask: [width, height] of the blob's parts
    run    row                              → {next, step, steps}, and with next "done" {width, height} and the pixels
    drop   row                              → {}
    Any answer may be {error: {kind, message, field}} instead; a row that has failed is gone.
"""

import os
import platform
import socket
import sys
import threading
import traceback
from pathlib import Path

from diffused_worker import PROTOCOL
from diffused_worker.protocol import Channel, Message
from diffused_worker.refusal import Refusal, first_line


class Service:
    def __init__(self, channel: Channel):
        self._channel = channel
        self._model = None
        self._rows = {}

    def serve(self) -> None:
        """Until the other side closes."""
        while (message := self._channel.receive()) is not None:
            try:
                header, blob = self._answer(message)
            except Refusal as refusal:
                header, blob = refusal.header(), b""
            self._channel.send(header, blob)

    def _answer(self, message: Message) -> tuple[dict, bytes]:
        try:
            return getattr(self, "_" + str(message.header.get("ask")), self._unknown)(message)
        except Refusal:
            raise
        except Exception as error:
            traceback.print_exc()
            raise Refusal("internal", f"The worker failed: {type(error).__name__}.") from error

    def _unknown(self, message: Message) -> tuple[dict, bytes]:
        raise Refusal("internal", f"The worker was asked for {message.header.get('ask')!r}.")

    def _load(self, message: Message) -> tuple[dict, bytes]:
        import torch

        from diffused_worker.model import Model

        asked = message.header
        if asked.get("threads"):
            torch.set_num_threads(int(asked["threads"]))
        self._model = Model(Path(asked["folder"]), asked["dtype"], asked.get("device") or "cpu", asked.get("variant") or None)
        return self._model.description(), b""

    def _begin(self, message: Message) -> tuple[dict, bytes]:
        picture, mask = pictures_of(message)
        self._rows[message.header["row"]] = self._model.begin(message.header["request"], picture, mask)
        return {}, b""

    def _run(self, message: Message) -> tuple[dict, bytes]:
        number = message.header["row"]
        row = self._rows[number]
        try:
            row.advance()
        except Refusal:
            del self._rows[number]
            raise
        header, blob = {"next": row.next, "step": row.step, "steps": row.steps}, b""
        if row.next == "done":
            picture = row.picture()
            header |= {"width": picture.width, "height": picture.height}
            blob = picture.tobytes()
            del self._rows[number]
        return header, blob

    def _drop(self, message: Message) -> tuple[dict, bytes]:
        if row := self._rows.pop(message.header["row"], None):
            row.drop()
        return {}, b""


def pictures_of(message: Message):
    from PIL import Image

    found, at = [], 0
    for name, mode, channels in (("picture", "RGB", 3), ("mask", "L", 1)):
        size = message.header.get(name)
        found.append(None)
        if size:
            end = at + size[0] * size[1] * channels
            found[-1] = Image.frombytes(mode, tuple(size), message.blob[at:end])
            at = end
    return found


def greeting() -> dict:
    """What works here. Refusal: what is missing."""
    try:
        import diffusers
        import torch
        import transformers
    except ImportError as error:
        raise Refusal("unsupported", f"{sys.executable} cannot run Diffusers: {first_line(error)}") from error
    if tuple(int(part) for part in diffusers.__version__.split(".")[:2]) < (0, 35):
        raise Refusal("unsupported", f"{sys.executable} has diffusers {diffusers.__version__}, and 0.35 or newer is needed")
    for logging in (transformers.logging, diffusers.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    return {"protocol": PROTOCOL, "python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}


def end_with(connection: socket.socket) -> None:
    """Ends the process when the server is gone, also in the middle of a step."""
    import select

    waiting = select.poll()
    waiting.register(connection, select.POLLRDHUP)
    waiting.poll()
    os._exit(0)


def run(descriptor: int) -> None:
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=end_with, args=(connection,), daemon=True).start()
    channel = Channel(connection)
    try:
        channel.send(greeting())
    except Refusal as refusal:
        channel.send(refusal.header())
        return
    Service(channel).serve()
