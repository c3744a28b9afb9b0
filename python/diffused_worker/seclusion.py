"""No network: the libraries are told so, and what they try all the same is refused."""

import os
import sys

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
REFUSED = {"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def enter() -> None:
    """For the whole process and for good: an audit hook cannot be removed."""
    os.environ.update(OFFLINE)
    sys.addaudithook(refuse)


def refuse(event: str, _arguments: tuple) -> None:
    if event in REFUSED:
        raise PermissionError(f"the worker has no network: {event}")
