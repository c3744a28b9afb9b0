"""`./dev bench flux`: a step of FLUX.1-schnell at full width beside Diffusers, on the same random weights and inputs.

Each is a process of its own with the whole machine to itself while it works; they take turns. Asserts that the results agree, and
prints times and ratios (below 1: ours is faster) with their range. Makes the weights under .cache/bench_flux the first time.
"""

import argparse
import os
import pathlib
import subprocess
import sys

import contest
import load

PROGRAM = pathlib.Path(__file__).parent.parent / "build/release/bench_flux"
PEERS = pathlib.Path(__file__).parent / "flux_peers.py"
CACHE = contest.CACHE.parent / "bench_flux"
DOUBLE_BLOCKS_ALL, SINGLE_BLOCKS_ALL = 19, 38


def run_python(*arguments: object) -> None:
    subprocess.run([sys.executable, str(PEERS), *map(str, arguments)], check=True, env=contest.ENVIRONMENT)


def measure(arguments: argparse.Namespace, folder: pathlib.Path, side: int) -> bool:
    if not (folder / f"inputs_{side}.safetensors").exists():
        run_python("inputs", folder, side)
    numbers = [str(folder), str(side), str(arguments.threads)]
    commands = {"ours": [str(PROGRAM), *numbers], "ours int8": [str(PROGRAM), *numbers, "int8"],
                "diffusers": [sys.executable, str(PEERS), "diffusers", *numbers]}
    names = ["ours"] + (["ours int8"] if arguments.quantize else []) + ["diffusers"]
    contestants = [contest.Contestant(name, commands[name], folder) for name in names]
    print(f"\n{8 * side}x{8 * side}")
    agree = contest.run(contestants, "step", arguments.rounds)
    for one in contestants:
        one.stop()
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--double-blocks", type=int, default=2, help=f"of the {DOUBLE_BLOCKS_ALL}, each 0.7 GB; twice as many single ones")
    parser.add_argument("--sides", type=int, nargs="+", default=[32], help="of the latents: an eighth of the picture's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quantize", action="store_true", help="ours with int8 linears as well")
    arguments = parser.parse_args()

    single_blocks = 2 * arguments.double_blocks
    print(load.machine())
    print(f"{arguments.double_blocks} of {DOUBLE_BLOCKS_ALL} and {single_blocks} of {SINGLE_BLOCKS_ALL} blocks, 1 row, 256 text tokens,"
          f" bfloat16, {arguments.threads} threads")
    folder = CACHE / f"blocks_{arguments.double_blocks}"
    if not (folder / "transformer/config.json").exists():
        print("making random weights", flush=True)
        run_python("weights", folder, arguments.double_blocks, single_blocks)
    agree = [measure(arguments, folder, side) for side in arguments.sides]
    if not all(agree):
        sys.exit(f"the results differ by more than {contest.DIFFERENCE_MAX}: the times compare nothing")


if __name__ == "__main__":
    main()
