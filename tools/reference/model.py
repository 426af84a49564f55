"""The model file (MODEL.md section 1) and the forward pass over it (section 4)."""
import hashlib
import json
import struct

import numpy as np

import exact
from exact import A8, A16, F, Linear
from tokenizer import needs_escape, token_bytes


class ModelError(Exception):
    """A model file that this decoder does not read."""


def read_safetensors(data):
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    types = {"I8": np.int8, "U8": np.uint8, "F32": np.float32}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in types:
            raise ModelError(f"tensor {name} is {entry['dtype']}")
        part = np.frombuffer(data, np.uint8, end - begin, 8 + size + begin)
        tensors[name] = part.view(types[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


class Cache:
    """Keys and values of one stream's window (NUMERICS.md 3.10)."""

    def __init__(self, model):
        shape = (model.layers, model.kv_heads, model.context)
        self.k = np.zeros((*shape, model.head_dim), np.int8 if model.kv == A8 else np.int16)
        self.v = np.zeros_like(self.k)
        self.sk = np.zeros(shape, F)
        self.ev = np.zeros(shape, np.int32)
        self.length = 0


class Model:
    def __init__(self, path, activations=None):
        """activations: 8 or 16 instead of what the file's profile says, for tests."""
        exact.check_machine()
        with open(path, "rb") as file:
            data = file.read()
        self.digest = hashlib.sha256(data).digest()
        metadata, tensors = read_safetensors(data)
        for key, known in (("format", "llmc-model"), ("format_version", "1"), ("numerics", "LLMC-X1"),
                           ("architecture", "qwen3")):
            if metadata.get(key) != known:
                raise ModelError(f"{path}: {key} is {metadata.get(key)!r}; this decoder knows {known!r}")
        self.name = metadata["name"]
        config, profile = json.loads(metadata["config"]), json.loads(metadata["profile"])
        if profile["kv"] not in (8, 16):
            raise ModelError(f"{path}: keys and values of {profile['kv']} bits; this decoder knows 8 and 16")
        self.kv = A8 if profile["kv"] == 8 else A16
        for field in ("vocab", "width", "layers", "heads", "kv_heads", "head_dim", "ffn", "context", "rotary",
                      "rope_pairs", "tied", "start"):
            setattr(self, field, config[field])
        self.eps = self.from_bits(config["eps_bits"])
        self.attention_scale = self.from_bits(config["attention_scale_bits"])
        self.tokens = token_bytes(json.loads(tensors["tokenizer.json"].tobytes()))
        if len(self.tokens) != self.vocab:
            raise ModelError(f"{path}: the tokenizer has {len(self.tokens)} ids, the config says {self.vocab}")
        self.escape = needs_escape(self.tokens)
        self.cos, self.sin = tensors["rope.cos"], tensors["rope.sin"]

        def linear(bits, *names):
            bits = activations or bits
            if bits not in (8, 16):
                raise ModelError(f"{path}: activations of {bits} bits; this decoder knows 8 and 16")
            return Linear(np.concatenate([tensors[n + ".weight"] for n in names]),
                          np.concatenate([tensors[n + ".weight_scale"] for n in names]), A8 if bits == 8 else A16)

        self.embedding = tensors["model.embed_tokens.weight"], tensors["model.embed_tokens.weight_scale"]
        self.blocks = []
        for i, bits in enumerate(profile["layers"]):
            at = f"model.layers.{i}."
            self.blocks.append({
                "input_layernorm": tensors[at + "input_layernorm.weight"],
                "q_norm": tensors[at + "self_attn.q_norm.weight"],
                "k_norm": tensors[at + "self_attn.k_norm.weight"],
                "post_attention_layernorm": tensors[at + "post_attention_layernorm.weight"],
                "qkv": linear(bits["attn_in"], *(at + f"self_attn.{p}_proj" for p in "qkv")),
                "o": linear(bits["attn_out"], at + "self_attn.o_proj"),
                "gate_up": linear(bits["mlp_in"], at + "mlp.gate_proj", at + "mlp.up_proj"),
                "down": linear(bits["mlp_out"], at + "mlp.down_proj"),
            })
        self.norm = tensors["model.norm.weight"]
        self.head = linear(profile["head"], "model.embed_tokens" if self.tied else "lm_head")

    @staticmethod
    def from_bits(digits):
        return np.array([int(digits, 16)], np.uint32).view(F)[0]

    def forward(self, runs, every=False, trace=lambda operation, layer, x: None):
        """One pass. runs: (cache, ids) pairs, the ids of one stream that follow those in its cache.

        Returns the logits of the last row of each run, or of every row.
        """
        ids = np.concatenate([np.asarray(ids, np.int64) for _, ids in runs])
        places = [(cache, cache.length + i) for cache, ids in runs for i in range(len(ids))]
        for cache, run in runs:
            cache.length += len(run)
            assert cache.length <= self.context
        positions = [p for _, p in places]
        cos, sin = self.cos[positions], self.sin[positions]
        rows, size = len(ids), self.head_dim
        weights, scales = self.embedding
        x = weights[ids].astype(F) * scales[ids][:, None]  # step 1
        trace("embed", 0, x)
        for layer, block in enumerate(self.blocks):
            h = exact.rms_norm(x, block["input_layernorm"], self.eps)  # 2
            qkv = block["qkv"](h)  # 3, 4
            trace("qkv", layer, qkv)
            heads = qkv.reshape(rows, -1, size)
            q, k, v = np.split(heads, [self.heads, self.heads + self.kv_heads], axis=1)
            q = exact.rope(exact.rms_norm(q, block["q_norm"], self.eps), cos, sin, self.rope_pairs)  # 5, 6
            k = exact.rope(exact.rms_norm(k, block["k_norm"], self.eps), cos, sin, self.rope_pairs)
            trace("rope", layer, np.concatenate([q, k, v], axis=1).reshape(rows, -1))
            k_int, sk = exact.quantise(k, self.kv)  # 7
            v_int, ev = exact.quantise_value(v, self.kv)
            o = np.empty((rows, self.heads * size), F)
            for row, (cache, at) in enumerate(places):
                cache.k[layer, :, at], cache.sk[layer, :, at] = k_int[row], sk[row]
                cache.v[layer, :, at], cache.ev[layer, :, at] = v_int[row], ev[row]
                seen = slice(0, at + 1)
                o[row] = exact.attention(q[row], cache.k[layer, :, seen], cache.sk[layer, :, seen],  # 8
                                         cache.v[layer, :, seen], cache.ev[layer, :, seen],
                                         self.attention_scale).ravel()
            trace("attention", layer, o)
            x = x + block["o"](o)  # 9 to 11
            trace("attention out", layer, x)
            h = exact.rms_norm(x, block["post_attention_layernorm"], self.eps)  # 12
            gate_up = block["gate_up"](h)  # 13, 14
            trace("gate up", layer, gate_up)
            a = exact.silu_mul(gate_up[:, :self.ffn], gate_up[:, self.ffn:])  # 15
            trace("activation", layer, a)
            x = x + block["down"](a)  # 16 to 18
            trace("mlp out", layer, x)
        if not every:
            x = x[np.cumsum([len(ids) for _, ids in runs]) - 1]
        h = exact.rms_norm(x, self.norm, self.eps)  # 19
        logits = self.head(h)  # 20, 21
        trace("logits", self.layers, logits)
        return exact.is_f32(logits)
