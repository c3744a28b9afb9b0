"""Becomes the program. It finds torch's libraries beside its own folder; where torch is elsewhere, it is told."""

import importlib.util
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main():
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        sys.exit("diffused: the Python package torch is not installed beside it: run `pip install torch`")
    libraries = pathlib.Path(torch.origin).resolve().parent / "lib"
    if libraries != HERE.parent / "torch/lib":
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(libraries), os.environ.get("LD_LIBRARY_PATH")]))
    program = HERE / "bin/diffused"
    os.execv(program, [str(program), *sys.argv[1:]])


if __name__ == "__main__":
    main()
