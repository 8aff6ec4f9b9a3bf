"""The latent space: principal components of 4x4 pixel patches, 12 of 48, with unit variance over all.

Component i with standard deviation s_i is divided by sqrt(s_i) rather than s_i: half whitened, so that coarse
components outlast the noise longer than fine ones, yet the fine ones are not lost under the last noise level.
"""

import torch
import torch.nn.functional as F

PATCH = 4
CHANNELS = 12


class LatentSpace:
    """A linear map between pictures `[n, 3, h, w]` and latents `[n, 12, h / 4, w / 4]`."""

    def __init__(self, state, device="cpu"):
        self.mean, self.basis, self.scale = (state[name].to(device) for name in ("mean", "basis", "scale"))

    def encode(self, pictures):
        patches = F.pixel_unshuffle(pictures, PATCH) - self.mean[None, :, None, None]
        latents = torch.einsum("cp,nphw->nchw", self.basis, patches)
        return latents / self.scale[None, :, None, None]

    def decode(self, latents):
        patches = torch.einsum("cp,nchw->nphw", self.basis, latents * self.scale[None, :, None, None])
        return F.pixel_shuffle(patches + self.mean[None, :, None, None], PATCH)


def load_or_fit(path, scenes, device="cpu"):
    """Reads the map, or fits it to random scenes and keeps it."""
    if not path.exists():
        pictures, _ = scenes.batch(1024)
        patches = F.pixel_unshuffle(pictures, PATCH).permute(0, 2, 3, 1).reshape(-1, 3 * PATCH * PATCH)
        mean = patches.mean(0)
        covariance = (patches - mean).T @ (patches - mean) / len(patches)
        values, vectors = torch.linalg.eigh(covariance.double())
        kept = values.flip(0)[:CHANNELS]
        print(f"{CHANNELS} components explain {kept.sum() / values.sum():.4f} of the variance")
        basis = vectors.flip(1)[:, :CHANNELS].T.float().contiguous()
        deviation = kept.sqrt().float()
        scale = deviation.sqrt() * deviation.mean().sqrt()  # latent variance s_i / mean(s): 1 on average
        torch.save({"mean": mean, "basis": basis, "scale": scale}, path)
    return LatentSpace(torch.load(path), device)
