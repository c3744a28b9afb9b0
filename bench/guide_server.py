"""The server of Diffusers' guide "Create a server", written for the benchmark: what teams run today.

One StableDiffusion3Pipeline is loaded once; each request gets a pipeline object of its own by from_pipe, with its own scheduler and
generator, and runs in the default thread pool, on the CPU. Two things are kinder than the guide: the dtype is passed to from_pipe,
without which it converts the shared weights to float32, and size, steps and guidance are taken from the request so that both
servers do the same work.
"""

import argparse
import asyncio
import pathlib
import random
import tempfile
import uuid

import torch
import uvicorn
from diffusers import StableDiffusion3Pipeline
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel


class GenerationRequest(BaseModel):
    model: str
    prompt: str
    size: str = "256x256"
    num_inference_steps: int = 28
    guidance_scale: float = 4.0
    seed: int | None = None


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load(folder: str, dtype: torch.dtype) -> StableDiffusion3Pipeline:
    index = pathlib.Path(folder, "model_index.json").read_text()
    no_t5 = {"text_encoder_3": None, "tokenizer_3": None} if '"text_encoder_3": [null, null]' in " ".join(index.split()) or \
        not pathlib.Path(folder, "text_encoder_3").exists() else {}
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, torch_dtype=dtype, **no_t5)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_app(folder: str, address: str, dtype: torch.dtype) -> FastAPI:
    shared = load(folder, dtype)
    images = pathlib.Path(tempfile.mkdtemp(prefix="guide-images-"))
    app = FastAPI()
    app.mount("/images", StaticFiles(directory=images))

    def run(request: GenerationRequest):
        scheduler = shared.scheduler.from_config(shared.scheduler.config)
        pipeline = StableDiffusion3Pipeline.from_pipe(shared, scheduler=scheduler, torch_dtype=dtype)
        pipeline.set_progress_bar_config(disable=True)
        seed = random.randint(0, 10_000_000) if request.seed is None else request.seed
        width, height = map(int, request.size.split("x"))
        return pipeline(request.prompt, width=width, height=height, num_inference_steps=request.num_inference_steps,
                        guidance_scale=request.guidance_scale, generator=torch.Generator("cpu").manual_seed(seed)).images[0]

    @app.get("/health")
    async def health():
        return {"status": "ok"}

    @app.post("/v1/images/generations")
    async def generate(request: GenerationRequest):
        image = await asyncio.get_running_loop().run_in_executor(None, run, request)
        name = f"draw{uuid.uuid4().hex[:8]}.png"
        image.save(images / name)
        return {"data": [{"url": f"{address}/images/{name}"}]}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    arguments = parser.parse_args()
    application = make_app(arguments.model, f"http://127.0.0.1:{arguments.port}", DTYPES[arguments.dtype])
    uvicorn.run(application, host="127.0.0.1", port=arguments.port, access_log=False)
