"""Draws contact sheets with diffusers, the way that any other program would use the folder.

    python sheet.py --model ../../models/sketch --to sheet.png
    python sheet.py --model ../../models/sketch --to try.png --sampler euler --spacing trailing --guidance 3

Rows are styles by turns of subjects; every picture has its own seed, and none is chosen by hand.
"""

import argparse
import math
import time

import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

from subjects import BACKGROUNDS, STYLES, SUBJECTS, article


def prompts(count):
    """Captions that walk through subjects, styles and backgrounds."""
    nouns = list(dict.fromkeys(SUBJECTS.values()))
    made = []
    for index in range(count):
        words = f"{article(nouns[index % len(nouns)])}, {STYLES[(index + index // len(nouns)) % 4]} style"
        if index % 2:
            words += f", {list(BACKGROUNDS)[1 + index // 2 % (len(BACKGROUNDS) - 1)]} background"
        made.append(words)
    return made


def load(folder, sampler, spacing, karras):
    """The pipeline; a sampler other than the folder's own where one is named."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if sampler:
        kind = {"euler": EulerDiscreteScheduler, "dpm": DPMSolverMultistepScheduler}[sampler]
        shared = {key: pipe.scheduler.config[key] for key in (
            "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "steps_offset")}
        pipe.scheduler = kind(timestep_spacing=spacing, use_karras_sigmas=karras, **shared)
    return pipe


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--columns", type=int, default=16)
    parser.add_argument("--prompt", action="append", help="draw these instead, each with --count seeds")
    parser.add_argument("--sampler", choices=["euler", "dpm"])
    parser.add_argument("--spacing", default="leading")
    parser.add_argument("--karras", action="store_true")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = load(options.model, options.sampler, options.spacing, options.karras)
    words = prompts(options.count)
    if options.prompt:
        words = [prompt for prompt in options.prompt for _ in range(options.count)]
    size = pipe.unet.config.sample_size * pipe.vae_scale_factor
    pictures, began = [], time.time()
    for start in range(0, len(words), 16):
        part = words[start:start + 16]
        seeds = [torch.Generator().manual_seed(start + index) for index in range(len(part))]
        pictures += pipe(part, height=size, width=size, num_inference_steps=options.steps,
                         guidance_scale=options.guidance, generator=seeds).images
    print(f"{len(words)} pictures in {time.time() - began:.1f} s")
    columns, side = min(options.columns, len(words)), size + 2
    sheet = Image.new("RGB", (columns * side, math.ceil(len(words) / columns) * side), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * side + 1, index // columns * side + 1))
    sheet.quantize(256, dither=Image.Dither.NONE).save(options.to, optimize=True)


if __name__ == "__main__":
    main()
