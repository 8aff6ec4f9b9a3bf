#!/usr/bin/env python3
"""Makes what diffusers draws in two passes ("hires fix") and with textual inversion: `jobs/passes.json` in the form of `jobs.json`, and the embeddings.

    python tests/reference/make_passes.py
"""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

import make_jobs
from fixture_tools import save_json, save_reference
from make_jobs import HEIGHT, NEGATIVE, OUT, PROMPT, SEED, STEPS, WIDTH, job, open_pipeline
from make_upscalers import SRVGG

MODEL = "models/tiny-sd"


def lanczos(picture, width, height):
    """Each channel by itself, as floats."""
    planes = [Image.fromarray(plane.numpy(), "F").resize((width, height), Image.LANCZOS) for plane in picture]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).clamp(0, 1)


def run(pipe, keep, **call):
    def step(_pipe, _index, _t, given):
        keep.append(given["latents"].clone())
        return given

    generator = torch.Generator().manual_seed(SEED)
    return pipe(
        prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=5.0, generator=generator, callback_on_step_end=step, **call
    ).images


def two_passes(name, sampler, scale, strength, upscaler, additions=()):
    kept = []
    latents = run(open_pipeline(StableDiffusionPipeline, MODEL, sampler), kept, height=HEIGHT, width=WIDTH, output_type="latent")
    second = open_pipeline(StableDiffusionImg2ImgPipeline, MODEL, sampler)
    width, height = int(WIDTH * scale), int(HEIGHT * scale)
    if upscaler == "latent":
        image = F.interpolate(latents, (height // 4, width // 4), mode="bilinear", antialias=False)
    else:
        picture = (second.vae.decode(latents / second.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
        if upscaler != "lanczos":
            model = SRVGG(8, 2, 2)
            model.load_state_dict({k: v.float() for k, v in load_file(str(OUT.parent / "upscalers/srvgg-x2.safetensors")).items()})
            picture = model(picture).clamp(0, 1)
        image = lanczos(picture[0], width, height)[None]
    picture = run(second, kept, image=image, strength=strength, output_type="pt")
    assert tuple(picture.shape[2:]) == (height, width), picture.shape
    save_reference(
        OUT / f"{name}.safetensors", latents=torch.cat([step.flatten() for step in kept]),
        picture=(picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0),
    )
    request = dict(
        prompt=PROMPT, negative_prompt=NEGATIVE, prompt_syntax="none", width=WIDTH, height=HEIGHT, steps=STEPS, guidance=5.0, sampler=sampler,
        schedule="Normal", convention="diffusers", seed=SEED, hires=dict(scale=scale, strength=strength, upscaler=upscaler),
    )
    make_jobs.JOBS.append(dict(name=name, model=MODEL, blobs=[], request=request, additions=list(additions)))


def embeddings():
    """Random words of a few vectors, in the forms that programs write them."""
    g = torch.Generator().manual_seed(9)
    rand = lambda *shape: (torch.randn(shape, generator=g) * 0.5).half().float()
    three, one, pair = rand(3, 16), rand(16), {"clip_l": rand(2, 16), "clip_g": rand(2, 64)}
    save_file({"emb_params": three}, str(OUT / "wordthree.safetensors"))
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": three}, "name": "wordthree", "step": 500}, OUT / "wordpt.pt")
    torch.save({"<something>": one}, OUT / "wordbin.bin")
    save_file(pair, str(OUT / "wordxl.safetensors"))
    save_file({"emb_params": rand(2, 24)}, str(OUT / "wordwide.safetensors"))
    return three, one, pair


def learn(tokenizer, encoder, word, vectors):
    """Gives a tokenizer and its text encoder a word of several parts; diffusers finds the parts where the word is written."""
    vectors = vectors.reshape(-1, vectors.shape[-1])
    parts = [word] + [f"{word}_{n}" for n in range(1, len(vectors))]
    assert tokenizer.add_tokens(parts) == len(parts)
    encoder.resize_token_embeddings(len(tokenizer))
    table = encoder.get_input_embeddings().weight
    for part, vector in zip(parts, vectors):
        table[tokenizer.convert_tokens_to_ids(part)] = vector


def with_words(name, kind, model, words, prompt, negative, additions):
    """`words`: for each a name and the vectors for each text encoder."""

    def prepare(pipe):
        for word, vectors in words:
            encoders = [(pipe.tokenizer, pipe.text_encoder)]
            if hasattr(pipe, "text_encoder_2"):
                encoders.append((pipe.tokenizer_2, pipe.text_encoder_2))
            for (tokenizer, encoder), vectors in zip(encoders, vectors):
                learn(tokenizer, encoder, word, vectors)

    usual, make_jobs.PROMPT = make_jobs.PROMPT, prompt
    request = dict(prompt=prompt, negative_prompt=negative, prompt_syntax="a1111")
    job(name, kind, model, "Euler", request=request, negative=negative, prepare=prepare)
    make_jobs.PROMPT = usual
    make_jobs.JOBS[-1]["additions"] = additions


def make():
    two_passes("hires-latent", "Euler", 1.5, 0.6, "latent")
    two_passes("hires-lanczos", "DPM++ 2M", 1.5, 0.5, "lanczos")
    two_passes("hires-model", "Euler", 1.5, 0.7, dict(model=dict(name="srvgg-x2")), ["upscalers/srvgg-x2.safetensors"])
    three, one, pair = embeddings()
    text, xl = StableDiffusionPipeline, StableDiffusionXLPipeline
    with_words("word-three", text, MODEL, [("wordthree", [three])], "a red wordthree and the cat", NEGATIVE, ["jobs/wordthree.safetensors"])
    with_words("word-pt", text, MODEL, [("wordpt", [three])], "a red fox and the cat", "blurry, wordpt", ["jobs/wordpt.pt"])
    with_words("word-bin", text, MODEL, [("wordbin", [one])], "wordbin, a cat", NEGATIVE, ["jobs/wordbin.bin"])
    with_words(
        "word-several", text, MODEL, [("wordbin", [one]), ("wordthree", [three])], "wordbin wordthree, a cat", "wordthree",
        ["jobs/wordbin.bin", "jobs/wordthree.safetensors"],
    )
    with_words(
        "word-xl", xl, "jobs/tiny-sdxl", [("wordxl", [pair["clip_l"], pair["clip_g"]])], "a red wordxl and the cat", NEGATIVE,
        ["jobs/wordxl.safetensors"],
    )
    save_json(make_jobs.JOBS, OUT / "passes.json")


if __name__ == "__main__":
    make()
