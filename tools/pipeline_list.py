"""Writes docs/pipelines.md: how a folder of each class that Diffusers' AutoPipelines know is served.

    python3 tools/pipeline_list.py [--check]        --check: fails when the page is not what would be written
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

import diffusers
from diffusers.pipelines import auto_pipeline
from diffused_worker import signature

PAGE = ROOT / "docs/pipelines.md"
HEAD = f"""# Which pipelines are served

Made by `tools/pipeline_list.py` from diffusers {diffusers.__version__}; do not edit it by hand.

A folder's class (`_class_name` in `model_index.json`) decides. *native*: by our own networks. *Diffusers*: in Diffusers itself, in a Python
process of its own, step by step under the same engine ([0024](decisions/0024-what-is-not-native-runs-in-diffusers.md)); it needs a
Python with diffusers, transformers and what the class asks for besides. *one unit*: the same, but a picture is made in one go: it takes
no turns with others, and ends no sooner than it is done. `--engine diffusers` runs native classes in Diffusers too.
"""


def native_classes() -> set[str]:
    return set(re.findall(r'\{"(\w+Pipeline)", load_', (ROOT / "src/pipelines/catalog.cpp").read_text()))


def engine_of(kind: type, native: set[str]) -> str:
    """How a folder of this class is served."""
    if kind.__name__ in native:
        return "native"
    parameters = signature.parameters_of(kind)
    if reason := signature.why_not(kind, parameters):
        return f"no: {reason}"
    return "Diffusers" if signature.Call(None, parameters).waits else "Diffusers, one unit"


def forms_of(kind: type) -> dict[str, str]:
    """Form → the class that makes it."""
    return {form: found[0].__name__ for form, found in signature.forms_of(kind).items()}


def text_table(native: set[str]) -> list[str]:
    lines = ["## From text", "", "| class | engine | from text | from a picture | with a mask |", "|---|---|---|---|---|"]
    for kind in unique(auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING):
        forms = forms_of(kind)
        cells = [f"`{kind.__name__}`", engine_of(kind, native)]
        for form in ("text", "image", "inpaint"):
            other = forms.get(form, "")
            cells.append("" if not other else "yes" if other == kind.__name__ else f"as `{other}`")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def other_table(title: str, mapping, seen: set[type], native: set[str]) -> list[str]:
    lines = [f"## {title}", "", "Folders of these classes themselves; most are made of a folder above, over the same networks.", "",
             "| class | engine |", "|---|---|"]  # fmt: skip
    return lines + [f"| `{kind.__name__}` | {engine_of(kind, native)} |" for kind in unique(mapping) if kind not in seen]


def unique(mapping) -> list[type]:
    return list(dict.fromkeys(mapping.values()))


def page() -> str:
    native = native_classes()
    text = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING
    image, inpaint = auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING
    seen = set(text.values())
    parts = [text_table(native), other_table("From a picture", image, seen, native),
             other_table("With a mask", inpaint, seen | set(image.values()), native)]  # fmt: skip
    return HEAD + "\n" + "\n\n".join("\n".join(part) for part in parts) + "\n"


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        if PAGE.read_text() != made:
            sys.exit(f"{PAGE.name} is not what tools/pipeline_list.py writes: run it")
    else:
        PAGE.write_text(made)
