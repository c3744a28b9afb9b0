"""Storms over every program: whatever its clients do, a server answers the next one, ends up holding nothing, and ends in order."""

import asyncio
import os
import pathlib
import random

import pytest
from programs import PROGRAMS, ROOT
from driver import Storm

BUILDS = pathlib.Path(os.environ.get("DIFFUSED_BUILDS", ROOT / "build"))
# Program, build, TLS, cases, clients, the most steps of a picture.
STORMS = [
    pytest.param("stub", "tsan", False, 3500, 32, 8, id="stub under thread sanitizer"),
    pytest.param("stub", "asan", False, 3500, 32, 8, id="stub under address sanitizer"),
    pytest.param("stub", "tsan", True, 1200, 32, 8, id="stub under thread sanitizer, TLS"),
    pytest.param("gateway", "tsan", False, 1200, 24, 4, id="gateway under thread sanitizer"),
    pytest.param("real", "release", False, 1500, 32, 2, id="the program"),
    pytest.param("many", "release", False, 1200, 16, 2, id="the program with three kinds of models"),
]
ROUNDS = {"stub": 4, "gateway": 2, "real": 2, "many": 1}  # SIGTERMs; these take long to start


def start(program, build, folder, tls, clients, steps_max, seed):
    context = PROGRAMS[program](BUILDS / build, folder, tls)
    name = f"python tests/storm/driver.py {program} --build build/{build}"
    return context, lambda running: Storm(running, name, seed, clients, steps_max)


@pytest.mark.parametrize(("program", "build", "tls", "count", "clients", "steps_max"), STORMS)
def test_a_server_survives_every_client(tmp_path, program, build, tls, count, clients, steps_max):
    context, over = start(program, build, tmp_path, tls, clients, steps_max, seed=1)
    with context as running:
        storm = over(running)
        asyncio.run(storm.blow(0, count))
        assert not storm.settle(), "\n".join(storm.wrong[:5])
        assert not (wrong := running.end()), wrong


@pytest.mark.parametrize(("program", "build", "tls", "count", "clients", "steps_max"), STORMS)
def test_a_server_ends_in_order_in_the_middle_of_a_storm(tmp_path, program, build, tls, count, clients, steps_max):
    for number in range(ROUNDS[program]):
        (tmp_path / str(number)).mkdir()
        context, over = start(program, build, tmp_path / str(number), tls, clients, steps_max, seed=100 + number)
        with context as running:
            storm = over(running)
            asyncio.run(end_in_the_middle(storm, random.Random(number).uniform(0.2, 1.5)))
            wrong = storm.wrong or running.end()
            assert not wrong, wrong


async def end_in_the_middle(storm: Storm, seconds: float):
    blowing = asyncio.create_task(storm.blow(0, 100_000))
    await asyncio.sleep(seconds)
    storm.program.tell_to_end()
    await blowing
