"""The network: Qwen3's shape with tied embedding, under Hugging Face's names, and what int8 makes of it.

With `quantised` set, weights, activations, keys and values go through the grids that the product computes on (docs/NUMERICS.md 3.3
and 3.10; docs/MODEL.md 2), gradients pass as if they had not: quantisation-aware training (arXiv 1712.05877, straight-through
estimator of arXiv 1308.3432).
"""
import torch
import torch.nn.functional as F
from torch import nn


def through(value, on_grid):
    return value + (on_grid - value).detach()


def grid(x, most=127.0):
    """Each row on whole numbers up to `most` times its scale."""
    x = x.float()
    step = x.detach().abs().amax(-1, keepdim=True).clamp_min(1e-12) / most
    return through(x, (x / step).round() * step)


def grid_of_values(x):
    """Values of attention: the scale is a power of two, 127 is reached at most."""
    x = x.float()
    most = x.detach().abs().amax(-1, keepdim=True).clamp_min(1e-18)
    power = torch.exp2(torch.floor(torch.log2(most)) - 6)
    power = torch.where(most > 127 * power, 2 * power, power)
    return through(x, (x / power).round() * power)


def stored_weight(w):
    """A weight as a BF16 checkpoint and its import give it."""
    return grid(through(w, w.to(torch.bfloat16).float()))


class Linear(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)
        self.quantised = False

    def forward(self, x):
        if self.quantised:
            return F.linear(grid(x), stored_weight(self.weight))
        return F.linear(x, self.weight)


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps)


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        width = c["hidden_size"]
        self.q_proj, self.k_proj = Linear(width, self.heads * self.dim), Linear(width, self.kv * self.dim)
        self.v_proj, self.o_proj = Linear(width, self.kv * self.dim), Linear(self.heads * self.dim, width)
        self.q_norm, self.k_norm = Norm(self.dim, c["rms_norm_eps"]), Norm(self.dim, c["rms_norm_eps"])
        self.quantised = False

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        split = lambda y, heads: y.view(b, t, heads, self.dim)
        q = turn(self.q_norm(split(self.q_proj(x), self.heads)).transpose(1, 2), cos, sin)
        k = turn(self.k_norm(split(self.k_proj(x), self.kv)).transpose(1, 2), cos, sin)
        v = split(self.v_proj(x), self.kv).transpose(1, 2)
        if self.quantised:
            k, v = grid(k), grid_of_values(v)
        if torch.is_autocast_enabled(x.device.type):
            q, k, v = (y.to(torch.get_autocast_dtype(x.device.type)) for y in (q, k, v))
        k, v = (y.repeat_interleave(self.heads // self.kv, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inner = c["hidden_size"], c["intermediate_size"]
        self.gate_proj, self.up_proj, self.down_proj = Linear(width, inner), Linear(width, inner), Linear(inner, width)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])


class Network(nn.Module):
    """state_dict() has the names of Qwen3ForCausalLM."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.quantised = False
        self.model = Trunk(config)
        layers = config["num_hidden_layers"]
        for name, p in self.named_parameters():
            if "embed" in name:
                nn.init.normal_(p, std=0.02)
            elif p.ndim == 2:
                closes = name.endswith(("o_proj.weight", "down_proj.weight"))  # what is added to the residual stream starts small
                nn.init.normal_(p, std=p.shape[1] ** -0.5 * ((2 * layers) ** -0.5 if closes else 0.7))
        dim = config["head_dim"]
        turns = config["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angle = torch.outer(torch.arange(config["max_position_embeddings"], dtype=torch.float64), turns)
        self.register_buffer("cos", angle.cos().float(), False)
        self.register_buffer("sin", angle.sin().float(), False)

    def quantise(self, on):
        for module in self.modules():
            if hasattr(module, "quantised"):
                module.quantised = on

    def forward(self, ids):
        """Logits, and the bits' cost is F.cross_entropy of them."""
        head = stored_weight(self.model.embed_tokens.weight) if self.quantised else self.model.embed_tokens.weight
        x = F.embedding(ids, head)
        t = ids.shape[1]
        for layer in self.model.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        x = self.model.norm(x)
        return F.linear(grid(x) if self.quantised else x, head)

    def loss(self, fed, wanted):
        return F.cross_entropy(self.forward(fed).float().flatten(0, 1), wanted.flatten())
