"""The network of muse: a decoder of the Llama family, small and plain.

Architecture: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023): RMS norm before each
block, rotary positions, SwiGLU; grouped-query attention after Ainslie et al. (2023). Parameter names and the
rotate-half layout of the rotary embedding are those of `transformers.LlamaForCausalLM`, so that a state dict can be
loaded there for a check; `export.py` permutes the query and key rows into the interleaved layout that GGUF expects.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    """Sizes of the network. Every row length is a multiple of 32, the block length of Q8_0."""

    vocab_size: int = 2048
    hidden_size: int = 192
    intermediate_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    num_key_value_heads: int = 3
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def to_dict(self) -> dict:
        return asdict(self)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, with a learnt gain."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


def rotary_tables(config: Config, length: int):
    """Cosine and sine of the rotary angles, each of shape [length, head_dim], halves repeated."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float64), config.rope_theta**-half)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    """Turns the pairs (i, i + head_dim / 2) of x [batch, heads, length, head_dim] by the angles of their positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention in which several query heads share one key and value head."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        size, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, kv, bias=False)
        self.v_proj = nn.Linear(size, kv, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(self, x, cos, sin, cache=None):
        config, (batch, length, _) = self.config, x.shape

        def split(y, heads):
            return y.view(batch, length, heads, config.head_dim).transpose(1, 2)

        q = rotate(split(self.q_proj(x), config.num_attention_heads), cos, sin)
        k = rotate(split(self.k_proj(x), config.num_key_value_heads), cos, sin)
        v = split(self.v_proj(x), config.num_key_value_heads)
        if cache is not None:
            if "k" in cache:
                k, v = torch.cat([cache["k"], k], dim=2), torch.cat([cache["v"], v], dim=2)
            cache["k"], cache["v"] = k, v
        groups = config.num_attention_heads // config.num_key_value_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        causal = length > 1
        if causal and k.shape[2] != length:
            raise ValueError("a prompt of several tokens must come first, before single tokens")
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=causal)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, config.hidden_size))


class MLP(nn.Module):
    """The gated feed-forward block (SwiGLU)."""

    def __init__(self, config: Config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x, cos, sin, cache=None):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Muse(nn.Module):
    """The whole network; the output layer shares the weights of the token embedding."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        cos, sin = rotary_tables(config, config.max_position_embeddings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        depth_scale = (2 * config.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scale = depth_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(parameter, std=0.03 * scale)

    def hidden(self, ids, caches=None):
        """Ids [batch, length] to normed hidden states [batch, length, hidden_size]."""
        start = caches[0]["k"].shape[2] if caches and "k" in caches[0] else 0
        cos, sin = (table[start : start + ids.shape[1]] for table in (self.cos, self.sin))
        x = self.model.embed_tokens(ids)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, caches[index] if caches else None)
        return self.model.norm(x)

    def forward(self, ids, caches=None):
        """Ids [batch, length] to logits [batch, length, vocab_size]."""
        return F.linear(self.hidden(ids, caches), self.model.embed_tokens.weight)

    @torch.no_grad()
    def generate(self, ids, stop, max_tokens=200, temperature=0.0, top_p=1.0, repetition_penalty=1.0, generator=None):
        """Continues a list of ids until one of `stop`; temperature 0 takes the likeliest token. Returns the new ids."""
        caches, made = [{} for _ in self.model.layers], []
        logits = self(torch.tensor([ids]), caches)[0, -1].float()
        while len(made) < max_tokens and len(ids) + len(made) < self.config.max_position_embeddings:
            if repetition_penalty != 1.0:
                seen = torch.tensor(sorted(set(made[-64:])), dtype=torch.long)
                chosen = logits[seen]
                logits[seen] = torch.where(chosen > 0, chosen / repetition_penalty, chosen * repetition_penalty)
            if temperature > 0:
                probabilities, order = torch.softmax(logits / temperature, -1).sort(descending=True)
                keep = probabilities.cumsum(-1) - probabilities < top_p
                pick = torch.multinomial(probabilities * keep, 1, generator=generator)
                token = int(order[pick])
            else:
                token = int(logits.argmax())
            if token in stop:
                break
            made.append(token)
            logits = self(torch.tensor([[token]]), caches)[0, -1].float()
        return made
