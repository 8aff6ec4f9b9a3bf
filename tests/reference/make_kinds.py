#!/usr/bin/env python3
"""Makes tiny models of further kinds and what diffusers draws with them (`jobs/kinds.json`, in the form of `jobs.json`): the refiner of Stable Diffusion XL, XL for inpainting,
a U-Net of other depths going up than down (as SSD-1B and Vega), one that is told the guidance (LCM), and weights of 8-bit floats.

    python tests/reference/make_kinds.py
"""

import json
import shutil

import torch
from diffusers import (
    LatentConsistencyModelPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file

import make_jobs
from diffusion_fixtures import CROSS_DOWN, CROSS_UP
from fixture_tools import HERE, config_of, randomise, save_json, save_weights
from make_jobs import HEIGHT, OUT, WIDTH, job, smooth
from make_ldm import open_clip_to_ldm, unet_to_ldm, vae_to_ldm

XL = OUT / "tiny-sdxl"


def variant(name, source, unet_config, seed, kind, drop=(), index=None):
    """A copy of a model with another U-Net. Parts that stay the same are linked by the test's reader, not here: files are small."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("unet", *drop))
    unet = randomise(UNet2DConditionModel(**unet_config), seed, scales={"conv_out.weight": 1.3})
    save_json(config_of(unet), folder / "unet/config.json")
    save_weights(unet, folder / "unet/diffusion_pytorch_model.safetensors")
    listed = json.loads((folder / "model_index.json").read_text()) | {"_class_name": kind} | (index or {})
    for part in drop:
        listed[part] = [None, None]
    save_json(listed, folder / "model_index.json")
    return unet


def refiner_file(unet):
    """The refiner in one file with the original names."""
    halves = lambda state: {k: t.half().contiguous() for k, t in state.items() if not k.endswith("position_ids")}
    state = halves(unet.state_dict())
    added = {f"label_emb.0.{2 * n}.{leaf}": state.pop(f"add_embedding.linear_{n + 1}.{leaf}") for n in (0, 1) for leaf in ("weight", "bias")}
    file = unet_to_ldm(state, 1, 2) | {f"model.diffusion_model.{k}": v for k, v in added.items()}
    file |= vae_to_ldm(load_file(str(XL / "vae/diffusion_pytorch_model.safetensors")), 3)
    text = load_file(str(XL / "text_encoder_2/model.safetensors"))
    text = {("" if k.startswith("text_") else "text_model.") + k: v for k, v in text.items()}
    projection = text.pop("text_projection.weight")
    for k, v in open_clip_to_ldm(text, 3, 64, 0).items():
        if ".resblocks.3." not in k:
            file["conditioner.embedders.0.model." + k.removeprefix("cond_stage_model.model.")] = v
    file["conditioner.embedders.0.model.text_projection"] = projection.T.contiguous()
    save_file({k: v.contiguous() for k, v in file.items()}, str(OUT / "tiny-refiner.safetensors"), metadata={"format": "pt"})


def eight_bits():
    """tiny-sd in one folder whose U-Net is of 8-bit floats; its reference is computed with their very values."""
    folder = OUT / "tiny-fp8"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "tiny-sd", folder)
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    state = {}
    for place, (k, v) in enumerate(sorted(load_file(str(path)).items())):
        kinds = [torch.float8_e4m3fn, torch.float8_e5m2]
        state[k] = v.to(kinds[place % 2]) if v.ndim > 1 else v
    save_file(state, str(path), metadata={"format": "pt"})
    return {k: v.float() for k, v in state.items()}


def make():
    base = dict(
        sample_size=8, block_out_channels=(8, 16), down_block_types=("DownBlock2D", CROSS_DOWN), up_block_types=(CROSS_UP, "UpBlock2D"),
        layers_per_block=1, norm_num_groups=8, attention_head_dim=(1, 2), use_linear_projection=True, transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time", addition_time_embed_dim=8,
    )
    picture = smooth((3, HEIGHT, WIDTH), 1)
    given = dict(init=picture)
    init = lambda strength, **mask: dict(init=dict(picture="init", strength=strength, **mask))

    refiner = variant(
        "tiny-refiner", XL, base | dict(cross_attention_dim=64, projection_class_embeddings_input_dim=64 + 5 * 8), 801, "StableDiffusionXLImg2ImgPipeline",
        drop=("text_encoder", "tokenizer"), index=dict(requires_aesthetics_score=True, force_zeros_for_empty_prompt=False),
    )
    refiner_file(refiner)
    for model, name in [("jobs/tiny-refiner", "refiner-picture")]:
        job(
            name, StableDiffusionXLImg2ImgPipeline, model, "Euler", request=init(0.6), blobs=given, call=dict(image=picture[None], strength=0.6),
        )

    variant("tiny-sdxl-inpaint", XL, base | dict(in_channels=9, cross_attention_dim=80, projection_class_embeddings_input_dim=64 + 6 * 8), 802, "StableDiffusionXLInpaintPipeline")
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 8:24, 12:32] = 1.0
    for sampler, strength in [("Euler", 1.0), ("DDIM", 0.7)]:
        job(
            f"sdxl-inpaint-{sampler.lower()}", StableDiffusionXLInpaintPipeline, "jobs/tiny-sdxl-inpaint", sampler,
            request=init(strength, mask=dict(mask="mask")), blobs=dict(init=picture, mask=mask),
            call=dict(image=picture[None], mask_image=mask[None], strength=strength),
        )

    small = dict(
        layers_per_block=2, cross_attention_dim=80, projection_class_embeddings_input_dim=64 + 6 * 8, mid_block_type="UNetMidBlock2D",
        transformer_layers_per_block=(1, [1, 2]), reverse_transformer_layers_per_block=([2, 1, 3], 1),
    )
    variant("tiny-ssd", XL, base | small, 803, "StableDiffusionXLPipeline")
    job("ssd-euler", StableDiffusionXLPipeline, "jobs/tiny-ssd", "Euler")

    lcm = json.loads((HERE / "tiny-sd/unet/config.json").read_text())
    known = {k: v for k, v in lcm.items() if not k.startswith("_")}
    variant("tiny-lcm", HERE / "tiny-sd", known | dict(time_cond_proj_dim=12), 804, "LatentConsistencyModelPipeline")
    job("lcm-guided", LatentConsistencyModelPipeline, "jobs/tiny-lcm", "LCM", guidance=8.0, negative=None)

    values = eight_bits()
    job("fp8-euler", StableDiffusionPipeline, "models/tiny-sd", "Euler", prepare=lambda pipe: pipe.unet.load_state_dict(values))
    make_jobs.JOBS[-1]["model"] = "jobs/tiny-fp8"
    save_json(make_jobs.JOBS, OUT / "kinds.json")


if __name__ == "__main__":
    make()
