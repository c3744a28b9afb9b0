"""Whole tiny folders of Stable Diffusion 1, 2 and XL of varied shapes, with random weights and tiny tokenizers.

    build_folder(path, name)    writes the folder `name` (a key of FOLDERS) to `path`, as save_pretrained does
    load_pipeline(path)         loads it with real Diffusers, on the CPU

From the command line: python3 tools/golden/unet_folders.py PATH [NAME…] writes them under PATH/NAME.
"""

import json
import shutil
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch

import tiny_models
import tiny_tokenizers


@dataclass(frozen=True)
class Folder:
    """What differs from the plain folder: the options of each component and of the pipeline."""

    about: str
    xl: bool = False
    unet: dict = field(default_factory=dict)
    vae: dict = field(default_factory=dict)
    clip: dict = field(default_factory=dict)
    clip_2: dict = field(default_factory=dict)
    scheduler: tuple[str, dict] | None = None  # class and options beside the betas; None: the family's usual one
    pipeline: dict = field(default_factory=dict)  # options in model_index.json
    fills: bool = False  # the UNet sees mask and masked picture
    refines: bool = False  # one text encoder, the second, and an aesthetic score
    classic_tokenizers: bool = False
    guidance_scale: float = 4.0  # that such models are used with
    default_size: tuple[int, int] = (64, 64)  # width and height that Diffusers takes when none is asked for
    odd_size: tuple[int, int] = (72, 56)  # width and height that no level but the first halves evenly


ATTENTION, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


