"""Faults that a measure brings about and takes back: a disk that is full, a database that stands still, a way to it that is slow."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

# Set for a program that has namespaces of its own.
PRIVATE = "DIFFUSED_BENCH_PRIVATE"


def with_private_mounts(*more: str):
    """Starts this program anew in a mount namespace of its own (and those of `more`, options of unshare), where that is allowed: what
    it mounts, nobody else sees, and it is gone when the program ends, however that ends."""
    if os.environ.get(PRIVATE) or os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    command = ["unshare", "--mount", "--propagation", "private", *more]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        os.execvpe("unshare", [*command, sys.executable, *sys.argv], {**os.environ, PRIVATE: "1"})


def can_mount() -> bool:
    return os.environ.get(PRIVATE) == "1"


class SmallDisk:
    """A file system of a few megabytes at `folder`."""

    def __init__(self, folder: pathlib.Path, megabytes: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs")

    def mount(self, *arguments: str):
        subprocess.run(["mount", *arguments, str(self.folder)], check=True)

    def fill(self):
        """Takes every byte that is left, again and again until free()."""
        self.full = threading.Event()
        self.filler = threading.Thread(target=self.keep_full)
        self.filler.start()

    def keep_full(self):
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            while True:
                for size in (1 << 20, 1 << 12, 1):
                    with contextlib.suppress(OSError):
                        while ballast.write(b"x" * size) == size:
                            pass
                if self.full.wait(0.05):
                    return

    def free(self):
        self.full.set()
        self.filler.join()
        (self.folder / "ballast").unlink()

    def unmount(self):
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)


def share_folder(folder: pathlib.Path, at: pathlib.Path):
    """Makes `folder` appear at `at` as well."""
    for each in (folder, at):
        each.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(folder), str(at)], check=True)


def with_children(process: int) -> list[int]:
    """The process and those it has started, directly or not."""
    found = [process]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in task.read_text().split())
    return found


def send_to_all(process: int, what: signal.Signals):
    for each in with_children(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, what)


class SlowWay:
    """A socket in a folder of its own that leads to another one; every byte takes `seconds` more, each way."""

    def __init__(self, folder: pathlib.Path, target: pathlib.Path):
        folder.mkdir()
        self.target, self.seconds = target, 0.0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / target.name))
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(str(self.target))
                except OSError:
                    near.close()
                    continue
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket.socket, other: socket.socket):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                arrival = time.monotonic() + self.seconds
                while (left := arrival - time.monotonic()) > 0 and self.seconds > 0:
                    time.sleep(min(left, 0.05))
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
