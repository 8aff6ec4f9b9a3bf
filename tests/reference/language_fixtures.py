"""Tiny models of the variations of the Llama block: as transformers writes them, and the same f16 weights in GGUF files under llama.cpp's names."""

import gguf
import numpy as np
import torch
import transformers

from fixture_tools import HERE, randomise, save_json, save_reference, save_weights
from llama_fixtures import llama_reference, permute

COMMON = dict(
    vocab_size=72,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    max_position_embeddings=512,
    attn_implementation="eager",
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)

# Keys that transformers writes into a config.json for its own use.
INNER = ("dtype", "torch_dtype", "transformers_version", "_name_or_path", "id2label", "label2id", "chunk_size_feed_forward", "problem_type")


def rope(theta=10000.0, **scaling):
    return {"rope_type": "default", "rope_theta": theta, **scaling}


def make(name, seed, kind, old=None, drop=(), gguf_arch=None, gguf_keys=None, factors=None, **config):
    """`old` replaces keys of config.json by those of transformers before version 5, `drop` leaves keys out."""
    cls = getattr(transformers, kind + "ForCausalLM")
    model = cls(cls.config_class(**{**COMMON, **config}))
    randomise(model, seed, gain=1.5, scales={"lm_head.weight": 1.5})
    gemma = kind.startswith("Gemma")
    if gemma:
        # These gains are stored less 1.
        for key, p in model.named_parameters():
            if key.endswith("norm.weight"):
                p.copy_((p - 1.0).half().float())
    folder = HERE / name
    c = {k: v for k, v in model.config.to_dict().items() if k not in INNER and k not in drop}
    c["architectures"] = [cls.__name__]
    if old is not None:
        c.pop("rope_parameters", None)
        c.update(old)
    save_json(c, folder / "config.json")
    tied = model.config.tie_word_embeddings
    save_weights(model, folder / "model.safetensors", drop=("lm_head.weight",) if tied else ())
    save_reference(folder / "reference.safetensors", **llama_reference(model, seed + 1))
    if gguf_arch:
        write_gguf(model, folder / "model-F16.gguf", gguf_arch, gguf_keys or {}, factors, gemma)


LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.gate_up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.experts.down_proj": "ffn_down_exps.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    **{f"self_attn.{x}_proj.{leaf}": f"attn_{x}.{leaf}" for x in "qkv" for leaf in ("weight", "bias")},
}


def gguf_name(name, arch):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    if rest == "post_attention_layernorm.weight":
        # The norm before the MLP, except where there are norms after the parts.
        inner = "post_attention_norm.weight" if arch in ("gemma2", "gemma3", "olmo2") else "ffn_norm.weight"
    else:
        inner = LAYER_NAMES[rest]
    return f"blk.{layer}.{inner}"


