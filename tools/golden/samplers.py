"""Golden schedules, steps, whole runs and noise of Diffusers' schedulers, for tests/samplers.

    python3 tools/golden/samplers.py            writes those of tests/samplers/data/*.json that are missing or differ
    python3 tools/golden/samplers.py --check    compares, a line per file; exit status 1 on a difference

Needs scipy for the beta spacing. Floats are written as the bits of float32, so that the tests compare exactly what this
machine made (tests/parity/test_schedules.py), and with a tolerance what another one did.
"""

import argparse
import inspect
import itertools
import json
import sys
import warnings
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

from sampler_options import ALPHA_SPACE, NAMES, SHIFTS, SPACINGS, run_configs, schedule_configs

DATA = Path(__file__).parents[2] / "tests/samplers/data"
VERSIONS = {"diffusers": diffusers.__version__, "torch": torch.__version__.split("+")[0]}

ENDS = [{}, {"shift_terminal": 0.02}, {"invert_sigmas": True}, {"num_train_timesteps": 250, "shift_terminal": 0.1}]
STEPS = [1, 2, 3, 4, 10, 20, 28, 50]
IMAGE_TOKENS = 1024
CUSTOM = [1.0, 0.8, 0.55, 0.3, 0.07]


def bits(values) -> list[int]:
    """float32 as integers: its exact bits."""
    return torch.as_tensor(values, dtype=torch.float32).flatten().view(torch.int32).tolist()


def schedule(config: dict, steps: int, sigmas: list[float] | None) -> dict | None:
    """One schedule; None where the arithmetic has no answer (a terminal shift of a single step is 0/0)."""
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    options = {}
    if config.get("use_dynamic_shifting"):
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        options["mu"] = calculate_shift(IMAGE_TOKENS, *(scheduler.config[name] for name in names))
    with np.errstate(all="ignore"):
        scheduler.set_timesteps(steps, sigmas=sigmas, **options)
    if not scheduler.sigmas.isfinite().all():
        return None
    return {"sigmas": bits(scheduler.sigmas), "timesteps": bits(scheduler.timesteps)}


def schedules() -> list[dict]:
    cases = []
    for spacing, shift, end in itertools.product(SPACINGS, SHIFTS, ENDS):
        config = spacing | shift | end
        for steps, sigmas in [(n, None) for n in STEPS] + [(len(CUSTOM), CUSTOM)]:
            cases.append(
                {"config": config, "steps": steps, "custom": sigmas or [], "expected": schedule(config, steps, sigmas)}
            )
    return cases


def tensor_bits(tensor: torch.Tensor) -> list[int]:
    """The exact bits of a float32 or bfloat16 tensor."""
    return tensor.flatten().view(torch.int32 if tensor.dtype == torch.float32 else torch.int16).tolist()


def steps() -> list[dict]:
    """Single steps in both dtypes, plain and stochastic, and the noising of image-to-image."""
    cases = []
    for dtype, stochastic in itertools.product((torch.float32, torch.bfloat16), (False, True)):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=stochastic)
        scheduler.set_timesteps(5)
        generator = torch.Generator().manual_seed(7)
        latents, output, noise = (torch.randn(1, 4, 3, 5, generator=generator, dtype=dtype) for _ in range(3))
        index = 2
        scheduler.set_begin_index(index)
        noised = scheduler.scale_noise(latents, scheduler.timesteps[index : index + 1], noise)
        drawing = torch.Generator().manual_seed(11)
        stepped = scheduler.step(output, scheduler.timesteps[index], latents, generator=drawing).prev_sample
        cases.append(
            {
                "dtype": str(dtype).removeprefix("torch."),
                "stochastic": stochastic,
                "sigma": bits(scheduler.sigmas[index])[0],
                "sigma_next": bits(scheduler.sigmas[index + 1])[0],
                "stepped": tensor_bits(stepped),
                "noised": tensor_bits(noised),
                "guided": tensor_bits(output + 3.7 * (latents - output)),
            }
        )
    return cases


def set_timesteps(scheduler, steps: int) -> None:
    mu = {}
    if scheduler.config.get("use_dynamic_shifting"):
        shift = [scheduler.config.get(name, default) for name, default in SHIFT_DEFAULTS.items()]
        mu["mu"] = calculate_shift(IMAGE_TOKENS, *shift)
    scheduler.set_timesteps(steps, **mu)


# What the pipelines take where a scheduler's config has no such option.
SHIFT_DEFAULTS = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.16}


def sigmas_of(scheduler) -> list[float]:
    """The noise level at which each call sees the latents, and that of the end; none where timesteps say it all."""
    name, calls = type(scheduler).__name__, len(scheduler.timesteps)
    if name in ALPHA_SPACE:
        return []
    sigmas = scheduler.sigmas.tolist()
    if name == "DPMSolverSDEScheduler":
        steps = [*scheduler.sigmas[:1], *scheduler.sigmas[1:-1:2]]
        middles = [((a.log().neg() + (b.log().neg() - a.log().neg()) * 0.5).neg()).exp() for a, b in itertools.pairwise(steps)]
        return [float(level) for pair in itertools.zip_longest(steps, middles) for level in pair if level is not None] + [0.0]
    if name.startswith("KDPM2"):
        between = scheduler.sigmas_interpol.tolist()
        # The ancestral one counts the middles from the steps they begin at.
        back = 1 if "Ancestral" in name else 0
        sigmas = [between[i - back] if i % 2 else sigmas[i] for i in range(calls)] + [0.0]
    return sigmas[: calls + 1]