def blocks(*with_attention: bool) -> dict:
    """The block types of as many levels, the largest picture first."""
    down = [ATTENTION if attention else PLAIN for attention in with_attention]
    return {"down_block_types": down, "up_block_types": [name.replace("Down", "Up") for name in reversed(down)]}


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
PNDM = ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False})
EULER = ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1})
TRAILING = ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"})
V_PREDICTION = {"prediction_type": "v_prediction", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
COSXL = {
    "sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0, "prediction_type": "v_prediction", "sigma_schedule": "exponential",
}  # fmt: skip
LCM = ("LCMScheduler", {"original_inference_steps": 50})
# The kernels for AVX-512 take channels in 16s and heads in 32s.
KERNELS = {"block_out_channels": (32, 64), "attention_head_dim": (1, 2), "norm_num_groups": 8} | blocks(True, True)

FOLDERS = {
    "plain": Folder("Stable Diffusion 1.5", classic_tokenizers=True),
    "linear": Folder(
        "Stable Diffusion 2: v-prediction, linear projections, heads by level, text with gelu",
        unet={"use_linear_projection": True, "attention_head_dim": (2, 4, 8), "cross_attention_dim": 48},
        clip={"hidden_size": 48, "num_attention_heads": 3, "hidden_act": "gelu"},
        scheduler=("DDIMScheduler", V_PREDICTION),
    ),
    "zero_snr": Folder(
        "v-prediction from noise alone",
        scheduler=("DDIMScheduler", V_PREDICTION | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ),
    "kernels": Folder("channels that the kernels take", unet=KERNELS, vae={"block_out_channels": (16, 32, 32, 32)}),
    "two_levels": Folder("two levels of two layers", unet={"block_out_channels": (16, 24), "layers_per_block": 2} | blocks(True, False)),
    "four_levels": Folder(
        "four levels as the published ones",
        unet={"block_out_channels": (8, 16, 24, 24)} | blocks(True, True, True, False), odd_size=(104, 88),
    ),
    "layers": Folder("layers by level", unet={"layers_per_block": (1, 3, 2)}),
    "deep": Folder("transformers of several blocks", unet={"transformer_layers_per_block": (1, 2, 3), "attention_head_dim": 1}),
    "late_attention": Folder("no attention at the largest picture, wide text", unet={"cross_attention_dim": 96} | blocks(False, True, True), clip={"hidden_size": 96}),
    "no_middle": Folder("no middle block, as distilled models", unet={"mid_block_type": None}),
    "one_level": Folder("one level; a VAE of two", unet={"block_out_channels": (24,)} | blocks(True), vae={"block_out_channels": (8, 16)}, default_size=(16, 16), odd_size=(24, 8)),
    "old_vae": Folder("three levels of the VAE, no middle attention", vae={"block_out_channels": (8, 8, 16), "mid_block_add_attention": False}, default_size=(32, 32), odd_size=(40, 24)),
    "lcm": Folder("a consistency model: told the guidance scale", unet={"time_cond_proj_dim": 32}, scheduler=LCM, guidance_scale=8.0),
    "xl": Folder("Stable Diffusion XL", xl=True),
    "xl_kernels": Folder("XL of channels that the kernels take", xl=True, unet=KERNELS | {"transformer_layers_per_block": (1, 2)}, vae={"block_out_channels": (16, 32, 32, 32)}),
    "xl_turbo": Folder(
        "XL Turbo", xl=True, scheduler=("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}), guidance_scale=0.0
    ),
    "xl_lightning": Folder("XL Lightning", xl=True, scheduler=TRAILING, guidance_scale=0.0),
    "xl_lcm": Folder("XL as a consistency model", xl=True, unet={"time_cond_proj_dim": 16}, scheduler=LCM, guidance_scale=8.0),
    "xl_encoded_empty": Folder("an absent negative prompt is an empty text", xl=True, pipeline={"force_zeros_for_empty_prompt": False}),
    "xl_v": Folder("XL with v-prediction", xl=True, scheduler=("EulerDiscreteScheduler", {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"})),
    "xl_conv": Folder("convolutions as projections, heads and layers by level", xl=True, unet={"use_linear_projection": False, "attention_head_dim": (1, 2, 4), "layers_per_block": (2, 1, 1)}),
    "xl_sizes": Folder("another width for sizes and texts", xl=True, unet={"addition_time_embed_dim": 6}, clip={"hidden_size": 16, "num_attention_heads": 1}, clip_2={"hidden_size": 64, "projection_dim": 24, "num_attention_heads": 2}),
    "xl_four_levels": Folder("four levels, attention in the middle ones", xl=True, unet={"block_out_channels": (8, 16, 16, 24), "transformer_layers_per_block": (1, 1, 2, 1)} | blocks(False, True, True, False)),
    "xl_asymmetric": Folder(
        "transformers of another depth after each resnet and a single resnet in the middle, as SSD-1B", xl=True,
        unet={"layers_per_block": 2, "mid_block_type": "UNetMidBlock2D", "transformer_layers_per_block": [0, [2, 1], [1, 3]],
              "reverse_transformer_layers_per_block": [[2, 1, 3], [2, 1, 1], 1]} | blocks(False, True, True),
    ),
    "xl_lists": Folder(
        "lists with numbers among them, a middle with attention, more numbers than layers", xl=True,
        unet={"transformer_layers_per_block": [[2], 1, [3, 7]], "reverse_transformer_layers_per_block": [2, [1, 2], [1, 3, 9]]} | blocks(True, True, True),
    ),
    "reversed": Folder(
        "another depth on the way up, of Stable Diffusion 1",
        unet={"transformer_layers_per_block": [1, 2, 1], "reverse_transformer_layers_per_block": [3, 1, 2]} | blocks(True, True, True),
    ),
    "prk": Folder(
        "a config of 2022: Runge-Kutta steps and no offset, which Diffusers amends by what a call is for",
        scheduler=("PNDMScheduler", {"skip_prk_steps": False, "steps_offset": 0}),
    ),
    "clipping": Folder("the same of DDIM", scheduler=("DDIMScheduler", {"clip_sample": True, "steps_offset": 0})),
    "ddpm": Folder("DDPM as the folder's own", scheduler=("DDPMScheduler", {"clip_sample": False, "steps_offset": 1})),
    "deis": Folder("DEIS as the folder's own", scheduler=("DEISMultistepScheduler", {"steps_offset": 1})),
    "sa_solver": Folder("SA-Solver as the folder's own", scheduler=("SASolverScheduler", {"timestep_spacing": "leading", "steps_offset": 1})),
    "playground": Folder(
        "Playground v2.5: continuous noise levels, latents normalised by channel", xl=True, scheduler=("EDMDPMSolverMultistepScheduler", {}),
        vae={"scaling_factor": 0.5, "latents_mean": [-1.6, 0.9, 0.3, -0.2], "latents_std": [2.1, 1.4, 0.9, 1.7]},
    ),
    "cosxl": Folder("CosXL: the same told as v-prediction", xl=True, scheduler=("EDMEulerScheduler", COSXL)),
    "xl_unipc": Folder("UniPC as the folder's own", xl=True, scheduler=("UniPCMultistepScheduler", {"steps_offset": 1})),
}  # fmt: skip

# These do nothing but inpaint.
FILL_FOLDERS = {
    "fill": Folder("Stable Diffusion 1.5 for inpainting", fills=True, unet={"in_channels": 9}),
    "xl_fill": Folder("Stable Diffusion XL for inpainting", xl=True, fills=True, unet={"in_channels": 9}),
}

# These finish the pictures of others.
SCORED = {"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}
REFINER_FOLDERS = {
    "xl_refiner": Folder("the refiner of Stable Diffusion XL", xl=True, refines=True, pipeline=SCORED),
    "xl_refiner_levels": Folder(
        "one of four levels, whose absent negative prompt is zeros", xl=True, refines=True,
        unet={"block_out_channels": (8, 16, 16, 24), "transformer_layers_per_block": (1, 1, 2, 1)} | blocks(False, True, True, False),
        pipeline={"requires_aesthetics_score": True},
    ),
}  # fmt: skip

CLIP_2 = {"hidden_size": 40, "projection_dim": 40, "num_attention_heads": 2, "num_hidden_layers": 2, "hidden_act": "gelu"}
XL_UNET = {"use_linear_projection": True, "transformer_layers_per_block": (1, 1, 2)} | blocks(False, True, True)


def build_folder(path: str | Path, name: str, dtype: torch.dtype = torch.float32) -> Path:
    """Writes the folder `name` to `path` (which need not exist) and returns it; the same bytes every time."""
    folder, path = (FOLDERS | FILL_FOLDERS | REFINER_FOLDERS)[name], Path(path)
    seed = zlib.crc32(name.encode()) % 100_000
    vocabulary = tiny_tokenizers.save_clip_tokenizer(path / "tokenizer", tiny_tokenizers.END, folder.classic_tokenizers)
    ids = {"vocab_size": vocabulary, "eos_token_id": 2}
    text_encoder = tiny_models.clip(seed + 1, with_projection=False, **(ids | folder.clip))
    models = {} if folder.refines else {"text_encoder": text_encoder}
    unet = dict(folder.unet)
    if folder.xl:
        tiny_tokenizers.save_clip_tokenizer(path / "tokenizer_2", "!", folder.classic_tokenizers)
        models["text_encoder_2"] = tiny_models.clip(seed + 2, **(ids | CLIP_2 | folder.clip_2))
        unet = xl_conditions(models) | XL_UNET | unet
    else:
        unet = {"cross_attention_dim": text_encoder.config.hidden_size} | unet
    if folder.refines:
        shutil.rmtree(path / "tokenizer")
    models["unet"] = tiny_models.unet(seed + 3, **unet)
    models["vae"] = tiny_models.unet_vae(seed + 4, **folder.vae)
    for component, model in models.items():
        model.to(dtype).save_pretrained(path / component)
    scheduler, options = folder.scheduler or (EULER if folder.xl else PNDM)
    betas = {} if scheduler.startswith("EDM") else BETAS
    getattr(diffusers, scheduler)(**(betas | options)).save_pretrained(path / "scheduler")
    write_index(path, folder, scheduler)
    return path


def xl_conditions(models: dict) -> dict:
    """The UNet's options that follow from the text encoders."""
    clip_2 = models["text_encoder_2"].config
    refines = "text_encoder" not in models
    return {
        "cross_attention_dim": clip_2.hidden_size + (0 if refines else models["text_encoder"].config.hidden_size),
        "told": 5 if refines else 6,
        "addition_embed_type": "text_time",
        "pooled_size": clip_2.projection_dim,
    }


def write_index(path: Path, folder: Folder, scheduler: str) -> None:
    index = {
        "_class_name": f"StableDiffusion{'XL' if folder.xl else ''}{'Inpaint' if folder.fills else ''}Pipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if folder.xl:
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "add_watermarker": False,
        }
        if folder.refines:
            index |= {"_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": [None, None], "tokenizer": [None, None]}
    else:
        index |= {"feature_extractor": [None, None], "safety_checker": [None, None], "requires_safety_checker": False}
    text = json.dumps(index | folder.pipeline, indent=2)
    (path / "model_index.json").write_text(text + "\n", encoding="utf-8")


def load_pipeline(path: str | Path, dtype: torch.dtype = torch.float32):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(path, torch_dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    # clip_skip looks for `text_model`, which transformers 5 has no longer; set past torch, for it is its own child.
    if pipeline.text_encoder is not None:
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    return pipeline


def with_scheduler(pipeline, name: str, options: dict):
    """The pipeline with another scheduler, of the same options but for these."""
    scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **options)
    flags = {key: value for key, value in pipeline.config.items() if isinstance(value, bool)}
    other = type(pipeline)(**(pipeline.components | {"scheduler": scheduler} | flags))
    other.set_progress_bar_config(disable=True)
    return other


if __name__ == "__main__":
    for folder_name in sys.argv[2:] or FOLDERS:
        build_folder(Path(sys.argv[1]) / folder_name, folder_name)
        print(f"{folder_name}: {FOLDERS[folder_name].about}")
