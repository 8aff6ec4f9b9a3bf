"""What diffusers computes with the single-file checkpoints of `ldm/`, read by its own converter: `models/ldm-sd1`, `models/ldm-sd2`.

The checkpoints themselves are made by `make_ldm.py`, which is to be run first where they are not there.
"""

import json

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from fixture_tools import HERE, noise, save_reference

LDM = HERE.parent / "ldm"


def load_into(model, state):
    state = {k: v.float() for k, v in state.items()}
    wanted = set(model.state_dict())
    # transformers' own names have lost the prefix which files have.
    state = {k if k in wanted else k.removeprefix("text_model."): v for k, v in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not [k for k in missing + unexpected if not k.endswith("position_ids")], (missing, unexpected)
    return model.eval()


def make(name, seed):
    said = json.loads((LDM / "expected.json").read_text())[name]
    whole = load_file(str(LDM / f"{name}.safetensors"))
    config = {part: said[part]["config"] for part in said}
    text = CLIPTextModel(CLIPTextConfig(**config["text_encoder"], attn_implementation="eager"))
    if name == "sd1":
        text = load_into(text, theirs.convert_ldm_clip_checkpoint(dict(whole)))
    else:
        layers = config["text_encoder"]["num_hidden_layers"]
        unused = (f"cond_stage_model.model.transformer.resblocks.{layers}.", "cond_stage_model.model.text_projection")
        kept = {k: v for k, v in whole.items() if not k.startswith(unused)}
        text = load_into(text, theirs.convert_open_clip_checkpoint(text, kept))
    unet = load_into(
        UNet2DConditionModel.from_config(config["unet"]), theirs.convert_ldm_unet_checkpoint(dict(whole), config["unet"])
    )
    vae = load_into(AutoencoderKL.from_config(config["vae"]), theirs.convert_ldm_vae_checkpoint(dict(whole), config["vae"]))

    ids = torch.randint(0, text.config.vocab_size, (1, 77), generator=torch.Generator().manual_seed(seed))
    embedding = text(ids).last_hidden_state
    sample = noise((1, unet.config.in_channels, 6, 8), seed + 1)
    timesteps = torch.tensor([333.0])
    picture = noise((1, 3, 8, 12), seed + 2).clamp(-1, 1)
    save_reference(
        HERE / f"ldm-{name}" / "reference.safetensors",
        ids=ids,
        last_hidden_state=embedding,
        sample=sample,
        timesteps=timesteps,
        output=unet(sample, timesteps, embedding).sample,
        decoded=vae.decode(sample[:, : vae.config.latent_channels]).sample,
        picture=picture,
        mean=vae.encode(picture).latent_dist.mean,
    )


def checkpoints():
    yield "ldm-sd1", lambda n: make("sd1", 801)
    yield "ldm-sd2", lambda n: make("sd2", 811)
