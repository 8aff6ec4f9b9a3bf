#!/usr/bin/env python3
"""Makes `upscalers/`: tiny networks of the ESRGAN family with random weights in the layouts in which they are found, and what they make of a picture.

The networks are written here from their papers: RRDBNet (Wang et al. 2018, "ESRGAN"; with pixel unshuffling Wang et al. 2021, "Real-ESRGAN") and
SRVGGNetCompact (the same, `realesr-general`), with the layer names of BasicSR. `reference.safetensors` holds `picture` [1, 3, h, w] and for each file NAME
`NAME`: the output, f32.

    python tests/reference/make_upscalers.py
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from fixture_tools import HERE, save_reference

OUT = HERE.parent / "upscalers"


class Dense(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        for n in range(4):
            setattr(self, f"conv{n + 1}", nn.Conv2d(width + n * growth, growth, 3, 1, 1))
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, 1, 1)

    def forward(self, x):
        seen = [x]
        for n in range(4):
            seen.append(F.leaky_relu(getattr(self, f"conv{n + 1}")(torch.cat(seen, 1)), 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class ResidualInResidual(nn.Module):
    def __init__(self, width, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(width, growth) for _ in range(3))

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    def __init__(self, width, growth, blocks, ups, unshuffle=1):
        super().__init__()
        self.ups, self.unshuffle = ups, unshuffle
        self.conv_first = nn.Conv2d(3 * unshuffle**2, width, 3, 1, 1)
        self.body = nn.Sequential(*(ResidualInResidual(width, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, 1, 1)
        for n in range(ups):
            setattr(self, f"conv_up{n + 1}", nn.Conv2d(width, width, 3, 1, 1))
        self.conv_hr = nn.Conv2d(width, width, 3, 1, 1)
        self.conv_last = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x):
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for n in range(self.ups):
            x = F.leaky_relu(getattr(self, f"conv_up{n + 1}")(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


class SRVGG(nn.Module):
    def __init__(self, width, convs, scale):
        super().__init__()
        layers = [nn.Conv2d(3, width, 3, 1, 1), nn.PReLU(width)]
        for _ in range(convs):
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.PReLU(width)]
        layers.append(nn.Conv2d(width, 3 * scale**2, 3, 1, 1))
        self.body, self.scale = nn.Sequential(*layers), scale

    def forward(self, x):
        return F.pixel_shuffle(self.body(x), self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def fill(model, seed):
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        v = torch.randn(p.shape, generator=g)
        if p.ndim == 4:
            v = v * 0.8 / math.sqrt(p[0].numel())
        elif name.startswith("body") and isinstance(model, SRVGG) and int(name.split(".")[1]) % 2:
            v = 0.25 + 0.1 * v
        else:
            v = 0.05 * v
        p.copy_(v.half().float())
    return model.eval()


def old_names(state, blocks, ups):
    """The names of the first ESRGAN: a sequence whose members are counted, activations and upsampling included."""
    out = {}
    plain = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    for n in range(ups):
        plain[f"conv_up{n + 1}"] = f"model.{3 * (n + 1)}"
    plain["conv_hr"] = f"model.{3 * ups + 2}"
    plain["conv_last"] = f"model.{3 * ups + 4}"
    for name, value in state.items():
        head, leaf = name.rsplit(".", 1)
        if head.startswith("body."):
            _, block, dense, conv = head.split(".")
            new = f"model.1.sub.{block}.{dense.upper()}.{conv}.0"
        else:
            new = plain[head]
        out[f"{new}.{leaf}"] = value
    return out


def trunk_names(state):
    """The names of the ESRGAN that came after that one, as BSRGAN has them too."""
    plain = {"conv_body": "trunk_conv", "conv_up1": "upconv1", "conv_up2": "upconv2", "conv_hr": "HRconv"}
    out = {}
    for name, value in state.items():
        head, leaf = name.rsplit(".", 1)
        head = head.replace("body.", "RRDB_trunk.").replace("rdb", "RDB") if head.startswith("body.") else plain.get(head, head)
        out[f"{head}.{leaf}"] = value
    return out


def halves(model):
    return {k: v.half().contiguous() for k, v in model.state_dict().items()}


def make():
    OUT.mkdir(exist_ok=True)
    small = torch.rand((1, 3, 5, 6), generator=torch.Generator().manual_seed(3))
    picture = F.interpolate(small, (12, 14), mode="bicubic", align_corners=False).clamp(0, 1)
    outputs = {}

    def keep(name, model):
        result = model(picture)
        print(name, list(result.shape), f"from {result.min():.2f} to {result.max():.2f}, deviation {result.std():.2f}")
        assert 0.05 < result.std() < 2
        outputs[name] = result

    model = fill(RRDBNet(8, 4, 2, 2), 1)
    keep("esrgan-x4", model)
    torch.save({"params_ema": halves(model), "params": {k: v * 0 for k, v in halves(model).items()}}, OUT / "esrgan-x4.pth")
    save_file(old_names(halves(model), 2, 2), str(OUT / "esrgan-old-x4.safetensors"))
    torch.save(trunk_names(halves(model)), OUT / "esrgan-trunk-x4.pth")
    model = fill(RRDBNet(8, 4, 1, 1), 2)
    keep("esrgan-old-x2", model)
    torch.save(old_names(halves(model), 1, 1), OUT / "esrgan-old-x2.pth")
    model = fill(RRDBNet(8, 4, 1, 2, unshuffle=2), 3)
    keep("esrgan-x2", model)
    save_file(halves(model), str(OUT / "esrgan-x2.safetensors"))
    model = fill(SRVGG(8, 3, 4), 4)
    keep("srvgg-x4", model)
    torch.save({"params": halves(model)}, OUT / "srvgg-x4.pth")
    model = fill(SRVGG(8, 2, 2), 5)
    keep("srvgg-x2", model)
    save_file(halves(model), str(OUT / "srvgg-x2.safetensors"))
    save_reference(OUT / "reference.safetensors", picture=picture, **outputs)


if __name__ == "__main__":
    make()
