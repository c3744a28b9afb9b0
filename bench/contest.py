"""Programs that do the same work in turn, each a process of its own with the whole machine to itself meanwhile."""

import os
import pathlib
import subprocess
import sys

import numpy

import load

CACHE = pathlib.Path(__file__).parent.parent / ".cache/bench_sd3"
OPENVINO = ("openvino==2026.4.1", "openvino-telemetry==2025.2.0")
OPENVINO_FOLDER = CACHE / "openvino"
# Each waits for its threads as it does by itself; on a machine with other work, OMP_WAIT_POLICY=passive before the command makes
# all that use OpenMP sleep, so that the time of the processors is work.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(OPENVINO_FOLDER)}
# As our program sets it at its start (src/app/wait_policy.cpp).
OURS = {} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "3000")}
# Between any two, as the norm of the difference over the norm: bfloat16 keeps 3 digits after each layer, each stack after others.
DIFFERENCE_MAX = 0.03


def install_openvino() -> None:
    if not OPENVINO_FOLDER.exists():
        print(f"installing {OPENVINO[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--target", str(OPENVINO_FOLDER), *OPENVINO], check=True)


class Contestant:
    """A process that obeys the name of some work and "save PATH" with a line of seconds; see contestant.h."""

    def __init__(self, name: str, command: list[str], folder: pathlib.Path):
        self.name = name
        self.result = folder / f"result_{name.replace(' ', '_')}.f32"
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=ENVIRONMENT | (OURS if name.startswith("ours") else {}))
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise RuntimeError(f"{name} did not start")
        self.load_seconds = float(words[2])

    def obey(self, order: str) -> float:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended during '{order}'")
        return float(line)

    def output(self, work: str) -> numpy.ndarray:
        self.obey(work)
        self.obey(f"save {self.result}")
        return numpy.fromfile(self.result, dtype=numpy.float32)

    def processor_seconds(self) -> float:
        """Of all its threads so far: what other work on the machine disturbs less than the time that passes."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_gb(self) -> float:
        """The most memory that was resident so far, with the pages of files it has mapped."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / (1 << 20)

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def check_agreement(all_of_them: list[Contestant], work: str) -> bool:
    """Every result beside the first one's."""
    ours, agree = all_of_them[0].output(work), True
    for other in all_of_them[1:]:
        theirs = other.output(work)
        difference = numpy.linalg.norm(ours - theirs) / numpy.linalg.norm(theirs)
        agree &= bool(difference <= DIFFERENCE_MAX)
        print(f"    {other.name} differs from ours by {difference:.4f}")
    return agree


def ratios(ours: list[float], theirs: list[float]) -> str:
    each = [a / b for a, b in zip(ours, theirs)]
    return f"{load.median(each):.2f} ({min(each):.2f}–{max(each):.2f})"


def run(all_of_them: list[Contestant], work: str, rounds: int) -> bool:
    """The first round warms up and compares the results; the others count."""
    agree = check_agreement(all_of_them, work)
    times, processor_times = ({one.name: [] for one in all_of_them} for _ in range(2))
    loads = []
    for _ in range(rounds):
        loads.append(os.getloadavg()[0])
        for one in all_of_them:
            before = one.processor_seconds()
            times[one.name].append(one.obey(work))
            processor_times[one.name].append(one.processor_seconds() - before)
    for name, series in times.items():
        ratio = "" if name == "ours" else (f"   ours: {ratios(times['ours'], series)} of it,"
                                           f" {ratios(processor_times['ours'], processor_times[name])} of the processors'")
        if name == "ours int8":
            ratio = f"   {ratios(series, times['ours'])} of ours, {ratios(processor_times[name], processor_times['ours'])} of the processors'"
        print(f"    {name:<10} {load.median(series):7.3f} s ({min(series):.3f}–{max(series):.3f}),"
              f" {load.median(processor_times[name]):.2f} s of processors{ratio}")
    print(f"    load {min(loads):.1f}–{max(loads):.1f}, {rounds} rounds", flush=True)
    return agree
