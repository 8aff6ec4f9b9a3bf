#!/usr/bin/env python3
"""Makes what k-diffusion's samplers draw on SGM uniform levels with the settings that the command line takes for models that were distilled to few steps
(Turbo, Lightning, Hyper, LCM): `jobs/presets.json`, in the form of `jobs.json`. Text encoders, U-Net and autoencoder are diffusers'.

    python tests/reference/make_presets.py
"""

import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionXLPipeline

import make_jobs
from fixture_tools import save_json, save_reference
from make_jobs import HEIGHT, NEGATIVE, OUT, PROMPT, SEED, WIDTH, open_pipeline
from make_samplers import external, k_sigmas, sample_lcm, sampling


class Told:
    """A network that is told the words, for k-diffusion's wrappers."""

    def __init__(self, unet, alphas, words, guidance, **more):
        self.unet, self.alphas_cumprod, self.words, self.guidance, self.more = unet, alphas, words, guidance, more

    def apply_model(self, x, t, **_):
        ask = lambda words, added: self.unet(
            x, t, words, **self.more, **(dict(added_cond_kwargs=added) if added else {}), return_dict=False
        )[0]
        answers = [ask(*words) for words in self.words]
        if len(answers) == 1:
            return answers[0]
        return answers[0] + self.guidance * (answers[1] - answers[0])


def draw(name, kind, model, sampler, steps, guidance):
    pipe = open_pipeline(kind, model, "Euler")
    generator = torch.Generator().manual_seed(SEED)
    guided = guidance != 1.0 and kind is StableDiffusionXLPipeline
    texts = [NEGATIVE, PROMPT] if guided else [PROMPT]
    words, more = [], {}
    for text in texts:
        if kind is StableDiffusionXLPipeline:
            states, _, pooled, _ = pipe.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
            sizes = torch.tensor([[HEIGHT, WIDTH, 0, 0, HEIGHT, WIDTH]], dtype=torch.float32)
            words.append((states, dict(text_embeds=pooled, time_ids=sizes)))
        else:
            states, _ = pipe.encode_prompt(text, "cpu", 1, False)
            words.append((states, None))
    if kind is LatentConsistencyModelPipeline:
        told = pipe.get_guidance_scale_embedding(torch.tensor([guidance - 1.0]), embedding_dim=pipe.unet.config.time_cond_proj_dim)
        more["timestep_cond"] = told
    network = Told(pipe.unet, pipe.scheduler.alphas_cumprod, words, guidance, **more)
    wrapped = external.CompVisDenoiser(network, quantize=False)
    sigmas = sampling.append_zero(k_sigmas(None, wrapped, steps, "sgm_uniform")).float()
    factor = pipe.vae_scale_factor
    shape = (1, 4, HEIGHT // factor, WIDTH // factor)
    noise = lambda *_: torch.randn(shape, generator=generator)
    x = noise() * sigmas[0]
    seen = []
    see = lambda d: seen.append(d["x"].clone())
    if sampler == "LCM":
        final = sample_lcm(wrapped, x, sigmas, see, noise, {})
    elif sampler == "Euler a":
        final = sampling.sample_euler_ancestral(wrapped, x, sigmas, disable=True, callback=see, noise_sampler=noise)
    else:
        final = sampling.sample_euler(wrapped, x, sigmas, disable=True, callback=see)
    picture = (pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    save_reference(
        OUT / f"{name}.safetensors", latents=torch.cat(seen[1:] + [final]),
        picture=(picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0),
    )
    request = dict(
        prompt=PROMPT, negative_prompt=NEGATIVE, prompt_syntax="none", width=WIDTH, height=HEIGHT, steps=steps, guidance=guidance,
        sampler=sampler, schedule="SGM Uniform", convention="kdiffusion", seed=SEED,
    )
    make_jobs.JOBS.append(dict(name=name, model=model, blobs=[], request=request))


@torch.no_grad()
def make():
    xl = "jobs/tiny-sdxl"
    draw("few-turbo", StableDiffusionXLPipeline, xl, "Euler a", 4, 1.0)
    draw("few-lightning", StableDiffusionXLPipeline, xl, "Euler", 4, 1.0)
    draw("few-hyper", StableDiffusionXLPipeline, xl, "Euler", 8, 1.0)
    draw("few-lcm", StableDiffusionXLPipeline, xl, "LCM", 8, 1.5)
    draw("few-lcm-guided", LatentConsistencyModelPipeline, "jobs/tiny-lcm", "LCM", 4, 8.0)
    save_json(make_jobs.JOBS, OUT / "presets.json")


if __name__ == "__main__":
    make()