def write_gguf(model, path, arch, keys, factors, gemma):
    c = model.config
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(str(path), arch)
    w.add_name(path.parent.name)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    if head_dim * c.num_attention_heads != c.hidden_size:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    for key, value in keys.items():
        if isinstance(value, str):
            w.add_string(f"{arch}.{key}", value)
        elif isinstance(value, int):
            w.add_uint32(f"{arch}.{key}", value)
        else:
            w.add_float32(f"{arch}.{key}", value)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list((["<unk>", "<s>", "</s>", "\u2581"] + [chr(c) for c in range(33, 127)])[: c.vocab_size])
    w.add_token_scores([-float(i) for i in range(c.vocab_size)])
    w.add_token_types([2, 3, 3] + [1] * (c.vocab_size - 3))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    for kind, values in (factors or {}).items():
        w.add_tensor(f"rope_factors_{kind}.weight", np.array(values, dtype=np.float32))
    permuted = arch in ("llama", "smollm3", "granite")
    for name, p in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        v = p.float().numpy()
        if permuted and "q_proj" in name:
            v = permute(v, c.num_attention_heads)
        if permuted and "k_proj" in name:
            v = permute(v, c.num_key_value_heads)
        if name.endswith("mlp.experts.gate_up_proj"):
            # Gate and up of each expert lie one after the other.
            gate, up = np.split(v, 2, axis=1)
            layer = name.split(".")[2]
            w.add_tensor(f"blk.{layer}.ffn_gate_exps.weight", np.ascontiguousarray(gate).astype(np.float16))
            w.add_tensor(f"blk.{layer}.ffn_up_exps.weight", np.ascontiguousarray(up).astype(np.float16))
        elif v.ndim == 1:
            v = v + 1.0 if gemma and name.endswith("norm.weight") else v
            w.add_tensor(gguf_name(name, arch), v.astype(np.float32))
        else:
            w.add_tensor(gguf_name(name, arch), np.ascontiguousarray(v).astype(np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def languages():
    # A window in every layer. GGUF files of Mistral are llamas.
    yield "mistral", lambda n: make(n, 501, "Mistral", sliding_window=40, rope_parameters=rope(), gguf_arch="llama",
                                    gguf_keys={"attention.sliding_window": 40, "rope.freq_base": 10000.0})
    # Biases, a window from the second layer on.
    yield "qwen2", lambda n: make(n, 502, "Qwen2", use_sliding_window=True, sliding_window=33, max_window_layers=1,
                                  rope_parameters=rope(1e6), drop=("layer_types",))
    yield "qwen2-plain", lambda n: make(n, 503, "Qwen2", rope_parameters=rope(1e6), tie_word_embeddings=True, gguf_arch="qwen2",
                                        gguf_keys={"rope.freq_base": 1e6})
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
    yield "qwen3", lambda n: make(n, 504, "Qwen3", head_dim=12, rope_parameters=rope(1e6, **yarn), gguf_arch="qwen3",
                                  gguf_keys={"rope.freq_base": 1e6, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                                             "rope.scaling.original_context_length": 64})
    # Caps that bend: the usual ones are far above what tiny models reach.
    yield "gemma2", lambda n: make(n, 505, "Gemma2", num_hidden_layers=3, head_dim=10, query_pre_attn_scalar=10, sliding_window=40,
                                   attn_logit_softcapping=1.5, final_logit_softcapping=2.5, rope_parameters=rope(), gguf_arch="gemma2",
                                   gguf_keys={"attention.sliding_window": 40, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.5})
    linear = {"rope_type": "linear", "factor": 8.0}
    both = {"full_attention": rope(1e6, **linear), "sliding_attention": rope()}
    yield "gemma3", lambda n: make(n, 506, "Gemma3", num_hidden_layers=7, hidden_size=24, intermediate_size=32, head_dim=8, query_pre_attn_scalar=8,
                                   sliding_window=40, rope_parameters=both, gguf_arch="gemma3", drop=("layer_types",),
                                   old={"rope_theta": 1e6, "rope_local_base_freq": 10000.0, "rope_scaling": linear},
                                   gguf_keys={"attention.sliding_window": 40, "rope.freq_base": 1e6, "rope.scaling.type": "linear",
                                              "rope.scaling.factor": 8.0})
    yield "phi3", lambda n: make(n, 507, "Phi3", sliding_window=50, rope_parameters=rope(), gguf_arch="phi3",
                                 gguf_keys={"attention.sliding_window": 50, "rope.freq_base": 10000.0, "rope.dimension_count": 8})
    # Part of each head rotated, other frequencies beyond 64 tokens.
    short, long = [1.0, 1.1, 1.2], [1.5, 2.0, 4.0]
    su = dict(rope_type="longrope", short_factor=short, long_factor=long)
    yield "phi3-long", lambda n: make(n, 508, "Phi3", original_max_position_embeddings=64,
                                      rope_parameters=rope(partial_rotary_factor=0.75, original_max_position_embeddings=64, **su),
                                      old={"rope_theta": 10000.0, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 64,
                                           "rope_scaling": {"type": "longrope", "short_factor": short, "long_factor": long}},
                                      gguf_arch="phi3", factors={"short": short, "long": long},
                                      gguf_keys={"rope.freq_base": 10000.0, "rope.dimension_count": 6, "rope.scaling.original_context_length": 64,
                                                 "rope.scaling.attn_factor": (1 + np.log(8) / np.log(64)) ** 0.5})
    # The fourth layer without rotation.
    yield "smollm3", lambda n: make(n, 509, "SmolLM3", num_hidden_layers=5, hidden_size=24, intermediate_size=32, rope_parameters=rope(2e6),
                                    gguf_arch="smollm3", gguf_keys={"rope.freq_base": 2e6})
    yield "olmo2", lambda n: make(n, 510, "Olmo2", rope_parameters=rope(5e5), gguf_arch="olmo2", gguf_keys={"rope.freq_base": 5e5})
    yield "granite", lambda n: make(n, 511, "Granite", rope_parameters=rope(), embedding_multiplier=6.0, attention_multiplier=0.2,
                                    residual_multiplier=0.3, logits_scaling=0.5, gguf_arch="granite",
                                    gguf_keys={"embedding_scale": 6.0, "attention.scale": 0.2, "residual_scale": 0.3, "logit_scale": 0.5})
