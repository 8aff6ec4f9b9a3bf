"""Trains sketch's U-Net and text encoder together; stops at a time limit and resumes.

    python train.py --drawings FOLDER --run FOLDER --minutes 60

The U-Net works on the fixed latents of `latents.py`; `autoencoder.py` trains the autoencoder that encodes to and
decodes from that very space, so the two can be trained side by side. Velocity prediction (Salimans and Ho 2022) under
Stable Diffusion's noise schedule, logit-normal timesteps (Esser et al. 2024) mixed with uniform ones so that the
first and last steps of a sampler are seen too, Muon for the matrices within, captions dropped one time in ten for
guidance (Ho and Salimans 2022), averaged weights. In f32 and compiled: on CPUs without matrix units this is several
times as fast as bf16 autocast.
"""

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from data import Scenes, build_tokenizer
from latents import load_or_fit
from models import TRAIN_STEPS, alphas_cumprod, make_text, make_unet, tokens
from muon import Muon

BATCH = 24
RATE = 1.5e-3


def timesteps(count):
    """Three quarters logit-normal, one quarter uniform."""
    middle = torch.sigmoid(torch.randn(count) + 0.3)
    share = torch.where(torch.rand(count) < 0.25, torch.rand(count), middle)
    return (share * TRAIN_STEPS).long().clamp(0, TRAIN_STEPS - 1)


def make_optimizers(models):
    """Muon for the matrices within, AdamW for the rest."""
    outer = ("conv_in", "conv_out", "embedding")
    inner = [value for name, value in models.named_parameters()
             if value.dim() >= 2 and not any(word in name for word in outer)]
    known = {id(value) for value in inner}
    rest = [value for value in models.parameters() if id(value) not in known]
    return [Muon(inner, lr=RATE), torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawings", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60, help="of training in all, earlier runs counted in")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.run.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(options.run / "tokenizer")
    scenes = Scenes(options.drawings, options.seed)
    space = load_or_fit(options.run / "latents.pt", scenes)
    models = torch.nn.ModuleList([make_unet().to(memory_format=torch.channels_last), make_text(tokenizer)])
    average = copy.deepcopy(models).requires_grad_(False)
    optimizers = make_optimizers(models)
    step, fresh, minutes, checkpoint = 0, 0, 0.0, options.run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        models.load_state_dict(state["models"])
        average.load_state_dict(state["average"])
        for optimizer, kept in zip(optimizers, state.get("optimizers", [])):
            optimizer.load_state_dict(kept)
        fresh = 0 if "optimizers" in state else state["step"]
        step, minutes = state["step"], state["minutes"]
        scenes.rng.seed(options.seed + step)
        torch.manual_seed(options.seed + step)
    unet, text = torch.compile(models[0]), models[1]
    alphas = alphas_cumprod().float()
    size = sum(value.numel() for value in models.parameters()) / 1e6
    print(f"{size:.2f}M parameters, {len(scenes.drawings)} drawings, {len(tokenizer)} tokens, step {step}", flush=True)
    noted, losses, saved = time.time(), [], time.time()
    while minutes < options.minutes:
        began = time.time()
        rate = RATE * min(1, (step - fresh + 1) / 60)
        rate *= 1 - (minutes / options.minutes) ** 2  # falls late: short runs end far from converged
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        pictures, captions = scenes.batch(BATCH)
        captions = ["" if scenes.rng.random() < 0.1 else words for words in captions]
        clean = space.encode(pictures)
        noise = torch.randn_like(clean)
        when = timesteps(BATCH)
        a = alphas[when].sqrt()[:, None, None, None]
        s = (1 - alphas[when]).sqrt()[:, None, None, None]
        noisy = (a * clean + s * noise).contiguous(memory_format=torch.channels_last)
        context = text(tokens(tokenizer, captions)).last_hidden_state
        loss = F.mse_loss(unet(noisy, when, context).sample, a * noise - s * clean)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(models.parameters()), 1 - decay)
        losses.append(loss.item())
        minutes += min(time.time() - began, 60) / 60
        if step % 50 == 0:
            speed = 50 * BATCH / (time.time() - noted)
            print(f"step {step} {minutes:.1f} min loss {sum(losses) / 50:.4f} {speed:.1f} samples/s", flush=True)
            noted, losses = time.time(), []
        if time.time() - saved > 60 or minutes >= options.minutes:
            state = {"models": models.state_dict(), "average": average.state_dict(), "step": step, "minutes": minutes,
                     "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
            saved = time.time()


if __name__ == "__main__":
    main()
