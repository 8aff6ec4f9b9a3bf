#!/usr/bin/env python3
"""Makes what every sampler of k-diffusion draws with the tiny Stable Diffusion, guided, each on another of the seven schedules:
`jobs/kdiffusion.json`, in the form of `jobs.json`. Text encoder, U-Net and autoencoder are diffusers'; DDIM, which is not
k-diffusion's, is compared with diffusers elsewhere.

    python tests/reference/make_kdiffusion.py
"""

import torch
from diffusers import StableDiffusionPipeline

import make_jobs
from fixture_tools import save_json, save_reference
from make_jobs import HEIGHT, NEGATIVE, OUT, PROMPT, SEED, WIDTH, open_pipeline
from make_presets import Told
from make_samplers import DROPS_LAST, external, k_sigmas, sample_lcm, sample_unipc, sampling

MODEL = "models/tiny-sd"
STEPS = 6
GUIDANCE = 5.0
# AUTOMATIC1111's names and k-diffusion's.
CASES = [
    ("Euler", "euler", "Simple", "simple"),
    ("Euler a", "euler_ancestral", "Beta", "beta"),
    ("Heun", "heun", "Karras", "karras"),
    ("DPM2", "dpm_2", "Exponential", "exponential"),
    ("DPM2 a", "dpm_2_ancestral", "Normal", "normal"),
    ("DPM++ 2S a", "dpmpp_2s_ancestral", "Karras", "karras"),
    ("DPM++ 2M", "dpmpp_2m", "SGM Uniform", "sgm_uniform"),
    ("DPM++ SDE", "dpmpp_sde", "Karras", "karras"),
    ("DPM++ 2M SDE", "dpmpp_2m_sde", "Exponential", "exponential"),
    ("DPM++ 3M SDE", "dpmpp_3m_sde", "Exponential", "exponential"),
    ("LMS", "lms", "Normal", "normal"),
    ("UniPC", "uni_pc", "Simple", "simple"),
    ("LCM", "lcm", "DDIM", "ddim_uniform"),
]


def draw(pipe, words, label, sampler, schedule_label, schedule):
    generator = torch.Generator().manual_seed(SEED)
    wrapped = external.CompVisDenoiser(Told(pipe.unet, pipe.scheduler.alphas_cumprod, words, GUIDANCE), quantize=False)
    drops = sampler in DROPS_LAST
    sigmas = k_sigmas(None, wrapped, STEPS + drops, schedule)
    sigmas = sampling.append_zero(sigmas[:-1] if drops else sigmas).float()
    factor = pipe.vae_scale_factor
    shape = (1, 4, HEIGHT // factor, WIDTH // factor)
    noise = lambda *_: torch.randn(shape, generator=generator)
    x = noise() * sigmas[0]
    extra = {}
    if sampler in ("euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral"):
        extra["noise_sampler"] = noise
    if sampler.endswith("sde"):
        least = sigmas[sigmas > 0].min()
        extra["noise_sampler"] = sampling.BrownianTreeNoiseSampler(x, least, sigmas.max(), seed=[SEED])
    seen = []
    see = lambda d: seen.append(d["x"].clone())
    if sampler == "lcm":
        final = sample_lcm(wrapped, x, sigmas, see, noise, {})
    elif sampler == "uni_pc":
        final = sample_unipc(wrapped, x, sigmas, see, {})
    else:
        final = getattr(sampling, f"sample_{sampler}")(wrapped, x, sigmas, disable=True, callback=see, **extra)
    picture = (pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    name = f"k-{sampler.replace('_', '-')}"
    save_reference(
        OUT / f"{name}.safetensors", latents=torch.cat(seen[1:] + [final]),
        picture=(picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0),
    )
    request = dict(
        prompt=PROMPT, negative_prompt=NEGATIVE, prompt_syntax="none", width=WIDTH, height=HEIGHT, steps=STEPS, guidance=GUIDANCE,
        sampler=label, schedule=schedule_label, convention="kdiffusion", seed=SEED,
    )
    make_jobs.JOBS.append(dict(name=name, model=MODEL, blobs=[], request=request))


@torch.no_grad()
def make():
    pipe = open_pipeline(StableDiffusionPipeline, MODEL, "Euler")
    words = [(pipe.encode_prompt(text, "cpu", 1, False)[0], None) for text in (NEGATIVE, PROMPT)]
    for case in CASES:
        draw(pipe, words, *case)
    save_json(make_jobs.JOBS, OUT / "kdiffusion.json")


if __name__ == "__main__":
    make()
