"""The options of Diffusers' schedulers that the goldens of samplers.py go through."""

import inspect
import itertools
from collections.abc import Iterator

import diffusers
import numpy as np

SPACINGS = [{}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"use_beta_sigmas": True}]
DYNAMIC = {"use_dynamic_shifting": True}
SHIFTS = [{}, {"shift": 3.0}, {"shift": 0.7}, DYNAMIC, DYNAMIC | {"time_shift_type": "linear", "max_shift": 1.16}]

# The solvers: each option that changes where the noise levels lie, then each that changes the steps.
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
NOISES = [
    BETAS,
    {},
    {"beta_schedule": "squaredcos_cap_v2"},
    BETAS | {"rescale_betas_zero_snr": True},
    {"trained_betas": np.linspace(0.01, 0.068, 30).round(3).tolist(), "num_train_timesteps": 30},
]
FINALS = [{}, {"final_sigmas_type": "sigma_min"}]
SPACED = [{"timestep_spacing": spacing, "steps_offset": 1} for spacing in ("linspace", "leading", "trailing")]
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOWS = [FLOW, FLOW | {"flow_shift": 3.0}, FLOW | DYNAMIC, FLOW | {"flow_shift": 3.0, "num_train_timesteps": 250}]
SOLVERS = ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DPMSolverSinglestepScheduler"]
TO_THE_LOWEST = ["DEISMultistepScheduler", "SASolverScheduler"]
EDM = ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"]
SIGMA_SPACE = [
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler",
    "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler",
]  # fmt: skip
ALPHA_SPACE = ["DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LCMScheduler", "TCDScheduler"]
NAMES = ["FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler", *SOLVERS, *TO_THE_LOWEST, *SIGMA_SPACE, *ALPHA_SPACE, *EDM]


def merged(*choices: list[dict]) -> Iterator[dict]:
    """Each combination of one option set of each list, as one."""
    for options in itertools.product(*choices):
        yield {key: value for option in options for key, value in option.items()}


EDM_LEVELS = [{}, {"sigma_schedule": "exponential"}, {"sigma_min": 0.01, "sigma_max": 120.0, "rho": 5.0}]
PRK = [{"skip_prk_steps": True}, {"skip_prk_steps": False}]


def known(name: str, configs: Iterator[dict]) -> Iterator[dict]:
    """Those that hold nothing which the class does not know."""
    options = inspect.signature(getattr(diffusers, name).__init__).parameters
    yield from (config for config in configs if config.keys() <= options.keys())


def schedule_configs(name: str) -> Iterator[dict]:
    if name == "FlowMatchHeunDiscreteScheduler":
        yield from merged([{}, {"shift": 3.0}, {"shift": 0.7}], [{}, {"num_train_timesteps": 250}])
        return
    if name == "FlowMatchLCMScheduler":
        yield from merged(SPACINGS, SHIFTS)
        return
    if name in EDM:
        yield from merged(EDM_LEVELS, FINALS)
        return
    if name in TO_THE_LOWEST:
        yield from known(name, merged(NOISES, SPACED))
        yield from known(name, merged(NOISES, SPACINGS[1:]))
        yield from known(name, iter(FLOWS))
        yield from known(name, merged([BETAS], SPACED, [{"lambda_min_clipped": -5.1}]))
        return
    if name in ("LCMScheduler", "TCDScheduler"):
        distilled = [BETAS, BETAS | {"original_inference_steps": 20}, NOISES[-1] | {"original_inference_steps": 10}]
        yield from merged(distilled, SPACED)
        return
    if name in ALPHA_SPACE:
        yield from known(name, merged([BETAS, NOISES[-1]], SPACED, PRK if name == "PNDMScheduler" else [{}]))
        return
    if name in SIGMA_SPACE:
        yield from known(name, merged(NOISES, FINALS, SPACED))
        yield from known(name, merged(NOISES, FINALS, SPACINGS[1:]))
        yield from known(name, merged([BETAS], SPACINGS[1:], [{"sigma_min": 0.1, "sigma_max": 10.0}]))
        if name == "EulerDiscreteScheduler":
            yield from merged([BETAS], SPACED, [{"interpolation_type": "log_linear"}])
        return
    if name == "DPMSolverSinglestepScheduler":
        yield from known(name, merged(NOISES, FINALS, SPACINGS))
        yield from merged(FLOWS, FINALS)
        yield from merged([BETAS], FINALS, [{"lambda_min_clipped": -5.1}])
        return
    yield from merged(NOISES, FINALS, SPACED)
    yield from merged(NOISES, FINALS, SPACINGS[1:])
    yield from merged(FLOWS, FINALS)
    if name == "DPMSolverMultistepScheduler":
        yield from merged(NOISES, FINALS, [{"use_lu_lambdas": True}])
        yield from merged([BETAS], SPACED, [{"lambda_min_clipped": -5.1}])
    if name == "UniPCMultistepScheduler":
        yield from merged(FLOWS, FINALS, [{"shift_terminal": 0.02}])
        yield from merged([FLOW | DYNAMIC], [{"time_shift_type": "linear"}])
        yield from merged([FLOW], FINALS, [{"use_karras_sigmas": True}])
        yield from merged([BETAS], SPACINGS[1:], [{"sigma_min": 0.1, "sigma_max": 10.0}])


LATENT_PREDICTIONS = [{"prediction_type": kind} for kind in ("epsilon", "sample", "v_prediction")]
PREDICTIONS = LATENT_PREDICTIONS + [FLOW]


def switch(name: str) -> list[dict]:
    return [{name: True}, {name: False}]


