"""Makes the packages of what is built: make.py BUILD DIST [wheel|deb|image …]. `./dev package` calls it."""

import pathlib
import shutil
import sys

import deb
import image
import wheel
from built import Built

MAKERS = {"wheel": wheel.make, "deb": deb.make, "image": image.make}


def main(build: str, dist: str, *kinds: str) -> None:
    for tool in ("patchelf", "strip", "dpkg-deb", "dpkg-shlibdeps"):
        if not shutil.which(tool):
            sys.exit(f"./dev: package: there is no {tool}: run `apt-get install patchelf binutils dpkg-dev`")
    built, folder = Built(pathlib.Path(build)), pathlib.Path(dist)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds or ("wheel", "deb"):
        if kind not in MAKERS:
            sys.exit(f"./dev: package: name some of: {' '.join(MAKERS)}")
        for file in MAKERS[kind](built, folder):
            print(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
