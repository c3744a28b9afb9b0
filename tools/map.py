"""Prints the shape of the source tree: for each room its files, lines, comment share and what it includes; then the budgets of
CONTRIBUTING.md against what is there. `./dev map`."""

import pathlib
import re
import statistics
import sys

from check_layers import folder_circles, knots
from functions import find_functions

INCLUDE = re.compile(r'\s*#include "(\w+)/')


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0


def comment_share(texts: list[str]) -> float:
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return 100 * sum(line.startswith("//") for line in lines) / max(1, len(lines))


def room_edges(src: pathlib.Path) -> dict[str, set[str]]:
    rooms = {path.name for path in src.iterdir() if path.is_dir()}
    edges: dict[str, set[str]] = {room: set() for room in sorted(rooms)}
    for room in edges:
        for path in (src / room).rglob("*.[hc]*"):
            edges[room] |= {m[1] for m in map(INCLUDE.match, path.read_text().splitlines()) if m} & rooms - {room}
    return edges


def main(root: pathlib.Path) -> None:
    src = root / "src"
    edges = room_edges(src)
    print(f"{'room':<11}{'files':>6}{'lines':>7}{'median':>7}{'p90':>6}{'max':>6}{'tests':>7}{'÷ code':>8}{'// in .h':>9}  includes")
    for room, targets in edges.items():
        files = [path for path in (src / room).rglob("*") if path.suffix in (".h", ".cpp")]
        sizes = [len(path.read_text().splitlines()) for path in files]
        tests = sum(len(path.read_text().splitlines()) for path in (root / "tests" / room).rglob("*.cpp"))
        headers = comment_share([path.read_text() for path in files if path.suffix == ".h"])
        if sizes:
            print(f"{room:<11}{len(files):>6}{sum(sizes):>7}{statistics.median(sizes):>7.0f}{percentile(sizes, 0.9):>6}{max(sizes):>6}"
                  f"{tests:>7}{tests / sum(sizes):>8.2f}{headers:>8.0f}%  {' '.join(sorted(targets))}")

    files = [path for path in src.rglob("*") if path.suffix in (".h", ".cpp")]
    sizes = [len(path.read_text().splitlines()) for path in files]
    functions = [function for function in find_functions(root, ["src"]) if function.defined]
    lengths = [function.lines for function in functions]
    tests = sum(len(path.read_text().splitlines()) for path in (root / "tests").rglob("*") if path.suffix in (".cpp", ".py", ".h"))
    cycles = sorted((a, b) for a in edges for b in edges[a] if a < b and a in edges[b])
    print(f"\nroom cycles           {len(cycles)} (0)  {cycles or ''}")
    print(f"file lines            median {statistics.median(sizes):.0f} (130)  p90 {percentile(sizes, 0.9)} (350)  max {max(sizes)} (600)")
    print(f"function lines        median {statistics.median(lengths):.0f}  p90 {percentile(lengths, 0.9)}  longest {max(lengths)} (70)")
    print(f"parameters            at most {max(function.parameters for function in functions)} (7)")
    print(f"knots in rooms        {len(knots(root))} (0)  {knots(root) or ''}")
    print(f"folder circles        {len(folder_circles(root))} (0)  {folder_circles(root) or ''}")
    print(f"comments in headers   {comment_share([p.read_text() for p in files if p.suffix == '.h']):.0f}% (30%)")
    print(f"tests / code          {tests / sum(sizes):.2f} (0.65)")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
