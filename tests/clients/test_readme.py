"""The programs that README.md shows run as they stand there, with the newest clients."""

import re
import subprocess

import pytest
from client import HERE, HOME, NODE

README = (HERE.parents[1] / "README.md").read_text()

# How a program is run that comes by standard input, where its imports are found, and what its last line begins with.
LANGUAGES = {
    "python": ([str(HOME / "python/bin/python"), "-"], HERE, "iVBORw0KGgo"),  # a PNG in base64
    "js": ([NODE[0], "--input-type=module"], HOME / "node", "image_generation.completed"),
}
PROGRAMS = [(language, text) for language in LANGUAGES for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)]


def test_there_are_programs_in_both_languages():
    assert {language for language, _ in PROGRAMS} == set(LANGUAGES)


@pytest.mark.parametrize(("language", "text"), PROGRAMS, ids=[language for language, _ in PROGRAMS])
def test_a_program_runs(served, language, text):
    command, folder, expected = LANGUAGES[language]
    assert "http://localhost:8000" in text
    done = subprocess.run(command, input=text.replace("http://localhost:8000", served.url), cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(expected), done.stdout[-500:]
