"""`./dev bench qwen3`: Z-Image and FLUX.2 klein 4B at full width, of 512x512: prompt, step and decode beside Diffusers in one run.

With --whole: the whole picture of klein 4B, all its blocks, 4 steps, by `diffused generate`: seconds and memory. All weights are random.
"""
# builds: diffused

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import contest
import load

HERE = pathlib.Path(__file__).parent
PROGRAM, PEERS = HERE.parent / "build/release/bench_qwen3", HERE / "qwen3_peers.py"
CACHE = contest.CACHE.parent / "bench_qwen3"
TINY_KLEIN = HERE.parent / "tests/pipelines/data/tiny_klein"  # whose tokenizer and template serve any width
BLOCKS_ALL = {"klein": 5, "z_image": 30}
TEXT_LAYERS_ALL = 36
TEXT_LAYERS_OF_KLEIN = 27  # as many as it asks for
WHOLE_STEPS = 4


def prepare(kind: str, text_layers: int, blocks: int) -> pathlib.Path:
    folder = CACHE / f"{kind}_{text_layers}_{blocks}"
    for command, words, file in (("weights", (text_layers, blocks), "vae/config.json"), ("inputs", (), "inputs.safetensors")):
        if not (folder / file).exists():
            print(f"making {command}", flush=True)
            subprocess.run([sys.executable, str(PEERS), command, str(folder), kind, *map(str, words)], check=True)
    return folder


def measure(kind: str, arguments: argparse.Namespace) -> bool:
    blocks = arguments.klein_blocks if kind == "klein" else arguments.z_image_blocks
    folder = prepare(kind, arguments.text_layers, blocks)
    numbers = [str(folder), kind, str(arguments.threads)]
    commands = {"ours": [str(PROGRAM), *numbers]}
    if arguments.quantize:
        commands["ours int8"] = [str(PROGRAM), *numbers, "int8"]
    commands["diffusers"] = [sys.executable, str(PEERS), "diffusers", *numbers]
    print(f"\n{kind}: {blocks} of {BLOCKS_ALL[kind]} blocks, {arguments.text_layers} of {TEXT_LAYERS_ALL} layers of text", flush=True)
    contestants = [contest.Contestant(name, command, folder) for name, command in commands.items()]
    agree = True
    for work in ("prompt", "step", "decode"):
        print(f"  {work}")
        agree &= contest.run(contestants, work, arguments.rounds)
    for one in contestants:
        one.stop()
    return agree


def make_whole() -> pathlib.Path:
    folder = prepare("klein", TEXT_LAYERS_OF_KLEIN, BLOCKS_ALL["klein"])
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(TINY_KLEIN / part, folder / part, dirs_exist_ok=True)
    index = json.loads((TINY_KLEIN / "model_index.json").read_text()) | {"is_distilled": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def whole(arguments: argparse.Namespace) -> None:
    folder = make_whole()
    weights = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e9
    print(f"\nthe whole picture of klein 4B: 512x512, {WHOLE_STEPS} steps, {weights:.1f} GB of weights on disk, {arguments.threads} threads")
    for name, options in (("bf16", []), ("int8", ["--quantize", "int8"])):
        command = [HERE.parent / "build/release/diffused", "generate", folder, "a red fox in the snow", "-o", folder / f"{name}.png",
                   "--size", "512x512", "--steps", str(WHOLE_STEPS), "--seed", "1", "--threads", str(arguments.threads),
                   "--dtype", "bf16", *options]  # fmt: skip
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=contest.ENVIRONMENT | contest.OURS)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        told = re.search(r"^[\d.]+ s: prompt .*$", said, re.MULTILINE)
        if status != 0 or not told:
            sys.exit(said)
        print(f"  {name}: {told[0]}; peak {usage.ru_maxrss / 1e6:.1f} GB, with the pages of files", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=["z_image", "klein"], choices=["z_image", "klein"])
    parser.add_argument("--z-image-blocks", type=int, default=4, help=f"of the {BLOCKS_ALL['z_image']}, each 0.36 GB")
    parser.add_argument("--klein-blocks", type=int, default=1, help=f"of the {BLOCKS_ALL['klein']}, with four times as many single ones")
    parser.add_argument("--text-layers", type=int, default=4, help=f"of Qwen3-4B's {TEXT_LAYERS_ALL}, each 0.2 GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quantize", action="store_true", help="ours with int8 linears as well")
    parser.add_argument("--whole", action="store_true", help="the whole picture of klein 4B: 15 GB of weights are made, and kept")
    arguments = parser.parse_args()
    print(load.machine())
    agree = [measure(kind, arguments) for kind in arguments.kinds]
    if arguments.whole:
        whole(arguments)
    if not all(agree):
        sys.exit(f"the results differ by more than {contest.DIFFERENCE_MAX}: the times compare nothing")


if __name__ == "__main__":
    main()
