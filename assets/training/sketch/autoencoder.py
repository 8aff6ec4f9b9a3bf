"""Trains sketch's autoencoder into the latent space that `latents.py` fixes; `train.py` calls it.

The encoder learns to give the principal components; the decoder learns to draw from them, better than the linear map
does, since it sees the neighbouring patches too. Three quarters of the pictures are scenes of subjects, one quarter are
drawings of other things. The decoder's latents carry a little noise, as those of a sampler do.
"""

import math
import random
import time

import torch
import torch.nn.functional as F

from models import make_autoencoder

RATE = 2e-3
NOISE = 0.03


def psnr(drawn, wanted):
    """Decibels, of pictures in -1..1."""
    return -10 * math.log10(F.mse_loss(drawn.float().clamp(-1, 1) / 2, wanted / 2).item())


def others_batch(scenes, others, size, rng):
    """Other drawings on plain backgrounds, `[n, 3, size, size]` in -1..1, moved by up to two pixels."""
    pictures = []
    for _ in range(size):
        picture = scenes.background(rng.choice(["white", "black", "blue", "green", "pink"]))
        drawing = rng.choice(others)
        side, room = drawing.shape[1], scenes.size - drawing.shape[1]
        x, y = rng.randint(0, room), rng.randint(0, room)
        picture[:, y:y + side, x:x + side].mul_(1 - drawing[3:]).add_(drawing[:3])
        pictures.append(picture * 2 - 1)
    return torch.stack(pictures)


@torch.no_grad()
def measure(model, space, pictures):
    """PSNR of: the linear map, the decoder on exact latents, encoder and decoder together; and the latents' error."""
    exact = space.encode(pictures)
    mean = model.encode(pictures).latent_dist.mode()
    return (psnr(space.decode(exact), pictures), psnr(model.decode(exact).sample, pictures),
            psnr(model.decode(mean).sample, pictures), F.mse_loss(mean, exact).sqrt().item())


def train(path, size, space, scenes, others, source, minutes, batch, device, autocast, eager):
    """Trains for `minutes`, writes `path`, returns the minutes; `source` gives `(pictures, token ids)` for ever."""
    rng = random.Random(7)
    held = torch.stack([scenes.example()[0] for _ in range(64)]).to(device)
    pool = others_batch(scenes, others, min(2048, 2 * len(others)), rng) if others else None
    model = make_autoencoder(size).to(device, memory_format=torch.channels_last)
    if path.exists():
        model.load_state_dict(torch.load(path, map_location=device))
    compiled = (lambda part: part) if eager else torch.compile
    encoder = compiled(lambda pictures: model.quant_conv(model.encoder(pictures)))
    decoder = compiled(lambda latents: model.decoder(model.post_quant_conv(latents)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    used, step, noted, count = 0.0, 0, time.time(), batch // 4
    while used < minutes:
        began = time.time()
        rate = RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * used / minutes)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pictures = next(source)[0][:batch].to(device, non_blocking=True).float() / 127.5 - 1
        if pool is not None:
            pictures[:count] = pool[torch.randint(len(pool), (count,))].to(device)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        exact = space.encode(pictures).contiguous(memory_format=torch.channels_last)
        with autocast():
            mean, spread = encoder(pictures).float().chunk(2, dim=1)
            drawn = decoder(exact + NOISE * torch.randn_like(exact)).float()
        # the spread is never drawn from here; it is held at the noise that the decoder bears
        loss = (F.mse_loss(drawn, pictures) * 4 + F.l1_loss(drawn, pictures) + F.mse_loss(mean, exact)
                + 0.01 * (spread - 2 * math.log(NOISE)).square().mean())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        used += min(time.time() - began, 30) / 60
        if step % 200 == 0 or used >= minutes:
            linear, exactly, around, error = measure(model, space, held)
            speed = ((step - 1) % 200 + 1) * batch / (time.time() - noted)
            print(f"autoencoder step {step} {used:.1f} min loss {loss.item():.4f} {speed:.1f}/s; PSNR linear "
                  f"{linear:.2f}, decoder {exactly:.2f}, both {around:.2f} dB; latent error {error:.3f}", flush=True)
            noted = time.time()
    torch.save(model.state_dict(), path)
    return used
