"""A folder that cannot be served says why in one line, with exit status 2, and nothing is half started."""

import json
import shutil

import pytest
from conftest import DEMO, run_program


@pytest.fixture
def folder(tmp_path):
    """A copy of the demo model to damage."""
    copy = tmp_path / "model"
    shutil.copytree(DEMO, copy)
    return copy


def refused(folder, *mentioned):
    told = run_program("serve", folder, "--port", "0", "--data-dir", folder.parent / "data")
    assert told.returncode == 2, (told.returncode, told.stderr)
    lines = [line for line in told.stderr.splitlines() if line.startswith("diffused: ")]
    assert len(lines) == 1, told.stderr
    for word in mentioned:
        assert word in lines[0], lines[0]
    assert "listening" not in told.stdout


def transformer_file(folder):
    return folder / "transformer/diffusion_pytorch_model.safetensors"


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "nowhere", "nowhere")


def test_a_checkpoint_of_another_kind_or_without_its_parts(folder, tmp_path):
    file = tmp_path / "model.safetensors"
    shutil.copy(transformer_file(folder), file)
    refused(file, "model.safetensors", "other parts of this StableDiffusion3Pipeline are wanted", "--parts")
    shutil.copy(folder / "text_encoder/model.safetensors", file)
    refused(file, "model.safetensors: no checkpoint of Stable Diffusion, FLUX or Z-Image")
    file.write_bytes(transformer_file(folder).read_bytes()[:1_000_000])
    refused(file, "model.safetensors: truncated")


def test_a_folder_of_another_kind(tmp_path):
    (tmp_path / "other").mkdir()
    refused(tmp_path / "other", "model_index.json")


def test_an_unknown_class(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "PaintPipeline"}))
    refused(folder, "PaintPipeline")


def test_a_git_lfs_pointer(folder):
    transformer_file(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    refused(folder, "transformer", "git-lfs")


def test_a_truncated_file(folder):
    data = transformer_file(folder).read_bytes()
    transformer_file(folder).write_bytes(data[: len(data) // 2])
    refused(folder, "diffusion_pytorch_model.safetensors")


def test_a_missing_component(folder):
    shutil.rmtree(folder / "vae")
    refused(folder, "vae")


def test_weights_that_do_not_fit_the_config(folder):
    config = json.loads((folder / "transformer/config.json").read_text())
    config["num_layers"] += 1
    (folder / "transformer/config.json").write_text(json.dumps(config))
    refused(folder, "transformer", "transformer_blocks.")


def test_a_tensor_nobody_asks_for(folder):
    config = json.loads((folder / "transformer/config.json").read_text())
    config["num_layers"] -= 1
    (folder / "transformer/config.json").write_text(json.dumps(config))
    refused(folder, "transformer")


def test_a_dtype_or_device_that_is_not_there(folder):
    assert run_program("serve", folder, "--dtype", "fp8").returncode == 2
    assert run_program("generate", folder, "x", "--device", "cuda:99").returncode == 2
