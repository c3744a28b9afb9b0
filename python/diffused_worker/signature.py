"""What a pipeline takes, as its own call says it: the parameters, their defaults, the sizes.

A *form* is one way to ask: "text", "image" (a picture to start from, or that a ControlNet follows) or "inpaint" (a picture and
a mask). Forms come from the pipeline's own call, or from its kin: another pipeline over the same networks.
"""

import inspect
from dataclasses import dataclass

import diffusers
from diffusers.pipelines import auto_pipeline

# What the server may pass under Diffusers' own names; pictures, seeds and the scheduler have a way of their own.
PARAMETERS = frozenset(
    {
        "prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3", "width", "height",
        "num_inference_steps", "guidance_scale", "true_cfg_scale", "guidance_rescale", "clip_skip", "max_sequence_length",
        "original_size", "crops_coords_top_left", "target_size", "negative_original_size", "negative_crops_coords_top_left",
        "negative_target_size", "strength", "prior_guidance_scale", "prior_num_inference_steps", "decoder_guidance_scale",
        "pag_scale", "pag_adaptive_scale", "eta", "use_resolution_binning", "clean_caption", "aesthetic_score",
        "negative_aesthetic_score", "controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end",
        "padding_mask_crop", "max_area", "cfg_normalization", "cfg_truncation", "prompt_upsampling", "tokenizer_max_length",
    }
)  # fmt: skip
# Parameters without a default that a form fills in.
FILLED_IN = {"self", "prompt", "image", "mask_image", "control_image"}
KIN = {
    "image": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    "inpaint": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
}
SIDE_TRIED = 4096  # pixels; a multiple of whatever a pipeline may want


@dataclass(frozen=True)
class Call:
    """One form of a model: the pipeline whose call it is, and what goes where."""

    pipeline: diffusers.DiffusionPipeline
    parameters: dict[str, inspect.Parameter]
    picture: str | None = None  # the parameter that takes the request's picture
    mask: str | None = None

    @property
    def waits(self) -> str:
        """How it can be held after a step: by the parameter of this name, or not at all ("")."""
        names = self.parameters.keys()
        if any(name.startswith(("prior_num_", "pyramid_")) for name in names):
            return ""  # several networks one after another, each with steps of its own
        return next((name for name in ("callback_on_step_end", "callback") if name in names), "")

    def takes(self) -> dict:
        """The parameters it takes, each with its default; null where the pipeline decides."""
        names = sorted(PARAMETERS & self.parameters.keys())
        return {name: plain(self.parameters[name].default) for name in names}


def plain(default: object) -> object:
    """A default as JSON; what is no number or text is the pipeline's business."""
    if isinstance(default, (bool, int, float, str)):
        return default
    if isinstance(default, tuple) and all(isinstance(part, int) for part in default):
        return list(default)
    return None


def parameters_of(kind: type) -> dict[str, inspect.Parameter]:
    """By name; a `**kwargs` takes nothing."""
    parameters = inspect.signature(kind.__call__).parameters
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD}


def missing(parameters: dict[str, inspect.Parameter]) -> list[str]:
    """What no request can give."""
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    return [name for name in required if name not in FILLED_IN]


def follows_picture(kind: type) -> bool:
    """Whether it makes nothing without a picture that its ControlNet, or its network, follows."""
    return "Control" in kind.__name__


def unloadable(kind: type) -> list[str]:
    """Components of classes that this Diffusers has moved to where its own loader does not find them."""
    annotations = [parameter.annotation for parameter in inspect.signature(kind.__init__).parameters.values()]
    classes = [found for found in annotations if isinstance(found, type) and found.__module__.startswith("diffusers.pipelines.")]
    homes = [(found.__name__, found.__module__.split(".")[-2]) for found in classes]
    return [name for name, home in homes if not hasattr(diffusers, name) and not hasattr(diffusers.pipelines, home)]


def why_not(kind: type, parameters: dict[str, inspect.Parameter]) -> str:
    """Why no request of ours can ask this call; empty when one can."""
    if "prompt" not in parameters:
        return "takes no prompt"
    if names := missing(parameters):
        return f"needs {', '.join(names)}"
    if names := unloadable(kind):
        return f"diffusers {diffusers.__version__} finds no {names[0]} for a folder"
    if "num_frames" in parameters:
        return "makes videos"
    if "Union" in kind.__name__ and "control_mode" in parameters:
        return "needs control_mode"
    pictures = [name for name in ("image", "mask_image", "control_image") if name in parameters]
    if follows_picture(kind) and len(pictures) > 1:
        return f"needs several pictures ({', '.join(pictures)})"
    return ""


