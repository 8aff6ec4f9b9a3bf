"""Whole folders as transformers saves them: config, sharded weights, tokenizer, template; mixtures of experts in every layout of their weights."""

import json
import math
import shutil

import gguf
import numpy as np
import torch
from make_text import CORPUS
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from fixture_tools import HERE, META, randomise, save_json, save_reference
from language_fixtures import INNER, write_gguf
from llama_fixtures import llama_reference

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [{"role": "system", "content": "You draw foxes."}, {"role": "user", "content": "Füße, 12 🦊 it's <im_end> | fine?"}]


def tokenizer():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=317, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator([line for line in CORPUS.splitlines() if line.strip()], trainer)
    t.add_special_tokens([AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)


def make_chat_folder(name):
    """Qwen3 with all that a folder has, in shards so small that there are several."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    t = tokenizer()
    config = Qwen3Config(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=256,
        attn_implementation="eager", tie_word_embeddings=True, eos_token_id=t.eos_token_id, bos_token_id=None, pad_token_id=t.pad_token_id,
    )
    model = randomise(Qwen3ForCausalLM(config), 601, gain=1.5)
    ids = t.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
    logits = model(ids).logits[0]
    # Longer than a page, for the checks that all language models have.
    reference = llama_reference(model, 602)
    save_json(perplexity(model, t, CORPUS, 48), folder / "perplexity.json")
    # f16 after the reference was computed in f32 from the same, rounded weights.
    model.half().save_pretrained(folder, max_shard_size="24KB")
    t.save_pretrained(folder)
    save_json({"eos_token_id": [t.eos_token_id, t.pad_token_id]}, folder / "generation_config.json")
    save_reference(folder / "reference.safetensors", **reference)
    save_reference(folder / "chat_reference.safetensors", ids=ids[0], logits=logits)
    save_json(MESSAGES, folder / "messages.json")


def perplexity(model, t, text, context):
    """llama.cpp's definition: chunks of the context, of each of which the second half is scored."""
    ids = t(text, return_tensors="pt")["input_ids"][0]
    losses = []
    for start in range(0, len(ids) - context + 1, context):
        chunk = ids[start : start + context]
        logits = model(chunk[None]).logits[0].double().log_softmax(-1)
        losses += [-logits[i, chunk[i + 1]].item() for i in range(context // 2, context - 1)]
    mean = float(np.mean(losses))
    error = math.sqrt((float(np.mean(np.square(losses))) - mean**2) / (len(losses) - 1)) * math.exp(mean)
    return {"text": text, "context": context, "tokens": len(ids), "scored": len(losses), "perplexity": math.exp(mean), "error": error}


def make_moe(name, seed, layouts, **settings):
    config = Qwen3MoeConfig(**{**dict(
        vocab_size=72, bos_token_id=1, eos_token_id=2, pad_token_id=0, hidden_size=32, intermediate_size=48, moe_intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=512, num_experts=6, num_experts_per_tok=3, norm_topk_prob=True, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ), **settings})
    model = Qwen3MoeForCausalLM(config)
    # The routers' logits wide apart, so that rounding does not choose.
    randomise(model, seed, gain=1.5, scales={"lm_head.weight": 1.5, "mlp.gate.weight": 3.0, "gate_up_proj": math.sqrt(2 * config.moe_intermediate_size), "down_proj": math.sqrt(2)})
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    c = {k: v for k, v in model.config.to_dict().items() if k not in INNER}
    c["num_experts"] = config.num_experts
    c["architectures"] = ["Qwen3MoeForCausalLM"]
    save_json(c, folder / "config.json")
    state = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    if "stacked" in layouts:
        save_file(state, str(folder / "stacked.safetensors"), metadata=META)
    apart = {}
    for key, v in state.items():
        if key.endswith("mlp.experts.gate_up_proj"):
            for e, both in enumerate(v):
                gate, up = both.chunk(2)
                apart[key.replace("gate_up_proj", f"{e}.gate_proj.weight")] = gate.contiguous()
                apart[key.replace("gate_up_proj", f"{e}.up_proj.weight")] = up.contiguous()
        elif key.endswith("mlp.experts.down_proj"):
            for e, one in enumerate(v):
                apart[key.replace("down_proj", f"{e}.down_proj.weight")] = one.contiguous()
        else:
            apart[key] = v
    save_file(apart, str(folder / "model.safetensors"), metadata=META)
    save_reference(folder / "reference.safetensors", **llama_reference(model, seed + 1))
    if "gguf" in layouts:
        keys = {"rope.freq_base": 1e6, "expert_count": config.num_experts, "expert_used_count": config.num_experts_per_tok, "expert_feed_forward_length": config.moe_intermediate_size}
        write_gguf(model, folder / "model-F16.gguf", "qwen3moe", keys, None, False)
    if "Q8_0" in layouts:
        quantised(model, folder, seed)


def quantised(model, folder, seed):
    """The stacked tensors of the F16 file in Q8_0, and what transformers computes with the values that they then have."""
    path = folder / "model-F16.gguf"
    reader = gguf.GGUFReader(str(path))
    w = gguf.GGUFWriter(str(folder / "model-Q8_0.gguf"), "qwen3moe")
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            value = field.contents()
            kind = field.types[0]
            w.add_key_value(field.name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    held = {}
    for t in reader.tensors:
        data = np.array(t.data, dtype=np.float32).reshape([int(n) for n in reversed(t.shape)])
        if "_exps" in t.name:
            data = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0)
            w.add_tensor(t.name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            held[t.name] = gguf.quants.dequantize(data, gguf.GGMLQuantizationType.Q8_0)
        else:
            w.add_tensor(t.name, data if data.ndim == 1 else data.astype(np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    for name, p in model.named_parameters():
        if ".mlp.experts." not in name:
            continue
        layer = name.split(".")[2]
        if name.endswith("gate_up_proj"):
            v = np.concatenate([held[f"blk.{layer}.ffn_{part}_exps.weight"].reshape(p.shape[0], -1, p.shape[2]) for part in ("gate", "up")], axis=1)
        else:
            v = held[f"blk.{layer}.ffn_down_exps.weight"].reshape(p.shape)
        p.copy_(torch.from_numpy(np.ascontiguousarray(v)))
    save_reference(folder / "reference-Q8_0.safetensors", **llama_reference(model, seed + 1))


def folders():
    yield "chat-folder", make_chat_folder
    yield "qwen3moe", lambda n: make_moe(n, 611, ("stacked", "gguf"))
    # Rows of experts are whole blocks of 32; a layer without experts, weights that do not add up to 1.
    yield "qwen3moe-wide", lambda n: make_moe(n, 612, ("gguf", "Q8_0"), moe_intermediate_size=32, num_experts=5, num_experts_per_tok=2)
    yield "qwen3moe-mixed", lambda n: make_moe(n, 613, (), norm_topk_prob=False, mlp_only_layers=[1], num_hidden_layers=3)
