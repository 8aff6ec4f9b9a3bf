"""Tiny Llama models: as transformers writes them, and the same weights in GGUF files."""

import math

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fixture_tools import HERE, randomise, save_json, save_reference, save_weights



def llama_model(seed, gain=1.5, dtype=torch.float16, **config):
    base = dict(vocab_size=72, bos_token_id=1, eos_token_id=2, pad_token_id=0, max_position_embeddings=512, attn_implementation="eager")
    base.update(config)
    model = LlamaForCausalLM(LlamaConfig(**base))
    return randomise(model, seed, gain=gain, dtype=dtype, scales={"lm_head.weight": 1.5})


def llama_config(model, rope_theta, rope_scaling=None, modern=False):
    """config.json as it is found in the wild: `rope_theta` and `rope_scaling` before transformers 5, `rope_parameters` since."""
    c = model.config.to_dict()
    c["architectures"] = ["LlamaForCausalLM"]
    for k in ("dtype", "torch_dtype", "rope_parameters", "rope_theta", "rope_scaling", "transformers_version"):
        c.pop(k, None)
    if modern:
        c["rope_parameters"] = {"rope_type": "default", "rope_theta": rope_theta, **(rope_scaling or {})}
    else:
        c["rope_theta"] = rope_theta
        c["rope_scaling"] = rope_scaling
    return c


def llama_reference(model, seed, length=150):
    """Logits of a prompt longer than two cache pages of 64: some rows in full, and every row's greedy choice."""
    ids = torch.randint(3, model.config.vocab_size, (length,), generator=torch.Generator().manual_seed(seed))
    ids[0] = 1
    logits = model(ids[None]).logits[0]
    rows = torch.tensor([*range(0, length, 5), length - 1])
    return dict(ids=ids, rows=rows, logits=logits[rows], argmax=logits.argmax(-1))


def rope_kwargs(rope_theta, rope_scaling):
    return dict(rope_parameters={"rope_type": "default", "rope_theta": rope_theta, **(rope_scaling or {})})


def make_llama(name, seed, rope_theta, rope_scaling=None, modern=False, dtype=torch.float16, ggufs=(), **config):
    model = llama_model(seed, dtype=dtype, **rope_kwargs(rope_theta, rope_scaling), **config)
    folder = HERE / name
    tied = model.config.tie_word_embeddings
    save_json(llama_config(model, rope_theta, rope_scaling, modern), folder / "config.json")
    save_weights(model, folder / "model.safetensors", dtype, drop=("lm_head.weight",) if tied else ())
    save_reference(folder / "reference.safetensors", **llama_reference(model, seed + 1))
    for kind in ggufs:
        write_llama_gguf(model, folder / f"model-{kind}.gguf", lambda _: gguf.GGMLQuantizationType[kind], rope_theta, rope_scaling)
        # The reference of a quantised file runs on the weights that the file really holds.
        load_quantised(model, folder / f"model-{kind}.gguf")
        save_reference(folder / f"reference-{kind}.safetensors", **llama_reference(model, seed + 1))
        randomise(model, seed, gain=1.5, dtype=dtype, scales={"lm_head.weight": 1.5})


