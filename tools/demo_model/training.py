"""What both trainings share: the optimiser, the learning-rate curve, the moving average, checkpoints and the log."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import torch
from torch import Tensor, distributed, nn


def worker() -> int:
    """Returns this process's number among those that train together."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def workers() -> int:
    """Returns how many processes train together, each on its own share of every batch."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def total(tensor: Tensor) -> Tensor:
    """Returns the sum of all workers' tensors."""
    if workers() > 1:
        distributed.all_reduce(tensor)
    return tensor


@torch.no_grad()
def average_gradients(parameters: list[Tensor]) -> None:
    """Gives every worker the mean of all workers' gradients."""
    if workers() > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = total(torch.cat([g.flatten() for g in gradients])) / workers()
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(mean.view_as(gradient))


def orthogonalise(matrices: Tensor) -> Tensor:
    """Brings all singular values of each matrix (batch, rows, columns) near 1, by Newton-Schulz iteration."""
    x = matrices.bfloat16()
    flipped = x.size(1) > x.size(2)
    x = x.mT if flipped else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if flipped else x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised, for matrices (convolutions count as out x rest); see Jordan et al., 2024."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes: dict[tuple, list] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(parameter.shape), []).append(parameter)
            for parameters in shapes.values():
                self._step_alike(parameters, group)

    def _step_alike(self, parameters: list[Tensor], group: dict) -> None:
        """Steps parameters of one shape together: one batched product instead of many small ones."""
        directions = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            directions.append(parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
        stacked = torch.stack(directions)
        # Each worker does its share of the matrices; the sum with the others' zeros is the whole.
        updates = torch.zeros(stacked.shape, dtype=torch.bfloat16)
        if len(stacked) > worker():
            updates[worker() :: workers()] = orthogonalise(stacked[worker() :: workers()])
        total(updates)
        # The factor gives the step the size that Adam's would have, so one learning rate suits every shape.
        scale = 0.2 * max(updates.shape[1:]) ** 0.5
        for parameter, update in zip(parameters, updates):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)


class Log:
    """Prints lines with the time since the start and keeps them in a file."""

    def __init__(self, path: Path):
        self.path, self.start = path, time.monotonic()

    def __call__(self, text: str) -> None:
        if worker():
            return
        line = f"{(time.monotonic() - self.start) / 60:6.1f} min  {text}"
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")


class Trainer:
    """The state of one training: network, optimisers, moving average of the weights, step; saved and resumed as a whole."""

    def __init__(self, network: nn.Module, optimisers: list, steps: int, warmup: int, checkpoint: Path, average: float = 0.999):
        self.network, self.optimisers, self.steps, self.warmup = network, optimisers, steps, warmup
        self.checkpoint, self.rate, self.step = checkpoint, average, 0
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        if checkpoint.exists():
            self._resume()

    def parts(self) -> dict:
        return {"network": self.network, "average": self.average, **{f"optimiser{i}": o for i, o in enumerate(self.optimisers)}}

    def _resume(self) -> None:
        saved = torch.load(self.checkpoint, weights_only=True)
        self.step = saved.pop("step")
        for name, part in self.parts().items():
            part.load_state_dict(saved[name])

    def save(self) -> None:
        """Writes everything needed to go on; a reader never sees half a file."""
        if worker():
            return
        new = self.checkpoint.with_suffix(".new")
        torch.save({"step": self.step, **{name: part.state_dict() for name, part in self.parts().items()}}, new)
        new.rename(self.checkpoint)

    def update(self, loss: Tensor, decay_from: float, clip: float = 1.0) -> None:
        """Does one step; the learning rate falls to zero along a line that starts at the share `decay_from` of the run."""
        loss.backward()
        average_gradients(list(self.network.parameters()))
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        progress = self.step / self.steps
        factor = min(1.0, (self.step + 1) / self.warmup, (1 - progress) / (1 - decay_from))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        # A short memory at first: the earliest weights say nothing about the final ones.
        keep = min(self.rate, self.step / (self.step + 10))
        with torch.no_grad():
            ours, theirs = list(self.average.parameters()), list(self.network.parameters())
            torch._foreach_lerp_(ours, theirs, 1 - keep)


def split_parameters(network: nn.Module, is_matrix) -> tuple[list, list]:
    """Returns (matrices for Muon, the rest for AdamW)."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    return [p for n, p in named if is_matrix(n, p)], [p for n, p in named if not is_matrix(n, p)]
