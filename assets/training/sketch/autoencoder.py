"""Trains sketch's autoencoder into the latent space that `latents.py` fixes.

    python autoencoder.py --drawings FOLDER --run FOLDER --minutes 10

The encoder learns to give the principal components; the decoder learns to draw from them, better than the linear map
does, since it sees the neighbouring patches too. Half the pictures are subjects, half are other drawings.
The decoder's latents carry a little noise, as those of a sampler do.
"""

import argparse
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from data import STYLES, Scenes, load_drawing
from latents import load_or_fit
from models import make_autoencoder

BATCH = 8
RATE = 2e-3
NOISE = 0.03


def psnr(drawn, wanted):
    """Decibels, of pictures in -1..1."""
    return -10 * math.log10(F.mse_loss(drawn.clamp(-1, 1) / 2, wanted / 2).item())


def others(folder, count, seed):
    """`count` drawings of anything; their words are not used."""
    paths = sorted(path for style in STYLES for path in (Path(folder) / style).glob("*.webp"))
    return [("thing", "flat", load_drawing(path)) for path in random.Random(seed).sample(paths, count)]


def measure(model, space, scenes):
    """PSNR of: the linear map, the decoder on exact latents, encoder and decoder together; and the latents' error."""
    pictures, _ = scenes.batch(96)
    with torch.no_grad():
        exact = space.encode(pictures)
        mean = model.encode(pictures).latent_dist.mode()
        return (psnr(space.decode(exact), pictures), psnr(model.decode(exact).sample, pictures),
                psnr(model.decode(mean).sample, pictures), F.mse_loss(mean, exact).sqrt().item())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawings", required=True)
    parser.add_argument("--run", type=Path, required=True, help="the folder of train.py, with latents.pt")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    scenes = Scenes(options.drawings, options.seed, shift=1)
    space = load_or_fit(options.run / "latents.pt", scenes)
    various = Scenes(options.drawings, options.seed, shift=1)
    various.drawings = others(options.drawings, 1200, options.seed)
    held = Scenes(options.drawings, options.seed + 1, shift=1)
    model = make_autoencoder().to(memory_format=torch.channels_last)
    kept = options.run / "autoencoder.pt"
    if kept.exists():
        model.load_state_dict(torch.load(kept))
    encoder = torch.compile(lambda pictures: model.quant_conv(model.encoder(pictures)))
    decoder = torch.compile(lambda latents: model.decoder(model.post_quant_conv(latents)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    print(f"{sum(value.numel() for value in model.parameters()) / 1e6:.2f}M parameters", flush=True)
    used, step, noted = 0.0, 0, time.time()
    while used < options.minutes:
        began = time.time()
        rate = RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * used / options.minutes)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pictures = torch.cat([scenes.batch(BATCH // 2)[0], various.batch(BATCH // 2)[0]])
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        exact = space.encode(pictures).contiguous(memory_format=torch.channels_last)
        mean, spread = encoder(pictures).chunk(2, dim=1)
        drawn = decoder(exact + NOISE * torch.randn_like(exact))
        # the spread is never drawn from here; it is held at the noise that the decoder bears
        loss = (F.mse_loss(drawn, pictures) * 4 + F.l1_loss(drawn, pictures) + F.mse_loss(mean, exact)
                + 0.01 * (spread - 2 * math.log(NOISE)).square().mean())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        used += min(time.time() - began, 30) / 60
        if step % 100 == 0 or used >= options.minutes:
            linear, exactly, around, error = measure(model, space, held)
            speed = 100 * BATCH / (time.time() - noted)
            print(f"step {step} {used:.1f} min loss {loss.item():.4f} {speed:.1f}/s; PSNR "
                  f"linear {linear:.2f}, decoder {exactly:.2f}, "
                  f"both {around:.2f} dB; latent error {error:.3f}", flush=True)
            torch.save(model.state_dict(), kept)
            noted = time.time()


if __name__ == "__main__":
    main()
