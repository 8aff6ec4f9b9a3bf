#!/usr/bin/env python3
"""Times a step of a Stable Diffusion U-Net, with and without the prompt, and the decoding of a picture by diffusers on torch, on the processor. Prints JSON:
seconds by workload. Needs torch, diffusers and safetensors; fetches nothing.

    torch_picture.py sd15.safetensors --size 512x512 --threads 2
"""

import argparse
import json
import statistics
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP = {CROSS: "CrossAttnUpBlock2D", PLAIN: "UpBlock2D"}
# The configurations that Stable Diffusion 1.5 and XL are published with.
SD15 = dict(block_out_channels=(320, 640, 1280, 1280), down=(CROSS, CROSS, CROSS, PLAIN), cross_attention_dim=768, attention_head_dim=8)
SDXL = dict(
    block_out_channels=(320, 640, 1280), down=(PLAIN, CROSS, CROSS), cross_attention_dim=2048, attention_head_dim=(5, 10, 20), use_linear_projection=True,
    transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
)
VAE = dict(
    block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2, latent_channels=4, sample_size=512,
)


def networks(path, dtype):
    file = load_file(path)
    large = any(key.startswith("conditioner.") for key in file)
    config = dict(SDXL if large else SD15)
    down = config.pop("down")
    unet = UNet2DConditionModel(
        sample_size=128 if large else 64, layers_per_block=2, down_block_types=down, up_block_types=tuple(UP[kind] for kind in reversed(down)), **config
    )
    converted = convert_ldm_unet_checkpoint(dict(file), config=dict(unet.config))
    missing, unexpected = unet.load_state_dict(converted, strict=False)
    assert not missing and not unexpected, (missing[:3], unexpected[:3])
    vae = AutoencoderKL(**VAE)
    missing, _ = vae.load_state_dict(convert_ldm_vae_checkpoint(dict(file), config=dict(vae.config)), strict=False)
    assert not missing, missing[:3]
    return unet.to(dtype).eval(), vae.to(dtype).eval(), large


def seconds(work, least):
    work()
    times = []
    for _ in range(least):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    unet, vae, large = networks(options.model, dtype)
    width, height = (int(side) // 8 for side in options.size.split("x"))
    generator = torch.Generator().manual_seed(1)
    noise = lambda *shape: torch.randn(shape, generator=generator).to(dtype)
    sample, words = noise(2, 4, height, width), noise(2, 77, unet.config.cross_attention_dim)
    added = dict(text_embeds=noise(2, 1280), time_ids=torch.full((2, 6), 512.0, dtype=dtype)) if large else None
    step = lambda: unet(sample, 500, words, added_cond_kwargs=added, return_dict=False)
    decode = lambda: vae.decode(sample[:1], return_dict=False)
    times = {"step": seconds(step, options.runs)}
    del unet
    times["vae"] = seconds(decode, options.runs)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
