"""What the programs are built with, so that a fault in memory ends them and opens nothing: read from their files."""

import platform
import re
import subprocess

import pytest
from conftest import PROGRAM

ENDBR64 = b"\xf3\x0f\x1e\xfa"  # where calls and jumps through pointers may land


def readelf(program, *options) -> str:
    return subprocess.run(["readelf", "--wide", *options, str(program)], check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=["diffused", "diffused-gateway"])
def program(request):
    return PROGRAM.with_name(request.param)


def test_it_lies_at_another_address_each_time(program):
    assert re.search(r"Type:\s+DYN", readelf(program, "--file-header"))
    assert re.search(r"FLAGS_1.*\bPIE\b", readelf(program, "--dynamic"))


def test_its_table_of_functions_is_read_only_once_it_runs(program):
    assert "GNU_RELRO" in readelf(program, "--program-headers")
    assert re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", readelf(program, "--dynamic"))


def test_no_memory_is_writable_and_runs(program):
    headers = readelf(program, "--program-headers")
    assert re.search(r"GNU_STACK .* RW\s", headers)
    assert not re.search(r"LOAD .* RWE\s", headers)


def test_stacks_and_the_librarys_copies_are_checked(program):
    used = readelf(program, "--dyn-syms")
    assert "__stack_chk_fail" in used
    assert re.search(r" __(mem|str|read|recv|poll|f?printf|vsnprintf|snprintf|realpath|fread|pread)\w*_chk", used)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64")
def test_calls_through_pointers_land_where_functions_begin(program):
    assert program.read_bytes().count(ENDBR64) > 1000
