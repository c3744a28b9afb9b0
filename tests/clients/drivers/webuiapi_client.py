"""webuiapi, the usual Python client of AUTOMATIC1111's API."""

import asyncio
import base64
import io
from urllib.parse import urlsplit

from loop import serve
from PIL import Image
from webuiapi import WebUIApi


class Refused(Exception):
    def __init__(self, status_code: int, text: str):
        super().__init__(text)
        self.status_code = status_code


def client(server, key=None) -> WebUIApi:
    address = urlsplit(server)
    api = WebUIApi(host=address.hostname, port=address.port)
    if key is not None:
        api.set_auth("anybody", key)
    return api


async def call(function, *arguments, **options):
    """On a thread: this client knows no other way."""
    try:
        return await asyncio.to_thread(function, *arguments, **options)
    except RuntimeError as error:
        raise Refused(*error.args) from error


def outcome(made) -> dict:
    pictures = []
    for image in made.images:
        out = io.BytesIO()
        image.save(out, "PNG")
        pictures.append(base64.b64encode(out.getvalue()).decode())
    return {"pictures": pictures, "info": made.info}


async def generate(request, **options):
    return outcome(await call(client(**options).txt2img, **request))


async def edit(request, images, mask=None, **options):
    mask_image = Image.open(mask) if mask else None
    return outcome(await call(client(**options).img2img, images=[Image.open(path) for path in images], mask_image=mask_image, **request))


async def lists(**options):
    api = client(**options)
    return {"models": await call(api.util_get_model_names), "samplers": await call(api.util_get_sampler_names),
            "schedulers": await call(api.util_get_scheduler_names), "upscalers": [each["name"] for each in await call(api.get_upscalers)],
            "vaes": [each["model_name"] for each in await call(api.get_sd_vae)]}


async def enlarge(images, upscaler, **options):
    """One by itself and all together."""
    api, pictures = client(**options), [Image.open(path) for path in images]
    one = await call(api.extra_single_image, pictures[0], upscaler_1=upscaler, upscaling_resize=2)
    batch = await call(api.extra_batch_images, pictures, upscaler_1=upscaler, upscaling_resize=2)
    return outcome(one)["pictures"] + outcome(batch)["pictures"]


async def choose(model, **options):
    api = client(**options)
    await call(api.util_set_model, model)
    return await call(api.util_get_current_model)


async def read(image, **options):
    return (await call(client(**options).png_info, Image.open(image))).info


running = []


async def begin(request, **options):
    running.append((client(**options), asyncio.ensure_future(generate(request, **options))))


async def progress(**options):
    return await call(client(**options).get_progress)


async def abort():
    api, task = running.pop()
    await call(api.interrupt)
    return f"{len((await task)['pictures'])} pictures"


serve({"generate": generate, "edit": edit, "enlarge": enlarge, "lists": lists, "choose": choose, "read": read, "begin": begin,
       "progress": progress, "abort": abort})
