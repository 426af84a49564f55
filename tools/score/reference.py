"""Entropy of a Qwen3-shaped checkpoint in plain binary32: the yardstick of the exact engine.

    reference.py DIR FILE [--limit BYTES] [--window N]

Windows as the product uses them: a chunk starts with the start token; each later window starts with it too, then the
last half window of tokens again, uncoded. Needs numpy and tokenizers; written from docs/MODEL.md alone.
"""
import argparse
import json
import math

import numpy as np


def load(path):
    """Tensors as float32; numpy itself has no bfloat16."""
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size))
        data = f.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = data[slice(*t["data_offsets"])]
        if t["dtype"] == "BF16":
            a = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            a = np.frombuffer(raw, {"F16": np.float16, "F32": np.float32}[t["dtype"]]).astype(np.float32)
        out[name] = a.reshape(t["shape"])
    return out


def rms(x, g, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * g


class Reference:
    def __init__(self, folder):
        self.c = json.load(open(folder + "/config.json"))
        self.w = load(folder + "/model.safetensors")
        c, d = self.c, self.c["head_dim"]
        angle = np.outer(np.arange(c["max_position_embeddings"]), c["rope_theta"] ** (-np.arange(0, d, 2) / d))
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def turn(self, x):
        a, b = np.split(x, 2, -1)
        cos, sin = self.cos[: x.shape[0], None], self.sin[: x.shape[0], None]
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    def logits(self, ids):
        c, w, t = self.c, self.w, len(ids)
        heads, kv, d, eps = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["rms_norm_eps"]
        x = w["model.embed_tokens.weight"][ids]
        hidden = np.triu(np.full((t, t), -np.inf, np.float32), 1)
        for i in range(c["num_hidden_layers"]):
            p = lambda n: w[f"model.layers.{i}.{n}.weight"]
            h = rms(x, p("input_layernorm"), eps)
            q = rms((h @ p("self_attn.q_proj").T).reshape(t, heads, d), p("self_attn.q_norm"), eps)
            k = rms((h @ p("self_attn.k_proj").T).reshape(t, kv, d), p("self_attn.k_norm"), eps)
            v = (h @ p("self_attn.v_proj").T).reshape(t, kv, d)
            q, k = self.turn(q), self.turn(k)
            k, v = np.repeat(k, heads // kv, 1), np.repeat(v, heads // kv, 1)
            s = np.einsum("qhd,khd->hqk", q, k) / np.float32(math.sqrt(d)) + hidden
            s = np.exp(s - s.max(-1, keepdims=True))
            o = np.einsum("hqk,khd->qhd", s / s.sum(-1, keepdims=True), v)
            x = x + o.reshape(t, heads * d) @ p("self_attn.o_proj").T
            h = rms(x, p("post_attention_layernorm"), eps)
            g = h @ p("mlp.gate_proj").T
            x = x + (g / (1 + np.exp(-g)) * (h @ p("mlp.up_proj").T)) @ p("mlp.down_proj").T
        x = rms(x, w["model.norm.weight"], eps)
        head = w["model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"]
        return x @ head.T

    def bits(self, ids, window):
        start, half, total, done = self.c["bos_token_id"], window // 2, 0.0, 0
        while done < len(ids):
            carry = 0 if done == 0 else half
            new = ids[done : done + window - carry]
            fed = [start] + list(ids[done - carry : done]) + list(new[:-1])
            y = self.logits(np.array(fed))[carry:].astype(np.float64)
            y -= y.max(-1, keepdims=True)
            total -= (y[np.arange(len(new)), new] - np.log(np.exp(y).sum(-1))).sum() / math.log(2)
            done += len(new)
        return total


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("file")
    p.add_argument("--limit", type=int)
    p.add_argument("--window", type=int)
    a = p.parse_args()
    from tokenizers import Tokenizer

    raw = open(a.file, "rb").read()[: a.limit]
    ids = Tokenizer.from_file(a.dir + "/tokenizer.json").encode(raw.decode("utf-8", "ignore")).ids
    r = Reference(a.dir)
    b = r.bits(ids, a.window or r.c["max_position_embeddings"])
    print(f"{a.file}: {len(raw)} bytes, {len(ids)} tokens, {b:.3f} bits, {b / len(raw):.5f} bits per byte")
