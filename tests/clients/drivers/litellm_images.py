"""litellm, which talks to servers like this one as to openai."""

import contextlib

import litellm
from loop import abortable, download, serve

litellm.suppress_debug_info = True


def call(function, request, extra, server, key="none", retries=0, **options):
    # It knows response_format for dall-e only: with other names its users pass it on like any field that it does not know.
    known = {**request, "model": f"openai/{request['model']}"}
    others = {name: known.pop(name) for name in ("response_format",) if name in known}
    return function(**known, **options, extra_body={**extra, **others}, api_base=f"{server}/v1", api_key=key, max_retries=retries)


def pictures(reply):
    return {"pictures": [item.b64_json or download(item.url) for item in reply.data]}


async def generate(**options):
    return pictures(await call(litellm.aimage_generation, **options))


async def edit(images, mask=None, **options):
    with contextlib.ExitStack() as files:
        if mask:
            options["mask"] = files.enter_context(open(mask, "rb"))
        opened = [files.enter_context(open(path, "rb")) for path in images]
        return pictures(await call(litellm.aimage_edit, image=opened, **options))


async def models(server, key="none"):
    return litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", api_base=f"{server}/v1", api_key=key)


async def long(stream, **options):
    assert not stream
    await generate(**options)


serve({"generate": generate, "edit": edit, "models": models, **abortable(long)})
