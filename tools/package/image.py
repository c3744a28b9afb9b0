"""The container's root file system without a container engine: what packaging/Containerfile makes, as one archive."""

import pathlib
import shutil
import subprocess
import tarfile
import tempfile

import deb
import sbom
from built import Built, Library, run

RELEASE = "bookworm"
# What differs from one making to the next, and is of no use in a container.
LEFT_OUT = ("var/cache", "var/lib/apt/lists", "var/log", "tmp", "run", "proc", "sys", "dev", "root", "etc/resolv.conf", "etc/hostname",
            "etc/machine-id", "var/lib/dbus", "debootstrap", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-")


def bootstrap(root: pathlib.Path) -> None:
    """A small Debian in `root`. Needs root and the network."""
    run("debootstrap", "--variant=minbase", RELEASE, root)


def install(root: pathlib.Path, debs: list[pathlib.Path]) -> None:
    """With what they depend on, from Debian."""
    for file in debs:
        shutil.copy(file, root / "tmp")
    inside = [f"/tmp/{file.name}" for file in debs]
    in_root(root, "apt-get", "update", "-qq")
    in_root(root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "ca-certificates", *inside)
    in_root(root, "apt-get", "clean")
    for file in debs:
        (root / "tmp" / file.name).unlink()


def installed(root: pathlib.Path) -> list[Library]:
    """All of Debian that is there."""
    told = run("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f=${Package} ${Version}\n")
    return [Library(root, *line.split()) for line in told.splitlines() if not line.startswith("diffused")]


def in_root(root: pathlib.Path, *command: str) -> None:
    """As root in a chroot with a /proc of its own, from which no service is started."""
    script = 'mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" "$@"'
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", script, "sh", str(root), *command], capture_output=True, text=True,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} in {root}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def pack(root: pathlib.Path, archive: pathlib.Path, seconds: int) -> None:
    """Sorted, no file newer than the commit."""
    def keep(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = member.name.removeprefix("./")
        if any(name.startswith(f"{left_out}/") or (name == left_out and not member.isdir()) for left_out in LEFT_OUT):
            return None
        member.mtime = min(int(member.mtime), seconds)
        return member

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*"), key=str):
            member = keep(tar.gettarinfo(path, str(path.relative_to(root))))
            if member and member.isreg():
                with path.open("rb") as data:
                    tar.addfile(member, data)
            elif member:
                tar.addfile(member)


def make(built: Built, dist: pathlib.Path) -> list[pathlib.Path]:
    debs = [file for file in deb.make(built, dist) if file.suffix == ".deb"]
    archive = dist / f"diffused-{built.version}-rootfs.tar"
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        bootstrap(root)
        install(root, debs)
        pack(root, archive, built.time)
        document = archive.with_suffix(".spdx.json")
        document.write_text(sbom.document(built, "diffused-rootfs", None, installed(root), "CONTAINS"))
    return [archive, document]
