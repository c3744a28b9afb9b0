"""docs/pipelines.md is what its tool writes for the Diffusers that is installed."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_list_of_pipelines_is_up_to_date():
    checked = subprocess.run([sys.executable, str(ROOT / "tools/pipeline_list.py"), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_every_class_of_the_three_mappings_has_a_line():
    from diffusers.pipelines import auto_pipeline

    page = (ROOT / "docs/pipelines.md").read_text()
    mappings = (auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING, auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING)
    for kind in {kind for mapping in mappings for kind in mapping.values()}:
        assert f"| `{kind.__name__}` | " in page, kind.__name__
