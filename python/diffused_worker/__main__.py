"""`python diffused_worker DESCRIPTOR [NAME]`: serves the socket with that descriptor until the other side closes it. NAME is for
whoever looks at the list of processes."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a folder, the way the server does it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from diffused_worker import seclusion

seclusion.enter()  # before anything that could look for a network is imported

from diffused_worker import service

if __name__ == "__main__":
    service.run(int(sys.argv[1]))
