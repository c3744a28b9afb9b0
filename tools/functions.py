"""Finds the functions of C++ and Python sources with Universal Ctags."""

import dataclasses
import json
import pathlib
import subprocess


@dataclasses.dataclass(frozen=True)
class Function:
    path: pathlib.Path
    name: str
    line: int
    lines: int  # 1 for a declaration
    parameters: int
    defined: bool


def count_parameters(signature: str) -> int:
    """The number of parameters of a signature such as `(int a, std::map<int, int> b = {1, 2})`, `self` apart."""
    inside = signature[signature.find("(") + 1 : signature.rfind(")")].strip()
    inside = inside.removeprefix("self").lstrip(", ")
    if inside in ("", "void"):
        return 0
    depth, count = 0, 1
    for letter in inside:
        depth += (letter in "(<[{") - (letter in ")>]}")
        count += letter == "," and depth == 0
    return count


def find_functions(root: pathlib.Path, folders: list[str]) -> list[Function]:
    """All functions below the folders: constructors, templates and declarations too, but no lambdas."""
    command = ["ctags", "--output-format=json", "--fields=+neSKZ", "--kinds-C++=fp", "--kinds-Python=fm",
               "--languages=C++,Python", "--exclude=node_modules", "--recurse", "-f", "-", *folders]
    listing = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    tags = [json.loads(line) for line in listing.splitlines()]
    return [Function(pathlib.Path(tag["path"]), tag["name"], tag["line"], tag.get("end", tag["line"]) - tag["line"] + 1,
                     count_parameters(tag.get("signature", "()")), tag["kind"] != "prototype") for tag in tags]