def solver_schedules() -> list[dict]:
    cases = []
    for name in NAMES:
        for config, steps in itertools.product(schedule_configs(name), (1, 3, 10, 25)):
            scheduler = getattr(diffusers, name)(**config)
            expected = None
            try:
                with np.errstate(all="ignore"):
                    set_timesteps(scheduler, steps)
                sigmas = sigmas_of(scheduler)
                if np.isfinite(sigmas).all():
                    expected = {"sigmas": bits(sigmas), "timesteps": bits(scheduler.timesteps)}
            except ValueError:
                pass  # too few steps for PNDM's beginning
            cases.append({"class": name, "config": config, "steps": steps, "expected": expected})
    return cases


class BrownianSteps:
    """The increments of a Brownian motion for DPMSolverSDEScheduler, drawn from a generator as ours are: of a step's first
    half, then of its second."""

    def __init__(self, scheduler, generator: torch.Generator, dtype: torch.dtype):
        self.scheduler, self.generator, self.dtype = scheduler, generator, dtype

    def __call__(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(1, 2, 1, 2, generator=self.generator, dtype=self.dtype)
        if self.scheduler.state_in_first_order:
            self.first, self.middle = drawn, sigma_next
            return drawn
        whole = self.first * (sigma - self.middle).sqrt() + drawn * (self.middle - sigma_next).sqrt()
        return whole / (sigma - sigma_next).sqrt()


def run(scheduler, steps: int, begin: int, dtype: torch.dtype) -> dict:
    """The latents after a whole run, in which noise and a little of its input stand for the network's outputs."""
    set_timesteps(scheduler, steps)
    if begin and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    drawn, own = torch.Generator().manual_seed(7), torch.Generator().manual_seed(11)
    latents, noise = (torch.randn(1, 2, 1, 2, generator=drawn, dtype=dtype) for _ in range(2))
    timesteps = scheduler.timesteps[begin:]
    if begin == 0:
        latents = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    elif hasattr(scheduler, "scale_noise"):
        latents = scheduler.scale_noise(latents, timesteps[:1], noise)
    else:
        latents = scheduler.add_noise(latents, noise, timesteps[:1])
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = BrownianSteps(scheduler, own, dtype)
    parameters = inspect.signature(scheduler.step).parameters
    options = {"generator": own} if "generator" in parameters else {}
    if "eta" in parameters:
        options["eta"] = 0.0  # what the pipelines pass
    for timestep in timesteps:
        seen = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
        output = torch.randn(1, 2, 1, 2, generator=drawn, dtype=dtype) + 0.1 * seen
        latents = scheduler.step(output, timestep, latents, **options).prev_sample
    return {"dtype": str(latents.dtype).removeprefix("torch."), "latents": [float(f"{value:.9g}") for value in latents.flatten().tolist()]}


def runs() -> list[dict]:
    cases = []
    for name in NAMES:
        for index, config in enumerate(run_configs(name)):
            order = getattr(diffusers, name).order
            # Few steps and many, which the solvers end in other ways.
            lengths = [(5, 0, torch.float32), (16, 4 * order, torch.float32)]
            for steps, begin, dtype in lengths + [(5, order, torch.bfloat16)] * (index % 7 == 0):
                expected = run(getattr(diffusers, name)(**config), steps, begin, dtype)
                # Diffusers has no number where an order above 1 meets a last noise level of zero.
                if np.isfinite(expected["latents"]).all():
                    cases.append({"class": name, "config": config, "steps": steps, "begin": begin, "expected": expected})
    return cases


def noise() -> list[dict]:
    """torch.Generator on the CPU: sizes below and above 16 elements are filled by different code."""
    cases = []
    for seed, count, dtype in itertools.product(
        (0, 42, 2**32 - 1, 2**63 + 5), (1, 15, 16, 17, 100), (torch.float32, torch.bfloat16)
    ):
        # Python takes seeds up to 2^64 - 1 as this signed number.
        generator = torch.Generator().manual_seed(seed if seed < 2**63 else seed - 2**64)
        first = torch.randn(count, generator=generator, dtype=dtype)
        second = torch.randn(3, generator=generator, dtype=dtype)
        cases.append(
            {
                "seed": str(seed),
                "dtype": str(dtype).removeprefix("torch."),
                "first": tensor_bits(first),
                "second": tensor_bits(second),
            }
        )
    return cases


def agree(new, old) -> bool:
    """Equal but for the last digits of a run's latents: other processors round exp and log otherwise."""
    if isinstance(new, dict) and isinstance(old, dict):
        return new.keys() == old.keys() and all(agree(value, old[key]) for key, value in new.items())
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(agree(*pair) for pair in zip(new, old, strict=True))
    if isinstance(new, float) and isinstance(old, float):
        return abs(new - old) <= 2e-5 * max(abs(new), 1.0)
    return new == old


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    warnings.simplefilter("ignore", FutureWarning)  # algorithms that Diffusers is about to drop
    DATA.mkdir(parents=True, exist_ok=True)
    good = True
    for make in (schedules, solver_schedules, steps, runs, noise):
        path, cases = DATA / f"{make.__name__}.json", make()
        same = path.exists() and agree(cases, json.loads(path.read_text())["cases"])
        good &= same
        if check:
            print(f"{path.name}: {'as it was' if same else 'DIFFERENT'}")
        elif not same:
            lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
            path.write_text(f'{{"made_by":{json.dumps(VERSIONS)},"cases":[\n{lines}\n]}}\n')
    return 1 if check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