def permute(w, heads):
    """The row order of q and k in GGUF files of architecture `llama`: pairs of a rotation side by side (convert_hf_to_gguf.py)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


GGUF_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def gguf_name(name):
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[rest]}"


def random_blocks(kind, rows, columns, rng):
    """Valid blocks of a K-quant with random contents, of about the spread 1.5 / sqrt(columns) and centred."""
    n = rows * columns // 256
    spread = 1.5 / math.sqrt(columns)

    def f16(values):
        return values.astype(np.float16).view(np.uint8).reshape(n, 2)

    if kind == gguf.GGMLQuantizationType.Q4_K:
        # value = d * scale(6 bits) * q(4 bits) - dmin * min(6 bits)
        d = spread / 190 * rng.uniform(0.7, 1.4, n)
        parts = [f16(d), f16(d * 7.5), rng.integers(0, 256, (n, 12 + 128), dtype=np.uint8)]
    elif kind == gguf.GGMLQuantizationType.Q6_K:
        # value = d * scale(int8) * (q(6 bits) - 32)
        d = spread / 1300 * rng.uniform(0.7, 1.4, n)
        parts = [rng.integers(0, 256, (n, 128 + 64 + 16), dtype=np.uint8), f16(d)]
    else:
        raise ValueError(kind)
    return np.concatenate(parts, axis=1).reshape(rows, -1)


def llama3_factors(head_dim, theta, s):
    """`rope_freqs.weight`: divisors of each rotation frequency (Llama 3.1), as the converter writes them."""
    freqs = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    low, high, old = s["low_freq_factor"], s["high_freq_factor"], s["original_max_position_embeddings"]
    factors = []
    for freq in freqs.tolist():
        wavelength = 2 * math.pi / freq
        if wavelength < old / high:
            factors.append(1.0)
        elif wavelength > old / low:
            factors.append(float(s["factor"]))
        else:
            smooth = (old / wavelength - low) / (high - low)
            factors.append(1.0 / ((1.0 - smooth) / s["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def write_llama_gguf(model, path, kind_of, rope_theta, rope_scaling):
    c = model.config
    path.parent.mkdir(parents=True, exist_ok=True)
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name(path.parent.name)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(rope_theta)
    w.add_rope_dimension_count(c.head_dim)
    if c.head_dim * c.num_attention_heads != c.hidden_size:
        w.add_key_length(c.head_dim)
        w.add_value_length(c.head_dim)
    w.add_vocab_size(c.vocab_size)
    if rope_scaling and rope_scaling["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope_scaling["factor"])
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    pieces = ["<unk>", "<s>", "</s>", "\u2581"] + [chr(c) for c in range(33, 127)]
    w.add_token_list(pieces[: c.vocab_size])
    w.add_token_scores([-float(i) for i in range(c.vocab_size)])
    w.add_token_types([2, 3, 3][: c.vocab_size] + [1] * (c.vocab_size - 3))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(True)
    if rope_scaling and rope_scaling["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(c.head_dim, rope_theta, rope_scaling))
    rng = np.random.default_rng(7)
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        v = p.float().numpy()
        if v.ndim == 1:
            w.add_tensor(gguf_name(name), v.astype(np.float32))
            continue
        if "q_proj" in name:
            v = permute(v, c.num_attention_heads)
        if "k_proj" in name:
            v = permute(v, c.num_key_value_heads)
        kind = kind_of(gguf_name(name))
        if kind in (gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K):
            data = random_blocks(kind, *v.shape, rng)
        else:
            data = gguf.quants.quantize(np.ascontiguousarray(v), kind)
        w.add_tensor(gguf_name(name), data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def load_quantised(model, path):
    """Puts the weights that a GGUF file really holds into the transformers model."""
    c = model.config
    held = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(str(path)).tensors}
    for name, p in model.named_parameters():
        v = np.array(held[gguf_name(name)], dtype=np.float32).reshape(tuple(p.shape))
        if "q_proj" in name:
            v = unpermute(v, c.num_attention_heads)
        if "k_proj" in name:
            v = unpermute(v, c.num_key_value_heads)
        p.copy_(torch.from_numpy(np.ascontiguousarray(v)))


def make_llama_k(name, seed):
    """Q4_K and Q6_K want rows of 256: one layer, mixed as llama.cpp mixes them in Q4_K_M."""
    shape = dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=1)
    model = llama_model(seed, vocab_size=48, **rope_kwargs(10000.0, None), **shape)
    sixes = ("attn_v.weight", "ffn_down.weight", "token_embd.weight")

    def kind_of(tensor):
        return gguf.GGMLQuantizationType.Q6_K if tensor.endswith(sixes) else gguf.GGMLQuantizationType.Q4_K

    path = HERE / name / "model-Q4_K_M.gguf"
    write_llama_gguf(model, path, kind_of, 10000.0, None)
    load_quantised(model, path)
    save_reference(HERE / name / "reference-Q4_K_M.safetensors", **llama_reference(model, seed + 1))


def llamas():
    # Grouped queries, own output matrix.
    yield "llama-gqa", lambda n: make_llama(
        n,
        401,
        rope_theta=10000.0,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        ggufs=("F32", "F16", "BF16", "Q8_0", "Q4_0"),
    )
    # Tied output, groups of three, heads that do not divide the width, Llama 3.1 frequencies, bf16, today's config keys.
    yield "llama-tied-llama3", lambda n: make_llama(
        n,
        402,
        rope_theta=500000.0,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        modern=True,
        dtype=torch.bfloat16,
        hidden_size=42,
        intermediate_size=50,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=10,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        ggufs=("F16",),
    )
    # One key head per query head, linear scaling, f32.
    yield "llama-linear", lambda n: make_llama(
        n,
        403,
        rope_theta=20000.0,
        rope_scaling={"rope_type": "linear", "factor": 2.5},
        dtype=torch.float32,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=3,
        num_key_value_heads=3,
        tie_word_embeddings=False,
        ggufs=("F16",),
    )
    yield "llama-kquants", lambda n: make_llama_k(n, 404)
