"""The clients, what each cannot do, and how a test makes one do something."""

import base64
import dataclasses
import io
import json
import pathlib
import subprocess

import pytest
from PIL import Image

HERE = pathlib.Path(__file__).parent
HOME = HERE.parents[1] / ".clients"
NODE = ("node", "--preserve-symlinks", "--preserve-symlinks-main")


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    command: tuple[str, ...]
    # What this client has no way to ask for, with the reason: listed at the end of every run.
    cannot: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def id(self) -> str:
        """In the names of tests."""
        return self.name.replace(" ", "-")


def javascript(name: str, driver: str, *arguments: str, **cannot: str) -> Client:
    return Client(name, (*NODE, str(HOME / "node/drivers" / driver), *arguments), cannot)


def python(name: str, venv: str, driver: str, *arguments: str, **cannot: str) -> Client:
    return Client(name, (str(HOME / venv / "bin/python"), str(HERE / "drivers" / driver), *arguments), cannot)


NO_STREAM = "has no streaming of images"
NO_LIST = "has no list of models"
NO_VARIATIONS = "has no variations"
NO_EXTRA = "passes on no fields that it does not know"
NO_CHUNKS = "sends files with their length"

CLIENTS = [
    javascript("openai 7 (npm)", "openai_node.mjs", "openai"),
    javascript("openai 7 (npm), Azure", "openai_node.mjs", "openai", "azure"),
    javascript("openai 6 (npm)", "openai_node.mjs", "openai6"),
    python("openai 3 (PyPI)", "python", "openai_python.py", chunked=NO_CHUNKS),
    python("openai 3 (PyPI), Azure", "python", "openai_python.py", "azure", chunked=NO_CHUNKS),
    python("openai 2 (PyPI)", "python_openai2", "openai_python.py", chunked=NO_CHUNKS),
    javascript("ai, openai-compatible", "ai_sdk.mjs", "@ai-sdk/openai-compatible", chunked=NO_CHUNKS, vary=NO_VARIATIONS,
               stream=NO_STREAM, list=NO_LIST),
    javascript("ai, openai", "ai_sdk.mjs", "@ai-sdk/openai", chunked=NO_CHUNKS, vary=NO_VARIATIONS, stream=NO_STREAM, list=NO_LIST,
               url="takes base64 only", seed=NO_EXTRA),
    javascript("@langchain/openai", "langchain.mjs", seed=NO_EXTRA, format=NO_EXTRA,
               edit="has no edits", chunked="has no edits", vary=NO_VARIATIONS, stream=NO_STREAM, list=NO_LIST,
               abort="has no way to give up", no_retry="tries again by itself"),
    python("litellm", "python_openai2", "litellm_images.py", chunked=NO_CHUNKS, stream=NO_STREAM, one_model="shows no single model",
           code="tells status and message only", no_retry="tries again by itself",
           vary="has them for OpenAI's own address only"),
    python("curl", "python", "curl.py", vary="is the same as an edit"),
]

NO_UPLOADS = "sends no pictures"
NO_WORDS = "says only that it failed"
NO_SETTINGS = "passes on a few settings only"

SD_CLIENTS = [
    python("webuiapi", "python", "webuiapi_client.py", ping="has no sign of life"),
    python("SillyTavern, auto", "python", "sillytavern.py", "auto", edit=NO_UPLOADS, read=NO_UPLOADS, enlarge=NO_UPLOADS, settings=NO_SETTINGS, progress="shows none", words=NO_WORDS),
    python("SillyTavern, sdcpp", "python", "sillytavern.py", "sdcpp", edit=NO_UPLOADS, read=NO_UPLOADS, enlarge=NO_UPLOADS, settings=NO_SETTINGS, progress="shows none", words=NO_WORDS,
           lists="asks for models only", choose="names the model in the request", key="sends none", abort="waits for the answer"),
]


def able(clients, *features):
    """Runs a test with each of the clients that has these features."""
    able = [client for client in clients if not set(features) & set(client.cannot)]
    return pytest.mark.parametrize("client", able, ids=lambda client: client.id, indirect=True)


class ClientError(Exception):
    """What a client raised: its class and those above it, and what it tells its user."""

    def __init__(self, kinds, message, status, type, code, param):
        super().__init__(f"{kinds[0]} {status}: {message}")
        self.kinds, self.message = kinds, message
        self.status, self.type, self.code, self.param = status, type, code, param


class Driver:
    """A running driver of one client; see drivers/loop.mjs and drivers/loop.py."""

    def __init__(self, client: Client):
        self.client = client
        self._process = subprocess.Popen(client.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, action: str, **options):
        self._process.stdin.write(json.dumps({"action": action, **options}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the driver of {self.client.name} ended"
        reply = json.loads(line)
        if "error" in reply:
            raise ClientError(**reply["error"])
        return reply["result"]

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def picture(base64_text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(base64_text)))
    image.load()
    return image
