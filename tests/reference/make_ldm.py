#!/usr/bin/env python3
"""Makes tiny single-file Stable Diffusion checkpoints with the key names of the original code, for the tests of the key map.

`ldm/sd1.safetensors` and `sd2.safetensors` hold random weights; `ldm/expected.json` holds what diffusers' own converter
(`diffusers.loaders.single_file_utils`) makes of them, as a fingerprint of names, shapes and bytes, and the configs of the models that
the weights came from. Remake with the same environment as `make_models.py`:

    .venv/bin/python tests/reference/make_ldm.py
"""

import json
import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from safetensors.torch import save_file

from diffusion_fixtures import CROSS_DOWN, CROSS_UP, clip_config, clip_model, vae_config
from fixture_tools import HERE, config_of, randomise, save_json

LDM = HERE.parent / "ldm"

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def swap(text, table):
    for old, new in table.items():
        text = re.sub(rf"^{re.escape(old)}\.", f"{new}.", text)
    return text


def unet_to_ldm(state, layers, levels):
    plain = {
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
        "conv_in.": "input_blocks.0.0.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
    }
    out = {}
    for name, value in state.items():
        new = next((n + name[len(o) :] for o, n in plain.items() if name.startswith(o)), None)
        if m := re.match(r"down_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            i, j = int(m[1]), int(m[3])
            at = 1 + i * (layers + 1) + j
            new = {
                "resnets": f"input_blocks.{at}.0.{swap(m[4], RESNET)}",
                "attentions": f"input_blocks.{at}.1.{m[4]}",
                "downsamplers": f"input_blocks.{(i + 1) * (layers + 1)}.0.{m[4].replace('conv', 'op')}",
            }[m[2]]
        if m := re.match(r"up_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            i, j = int(m[1]), int(m[3])
            at = i * (layers + 1) + j
            attends = any(k.startswith(f"up_blocks.{i}.attentions") for k in state)
            new = {
                "resnets": f"output_blocks.{at}.0.{swap(m[4], RESNET)}",
                "attentions": f"output_blocks.{at}.1.{m[4]}",
                "upsamplers": f"output_blocks.{i * (layers + 1) + layers}.{2 if attends else 1}.{m[4]}",
            }[m[2]]
        if m := re.match(r"mid_block\.(\w+)\.(\d+)\.(.*)", name):
            new = f"middle_block.{2 * int(m[2])}.{swap(m[3], RESNET)}" if m[1] == "resnets" else f"middle_block.1.{m[3]}"
        out["model.diffusion_model." + new] = value
    return out


def vae_to_ldm(state, levels):
    out = {}
    for name, value in state.items():
        new = name.replace("conv_norm_out", "norm_out")
        if m := re.match(r"(encoder|decoder)\.mid_block\.(\w+)\.(\d+)\.(.*)", name):
            if m[2] == "resnets":
                new = f"{m[1]}.mid.block_{int(m[3]) + 1}.{m[4]}"
            else:
                new = f"{m[1]}.mid.attn_1.{swap(m[4], ATTENTION)}"
                if value.ndim == 2:
                    value = value[:, :, None, None]
        if m := re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            i = int(m[3]) if m[2] == "down" else levels - 1 - int(m[3])
            if m[4] == "resnets":
                new = f"{m[1]}.{m[2]}.{i}.block.{m[5]}.{m[6].replace('conv_shortcut', 'nin_shortcut')}"
            else:
                new = f"{m[1]}.{m[2]}.{i}.{m[2]}sample.{m[6]}"
        out["first_stage_model." + new] = value
    return out


def open_clip_to_ldm(state, layers, width, seed):
    table = {
        "self_attn.out_proj": "attn.out_proj",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    out = {}
    for name, value in state.items():
        name = name.removeprefix("text_model.")
        if name.startswith("embeddings.position_embedding"):
            out["positional_embedding"] = value
        elif name.startswith("embeddings.token_embedding"):
            out["token_embedding.weight"] = value
        elif name.startswith("final_layer_norm."):
            out[name.replace("final_layer_norm", "ln_final")] = value
        elif m := re.match(r"encoder\.layers\.(\d+)\.(.*)", name):
            block = f"transformer.resblocks.{m[1]}."
            if m[2].startswith("self_attn.q_proj."):
                kind = m[2].split(".")[-1]
                parts = [state[f"text_model.{name}".replace("q_proj", p)] for p in ("q_proj", "k_proj", "v_proj")]
                out[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
            elif not m[2].startswith(("self_attn.k_proj", "self_attn.v_proj")):
                out[block + swap(m[2], table)] = value
    # The last layer, which is not used, and what follows the text tower.
    for name, value in list(out.items()):
        if name.startswith(f"transformer.resblocks.{layers - 1}."):
            out[name.replace(f".{layers - 1}.", f".{layers}.")] = value.clone()
    out["text_projection"] = torch.randn(width, width, generator=torch.Generator().manual_seed(seed)).half()
    out["logit_scale"] = torch.tensor(4.6).half()
    return {"cond_stage_model.model." + k: v for k, v in out.items()}


def fingerprint(state):
    """Number of tensors, and FNV-1a over name, shape (as text) and bytes of all of them in order of name."""
    h = 0xCBF29CE484222325
    for name, t in sorted(state.items()):
        said = f"{name} {'x'.join(map(str, t.shape))} ".encode()
        for byte in said + bytes(t.contiguous().flatten().view(torch.uint8).tolist()):
            h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return {"tensors": len(state), "fnv1a": f"{h:016x}"}


def checkpoint(name, seed, clip, unet, vae):
    text = clip_model(seed, vocab=96, **clip)
    u = randomise(UNet2DConditionModel(**unet), seed + 1)
    v = randomise(AutoencoderKL(**vae), seed + 2)
    halves = lambda model: {k: t.half() for k, t in model.state_dict().items() if not k.endswith("position_ids")}
    u_state, v_state, t_state = halves(u), halves(v), halves(text)
    t_state = {("" if k.startswith("text_model.") else "text_model.") + k: t for k, t in t_state.items()}
    levels = len(unet["block_out_channels"])
    ldm = unet_to_ldm(u_state, unet["layers_per_block"], levels)
    ldm |= vae_to_ldm(v_state, len(vae["block_out_channels"]))
    if name == "sd1":
        ldm |= {"cond_stage_model.transformer." + k: t for k, t in t_state.items()}
        ldm["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    else:
        ldm |= open_clip_to_ldm(t_state, clip["num_hidden_layers"], clip["hidden_size"], seed + 3)
    # What else such files hold: the averaged weights under other names, and constants of the schedule.
    ldm["model_ema.diffusion_modelout0bias"] = torch.zeros(unet["block_out_channels"][0])
    ldm["alphas_cumprod"] = torch.linspace(0.99, 0.01, 10)
    ldm = {k: t.contiguous().clone() for k, t in ldm.items()}

    # Their converter must give back the weights that we began with.
    back = {
        "unet": theirs.convert_ldm_unet_checkpoint(dict(ldm), unet),
        "vae": theirs.convert_ldm_vae_checkpoint(dict(ldm), vae),
    }
    if name == "sd1":
        back["text_encoder"] = theirs.convert_ldm_clip_checkpoint(dict(ldm))
        back["text_encoder"].pop("text_model.embeddings.position_ids")
    else:
        unused = f"cond_stage_model.model.transformer.resblocks.{clip['num_hidden_layers']}."
        kept = {k: t for k, t in ldm.items() if not k.startswith(unused) and k != "cond_stage_model.model.text_projection"}
        back["text_encoder"] = theirs.convert_open_clip_checkpoint(text, kept)
    for part, state in (("unet", u_state), ("vae", v_state), ("text_encoder", t_state)):
        assert set(back[part]) == set(state), (name, part, set(back[part]) ^ set(state))
        for k, t in state.items():
            assert torch.equal(back[part][k], t), (name, part, k)

    path = LDM / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(ldm, str(path))
    configs = {"unet": config_of(u), "vae": config_of(v), "text_encoder": clip_config(text)}
    return {part: {"config": configs[part]} | fingerprint(back[part]) for part in back}


def main():
    down, up = (CROSS_DOWN, "DownBlock2D"), ("UpBlock2D", CROSS_UP)
    expected = {
        "sd1": checkpoint(
            "sd1",
            701,
            clip=dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=1, hidden_act="quick_gelu"),
            unet=dict(
                sample_size=64,
                block_out_channels=(8, 16),
                down_block_types=down,
                up_block_types=up,
                layers_per_block=1,
                norm_num_groups=8,
                attention_head_dim=8,
                cross_attention_dim=16,
            ),
            vae=vae_config((4, 4, 8), layers=1, groups=4, sample_size=32),
        ),
        "sd2": checkpoint(
            "sd2",
            711,
            clip=dict(hidden_size=24, intermediate_size=28, num_hidden_layers=2, num_attention_heads=3, hidden_act="gelu"),
            unet=dict(
                sample_size=96,
                block_out_channels=(4, 4, 8),
                down_block_types=(CROSS_DOWN, CROSS_DOWN, "DownBlock2D"),
                up_block_types=("UpBlock2D", CROSS_UP, CROSS_UP),
                layers_per_block=2,
                norm_num_groups=4,
                attention_head_dim=(1, 1, 2),
                cross_attention_dim=24,
                use_linear_projection=True,
            ),
            vae=vae_config((4, 4), layers=2, groups=4, sample_size=32),
        ),
    }
    save_json(expected, LDM / "expected.json")
    size = sum(f.stat().st_size for f in (LDM).iterdir())
    print(f"ldm: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
