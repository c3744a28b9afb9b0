"""Golden tensors: what real Diffusers and transformers compute, stage by stage, on tiny networks with random weights.

    python3 tools/golden/make.py            writes those of tests/golden/*.safetensors that are missing or differ
    python3 tools/golden/make.py --check    compares, a line per tensor; exit status 1 on a difference

One file is one case: the network's tensors under `weights.`, named inputs under `in.`, stage outputs under `out.`, and
in the metadata its config.json as `config` and the versions of the libraries that made it.
"""

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import autoencoder_cases
import denoiser_cases
import text_encoder_cases
import transformer_cases

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "golden"
# Of the largest value of a tensor: other processors and builds of torch add up in another order.
TOLERANCE = 1e-5

CASES = [
    text_encoder_cases.clip_l, text_encoder_cases.clip_g, text_encoder_cases.clip_plain, text_encoder_cases.t5_gated,
    text_encoder_cases.t5_relu, text_encoder_cases.qwen3_grouped, text_encoder_cases.qwen3_causal,
    text_encoder_cases.qwen2_5_vl, text_encoder_cases.qwen2_5_vl_vision,
    denoiser_cases.mmdit_sd3, denoiser_cases.mmdit_sd35_medium, denoiser_cases.mmdit_sd35_large,
    denoiser_cases.mmdit_patch_one, denoiser_cases.mmdit_without_t5, denoiser_cases.unet_sd1,
    denoiser_cases.unet_odd_size, denoiser_cases.unet_xl, denoiser_cases.unet_distilled,
    transformer_cases.flux_schnell, transformer_cases.flux_dev, transformer_cases.flux_double_only,
    transformer_cases.flux_single_only, transformer_cases.flux_references, transformer_cases.flux2_klein,
    transformer_cases.flux2_references, transformer_cases.flux2_dev, transformer_cases.z_image,
    transformer_cases.z_image_whole, transformer_cases.z_image_far,
    transformer_cases.qwen_image, transformer_cases.qwen_image_references, transformer_cases.qwen_image_far,
    autoencoder_cases.vae_sd3, autoencoder_cases.vae_sd1, autoencoder_cases.vae_one_level,
    autoencoder_cases.vae_without_attention, autoencoder_cases.vae_flux2, autoencoder_cases.vae_qwen_image,
]  # fmt: skip


def write(path: Path, tensors: dict, config: dict) -> None:
    versions = {name: importlib.metadata.version(name) for name in ["torch", "diffusers", "transformers"]}
    save_file(tensors, path, metadata={"config": json.dumps(config, default=list), "versions": json.dumps(versions)})
    path.chmod(0o644)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def differences(path: Path, tensors: dict) -> tuple[list[str], bool]:
    """A line per input and stage, and whether all of them agree with the file: weights and inputs exactly."""
    if not path.exists():
        return [f"{path.name}: missing"], False
    with safe_open(path, "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}
    lines = [f"{path.name} {key}: only in one of the two" for key in sorted(stored.keys() ^ tensors.keys())]
    agree = not lines
    for key in sorted(stored.keys() & tensors.keys()):
        new, old = tensors[key].double(), stored[key].double()
        difference = (new - old).abs() if new.shape == old.shape else torch.tensor([torch.inf]).double()
        good = bool(difference.max() <= (TOLERANCE * old.abs().max() if key.startswith("out.") else 0))
        agree &= good
        if not key.startswith("weights.") or not good:
            text = f"max {difference.max():.3g} mean {difference.mean():.3g} of {old.abs().max():.3g}"
            lines.append(f"{path.name} {key}: {text}{'' if good else ' DIFFERENT'}")
    return lines, agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    good = True
    with torch.inference_mode():
        for make in CASES:
            tensors, config = make()
            path = FOLDER / f"{make.__name__}.safetensors"
            lines, agree = differences(path, tensors)
            good &= agree
            if arguments.check:
                print("\n".join(lines))
            elif not agree:  # the last bits vary from run to run: what agrees stays as it is
                write(path, tensors, config)
    return 1 if arguments.check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
