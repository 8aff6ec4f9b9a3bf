"""What the makers of fixtures share: random weights that keep activations alive, and how files are written."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.set_grad_enabled(False)

HERE = Path(__file__).resolve().parent / "models"
META = {"format": "pt"}


def randomise(model, seed, gain=1.0, dtype=torch.float16, scales=None):
    """Fills every parameter with values that keep activations alive, rounded to `dtype`.

    Matrices and kernels get N(0, gain^2 / fan_in), biases N(0, 0.1^2), norm weights 1 + N(0, 0.2^2), tables N(0, 0.5^2). `scales` multiplies
    parameters by the ends of their names.
    """
    g = torch.Generator().manual_seed(seed)
    norms = {
        f"{name}.{leaf}"
        for name, module in model.named_modules()
        if "Norm" in type(module).__name__
        for leaf in ("weight", "bias")
    }
    tables = {
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Embedding)
    }
    for name, p in model.named_parameters():
        v = torch.randn(p.shape, generator=g)
        if name in norms:
            v = 1.0 + 0.2 * v if name.endswith("weight") else 0.2 * v
        elif name in tables:
            v = 0.5 * v
        elif p.ndim >= 2:
            v = v * gain / math.sqrt(p[0].numel())
        else:
            v = 0.1 * v
        for end, factor in (scales or {}).items():
            if name.endswith(end):
                v = v * factor
        p.copy_(v.to(dtype).float())
    return model.eval()


def save_weights(model, path, dtype=torch.float16, drop=(), prefix=""):
    state = {prefix + k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if k not in drop}
    for k in list(state):
        if k.endswith("position_ids"):
            del state[k]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path), metadata=META)


def save_json(value, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def save_reference(path, **tensors):
    out = {}
    for k, v in tensors.items():
        t = torch.as_tensor(v)
        if t.dtype == torch.int64:
            t = t.to(torch.int32)
        if t.is_floating_point():
            assert torch.isfinite(t).all(), f"{path}: {k} is not finite"
            t = t.float()
        out[k] = t.contiguous().clone()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(out, str(path), metadata=META)
    said = ", ".join(
        f"{k} {list(t.shape)} std {t.std().item():.3g}" if t.is_floating_point() and t.numel() > 1 else k
        for k, t in out.items()
    )
    print(f"{path.relative_to(HERE.parent)}: {said[:600]}")


def config_of(model):
    """A diffusers config as the library itself would write it."""
    return json.loads(model.to_json_string())


def noise(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
