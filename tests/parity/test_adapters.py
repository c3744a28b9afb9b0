"""Pictures with adapters that Diffusers does not read, or reads in part, against Diffusers with the weights that their
formulas give (tools/golden/adapter_files.py): LoHa, LoKr, kohya's DoRA, LoCon's three parts, norms, whole changes."""

import contextlib
import functools
import shutil

import numpy
import pytest
import torch
from comparing import MADE, assert_same
from test_loras import REQUEST, SEED, pixels, serve

import adapter_files
import flux_folders
import folders
import unet_folders

UNET = ["diff", "dora", "locon", "loha", "lokr", "norms"]
MODELS = {
    ("unet", "plain"): UNET,
    ("unet", "kernels"): UNET,
    ("unet", "xl"): sorted([*UNET, "dora_ldm", "lokr_ldm"]),
    ("sd3", "dual"): ["dora", "loha", "lokr"],
    ("flux", "dev"): ["dora", "loha", "lokr"],
}
ALONE = [(at, name) for at, names in MODELS.items() for name in names]


class Model:
    def __init__(self, kind: str, name: str):
        home = MADE / "adapters" / f"{kind}_{name}"
        shutil.rmtree(home, ignore_errors=True)
        {"unet": unet_folders, "sd3": folders, "flux": flux_folders}[kind].build_folder(home / "model", name)
        self.home = home
        absent = folders.NO_T5 if kind == "sd3" and folders.FOLDERS[name].t5 is None else {}
        import diffusers

        self.pipeline = diffusers.DiffusionPipeline.from_pretrained(home / "model", **absent)
        self.pipeline.set_progress_bar_config(disable=True)
        self.added = adapter_files.build_adapters(self.pipeline, home / "loras")
        self.request = REQUEST | ({"true_cfg_scale": 2.0, "max_sequence_length": 64} if kind == "flux" else {"guidance_scale": 4.0})

    @contextlib.contextmanager
    def changed(self, adapters: dict[str, float]):
        before = {}
        for name, weight in adapters.items():
            for component, tensors in self.added[name].items():
                parameters = dict(getattr(self.pipeline, component).named_parameters())
                for tensor, added in tensors.items():
                    before.setdefault((component, tensor), parameters[tensor].detach().clone())
                    parameters[tensor].data += weight * torch.from_numpy(numpy.asarray(added, dtype=numpy.float32))
        yield
        for (component, tensor), value in before.items():
            dict(getattr(self.pipeline, component).named_parameters())[tensor].data.copy_(value)

    def their_picture(self, adapters: dict[str, float]) -> numpy.ndarray:
        with self.changed(adapters):
            return numpy.asarray(self.pipeline(**self.request, generator=torch.Generator().manual_seed(SEED)).images[0])

    @functools.cached_property
    def plain_picture(self) -> numpy.ndarray:
        return self.their_picture({})


@functools.cache
def model_of(kind: str, name: str) -> Model:
    return Model(kind, name)


@pytest.fixture(scope="module")
def server_of(tmp_path_factory):
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(kind: str, name: str):
            home = model_of(kind, name).home
            options = ["--loras", str(home / "loras"), "--dtype", "fp32"]
            return stack.enter_context(serve(tmp_path_factory.mktemp("server"), *options, model=home / "model"))

        yield start


def compare(server, model: Model, adapters: dict[str, float]) -> None:
    theirs = model.their_picture(adapters)
    assert numpy.abs(theirs.astype(int) - model.plain_picture).mean() > 2, "the adapters change nothing"
    chosen = [{"name": name, "weight": weight} for name, weight in adapters.items()]
    body = model.request | {"seed": SEED, "response_format": "b64_json", "loras": chosen}
    assert_same([pixels(server.post(body))], [theirs])


@pytest.mark.parametrize(("at", "name"), ALONE, ids=["-".join([*at, name]) for at, name in ALONE])
def test_one_adapter(server_of, at, name: str) -> None:
    assert sorted(model_of(*at).added) == MODELS[at]
    compare(server_of(*at), model_of(*at), {name: 0.7})


@pytest.mark.parametrize("at", MODELS, ids="-".join)
def test_several_at_once(server_of, at) -> None:
    # Changes of weights add up, but a DoRA's gain is of what the layer gives so far.
    names = [name for name in MODELS[at] if not name.startswith("dora")]
    compare(server_of(*at), model_of(*at), {names[0]: 0.5, names[-1]: -0.6})
