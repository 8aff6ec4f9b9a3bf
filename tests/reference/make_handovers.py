#!/usr/bin/env python3
"""Makes what diffusers draws with two models one after the other, with the settings of models that draw in a few steps, and with several
prompts at once: `jobs/handovers.json`, in the form of `jobs.json`.

    python tests/reference/make_handovers.py
"""

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

import make_jobs
from fixture_tools import save_json, save_reference
from make_jobs import HEIGHT, NEGATIVE, OUT, PROMPT, SEED, STEPS, WIDTH, job, open_pipeline


def refined(name, sampler, at):
    """diffusers divides the timesteps; what is left to each model is counted and told as a number of steps."""
    kept, counts = [], []

    def step(_pipe, _index, _t, given):
        kept.append(given["latents"].clone())
        return given

    common = dict(
        prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=5.0, generator=torch.Generator().manual_seed(SEED),
        callback_on_step_end=step,
    )
    base = open_pipeline(StableDiffusionXLPipeline, "jobs/tiny-sdxl", sampler)
    latents = base(**common, height=HEIGHT, width=WIDTH, denoising_end=at, output_type="latent").images
    counts.append(len(kept))
    refiner = open_pipeline(StableDiffusionXLImg2ImgPipeline, "jobs/tiny-refiner", sampler)
    picture = refiner(
        **common, image=latents, denoising_start=at, original_size=(HEIGHT, WIDTH), target_size=(HEIGHT, WIDTH), output_type="pt"
    ).images
    assert len(kept) == STEPS and 0 < counts[0] < STEPS, (counts, len(kept))
    save_reference(
        OUT / f"{name}.safetensors", latents=torch.cat(kept), picture=(picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
    )
    request = dict(
        prompt=PROMPT, negative_prompt=NEGATIVE, prompt_syntax="none", width=WIDTH, height=HEIGHT, steps=STEPS, guidance=5.0, sampler=sampler,
        schedule="Normal", convention="diffusers", seed=SEED,
    )
    begun = request | dict(model=dict(name="tiny-sdxl"))
    make_jobs.JOBS.append(
        dict(
            name=name, model="jobs/tiny-refiner", blobs=[], request=request | dict(branched={"step": counts[0], "from": begun}),
            additions=["jobs/tiny-sdxl"],
        )
    )


def few(name, sampler, steps):
    """Turbo, Lightning and Hyper as their model cards have it: trailing timesteps, no guidance."""
    usual, make_jobs.STEPS = make_jobs.STEPS, steps
    job(
        name, StableDiffusionXLPipeline, "jobs/tiny-sdxl", sampler, guidance=1.0, request=dict(spacing="trailing"),
        config=dict(timestep_spacing="trailing"),
    )
    make_jobs.STEPS = usual


def composed(name, parts, prompt, guidance):
    """The formula of composable diffusion around diffusers' own: its guidance then multiplies what the parts add up to."""

    def prepare(pipe):
        told = [(pipe.encode_prompt(text, "cpu", 1, False)[0], weight) for text, weight in parts]
        real = pipe.unet.forward

        def forward(sample, t, encoder_hidden_states=None, **_):
            ask = lambda words: real(sample[:1], t, words, return_dict=False)[0]
            without = ask(encoder_hidden_states[:1])
            mixed = without + sum(weight * (ask(words) - without) for words, weight in told)
            return (torch.cat([without, mixed]),)

        pipe.unet.forward = forward

    job(name, StableDiffusionPipeline, "models/tiny-sd", "Euler", guidance=guidance, request=dict(prompt=prompt, prompt_syntax="a1111"), prepare=prepare)


def make():
    refined("refiner-euler", "Euler", 0.5)
    refined("refiner-euler-a", "Euler a", 0.8)
    few("preset-turbo", "Euler a", 4)
    few("preset-lightning", "Euler", 4)
    few("preset-hyper", "DDIM", 8)
    parts = [("a red fox", 1.0), ("the cat", 0.7), ("blue, low quality", -0.4)]
    composed("several-prompts", parts, "a red fox AND the cat :0.7 AND blue, low quality:-0.4", 4.0)
    save_json(make_jobs.JOBS, OUT / "handovers.json")


if __name__ == "__main__":
    make()
