"""Trains sketch: first the autoencoder, then the U-Net and the text encoder together; stops at a time limit, resumes.

    python train.py --packed PACKED --run RUN --minutes 60                       # a CPU: 64x64
    python train.py --packed PACKED --run RUN --minutes 9 --size 128 --threads 16   # a GPU: 128x128, bf16

The U-Net works on the fixed latents of `latents.py`, the autoencoder learns to encode to and decode from that very
space. Velocity prediction (Salimans and Ho 2022) under Stable Diffusion's noise schedule, logit-normal timesteps (Esser
et al. 2024) mixed with uniform ones so that the first and last steps of a sampler are seen too, Muon for the matrices
within, captions dropped one time in ten for guidance (Ho and Salimans 2022), averaged weights. On CPUs without matrix
units f32 and compiled is several times as fast as bf16 autocast; on CUDA bf16 is used.
"""

import argparse
import contextlib
import copy
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import autoencoder
import parts
from data import Words, batches, make_scenes, write_tokenizer
from latents import load_or_fit
from models import TRAIN_STEPS, alphas_cumprod, make_text, make_unet
from muon import Muon

RATE = 1.5e-3


def timesteps(count, device):
    """Three quarters logit-normal, one quarter uniform."""
    middle = torch.sigmoid(torch.randn(count, device=device) + 0.3)
    uniform = torch.rand(count, device=device)
    share = torch.where(torch.rand(count, device=device) < 0.25, uniform, middle)
    return (share * TRAIN_STEPS).long().clamp(0, TRAIN_STEPS - 1)


def make_optimizers(models):
    """Muon for the matrices within, AdamW for the rest."""
    outer = ("conv_in", "conv_out", "embedding")
    inner = [value for name, value in models.named_parameters()
             if value.dim() >= 2 and not any(word in name for word in outer)]
    known = {id(value) for value in inner}
    rest = [value for value in models.parameters() if id(value) not in known]
    return [Muon(inner, lr=RATE), torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)]


