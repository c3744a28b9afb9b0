"""`./dev bench text`: Stable Diffusion 3's two CLIPs and T5-XXL for one new prompt, beside transformers, on the same random weights.

Asserts that the results agree, and prints times and ratios (below 1: ours is faster) with their range.
"""

import argparse
import os
import pathlib
import subprocess
import sys

import contest
import load

PROGRAM = pathlib.Path(__file__).parent.parent / "build/release/bench_text"
PEERS = pathlib.Path(__file__).parent / "text_peers.py"
BLOCKS_ALL = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=4, help="of T5-XXL's 24, each 0.4 GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    print(load.machine())
    print(f"two CLIPs of 77 tokens, T5-XXL of 256 with {arguments.blocks} of {BLOCKS_ALL} blocks, bfloat16, {arguments.threads} threads")
    folder = contest.CACHE / f"text_{arguments.blocks}"
    if not (folder / "inputs.safetensors").exists():
        print("making random weights", flush=True)
        subprocess.run([sys.executable, str(PEERS), "weights", str(folder), str(arguments.blocks)], check=True)
    numbers = [str(folder), str(arguments.threads)]
    both = [contest.Contestant("ours", [str(PROGRAM), *numbers], folder),
            contest.Contestant("transformers", [sys.executable, str(PEERS), "transformers", *numbers], folder)]
    agree = contest.run(both, "prompt", arguments.rounds)
    for one in both:
        one.stop()
    if not agree:
        sys.exit(f"the results differ by more than {contest.DIFFERENCE_MAX}: the times compare nothing")


if __name__ == "__main__":
    main()
