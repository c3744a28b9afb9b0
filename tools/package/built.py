"""What is packed: the built programs, the libraries they need, and which source they are of."""

import dataclasses
import functools
import os
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
PROGRAMS = ("diffused", "diffused-gateway")
# What every Linux of that age has; auditwheel leaves the same out.
FROM_THE_SYSTEM = re.compile(r"(linux-vdso|ld-linux-x86-64|libc|libm|libdl|libpthread|librt|libresolv|libutil|libstdc\+\+|libgcc_s)\.so")


def run(*command, **options) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options).stdout


@dataclasses.dataclass(frozen=True)
class Library:
    """A shared library of a Debian package that is packed along."""

    file: pathlib.Path
    package: str
    version: str


class Built:
    """The programs of one build folder. Everything made from them has the time of the commit: so it is the same each time."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        said = run(folder / "diffused", "--version")
        self.version = re.search(r"^diffused (\S+)", said)[1]
        self.commit = re.search(r"^commit (.+)", said, re.MULTILINE)[1]
        self.libtorch = re.search(r"^libtorch (\S+)", said, re.MULTILINE)[1]
        self.time = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct", cwd=ROOT))

    @property
    def torch_series(self) -> str:
        """What a wheel may be used with: 2.13."""
        return self.libtorch.rpartition(".")[0]

    @functools.cached_property
    def torch_folder(self) -> pathlib.Path:
        return next(file.parent for file in self.needed("diffused") if file.name == "libtorch.so")

    def needed(self, program: str) -> list[pathlib.Path]:
        """All libraries that the program loads, theirs included."""
        found = re.findall(r"=> (/\S+)", run("ldd", self.folder / program))
        return sorted({pathlib.Path(file) for file in found}, key=lambda file: file.name)

    def torch_libraries(self) -> list[pathlib.Path]:
        return [file for file in self.needed("diffused") if file.parent == self.torch_folder]

    @functools.cached_property
    def libraries(self) -> list[Library]:
        """Those besides libtorch's that not every system has."""
        files = {file for program in PROGRAMS for file in self.needed(program)}
        wanted = sorted((file for file in files if file.parent != self.torch_folder and not FROM_THE_SYSTEM.match(file.name)),
                        key=lambda file: file.name)
        packages = packages_of(wanted)
        versions = dict(line.split() for line in run("dpkg-query", "-W", "-f=${Package} ${Version}\n", *packages.values()).splitlines())
        return [Library(file, packages[file], versions[packages[file]]) for file in wanted]

    def put_program(self, name: str, to: pathlib.Path, run_path: str) -> None:
        """Without symbols, and looking for libraries in `run_path`."""
        to.parent.mkdir(parents=True, exist_ok=True)
        run("strip", "-o", to, self.folder / name)
        set_run_path(to, run_path)
        to.chmod(0o755)


def set_run_path(file: pathlib.Path, run_path: str) -> None:
    """Where it is another one: the bytes of what is right already stay as they are."""
    if run("patchelf", "--print-rpath", file).strip() == run_path:
        return
    change = ["--set-rpath", run_path] if run_path else ["--remove-rpath"]
    run("patchelf", *change, file)


def packages_of(files: list[pathlib.Path]) -> dict[pathlib.Path, str]:
    """The Debian package that each is from. Its folder may be spelled in two ways."""
    spellings = {spelled: file for file in files for spelled in (str(file), f"/usr{file}", str(file.resolve()))}
    told = subprocess.run(["dpkg-query", "-S", *spellings], capture_output=True, text=True).stdout
    found = {spellings[path]: owners.split(":")[0].split(",")[0] for owners, _, path in (line.rpartition(": ") for line in told.splitlines())
             if path in spellings}
    if unknown := [str(file) for file in files if file not in found]:
        raise SystemExit(f"of no Debian package, so that it cannot be told what they are: {' '.join(unknown)}")
    return found


def set_times(folder: pathlib.Path, time: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time, time), follow_symlinks=False)


def put(source: pathlib.Path, to: pathlib.Path, mode: int = 0o644) -> None:
    """Copies a file, or the files of a folder."""
    if source.is_dir():
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            put(file, to / file.relative_to(source), mode)
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
    to.chmod(mode)


def write(to: pathlib.Path, text: str, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text)
    to.chmod(mode)
