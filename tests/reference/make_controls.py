#!/usr/bin/env python3
"""Makes the ControlNets of `jobs/` and what diffusers draws with them (`jobs/controls.json`, in the form of `jobs.json`), and `jobs/canny.safetensors`:
pictures and the edges that OpenCV's `Canny` finds in them. Needs `opencv-python-headless` beside what `make_jobs.py` needs.

    python tests/reference/make_controls.py
"""

import shutil

import cv2
import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file

import make_jobs
from fixture_tools import config_of, randomise, save_json, save_reference, save_weights
from make_jobs import HEIGHT, OUT, WIDTH, job, smooth
from make_ldm import unet_to_ldm


def control_net(model, seed, name):
    """A folder as diffusers writes it; its zero convolutions are not zero."""
    unet = UNet2DConditionModel.from_pretrained(str(OUT.parent / model / "unet"), torch_dtype=torch.float32)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 12), load_weights_from_unet=False)
    # Heads and groups as real ones have them by their widths: files without a config do not tell.
    heads = (1, 2) if model.endswith("sdxl") else 8
    net = ControlNetModel.from_config(dict(net.config) | dict(attention_head_dim=heads, norm_num_groups=8))
    randomise(net, seed, scales={"controlnet_mid_block.weight": 1.5})
    shutil.rmtree(OUT / name, ignore_errors=True)
    save_json(config_of(net), OUT / name / "config.json")
    save_weights(net, OUT / name / "diffusion_pytorch_model.safetensors")
    return net


def to_ldm(net, layers, levels):
    """The names of the original ControlNet."""
    state = {k: t.half().contiguous() for k, t in net.state_dict().items()}
    hint = {k: state.pop(k) for k in list(state) if k.startswith("controlnet_cond_embedding.")}
    zero = {k: state.pop(k) for k in list(state) if k.startswith("controlnet_")}
    out = {k.replace("model.diffusion_model.", "control_model."): v for k, v in unet_to_ldm(state, layers, levels).items()}
    blocks = sum(1 for k in hint if ".blocks." in k and k.endswith("weight"))
    for k, v in hint.items():
        _, part, rest = k.split(".", 2)
        at = {"conv_in": 0, "conv_out": 2 + 2 * blocks}.get(part)
        if part == "blocks":
            number, rest = rest.split(".")
            at = 2 + 2 * int(number)
        out[f"control_model.input_hint_block.{at}.{rest}"] = v
    for k, v in zero.items():
        part, rest = k.split(".", 1)
        if part == "controlnet_mid_block":
            out[f"control_model.middle_block_out.0.{rest}"] = v
        else:
            number, leaf = rest.split(".")
            out[f"control_model.zero_convs.{number}.0.{leaf}"] = v
    return out


class Controlled:
    """A pipeline's class that is given ControlNets when it is made."""

    def __init__(self, kind, nets):
        self.__name__, self.kind, self.nets = kind.__name__, kind, nets

    def from_pretrained(self, folder, **options):
        return self.kind.from_pretrained(folder, controlnet=self.nets, **options)


def make():
    one = control_net("models/tiny-sd", 701, "control-one")
    two = control_net("models/tiny-sd", 702, "control-two")
    xl = control_net("jobs/tiny-sdxl", 703, "control-xl")
    save_file(to_ldm(one, 1, 2), str(OUT / "control-one-ldm.safetensors"), metadata={"format": "pt"})
    shutil.copyfile(OUT / "control-xl/diffusion_pytorch_model.safetensors", OUT / "control-xl-file.safetensors")
    blobs = dict(control=smooth((3, HEIGHT, WIDTH), 11), other=smooth((3, HEIGHT, WIDTH), 12))
    picture = smooth((3, HEIGHT, WIDTH), 1)

    def use(name, picture="control", weight=1.0, **more):
        return dict(model=dict(name=name), picture=picture, weight=weight, **more)

    def controlled(name, kind, model, nets, uses, additions, call, given, **more):
        request = dict(controls=uses) | more.pop("request", {})
        job(name, Controlled(kind, nets), model, blobs=given, request=request, call=call, **more)
        make_jobs.JOBS[-1]["additions"] = additions

    text, folder = StableDiffusionControlNetPipeline, "models/tiny-sd"
    first = dict(control=blobs["control"])
    for sampler, file in [("Euler", "control-one"), ("DPM++ 2M", "control-one-ldm.safetensors")]:
        controlled(
            f"control-{sampler.replace('+', 'p').replace(' ', '-').lower()}", text, folder, one, [use(file.split(".")[0], weight=0.7)],
            [f"jobs/{file}"], dict(image=blobs["control"][None], controlnet_conditioning_scale=0.7), first, sampler=sampler,
        )
    controlled(
        "control-range", text, folder, one, [use("control-one", start=0.2, end=0.7)], ["jobs/control-one"],
        dict(image=blobs["control"][None], control_guidance_start=0.2, control_guidance_end=0.7), first, sampler="Euler",
    )
    controlled(
        "control-plain", text, folder, one, [use("control-one", weight=1.2)], ["jobs/control-one"],
        dict(image=blobs["control"][None], controlnet_conditioning_scale=1.2), first, sampler="DDIM", guidance=1.0,
    )
    controlled(
        "control-several", text, folder, [one, two], [use("control-one", weight=0.8), use("control-two", "other", 0.5, end=0.5)],
        ["jobs/control-one", "jobs/control-two"],
        dict(
            image=[blobs["control"][None], blobs["other"][None]], controlnet_conditioning_scale=[0.8, 0.5], control_guidance_start=[0.0, 0.0],
            control_guidance_end=[1.0, 0.5],
        ),
        blobs, sampler="Euler a",
    )
    controlled(
        "control-picture", StableDiffusionControlNetImg2ImgPipeline, folder, one, [use("control-one")], ["jobs/control-one"],
        dict(image=picture[None], control_image=blobs["control"][None], strength=0.7, controlnet_conditioning_scale=1.0), first | dict(init=picture),
        sampler="Euler", request=dict(init=dict(picture="init", strength=0.7)),
    )
    controlled(
        "control-xl", StableDiffusionXLControlNetPipeline, "jobs/tiny-sdxl", xl, [use("control-xl-file", weight=0.9)],
        ["jobs/control-xl-file.safetensors"],
        dict(image=blobs["control"][None], controlnet_conditioning_scale=0.9), first, sampler="Euler",
    )
    save_json(make_jobs.JOBS, OUT / "controls.json")

    g = torch.Generator().manual_seed(5)
    noisy = (smooth((3, 45, 61), 21) + 0.15 * torch.rand((3, 45, 61), generator=g)).clamp(0, 1)
    noisy[:, 10:30, 20:40] = torch.tensor([0.9, 0.1, 0.3])[:, None, None]
    pixels = (noisy * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    edges = {f"edges_{low}_{high}": torch.from_numpy(cv2.Canny(np.ascontiguousarray(pixels), low, high)) for low, high in [(100, 200), (30, 60), (250, 400)]}
    save_reference(OUT / "canny.safetensors", picture=torch.from_numpy(pixels), **edges)
    print({k: (v > 0).float().mean().item() for k, v in edges.items()})


if __name__ == "__main__":
    make()
