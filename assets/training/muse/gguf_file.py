"""Muse as one GGUF file: writing it from a training run, and reading it back for the judge.

    python gguf_file.py --run RUN_DIR --out assets/models/muse/muse.gguf

Layout: architecture "llama", matrices in Q8_0, norms in F32, output tied to the token embedding, tokenizer "gpt2" with
pre-tokenizer "llama-bpe", chat template inside. Programs of the llama.cpp family rotate neighbouring pairs (2i, 2i+1)
of each head, while training rotated the pairs (i, i + head_dim/2); so the rows of query and key matrices are permuted
here, as llama.cpp's converter does.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import Regex, decoders, models, pre_tokenizers

import tokenizer as tok
from dialogue import SYSTEM
from model import Config, Muse

LICENSE = "MIT OR Apache-2.0"
BLOCK_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def names(config: Config) -> dict[str, str]:
    """Parameter name in `model.Muse` to tensor name in the file."""
    table = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for i in range(config.num_hidden_layers):
        for ours, theirs in BLOCK_TENSORS.items():
            table[f"model.layers.{i}.{ours}.weight"] = f"blk.{i}.{theirs}.weight"
    return table


def heads_of(name: str, config: Config) -> int | None:
    """The number of heads of a tensor whose rows are permuted, else None."""
    if "attn_q." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if "attn_k." in name else None


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from halves (i, i + d/2) to neighbouring pairs."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def halve(rows: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `interleave`."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def write(path: Path, config: Config, weights: dict[str, torch.Tensor], tokenizer: tokenizers.Tokenizer):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("muse")
    writer.add_author("The Diptych authors")
    writer.add_description("The small built-in chat model of Diptych: prompts, settings and small talk.")
    writer.add_license(LICENSE)
    writer.add_languages(["en"])
    writer.add_size_label("3M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)

    saved = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(saved["vocab"], key=saved["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(pieces)
    writer.add_token_types([gguf.TokenType.CONTROL if p in tok.SPECIALS else gguf.TokenType.NORMAL for p in pieces])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in saved["merges"]])
    writer.add_bos_token_id(pieces.index(tok.BEGIN))
    writer.add_eos_token_id(pieces.index(tok.END))
    writer.add_eot_token_id(pieces.index(tok.END))
    writer.add_pad_token_id(pieces.index(tok.PAD))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(tok.CHAT_TEMPLATE)

    for ours, theirs in names(config).items():
        data = weights[ours].float().numpy()
        heads = heads_of(theirs, config)
        if heads:
            data = interleave(data, heads)
        if data.ndim == 1:
            writer.add_tensor(theirs, data)
        else:
            writer.add_tensor(theirs, gguf.quants.quantize(np.ascontiguousarray(data), Type.Q8_0), raw_dtype=Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> tuple[Muse, tokenizers.Tokenizer, str]:
    """The network with dequantised weights, the tokenizer and the chat template of a file that `write` made."""
    reader = gguf.GGUFReader(path)

    def value(key):
        return reader.fields[key].contents()

    config = Config(
        vocab_size=value("llama.vocab_size"),
        hidden_size=value("llama.embedding_length"),
        intermediate_size=value("llama.feed_forward_length"),
        num_hidden_layers=value("llama.block_count"),
        num_attention_heads=value("llama.attention.head_count"),
        num_key_value_heads=value("llama.attention.head_count_kv"),
        max_position_embeddings=value("llama.context_length"),
        rope_theta=value("llama.rope.freq_base"),
        rms_norm_eps=value("llama.attention.layer_norm_rms_epsilon"),
    )
    stored = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    weights = {}
    for ours, theirs in names(config).items():
        heads = heads_of(theirs, config)
        weights[ours] = torch.from_numpy(np.array(halve(stored[theirs], heads) if heads else stored[theirs]))
    model = Muse(config)
    model.load_state_dict(weights)

    pieces = value("tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in value("tokenizer.ggml.merges")]
    tokenizer = tokenizers.Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(tok.PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(tok.SPECIALS))
    return model.eval(), tokenizer, value("tokenizer.chat_template")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--run", type=Path, required=True, help="folder of a training run")
    args.add_argument(
        "--out", type=Path, required=True, help="the GGUF file to write; diptych.json is written beside it"
    )
    a = args.parse_args()
    state = torch.load(a.run / "checkpoint.pt", weights_only=True)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    write(a.out, Config(**state["config"]), state["average"], tok.load(a.run / "tokenizer.json"))
    defaults = {
        "kind": "chat",
        "name": "muse",
        "temperature": 0.5,
        "top_p": 0.9,
        "repetition_penalty": 1.0,
        "max_tokens": 200,
        "system": SYSTEM,
        "licence": LICENSE,
    }
    (a.out.parent / "diptych.json").write_text(json.dumps(defaults, indent=2) + "\n", encoding="utf-8")
    print(f"{a.out}: step {state['step']}, {a.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
