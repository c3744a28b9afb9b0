"""Fails when a source file is longer than its limit, a function longer than 70 lines, or a signature longer than 7
parameters. The limits are those of CONTRIBUTING.md. Run by `./dev lint`."""

import pathlib
import re
import sys

FILE_LINES_MAX = 400
LONG_FILE_LINES_MAX = 600  # networks and tests
FUNCTION_LINES_MAX = 70
SOURCES = ("src", "tests", "bench", "tools")

# The first line of a C++ function definition at namespace or class depth: "type name(…" without ';' at the end.
CPP_HEAD = re.compile(r"^(?:  )?[A-Za-z_][\w:<>,&*\s\[\]]*?[\w>&*]\s+[\w:~]+\(")


def file_limit(path: pathlib.Path) -> int:
    return LONG_FILE_LINES_MAX if path.parts[0] == "tests" or path.parts[:2] == ("src", "models") else FILE_LINES_MAX


def cpp_functions(lines: list[str]):
    """(line number, number of lines) of the functions whose closing brace stands in the column of their head."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and CPP_HEAD.match(line) and not line.rstrip().endswith(";"):
            start, indent = number, len(line) - len(line.lstrip())
        elif start is not None and line.startswith(" " * indent + "}") and not line.startswith(" " * (indent + 1)):
            yield start, number - start + 1
            start = None
        elif start is not None and line.rstrip().endswith(";") and number - start < 3 and "{" not in line:
            start = None  # a declaration over several lines


def python_functions(lines: list[str]):
    start = None
    for number, line in enumerate(lines + ["end"], 1):
        stripped = line.strip()
        if start is not None and stripped and len(line) - len(line.lstrip()) <= indent and not stripped.startswith((")", "#")):
            yield start, number - start
            start = None
        if start is None and re.match(r"\s*(async )?def ", line):
            start, indent = number, len(line) - len(line.lstrip())


def problems(root: pathlib.Path) -> list[str]:
    found = []
    for top in SOURCES:
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".cpp", ".py") or "node_modules" in path.parts:
                continue
            relative = path.relative_to(root)
            lines = path.read_text().splitlines()
            if len(lines) > file_limit(relative):
                found.append(f"{relative}: {len(lines)} lines, the limit is {file_limit(relative)}")
            functions = python_functions if path.suffix == ".py" else cpp_functions
            for start, length in functions(lines):
                if length > FUNCTION_LINES_MAX:
                    found.append(f"{relative}:{start}: a function of {length} lines, the limit is {FUNCTION_LINES_MAX}")
    return found


if __name__ == "__main__":
    found = problems(pathlib.Path(sys.argv[1]))
    if found:
        sys.exit("\n".join(found))
