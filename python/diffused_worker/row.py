"""A row: one picture, which is one call of the pipeline in a thread of its own. The call has the turn, or it waits.

The thread hands the turn back before the network's first step, after each step, and at the end; it goes on when the server
grants the next unit. It leaves by an exception of ours when the row is dropped: the pipeline's own interrupt would still
decode. Rows are copies of the loaded pipeline with a scheduler and a generator of their own; they share the networks.
"""

import copy
import threading
import traceback

import torch
from diffusers import SchedulerMixin
from PIL import Image

from diffused_worker.refusal import Refusal, first_line
from diffused_worker.signature import Call

_current = threading.local()  # .row: whose thread this is


class Left(BaseException):
    """The row was dropped. Not an Exception, so that no pipeline takes it for one it may handle."""


def own_copy(pipeline, scheduler: type | None = None):
    """The same networks under schedulers of its own; `scheduler`: another class for the one that steps."""
    mine = copy.copy(pipeline)
    for name, component in pipeline.components.items():
        if isinstance(component, SchedulerMixin):
            kind = scheduler if scheduler and name == "scheduler" else type(component)
            setattr(mine, name, kind.from_config(component.config))
    return mine


class Row:
    """`advance` and `drop` belong to the server's side, one thread; the rest runs in the row's own."""

    def __init__(self, call: Call, arguments: dict, networks, scheduler: type | None = None):
        self._waits = call.waits
        self._pipeline = own_copy(call.pipeline, scheduler)
        self._networks = networks
        self._arguments = arguments | self._callback()
        self._granted = threading.Semaphore(0)
        self._handed_back = threading.Semaphore(0)
        self._dropped = False
        self._in_steps = False
        self._thread: threading.Thread | None = None
        self._error: Refusal | None = None
        self._picture: Image.Image | None = None
        self.step = 0
        self.steps = int(arguments.get("num_inference_steps") or 1) if self._waits else 1
        self.next = "encode" if self._waits else "step"

    def advance(self) -> None:
        """Runs one unit; then `next` is what comes, "done" at the end. Raises Refusal when the call failed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._granted.release()
        self._handed_back.acquire()
        if self._error:
            raise self._error

    def drop(self) -> None:
        """Ends it where it waits. Harmless at its end."""
        self._dropped = True
        if self._thread is not None and self._thread.is_alive():
            self._granted.release()
            self._thread.join()

    def picture(self) -> Image.Image:
        assert self._picture is not None, "the row is not done"
        return self._picture

    def _run(self) -> None:
        _current.row = self
        self._granted.acquire()
        try:
            if not self._dropped:
                self._networks.take(self)
                torch.manual_seed(self._arguments["generator"].initial_seed())
                self._picture = first_picture(self._pipeline(**self._arguments))
                self.step = self.steps
        except Left:
            pass
        except BaseException as error:  # whatever it is ends this row alone
            self._error = self._refusal(error)
        finally:
            self._networks.leave(self)
            self._arguments, self._pipeline = {}, None
            self.next = "done"
            self._handed_back.release()

    def _pause(self, upcoming: str) -> None:
        """Hands the turn back; returns when the row is granted its next unit.

        Some pipelines draw from torch's own generator too: each row goes on with the state that it left.
        """
        self.next = upcoming
        drawn = torch.get_rng_state()
        self._handed_back.release()
        self._granted.acquire()
        if self._dropped:
            raise Left
        self._networks.take(self)
        torch.set_rng_state(drawn)

    def _callback(self) -> dict:
        if self._waits == "callback_on_step_end":
            return {"callback_on_step_end": lambda _pipeline, _i, _t, _tensors: self._stepped() or {}}
        if self._waits == "callback":
            return {"callback": lambda _i, _t, _latents: self._stepped(), "callback_steps": 1}
        return {}

    def _stepped(self) -> None:
        self._in_steps = True
        self.step += 1
        steps = getattr(self._pipeline, "num_timesteps", None)
        self.steps = max(self.step, int(steps) if steps else len(self._pipeline.scheduler.timesteps))
        self._pause("step" if self.step < self.steps else "decode")

    def _refusal(self, error: BaseException) -> Refusal:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error):
            return Refusal("out_of_memory", "There is not enough memory for this picture.")
        if isinstance(error, Refusal):
            return error
        traceback.print_exception(error)  # to the server's log
        if isinstance(error, (ValueError, TypeError)) and not self._in_steps:
            return Refusal("invalid_argument", f"The pipeline refuses this request: {first_line(error)}")
        return Refusal("internal", "The model failed on this request.")


def before_first_step(*_of_the_network) -> None:
    """A forward hook of the denoiser: what a row does before its first step is a unit by itself."""
    row = getattr(_current, "row", None)
    if row is not None and not row._in_steps:
        row._in_steps = True
        if row._waits:
            row._pause("step")


def first_picture(output) -> Image.Image:
    pictures = getattr(output, "images", None)
    if pictures is None:
        raise Refusal("unsupported", f"{type(output).__name__} holds no pictures")
    while isinstance(pictures, (list, tuple)):
        pictures = pictures[0]
    if not isinstance(pictures, Image.Image):
        raise Refusal("unsupported", "the pipeline made something that is no picture")
    return pictures.convert("RGB")
