"""Muon (Jordan et al. 2024) with the step size of Liu et al. 2025, so that AdamW's learning rates serve.

The momentum of every weight matrix is replaced by the nearest orthogonal matrix; kernels of convolutions are matrices
of output channels by everything else. Learns in fewer steps than AdamW, which matters where steps are dear.
"""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices):
    """Newton-Schulz iteration on `[n, rows, columns]`."""
    a, b, c = COEFFICIENTS
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For weights of two and more dimensions, embeddings and the outermost layers excepted."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            shapes = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(state["momentum"], group["momentum"])  # Nesterov
                shapes.setdefault((weight.size(0), weight.numel() // weight.size(0)), []).append((weight, update))
            for (rows, columns), members in shapes.items():
                stacked = torch.stack([update.reshape(rows, columns) for _, update in members])
                size = 0.2 * max(rows, columns) ** 0.5
                for (weight, _), update in zip(members, orthogonalise(stacked)):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * size)
