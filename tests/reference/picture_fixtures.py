"""Tiny whole Stable Diffusion pipelines, and the pictures that diffusers draws with them."""

import json
import shutil

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTokenizer

from fixture_tools import HERE, config_of, noise, randomise, save_json, save_reference, save_weights
from diffusion_fixtures import CROSS_DOWN, CROSS_UP, clip_config, clip_model, vae_config


def bytes_to_unicode():
    """The printable stand-ins of bytes in GPT-2's and CLIP's vocabularies."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for b in plain:
        table[b] = chr(b)
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return [table[b] for b in plain] + [table[b] for b in range(256) if b not in plain]


MERGES = ["t h", "th e</w>", "a n", "an d</w>", "r e", "re d</w>", "f o", "fo x</w>", "i n", "o n", "a t</w>", "c at</w>"]


def write_tokenizer(folder):
    chars = bytes_to_unicode()
    vocab = chars + [c + "</w>" for c in chars] + [m.replace(" ", "") for m in MERGES]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({v: i for i, v in enumerate(vocab)}, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    save_json(special, folder / "special_tokens_map.json")
    save_json({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}, folder / "tokenizer_config.json")
    return len(vocab)


PROMPT = "a red fox and the cat"
NEGATIVE = "blurry, low quality"
STEPS = 10
SEED = 1234


def samplers(config):
    return {
        "euler": EulerDiscreteScheduler.from_config(config),
        "euler_karras": EulerDiscreteScheduler.from_config(config, use_karras_sigmas=True),
        "euler_a": EulerAncestralDiscreteScheduler.from_config(config),
        "dpmpp_2m": DPMSolverMultistepScheduler.from_config(config),
        "dpmpp_2m_karras": DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True),
        "ddim": DDIMScheduler.from_config(config),
        "heun": HeunDiscreteScheduler.from_config(config),
    }


def make_pipeline(name, seed, prediction, clip, unet):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    vocab = write_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    text = clip_model(seed, vocab=vocab, **clip)
    u = randomise(UNet2DConditionModel(**unet), seed + 1, gain=1.0, scales={"conv_out.weight": 1.3})
    # The last convolution is scaled so that few pixels saturate: a clipped picture would hide errors.
    vae = randomise(AutoencoderKL(**vae_config((8, 8, 8), sample_size=32)), seed + 2, gain=1.3, scales={"decoder.conv_out.weight": 0.35})
    config = dict(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        trained_betas=None,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    written = PNDMScheduler(**config, skip_prk_steps=True)
    save_json(clip_config(text), folder / "text_encoder/config.json")
    save_weights(text, folder / "text_encoder/model.safetensors", prefix="text_model.")
    save_json(config_of(u), folder / "unet/config.json")
    save_weights(u, folder / "unet/diffusion_pytorch_model.safetensors")
    save_json(config_of(vae), folder / "vae/config.json")
    save_weights(vae, folder / "vae/diffusion_pytorch_model.safetensors")
    save_json(config_of(written) | {"clip_sample": False}, folder / "scheduler/scheduler_config.json")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    save_json(index, folder / "model_index.json")

    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=u,
        scheduler=written,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    height, width = 32, 40
    start = noise((1, 4, height // 4, width // 4), seed + 3)
    ids = {
        key: torch.tensor(tokenizer(prompt, padding="max_length", max_length=77, truncation=True).input_ids)
        for key, prompt in (("prompt_ids", PROMPT), ("negative_ids", NEGATIVE), ("empty_ids", ""))
    }
    save_reference(
        HERE / "pictures" / f"{name}.inputs.safetensors",
        noise=start,
        prompt_embedding=text(ids["prompt_ids"][None]).last_hidden_state,
        negative_embedding=text(ids["negative_ids"][None]).last_hidden_state,
        **ids,
    )
    for key, scheduler in samplers(config_of(written) | {"clip_sample": False}).items():
        out = {}
        for guidance in (1, 5):
            pipe.scheduler = scheduler
            steps = []

            def keep(_pipe, index, _t, given):
                steps.append(given["latents"].clone())
                return given

            picture = pipe(
                prompt=PROMPT,
                negative_prompt=NEGATIVE,
                height=height,
                width=width,
                num_inference_steps=STEPS,
                guidance_scale=float(guidance),
                latents=start.clone(),
                generator=torch.Generator().manual_seed(SEED),
                callback_on_step_end=keep,
                output_type="pt",
            ).images
            saturated = ((picture <= 0) | (picture >= 1)).float().mean().item()
            assert saturated < 0.15 and picture.std() > 0.08, f"{name} {key}: {saturated:.3f} of the values saturate, std {picture.std():.3f}"
            if len(steps) > STEPS:
                # Heun calls the model twice per outer step, but once in the last: the state after each pair ends an outer step.
                steps = [*steps[1::2], steps[-1]]
            assert len(steps) == STEPS
            out[f"g{guidance}_latents"] = torch.stack([s[0] for s in (steps if guidance != 1 else steps[-1:])])
            out[f"g{guidance}_picture"] = (picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
        save_reference(HERE / "pictures" / f"{name}.{key}.safetensors", **out)
    save_json(
        {
            "model": name,
            "convention": "diffusers",
            "prompt": PROMPT,
            "negative_prompt": NEGATIVE,
            "steps": STEPS,
            "seed": SEED,
            "guidance": [1, 5],
            "height": height,
            "width": width,
            "prediction_type": prediction,
            "spacing": "leading",
            "samplers": sorted(samplers(config_of(written))),
        },
        HERE / "pictures" / f"{name}.json",
    )


def pipelines():
    yield "tiny-sd", lambda n: make_pipeline(
        n,
        501,
        "epsilon",
        clip=dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu"),
        unet=dict(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=(CROSS_DOWN, "DownBlock2D"),
            up_block_types=("UpBlock2D", CROSS_UP),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=16,
        ),
    )
    yield "tiny-sd2", lambda n: make_pipeline(
        n,
        511,
        "v_prediction",
        clip=dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3, hidden_act="gelu"),
        unet=dict(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=(CROSS_DOWN, "DownBlock2D"),
            up_block_types=("UpBlock2D", CROSS_UP),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=(2, 4),
            cross_attention_dim=24,
            use_linear_projection=True,
        ),
    )
