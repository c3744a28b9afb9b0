"""What the golden cases share: seeded inputs, and a case as tensors and a config."""

import torch


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_ids(seed: int, below: int, *shape: int) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


def case(model: torch.nn.Module, config: dict, inputs: dict, outputs: dict) -> tuple[dict, dict]:
    """The tensors and the config of one case."""
    weights = model.state_dict()
    weights.pop("encoder.embed_tokens.weight", None)  # T5's second name for `shared.weight`
    tensors = {f"weights.{key}": tensor for key, tensor in weights.items()}
    tensors |= {f"in.{key}": tensor for key, tensor in inputs.items()}
    tensors |= {f"out.{key}": tensor for key, tensor in outputs.items()}
    return {key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}, config


def record(module: torch.nn.Module, into: dict, name: str) -> None:
    module.register_forward_hook(lambda _module, _inputs, output: into.__setitem__(name, output))
