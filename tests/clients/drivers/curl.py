"""curl: uploads that ask first (Expect: 100-continue, from 1 MB on) and uploads without a length (chunked)."""

import asyncio
import json

from loop import download, serve

REFUSED = 22  # --fail-with-body


class CurlError(Exception):
    def __init__(self, status: int, error: dict):
        super().__init__(error["message"])
        self.status_code = status
        self.type, self.code, self.param = error["type"], error["code"], error["param"]


def start(path, *arguments, server, key=None):
    command = ["curl", "--silent", "--no-buffer", "--fail-with-body", "--write-out", "\n%{http_code}", *arguments]
    if key is not None:
        command += ["--oauth2-bearer", key]
    return asyncio.create_subprocess_exec(*command, server + path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                          limit=1 << 24)


async def curl(path, *arguments, body=b"", **options) -> str:
    process = await start(path, *arguments, **options)
    output, _ = await process.communicate(body)
    text, status = output.decode().rsplit("\n", 1)
    if process.returncode == REFUSED:
        raise CurlError(int(status), json.loads(text)["error"])
    assert process.returncode == 0, f"curl ended with {process.returncode}: {text}"
    return text


def post_json(body, **options):
    return curl("/v1/images/generations", "--json", "@-", body=json.dumps(body).encode(), **options)


def post_form(fields, images, mask, chunked, **options):
    # "-F name=@file" has a length; with a chunked transfer curl sends none. Files last, as nobody promises an order.
    form = [f"--form-string\0{name}={value}" for name, value in fields.items()]
    form += [f"--form\0image[]=@{path}" for path in images] + ([f"--form\0mask=@{mask}"] if mask else [])
    framing = "Transfer-Encoding: chunked" if chunked else "Expect: 100-continue"
    return curl("/v1/images/edits", "--expect100-timeout", "10", "--header", framing, *"\0".join(form).split("\0"), **options)


def pictures(text):
    return {"pictures": [item.get("b64_json") or download(item["url"]) for item in json.loads(text)["data"]]}


def events(text):
    """The events of a stream, whose "event" line says the same as the type inside."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append(json.loads(lines["data"]))
            assert found[-1]["type"] == lines["event"]
            if lines["event"] == "error":
                raise CurlError(200, found[-1]["error"])
    return {"events": found}


async def generate(request, extra, **options):
    return pictures(await post_json({**request, **extra}, **options))


async def edit(request, extra, images, mask=None, chunked=False, **options):
    return pictures(await post_form({**request, **extra}, images, mask, chunked, **options))


async def stream(request, extra, **options):
    return events(await post_json({**request, **extra, "stream": True}, **options))


async def stream_edit(request, extra, images, mask=None, chunked=False, **options):
    return events(await post_form({**request, **extra, "stream": "true"}, images, mask, chunked, **options))


async def models(**options):
    return [model["id"] for model in json.loads(await curl("/v1/models", **options))["data"]]


async def model(name, **options):
    return json.loads(await curl(f"/v1/models/{name}", **options))


running = []


async def begin(request, extra, stream, **options):
    running.append(await start("/v1/images/generations", "--json", json.dumps({**request, **extra, "stream": stream}), **options))


async def abort():
    process = running.pop()
    process.terminate()
    await process.communicate()
    return "answered" if process.returncode == 0 else "ended by a signal"


serve({"generate": generate, "edit": edit, "stream": stream, "stream_edit": stream_edit, "models": models, "model": model,
       "begin": begin, "abort": abort})
