"""The model file (MODEL.md section 1) and the forward pass over it (section 4)."""
import hashlib
import json
import struct

import numpy as np

import exact
from exact import A8, A16, F, Linear
from frame import crc32c, unzstd
from tokenizer import read_tokens


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
        for key, known in (("format", "llmc-model"), ("format_version", "1"), ("numerics", "LLMC-X1")):
            if metadata.get(key) != known:
                raise ModelError(f"{path}: {key} is {metadata.get(key)!r}; this decoder knows {known!r}")
        architecture = metadata.get("architecture")
        if architecture not in ("qwen3", "decoder"):
            raise ModelError(f"{path}: architecture is {architecture!r}; this decoder knows qwen3 and decoder")
        self.name = metadata["name"]
        config, profile = json.loads(metadata["config"]), json.loads(metadata["profile"])
        if architecture == "qwen3":
            config.update(norm="rms", activation="silu", positions="rope", gated=True, parallel=False, qk_norm=True,
                          attention_bias=False, output_bias=False, mlp_bias=False, windows=[0] * config["layers"])
        if profile["kv"] not in (8, 16):
            raise ModelError(f"{path}: keys and values of {profile['kv']} bits; this decoder knows 8 and 16")
        for field, known in (("norm", ("rms", "layer")), ("activation", ("silu", "gelu", "gelu_tanh")),
                             ("positions", ("rope", "learned")), ("rope_pairs", ("halves", "neighbours"))):
            if config[field] not in known:
                raise ModelError(f"{path}: {field} is {config[field]!r}; this decoder knows {', '.join(known)}")
        self.kv = A8 if profile["kv"] == 8 else A16
        for field in ("vocab", "width", "layers", "heads", "kv_heads", "head_dim", "ffn", "context", "rope_pairs",
                      "tied", "start", "norm", "activation", "positions", "gated", "parallel", "qk_norm", "windows"):
            setattr(self, field, config[field])
        self.eps = self.from_bits(config["eps_bits"])
        self.attention_scale = self.from_bits(config["attention_scale_bits"])
        self.tokens, self.escape = read_tokens(json.loads(tensors["tokenizer.json"].tobytes()))
        if len(self.tokens) != self.vocab:
            raise ModelError(f"{path}: the tokenizer has {len(self.tokens)} ids, the config says {self.vocab}")
        if self.positions == "rope":
            self.cos, self.sin = tensors["rope.cos"], tensors["rope.sin"]
        else:
            self.learned = tensors["model.positions.weight"]

        def linear(bits, names, bias=False):
            bits = activations or bits
            if bits not in (8, 16):
                raise ModelError(f"{path}: activations of {bits} bits; this decoder knows 8 and 16")
            parts = [np.concatenate([tensors[n + end] for n in names]) for end in (".weight", ".weight_scale")]
            biases = np.concatenate([tensors[n + ".bias"] for n in names]) if bias else None
            return Linear(*parts, A8 if bits == 8 else A16, biases)

        def norm(name):
            g = tensors[name + ".weight"]
            if self.norm == "rms":
                return lambda x: exact.rms_norm(x, g, self.eps)
            b = tensors[name + ".bias"]
            return lambda x: exact.layer_norm(x, g, b, self.eps)

        self.embedding = tensors["model.embed_tokens.weight"], tensors["model.embed_tokens.weight_scale"]
        self.blocks = []
        for i, bits in enumerate(profile["layers"]):
            at = f"model.layers.{i}."
            block = {
                "input_layernorm": norm(at + "input_layernorm"),
                "post_attention_layernorm": norm(at + "post_attention_layernorm"),
                "qkv": linear(bits["attn_in"], [at + f"self_attn.{p}_proj" for p in "qkv"], config["attention_bias"]),
                "o": linear(bits["attn_out"], [at + "self_attn.o_proj"], config["output_bias"]),
                "mlp_in": linear(bits["mlp_in"], [at + f"mlp.{p}_proj" for p in ("gate", "up")[not self.gated:]],
                                 config["mlp_bias"]),
                "down": linear(bits["mlp_out"], [at + "mlp.down_proj"], config["mlp_bias"]),
            }
            if self.qk_norm:
                block["q_norm"], block["k_norm"] = (tensors[at + f"self_attn.{p}_norm.weight"] for p in "qk")
            self.blocks.append(block)
        self.final_norm = norm("model.norm")
        self.head = linear(profile["head"], ["model.embed_tokens" if self.tied else "lm_head"])

    def adapt(self, data):
        """Fits the head to one kind of text (section 6)."""
        magic, version, zero, zeros, size, length, crc = struct.unpack_from("<4sBBHIII", data)
        if magic != b"\x8cLCA" or length != len(data) or crc != crc32c(data[:16] + bytes(4) + data[20:]):
            raise ModelError("the adaptation is damaged")
        if version != 1 or zero or zeros:
            raise ModelError(f"the adaptation is of version {version}; this decoder knows 1")
        if data[20:52] != self.digest or size != 4 + self.vocab:
            raise ModelError("the adaptation was made for another model")
        plain = unzstd(data[52:], size)
        factor, bias = np.frombuffer(plain, F, 1)[0], np.frombuffer(plain, np.int8, offset=4)
        if not F(0.25) <= factor <= F(4) or -128 in bias:
            raise ModelError("the adaptation is out of range")
        self.head.sw = self.head.sw * factor
        self.head.bias = bias.astype(F) * F(0.0625)

    @staticmethod
    def from_bits(digits):
        return np.array([int(digits, 16)], np.uint32).view(F)[0]

    def activate(self, x):
        gate, up = (x[:, :self.ffn], x[:, self.ffn:]) if self.gated else (x, None)
        if self.activation == "silu":
            return exact.silu_mul(gate, up)
        y = exact.gelu(gate, by_tanh=self.activation == "gelu_tanh")
        return y * up if self.gated else y

    def turn(self, x, norm, positions):
        """Steps 5 and 6 for the heads of q or k."""
        if self.qk_norm:
            x = exact.rms_norm(x, norm, self.eps)
        if self.positions == "rope":
            x = exact.rope(x, self.cos[positions], self.sin[positions], self.rope_pairs)
        return x

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
        rows, size = len(ids), self.head_dim
        weights, scales = self.embedding
        x = weights[ids].astype(F) * scales[ids][:, None]  # step 1
        if self.positions == "learned":
            x = x + self.learned[positions]
        trace("embed", 0, x)
        for layer, block in enumerate(self.blocks):
            h = block["input_layernorm"](x)  # 2
            qkv = block["qkv"](h)  # 3, 4
            trace("qkv", layer, qkv)
            heads = qkv.reshape(rows, -1, size)
            q, k, v = np.split(heads, [self.heads, self.heads + self.kv_heads], axis=1)
            q = self.turn(q, block.get("q_norm"), positions)  # 5, 6
            k = self.turn(k, block.get("k_norm"), positions)
            trace("rope", layer, np.concatenate([q, k, v], axis=1).reshape(rows, -1))
            k_int, sk = exact.quantise(k, self.kv)  # 7
            v_int, ev = exact.quantise_value(v, self.kv)
            o = np.empty((rows, self.heads * size), F)
            for row, (cache, at) in enumerate(places):
                cache.k[layer, :, at], cache.sk[layer, :, at] = k_int[row], sk[row]
                cache.v[layer, :, at], cache.ev[layer, :, at] = v_int[row], ev[row]
                first = max(0, at + 1 - self.windows[layer]) if self.windows[layer] else 0
                seen = slice(first, at + 1)
                o[row] = exact.attention(q[row], cache.k[layer, :, seen], cache.sk[layer, :, seen],  # 8
                                         cache.v[layer, :, seen], cache.ev[layer, :, seen],
                                         self.attention_scale).ravel()
            trace("attention", layer, o)
            before = x
            x = x + block["o"](o)  # 9 to 11
            trace("attention out", layer, x)
            h = block["post_attention_layernorm"](before if self.parallel else x)  # 12
            mlp_in = block["mlp_in"](h)  # 13, 14
            trace("gate up", layer, mlp_in)
            a = self.activate(mlp_in)  # 15
            trace("activation", layer, a)
            x = x + block["down"](a)  # 16 to 18
            trace("mlp out", layer, x)
        if not every:
            x = x[np.cumsum([len(ids) for _, ids in runs]) - 1]
        logits = self.head(self.final_norm(x))  # 19 to 21
        trace("logits", self.layers, logits)
        return exact.is_f32(logits)
