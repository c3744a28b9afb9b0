"""Timesteps and noise levels of every sampler against real Diffusers on this machine, bit for bit.

Diffusers' own last bits vary with the processor, so the committed goldens are held with a tolerance; here the same
tests of the program `samplers_test` get what Diffusers gives on this very machine.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("DIFFUSED_BUILD", ROOT / "build/release"))
sys.path.insert(0, str(ROOT / "tools/golden"))

import samplers  # noqa: E402

TESTS = {"schedules": "FlowMatchEuler.SchedulesEqualDiffusersBitForBit", "solver_schedules": "Solvers.SchedulesEqualDiffusers"}


def numpy_alone(case: dict) -> bool:
    return case.get("class") == "DPMSolverSDEScheduler" and "trained_betas" in case["config"]


@pytest.mark.filterwarnings("ignore")  # of hundreds of schedulers, a few each
def test_every_bit(tmp_path: Path) -> None:
    for name in TESTS:
        # Where numpy takes the logarithm of whole arrays, in double, its last bit is its own: of those the goldens are enough.
        cases = [case for case in getattr(samplers, name)() if not numpy_alone(case)]
        assert len(cases) > 700
        (tmp_path / f"{name}.json").write_text(json.dumps({"cases": cases}))
    command = [BUILD / "samplers_test", "--gtest_brief=1", f"--gtest_filter={':'.join(TESTS.values())}"]
    environment = os.environ | {"DIFFUSED_SAMPLER_GOLDENS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and "PASSED  ] 2 tests" in done.stdout, done.stdout[-4000:]
