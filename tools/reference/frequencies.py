#!/usr/bin/env python3
"""Golden vectors of LLMC-X1: what this decoder computes, step by step, for others to compare with.

    python3 frequencies.py vectors FILE --model MODEL    FILE anew: hashes of each step for the ids named in it
    python3 frequencies.py examples                      the worked examples of NUMERICS.md section 9

NUMERICS.md section 10 describes the files of vectors.
"""
import argparse
import hashlib
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import exact
from exact import A8, A16, F
from model import Cache, Model


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def vectors(path, model_path):
    with open(path) as file:
        given = file.read().splitlines()
    words = [line.split() for line in given]
    activations = next(int(w[1]) for w in words if w[0] == "activations")
    ids = next([int(x) for x in w[1:]] for w in words if w[0] == "ids")
    model = Model(model_path, activations)
    for line in given:
        if line.startswith(("#", "activations", "ids")):
            print(line)

    def trace(operation, layer, x):
        name = operation.replace(" ", "-")
        print("floats", layer, name, sha256(exact.is_f32(x).astype("<f4").tobytes()))
        if operation in ("attention", "activation"):
            q, s = exact.quantise(x, A8 if activations == 8 else A16)
            digest = sha256(q.astype("<i2").tobytes() + s.astype("<f4").tobytes())
            first = " ".join(str(int(n)) for n in q[0, :6])
            print("quantised", layer, name, f"{s[0].view(np.uint32):08X}", first, digest)

    logits = model.forward([(Cache(model), [model.start, *ids[:-1]])], every=True, trace=trace)
    for row, token in zip(logits, ids):
        table = exact.Frequencies(row, model.escape)
        print("answer", token, *table.interval(token), table.total)


def hex_words(x):
    return " ".join(f"{n:08X}" for n in np.asarray(x, F).ravel().view(np.uint32))


def examples():
    """The inputs and results of NUMERICS.md section 9, a line each."""
    def row(*x):
        return np.array([x], F)

    x, g, b = row(1, -2, 0.5, 3.75), row(1, 0.5, 2, 1.5)[0], row(0.25, 0, -1, 0.1)[0]
    print("exp2:", hex_words(exact.exp2(row(-0.5, -1.25, -10.3, -124.9, -125.5))))
    weights = np.array([[1, -2, 3, -4], [127, 127, -127, 5]], np.int8)
    for name, m in (("A8", A8), ("A16", A16)):
        q, s = exact.quantise(x, m)
        print(f"{name}: q = {', '.join(str(int(n)) for n in q[0])}; s = {hex_words(s)}")
        y = exact.Linear(weights, row(0.01, 0.5)[0], m)(x) + row(0.1, -1)
        print(f"linear, {name}:", hex_words(y))
    print("RMSNorm:", hex_words(exact.rms_norm(x, g, F(1e-6))))
    print("LayerNorm:", hex_words(exact.layer_norm(x, g, b, F(1e-6))))
    print("SiLU:", hex_words(exact.silu_mul(x, row(1, 1, -2, 0.1))))
    print("GELU by the error function:", hex_words(exact.gelu(x, by_tanh=False)))
    print("GELU by tanh:", hex_words(exact.gelu(x, by_tanh=True)))
    for pairs in ("halves", "neighbours"):
        print(f"RoPE, {pairs}:", hex_words(exact.rope(x[:, None], row(0.8, 0.6), row(0.6, 0.8), pairs)))
    table = exact.Frequencies(row(1, 0, -1, 2.5, 2.5)[0], escape=True)
    ranks = np.argsort(table.by_rank())
    print(f"frequencies: W = {', '.join(map(str, table.w))}; Tot = {table.total}; ranks {', '.join(map(str, ranks))}")
    for bits, m in ((8, A8), (16, A16)):
        attention_example(bits, m)


def attention_example(bits, m):
    i = np.arange(8)
    keys, values, scales, exponents = [], [], [], []
    for j in range(3):
        q = ((2 * i + j) % 5 - 2).astype(F) * F(0.7)
        k, sk = exact.quantise(((3 * i + 5 * j) % 7 - 3).astype(F)[None] * F(0.5), m)
        v, ev = exact.quantise_value(((i + 2 * j) % 5 - 2).astype(F)[None] * F(0.75) * F(j + 1), m)
        for those, this in ((keys, k), (scales, sk), (values, v), (exponents, ev)):
            those.append(this[0])
        o = exact.attention(q[None], np.array([keys]), np.array([scales], F), np.array([values]),
                            np.array([exponents], np.int32), F(float.fromhex("0x1.0527dcp-1")))
        if bits == 8 or j == 2:
            print(f"attention, KV{bits}, token {j}:", hex_words(o[0, :5]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["vectors", "examples"])
    parser.add_argument("file", nargs="?", metavar="FILE")
    parser.add_argument("--model", metavar="MODEL", help="model file")
    options = parser.parse_args()
    if options.what == "examples":
        examples()
    elif options.file and options.model:
        vectors(options.file, options.model)
    else:
        parser.error("vectors needs FILE and --model")


if __name__ == "__main__":
    main()