TELL_SAMPLE = ["DDPMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler", "DDIMScheduler", "LCMScheduler", "TCDScheduler"]


def run_configs(name: str) -> Iterator[dict]:
    if name == "FlowMatchHeunDiscreteScheduler":
        yield from [{}, {"shift": 3.0}]
    elif name == "FlowMatchLCMScheduler":
        yield from [{}, {"shift": 3.0}, {"use_beta_sigmas": True}]
    elif name == "EDMEulerScheduler":
        yield from merged(EDM_LEVELS, FINALS, [{}, {"prediction_type": "v_prediction", "sigma_data": 1.0}])
    elif name == "EDMDPMSolverMultistepScheduler":
        types = [{"solver_type": kind} for kind in ("midpoint", "heun")]
        told = [{}, {"prediction_type": "v_prediction", "sigma_data": 1.0}]
        yield from merged(told, EDM_LEVELS[:2], types, [{"solver_order": order} for order in (1, 2, 3)], FINALS)
        yield from merged(told, types, [{"algorithm_type": "sde-dpmsolver++", "solver_order": 2}], switch("euler_at_final"))
        yield {"thresholding": True, "sample_max_value": 1.5}
    elif name == "DEISMultistepScheduler":
        orders = [{"solver_order": order} for order in (1, 2, 3)]
        yield from merged(PREDICTIONS, orders, switch("lower_order_final"), [{}, {"use_karras_sigmas": True}])
        yield from merged(PREDICTIONS, [{"thresholding": True, "sample_max_value": 1.5}])
    elif name == "SASolverScheduler":
        orders = [{"predictor_order": p, "corrector_order": c} for p, c in ((1, 1), (2, 2), (3, 4), (4, 3))]
        kinds = [{"algorithm_type": kind} for kind in ("data_prediction", "noise_prediction")]
        for config in merged(PREDICTIONS, kinds, orders, switch("lower_order_final")):
            if config["algorithm_type"] == "data_prediction" or config["prediction_type"] != "flow_prediction":
                yield config
        yield from merged(PREDICTIONS, [{"thresholding": True, "sample_max_value": 1.5}])
        yield from merged(PREDICTIONS[:1], SPACINGS[1:])
    elif name in SIGMA_SPACE:
        told = LATENT_PREDICTIONS if name in TELL_SAMPLE else LATENT_PREDICTIONS[::2]
        yield from known(name, merged(told, [BETAS], SPACED[:2], FINALS))
        yield from known(name, merged(told, SPACINGS[1:]))
        yield from known(name, merged(told, [{"clip_sample": True, "clip_sample_range": 0.8}]))
    elif name in ALPHA_SPACE:
        told = LATENT_PREDICTIONS if name in TELL_SAMPLE else LATENT_PREDICTIONS[::2]
        prk = PRK if name == "PNDMScheduler" else [{}]
        yield from known(name, merged(told, [BETAS], SPACED, prk, [{}, {"set_alpha_to_one": False}]))
        yield from known(name, merged(told, [BETAS], [{"clip_sample": True, "clip_sample_range": 0.8}, {"clip_sample": False}]))
        yield from known(name, merged(told, [{"thresholding": True, "sample_max_value": 1.5}]))
        yield from known(name, merged(told[-1:], [{"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}]))
        yield from known(name, merged([{"variance_type": kind} for kind in ("fixed_small_log", "fixed_large")]))
    elif name == "DPMSolverSinglestepScheduler":
        algorithms = [{"algorithm_type": kind} for kind in ("dpmsolver++", "dpmsolver", "sde-dpmsolver++")]
        types = [{"solver_type": kind} for kind in ("midpoint", "heun")]
        orders = [{"solver_order": order} for order in (1, 2, 3)]
        for config in merged(PREDICTIONS, algorithms, types, orders, switch("lower_order_final"), FINALS):
            plain = config["algorithm_type"] == "dpmsolver"
            if plain and ("final_sigmas_type" not in config or config["prediction_type"] == "flow_prediction"):
                continue  # refused
            yield config
        yield from merged(PREDICTIONS, [{"thresholding": True, "sample_max_value": 1.5}])
    elif name == "DPMSolverMultistepScheduler":
        algorithms = [{"algorithm_type": kind} for kind in ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver")]
        types = [{"solver_type": kind} for kind in ("midpoint", "heun")]
        orders = [{"solver_order": order} for order in (1, 2, 3)]
        ends = list(merged(switch("lower_order_final"), switch("euler_at_final"), FINALS))
        for config in merged(PREDICTIONS, algorithms, types, orders, ends):
            plus = config["algorithm_type"].endswith("++")
            if not plus and ("final_sigmas_type" not in config or config["prediction_type"] == "flow_prediction"):
                continue  # refused
            if config["algorithm_type"] == "sde-dpmsolver" and config["solver_order"] == 3:
                continue  # has no formula
            yield config
        yield from merged(PREDICTIONS, [{"thresholding": True, "sample_max_value": 1.5}])
        yield {"algorithm_type": "dpmsolver", "thresholding": True, "final_sigmas_type": "sigma_min"}
    else:
        types = [{"solver_type": kind} for kind in ("bh1", "bh2")]
        orders = [{"solver_order": order} for order in (1, 2, 3)]
        ends = [{"final_sigmas_type": "sigma_min", "lower_order_final": final} for final in (True, False)] + [{}]
        for config in merged(PREDICTIONS, types, orders, ends, switch("predict_x0"), [{}, {"disable_corrector": [0, 2]}]):
            if config["predict_x0"] or config["prediction_type"] != "flow_prediction":
                yield config
        yield from merged(PREDICTIONS, [{"thresholding": True, "sample_max_value": 1.5}])
