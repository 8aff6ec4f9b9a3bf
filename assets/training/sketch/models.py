"""The networks of sketch, as diffusers and transformers build them, and the noise schedule."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from data import LENGTH, SIZE
from latents import CHANNELS, PATCH

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
TEXT_WIDTH = 128


def alphas_cumprod():
    """Stable Diffusion's `scaled_linear` schedule, `[1000]`."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


def make_unet():
    """Attention only at 8x8: at 16x16 it costs more than it gives on a CPU."""
    return UNet2DConditionModel(
        sample_size=SIZE // PATCH, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=(96, 128),
        layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=TEXT_WIDTH, attention_head_dim=4,
        norm_num_groups=16,
    )


def make_text(tokenizer):
    """A causal text encoder; the U-Net reads its last hidden state after the final norm."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=2 * TEXT_WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=LENGTH, hidden_act="quick_gelu", projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ))


def make_autoencoder():
    """Two halvings, no attention; trained so that its latents are those of `latents.py`, hence a factor of 1."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=CHANNELS, sample_size=SIZE, block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1,
        norm_num_groups=8, mid_block_add_attention=False, scaling_factor=1.0,
    )


def tokens(tokenizer, captions):
    """Token ids `[n, 77]`, padded with the end token as Stable Diffusion pads."""
    return tokenizer(
        captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
