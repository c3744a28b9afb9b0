"""The peer of `./dev bench text`, a process that obeys "prompt" and "save PATH" on stdin, and what makes its files.

    weights FOLDER BLOCKS       SD3's text encoders, T5-XXL with so many blocks of its 24: full width, random bfloat16 weights
    transformers FOLDER N       the encoders as Diffusers runs them, on N threads
"""

import json
import pathlib
import sys
import time

import torch

import sd3_peers

CLIP = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407, "architectures": ["CLIPTextModelWithProjection"]}
CLIP_L = CLIP | {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                 "hidden_act": "quick_gelu", "projection_dim": 768}
CLIP_G = CLIP | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
                 "hidden_act": "gelu", "projection_dim": 1280}
T5 = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "feed_forward_proj": "gated-gelu",
      "architectures": ["T5EncoderModel"]}


def save_random(folder: pathlib.Path, network, config, generator: torch.Generator) -> None:
    """An encoder's folder: random bfloat16 weights of the class `network`, and its config."""
    from safetensors.torch import save_file

    with torch.device("meta"):
        shapes = {key: value.shape for key, value in network(config).state_dict().items()}
    shapes.pop("encoder.embed_tokens.weight", None)  # the second name of shared.weight
    tensors = {key: sd3_peers.random_tensor(key, shape, generator) for key, shape in shapes.items() if "position_ids" not in key}
    for key in tensors:
        if key.endswith("SelfAttention.q.weight"):
            tensors[key] *= T5["d_kv"] ** -0.5  # T5's attention does not scale its scores
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict()))


def make_clips(folder: pathlib.Path, configs: dict[str, dict], generator: torch.Generator) -> None:
    """CLIP text encoders of those configs, each in the subfolder of its name."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    for name, config in configs.items():
        save_random(folder / name, CLIPTextModelWithProjection, CLIPTextConfig(**config), generator)


def make_weights(folder: pathlib.Path, blocks: int) -> None:
    from safetensors.torch import save_file
    from transformers import T5Config, T5EncoderModel

    generator = torch.Generator().manual_seed(0)
    make_clips(folder, {"clip_l": CLIP_L, "clip_g": CLIP_G}, generator)
    save_random(folder / "t5", T5EncoderModel, T5Config(**(T5 | {"num_layers": blocks})), generator)
    clip_ids = torch.randint(1, 49000, (1, 77), generator=generator)
    clip_ids[0, 40:] = CLIP["eos_token_id"]
    save_file({"clip_ids": clip_ids, "t5_ids": torch.randint(1, 32000, (1, 256), generator=generator)}, folder / "inputs.safetensors")


def run_transformers(folder: pathlib.Path, threads: int) -> None:
    from safetensors.torch import load_file
    from transformers import CLIPTextModelWithProjection, T5EncoderModel

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    clips = [CLIPTextModelWithProjection.from_pretrained(folder / name, dtype=torch.bfloat16).eval() for name in ("clip_l", "clip_g")]
    t5 = T5EncoderModel.from_pretrained(folder / "t5", dtype=torch.bfloat16).eval()
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    inputs = load_file(folder / "inputs.safetensors")

    def prompt():
        parts = []
        for clip in clips:
            output = clip(inputs["clip_ids"], output_hidden_states=True)
            parts += [output.hidden_states[-2].flatten(), output.text_embeds.flatten()]
        return torch.cat([*parts, t5(inputs["t5_ids"])[0].flatten()]).float()

    sd3_peers.obey({"prompt": prompt})


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    {"weights": make_weights, "transformers": run_transformers}[command](pathlib.Path(folder), *map(int, numbers))
