"""The worker as a process, spoken to as the server does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from diffused_worker.protocol import Channel

PROGRAM = Path(__file__).parents[2] / "python/diffused_worker"


class Process:
    """A worker and our side of its socket."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, "-B", str(PROGRAM), str(theirs.fileno())], pass_fds=[theirs.fileno()],
                                        env=environment, cwd="/", stderr=subprocess.PIPE, text=True)  # fmt: skip
        theirs.close()
        self.socket = ours
        self.channel = Channel(ours)
        self.greeting = self.channel.receive().header

    def ask(self, what, blob=b"", **header):
        self.channel.send({"ask": what} | header, blob)
        return self.channel.receive()

    def end(self) -> int:
        self.socket.close()
        return self.process.wait(30)
