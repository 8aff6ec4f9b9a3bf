#!/usr/bin/env python3
"""Makes a tiny Stable Diffusion in separate files (`split/`): U-Nets in GGUF as ComfyUI-GGUF writes them (original names, rows that no block
divides joined, the shapes beside them) and in scaled 8-bit floats, a text encoder, an autoencoder; and what diffusers computes with the very
values of each U-Net.

    python tests/reference/make_split.py
"""

import gguf
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from gguf import GGMLQuantizationType as Q
from safetensors.torch import save_file

from diffusion_fixtures import CROSS_DOWN, CROSS_UP, clip_model, vae_config
from fixture_tools import HERE, noise, randomise, save_reference
from make_ldm import unet_to_ldm, vae_to_ldm

OUT = HERE.parent / "split"
PREFIX = "model.diffusion_model."
META = {"format": "pt"}


def network():
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), down_block_types=(CROSS_DOWN, "DownBlock2D"), up_block_types=("UpBlock2D", CROSS_UP),
        layers_per_block=1, norm_num_groups=32, attention_head_dim=8, cross_attention_dim=32,
    )


def back(state, theirs):
    """Values by the original's names into the network by diffusers'. The names are paired by what they hold."""
    unet = network()
    names = {v.data_ptr(): k for k, v in theirs.items()}
    ldm = {k.removeprefix(PREFIX): names[v.data_ptr()] for k, v in unet_to_ldm(theirs, 1, 2).items()}
    unet.load_state_dict({ldm[k]: v for k, v in state.items()})
    return unet.eval()


def outputs(unet, name, ref):
    ref[name] = unet(ref["sample"], ref["timesteps"], ref["context"]).sample


def make_gguf(kind, state):
    """As ComfyUI-GGUF's converter and quantiser do: matrices and kernels packed, all else f32 or f16."""
    writer = gguf.GGUFWriter(str(OUT / f"unet-{kind.name}.gguf"), "sd1")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    values = {}
    for name, tensor in state.items():
        array = tensor.float().numpy()
        packed = array.ndim > 1 and array.size >= 512
        if packed and array.shape[-1] % 256 and array.size % 256 == 0:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", [int(n) for n in array.shape])
            array = array.reshape(array.size // 256, 256)
        packed = packed and array.shape[-1] % 32 == 0
        kept = kind if packed else (Q.F16 if array.ndim > 1 else Q.F32)
        data = gguf.quantize(array, kept)
        writer.add_tensor(name, data, raw_dtype=kept)
        values[name] = torch.from_numpy(np.array(gguf.dequantize(data, kept), dtype=np.float32)).reshape(tensor.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def make_scaled(state):
    """As ComfyUI's scaled checkpoints: one scale for each matrix, so that its largest value is the largest of the type."""
    file, values = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}, {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            file[name] = values[name] = tensor.float()
            continue
        scale = tensor.float().abs().max() / 448.0
        narrow = (tensor.float() / scale).to(torch.float8_e4m3fn)
        file[name] = narrow
        file[name.removesuffix("weight") + "scale_weight"] = scale.reshape(1)
        file[name.removesuffix("weight") + "scale_input"] = torch.ones(1)
        values[name] = narrow.float() * scale
    save_file({k: v.contiguous() for k, v in file.items()}, str(OUT / "unet-scaled.safetensors"), metadata=META)
    return values


def make_text_gguf(named, text, ref):
    """The text encoder as it is found beside GGUF U-Nets: transformers' names, matrices packed, without an architecture of its own."""
    (OUT / "text").mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(OUT / "text/clip-Q8_0.gguf"), "pig")
    values = {}
    for name, tensor in named.items():
        if name.endswith("position_ids") or name.startswith("text_projection"):
            continue
        array = tensor.float().numpy()
        kept = Q.Q8_0 if array.ndim > 1 and array.shape[-1] % 32 == 0 else Q.F16 if array.ndim > 1 else Q.F32
        data = gguf.quantize(array, kept)
        writer.add_tensor(name, data, raw_dtype=kept)
        values[name] = torch.from_numpy(np.array(gguf.dequantize(data, kept), dtype=np.float32)).reshape(tensor.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    own = text.state_dict()
    text.load_state_dict({k: values.get("text_model." + k.removeprefix("text_model."), v) for k, v in own.items()})
    ids = torch.randint(0, 90, (1, 77), generator=torch.Generator().manual_seed(4))
    ref["ids"], ref["text_Q8_0"] = ids.to(torch.int32), text(ids).last_hidden_state


def main():
    OUT.mkdir(exist_ok=True)
    unet = randomise(network(), 901, gain=1.1)
    theirs = {k: v.clone() for k, v in unet.state_dict().items()}
    state = {k.removeprefix(PREFIX): v for k, v in unet_to_ldm(theirs, 1, 2).items()}
    ref = dict(sample=noise((1, 4, 8, 12), 1), timesteps=torch.tensor([640.0]), context=noise((1, 77, 32), 2))
    for kind in (Q.Q8_0, Q.Q4_0):
        outputs(back(make_gguf(kind, state), theirs), f"output_{kind.name}", ref)
    outputs(back(make_scaled(state), theirs), "output_scaled", ref)

    text = clip_model(902, vocab=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=1, hidden_act="quick_gelu")
    named = {("" if k.startswith("text_model.") else "text_model.") + k: v.half().contiguous() for k, v in text.state_dict().items()}
    # ComfyUI's files hold the projection too, which the 1.x models do not use.
    named["text_projection.weight"] = torch.eye(32).half()
    save_file({k: v for k, v in named.items() if not k.endswith("position_ids")}, str(OUT / "clip.safetensors"), metadata=META)
    make_text_gguf(named, text, ref)
    vae = randomise(AutoencoderKL(**vae_config((4, 4, 8), layers=1, groups=4, sample_size=32)), 903)
    halves = {k: v.half().contiguous() for k, v in vae.state_dict().items()}
    file = {k.removeprefix("first_stage_model."): v.contiguous() for k, v in vae_to_ldm(halves, 3).items()}
    save_file(file, str(OUT / "vae.safetensors"), metadata=META)
    save_reference(OUT / "reference.safetensors", **ref)


if __name__ == "__main__":
    main()
