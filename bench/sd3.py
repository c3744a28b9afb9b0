"""`./dev bench sd3`: Stable Diffusion 3 medium at full width beside Diffusers and OpenVINO, on the same random weights and inputs.

Each is a process of its own with the whole machine to itself while it works; they take turns, so that what else the machine does
falls on all. Says what was compared, asserts that the results agree, and prints times and ratios (below 1: ours is faster) with
their range. Makes the weights and installs OpenVINO under .cache/bench_sd3 the first time; a later run finds them there.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import time

import contest
import load

ROOT = pathlib.Path(__file__).parent.parent
PROGRAM = ROOT / "build/release/bench_sd3"
PEERS = pathlib.Path(__file__).parent / "sd3_peers.py"
BLOCKS_ALL = 24
# What three stacks with all blocks take, each with its own copy of the weights, and OpenVINO with two.
MEMORY_FOR_ALL_BYTES = 28 << 30
BLOCKS_FEW = 6


def run_python(*arguments: object) -> None:
    subprocess.run([sys.executable, str(PEERS), *map(str, arguments)], check=True, env=contest.ENVIRONMENT)


def prepare(blocks: int, sides: list[int], with_openvino: bool) -> pathlib.Path:
    """Makes what is not there yet: OpenVINO, the weights, the inputs, OpenVINO's files. Returns the folder of the weights."""
    folder = contest.CACHE / f"blocks_{blocks}"
    if with_openvino:
        contest.install_openvino()
    if not (folder / "vae/config.json").exists():
        print(f"making random weights, {blocks} blocks", flush=True)
        run_python("weights", folder, blocks)
    for side in sides:
        if not (folder / f"inputs_{side}.safetensors").exists():
            run_python("inputs", folder, side)
    if with_openvino and not (folder / "openvino/vae.xml").exists():
        began = time.perf_counter()
        run_python("convert", folder, sides[0])
        print(f"converted for OpenVINO in {time.perf_counter() - began:.0f} s", flush=True)
    return folder


def contestants(arguments: argparse.Namespace, folder: pathlib.Path, side: int) -> list[contest.Contestant]:
    numbers = [str(folder), str(side), str(arguments.threads)]
    commands = {"ours": [str(PROGRAM), *numbers], "ours int8": [str(PROGRAM), *numbers, "int8"],
                "diffusers": [sys.executable, str(PEERS), "diffusers", *numbers],
                "openvino": [sys.executable, str(PEERS), "openvino", *numbers]}
    names = ["ours"] + (["ours int8"] if arguments.quantize else []) + arguments.peers
    return [contest.Contestant(name, commands[name], folder) for name in names]


def measure(arguments: argparse.Namespace, folder: pathlib.Path, side: int) -> bool:
    with contextlib.ExitStack() as stack:
        all_of_them = contestants(arguments, folder, side)
        for one in all_of_them:
            stack.callback(one.stop)
        print(f"\n{8 * side}x{8 * side}, loading (for OpenVINO: compiling for this size)")
        weights_gb = sum(path.stat().st_size for path in folder.glob("*/*.safetensors")) / (1 << 30)
        for one in all_of_them:
            print(f"    {one.name:<10} {one.load_seconds:7.2f} s, at most {one.peak_gb() / weights_gb:.2f} x the weights resident")
        agree = True
        for work, rounds in (("step", arguments.rounds), ("decode", arguments.rounds)):
            print(f"  {work}")
            agree &= contest.run(all_of_them, work, rounds)
        for one in all_of_them:
            print(f"    {one.name:<10} at most {one.peak_gb() / weights_gb:.2f} x the weights resident")
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    blocks = BLOCKS_ALL if memory_bytes > MEMORY_FOR_ALL_BYTES else BLOCKS_FEW
    parser.add_argument("--blocks", type=int, default=blocks, help="of the transformer's 24; fewer need less memory")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 32], help="of the latents: an eighth of the picture's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", nargs="*", default=["diffusers", "openvino"], choices=["diffusers", "openvino"])
    parser.add_argument("--quantize", action="store_true", help="ours with int8 linears as well")
    arguments = parser.parse_args()

    print(load.machine())
    print(f"{arguments.blocks} of {BLOCKS_ALL} blocks, 2 rows (guidance), 333 text tokens, bfloat16, {arguments.threads} threads")
    folder = prepare(arguments.blocks, arguments.sides, "openvino" in arguments.peers)
    agree = [measure(arguments, folder, side) for side in arguments.sides]
    if not all(agree):
        sys.exit(f"the results differ by more than {contest.DIFFERENCE_MAX}: the times compare nothing")


if __name__ == "__main__":
    main()
