"""A small network that names drawings, for `judge.py`; trained on drawings of other houses than sketch's (`others.py`).

    python classifier.py --others OTHERS --to judge.pt --minutes 10

Its classes are sketch's subjects and, so that it learns shapes in general, `--extra` other things of which those houses
have drawings; a judgement is among the subjects alone. Drawings are turned, scaled, mirrored, recoloured, blurred and
laid on all kinds of backgrounds, since there are no more than three of each thing.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from subjects import SUBJECTS

SIZE = 64
BATCH = 64
RATE = 2e-3


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; halves the size where `stride` is 2."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.short = nn.Conv2d(inner, outer, 1, stride, bias=False) if stride > 1 or inner != outer else nn.Identity()

    def forward(self, x):
        return F.relu(self.norms[1](self.second(F.relu(self.norms[0](self.first(x))))) + self.short(x))


class Namer(nn.Module):
    """Pictures `[n, 3, 64, 64]` in -1..1 to class scores."""

    def __init__(self, classes, width=32):
        super().__init__()
        sizes = [width, 2 * width, 4 * width, 6 * width]
        self.stem = nn.Conv2d(3, width, 5, 2, 2)
        self.blocks = nn.Sequential(*(Residual(([width] + sizes)[i], sizes[i], 1 if i == 0 else 2) for i in range(4)))
        self.head = nn.Linear(sizes[-1], classes)

    def features(self, pictures):
        return self.blocks(F.relu(self.stem(pictures))).mean((2, 3))

    def forward(self, pictures):
        return self.head(F.dropout(self.features(pictures), 0.2, self.training))


def load_drawing(path):
    """Premultiplied `[4, 64, 64]` float32."""
    drawing = Image.open(path).convert("RGBA").convert("RGBa").resize((SIZE, SIZE), Image.LANCZOS)
    return torch.from_numpy(np.asarray(drawing, np.float32).transpose(2, 0, 1).copy()) / 255


def gather(folder, extra, seed):
    """Drawings, their classes and the names of the classes: subjects first, then other things."""
    houses = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    held = [{path.stem: path for path in house.glob("*.png")} for house in houses]
    common = sorted(code for code in set.intersection(*map(set, held)) if code not in SUBJECTS)
    codes = list(SUBJECTS) + random.Random(seed).sample(common, min(extra, len(common)))
    drawings, classes = [], []
    for index, code in enumerate(codes):
        for files in held:
            if code in files:
                drawings.append(load_drawing(files[code]))
                classes.append(index)
    return torch.stack(drawings), torch.tensor(classes), codes


def backgrounds(count):
    """Plain colours, fades between two, and coarse blotches: `[n, 3, 64, 64]` in 0..1."""
    one, two = torch.rand(2, count, 3, 1, 1)
    one = torch.where(torch.rand(count, 1, 1, 1) < 0.3, torch.ones(()), one)
    down = torch.linspace(0, 1, SIZE)[None, None, :, None]
    fade = one * (1 - down) + two * down
    blotches = F.interpolate(torch.rand(count, 3, 5, 5), (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    kind = torch.rand(count, 1, 1, 1)
    return torch.where(kind < 0.6, one.expand(-1, -1, SIZE, SIZE), torch.where(kind < 0.8, fade, blotches))


def disturb(drawings):
    """One random picture of each drawing: `[n, 3, 64, 64]` in -1..1."""
    count = len(drawings)
    turn = (torch.rand(count) - 0.5) * 0.7
    scale = 1 / (0.65 + 0.5 * torch.rand(count))
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    stretch = 1 + (torch.rand(count) - 0.5) * 0.3
    shift = (torch.rand(count, 2) - 0.5) * 0.35
    theta = torch.stack([
        torch.stack([turn.cos() * scale * flip * stretch, -turn.sin() * scale, shift[:, 0]], 1),
        torch.stack([turn.sin() * scale * flip, turn.cos() * scale / stretch, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, list(drawings.shape), align_corners=False)
    moved = F.grid_sample(drawings, grid, align_corners=False)
    # mixes the channels a little, so that colour alone does not name a thing
    mix = torch.eye(3) + 0.25 * torch.randn(count, 3, 3) * (torch.rand(count, 1, 1) < 0.6)
    mix = mix / mix.sum(2, keepdim=True).clamp_min(0.3)
    colours = torch.einsum("nij,njhw->nihw", mix, moved[:, :3]) * (0.7 + 0.6 * torch.rand(count, 1, 1, 1))
    pictures = (colours.clamp(min=torch.zeros(()), max=moved[:, 3:]) + (1 - moved[:, 3:]) * backgrounds(count)) * 2 - 1
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pictures = torch.lerp(pictures, soft, torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5))
    return pictures + 0.12 * torch.rand(count, 1, 1, 1) * torch.randn_like(pictures)


def load(path):
    """The network and its classes, ready to judge."""
    state = torch.load(path)
    model = Namer(len(state["codes"]))
    model.load_state_dict(state["model"])
    return model.eval(), state["codes"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--others", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10,
                        help="of one thread's time, that of other work not counted")
    parser.add_argument("--extra", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    drawings, classes, codes = gather(options.others, options.extra, options.seed)
    model = Namer(len(codes)).to(memory_format=torch.channels_last)
    if options.to.exists():  # goes on with one that was trained for too short a time
        model.load_state_dict(torch.load(options.to)["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    subjects = (classes < len(SUBJECTS)).nonzero()[:, 0]
    print(f"{len(drawings)} drawings of {len(codes)} things, {len(subjects)} of them of {len(SUBJECTS)} subjects",
          flush=True)
    began, step, right = time.process_time(), 0, []
    while (used := (time.process_time() - began) / 60) < options.minutes:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 100) * (1 - used / options.minutes)
        chosen = torch.cat([subjects[torch.randint(len(subjects), (BATCH // 2,))],
                            torch.randint(len(drawings), (BATCH // 2,))])
        scores = model(disturb(drawings[chosen]).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(scores, classes[chosen], label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        right.append((scores.argmax(1) == classes[chosen]).float().mean().item())
        if step % 200 == 0:
            print(f"step {step} {used:.1f} min loss {loss.item():.3f}, {sum(right[-200:]) / 200:.1%} right", flush=True)
            torch.save({"model": model.state_dict(), "codes": codes}, options.to)
    torch.save({"model": model.state_dict(), "codes": codes}, options.to)


if __name__ == "__main__":
    main()
