#!/usr/bin/env python3
"""Checks files of `diptych models synthesize` with the programs that they are made for. Fetches nothing.

    check_files.py model.gguf ...            gguf-py reads them: names, shapes, types, values; llama.cpp too, if its binding is there
    check_files.py --sd sd15.safetensors     diffusers' and transformers' own networks take every key in its shape
    check_files.py --sdxl sdxl.safetensors
"""

import argparse
import sys


def check_gguf(path):
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(path)
    worst = 0.0
    for tensor in reader.tensors:
        # Dequantising tables of embeddings whole would take long.
        data = tensor.data[: max(1, min(len(tensor.data), 512))]
        values = gguf.quants.dequantize(data, tensor.tensor_type) if tensor.tensor_type not in (0,) else data
        values = np.asarray(values, dtype=np.float32)
        assert np.isfinite(values).all(), tensor.name
        if values.ndim == 2:
            wanted = 1 / np.sqrt(values.shape[1])
            worst = max(worst, abs(values.std() / wanted - 1))
            assert abs(values.mean()) < 0.1 * wanted, tensor.name
    assert worst < 0.15, worst
    tokens = reader.fields["tokenizer.ggml.tokens"]
    print(f"{path}: gguf-py reads {len(reader.tensors)} tensors, {len(tokens.data)} tokens; deviations within {100 * worst:.1f} % of what is wanted")
    try:
        from llama_cpp import Llama
    except ImportError:
        try:
            import xllamacpp
        except ImportError:
            print("  (no binding of llama.cpp is installed)")
            return
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 256
        params.warmup = False
        params.n_predict = 4
        server = xllamacpp.Server(params)
        answer = server.handle_completions({"prompt": "The evening sky", "max_tokens": 4, "temperature": 0})
        print(f"  llama.cpp writes: {answer['choices'][0]['text']!r}" if isinstance(answer, dict) else f"  {answer}")
        return
    model = Llama(str(path), n_ctx=256, verbose=False)
    text = "The painter mixed blue, 蓝 and é."
    ids = model.tokenize(text.encode(), add_bos=False)
    assert model.detokenize(ids).decode() == text
    answer = model("The evening sky", max_tokens=4, temperature=0)
    print(f"  llama.cpp reads {len(ids)} tokens, writes {answer['choices'][0]['text']!r}")


def check_sd(path, xl):
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
    from safetensors import safe_open
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    # Values are looked at one tensor at a time; for names and shapes they are not needed.
    file = {}
    with safe_open(path, "pt") as reader:
        for name in reader.keys():
            tensor = reader.get_tensor(name)
            assert not tensor.is_floating_point() or torch.isfinite(tensor).all(), name
            file[name] = tensor.to("meta")
    shared = dict(sample_size=64, in_channels=4, out_channels=4, layers_per_block=2)
    if xl:
        config = dict(shared, sample_size=128, cross_attention_dim=2048, attention_head_dim=[5, 10, 20], use_linear_projection=True,
                      transformer_layers_per_block=[1, 2, 10], block_out_channels=[320, 640, 1280],
                      down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                      up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], addition_embed_type="text_time",
                      addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    else:
        config = dict(shared, cross_attention_dim=768, attention_head_dim=8)
    vae_config = dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2, down_block_types=["DownEncoderBlock2D"] * 4,
                      up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=4)
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**config), AutoencoderKL(**vae_config)
    unet.load_state_dict(convert_ldm_unet_checkpoint(dict(file), dict(unet.config)), strict=True, assign=True)
    vae.load_state_dict(convert_ldm_vae_checkpoint(dict(file), dict(vae.config)), strict=True, assign=True)
    prefix = "conditioner.embedders.0.transformer." if xl else "cond_stage_model.transformer."
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12))
    wanted = set(text.state_dict())
    # Newer versions leave out the name of the inner model.
    inner = any(name.startswith("text_model.") for name in wanted)
    found = {key.removeprefix(prefix): tensor for key, tensor in file.items() if key.startswith(prefix)}
    if not inner:
        found = {key.removeprefix("text_model."): tensor for key, tensor in found.items()}
    found = {key: tensor for key, tensor in found.items() if not key.endswith("position_ids")}
    text.load_state_dict(found, strict=False, assign=True)
    missing = {key for key in wanted if not key.endswith("position_ids")} ^ set(found)
    assert not missing, sorted(missing)[:5]
    print(f"{path}: diffusers' U-Net and autoencoder and transformers' CLIP take all keys")
    if xl:
        config = CLIPTextConfig(vocab_size=49408, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
                                hidden_act="gelu", projection_dim=1280)
        with torch.device("meta"):
            second = CLIPTextModelWithProjection(config)
        shapes = {name: tuple(tensor.shape) for name, tensor in second.state_dict().items() if not name.endswith("position_ids")}
        made = convert_open_clip_checkpoint(second, dict(file), prefix="conditioner.embedders.1.model.")
        short = {name.replace("text_model.", "", 1): tuple(tensor.shape) for name, tensor in made.items() if not name.endswith("position_ids")}
        wanted = {name.replace("text_model.", "", 1): shape for name, shape in shapes.items()}
        assert short == wanted, sorted(set(short.items()) ^ set(wanted.items()))[:5]
        print(f"{path}: OpenCLIP bigG takes all keys")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", nargs="*")
    parser.add_argument("--sd")
    parser.add_argument("--sdxl")
    options = parser.parse_args()
    for path in options.gguf:
        check_gguf(path)
    if options.sd:
        check_sd(options.sd, False)
    if options.sdxl:
        check_sd(options.sdxl, True)


if __name__ == "__main__":
    sys.exit(main())
