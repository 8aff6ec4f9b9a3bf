"""The networks of sketch, as diffusers and transformers build them, in two sizes, and the noise schedule."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from data import LENGTH
from latents import CHANNELS, PATCH

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012

# by the side of the pictures: channels of the U-Net's levels, which of them attend to the text (at 16x16 a CPU pays
# more for attention than it gives), the text encoder's width and depth, the autoencoder's channels
SIZES = {
    64: {"unet": (96, 128), "attends": (False, True), "text": (128, 2), "autoencoder": (24, 48, 64)},
    128: {"unet": (64, 96, 144), "attends": (False, True, True), "text": (128, 3), "autoencoder": (32, 64, 72)},
}


def alphas_cumprod():
    """Stable Diffusion's `scaled_linear` schedule, `[1000]`."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


def make_unet(size):
    """One residual layer per block; attention of four heads (diffusers reads `attention_head_dim` so)."""
    made = SIZES[size]
    return UNet2DConditionModel(
        sample_size=size // PATCH, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=made["unet"],
        layers_per_block=1, norm_num_groups=16, cross_attention_dim=made["text"][0], attention_head_dim=4,
        down_block_types=tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in made["attends"]),
        up_block_types=tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in made["attends"][::-1]),
    )


def make_text(size, words):
    """A causal text encoder for `words` tokens; the U-Net reads its last hidden state after the final norm."""
    width, depth = SIZES[size]["text"]
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=depth,
        num_attention_heads=4, max_position_embeddings=LENGTH, hidden_act="quick_gelu", projection_dim=width,
        bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
    ))


def make_autoencoder(size):
    """Two halvings, no attention; trained so that its latents are those of `latents.py`, hence a factor of 1."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=CHANNELS, sample_size=size,
        block_out_channels=SIZES[size]["autoencoder"], down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, norm_num_groups=8,
        mid_block_add_attention=False, scaling_factor=1.0,
    )
