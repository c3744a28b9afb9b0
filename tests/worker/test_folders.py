"""What is not to be trusted, or not whole, is refused in one sentence before anything is loaded."""

import json
import shutil

import pytest
from diffused_worker import folder as folders
from diffused_worker.refusal import Refusal

NAME = "StableDiffusionPipeline"


@pytest.fixture
def copy(folder_of, tmp_path):
    return shutil.copytree(folder_of(NAME), tmp_path / "copy")


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal_of(folder) -> Refusal:
    with pytest.raises(Refusal) as refused:
        folders.load(folder, "fp32", "cpu", None)
    assert "\n" not in refused.value.message
    return refused.value


def test_the_plain_folder_loads(copy):
    assert type(folders.load(copy, "fp32", "cpu", None)).__name__ == NAME


def test_a_folder_says_which_components_it_is_without(folder_of, tmp_path):
    folder = shutil.copytree(folder_of("StableDiffusion3Pipeline"), tmp_path / "copy")
    for component in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / component)
    change(folder / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    assert folders.load(folder, "fp32", "cpu", None).text_encoder_3 is None


def test_what_a_pull_leaves_out_is_done_without(copy):
    change(copy / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"], feature_extractor=["transformers", "CLIPImageProcessor"])
    assert folders.load(copy, "fp32", "cpu", None).safety_checker is None


def test_a_pipeline_that_the_folder_brings_is_refused(copy):
    change(copy / "model_index.json", _class_name=["pipeline", "MyPipeline"])
    assert refusal_of(copy).message.endswith("remote code is never run")


def test_a_component_of_a_module_of_its_own_is_refused(copy):
    (copy / "unet/my_unet.py").write_text("raise SystemExit('it was run')")
    change(copy / "model_index.json", unet=["my_unet", "MyUNet"])
    assert refusal_of(copy).message.endswith("remote code is never run")


@pytest.mark.parametrize("component", ["text_encoder", "tokenizer"])
def test_a_component_with_an_auto_map_is_refused(copy, component):
    file = next(copy / component / name for name in ("config.json", "tokenizer_config.json") if (copy / component / name).exists())
    change(file, auto_map={"AutoModel": "evil.Model"})
    assert refusal_of(copy).message.endswith("remote code is never run")


def test_weights_that_are_pickled_are_refused(copy):
    (copy / "unet/diffusion_pytorch_model.safetensors").rename(copy / "unet/diffusion_pytorch_model.bin")
    assert "safetensors" in refusal_of(copy).message


def test_a_component_that_is_missing_is_named(copy):
    shutil.rmtree(copy / "vae")
    refused = refusal_of(copy)
    assert refused.kind == "not_found" and "AutoencoderKL" in refused.message


def test_a_damaged_file_is_refused(copy):
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert refusal_of(copy).kind == "data_loss"


@pytest.mark.parametrize(("name", "kind"), [("NoSuchPipeline", "unsupported"), ("UNet2DModel", "unsupported"), (None, "data_loss")])
def test_a_class_that_is_no_pipeline_is_refused(copy, name, kind):
    change(copy / "model_index.json", _class_name=name)
    assert refusal_of(copy).kind == kind


def test_a_class_whose_package_is_missing_says_which(copy):
    change(copy / "model_index.json", _class_name="OnnxStableDiffusionPipeline")
    refused = refusal_of(copy)
    assert refused.kind == "unsupported" and "onnx" in refused.message


def test_no_folder_and_no_index(tmp_path):
    assert refusal_of(tmp_path / "none").kind == "not_found"
    assert refusal_of(tmp_path).kind == "not_found"
    (tmp_path / "model_index.json").write_text("[")
    assert refusal_of(tmp_path).kind == "data_loss"
