"""`./dev bench picture`: how soon a server is ready, how long one picture takes and how much memory it uses, beside the server of
Diffusers' guide on the same folder. One lone client, requests of the two servers in turn."""
# builds: diffused

import argparse
import asyncio
import os
import pathlib
import socket
import sys
import time

import aiohttp

import load

PROGRAM = pathlib.Path(__file__).parent.parent / "build/release/diffused"
GUIDE = pathlib.Path(__file__).parent / "guide_server.py"
READY_OURS = r"listening on (http://\S+)"


def resident_mb(pid: int) -> float:
    """Resident memory now, and not of a moment before: VmRSS."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours(model: str, *options: str):
    return load.server([str(PROGRAM), "serve", model, "--port", "0", *options], READY_OURS)


def guide(model: str):
    port = free_port()
    command = [sys.executable, str(GUIDE), model, "--port", str(port), "--dtype", best_dtype()]
    return load.server(command, rf"(http://127.0.0.1:{port})")


def best_dtype() -> str:
    """What this processor computes fastest in, which is also what our server chooses by itself."""
    limited = "ATEN_CPU_CAPABILITY" in os.environ and not os.environ["ATEN_CPU_CAPABILITY"].startswith("avx512")
    return "bf16" if "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text() and not limited else "fp32"


def request(arguments: argparse.Namespace, number: int) -> dict:
    return {"model": "demo", "prompt": f"a kitten in front of a fireplace, number {number}", "size": arguments.size,
            "num_inference_steps": arguments.steps, "guidance_scale": 4.0, "seed": number}


async def one_picture(address: str, body: dict) -> float:
    async with aiohttp.ClientSession() as session:
        outcome = load.Outcome()
        status = await load.post(session, address, body, outcome)
        if status != 200:
            raise RuntimeError(f"{address} answered {status}")
        return outcome.latencies[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/demo")
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alone", action="store_true", help="without the guide's server")
    arguments = parser.parse_args()

    print(load.machine())
    started = time.perf_counter()
    with ours(arguments.model) as (process, address):
        ready_seconds = time.perf_counter() - started
        ours_seconds, guide_seconds = [], []

        def rounds(guide_address: str | None) -> None:
            for number in range(arguments.rounds + 1):
                body = request(arguments, number)
                own = asyncio.run(one_picture(address, body))
                other = asyncio.run(one_picture(guide_address, body)) if guide_address else float("nan")
                if number > 0:  # the first of each warms up
                    ours_seconds.append(own)
                    guide_seconds.append(other)

        if arguments.alone:
            rounds(None)
        else:
            with guide(arguments.model) as (_, guide_address):
                rounds(guide_address)
        memory_mb = resident_mb(process.pid)

    print(f"start to ready            {ready_seconds:.2f} s")
    print(f"one {arguments.size} picture, {arguments.steps} steps: median {load.median(ours_seconds):.3f} s"
          f"  ({min(ours_seconds):.3f}–{max(ours_seconds):.3f})")
    if not arguments.alone:
        ratios = [a / b for a, b in zip(ours_seconds, guide_seconds)]
        print(f"the guide's Python server, {best_dtype()}: median {load.median(guide_seconds):.3f} s  "
              f"ratio {load.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
    print(f"resident memory           {memory_mb:.0f} MB")


if __name__ == "__main__":
    main()
