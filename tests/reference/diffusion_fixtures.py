"""Tiny models of the Stable Diffusion family, each by itself: text encoders, U-Nets, autoencoders."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from fixture_tools import HERE, config_of, noise, randomise, save_json, save_reference, save_weights



def clip_model(seed, vocab=540, **config):
    base = dict(
        vocab_size=vocab,
        max_position_embeddings=77,
        bos_token_id=vocab - 2,
        eos_token_id=vocab - 1,
        pad_token_id=1,
        layer_norm_eps=1e-5,
        attn_implementation="eager",
    )
    base.update(config)
    return randomise(CLIPTextModel(CLIPTextConfig(**base)), seed, gain=1.5)


def clip_config(model):
    c = model.config.to_dict()
    c["architectures"] = ["CLIPTextModel"]
    for k in ("dtype", "torch_dtype"):
        c.pop(k, None)
    return c


def make_clip(name, seed, **config):
    model = clip_model(seed, **config)
    vocab = model.config.vocab_size
    g = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(0, vocab - 2, (2, 77), generator=g)
    ids[:, 0] = vocab - 2
    ids[0, 9:] = vocab - 1
    ids[1, 76] = vocab - 1
    out = model(ids, output_hidden_states=True)
    ref = {"ids": ids, "last_hidden_state": out.last_hidden_state}
    norm = getattr(model, "text_model", model).final_layer_norm
    # layers_from_end = k leaves out the last k layers; the final norm is applied all the same, as diffusers' clip_skip does.
    for k in (1, 2):
        ref[f"skip_{k}"] = norm(out.hidden_states[-(k + 1)])
    # A shorter context: causal, so each row must equal the first rows of the long one.
    ref["short_ids"] = ids[:, :7].clone()
    ref["short_last_hidden_state"] = model(ids[:, :7]).last_hidden_state
    folder = HERE / name
    save_json(clip_config(model), folder / "config.json")
    # Files in the wild have the prefix; today's library writes some without it. Both are to be read.
    save_weights(model, folder / "model.safetensors", prefix="text_model." if name.endswith("sd1") else "")
    save_reference(folder / "reference.safetensors", **ref)


def clips():
    # Stable Diffusion 1.x: CLIP ViT-L/14's text tower, quick_gelu.
    yield "clip-sd1", lambda n: make_clip(
        n, 101, hidden_size=24, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4, hidden_act="quick_gelu", vocab_size=160
    )
    # Stable Diffusion 2.x: OpenCLIP ViT-H's tower, gelu, one layer fewer in the config already.
    yield "clip-sd2", lambda n: make_clip(
        n, 102, hidden_size=30, intermediate_size=44, num_hidden_layers=2, num_attention_heads=6, hidden_act="gelu", vocab_size=160
    )


def make_unet(name, seed, sizes, contexts=(77,), dtype=torch.float16, **config):
    model = randomise(UNet2DConditionModel(**config), seed, gain=1.3, dtype=dtype)
    c = model.config
    width = c.cross_attention_dim
    ref = {}
    for i, ((h, w), timesteps, length) in enumerate(
        (size, t, n) for size in sizes for t, n in zip(([981.0, 981.0], [17.0, 640.0]), (contexts * 2)[:2])
    ):
        sample = noise((2, c.in_channels, h, w), seed + 10 + i)
        context = noise((2, length, width), seed + 50 + i)
        t = torch.tensor(timesteps)
        ref[f"sample_{i}"] = sample
        ref[f"timesteps_{i}"] = t
        ref[f"context_{i}"] = context
        ref[f"output_{i}"] = model(sample, t, context).sample
    folder = HERE / name
    save_json(config_of(model), folder / "config.json")
    save_weights(model, folder / "diffusion_pytorch_model.safetensors", dtype)
    save_reference(folder / "reference.safetensors", **ref)


CROSS_DOWN = "CrossAttnDownBlock2D"
CROSS_UP = "CrossAttnUpBlock2D"


def unets():
    # Stable Diffusion 1.x: attention_head_dim is one integer, and is the *number of heads* (diffusers issue 2011).
    yield "unet-sd1", lambda n: make_unet(
        n,
        201,
        sizes=[(8, 12)],
        contexts=(77, 154),
        sample_size=8,
        block_out_channels=(4, 8, 8, 12),
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
    )
    # Stable Diffusion 2.x: heads by block, linear projections in the transformers.
    yield "unet-sd2", lambda n: make_unet(
        n,
        202,
        sizes=[(8, 8)],
        contexts=(77, 154),
        sample_size=8,
        block_out_channels=(4, 8, 8, 12),
        norm_num_groups=4,
        attention_head_dim=(1, 2, 2, 4),
        cross_attention_dim=24,
        use_linear_projection=True,
        upcast_attention=True,
    )
    # Everything a config may say differently, at latent sizes that down-sampling does not divide.
    yield "unet-odd", lambda n: make_unet(
        n,
        203,
        sizes=[(5, 7), (9, 6)],
        contexts=(11, 3),
        in_channels=5,
        out_channels=3,
        down_block_types=(CROSS_DOWN, CROSS_DOWN, "DownBlock2D"),
        up_block_types=("UpBlock2D", CROSS_UP, CROSS_UP),
        block_out_channels=(6, 8, 10),
        layers_per_block=(1, 2, 1),
        transformer_layers_per_block=(1, 2, 1),
        norm_num_groups=2,
        norm_eps=1e-6,
        attention_head_dim=(2, 4, 5),
        cross_attention_dim=7,
        only_cross_attention=(True, False, False),
        conv_in_kernel=5,
        conv_out_kernel=1,
        flip_sin_to_cos=False,
        freq_shift=1,
        time_embedding_dim=20,
        center_input_sample=True,
        mid_block_scale_factor=1.5,
    )
    # No attention in the middle; asymmetric padding where it is down-sampled.
    yield "unet-plain-mid", lambda n: make_unet(
        n,
        204,
        sizes=[(6, 4)],
        contexts=(5, 5),
        down_block_types=("DownBlock2D", CROSS_DOWN),
        mid_block_type="UNetMidBlock2D",
        up_block_types=(CROSS_UP, "UpBlock2D"),
        block_out_channels=(6, 9),
        layers_per_block=1,
        norm_num_groups=3,
        attention_head_dim=3,
        cross_attention_dim=10,
        downsample_padding=0,
    )
    # No middle at all.
    yield "unet-no-mid", lambda n: make_unet(
        n,
        205,
        sizes=[(4, 4)],
        contexts=(5, 5),
        down_block_types=(CROSS_DOWN, "DownBlock2D"),
        mid_block_type=None,
        up_block_types=("UpBlock2D", CROSS_UP),
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=1,
        cross_attention_dim=8,
    )


def make_vae(name, seed, latent, dtype=torch.float16, scales=None, **config):
    model = randomise(AutoencoderKL(**config), seed, gain=1.3, dtype=dtype, scales=scales)
    c = model.config
    factor = 2 ** (len(c.block_out_channels) - 1)
    h, w = latent
    z = noise((2, c.latent_channels, h, w), seed + 1)
    picture = noise((2, c.in_channels, h * factor, w * factor), seed + 2).clamp(-1, 1)
    odd = noise((1, c.in_channels, h * factor + 3, w * factor + 1), seed + 3).clamp(-1, 1)
    encoded = model.encode(picture).latent_dist
    odd_encoded = model.encode(odd).latent_dist
    folder = HERE / name
    save_json(config_of(model), folder / "config.json")
    save_weights(model, folder / "diffusion_pytorch_model.safetensors", dtype)
    save_reference(
        folder / "reference.safetensors",
        latent=z,
        decoded=model.decode(z).sample,
        picture=picture,
        mean=encoded.mean,
        logvar=encoded.logvar,
        odd_picture=odd,
        odd_mean=odd_encoded.mean,
        odd_logvar=odd_encoded.logvar,
    )


def make_taesd(name, seed, **config):
    model = randomise(AutoencoderTiny(**config), seed, gain=1.2)
    c = model.config
    factor = 2 ** (len(c.num_decoder_blocks) - 1)
    z = 2.0 * noise((2, c.latent_channels, 3, 5), seed + 1)
    picture = noise((1, c.in_channels, 3 * factor, 5 * factor), seed + 2).clamp(-1, 1)
    folder = HERE / name
    save_json(config_of(model), folder / "config.json")
    save_weights(model, folder / "diffusion_pytorch_model.safetensors")
    save_reference(
        folder / "reference.safetensors",
        latent=z,
        decoded=model.decode(z).sample,
        picture=picture,
        encoded=model.encode(picture).latents,
    )


def vae_config(channels, layers=1, groups=4, **more):
    n = len(channels)
    return dict(
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        block_out_channels=channels,
        layers_per_block=layers,
        norm_num_groups=groups,
        **more,
    )


def vaes():
    yield "vae-kl", lambda n: make_vae(n, 301, (5, 7), **vae_config((8, 8, 12), sample_size=32))
    yield "vae-kl-bare", lambda n: make_vae(
        n,
        302,
        (6, 5),
        dtype=torch.float32,
        **vae_config(
            (4, 6),
            layers=2,
            groups=2,
            latent_channels=3,
            scaling_factor=0.36,
            shift_factor=0.12,
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
        ),
    )
    yield "vae-tiny", lambda n: make_taesd(
        n,
        303,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 2, 1, 1),
        num_decoder_blocks=(2, 1, 1, 1),
    )
