"""Writes a model file with random weights: the features that the embedded model does not use.

usage: make_model.py TOKENIZER_OWNER OUT SEED NAME=VALUE...

NAME is a field of `config`, or kv, head, attn_in, ... of `profile`. TOKENIZER_OWNER is a model file whose tokenizer is
taken; tokenizer=FILE takes a tokenizer.json instead.
"""
import json
import struct
import sys

import numpy as np

F = np.float32


def main():
    owner, out, seed, *settings = sys.argv[1:]
    others = [s.partition("=")[2] for s in settings if s.startswith("tokenizer=")]
    settings = [s for s in settings if not s.startswith("tokenizer=")]
    with open(owner, "rb") as file:
        data = file.read()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    begin, end = header["tokenizer.json"]["data_offsets"]
    tokenizer = np.frombuffer(data, np.uint8, end - begin, 8 + size + begin)
    if others:
        with open(others[0], "rb") as file:
            tokenizer = np.frombuffer(file.read(), np.uint8)
    c = dict(vocab=4096, width=48, layers=3, heads=4, kv_heads=2, head_dim=16, ffn=40, context=80, rotary=16,
             rope_pairs="halves", tied=False, eps_bits="3727c5ac", attention_scale_bits="3eb8aa3b", start=0,
             family="test", norm="rms", activation="silu", positions="rope", gated=True, parallel=False, qk_norm=False,
             attention_bias=False, output_bias=False, mlp_bias=False, windows=[0, 0, 0])
    roles = dict(attn_in=8, attn_out=8, mlp_in=8, mlp_out=8)
    profile = dict(kv=8, head=8)
    for setting in settings:
        name, value = setting.split("=")
        place = next(p for p in (c, roles, profile) if name in p)
        place[name] = value if isinstance(place[name], str) else json.loads(value)
    profile["layers"] = [dict(roles) for _ in range(c["layers"])]

    random = np.random.Generator(np.random.PCG64(int(seed)))
    floats, matrices = {}, {}

    def matrix(name, n, k, bias=False, scale=0.03):
        matrices[name + ".weight"] = random.integers(-127, 128, (n, k)).astype(np.int8)
        floats[name + ".weight_scale"] = (random.random(n) * scale / 8 + scale / 64).astype(F)
        if bias:
            floats[name + ".bias"] = random.normal(0, 0.3, n).astype(F)

    def norm(name, n, kind):
        floats[name + ".weight"] = random.normal(1, 0.3, n).astype(F)
        if kind == "layer":
            floats[name + ".bias"] = random.normal(0, 0.3, n).astype(F)

    width, heads = c["width"], c["heads"] * c["head_dim"]
    matrix("model.embed_tokens", c["vocab"], width)
    for i in range(c["layers"]):
        at = f"model.layers.{i}."
        norm(at + "input_layernorm", width, c["norm"])
        norm(at + "post_attention_layernorm", width, c["norm"])
        if c["qk_norm"]:
            norm(at + "self_attn.q_norm", c["head_dim"], "rms")
            norm(at + "self_attn.k_norm", c["head_dim"], "rms")
        matrix(at + "self_attn.q_proj", heads, width, c["attention_bias"])
        for name in "kv":
            matrix(at + f"self_attn.{name}_proj", c["kv_heads"] * c["head_dim"], width, c["attention_bias"])
        matrix(at + "self_attn.o_proj", width, heads, c["output_bias"])
        for name in ("gate", "up")[not c["gated"]:]:
            matrix(at + f"mlp.{name}_proj", c["ffn"], width, c["mlp_bias"])
        matrix(at + "mlp.down_proj", width, c["ffn"], c["mlp_bias"])
    norm("model.norm", width, c["norm"])
    if not c["tied"]:
        matrix("lm_head", c["vocab"], width, scale=0.01)
    if c["positions"] == "learned":
        floats["model.positions.weight"] = random.normal(0, 0.5, (c["context"], width)).astype(F)
        del c["rotary"]
    else:
        angles = np.outer(np.arange(c["context"]), 0.7 ** np.arange(c["rotary"] // 2))
        floats["rope.cos"], floats["rope.sin"] = np.cos(angles).astype(F), np.sin(angles).astype(F)

    tensors = {**floats, **matrices, "tokenizer.json": tokenizer}
    types = {F: "F32", np.int8: "I8", np.uint8: "U8"}
    header = {"__metadata__": dict(architecture="decoder", config=json.dumps(c), format="llmc-model",
                                   format_version="1", license="apache-2.0", name="test", numerics="LLMC-X1",
                                   profile=json.dumps(profile),
                                   unicode=header["__metadata__"]["unicode"])}
    at = 0
    for name, x in tensors.items():
        header[name] = {"dtype": types[x.dtype.type], "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(out, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for x in tensors.values():
            file.write(x.tobytes())


if __name__ == "__main__":
    main()
