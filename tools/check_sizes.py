"""Fails when a source file is longer than its limit, a function longer than 70 lines, or a signature longer than 7
parameters. The limits are those of CONTRIBUTING.md. Run by `./dev lint`."""

import pathlib
import sys

from functions import find_functions

FILE_LINES_MAX = 400
LONG_FILE_LINES_MAX = 600  # networks and tests
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 7
SOURCES = ["src", "python", "tests", "bench", "tools"]


def file_limit(path: pathlib.Path) -> int:
    return LONG_FILE_LINES_MAX if path.parts[0] == "tests" or path.parts[:2] == ("src", "models") else FILE_LINES_MAX


def long_files(root: pathlib.Path) -> list[str]:
    found = []
    for path in sorted(path for top in SOURCES for path in (root / top).rglob("*")):
        relative = path.relative_to(root)
        if path.suffix not in (".h", ".cpp", ".py", ".js", ".css", ".html") or "node_modules" in path.parts:
            continue
        length = len(path.read_text().splitlines())
        if length > file_limit(relative):
            found.append(f"{relative}: {length} lines, the limit is {file_limit(relative)}")
    return found


def large_functions(root: pathlib.Path) -> list[str]:
    found = []
    for function in find_functions(root, SOURCES):
        where = f"{function.path}:{function.line}: {function.name}"
        if function.lines > FUNCTION_LINES_MAX:
            found.append(f"{where} has {function.lines} lines, the limit is {FUNCTION_LINES_MAX}")
        if function.parameters > PARAMETERS_MAX:
            found.append(f"{where} has {function.parameters} parameters, the limit is {PARAMETERS_MAX}")
    return found


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    found = long_files(root) + large_functions(root)
    if found:
        sys.exit("\n".join(found))
