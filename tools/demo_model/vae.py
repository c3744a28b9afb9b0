"""The autoencoder: Diffusers' AutoencoderKL, trained on the drawn pictures."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from pictures import load_set, render
from training import Log, Muon, Trainer, split_parameters, worker, workers
from words import Content, draw_content, held_out

STEPS, CROP_SHARE, PICTURES, SEED = 1400, 0.86, 10000, 2
DECODER_STEPS, DECODER_NOISE = 400, 0.05


def build_vae() -> AutoencoderKL:
    """Returns an untrained autoencoder: 16 latent channels, 16 times smaller, thin where the picture is large."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, sample_size=256,
        down_block_types=["DownEncoderBlock2D"] * 5, up_block_types=["UpDecoderBlock2D"] * 5,
        block_out_channels=(16, 32, 64, 128, 128), layers_per_block=1, norm_num_groups=8,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.0, shift_factor=0.0, force_upcast=False,
    )


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Returns 8-bit pictures (count, height, width, 3) as a tensor (count, 3, height, width) from -1 to 1."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def batch(pixels: np.ndarray, step: int) -> Tensor:
    """Returns this worker's pictures of one step: crops for most of the run, whole pictures at its end."""
    source = random.Random(f"{SEED}/{step}/{worker()}")
    if step >= STEPS * CROP_SHARE:
        return to_tensor(np.stack([pixels[source.randrange(len(pixels))] for _ in range(2)]))
    crops = []
    for _ in range(4):
        # Offsets are whole tokens, so that a shape always falls on the latent grid as it will in whole pictures.
        y, x = 32 * source.randrange(5), 32 * source.randrange(5)
        crops.append(pixels[source.randrange(len(pixels)), y : y + 128, x : x + 128])
    return to_tensor(np.stack(crops))


def edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the differences between neighbours, across and down."""
    return pictures[..., 1:] - pictures[..., :-1], pictures[..., 1:, :] - pictures[..., :-1, :]


def distance(decoded: Tensor, pictures: Tensor) -> Tensor:
    """Returns how far pictures are apart: in their colours, their edges and their coarse look."""
    loss = functional.l1_loss(decoded, pictures) + 2 * functional.mse_loss(decoded, pictures)
    for ours, theirs in zip(edges(decoded), edges(pictures)):
        loss = loss + 0.3 * functional.l1_loss(ours, theirs)
    return loss + 0.5 * functional.l1_loss(functional.avg_pool2d(decoded, 4), functional.avg_pool2d(pictures, 4))


def loss_of(vae: AutoencoderKL, pictures: Tensor, seed: int) -> Tensor:
    """Returns the training loss of the whole autoencoder."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pictures).latent_dist
        decoded = vae.decode(posterior.sample(torch.Generator().manual_seed(seed))).sample
    mean, spread = posterior.mean.float(), posterior.logvar.float()
    return distance(decoded.float(), pictures) + 4e-4 * 0.5 * (mean**2 + spread.exp() - 1 - spread).mean()


def fresh_pictures(count: int, seed: int, contents: list[Content] | None = None) -> Tensor:
    """Returns renders that no training saw."""
    source = random.Random(f"fresh/{seed}")
    unseen = held_out()
    contents = contents or []
    for _ in range(count):
        subject, colour, scene = source.choice(unseen)
        drawn = draw_content(source)
        contents.append(Content(subject, colour, scene, drawn.time, drawn.place))
    return to_tensor(np.stack([np.asarray(render(c, source.random() < 0.5)) for c in contents]))


