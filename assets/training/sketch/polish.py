"""Teaches the decoder to draw from latents as a sampler leaves them, rather than from exact ones; the encoder stays.

    python polish.py --packed PACKED --run RUN --minutes 6

A sampler of few steps leaves stains on plain grounds and ragged edges in its latents, which a decoder that has seen
exact latents alone draws faithfully. Pairs of a picture and flawed latents of it are made by noising the latents of a
training picture part of the way and letting the run's own U-Net take the noise away in a few steps with guidance. A
third of the batches stays with exact latents and a little noise, so that what the encoder gives is still drawn well.
Rewrites RUN/autoencoder.pt and keeps what was there as RUN/autoencoder-plain.pt.
"""

import argparse
import math
import shutil
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from autoencoder import NOISE, psnr
from data import PIECES, Words, make_scenes
from latents import LatentSpace
from models import alphas_cumprod, make_autoencoder, make_text, make_unet

RATE = 6e-4
GUIDANCE = 4.0
STARTS = (120, 550)  # training steps of noise to which latents are taken
HELD = 96


@torch.no_grad()
def flawed(unet, context, empty, clean, steps, alphas):
    """Latents that went part of the way to noise and back by DDIM (Song et al. 2021) with guidance."""
    start = int(torch.randint(*STARTS, ()))
    times = torch.linspace(start, 0, steps + 1).long().tolist()
    a, s = alphas[start].sqrt(), (1 - alphas[start]).sqrt()
    noisy = a * clean + s * torch.randn_like(clean)
    for now, then in zip(times, times[1:]):
        a, s = alphas[now].sqrt(), (1 - alphas[now]).sqrt()
        when = torch.full((2 * len(clean),), now)
        with_words, without = unet(torch.cat([noisy, noisy]), when, torch.cat([context, empty])).sample.chunk(2)
        velocity = without + GUIDANCE * (with_words - without)
        drawn, noise = a * noisy - s * velocity, s * noisy + a * velocity
        a, s = alphas[then].sqrt(), (1 - alphas[then]).sqrt()
        noisy = a * drawn + s * noise
    return drawn


def make_pairs(run, scenes, words, size, space, count):
    """`(pictures as bytes, flawed latents)`."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu")
    unet, text = make_unet(size), make_text(size, len(words))
    torch.nn.ModuleList([unet, text]).load_state_dict(state["average"])
    unet = unet.to(memory_format=torch.channels_last)
    alphas, pictures, latents = alphas_cumprod().float(), [], []
    while sum(map(len, pictures)) < count:
        made, captions = scenes.batch(16)
        # runs of an older recipe know fewer words
        captions = [" ".join(piece for piece in PIECES.findall(caption) if piece + "</w>" in words.numbers)
                    for caption in captions]
        with torch.no_grad():
            context, empty = (text(words(texts)).last_hidden_state for texts in (captions, [""] * len(captions)))
        steps = int(torch.randint(2, 5, ()))
        latents.append(flawed(unet, context, empty, space.encode(made), steps, alphas))
        pictures.append(((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(pictures), torch.cat(latents)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--packed", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6, help="of the training itself")
    parser.add_argument("--pairs", type=int, default=1536)
    parser.add_argument("--size", type=int, choices=[64, 128], default=64)
    parser.add_argument("--scenes", type=float, default=0.5, help="share of composed pictures; 0 for single things")
    parser.add_argument("--plain", action="store_true", help="no painted backgrounds, for runs that do not know them")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    run = options.run
    scenes, _, _ = make_scenes(options.packed, options.size, options.seed, share=options.scenes)
    if options.plain:
        scenes.places = []
    words, space = Words(run / "tokenizer"), LatentSpace(torch.load(run / "latents.pt"))
    pictures, latents = make_pairs(run, scenes, words, options.size, space, options.pairs + HELD)
    print(f"{len(pictures)} pairs", flush=True)
    model, path = make_autoencoder(options.size), run / "autoencoder.pt"
    model.load_state_dict(torch.load(path))
    if not (run / "autoencoder-plain.pt").exists():
        shutil.copy(path, run / "autoencoder-plain.pt")
    model = model.to(memory_format=torch.channels_last)
    parts = torch.nn.ModuleList([model.post_quant_conv, model.decoder])
    model.requires_grad_(False)
    parts.requires_grad_(True)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    wanted = pictures[:HELD].float() / 127.5 - 1
    general = make_scenes(options.packed, options.size, options.seed + 1)[0]

    @torch.no_grad()
    def measure():
        drawn = torch.cat([model.decode(part).sample for part in latents[:HELD].split(16)])
        exact = torch.cat([model.decode(space.encode(part)).sample for part in wanted.split(16)])
        return f"PSNR from flawed latents {psnr(drawn, wanted):.2f}, from exact ones {psnr(exact, wanted):.2f} dB"

    print(measure(), flush=True)
    used, step = 0.0, 0
    while used < options.minutes:
        began = time.process_time()
        rate = RATE * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * used / options.minutes))
        for group in optimizer.param_groups:
            group["lr"] = rate
        if step % 3 == 2:
            target = general.batch(8)[0]
            given = space.encode(target)
            given += NOISE * torch.randn_like(given)
        else:
            chosen = HELD + torch.randint(len(pictures) - HELD, (8,))
            target, given = pictures[chosen].float() / 127.5 - 1, latents[chosen]
        drawn = model.decode(given.contiguous(memory_format=torch.channels_last)).sample
        loss = F.mse_loss(drawn, target) * 4 + F.l1_loss(drawn, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        used += (time.process_time() - began) / 60 / options.threads
        if step % 200 == 0 or used >= options.minutes:
            print(f"step {step} {used:.1f} min loss {loss.item():.4f}; {measure()}", flush=True)
    torch.save(model.state_dict(), path)


if __name__ == "__main__":
    main()
