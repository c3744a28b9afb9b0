#!/usr/bin/env python3
"""Makes models/demo from nothing: draws the pictures, trains the networks, writes the folder.

    python3 tools/demo_model/make.py                 everything; run again after an interruption, it goes on
    python3 tools/demo_model/make.py decoder         one stage alone, once those before it are done

Intermediate files and the log lie in build/demo_model.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import distributed, multiprocessing

from export import export
from networks import PromptedTransformer
from pictures import draw_set
from training import Log, worker
from transformer import encode_set, train_transformer
from vae import fresh_pictures, normalise, train_decoder, train_vae

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/demo_model"
TARGET = ROOT / "models/demo"
PICTURES, SEED = 24000, 1


def stage_pictures(log: Log) -> None:
    """Draws the training set."""
    if not (FOLDER / "pictures/contents.pickle").exists():
        draw_set(FOLDER / "pictures", PICTURES, SEED, log)


def stage_vae(log: Log) -> None:
    """Trains encoder and decoder together."""
    if (FOLDER / "vae").exists():
        return
    vae = train_vae(FOLDER, log)
    if not worker():
        normalise(vae, fresh_pictures(200, 2))
        vae.save_pretrained(FOLDER / "vae.new")
        (FOLDER / "vae.new").rename(FOLDER / "vae")


def stage_latents(log: Log) -> None:
    """Encodes the training set."""
    encode_set(FOLDER, log)


def stage_decoder(log: Log) -> None:
    """Goes on with the decoder alone, while the transformer trains."""
    train_decoder(AutoencoderKL.from_pretrained(FOLDER / "vae"), encode_set(FOLDER, log), FOLDER, log)


def stage_transformer(log: Log) -> None:
    """Trains transformer and text encoders and writes models/demo now and then."""
    model = train_transformer(FOLDER, log, write)
    if not worker():
        write(model)


def write(model: PromptedTransformer) -> None:
    """Writes models/demo from the transformer given and the decoder as it is now."""
    vae = AutoencoderKL.from_pretrained(FOLDER / "vae").eval()
    if (FOLDER / "decoder.pt").exists():
        vae.decoder.load_state_dict(torch.load(FOLDER / "decoder.pt", weights_only=True)["average"])
    export(model, vae, TARGET)


STAGES = {
    "pictures": stage_pictures, "vae": stage_vae, "latents": stage_latents, "decoder": stage_decoder,
    "transformer": stage_transformer,
}
# Two processes of one thread each, one gradient: on a busy machine threads would wait for each other in every layer.
WORKERS = {"vae": 2, "decoder": 2, "transformer": 2}


def work(number: int, stage: str, log: Log) -> None:
    """Runs one stage in a worker process."""
    torch.set_num_threads(1)
    meeting = f"file://{FOLDER}/{stage}.meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=number, world_size=WORKERS[stage])
    STAGES[stage](log)
    distributed.barrier()
    distributed.destroy_process_group()


def run(stage: str, log: Log) -> None:
    """Runs one stage, in several processes where it gains from that."""
    if stage not in WORKERS:
        return STAGES[stage](log)
    (FOLDER / f"{stage}.meeting").unlink(missing_ok=True)  # An interrupted run leaves its meeting place behind.
    multiprocessing.spawn(work, (stage, log), WORKERS[stage])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=STAGES)
    stage = parser.parse_args().stage
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = Log(FOLDER / "train.log")
    if stage:
        return run(stage, log)
    for stage in ("pictures", "vae", "latents"):
        run(stage, log)
    decoder = subprocess.Popen([sys.executable, __file__, "decoder"])
    run("transformer", log)
    if decoder.wait():
        sys.exit("the training of the decoder failed; see above")
    run("transformer", log)  # Nothing is left to train: this writes the folder again, with the finished decoder.
    log("done: models/demo is written; evaluate.py measures it")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
