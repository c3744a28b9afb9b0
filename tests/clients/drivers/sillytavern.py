"""The server of SillyTavern, asked as its page asks it; the argument is the source of pictures that is chosen there."""

import asyncio
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

import loop

HOME = pathlib.Path(__file__).parents[3] / ".clients/node/node_modules/sillytavern"
# A1111's routes have no name of their own.
PREFIX = {"auto": "/api/sd", "sdcpp": "/api/sd/sdcpp"}[sys.argv[1]]


class TavernError(Exception):
    def __init__(self, error: urllib.error.HTTPError):
        super().__init__(error.reason)
        self.status_code = error.code


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def tavern():
    """Its address, once it listens."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["node", "server.js", "--port", port, "--listen", "false", "--dataRoot", f"{folder}/data", "--configPath",
                   f"{folder}/config.yaml", "--disableCsrf", "--browserLaunchEnabled", "false"]
        process = subprocess.Popen(map(str, command), cwd=HOME, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        try:
            assert any("listening on" in line for line in process.stdout), "SillyTavern ended"
            # What it says from now on is read too, lest it wait for a reader.
            threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def main(address: str) -> None:
    def post(path: str, fields: dict):
        request = urllib.request.Request(address + PREFIX + path, json.dumps(fields).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                text = reply.read().decode()
        except urllib.error.HTTPError as error:
            raise TavernError(error) from error
        return json.loads(text) if text[:1] in ("{", "[") else text

    def options(server, key=None) -> dict:
        return {"url": server, "auth": "" if key is None else f"anybody:{key}"}

    async def ask(path, fields=None, **where):
        return await asyncio.to_thread(post, path, {**options(**where), **(fields or {})})

    async def ping(**where):
        return await ask("/ping", **where)

    async def generate(request, **where):
        made = await ask("/generate", request, **where)
        return {"pictures": made["images"], "info": json.loads(made["info"])}

    async def lists(**where):
        if "sdcpp" in PREFIX:
            return {"models": [model["id"] for model in (await ask("/models", **where))["data"]]}
        found = {name: await ask(f"/{name}", **where) for name in ("samplers", "schedulers", "upscalers", "vaes")}
        return {**found, "models": [model["value"] for model in await ask("/models", **where)]}

    async def choose(model, **where):
        await ask("/set-model", {"model": model}, **where)
        return await ask("/get-model", **where)

    # A page that is closed: the connection to SillyTavern ends, and it tells the server.
    running = []

    async def begin(request, **where):
        host, port = address.removeprefix("http://").split(":")
        body = json.dumps({**options(**where), **request}).encode()
        connection = socket.create_connection((host, int(port)))
        head = [f"POST {PREFIX}/generate HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        running.append(connection)

    async def abort():
        running.pop().close()
        return "closed"

    loop.serve({"ping": ping, "generate": generate, "lists": lists, "choose": choose, "begin": begin, "abort": abort})


with tavern() as address:
    main(address)
