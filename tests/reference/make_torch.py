#!/usr/bin/env python3
"""Makes `torch/`: small files as torch writes them, in both of its formats, for the reader that runs nothing.

    python tests/reference/make_torch.py
"""

from collections import OrderedDict
from pathlib import Path

import torch

OUT = Path(__file__).parent / "torch"


def main():
    OUT.mkdir(exist_ok=True)
    ramp = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    state = OrderedDict(
        plain=ramp,
        turned=ramp.T,
        cut=ramp[1],
        half=torch.tensor([1.5, -2.0]).half(),
        bfloat=torch.tensor([0.5]).bfloat16(),
        parameter=torch.nn.Parameter(torch.tensor([7.0])),
        ids=torch.tensor([1, 2, 3]),
        inner=dict(deep=torch.tensor(9.0)),
    )
    whole = {"global_step": 10**12, "epoch": 3, "lr": 1e-4, "names": ["a", ("b", None)], "done": True, "state_dict": state}
    torch.save(whole, OUT / "new.ckpt")
    torch.save(whole, OUT / "old.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"a.weight": torch.ones(2, 2), "b.bias": torch.zeros(2)}, OUT / "flat.pth")


if __name__ == "__main__":
    main()
