#!/usr/bin/env python3
"""Makes a tiny ControlNet Union for Stable Diffusion XL (one net for several kinds of pictures) and what diffusers draws with it: `jobs/unions.json`, in the form
of `jobs.json`.

    python tests/reference/make_unions.py
"""

import json
import shutil

from diffusers import ControlNetUnionModel, StableDiffusionXLControlNetUnionPipeline

import make_jobs
from fixture_tools import config_of, randomise, save_json, save_weights
from make_controls import Controlled
from make_jobs import HEIGHT, OUT, WIDTH, job, smooth

XL = "jobs/tiny-sdxl"
# Of the kinds in their order: pose, depth, soft edges, lines, normals, segments.
KINDS = {"depth": 1, "lines": 3}


def union(name, seed):
    unet = json.loads((OUT / "tiny-sdxl/unet/config.json").read_text())
    same = (
        "act_fn", "addition_embed_type", "addition_time_embed_dim", "block_out_channels", "cross_attention_dim", "down_block_types", "layers_per_block",
        "projection_class_embeddings_input_dim", "transformer_layers_per_block", "use_linear_projection", "in_channels", "flip_sin_to_cos", "freq_shift",
    )
    net = ControlNetUnionModel(
        **{key: unet[key] for key in same if key in unet}, attention_head_dim=(1, 2), norm_num_groups=8, conditioning_embedding_out_channels=(4, 8, 12),
        num_control_type=6, num_trans_channel=8, num_trans_head=8, num_trans_layer=1, num_proj_channel=8,
    )
    randomise(net, seed, scales={"controlnet_mid_block.weight": 1.5, "task_embedding": 1.0})
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    save_json(config_of(net), folder / "config.json")
    save_weights(net, folder / "diffusion_pytorch_model.safetensors")
    return net


def make():
    net = union("control-union", 704)
    shutil.copyfile(OUT / "control-union/diffusion_pytorch_model.safetensors", OUT / "control-union-file.safetensors")
    picture = smooth((3, HEIGHT, WIDTH), 11)
    for file, kind, weight in [("control-union", "depth", 0.8), ("control-union-file.safetensors", "lines", 1.0)]:
        use = dict(model=dict(name=file.split(".")[0]), picture="control", weight=weight, kind=kind)
        job(
            f"union-{kind}", Controlled(StableDiffusionXLControlNetUnionPipeline, net), XL, "Euler", blobs=dict(control=picture),
            request=dict(controls=[use]),
            call=dict(control_image=[picture[None]], control_mode=[KINDS[kind]], controlnet_conditioning_scale=weight),
        )
        make_jobs.JOBS[-1]["additions"] = [f"jobs/{file}"]
    save_json(make_jobs.JOBS, OUT / "unions.json")


if __name__ == "__main__":
    make()
