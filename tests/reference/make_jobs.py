#!/usr/bin/env python3
"""Makes `jobs/`: whole requests in Diptych's own words, and what diffusers draws for them from the tiny models of `models/`.

`jobs.json` lists for each the model, the request without model, and the blobs that it refers to; `NAME.safetensors` holds these blobs, `latents` after each
step and `picture` (u8, height x width x 3). All in the diffusers convention, with one CPU generator for everything that is drawn by chance.

    python tests/reference/make_jobs.py
"""

import json
import math
import shutil
from types import SimpleNamespace

import torch
from safetensors.torch import load_file, save_file
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)

from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from diffusion_fixtures import CROSS_DOWN, CROSS_UP, clip_config, clip_model
from fixture_tools import HERE, config_of, noise, randomise, save_json, save_reference, save_weights
from make_ldm import open_clip_to_ldm, unet_to_ldm, vae_to_ldm
from picture_fixtures import write_tokenizer

OUT = HERE.parent / "jobs"
PROMPT = "a red fox and the cat"
NEGATIVE = "blurry, low quality"
SEED = 77
WIDTH, HEIGHT = 40, 32
STEPS = 6
SCHEDULERS = {
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "DDIM": (DDIMScheduler, {}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, {}),
    "DPM++ 2M SDE": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "LMS": (LMSDiscreteScheduler, {}),
    "UniPC": (UniPCMultistepScheduler, {}),
    "LCM": (LCMScheduler, {}),
}


def smooth(shape, seed):
    """A picture with some structure, in 0 to 1."""
    small = torch.rand((1, shape[0], 6, 7), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, shape[1:], mode="bicubic", align_corners=False).clamp(0, 1)[0]


def make_inpainting_model():
    """tiny-sd with a U-Net of nine channels."""
    folder = OUT / "tiny-sd-inpaint"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "tiny-sd", folder)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=9, block_out_channels=(4, 8), down_block_types=(CROSS_DOWN, "DownBlock2D"),
        up_block_types=("UpBlock2D", CROSS_UP), layers_per_block=1, norm_num_groups=2, attention_head_dim=2, cross_attention_dim=16,
    )
    randomise(unet, 601, scales={"conv_out.weight": 1.3})
    save_json(config_of(unet), folder / "unet/config.json")
    save_weights(unet, folder / "unet/diffusion_pytorch_model.safetensors")
    index = json.loads((folder / "model_index.json").read_text())
    save_json(index | {"_class_name": "StableDiffusionInpaintPipeline"}, folder / "model_index.json")


