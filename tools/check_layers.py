"""Fails when a file of src/A includes a file of src/B and room(A … DEPS …) in CMakeLists.txt does not name B, when DEPS point
upward, when a room without TORCH includes torch, or when units of a room (X.h with X.cpp) include each other in a circle. Run by `./dev lint`."""

import pathlib
import re
import sys

TORCH_INCLUDE = re.compile(r'\s*#include <(ATen|c10|torch)/')
FILE_INCLUDE = re.compile(r'^\s*#include "([\w/.]+)"', re.MULTILINE)
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


def includes(root: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """(file, the file of src it includes), both without suffix and relative to src: X.h and X.cpp are the unit X."""
    src = root / "src"
    return [(path.relative_to(src).with_suffix(""), pathlib.Path(target).with_suffix(""))
            for path in sorted(src.rglob("*.[hc]*")) for target in FILE_INCLUDE.findall(path.read_text()) if (src / target).exists()]


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """The groups of nodes that reach each other, by Kosaraju's two passes."""
    forward, backward = {}, {}
    for a, b in edges:
        forward.setdefault(a, []).append(b)
        backward.setdefault(b, []).append(a)

    def visit(start: str, graph: dict, seen: set) -> list[str]:
        """What is reached from `start`, in the order of leaving."""
        seen.add(start)
        order, stack = [], [(start, iter(graph.get(start, [])))]
        while stack:
            node, targets = stack[-1]
            fresh = next((target for target in targets if target not in seen), None)
            if fresh is None:
                order.append(stack.pop()[0])
            else:
                seen.add(fresh)
                stack.append((fresh, iter(graph.get(fresh, []))))
        return order

    seen: set = set()
    left = [node for start in sorted(forward) if start not in seen for node in visit(start, forward, seen)]
    seen = set()
    groups = [sorted(visit(node, backward, seen)) for node in reversed(left) if node not in seen]
    return sorted(group for group in groups if len(group) > 1)


def knots(root: pathlib.Path) -> list[list[str]]:
    """Units of one room that include each other in a circle."""
    return circles({(str(a), str(b)) for a, b in includes(root) if a != b and a.parts[0] == b.parts[0]})


def folder_circles(root: pathlib.Path) -> list[list[str]]:
    return circles({(str(a.parent), str(b.parent)) for a, b in includes(root) if a.parent != b.parent})


def circle_problems(root: pathlib.Path) -> list[str]:
    return [f"these units include each other in a circle: {', '.join(group)}" for group in knots(root)]


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    problems = violations(root) + circle_problems(root)
    if problems:
        sys.exit("\n".join(problems))