def own_form(kind: type, parameters: dict[str, inspect.Parameter]) -> tuple[str, str | None, str | None] | None:
    """The form of the pipeline's own call, with the parameters for picture and mask; None where there is none."""
    if why_not(kind, parameters):
        return None
    if follows_picture(kind):
        return "image", "control_image" if "control_image" in parameters else "image", None
    if "mask_image" in parameters:
        return "inpaint", "image", "mask_image"
    is_edit = kind in KIN["image"].values() and kind not in auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    required = "image" in parameters and parameters["image"].default is inspect.Parameter.empty
    return ("image", "image", None) if is_edit or required else ("text", None, None)


def kin_class(kind: type, form: str) -> type | None:
    """The class that makes this form over the same networks. Kandinsky inpaints with a network of other channels."""
    text = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING
    key = next((key for key, value in text.items() if value is kind), None)
    found = KIN[form].get(key) if key else None
    if found is None or (form == "inpaint" and "Kandinsky" in kind.__name__) or why_not(found, parameters_of(found)) or follows_picture(found):
        return None
    return found


def forms_of(kind: type) -> dict[str, tuple[type, str | None, str | None]]:
    """Form → (class, parameter of the picture, parameter of the mask), by the classes alone."""
    own = own_form(kind, parameters_of(kind))
    if own is None:
        return {}
    forms = {own[0]: (kind, own[1], own[2])}
    if own[0] == "text":
        for form in KIN:
            if found := kin_class(kind, form):
                forms[form] = (found, "image", "mask_image" if form == "inpaint" else None)
    return forms


def calls_of(pipeline: diffusers.DiffusionPipeline, dtype: object) -> dict[str, Call]:
    """The forms of a loaded pipeline; kin that wants a network the folder lacks is left out."""
    calls = {}
    for form, (kind, picture, mask) in forms_of(type(pipeline)).items():
        made = pipeline
        if kind is not type(pipeline):
            try:
                made = kind.from_pipe(pipeline, torch_dtype=dtype)
            except (ValueError, TypeError, AttributeError):
                continue
            made.set_progress_bar_config(disable=True)
        calls[form] = Call(made, parameters_of(kind), picture, mask)
    return calls


def denoiser_of(pipeline: diffusers.DiffusionPipeline):
    """The network that its steps call; None where that is not one."""
    return next((found for name in ("transformer", "unet") if (found := getattr(pipeline, name, None)) is not None), None)


def default_size(call: Call) -> tuple[int, int]:
    """Width and height in pixels of a picture for which no size is asked."""
    own = [getattr(call.parameters.get(side), "default", None) for side in ("width", "height")]
    if all(isinstance(side, int) for side in own):
        return own[0], own[1]
    pipeline = call.pipeline
    factor = getattr(pipeline, "vae_scale_factor", 8 if getattr(pipeline, "vae", None) is not None else 1)
    latents = getattr(pipeline, "default_sample_size", None)
    if latents is None:
        latents = getattr(getattr(denoiser_of(pipeline), "config", None), "sample_size", None)
    if isinstance(latents, int):
        latents = latents, latents
    if isinstance(latents, (list, tuple)) and len(latents) == 2:
        return int(latents[1] * factor), int(latents[0] * factor)
    return 1024, 1024


def size_multiple(call: Call) -> int:
    """What width and height must be multiples of, found out by asking the pipeline's own check of a request."""
    check = getattr(call.pipeline, "check_inputs", None)
    if check is None:
        return 8
    names = inspect.signature(check).parameters
    arguments = {name: call.parameters[name].default for name in names if name in call.parameters} | {"prompt": "a"}
    if any(parameter.default is parameter.empty and name not in arguments for name, parameter in names.items()):
        return 8
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        side = SIDE_TRIED + multiple
        try:
            check(**{name: value for name, value in arguments.items() if name in names} | {"width": side, "height": side})
        except ValueError as error:
            if "divisible" in str(error):
                continue
        except TypeError:
            return 8
        return max(multiple, 8) if getattr(call.pipeline, "vae", None) is not None else multiple
    return 64


def schedulers_of(pipeline: diffusers.DiffusionPipeline) -> list[str]:
    """The folder's own first, then those that can take its place."""
    own = getattr(pipeline, "scheduler", None)
    if own is None:
        return []
    others = [kind.__name__ for kind in getattr(own, "compatibles", []) if kind is not type(own) and not hasattr(kind, "_backends")]
    return [type(own).__name__, *sorted(others)]