def make_sdxl_model():
    """A tiny SDXL: a folder as diffusers writes it, and the same weights in one file with the original names."""
    folder = OUT / "tiny-sdxl"
    shutil.rmtree(folder, ignore_errors=True)
    vocab = write_tokenizer(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer_2")
    for name in ["special_tokens_map.json", "tokenizer_config.json"]:
        path = folder / "tokenizer_2" / name
        save_json(json.loads(path.read_text()) | {"pad_token": "!"}, path)
    one = clip_model(611, vocab=vocab, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, hidden_act="quick_gelu")
    config = CLIPTextConfig(
        vocab_size=vocab, max_position_embeddings=77, bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=1, layer_norm_eps=1e-5,
        hidden_size=64, intermediate_size=64, num_hidden_layers=3, num_attention_heads=1, hidden_act="gelu", projection_dim=64,
        attn_implementation="eager",
    )
    two = randomise(CLIPTextModelWithProjection(config), 612, gain=1.2)
    unet_config = dict(
        sample_size=8, block_out_channels=(8, 16), down_block_types=("DownBlock2D", CROSS_DOWN), up_block_types=(CROSS_UP, "UpBlock2D"),
        layers_per_block=1, norm_num_groups=8, attention_head_dim=(1, 1), cross_attention_dim=80, use_linear_projection=True,
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64 + 6 * 8,
    )
    unet = randomise(UNet2DConditionModel(**unet_config), 613, scales={"conv_out.weight": 1.3})
    shutil.copytree(HERE / "tiny-sd/vae", folder / "vae")
    vae = json.loads((folder / "vae/config.json").read_text())
    save_json(vae | {"scaling_factor": 0.13025}, folder / "vae/config.json")
    shutil.copytree(HERE / "tiny-sd/scheduler", folder / "scheduler")
    save_json(clip_config(one), folder / "text_encoder/config.json")
    save_weights(one, folder / "text_encoder/model.safetensors", prefix="text_model.")
    save_json(clip_config(two) | {"architectures": ["CLIPTextModelWithProjection"]}, folder / "text_encoder_2/config.json")
    save_weights(two, folder / "text_encoder_2/model.safetensors")
    save_json(config_of(unet), folder / "unet/config.json")
    save_weights(unet, folder / "unet/diffusion_pytorch_model.safetensors")
    index = {
        "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None],
        "force_zeros_for_empty_prompt": True, "image_encoder": [None, None], "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }
    save_json(index, folder / "model_index.json")

    halves = lambda model: {k: t.half().contiguous() for k, t in model.state_dict().items() if not k.endswith("position_ids")}
    state = halves(unet)
    added = {f"label_emb.0.{2 * n}.{leaf}": state.pop(f"add_embedding.linear_{n + 1}.{leaf}") for n in (0, 1) for leaf in ("weight", "bias")}
    file = unet_to_ldm(state, 1, 2) | {f"model.diffusion_model.{k}": v for k, v in added.items()}
    vae_state = load_file(str(folder / "vae/diffusion_pytorch_model.safetensors"))
    file |= vae_to_ldm(vae_state, 3)
    named = lambda model: {("" if k.startswith("text_") else "text_model.") + k: t for k, t in halves(model).items()}
    file |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in named(one).items()}
    second = named(two)
    projection = second.pop("text_projection.weight")
    # The function adds an unused layer for 2.x and a projection of its own; here all layers are used.
    for k, v in open_clip_to_ldm(second, 3, 64, 0).items():
        if ".resblocks.3." not in k:
            file["conditioner.embedders.1.model." + k.removeprefix("cond_stage_model.model.")] = v
    file["conditioner.embedders.1.model.text_projection"] = projection.T.contiguous()
    save_file({k: v.contiguous() for k, v in file.items()}, str(OUT / "tiny-sdxl.safetensors"), metadata={"format": "pt"})


def open_pipeline(kind, model, sampler, **config):
    folder = HERE.parent / model
    safety = {} if "XL" in kind.__name__ else dict(safety_checker=None, requires_safety_checker=False)
    pipe = kind.from_pretrained(str(folder), torch_dtype=torch.float32, **safety)
    cls, extra = SCHEDULERS[sampler]
    written = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    pipe.scheduler = cls.from_config(written, clip_sample=False, **extra, **config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


JOBS = []


def job(name, kind, model, sampler, guidance=5.0, request=None, blobs=None, call=None, config=None, prepare=None, negative=NEGATIVE):
    pipe = open_pipeline(kind, model, sampler, **(config or {}))
    if prepare:
        prepare(pipe)
    steps = []

    def keep(_pipe, _index, _t, given):
        steps.append(given["latents"].clone())
        return given

    picture = pipe(
        prompt=PROMPT,
        negative_prompt=negative,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(SEED),
        callback_on_step_end=keep,
        output_type="pt",
        **({} if "Img2Img" in kind.__name__ else dict(height=HEIGHT, width=WIDTH)),
        **(call or {}),
    ).images
    saturated = ((picture <= 0) | (picture >= 1)).float().mean().item()
    assert saturated < 0.3, f"{name}: {saturated:.3f} of the values saturate"
    save_reference(
        OUT / f"{name}.safetensors",
        **(blobs or {}),
        latents=torch.cat(steps),
        picture=(picture[0] * 255).round().to(torch.uint8).permute(1, 2, 0),
    )
    JOBS.append(
        dict(
            name=name,
            model=model,
            blobs=sorted(blobs or {}),
            request=dict(
                prompt=PROMPT, negative_prompt=NEGATIVE, prompt_syntax="none", width=WIDTH, height=HEIGHT, steps=STEPS, guidance=guidance,
                sampler=sampler, schedule="Normal", convention="diffusers", seed=SEED,
            )
            | (request or {}),
        )
    )


def with_text_model(pipe):
    """diffusers 0.42 looks for the last norm where transformers 5 no longer has it."""
    parts = SimpleNamespace(final_layer_norm=pipe.text_encoder.final_layer_norm)
    object.__setattr__(pipe.text_encoder, "text_model", parts)


def flat(network, path):
    """kohya's name of a layer."""
    return f"lora_{network}_" + path.replace(".", "_")


def make_lora(kind):
    """A file of random changes of some layers of tiny-sd, and a function that makes them in a pipeline: weight + share * change, rounded to
    f16 as the weights are stored."""
    g = torch.Generator().manual_seed({"kohya": 1, "diffusers": 2, "loha": 3}[kind])
    folder = HERE / "tiny-sd"
    pipe = StableDiffusionPipeline.from_pretrained(str(folder), torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False)
    networks = {"unet": pipe.unet, "te": pipe.text_encoder}
    tensors, changes = {}, {}
    for network, model in networks.items():
        for path, module in model.named_modules():
            linear = isinstance(module, torch.nn.Linear) and any(k in path for k in ("attn", "ff.net", "q_proj", "fc1"))
            conv = isinstance(module, torch.nn.Conv2d) and kind != "diffusers" and ("resnets.0.conv1" in path or "proj_in" in path)
            if not (linear or conv):
                continue
            w = module.weight
            out, inner, kernel = w.shape[0], w.shape[1], tuple(w.shape[2:])
            rank, alpha = 2, 1.0
            std = 0.6 / math.sqrt(w[0].numel())
            rand = lambda *shape: (torch.randn(shape, generator=g) * std**0.5).half().float()
            text = path if path.startswith("text_model.") else f"text_model.{path}"
            key = flat(network, path if network == "unet" else text)
            if kind == "loha":
                parts = {n: rand(*shape) * 2 for n, shape in [("hada_w1_a", (out, rank)), ("hada_w1_b", (rank, w[0].numel())), ("hada_w2_a", (out, rank)), ("hada_w2_b", (rank, w[0].numel()))]}
                change = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
                tensors |= {f"{key}.{n}": v for n, v in parts.items()}
                tensors[f"{key}.alpha"] = torch.tensor(alpha)
            elif kernel == (3, 3) and network == "unet":
                # LoCon in its decomposed form: 1x1 down, 3x3 between, 1x1 up.
                down, mid, up = rand(rank, inner, 1, 1), rand(rank, rank, 3, 3) * 2, rand(out, rank, 1, 1)
                change = torch.einsum("op,pqhw,qi->oihw", up[:, :, 0, 0], mid, down[:, :, 0, 0])
                tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
            else:
                down, up = rand(rank, inner, *kernel), rand(out, rank, *(1 for _ in kernel))
                change = up.reshape(out, rank) @ down.reshape(rank, -1)
                if kind == "kohya":
                    tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
                else:
                    alpha = rank  # without one, peft's files count in full
                    prefix = ("unet." + path) if network == "unet" else ("text_encoder." + text)
                    tensors |= {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}
            changes[network, path] = change.reshape(w.shape) * (alpha / rank)
    name = f"lora-{kind}"
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, str(OUT / f"{name}.safetensors"), metadata={"format": "pt"})
    return name, changes


def merge(pipe, files):
    """Adds changes to a pipeline's weights."""
    for (network, path) in {key for changes, _ in files for key in changes}:
        module = (pipe.unet if network == "unet" else pipe.text_encoder).get_submodule(path)
        for changes, share in files:
            if (network, path) in changes:
                module.weight += share * changes[network, path]
        module.weight.copy_(module.weight.half().float())


def make():
    OUT.mkdir(exist_ok=True)
    make_inpainting_model()
    make_sdxl_model()
    text = StableDiffusionPipeline
    for sampler in ["DPM++ 2M SDE", "LMS", "UniPC", "LCM"]:
        job("text-" + sampler.replace("+", "p").replace(" ", "-").lower(), text, "models/tiny-sd", sampler)
    job("text-clip-skip", text, "models/tiny-sd", "Euler", request=dict(clip_skip=2), call=dict(clip_skip=1), prepare=with_text_model)
    job("text-rescale", text, "models/tiny-sd", "Euler", request=dict(guidance_rescale=0.7), call=dict(guidance_rescale=0.7))

    picture = smooth((3, HEIGHT, WIDTH), 1)
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 8:24, 12:32] = 1.0
    given = dict(image=picture[None])
    init = lambda strength, masked: dict(
        init=dict(picture="init", strength=strength, **(dict(mask=dict(mask="mask")) if masked else {}))
    )
    for sampler, strength in [("Euler", 0.5), ("Euler a", 0.8), ("DDIM", 0.7), ("DPM++ 2M", 1.0), ("UniPC", 0.7)]:
        name = f"picture-{sampler.replace('+', 'p').replace(' ', '-').lower()}"
        job(
            name, StableDiffusionImg2ImgPipeline, "models/tiny-sd", sampler, request=init(strength, False), blobs=dict(init=picture),
            call=dict(**given, strength=strength),
        )
    for model, short in [("models/tiny-sd", "mask"), ("jobs/tiny-sd-inpaint", "inpaint")]:
        for sampler, strength in [("Euler", 1.0), ("DDIM", 0.7), ("Euler a", 0.5)]:
            job(
                f"{short}-{sampler.replace(' ', '-').lower()}", StableDiffusionInpaintPipeline, model, sampler,
                request=init(strength, True), blobs=dict(init=picture, mask=mask),
                call=dict(**given, mask_image=mask[None], strength=strength),
            )
    other = AutoencoderKL.from_pretrained(str(HERE / "tiny-sd2/vae"), torch_dtype=torch.float32)
    job("text-vae", text, "models/tiny-sd", "Euler", request=dict(vae=dict(name="vae")), prepare=lambda pipe: setattr(pipe, "vae", other))
    JOBS[-1]["additions"] = ["models/tiny-sd2/vae"]

    sdxl = "jobs/tiny-sdxl"
    job("sdxl-euler", StableDiffusionXLPipeline, sdxl, "Euler")
    job("sdxl-empty-negative", StableDiffusionXLPipeline, sdxl, "DPM++ 2M", request=dict(negative_prompt=""), negative=None)
    job("sdxl-clip-skip", StableDiffusionXLPipeline, sdxl, "Euler", guidance=1.0, request=dict(clip_skip=2), call=dict(clip_skip=1))
    job(
        "sdxl-picture", StableDiffusionXLImg2ImgPipeline, sdxl, "Euler", request=init(0.6, False), blobs=dict(init=picture),
        call=dict(**given, strength=0.6),
    )
    loras = {kind: make_lora(kind) for kind in ["kohya", "diffusers", "loha"]}
    cases = [("kohya", 0.8, ""), ("diffusers", 1.0, ""), ("loha", -0.5, ""), ("kohya", 0.7, "diffusers"), ("kohya", 0.6, "tag")]
    for kind, share, more in cases:
        files = [(loras[kind][1], share)]
        uses = [dict(model=dict(name=loras[kind][0]), weight=share)]
        request = dict(loras=uses)
        if more == "diffusers":
            files.append((loras[more][1], 0.5))
            uses.append(dict(model=dict(name=loras[more][0]), weight=0.5))
        elif more == "tag":
            request = dict(prompt=f"{PROMPT}<lora:{loras[kind][0]}:{share}>", prompt_syntax="a1111")
        job(
            f"with-lora-{kind}{'-' + more if more else ''}", text, "models/tiny-sd", "Euler", request=request,
            prepare=lambda pipe: merge(pipe, files),
        )
        JOBS[-1]["additions"] = [f"jobs/{name}.safetensors" for name, _ in loras.values()]
    save_json(JOBS, OUT / "jobs.json")


if __name__ == "__main__":
    make()