@torch.no_grad()
def decibels(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Returns the mean peak signal-to-noise ratio of pictures sent through the autoencoder."""
    ratios = []
    for part in pictures.split(8):
        decoded = vae.decode(vae.encode(part).latent_dist.mode()).sample.clamp(-1, 1)
        ratios.append(10 * torch.log10(4 / ((decoded - part) ** 2).mean(dim=(1, 2, 3))))
    return torch.cat(ratios).mean().item()


def optimisers_of(network: nn.Module, lr: float) -> list:
    """Returns Muon for the convolutions and AdamW for all else, which includes the two layers that touch pixels."""
    pixel_layers = ("encoder.conv_in.weight", "decoder.conv_out.weight")
    matrices, rest = split_parameters(network, lambda name, p: p.ndim >= 2 and name not in pixel_layers)
    return [Muon(matrices, lr=lr), torch.optim.AdamW(rest, lr=lr / 2, betas=(0.9, 0.98), weight_decay=0)]


def pixels_in_memory(folder: Path) -> np.ndarray:
    """Returns this worker's part of the drawn set, in memory: crops of a mapped file are slow where page cache is short."""
    return np.array(load_set(folder / "pictures")[0][worker() : PICTURES : workers()])


def train_vae(folder: Path, log: Log) -> AutoencoderKL:
    """Trains, or goes on training, the autoencoder; its state lies in `folder`."""
    torch.manual_seed(SEED)
    pixels, vae = pixels_in_memory(folder), build_vae()
    trainer = Trainer(vae, optimisers_of(vae, 4e-3), STEPS, 40, folder / "vae.pt", average=0.995)
    fresh, losses = fresh_pictures(24, 1), []
    while trainer.step < STEPS:
        loss = loss_of(vae, batch(pixels, trainer.step), 2 * trainer.step + worker())
        trainer.update(loss, decay_from=0.55)
        losses.append(loss.item())
        if trainer.step % 50 == 0:
            log(f"vae: step {trainer.step} of {STEPS}, loss {np.mean(losses[-50:]):.4f}")
        if trainer.step % 200 == 0 or trainer.step == STEPS:
            log(f"vae: {decibels(trainer.average, fresh):.2f} dB on fresh pictures")
            trainer.save()
    return trainer.average


@torch.no_grad()
def normalise(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Scales every latent channel to variance 1 inside the weights and puts what is left in the two factors of the config."""
    latents = vae.encode(pictures).latent_dist.mean
    deviation = latents.std(dim=(0, 2, 3))
    out, into = vae.encoder.conv_out, vae.decoder.conv_in
    out.weight[:16] /= deviation[:, None, None, None]
    out.bias[:16] /= deviation
    out.bias[16:] -= 2 * deviation.log()
    into.weight *= deviation[None, :, None, None]
    latents = latents / deviation[:, None, None]
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4), shift_factor=round(latents.mean().item(), 4))


def train_decoder(vae: AutoencoderKL, latents: Tensor, folder: Path, log: Log) -> AutoencoderKL:
    """Goes on with the decoder alone, on whole pictures: the latents stay as the transformer learns them."""
    pixels, decoder = pixels_in_memory(folder), vae.decoder
    latents = latents[worker() : PICTURES : workers()]
    trainer = Trainer(decoder, optimisers_of(decoder, 2e-3), DECODER_STEPS, 40, folder / "decoder.pt", average=0.995)
    fresh, losses = fresh_pictures(24, 1), []
    while trainer.step < DECODER_STEPS:
        source = random.Random(f"decoder/{SEED}/{trainer.step}/{worker()}")
        chosen = [source.randrange(len(latents)) for _ in range(2)]
        generator = torch.Generator().manual_seed(2 * trainer.step + worker())
        # The transformer will not hit the latents exactly; a little noise teaches the decoder to shrug that off.
        noisy = latents[chosen] + DECODER_NOISE * torch.randn(2, 16, 16, 16, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = decoder(noisy / vae.config.scaling_factor + vae.config.shift_factor)
        trainer.update(loss := distance(decoded.float(), to_tensor(pixels[chosen])), decay_from=0.1)
        losses.append(loss.item())
        if trainer.step % 50 == 0:
            log(f"decoder: step {trainer.step} of {DECODER_STEPS}, loss {np.mean(losses[-50:]):.4f}")
        if trainer.step % 200 == 0 or trainer.step == DECODER_STEPS:
            vae.decoder = trainer.average
            log(f"decoder: {decibels(vae, fresh):.2f} dB on fresh pictures")
            trainer.save()
    vae.decoder = trainer.average
    return vae
