"""What `./dev bench flux` and `./dev bench sdxl` have in common: one step of a denoiser, ours beside Diffusers and OpenVINO on the
same random weights and inputs.

Each is a process of its own with the whole machine to itself while it works; they take turns. Asserts that the results agree, and
prints times and ratios (below 1: ours is faster) with their range. Makes what it needs under .cache the first time.
"""

import argparse
import os
import pathlib
import subprocess
import sys

import contest

HERE = pathlib.Path(__file__).parent


def parser(description: str) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--sides", type=int, nargs="+", help="of the latents: an eighth of the picture's")
    result.add_argument("--rounds", type=int, default=5)
    result.add_argument("--threads", type=int, default=os.cpu_count())
    result.add_argument("--peers", nargs="*", default=["diffusers", "openvino"], choices=["diffusers", "openvino"])
    result.add_argument("--quantize", action="store_true", help="ours with int8 linears as well")
    return result


class Steps:
    """Of one denoiser: bench_NAME is our program, NAME_peers.py the others'."""

    def __init__(self, name: str, folder: pathlib.Path, arguments: argparse.Namespace):
        self.program = HERE.parent / f"build/release/bench_{name}"
        self.peers = HERE / f"{name}_peers.py"
        self.folder, self.arguments = folder, arguments

    def run_peer(self, *words: object) -> None:
        subprocess.run([sys.executable, str(self.peers), *map(str, words)], check=True, env=contest.ENVIRONMENT)

    def prepare(self, network: str, *shape: int) -> None:
        if not (self.folder / network / "config.json").exists():
            print("making random weights", flush=True)
            self.run_peer("weights", self.folder, *shape)
        if "openvino" in self.arguments.peers:
            contest.install_openvino()
        for side in self.arguments.sides:
            if not (self.folder / f"inputs_{side}.safetensors").exists():
                self.run_peer("inputs", self.folder, side)
            if "openvino" in self.arguments.peers and not (self.folder / f"openvino/denoiser_{side}.xml").exists():
                print("converting for OpenVINO", flush=True)
                self.run_peer("convert", self.folder, side)

    def measure(self, side: int) -> bool:
        numbers = [str(self.folder), str(side), str(self.arguments.threads)]
        commands = {"ours": [str(self.program), *numbers]}
        if self.arguments.quantize:
            commands["ours int8"] = [str(self.program), *numbers, "int8"]
        for peer in self.arguments.peers:
            commands[peer] = [sys.executable, str(self.peers), peer, *numbers]
        contestants = [contest.Contestant(name, command, self.folder) for name, command in commands.items()]
        print(f"\n{8 * side}x{8 * side}")
        agree = contest.run(contestants, "step", self.arguments.rounds)
        for one in contestants:
            one.stop()
        return agree

    def run(self) -> None:
        agree = [self.measure(side) for side in self.arguments.sides]
        if not all(agree):
            sys.exit(f"the results differ by more than {contest.DIFFERENCE_MAX}: the times compare nothing")
