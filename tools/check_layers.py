"""Fails when a file of src/A includes a file of src/B and room(A … DEPS …) in CMakeLists.txt does not name B, when DEPS point
upward, or when a room without TORCH includes torch. Run by `./dev lint`."""

import pathlib
import re
import sys

TORCH_INCLUDE = re.compile(r'\s*#include <(ATen|c10|torch)/')
ROOM_INCLUDE = re.compile(r'\s*#include "(\w+)/')


def read_rooms(cmake: str) -> dict[str, tuple[set[str], bool]]:
    """Room name → (the rooms it may include, whether it may include torch), in the order of declaration."""
    rooms: dict[str, tuple[set[str], bool]] = {}
    for name, rest in re.findall(r"^room\((\w+)([^)]*)\)", cmake, re.MULTILINE):
        words = rest.split()
        deps = set()
        if "DEPS" in words:
            after = words[words.index("DEPS") + 1 :]
            deps = set(after[: after.index("LIBS")] if "LIBS" in after else after)
        for dep in deps - rooms.keys():
            sys.exit(f"CMakeLists.txt: room {name} depends on {dep}, which is not declared above it")
        rooms[name] = (deps, "TORCH" in words)
    return rooms


def violations(root: pathlib.Path) -> list[str]:
    rooms = read_rooms((root / "CMakeLists.txt").read_text())
    found = []
    for path in sorted((root / "src").rglob("*.[hc]*")):
        room = path.relative_to(root / "src").parts[0]
        if room == "app":
            continue
        if room not in rooms:
            found.append(f"{path.relative_to(root)}: no room({room}) in CMakeLists.txt")
            continue
        deps, torch = rooms[room]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            if (match := ROOM_INCLUDE.match(line)) and match[1] in rooms and match[1] not in deps | {room}:
                found.append(f"{where}: {room} may not include {match[1]}")
            if not torch and TORCH_INCLUDE.match(line):
                found.append(f"{where}: {room} may not include torch")
    return found


if __name__ == "__main__":
    problems = violations(pathlib.Path(sys.argv[1]))
    if problems:
        sys.exit("\n".join(problems))
