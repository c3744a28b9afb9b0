"""openai from PyPI; the version is that of the virtual environment which runs this. With the argument `azure` its client for that."""

import contextlib
import sys

import openai
from loop import abortable, download, serve


def client(server, key="none", retries=0):
    if "azure" in sys.argv:
        return openai.AsyncAzureOpenAI(azure_endpoint=server, api_version="2025-04-01-preview", api_key=key, max_retries=retries)
    return openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=key, max_retries=retries)


def pictures(reply):
    return [item.b64_json or download(item.url) for item in reply.data]


@contextlib.contextmanager
def uploads(images, mask):
    with contextlib.ExitStack() as files:
        opened = [files.enter_context(open(path, "rb")) for path in images]
        image = opened[0] if len(opened) == 1 else opened
        yield {"image": image, **({"mask": files.enter_context(open(mask, "rb"))} if mask else {})}


async def collect(stream):
    return {"events": [event.to_dict() async for event in stream]}


async def generate(request, extra, **options):
    reply = await client(**options).images.generate(**request, extra_body=extra)
    return {"pictures": pictures(reply), "reply": reply.model_dump(exclude={"data"})}


async def edit(request, extra, images, mask=None, **options):
    with uploads(images, mask) as files:
        return {"pictures": pictures(await client(**options).images.edit(**request, **files, extra_body=extra))}


async def vary(request, images, **options):
    with uploads(images, None) as files:
        return {"pictures": pictures(await client(**options).images.create_variation(**request, **files))}


async def stream(request, extra, **options):
    return await collect(await client(**options).images.generate(**request, extra_body=extra, stream=True))


async def stream_edit(request, extra, images, mask=None, **options):
    with uploads(images, mask) as files:
        return await collect(await client(**options).images.edit(**request, **files, extra_body=extra, stream=True))


async def models(**options):
    return [model.id async for model in client(**options).models.list()]


async def model(name, **options):
    return (await client(**options).models.retrieve(name)).to_dict()


async def long(request, extra, stream, **options):
    reply = await client(**options).images.generate(**request, extra_body=extra, stream=stream)
    if stream:
        await collect(reply)


serve({"generate": generate, "edit": edit, "vary": vary, "stream": stream, "stream_edit": stream_edit, "models": models,
       "model": model, **abortable(long)})
