"""Fails when a Markdown file has not exactly one title, links to a file that is not there, or when any committed text names
a path of one machine. Run by `./dev lint`."""

import pathlib
import re
import subprocess
import sys

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
TEXT = {".md", ".py", ".h", ".cpp", ".txt", ".in", ".cmake", ".json", ".http", ""}


def tracked(root: pathlib.Path) -> list[pathlib.Path]:
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True)
    return [root / line for line in out.stdout.splitlines() if (root / line).is_file()]


def prose(text: str) -> str:
    """The text without fenced code blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def problems(root: pathlib.Path) -> list[str]:
    found = []
    for path in tracked(root):
        relative = path.relative_to(root)
        if path.suffix == ".md":
            text = prose(path.read_text())
            titles = sum(1 for line in text.splitlines() if line.startswith("# "))
            if titles != 1:
                found.append(f"{relative}: {titles} titles, a page has one")
            for target in LINK.findall(text):
                if "://" not in target and not (path.parent / target).exists():
                    found.append(f"{relative}: links to {target}, which is not there")
        if path.suffix in TEXT and relative.name != "check_docs.py" and path.stat().st_size < 1 << 20:
            try:
                match = MACHINE_PATH.search(path.read_text())
            except UnicodeDecodeError:
                continue
            if match:
                found.append(f"{relative}: names a path of one machine ({match[0]})")
    return found


if __name__ == "__main__":
    found = problems(pathlib.Path(sys.argv[1]))
    if found:
        sys.exit("\n".join(found))
