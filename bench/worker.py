"""What it costs that a pipeline runs in a process of its own: milliseconds per step and per request beyond the same call in one go.

    ./dev bench worker [--class SanaPipeline] [--steps 50] [--rounds 15]

Both sides run the same tiny folder on one thread; what a step takes by itself is in both. Figures are the least of rounds that
alternate, as other work on the machine only adds.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # as the worker is started; read when torch is imported
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tools/golden"), str(ROOT / "tests/worker")]

import diffusers
import torch
import worker_folders
from process import Process

SHORT = 2  # steps of the request that tells a request's own cost


def in_one_go(pipeline, arguments: dict) -> float:
    started = time.perf_counter()
    pipeline(**arguments, generator=torch.Generator().manual_seed(1))
    return time.perf_counter() - started


def in_the_worker(worker, arguments: dict) -> float:
    started = time.perf_counter()
    worker.ask("begin", row=1, request=arguments | {"seed": 1})
    while worker.ask("run", row=1).header["next"] != "done":
        pass
    return time.perf_counter() - started


def measure(name: str, steps: int, rounds: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = worker_folders.build_folder(Path(temporary) / name, name)
        pipeline = getattr(diffusers, name).from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        worker = Process()
        worker.ask("load", folder=str(folder), dtype="fp32", threads=1)
        took = {(side, count): [] for side in ("call", "worker") for count in (SHORT, steps)}
        for _ in range(rounds + 1):
            for count in (SHORT, steps):
                arguments = worker_folders.small_request(name) | {"num_inference_steps": count}
                took["call", count].append(in_one_go(pipeline, arguments))
                took["worker", count].append(in_the_worker(worker, arguments))
        worker.end()
    least = {key: 1000 * min(times[1:]) for key, times in took.items()}  # the first warms up
    more = {count: least["worker", count] - least["call", count] for count in (SHORT, steps)}
    per_step = (more[steps] - more[SHORT]) / (steps - SHORT)
    print(f"{name}: a call of {steps} steps takes {least['call', steps]:.1f} ms, in the worker {least['worker', steps]:.1f} ms")
    print(f"a step costs {per_step:.3f} ms more, a request {more[SHORT] - SHORT * per_step:.2f} ms more")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--class", dest="name", default="SanaPipeline", choices=worker_folders.BUILDERS)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    measure(options.name, options.steps, options.rounds)