def begin_from(models, folder, tokenizer):
    """Takes the weights of another run, whose vocabulary may be smaller: words of both keep what they mean."""
    state = torch.load(folder / "checkpoint.pt", map_location="cpu")["models"]
    old = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    new = json.loads((tokenizer / "vocab.json").read_text())
    name = next(name for name in state if name.endswith("token_embedding.weight"))
    rows = models.state_dict()[name].clone()
    for word, number in new.items():
        if word in old:
            rows[number] = state[name][old[word]]
    models.load_state_dict(state | {name: rows})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--packed", required=True, help="what pack.py wrote")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60, help="in all, earlier runs counted in")
    parser.add_argument("--share", type=float, default=0.2, help="of the time, for an autoencoder not trained yet")
    parser.add_argument("--size", type=int, choices=[64, 128], default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="default 24, on a GPU 256")
    parser.add_argument("--scenes", type=float, default=0.5, help="share of composed pictures")
    parser.add_argument("--mix", type=float, nargs=3, default=[0.4, 0.3, 0.3], metavar=("RELATIONS", "COUNTS", "TINTS"),
                        help="their shares of the composed pictures")
    parser.add_argument("--jitter", type=float, help="of places and sizes; default 0, on a GPU 0.03")
    parser.add_argument("--workers", type=int, help="processes that compose pictures; default 0, with a GPU 12")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--begin", type=Path, help="a run of the same size whose weights to begin with")
    parser.add_argument("--pause", type=float, help="stop after so many minutes of this call, to be resumed")
    parser.add_argument("--resume", type=Path, help="parts of a run (parts.py) to go on with where RUN holds none")
    parser.add_argument("--parts", type=Path, help="leave the run in parts there at the end")
    parser.add_argument("--eager", action="store_true", help="do not compile, for a short trial")
    parser.add_argument("--export", type=Path, help="write the diffusers folder there at the end")
    options = parser.parse_args()
    gpu, device = options.device.startswith("cuda"), torch.device(options.device)
    batch = options.batch or (256 if gpu else 24)
    workers = options.workers if options.workers is not None else (12 if gpu else 0)
    jitter = options.jitter if options.jitter is not None else (0.03 if gpu else 0.0)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if gpu:
        torch.set_float32_matmul_precision("high")

    def autocast():
        return torch.autocast("cuda", torch.bfloat16) if gpu else contextlib.nullcontext()

    run = options.run
    run.mkdir(parents=True, exist_ok=True)
    checkpoint, state = run / "checkpoint.pt", None
    if options.resume and not checkpoint.exists():
        parts.join(options.resume, run)
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu")
    scenes, others, words = make_scenes(options.packed, options.size, options.seed, share=options.scenes,
                                        mix=options.mix, jitter=jitter, variants=16 if gpu else 4)
    nouns = sorted({noun for things in scenes.things.values() for noun in things})
    (run / "subjects.json").write_text(json.dumps(nouns))
    tokenizer = run / "tokenizer"
    if not (tokenizer / "vocab.json").exists():
        write_tokenizer(tokenizer, words, options.begin and options.begin / "tokenizer")
    words = Words(tokenizer)
    # processes beside are forked before anything touches the GPU
    source = batches(scenes, words, batch, options.seed + (state["step"] if state else 0), workers)
    for name in ("latents.pt", "autoencoder.pt"):
        if options.begin and not (run / name).exists() and (options.begin / name).exists():
            (run / name).write_bytes((options.begin / name).read_bytes())
    space = load_or_fit(run / "latents.pt", scenes, device)

    models = torch.nn.ModuleList([make_unet(options.size), make_text(options.size, len(words))])
    if options.begin and not state:
        begin_from(models, options.begin, tokenizer)
    models = models.to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(models).requires_grad_(False)
    optimizers = make_optimizers(models)
    step, minutes, started = 0, 0.0, time.time()
    if state:
        models.load_state_dict(state["models"])
        average.load_state_dict(state["average"])
        for optimizer, kept in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(kept)
        step, minutes = state["step"], state["minutes"]
        torch.manual_seed(options.seed + step)
    if not (run / "autoencoder.pt").exists():
        minutes += autoencoder.train(run / "autoencoder.pt", options.size, space, scenes, others, source,
                                     options.share * options.minutes, min(batch, 64 if gpu else 8), device, autocast,
                                     options.eager)
    unet, text = models[0] if options.eager else torch.compile(models[0]), models[1]
    alphas = alphas_cumprod().float().to(device)
    size = sum(value.numel() for value in models.parameters()) / 1e6
    print(f"{size:.2f}M parameters, {len(nouns)} subjects, {len(words)} tokens, step {step}, {minutes:.1f} min used",
          flush=True)
    noted, losses, saved = time.time(), [], time.time()
    last = options.minutes
    if options.pause:
        last = min(last, minutes + options.pause - (time.time() - started) / 60)
    begun = step
    while minutes < last or step == begun:  # a step at the least, so that there is something to resume
        began = time.time()
        rate = options.rate * min(1, (step + 1) / 60)
        # falls late, since short runs end far from converged
        rate *= 1 - min(1, minutes / options.minutes) ** 2
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        pictures, numbers = (part.to(device, non_blocking=True) for part in next(source))
        clean = space.encode(pictures.float() / 127.5 - 1)
        noise = torch.randn_like(clean)
        when = timesteps(batch, device)
        a = alphas[when].sqrt()[:, None, None, None]
        s = (1 - alphas[when]).sqrt()[:, None, None, None]
        noisy = (a * clean + s * noise).contiguous(memory_format=torch.channels_last)
        with autocast():
            context = text(numbers).last_hidden_state
            velocity = unet(noisy, when, context).sample
        loss = F.mse_loss(velocity.float(), a * noise - s * clean)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        decay = min(0.9995 if gpu else 0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(models.parameters()), 1 - decay)
        losses.append(loss.detach())
        minutes += min(time.time() - began, 60) / 60
        if step % (200 if gpu else 50) == 0:
            speed = len(losses) * batch / (time.time() - noted)
            mean = torch.stack(losses).mean().item()
            print(f"step {step} {minutes:.1f} min loss {mean:.4f} {speed:.1f} samples/s", flush=True)
            noted, losses = time.time(), []
        if time.time() - saved > 60 or minutes >= last:
            state = {"models": models.state_dict(), "average": average.state_dict(), "step": step, "minutes": minutes,
                     "size": options.size, "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
            saved = time.time()
    if options.parts:
        parts.split(run, options.parts)
    if options.export:
        import export
        export.write(run, options.export)


if __name__ == "__main__":
    main()
