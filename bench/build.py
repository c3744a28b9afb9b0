"""Where the processor-seconds of a build go: by target, and the longest files. Compiles from nothing and without ccache into a temporary
folder, and counts what each compiler and linker used, so that other work on the machine hardly matters.

    ./dev bench build [--separate] [--preset release] [--jobs 2] [diffused diffused-gateway …]

--separate compiles each file by itself, as the preset dev does and as all builds did before unities.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent


def step(log: str, command: list[str]) -> int:
    """Runs one compiler or linker in the build's stead and writes down what it used."""
    status = subprocess.run(command, check=False).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    entry = {"output": command[command.index("-o") + 1] if "-o" in command else command[-1],
             "seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss >> 10}
    with open(log, "a") as file:
        file.write(json.dumps(entry) + "\n")
    return status


def build(arguments: argparse.Namespace, folder: str) -> list[dict]:
    log = f"{folder}/steps"
    launcher = f"{sys.executable};{__file__};step;{log}"
    options = [f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}", f"-DCMAKE_CXX_LINKER_LAUNCHER={launcher}",
               f"-DTORCH_DIR={os.environ['TORCH_DIR']}", f"-DDIFFUSED_UNITY={'OFF' if arguments.separate else 'ON'}"]
    subprocess.run(["cmake", "--preset", arguments.preset, "-B", f"{folder}/build", "-Wno-dev", *options], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pathlib.Path(log).unlink(missing_ok=True)  # CMake's own trials
    subprocess.run(["ninja", "-C", f"{folder}/build", f"-j{arguments.jobs}", *arguments.targets], check=True)
    return [json.loads(line) for line in pathlib.Path(log).read_text().splitlines()]


def target_of(entry: dict) -> str:
    match = re.match(r"CMakeFiles/([^/]+)\.dir/", entry["output"])
    return match[1] if match else "links"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["diffused", "diffused-gateway"])
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--preset", default="release")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        entries = build(arguments, folder)
    wall = time.monotonic() - began
    by_target = collections.defaultdict(list)
    for entry in entries:
        by_target[target_of(entry)].append(entry)
    print("\n| target | processor-seconds | files | the longest | of seconds | MB |\n|---|---|---|---|---|---|")
    for target, of_it in sorted(by_target.items(), key=lambda item: -sum(e["seconds"] for e in item[1])):
        longest = max(of_it, key=lambda e: e["seconds"])
        print(f"| {target} | {sum(e['seconds'] for e in of_it):.0f} | {len(of_it)} | {pathlib.Path(longest['output']).name} "
              f"| {longest['seconds']:.0f} | {max(e['megabytes'] for e in of_it)} |")
    print(f"| all | {sum(e['seconds'] for e in entries):.0f} | {len(entries)} | | | |")
    print(f"\n{wall:.0f} s by the clock with -j{arguments.jobs}, configuring included; load {os.getloadavg()[0]:.0f} at the end")


if __name__ == "__main__":
    sys.exit(step(sys.argv[2], sys.argv[3:]) if sys.argv[1:2] == ["step"] else main())
