"""Entropy of a Qwen3- or Llama-shaped checkpoint in plain binary32: the yardstick of the exact engine.

    reference.py SOURCE FILE... [--limit BYTES] [--window N] [--score PROGRAM --model FILE]

SOURCE is a Hugging Face folder or a GGUF file of the architecture llama (read by the package gguf). With --score (the
built tools/score) and --model (what `model import SOURCE --context N` made) each line also says what the exact engine
makes of the same bytes in the same windows, and the difference.

Windows as the product uses them: a chunk starts with the start token; each later window starts with it too, then the
last half window of tokens again, uncoded. Needs numpy and, without --score, tokenizers; written from docs/MODEL.md alone.
"""
import argparse
import json
import math
import os
import re
import subprocess
import tempfile

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


def load_gguf(path):
    """Configuration and tensors of a llama under Hugging Face's names, rows of q and k put back into halves."""
    from gguf import GGUFReader, dequantize

    file = GGUFReader(path)
    get = lambda key: file.fields[key].contents()
    if get("general.architecture") != "llama":
        raise SystemExit(f"{path}: only the architecture llama is read here")
    heads = get("llama.attention.head_count")
    c = {"hidden_size": get("llama.embedding_length"), "num_hidden_layers": get("llama.block_count"),
         "num_attention_heads": heads, "num_key_value_heads": get("llama.attention.head_count_kv"),
         "head_dim": get("llama.embedding_length") // heads, "rms_norm_eps": get("llama.attention.layer_norm_rms_epsilon"),
         "rope_theta": get("llama.rope.freq_base"), "max_position_embeddings": get("llama.context_length"),
         "bos_token_id": get("tokenizer.ggml.bos_token_id"), "tie_word_embeddings": True}
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    w = {}
    for t in file.tensors:
        a = dequantize(t.data, t.tensor_type).astype(np.float32).reshape([int(n) for n in t.shape][::-1])
        name = t.name.removesuffix(".weight")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            if part in ("attn_q", "attn_k"):
                n = heads if part == "attn_q" else c["num_key_value_heads"]
                a = a.reshape(n, a.shape[0] // n // 2, 2, -1).swapaxes(1, 2).reshape(a.shape)
            name = f"model.layers.{layer}.{parts[part]}"
        else:
            name = names[name]
        w[name + ".weight"] = a
    c["tie_word_embeddings"] = "lm_head.weight" not in w
    return c, w


class Reference:
    def __init__(self, source):
        if os.path.isdir(source):
            self.c = json.load(open(source + "/config.json"))
            self.w = load(source + "/model.safetensors")
        else:
            self.c, self.w = load_gguf(source)
        c = self.c
        d = c.setdefault("head_dim", c["hidden_size"] // c["num_attention_heads"])
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
        normed = lambda x, name: rms(x, w[name], eps) if name in w else x
        hidden = np.triu(np.full((t, t), -np.inf, np.float32), 1)
        for i in range(c["num_hidden_layers"]):
            p = lambda n: w[f"model.layers.{i}.{n}.weight"]
            h = rms(x, p("input_layernorm"), eps)
            q = normed((h @ p("self_attn.q_proj").T).reshape(t, heads, d), f"model.layers.{i}.self_attn.q_norm.weight")
            k = normed((h @ p("self_attn.k_proj").T).reshape(t, kv, d), f"model.layers.{i}.self_attn.k_norm.weight")
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


def tokens(source, raw, program, model):
    """Ids of the bytes: the product's own, or those of the library tokenizers."""
    if program is None:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(source + "/tokenizer.json").encode(raw.decode("utf-8", "ignore")).ids
    with tempfile.NamedTemporaryFile() as text:
        text.write(raw)
        text.flush()
        return [int(word) for word in run(program, "--model", model, "--ids", text.name).split()]


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def exact_bits(program, model, raw):
    with tempfile.NamedTemporaryFile() as text:
        text.write(raw)
        text.flush()
        return float(re.search(r"([0-9.]+) bits per byte", run(program, "--model", model, text.name)).group(1)) * len(raw)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source")
    p.add_argument("files", nargs="+")
    p.add_argument("--limit", type=int)
    p.add_argument("--window", type=int)
    p.add_argument("--score", metavar="PROGRAM")
    p.add_argument("--model", metavar="FILE")
    a = p.parse_args()
    if (a.score is None) != (a.model is None):
        p.error("--score and --model go together")
    r = Reference(a.source)
    for name in a.files:
        raw = open(name, "rb").read()[: a.limit]
        ids = tokens(a.source, raw, a.score, a.model)
        b = r.bits(ids, a.window or r.c["max_position_embeddings"])
        line = f"{name}: {len(raw)} bytes, {len(ids)} tokens, binary32 {b / len(raw):.5f} bits per byte"
        if a.score:
            exact = exact_bits(a.score, a.model, raw)
            line += f", exact {exact / len(raw):.5f} ({(exact / b - 1) * 100:+.3f} %)"
        print(line, flush=True)


if __name__ == "__main__":
    main()
