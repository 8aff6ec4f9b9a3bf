#!/usr/bin/env python3
"""Makes additions of kinds beyond those of `make_jobs.py`, and what diffusers draws with them (`jobs/loras.json`, in the form of `jobs.json`): DoRA and LoKr, whose
changes are computed by `peft`, and a LoRA for Stable Diffusion XL by the names of kohya's scripts. Needs `peft` beside what `make_jobs.py` needs.

    python tests/reference/make_loras.py
"""

import math

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import save_file

import make_jobs
from fixture_tools import save_json
from make_jobs import OUT, flat, job, merge
from make_ldm import unet_to_ldm

MODEL = "models/tiny-sd"
TARGETS = r".*(attn1\.to_q|attn2\.to_k|attn2\.to_v|to_out\.0|ff\.net\.0\.proj|resnets\.0\.conv1)"


def opened(kind=StableDiffusionPipeline, model=MODEL):
    safety = {} if "XL" in kind.__name__ else dict(safety_checker=None, requires_safety_checker=False)
    return kind.from_pretrained(str(OUT.parent / model), torch_dtype=torch.float32, **safety)


def by_peft(name, config, seed):
    """A file by LyCORIS' names, and the changes of the U-Net's layers as peft computes them."""
    unet = opened().unet
    before = {k: v.clone() for k, v in unet.state_dict().items()}
    model = get_peft_model(unet, config)
    g = torch.Generator().manual_seed(seed)
    for key, p in model.named_parameters():
        if "lora_magnitude" in key:
            p.copy_((p * (1 + 0.3 * torch.rand(p.shape, generator=g))).half().float())
        elif "lora_" in key or "lokr_" in key:
            p.copy_((torch.randn(p.shape, generator=g) * 0.7 / math.sqrt(p[0].numel())).half().float())
    tensors = {}
    renamed = {"lora_A.default.weight": "lora_down.weight", "lora_B.default.weight": "lora_up.weight", "lora_magnitude_vector.default.weight": "dora_scale"}
    for key, value in model.state_dict().items():
        for end in list(renamed) + [f"lokr_{part}.default" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")]:
            if key.endswith("." + end):
                path = key.removeprefix("base_model.model.").removesuffix("." + end)
                leaf = renamed.get(end, end.removesuffix(".default"))
                if leaf == "dora_scale":
                    value = value.reshape(-1, *([1] * (before[f"{path}.weight"].ndim - 1)))
                tensors[f"{flat('unet', path)}.{leaf}"] = value.half().contiguous()
                alpha = config.alpha if hasattr(config, "alpha") else config.lora_alpha
                tensors[f"{flat('unet', path)}.alpha"] = torch.tensor(float(alpha)).half()
    after = model.merge_and_unload().state_dict()
    changes = {("unet", k.removesuffix(".weight")): after[k] - v for k, v in before.items() if not torch.equal(after[k], v)}
    kinds = sorted({k.rsplit(".", 2 if k.endswith("weight") else 1)[-1 if not k.endswith("weight") else -2] for k in tensors})
    print(name, len(changes), "layers", kinds)
    save_file(tensors, str(OUT / f"{name}.safetensors"), metadata={"format": "pt"})
    return changes


def kohya_xl():
    """By the names that kohya's scripts give the layers of SDXL: the original's for the U-Net, counted text encoders."""
    pipe = opened(StableDiffusionXLPipeline, "jobs/tiny-sdxl")
    g = torch.Generator().manual_seed(33)
    names = {k: new.removeprefix("model.diffusion_model.") for new, k in unet_to_ldm({k: k for k in pipe.unet.state_dict() if "add_embedding" not in k}, 1, 2).items()}
    tensors, changes = {}, {}
    for network, model in [("unet", pipe.unet), ("te1", pipe.text_encoder), ("te2", pipe.text_encoder_2)]:
        for path, module in model.named_modules():
            wanted = ("attn", "ff.net", "proj_in", "proj_out") if network == "unet" else ("q_proj", "out_proj", "fc1")
            if not isinstance(module, torch.nn.Linear) or not any(k in path for k in wanted):
                continue
            out, inner = module.weight.shape
            down, up = ((torch.randn(shape, generator=g) * (0.6 / math.sqrt(inner)) ** 0.5).half() for shape in ((2, inner), (out, 2)))
            text = path if path.startswith("text_model.") else f"text_model.{path}"
            key = flat("unet", names[f"{path}.weight"].removesuffix(".weight")) if network == "unet" else flat(network, text)
            tensors |= {f"{key}.lora_down.weight": down.contiguous(), f"{key}.lora_up.weight": up.contiguous(), f"{key}.alpha": torch.tensor(1.0).half()}
            changes[network, path] = up.float() @ down.float() * 0.5
    save_file(tensors, str(OUT / "lora-kohya-xl.safetensors"), metadata={"format": "pt", "ss_base_model_version": "sdxl_base_v1-0"})
    return changes


def merge_xl(pipe, changes, share):
    networks = {"unet": pipe.unet, "te1": pipe.text_encoder, "te2": pipe.text_encoder_2}
    for (network, path), change in changes.items():
        module = networks[network].get_submodule(path)
        module.weight.copy_((module.weight + share * change).half().float())


def make():
    made = {
        "dora": by_peft("lora-dora", LoraConfig(r=2, lora_alpha=2, target_modules=TARGETS, use_dora=True, init_lora_weights=False), 1),
        "lokr": by_peft("lora-lokr", LoKrConfig(r=2, alpha=2, target_modules=TARGETS, init_weights=False), 2),
        "lokr-both": by_peft("lora-lokr-both", LoKrConfig(r=1, alpha=0.5, target_modules=TARGETS, decompose_both=True, init_weights=False, use_effective_conv2d=True), 3),
    }
    for kind, share in [("dora", 1.0), ("dora", 0.6), ("lokr", 0.8), ("lokr-both", 1.0)]:
        name = f"lora-{kind}"
        job(
            f"with-{kind}{'' if share == 1.0 else '-part'}", StableDiffusionPipeline, MODEL, "Euler", request=dict(loras=[dict(model=dict(name=name), weight=share)]),
            prepare=lambda pipe: merge(pipe, [(made[kind], share)]),
        )
        make_jobs.JOBS[-1]["additions"] = [f"jobs/{name}.safetensors"]
    changes = kohya_xl()
    job(
        "with-kohya-xl", StableDiffusionXLPipeline, "jobs/tiny-sdxl", "Euler", request=dict(loras=[dict(model=dict(name="lora-kohya-xl"), weight=0.7)]),
        prepare=lambda pipe: merge_xl(pipe, changes, 0.7),
    )
    make_jobs.JOBS[-1]["additions"] = ["jobs/lora-kohya-xl.safetensors"]
    save_json(make_jobs.JOBS, OUT / "loras.json")


if __name__ == "__main__":
    make()
