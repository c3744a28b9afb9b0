"""Tiny folders of the pipeline classes that Diffusers' AutoPipelineForText2Image knows, with random weights.

    build_folder(path, "SanaPipeline")      writes one to `path`, as save_pretrained does

From the command line: python3 tools/golden/worker_folders.py PATH [CLASS…] writes them under PATH/CLASS.
"""

import sys
from pathlib import Path

import diffusers
import torch

import worker_diffusion
import worker_flow

BUILDERS = worker_diffusion.BUILDERS | worker_flow.BUILDERS
# What a request must say so that a picture is small: pixels of both sides, and arguments.
SMALL = {
    "IFPipeline": {"width": None, "height": None},
    "KandinskyCombinedPipeline": {"prior_num_inference_steps": 2},
    "KandinskyV22CombinedPipeline": {"prior_num_inference_steps": 2},
    "FluxKontextPipeline": {"max_area": 64 * 64},
    "LatentConsistencyModelPipeline": {"num_inference_steps": 3},
    "StableDiffusionXLPipeline": {"num_inference_steps": 4},
    "StableDiffusionXLPAGPipeline": {"num_inference_steps": 4},
} | {
    name: {"use_resolution_binning": False}
    for name in (
        "PixArtAlphaPipeline", "PixArtSigmaPipeline", "PixArtSigmaPAGPipeline", "HunyuanDiTPipeline", "HunyuanDiTPAGPipeline",
        "SanaPipeline", "SanaPAGPipeline",
    )
}  # fmt: skip


def small_request(name: str) -> dict:
    """Arguments of a call that takes no time."""
    return {"prompt": "a red fox in the snow", "num_inference_steps": 2, "width": 64, "height": 64} | SMALL.get(name, {})


def build_folder(path: Path, name: str) -> Path:
    """The same bytes every time."""
    torch.manual_seed(7)
    components = BUILDERS[name](name)
    pipeline = getattr(diffusers, name)(**components)
    pipeline.save_pretrained(path)
    return path


if __name__ == "__main__":
    for wanted in sys.argv[2:] or BUILDERS:
        build_folder(Path(sys.argv[1]) / wanted, wanted)
        print(wanted)
